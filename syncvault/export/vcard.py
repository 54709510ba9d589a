"""vCards: 3.0 (RFC 2426) and 4.0 (RFC 6350), CRLF, folded at 75 octets, photos embedded.

Fields that a version has no property for go into the `X-` properties that address books commonly read, so nothing
that was stored is lost on the way.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

FOLD_AT: Final = 75  # octets, the line break not counted

_ESCAPES: Final = str.maketrans({"\\": "\\\\", ",": "\\,", ";": "\\;", "\n": "\\n"})
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_ISO_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s\x00-\x1f\x7f]+")
_ADDRESS_PARTS: Final = ("street", "city", "region", "postal_code", "country")
_SIGNATURES: Final = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
)


class VcardVersion(StrEnum):
    """The versions that can be written."""

    V3 = "3.0"
    V4 = "4.0"


def write(
    uid: UUID, fields: Mapping[str, Any], photo: bytes | None = None, *, version: VcardVersion = VcardVersion.V3
) -> bytes:
    """One vCard.

    Args:
        uid: What identifies the entry for good.
        fields: The filled fields of a contact, as `connectors.contact.Contact.to_dict` names them.
        photo: The picture's bytes.
        version: Which vCard.
    """
    lines = ["BEGIN:VCARD", f"VERSION:{version}", "PRODID:-//syncvault//EN"]
    lines.append(f"UID:urn:uuid:{uid}" if version is VcardVersion.V4 else f"UID:{uid}")
    lines += _identity(fields)
    lines += _reach(fields, version)
    lines += _relations(fields, version)
    lines += _birthday(fields.get("birthday", ""), version)
    lines += [f"{name}:{escape(text)}" for name, key in _PLAIN if (text := fields.get(key))]
    lines += [_photo(photo, version)] if photo else []
    lines.append("END:VCARD")
    return b"".join(fold(line.encode("utf-8", "replace")) for line in lines)


_PLAIN: Final = (
    ("X-INITIALS", "initials"),
    ("X-OFFICE", "office_location"),
    ("X-MANAGER", "manager"),
    ("X-ASSISTANT", "assistant"),
    ("NOTE", "notes"),
)


def escape(text: str) -> str:
    """Text as a vCard value: separators and line breaks escaped, other control characters left out."""
    return _CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).translate(_ESCAPES)


def fold(line: bytes) -> bytes:
    """A content line cut into lines of at most 75 octets, never inside a character, with CRLF after each."""
    if len(line) <= FOLD_AT:
        return line + b"\r\n"
    pieces, start, room = [], 0, FOLD_AT
    while len(line) - start > room:
        end = start + room
        while line[end] & 0xC0 == 0x80:  # a continuation octet of UTF-8
            end -= 1
        pieces.append(line[start:end])
        start, room = end, FOLD_AT - 1  # the leading space counts
    pieces.append(line[start:])
    return b"\r\n ".join(pieces) + b"\r\n"


def _structured(parts: Iterable[str]) -> str:
    return ";".join(escape(part) for part in parts)


def _identity(fields: Mapping[str, Any]) -> Iterator[str]:
    yield f"FN:{escape(_formatted_name(fields))}"
    names = ("surname", "given_name", "middle_name", "title", "generation")
    yield f"N:{_structured(fields.get(name, '') for name in names)}"
    if nickname := fields.get("nickname"):
        yield f"NICKNAME:{escape(nickname)}"
    if fields.get("company") or fields.get("department"):
        organisation = [fields.get("company", ""), fields.get("department", "")]
        yield f"ORG:{_structured(organisation if organisation[1] else organisation[:1])}"
    if job := fields.get("job_title"):
        yield f"TITLE:{escape(job)}"
    if profession := fields.get("profession"):
        yield f"ROLE:{escape(profession)}"


def _formatted_name(fields: Mapping[str, Any]) -> str:
    """FN is mandatory: what identifies the entry best."""
    if name := fields.get("display_name"):
        return str(name)
    if parts := [fields[key] for key in ("given_name", "middle_name", "surname") if fields.get(key)]:
        return " ".join(parts)
    reachable = [*fields.get("email_addresses", ()), *fields.get("business_phones", ()), *fields.get("home_phones", ())]
    candidates = [fields.get("nickname"), fields.get("company"), *reachable, fields.get("mobile_phone")]
    return next((str(text) for text in candidates if text), "-")


def _reach(fields: Mapping[str, Any], version: VcardVersion) -> Iterator[str]:
    modern = version is VcardVersion.V4
    for position, address in enumerate(fields.get("email_addresses", ())):
        first = position == 0
        kind = (";PREF=1" if first else "") if modern else (";TYPE=INTERNET,PREF" if first else ";TYPE=INTERNET")
        yield f"EMAIL{kind}:{escape(address)}"
    phones = [("work", phone) for phone in fields.get("business_phones", ())]
    phones += [("home", phone) for phone in fields.get("home_phones", ())]
    phones += [("cell", phone) for phone in (fields.get("mobile_phone"),) if phone]
    yield from (f"TEL;TYPE={place}:{escape(phone)}" for place, phone in phones)
    for kind, key in ((";TYPE=work", "business_address"), (";TYPE=home", "home_address"), ("", "other_address")):
        if address := fields.get(key):
            parts = ["", "", *(address.get(part, "") for part in _ADDRESS_PARTS)]
            yield f"ADR{kind}:{_structured(parts)}"
    for address in fields.get("im_addresses", ()):
        yield f"IMPP:{address}" if _URI.fullmatch(address) else f"X-IM:{escape(address)}"
    if page := fields.get("web_page"):
        yield f"URL:{page}" if _URI.fullmatch(page) else f"X-URL:{escape(page)}"


def _relations(fields: Mapping[str, Any], version: VcardVersion) -> Iterator[str]:
    related = [("spouse", fields["spouse"])] if fields.get("spouse") else []
    related += [("child", child) for child in fields.get("children", ())]
    for kind, name in related:
        if version is VcardVersion.V4:
            yield f"RELATED;TYPE={kind};VALUE=text:{escape(name)}"
        else:
            yield f"X-{kind.upper()}:{escape(name)}"


def _birthday(birthday: str, version: VcardVersion) -> Iterator[str]:
    if not birthday:
        return
    if not _ISO_DATE.fullmatch(birthday):
        yield f"BDAY;VALUE=text:{escape(birthday)}"
    else:
        yield f"BDAY:{birthday.replace('-', '')}" if version is VcardVersion.V4 else f"BDAY:{birthday}"


def _photo(photo: bytes, version: VcardVersion) -> str:
    kind = next((name for signature, name in _SIGNATURES if photo.startswith(signature)), "")
    text = base64.b64encode(photo).decode("ascii")
    if version is VcardVersion.V4:
        return f"PHOTO:data:{f'image/{kind.lower()}' if kind else 'application/octet-stream'};base64,{text}"
    return f"PHOTO;ENCODING=b{f';TYPE={kind}' if kind else ''}:{text}"
