"""The audit trail: who did what to which tenant, without personal data.

Surface:

    append(tx, entry: AuditEntry) -> int                                 its number
    list_latest(tx, *, limit=100, before=None) -> list[AuditRow]         newest first; pages by `before` a number
    prune(tx, now) -> int
"""

from __future__ import annotations

from typing import NamedTuple

from syncvault.store.engine import Transaction
from syncvault.store.statements import changed, fetch, value


class AuditEntry(NamedTuple):
    """An entry to be written."""

    at: int
    uid: int
    role: str
    verb: str
    tenant_id: bytes | None
    outcome: str
    data_class: str
    purge_at: int


class AuditRow(NamedTuple):
    """A row of `audit`."""

    seq: int
    at: int
    uid: int
    role: str
    verb: str
    tenant_id: bytes | None
    outcome: str
    data_class: str
    purge_at: int


def append(tx: Transaction, entry: AuditEntry) -> int:
    """Writes an entry; numbers only ever go up, also after pruning."""
    statement = (
        "INSERT INTO audit (at, uid, role, verb, tenant_id, outcome, data_class, purge_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING seq"
    )
    number: int = value(tx, statement, *entry)
    return number


def list_latest(tx: Transaction, *, limit: int = 100, before: int | None = None) -> list[AuditRow]:
    """The latest entries, or the latest of those before an entry."""
    where = "WHERE seq < ? ORDER BY seq DESC LIMIT ?"
    return fetch(tx, AuditRow, "audit", where, (1 << 62) if before is None else before, limit)


def prune(tx: Transaction, now: int) -> int:
    """Removes entries whose purge date has come."""
    return changed(tx, "DELETE FROM audit WHERE purge_at <= ?", now)
