"""Folders, their checkpoints, and what a full round has seen of them.

Surface:

    of_mailbox(tx, mailbox_id) -> list[FolderState]                  folder, checkpoint row or None
    of_mailboxes(tx, mailbox_ids) -> dict[bytes, list[FolderState]]  the same of many; those without any left out
    mailboxes(tx, tenant_id) -> set[bytes]                           those that have folders, or had them
    by_ids(tx, folder_ids) -> dict[bytes, FolderRow]
    insert(tx, *rows: FolderRow) -> None
    update(tx, folder_id, blob) -> bool                              a renamed folder; it is back if it was gone
    set_gone(tx, folder_id) -> None
    set_checkpoint(tx, *rows: CheckpointRow) -> None                 inserts or replaces
    clear_checkpoint(tx, folder_id) -> None
    begin_round(tx, folder_id) -> None                               a full round: forgets checkpoint and seen
    add_seen(tx, rows: Sequence[SeenRow]) -> int                     repetitions are ignored
    seen_of(tx, folder_id) -> list[bytes]                            their remote indexes
    pend_unseen(tx, folder_id) -> int                                contacts the round did not bring -> pending
    clear_seen(tx, folder_id) -> int
    pend_all(tx, folder_id) -> int                                   all contacts of a folder that is gone
    has_contacts(tx, folder_id) -> bool
    count_contacts(tx, folder_id) -> int                             without those that await removal
    delete_gone(tx, tenant_id) -> int                                gone folders that hold nothing any more
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from syncvault.store.engine import Transaction
from syncvault.store.statements import changed, fetch, in_lists, run, upsert, value
from syncvault.store.statements import insert as insert_rows


class FolderRow(NamedTuple):
    """A row of `folders`; `gone` is 1 once the mailbox no longer has it."""

    id: bytes
    tenant_id: bytes
    mailbox_id: bytes
    folder_ix: bytes
    blob: bytes
    gone: int
    data_class: str
    purge_at: int


class CheckpointRow(NamedTuple):
    """A row of `checkpoints`; the sealed part also says whether a full round is under way."""

    folder_id: bytes
    tenant_id: bytes
    blob: bytes
    data_class: str
    purge_at: int


class SeenRow(NamedTuple):
    """A row of `seen`."""

    folder_id: bytes
    remote_ix: bytes
    tenant_id: bytes
    data_class: str
    purge_at: int


class FolderState(NamedTuple):
    """A folder and where its round stands."""

    folder: FolderRow
    checkpoint: CheckpointRow | None


_PEND: Final = (
    "INSERT INTO pending_removals (contact_id, tenant_id, folder_id, data_class, purge_at)"
    " SELECT id, tenant_id, folder_id, data_class, purge_at FROM contacts WHERE folder_id = ?"
)
_UNSEEN: Final = " AND NOT EXISTS (SELECT 1 FROM seen s WHERE s.folder_id = ? AND s.remote_ix = contacts.remote_ix)"
GONE_AND_EMPTY: Final = (
    "tenant_id = ? AND gone = 1 AND NOT EXISTS (SELECT 1 FROM contacts WHERE folder_id = folders.id)"
)
_ONCE: Final = " ON CONFLICT (contact_id) DO NOTHING"


def of_mailbox(tx: Transaction, mailbox_id: bytes) -> list[FolderState]:
    """The mailbox's folders with their checkpoints."""
    return of_mailboxes(tx, [mailbox_id]).get(mailbox_id, [])


def of_mailboxes(tx: Transaction, mailbox_ids: Sequence[bytes]) -> dict[bytes, list[FolderState]]:
    """The folders of those of the mailboxes that have any, with their checkpoints."""
    found: dict[bytes, list[FolderState]] = {}
    for marks, part in in_lists(mailbox_ids):
        folders = fetch(tx, FolderRow, "folders", f"WHERE mailbox_id IN ({marks}) ORDER BY id", *part)
        if not folders:
            continue
        where = f"WHERE folder_id IN (SELECT id FROM folders WHERE mailbox_id IN ({marks}))"  # noqa: S608  (marks only)
        checkpoints = {row.folder_id: row for row in fetch(tx, CheckpointRow, "checkpoints", where, *part)}
        for folder in folders:
            found.setdefault(folder.mailbox_id, []).append(FolderState(folder, checkpoints.get(folder.id)))
    return found


