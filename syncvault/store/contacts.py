"""Contacts: stored and read by the page, never by the mailbox.

Surface:

    insert_many(tx, rows: Sequence[ContactRow]) -> int
    update_many(tx, changes: Sequence[ContactChange]) -> int
    get(tx, tenant_id, contact_id) -> ContactRow | None
    by_remote(tx, mailbox_id, remote_ixs) -> dict[bytes, ContactRow]              by remote_ix; unknown ones left out
    page(tx, tenant_id, mailbox_id, *, after=None, limit=512) -> list[ContactRow] ordered by remote_ix; pages by it
    stream(read, tenant_id, *, mailbox_id=None, page_size=384) -> Iterator[list[ContactRow]]   a transaction per page
    ids_among(tx, tenant_id, contact_ids) -> set[bytes]                           those of them that exist
    counts(tx, tenant_id, mailbox_id=None) -> dict[str, int]                      by kind
    photo_due(tx, tenant_id, now, *, after=None, limit=512) -> list[PhotoDue]
    set_all_photos_due(tx, tenant_id, at) -> int
    set_photo_due_many(tx, changes: Sequence[PhotoDueChange]) -> int
    delete_many(tx, tenant_id, contact_ids) -> int

What awaits removal stands in `removals`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import chain
from typing import Final, NamedTuple

from syncvault.store import mailboxes
from syncvault.store.engine import Transaction
from syncvault.store.statements import changed, every, fetch, fetch_one, in_lists, insert, run, run_many, value


class ContactRow(NamedTuple):
    """A row of `contacts`; a card has no folder."""

    id: bytes
    tenant_id: bytes
    mailbox_id: bytes
    folder_id: bytes | None
    kind: str
    remote_ix: bytes
    blob: bytes
    photo_due_at: int | None
    data_class: str
    purge_at: int


class ContactChange(NamedTuple):
    """What changes about a contact; the last two fields say which one."""

    folder_id: bytes | None
    blob: bytes
    photo_due_at: int | None
    data_class: str
    purge_at: int
    id: bytes
    tenant_id: bytes


class PhotoDue(NamedTuple):
    """A contact whose photo is to be looked at, and the details of the one that is stored; None if none is."""

    contact: ContactRow
    details: bytes | None


class _Owned(NamedTuple):
    id: bytes
    tenant_id: bytes


class PhotoDueChange(NamedTuple):
    """When to look at a contact's photo next; None for never."""

    photo_due_at: int | None
    id: bytes
    tenant_id: bytes


PAGE: Final = 512
_STREAMED: Final = 384  # half of that, 200 contacts or so, is still in the processor's cache for what opens it


def insert_many(tx: Transaction, rows: Sequence[ContactRow]) -> int:
    """Stores new contacts; ConflictError if a mailbox has one already."""
    return insert(tx, "contacts", rows)


def update_many(tx: Transaction, changes: Sequence[ContactChange]) -> int:
    """Replaces contacts in place; returns how many there were."""
    statement = (
        "UPDATE contacts SET folder_id = ?, blob = ?, photo_due_at = ?, data_class = ?, purge_at = ?"
        " WHERE id = ? AND tenant_id = ?"
    )
    return run_many(tx, statement, changes)


def get(tx: Transaction, tenant_id: bytes, contact_id: bytes) -> ContactRow | None:
    """The tenant's contact with this ID, or None."""
    return fetch_one(tx, ContactRow, "contacts", "WHERE id = ? AND tenant_id = ?", contact_id, tenant_id)


def by_remote(tx: Transaction, mailbox_id: bytes, remote_ixs: Sequence[bytes]) -> dict[bytes, ContactRow]:
    """Those of the mailbox's remote IDs that are known, each with its contact."""
    found: dict[bytes, ContactRow] = {}
    for marks, part in in_lists(remote_ixs):
        rows = fetch(tx, ContactRow, "contacts", f"WHERE mailbox_id = ? AND remote_ix IN ({marks})", mailbox_id, *part)
        found.update((row.remote_ix, row) for row in rows)
    return found


def ids_among(tx: Transaction, tenant_id: bytes, contact_ids: Sequence[bytes]) -> set[bytes]:
    """Those of the contacts that exist."""
    found: set[bytes] = set()
    for marks, part in in_lists(contact_ids):
        # The tenant is compared here: in the statement, SQLite would go through all that the tenant has.
        rows = fetch(tx, _Owned, "contacts", f"WHERE id IN ({marks})", *part)
        found.update(row.id for row in rows if row.tenant_id == tenant_id)
    return found


def page(
    tx: Transaction, tenant_id: bytes, mailbox_id: bytes, *, after: bytes | None = None, limit: int = PAGE
) -> list[ContactRow]:
    """The mailbox's contacts that follow the remote index `after`, at most `limit`.

    Goes along the index that keeps remote IDs unique, so that no further index has to be kept for it.
    """
    where = "WHERE mailbox_id = ? AND remote_ix > ? AND tenant_id = ? ORDER BY remote_ix LIMIT ?"
    return fetch(tx, ContactRow, "contacts", where, mailbox_id, after or b"", tenant_id, limit)


