"""The erasure ledger: append-only, without personal data, in the key database.

Surface:

    append(tx, at, event, tenant_id, detail) -> int             event: intent, keys_destroyed, completed
    list_all(tx, *, after=0) -> list[LedgerRow]                 in the order of writing
    of_tenant(tx, tenant_id) -> list[LedgerRow]
    insert_many(tx, rows: Sequence[LedgerRow]) -> int           with the numbers they have: after a restore
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from syncvault.store.engine import Transaction
from syncvault.store.statements import fetch, insert, value

Event = Literal["intent", "keys_destroyed", "completed"]


class LedgerRow(NamedTuple):
    """A row of `erasure_ledger`; `detail` is JSON."""

    seq: int
    at: int
    event: str
    tenant_id: bytes
    detail: str


def append(tx: Transaction, at: int, event: Event, tenant_id: bytes, detail: str) -> int:
    """Writes an entry and returns its number."""
    statement = "INSERT INTO erasure_ledger (at, event, tenant_id, detail) VALUES (?, ?, ?, ?) RETURNING seq"
    number: int = value(tx, statement, at, event, tenant_id, detail)
    return number


def list_all(tx: Transaction, *, after: int = 0) -> list[LedgerRow]:
    """All entries with a number above `after`."""
    return fetch(tx, LedgerRow, "erasure_ledger", "WHERE seq > ? ORDER BY seq", after)


def of_tenant(tx: Transaction, tenant_id: bytes) -> list[LedgerRow]:
    """The entries about one tenant."""
    return fetch(tx, LedgerRow, "erasure_ledger", "WHERE tenant_id = ? ORDER BY seq", tenant_id)


def insert_many(tx: Transaction, rows: Sequence[LedgerRow]) -> int:
    """Takes over entries that were written before, with their numbers."""
    return insert(tx, "erasure_ledger", rows)