def by_ids(tx: Transaction, folder_ids: Sequence[bytes]) -> dict[bytes, FolderRow]:
    """Those of the folders that exist."""
    found: dict[bytes, FolderRow] = {}
    for marks, part in in_lists(folder_ids):
        found.update((row.id, row) for row in fetch(tx, FolderRow, "folders", f"WHERE id IN ({marks})", *part))
    return found


def mailboxes(tx: Transaction, tenant_id: bytes) -> set[bytes]:
    """The tenant's mailboxes that have folders, or had them and something of these is still stored."""
    statement = "SELECT DISTINCT mailbox_id FROM folders WHERE tenant_id = ?"
    return set(run(tx, statement, tenant_id).scalars())


def insert(tx: Transaction, *rows: FolderRow) -> None:
    """Stores new folders."""
    insert_rows(tx, "folders", rows)


def update(tx: Transaction, folder_id: bytes, blob: bytes) -> bool:
    """Replaces the sealed part; the folder is there."""
    return changed(tx, "UPDATE folders SET blob = ?, gone = 0 WHERE id = ?", blob, folder_id) == 1


def set_gone(tx: Transaction, folder_id: bytes) -> None:
    """Records that the mailbox no longer has the folder."""
    run(tx, "UPDATE folders SET gone = 1 WHERE id = ?", folder_id)


def set_checkpoint(tx: Transaction, *rows: CheckpointRow) -> None:
    """Stores the checkpoints after some pages, in the pages' own transaction."""
    upsert(tx, "checkpoints", "folder_id", rows)


def clear_checkpoint(tx: Transaction, folder_id: bytes) -> None:
    """Forgets the checkpoint: the folder is read in full next time."""
    run(tx, "DELETE FROM checkpoints WHERE folder_id = ?", folder_id)


def begin_round(tx: Transaction, folder_id: bytes) -> None:
    """Starts a full round over; nothing it saw counts any more."""
    clear_checkpoint(tx, folder_id)
    clear_seen(tx, folder_id)


def add_seen(tx: Transaction, rows: Sequence[SeenRow]) -> int:
    """Records what a page of a full round brought."""
    return insert_rows(tx, "seen", rows, conflict="ON CONFLICT (folder_id, remote_ix) DO NOTHING")


def seen_of(tx: Transaction, folder_id: bytes) -> list[bytes]:
    """What the round has brought so far, as remote indexes."""
    return list(run(tx, "SELECT remote_ix FROM seen WHERE folder_id = ?", folder_id).scalars())


def pend_unseen(tx: Transaction, folder_id: bytes) -> int:
    """Marks for removal the folder's contacts that its full round did not bring; returns how many are new."""
    return changed(tx, _PEND + _UNSEEN + _ONCE, folder_id, folder_id)


def clear_seen(tx: Transaction, folder_id: bytes) -> int:
    """Forgets what the round saw."""
    return changed(tx, "DELETE FROM seen WHERE folder_id = ?", folder_id)


def pend_all(tx: Transaction, folder_id: bytes) -> int:
    """Marks for removal all contacts of a folder that is gone; returns how many are new."""
    return changed(tx, _PEND + _ONCE, folder_id)


def has_contacts(tx: Transaction, folder_id: bytes) -> bool:
    """Whether anything is stored of a folder."""
    return value(tx, "SELECT 1 FROM contacts WHERE folder_id = ? LIMIT 1", folder_id) is not None


def count_contacts(tx: Transaction, folder_id: bytes) -> int:
    """How many contacts a folder has, without those that await removal."""
    stays = "NOT EXISTS (SELECT 1 FROM pending_removals p WHERE p.contact_id = contacts.id)"
    return int(value(tx, f"SELECT COUNT(*) FROM contacts WHERE folder_id = ? AND {stays}", folder_id))  # noqa: S608  (a constant)


def delete_gone(tx: Transaction, tenant_id: bytes) -> int:
    """Removes the tenant's folders that are gone and empty."""
    return changed(tx, f"DELETE FROM folders WHERE {GONE_AND_EMPTY}", tenant_id)  # noqa: S608  (a constant)
