"""Contacts that await removal at the end of the run, after the brake has seen how many there are.

Surface:

    add(tx, rows: Sequence[PendingRow]) -> int                 those pending already are left alone
    clear(tx, contact_ids) -> int                              they came back
    clear_of_tenant(tx, tenant_id) -> int
    among(tx, contact_ids) -> set[bytes]                       those of them that are pending
    take_out(tx, contact_ids) -> list[PendingRow]              the marks of those, which are off now
    count(tx, tenant_id) -> dict[bytes, int]                   what `apply` would remove, by mailbox
    each(tx, tenant_id) -> list[tuple[bytes, bytes]]           contact and mailbox of each of them
    apply(tx, tenant_id) -> int                                removes the contacts; returns how many
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from syncvault.store.engine import Transaction
from syncvault.store.statements import changed, fetch, in_lists, insert, run, run_many


class PendingRow(NamedTuple):
    """A row of `pending_removals`; `folder_id` is the folder the contact left, None for a card."""

    contact_id: bytes
    tenant_id: bytes
    folder_id: bytes | None
    data_class: str
    purge_at: int


# A contact that another folder's page has brought since was moved, not removed. The ID stands in for "no folder".
_WAITING: Final = (
    "FROM pending_removals p JOIN contacts c ON c.id = p.contact_id"
    " WHERE p.tenant_id = ? AND c.tenant_id = p.tenant_id AND COALESCE(p.folder_id, c.id) = COALESCE(c.folder_id, c.id)"
)
STILL_THERE: Final = f"SELECT p.contact_id {_WAITING}"


def add(tx: Transaction, rows: Sequence[PendingRow]) -> int:
    """Marks contacts for removal."""
    return insert(tx, "pending_removals", rows, conflict="ON CONFLICT (contact_id) DO NOTHING")


def clear(tx: Transaction, contact_ids: Sequence[bytes]) -> int:
    """Takes the mark off contacts that came back."""
    statement = "DELETE FROM pending_removals WHERE contact_id = ?"
    return run_many(tx, statement, [(contact_id,) for contact_id in contact_ids])


def among(tx: Transaction, contact_ids: Sequence[bytes]) -> set[bytes]:
    """Those of the contacts that await removal."""
    found: set[bytes] = set()
    for marks, part in in_lists(contact_ids):
        statement = f"SELECT contact_id FROM pending_removals WHERE contact_id IN ({marks})"  # noqa: S608  (marks only)
        found.update(run(tx, statement, *part).scalars())
    return found


def take_out(tx: Transaction, contact_ids: Sequence[bytes]) -> list[PendingRow]:
    """Takes the mark off contacts, and gives the marks."""
    marked: dict[bytes, PendingRow] = {}
    for marks, part in in_lists(contact_ids):
        found = fetch(tx, PendingRow, "pending_removals", f"WHERE contact_id IN ({marks})", *part)
        marked.update((row.contact_id, row) for row in found)
    clear(tx, contact_ids)
    return list(marked.values())


def clear_of_tenant(tx: Transaction, tenant_id: bytes) -> int:
    """Takes the mark off all contacts of the tenant."""
    return changed(tx, "DELETE FROM pending_removals WHERE tenant_id = ?", tenant_id)


def count(tx: Transaction, tenant_id: bytes) -> dict[bytes, int]:
    """How many contacts of the tenant await removal, by mailbox."""
    statement = f"SELECT c.mailbox_id, count(*) {_WAITING} GROUP BY c.mailbox_id"  # a constant
    return {bytes(mailbox_id): int(waiting) for mailbox_id, waiting in run(tx, statement, tenant_id)}


def each(tx: Transaction, tenant_id: bytes) -> list[tuple[bytes, bytes]]:
    """The contacts of the tenant that await removal, each with its mailbox."""
    statement = f"SELECT c.id, c.mailbox_id {_WAITING}"  # a constant
    return [(bytes(contact_id), bytes(mailbox_id)) for contact_id, mailbox_id in run(tx, statement, tenant_id)]


def apply(tx: Transaction, tenant_id: bytes) -> int:
    """Removes the contacts that await it, with their photos, and all marks of the tenant; returns how many."""
    removed = changed(tx, f"DELETE FROM contacts WHERE id IN ({STILL_THERE})", tenant_id)  # noqa: S608  (a constant)
    clear_of_tenant(tx, tenant_id)
    return removed
