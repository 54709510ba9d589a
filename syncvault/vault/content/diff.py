"""Comparing what was pulled with what is stored. A contact whose sealed content equals what came is not touched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final, NamedTuple

from syncvault.crypto.identifiers import fresh_ids
from syncvault.crypto.place import NOTHING, Place
from syncvault.crypto.record import RecordRefusedError, row_version
from syncvault.policy.catalogue import DataClass
from syncvault.store import contacts as contact_rows
from syncvault.store import manifests
from syncvault.store import photos as photo_rows
from syncvault.store import removals as removal_rows
from syncvault.store.contacts import ContactChange, ContactRow, PhotoDueChange
from syncvault.store.engine import Transaction
from syncvault.vault.content.sources import StoredMailbox
from syncvault.vault.keyring.keys import TenantKeys
from syncvault.vault.manifest import Changes
from syncvault.vault.model import Tenant
from syncvault.vault.sealing import damaged, or_nothing, to_json

CONTACT: Final = "contact"
CARD: Final = "card"
PLACES: Final = {CONTACT: Place.CONTACT, CARD: Place.CARD}
_KIND: Final = attrgetter("kind")
_CLASS: Final = DataClass.CONTACT.value  # SQLite's driver binds exact strings without looking for an adapter


class Incoming(NamedTuple):
    """A contact as it was pulled: the server's ID, the filled fields, and whether it has a photo (None: unknown)."""

    id: str
    fields: Mapping[str, Any]
    has_photo: bool | None = None


class Stored(NamedTuple):
    """A stored contact, whether it has a photo, and whether it awaits removal."""

    row: ContactRow
    has_photo: bool
    is_pending: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the contacts of a page stand.

    Attributes:
        tenant: Whose they are.
        mailbox: Where they were found.
        folder_id: Our ID of their folder; None for cards.
        purge_at: Their purge date.
        now: The run's reference time.
    """

    tenant: Tenant
    mailbox: StoredMailbox
    folder_id: bytes | None
    purge_at: int
    now: int

    @property
    def kind(self) -> str:
        """Cards have no folder."""
        return CARD if self.folder_id is None else CONTACT


@dataclass(slots=True)
class Tally:
    """What a page came to, in contacts."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    photos_gone: int = 0

    def take_in(self, other: Tally) -> None:
        """Adds another tally to this one."""
        self.added += other.added
        self.changed += other.changed
        self.unchanged += other.unchanged
        self.photos_gone += other.photos_gone


@dataclass(slots=True)
class Diff:
    """What a page changes, sealed and ready to be written.

    `replaced` are the records that the changes take the place of; `returned` awaited removal and are there after all.
    """

    tally: Tally = field(default_factory=Tally)
    inserts: list[ContactRow] = field(default_factory=list)
    changes: list[ContactChange] = field(default_factory=list)
    replaced: list[bytes] = field(default_factory=list)
    photo_due: list[PhotoDueChange] = field(default_factory=list)
    photos_gone: list[bytes] = field(default_factory=list)
    returned: list[bytes] = field(default_factory=list)

    @property
    def has_effect(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.inserts or self.changes or self.photo_due or self.photos_gone or self.returned)

    def take_in(self, other: Diff) -> None:
        """Adds another diff to this one."""
        self.inserts += other.inserts
        self.changes += other.changes
        self.replaced += other.replaced
        self.photo_due += other.photo_due
        self.photos_gone += other.photos_gone
        self.returned += other.returned
        self.tally.take_in(other.tally)


def read_stored(tx: Transaction, mailbox: StoredMailbox, remote_ixs: Sequence[bytes]) -> dict[bytes, Stored]:
    """Those of a mailbox's contacts that are stored, by the index of their server ID."""
    rows = contact_rows.by_remote(tx, mailbox.id, remote_ixs)
    ids = [row.id for row in rows.values()]
    pictured, pending = photo_rows.details(tx, ids), removal_rows.among(tx, ids)
    return {ix: Stored(row, row.id in pictured, row.id in pending) for ix, row in rows.items()}


def compare(
    keys: TenantKeys, standing: Standing, latest: Mapping[bytes, Incoming], stored: Mapping[bytes, Stored]
) -> Diff:
    """What these contacts change.

    Args:
        keys: The tenant's.
        standing: Where the contacts stand.
        latest: What came, by the index of its server ID.
        stored: What is stored of it.
    """
    diff, fresh = Diff(), list[tuple[bytes, bytes, Incoming]]()
    for remote_ix, entry in latest.items():
        plain = content_of(entry)
        known = stored.get(remote_ix)
        if known is None:
            fresh.append((remote_ix, plain, entry))
            continue
        row = known.row
        if row.folder_id == standing.folder_id and open_contact(keys, row) == plain:
            diff.tally.unchanged += 1
            due = _next_look(known, entry, standing)
            if due != row.photo_due_at:
                diff.photo_due.append(PhotoDueChange(due, row.id, row.tenant_id))
        else:
            diff.changes.append(_changed_row(keys, standing, row, plain, entry))
            diff.replaced.append(row.blob)
            diff.tally.changed += 1
        if known.is_pending:
            diff.returned.append(row.id)
        if entry.has_photo is False and known.has_photo:
            diff.photos_gone.append(row.id)
            diff.tally.photos_gone += 1
    diff.inserts = _new_rows(keys, standing, fresh)
    diff.tally.added = len(fresh)
    return diff


