"""One tenant's run: resolve its sources, pull cards and contacts, look at photos, remove what is gone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, Final, TypeVar

from connectors.port import (
    Card,
    Connector,
    ConnectorError,
    MailboxGone,
    Photo,
    PhotoRef,
    PhotoState,
    Source,
    SourceKind,
    public_folder_key,
)
from connectors.selection import Selection, UserFilter
from syncvault.errors import DamagedError
from syncvault.masking import mask_ref
from syncvault.sync import brake
from syncvault.sync.lots import Lot, Pulled, to_port
from syncvault.sync.parallel import Stop, each
from syncvault.sync.scope import applied_by
from syncvault.sync.summary import Failure, Options, Progress, Status, Summary
from syncvault.sync.target import Target
from syncvault.vault.content.photos import DuePhoto, LookedAt
from syncvault.vault.content.sources import MailboxKind, Named, StoredMailbox, StoredSource

Item = TypeVar("Item")

_NAMED_AT_ONCE: Final = 500
_DIRECT: Final = {SourceKind.USER, SourceKind.MAILBOX, SourceKind.PUBLIC_FOLDER}  # sources that name one mailbox
_BY_REF: Final = _DIRECT | {SourceKind.GROUP, SourceKind.LIST}
_CARDS_AT_ONCE: Final = 20
_PHOTOS_AT_ONCE: Final = 100  # committed together: five batches of Graph's
_PHOTO_BYTES_AT_ONCE: Final = 2 * 1024 * 1024  # committed together at most, so that memory stays bounded


class TenantRun:
    """A run over one tenant; `go` does it and leaves the outcome in `summary`."""

    def __init__(
        self,
        connector: Connector,
        target: Target,
        sources: Sequence[StoredSource],
        options: Options,
        *,
        selection: Selection,
        applied: str,
        summary: Summary,
        progress: Progress,
        stop: Stop,
    ) -> None:
        self.summary = summary
        self._selection = selection
        self._applied = applied
        self._connector = connector
        self._target = target
        self._sources = sources
        self._options = options
        self._progress = progress
        self._stop = stop
        self._carded: set[bytes] = set()  # mailboxes whose cards are in
        self._read: set[bytes] = set()  # mailboxes, to their ends
        self._closed: set[bytes] = set()  # mailboxes that nobody wants opened any more
        self._has_seen = False  # any contact

    def go(self) -> bool:
        """Runs, and tells whether nothing is stored any more that is not wanted.

        Raises:
            CredentialRejected: Nothing more may be tried until the credential is replaced.
            ConnectorError: Nothing of the tenant can be had for now.
            SyncvaultError: The vault refused; what was committed stands.
        """
        stored_before = self._target.outlook().stored
        unresolved = self._resolve()
        named = self._target.to_pull()
        mailboxes = [mailbox for mailbox in named if mailbox.key not in unresolved]
        self.summary.mailboxes = len(mailboxes)
        self._progress.expect(self.summary.tenant, len(mailboxes))
        gone = self._pull_cards(mailboxes)
        self._close(mailboxes)
        to_open = [entry for entry in mailboxes if entry.opens and entry.id not in gone]
        self._progress.advance(self.summary.tenant, mailboxes=len(mailboxes) - len(to_open))
        for pulled in self._each(_chunks(to_open, self._connector.lot), self._pull_lot):
            self._take_in(pulled)
        if self._selection.photos:
            self._pull_photos({mailbox.id for mailbox in named})
        has_changed = stored_before and self._applied != applied_by(self._selection)
        is_minimal = not has_changed or self._minimise()
        self._remove(stored_before, {mailbox.id for mailbox in named} - self._read)
        # Those the servers did not even mention are unchanged too.
        self.summary.unchanged = max(0, stored_before - self.summary.removed - self.summary.changed)
        self._conclude()
        return is_minimal

    def _resolve(self) -> set[str]:
        """Has every source name its mailboxes; returns the references of directly named ones that could not be."""
        unresolved: set[str] = set()
        disabled: set[str] = set()
        pulled: set[str] = set()
        # Whom a source names as a mailbox to open stays one, whatever the address list says later.
        for source in sorted(self._sources, key=lambda source: source.kind == SourceKind.GAL):
            named: set[bytes] = set()
            unfound: set[str] = set()
            try:
                members = self._connector.resolve(Source(SourceKind(source.kind), source.ref, _to_filter(source)))
                for chunk in _chunks(self._stoppable(members), _NAMED_AT_ONCE):
                    unfound.update(card.mailbox.key for card in chunk if card.error is not None)
                    found = [card for card in chunk if card.error is None]
                    wanted = [card for card in found if card.mailbox.enabled or source.kind != SourceKind.GROUP]
                    pulled.update(card.mailbox.key for card in wanted)
                    disabled.update(card.mailbox.key for card in found if not card.mailbox.enabled)
                    named.update(self._name(source, wanted))
            except ConnectorError as error:
                if error.concerns_all:
                    raise
                named_as = mask_ref(source.ref) if source.kind in _BY_REF else str(source.kind)
                self._add_failure(replace(Failure.of(error), mailbox=named_as))
                if source.kind in _DIRECT:
                    is_folder = source.kind == SourceKind.PUBLIC_FOLDER
                    unresolved.add(public_folder_key(source.ref) if is_folder else source.ref.lower())
            else:
                self._target.finish_source(source.id, named | self._named_as(unfound))
        self.summary.skipped += len(disabled - pulled)
        return unresolved - pulled

    def _named_as(self, keys: Set[str]) -> set[bytes]:
        """The mailboxes with these keys, as far as a source has named them before."""
        return {mailbox.id for mailbox in self._target.to_pull() if mailbox.key in keys} if keys else set()

    def _stoppable(self, cards: Iterable[Card]) -> Iterator[Card]:
        for card in cards:  # each may cost a request
            self._stop.check()
            yield card

    def _name(self, source: StoredSource, cards: Sequence[Card]) -> list[bytes]:
        """Records whom a source names, and stores the cards that came along."""
        names = [Named(card.mailbox.key, card.mailbox.address, MailboxKind(card.mailbox.kind)) for card in cards]
        ids = self._target.name_mailboxes(source.id, names)
        brought = [
            (StoredMailbox(mailbox_id, *name), card.contact.to_dict())
            for mailbox_id, name, card in zip(ids, names, cards, strict=True)
            if card.contact is not None and mailbox_id not in self._carded
        ]
        self._carded.update(mailbox.id for mailbox, _ in brought)
        pulled = Pulled()
        self._store_cards(brought, pulled)
        self._take_in(pulled)
        return ids

    def _pull_cards(self, mailboxes: Sequence[StoredMailbox]) -> set[bytes]:
        """Asks for the cards that no source brought along; returns the mailboxes that do not exist."""
        gone: set[bytes] = set()
        # Of whom there is nothing to open, only their source has the card.
        asked = (mailbox for mailbox in mailboxes if mailbox.opens and mailbox.kind.has_card)
        missing = [mailbox for mailbox in asked if mailbox.id not in self._carded]
        for pulled in self._each(_chunks(missing, _CARDS_AT_ONCE), self._pull_card_chunk):
            self._take_in(pulled)
            gone.update(pulled.gone)
        return gone

    def _close(self, mailboxes: Sequence[StoredMailbox]) -> None:
        """What was read of mailboxes that no source names as ones to open any more goes.

        If the source that did was unregistered, no brake asks about it, as with mailboxes that nobody names at all.
        """
        closed = [mailbox for mailbox in mailboxes if not mailbox.opens]
        with_folders = self._target.with_folders() if closed else set()
        left = self._target.left() if with_folders else set()
        for mailbox in closed:
            if mailbox.id in with_folders:
                self._target.begin([mailbox], anew=True)
                self._target.finish([mailbox])
                (self._read if mailbox.id in left else self._closed).add(mailbox.id)

    def _pull_card_chunk(self, mailboxes: Sequence[StoredMailbox]) -> Pulled:
        pulled = Pulled()
        by_key = {mailbox.key: mailbox for mailbox in mailboxes}
        cards = []
        try:
            for card in self._connector.card([to_port(mailbox) for mailbox in mailboxes]):
                self._stop.check()
                mailbox = by_key[card.mailbox.key]
                if card.contact is not None:
                    cards.append((mailbox, card.contact.to_dict()))
                elif card.error is not None:
                    pulled.failures.append(Failure.of(card.error, mailbox.ref))
                    if isinstance(card.error, MailboxGone):
                        pulled.gone.append(mailbox.id)
        except ConnectorError as error:
            if error.concerns_all:
                raise
            pulled.failures.extend(Failure.of(error, mailbox.ref) for mailbox in mailboxes)
        self._store_cards(cards, pulled)
        return pulled

    def _store_cards(self, cards: Sequence[tuple[StoredMailbox, Mapping[str, Any]]], pulled: Pulled) -> None:
        try:
            pulled.tally = self._target.store_cards(cards)
        except DamagedError as error:
            pulled.failures.append(Failure.of(error))

    def _pull_lot(self, mailboxes: Sequence[StoredMailbox]) -> Pulled:
        advance = partial(self._progress.advance, self.summary.tenant)
        lot = Lot(self._connector, self._target, anew=self._options.full, stop=self._stop, advance=advance)
        return lot.pull(mailboxes)

    def _pull_photos(self, named: Set[bytes]) -> None:
        for pulled in self._each(self._wanted_photos(named), self._look_at_photos):
            self._take_in(pulled)

    def _wanted_photos(self, named: Set[bytes]) -> Iterator[list[DuePhoto]]:
        """The photos to look at; whoever no source names any more leaves with this run, and is not asked about."""
        try:
            other_size = self._applied.split()[-1:] not in ([], [str(self._selection.photo_pixels)])
            for page in self._target.due_photos(everything=self._options.full or other_size):
                yield from _chunks((due for due in page if due.mailbox.id in named), _PHOTOS_AT_ONCE)
        except DamagedError as error:
            self._add_failure(Failure.of(error))

    def _look_at_photos(self, wanted: Sequence[DuePhoto]) -> Pulled:
        pulled = Pulled()
        by_ref = {_to_ref(entry): entry for entry in wanted}
        looks: list[LookedAt] = []
        size = 0
        try:
            for photo in self._connector.photos(list(by_ref)):
                self._stop.check()
                look = _to_look(by_ref[photo.ref], photo)
                if look is None:
                    self._skip_photo(by_ref[photo.ref], photo, pulled, looks)
                    continue
                looks.append(look)
                size += len(photo.content)
                if size > _PHOTO_BYTES_AT_ONCE:
                    pulled.photos += self._target.store_photos(looks)
                    looks, size = [], 0
        except ConnectorError as error:
            if error.concerns_all:
                raise
            pulled.failures.extend(
                Failure.of(error, ref) for ref in dict.fromkeys(entry.mailbox.ref for entry in wanted)
            )
        pulled.photos += self._target.store_photos(looks)
        self._progress.advance(self.summary.tenant, photos=len(wanted))
        return pulled

    def _skip_photo(self, due: DuePhoto, photo: Photo, pulled: Pulled, looks: list[LookedAt]) -> None:
        """A photo over the limit is left out and counted; any other failure is looked at again by the next run."""
        if photo.error is None:
            return
        if photo.error.code == "photo-too-large":
            pulled.skipped += 1
            looks.append(LookedAt(due.contact_id, None, is_card=not due.item_id))
        else:
            pulled.failures.append(Failure.of(photo.error, due.mailbox.ref))

    def _minimise(self) -> bool:
        """Takes what is not wanted any more from the contacts that this run did not bring; False if one is damaged."""
        done = self._target.minimise()
        self.summary.changed += done.stripped
        self.summary.photos += done.photos
        for error in done.damaged:
            self._add_failure(Failure.of(error))
        return not done.damaged

    def _remove(self, stored_before: int, unread: Set[bytes]) -> None:
        self._stop.check()
        self.summary.removed = self._target.release(self._closed)
        outlook = self._target.outlook(unread)
        base = stored_before - self.summary.removed
        if brake.holds(outlook.lost, base) and not self._options.accept_removals:
            self.summary.status = Status.BRAKED
            self.summary.removed += outlook.lost  # what accepting it would remove
            self.summary.failures.append(
                Failure(
                    None,
                    "brake",
                    f"{outlook.lost} of {base} contacts are gone at the source; nothing of them was removed.",
                    "If that is right, run: syncvault sync TENANT --accept-removals",
                )
            )
        else:
            self.summary.removed += self._target.apply(unread)

    def _conclude(self) -> None:
        if self.summary.status is Status.OK and self.summary.failures:
            failed = {failure.ref for failure in self.summary.failures}
            done = self.summary.mailboxes > len(failed) or self._has_seen
            self.summary.status = Status.PARTIAL if done else Status.FAILED

    def _each(self, items: Iterable[Item], work: Callable[[Item], Pulled]) -> Iterator[Pulled]:
        return each(self._options.mailboxes, items, work, name=self.summary.tenant, stop=self._stop)

    def _take_in(self, pulled: Pulled) -> None:
        self.summary.added += pulled.tally.added
        self.summary.changed += pulled.tally.changed
        self._has_seen |= bool(pulled.tally.added or pulled.tally.changed or pulled.tally.unchanged)
        self.summary.skipped += pulled.skipped
        self.summary.photos += pulled.photos
        self._read.update(pulled.read)
        for failure in pulled.failures:
            self._add_failure(failure)

    def _add_failure(self, failure: Failure) -> None:
        if failure not in self.summary.failures:
            self.summary.failures.append(failure)


def _to_filter(source: StoredSource) -> UserFilter:
    return UserFilter(**source.filter.given())


def _to_ref(due: DuePhoto) -> PhotoRef:
    return PhotoRef(to_port(due.mailbox), due.folder_id, due.item_id, due.etag)


def _to_look(due: DuePhoto, photo: Photo) -> LookedAt | None:
    """What a look came to; None if it failed."""
    if photo.state is PhotoState.FAILED:
        return None
    content = {PhotoState.PRESENT: photo.content, PhotoState.ABSENT: b""}.get(photo.state)
    return LookedAt(due.contact_id, content, photo.etag, is_card=not due.item_id)


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    remaining = iter(items)
    while chunk := list(islice(remaining, size)):
        yield chunk
