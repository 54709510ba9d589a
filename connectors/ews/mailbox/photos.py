"""Photos: a contact's is a file attachment, a card's comes from the directory by GetUserPhoto.

Attachments are listed first, so that one that is still the same, or too large, is never downloaded.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from lxml import etree

from connectors.ews.mailbox.folders import acting_as
from connectors.ews.wire.codes import NO_ENTRY, PASSING, UNSUPPORTED, WRONG_VERSION, failure
from connectors.ews.wire.operations import MESSAGES, TYPES, get_attachment_lists, get_attachments, get_user_photo
from connectors.ews.wire.session import Answer, AnswerTooLargeError, EwsSession
from connectors.ews.wire.soap import Message
from connectors.port import (
    PHOTO_LIMIT,
    ConnectorError,
    CredentialRejected,
    Photo,
    PhotoRef,
    PhotoState,
    ProtocolViolation,
    Throttled,
    Unreachable,
)

LISTED_AT_ONCE: Final = 100
FETCHED_AT_ONCE: Final = 50
BYTES_AT_ONCE: Final = 2 * 1024 * 1024  # of photos in one answer, unless a single one is larger; several come at once
_ANSWER_LIMIT: Final = 2 * PHOTO_LIMIT  # Base64 makes four bytes of three; the rest is XML around it
_UNKNOWN_SIZE: Final = 512 * 1024
_SMALLER: Final = (96, 48)  # for servers that do not know a size; Exchange gives the largest it has up to the one asked
# A picture is compressed as it is. Its Base64 would shrink by a quarter, for many times the work that it saves.
_AS_IT_IS: Final = {"Accept-Encoding": "identity"}
_OWN_ETAG: Final = "sha256:"

_T: Final = f"{{{TYPES}}}"
_GENERAL = (CredentialRejected, Throttled, Unreachable)  # concern every photo, not one


def photos(session: EwsSession, wanted: Sequence[PhotoRef], pixels: int) -> Iterator[Photo]:
    """Looks at photos, one outcome per reference.

    Args:
        session: Asks.
        wanted: Whose photos.
        pixels: The longer edge of people's photos.
    """
    by_mailbox: dict[str, list[PhotoRef]] = {}
    for ref in wanted:
        if ref.item_id:
            by_mailbox.setdefault(acting_as(ref.mailbox), []).append(ref)
        else:
            yield _card_photo(session, ref, pixels)
    for address, refs in by_mailbox.items():
        for start in range(0, len(refs), LISTED_AT_ONCE):
            yield from _contact_photos(session, address, refs[start : start + LISTED_AT_ONCE])


def _failed(ref: PhotoRef, error: ConnectorError) -> Photo:
    return Photo(ref, PhotoState.FAILED, error=error)


def _too_large(ref: PhotoRef) -> Photo:
    message = f"The photo is larger than {PHOTO_LIMIT // (1024 * 1024)} MiB."
    return _failed(ref, ProtocolViolation(message, code="photo-too-large", advice="Replace it with a smaller one."))


def _unreadable(ref: PhotoRef) -> Photo:
    return _failed(ref, ProtocolViolation("Exchange's answer holds no readable photo."))


def _decoded(element: etree._Element | None) -> bytes | None:
    """The bytes of a Base64 element; nothing for an empty one, None for what is no Base64."""
    if element is None or not element.text:
        return b""
    try:
        return base64.b64decode(element.text)
    except (binascii.Error, ValueError):
        return None


# -- contacts ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Attached:
    ref: PhotoRef
    id: str = field(repr=False)
    size: int
    etag: str


def _contact_photos(session: EwsSession, address: str, refs: list[PhotoRef]) -> Iterator[Photo]:
    try:
        answer = session.call(get_attachment_lists([ref.item_id for ref in refs]), act_as=address)
    except _GENERAL:
        raise
    except ConnectorError as error:
        yield from (_failed(ref, error) for ref in refs)
        return
    if len(answer.messages) != len(refs):
        yield from (_unreadable(ref) for ref in refs)
        return
    batch: list[_Attached] = []
    again: list[PhotoRef] = []
    for ref, message in zip(refs, answer.messages, strict=True):
        if message.failed and message.code in PASSING:
            again.append(ref)
            continue
        attached = _look(ref, message)
        if isinstance(attached, Photo):
            yield attached
            continue
        if batch and (len(batch) >= FETCHED_AT_ONCE or sum(one.size for one in batch) + attached.size > BYTES_AT_ONCE):
            yield from _fetch(session, address, batch)
            batch = []
        batch.append(attached)
    if batch:
        yield from _fetch(session, address, batch)
    if again:  # a request in which nothing but passing faults come back waits, and gives up, in the session
        yield from _contact_photos(session, address, again)


def _look(ref: PhotoRef, message: Message) -> Photo | _Attached:
    """What the list of attachments says of an item's photo."""
    found = None if message.failed else _photo_attachment(message)
    if message.failed and message.code != "ErrorItemNotFound":
        return _failed(ref, failure(message.code, impersonating=True))
    if found is None:
        return Photo(ref, PhotoState.ABSENT)
    identity = found.find(f"{_T}AttachmentId")
    attachment_id = "" if identity is None else identity.get("Id", "")
    if not attachment_id:
        return _unreadable(ref)
    etag = _etag_of(found, attachment_id, message)
    if etag == ref.etag:
        return Photo(ref, PhotoState.UNCHANGED, etag=etag)
    size_text = (found.findtext(f"{_T}Size") or "").strip()
    size = int(size_text) if size_text.isdecimal() else _UNKNOWN_SIZE
    # Exchange counts a little more than the content: names and properties of the attachment.
    return _too_large(ref) if size > PHOTO_LIMIT + _UNKNOWN_SIZE else _Attached(ref, attachment_id, size, etag)


