"""Named settings of the vault, one table in each database: schema facts, vault ID, clock watermark.

Surface:

    get(tx, name, *, keys=False) -> str | None
    put(tx, name, value, *, keys=False) -> None

`keys=True` speaks to the key database.
"""

from __future__ import annotations

from typing import NamedTuple

from syncvault.store.engine import Transaction
from syncvault.store.statements import upsert, value


class Setting(NamedTuple):
    """A row of `meta` or `key_meta`."""

    name: str
    value: str


def get(tx: Transaction, name: str, *, keys: bool = False) -> str | None:
    """The value of a setting, or None."""
    table = _table(keys=keys)
    found: str | None = value(tx, f"SELECT value FROM {table} WHERE name = ?", name)  # noqa: S608  (one of two)
    return found


def put(tx: Transaction, name: str, text: str, *, keys: bool = False) -> None:
    """Sets or replaces a setting."""
    upsert(tx, _table(keys=keys), "name", [Setting(name, text)])


def _table(*, keys: bool) -> str:
    return "key_meta" if keys else "meta"
