"""What Graph does not say of a contact, found out by filtering its folder: whether it is private, and has a picture.

Sources: Microsoft Graph, "singleValueLegacyExtendedProperty: Get"; Exchange, PidTagSensitivity and PidLidHasPicture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from connectors.graph import paths
from connectors.graph.mailbox.asking import Asking, Server, followed
from connectors.graph.wire.batch import Read
from connectors.graph.wire.client import identifier_in
from connectors.graph.wire.refusals import Refusal
from connectors.port import ConnectorError, Folder
from connectors.selection import Selection

_ANY: Final = "singleValueExtendedProperties/any(ep: ep/id eq '{name}' and cast(ep/value, {type}) eq {value})"
_PRIVATE: Final = _ANY.format(name="Integer 0x36", type="Edm.Int32", value=2)
_PICTURE: Final = _ANY.format(
    name="Boolean {00062004-0000-0000-C000-000000000046} Id 0x8015", type="Edm.Boolean", value="true"
)
_ESCAPED: Final = {condition: quote(condition, safe="()/:,'=") for condition in (_PRIVATE, _PICTURE)}
_NO_FILTER: Final = frozenset({400, 405, 501})
_MOST: Final = 1_000_000  # "Exchange Online limits": items of a folder
_ADVICE: Final = (
    "This server cannot tell which items are marked private; to pull everything, private items too:"
    " syncvault tenant edit NAME --include-private"
)


@dataclass(frozen=True, slots=True)
class Marks:
    """IDs of a folder's contacts.

    Attributes:
        private: Those that their owner marked private, if these are left out.
        pictured: Those with a picture; None where the server cannot say.
    """

    private: frozenset[str] = frozenset()
    pictured: frozenset[str] | None = frozenset()


def marks_of(server: Server, key: str, folders: Sequence[Folder], selection: Selection) -> Asking[list[Marks | None]]:
    """The marks of each folder, all asked for at once; None of a folder that is not there any more.

    Raises:
        ConnectorError: The server cannot tell which contacts are private, and those are not wanted.
    """
    asks_private, asks_pictures = not selection.private, selection.photos and server.tells_pictures
    private = [_filtered(key, folder, _PRIVATE) for folder in folders] if asks_private else []
    pictured = [_filtered(key, folder, _PICTURE) for folder in folders] if asks_pictures else []
    reads = [*private, *pictured]
    lists: list[list[str] | Refusal] = []
    if reads:
        outcomes = yield reads
        lists = yield from followed(server.client, reads, outcomes, identifier_in, _MOST)
    marks: list[Marks | None] = []
    for number in range(len(folders)):
        hidden = lists[number] if asks_private else []
        shown = lists[len(private) + number] if asks_pictures else None
        marks.append(_marks(server, hidden, shown, selection))
    return marks


def _marks(
    server: Server, private: list[str] | Refusal, pictured: list[str] | Refusal | None, selection: Selection
) -> Marks | None:
    if any(isinstance(said, Refusal) and said.no_folder for said in (private, pictured)):
        return None
    if isinstance(private, Refusal):
        if private.status in _NO_FILTER and not (private.no_mailbox or private.no_user):
            raise ConnectorError(
                "The server does not tell which items are marked private.", code="private-unknown", advice=_ADVICE
            )
        raise private
    if isinstance(pictured, Refusal):
        if pictured.status not in _NO_FILTER or pictured.no_mailbox or pictured.no_user:
            raise pictured
        server.tells_pictures = False
        pictured = None
    if not selection.photos:
        pictured = []
    return Marks(frozenset(private), None if pictured is None else frozenset(pictured))


def _filtered(key: str, folder: Folder, condition: str) -> Read:
    listed = f"{paths.contacts(key, folder.id)}?$select=id"
    return Read(f"{listed}&$filter={_ESCAPED[condition]}&$top=999", key, paths.IMMUTABLE)