def _photo_attachment(message: Message) -> etree._Element | None:
    attachments = message.element.findall(f"{{{MESSAGES}}}Items/*/{_T}Attachments/{_T}FileAttachment")
    for attachment in attachments:
        if (attachment.findtext(f"{_T}IsContactPhoto") or "").strip().lower() in {"true", "1"}:
            return attachment
    for attachment in attachments:
        named = (attachment.findtext(f"{_T}Name") or "").strip().lower() == "contactpicture.jpg"
        if named and attachment.find(f"{_T}IsContactPhoto") is None:
            return attachment
    return None


def _etag_of(attachment: etree._Element, attachment_id: str, message: Message) -> str:
    """What changes with the photo: its ID, size and time; without a time, the item's change key."""
    parts = [attachment_id, *((attachment.findtext(f"{_T}{name}") or "") for name in ("Size", "LastModifiedTime"))]
    if not parts[2]:
        identity = message.element.find(f"{{{MESSAGES}}}Items/*/{_T}ItemId")
        parts.append("" if identity is None else identity.get("ChangeKey", ""))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _fetch(session: EwsSession, address: str, batch: list[_Attached]) -> Iterator[Photo]:
    try:
        answer: Answer | None = session.call(
            get_attachments([attached.id for attached in batch]),
            act_as=address,
            limit=_ANSWER_LIMIT,
            headers=_AS_IT_IS,
        )
    except AnswerTooLargeError:
        if len(batch) == 1:
            yield _too_large(batch[0].ref)
            return
        answer = None
    except _GENERAL:
        raise
    except ConnectorError as error:
        yield from (_failed(attached.ref, error) for attached in batch)
        return
    if answer is None or len(answer.messages) != len(batch):
        if len(batch) == 1:
            yield _unreadable(batch[0].ref)
            return
        for attached in batch:
            yield from _fetch(session, address, [attached])
        return
    again: list[_Attached] = []
    for attached, message in zip(batch, answer.messages, strict=True):
        if message.failed and message.code in PASSING:
            again.append(attached)
        else:
            yield _photo_of(attached, message)
            message.element.clear()  # the bytes are in the photo now
    if again:
        yield from _fetch(session, address, again)


