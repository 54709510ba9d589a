"""The one door through which a proof of who we are leaves, so that no fault of ours can lock the account out.

Directories count refusals and lock an account after a few. So proofs leave one at a time, each after the verdict on
the one before, and none leaves any more once one was refused. A connection that breaks while a server judges hides
its verdict: that ends a run which has not been let in yet, and one that has been at the second time running. A gateway
that answers in the server's place hides it too, which ends either at the second time running.

A token (OAuth) goes alone until it has been taken, with a request that asks for nothing where the server judges those,
and side by side from then on. It is judged with every request and counted by no directory, and one at a time would cost
what is gained by reading mailboxes at once: 13.4 s in place of 3.7 s for five of them, 126 requests, a server 100 ms
away. So a token that was taken and is refused later is refused at most once to each request that is under way with it
then, and there are no more of those than connections (five). From the first refusal on nobody shows it any more.

A Kerberos ticket signs in a connection, as a password does by NTLM. To the few servers that want one with each request
they go one at a time, at the price named: nobody here knows what a server counts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from copy import copy
from http import HTTPStatus
from typing import Final

from requests import PreparedRequest, Response, exceptions

from connectors.ews.wire.breaks import was_never_sent
from connectors.port import ConnectorError, CredentialRejected, ProtocolViolation, Unreachable, WaitEnded

_NTLM: Final = "TlRMTVNTUAA"  # how its messages begin, also under the name of Negotiate
_NTLM_RESPONSE: Final = "TlRMTVNTUAAD"  # the third one: the only one that proves anything
REFUSED: Final = "refused"  # hook of a request that can tell why it was: it gives the port's error, or None
_LOST_AT_MOST: Final = 2  # verdicts in a row; directories lock after three refusals, at least
_BY_GATEWAYS: Final = frozenset({
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
})  # fmt: skip
_NAMED: Final = frozenset({"basic", "bearer", "negotiate"})  # by servers, when they refuse them


class DoubtError(Exception):
    """Before anything is asked for, it has to be known whether we are let in: a verdict got lost, or a token is new."""


class Guard:
    """Lets proofs out for one tenant and one run; used from all its threads.

    Args:
        refused: What a refusal means.

    Attributes:
        can_look: Whether the server has judged who asks for nothing: so it can be known whether we are let in.
    """

    def __init__(self, refused: Callable[[], CredentialRejected]) -> None:
        self._refused = refused
        self._door = threading.RLock()
        self.can_look = False
        self._ended: ConnectorError | None = None
        self._accepted = False
        self._unknown = 0
        self._taken = ""  # the token that was, and may go side by side
        self._spent: set[str] = set()  # tokens that were taken and are not any more

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
        scheme, proof = _proof_of(request)
        if not scheme:
            return send()
        with self._door:
            self.check()
            if scheme == "ntlm" and not is_connected():
                # It answers a question that was asked on this connection: on another one it would be refused.
                raise exceptions.ConnectionError("the connection was closed while signing in")
            if proof in self._spent:
                raise exceptions.ConnectionError("the token was refused to somebody else meanwhile")
            if proof != self._taken:
                return self._alone(request, send, scheme, proof)
        return self._beside_others(send, proof)

    def _alone(self, request: PreparedRequest, send: Callable[[], Response], scheme: str, proof: str) -> Response:
        is_post = request.method == "POST"
        if is_post and self.can_look and (scheme == "bearer" or (self._unknown and scheme != "ntlm")):
            raise DoubtError
        # Let in before, a request that meets a busy server says nothing of the proof that goes with it.
        response = self._judged(request, send, scheme, is_about_proof=not is_post or not self._accepted)
        if scheme == "bearer" and response.status_code not in {HTTPStatus.UNAUTHORIZED, *_BY_GATEWAYS}:
            self._taken = proof
        return response

    def _beside_others(self, send: Callable[[], Response], token: str) -> Response:
        response = send()
        if response.status_code == HTTPStatus.UNAUTHORIZED and is_refusal(response, "bearer"):
            with self._door:
                self._spent.add(token)
                self._taken = "" if self._taken == token else self._taken
        return response

    def _judged(
        self, request: PreparedRequest, send: Callable[[], Response], scheme: str, *, is_about_proof: bool
    ) -> Response:
        self._unknown += 1
        try:
            response = send()
        except WaitEnded:  # nobody waits for the verdict
            raise
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
            why = request.hooks.get(REFUSED)
            self.end((why and why(response)) or self._refused())
        return response


def is_refusal(response: Response, scheme: str) -> bool:
    """Whether a 401 that answers a proof refuses it; a server that does not offer the scheme never looked at it."""
    offered = response.headers.get("WWW-Authenticate", "").lower()
    return scheme not in _NAMED or not offered or scheme in offered


def _proof_of(request: PreparedRequest) -> tuple[str, str]:
    """What a request proves who we are by, and its scheme; both empty if it proves nothing (yet)."""
    scheme, _, token = (request.headers.get("Authorization") or "").partition(" ")
    if token.startswith(_NTLM):
        return ("ntlm", token) if token.startswith(_NTLM_RESPONSE) else ("", "")
    return scheme.lower(), token


def _unknown_verdict(message: str) -> Unreachable:
    error = Unreachable(
        message,
        code="sign-in-unanswered",
        advice="Nothing more was tried, as each attempt may count towards locking the account; the next run tries"
        " again. If it stays, look at what stands before Exchange (load balancer, firewall).",
    )
    error.concerns_all = True  # nobody else fares better: nothing leaves any more
    return error
