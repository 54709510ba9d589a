"""Pulling the contacts of a lot of mailboxes: what an exchange with the server brings is committed together.

A transaction costs as much as storing some dozens of contacts. So small pages wait for those of the next exchanges, of
the same lot and in memory, until they are worth one; whatever ends the reading, they are committed before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from connectors.port import (
    CheckpointExpired,
    Connector,
    ConnectorError,
    Ended,
    FolderGone,
    Mailbox,
    MailboxKind,
    NoMailbox,
    Page,
    ServerFault,
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

_WORTH_COMMITTING: Final = 400  # contacts, removals and pages


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
        self._gathered = _Gathered()

    def pull(self, mailboxes: Sequence[StoredMailbox]) -> Pulled:
        """Reads the mailboxes to their ends.

        Raises:
            CredentialRejected: Nothing more may be tried.
            SyncvaultError: The vault refused; what was committed stands.
        """
        self._waiting = {mailbox.key: mailbox for mailbox in mailboxes}
        self._begin(mailboxes, anew=self._anew)
        while wanted := [Wanted(to_port(self._waiting[key]), points) for key, points in self._checkpoints.items()]:
            self._checkpoints = {}
            try:
                self._read(wanted)
            except ConnectorError as error:
                if error.concerns_all:
                    raise
                for mailbox in list(self._waiting.values()):
                    self._fail(mailbox, Failure.of(error, mailbox.ref))
                break
        return self._pulled

    def _begin(self, mailboxes: Sequence[StoredMailbox], *, anew: bool = False) -> None:
        try:
            self._checkpoints.update(self._target.begin(mailboxes, anew=anew))
        except DamagedError as error:
            if len(mailboxes) == 1:
                self._fail(mailboxes[0], Failure.of(error, mailboxes[0].ref))
            else:
                for mailbox in mailboxes:
                    self._begin([mailbox], anew=anew)  # whose it is

    def _read(self, wanted: Sequence[Wanted]) -> None:
        try:
            for steps in self._connector.changes(wanted):
                self._stop.check()
                if self._gathered.has_page_of_one_in(steps):
                    self._commit()
                self._gathered.add(steps)
                if self._gathered.is_enough:
                    self._commit()
        finally:
            self._commit()

    def _commit(self) -> None:
        """Takes in what was gathered: pages first, then the ends that they lead to."""
        steps, self._gathered = self._gathered.steps, _Gathered()
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
            self._begin([mailbox])
        elif error is None or (isinstance(error, NoMailbox) and not self._target.was_read(mailbox)):
            self._done(mailbox)  # nobody expects anything of a person who never had one
        else:
            self._fail(mailbox, Failure.of(_as_it_is(error), mailbox.ref))

    def _fail(self, mailbox: StoredMailbox, failure: Failure) -> None:
        self._pulled.failures.append(failure)
        self._done(mailbox)

    def _done(self, mailbox: StoredMailbox) -> None:
        del self._waiting[mailbox.key]
        self._advance(mailboxes=1)


class _Gathered:
    """What exchanges brought, not committed yet: of every mailbox one page at most, and nothing that has to wait."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.is_enough = False
        self._weight = 0
        self._paged: set[str] = set()  # keys of mailboxes

    def has_page_of_one_in(self, steps: Sequence[Step]) -> bool:
        """Whether a mailbox has a page here and another one there."""
        return any(key in self._paged for key, _ in _pages(steps))

    def add(self, steps: Sequence[Step]) -> None:
        """Takes what one exchange brought."""
        self.steps += steps
        for key, page in _pages(steps):
            self._paged.add(key)
            self._weight += 1 + len(page.upserts) + len(page.removals)
        self.is_enough = self._weight >= _WORTH_COMMITTING or any(_is_urgent(step) for step in steps)


def _is_urgent(step: Step) -> bool:
    """Whether the engine has to act on a step before the reading goes on."""
    outcome = step.outcome
    return isinstance(outcome, FolderGone) or (isinstance(outcome, Ended) and outcome.error is not None)


def _as_it_is(error: ConnectorError) -> ConnectorError:
    """An error in the words that fit once the folder has been read from its beginning, to no avail."""
    if not isinstance(error, CheckpointExpired):
        return error
    return ServerFault(
        "The server loses its place in a folder's changes again and again.",
        code=error.code,
        advice="Nothing to do if it passes: the next run begins the folder anew. If it stays so, have whoever runs the"
        " server (Microsoft's support, with the code) look at the mailbox.",
    )


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
        unread=page.unread,
    )
