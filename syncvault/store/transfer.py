"""Moves whole databases: into a file of their own, out of one again, always row by row.

A copy of pages would carry along what deleted rows left in them, and works on one engine only.

Surface:

    new_archive(path, role) -> Database                     an empty SQLite file with this version's tables, no journal
    finish_archive(archive) -> None                         closes it; the disk has it
    open_archive(path, role) -> Database                    to read from; changes nothing in the file or beside it
    copy_rows(source, target, role, tell) -> dict[str, int] rows per table
    row_counts(tx, role) -> dict[str, int]
    clear(tx, role) -> None                                 empties every table
    settle(database) -> None                                folds the journals of a SQLite file into it, and closes it
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import sqlalchemy
from sqlalchemy import Engine, Table, event
from sqlalchemy.pool import NullPool

from syncvault.errors import StorageError
from syncvault.store import schema
from syncvault.store.engine import Database, Role, Transaction
from syncvault.store.faults import OwnErrors, foreign_errors, normalise
from syncvault.store.statements import parts, run, run_many
from syncvault.store.upgrade import migrate
from syncvault.store.urls import sqlite_url

Tell = Callable[[int], None]  # how many more rows are done

_METADATA: Final = {"data": schema.data_metadata, "keys": schema.key_metadata}
_FETCHED: Final = 16  # rows at a time; a photo may be some megabytes
_WRITTEN: Final = 256
_WRITTEN_BYTES: Final = 4 * 1024 * 1024
# Nobody sees the file before it is whole and on the disk, so it needs no journal. Parents come before their children,
# but a backup of a database that lacks one is still worth having: `Database.integrity` tells of it.
_PRAGMAS: Final = ("journal_mode=OFF", "synchronous=OFF", "foreign_keys=OFF", "temp_store=MEMORY", "cache_size=-16384")


def new_archive(path: Path, role: Role) -> Database:
    """Makes a SQLite file (0600) with empty tables, to be filled and then finished.

    Raises:
        StorageError: It cannot be made there.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StorageError(f"{path} cannot be made: {error.strerror}.") from None
    archive = _archive(path, role, _engine(lambda: sqlite3.connect(path, check_same_thread=False), _PRAGMAS))
    migrate(archive)
    return archive


def finish_archive(archive: Database) -> None:
    """Closes a file and waits until the disk has it."""
    archive.close()
    _sync(archive)


def open_archive(path: Path, role: Role) -> Database:
    """Opens a finished file to read from; nobody else may write to it meanwhile."""
    address = f"file:{quote(os.fspath(path.absolute()))}?mode=ro&immutable=1"
    return _archive(path, role, _engine(lambda: sqlite3.connect(address, uri=True, check_same_thread=False), ()))


def settle(database: Database) -> None:
    """Folds a SQLite database's journals into its one file, closes it, and waits until the disk has it.

    Raises:
        StorageError: Somebody else has it open.
    """
    if database.path is None:
        raise ValueError("only a file has journals")
    database.close()
    try:
        with closing(sqlite3.connect(database.path, isolation_level=None)) as connection:
            mode = connection.execute("PRAGMA journal_mode=DELETE").fetchone()[0]
    except sqlite3.Error as fault:
        raise normalise(fault) from None
    if mode != "delete":
        raise StorageError(f"The database at {database.path} is still open elsewhere.")
    finish_archive(database)


def row_counts(tx: Transaction, role: Role) -> dict[str, int]:
    """How many rows each table has."""
    names = [str(table.name) for table in _METADATA[role].sorted_tables]
    return {name: run(tx, f"SELECT count(*) FROM {name}").scalar_one() for name in names}  # noqa: S608  (our tables)


def copy_rows(source: Transaction, target: Transaction, role: Role, tell: Tell = lambda _rows: None) -> dict[str, int]:
    """Copies every row of every table, parents first, in bounded memory.

    Args:
        source: Where they are read from; one state of the database throughout.
        target: A database of the same schema whose tables are empty.
        role: Which of the two databases.
        tell: Learns how far it is.

    Returns:
        Rows per table.
    """
    copied: dict[str, int] = {}
    for table in _METADATA[role].sorted_tables:
        columns = [column.name for column in table.columns]
        marks = ", ".join("?" * len(columns))
        insert = f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608  (our tables)
        copied[str(table.name)] = 0  # SQLAlchemy has a class of its own for names
        for batch in _batches(_rows(source, table.name, columns)):
            copied[str(table.name)] += run_many(target, insert, batch)
            tell(len(batch))
        if target.dialect.name != "sqlite":  # SQLite counts on from the greatest number there is
            _count_on(target, table)
    return copied


def clear(tx: Transaction, role: Role) -> None:
    """Empties every table."""
    for table in reversed(_METADATA[role].sorted_tables):
        run(tx, f"DELETE FROM {table.name}")  # noqa: S608  (our tables)


def _rows(tx: Transaction, table: str, columns: Iterable[str]) -> Iterator[tuple[Any, ...]]:
    statement = f"SELECT {', '.join(columns)} FROM {table}"  # noqa: S608  (our tables)
    for part in parts(tx, statement, size=_FETCHED):
        yield from map(tuple, part)


def _batches(rows: Iterable[tuple[Any, ...]]) -> Iterator[Sequence[tuple[Any, ...]]]:
    batch, size = list[tuple[Any, ...]](), 0
    for row in rows:
        batch.append(row)
        size += sum(len(value) for value in row if isinstance(value, bytes))
        if len(batch) == _WRITTEN or size > _WRITTEN_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _count_on(tx: Transaction, table: Table) -> None:
    for column in table.columns:
        if column.identity is not None:
            sequence = f"pg_get_serial_sequence('{table.name}', '{column.name}')"
            last = f"SELECT max({column.name}) FROM {table.name}"  # noqa: S608  (our tables)
            run(tx, f"SELECT setval({sequence}, coalesce(({last}), 0) + 1, false)")


def _archive(path: Path, role: Role, engine: Engine) -> Database:
    return Database(sqlite_url(path), role, "sqlite", path, engine, engine, OwnErrors(foreign_errors("sqlite")))


def _engine(connect: Callable[[], sqlite3.Connection], pragmas: Iterable[str]) -> Engine:
    engine = sqlalchemy.create_engine("sqlite+pysqlite://", creator=connect, poolclass=NullPool, hide_parameters=True)

    def prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver must not begin transactions by itself
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    event.listen(engine, "connect", prepare)
    return engine


def _sync(archive: Database) -> None:
    if archive.path is None:
        raise ValueError("only a file can be settled")
    for path in (archive.path, archive.path.parent):
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
