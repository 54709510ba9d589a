"""One call: the request in the words this server knows, sent again while what fails may pass, and judged as a whole."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from lxml import etree

from connectors.ews.settings import EwsSettings
from connectors.ews.wire.breaks import PassingFaultError
from connectors.ews.wire.codes import BUSY, PASSING, TOO_MANY, UNSUPPORTED, WRONG_VERSION, back_off, failure
from connectors.ews.wire.operations import resolve_names
from connectors.ews.wire.posting import Posted, Poster
from connectors.ews.wire.soap import AnswerTooLargeError, Message
from connectors.ews.wire.statuses import meaning
from connectors.ews.wire.transport import MAX_SESSIONS, Envelope
from connectors.port import ConnectorError, CredentialRejected
from connectors.throttle import Backoff, Crew, Now, Quiet, RetryPolicy, Sleep, pause

__all__ = ["ANSWER_LIMIT", "Answer", "AnswerTooLargeError", "EwsSession", "only"]

log = logging.getLogger(__name__)

VERSIONS: Final = ("Exchange2016", "Exchange2013_SP1", "Exchange2010_SP2")  # newest first; later servers take the first
ANSWER_LIMIT: Final = 64 * 1024 * 1024  # bytes
_YOUNG: Final = frozenset({"FindPeople", "GetUserPhoto"})
_OTHER_VERSION: Final = b"The specified server version is invalid"  # as a bare page with HTTP 500
_RIDES_OUT: Final = RetryPolicy(deadline=900.0)
# Until the server has let us in once, few attempts: whoever waits for the first outcome had better know it soon.
_FIRST_SIGN_IN: Final = RetryPolicy(attempts=6)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the messages, or none when the HTTP status is one the caller wanted to see itself."""

    status: int
    etag: str = field(repr=False)
    messages: tuple[Message, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class _Request:
    """One call: the body, in whose name, and what the caller is ready to take."""

    operation: etree._Element = field(repr=False)
    act_as: str = field(repr=False)
    limit: int
    headers: dict[str, str] = field(repr=False)
    expected: frozenset[int]

    @property
    def name(self) -> str:
        return etree.QName(self.operation).localname


class NothingMoreError(Exception):
    """Nothing else of the tenant can be had either: no reader of a mailbox, card or photo goes on from that.

    Attributes:
        error: Why.
    """

    def __init__(self, error: ConnectorError) -> None:
        super().__init__(error.code)
        self.error = error


@contextmanager
def _past_every_reader() -> Iterator[None]:
    try:
        yield
    except ConnectorError as error:
        if error.concerns_all:
            raise NothingMoreError(error) from None
        raise


class EwsSession:
    """Posts requests for one tenant; may be used from several threads."""

    def __init__(self, settings: EwsSettings, *, sleep: Sleep, now: Now) -> None:
        self._poster = Poster(settings, sleep=sleep, now=now)
        self._sleep, self._now = sleep, now
        self._crew = Crew(MAX_SESSIONS)
        self._quiet = Quiet(sleep)
        self._beginning = threading.Lock()
        self._understood = False
        self._answered = object()  # another one with every answer: to count them, threads would have to take turns
        self._account = settings.username.rpartition("\\")[2]
        self._version = 0  # of `VERSIONS`: what the server knows, as far as it has said
        self._versions: dict[str, int] = {}  # by mailbox, where one is on an older server
        self._primary: dict[str, str] = {}
        self._by_any_address = False  # how to name mailboxes: some servers know them by nothing but `SmtpAddress`

    @property
    def requests(self) -> int:
        """How many requests went out, those that only sign in left aside."""
        return self._poster.requests

    @property
    def host(self) -> str:
        """The server's host."""
        return str(self._poster.protocol.server)

    def primary_of(self, address: str) -> str:
        """The primary address that Exchange named in place of an alias we called in the name of."""
        return self._primary.get(address, address)

    def close(self) -> None:
        """Ends the connections."""
        self._poster.close()

    def hang_up(self) -> None:
        """Ends what is under way, from any thread; nothing goes out any more."""
        self._poster.hang_up()

    @_past_every_reader()
    def call(
        self,
        operation: etree._Element,
        *,
        act_as: str = "",
        limit: int = ANSWER_LIMIT,
        headers: dict[str, str] | None = None,
        expected: frozenset[int] = frozenset(),
    ) -> Answer:
        """Sends one request and brings its response messages; passing faults are ridden out.

        Args:
            operation: The body; see `connectors.ews.wire.operations`.
            act_as: The address of the mailbox to impersonate; empty for the service account itself.
            limit: Bytes of the longest answer.
            headers: More HTTP headers.
            expected: HTTP statuses to hand over instead of raising.

        Raises:
            AnswerTooLargeError: The answer is longer than `limit`, or takes too much memory.
            NothingMoreError: Of the tenant nothing can be had.
            ConnectorError: The request as a whole failed. Failures of single messages are the caller's.
            WaitEnded: By the `sleep` that was given, or after `hang_up`.
        """
        request = _Request(operation, act_as, limit, headers or {}, expected)
        backoff = Backoff(self._sleep, self._now, _RIDES_OUT if self._poster.guard.accepted else _FIRST_SIGN_IN)
        answered = self._answered
        while True:
            self._quiet.keep()
            try:
                answer = self._first(request)
            except PassingFaultError as fault:
                log.debug("EWS %s: passing fault %s", request.name, fault.error.code)
                self._poster.guard.check()
                try:
                    self._ride_out(backoff, fault)
                except ConnectorError as error:
                    # Nothing was answered meanwhile: that others find out the same, one by one, would take for ever.
                    if not error.concerns_all and self._answered is answered:
                        asks_all = fault.asked is not None and not request.act_as
                        error.concerns_all = asks_all or self._is_out_of_order()
                    raise
            else:
                self._answered = object()
                return answer

    def _ride_out(self, backoff: Backoff, fault: PassingFaultError) -> None:
        if backoff.faults + 1 >= fault.attempts:
            raise fault.error from None
        backoff.sleep = self._sleep if fault.asked is None else self._quiet.wait
        pause(backoff, fault.asked, fault.error)

    def _is_out_of_order(self) -> bool:
        """Whether the server does not answer either what is in the name of no mailbox."""
        look = _Request(resolve_names(self._account), "", ANSWER_LIMIT, {}, frozenset())
        try:
            self._first(look)
        except PassingFaultError:
            return True
        except ConnectorError as error:
            return error.concerns_all
        return False

    def _first(self, request: _Request) -> Answer:
        """One attempt. Until the server has understood one, they go one after the other: the others learn from it."""
        if self._understood:
            return self._attempt(request)
        with self._beginning:
            return self._attempt(request)

    def _attempt(self, request: _Request) -> Answer:
        """One request, sent again only where Exchange names the version or the address it wants instead.

        Older versions of grommunio do not: they know `SmtpAddress` alone, and fail to impersonate a primary one.
        """
        by_any_address = self._by_any_address
        while True:
            address = self.primary_of(request.act_as)
            version = max(self._versions.get(address, 0), self._version)
            answer = self._post(request, address, version, by_any_address=by_any_address)
            fault = answer.messages[0] if answer.messages else None
            if fault is None or not fault.is_fault or fault.code not in UNSUPPORTED | WRONG_VERSION:
                self._understood = True
            if by_any_address and not (fault and fault.is_fault):
                self._by_any_address = True
            if fault is None:
                return answer
            if self._wants_another_version(request, fault) and version + 1 < len(VERSIONS):
                self._learn_version(fault, address, version + 1)
                continue
            primary = fault.values.get("Primary", "")
            if fault.code == "ErrorNonPrimarySmtpAddress" and primary and request.act_as not in {"", *self._primary}:
                self._primary[request.act_as] = primary
                continue
            if fault.code == "ErrorImpersonationFailed" and request.act_as and not by_any_address:
                by_any_address = True
                continue
            self._judge(answer.messages, impersonating=bool(request.act_as))
            return answer

    def _wants_another_version(self, request: _Request, fault: Message) -> bool:
        if fault.code in WRONG_VERSION:
            return True
        # A server that knows versions by its schema alone calls a newer one an invalid request. To operations that are
        # younger than the oldest version, the same words mean what they say.
        guess = fault.is_fault and not self._understood and request.name not in _YOUNG
        return guess and fault.code in UNSUPPORTED - {"Server"}

    def _learn_version(self, fault: Message, address: str, version: int) -> None:
        if fault.code == "ErrorInvalidSchemaVersionForMailboxVersion" and address:
            self._versions[address] = version
        else:
            self._version = max(self._version, version)

    def _judge(self, messages: tuple[Message, ...], *, impersonating: bool) -> None:
        """Raises when the whole request failed: a fault, or nothing but passing errors.

        Where the server was too busy for a part alone, whoever asks next waits first.
        """
        first = messages[0]
        if all(message.failed and message.code in PASSING for message in messages):
            raise PassingFaultError(failure(first.code, impersonating=impersonating), asked=back_off(first.values))
        for message in messages:
            asked = back_off(message.values) if message.code in BUSY else None
            if asked is not None and asked <= _RIDES_OUT.patience:
                self._quiet.ask(asked)
        if not first.failed:
            return
        error = failure(first.code, impersonating=impersonating)
        if isinstance(error, CredentialRejected):
            self._poster.guard.end(error)
            raise error
        if first.is_fault:
            raise error

    def _post(self, request: _Request, address: str, version: int, *, by_any_address: bool) -> Answer:
        envelope = Envelope(self._poster.protocol, address, by_any_address=by_any_address)
        body, headers = envelope.seal(request.operation, VERSIONS[version])
        started = time.monotonic()
        with self._crew.member() as begun:
            posted = self._poster.post(body, {**headers, **request.headers}, limit=request.limit)
        if any(message.code in TOO_MANY for message in posted.messages):
            self._crew.too_many(begun)
        else:
            self._crew.went_well()
        log.debug("EWS %s: HTTP %d, %.0f ms", request.name, posted.status, (time.monotonic() - started) * 1000)
        etag = posted.headers.get("ETag", "")
        if posted.status in request.expected:
            return Answer(posted.status, etag)
        return Answer(posted.status, etag, posted.messages or self._without_messages(posted))

    def _without_messages(self, posted: Posted) -> tuple[Message, ...]:
        if _OTHER_VERSION in posted.head:
            return (Message(etree.Element("fault"), "ErrorInvalidServerVersion", failed=True),)
        error, is_passing, asked = meaning(posted.status, posted.headers, posted.head, self._now())
        if is_passing:
            raise PassingFaultError(error, asked=asked)
        raise error


def only(answer: Answer, *, act_as: str = "") -> Message:
    """The answer's single message.

    Raises:
        ConnectorError: It failed.
    """
    message = answer.messages[0]
    if message.failed:
        raise failure(message.code, impersonating=bool(act_as))
    return message
