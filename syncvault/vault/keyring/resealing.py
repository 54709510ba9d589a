"""Sealing rows anew: what a tenant's rows become under the current generations of its keys, a page at a time.

A row that is sealed and indexed under the current generations already is passed over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

from syncvault.crypto.index import BlindIndex, Label, normalise_address
from syncvault.crypto.place import Place
from syncvault.crypto.record import OVERHEAD, generation, row_version
from syncvault.store import contacts as contact_rows
from syncvault.store import mailboxes as mailbox_rows
from syncvault.store import photos as photo_rows
from syncvault.store import resealing as rows
from syncvault.store.contacts import ContactRow
from syncvault.store.credentials import CredentialRow
from syncvault.store.engine import Transaction
from syncvault.store.folders import CheckpointRow, FolderRow
from syncvault.store.mailboxes import MailboxRow
from syncvault.store.resealing import Moved, Resealed
from syncvault.store.sources import SourceRow
from syncvault.store.tenants import TenantRow
from syncvault.vault.content.diff import PLACES
from syncvault.vault.keyring.keys import TenantKeys
from syncvault.vault.manifest import Changes
from syncvault.vault.sealing import open_bytes, or_nothing

PAGE: Final = 256
_PHOTOS_AT_ONCE: Final = 16  # a photo may have hundreds of kilobytes

Indexes = tuple[bytes | None, ...]


class Cursor(NamedTuple):
    """Where to go on: a table and, in it, the key after which to read.

    Contacts are read by mailbox along their index, photos with the contacts they belong to.
    """

    table: str = "tenants"
    after: bytes = b""
    mailboxes: tuple[bytes, ...] = ()  # still to be read, the one being read first
    pictured: tuple[bytes, ...] = ()  # contacts just read whose photos are still to come


class Page(NamedTuple):
    """A page that was read, and what is to be written of it.

    Attributes:
        table: Whose rows.
        size: How many were looked at.
        resealed: Those that change, by sealed column.
        moved: Contacts whose index changes.
        next: Where to go on; None at the end.
    """

    table: str
    size: int
    resealed: Mapping[str, Sequence[Resealed]]
    moved: Sequence[Moved]
    next: Cursor | None

    @property
    def changed(self) -> int:
        """How many records are to be written."""
        return sum(map(len, self.resealed.values()))

    @property
    def has_effect(self) -> bool:
        """Whether there is anything to write."""
        return self.changed > 0

    def write(self, tx: Transaction, changes: Changes) -> bool:
        """Writes it; False if a row is no longer as it was read, and nothing may be committed."""
        for column, resealed in self.resealed.items():
            if not rows.put(tx, self.table, resealed, column=column):
                return False
            changes.gone(self.table, [row.before for row in resealed])
            changes.added(self.table, [row.after for row in resealed])
        rows.move_seen(tx, self.moved)
        return True


class _Form(NamedTuple):
    """How the rows of a table are sealed.

    Attributes:
        row: Their type.
        place: Of all of them; None if that goes by their kind.
        bound: The bound columns of one, if it had these blind indexes.
        computed: The blind indexes of one, from its opened content.
        counts: Whether its row version counts how often it was sealed.
    """

    row: type[Any]
    place: Place | None
    bound: Callable[[Any, Indexes], tuple[bytes, ...]]
    computed: Callable[[BlindIndex, Any, dict[str, str]], Indexes] | None = None
    counts: bool = False


def _source_index(index: BlindIndex, _row: SourceRow, plain: dict[str, str]) -> Indexes:
    return (index.of(Label.SOURCE, f"{plain['kind']}:{normalise_address(plain['ref'])}"),)


def _mailbox_indexes(index: BlindIndex, _row: MailboxRow, plain: dict[str, str]) -> Indexes:
    address = plain["address"]
    of_address = index.of(Label.MAILBOX_ADDRESS, normalise_address(address)) if address else None
    return index.of(Label.MAILBOX_KEY, normalise_address(plain["key"])), of_address


def _folder_index(index: BlindIndex, _row: FolderRow, plain: dict[str, str]) -> Indexes:
    return (index.of(Label.FOLDER, plain["id"]),)


def _contact_index(index: BlindIndex, row: ContactRow, plain: dict[str, str]) -> Indexes:
    return (index.of(Label.CARD if row.folder_id is None else Label.ITEM, plain["id"]),)


def _all(_row: Any, indexes: Indexes) -> tuple[bytes, ...]:
    return tuple(or_nothing(index) for index in indexes)


_FORMS: Final = {
    "tenants": _Form(TenantRow, Place.TENANT_PROFILE, lambda row, _: (row.name_ix,), counts=True),
    "credentials": _Form(CredentialRow, Place.CREDENTIAL, _all),
    "sources": _Form(SourceRow, Place.SOURCE, _all, _source_index),
    "mailboxes": _Form(MailboxRow, Place.MAILBOX, _all, _mailbox_indexes),
    "folders": _Form(
        FolderRow,
        Place.FOLDER,
        lambda row, ixs: (row.mailbox_id, *_all(row, ixs)),
        _folder_index,
        counts=True,
    ),
    "checkpoints": _Form(CheckpointRow, Place.CHECKPOINT, _all),
    "contacts": _Form(
        ContactRow,
        None,
        lambda row, ixs: (row.mailbox_id, or_nothing(row.folder_id), *_all(row, ixs)),
        _contact_index,
        counts=True,
    ),
}
_ORDER: Final = tuple(_FORMS)


def read_page(tx: Transaction, keys: TenantKeys, tenant_id: bytes, cursor: Cursor, *, reindex: bool) -> Page:
    """A page of the way through all sealed rows of a tenant.

    Rows that others add meanwhile are sealed under the current keys and need not be met; a contact whose index changes
    is met again, or was met before.

    Args:
        tx: To read with.
        keys: The tenant's, with the generations to bring the rows to.
        tenant_id: Whose.
        cursor: Where.
        reindex: Whether to compute blind indexes anew; else rows keep those they have.

    Raises:
        DamagedError: A row does not open.
    """
    if cursor.pictured:
        return _photos(tx, keys, cursor)
    if cursor.table == "contacts":
        return _contacts(tx, keys, tenant_id, cursor, reindex=reindex)
    found, following = _next_rows(tx, tenant_id, cursor)
    column = "profile" if cursor.table == "tenants" else "blob"
    resealed = list(_resealed(keys, cursor.table, found, reindex=reindex))
    return Page(cursor.table, len(found), {column: resealed}, (), following)


def index_generations(keys: TenantKeys, tx: Transaction, tenant_id: bytes) -> Counter[int]:
    """How many rows carry the blind indexes of each generation; opens all of them.

    Raises:
        DamagedError: A row does not open.
    """
    found: Counter[int] = Counter()
    cursor: Cursor | None = Cursor("sources")
    while cursor is not None:
        form, names = _FORMS[cursor.table], rows.INDEXES.get(cursor.table, ())
        if cursor.table == "contacts":
            page, cursor = _next_contacts(tx, tenant_id, cursor)
        else:
            page, cursor = _next_rows(tx, tenant_id, cursor)
        for row in page if form.computed else ():
            indexes = tuple(getattr(row, name) for name in names)
            place = form.place or PLACES[row.kind]
            plain = orjson.loads(open_bytes(keys.cipher, place, row[0], row.blob, *form.bound(row, indexes)))
            of = (each for each, index in keys.indexes.items() if _computed(form, index, row, plain) == indexes)
            found[next(of, 0)] += 1
    return found


def _next_rows(tx: Transaction, tenant_id: bytes, cursor: Cursor) -> tuple[list[Any], Cursor]:
    found = rows.page(tx, _FORMS[cursor.table].row, cursor.table, tenant_id, after=cursor.after, limit=PAGE)
    goes_on = len(found) == PAGE
    return found, cursor._replace(after=found[-1][0]) if goes_on else _after(tx, cursor.table, tenant_id)


def _after(tx: Transaction, table: str, tenant_id: bytes) -> Cursor:
    following = _ORDER[_ORDER.index(table) + 1]
    mailboxes = tuple(mailbox_rows.ids_of_tenant(tx, tenant_id)) if following == "contacts" else ()
    return Cursor(following, mailboxes=mailboxes)


def _next_contacts(tx: Transaction, tenant_id: bytes, cursor: Cursor) -> tuple[list[ContactRow], Cursor | None]:
    found: list[ContactRow] = []
    mailboxes, after = list(cursor.mailboxes), cursor.after
    while mailboxes and len(found) < PAGE:
        missing = PAGE - len(found)
        part = contact_rows.page(tx, tenant_id, mailboxes[0], after=after, limit=missing)
        found += part
        if len(part) == missing:
            after = part[-1].remote_ix
        else:
            after = b""
            mailboxes.pop(0)
    return found, Cursor("contacts", after, tuple(mailboxes)) if mailboxes else None


def _contacts(tx: Transaction, keys: TenantKeys, tenant_id: bytes, cursor: Cursor, *, reindex: bool) -> Page:
    found, following = _next_contacts(tx, tenant_id, cursor)
    resealed = list(_resealed(keys, "contacts", found, reindex=reindex))
    by_id = {row.id: row for row in found}
    moved = [
        Moved(row.indexes[0] or b"", before.folder_id, before.remote_ix)
        for row in resealed
        if (before := by_id[row.id]).folder_id is not None and row.indexes[0] != before.remote_ix
    ]
    pictured = tuple(photo_rows.details(tx, list(by_id)))
    if pictured:
        following = (following or Cursor("contacts"))._replace(pictured=pictured)
    return Page("contacts", len(found), {"blob": resealed}, moved, following)


def _photos(tx: Transaction, keys: TenantKeys, cursor: Cursor) -> Page:
    now, later = cursor.pictured[:_PHOTOS_AT_ONCE], cursor.pictured[_PHOTOS_AT_ONCE:]
    found = photo_rows.of_contacts(tx, now)
    resealed: dict[str, list[Resealed]] = {"details": [], "content": []}
    for row in found:
        for column, place in (("details", Place.PHOTO_DETAILS), ("content", Place.PHOTO_CONTENT)):
            before = getattr(row, column)
            if not _is_current(keys, before):
                plain = open_bytes(keys.cipher, place, row.contact_id, before)
                after = keys.cipher.seal(place, row.contact_id, plain)
                resealed[column].append(Resealed(row.contact_id, before, after))
    following = cursor._replace(pictured=later)
    return Page("photos", len(found), resealed, (), following if later or cursor.mailboxes else None)


def _resealed(keys: TenantKeys, table: str, found: Iterable[Any], *, reindex: bool) -> Iterator[Resealed]:
    form, names = _FORMS[table], rows.INDEXES.get(table, ())
    for row in found:
        before = row.profile if table == "tenants" else row.blob
        is_current, indexes = _is_current(keys, before), tuple(getattr(row, name) for name in names)
        computes = reindex and form.computed is not None
        if is_current and not computes:
            continue
        row_id, place = row[0], form.place or PLACES[row.kind]
        plain = open_bytes(keys.cipher, place, row_id, before, *form.bound(row, indexes))
        wanted = _computed(form, keys.index, row, orjson.loads(plain)) if computes else indexes
        if is_current and wanted == indexes:
            continue
        version = row_version(before) + 1 if form.counts else 1
        bound = form.bound(row, wanted)
        after = keys.cipher.seal(place, row_id, plain, *bound, row_version=version)
        yield Resealed(row_id, before, after, wanted)


def _computed(form: _Form, index: BlindIndex, row: Any, plain: dict[str, str]) -> Indexes:
    return () if form.computed is None else form.computed(index, row, plain)


def _is_current(keys: TenantKeys, record: bytes) -> bool:
    return isinstance(record, bytes) and len(record) >= OVERHEAD and generation(record) == keys.cipher.current
