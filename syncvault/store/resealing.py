"""Going through a tenant's sealed rows to seal them anew: pages of each table, guarded updates, and what is left.

Surface:

    page(tx, kind, table, tenant_id, *, after, limit) -> list[Row]   by ID; small tables only (contacts have a page)
    put(tx, table, rows: Sequence[Resealed], *, column="blob") -> bool        False: one was no longer as it had been
    move_seen(tx, moved) -> None                                     what rounds have seen, under new indexes
    drop_unmatched_seen(tx, tenant_id) -> int
    generations(tx, tenant_id) -> dict[int, int]                     sealed rows by the key generation they name
    count(tx, tenant_id) -> int                                      sealed rows; reads none of them
    indexed(tx, tenant_id) -> int                                    sealed rows that carry a blind index
    INDEXES                                                          table -> its blind indexes, as `Resealed` has them
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from syncvault.store.engine import Transaction
from syncvault.store.manifests import SEALED
from syncvault.store.statements import changed, fetch, run, run_many, value

Row = TypeVar("Row", bound=NamedTuple)

INDEXES: Final[Mapping[str, tuple[str, ...]]] = {
    "sources": ("ref_ix",),
    "mailboxes": ("key_ix", "address_ix"),
    "folders": ("folder_ix",),
    "contacts": ("remote_ix",),
}
_KEYS: Final = {"checkpoints": "folder_id", "photos": "contact_id"}
_OF_FOLDER: Final = "folder_id IN (SELECT id FROM folders WHERE tenant_id = ?)"


class Resealed(NamedTuple):
    """A row's record before and after, and its blind indexes after, in the order of `INDEXES`."""

    id: bytes
    before: bytes
    after: bytes
    indexes: tuple[bytes | None, ...] = ()


class Moved(NamedTuple):
    """A contact's index after, its folder, and its index before."""

    after: bytes
    folder_id: bytes
    before: bytes


def page(tx: Transaction, kind: type[Row], table: str, tenant_id: bytes, *, after: bytes, limit: int) -> list[Row]:
    """The tenant's rows of a table that follow the ID `after`, at most `limit`."""
    key, owner = _KEYS.get(table, "id"), "id" if table == "tenants" else "tenant_id"
    where = f"WHERE {owner} = ? AND {key} > ? ORDER BY {key} LIMIT ?"
    return fetch(tx, kind, table, where, tenant_id, after, limit)


def put(tx: Transaction, table: str, rows: Sequence[Resealed], *, column: str = "blob") -> bool:
    """Replaces records and indexes, if each row still holds the record it had; else do not commit."""
    indexes = INDEXES.get(table, ())
    sets = ", ".join(f"{name} = ?" for name in (column, *indexes))
    statement = f"UPDATE {table} SET {sets} WHERE {_KEYS.get(table, 'id')} = ? AND {column} = ?"  # noqa: S608
    values = [(row.after, *row.indexes, row.id, row.before) for row in rows]
    return run_many(tx, statement, values) == len(rows)


def move_seen(tx: Transaction, moved: Sequence[Moved]) -> None:
    """Keeps what full rounds have seen of contacts whose index changes."""
    run_many(tx, "UPDATE seen SET remote_ix = ? WHERE folder_id = ? AND remote_ix = ?", moved)


def drop_unmatched_seen(tx: Transaction, tenant_id: bytes) -> int:
    """Forgets what rounds have seen that is no contact of the folder: nothing depends on it."""
    contact = "SELECT 1 FROM contacts c WHERE c.folder_id = seen.folder_id AND c.remote_ix = seen.remote_ix"
    return changed(tx, f"DELETE FROM seen WHERE {_OF_FOLDER} AND NOT EXISTS ({contact})", tenant_id)  # noqa: S608


def generations(tx: Transaction, tenant_id: bytes) -> dict[int, int]:
    """How many sealed rows of the tenant name each generation; a row that names two counts for both."""
    found: Counter[int] = Counter()
    for table, columns in {**SEALED, "manifests": ("blob",)}.items():
        owner = "id" if table == "tenants" else "tenant_id"
        first, *others = (f"substr({column}, 3, 4)" for column in columns)
        scopes = [(first, "")] + [(other, f"AND {other} <> {first}") for other in others]
        for named, but in scopes:
            statement = f"SELECT {named}, count(*) FROM {table} WHERE {owner} = ? {but} GROUP BY 1"  # noqa: S608
            for generation, count in run(tx, statement, tenant_id):
                found[int.from_bytes(generation, "big") if isinstance(generation, bytes) else 0] += count  # no record
    return dict(found)


def count(tx: Transaction, tenant_id: bytes) -> int:
    """How many sealed rows the tenant has."""
    return 1 + _count(tx, tenant_id, SEALED.keys() - {"tenants"})


def indexed(tx: Transaction, tenant_id: bytes) -> int:
    """How many sealed rows of the tenant carry a blind index under its key."""
    return _count(tx, tenant_id, INDEXES)


def _count(tx: Transaction, tenant_id: bytes, tables: Iterable[str]) -> int:
    statements = [f"SELECT count(*) FROM {table} WHERE tenant_id = ?" for table in tables]  # noqa: S608  (our tables)
    return sum(int(value(tx, statement, tenant_id)) for statement in statements)
