"""Which contact folders a mailbox has: the default one, those beside and below it, each once.

Source: Microsoft Graph, "contactFolder: delta" and "List contactFolders".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Final

from connectors.contact import clean_text
from connectors.graph import paths
from connectors.graph.mailbox.asking import UNKNOWN_HERE, Asking, Server, followed, needed, outlook
from connectors.graph.mailbox.checkpoints import Default, default_in
from connectors.graph.wire.batch import Outcome, Read, Reply
from connectors.graph.wire.client import Json, identifier_in, values
from connectors.graph.wire.refusals import USERS, Refusal, explain
from connectors.port import Checkpoints, ConnectorError, Folder, NoMailbox, ProtocolViolation

_SELECT: Final = "$select=id,displayName,parentFolderId"
_PAGE_SIZE: Final = 200
_TOP: Final = "$top=100"
_MOST: Final = 10_000  # folders of a mailbox; more is a server gone round in circles
_FEW: Final = 1  # folders beside the default one: while they are all empty, a request for its name would weigh


@dataclass(frozen=True, slots=True)
class Row:
    """A folder as the server lists it."""

    id: str
    name: str
    parent: str


@dataclass(frozen=True, slots=True)
class Folders:
    """The folders of a mailbox, parents before their children.

    Attributes:
        all: The folders. Those of a mailbox whose default folder is not named yet lack its name in their paths.
        default: Which of them is the default one, if any is.
        rows: Those that the server listed.
    """

    all: tuple[Folder, ...]
    default: Default | None
    rows: tuple[Row, ...] = ()

    @property
    def unnamed(self) -> bool:
        """Whether the name of the default folder is left to be asked for: `named_folders` does that."""
        return self.default is not None and not self.default.named


def contact_folders(server: Server, key: str, begun: Checkpoints, *, by_name: bool) -> Asking[Folders]:
    """The contact folders of a mailbox.

    Args:
        server: Where it is.
        key: The mailbox.
        begun: Where the rounds of its folders stand. They remember the name of the default one, which is not asked for
            again but now and then.
        by_name: Whether the name of the default folder is needed, be the mailbox empty or not.

    Raises:
        NoMailbox, MailboxGone, NotPermitted: As the server says.
    """
    known, today = default_in(begun), server.client.now().date()
    if server.flat_folders:
        flat = outlook(f"{paths.user(key)}/contactFolders/delta?{_SELECT}", key, page_size=_PAGE_SIZE)
        is_needed = by_name or not server.names_stand_for_ids
        asks = known.is_due(key, today) or (is_needed and not known.named) if known else is_needed
        outcomes = yield [flat, _named(key)] if asks else [flat]
        (listed,) = yield from followed(server.client, [flat], outcomes[:1], _entry, _MOST)
        if not isinstance(listed, Refusal):
            rows = _standing(listed)
            if asks:
                return (yield from _with_name(key, outcomes[1], rows, known, today))
            if known and known.named:
                return _folders(rows, _renamed(known, rows))
            # One that is not listed may be the default one, be it gone or not.
            is_lost = bool(begun.keys() - {row.id for row in rows} - {paths.DEFAULT_FOLDER})
            if len(rows) <= _FEW and not is_lost:
                unnamed = known or Default.unnamed(today)
                return Folders((unnamed.folder, *_tree(rows, None)), unnamed, tuple(rows))
            (named,) = yield [_named(key)]
            return (yield from _with_name(key, named, rows, known, today))
        if listed.no_mailbox or not (listed.lost_state or listed.status in UNKNOWN_HERE):
            raise listed
        folders = yield from _by_level(server, key, begun, today)
        server.flat_folders = listed.lost_state  # only now: a mailbox that is not there refuses everything
        return folders
    return (yield from _by_level(server, key, begun, today))


def named_folders(server: Server, key: str, folders: Folders) -> Asking[Folders]:
    """The same folders, after asking for the default folder's name."""
    (named,) = yield [_named(key)]
    return (yield from _with_name(key, named, list(folders.rows), None, server.client.now().date()))


# -- all at once ------------------------------------------------------------------------------------------------


def _folders(rows: list[Row], default: Default | None) -> Folders:
    return Folders(tuple(_tree(rows, default.folder if default else None)), default, tuple(rows))


def _standing(entries: Iterable[Json]) -> list[Row]:
    """The folders that there are after all rows; a later row of a folder counts, also that it was deleted."""
    found: dict[str, Row] = {}
    for entry in entries:
        row = _row(entry)
        if entry.get("@removed") is not None:
            found.pop(row.id, None)
        else:
            found[row.id] = row
    return list(found.values())


def _renamed(known: Default, rows: Iterable[Row]) -> Default:
    """The default folder with its present name, on a server that lists it too."""
    name = next((row.name for row in rows if row.id == known.folder.id and row.name), known.folder.path)
    return replace(known, folder=Folder(known.folder.id, name))


