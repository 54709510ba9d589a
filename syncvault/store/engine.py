"""A database: how it is opened, read, written, checked, scrubbed and closed, on SQLite and on PostgreSQL.

Surface:

    open_database(url, *, role="data" | "keys", create=False) -> Database
    Database.dialect, .role, .path, .url
    Database.read() / .write() -> context manager of a Transaction
    Database.scrub(tables=(), *, timeout=30.0, vacuum=False) -> ScrubReport
    Database.integrity(*, quick=False) -> list[str]
    Database.lone() -> context manager of a connection outside the pool, committing by itself (PostgreSQL's locks)
    Database.close()

`Transaction` is SQLAlchemy's Connection under a name of ours, so that callers need not import it. Leaving
`write()` commits, an exception rolls back. Every failure of the database comes out as one of ours.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import sqlalchemy
from sqlalchemy import Connection, Engine, event
from sqlalchemy.pool import NullPool, QueuePool

from syncvault.errors import NoVaultError, StorageError, UsageError
from syncvault.store import checks
from syncvault.store.checks import ScrubReport
from syncvault.store.faults import OwnErrors, foreign_errors
from syncvault.store.urls import DatabaseUrl, Dialect, parse_url

Transaction = Connection
Role = Literal["data", "keys"]

BUSY_SECONDS: Final = 30.0
_POOL: Final[dict[str, Any]] = {"poolclass": QueuePool, "pool_size": 8, "max_overflow": 24, "pool_timeout": 60}
# SQLite lets one writer in. With one connection, threads wait their turn for it instead of polling the file, and find
# the pages in its cache that the one before them wrote.
_ONE: Final[dict[str, Any]] = {"poolclass": QueuePool, "pool_size": 1, "max_overflow": 0, "pool_timeout": BUSY_SECONDS}

# DESIGN §6. temp_store keeps sorters off the disk, where they would leave blind indexes behind. Random IDs touch many
# pages, so the log is moved over at 16 MiB instead of 4: that spares a third of the time that commits take.
_PRAGMAS: Final = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA secure_delete=ON",
    "PRAGMA foreign_keys=ON",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA cache_size=-16384",
    "PRAGMA wal_autocheckpoint=4000",
)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Database:
    """One of the vault's two databases. Safe for threads; a forked child gets connections of its own."""

    url: str
    role: Role
    dialect: Dialect
    path: Path | None
    _reader: Engine
    _writer: Engine
    _own_errors: OwnErrors

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """A transaction that sees one state of the database throughout and cannot change it."""
        with self._own_errors, self._reader.connect() as connection, connection.begin():
            self._begin(connection, "BEGIN")
            yield connection

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """A transaction that commits at the end of the block; SQLite lets one at a time in."""
        with self._own_errors, self._writer.connect() as connection, connection.begin():
            self._begin(connection, "BEGIN IMMEDIATE")
            yield connection

    @contextmanager
    def lone(self) -> Iterator[Transaction]:
        """A connection outside the pool, on which every statement commits by itself."""
        engine = _engine(parse_url(self.url), {"poolclass": NullPool}, writes=True)
        with self._own_errors, engine.connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")

    def integrity(self, *, quick: bool = False) -> list[str]:
        """What is wrong with the database as a file, a clause each; empty when nothing is."""
        with self.read() as connection:
            return checks.integrity(connection, quick=quick)

    def scrub(self, tables: Iterable[str] = (), *, timeout: float = BUSY_SECONDS, vacuum: bool = False) -> ScrubReport:
        """Removes what deleted rows left in the files; hold the exclusive maintenance lock meanwhile.

        Args:
            tables: Those that rows were deleted from (PostgreSQL rewrites them; SQLite needs none).
            timeout: Seconds to wait for readers to end.
            vacuum: Whether to write the file anew without its free pages (PostgreSQL's tables are in any case).

        Raises:
            BusyError: A reader kept its snapshot open until the time was up.
        """
        if self.path is not None:
            with self._own_errors, self._writer.connect() as connection:
                driver = connection.connection.dbapi_connection
                return checks.scrub_sqlite(driver, self.path, timeout=timeout, vacuum=vacuum)
        with self.lone() as connection:
            return checks.scrub_postgresql(connection, tuple(tables), timeout=timeout)

    def close(self) -> None:
        """Closes all connections that are not in use; the database may be used again afterwards."""
        self._reader.dispose()
        self._writer.dispose()

    def _begin(self, connection: Connection, statement: str) -> None:
        # SQLite's driver does not begin by itself. Not as an SQLAlchemy event: having one costs every connection.
        if self.dialect == "sqlite":
            connection.connection.cursor().execute(statement).close()

    def _forget(self) -> None:
        # In a forked child: the sockets and files belong to the parent, so they are dropped and not closed.
        self._reader.dispose(close=False)
        self._writer.dispose(close=False)


_open: weakref.WeakSet[Database] = weakref.WeakSet()


def _after_fork() -> None:
    for database in list(_open):
        database._forget()


os.register_at_fork(after_in_child=_after_fork)


def open_database(url: str, *, role: Role = "data", create: bool = False) -> Database:
    """Opens a database; `create` makes the SQLite file (0600) if it is not there. Connects at the first use.

    Raises:
        UsageError: The URL's form is wrong, it holds a password, or the extra `postgres` is not installed.
        NoVaultError: The SQLite file does not exist.
    """
    parsed = parse_url(url)
    if parsed.path is not None:
        _require_file(parsed.path, create=create)
    reader = writer = _engine(parsed, _POOL)
    if parsed.dialect == "sqlite":
        writer = _engine(parsed, _ONE, writes=True)
    else:
        reader = reader.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    own_errors = OwnErrors(foreign_errors(parsed.dialect))
    database = Database(parsed.text, role, parsed.dialect, parsed.path, reader, writer, own_errors)
    _open.add(database)
    return database


def _require_file(path: Path, *, create: bool) -> None:
    if path.exists():
        return
    if not create:
        advice = "Look whether what it lies on is mounted; else restore it from a backup."
        raise NoVaultError(f"There is no database at {path}.", advice=advice)
    try:
        # SQLite gives its journal files the mode of the database, so this is the one place that sets it.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as fault:
        raise StorageError(f"The database cannot be created at {path}: {fault.strerror}.") from None


def _engine(url: DatabaseUrl, pool: dict[str, Any], *, writes: bool = False) -> Engine:
    if url.path is not None:
        address = sqlalchemy.URL.create("sqlite+pysqlite", database=str(url.path))
        options = {"timeout": BUSY_SECONDS, "check_same_thread": False}
        engine = sqlalchemy.create_engine(address, hide_parameters=True, connect_args=options, **pool)
        event.listen(engine, "connect", _prepare_writer if writes else _prepare_reader)
        return engine
    try:
        return sqlalchemy.create_engine(url.text, hide_parameters=True, pool_pre_ping=True, **pool)
    except ModuleNotFoundError:
        raise UsageError(
            "PostgreSQL needs the driver psycopg, which is not installed",
            advice="Install it with: pip install 'syncvault[postgres]'",
        ) from None
    except sqlalchemy.exc.ArgumentError:
        raise UsageError("The database URL cannot be read.") from None


def _prepare_writer(connection: Any, _record: object) -> None:
    # The driver must not begin transactions by itself: `Database._begin` does (SQLAlchemy, "pysqlite: transactions").
    connection.isolation_level = None
    for pragma in _PRAGMAS:
        connection.execute(pragma)


def _prepare_reader(connection: Any, record: object) -> None:
    _prepare_writer(connection, record)
    connection.execute("PRAGMA query_only=ON")
