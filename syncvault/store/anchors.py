"""Anchors, in the key database: how far each tenant's manifest had counted when it was last looked at from here.

Surface:

    get(tx, tenant_id) -> int | None
    all_of(tx) -> dict[bytes, int]                      by tenant
    advance(tx, counters: Mapping[bytes, int]) -> None  never backwards, nor of a tenant without keys
    put(tx, tenant_id, counter) -> None                 also backwards: after a restore
    delete(tx, tenant_id) -> None
"""

from __future__ import annotations

from collections.abc import Mapping

from syncvault.store.engine import Transaction
from syncvault.store.statements import run, run_many, value

_INSTEAD = "ON CONFLICT (tenant_id) DO UPDATE SET counter ="


def get(tx: Transaction, tenant_id: bytes) -> int | None:
    """The tenant's anchored counter; None if it was never anchored."""
    found = value(tx, "SELECT counter FROM anchors WHERE tenant_id = ?", tenant_id)
    return None if found is None else int(found)


def all_of(tx: Transaction) -> dict[bytes, int]:
    """Every anchored counter."""
    return {bytes(tenant_id): int(counter) for tenant_id, counter in run(tx, "SELECT tenant_id, counter FROM anchors")}


def advance(tx: Transaction, counters: Mapping[bytes, int]) -> None:
    """Moves anchors forward; another process may have moved one further already, or have erased the tenant."""
    has_keys = "WHERE EXISTS (SELECT 1 FROM wrapped_keys WHERE tenant_id = ?)"
    # The greater of two is called differently by the two databases, so it is spelled out.
    greater = "CASE WHEN excluded.counter > anchors.counter THEN excluded.counter ELSE anchors.counter END"
    statement = f"INSERT INTO anchors (tenant_id, counter) SELECT ?, ? {has_keys} {_INSTEAD} {greater}"
    run_many(tx, statement, [(tenant_id, counter, tenant_id) for tenant_id, counter in counters.items()])


def put(tx: Transaction, tenant_id: bytes, counter: int) -> None:
    """Sets an anchor."""
    statement = f"INSERT INTO anchors (tenant_id, counter) VALUES (?, ?) {_INSTEAD} excluded.counter"  # noqa: S608  (a constant)
    run(tx, statement, tenant_id, counter)


def delete(tx: Transaction, tenant_id: bytes) -> None:
    """Forgets a tenant's anchor."""
    run(tx, "DELETE FROM anchors WHERE tenant_id = ?", tenant_id)
