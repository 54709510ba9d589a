"""Looks for IDs that are none: SQLite lets text and numbers stand in any column, and no query finds such a row again.

Surface:

    misplaced(tx, role) -> dict[str, int]          rows by table in which an ID is no bytes; PostgreSQL has none
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import LargeBinary, Table

from syncvault.store import schema
from syncvault.store.engine import Role, Transaction
from syncvault.store.statements import value

_METADATA: Final = {"data": schema.data_metadata, "keys": schema.key_metadata}


def misplaced(tx: Transaction, role: Role) -> dict[str, int]:
    """How many rows of which tables have something else than bytes where an ID must stand."""
    if tx.dialect.name != "sqlite":
        return {}
    found = {}
    for name, table in _METADATA[role].tables.items():
        if clauses := " OR ".join(f"typeof({column}) NOT IN ('blob', 'null')" for column in _ids(table)):
            found[name] = int(value(tx, f"SELECT count(*) FROM {name} WHERE {clauses}"))  # noqa: S608  (our own names)
    return {name: count for name, count in found.items() if count}


def _ids(table: Table) -> list[str]:
    names = [column.name for column in table.columns if isinstance(column.type, LargeBinary)]
    return [name for name in names if name == "id" or name.endswith("_id")]
