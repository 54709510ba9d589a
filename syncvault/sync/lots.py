"""Pulling the contacts of a lot of mailboxes: what one exchange with the server brings is committed together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from connectors.port import (
    CheckpointExpired,
    Connector,
    ConnectorError,
    CredentialRejected,
    Ended,
    FolderGone,
    Mailbox,
    MailboxKind,
    NoMailbox,
    Page,
    Step,
    Wanted,
)
from syncvault.errors import DamagedError
from syncvault.sync.parallel import Stop
from syncvault.sync.summary import Failure
from syncvault.sync.target import Target
from syncvault.vault.content.diff import Incoming, Tally
from syncvault.vault.content.pages import IncomingPage
from syncvault.vault.content.sources import StoredMailbox


@dataclass(slots=True)
class Pulled:
    """What a piece of work in a worker thread came to."""

    tally: Tally = field(default_factory=Tally)
    skipped: int = 0
    photos: int = 0
    failures: list[Failure] = field(default_factory=list)
    gone: list[bytes] = field(default_factory=list)  # mailboxes that do not exist
    read: list[bytes] = field(default_factory=list)  # mailboxes, to their ends


class Advance(Protocol):
    """Told of every mailbox that is done and of contacts as they come."""

    def __call__(self, *, mailboxes: int = 0, contacts: int = 0) -> None:
        """So much more is done."""


class Lot:
    """Mailboxes that are read together; a failure of one is its own."""

    def __init__(self, connector: Connector, target: Target, *, anew: bool, stop: Stop, advance: Advance) -> None:
        self._connector = connector
        self._target = target
        self._anew = anew
        self._stop = stop
        self._advance = advance
        self._pulled = Pulled()
        self._waiting: dict[str, StoredMailbox] = {}  # by key
        self._checkpoints: dict[str, Mapping[str, str]] = {}
        self._expired: set[tuple[str, str]] = set()  # mailboxes' keys and folder IDs

    def pull(self, mailboxes: Sequence[StoredMailbox]) -> Pulled:
        """Reads the mailboxes to their ends.

        Raises:
            CredentialRejected: Nothing more may be tried.
            SyncvaultError: The vault refused; what was committed stands.
        """
        self._waiting = {mailbox.key: mailbox for mailbox in mailboxes}
        for mailbox in mailboxes:
            self._begin(mailbox, anew=self._anew)
        while wanted := [Wanted(to_port(self._waiting[key]), points) for key, points in self._checkpoints.items()]:
            self._checkpoints = {}
            try:
                for steps in self._connector.changes(wanted):
                    self._stop.check()
                    self._take(steps)
            except CredentialRejected:
                raise
            except ConnectorError as error:
                for mailbox in list(self._waiting.values()):
                    self._fail(mailbox, Failure.of(error, mailbox.ref))
                break
        return self._pulled

    def _begin(self, mailbox: StoredMailbox, *, anew: bool = False) -> None:
        try:
            self._checkpoints[mailbox.key] = self._target.begin(mailbox, anew=anew)
        except DamagedError as error:
            self._fail(mailbox, Failure.of(error, mailbox.ref))

    def _take(self, steps: Sequence[Step]) -> None:
        """Takes in what one exchange brought: pages first, then the ends that they lead to."""
        came = [(self._waiting[key], page) for key, page in _pages(steps) if key in self._waiting]
        self._store(came)
        ended = []
        for step in steps:
            mailbox = self._waiting.get(step.mailbox.key)
            if mailbox is None:
                continue  # it failed before
            if isinstance(step.outcome, FolderGone):
                self._target.drop_folder(mailbox, step.outcome.folder_id)
            elif isinstance(step.outcome, Ended):
                ended += [mailbox] if step.outcome.error is None else []
                self._end(mailbox, step.outcome.error)
        if ended:
            self._target.finish(ended)
            self._pulled.read += [mailbox.id for mailbox in ended]

    def _store(self, came: Sequence[tuple[StoredMailbox, Page]]) -> None:
        if not came:
            return
        try:
            tally = self._target.store_pages([(mailbox, _to_incoming(page)) for mailbox, page in came])
        except DamagedError as error:
            if len(came) == 1:
                self._fail(came[0][0], Failure.of(error, came[0][0].ref))
            else:
                for one in came:
                    self._store([one])  # whose it is
            return
        self._pulled.tally.take_in(tally)
        self._pulled.photos += tally.photos_gone
        self._pulled.skipped += sum(sum(page.skipped.values()) for _, page in came)
        self._advance(contacts=sum(len(page.upserts) for _, page in came))

    def _end(self, mailbox: StoredMailbox, error: ConnectorError | None) -> None:
        if isinstance(error, CheckpointExpired) and (mailbox.key, error.folder_id) not in self._expired:
            for folder_id in error.folder_ids:
                self._expired.add((mailbox.key, folder_id))
                self._target.forget_checkpoint(mailbox, folder_id)
            self._begin(mailbox)
        elif error is None or (isinstance(error, NoMailbox) and not self._target.was_read(mailbox)):
            self._done(mailbox)  # nobody expects anything of a person who never had one
        else:
            self._fail(mailbox, Failure.of(error, mailbox.ref))

    def _fail(self, mailbox: StoredMailbox, failure: Failure) -> None:
        self._pulled.failures.append(failure)
        self._done(mailbox)

    def _done(self, mailbox: StoredMailbox) -> None:
        del self._waiting[mailbox.key]
        self._advance(mailboxes=1)


def to_port(mailbox: StoredMailbox) -> Mailbox:
    """A mailbox as connectors know it."""
    return Mailbox(mailbox.key, mailbox.address, kind=MailboxKind(mailbox.kind))


def _pages(steps: Sequence[Step]) -> Iterator[tuple[str, Page]]:
    for step in steps:
        if isinstance(step.outcome, Page):
            yield step.mailbox.key, step.outcome


def _to_incoming(page: Page) -> IncomingPage:
    return IncomingPage(
        folder_id=page.folder.id,
        folder_path=page.folder.path,
        upserts=[Incoming(entry.id, entry.contact.to_dict(), entry.has_photo) for entry in page.upserts],
        removals=[entry.id for entry in page.removals],
        checkpoint=page.checkpoint,
        last=page.last,
    )
