"""Reading contacts back: streamed by the page, every row opened and checked as it goes by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from syncvault.errors import DamagedError, NotFoundError
from syncvault.store import contacts as rows
from syncvault.store import folders as folder_rows
from syncvault.store import photos as photo_rows
from syncvault.store.contacts import ContactRow
from syncvault.vault.content import sources
from syncvault.vault.content.diff import open_contacts
from syncvault.vault.content.pages import open_folder
from syncvault.vault.content.photos import open_details
from syncvault.vault.content.sources import StoredMailbox
from syncvault.vault.keyring.keys import TenantKeys
from syncvault.vault.model import Tenant
from syncvault.vault.sealing import to_datetime
from syncvault.vault.vault import Vault


@dataclass(frozen=True, slots=True)
class StoredContact:
    """A contact as it is kept. `fields` holds the filled fields of the canonical contact, by name."""

    id: bytes
    kind: str
    mailbox: StoredMailbox
    folder: str
    fields: Mapping[str, Any] = field(repr=False)
    has_photo: bool
    photo_sha256: str | None
    purge_at: datetime


def stream(vault: Vault, tenant: Tenant, mailbox: StoredMailbox | None = None) -> Iterator[StoredContact]:
    """A tenant's contacts, or one mailbox's, in bounded memory.

    Raises:
        DamagedError: A row does not open; names it.
    """
    mailboxes = sources.mailboxes_by_id(vault, tenant)
    folders: dict[bytes, str] = {}
    only = None if mailbox is None else mailbox.id
    for page in rows.stream(vault.read, tenant.id, mailbox_id=only):
        yield from _open_page(vault, tenant, page, mailboxes, folders)


def get(vault: Vault, tenant: Tenant, contact_id: bytes) -> StoredContact:
    """One contact.

    Raises:
        NotFoundError: The tenant has none of that ID.
        DamagedError: It does not open.
    """
    with vault.read() as tx:
        row = rows.get(tx, tenant.id, contact_id)
    if row is None:
        raise NotFoundError(
            f"The tenant has no contact {UUID(bytes=contact_id)}.", advice="Run `syncvault contact list`."
        )
    opened = _open_page(vault, tenant, [row], sources.mailboxes_by_id(vault, tenant), {})
    if not opened:
        raise DamagedError(f"Row {UUID(bytes=row.id)} of contacts names a mailbox that is not there.")
    return opened[0]


def _open_page(
    vault: Vault,
    tenant: Tenant,
    page: Sequence[ContactRow],
    mailboxes: Mapping[bytes, StoredMailbox],
    folders: dict[bytes, str],
) -> list[StoredContact]:
    keys = vault.keys.tenant(tenant.id)
    with vault.read() as tx:
        details = photo_rows.details(tx, [row.id for row in page])
        unknown = {row.folder_id for row in page if row.folder_id is not None} - folders.keys()
        for folder in folder_rows.by_ids(tx, list(unknown)).values():
            folders[folder.id] = open_folder(keys, folder)["path"]
    known = [row for row in page if row.mailbox_id in mailboxes]
    return [
        _open_row(keys, row, plain, mailboxes=mailboxes, folders=folders, details=details.get(row.id))
        for row, plain in zip(known, open_contacts(keys, known), strict=True)
    ]


def _open_row(
    keys: TenantKeys,
    row: ContactRow,
    plain: bytes,
    *,
    mailboxes: Mapping[bytes, StoredMailbox],
    folders: Mapping[bytes, str],
    details: bytes | None,
) -> StoredContact:
    fields = orjson.loads(plain)["fields"]
    folder = ""
    if row.folder_id is not None:
        if row.folder_id not in folders:
            raise DamagedError(f"Row {UUID(bytes=row.id)} of contacts names a folder that is not there.")
        folder = folders[row.folder_id]
    sha256 = None if details is None else open_details(keys, row.id, details)["sha256"]
    return StoredContact(
        id=row.id,
        kind=row.kind,
        mailbox=mailboxes[row.mailbox_id],
        folder=folder,
        fields=fields,
        has_photo=details is not None,
        photo_sha256=sha256,
        purge_at=to_datetime(row.purge_at),
    )
