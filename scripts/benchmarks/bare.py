"""A database's driver and nothing of ours, with the same tables, indexes, pragmas, transactions and statements."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from scripts.benchmarks.vaults import home_in
from syncvault.store import contacts as contact_rows
from syncvault.store.contacts import ContactRow
from syncvault.store.tenants import PERSONAL_TABLES
from syncvault.vault import layout as layouts

PURGE_AT: Final = 4_000_000_000
PHOTO_DUE_AT: Final = 1_800_000_000
CLASS: Final = "contact"
KIND: Final = "contact"
BLOB_AT: Final = ContactRow._fields.index("blob")
COLUMNS: Final = ", ".join(ContactRow._fields)
_REMOTE_IX_AT: Final = ContactRow._fields.index("remote_ix")
# What syncvault.store.engine sets.
_PRAGMAS: Final = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA secure_delete=ON",
    "PRAGMA foreign_keys=ON",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA cache_size=-16384",
    "PRAGMA wal_autocheckpoint=4000",
)


def database_of(directory: Path) -> str:
    """The URL of the sealed rows of a directory's vault."""
    return layouts.load(home_in(directory)).database


def set_up(connection: Any, _record: object = None) -> None:
    """Has a connection to SQLite work as those of the vault."""
    for pragma in _PRAGMAS:
        connection.execute(pragma)


class Bare:
    """A connection to the database of a directory's vault, past the vault."""

    def __init__(self, directory: Path) -> None:
        url = database_of(directory)
        if url.startswith("sqlite"):
            self._use(sqlite3.connect(home_in(directory) / "vault.db"))
        else:
            import psycopg  # noqa: PLC0415  (SQLite does without)

            self._use(psycopg.connect(url, autocommit=True), mark="%s")

    def _use(self, connection: Any, *, mark: str = "?") -> None:
        self._connection, self._mark = connection, mark
        self.is_sqlite = mark == "?"
        if self.is_sqlite:
            connection.isolation_level = None
            set_up(connection)
        # SQLite would turn a reading transaction that writes later away; PostgreSQL has no such difference.
        self._begin_write = "BEGIN IMMEDIATE" if self.is_sqlite else "BEGIN"
        found = self.query("SELECT id, tenant_id FROM mailboxes ORDER BY id")
        self.mailbox_ids = [mailbox_id for mailbox_id, _ in found]
        self.tenant_id = found[0][1]
        self._insert = self.sql(f"INSERT INTO contacts ({COLUMNS}) VALUES ({', '.join('?' * len(ContactRow._fields))})")  # noqa: S608
        self._page = self.sql(
            f"SELECT {COLUMNS} FROM contacts WHERE mailbox_id = ? AND remote_ix > ? AND tenant_id = ?"  # noqa: S608
            " ORDER BY remote_ix LIMIT ?"
        )

    def sql(self, text: str) -> str:
        """A statement written with `?`, as this driver wants it."""
        return text.replace("?", self._mark)

    def query(self, text: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows that a statement gives."""
        found: list[tuple[Any, ...]] = self._connection.execute(self.sql(text), values).fetchall()
        return found

    def write(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Stores contacts in a transaction of their own."""
        self._connection.execute(self._begin_write)
        self._connection.cursor().executemany(self._insert, rows)
        self._connection.execute("COMMIT")

    def change(self, text: str, *values: object) -> None:
        """Runs one statement in a transaction of its own."""
        self._connection.execute(self._begin_write)
        self._connection.execute(self.sql(text), values)
        self._connection.execute("COMMIT")

    def pages(self) -> Iterator[list[tuple[Any, ...]]]:
        """All contacts by the page, a transaction each, by the statement of `syncvault.store.contacts.page`."""
        for mailbox_id in self.mailbox_ids:
            after: bytes | None = b""
            while after is not None:
                self._connection.execute("BEGIN")
                page = self._connection.execute(
                    self._page, (mailbox_id, after, self.tenant_id, contact_rows.PAGE)
                ).fetchall()
                self._connection.execute("COMMIT")
                yield page
                after = page[-1][_REMOTE_IX_AT] if len(page) == contact_rows.PAGE else None

    def delete(self) -> None:
        """Deletes all that the tenant has, and what that leaves in the files."""
        tables = [table for table in PERSONAL_TABLES if table not in {"seen", "tenants"}]  # empty, and not the tenant's
        self._connection.execute(self._begin_write)
        for table in tables:
            self._connection.execute(self.sql(f"DELETE FROM {table} WHERE tenant_id = ?"), (self.tenant_id,))  # noqa: S608
        self._connection.execute("COMMIT")
        if self.is_sqlite:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        else:
            for table in tables:
                self._connection.execute(f"VACUUM FULL {table}")

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()
