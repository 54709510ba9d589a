"""Contacts as CSV (RFC 4180): one row each, the closed list of fields as columns.

A list is joined by line breaks within its cell. A cell that a spreadsheet would take for a formula gets a leading
apostrophe: names come from strangers, and opening an export must not run what they wrote.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from connectors.contact import ADDRESS_FIELDS, FIELD_NAMES

_ADDRESS_PARTS: Final = ("street", "city", "region", "postal_code", "country")
_FACTS: Final = ("id", "kind", "mailbox", "folder")
_LATER_FACTS: Final = ("has_photo", "photo_sha256", "purge_on")
_FORMULA: Final = re.compile(r"[=@+\-\t\r]")
_NUMBER: Final = re.compile(r"[+-]?[\d\s()./-]+")


def _columns() -> tuple[str, ...]:
    names: list[str] = []
    for name in FIELD_NAMES:
        names += [f"{name}.{part}" for part in _ADDRESS_PARTS] if name in ADDRESS_FIELDS else [name]
    return (*_FACTS, *names, *_LATER_FACTS)


COLUMNS: Final = _columns()


def header() -> bytes:
    """The first row: the names of the columns."""
    return _line(COLUMNS)


def row(facts: Mapping[str, str], fields: Mapping[str, Any]) -> bytes:
    """One contact.

    Args:
        facts: What the vault knows of it: `id`, `kind`, `mailbox`, `folder`, `has_photo`, `photo_sha256`, `purge_on`.
        fields: The filled fields of a contact, as `connectors.contact.Contact.to_dict` names them.
    """
    return _line([_cell(_value(name, facts, fields)) for name in COLUMNS])


def _value(column: str, facts: Mapping[str, str], fields: Mapping[str, Any]) -> str:
    if column in facts:
        return facts[column]
    name, _, part = column.partition(".")
    value = fields.get(name, "")
    if part:
        return str(value.get(part, "")) if value else ""
    return value if isinstance(value, str) else "\n".join(value)


def _cell(text: str) -> str:
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def _line(cells: Sequence[str]) -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\r\n").writerow(cells)
    return buffer.getvalue().encode("utf-8", "replace")
