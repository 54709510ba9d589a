"""A run that writes nothing: the same comparisons against what is stored, with the outcome kept in memory.

Holds IDs and digests of what would change, checkpoints and what full rounds have seen; never content.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence, Set
from itertools import islice
from typing import Any, Final
from uuid import uuid4

import orjson

from syncvault.crypto.index import Label
from syncvault.store import contacts as contact_rows
from syncvault.store import folders as folder_rows
from syncvault.store import mailboxes as mailbox_rows
from syncvault.store import photos as photo_rows
from syncvault.store import removals as removal_rows
from syncvault.store import sources as source_rows
from syncvault.vault.content import minimising, pages, photos, sources
from syncvault.vault.content.diff import CARD, CONTACT, Incoming, Tally, content_of, open_contact
from syncvault.vault.content.minimising import Minimised
from syncvault.vault.content.pages import IncomingPage, RoundState
from syncvault.vault.content.photos import DuePhoto, LookedAt
from syncvault.vault.content.rehearsed import (
    FOLDER,
    PHOTO,
    REMOVE,
    Box,
    Change,
    Entry,
    Folder,
    Ledger,
    Look,
    differing,
)
from syncvault.vault.content.removals import Outlook
from syncvault.vault.content.sources import Named, StoredMailbox
from syncvault.vault.model import Tenant
from syncvault.vault.vault import Vault

_LOOKS_AT_ONCE: Final = 400


class Rehearsal:
    """Answers a run's questions as the vault would after each step, without taking the steps.

    As with the vault itself, each mailbox is worked on by one thread at a time.
    """

    def __init__(self, vault: Vault, tenant: Tenant, scope: str, fields: Set[str], *, photos: bool) -> None:
        self._vault = vault
        self._tenant = tenant
        self._scope = scope
        self._fields = fields
        self._photos = photos
        self._keys = vault.keys.tenant(tenant.id)
        self._lock = threading.Lock()
        self._ledger = Ledger()
        self._mailboxes = sources.mailboxes_by_id(vault, tenant)
        self._by_key = {mailbox.key.lower(): mailbox for mailbox in self._mailboxes.values()}
        self._boxes: dict[bytes, Box] = {}
        self._unread: Set[bytes] = frozenset()
        self._closed: Set[bytes] = frozenset()
        with vault.read() as tx:
            rows = source_rows.memberships_of_tenant(tx, tenant.id)
            waiting = removal_rows.each(tx, tenant.id)
            self._kinds = {row.id: row.kind for row in source_rows.of_tenant(tx, tenant.id)}
            self._stored = sum(contact_rows.counts(tx, tenant.id).values())
        self._waiting: dict[bytes, set[bytes]] = {}  # what awaited removal before, by mailbox
        for contact_id, mailbox_id in waiting:
            self._waiting.setdefault(mailbox_id, set()).add(contact_id)
        self._were = [(row.source_id, row.mailbox_id) for row in rows]
        self._was_named = {row.mailbox_id for row in rows}
        self._named: dict[bytes, set[bytes]] = {}
        for row in rows:
            if not row.leaving:
                self._named.setdefault(row.source_id, set()).add(row.mailbox_id)

    def name_mailboxes(self, source_id: bytes, named: Sequence[Named]) -> list[bytes]:
        """See `sources.name_mailboxes`."""
        ids, kept = [], self._named_by_others(source_id)
        for entry in named:
            mailbox = self._by_key.get(entry.key.lower())
            if mailbox is not None and sources.is_listed_person(mailbox, entry):
                stays = mailbox.id in kept
            else:
                stays = mailbox is not None and (mailbox.address, mailbox.kind) == (entry.address, entry.kind)
            if mailbox is None or not stays:
                mailbox = StoredMailbox(uuid4().bytes if mailbox is None else mailbox.id, *entry)
                self._by_key[entry.key.lower()] = self._mailboxes[mailbox.id] = mailbox
            ids.append(mailbox.id)
        self._named.setdefault(source_id, set()).update(ids)
        return ids

    def _named_by_others(self, source_id: bytes) -> set[bytes]:
        others = (one for one, kind in self._kinds.items() if kind != self._kinds[source_id])
        return set().union(*(self._named.get(one, set()) for one in others))

    def finish_source(self, source_id: bytes, named: Set[bytes]) -> None:
        """See `sources.finish_source`."""
        self._named[source_id] = set(named)

    def to_pull(self) -> list[StoredMailbox]:
        """See `sources.to_pull`."""
        return [self._mailboxes[mailbox_id] for mailbox_id in sorted(self._all_named())]

    def begin(self, mailboxes: Sequence[StoredMailbox], *, anew: bool) -> Mapping[str, Mapping[str, str]]:
        """See `pages.begin`."""
        return {mailbox.key: self._begin(mailbox, anew=anew) for mailbox in mailboxes}

    def _begin(self, mailbox: StoredMailbox, *, anew: bool) -> Mapping[str, str]:
        box, found = self._box(mailbox), dict[str, str]()
        for server_id, folder in box.folders.items():
            if folder.token is not None and (anew or folder.scope != self._scope):
                self._begin_round(box, mailbox, folder)
            elif folder.token is not None:
                found[server_id] = folder.token
        return found

    def left(self) -> set[bytes]:
        """See `sources.left`."""
        return {mailbox for source_id, mailbox in self._were if mailbox not in self._named.get(source_id, ())}

    def with_folders(self) -> set[bytes]:
        """See `pages.with_folders`."""
        return pages.with_folders(self._vault, self._tenant)

    def was_read(self, mailbox: StoredMailbox) -> bool:
        """See `pages.was_read`."""
        return bool(self._box(mailbox).folders)

    def forget_checkpoint(self, mailbox: StoredMailbox, folder_id: str) -> None:
        """See `pages.forget_checkpoint`."""
        box = self._box(mailbox)
        folder = box.folders.get(folder_id)
        if folder is not None and folder.token is not None:
            self._begin_round(box, mailbox, folder)

    def drop_folder(self, mailbox: StoredMailbox, folder_id: str) -> None:
        """See `pages.drop_folder`."""
        box = self._box(mailbox)
        folder = box.folders.get(folder_id)
        if folder is not None:
            self._begin_round(box, mailbox, folder)
            box.pending.update(contact_id for _, contact_id in self._in_folder(box, mailbox, folder))

    def finish(self, mailboxes: Sequence[StoredMailbox]) -> None:
        """See `pages.finish`."""
        for mailbox in mailboxes:
            box = self._box(mailbox)
            for folder in box.folders.values():
                if folder.token is None:
                    box.pending.update(contact_id for _, contact_id in self._in_folder(box, mailbox, folder))

    def store_pages(self, came: Sequence[tuple[StoredMailbox, IncomingPage]]) -> Tally:
        """See `pages.store_pages`."""
        total = Tally()
        for mailbox, page in came:
            total.take_in(self._store_page(mailbox, page))
        return total

    def store_cards(self, cards: Sequence[tuple[StoredMailbox, Mapping[str, Any]]]) -> Tally:
        """See `pages.store_cards`."""
        total = Tally()
        for mailbox, fields in cards:
            remote_ix = self._keys.index.of(Label.CARD, mailbox.key)
            incoming = Incoming(mailbox.key, fields, has_photo=None if mailbox.kind.may_have_photo else False)
            total.take_in(self._compare(mailbox, None, {remote_ix: incoming}))
        return total

    def due_photos(self, *, everything: bool) -> Iterator[list[DuePhoto]]:
        """See `photos.due`; what the run would bring anew is looked at too."""
        decided = {contact_id for box in self._boxes.values() for contact_id in box.looks}
        for page in photos.due(self._vault, self._tenant, everything=everything, dry_run=True):
            if undecided := [entry for entry in page if entry.contact_id not in decided]:
                yield undecided
        looks = ((one, look) for box in self._boxes.values() for one, look in box.looks.items() if look is not None)
        while chunk := list(islice(looks, _LOOKS_AT_ONCE)):
            details = self._photo_details([contact_id for contact_id, _ in chunk])
            yield [DuePhoto(one, *look, details.get(one, {}).get("etag", "")) for one, look in chunk]

    def store_photos(self, looks: Sequence[LookedAt]) -> int:
        """See `photos.store`."""
        stored = self._photo_details([look.contact_id for look in looks])
        count = 0
        for look in looks:
            known = stored.get(look.contact_id)
            if look.content is None or (not look.content and known is None):
                continue
            if known is None or known["sha256"] != hashlib.sha256(look.content).hexdigest():
                self._note_photo(look)
                count += 1
        return count

    def minimise(self) -> Minimised:
        """See `minimising.apply`."""
        done = Minimised()
        for page in contact_rows.stream(self._vault.read, self._tenant.id):
            with self._vault.read() as tx:
                pictured = set() if self._photos else set(photo_rows.details(tx, [row.id for row in page]))
            for row, plain in minimising.whole(self._keys, page, done.damaged):
                mailbox = self._mailboxes[row.mailbox_id]
                box = self._box(mailbox)
                came = row.remote_ix in box.entries
                unwanted = set() if came else orjson.loads(plain)["fields"].keys() - self._fields
                if unwanted:
                    self._ledger.note(row.id, row.kind, mailbox, unwanted, is_new=False)
                    done.stripped += 1
            for row in page:
                mailbox = self._mailboxes[row.mailbox_id]
                if row.id in pictured and not self._box(mailbox).lost_photo(row.id):
                    self._ledger.note_also(row.id, row.kind, mailbox, PHOTO)
                    done.photos += 1
        return done

    def release(self, closed: Set[bytes]) -> int:
        """See `removals.release`."""
        self._closed = closed
        waiting = self._pending()
        return self._held(self._released()) + sum(len(waiting.get(mailbox_id, ())) for mailbox_id in closed)

    def outlook(self, unread: Set[bytes] = frozenset()) -> Outlook:
        """See `removals.outlook`."""
        self._unread = unread
        named, released = self._all_named(), self._released()
        leaving = self._was_named - named
        pending = {mailbox_id: len(contact_ids) for mailbox_id, contact_ids in self._pending().items()}
        elsewhere = leaving | released | self._closed
        lost = sum(count for mailbox_id, count in pending.items() if mailbox_id not in elsewhere)
        return Outlook(lost=lost + self._held(leaving), released=self._held(released), stored=self._stored)

    def apply(self, unread: Set[bytes]) -> int:
        """What `removals.apply` would remove."""
        return self.outlook(unread).lost

    def changes(self) -> list[Change]:
        """Everything that the run would do."""
        return self._ledger.listing(self._removed())

    def _removed(self) -> Iterator[Change]:
        whole = (self._was_named - self._all_named()) | self._released()
        pending = self._pending()
        for mailbox_id in sorted(whole | pending.keys()):
            mailbox, going = self._mailboxes[mailbox_id], pending.get(mailbox_id, set())
            for page in contact_rows.stream(self._vault.read, self._tenant.id, mailbox_id=mailbox_id):
                for row in page:
                    if mailbox_id in whole or row.id in going:
                        yield Change(REMOVE, row.kind, row.id, mailbox)

    def _pending(self) -> dict[bytes, set[bytes]]:
        pending = self._waiting | {mailbox_id: box.pending for mailbox_id, box in self._boxes.items()}
        unread = self._unread - self._closed
        return {mailbox_id: going for mailbox_id, going in pending.items() if mailbox_id not in unread}

    def _all_named(self) -> set[bytes]:
        return set().union(*self._named.values())

    def _released(self) -> set[bytes]:
        with self._vault.read() as tx:
            sourceless = {row.id for row in mailbox_rows.without_source(tx, self._tenant.id)}
        return sourceless - self._all_named()

    def _box(self, mailbox: StoredMailbox) -> Box:
        with self._lock:
            box = self._boxes.get(mailbox.id)
            if box is None:
                box = self._boxes[mailbox.id] = Box(self._load_folders(mailbox))
                box.pending |= self._waiting.get(mailbox.id, set())
        return box

    def _load_folders(self, mailbox: StoredMailbox) -> dict[str, Folder]:
        loaded = {}
        with self._vault.read() as tx:
            for state in folder_rows.of_mailbox(tx, mailbox.id):
                plain = pages.open_folder(self._keys, state.folder)
                token, progress = pages.round_state(tx, self._keys, state)
                scope = "" if state.checkpoint is None else pages.open_checkpoint(self._keys, state.checkpoint)["scope"]
                seen = set(folder_rows.seen_of(tx, state.folder.id)) if progress.sweeps else set()
                loaded[plain["id"]] = Folder(state.folder.id, token, scope, progress, plain["path"], seen)
        return loaded

    def _begin_round(self, box: Box, mailbox: StoredMailbox, folder: Folder) -> None:
        has_contacts = next(self._in_folder(box, mailbox, folder), None) is not None
        folder.token, folder.seen, folder.round = None, set(), RoundState(is_full=True, sweeps=has_contacts)

    def _store_page(self, mailbox: StoredMailbox, page: IncomingPage) -> Tally:
        box = self._box(mailbox)
        folder = box.folders.get(page.folder_id)
        if folder is None:
            begun = RoundState(is_full=True, sweeps=False)
            folder = box.folders[page.folder_id] = Folder(uuid4().bytes, None, "", begun, page.folder_path)
        latest = {self._keys.index.of(Label.ITEM, entry.id): entry for entry in page.upserts}
        left = [self._keys.index.of(Label.ITEM, item) for item in page.removals]
        tally = self._compare(mailbox, folder, latest)
        for remote_ix, (contact_id, folder_id) in self._places(mailbox, left).items():
            if folder_id == folder.id and remote_ix not in latest:
                box.pending.add(contact_id)
        if folder.path != page.folder_path:
            self._rename(box, mailbox, folder, page.folder_path, tally)
        if folder.round.sweeps:
            folder.seen.update(latest, (self._keys.index.of(Label.ITEM, item) for item in page.unread))
            if page.last:
                box.pending.update(id_ for ix, id_ in self._in_folder(box, mailbox, folder) if ix not in folder.seen)
                folder.seen = set()
        is_open = folder.round.is_full and not page.last
        folder.round = RoundState(is_full=is_open, sweeps=folder.round.sweeps and is_open)
        folder.token, folder.scope = page.checkpoint, self._scope
        return tally

    def _rename(self, box: Box, mailbox: StoredMailbox, folder: Folder, path: str, tally: Tally) -> None:
        """The contacts that stay in a renamed folder change by that."""
        folder.path, folder.is_renamed = path, True
        for remote_ix, contact_id in self._in_folder(box, mailbox, folder):
            entry = box.entries.get(remote_ix)
            if contact_id in box.pending or (entry is not None and entry.is_new):
                continue
            if not self._ledger.has(contact_id):
                tally.changed += 1
                tally.unchanged -= entry is not None
            self._ledger.note_also(contact_id, CONTACT, mailbox, FOLDER)

    def _compare(self, mailbox: StoredMailbox, folder: Folder | None, latest: Mapping[bytes, Incoming]) -> Tally:
        box, tally = self._box(mailbox), Tally()
        kind, folder_id = (CARD, None) if folder is None else (CONTACT, folder.id)
        server_folder = next((name for name, one in box.folders.items() if one is folder), "")
        with self._vault.read() as tx:
            stored = contact_rows.by_remote(tx, mailbox.id, list(latest))
            pictured = set(photo_rows.details(tx, [row.id for row in stored.values()]))
        for remote_ix, incoming in latest.items():
            content = content_of(incoming)
            row, before = stored.get(remote_ix), box.entries.get(remote_ix)
            plain = b"" if row is None else open_contact(self._keys, row)
            if before is None and row is not None:
                before = Entry(row.id, row.folder_id, _digest(plain), is_new=False)
            after = Entry(before.id if before else uuid4().bytes, folder_id, _digest(content), is_new=row is None)
            tally.added += before is None
            tally.unchanged += after == before
            tally.changed += before is not None and after != before
            fields = differing(*(orjson.loads(each)["fields"] if each else {} for each in (plain, content)))
            if row is not None and (row.folder_id != folder_id or (folder is not None and folder.is_renamed)):
                fields.add(FOLDER)
            self._ledger.note(after.id, kind, mailbox, fields, is_new=row is None)
            box.entries[remote_ix] = after
            box.pending.discard(after.id)
            may_differ = before is None or kind == CONTACT
            if incoming.has_photo is False:
                is_lost, box.looks[after.id] = box.lost_photo(after.id), None
                if after.id in pictured and not is_lost:
                    self._ledger.note_also(after.id, kind, mailbox, PHOTO)
                    tally.photos_gone += 1
            elif may_differ or (incoming.has_photo and after.id not in pictured):
                box.looks[after.id] = Look(mailbox, server_folder, incoming.id if folder else "")
        return tally

    def _note_photo(self, look: LookedAt) -> None:
        with self._vault.read() as tx:
            row = contact_rows.get(tx, self._tenant.id, look.contact_id)
        if row is not None:
            self._ledger.note_also(row.id, row.kind, self._mailboxes[row.mailbox_id], PHOTO)
        else:  # noted when it came
            self._ledger.add_to(look.contact_id, PHOTO)

    def _photo_details(self, contact_ids: Sequence[bytes]) -> dict[bytes, dict[str, Any]]:
        with self._vault.read() as tx:
            sealed = photo_rows.details(tx, contact_ids)
        return {contact_id: photos.open_details(self._keys, contact_id, blob) for contact_id, blob in sealed.items()}

    def _places(self, mailbox: StoredMailbox, remote_ixs: Sequence[bytes]) -> dict[bytes, tuple[bytes, bytes | None]]:
        """ID and folder of those contacts that there would be, by the index of their server ID."""
        with self._vault.read() as tx:
            stored = contact_rows.by_remote(tx, mailbox.id, remote_ixs)
        entries = self._box(mailbox).entries
        found = {ix: (row.id, row.folder_id) for ix, row in stored.items()}
        return found | {ix: (entries[ix].id, entries[ix].folder_id) for ix in remote_ixs if ix in entries}

    def _in_folder(self, box: Box, mailbox: StoredMailbox, folder: Folder) -> Iterator[tuple[bytes, bytes]]:
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