def _photo_of(attached: _Attached, message: Message) -> Photo:
    if message.failed and message.code in {"ErrorItemNotFound", "ErrorInvalidAttachmentId"}:
        return Photo(attached.ref, PhotoState.ABSENT)
    if message.failed:
        return _failed(attached.ref, failure(message.code, impersonating=True))
    content = _decoded(message.element.find(f"{{{MESSAGES}}}Attachments/{_T}FileAttachment/{_T}Content"))
    if not content and (content is None or attached.size):  # it was listed as a photo, with a size
        return _unreadable(attached.ref)
    if not content:
        return Photo(attached.ref, PhotoState.ABSENT)
    if len(content) > PHOTO_LIMIT:
        return _too_large(attached.ref)
    return Photo(attached.ref, PhotoState.PRESENT, content=content, etag=attached.etag)


# -- cards ---------------------------------------------------------------------------------------------------------


def _card_photo(session: EwsSession, ref: PhotoRef, pixels: int) -> Photo:
    try:
        return _user_photo(session, ref, pixels)
    except _GENERAL:
        raise
    except AnswerTooLargeError:
        return _too_large(ref)
    except ConnectorError as error:
        # An Exchange older than 2013 does not know user photos; one that has given this one does.
        is_too_old = error.code in UNSUPPORTED | WRONG_VERSION and not ref.etag
        is_absent = is_too_old or error.code in NO_ENTRY or error.code.endswith("NotFound")
        return Photo(ref, PhotoState.ABSENT) if is_absent else _failed(ref, error)


def _user_photo(session: EwsSession, ref: PhotoRef, pixels: int) -> Photo:
    # Outside an etag is of one size: a photo is another one when another size is wanted.
    suffix = f"@{pixels}"
    known = ref.etag.removesuffix(suffix) if ref.etag.endswith(suffix) else ""
    # As the EWS Managed API does it: the server's ETag travels in the HTTP headers.
    headers = {"If-None-Match": known} if known and not known.startswith(_OWN_ETAG) else {}
    for edge in (pixels, *(smaller for smaller in _SMALLER if smaller < pixels)):
        answer = session.call(
            get_user_photo(ref.mailbox.address, f"HR{edge}x{edge}"),
            headers={**_AS_IT_IS, **headers},
            limit=_ANSWER_LIMIT,
            expected=frozenset({HTTPStatus.NOT_MODIFIED, HTTPStatus.NOT_FOUND}),
        )
        if answer.status == HTTPStatus.NOT_MODIFIED and headers:
            return Photo(ref, PhotoState.UNCHANGED, etag=ref.etag)
        if not answer.messages:
            return Photo(ref, PhotoState.ABSENT)
        message = answer.messages[0]
        if message.failed and message.code == "ErrorInvalidPhotoSize":
            continue
        if message.failed:
            raise failure(message.code, impersonating=False)
        return _picture(ref, answer, message, known, suffix)
    return Photo(ref, PhotoState.ABSENT)


def _picture(ref: PhotoRef, answer: Answer, message: Message, known: str, suffix: str) -> Photo:
    content = _decoded(message.find("PictureData"))
    if content is None:
        return _unreadable(ref)
    asked_by_etag = known and not known.startswith(_OWN_ETAG) and answer.etag in {"", known}
    if not content and asked_by_etag and message.truth("HasChanged") is False:
        return Photo(ref, PhotoState.UNCHANGED, etag=ref.etag)
    if not content:
        return Photo(ref, PhotoState.ABSENT)
    if len(content) > PHOTO_LIMIT:
        return _too_large(ref)
    etag = answer.etag or _OWN_ETAG + hashlib.sha256(content).hexdigest()
    if etag == known:
        return Photo(ref, PhotoState.UNCHANGED, etag=ref.etag)
    return Photo(ref, PhotoState.PRESENT, content=content, etag=etag + suffix)
