"""Checking one tenant's rows: every record is opened, every blind index made again, every purge date compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import orjson

from syncvault.crypto.index import Label, normalise_address
from syncvault.crypto.multiset import MultisetHash, Total
from syncvault.crypto.padding import unpad
from syncvault.crypto.place import Place
from syncvault.errors import DamagedError
from syncvault.policy.catalogue import DataClass
from syncvault.store import contacts as contact_rows
from syncvault.store import credentials as credential_rows
from syncvault.store import folders as folder_rows
from syncvault.store import mailboxes as mailbox_rows
from syncvault.store import photos as photo_rows
from syncvault.store import sources as source_rows
from syncvault.store import tenants as tenant_rows
from syncvault.store.contacts import ContactRow
from syncvault.store.engine import Transaction
from syncvault.store.folders import FolderState
from syncvault.store.mailboxes import MailboxRow
from syncvault.store.photos import PhotoRow
from syncvault.store.sources import SourceRow
from syncvault.store.tenants import FIRST_EPOCH
from syncvault.vault.content.diff import CARD, open_contact, open_contacts
from syncvault.vault.content.pages import open_folder
from syncvault.vault.content.photos import open_details
from syncvault.vault.content.sources import open_mailbox
from syncvault.vault.keyring.keys import TenantKeys
from syncvault.vault.model import Tenant
from syncvault.vault.sealing import open_bytes, open_json, to_datetime
from syncvault.vault.vault import Vault

RESTORE: Final = "Find out who changed the database; then restore it from a backup, or delete the tenant."
_WRONG_DATE: Final = "The purge date is not what the tenant's subscription says."
_REPAIR: Final = "Run `syncvault purge --yes`: it brings the dates to what the facts say."
_PHOTO_PAGE: Final = 16  # of up to a few hundred kilobytes each


class Kind(StrEnum):
    """What is wrong with a row."""

    UNREADABLE = "unreadable"  # it does not open, or holds something else than it says
    MISSING = "missing"  # it is not there any more
    ROLLED_BACK = "rolled_back"  # it is older than it was, or was removed before
    PURGE_DATE = "purge_date"  # its purge date or data class is not what the facts say
    INDEX = "index"  # its blind index is not that of its content
    MANIFEST = "manifest"  # what says whether rows are missing does not open, or is not there
    KEY = "key"  # a wrapped key does not open, or is not there


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, in a sentence, and what to do about it. `row` is None where only the tenant is known."""

    tenant_id: bytes | None
    table: str
    row: bytes | None
    kind: Kind
    message: str
    advice: str


@dataclass(slots=True)
class Part:
    """What checking a part of a tenant's rows came to."""

    tenant_id: bytes
    checked: int = 0
    totals: dict[str, Total] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def take_in(self, other: Part) -> None:
        """Adds another part of the same tenant."""
        self.checked += other.checked
        for table, total in other.totals.items():
            self.totals[table] = self.totals.get(table, Total()).plus(total)
        self.findings += other.findings


