"""Data minimisation: what a tenant no longer wants stored leaves the contacts that no page brings again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from syncvault.crypto.record import row_version
from syncvault.errors import DamagedError
from syncvault.store import contacts as contact_rows
from syncvault.store import manifests
from syncvault.store import photos as photo_rows
from syncvault.store.contacts import ContactChange, ContactRow, PhotoDueChange
from syncvault.vault.content.diff import PLACES, open_contact, open_contacts
from syncvault.vault.keyring.keys import TenantKeys
from syncvault.vault.model import Tenant
from syncvault.vault.sealing import or_nothing, to_instant, to_json
from syncvault.vault.vault import Vault

_NAMED: Final = 20  # damaged contacts; a table that is broken as a whole has no need to be listed


@dataclass(slots=True)
class Minimised:
    """What it came to: contacts stripped, photos removed, and the contacts that do not open, the first ones of them."""

    stripped: int = 0
    photos: int = 0
    damaged: list[DamagedError] = field(default_factory=list)


def apply(vault: Vault, tenant: Tenant, fields: Set[str], *, photos: bool) -> Minimised:
    """Strips stored contacts, a page at a time; a contact that holds nothing beyond, or is damaged, is not touched.

    Args:
        vault: The vault.
        tenant: Whose contacts.
        fields: Names of the fields that may stay.
        photos: Whether photos may stay.
    """
    keys = vault.keys.tenant(tenant.id)
    done = Minimised()
    for page in contact_rows.stream(vault.read, tenant.id):
        leaner = [
            _stripped(keys, tenant, row, kept)
            for row, plain in whole(keys, page, done.damaged)
            if (kept := without_unwanted(plain, fields)) is not None
        ]
        gone = [] if photos else _pictured(vault, page)
        if leaner or gone:
            replaced = {change.id for change in leaner}
            with vault.writing(tenant) as (tx, changes):
                changes.gone("contacts", [row.blob for row in page if row.id in replaced])
                changes.added("contacts", [change.blob for change in leaner])
                contact_rows.update_many(tx, leaner)
                changes.gone("photos", manifests.tags_of(tx, "photos", gone))
                photo_rows.delete(tx, gone)
                # Looked at again as soon as photos are wanted again.
                contact_rows.set_photo_due_many(tx, [PhotoDueChange(vault.instant, each, tenant.id) for each in gone])
        done.stripped += len(leaner)
        done.photos += len(gone)
    return done


def whole(
    keys: TenantKeys, page: Sequence[ContactRow], damaged: list[DamagedError]
) -> Iterator[tuple[ContactRow, bytes]]:
    """The contacts of a page that open, with their content; the first of those that do not are added to `damaged`."""
    try:
        yield from zip(page, open_contacts(keys, page), strict=True)
    except DamagedError:
        for row in page:
            try:
                plain = open_contact(keys, row)
            except DamagedError as error:
                damaged += [error] if len(damaged) < _NAMED else []
            else:
                yield row, plain


def without_unwanted(plain: bytes, fields: Set[str]) -> dict[str, Any] | None:
    """A contact's sealed content without the fields that are not wanted; None if it has none of those."""
    content: dict[str, Any] = orjson.loads(plain)
    if content["fields"].keys() <= fields:
        return None
    return {**content, "fields": {name: value for name, value in content["fields"].items() if name in fields}}


def _stripped(keys: TenantKeys, tenant: Tenant, row: ContactRow, content: dict[str, Any]) -> ContactChange:
    bound = (row.mailbox_id, or_nothing(row.folder_id), row.remote_ix)
    version = row_version(row.blob) + 1
    blob = keys.cipher.seal(PLACES[row.kind], row.id, to_json(content), *bound, row_version=version)
    purge_at = to_instant(tenant.purge_at)
    return ContactChange(row.folder_id, blob, row.photo_due_at, row.data_class, purge_at, row.id, row.tenant_id)


def _pictured(vault: Vault, page: Sequence[ContactRow]) -> list[bytes]:
    with vault.read() as tx:
        return list(photo_rows.details(tx, [row.id for row in page]))
