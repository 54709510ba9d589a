"""The key database: generations of the root key, and the keys wrapped under them.

Surface:

    insert_root(tx, row: RootRow) -> None
    roots(tx) -> list[RootRow]                                        by generation
    current_root(tx) -> RootRow | None
    set_root_state(tx, generation, state) -> bool
    settle_root(tx, generation, outstanding) -> None                  destroyed (None), or what keeps it from that
    promote_root(tx, generation) -> None                              it is current, the one before retired
    insert_many(tx, rows: Sequence[WrappedKeyRow]) -> int
    of_tenant(tx, tenant_id) -> list[WrappedKeyRow]                   VAULT_TENANT for the vault's own keys
    of_purpose(tx, tenant_id, purpose) -> WrappedKeyRow | None        the latest generation
    put(tx, row: WrappedKeyRow) -> None                               instead of the one with its ID
    list_all(tx, *, lock=False) -> list[WrappedKeyRow]
    rewrap_all(tx, root_generation, rewrapped: Mapping[bytes, bytes]) -> int      id -> blob; must be every key
    promote(tx, row: WrappedKeyRow) -> None                           it is current, the one before retired
    set_retired(tx, tenant_id, purpose, at) -> int                    retired ones that no row needs any more
    reopen_retired(tx) -> int                                         rows may need them again: after a restore
    retired_before(tx, at) -> list[WrappedKeyRow]                     those that no row has needed since
    delete_many(tx, key_ids) -> int
    delete_of_tenant(tx, tenant_id) -> int
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from syncvault.store.engine import Transaction
from syncvault.store.faults import ConflictError
from syncvault.store.schema import VAULT_TENANT as VAULT_TENANT  # noqa: PLC0414  (part of this module's surface)
from syncvault.store.statements import changed, fetch, fetch_one, insert, run, run_many, upsert


class RootRow(NamedTuple):
    """A row of `root_generations`; `handle` is the provider's JSON, `outstanding` why it is not destroyed yet."""

    generation: int
    provider: str
    handle: str
    state: str
    created_at: int
    outstanding: str | None = None


class WrappedKeyRow(NamedTuple):
    """A row of `wrapped_keys`."""

    id: bytes
    tenant_id: bytes
    purpose: str
    generation: int
    state: str
    root_generation: int
    blob: bytes
    created_at: int
    retired_at: int | None = None


def insert_root(tx: Transaction, row: RootRow) -> None:
    """Records a generation of the root key."""
    insert(tx, "root_generations", [row])


def roots(tx: Transaction) -> list[RootRow]:
    """All generations of the root key, oldest first."""
    return fetch(tx, RootRow, "root_generations", "ORDER BY generation")


def current_root(tx: Transaction) -> RootRow | None:
    """The generation in force, or None before the vault is complete."""
    return fetch_one(tx, RootRow, "root_generations", "WHERE state = 'current' ORDER BY generation DESC")


def set_root_state(tx: Transaction, generation: int, state: str) -> bool:
    """Records what became of a generation."""
    return changed(tx, "UPDATE root_generations SET state = ? WHERE generation = ?", state, generation) == 1


def settle_root(tx: Transaction, generation: int, outstanding: str | None) -> None:
    """Records that a retired generation is destroyed, or what is still to happen before it is."""
    state = "destroyed" if outstanding is None else "retired"
    run(
        tx,
        "UPDATE root_generations SET state = ?, outstanding = ? WHERE generation = ?",
        state,
        outstanding,
        generation,
    )


def promote_root(tx: Transaction, generation: int) -> None:
    """Puts a generation in force; the one before is retired."""
    run(tx, "UPDATE root_generations SET state = 'retired' WHERE state = 'current'")
    if not set_root_state(tx, generation, "current"):
        raise ConflictError(f"Root generation {generation} is not recorded.")


def insert_many(tx: Transaction, rows: Sequence[WrappedKeyRow]) -> int:
    """Stores wrapped keys."""
    return insert(tx, "wrapped_keys", rows)


