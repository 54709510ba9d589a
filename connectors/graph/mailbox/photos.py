"""Photos of people and of contacts: only those that changed are downloaded, and none larger than the port's limit.

Source: Microsoft Graph, "Get profilePhoto" and "profilePhoto resource type".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from connectors.graph import paths
from connectors.graph.wire.batch import Outcome, Read, Reply, chunks, read_batch
from connectors.graph.wire.client import GraphClient, Json, TooLargeError, values
from connectors.graph.wire.refusals import CONTACTS, Refusal, explain
from connectors.port import (
    PHOTO_LIMIT,
    ConnectorError,
    CredentialRejected,
    MailboxGone,
    Photo,
    PhotoRef,
    PhotoState,
    ProtocolViolation,
    Unreachable,
)
from connectors.selection import PHOTO_PIXELS

_BATCH_LIMIT: Final = 12 * 1024 * 1024  # of an answer with 20 photos; beyond it they are read one by one
_GONE: Final = frozenset({"request_resourcenotfound", "errorinvaliduser"})  # the person, mostly, not just the photo
_NONE: Final = frozenset(
    {"imagenotfound", "errorimagenotfound", "erroritemnotfound", "itemnotfound", "resourcenotfound"}
)
_UNKNOWN_HERE: Final = frozenset({400, 404, 405, 501})
_PEOPLE: Final = "Grant the application User.Read.All (or ProfilePhoto.Read.All) in Entra, with admin consent."


@dataclass(slots=True)
class _Look:
    """A photo being looked at.

    Attributes:
        ref: Whose.
        metadata: Their path.
        pixels: Of a person's photo, the longer edge that is wanted; 0 for a contact's, which has one size.
        value: The path to download, once that is known.
        etag: As the metadata say.
    """

    ref: PhotoRef
    metadata: str
    pixels: int = 0
    value: str = ""
    etag: str = ""
    seen: bool = False  # the bytes have been there, though they could not be taken yet
    done: bool = False  # the result has been handed over
    result: Photo | None = field(default=None)

    def read(self, path: str, *, binary: bool) -> Read:
        return Read(path, self.ref.mailbox.key if self.ref.item_id else "", paths.IMMUTABLE, binary)

    @property
    def name(self) -> str:
        """What its etag is called outside: a person's photo is another one when another size is wanted."""
        return f"{self.etag}@{self.pixels}" if self.etag and self.pixels else self.etag

    def sized(self, pixels: int) -> str:
        """The path of a person's photo in one of the sizes that the server makes."""
        return f"{self.metadata}s/{pixels}x{pixels}/$value"

    def settle(self, state: PhotoState, **fields: Any) -> None:
        self.result = Photo(self.ref, state, **fields)

    def fail(self, error: ConnectorError) -> None:
        self.settle(PhotoState.FAILED, error=error)

    def refused(self, refusal: Refusal) -> None:
        if refusal.status == 404 and refusal.code.lower() in _GONE:
            self.fail(MailboxGone("The user does not exist in this directory.", code=refusal.code))
        elif refusal.status == 404 and not (refusal.no_mailbox and self.ref.item_id):
            self.settle(PhotoState.ABSENT)
        else:
            self.fail(explain(refusal, advice=CONTACTS if self.ref.item_id else _PEOPLE))


