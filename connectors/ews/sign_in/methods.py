"""How requests prove who sends them: by the tenant's credential, offered to its own server, once if it is refused."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from requests import Response
from requests.auth import AuthBase, HTTPBasicAuth
from requests_ntlm import HttpNtlmAuth

from connectors.ews.settings import EwsSettings, Keytab, OAuthClient, Password, TicketCache
from connectors.lines import Lines
from connectors.port import ConnectorError, CredentialRejected, ProtocolViolation
from connectors.throttle import Now, Sleep

if TYPE_CHECKING:
    import ssl

_BROKEN_HASHES: Final = frozenset({"md5", "sha1"})
_MOMENTS: Final = 2.0  # seconds


class SignIn(ABC):
    """One tenant's way to sign in; may be used from several threads.

    Attributes:
        scheme: What a server has to offer for it, in lower case (`WWW-Authenticate`).
        refused: What is said when the server refuses it.
    """

    scheme: str
    refused = "Exchange refused the service account (HTTP 401)."

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failure: ConnectorError | None = None  # the last one
        self._failed_at = 0.0

    @abstractmethod
    def auth(self) -> AuthBase:
        """What signs in one connection."""

    def is_offered(self, offers: str) -> bool:
        """Whether a server offers it (`WWW-Authenticate`)."""
        return self.scheme in offers.lower()

    def drop(self, proof: str) -> None:  # noqa: B027  (most ways have but one)
        """Makes another proof of the credential from now on: this one was taken, and is refused now."""

    def close(self) -> None:  # noqa: B027  (most ways hold nothing)
        """Forgets what was made of the credential."""

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Lets one thread at a time ask for a ticket or a token; without one nothing of the tenant can be had.

        Whoever comes within moments of a failure fares no better: it ends the run, which takes a while to reach all
        threads. Once the credential was refused, nobody asks any more.
        """
        with self._lock:
            is_recent = time.monotonic() - self._failed_at < _MOMENTS
            if self._failure and (is_recent or isinstance(self._failure, CredentialRejected)):
                raise copy(self._failure)
            try:
                yield
            except ConnectorError as failure:
                failure.concerns_all = True
                self._failure, self._failed_at = failure, time.monotonic()
                raise


def way_to_sign_in(
    settings: EwsSettings, context: ssl.SSLContext, *, sleep: Sleep, now: Now, lines: Lines | None = None
) -> SignIn:
    """What signs in with the tenant's credential. Sends nothing yet.

    Args:
        settings: Whose credential, and for which server.
        context: Whom the tenant trusts, for servers that hand out tokens.
        sleep: What waits between attempts.
        now: The present instant.
        lines: What connections to such servers belong to.

    Raises:
        ConnectorError: The credential cannot be used, or a package for it is missing.
    """
    credential = settings.credential
    if isinstance(credential, Password):
        return _password(settings.username, credential)
    if isinstance(credential, Keytab | TicketCache):
        from connectors.ews.sign_in.kerberos import KerberosSignIn  # noqa: PLC0415  # brings a package that few have

        return KerberosSignIn(settings.username, credential)
    if isinstance(credential, OAuthClient):
        from connectors.ews.sign_in.oauth import OAuthSignIn  # noqa: PLC0415  # few need it

        return OAuthSignIn(settings.ews_url, credential, context, sleep=sleep, now=now, lines=lines)
    raise ProtocolViolation("The way to sign in must be ntlm, basic, kerberos or oauth.")


def _password(username: str, credential: Password) -> SignIn:
    try:
        password = credential.secret.decode()
    except UnicodeDecodeError:
        raise CredentialRejected("The password is not UTF-8 text.") from None
    if credential.auth == "ntlm":
        return NtlmSignIn(username, password)
    if credential.auth == "basic":
        return BasicSignIn(username, password)
    raise ProtocolViolation("The way to sign in must be ntlm, basic, kerberos or oauth.")


class _PasswordSignIn(SignIn):
    refused = "Exchange refused the service account's password (HTTP 401)."

    def __init__(self, username: str, password: str) -> None:
        super().__init__()
        self._username, self._password = username, password


class BasicSignIn(_PasswordSignIn):
    """The password as it is, inside TLS."""

    scheme = "basic"

    def auth(self) -> AuthBase:
        """The same header for every request."""
        # As bytes: requests would encode texts as Latin-1 (RFC 7617 wants UTF-8).
        return HTTPBasicAuth(self._username.encode(), self._password.encode())


class NtlmSignIn(_PasswordSignIn):
    """NTLM, bound to the server's certificate: what is sent to one server is of no use at another."""

    scheme = "ntlm"

    def is_offered(self, offers: str) -> bool:
        """Also as one of the ways that `Negotiate` stands for."""
        return super().is_offered(offers) or "negotiate" in offers.lower()

    def auth(self) -> AuthBase:
        """Signs in a connection once; it stays signed in."""
        # A name like an address belongs to no domain: the empty one, not the first half of something.
        domain_less = "@" in self._username and "\\" not in self._username
        return _BoundNtlmAuth("\\" + self._username if domain_less else self._username, self._password)


class _BoundNtlmAuth(HttpNtlmAuth):
    def _get_server_cert(self, response: Response) -> bytes | None:
        """The binding that the adapter noted; requests_ntlm would look for the socket, which is free again."""
        return end_point_of(response)


def end_point_of(response: Response) -> bytes | None:
    """What binds a sign-in to the server's certificate, as `SignInAdapter` noted it on a refusal."""
    bound: bytes | None = getattr(response, "end_point", None)
    return bound


def server_end_point(certificate: bytes) -> bytes:
    """The hash of a certificate (DER) that stands for it in a channel binding (RFC 5929, tls-server-end-point)."""
    algorithm: hashes.HashAlgorithm | None
    try:
        algorithm = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    except UnsupportedAlgorithm:
        algorithm = None
    if algorithm is None or algorithm.name in _BROKEN_HASHES:
        algorithm = hashes.SHA256()
    digest = hashes.Hash(algorithm)
    digest.update(certificate)
    return digest.finalize()


def send_again(refused: Response, authorization: str, **options: Any) -> Response:
    """The request once more, with another proof, over the same connection if it is still there."""
    request = refused.request.copy()
    request.headers["Authorization"] = authorization
    response: Response = refused.connection.send(request, **options)
    response.history.append(refused)
    return response