def of_tenant(tx: Transaction, tenant_id: bytes) -> list[WrappedKeyRow]:
    """The tenant's keys of all generations."""
    where = "WHERE tenant_id = ? ORDER BY purpose, generation"
    return fetch(tx, WrappedKeyRow, "wrapped_keys", where, tenant_id)


def of_purpose(tx: Transaction, tenant_id: bytes, purpose: str) -> WrappedKeyRow | None:
    """The latest generation of one of the tenant's keys."""
    where = "WHERE tenant_id = ? AND purpose = ? ORDER BY generation DESC"
    return fetch_one(tx, WrappedKeyRow, "wrapped_keys", where, tenant_id, purpose)


def put(tx: Transaction, row: WrappedKeyRow) -> None:
    """Stores a wrapped key in the place of the one with its ID."""
    upsert(tx, "wrapped_keys", "id", [row])


def list_all(tx: Transaction, *, lock: bool = False) -> list[WrappedKeyRow]:
    """Every wrapped key; `lock` keeps others from changing them until the transaction ends."""
    suffix = " FOR UPDATE" if lock and tx.dialect.name != "sqlite" else ""  # SQLite lets one writer in
    return fetch(tx, WrappedKeyRow, "wrapped_keys", f"ORDER BY tenant_id, purpose, generation{suffix}")


def rewrap_all(tx: Transaction, root_generation: int, rewrapped: Mapping[bytes, bytes]) -> int:
    """Puts every key under another generation of the root key.

    Raises:
        ConflictError: The keys given are not exactly those stored; a key left behind would be lost with the old root.
    """
    if set(run(tx, "SELECT id FROM wrapped_keys").scalars()) != rewrapped.keys():
        raise ConflictError("The stored keys changed while they were re-wrapped.")
    statement = "UPDATE wrapped_keys SET blob = ?, root_generation = ? WHERE id = ?"
    return run_many(tx, statement, [(blob, root_generation, key_id) for key_id, blob in rewrapped.items()])


def promote(tx: Transaction, row: WrappedKeyRow) -> None:
    """Stores a tenant's key as the current one of its purpose; the one before is retired."""
    of_purpose = "WHERE tenant_id = ? AND purpose = ? AND state = 'current'"
    run(tx, f"UPDATE wrapped_keys SET state = 'retired' {of_purpose}", row.tenant_id, row.purpose)  # noqa: S608
    insert(tx, "wrapped_keys", [row])


def set_retired(tx: Transaction, tenant_id: bytes, purpose: str, at: int) -> int:
    """Records that no row needs the tenant's retired generations of a purpose any more."""
    statement = (
        "UPDATE wrapped_keys SET retired_at = ?"
        " WHERE tenant_id = ? AND purpose = ? AND state = 'retired' AND retired_at IS NULL"
    )
    return changed(tx, statement, at, tenant_id, purpose)


def reopen_retired(tx: Transaction) -> int:
    """Records that rows may need retired generations again: what was restored is older than their retirement."""
    return changed(tx, "UPDATE wrapped_keys SET retired_at = NULL WHERE state = 'retired'")


def retired_before(tx: Transaction, at: int) -> list[WrappedKeyRow]:
    """Retired generations that no row has needed since before an instant."""
    return fetch(tx, WrappedKeyRow, "wrapped_keys", "WHERE state = 'retired' AND retired_at < ?", at)


def delete_many(tx: Transaction, key_ids: Sequence[bytes]) -> int:
    """Deletes retired generations."""
    statement = "DELETE FROM wrapped_keys WHERE id = ? AND state = 'retired'"
    return run_many(tx, statement, [(key_id,) for key_id in key_ids])


def delete_of_tenant(tx: Transaction, tenant_id: bytes) -> int:
    """Deletes the tenant's keys of all generations."""
    return changed(tx, "DELETE FROM wrapped_keys WHERE tenant_id = ?", tenant_id)
