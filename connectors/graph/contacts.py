"""What changed in a mailbox's contacts: a delta round per folder, page by page.

Source: Microsoft Graph, "Use delta query to track changes in Graph data" and "contact: delta".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from connectors.graph import paths
from connectors.graph.client import GraphClient, Json, TooLargeError, values
from connectors.graph.folders import contact_folders
from connectors.graph.mapping import CONTACT_SELECT, contact_from
from connectors.graph.refusals import CONTACTS, Refusal, explain
from connectors.port import (
    CheckpointExpired,
    Checkpoints,
    Folder,
    FolderGone,
    Mailbox,
    Page,
    ProtocolViolation,
    Removal,
    Upsert,
)

PAGE_SIZE: Final = 200
_SMALLER: Final = (20, 1)  # page sizes for contacts with enormous notes
_ID_LIMIT: Final = 2_048


def changes(
    client: GraphClient, mailbox: Mailbox, checkpoints: Checkpoints, page_size: int
) -> Iterator[Page | FolderGone]:
    """The pages of every folder's round, then the folders that went away."""
    begun = dict(checkpoints)  # the caller may commit into its own while this goes on
    folders = contact_folders(client, mailbox.key)
    for folder in folders:
        yield from _round(client, mailbox.key, folder, begun.get(folder.id, ""), page_size)
    present = {folder.id for folder in folders}
    for folder_id in begun:
        if folder_id not in present:
            yield FolderGone(folder_id)


def _round(
    client: GraphClient, key: str, folder: Folder, checkpoint: str, page_size: int
) -> Iterator[Page | FolderGone]:
    path = _resumed(client, checkpoint) or f"{paths.contacts(key, folder.id)}/delta?$select={CONTACT_SELECT}"
    resumed = bool(checkpoint)
    last = False
    seen: set[int] = set()
    while not last:
        seen.add(hash(path))
        try:
            data = _fetch(client, key, path, page_size)
        except Refusal as refusal:
            if refusal.no_folder:
                yield FolderGone(folder.id)
                return
            raise _explained(refusal, folder, resumed=resumed) from None
        page = _page(client, folder, data)
        if not page.last and hash(page.checkpoint) in seen:
            raise ProtocolViolation("A page of changes names itself or an earlier one as the next one.")
        yield page
        path, last, resumed = page.checkpoint, page.last, False


def _resumed(client: GraphClient, checkpoint: str) -> str:
    # Ours are paths; a whole address is let through if it leads home, as any link of the server's.
    return checkpoint if not checkpoint or checkpoint.startswith("/") else client.local_path(checkpoint)


def _fetch(client: GraphClient, key: str, path: str, page_size: int) -> Json:
    for size in (page_size, *(smaller for smaller in _SMALLER if smaller < page_size)):
        try:
            prefer = f"odata.maxpagesize={size}, {paths.IMMUTABLE}"
            return client.get_json(path, prefer=prefer, mailbox=key)
        except TooLargeError:
            continue
    raise ProtocolViolation("A single contact is larger than what is read.", code="answer-too-large")


def _explained(refusal: Refusal, folder: Folder, *, resumed: bool) -> Exception:
    # A checkpoint is the server's own: when it calls that a bad request, it cannot read it any more.
    unreadable = resumed and refusal.status == 400 and not (refusal.no_mailbox or refusal.no_user)
    if refusal.lost_state or unreadable:
        return CheckpointExpired("Graph no longer knows a folder's checkpoint.", folder_id=folder.id, code=refusal.code)
    return explain(refusal, advice=CONTACTS)


def _page(client: GraphClient, folder: Folder, data: Json) -> Page:
    upserts: dict[str, Upsert] = {}
    removals: dict[str, Removal] = {}
    malformed = 0
    for entry in values(data):
        identifier = _id_of(entry)
        if not identifier:
            malformed += 1
        elif entry.get("@removed") is not None:
            upserts.pop(identifier, None)
            removals[identifier] = Removal(identifier)
        else:
            removals.pop(identifier, None)
            upserts[identifier] = Upsert(identifier, contact_from(entry))
    following, final = data.get("@odata.nextLink"), data.get("@odata.deltaLink")
    if not following and not final:
        raise ProtocolViolation("A page of changes names neither a next page nor the next round.")
    return Page(
        folder=folder,
        upserts=tuple(upserts.values()),
        removals=tuple(removals.values()),
        checkpoint=client.local_path(following or final),
        last=not following,
        skipped={"malformed": malformed} if malformed else {},
    )


def _id_of(entry: Any) -> str:
    identifier = entry.get("id") if isinstance(entry, dict) else None
    return identifier if isinstance(identifier, str) and 0 < len(identifier) <= _ID_LIMIT else ""
