"""Looks after a database as a file: integrity checks, and scrubbing what deleted rows left behind."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from syncvault.errors import BusyError
from syncvault.store import holders

_POLL_SECONDS: Final = 0.05
_DENIED: Final = "42501"  # insufficient_privilege


@dataclass(frozen=True, slots=True)
class ScrubReport:
    """What a scrub did, and what it cannot reach, in words for an administrator and a receipt."""

    done: tuple[str, ...]
    remains: tuple[str, ...]

    @property
    def sentences(self) -> tuple[str, ...]:
        """Both, as a receipt names them."""
        return (*self.done, *(f"not reached: {what}" for what in self.remains))


def integrity(connection: Connection, *, quick: bool) -> list[str]:
    """What is wrong with the database, a clause each."""
    if connection.dialect.name == "sqlite":
        return _integrity_sqlite(connection, quick=quick)
    return _integrity_postgresql(connection)


def _integrity_sqlite(connection: Connection, *, quick: bool) -> list[str]:
    pragma = "PRAGMA quick_check(20)" if quick else "PRAGMA integrity_check(20)"
    found = [str(row[0]) for row in connection.exec_driver_sql(pragma) if row[0] != "ok"]
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    found += sorted({f"table {row[0]} has a row whose {row[2]} is missing" for row in broken})
    return found


def _integrity_postgresql(connection: Connection) -> list[str]:
    tables = connection.exec_driver_sql(
        "SELECT quote_ident(relname) FROM pg_class"
        " WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace"
    )
    for (table,) in tables.all():
        # Reads every page; with checksums on (the default since PostgreSQL 18) the server verifies each.
        connection.exec_driver_sql(f"SELECT count(*) FROM {table}")  # noqa: S608  (quoted by the server)
    invalid = connection.exec_driver_sql(
        "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        " WHERE NOT i.indisvalid AND c.relnamespace = current_schema()::regnamespace"
    )
    return [f"index {name} is not valid" for (name,) in invalid]


def scrub_sqlite(connection: Any, path: Path, *, timeout: float, vacuum: bool = False) -> ScrubReport:
    """Moves the write-ahead log into the file and empties it; the pages freed there are zero already.

    Deleting rows with secure_delete zeroes them in the log; the old bytes stay in the main file until the
    log is moved over, and in the log for as long as a reader may need it.
    """
    deadline = time.monotonic() + timeout
    connection.execute("PRAGMA busy_timeout=200")
    try:
        _empty_log(connection, path, deadline)
        done = ["deleted rows overwritten in the database file", "write-ahead log emptied"]
        if vacuum:
            connection.execute("VACUUM")
            _empty_log(connection, path, max(deadline, time.monotonic() + 1))
            done.append("database file written anew without its free pages (VACUUM)")
    finally:
        connection.execute("PRAGMA busy_timeout=30000")
    return ScrubReport(tuple(done), ("blocks that the file system or the disk itself keeps, snapshots and backups",))


def _empty_log(connection: Any, path: Path, deadline: float) -> None:
    while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] != 0:
        if time.monotonic() >= deadline:
            files = [path.with_name(path.name + suffix) for suffix in ("", "-wal", "-shm")]
            raise BusyError(f"A reader is open, so deleted rows cannot be scrubbed yet: {holders.named(files)}.")
        time.sleep(_POLL_SECONDS)


def scrub_postgresql(connection: Connection, tables: Sequence[str], *, timeout: float) -> ScrubReport:
    """Rewrites the tables without their dead rows, and lets the server recycle its write-ahead log where it may."""
    connection.exec_driver_sql(f"SET lock_timeout = {max(1, int(timeout * 1000))}")
    for table in tables:
        connection.exec_driver_sql(f'VACUUM (FULL, ANALYZE) "{table}"')
    done = [f"table {table} rewritten without deleted rows" for table in tables]
    remains = ["the server's archived write-ahead log, replicas, snapshots and backups"]
    for statement, what in (("SELECT pg_switch_wal()", "segment switched"), ("CHECKPOINT", "checkpoint made")):
        if _permitted(connection, statement):
            done.append(f"write-ahead log: {what}")
        else:
            remains.append(f"write-ahead log of the server: no {what} for want of permission")
    return ScrubReport(tuple(done), tuple(remains))


def _permitted(connection: Connection, statement: str) -> bool:
    try:
        connection.exec_driver_sql(statement)
    except DBAPIError as fault:
        if getattr(fault.orig, "sqlstate", None) != _DENIED:
            raise
        return False
    return True
