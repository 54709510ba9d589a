"""How the repositories speak to the database: SQL written once with `?`, rows that are named tuples.

A statement is built once per (dialect, table, columns) and handed to the driver as it is, on a cursor of the driver's
own: SQLAlchemy would describe every result anew and make rows that become others, which costs four times as much as a
short statement itself. `run` and `parts` alone go through SQLAlchemy, for results that are read piece by piece.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from functools import cache, partial
from typing import Any, Final, NamedTuple, TypeVar

from sqlalchemy import Connection, CursorResult

Row = TypeVar("Row", bound=NamedTuple)  # a named tuple whose fields are columns, in any order

_LIST_SIZES: Final = (1, 4, 16, 32, 64, 128, 256, 512)


@cache
def _in_dialect(dialect: str, sql: str) -> str:
    return sql if dialect == "sqlite" else sql.replace("?", "%s")


@cache
def _insert(table: str, columns: tuple[str, ...], conflict: str) -> str:
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks}) {conflict}"  # noqa: S608  (names are code)


@cache
def _overwrite(key: str, columns: tuple[str, ...]) -> str:
    keys = {name.strip() for name in key.split(",")}
    changes = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in keys)
    return f"ON CONFLICT ({key}) DO UPDATE SET {changes}"


def run(tx: Connection, sql: str, *values: Any) -> CursorResult[*tuple[Any, ...]]:
    """Runs one statement."""
    return tx.exec_driver_sql(_in_dialect(tx.dialect.name, sql), values)


def parts(tx: Connection, sql: str, *values: Any, size: int) -> Iterator[Sequence[Any]]:
    """The rows that one statement gives, so many at a time; no more are held in memory."""
    # `stream_results`: else the PostgreSQL driver fetches all of them first.
    options = {"stream_results": True, "yield_per": size}
    with tx.exec_driver_sql(_in_dialect(tx.dialect.name, sql), values, execution_options=options) as found:
        yield from found.partitions(size)


def run_many(tx: Connection, sql: str, rows: Sequence[tuple[Any, ...]]) -> int:
    """Runs one statement for each row; returns how many rows of the table it changed."""
    if not rows:
        return 0
    # Drivers take exact tuples apart much faster than named ones.
    batch = list(zip(*_for_sqlite(rows), strict=True)) if tx.dialect.name == "sqlite" else list(map(tuple, rows))
    with closing(tx.connection.cursor()) as cursor:
        cursor.executemany(_in_dialect(tx.dialect.name, sql), batch)
        count: int = cursor.rowcount
    return count


_as_bytearray: Final = bytearray().__add__  # takes nothing but bytes, where `bytearray` itself would take numbers


def _for_sqlite(rows: Sequence[tuple[Any, ...]]) -> Iterator[Iterable[Any]]:
    """The columns of some rows, with bytes as byte arrays.

    For each value that is neither a number, a text nor a byte array, sqlite3 looks whether somebody has registered an
    adapter. With six columns of bytes that takes twice as long as making byte arrays of them (1.1 µs a row less).
    """
    for column in zip(*rows, strict=True):
        yield map(_as_bytearray, column) if set(map(type, column)) == {bytes} else column


def changed(tx: Connection, sql: str, *values: Any) -> int:
    """Runs one statement; returns how many rows it changed."""
    with _executed(tx, sql, values) as cursor:
        count: int = cursor.rowcount
    return count


def first(tx: Connection, sql: str, *values: Any) -> tuple[Any, ...] | None:
    """The first row that a statement gives, or None."""
    with _executed(tx, sql, values) as cursor:
        row: tuple[Any, ...] | None = cursor.fetchone()
    return row


def value(tx: Connection, sql: str, *values: Any) -> Any:
    """The first column of the first row, or None."""
    row = first(tx, sql, *values)
    return None if row is None else row[0]


def every(tx: Connection, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """All rows that a statement gives."""
    with _executed(tx, sql, values) as cursor:
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def fetch(tx: Connection, kind: type[Row], table: str, rest: str = "", *values: Any) -> list[Row]:
    """The rows of a table as named tuples; `rest` is what follows FROM."""
    # `_make` without its check of the length, which `_select` sees to: that spares a Python call for each row.
    return list(map(partial(tuple.__new__, kind), every(tx, _select(kind._fields, table, rest), *values)))


def fetch_one(tx: Connection, kind: type[Row], table: str, rest: str, *values: Any) -> Row | None:
    """The first of the rows that `fetch` gives, or None."""
    row = first(tx, _select(kind._fields, table, rest), *values)
    return None if row is None else kind._make(row)


def _executed(tx: Connection, sql: str, values: tuple[Any, ...]) -> closing[Any]:
    cursor = tx.connection.cursor()
    cursor.execute(_in_dialect(tx.dialect.name, sql), values)
    return closing(cursor)


@cache
def _select(columns: tuple[str, ...], table: str, rest: str) -> str:
    return f"SELECT {', '.join(columns)} FROM {table} {rest}"  # noqa: S608  (names are code)


def insert(tx: Connection, table: str, rows: Sequence[NamedTuple], *, conflict: str = "") -> int:
    """Inserts rows that are all of one type; `conflict` is an ON CONFLICT clause."""
    if not rows:
        return 0
    return run_many(tx, _insert(table, rows[0]._fields, conflict), rows)


def upsert(tx: Connection, table: str, key: str, rows: Sequence[NamedTuple]) -> int:
    """Inserts rows, or overwrites those with the same key columns ("a, b")."""
    if not rows:
        return 0
    return insert(tx, table, rows, conflict=_overwrite(key, rows[0]._fields))


def in_lists(values: Sequence[bytes]) -> Iterator[tuple[str, tuple[bytes, ...]]]:
    """Cuts values into IN lists of few different lengths, so that their statements are prepared once.

    Yields the marks ("?, ?, …") and the values, the last one repeated up to the list's length.
    """
    for start in range(0, len(values), _LIST_SIZES[-1]):
        part = tuple(values[start : start + _LIST_SIZES[-1]])
        size = next(size for size in _LIST_SIZES if size >= len(part))
        yield ", ".join("?" * size), part + part[-1:] * (size - len(part))
