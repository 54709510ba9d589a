"""Sources, and which mailboxes each of them resolves to.

Surface:

    insert(tx, row: SourceRow) -> None                               ConflictError if it is registered already
    by_ref(tx, tenant_id, kind, ref_ix) -> SourceRow | None
    of_tenant(tx, tenant_id) -> list[SourceRow]
    mailbox_counts(tx, tenant_id) -> dict[bytes, int]                by source id
    delete(tx, tenant_id, source_id) -> bool                         its memberships go with it
    put_memberships(tx, rows: Sequence[MembershipRow]) -> int        a leaving one is taken back
    memberships(tx, source_id) -> list[MembershipRow]
    memberships_of_tenant(tx, tenant_id) -> list[MembershipRow]
    named_by_others(tx, tenant_id, source_id) -> set[bytes]          mailboxes that sources of other kinds name
    left(tx, tenant_id) -> set[bytes]                                mailboxes that some source has stopped naming
    set_leaving(tx, source_id, mailbox_ids) -> int
    delete_leaving(tx, tenant_id) -> int
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from syncvault.store.engine import Transaction
from syncvault.store.statements import changed, fetch, fetch_one, run, run_many, upsert
from syncvault.store.statements import insert as insert_rows


class SourceRow(NamedTuple):
    """A row of `sources`."""

    id: bytes
    tenant_id: bytes
    kind: str
    ref_ix: bytes
    blob: bytes
    data_class: str
    purge_at: int


class MembershipRow(NamedTuple):
    """A row of `memberships`; `leaving` is 1 once the source has stopped naming the mailbox."""

    source_id: bytes
    mailbox_id: bytes
    tenant_id: bytes
    leaving: int
    data_class: str
    purge_at: int


def insert(tx: Transaction, row: SourceRow) -> None:
    """Stores a new source."""
    insert_rows(tx, "sources", [row])


def by_ref(tx: Transaction, tenant_id: bytes, kind: str, ref_ix: bytes) -> SourceRow | None:
    """The tenant's source with the blind index of this reference, or None."""
    return fetch_one(
        tx, SourceRow, "sources", "WHERE tenant_id = ? AND kind = ? AND ref_ix = ?", tenant_id, kind, ref_ix
    )


def of_tenant(tx: Transaction, tenant_id: bytes) -> list[SourceRow]:
    """The tenant's sources."""
    return fetch(tx, SourceRow, "sources", "WHERE tenant_id = ? ORDER BY id", tenant_id)


def mailbox_counts(tx: Transaction, tenant_id: bytes) -> dict[bytes, int]:
    """How many mailboxes each source of the tenant names; sources that name none are left out."""
    statement = "SELECT source_id, count(*) FROM memberships WHERE tenant_id = ? AND leaving = 0 GROUP BY source_id"
    return {source_id: count for source_id, count in run(tx, statement, tenant_id)}  # noqa: C416  (rows, not pairs)


def delete(tx: Transaction, tenant_id: bytes, source_id: bytes) -> bool:
    """Unregisters a source; its mailboxes stay until somebody removes those that no source names."""
    return changed(tx, "DELETE FROM sources WHERE id = ? AND tenant_id = ?", source_id, tenant_id) == 1


def put_memberships(tx: Transaction, rows: Sequence[MembershipRow]) -> int:
    """Records that sources name mailboxes, new ones and known ones alike."""
    return upsert(tx, "memberships", "source_id, mailbox_id", rows)


def memberships(tx: Transaction, source_id: bytes) -> list[MembershipRow]:
    """The mailboxes a source names, or has just stopped naming."""
    return fetch(tx, MembershipRow, "memberships", "WHERE source_id = ? ORDER BY mailbox_id", source_id)


def memberships_of_tenant(tx: Transaction, tenant_id: bytes) -> list[MembershipRow]:
    """The memberships of all sources of the tenant."""
    return fetch(tx, MembershipRow, "memberships", "WHERE tenant_id = ? ORDER BY source_id, mailbox_id", tenant_id)


def named_by_others(tx: Transaction, tenant_id: bytes, source_id: bytes) -> set[bytes]:
    """The mailboxes that sources of another kind than this one's name."""
    statement = (
        "SELECT m.mailbox_id FROM memberships m JOIN sources s ON s.id = m.source_id WHERE m.tenant_id = ?"
        " AND m.leaving = 0 AND s.kind <> (SELECT kind FROM sources WHERE id = ?)"
    )
    return set(run(tx, statement, tenant_id, source_id).scalars())


def left(tx: Transaction, tenant_id: bytes) -> set[bytes]:
    """The mailboxes that a source has stopped naming, whatever others say; until the end of a run that may remove."""
    statement = "SELECT mailbox_id FROM memberships WHERE tenant_id = ? AND leaving = 1"
    return set(run(tx, statement, tenant_id).scalars())


def set_leaving(tx: Transaction, source_id: bytes, mailbox_ids: Sequence[bytes]) -> int:
    """Marks memberships as leaving; `put_memberships` takes the mark back."""
    statement = "UPDATE memberships SET leaving = 1 WHERE source_id = ? AND mailbox_id = ?"
    return run_many(tx, statement, [(source_id, mailbox_id) for mailbox_id in mailbox_ids])


def delete_leaving(tx: Transaction, tenant_id: bytes) -> int:
    """Removes the memberships that are leaving."""
    return changed(tx, "DELETE FROM memberships WHERE tenant_id = ? AND leaving = 1", tenant_id)
