"""One request over HTTP: a connection that is signed in, the request, and the answer read as far as it is one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from requests import PreparedRequest, Response, Session

from connectors.ews.settings import EwsSettings
from connectors.ews.sign_in.guard import DoubtError, Guard, is_refusal
from connectors.ews.wire import bodies, soap
from connectors.ews.wire.breaks import SIGN_IN_ADVICE, PassingFaultError, translated
from connectors.ews.wire.soap import AnswerTooLargeError, Message
from connectors.ews.wire.statuses import is_page, meaning
from connectors.ews.wire.transport import SignInAdapter, TenantProtocol
from connectors.port import CredentialRejected, NotPermitted, ProtocolViolation, ServerFault
from connectors.throttle import Now, Sleep

_TIMEOUTS: Final = (15.0, 120.0)  # seconds to connect, and until an answer begins
_HEAD: Final = 64 * 1024  # bytes read of what is no SOAP
_PAGE: Final = 1024 * 1024  # and of what Exchange shows to who asks for nothing: a page, or its own description
_LONGEST_TURN: Final = 10.0  # seconds
_FOR_NOTHING: Final = frozenset({HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.NOT_IMPLEMENTED})  # to who asks for that
_TRIES: Final = 3  # of one request whose connection is not, or no longer, signed in
_ROUNDS: Final = 10  # with those in which it first has to be known whether we are let in


@dataclass(frozen=True, slots=True)
class Posted:
    """What came back: the messages, or how the body begins where there are none."""

    status: int
    headers: Any = field(repr=False)  # looked up in any case
    messages: tuple[Message, ...] = field(default=(), repr=False)
    head: bytes = field(default=b"", repr=False)


class Poster:
    """The connections of one tenant; used from several threads, each with one at a time.

    NTLM signs in a connection, so that is done by a request of its own that asks for nothing: what then becomes of
    the requests themselves says nothing about the password. So does Kerberos where the server keeps the connection
    signed in, as IIS is installed to (`authPersistNonNTLM`); where it asks again, a ticket goes with each request, as a
    password or token does. Those go with a request that asks for nothing first.
    """

    def __init__(self, settings: EwsSettings, *, sleep: Sleep, now: Now) -> None:
        self.protocol = TenantProtocol(settings, sleep=sleep, now=now)
        self.guard = Guard(self.protocol.refused)
        self._url = settings.ews_url
        self._now = now
        scheme = self.protocol.sign_in.scheme
        self._signs_connections = scheme in {"ntlm", "negotiate"}
        self._keeps_connections = scheme == "ntlm"  # the server, signed in; else known once it has
        self._looks_first = scheme in {"basic", "bearer"}
        self._idle: list[Session] = []  # the last one used comes first, so that as few as are needed stay signed in
        self._lock = threading.Lock()
        self._taking_in_much = threading.Lock()
        self._is_closed = False
        self.requests = 0

    def close(self) -> None:
        """Ends the connections; those at work once they are done."""
        with self._lock:
            idle, self._idle, self._is_closed = self._idle, [], True
        for session in idle:
            session.close()
        self.protocol.close()

    def hang_up(self) -> None:
        """Ends what is under way, from any thread; nothing goes out any more."""
        self.protocol.lines.hang_up()

    def post(self, body: bytes, headers: dict[str, str], *, limit: int) -> Posted:
        """Sends a request and takes in its answer.

        Raises:
            PassingFaultError: No whole answer came, this time.
            AnswerTooLargeError: The answer is longer than `limit` bytes.
            ConnectorError: It failed for good.
        """
        self.guard.check()
        with self._lock:
            self.requests += 1
        with self._session() as session:
            is_in_doubt, refusals = False, 0
            for _ in range(_ROUNDS):
                if not self._adapter(session).is_connected:
                    session.auth = self.protocol.sign_in.auth()  # a connection's own
                    session.signed_in = False  # type: ignore[attr-defined]
                is_fresh = self._signs_connections and not session.signed_in  # type: ignore[attr-defined]
                try:
                    if is_in_doubt or is_fresh or (self._looks_first and not self.guard.accepted):
                        is_in_doubt = False
                        self._sign_in(session)
                    posted = self._exchange(session, body, headers, limit, is_fresh=is_fresh)
                except DoubtError:
                    is_in_doubt = True
                    continue
                if posted is not None:
                    return posted
                refusals += 1
                if refusals == _TRIES:
                    break
        raise NotPermitted(
            "Exchange lets the service account in, and refuses it this request (HTTP 401).",
            code="http-401",
            advice="Look at what answers for this mailbox: its server, and what stands before that.",
        )

    # -- connections ---------------------------------------------------------------------------------------------

    @contextmanager
    def _session(self) -> Iterator[Session]:
        """A session with a connection of its own. One that anything went wrong with is not used again."""
        with self._lock:
            session = self._idle.pop() if self._idle else None
        if session is None:
            session = self.protocol.create_session()
            self._adapter(session).guard = self.guard
        try:
            yield session
        except BaseException:
            session.close()
            raise
        with self._lock:
            is_kept = not self._is_closed
            if is_kept:
                self._idle.append(session)
        if not is_kept:
            session.close()

    def _adapter(self, session: Session) -> SignInAdapter:
        adapter: SignInAdapter = session.get_adapter(self._url)  # type: ignore[assignment]  # of the stubs' base class
        return adapter

    def _sign_in(self, session: Session) -> None:
        """Signs in a connection. Nothing is asked for by it, so its outcome is about the credential alone."""
        with self._translated():
            with session.get(self._url, allow_redirects=False, timeout=_TIMEOUTS, stream=True) as response:
                if self._is_refused(response):
                    raise DoubtError
                shown = "Authorization" in response.request.headers
                is_whole = shown and _drained(response)
            error, is_passing, asked = meaning(response.status_code, response.headers, b"", self._now())
            if is_passing and response.status_code not in _FOR_NOTHING:
                raise PassingFaultError(error, asked=asked)
            if not is_whole or is_passing or (self._signs_connections and not self._adapter(session).is_connected):
                # A server that does not ask who it is that asks for nothing, cannot answer that, closes what it has
                # let in, or has so much to say that the connection is of no more use.
                self._signs_connections = self._looks_first = self.guard.can_look = False
                session.close()
                return
            self.guard.accept()
            self.guard.can_look = True
            session.signed_in = True  # type: ignore[attr-defined]

    def _is_refused(self, response: Response) -> bool:
        """Whether an answer refuses a token that was taken before; it is replaced then.

        Raises:
            ConnectorError: It refuses the credential, or the way it is shown.
        """
        if response.status_code != HTTPStatus.UNAUTHORIZED:
            return False
        shown = response.request.headers.get("Authorization", "")
        scheme = shown.partition(" ")[0].lower()
        if not scheme or not is_refusal(response, scheme):
            raise _other_way()
        if scheme != "bearer":
            self.guard.end(self.protocol.refused())
        self.guard.check()
        self.protocol.sign_in.drop(shown)
        return True

    # -- one exchange --------------------------------------------------------------------------------------------

    def _exchange(
        self, session: Session, body: bytes, headers: dict[str, str], limit: int, *, is_fresh: bool
    ) -> Posted | None:
        """The answer, or None if the connection has to be signed in (again) first, or the token replaced."""
        shows_proof = not self._signs_connections
        connections = self._adapter(session).connections
        with (
            self._translated(),
            session.post(
                self._url,
                data=body,
                headers=headers,
                auth=session.auth if shows_proof else _nobody,
                allow_redirects=False,
                timeout=_TIMEOUTS,
                stream=True,
            ) as response,
        ):
            if response.status_code == HTTPStatus.UNAUTHORIZED and not shows_proof:
                is_same = self._adapter(session).connections == connections
                self._signed_out(session, response, is_fresh=is_fresh, is_same=is_same)
                return None
            self._keeps_connections = self._keeps_connections or not shows_proof
            if self._is_refused(response):
                return None
            posted = self._taken_in(session, response, limit)
        if posted.messages:
            self.guard.accept()
        return posted

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            with translated(known=self.guard.accepted):
                yield
        except CredentialRejected as error:  # also by who gives out tokens or tickets, before Exchange was asked
            self.guard.end(error)
            raise

    def _signed_out(self, session: Session, response: Response, *, is_fresh: bool, is_same: bool) -> None:
        """The connection is another one, or has to say anew whose it is; the request itself shows no proof."""
        if not self.protocol.sign_in.is_offered(response.headers.get("WWW-Authenticate", "")):
            raise _other_way()
        if is_fresh and not (is_same and self._keeps_connections):
            self._signs_connections = False  # the server closes or forgets whom it let in: proofs go with the requests
        else:
            session.close()  # once let in, a connection would not be asked again

    def _taken_in(self, session: Session, response: Response, limit: int) -> Posted:
        blocks = bodies.blocks(response, limit)
        head = _beginning(blocks)
        status = response.status_code
        is_answer = soap.is_soap(head) and (status == HTTPStatus.OK or status >= HTTPStatus.BAD_REQUEST)
        if is_answer or (status == HTTPStatus.OK and not is_page(head)):
            return Posted(status, response.headers, self._messages(head, blocks))
        for block in blocks:
            head += block
            if len(head) >= _HEAD:
                session.close()  # with the rest of it
                break
        return Posted(status, response.headers, head=head)

    def _messages(self, head: bytes, blocks: Iterator[bytes]) -> tuple[Message, ...]:
        is_alone = False
        try:
            with ExitStack() as turn, closing(soap.Reader()) as reader:
                reader.feed(head)
                for block in blocks:
                    if reader.holds_much and not is_alone:
                        turn.enter_context(self._turn())
                        is_alone = True
                    reader.feed(block)
                messages = tuple(reader.messages())
        except soap.TruncatedError:
            fault = ServerFault("Exchange's answer was cut off.", code="truncated")
            raise PassingFaultError(fault, attempts=3) from None
        if not messages:
            raise ProtocolViolation("Exchange's answer holds no response message.")
        return messages

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Has much taken in by one after the other; whoever is sent it drop by drop holds nobody up for long."""
        is_ours = self._taking_in_much.acquire(timeout=_LONGEST_TURN)
        try:
            yield
        finally:
            if is_ours:
                self._taking_in_much.release()


def _drained(response: Response) -> bool:
    """Reads a body that nobody wants to its end, so that its connection can be used again; False if it is too long."""
    try:
        for _ in bodies.blocks(response, _PAGE):
            pass
    except AnswerTooLargeError:
        return False
    return True


def _nobody(request: PreparedRequest) -> PreparedRequest:
    """Shows no proof."""
    return request


def _other_way() -> ProtocolViolation:
    return ProtocolViolation(
        "The server does not offer this way to sign in.", code="sign-in-method", advice=SIGN_IN_ADVICE
    )


def _beginning(blocks: Iterator[bytes]) -> bytes:
    """So much of an answer that it is clear what it is."""
    head = b""
    for block in blocks:
        head += block
        if soap.has_begun(head):
            break
    return head
