"""The audit trail: who did what to which tenant, without personal data; and its pins in the key database.

Surface, on the data database:

    append(tx, row: AuditRow) -> None
    newest(tx, *, signed=False) -> int                                   the highest number; 0 if there is none
    page(tx, *, after, until, limit) -> list[AuditRow]                   oldest first
    numbers(tx, *, after, until, limit) -> list[int]                     of the same rows
    entry(tx, seq) -> AuditRow | None
    link(tx, seq) -> LinkRow | None                                      of an entry whose text cannot be read
    list_latest(tx, *, since=1, before=None, limit=100) -> list[AuditRow]    newest first; pages by `before` a number
    signatures(tx, numbers) -> dict[int, bytes | None]
    delete_before(tx, seq, *, limit) -> int
    delete_unsigned(tx, seq, now) -> int

On the key database:

    lock(tx) -> None                                                     one writer of entries at a time
    segments(tx) -> list[SegmentRow]                                     in the order of their numbers
    set_segments(tx, segments) -> None
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from syncvault.store.engine import Transaction
from syncvault.store.statements import changed, fetch, fetch_one, insert, run, value

LATEST: Final = 2**63 - 1  # no number is higher


class AuditRow(NamedTuple):
    """A row of `audit`; those from before entries were signed lack the last two."""

    seq: int
    at: int
    uid: int
    role: str
    verb: str
    tenant_id: bytes | None
    outcome: str
    data_class: str
    purge_at: int
    next_key: bytes | None = None
    signature: bytes | None = None


class LinkRow(NamedTuple):
    """What of a row the one after it hangs on."""

    next_key: bytes | None
    signature: bytes | None


class SegmentRow(NamedTuple):
    """A row of `audit_segments`: an unbroken stretch of entries; empty if `last_seq` is below `first_seq`."""

    first_seq: int
    first_key: bytes
    before: bytes
    last_seq: int
    last_signature: bytes


def append(tx: Transaction, row: AuditRow) -> None:
    """Writes an entry."""
    insert(tx, "audit", [row])


def newest(tx: Transaction, *, signed: bool = False) -> int:
    """The number of the newest entry, or of the newest that is signed; 0 if there is none."""
    which = "WHERE signature IS NOT NULL" if signed else ""
    number: int | None = value(tx, f"SELECT max(seq) FROM audit {which}")  # noqa: S608  (no value in it)
    return number or 0


def page(tx: Transaction, *, after: int, until: int, limit: int) -> list[AuditRow]:
    """Entries with numbers above `after` and not above `until`, oldest first."""
    where = "WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
    return fetch(tx, AuditRow, "audit", where, after, until, limit)


def numbers(tx: Transaction, *, after: int, until: int, limit: int) -> list[int]:
    """The numbers of the entries that `page` gives."""
    statement = "SELECT seq FROM audit WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
    return list(run(tx, statement, after, until, limit).scalars())


def entry(tx: Transaction, seq: int) -> AuditRow | None:
    """The entry with that number."""
    return fetch_one(tx, AuditRow, "audit", "WHERE seq = ?", seq)


def link(tx: Transaction, seq: int) -> LinkRow | None:
    """Key and signature of an entry."""
    return fetch_one(tx, LinkRow, "audit", "WHERE seq = ?", seq)


def list_latest(tx: Transaction, *, since: int = 1, before: int | None = None, limit: int = 100) -> list[AuditRow]:
    """The latest entries, or the latest of those before an entry; none with a number below `since`."""
    where = "WHERE seq >= ? AND seq < ? ORDER BY seq DESC LIMIT ?"
    return fetch(tx, AuditRow, "audit", where, since, LATEST if before is None else before, limit)


def signatures(tx: Transaction, wanted: Sequence[int]) -> dict[int, bytes | None]:
    """The signatures of those of the entries that are there, by number."""
    if not wanted:
        return {}
    marks = ", ".join("?" * len(wanted))
    found = run(tx, f"SELECT seq, signature FROM audit WHERE seq IN ({marks})", *wanted)  # noqa: S608  (marks alone)
    return {row.seq: row.signature for row in found}


def delete_before(tx: Transaction, seq: int, *, limit: int) -> int:
    """Removes the oldest entries with numbers below one."""
    chosen = "SELECT seq FROM audit WHERE seq < ? ORDER BY seq LIMIT ?"
    return changed(tx, f"DELETE FROM audit WHERE seq IN ({chosen})", seq, limit)  # noqa: S608  (no value in it)


def delete_unsigned(tx: Transaction, seq: int, now: int) -> int:
    """Removes entries of before entries were signed: numbers below one, purge date come."""
    return changed(tx, "DELETE FROM audit WHERE seq < ? AND signature IS NULL AND purge_at <= ?", seq, now)


def lock(tx: Transaction) -> None:
    """Keeps other writers of entries out until the transaction ends."""
    if tx.dialect.name != "sqlite":  # where beginning to write has done so already
        run(tx, "LOCK TABLE audit_segments IN SHARE ROW EXCLUSIVE MODE")


def segments(tx: Transaction) -> list[SegmentRow]:
    """The stretches, oldest first."""
    return fetch(tx, SegmentRow, "audit_segments", "ORDER BY first_seq")


def set_segments(tx: Transaction, rows: Sequence[SegmentRow]) -> None:
    """Puts these stretches in the place of all that were recorded."""
    run(tx, "DELETE FROM audit_segments")
    insert(tx, "audit_segments", rows)