def write(tx: Transaction, changes: Changes, diff: Diff) -> None:
    """Writes a diff."""
    changes.gone("contacts", diff.replaced)
    changes.added("contacts", (row.blob for row in diff.inserts))
    changes.added("contacts", (change.blob for change in diff.changes))
    changes.gone("photos", manifests.tags_of(tx, "photos", diff.photos_gone))
    contact_rows.insert_many(tx, diff.inserts)
    contact_rows.update_many(tx, diff.changes)
    contact_rows.set_photo_due_many(tx, diff.photo_due)
    photo_rows.delete(tx, diff.photos_gone)
    removal_rows.clear(tx, diff.returned)


def content_of(entry: Incoming) -> bytes:
    """What is sealed of a contact: JSON with the server's ID and the filled fields."""
    return to_json({"id": entry.id, "fields": entry.fields})


def open_contact(keys: TenantKeys, row: ContactRow) -> bytes:
    """The sealed content of a stored contact: JSON with the server's ID and the filled fields."""
    # A kind that nobody knows cannot be right: as a contact, the record does not open.
    place, folder_id = PLACES.get(row.kind, Place.CONTACT), or_nothing(row.folder_id)
    try:
        return keys.cipher.open(place, row.id, row.blob, row.mailbox_id, folder_id, row.remote_ix)
    except RecordRefusedError as error:
        raise damaged(place, row.id, error) from None


def open_contacts(keys: TenantKeys, rows: Sequence[ContactRow]) -> list[bytes]:
    """The sealed content of a page of contacts; what `open_contact` gives for each, at less cost."""
    kinds = set(map(_KIND, rows))
    if len(kinds) == 1:
        return _open_kind(keys, kinds.pop(), rows)
    opened = {kind: iter(_open_kind(keys, kind, [row for row in rows if row.kind == kind])) for kind in kinds}
    return [next(opened[row.kind]) for row in rows]


def _open_kind(keys: TenantKeys, kind: str, rows: Sequence[ContactRow]) -> list[bytes]:
    ids, _, mailbox_ids, folder_ids, _, remote_ixs, blobs, *_ = zip(*rows, strict=True)
    bound = (mailbox_ids, [NOTHING if folder_id is None else folder_id for folder_id in folder_ids], remote_ixs)
    try:
        return keys.cipher.open_rows(PLACES[kind], ids, blobs, *bound)
    except (RecordRefusedError, KeyError):
        return [open_contact(keys, row) for row in rows]  # names the row


def _new_rows(keys: TenantKeys, standing: Standing, fresh: Sequence[tuple[bytes, bytes, Incoming]]) -> list[ContactRow]:
    """The rows of contacts that are not stored yet: of each the index of its server ID, its content, and what came."""
    if not fresh:
        return []
    count, tenant_id, mailbox_id, folder_id = len(fresh), standing.tenant.id, standing.mailbox.id, standing.folder_id
    remote_ixs, plains, entries = zip(*fresh, strict=True)
    ids = fresh_ids(count)
    bound = ([mailbox_id] * count, [or_nothing(folder_id)] * count, remote_ixs)
    blobs = keys.cipher.seal_rows(PLACES[standing.kind], ids, plains, *bound)
    looks = [_first_look(entry, standing) for entry in entries]
    kind, purge_at = standing.kind, standing.purge_at
    return [
        ContactRow(contact_id, tenant_id, mailbox_id, folder_id, kind, remote_ix, blob, look, _CLASS, purge_at)
        for contact_id, remote_ix, blob, look in zip(ids, remote_ixs, blobs, looks, strict=True)
    ]


def _changed_row(keys: TenantKeys, standing: Standing, row: ContactRow, plain: bytes, entry: Incoming) -> ContactChange:
    bound = (row.mailbox_id, or_nothing(standing.folder_id), row.remote_ix)
    version = row_version(row.blob) + 1
    return ContactChange(
        folder_id=standing.folder_id,
        blob=keys.cipher.seal(PLACES[row.kind], row.id, plain, *bound, row_version=version),
        # A new word in a card says nothing of the person's photo.
        photo_due_at=row.photo_due_at if row.kind == CARD else _first_look(entry, standing),
        data_class=_CLASS,
        purge_at=standing.purge_at,
        id=row.id,
        tenant_id=row.tenant_id,
    )


def _first_look(entry: Incoming, standing: Standing) -> int | None:
    """When to look at the photo of a contact that is new or changed: in this run, unless there is none."""
    return None if entry.has_photo is False else standing.now


def _next_look(known: Stored, entry: Incoming, standing: Standing) -> int | None:
    """When to look at the photo of a contact whose content did not change."""
    if entry.has_photo is False:
        return None
    # A card comes with every run and says nothing of the photo. A contact comes because something about it changed, or
    # because what changed since is not known any more: its photo, maybe.
    return known.row.photo_due_at if standing.kind == CARD else standing.now
