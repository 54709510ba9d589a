"""Signing in as an application (OAuth 2.0 client credentials) through msal, and the one token that threads share."""

from __future__ import annotations

import base64
import binascii
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import msal

from connectors.graph.settings import (
    ClientCertificate,
    ClientSecret,
    FederatedToken,
    GraphCredential,
    GraphSettings,
    ManagedIdentity,
)
from connectors.graph.sign_in.credentials import read_federated_token
from connectors.graph.sign_in.token_sources import IdentityEndpoint, SignIn
from connectors.graph.wire.transport import Transport
from connectors.port import ConnectorError, CredentialRejected, ProtocolViolation
from connectors.throttle import Now, Sleep

FRESH_TOKENS: Final = 2  # in a row that Graph refuses before the credential counts as rejected: one may have bad luck
_EARLY: Final = timedelta(minutes=5)  # before a token ends, a new one is asked for
_TRIAL_SECONDS: Final = 60.0  # how long others wait for what becomes of a fresh token
_RESPITE: Final = timedelta(minutes=1)  # after a sign-in that failed, for which nobody tries again
_MALFORMED: Final = (
    ValueError, KeyError, TypeError, AttributeError, RuntimeError, OSError, msal.exceptions.MsalError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Token:
    """An access token and when to ask for the next one."""

    value: str = field(repr=False)
    ends: datetime


class Issuer(Protocol):
    """Whoever gives a tenant's tokens."""

    @property
    def requests(self) -> int:
        """How many requests that took so far."""

    def acquire(self) -> Token:
        """A new token; raises ConnectorError."""


class Tokens:
    """The access token of one tenant, asked for when first needed and shared by all threads.

    When Graph refuses one, the thread that gets the next tries it alone, and the others wait for the outcome: so a
    credential that Graph does not accept any more costs each thread one request, and `FRESH_TOKENS` more in all.
    """

    def __init__(self, issuer: Issuer, now: Now) -> None:
        self._issuer = issuer
        self._now = now
        self._changed = threading.Condition()
        self._token: Token | None = None
        self._doubts = 0  # fresh tokens since the last one that worked
        self._trying = 0  # the thread that tries one; 0: nobody
        self._rejection: CredentialRejected | None = None  # Graph's, for good
        self._failures: list[ConnectorError] = []  # the sign-in service's
        self._failed: datetime | None = None  # when the last of them came, if it may pass

    @property
    def requests(self) -> int:
        """How many requests signing in took."""
        return self._issuer.requests

    def bearer(self) -> str:
        """A token that is good for some minutes.

        Raises:
            ConnectorError: No token was given, or Graph does not accept those that are; it concerns all of the tenant.
        """
        seen = len(self._failures)
        with self._changed:
            return self._usable(seen)

    def instead_of(self, refused: str, *, code: str = "") -> str:
        """Another token than one that Graph has refused: a fresh one, or the one that somebody else just got.

        Args:
            refused: The value of the refused one.
            code: What Graph called the reason.

        Raises:
            CredentialRejected: Fresh tokens are refused as well.
            ConnectorError: No token was given.
        """
        seen = len(self._failures)
        with self._changed:
            if self._token is not None and self._token.value == refused:
                if self._doubts == FRESH_TOKENS:
                    self._rejection = CredentialRejected("Graph does not accept the access token.", code=code)
                else:
                    self._doubts += 1
                    self._trying = threading.get_ident()
                self._token = None
            return self._usable(seen)

    def worked(self, value: str) -> None:
        """Takes note that Graph did not refuse a token."""
        if self._doubts:
            with self._changed:
                if self._token is not None and self._token.value == value:
                    self._doubts = 0
                    self._let_others_go()

    def let_go(self) -> None:
        """Has nobody wait any more for what becomes of a token."""
        with self._changed:
            self._let_others_go()

    def _usable(self, seen: int) -> str:
        me = threading.get_ident()
        if not self._changed.wait_for(lambda: self._rejection or self._trying in {0, me}, _TRIAL_SECONDS):
            self._trying = me  # whoever tried has given up for another reason
        if self._rejection is not None:
            self._let_others_go()
            raise _again(self._rejection)
        now = self._now()
        is_recent = self._failed is not None and timedelta() <= now - self._failed < _RESPITE
        if self._token is None and (len(self._failures) > seen or is_recent):
            raise _again(self._failures[-1])  # asked just now: asking once more would fare no better
        if self._token is None or now >= self._token.ends:
            self._token = None
            try:
                self._token = self._issuer.acquire()
            except ConnectorError as failure:
                failure.concerns_all = True
                self._failures.append(failure)
                self._failed = None if isinstance(failure, CredentialRejected) else self._now()
                raise
            finally:
                if self._token is None:
                    self._let_others_go()
        return self._token.value

    def _let_others_go(self) -> None:
        self._trying = 0
        self._changed.notify_all()


class Application:
    """Signs in at Entra as a registered application; one msal application for a tenant, with its cache in memory."""

    def __init__(self, settings: GraphSettings, http: SignIn, now: Now) -> None:
        self._settings = settings
        self._http = http
        self._now = now
        self._msal: Any = None

    @property
    def requests(self) -> int:
        """How many requests went to the sign-in service."""
        return self._http.requests

    def acquire(self) -> Token:
        """A new token; raises ConnectorError."""
        with _no_foreign_errors():
            if self._msal is None:
                self._msal = self._make()
            self._msal.remove_tokens_for_client()
            given = self._msal.acquire_token_for_client([f"{self._settings.graph_origin()}/.default"])
        return _token(given, self._now())

    def _make(self) -> Any:
        return msal.ConfidentialClientApplication(
            self._settings.client_id,
            authority=f"{self._settings.authority_origin()}/{self._settings.directory_id}",
            client_credential=_for_msal(self._settings.credential),
            instance_discovery=False,
            http_client=self._http,
            enable_pii_log=False,
        )


class Machine:
    """Asks Azure for a token of the identity that this machine has been given."""

    def __init__(self, settings: GraphSettings, identity: ManagedIdentity, http: IdentityEndpoint, now: Now) -> None:
        named = msal.UserAssignedManagedIdentity(client_id=identity.client_id) if identity.client_id else None
        self._cache = msal.TokenCache()
        self._msal = msal.ManagedIdentityClient(
            named or msal.SystemAssignedManagedIdentity(), http_client=http, token_cache=self._cache
        )
        self._settings = settings
        self._http = http
        self._now = now

    @property
    def requests(self) -> int:
        """How many requests went to the identity endpoint."""
        return self._http.requests

    def acquire(self) -> Token:
        """A new token; raises ConnectorError."""
        with _no_foreign_errors():
            for kept in list(self._cache.search(msal.TokenCache.CredentialType.ACCESS_TOKEN)):
                self._cache.remove_at(kept)
            given = self._msal.acquire_token_for_client(resource=self._settings.graph_origin())
        token = _token(given, self._now())
        # Azure asks nobody for whose directory: its token is for that of the machine, whichever we mean.
        directory = claims_of(token.value).get("tid", self._settings.directory_id)
        if str(directory).lower() != self._settings.directory_id.lower():
            raise CredentialRejected(
                "The machine's managed identity belongs to another directory than the tenant's.",
                code="wrong-directory",
                advice="Take workload identity federation, a certificate or a secret for a directory of others.",
            )
        return token


def open_tokens(settings: GraphSettings, transport: Transport, *, sleep: Sleep, now: Now) -> Tokens:
    """The tokens of a tenant by its kind of credential. Asks nobody yet.

    Args:
        settings: Where to sign in, and what with.
        transport: What requests to Entra go through.
        sleep: Waits some seconds.
        now: Tells the time.
    """
    credential = settings.credential
    if isinstance(credential, ManagedIdentity):
        # A transport of its own: what is on this machine is never asked of a proxy.
        endpoint = IdentityEndpoint(Transport(uses_proxy=False, lines=transport.lines), sleep, now)
        return Tokens(Machine(settings, credential, endpoint, now), now)
    return Tokens(Application(settings, SignIn(transport, settings.authority_origin(), sleep, now), now), now)


def claims_of(token: str) -> Mapping[str, Any]:
    """What a token says of itself, as far as it can be read; only to be shown or compared, never to be relied on."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError, binascii.Error, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def roles_in(token: str) -> tuple[str, ...]:
    """The permissions that a token carries; see `claims_of`."""
    roles = claims_of(token).get("roles")
    return tuple(sorted(role for role in roles if isinstance(role, str))) if isinstance(roles, list) else ()


def _for_msal(credential: GraphCredential) -> str | dict[str, Any]:
    if isinstance(credential, ClientSecret):
        return credential.secret.decode()
    if isinstance(credential, FederatedToken):
        return {"client_assertion": lambda: read_federated_token(credential.file)}
    assert isinstance(credential, ClientCertificate)  # noqa: S101  (a managed identity signs in elsewhere)
    return {
        "private_key": credential.private_key_pem.decode(),
        "public_certificate": credential.certificate_pem.decode(),
    }


@contextmanager
def _no_foreign_errors() -> Iterator[None]:
    try:
        yield
    except _MALFORMED:
        # msal's messages hold the authority's whole answer.
        raise ProtocolViolation("The sign-in service's answer is not what OAuth 2.0 allows.") from None


def _token(given: Mapping[str, Any], now: datetime) -> Token:
    value, seconds = given.get("access_token"), given.get("expires_in")
    if isinstance(seconds, str) and seconds.isdecimal():
        seconds = int(seconds)
    if not isinstance(value, str) or not value:
        raise ProtocolViolation("The sign-in service gave no token and no reason.")
    life = timedelta(seconds=seconds if isinstance(seconds, int) and 0 < seconds < 10**7 else 3600)
    return Token(value, now + max(life - _EARLY, life / 2))


def _again(failure: ConnectorError) -> ConnectorError:
    """The same failure for another thread, which must not share its traceback."""
    return copy(failure)
