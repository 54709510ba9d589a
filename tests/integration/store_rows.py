"""Rows to store in tests: random IDs, bytes that stand for sealed records, one data class; and a file full of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from syncvault.store import contacts, mailboxes, tenants, upgrade
from syncvault.store.contacts import ContactRow
from syncvault.store.credentials import CredentialRow
from syncvault.store.engine import Database, open_database
from syncvault.store.folders import CheckpointRow, FolderRow, SeenRow
from syncvault.store.keys import WrappedKeyRow
from syncvault.store.mailboxes import MailboxRow
from syncvault.store.manifests import ManifestRow
from syncvault.store.photos import PhotoRow
from syncvault.store.removals import PendingRow
from syncvault.store.runs import RunRow
from syncvault.store.sources import MembershipRow, SourceRow
from syncvault.store.tenants import TenantRow

PURGE_AT = 2_000_000_000
MARKER = b"MARKER-OF-AN-ERASED-ROW"
LABELS = {"data_class": "contact", "purge_at": PURGE_AT}


def new_id() -> bytes:
    return os.urandom(16)


def tenant(**changes: Any) -> TenantRow:
    row = TenantRow(new_id(), "online", "live", 1, new_id(), b"profile", None, None, None, None, **LABELS)
    return row._replace(**changes)


def credential(owner: TenantRow, blob: bytes = b"credential") -> CredentialRow:
    return CredentialRow(new_id(), owner.id, blob, **LABELS)


def manifest(owner: TenantRow) -> ManifestRow:
    return ManifestRow(owner.id, 1, 1, b"manifest", **LABELS)


def source(owner: TenantRow, **changes: Any) -> SourceRow:
    return SourceRow(new_id(), owner.id, "group", new_id(), b"source", **LABELS)._replace(**changes)


def mailbox(owner: TenantRow, **changes: Any) -> MailboxRow:
    return MailboxRow(new_id(), owner.id, new_id(), new_id(), b"mailbox", **LABELS)._replace(**changes)


def membership(of: SourceRow, to: MailboxRow, leaving: int = 0) -> MembershipRow:
    return MembershipRow(of.id, to.id, of.tenant_id, leaving, **LABELS)


def folder(of: MailboxRow, **changes: Any) -> FolderRow:
    return FolderRow(new_id(), of.tenant_id, of.id, new_id(), b"folder", 0, **LABELS)._replace(**changes)


def checkpoint(of: FolderRow, blob: bytes = b"checkpoint") -> CheckpointRow:
    return CheckpointRow(of.id, of.tenant_id, blob, **LABELS)


def contact(of: MailboxRow, at: FolderRow | None = None, **changes: Any) -> ContactRow:
    kind, place = ("card", None) if at is None else ("contact", at.id)
    row = ContactRow(new_id(), of.tenant_id, of.id, place, kind, new_id(), b"contact", None, **LABELS)
    return row._replace(**changes)


def seen(entry: ContactRow) -> SeenRow:
    assert entry.folder_id is not None
    return SeenRow(entry.folder_id, entry.remote_ix, entry.tenant_id, **LABELS)


def pending(entry: ContactRow) -> PendingRow:
    return PendingRow(entry.id, entry.tenant_id, entry.folder_id, **LABELS)


def photo(of: ContactRow, content: bytes = b"photo") -> PhotoRow:
    return PhotoRow(of.id, of.tenant_id, b"details", content, **LABELS)


def run(owner: TenantRow, started_at: int = 100, **changes: Any) -> RunRow:
    return RunRow(new_id(), owner.id, started_at, None, None, "{}", "run", PURGE_AT)._replace(**changes)


def wrapped_key(tenant_id: bytes, purpose: str = "data", generation: int = 1, root: int = 1) -> WrappedKeyRow:
    return WrappedKeyRow(new_id(), tenant_id, purpose, generation, "current", root, b"wrapped", 100)


def sqlite_file(folder: Path) -> Database:
    database = open_database(f"sqlite:///{folder / 'vault.db'}", create=True)
    upgrade.migrate(database)
    return database


def fill_with_markers(database: Database) -> tuple[bytes, bytes]:
    owner = tenant()
    box = mailbox(owner)
    with database.write() as tx:
        tenants.insert(tx, owner)
        mailboxes.insert_many(tx, [box])
        contacts.insert_many(tx, [contact(box, blob=MARKER * 40) for _ in range(500)])
    if database.dialect == "sqlite":
        database.scrub()  # so that the rows stand in the main file
    return owner.id, box.id
