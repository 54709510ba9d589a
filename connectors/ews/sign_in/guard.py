"""The one door through which a proof of who we are leaves, so that no fault of ours can lock the account out.

Directories count refusals and lock an account after a few. So proofs leave one at a time, each after the verdict on
the one before, and none leaves any more once one was refused. A connection that breaks while a server judges hides
its verdict: that ends a run which has not been let in yet, and one that has been at the second time running. A gateway
that answers in the server's place hides it too, which ends either at the second time running.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from http import HTTPStatus
from typing import Final

from requests import PreparedRequest, Response, exceptions

from connectors.ews.wire.breaks import was_never_sent
from connectors.port import ConnectorError, CredentialRejected, ProtocolViolation, Unreachable

_NTLM_RESPONSE: Final = "TlRMTVNTUAAD"  # how the third message of NTLM begins: the only one that proves anything
_LOST_AT_MOST: Final = 2  # verdicts in a row; directories lock after three refusals, at least
_BY_GATEWAYS: Final = frozenset({
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
})  # fmt: skip
_JUDGED_HERE: Final = frozenset({"ntlm", "basic"})  # others show more than one proof before they know


class DoubtError(Exception):
    """The last verdict got lost: before anything is asked for, it has to be known whether we are still let in."""


class Guard:
    """Lets proofs out for one tenant and one run; used from all its threads.

    Args:
        refused: What a refusal means.
    """

    def __init__(self, refused: Callable[[], CredentialRejected]) -> None:
        self._refused = refused
        self._door = threading.RLock()
        self._ended: ConnectorError | None = None
        self._accepted = False
        self._unknown = 0

    @property
    def accepted(self) -> bool:
        """Whether the server has taken us for who we are in this run."""
        return self._accepted

    def accept(self) -> None:
        """Takes note that the server has.

        A verdict that got lost stays in doubt: what is answered meanwhile may have been let in before it.
        """
        self._accepted = True

    def end(self, error: ConnectorError) -> None:
        """Lets nothing out any more; the first reason stays."""
        with self._door:
            self._ended = self._ended or error

    def check(self) -> None:
        """Raises why nothing may leave any more, if that is so."""
        error = self._ended
        if error is not None:
            raise copy(error)  # each thread's own, with a traceback of its own

    @contextmanager
    def first(self) -> Iterator[None]:
        """Holds everybody else back until the first one has been accepted."""
        self.check()
        if self._accepted:
            yield
            return
        with self._door:
            self.check()
            yield

    def let_out(
        self, request: PreparedRequest, send: Callable[[], Response], *, is_connected: Callable[[], bool] = lambda: True
    ) -> Response:
        """Sends a request of a connection, and looks at the verdict if it carries a proof.

        Args:
            request: What is to be sent.
            send: Sends it, and returns as soon as the head of the answer is there.
            is_connected: Whether the connection that the request belongs to is still there.

        Raises:
            DoubtError: First something else has to be sent with a proof, that asks for nothing.
            ConnectorError: Nothing may leave any more.
        """
        if any(name.lower() == "proxy-authorization" for name in request.headers):
            raise ProtocolViolation("Something on the way asks for a password of its own (HTTP 407).", code="http-407")
        scheme, _, token = (request.headers.get("Authorization") or "").partition(" ")
        scheme = scheme.lower()
        if token.startswith(_NTLM_RESPONSE):
            scheme = "ntlm"  # maybe under the name of Negotiate
        if scheme not in _JUDGED_HERE or (scheme == "ntlm" and not token.startswith(_NTLM_RESPONSE)):
            return send()
        with self._door:
            self.check()
            if scheme == "ntlm" and not is_connected():
                # It answers a question that was asked on this connection: on another one it would be refused.
                raise exceptions.ConnectionError("the connection was closed while signing in")
            if scheme == "basic" and self._unknown and request.method == "POST":
                raise DoubtError
            # Let in before, a request that meets a busy server says nothing of the proof that goes with it.
            return self._judged(send, scheme, is_about_proof=request.method == "GET" or not self._accepted)

    def _judged(self, send: Callable[[], Response], scheme: str, *, is_about_proof: bool) -> Response:
        self._unknown += 1
        try:
            response = send()
        except Exception as error:  # whatever came instead of a verdict goes on to whoever asked
            if was_never_sent(error):
                self._unknown -= 1
            elif self._unknown >= (_LOST_AT_MOST if self._accepted else 1):
                self.end(_unknown_verdict("The connection broke while the server was judging the sign-in."))
            raise
        if is_about_proof and response.status_code in _BY_GATEWAYS:
            if self._unknown >= _LOST_AT_MOST:
                self.end(_unknown_verdict("A gateway answered while the server was judging the sign-in."))
            return response
        self._unknown = 0
        if response.status_code == HTTPStatus.UNAUTHORIZED and is_refusal(response, scheme):
            self.end(self._refused())
        return response


def is_refusal(response: Response, scheme: str) -> bool:
    """Whether a 401 that answers a proof refuses it; a server that does not offer the scheme never looked at it."""
    offered = response.headers.get("WWW-Authenticate", "").lower()
    return scheme not in {"basic", "bearer"} or not offered or scheme in offered


def _unknown_verdict(message: str) -> Unreachable:
    error = Unreachable(
        message,
        code="sign-in-unanswered",
        advice="Nothing more was tried, as each attempt may count towards locking the account; the next run tries"
        " again. If it stays, look at what stands before Exchange (load balancer, firewall).",
    )
    error.concerns_all = True  # nobody else fares better: nothing leaves any more
    return error