class PhotoReader:
    """Looks at photos for one connector; remembers only whether this server names an ETag with a photo's bytes."""

    def __init__(self, client: GraphClient, pixels: int = 240) -> None:
        self._client = client
        self._pixels = pixels
        self._etags_come_with_bytes = True

    def photos(self, wanted: Sequence[PhotoRef]) -> Iterator[Photo]:
        """One outcome for each reference, in any order; what is alike about them travels together."""
        looks = [_look_at(ref, self._pixels) for ref in wanted]
        # A contact's photo that was never seen is asked for at once: mostly there is one, and that is one request.
        for chunk in chunks([look for look in looks if look.value and not look.ref.etag]):
            if self._etags_come_with_bytes:
                self._download(chunk, blindly=True)
                yield from _settled(chunk)
        for chunk in chunks(_unsettled(looks)):
            self._examine(chunk)
            yield from _settled(chunk)
        for chunk in chunks(_unsettled(looks)):
            self._download(chunk, blindly=False)
            yield from _settled(chunk)
        for chunk in chunks([look for look in looks if look.result is not None]):
            self._doubt(chunk)
            yield from (look.result for look in chunk if look.result is not None)

    def _doubt(self, looks: Sequence[_Look]) -> None:
        """Asks whether people are gone: some servers say the same of a photo that is not there."""
        keys = list(dict.fromkeys(look.ref.mailbox.key for look in looks))
        outcomes = read_batch(self._client, [Read(f"{paths.user(key)}?$select=id") for key in keys])
        there = {key for key, outcome in zip(keys, outcomes, strict=True) if isinstance(outcome, Reply)}
        for look in looks:
            if look.ref.mailbox.key in there:
                look.settle(PhotoState.ABSENT)

    # -- metadata -----------------------------------------------------------------------------------------------

    def _examine(self, looks: Sequence[_Look]) -> None:
        """Reads metadata: settles what is absent or unchanged, and notes the etag and what to download of the rest."""
        outcomes = read_batch(self._client, [look.read(look.metadata, binary=False) for look in looks])
        for look, outcome in zip(looks, outcomes, strict=True):
            if isinstance(outcome, Refusal) and (look.seen or _says_nothing(outcome)):
                # No metadata here; the photo may be there all the same.
                look.value = look.value or look.sized(look.pixels)
            elif isinstance(outcome, Refusal):
                look.refused(outcome)
            elif isinstance(outcome, Reply):
                self._weigh(look, _object_in(outcome))
            else:
                look.fail(outcome)

    def _weigh(self, look: _Look, metadata: Json) -> None:
        width, height = metadata.get("width"), metadata.get("height")
        look.etag = plain_etag(metadata.get("@odata.mediaEtag"))
        if not look.etag and (width, height) == (1, 1):
            look.settle(PhotoState.ABSENT)
        elif look.etag and look.name == look.ref.etag:
            look.settle(PhotoState.UNCHANGED, etag=look.name)
        elif not look.value:
            self._choose(look, width, height)

    def _choose(self, look: _Look, width: Any, height: Any) -> None:
        """Which size of a person's photo to download: the largest that is not larger than wanted."""
        if isinstance(width, int) and isinstance(height, int) and min(width, height) > 0:
            # Metadata are of the largest photo. One of another shape or size than the usual is served as it is.
            if width == height and width in PHOTO_PIXELS:
                look.value = look.sized(min(width, look.pixels))
            else:
                look.value = look.sized(look.pixels) if max(width, height) > look.pixels else f"{look.metadata}/$value"
            return
        try:
            look.value = self._listed_size(look)
        except Refusal as refusal:
            look.refused(refusal)
        except ConnectorError as error:
            _raise_if_hopeless(error)
            look.fail(error)

    def _listed_size(self, look: _Look) -> str:
        """The path of the best size in the list of those there are; the photo as it is where nothing is listed."""
        try:
            listed = values(self._client.get_json(f"{look.metadata}s"))
        except Refusal as refusal:
            if refusal.status not in _UNKNOWN_HERE:
                raise
            listed = []
        sizes = [size for entry in listed if isinstance(entry, dict) and (size := _size_of(entry))]
        fitting = [size for size in sizes if size[0] <= look.pixels]
        best = max(fitting) if fitting else min(sizes, default=None)
        return f"{look.metadata}s/{best[1]}/$value" if best else f"{look.metadata}/$value"

    # -- bytes --------------------------------------------------------------------------------------------------

    def _download(self, looks: Sequence[_Look], *, blindly: bool) -> None:
        """Downloads in one batch, or one by one where that would be too much at once."""
        reads = [look.read(look.value, binary=True) for look in looks]
        try:
            outcomes: Sequence[Outcome | None]
            outcomes = read_batch(self._client, reads, limit=_BATCH_LIMIT)
        except TooLargeError:
            outcomes = [None] * len(looks)
        for look, outcome in zip(looks, outcomes, strict=True):
            if isinstance(outcome, Reply):
                self._accept(look, outcome, blindly=blindly)
            elif outcome is None or (isinstance(outcome, Refusal) and outcome.status == 413):
                self._download_alone(look, blindly=blindly)
            elif isinstance(outcome, Refusal):
                self._refused_bytes(look, outcome)
            else:
                look.fail(outcome)

    def _accept(self, look: _Look, reply: Reply, *, blindly: bool) -> None:
        try:
            content = reply.content()
        except ProtocolViolation:
            # Some answers do not fit into a batch; alone the photo comes as it is.
            self._download_alone(look, blindly=blindly)
            return
        self._present(look, content, plain_etag(reply.headers.get("etag")), blindly=blindly)

    def _download_alone(self, look: _Look, *, blindly: bool) -> None:
        try:
            answer = self._client.get_bytes(
                look.value, limit=PHOTO_LIMIT, prefer=paths.IMMUTABLE, mailbox=look.ref.mailbox.key
            )
        except TooLargeError:
            look.fail(_too_large())
        except Refusal as refusal:
            self._refused_bytes(look, refusal)
        except ConnectorError as error:
            _raise_if_hopeless(error)
            look.fail(error)
        else:
            if answer.is_html:
                look.fail(ProtocolViolation("The server answers with a web page instead of a photo."))
            else:
                self._present(look, answer.body, plain_etag(answer.headers.get("ETag")), blindly=blindly)

    def _refused_bytes(self, look: _Look, refusal: Refusal) -> None:
        if refusal.status in {400, 404} and not look.ref.item_id and "/photos/" in look.value:
            # Metadata are of the largest photo; not every server has it in every smaller size.
            tried, look.value = look.value, ""
            self._choose(look, None, None)
            if look.result is None and look.value != tried:
                self._download_alone(look, blindly=False)
                return
        if look.result is None:
            look.refused(refusal)

    def _present(self, look: _Look, content: bytes, etag: str, *, blindly: bool) -> None:
        if not content or _is_single_pixel(content):
            look.settle(PhotoState.ABSENT)
        elif len(content) > PHOTO_LIMIT:
            look.fail(_too_large())
        elif blindly and not etag:
            # The metadata have to be read before the bytes, else a change in between would go unseen.
            self._etags_come_with_bytes = False
            look.seen = True
        else:
            # Metadata are what the next look compares with, so theirs counts.
            look.etag = look.etag or etag
            look.settle(PhotoState.PRESENT, content=content, etag=look.name)


