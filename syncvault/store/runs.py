"""Run history: what each sync of a tenant did, without personal data.

Surface:

    insert(tx, row: RunRow) -> None
    finish(tx, run_id, ended_at, status, counts) -> bool      counts is JSON
    last_per_tenant(tx) -> dict[bytes, RunRow]
    abandon(tx, tenant_id, ended_at, status) -> int           ends runs that a dead process left open
    prune(tx, now) -> int
"""

from __future__ import annotations

from typing import Final, NamedTuple

from syncvault.store.engine import Transaction
from syncvault.store.statements import changed, fetch
from syncvault.store.statements import insert as insert_rows


class RunRow(NamedTuple):
    """A row of `runs`; `counts` is JSON."""

    id: bytes
    tenant_id: bytes
    started_at: int
    ended_at: int | None
    status: str | None
    counts: str
    data_class: str
    purge_at: int


_LATEST: Final = (
    "WHERE ended_at IS NOT NULL AND NOT EXISTS (SELECT 1 FROM runs newer WHERE newer.tenant_id = runs.tenant_id"
    " AND newer.ended_at IS NOT NULL AND (newer.started_at, newer.id) > (runs.started_at, runs.id))"
)


def insert(tx: Transaction, row: RunRow) -> None:
    """Records that a run begins."""
    insert_rows(tx, "runs", [row])


def finish(tx: Transaction, run_id: bytes, ended_at: int, status: str, counts: str) -> bool:
    """Records how a run ended; False if it is not there or had ended."""
    statement = "UPDATE runs SET ended_at = ?, status = ?, counts = ? WHERE id = ? AND ended_at IS NULL"
    return changed(tx, statement, ended_at, status, counts, run_id) == 1


def last_per_tenant(tx: Transaction) -> dict[bytes, RunRow]:
    """The latest run that has ended, of each tenant that has one."""
    return {row.tenant_id: row for row in fetch(tx, RunRow, "runs", _LATEST)}


def abandon(tx: Transaction, tenant_id: bytes, ended_at: int, status: str) -> int:
    """Ends the runs that were left open; hold the tenant's lock, so that none is still going."""
    statement = "UPDATE runs SET ended_at = ?, status = ? WHERE tenant_id = ? AND ended_at IS NULL"
    return changed(tx, statement, ended_at, status, tenant_id)


def prune(tx: Transaction, now: int) -> int:
    """Removes runs whose purge date has come."""
    return changed(tx, "DELETE FROM runs WHERE purge_at <= ?", now)
