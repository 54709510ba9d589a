"""The erasure ledger: append-only, without personal data, in the key database.

Surface:

    append(tx, at, event, tenant_id, detail) -> int             event: intent, keys_destroyed, completed, rows_erased
    set_signature(tx, seq, signature) -> None
    last(tx) -> LedgerRow | None                                other writers wait until the transaction ends
    list_all(tx, *, after=0) -> list[LedgerRow]                 in the order of writing
    of_tenant(tx, tenant_id) -> list[LedgerRow]
    insert_many(tx, rows: Sequence[LedgerRow]) -> int           with the numbers they have: after a restore
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from syncvault.store.engine import Transaction
from syncvault.store.statements import fetch, fetch_one, insert, run, value

Event = Literal["intent", "keys_destroyed", "completed", "rows_erased"]


class LedgerRow(NamedTuple):
    """A row of `erasure_ledger`; `detail` is JSON. Entries of schema 1 have no signature."""

    seq: int
    at: int
    event: str
    tenant_id: bytes
    detail: str
    signature: bytes | None = None


def append(tx: Transaction, at: int, event: Event, tenant_id: bytes, detail: str) -> int:
    """Writes an entry and returns its number."""
    statement = "INSERT INTO erasure_ledger (at, event, tenant_id, detail) VALUES (?, ?, ?, ?) RETURNING seq"
    number: int = value(tx, statement, at, event, tenant_id, detail)
    return number


def set_signature(tx: Transaction, seq: int, signature: bytes) -> None:
    """Signs the entry that the same transaction has just written."""
    run(tx, "UPDATE erasure_ledger SET signature = ? WHERE seq = ?", signature, seq)


def last(tx: Transaction) -> LedgerRow | None:
    """The latest entry, which stays the latest until this transaction has written the next one."""
    if tx.dialect.name != "sqlite":  # which lets one writer in
        run(tx, "LOCK TABLE erasure_ledger IN SHARE ROW EXCLUSIVE MODE")
    return fetch_one(tx, LedgerRow, "erasure_ledger", "ORDER BY seq DESC LIMIT 1")


def list_all(tx: Transaction, *, after: int = 0) -> list[LedgerRow]:
    """All entries with a number above `after`."""
    return fetch(tx, LedgerRow, "erasure_ledger", "WHERE seq > ? ORDER BY seq", after)


def of_tenant(tx: Transaction, tenant_id: bytes) -> list[LedgerRow]:
    """The entries about one tenant."""
    return fetch(tx, LedgerRow, "erasure_ledger", "WHERE tenant_id = ? ORDER BY seq", tenant_id)


def insert_many(tx: Transaction, rows: Sequence[LedgerRow]) -> int:
    """Takes over entries that were written before, with their numbers."""
    return insert(tx, "erasure_ledger", rows)
