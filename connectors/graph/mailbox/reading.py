"""Many mailboxes read at once: what they wait for travels in shared batches, and each fares for itself.

Source: Microsoft Graph, "Combine multiple HTTP requests using JSON batching".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from connectors.graph.mailbox.asking import Asking, Found, TooLargePartError
from connectors.graph.wire.batch import SIZE, Outcome, Pace, Part, Read, send_alone, send_together
from connectors.graph.wire.client import GraphClient, TooLargeError
from connectors.graph.wire.refusals import CONTACTS, Refusal, explain
from connectors.port import (
    ConnectorError,
    Ended,
    Mailbox,
    Page,
    ProtocolViolation,
    Step,
    WaitEnded,
    Wanted,
)

AT_ONCE: Final = 40  # mailboxes: enough to fill two batches whatever each of them waits for
MAILBOX_SECONDS: Final = 1_800.0
_BATCH_LIMIT: Final = 12 * 1024 * 1024  # bytes of an answer; parsed it takes several times as much
_ALONE_LIMIT: Final = 16 * 1024 * 1024

Open = Callable[[Wanted], Asking[None]]


@dataclass(slots=True)
class _Mailbox:
    """A mailbox being read: `parts` are what it waits for, `kept` what it found and could not hand over yet."""

    mailbox: Mailbox
    work: Asking[None]
    deadline: float
    parts: list[Part] = field(default_factory=list)
    kept: Found | None = None
    begun: bool = False
    done: bool = False

    @property
    def waiting(self) -> list[Part]:
        """The parts that have no outcome yet."""
        return [part for part in self.parts if part.outcome is None]


def read_mailboxes(
    client: GraphClient, wanted: Sequence[Wanted], open_mailbox: Open, mailbox_seconds: float = MAILBOX_SECONDS
) -> Iterator[Sequence[Step]]:
    """Reads mailboxes, up to 40 at a time.

    Args:
        client: Sends.
        wanted: The mailboxes.
        open_mailbox: Begins the reading of one.
        mailbox_seconds: How long one may take.

    Yields:
        What an exchange brought, with at most one page of a mailbox; every mailbox ends with one `Ended`.

    Raises:
        ConnectorError: It concerns all of the tenant: a refused credential, a sign-in that fails, nobody to connect to.
    """
    yield from _Driver(client, open_mailbox, mailbox_seconds).run(wanted)


class _Driver:
    def __init__(self, client: GraphClient, open_mailbox: Open, mailbox_seconds: float) -> None:
        self._client = client
        self._open = open_mailbox
        self._mailbox_seconds = mailbox_seconds
        self._pace = Pace(client)
        self._active: list[_Mailbox] = []  # in the order in which they began
        self._together = SIZE  # parts to a batch: fewer while their answers are large

    def run(self, wanted: Sequence[Wanted]) -> Iterator[Sequence[Step]]:
        queue = iter(wanted)
        while True:
            self._active = [entry for entry in self._active if not entry.done]
            self._active += map(self._begin, islice(queue, AT_ONCE - len(self._active)))
            if not self._active:
                return
            steps = [step for entry in self._active for step in self._advance(entry)]
            if steps:
                yield steps
            else:
                self._exchange()

    def _begin(self, wanted: Wanted) -> _Mailbox:
        return _Mailbox(wanted.mailbox, self._open(wanted), self._pace.elapsed + self._mailbox_seconds)

    # -- what a mailbox does with its answers -------------------------------------------------------------------

    def _advance(self, entry: _Mailbox) -> Iterator[Step]:
        """What a mailbox brings until it has to wait, ends, or would bring a second page."""
        has_page = False
        waiting = entry.waiting
        if max(self._pace.elapsed, min((part.due for part in waiting), default=0.0)) > entry.deadline:
            yield self._ended(entry, _too_slow(self._mailbox_seconds))
        if waiting:
            return
        while not entry.done:
            found = entry.kept or self._resume(entry)
            entry.kept = None
            if isinstance(found, list):
                entry.parts = [Part.of(self._client, read) for read in found]
                if entry.parts:
                    return
            elif isinstance(found, Ended):
                yield self._ended(entry, found.error)
            elif has_page and isinstance(found, Page):
                entry.kept = found
                return
            else:
                has_page |= isinstance(found, Page)
                yield Step(entry.mailbox, found)

    def _resume(self, entry: _Mailbox) -> list[Read] | Found | Ended:
        outcomes: list[Outcome] = [part.outcome for part in entry.parts if part.outcome is not None]
        entry.parts = []
        try:
            if entry.begun:
                return entry.work.send(outcomes)
            entry.begun = True
            return next(entry.work)
        except StopIteration:
            return Ended()
        except WaitEnded:
            raise
        except ConnectorError as error:
            return Ended(error)  # which `_ended` raises if it concerns all
        except Refusal as refusal:
            return Ended(explain(refusal, advice=CONTACTS))
        except Exception as error:  # noqa: BLE001 - whatever a server makes of one mailbox, the others go on
            return Ended(ProtocolViolation(f"The answer could not be handled ({type(error).__name__})."))

    def _ended(self, entry: _Mailbox, error: ConnectorError | None) -> Step:
        entry.work.close()
        entry.done = True
        entry.parts = []
        if error is not None and error.concerns_all:
            raise error
        return Step(entry.mailbox, Ended(error))

    # -- what goes over the wire --------------------------------------------------------------------------------

    def _exchange(self) -> None:
        """Sends the parts that are due, 20 at most.

        Those of the mailboxes that began first go first: so few pages are held at a time, however many mailboxes.
        """
        waiting = [part for entry in self._active for part in entry.waiting]
        self._pace.wait_until(min(part.due for part in waiting))
        elapsed = self._pace.elapsed
        ready = [part for part in waiting if part.due <= elapsed]
        parts = [part for part in ready if part.alone][:1] or ready[: self._together if self._client.batches else 1]
        try:
            self._send(parts)
        except (ConnectorError, Refusal) as failure:
            # Nothing is known of these parts; the mailboxes that wait for them cannot go on.
            for part in parts:
                part.outcome = part.outcome or failure

    def _send(self, parts: list[Part]) -> None:
        if not parts[0].alone:
            try:
                if send_together(self._client, parts, self._pace, limit=_BATCH_LIMIT):
                    self._together = min(self._together + 1, SIZE)
                    return
            except TooLargeError:
                self._together = len(parts) // 2
                if self._together > 1:
                    return
                self._together = 2
            except ProtocolViolation:
                pass
            # One of them may be to blame; read one by one each has what is its own.
            for part in parts:
                part.alone = True
        part = parts[0]
        try:
            send_alone(self._client, part, self._pace, limit=_ALONE_LIMIT)
        except TooLargeError:
            part.outcome = TooLargePartError("The server's answer is larger than what is read.")


def _too_slow(seconds: float) -> ConnectorError:
    return ConnectorError(
        f"Reading the mailbox took longer than {seconds / 60:.0f} minutes.",
        code="deadline",
        advice="Nothing to do: the next run continues where this one stopped.",
    )
