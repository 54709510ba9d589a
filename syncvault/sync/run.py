"""One tenant's run: resolve its sources, pull cards and contacts, look at photos, remove what is gone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, TypeVar

from connectors.port import (
    CheckpointExpired,
    Connector,
    ConnectorError,
    CredentialRejected,
    FolderGone,
    Mailbox,
    MailboxGone,
    NoMailbox,
    Page,
    Photo,
    PhotoRef,
    PhotoState,
    Source,
    SourceKind,
)
from syncvault.errors import DamagedError
from syncvault.sync import brake
from syncvault.sync.parallel import Stop, each
from syncvault.sync.summary import Failure, Options, Progress, Status, Summary
from syncvault.sync.target import Target
from syncvault.vault.content.diff import Incoming, Tally
from syncvault.vault.content.pages import IncomingPage
from syncvault.vault.content.photos import DuePhoto, LookedAt
from syncvault.vault.content.sources import Named, StoredMailbox, StoredSource

Item = TypeVar("Item")

_NAMED_AT_ONCE: Final = 500
_CARDS_AT_ONCE: Final = 20
_PHOTOS_AT_ONCE: Final = 100  # committed together: five batches of Graph's
_PHOTO_BYTES_AT_ONCE: Final = 4 * 1024 * 1024  # committed together at most, so that memory stays bounded


@dataclass(slots=True)
class Pulled:
    """What a piece of work in a worker thread came to."""

    tally: Tally = field(default_factory=Tally)
    skipped: int = 0
    photos: int = 0
    failures: list[Failure] = field(default_factory=list)
    gone: list[bytes] = field(default_factory=list)  # mailboxes that do not exist


class TenantRun:
    """A run over one tenant; `go` does it and leaves the outcome in `summary`."""

    def __init__(
        self,
        connector: Connector,
        target: Target,
        sources: Sequence[StoredSource],
        options: Options,
        *,
        summary: Summary,
        progress: Progress,
        stop: Stop,
    ) -> None:
        self.summary = summary
        self._connector = connector
        self._target = target
        self._sources = sources
        self._options = options
        self._progress = progress
        self._stop = stop
        self._has_seen = False  # any contact

    def go(self) -> None:
        """Runs.

        Raises:
            CredentialRejected: Nothing more may be tried until the credential is replaced.
            SyncvaultError: The vault refused; what was committed stands.
        """
        stored_before = self._target.outlook().stored
        unresolved = self._resolve()
        mailboxes = [mailbox for mailbox in self._target.to_pull() if mailbox.key not in unresolved]
        self.summary.mailboxes = len(mailboxes)
        self._progress.expect(self.summary.tenant, len(mailboxes))
        gone = self._pull_cards(mailboxes)
        for pulled in self._each([entry for entry in mailboxes if entry.id not in gone], self._pull_mailbox):
            self._take_in(pulled)
            self._progress.advance(self.summary.tenant, mailboxes=1)
        self._progress.advance(self.summary.tenant, mailboxes=len(gone))
        self._pull_photos()
        self._remove(stored_before)
        # Those the servers did not even mention are unchanged too.
        self.summary.unchanged = max(0, stored_before - self.summary.removed - self.summary.changed)
        self._conclude()

    def _resolve(self) -> set[str]:
        """Has every source name its mailboxes; returns the references of directly named ones that could not be."""
        unresolved: set[str] = set()
        disabled: set[str] = set()
        pulled: set[str] = set()
        for source in self._sources:
            named: set[bytes] = set()
            try:
                members = self._connector.resolve(Source(SourceKind(source.kind), source.ref))
                for chunk in _chunks(members, _NAMED_AT_ONCE):
                    self._stop.check()
                    wanted = [entry for entry in chunk if entry.enabled or source.kind != SourceKind.GROUP]
                    pulled.update(entry.key for entry in wanted)
                    disabled.update(entry.key for entry in chunk if not entry.enabled)
                    named.update(
                        self._target.name_mailboxes(source.id, [Named(entry.key, entry.address) for entry in wanted])
                    )
            except CredentialRejected:
                raise
            except ConnectorError as error:
                self._add_failure(Failure.of(error, source.ref))
                if source.kind != SourceKind.GROUP:
                    unresolved.add(source.ref.lower())
            else:
                self._target.finish_source(source.id, named)
        self.summary.skipped += len(disabled - pulled)
        return unresolved - pulled

    def _pull_cards(self, mailboxes: Sequence[StoredMailbox]) -> set[bytes]:
        gone: set[bytes] = set()
        for pulled in self._each(_chunks(mailboxes, _CARDS_AT_ONCE), self._pull_card_chunk):
            self._take_in(pulled)
            gone.update(pulled.gone)
        return gone

    def _pull_card_chunk(self, mailboxes: Sequence[StoredMailbox]) -> Pulled:
        pulled = Pulled()
        by_key = {mailbox.key: mailbox for mailbox in mailboxes}
        cards = []
        try:
            for card in self._connector.card([_to_port(mailbox) for mailbox in mailboxes]):
                self._stop.check()
                mailbox = by_key[card.mailbox.key]
                if card.contact is not None:
                    cards.append((mailbox, card.contact.to_dict()))
                elif card.error is not None:
                    pulled.failures.append(Failure.of(card.error, mailbox.ref))
                    if isinstance(card.error, MailboxGone):
                        pulled.gone.append(mailbox.id)
        except CredentialRejected:
            raise
        except ConnectorError as error:
            pulled.failures.extend(Failure.of(error, mailbox.ref) for mailbox in mailboxes)
        try:
            pulled.tally = self._target.store_cards(cards)
        except DamagedError as error:
            pulled.failures.append(Failure.of(error))
        return pulled

    def _pull_mailbox(self, mailbox: StoredMailbox) -> Pulled:
        pulled = Pulled()
        if self._options.full:
            self._target.forget_checkpoints(mailbox)
        expired: set[str] = set()
        while True:
            checkpoints: Mapping[str, str] = {}
            try:
                checkpoints = self._target.checkpoints(mailbox)
                for step in self._connector.changes(_to_port(mailbox), checkpoints):
                    self._stop.check()
                    self._take_step(mailbox, step, pulled)
                self._target.finish_mailbox(mailbox)
            except CredentialRejected:
                raise
            except CheckpointExpired as error:
                if error.folder_id not in expired:
                    expired.add(error.folder_id)
                    self._target.forget_checkpoints(mailbox, error.folder_id)
                    continue
                pulled.failures.append(Failure.of(error, mailbox.ref))
            except NoMailbox as error:
                if checkpoints:  # it had one, and what was pulled from it stays
                    pulled.failures.append(Failure.of(error, mailbox.ref))
            except (ConnectorError, DamagedError) as error:
                pulled.failures.append(Failure.of(error, mailbox.ref))
            return pulled

    def _take_step(self, mailbox: StoredMailbox, step: Page | FolderGone, pulled: Pulled) -> None:
        if isinstance(step, FolderGone):
            self._target.drop_folder(mailbox, step.folder_id)
            return
        tally = self._target.store_page(mailbox, _to_incoming(step))
        pulled.tally.take_in(tally)
        pulled.photos += tally.photos_gone
        pulled.skipped += sum(step.skipped.values())
        self._progress.advance(self.summary.tenant, contacts=len(step.upserts))

    def _pull_photos(self) -> None:
        for pulled in self._each(self._wanted_photos(), self._look_at_photos):
            self._take_in(pulled)

    def _wanted_photos(self) -> Iterator[list[DuePhoto]]:
        try:
            for page in self._target.due_photos(everything=self._options.full):
                yield from _chunks(page, _PHOTOS_AT_ONCE)
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
        except CredentialRejected:
            raise
        except ConnectorError as error:
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
            looks.append(LookedAt(due.contact_id, None))
        else:
            pulled.failures.append(Failure.of(photo.error, due.mailbox.ref))

    def _remove(self, stored_before: int) -> None:
        self._stop.check()
        self.summary.removed = self._target.release()
        outlook = self._target.outlook()
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
            self.summary.removed += self._target.apply()

    def _conclude(self) -> None:
        if self.summary.status is Status.OK and self.summary.failures:
            failed = {failure.mailbox for failure in self.summary.failures}
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
        for failure in pulled.failures:
            self._add_failure(failure)

    def _add_failure(self, failure: Failure) -> None:
        if failure not in self.summary.failures:
            self.summary.failures.append(failure)


def _to_port(mailbox: StoredMailbox) -> Mailbox:
    return Mailbox(mailbox.key, mailbox.address)


def _to_incoming(page: Page) -> IncomingPage:
    return IncomingPage(
        folder_id=page.folder.id,
        folder_path=page.folder.path,
        upserts=[Incoming(entry.id, entry.contact.to_dict(), entry.has_photo) for entry in page.upserts],
        removals=[entry.id for entry in page.removals],
        checkpoint=page.checkpoint,
        last=page.last,
    )


def _to_ref(due: DuePhoto) -> PhotoRef:
    return PhotoRef(_to_port(due.mailbox), due.folder_id, due.item_id, due.etag)


def _to_look(due: DuePhoto, photo: Photo) -> LookedAt | None:
    """What a look came to; None if it failed."""
    if photo.state is PhotoState.FAILED:
        return None
    content = {PhotoState.PRESENT: photo.content, PhotoState.ABSENT: b""}.get(photo.state)
    return LookedAt(due.contact_id, content, photo.etag)


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    remaining = iter(items)
    while chunk := list(islice(remaining, size)):
        yield chunk
