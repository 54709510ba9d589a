"""Which contact folders a mailbox has: the default one, those beside and below it, each once.

Source: Microsoft Graph, "contactFolder: delta" and "List contactFolders".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from connectors.contact import clean_text
from connectors.graph import paths
from connectors.graph.asking import UNKNOWN_HERE, Asking, Server, followed, needed, outlook
from connectors.graph.batch import Outcome, Read, Reply
from connectors.graph.client import Json, identifier_in, values
from connectors.graph.refusals import USERS, Refusal, explain
from connectors.port import ConnectorError, Folder, NoMailbox, ProtocolViolation

_SELECT: Final = "$select=id,displayName,parentFolderId"
_PAGE_SIZE: Final = 200
_TOP: Final = "$top=100"
_MOST: Final = 10_000  # folders of a mailbox; more is a server gone round in circles


@dataclass(frozen=True, slots=True)
class Folders:
    """The folders of a mailbox, parents before their children, and which of them is the default one, if any is."""

    all: tuple[Folder, ...]
    default: Folder | None


@dataclass(frozen=True, slots=True)
class _Row:
    id: str
    name: str
    parent: str


def contact_folders(server: Server, key: str, known: Folder | None) -> Asking[Folders]:
    """The contact folders of a mailbox.

    Args:
        server: Where it is.
        key: The mailbox.
        known: Its default folder, where an earlier reading found out; its ID and name are not asked for again.

    Raises:
        NoMailbox, MailboxGone, NotPermitted: As the server says.
    """
    if server.flat_folders:
        flat = outlook(f"{paths.user(key)}/contactFolders/delta?{_SELECT}", key, page_size=_PAGE_SIZE)
        named = _named(key)
        outcomes = yield [flat] if known else [flat, named]
        (listed,) = yield from followed(server.client, [flat], outcomes[:1], _entry, _MOST)
        if not isinstance(listed, Refusal):
            rows = _standing(listed)
            default = _renamed(known, rows) if known else (yield from _default_folder(key, outcomes[1], rows))
            return Folders(tuple(_tree(rows, default)), default)
        if listed.no_mailbox or listed.status not in UNKNOWN_HERE:
            raise listed
    folders = yield from _by_level(server, key)
    server.flat_folders = False  # only now: a mailbox that is not there refuses everything
    return folders


# -- all at once ------------------------------------------------------------------------------------------------


def _standing(entries: Iterable[Json]) -> list[_Row]:
    """The folders that there are after all rows; a later row of a folder counts, also that it was deleted."""
    found: dict[str, _Row] = {}
    for entry in entries:
        row = _row(entry)
        if entry.get("@removed") is not None:
            found.pop(row.id, None)
        else:
            found[row.id] = row
    return list(found.values())


def _renamed(known: Folder, rows: Iterable[_Row]) -> Folder:
    """The default folder with its present name, on a server that lists it too."""
    return Folder(known.id, next((row.name for row in rows if row.id == known.id and row.name), known.path))


def _tree(rows: Iterable[_Row], default: Folder | None) -> list[Folder]:
    """The default folder and everything below and beside it, level by level."""
    found: dict[str, Folder] = {default.id: default} if default else {}
    left = {row.id: row for row in rows if row.id not in found}
    children: dict[str, list[_Row]] = {}
    for row in left.values():
        children.setdefault(row.parent, []).append(row)
    tops = [row for row in left.values() if row.parent not in left and row.parent not in found]
    found.update((row.id, Folder(row.id, row.name)) for row in tops)
    level = list(found.values())
    while level:
        below = [
            Folder(row.id, f"{folder.path}/{row.name}")
            for folder in level
            for row in children.get(folder.id, [])
            if row.id not in found
        ]
        found.update((folder.id, folder) for folder in below)
        level = below
    # Folders that are each other's parents hang on nothing; their contacts are wanted all the same.
    found.update((row.id, Folder(row.id, row.name)) for row in left.values() if row.id not in found)
    return list(found.values())


# -- level by level, where a server does not list them all at once ----------------------------------------------


def _by_level(server: Server, key: str) -> Asking[Folders]:
    first = [
        _list(f"{paths.user(key)}/contactFolders", key),
        _named(key),
        _list(f"{paths.folder(key, paths.DEFAULT_FOLDER)}/childFolders", key),
    ]
    listed, default, children = yield first
    if isinstance(listed, Refusal) and listed.no_user:
        raise (yield from _whose(key, listed))
    rows = yield from _rows(server, first[0], needed(listed))
    top = yield from _default_folder(key, default, rows)
    found: dict[str, Folder] = {top.id: top} if top else {}
    expanded: set[str] = set()
    if top and not isinstance(children, Refusal):
        _add(found, (yield from _rows(server, first[2], needed(children))), f"{top.path}/")
        expanded.add(top.id)
    elif top and top.id == paths.DEFAULT_FOLDER:
        expanded.add(top.id)
    for row in rows:
        _add(found, [row], f"{top.path}/" if top and row.parent == top.id else "")
    while level := [folder for folder in found.values() if folder.id not in expanded]:
        yield from _descend(server, key, found, level)
        expanded.update(folder.id for folder in level)
    return Folders(tuple(found.values()), top)


def _descend(server: Server, key: str, found: dict[str, Folder], level: list[Folder]) -> Asking[None]:
    reads = [_list(f"{paths.folder(key, folder.id)}/childFolders", key) for folder in level]
    outcomes = yield reads
    lists = yield from followed(server.client, reads, outcomes, _entry, _MOST)
    for folder, listed in zip(level, lists, strict=True):
        if not isinstance(listed, Refusal):
            _add(found, _standing(listed), f"{folder.path}/")
        elif not _childless(listed):
            raise listed
    if len(found) > _MOST:
        raise ProtocolViolation("A mailbox has more folders than any can have.")


def _childless(refusal: Refusal) -> bool:
    """The folder was deleted since it was listed, or this server has no folders below others."""
    return refusal.status in UNKNOWN_HERE and (refusal.status != 400 or refusal.code.lower() == "badrequest")


def _rows(server: Server, read: Read, reply: Reply) -> Asking[list[_Row]]:
    (listed,) = yield from followed(server.client, [read], [reply], _entry, _MOST)
    return [] if isinstance(listed, Refusal) else _standing(listed)


def _add(found: dict[str, Folder], rows: Iterable[_Row], prefix: str) -> None:
    for row in rows:
        found.setdefault(row.id, Folder(row.id, prefix + row.name))


# -- the default folder -----------------------------------------------------------------------------------------


def _default_folder(key: str, outcome: Outcome, listed: list[_Row]) -> Asking[Folder | None]:
    # Whatever the code: the list has come, so there are a user and a mailbox.
    if isinstance(outcome, Refusal) and outcome.status not in {401, 403}:
        return (yield from _default_by_contents(key, listed))
    row = _row(needed(outcome).json())
    return Folder(row.id, row.name or "Contacts")


def _default_by_contents(key: str, listed: list[_Row]) -> Asking[Folder | None]:
    """The default folder of a server that does not know its well-known name: None if it is in the list anyway."""
    (outcome,) = yield [Read(f"{paths.user(key)}/contacts?$select=id,parentFolderId&$top=1", key)]
    peek = values(needed(outcome).json())
    parents = {entry.get("parentFolderId") for entry in peek if isinstance(entry, dict)}
    if any(row.id in parents for row in listed):
        return None
    return Folder(paths.DEFAULT_FOLDER, "Contacts")


def _whose(key: str, refusal: Refusal) -> Asking[ConnectorError]:
    """What a mailbox that cannot be found means: "ResourceNotFound" is said of people without one too."""
    (outcome,) = yield [Read(f"{paths.user(key)}?$select=id")]
    if isinstance(outcome, Refusal):
        return explain(refusal if outcome.status == 404 else outcome, advice=USERS)
    needed(outcome)
    return NoMailbox("The person has no mailbox in Exchange Online.", code=refusal.code)


def _named(key: str) -> Read:
    # `contacts` is the well-known name of the default folder, which the lists leave out ("List contactFolders").
    return Read(f"{paths.folder(key, paths.DEFAULT_FOLDER)}?{_SELECT}", key)


def _list(path: str, key: str) -> Read:
    return Read(f"{path}?{_SELECT}&{_TOP}", key)


def _entry(entry: Any) -> Json:
    identifier_in(entry)
    found: Json = entry
    return found


def _row(entry: Json) -> _Row:
    parent = entry.get("parentFolderId")
    name = clean_text(entry.get("displayName"))
    return _Row(identifier_in(entry), name, parent if isinstance(parent, str) else "")
