"""Ways of storing contacts in the same tables: ours, the least that would do, and what others use for it.

The limit seals with one key and random nonces and checks nothing but the tag: no tenants apart, no key hierarchy, no
binding of a record to its place, no fence against an erasure, no manifest, no bound on how many nonces one key sees. It
speaks to the driver directly, as do all but the vault and the ORM. SQLCipher encrypts the pages of the file, so its
rows hold the plaintext.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Protocol

from cryptography.fernet import Fernet as FernetKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from scripts.benchmarks.bare import BLOB_AT, CLASS, COLUMNS, KIND, PHOTO_DUE_AT, PURGE_AT, Bare, database_of, set_up
from scripts.benchmarks.entries import Entry
from scripts.benchmarks.vaults import TENANT, home_in
from syncvault.crypto.place import Place
from syncvault.store import contacts as contact_rows
from syncvault.store import mailboxes as mailbox_rows
from syncvault.store.contacts import ContactRow
from syncvault.vault import tenants
from syncvault.vault.content.diff import open_contacts
from syncvault.vault.erasing import erasure
from syncvault.vault.opening import open_vault


class Way(Protocol):
    """A way of storing contacts in a directory with a vault that has a tenant and its mailboxes.

    Made anew with the same key, it opens what was stored before.
    """

    mailbox_ids: Sequence[bytes]

    def __init__(self, directory: Path, key: bytes) -> None: ...

    def insert(self, page: Sequence[Entry]) -> None:
        """Stores a page of contacts in a transaction of its own."""

    def read(self) -> Iterator[list[bytes]]:
        """The plaintext of all contacts, by the page, with every other column fetched as well."""

    def delete(self) -> None:
        """Deletes the tenant."""

    def close(self) -> None:
        """Closes the database."""


class Ours:
    """The vault: keys of the tenant, records bound to their rows, a manifest, writes behind the tenant's fence."""

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
            ContactRow(entry_id, tenant_id, mailbox_id, folder_id, KIND, remote_ix, blob, PHOTO_DUE_AT, CLASS, PURGE_AT)
            for (entry_id, mailbox_id, folder_id, remote_ix, _), blob in zip(page, blobs, strict=True)
        ]
        with self._vault.writing(self._tenant) as (tx, changes):
            changes.added("contacts", blobs)
            contact_rows.insert_many(tx, rows)

    def read(self) -> Iterator[list[bytes]]:
        """See `Way`."""
        for page in contact_rows.stream(self._vault.read, self._tenant.id):
            yield open_contacts(self._keys, page)

    def delete(self) -> None:
        """With all that belongs to it: a new root key, the ledger, a signed receipt."""
        erasure.erase(self._vault, self._tenant, reason=erasure.ON_DEMAND, role="benchmark")

    def close(self) -> None:
        """See `Way`."""
        self._vault.close()


class _Direct:
    """Content that is sealed, or not, before it goes straight to the driver."""

    def __init__(self, directory: Path, _key: bytes) -> None:
        self._database = Bare(directory)
        self.mailbox_ids, self._tenant_id = self._database.mailbox_ids, self._database.tenant_id

    def _insert(self, page: Sequence[Entry], blobs: Sequence[bytes]) -> None:
        tenant_id = self._tenant_id
        self._database.write(
            [
                (entry_id, tenant_id, mailbox_id, folder_id, KIND, remote_ix, blob, PHOTO_DUE_AT, CLASS, PURGE_AT)
                for (entry_id, mailbox_id, folder_id, remote_ix, _), blob in zip(page, blobs, strict=True)
            ]
        )

    def delete(self) -> None:
        """See `Way`."""
        self._database.delete()

    def close(self) -> None:
        """See `Way`."""
        self._database.close()


class Limit(_Direct):
    """One AES-GCM key and the driver: the least that encryption can cost."""

    def __init__(self, directory: Path, key: bytes) -> None:
        super().__init__(directory, key)
        self._aead = AESGCM(key)

    def insert(self, page: Sequence[Entry]) -> None:
        """See `Way`."""
        encrypt, tenant_id, rows = self._aead.encrypt, self._tenant_id, []
        for entry_id, mailbox_id, folder_id, remote_ix, plain in page:
            nonce = os.urandom(12)
            blob = nonce + encrypt(nonce, plain, None)
            rows.append(
                (entry_id, tenant_id, mailbox_id, folder_id, KIND, remote_ix, blob, PHOTO_DUE_AT, CLASS, PURGE_AT)
            )
        self._database.write(rows)

    def read(self) -> Iterator[list[bytes]]:
        """See `Way`."""
        decrypt = self._aead.decrypt
        for page in self._database.pages():
            yield [decrypt(row[6][:12], row[6][12:], None) for row in page]


class Plaintext(_Direct):
    """No encryption."""

    def insert(self, page: Sequence[Entry]) -> None:
        """See `Way`."""
        self._insert(page, [entry.plain for entry in page])

    def read(self) -> Iterator[list[bytes]]:
        """See `Way`."""
        for page in self._database.pages():
            yield [row[BLOB_AT] for row in page]


class _SqlCipherDatabase(Bare):
    def __init__(self, directory: Path, key: bytes) -> None:
        from sqlcipher3 import dbapi2  # noqa: PLC0415  (only this way needs it)

        # A raw key, so that no time goes into a passphrase.
        raw_key, encrypted = f"\"x'{key.hex()}'\"", directory / "encrypted.db"
        if not encrypted.exists():
            connection = dbapi2.connect(str(home_in(directory) / "vault.db"))
            connection.execute(f"ATTACH DATABASE ? AS encrypted KEY {raw_key}", (str(encrypted),))
            connection.execute("SELECT sqlcipher_export('encrypted')")
            connection.close()
        connection = dbapi2.connect(str(encrypted))
        connection.execute(f"PRAGMA key = {raw_key}")
        self._use(connection)


