"""A run that writes nothing: the same comparisons against what is stored, with the outcome kept in memory.

Holds the IDs of what would change (16 bytes each), never content.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any
from uuid import uuid4

from syncvault.crypto.index import Label
from syncvault.store import contacts as contact_rows
from syncvault.store import mailboxes as mailbox_rows
from syncvault.store import removals as removal_rows
from syncvault.store import sources as source_rows
from syncvault.store.contacts import ContactRow
from syncvault.vault import pages, sources
from syncvault.vault.diff import Incoming, Standing, Stored, Tally, compare, read_stored
from syncvault.vault.model import Tenant
from syncvault.vault.pages import IncomingPage
from syncvault.vault.photos import DuePhoto, LookedAt
from syncvault.vault.removals import Outlook
from syncvault.vault.sealing import to_instant
from syncvault.vault.sources import Named, StoredMailbox
from syncvault.vault.vault import Vault


class Rehearsal:
    """Answers a run's questions as the vault would after each step, without taking the steps."""

    def __init__(self, vault: Vault, tenant: Tenant) -> None:
        self._vault = vault
        self._tenant = tenant
        self._keys = vault.keys.tenant(tenant.id)
        self._lock = threading.Lock()
        self._mailboxes = sources.mailboxes_by_id(vault, tenant)
        self._by_key = {mailbox.key.lower(): mailbox for mailbox in self._mailboxes.values()}
        with vault.read() as tx:
            rows = source_rows.memberships_of_tenant(tx, tenant.id)
            self._pending: dict[bytes, bytes] = dict(removal_rows.each(tx, tenant.id))  # contact ID -> mailbox ID
        self._was_named = {row.mailbox_id for row in rows}
        self._named: dict[bytes, set[bytes]] = {}
        for row in rows:
            if not row.leaving:
                self._named.setdefault(row.source_id, set()).add(row.mailbox_id)
        self._added: set[bytes] = set()
        self._forgotten: set[tuple[bytes, str]] = set()
        self._seen: dict[tuple[bytes, str], set[bytes]] = {}

    def name_mailboxes(self, source_id: bytes, named: Sequence[Named]) -> list[bytes]:
        """See `sources.name_mailboxes`."""
        ids = []
        for entry in named:
            mailbox = self._by_key.get(entry.key.lower())
            if mailbox is None:
                mailbox = StoredMailbox(uuid4().bytes, entry.key, entry.address)
                self._by_key[entry.key.lower()] = self._mailboxes[mailbox.id] = mailbox
            ids.append(mailbox.id)
        self._named.setdefault(source_id, set()).update(ids)
        return ids

    def finish_source(self, source_id: bytes, named: Set[bytes]) -> None:
        """See `sources.finish_source`."""
        self._named[source_id] = set(named)

    def to_pull(self) -> list[StoredMailbox]:
        """See `sources.to_pull`."""
        return [self._mailboxes[mailbox_id] for mailbox_id in sorted(set().union(*self._named.values()))]

    def checkpoints(self, mailbox: StoredMailbox) -> Mapping[str, str]:
        """See `pages.checkpoints`."""
        stored = pages.checkpoints(self._vault, self._tenant, mailbox)
        return {
            folder_id: token for folder_id, token in stored.items() if (mailbox.id, folder_id) not in self._forgotten
        }

    def forget_checkpoints(self, mailbox: StoredMailbox, folder_id: str | None = None) -> None:
        """See `pages.forget_checkpoints`."""
        known = self.checkpoints(mailbox) if folder_id is None else [folder_id]
        with self._lock:
            for known_id in known:
                self._forgotten.add((mailbox.id, known_id))
                self._seen.pop((mailbox.id, known_id), None)

    def drop_folder(self, mailbox: StoredMailbox, folder_id: str) -> None:
        """See `pages.drop_folder`."""
        for row in self._in_folder(mailbox, folder_id):
            self._pending[row.id] = mailbox.id

    def store_page(self, mailbox: StoredMailbox, page: IncomingPage) -> Tally:
        """See `pages.store_page`."""
        latest = {self._keys.index.of(Label.ITEM, entry.id): entry for entry in page.upserts}
        removed = [self._keys.index.of(Label.ITEM, item) for item in page.removals]
        with self._vault.read() as tx:
            state = pages.folder_state(tx, self._keys, mailbox, page.folder_id)
            stored = read_stored(tx, mailbox, list(latest))
            left = contact_rows.by_remote(tx, mailbox.id, removed)
        folder_id = uuid4().bytes if state is None else state.folder.id
        tally = self._compare(mailbox, folder_id, latest, stored)
        for row in left.values():
            if row.folder_id == folder_id and row.remote_ix not in latest:
                self._pending[row.id] = mailbox.id
        self._follow_round(mailbox, page, set(latest))
        return tally

    def store_cards(self, cards: Sequence[tuple[StoredMailbox, Mapping[str, Any]]]) -> Tally:
        """See `pages.store_cards`."""
        total = Tally()
        for mailbox, fields in cards:
            remote_ix = self._keys.index.of(Label.CARD, mailbox.key)
            with self._vault.read() as tx:
                stored = read_stored(tx, mailbox, [remote_ix])
            total.take_in(self._compare(mailbox, None, {remote_ix: Incoming(mailbox.key, fields)}, stored))
        return total

    def due_photos(self, *, everything: bool) -> Iterator[list[DuePhoto]]:
        """None: looking at photos costs the server as much as a real run, and changes no contact."""
        del everything
        return iter(())

    def store_photos(self, looks: Sequence[LookedAt]) -> int:
        """Stores nothing."""
        del looks
        return 0

    def release(self) -> int:
        """See `removals.release`."""
        with self._vault.read() as tx:
            released = [row.id for row in mailbox_rows.without_source(tx, self._tenant.id)]
        return self._held([mailbox_id for mailbox_id in released if mailbox_id not in self._all_named()])

    def outlook(self) -> Outlook:
        """See `removals.outlook`."""
        leaving = self._was_named - self._all_named()
        pending = sum(1 for mailbox_id in self._pending.values() if mailbox_id not in leaving)
        with self._vault.read() as tx:
            stored = sum(contact_rows.counts(tx, self._tenant.id).values())
        return Outlook(lost=pending + self._held(list(leaving)), released=self.release(), stored=stored)

    def apply(self) -> int:
        """What `removals.apply` would remove."""
        return self.outlook().lost

    def _all_named(self) -> set[bytes]:
        return set().union(*self._named.values())

    def _compare(
        self,
        mailbox: StoredMailbox,
        folder_id: bytes | None,
        latest: Mapping[bytes, Incoming],
        stored: Mapping[bytes, Stored],
    ) -> Tally:
        standing = Standing(
            self._tenant,
            mailbox,
            folder_id,
            purge_at=to_instant(self._tenant.purge_at),
            now=self._vault.instant,
            is_full=True,
        )
        tally = compare(self._keys, standing, latest, stored).tally
        with self._lock:
            fresh = {mailbox.id + remote_ix for remote_ix in latest.keys() - stored.keys()}
            repeated = len(fresh & self._added)
            self._added |= fresh
            for known in stored.values():
                self._pending.pop(known.row.id, None)
        return Tally(tally.added - repeated, tally.changed, tally.unchanged + repeated)

    def _follow_round(self, mailbox: StoredMailbox, page: IncomingPage, latest: set[bytes]) -> None:
        """Keeps what a full round has brought, and at its end finds what it has not."""
        key = (mailbox.id, page.folder_id)
        if key not in self._seen and key not in self._forgotten:
            return
        seen = self._seen.setdefault(key, set())
        seen |= latest
        if page.last:
            for row in self._in_folder(mailbox, page.folder_id):
                if row.remote_ix not in seen:
                    self._pending[row.id] = mailbox.id

    def _in_folder(self, mailbox: StoredMailbox, folder_id: str) -> Iterator[ContactRow]:
        with self._vault.read() as tx:
            state = pages.folder_state(tx, self._keys, mailbox, folder_id)
        if state is not None:
            for page in contact_rows.stream(self._vault.data, self._tenant.id, mailbox_id=mailbox.id):
                yield from (row for row in page if row.folder_id == state.folder.id)

    def _held(self, mailbox_ids: list[bytes]) -> int:
        with self._vault.read() as tx:
            return sum(sum(contact_rows.counts(tx, self._tenant.id, mailbox_id).values()) for mailbox_id in mailbox_ids)
