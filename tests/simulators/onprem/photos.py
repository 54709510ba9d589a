"""GetUserPhoto, as an operation and as the plain download beside it.

Either way somebody without a photo is answered with HTTP 404 (Exchange Managed API, GetUserPhotoRequest).
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from tests.simulators.company.model import Company
from tests.simulators.onprem.soap import EwsError, failure, success, value
from tests.simulators.onprem.state import Call

SIZES = frozenset(f"HR{edge}x{edge}" for edge in (48, 64, 96, 120, 240, 360, 432, 504, 648))


@dataclass(frozen=True, slots=True)
class Picture:
    """A user's photo as it is served."""

    content: bytes
    etag: str

    @property
    def content_type(self) -> str:
        """What kind of picture it is."""
        return "image/png" if self.content.startswith(b"\x89PNG") else "image/jpeg"


class PhotoAbsent(EwsError):
    """Nobody with this address has a photo."""

    def __init__(self) -> None:
        super().__init__("ErrorItemNotFound")


def picture_of(company: Company, address: str) -> Picture:
    """The photo of the person with an address."""
    person = company.find_person(address.removeprefix("smtp:")) if "@" in address else None
    if person is None or not person.photo:
        raise PhotoAbsent
    return Picture(person.photo, f'"{zlib.crc32(person.photo):08X}{len(person.photo):08X}"')


def get_user_photo(call: Call) -> str:
    """The photo of one user. Exchange gives the largest it has up to the size asked for; here that is the only one."""
    picture = picture_of(call.state.company, value(call.body, "m:Email"))
    if call.request.known == picture.etag:
        return success("GetUserPhoto", "<m:HasChanged>false</m:HasChanged><m:PictureData/>")
    encoded = base64.b64encode(picture.content).decode()
    return success(
        "GetUserPhoto",
        f"<m:HasChanged>true</m:HasChanged><m:PictureData>{encoded}</m:PictureData>"
        f"<m:ContentType>{picture.content_type}</m:ContentType>",
    )


def etag_of(call: Call) -> str:
    """What the answer to this call says of the photo in its HTTP header; empty where it is about none."""
    if call.request.operation != "GetUserPhoto":
        return ""
    try:
        return picture_of(call.state.company, value(call.body, "m:Email")).etag
    except PhotoAbsent:
        return ""


def absent() -> str:
    """The operation's answer where there is no photo."""
    return failure("GetUserPhoto", PhotoAbsent())


def download(company: Company, target: str, known: str | None) -> tuple[int, dict[str, str], bytes]:
    """Answers `GET …/s/GetUserPhoto?email=…&size=…`: status, header, body."""
    query = {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()}
    if query.get("size", "") not in SIZES or not query.get("email"):
        return 400, {}, b""
    try:
        picture = picture_of(company, query["email"])
    except PhotoAbsent:
        return 404, {}, b""
    if known == picture.etag:
        return 304, {"ETag": picture.etag}, b""
    return 200, {"ETag": picture.etag, "Content-Type": picture.content_type}, picture.content
