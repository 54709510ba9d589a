"""Sign-in: NTLM, and Kerberos if it is kept, bound to one connection; Basic and tokens, judged with every request."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from enum import Enum

import spnego
import spnego.channel_bindings
import spnego.exceptions

from tests.simulators.onprem.accounts import Accounts
from tests.simulators.onprem.kerberos import Acceptor, RefusedTicket
from tests.simulators.onprem.tokens import Tokens

SCHEMES = ("NTLM", "Basic")
ALL_SCHEMES = ("Negotiate", "NTLM", "Basic", "Bearer")
_KERBEROS = (bytes.fromhex("2a864886f712010202"), bytes.fromhex("2a864882f712010202"))  # OIDs; the latter is Windows's
_NTLM_HELLO = b"NTLMSSP\0\1\0\0\0"


class Verdict(Enum):
    """What an Authorization header came to."""

    ANONYMOUS = "anonymous"
    CHALLENGE = "challenge"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    STALE = "stale"  # a token that is not taken: nobody's password was wrong


@dataclass(frozen=True, slots=True)
class House:
    """What a server knows of those who may sign in, and how it lets them."""

    accounts: Accounts
    tokens: Tokens
    schemes: tuple[str, ...] = SCHEMES
    acceptor: Acceptor | None = None
    bound_to: bytes | None = None  # the certificate (DER) that a sign-in has to be bound to
    keeps_kerberos: bool = True  # as IIS is installed (authPersistNonNTLM); else a ticket is wanted with each request


class ConnectionSignIn:
    """How far one connection has come in signing in.

    Attributes:
        is_application: Whether the last request was an application's, who is nobody by itself.
    """

    def __init__(self, house: House) -> None:
        self._house = house
        self._accounts = house.accounts
        self._end_point = hashlib.sha256(house.bound_to).digest() if house.bound_to else None
        self._context: spnego.ContextProxy | None = None
        self._signed_in_at = -1
        self.is_application = False

    def judge(self, authorization: str | None) -> tuple[Verdict, list[str]]:
        """The verdict, and the values of WWW-Authenticate to answer with."""
        self.is_application = False
        if not authorization:
            if self._signed_in_at == self._accounts.generation:
                return Verdict.ACCEPTED, []
            return Verdict.ANONYMOUS, self._offers()
        scheme, _, token = authorization.strip().partition(" ")
        # Negotiate is understood but not offered: clients that prefer it look for Kerberos and give up without.
        schemes = self._house.schemes
        known = (*schemes, "Negotiate") if "NTLM" in schemes else schemes
        offered = {name.casefold(): name for name in known}.get(scheme.casefold())
        judges = {"Basic": self._judge_basic, "Bearer": self._judge_bearer}
        if offered in judges:
            return judges[offered](token)
        try:
            message = base64.b64decode(token, validate=True)
        except binascii.Error:
            return Verdict.REFUSED, self._offers()
        return self._judge_message(offered, message) if offered else (Verdict.REFUSED, self._offers())

    def _judge_message(self, scheme: str, message: bytes) -> tuple[Verdict, list[str]]:
        if scheme == "Negotiate" and any(oid in message for oid in _KERBEROS) and self._house.acceptor:
            return self._judge_ticket(self._house.acceptor, message)
        return self._step(scheme, message)

    def _offers(self) -> list[str]:
        realms = {"Basic": 'Basic realm="mail"', "Bearer": 'Bearer client_id="00000002-0000-0ff1-ce00-000000000000"'}
        return [realms.get(scheme, scheme) for scheme in self._house.schemes]

    def _judge_basic(self, token: str) -> tuple[Verdict, list[str]]:
        try:
            username, _, password = base64.b64decode(token, validate=True).decode("utf-8").partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return Verdict.REFUSED, self._offers()
        if self._accounts.admits(proven=self._accounts.knows(username, password)):
            return Verdict.ACCEPTED, []
        return Verdict.REFUSED, self._offers()

    def _judge_bearer(self, token: str) -> tuple[Verdict, list[str]]:
        if self._house.tokens.are_good(token):
            self.is_application = True
            return Verdict.ACCEPTED, []
        return Verdict.STALE, [f'{offer}, error="invalid_token"' for offer in self._offers() if "Bearer" in offer]

    def _judge_ticket(self, acceptor: Acceptor, message: bytes) -> tuple[Verdict, list[str]]:
        try:
            principal, answer = acceptor.accept(message, self._end_point)
        except RefusedTicket as refusal:
            said = [f"Negotiate {base64.b64encode(refusal.token).decode()}"] if refusal.token else self._offers()
            return Verdict.REFUSED, said
        if principal.casefold() != self._accounts.upn.casefold() or self._accounts.locked:
            return Verdict.REFUSED, self._offers()
        self._signed_in_at = self._accounts.generation if self._house.keeps_kerberos else -1
        return Verdict.ACCEPTED, [f"Negotiate {base64.b64encode(answer).decode()}"] if answer else []

    def _step(self, scheme: str, message: bytes) -> tuple[Verdict, list[str]]:
        bindings = _bindings(self._end_point) if self._end_point else None
        begins = self._context is None or message.startswith(_NTLM_HELLO)
        try:
            if self._context is None or begins:
                self._context = self._begin(raw=message.startswith(b"NTLMSSP\0"))
            with self._accounts.opened():
                answer = self._context.step(message, channel_bindings=bindings)
        except (ValueError, spnego.exceptions.SpnegoError) as error:
            self._context, self._signed_in_at = None, -1
            if not begins and not isinstance(error, spnego.exceptions.BadBindingsError):
                self._accounts.admits(proven=False)
            return Verdict.REFUSED, self._offers()
        if not self._context.complete:
            return Verdict.CHALLENGE, [f"{scheme} {base64.b64encode(answer or b'').decode()}"]
        self._context = None
        if not self._accounts.admits(proven=True):
            return Verdict.REFUSED, self._offers()
        self._signed_in_at = self._accounts.generation
        return Verdict.ACCEPTED, []

    def _begin(self, *, raw: bool) -> spnego.ContextProxy:
        self._signed_in_at = -1
        with self._accounts.opened():
            return spnego.server(
                protocol="ntlm" if raw else "negotiate",
                options=spnego.NegotiateOptions.use_negotiate | spnego.NegotiateOptions.use_ntlm,
            )


def _bindings(end_point: bytes) -> spnego.channel_bindings.GssChannelBindings:
    return spnego.channel_bindings.GssChannelBindings(application_data=b"tls-server-end-point:" + end_point)
