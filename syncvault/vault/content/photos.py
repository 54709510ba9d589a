"""Photos: which are to be looked at, what became of the look, and reading one back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import SystemRandom
from typing import Any, Final

import orjson

from syncvault.crypto.place import Place
from syncvault.policy.catalogue import DataClass
from syncvault.store import contacts as contact_rows
from syncvault.store import folders as folder_rows
from syncvault.store import mailboxes as mailbox_rows
from syncvault.store import manifests
from syncvault.store import photos as rows
from syncvault.store.contacts import ContactRow, PhotoDue, PhotoDueChange
from syncvault.store.engine import Transaction
from syncvault.store.photos import PhotoRow
from syncvault.vault.content.diff import open_contacts
from syncvault.vault.content.pages import open_folder
from syncvault.vault.content.sources import StoredMailbox, open_mailbox
from syncvault.vault.keyring.keys import TenantKeys
from syncvault.vault.model import Tenant
from syncvault.vault.sealing import open_bytes, open_json, to_instant, to_json
from syncvault.vault.vault import Vault

LOOK_AGAIN_SECONDS: Final = 24 * 3600
_SPREAD_SECONDS: Final = 24 * 3600  # people whose photos were first looked at in one run come due in different ones
_NEVER: Final = 253_402_300_799  # the end of year 9999
_RANDOM: Final = SystemRandom()
_PAGE: Final = 400
_CLASS: Final = DataClass.PHOTO.value  # SQLite's driver binds exact strings without looking for an adapter


@dataclass(frozen=True, slots=True)
class DuePhoto:
    """A contact whose photo is to be looked at; the server's IDs are empty for a card, the etag if none is stored."""

    contact_id: bytes
    mailbox: StoredMailbox
    folder_id: str = field(repr=False)
    item_id: str = field(repr=False)
    etag: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class LookedAt:
    """What became of a look: new content, none at the source, or (both empty) as it was.

    `content` is None when it did not change, and empty bytes when the source has no photo. A card's photo changes
    without a word from the server, so it is looked at again by itself; a contact's comes with a change of the contact.
    """

    contact_id: bytes
    content: bytes | None = field(repr=False)
    etag: str = field(default="", repr=False)
    is_card: bool = False


def due(vault: Vault, tenant: Tenant, *, everything: bool = False, dry_run: bool = False) -> Iterator[list[DuePhoto]]:
    """Photos to look at now, by the page; each must be reported to `store` or left for the next run.

    The contacts of a page come before its cards, because servers are asked for them in other ways.

    Args:
        vault: The vault.
        tenant: Whose photos.
        everything: Whether to look at all that may exist, not only at those whose time has come.
        dry_run: Whether nothing may be written.
    """
    keys = vault.keys.tenant(tenant.id)
    until = _NEVER if everything and dry_run else vault.instant
    if everything and not dry_run:
        with vault.writing(tenant) as (tx, _):
            contact_rows.set_all_photos_due(tx, tenant.id, vault.instant)
    opened = _Opened(keys)
    after = None
    while True:
        with vault.read() as tx:
            found = contact_rows.photo_due(tx, tenant.id, until, after=after, limit=_PAGE)
            opened.read(tx, [entry.contact for entry in found])
        if not found:
            return
        after = found[-1]
        yield [*opened.items(found), *opened.cards(found)]


def store(vault: Vault, tenant: Tenant, looks: Sequence[LookedAt]) -> int:
    """Commits what became of some looks; returns how many photos are new, changed or gone."""
    keys = vault.keys.tenant(tenant.id)
    fetched = [look for look in looks if look.content]
    with vault.read() as tx:
        present = contact_rows.ids_among(tx, tenant.id, [look.contact_id for look in fetched])
        before = rows.details(tx, [look.contact_id for look in fetched])
    known = {contact_id: open_details(keys, contact_id, blob) for contact_id, blob in before.items()}
    fresh: list[tuple[LookedAt, dict[str, Any]]] = []
    renamed: list[tuple[bytes, bytes]] = []
    for look in fetched:
        details, stored = _details(look), known.get(look.contact_id)
        if look.contact_id not in present or details == stored:
            continue
        if stored is not None and stored["sha256"] == details["sha256"]:
            sealed = keys.cipher.seal(Place.PHOTO_DETAILS, look.contact_id, to_json(details))
            renamed.append((look.contact_id, sealed))
        else:
            fresh.append((look, details))
    sealed_rows = _rows(keys, tenant, fresh)
    next_look = [PhotoDueChange(_next_look(vault.instant, look), look.contact_id, tenant.id) for look in looks]
    without = [look.contact_id for look in looks if look.content == b""]
    replaced = [look.contact_id for look, _ in fresh if look.contact_id in known]
    with vault.writing(tenant) as (tx, changes):
        changes.gone("photos", manifests.tags_of(tx, "photos", [*without, *replaced]))
        changes.added("photos", [record for row in sealed_rows for record in (row.details, row.content)])
        rows.put_many(tx, sealed_rows)
        for contact_id, sealed in renamed:
            if rows.set_details(tx, contact_id, sealed):
                changes.gone("photos", [before[contact_id]])
                changes.added("photos", [sealed])
        gone = rows.delete(tx, without)
        contact_rows.set_photo_due_many(tx, next_look)
    return len(fresh) + gone


