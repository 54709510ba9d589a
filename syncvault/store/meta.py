"""Named settings of the vault, one table in each database: schema facts, vault ID, clock watermark.

Surface:

    get(tx, name, *, keys=False) -> str | None
    number(tx, name, *, keys=False) -> int                        0 if it is missing, or no number
    put(tx, name, value, *, keys=False) -> None

`keys=True` speaks to the key database.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from syncvault.store.engine import Transaction
from syncvault.store.statements import upsert, value

_NUMBER: Final = re.compile(r"[0-9]{1,18}")


class Setting(NamedTuple):
    """A row of `meta` or `key_meta`."""

    name: str
    value: str


def get(tx: Transaction, name: str, *, keys: bool = False) -> str | None:
    """The value of a setting, or None."""
    table = _table(keys=keys)
    found: str | None = value(tx, f"SELECT value FROM {table} WHERE name = ?", name)  # noqa: S608  (one of two)
    return found


def number(tx: Transaction, name: str, *, keys: bool = False) -> int:
    """The value of a setting that counts something; 0 if it is missing, or no number any more."""
    text = get(tx, name, keys=keys)
    return int(text) if isinstance(text, str) and _NUMBER.fullmatch(text) else 0


def put(tx: Transaction, name: str, text: str, *, keys: bool = False) -> None:
    """Sets or replaces a setting."""
    upsert(tx, _table(keys=keys), "name", [Setting(name, text)])


def _table(*, keys: bool) -> str:
    return "key_meta" if keys else "meta"
