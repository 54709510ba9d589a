"""Three ways of storing contacts in the same tables: ours, the limit for anything that encrypts, and SQLCipher.

The limit seals with one key and random nonces and checks nothing but the tag: no tenants apart, no key hierarchy, no
binding of a record to its place, no fence against an erasure, no bound on how many nonces one key sees. It speaks
to the driver directly. SQLCipher encrypts the pages of the file, so its rows hold the plaintext.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from scripts.benchmarks.entries import Entry
from scripts.benchmarks.vaults import TENANT, home_in
from syncvault.crypto.place import Place
from syncvault.store import contacts as contact_rows
from syncvault.store import mailboxes as mailbox_rows
from syncvault.store.contacts import ContactRow
from syncvault.vault import tenants
from syncvault.vault.diff import open_contacts
from syncvault.vault.opening import open_vault

_PURGE_AT: Final = 4_000_000_000
_PHOTO_DUE_AT: Final = 1_800_000_000
_CLASS: Final = "contact"
_KIND: Final = "contact"
_COLUMNS: Final = ", ".join(ContactRow._fields)
_FETCHED_AT_ONCE: Final = contact_rows.PAGE
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


class Way(Protocol):
    """A way of storing contacts in a directory with a vault that has a tenant and its mailboxes.

    Made anew with the same key, it opens what was stored before.
    """

    mailbox_ids: Sequence[bytes]

    def insert(self, page: Sequence[Entry]) -> None:
        """Stores a page of contacts in a transaction of its own."""

    def read(self) -> Iterator[list[bytes]]:
        """The plaintext of all contacts, by the page, with every other column fetched as well."""

    def close(self) -> None:
        """Closes the database."""


class Ours:
    """The vault: keys of the tenant, records bound to their rows, writes behind the tenant's fence."""

    def __init__(self, directory: Path, _key: bytes) -> None:
        self._vault = open_vault(home_in(directory))
        self._tenant = tenants.find(self._vault, TENANT)
        self._keys = self._vault.keys.tenant(self._tenant.id)
        with self._vault.read() as tx:
            self.mailbox_ids = mailbox_rows.ids_of_tenant(tx, self._tenant.id)

    def insert(self, page: Sequence[Entry]) -> None:
        """See `Way`."""
        tenant_id = self._tenant.id
        ids, mailbox_ids, folder_ids, remote_ixs, plains = zip(*page, strict=True)
        blobs = self._keys.cipher.seal_rows(Place.CONTACT, ids, plains, mailbox_ids, folder_ids, remote_ixs)
        rows = [
            ContactRow(
                entry_id, tenant_id, mailbox_id, folder_id, _KIND, remote_ix, blob, _PHOTO_DUE_AT, _CLASS, _PURGE_AT
            )
            for (entry_id, mailbox_id, folder_id, remote_ix, _), blob in zip(page, blobs, strict=True)
        ]
        with self._vault.writing(self._tenant) as (tx, changes):
            changes.added("contacts", blobs)
            contact_rows.insert_many(tx, rows)

    def read(self) -> Iterator[list[bytes]]:
        """See `Way`."""
        for page in contact_rows.stream(self._vault.read, self._tenant.id):
            yield open_contacts(self._keys, page)

    def close(self) -> None:
        """See `Way`."""
        self._vault.close()


class _Plain:
    """The driver and SQL; what becomes of the content is left to the ways below."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        connection.isolation_level = None
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        found = connection.execute("SELECT id, tenant_id FROM mailboxes ORDER BY id").fetchall()
        self.mailbox_ids = [mailbox_id for mailbox_id, _ in found]
        self._tenant_id = found[0][1]

    def _write(self, rows: list[tuple[Any, ...]]) -> None:
        marks = ", ".join("?" * len(ContactRow._fields))
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(f"INSERT INTO contacts ({_COLUMNS}) VALUES ({marks})", rows)  # noqa: S608
        self._connection.execute("COMMIT")

    def _pages(self) -> Iterator[list[tuple[Any, ...]]]:
        """The same pages as `syncvault.store.contacts.stream` fetches, by the same statement."""
        for mailbox_id in self.mailbox_ids:
            after: bytes | None = b""
            while after is not None:
                self._connection.execute("BEGIN")
                page = self._connection.execute(
                    f"SELECT {_COLUMNS} FROM contacts WHERE mailbox_id = ? AND remote_ix > ? AND tenant_id = ?"  # noqa: S608
                    " ORDER BY remote_ix LIMIT ?",
                    (mailbox_id, after, self._tenant_id, _FETCHED_AT_ONCE),
                ).fetchall()
                self._connection.execute("COMMIT")
                yield page
                after = page[-1][5] if len(page) == _FETCHED_AT_ONCE else None

    def close(self) -> None:
        """See `Way`."""
        self._connection.close()


class Limit(_Plain):
    """One AES-GCM key and the standard library's sqlite3: the least that encryption can cost."""

    def __init__(self, directory: Path, key: bytes) -> None:
        super().__init__(sqlite3.connect(home_in(directory) / "vault.db"))
        self._aead = AESGCM(key)

    def insert(self, page: Sequence[Entry]) -> None:
        """See `Way`."""
        encrypt, tenant_id, rows = self._aead.encrypt, self._tenant_id, []
        for entry_id, mailbox_id, folder_id, remote_ix, plain in page:
            nonce = os.urandom(12)
            blob = nonce + encrypt(nonce, plain, None)
            rows.append(
                (entry_id, tenant_id, mailbox_id, folder_id, _KIND, remote_ix, blob, _PHOTO_DUE_AT, _CLASS, _PURGE_AT)
            )
        self._write(rows)

    def read(self) -> Iterator[list[bytes]]:
        """See `Way`."""
        decrypt = self._aead.decrypt
        for page in self._pages():
            yield [decrypt(row[6][:12], row[6][12:], None) for row in page]


class SqlCipher(_Plain):
    """SQLCipher with a raw key, so that no time goes into a passphrase."""

    def __init__(self, directory: Path, key: bytes) -> None:
        from sqlcipher3 import dbapi2  # noqa: PLC0415  (only this way needs it)

        raw_key, encrypted = f"\"x'{key.hex()}'\"", directory / "encrypted.db"
        if not encrypted.exists():
            connection = dbapi2.connect(str(home_in(directory) / "vault.db"))
            connection.execute(f"ATTACH DATABASE ? AS encrypted KEY {raw_key}", (str(encrypted),))
            connection.execute("SELECT sqlcipher_export('encrypted')")
            connection.close()
        connection = dbapi2.connect(str(encrypted))
        connection.execute(f"PRAGMA key = {raw_key}")
        super().__init__(connection)

    def insert(self, page: Sequence[Entry]) -> None:
        """See `Way`."""
        tenant_id = self._tenant_id
        self._write(
            [
                (entry_id, tenant_id, mailbox_id, folder_id, _KIND, remote_ix, plain, _PHOTO_DUE_AT, _CLASS, _PURGE_AT)
                for entry_id, mailbox_id, folder_id, remote_ix, plain in page
            ]
        )

    def read(self) -> Iterator[list[bytes]]:
        """See `Way`."""
        for page in self._pages():
            yield [row[6] for row in page]


WAYS: Final[dict[str, type[Way]]] = {"limit": Limit, "syncvault": Ours, "sqlcipher": SqlCipher}