def _next_look(now: int, look: LookedAt) -> int:
    return now + LOOK_AGAIN_SECONDS + _RANDOM.randrange(_SPREAD_SECONDS) if look.is_card else _NEVER


def read(vault: Vault, tenant: Tenant, contact_id: bytes) -> bytes | None:
    """A contact's photo as the server gave it, or None."""
    with vault.read() as tx:
        row = rows.get(tx, tenant.id, contact_id)
    if row is None:
        return None
    return open_bytes(vault.keys.tenant(tenant.id).cipher, Place.PHOTO_CONTENT, contact_id, row.content)


def open_details(keys: TenantKeys, contact_id: bytes, blob: bytes) -> dict[str, Any]:
    """A photo's `etag`, `sha256` and `size`."""
    return open_json(keys.cipher, Place.PHOTO_DETAILS, contact_id, blob)


def _details(look: LookedAt) -> dict[str, Any]:
    content = look.content or b""
    return {"etag": look.etag, "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


def _rows(keys: TenantKeys, tenant: Tenant, fresh: Sequence[tuple[LookedAt, dict[str, Any]]]) -> list[PhotoRow]:
    ids = [look.contact_id for look, _ in fresh]
    sealed = keys.cipher.seal_rows(Place.PHOTO_DETAILS, ids, [to_json(details) for _, details in fresh])
    contents = keys.cipher.seal_rows(Place.PHOTO_CONTENT, ids, [look.content or b"" for look, _ in fresh])
    purge_at = to_instant(tenant.purge_at)
    return [
        PhotoRow(contact_id, tenant.id, details, content, _CLASS, purge_at)
        for contact_id, details, content in zip(ids, sealed, contents, strict=True)
    ]


class _Opened:
    """Opens what is due; each mailbox and each folder once: most of their contacts follow on other pages."""

    def __init__(self, keys: TenantKeys) -> None:
        self._keys = keys
        self._mailboxes: dict[bytes, StoredMailbox] = {}
        self._folder_ids: dict[bytes, str] = {}

    def read(self, tx: Transaction, contacts: Sequence[ContactRow]) -> None:
        """Reads where contacts stand, as far as it is not known."""
        unknown = {row.mailbox_id for row in contacts} - self._mailboxes.keys()
        for mailbox in mailbox_rows.by_ids(tx, list(unknown)).values():
            self._mailboxes[mailbox.id] = open_mailbox(self._keys, mailbox)
        new = {row.folder_id for row in contacts if row.folder_id is not None} - self._folder_ids.keys()
        for folder in folder_rows.by_ids(tx, list(new)).values():
            self._folder_ids[folder.id] = open_folder(self._keys, folder)["id"]

    def items(self, found: Sequence[PhotoDue]) -> Iterator[DuePhoto]:
        """The photos of contacts; one whose folder is not there cannot be asked for."""
        wanted = [
            (entry, folder_id)
            for entry in found
            if entry.contact.folder_id is not None and (folder_id := self._folder_ids.get(entry.contact.folder_id))
        ]
        plains = open_contacts(self._keys, [entry.contact for entry, _ in wanted])
        for (entry, folder_id), plain in zip(wanted, plains, strict=True):
            yield self._due(entry, folder_id, orjson.loads(plain)["id"])

    def cards(self, found: Sequence[PhotoDue]) -> Iterator[DuePhoto]:
        """The photos of people."""
        return (self._due(entry, "", "") for entry in found if entry.contact.folder_id is None)

    def _due(self, entry: PhotoDue, folder_id: str, item_id: str) -> DuePhoto:
        contact = entry.contact
        etag = "" if entry.details is None else open_details(self._keys, contact.id, entry.details)["etag"]
        return DuePhoto(contact.id, self._mailboxes[contact.mailbox_id], folder_id, item_id, etag)
