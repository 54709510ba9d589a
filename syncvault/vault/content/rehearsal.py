"""A run that writes nothing: the same comparisons against what is stored, with the outcome kept in memory.

Holds IDs and digests of what would change, checkpoints and what full rounds have seen; never content.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import uuid4

from syncvault.crypto.index import Label
from syncvault.store import contacts as contact_rows
from syncvault.store import folders as folder_rows
from syncvault.store import mailboxes as mailbox_rows
from syncvault.store import removals as removal_rows
from syncvault.store import sources as source_rows
from syncvault.store.contacts import ContactRow
from syncvault.vault.content import pages, sources
from syncvault.vault.content.diff import Incoming, Tally, content_of, open_contact
from syncvault.vault.content.pages import IncomingPage, RoundState
from syncvault.vault.content.photos import DuePhoto, LookedAt
from syncvault.vault.content.removals import Outlook
from syncvault.vault.content.sources import Named, StoredMailbox
from syncvault.vault.model import Tenant
from syncvault.vault.vault import Vault


class _Entry(NamedTuple):
    """A contact as it would stand after the steps so far."""

    id: bytes
    folder_id: bytes | None
    digest: bytes
    is_new: bool


@dataclass(slots=True)
class _Folder:
    """A folder as it would stand: its checkpoint, and the full round that is under way."""

    id: bytes
    token: str | None
    round: RoundState
    seen: set[bytes] = field(default_factory=set)


@dataclass(slots=True)
class _Box:
    """A mailbox as it would stand; `entries` holds only what came, by the index of its server ID."""

    folders: dict[str, _Folder]
    entries: dict[bytes, _Entry] = field(default_factory=dict)
    pending: set[bytes] = field(default_factory=set)


class Rehearsal:
    """Answers a run's questions as the vault would after each step, without taking the steps.

    As with the vault itself, each mailbox is worked on by one thread at a time.
    """

    def __init__(self, vault: Vault, tenant: Tenant) -> None:
        self._vault = vault
        self._tenant = tenant
        self._keys = vault.keys.tenant(tenant.id)
        self._lock = threading.Lock()
        self._mailboxes = sources.mailboxes_by_id(vault, tenant)
        self._by_key = {mailbox.key.lower(): mailbox for mailbox in self._mailboxes.values()}
        self._boxes: dict[bytes, _Box] = {}
        with vault.read() as tx:
            rows = source_rows.memberships_of_tenant(tx, tenant.id)
            waiting = removal_rows.each(tx, tenant.id)
            self._stored = sum(contact_rows.counts(tx, tenant.id).values())
        self._waiting: dict[bytes, set[bytes]] = {}  # what awaited removal before, by mailbox
        for contact_id, mailbox_id in waiting:
            self._waiting.setdefault(mailbox_id, set()).add(contact_id)
        self._was_named = {row.mailbox_id for row in rows}
        self._named: dict[bytes, set[bytes]] = {}
        for row in rows:
            if not row.leaving:
                self._named.setdefault(row.source_id, set()).add(row.mailbox_id)

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
        return [self._mailboxes[mailbox_id] for mailbox_id in sorted(self._all_named())]

    def checkpoints(self, mailbox: StoredMailbox) -> Mapping[str, str]:
        """See `pages.checkpoints`."""
        folders = self._box(mailbox).folders
        return {folder_id: folder.token for folder_id, folder in folders.items() if folder.token is not None}

    def forget_checkpoints(self, mailbox: StoredMailbox, folder_id: str | None = None) -> None:
        """See `pages.forget_checkpoints`."""
        box = self._box(mailbox)
        for known_id, folder in box.folders.items():
            if folder.token is not None and folder_id in {None, known_id}:
                self._begin_round(box, mailbox, folder)

    def drop_folder(self, mailbox: StoredMailbox, folder_id: str) -> None:
        """See `pages.drop_folder`."""
        box = self._box(mailbox)
        folder = box.folders.get(folder_id)
        if folder is not None:
            self._begin_round(box, mailbox, folder)
            box.pending.update(contact_id for _, contact_id in self._in_folder(box, mailbox, folder))

    def finish_mailbox(self, mailbox: StoredMailbox) -> None:
        """See `pages.finish_mailbox`."""
        box = self._box(mailbox)
        for folder in box.folders.values():
            if folder.token is None:
                box.pending.update(contact_id for _, contact_id in self._in_folder(box, mailbox, folder))

    def store_page(self, mailbox: StoredMailbox, page: IncomingPage) -> Tally:
        """See `pages.store_page`."""
        box = self._box(mailbox)
        folder = box.folders.get(page.folder_id)
        if folder is None:
            folder = box.folders[page.folder_id] = _Folder(uuid4().bytes, None, RoundState(is_full=True, sweeps=False))
        latest = {self._keys.index.of(Label.ITEM, entry.id): entry for entry in page.upserts}
        left = [self._keys.index.of(Label.ITEM, item) for item in page.removals]
        tally = self._compare(mailbox, folder.id, latest)
        for remote_ix, (contact_id, folder_id) in self._places(mailbox, left).items():
            if folder_id == folder.id and remote_ix not in latest:
                box.pending.add(contact_id)
        if folder.round.sweeps:
            folder.seen.update(latest)
            if page.last:
                box.pending.update(id_ for ix, id_ in self._in_folder(box, mailbox, folder) if ix not in folder.seen)
                folder.seen = set()
        is_open = folder.round.is_full and not page.last
        folder.round = RoundState(is_full=is_open, sweeps=folder.round.sweeps and is_open)
        folder.token = page.checkpoint
        return tally

    def store_cards(self, cards: Sequence[tuple[StoredMailbox, Mapping[str, Any]]]) -> Tally:
        """See `pages.store_cards`."""
        total = Tally()
        for mailbox, fields in cards:
            remote_ix = self._keys.index.of(Label.CARD, mailbox.key)
            total.take_in(self._compare(mailbox, None, {remote_ix: Incoming(mailbox.key, fields)}))
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
        return self._held(self._released())

    def outlook(self) -> Outlook:
        """See `removals.outlook`."""
        named, released = self._all_named(), self._released()
        leaving = self._was_named - named
        pending = {mailbox_id: len(contact_ids) for mailbox_id, contact_ids in self._waiting.items()}
        pending |= {mailbox_id: len(box.pending) for mailbox_id, box in self._boxes.items()}
        lost = sum(count for mailbox_id, count in pending.items() if mailbox_id not in leaving | released)
        return Outlook(lost=lost + self._held(leaving), released=self._held(released), stored=self._stored)

    def apply(self) -> int:
        """What `removals.apply` would remove."""
        return self.outlook().lost

    def _all_named(self) -> set[bytes]:
        return set().union(*self._named.values())

    def _released(self) -> set[bytes]:
        with self._vault.read() as tx:
            sourceless = {row.id for row in mailbox_rows.without_source(tx, self._tenant.id)}
        return sourceless - self._all_named()

    def _box(self, mailbox: StoredMailbox) -> _Box:
        with self._lock:
            box = self._boxes.get(mailbox.id)
            if box is None:
                box = self._boxes[mailbox.id] = _Box(self._load_folders(mailbox))
                box.pending |= self._waiting.get(mailbox.id, set())
        return box

    def _load_folders(self, mailbox: StoredMailbox) -> dict[str, _Folder]:
        loaded = {}
        with self._vault.read() as tx:
            for state in folder_rows.of_mailbox(tx, mailbox.id):
                server_id = pages.open_folder(self._keys, state.folder)["id"]
                token, progress = pages.round_state(tx, self._keys, state)
                seen = set(folder_rows.seen_of(tx, state.folder.id)) if progress.sweeps else set()
                loaded[server_id] = _Folder(state.folder.id, token, progress, seen)
        return loaded

    def _begin_round(self, box: _Box, mailbox: StoredMailbox, folder: _Folder) -> None:
        has_contacts = next(self._in_folder(box, mailbox, folder), None) is not None
        folder.token, folder.seen, folder.round = None, set(), RoundState(is_full=True, sweeps=has_contacts)

    def _compare(self, mailbox: StoredMailbox, folder_id: bytes | None, latest: Mapping[bytes, Incoming]) -> Tally:
        box, tally = self._box(mailbox), Tally()
        stored = self._stored_rows(mailbox, list(latest))
        for remote_ix, incoming in latest.items():
            digest = _digest(content_of(incoming))
            before = box.entries.get(remote_ix)
            if before is None and remote_ix in stored:
                row = stored[remote_ix]
                before = _Entry(row.id, row.folder_id, _digest(open_contact(self._keys, row)), is_new=False)
            if before is None:
                tally.added += 1
                box.entries[remote_ix] = _Entry(uuid4().bytes, folder_id, digest, is_new=True)
                continue
            if (before.folder_id, before.digest) == (folder_id, digest):
                tally.unchanged += 1
            else:
                tally.changed += 1
                box.entries[remote_ix] = before._replace(folder_id=folder_id, digest=digest)
            box.pending.discard(before.id)
        return tally

    def _places(self, mailbox: StoredMailbox, remote_ixs: Sequence[bytes]) -> dict[bytes, tuple[bytes, bytes | None]]:
        """ID and folder of those contacts that there would be, by the index of their server ID."""
        found = {ix: (row.id, row.folder_id) for ix, row in self._stored_rows(mailbox, remote_ixs).items()}
        entries = self._box(mailbox).entries
        return found | {ix: (entries[ix].id, entries[ix].folder_id) for ix in remote_ixs if ix in entries}

    def _stored_rows(self, mailbox: StoredMailbox, remote_ixs: Sequence[bytes]) -> dict[bytes, ContactRow]:
        with self._vault.read() as tx:
            return contact_rows.by_remote(tx, mailbox.id, remote_ixs)

    def _in_folder(self, box: _Box, mailbox: StoredMailbox, folder: _Folder) -> Iterator[tuple[bytes, bytes]]:
        """The contacts that the folder would hold: the index of the server's ID, and our ID."""
        for page in contact_rows.stream(self._vault.read, self._tenant.id, mailbox_id=mailbox.id):
            for row in page:
                moved = box.entries.get(row.remote_ix)
                if (row.folder_id if moved is None else moved.folder_id) == folder.id:
                    yield row.remote_ix, row.id
        for remote_ix, entry in box.entries.items():
            if entry.is_new and entry.folder_id == folder.id:
                yield remote_ix, entry.id

    def _held(self, mailbox_ids: Set[bytes]) -> int:
        with self._vault.read() as tx:
            return sum(sum(contact_rows.counts(tx, self._tenant.id, mailbox_id).values()) for mailbox_id in mailbox_ids)


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()
