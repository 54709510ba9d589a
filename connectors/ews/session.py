"""The one place that posts: signs in, never again after a refusal; rides out passing faults; bounds every answer."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, NoReturn

from lxml import etree
from requests import Response, Session, exceptions
from spnego.exceptions import SpnegoError
from urllib3.exceptions import NewConnectionError

from connectors.ews import soap
from connectors.ews.codes import PASSING, UNSUPPORTED, WRONG_VERSION, back_off, failure
from connectors.ews.settings import EwsSettings
from connectors.ews.soap import Message
from connectors.ews.transport import Envelope, TenantProtocol
from connectors.port import (
    ConnectorError,
    CredentialRejected,
    NotPermitted,
    ProtocolViolation,
    ServerFault,
    Throttled,
    Unreachable,
)
from connectors.throttle import Backoff, Now, RetryPolicy, Sleep, pause, retry_after

log = logging.getLogger(__name__)

VERSIONS: Final = ("Exchange2016", "Exchange2013_SP1", "Exchange2010_SP2")  # newest first; later servers take the first
ANSWER_LIMIT: Final = 16 * 1024 * 1024  # a page of 256 contacts usually has less than one
_OTHER_VERSION: Final = b"The specified server version is invalid"  # as a bare page with HTTP 500
_BLOCK: Final = 64 * 1024
_TIMEOUTS: Final = (15.0, 120.0)  # seconds to connect, and between two blocks
_LONGEST_ANSWER: Final = 600.0
# Until the credential has been accepted once, few attempts: each may count as a failed login somewhere.
_FIRST_SIGN_IN: Final = RetryPolicy(attempts=4)
_SIGN_IN_ADVICE: Final = "Choose another way to sign in (like --auth ntlm or --auth basic), or allow it on the server."


class AnswerTooLargeError(Exception):
    """The answer is longer than the caller is willing to hold; ask for less at once."""


class PassingFaultError(Exception):
    """Something that may be gone in a moment; `error` is what it is if it stays."""

    def __init__(self, error: ConnectorError, *, asked: float | None = None) -> None:
        super().__init__(error.code)
        self.error = error
        self.asked = asked


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


class EwsSession:
    """Posts requests for one tenant; may be used from several threads."""

    def __init__(self, settings: EwsSettings, *, sleep: Sleep, now: Now) -> None:
        self._protocol = TenantProtocol(settings, sleep=sleep, now=now)
        self._url = settings.ews_url
        self._sleep, self._now = sleep, now
        self._lock = threading.Lock()
        self._gate = threading.Lock()
        self._requests = 0
        self._version = 0
        self._accepted = False
        self._understood = False
        self._refusal: CredentialRejected | None = None
        self._primary: dict[str, str] = {}

    @property
    def requests(self) -> int:
        """How many requests went out."""
        return self._requests

    @property
    def host(self) -> str:
        """The server's host."""
        return str(self._protocol.server)

    def primary_of(self, address: str) -> str:
        """The primary address that Exchange named in place of an alias we called in the name of."""
        return self._primary.get(address, address)

    def close(self) -> None:
        """Ends the connections."""
        self._protocol.close()

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
            operation: The body; see `connectors.ews.operations`.
            act_as: The address of the mailbox to impersonate; empty for the service account itself.
            limit: Bytes of the longest answer.
            headers: More HTTP headers.
            expected: HTTP statuses to hand over instead of raising.

        Raises:
            AnswerTooLargeError: The answer is longer than `limit`.
            ConnectorError: The request as a whole failed. Failures of single messages are the caller's.
        """
        request = _Request(operation, act_as, limit, headers or {}, expected)
        backoff = Backoff(self._sleep, self._now)
        if not self._accepted:
            backoff.policy = _FIRST_SIGN_IN
        while True:
            try:
                return self._attempt(request)
            except PassingFaultError as fault:
                log.debug("EWS %s: passing fault %s", request.name, fault.error.code)
                pause(backoff, fault.asked, fault.error)

    def _attempt(self, request: _Request) -> Answer:
        """One request, sent again only where Exchange names the version or the address it wants instead."""
        while True:
            address = self._primary.get(request.act_as, request.act_as)
            version = self._version
            answer = self._post(request, address, version)
            fault = answer.messages[0] if answer.messages else None
            if fault is None or not fault.is_fault:
                self._understood = True
            if fault is None or not fault.failed:
                return answer
            if self._wants_another_version(request, fault) and version + 1 < len(VERSIONS):
                self._version = max(self._version, version + 1)
                continue
            primary = fault.values.get("Primary", "")
            if fault.code == "ErrorNonPrimarySmtpAddress" and primary and request.act_as not in {"", *self._primary}:
                self._primary[request.act_as] = primary
                continue
            self._judge(answer.messages, impersonating=bool(request.act_as))
            return answer

    def _wants_another_version(self, request: _Request, fault: Message) -> bool:
        if fault.code in WRONG_VERSION:
            return True
        # A server that knows versions by its schema alone calls a newer one an invalid request. Photos are younger
        # than the oldest version: there the same words mean what they say.
        guess = fault.is_fault and not self._understood and request.name != "GetUserPhoto"
        return guess and fault.code in UNSUPPORTED - {"Server"}

    def _judge(self, messages: tuple[Message, ...], *, impersonating: bool) -> None:
        """Raises when the whole request failed: a fault, or nothing but passing errors."""
        first = messages[0]
        if all(message.failed and message.code in PASSING for message in messages):
            raise PassingFaultError(failure(first.code, impersonating=impersonating), asked=back_off(first.values))
        error = failure(first.code, impersonating=impersonating)
        if isinstance(error, CredentialRejected):
            self._refuse(error)
            raise error
        if first.is_fault:
            raise error

    # -- one HTTP request -----------------------------------------------------------------------------------------

    def _post(self, request: _Request, address: str, version: int) -> Answer:
        data, own_headers = Envelope(self._protocol, address).seal(request.operation, VERSIONS[version])
        started = time.monotonic()
        with self._session() as session:
            with self._translated():
                response = session.post(
                    self._url,
                    data=data,
                    headers={**own_headers, **request.headers},
                    allow_redirects=False,
                    timeout=_TIMEOUTS,
                    stream=True,
                )
            with response, self._translated():
                self._check_sign_in(response)
                body = _read(response, request.limit, started + _LONGEST_ANSWER)
            signed_in = response.status_code == HTTPStatus.OK or soap.is_soap(body)
            session.signed_in = session.signed_in or signed_in  # type: ignore[attr-defined]
        self._accepted = self._accepted or signed_in
        log.debug(
            "EWS %s: HTTP %d, %d bytes, %.0f ms",
            request.name,
            response.status_code,
            len(body),
            (time.monotonic() - started) * 1000,
        )
        if response.status_code in request.expected:
            return Answer(response.status_code, response.headers.get("ETag", ""))
        return Answer(response.status_code, response.headers.get("ETag", ""), self._messages(response, body))

    @contextmanager
    def _session(self) -> Iterator[Session]:
        """A session of the pool, replaced by a fresh one if anything goes wrong with it.

        The first request of a session signs in. Those go one after the other, so that a wrong password is offered
        once, however many threads begin at the same time.
        """
        self._raise_refusal()
        session = self._protocol.get_session()
        try:
            with ExitStack() as stack:
                if not session.signed_in:
                    stack.enter_context(self._gate)
                    self._raise_refusal()
                with self._lock:
                    self._requests += 1
                yield session
        except BaseException:
            self._protocol.retire_session(session)
            raise
        self._protocol.release_session(session)

    def _raise_refusal(self) -> None:
        refusal = self._refusal
        if refusal is not None:
            raise CredentialRejected(refusal.message, code=refusal.code, advice=refusal.advice)

    def _refuse(self, error: CredentialRejected) -> None:
        if self._refusal is None:
            self._refusal = error

    def _check_sign_in(self, response: Response) -> None:
        if response.status_code != HTTPStatus.UNAUTHORIZED:
            return
        offered = response.headers.get("WWW-Authenticate", "").lower()
        shown = response.request.headers.get("Authorization", "").partition(" ")[0].lower()
        # Basic and Bearer are shown to a server that has not asked for them.
        unasked = shown in {"basic", "bearer"} and bool(offered) and shown not in offered
        if not shown or unasked:
            raise ProtocolViolation(
                "The server does not offer this way to sign in.", code="sign-in-method", advice=_SIGN_IN_ADVICE
            )
        error = self._protocol.refused()
        self._refuse(error)
        raise error

    def _messages(self, response: Response, body: bytes) -> tuple[Message, ...]:
        status = response.status_code
        if status == HTTPStatus.OK or (status >= HTTPStatus.BAD_REQUEST and soap.is_soap(body)):
            try:
                messages = tuple(soap.read(body))
            except soap.TruncatedError:
                raise PassingFaultError(ServerFault("Exchange's answer was cut off.", code="truncated")) from None
            if not messages:
                raise ProtocolViolation("Exchange's answer holds no response message.")
            return messages
        if _OTHER_VERSION in body:
            return (Message(etree.Element("fault"), "ErrorInvalidServerVersion", failed=True, values={}),)
        return self._raise_status(response)

    def _raise_status(self, response: Response) -> NoReturn:
        status = response.status_code
        code = f"http-{status}"
        asked = retry_after(response.headers.get("Retry-After"), self._now())
        if status == HTTPStatus.TOO_MANY_REQUESTS or (status == HTTPStatus.SERVICE_UNAVAILABLE and asked is not None):
            raise PassingFaultError(Throttled(f"Exchange is busy (HTTP {status}).", code=code), asked=asked)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.REQUEST_TIMEOUT:
            raise PassingFaultError(ServerFault(f"Exchange failed (HTTP {status}).", code=code), asked=asked)
        if status == HTTPStatus.FORBIDDEN:
            raise NotPermitted(
                "Exchange forbids the service account to use EWS (HTTP 403).",
                code=code,
                advice="Allow EWS for the service account (Set-CASMailbox -EwsEnabled, EwsApplicationAccessPolicy).",
            )
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            if "genericerrorpage" in response.headers.get("Location", "").lower():
                raise PassingFaultError(ServerFault("Exchange failed (error page).", code=code))
            raise ProtocolViolation(f"The server sends us elsewhere (HTTP {status}), which is not followed.", code=code)
        raise ProtocolViolation(f"There is no EWS at this address (HTTP {status}).", code=code)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turns what requests, urllib3 and the sign-in libraries raise into our own errors."""
        try:
            yield
        except CredentialRejected as error:  # before Exchange was asked: by whoever gives out tokens or tickets
            self._refuse(error)
            raise
        except exceptions.SSLError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise Unreachable("The server's certificate is not trusted.", code="untrusted-certificate") from None
            raise PassingFaultError(Unreachable("TLS with the server failed.", code="tls-failed")) from None
        except exceptions.ConnectTimeout:
            raise self._unreached("timed-out") from None
        except exceptions.Timeout:
            raise self._lost("The server did not answer in time.", "timed-out") from None
        except exceptions.ConnectionError as error:
            reason = getattr(error.args[0] if error.args else None, "reason", None)
            if isinstance(reason, NewConnectionError):
                raise self._unreached("unreachable") from None
            raise self._lost("The connection to the server broke.", "connection-lost") from None
        except (exceptions.InvalidHeader, exceptions.InvalidURL, exceptions.InvalidSchema):
            raise ProtocolViolation("The EWS address or a mailbox's address cannot be sent.") from None
        except exceptions.RequestException:
            raise self._lost("The server's answer broke off.", "truncated") from None
        except (KeyError, AttributeError):
            # requests_ntlm: the server answered something else in the middle of signing in.
            raise self._lost("The server broke off the sign-in.", "sign-in-broken") from None
        except (PermissionError, ValueError, SpnegoError):
            raise ProtocolViolation(
                "The server does not answer the sign-in as agreed.", code="sign-in-method", advice=_SIGN_IN_ADVICE
            ) from None

    def _unreached(self, code: str) -> Exception:
        """A server that was never there is no passing fault."""
        error = Unreachable("The server cannot be reached.", code=code)
        return PassingFaultError(error) if self._accepted else error

    @staticmethod
    def _lost(message: str, code: str) -> PassingFaultError:
        return PassingFaultError(Unreachable(message, code=code))


def only(answer: Answer, *, act_as: str = "") -> Message:
    """The answer's single message.

    Raises:
        ConnectorError: It failed.
    """
    message = answer.messages[0]
    if message.failed:
        raise failure(message.code, impersonating=bool(act_as))
    return message


def _read(response: Response, limit: int, deadline: float) -> bytes:
    blocks: list[bytes] = []
    size = 0
    for block in response.iter_content(_BLOCK):
        size += len(block)
        if size > limit:
            raise AnswerTooLargeError
        if time.monotonic() > deadline:
            raise PassingFaultError(Unreachable("The server's answer took too long.", code="timed-out"))
        blocks.append(block)
    return b"".join(blocks)