class RowCheck:
    """Checks rows of a tenant as transactions see them, and sums them up for its manifest.

    Args:
        vault: The vault.
        tenant: Whose rows; without a profile where that does not open, and then no purge date is known.
        keys: The tenant's.
        multiset: The manifest's hash.
    """

    def __init__(self, vault: Vault, tenant: Tenant, keys: TenantKeys, multiset: MultisetHash) -> None:
        self._vault = vault
        self._tenant = tenant
        self._keys = keys
        self._multiset = multiset
        self._facts = tenant.profile.subscription if tenant.profile else None
        self.part = Part(tenant.id)

    def head(self, tx: Transaction) -> None:
        """Checks what hangs on no mailbox, and the purge dates of rows that have nothing sealed."""
        row = tenant_rows.get(tx, self._tenant.id)
        if row is not None:
            self._sum("tenants", [row.profile])
            self._dated("tenants", row.id, row.data_class, row.purge_at, DataClass.TENANT_PROFILE)
            if self._tenant.profile is not None:
                facts = self._tenant.profile
                self._same("tenants", row.id, row.name_ix, [self._vault.keys.names.of(Label.TENANT_NAME, facts.name)])
                self._same("tenants", row.id, row.kind, [str(facts.kind)])
            if row.epoch != FIRST_EPOCH:
                self._find("tenants", row.id, Kind.INDEX, "Its epoch is one that only an erasure gives a tenant.")
        credential = credential_rows.get(tx, self._tenant.id)
        if credential is None:
            self._find("credentials", None, Kind.MISSING, "The tenant has no credential.")
        else:
            self._sum("credentials", [credential.blob])
            self._dated("credentials", credential.id, credential.data_class, credential.purge_at, DataClass.CREDENTIAL)
            self._opened("credentials", credential.id, lambda: self._credential(credential.id, credential.blob))
        for source in source_rows.of_tenant(tx, self._tenant.id):
            self._sum("sources", [source.blob])
            self._dated("sources", source.id, source.data_class, source.purge_at, DataClass.SOURCE)
            self._opened("sources", source.id, lambda source=source: self._source(source))  # type: ignore[misc]
        for table in ("memberships", "pending_removals", "seen", "manifests"):
            self._tags(table, tenant_rows.tags(tx, self._tenant.id, tables=[table])[table])

    def mailboxes(self, read: Callable[[], Any], mailbox_ids: Sequence[bytes]) -> None:
        """Checks mailboxes with everything in them; each page is a transaction that `read` begins."""
        for mailbox_id in mailbox_ids:
            with read() as tx:
                row = mailbox_rows.get(tx, self._tenant.id, mailbox_id)
                states = folder_rows.of_mailbox(tx, mailbox_id)
            if row is not None:
                self._mailbox_row(row)
            for state in states:
                self._folder(state)
        known = self._known_folders(read, mailbox_ids)
        for mailbox_id in mailbox_ids:
            for page in contact_rows.stream(read, self._tenant.id, mailbox_id=mailbox_id):
                self._contacts(page, known)
                self._photos(read, [row.id for row in page])

    def _known_folders(self, read: Callable[[], Any], mailbox_ids: Sequence[bytes]) -> set[bytes]:
        with read() as tx:
            return {state.folder.id for each in mailbox_ids for state in folder_rows.of_mailbox(tx, each)}

    def _mailbox_row(self, row: MailboxRow) -> None:
        self._sum("mailboxes", [row.blob])
        self._dated("mailboxes", row.id, row.data_class, row.purge_at, DataClass.MAILBOX)
        opened = self._opened("mailboxes", row.id, lambda: open_mailbox(self._keys, row))
        if opened is not None:
            key, address = normalise_address(opened.key), normalise_address(opened.address)
            self._same("mailboxes", row.id, row.key_ix, self._indexes(Label.MAILBOX_KEY, key))
            expected = self._indexes(Label.MAILBOX_ADDRESS, address) if opened.address else [None]
            self._same("mailboxes", row.id, row.address_ix, expected)

    def _folder(self, state: FolderState) -> None:
        row, checkpoint = state.folder, state.checkpoint
        self._sum("folders", [row.blob])
        self._dated("folders", row.id, row.data_class, row.purge_at, DataClass.MAILBOX)
        opened = self._opened("folders", row.id, lambda: open_folder(self._keys, row))
        if opened is not None:
            self._same("folders", row.id, row.folder_ix, self._indexes(Label.FOLDER, opened["id"]))
        if checkpoint is not None:
            self._sum("checkpoints", [checkpoint.blob])
            self._dated("checkpoints", row.id, checkpoint.data_class, checkpoint.purge_at, DataClass.CHECKPOINT)
            self._opened(
                "checkpoints",
                row.id,
                lambda: open_json(self._keys.cipher, Place.CHECKPOINT, row.id, checkpoint.blob),
            )

    def _contacts(self, page: Sequence[ContactRow], folders: set[bytes]) -> None:
        self._sum("contacts", [row.blob for row in page])
        for row, plain in zip(page, self._open_contacts(page), strict=True):
            self._dated("contacts", row.id, row.data_class, row.purge_at, DataClass.CONTACT)
            if row.folder_id is not None and row.folder_id not in folders:
                self._find("contacts", row.id, Kind.MISSING, "Its folder is not there.")
            if plain is not None:
                label = Label.CARD if row.kind == CARD else Label.ITEM
                self._same("contacts", row.id, row.remote_ix, self._indexes(label, orjson.loads(plain)["id"]))

    def _open_contacts(self, page: Sequence[ContactRow]) -> Sequence[bytes | None]:
        try:
            return open_contacts(self._keys, page)
        except DamagedError:
            return [self._opened("contacts", row.id, lambda row=row: open_contact(self._keys, row)) for row in page]  # type: ignore[misc]

    def _photos(self, read: Callable[[], Any], contact_ids: Sequence[bytes]) -> None:
        with read() as tx:
            pictured = list(photo_rows.details(tx, contact_ids))
        for at in range(0, len(pictured), _PHOTO_PAGE):
            with read() as tx:
                found = photo_rows.of_contacts(tx, pictured[at : at + _PHOTO_PAGE])
            for row in found:
                self._photo(row)

    def _photo(self, row: PhotoRow) -> None:
        self._sum("photos", [row.details, row.content])
        self._dated("photos", row.contact_id, row.data_class, row.purge_at, DataClass.PHOTO)
        self._opened("photos", row.contact_id, lambda: open_details(self._keys, row.contact_id, row.details))
        self._opened(
            "photos",
            row.contact_id,
            lambda: open_bytes(self._keys.cipher, Place.PHOTO_CONTENT, row.contact_id, row.content),
        )

    def _credential(self, row_id: bytes, blob: bytes) -> object:
        return orjson.loads(unpad(open_bytes(self._keys.cipher, Place.CREDENTIAL, row_id, blob)))

    def _source(self, row: SourceRow) -> object:
        plain = open_json(self._keys.cipher, Place.SOURCE, row.id, row.blob, row.ref_ix)
        value = f"{plain['kind']}:{normalise_address(plain['ref'])}"
        self._same("sources", row.id, row.ref_ix, self._indexes(Label.SOURCE, value))
        self._same("sources", row.id, row.kind, [plain["kind"]])
        return plain

    def _indexes(self, label: Label, value: str) -> list[bytes]:
        """A value's index under every generation: a rotation may be under way."""
        return [index.of(label, value) for index in self._keys.indexes.values()]

    def _opened(self, table: str, row: bytes, open_it: Callable[[], Any]) -> Any:
        """What the row holds; None, and a finding, if it does not open."""
        try:
            return open_it()
        except DamagedError as error:
            self._find(table, row, Kind.UNREADABLE, error.message)
            return None

    def _sum(self, table: str, records: Sequence[bytes]) -> None:
        self.part.checked += len(records)
        total = self._multiset.of(
            [record[-16:].rjust(16, b"\0") if isinstance(record, bytes) else bytes(16) for record in records]
        )
        self.part.totals[table] = self.part.totals.get(table, Total()).plus(total)

    def _same(self, table: str, row: bytes, column: object, expected: Iterable[object]) -> None:
        if column not in list(expected):
            self._find(table, row, Kind.INDEX, "A plain column does not agree with what is sealed.")

    def _dated(self, table: str, row: bytes, data_class: str, purge_at: int, expected: DataClass) -> None:
        if data_class != expected:
            self._find(table, row, Kind.PURGE_DATE, f"The row is not of the data class {expected}.")
        if not self._is_explained(purge_at):
            self._find(table, row, Kind.PURGE_DATE, _WRONG_DATE, _REPAIR)

    def _tags(self, table: str, tags: set[int]) -> None:
        if not all(map(self._is_explained, tags)):
            self._find(table, None, Kind.PURGE_DATE, _WRONG_DATE, _REPAIR)

    def _is_explained(self, tag: int) -> bool:
        return self._facts is None or self._facts.explains(to_datetime(tag), self._vault.now)

    def _find(self, table: str, row: bytes | None, kind: Kind, message: str, advice: str = "") -> None:
        where = f"Row {UUID(bytes=row)} of {table}: " if row is not None and "Row " not in message else ""
        self.part.findings.append(Finding(self._tenant.id, table, row, kind, where + message, advice or RESTORE))