class SqlCipher(Plaintext):
    """SQLCipher, which encrypts the pages of the file."""

    def __init__(self, directory: Path, key: bytes) -> None:
        self._database = _SqlCipherDatabase(directory, key)
        self.mailbox_ids, self._tenant_id = self._database.mailbox_ids, self._database.tenant_id


class Tink(_Direct):
    """Google Tink's AEAD with one AES-256-GCM key, bound to the row's ID."""

    def __init__(self, directory: Path, key: bytes) -> None:
        super().__init__(directory, key)
        import tink  # noqa: PLC0415  (only this way needs it)
        from tink import aead, secret_key_access  # noqa: PLC0415

        aead.register()
        file = directory / "tink.keyset"
        if not file.exists():
            made = tink.new_keyset_handle(aead.aead_key_templates.AES256_GCM)
            file.write_bytes(tink.proto_keyset_format.serialize(made, secret_key_access.TOKEN))
        self._aead = tink.proto_keyset_format.parse(file.read_bytes(), secret_key_access.TOKEN).primitive(aead.Aead)

    def insert(self, page: Sequence[Entry]) -> None:
        """See `Way`."""
        encrypt = self._aead.encrypt
        self._insert(page, [encrypt(entry.plain, entry.id) for entry in page])

    def read(self) -> Iterator[list[bytes]]:
        """See `Way`."""
        decrypt = self._aead.decrypt
        for page in self._database.pages():
            yield [decrypt(row[BLOB_AT], row[0]) for row in page]


class Fernet(_Direct):
    """Fernet (AES-128-CBC and HMAC) of cryptography."""

    def __init__(self, directory: Path, key: bytes) -> None:
        super().__init__(directory, key)
        self._key = FernetKey(base64.urlsafe_b64encode(key))

    def insert(self, page: Sequence[Entry]) -> None:
        """See `Way`."""
        encrypt = self._key.encrypt
        self._insert(page, [encrypt(entry.plain) for entry in page])

    def read(self) -> Iterator[list[bytes]]:
        """See `Way`."""
        decrypt = self._key.decrypt
        for page in self._database.pages():
            yield [decrypt(row[BLOB_AT]) for row in page]


class Column(_Direct):
    """An encrypted column of sqlalchemy-utils (AesGcmEngine) in a class of SQLAlchemy's ORM, as its manual has it."""

    def __init__(self, directory: Path, key: bytes) -> None:
        super().__init__(directory, key)
        import sqlalchemy as sa  # noqa: PLC0415  (only this way needs them)
        from sqlalchemy import orm  # noqa: PLC0415
        from sqlalchemy_utils.types.encrypted.encrypted_type import AesGcmEngine, EncryptedType  # noqa: PLC0415

        class Contact(orm.declarative_base()):  # type: ignore[misc]
            __table__ = sa.Table(
                "contacts",
                sa.MetaData(),
                *(
                    sa.Column(
                        name, sa.LargeBinary() if name.endswith(("id", "_ix")) else None, primary_key=name == "id"
                    )
                    for name in COLUMNS.split(", ")
                    if name != "blob"
                ),
                sa.Column("blob", EncryptedType(sa.Unicode, key, AesGcmEngine)),
            )

        self._kind: Any = Contact
        url = database_of(directory).replace("postgresql://", "postgresql+psycopg://")
        self._engine = sa.create_engine(url)
        if self._database.is_sqlite:
            sa.event.listen(self._engine, "connect", set_up)
        self._select, self._session = sa.select(Contact), orm.sessionmaker(self._engine)

    def insert(self, page: Sequence[Entry]) -> None:
        """See `Way`."""
        constant = {
            "tenant_id": self._tenant_id, "kind": KIND, "photo_due_at": PHOTO_DUE_AT, "data_class": CLASS,
            "purge_at": PURGE_AT,
        }  # fmt: skip
        with self._session.begin() as session:
            for entry in page:
                columns = {**entry._asdict(), **constant}
                session.add(self._kind(blob=columns.pop("plain").decode(), **columns))

    def read(self) -> Iterator[list[bytes]]:
        """See `Way`."""
        kind, select = self._kind, self._select
        for mailbox_id in self.mailbox_ids:
            with self._session.begin() as session:
                found = select.where(kind.mailbox_id == mailbox_id).order_by(kind.remote_ix)
                yield [contact.blob.encode() for contact in session.scalars(found)]

    def close(self) -> None:
        """See `Way`."""
        self._engine.dispose()
        super().close()


@dataclass(frozen=True, slots=True)
class Offer:
    """A way by the package that it needs beside our own.

    Attributes:
        make: The way.
        package: What has to be installed.
        is_slow: Whether fewer rounds must do.
        is_file: Whether it knows SQLite files only.
    """

    make: type[Way]
    package: str | None = None
    is_slow: bool = False
    is_file: bool = False

    @property
    def is_there(self) -> bool:
        """Whether it can be measured here."""
        return self.package is None or find_spec(self.package) is not None


WAYS: Final = {
    "limit": Offer(Limit),
    "syncvault": Offer(Ours),
    "plaintext": Offer(Plaintext),
    "SQLCipher": Offer(SqlCipher, "sqlcipher3", is_file=True),
    "Tink": Offer(Tink, "tink", is_slow=True),
    "Fernet": Offer(Fernet, is_slow=True),
    "sqlalchemy-utils AesGcm": Offer(Column, "sqlalchemy_utils", is_slow=True),
}