def _look_at(ref: PhotoRef, pixels: int) -> _Look:
    if not ref.item_id:
        return _Look(ref, f"{paths.user(ref.mailbox.key)}/photo", pixels)
    photo = paths.contact_photo(ref.mailbox.key, ref.folder_id, ref.item_id)
    return _Look(ref, photo, value=f"{photo}/$value")


def _unsettled(looks: Sequence[_Look]) -> list[_Look]:
    return [look for look in looks if look.result is None and not look.done]


def _settled(looks: Sequence[_Look]) -> Iterator[Photo]:
    """The results that are beyond doubt; they are not held any longer."""
    for look in looks:
        if (photo := look.result) is not None and not _is_gone(photo.error):
            look.result, look.done = None, True
            yield photo


def _is_gone(error: ConnectorError | None) -> bool:
    return isinstance(error, MailboxGone) and error.code.lower() in _GONE


def _says_nothing(refusal: Refusal) -> bool:
    """Whether a refusal of metadata leaves open if there is a photo."""
    unnamed = refusal.code.lower() not in _NONE | _GONE and not refusal.no_mailbox
    return refusal.status in _UNKNOWN_HERE and unnamed


def _object_in(reply: Reply) -> Json:
    try:
        return reply.json()
    except ProtocolViolation:
        return {}


def plain_etag(value: object) -> str:
    """An etag without quotes and weakness: metadata and headers write the same one differently."""
    return value.strip().removeprefix("W/").strip('"') if isinstance(value, str) else ""


def _size_of(entry: Json) -> tuple[int, str] | None:
    """The longer edge in pixels and the name of a size, such as (240, "240x240")."""
    name, width, height = entry.get("id"), entry.get("width"), entry.get("height")
    if not isinstance(width, int) or not isinstance(height, int) or width <= 1:
        return None
    plain = isinstance(name, str) and name.lower() == f"{width}x{height}"
    return max(width, height), str(name) if plain else f"{width}x{height}"


def _is_single_pixel(content: bytes) -> bool:
    return content[:4] == b"GIF8" and len(content) >= 10 and struct.unpack_from("<HH", content, 6) == (1, 1)


def _too_large() -> ConnectorError:
    return ConnectorError(
        f"A photo is larger than {PHOTO_LIMIT // 2**20} MiB and was left out.",
        code="photo-too-large",
        advice="Nothing to do, or have the photo made smaller at the source.",
    )


def _raise_if_hopeless(error: ConnectorError) -> None:
    if isinstance(error, CredentialRejected | Unreachable):
        raise error
