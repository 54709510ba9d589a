"""Which contact folders a mailbox has: the default one, those beside and below it, each once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from connectors.contact import clean_text
from connectors.graph import paths
from connectors.graph.batch import Outcome, Read, Reply, chunks, read_batch
from connectors.graph.client import GraphClient, Json, values
from connectors.graph.refusals import CONTACTS, USERS, Refusal, explain
from connectors.port import ConnectorError, Folder, NoMailbox, ProtocolViolation

_SELECT: Final = "$select=id,displayName,parentFolderId"
_LIST: Final = f"{_SELECT}&$top=100"
_UNKNOWN_HERE: Final = frozenset({404, 405, 501})
_MOST: Final = 10_000  # folders of a mailbox; more is a server gone round in circles


def contact_folders(client: GraphClient, key: str) -> list[Folder]:
    """The contact folders of a mailbox, parents before their children.

    Raises:
        NoMailbox, MailboxGone, NotPermitted: As the server says.
    """
    first = [
        Read(f"{paths.user(key)}/contactFolders?{_LIST}", key),
        # `contacts` is the well-known name of the default folder, which the list leaves out ("List contactFolders").
        Read(f"{paths.folder(key, 'contacts')}?{_SELECT}", key),
        Read(f"{paths.folder(key, 'contacts')}/childFolders?{_LIST}", key),
    ]
    listed, default, children = read_batch(client, first)
    found: dict[str, Folder] = {}
    if isinstance(listed, Refusal) and listed.no_user:
        raise _whose(client, key, listed)
    entries = list(_entries(client, key, _needed(listed)))
    top = _default_folder(client, key, default, entries)
    _add(found, [{"id": top.id, "displayName": top.path}], "") if top else None
    if top and isinstance(children, Reply):
        _add(found, _entries(client, key, children), f"{top.path}/")
    for entry in entries:
        below_default = top is not None and isinstance(entry, dict) and entry.get("parentFolderId") == top.id
        _add(found, [entry], f"{top.path}/" if top and below_default else "")
    expanded = {top.id} if top and isinstance(children, Reply) else set()
    if top and top.id == paths.DEFAULT_FOLDER:
        expanded.add(top.id)
    _descend(client, key, found, expanded)
    return list(found.values())


def _default_folder(client: GraphClient, key: str, outcome: Outcome, listed: list[Any]) -> Folder | None:
    # Whatever the code: the list has come, so there are a user and a mailbox.
    if isinstance(outcome, Refusal) and outcome.status not in {401, 403}:
        return _default_by_contents(client, key, listed)
    entry = _needed(outcome).json()
    identifier = entry.get("id")
    if not isinstance(identifier, str) or not identifier:
        raise ProtocolViolation("The server gave a folder without an ID.")
    return Folder(identifier, clean_text(entry.get("displayName")) or "Contacts")


def _default_by_contents(client: GraphClient, key: str, listed: list[Any]) -> Folder | None:
    """The default folder of a server that does not know its well-known name: None if it is in the list anyway."""
    peek = client.get_json(f"{paths.user(key)}/contacts?$select=id,parentFolderId&$top=1", mailbox=key)
    parents = {entry.get("parentFolderId") for entry in values(peek) if isinstance(entry, dict)}
    if any(isinstance(entry, dict) and entry.get("id") in parents for entry in listed):
        return None
    return Folder(paths.DEFAULT_FOLDER, "Contacts")


def _descend(client: GraphClient, key: str, found: dict[str, Folder], expanded: set[str]) -> None:
    while level := [folder for folder in found.values() if folder.id not in expanded]:
        for chunk in chunks(level):
            reads = [Read(f"{paths.folder(key, folder.id)}/childFolders?{_LIST}", key) for folder in chunk]
            for folder, outcome in zip(chunk, read_batch(client, reads), strict=True):
                expanded.add(folder.id)
                if isinstance(outcome, Refusal) and _childless(outcome):
                    continue
                _add(found, _entries(client, key, _needed(outcome)), f"{folder.path}/")


def _childless(refusal: Refusal) -> bool:
    """The folder was deleted since it was listed, or this server has no folders below others."""
    return refusal.status in _UNKNOWN_HERE or (refusal.status == 400 and refusal.code.lower() == "badrequest")


def _whose(client: GraphClient, key: str, refusal: Refusal) -> ConnectorError:
    """What a mailbox that cannot be found means: "ResourceNotFound" is said of people without one too."""
    try:
        client.get_json(f"{paths.user(key)}?$select=id")
    except Refusal as unknown:
        return explain(refusal if unknown.status == 404 else unknown, advice=USERS)
    return NoMailbox("The person has no mailbox in Exchange Online.", code=refusal.code)


def _add(found: dict[str, Folder], entries: Any, prefix: str) -> None:
    for entry in entries:
        identifier = entry.get("id") if isinstance(entry, dict) else None
        if isinstance(identifier, str) and identifier:
            found.setdefault(identifier, Folder(identifier, prefix + clean_text(entry.get("displayName"))))
    if len(found) > _MOST:
        raise ProtocolViolation("The server lists more contact folders than a mailbox can have.")


def _entries(client: GraphClient, key: str, reply: Reply) -> Iterator[Any]:
    page: Json = reply.json()
    yield from values(page)
    if following := client.next_link(page):
        for entries in client.pages(following, mailbox=key):
            yield from entries


def _needed(outcome: Outcome) -> Reply:
    if isinstance(outcome, Reply):
        return outcome
    raise explain(outcome, advice=CONTACTS) if isinstance(outcome, Refusal) else outcome