def stream(
    read: Callable[[], AbstractContextManager[Transaction]],
    tenant_id: bytes,
    *,
    mailbox_id: bytes | None = None,
    page_size: int = _STREAMED,
) -> Iterator[list[ContactRow]]:
    """The tenant's contacts, or one mailbox's, in pages of half of `page_size` to one and a half times that.

    A page ends with a mailbox where it can: cutting mailboxes in two would cost a statement more for each page.

    Each page is a transaction of its own, begun by `read`, so that a slow consumer holds up neither writers nor a
    scrub: the whole is not one state of the database. But a contact that stays is met once, also when a rotation of
    the index key changes the order meanwhile.
    """
    if mailbox_id is None:
        with read() as tx:
            wanted = mailboxes.ids_of_tenant(tx, tenant_id)
    else:
        wanted = [mailbox_id]
    walks = (_Walk(tenant_id, each) for each in wanted)
    walk = next(walks, None)
    while walk is not None:
        rows: list[ContactRow] = []
        with read() as tx:
            while walk is not None and 2 * len(rows) < page_size:
                rows += walk.take(tx, page_size)
                if walk.is_done:
                    walk = next(walks, None)
        if rows:
            yield rows


class _Walk:
    """A way through one mailbox along its remote indexes, in as many transactions as it takes.

    When the tenant's rows change on the way, the order may have: then the mailbox is gone through again for what was
    not met, until nothing changes meanwhile or nothing new is found.
    """

    def __init__(self, tenant_id: bytes, mailbox_id: bytes) -> None:
        self.is_done = False
        self._tenant_id = tenant_id
        self._mailbox_id = mailbox_id
        self._after: bytes | None = None
        self._rounds = 0
        self._began: bytes | None = None  # the state of the tenant's rows when the round began
        self._met: list[list[bytes]] = []
        self._known: set[bytes] | None = None  # what was met, once the rows have changed
        self._finds = False  # whether the round found anything that was not met before

    def take(self, tx: Transaction, limit: int) -> list[ContactRow]:
        """At most so many that were not met before; none does not mean that it is done."""
        rows = page(tx, self._tenant_id, self._mailbox_id, after=self._after, limit=limit)
        is_end = len(rows) < limit
        if is_end and not self._met:  # all in one transaction
            self.is_done = True
            return rows
        # The manifest is sealed anew with whatever changes among the tenant's rows.
        state = value(tx, "SELECT blob FROM manifests WHERE tenant_id = ?", self._tenant_id)
        if self._after is None:
            self._rounds, self._began, self._finds = self._rounds + 1, state, False
        self._after = None if is_end else rows[-1].remote_ix
        if state != self._began and self._known is None:
            self._known = set(chain.from_iterable(self._met))
        if self._known is None:
            self.is_done = is_end
            self._met.append([row.id for row in rows])
            return rows
        fresh = [row for row in rows if row.id not in self._known]
        self._known.update(row.id for row in fresh)
        self._finds |= bool(fresh)
        self.is_done = is_end and (state == self._began or (self._rounds > 1 and not self._finds))
        return fresh


def counts(tx: Transaction, tenant_id: bytes, mailbox_id: bytes | None = None) -> dict[str, int]:
    """How many contacts of each kind the tenant, or one of its mailboxes, has."""
    if mailbox_id is None:
        found = run(tx, "SELECT kind, count(*) FROM contacts WHERE tenant_id = ? GROUP BY kind", tenant_id)
    else:
        statement = "SELECT kind, count(*) FROM contacts WHERE mailbox_id = ? AND tenant_id = ? GROUP BY kind"
        found = run(tx, statement, mailbox_id, tenant_id)
    return {str(kind): int(count) for kind, count in found}


_PHOTO_DUE: Final = (
    f"SELECT {', '.join(f'c.{name}' for name in ContactRow._fields)}, p.details"  # noqa: S608  (names are code)
    " FROM contacts c LEFT JOIN photos p ON p.contact_id = c.id WHERE c.tenant_id = ? AND c.photo_due_at <= ?"
)


def photo_due(
    tx: Transaction, tenant_id: bytes, now: int, *, after: PhotoDue | None = None, limit: int = PAGE
) -> list[PhotoDue]:
    """Contacts whose photo is to be looked at by now, longest due first; `after` is the last one of the page before."""
    statement, values = _PHOTO_DUE, [tenant_id, now]
    if after is not None:
        statement += " AND (c.photo_due_at, c.id) > (?, ?)"
        values += [after.contact.photo_due_at, after.contact.id]
    found = every(tx, f"{statement} ORDER BY c.photo_due_at, c.id LIMIT ?", *values, limit)
    return [PhotoDue(ContactRow._make(row[:-1]), row[-1]) for row in found]


def set_all_photos_due(tx: Transaction, tenant_id: bytes, at: int) -> int:
    """Has every photo of the tenant that may exist looked at; returns how many."""
    statement = "UPDATE contacts SET photo_due_at = ? WHERE tenant_id = ? AND photo_due_at > ?"
    return changed(tx, statement, at, tenant_id, at)


def set_photo_due_many(tx: Transaction, changes: Sequence[PhotoDueChange]) -> int:
    """Says when to look at the contacts' photos next."""
    return run_many(tx, "UPDATE contacts SET photo_due_at = ? WHERE id = ? AND tenant_id = ?", changes)


def delete_many(tx: Transaction, tenant_id: bytes, contact_ids: Sequence[bytes]) -> int:
    """Removes contacts with their photos; returns how many there were."""
    statement = "DELETE FROM contacts WHERE id = ? AND tenant_id = ?"
    return run_many(tx, statement, [(contact_id, tenant_id) for contact_id in contact_ids])