def _tree(rows: Iterable[Row], default: Folder | None) -> list[Folder]:
    """The default folder and everything below and beside it, level by level."""
    found: dict[str, Folder] = {default.id: default} if default else {}
    left = {row.id: row for row in rows if row.id not in found}
    children: dict[str, list[Row]] = {}
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


def _by_level(server: Server, key: str, begun: Checkpoints, today: date) -> Asking[Folders]:
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
    is_whole = True
    while level := [folder for folder in found.values() if folder.id not in expanded]:
        is_whole &= yield from _descend(server, key, found, level)
        expanded.update(folder.id for folder in level)
    if not is_whole:
        yield from _keep(key, found, begun.keys() - found.keys() - {paths.DEFAULT_FOLDER})
    return Folders(tuple(found.values()), Default(top, named=True, asked=today) if top else None)


def _descend(server: Server, key: str, found: dict[str, Folder], level: list[Folder]) -> Asking[bool]:
    """Adds the folders below those of a level; False if some of these do not say what is below them."""
    reads = [_list(f"{paths.folder(key, folder.id)}/childFolders", key) for folder in level]
    outcomes = yield reads
    lists = yield from followed(server.client, reads, outcomes, _entry, _MOST)
    is_whole = True
    for folder, listed in zip(level, lists, strict=True):
        if not isinstance(listed, Refusal):
            _add(found, _standing(listed), f"{folder.path}/")
        elif _childless(listed):
            is_whole = False
        else:
            raise listed
    if len(found) > _MOST:
        raise ProtocolViolation("A mailbox has more folders than any can have.")
    return is_whole


def _keep(key: str, found: dict[str, Folder], known: Iterable[str]) -> Asking[None]:
    """Adds those known folders that are still there, though no list names them."""
    reads = [_one(key, folder_id) for folder_id in sorted(known)]
    outcomes = (yield reads) if reads else []
    rows = [_row(needed(said).json()) for said in outcomes if not (isinstance(said, Refusal) and said.no_folder)]
    left = {row.id: row for row in rows}
    while left:
        # Those are next whose parents have their paths; in a ring nobody has.
        for row in [row for row in left.values() if row.parent not in left] or list(left.values()):
            above = found.get(row.parent)
            _add(found, [row], f"{above.path}/" if above else "")
            del left[row.id]


def _childless(refusal: Refusal) -> bool:
    """The folder was deleted since it was listed, or this server has no folders below others."""
    return refusal.status in UNKNOWN_HERE and (refusal.status != 400 or refusal.code.lower() == "badrequest")


def _rows(server: Server, read: Read, reply: Reply) -> Asking[list[Row]]:
    (listed,) = yield from followed(server.client, [read], [reply], _entry, _MOST)
    return [] if isinstance(listed, Refusal) else _standing(listed)


def _add(found: dict[str, Folder], rows: Iterable[Row], prefix: str) -> None:
    for row in rows:
        found.setdefault(row.id, Folder(row.id, prefix + row.name))


# -- the default folder -----------------------------------------------------------------------------------------


def _with_name(key: str, outcome: Outcome, rows: list[Row], known: Default | None, today: date) -> Asking[Folders]:
    """The folders with the default one's name, which `outcome` brings; else as it was."""
    if known and known.named and isinstance(outcome, Refusal) and outcome.status not in {401, 403}:
        return _folders(rows, _renamed(replace(known, asked=today), rows))
    folder = yield from _default_folder(key, outcome, rows)
    return _folders(rows, Default(folder, named=True, asked=today) if folder else None)


def _default_folder(key: str, outcome: Outcome, listed: list[Row]) -> Asking[Folder | None]:
    # Whatever the code: the list has come, so there are a user and a mailbox.
    if isinstance(outcome, Refusal) and outcome.status not in {401, 403}:
        return (yield from _default_by_contents(key, listed))
    row = _row(needed(outcome).json())
    return Folder(row.id, row.name or "Contacts")


def _default_by_contents(key: str, listed: list[Row]) -> Asking[Folder | None]:
    """The default folder of a server that does not know its well-known name: None if it is in the list anyway."""
    (outcome,) = yield [Read(f"{paths.user(key)}/contacts?$select=id,parentFolderId&$top=1", key, paths.IMMUTABLE)]
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
    return _one(key, paths.DEFAULT_FOLDER)


def _one(key: str, folder_id: str) -> Read:
    return Read(f"{paths.folder(key, folder_id)}?{_SELECT}", key, paths.IMMUTABLE)


def _list(path: str, key: str) -> Read:
    return Read(f"{path}?{_SELECT}&{_TOP}", key, paths.IMMUTABLE)


def _entry(entry: Any) -> Json:
    identifier_in(entry)
    found: Json = entry
    return found


def _row(entry: Json) -> Row:
    parent = entry.get("parentFolderId")
    name = clean_text(entry.get("displayName"))
    return Row(identifier_in(entry), name, parent if isinstance(parent, str) else "")
