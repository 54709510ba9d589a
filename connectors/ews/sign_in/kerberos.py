"""Sign-in by Kerberos: tickets from a keytab or a ticket cache, shown to the server inside SPNEGO (RFC 4559).

Every tenant has tickets of its own: keytab and cache are named with each call, never by the process's environment
(`KRB5_KTNAME`, `KRB5CCNAME`). A keytab's content stays in memory. Realms and domain controllers are found as
the machine's `krb5.conf` says.
"""

from __future__ import annotations

import binascii
import ctypes
import hashlib
import os
import re
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit
from uuid import uuid4

from requests import PreparedRequest, Response
from requests.auth import AuthBase

from connectors.ews.settings import Keytab, TicketCache
from connectors.ews.sign_in.guard import REFUSED
from connectors.ews.sign_in.kerberos_failures import failure, server_failure
from connectors.ews.sign_in.kerberos_files import KerberosFileError, cache_principal, keytab_principals, principal_of
from connectors.ews.sign_in.methods import SignIn, end_point_of, send_again
from connectors.port import ConnectorError, CredentialRejected, ProtocolViolation, Unreachable

_KERBEROS: Final = "1.2.840.113554.1.2.2"
_SPNEGO: Final = "1.3.6.1.5.5.2"
_FRESH_SECONDS: Final = 600  # tickets that end sooner are replaced first
_LARGEST: Final = 1024 * 1024  # bytes of a ticket cache
_OFFER: Final = re.compile(r"(?:^|,)\s*negotiate(?:\s+([a-z0-9+/=]+))?\s*(?:,|$)", re.IGNORECASE)


class KerberosSignIn(SignIn):
    """One tenant's tickets.

    Raises:
        CredentialRejected: The file holds nothing of this account.
        ProtocolViolation: The package for Kerberos is missing.
    """

    scheme = "negotiate"
    refused = "Exchange refused the service account's Kerberos ticket (HTTP 401)."

    def __init__(self, account: str, credential: Keytab | TicketCache) -> None:
        super().__init__()
        self._gssapi = _library()
        self._account, self._credential = account, credential
        self._principal = self._of_keytab(credential) if isinstance(credential, Keytab) else ""
        self._cache = ""  # in memory, of this tenant alone
        self._tickets: Any = None
        self._read = b""  # hash of the file that they are from

    def auth(self) -> AuthBase:
        """Shows a ticket with every request of a connection that it is used for."""
        return _NegotiateAuth(self)

    def context(self, host: str, end_point: bytes | None) -> tuple[Any, bytes]:
        """A security context with the server, and what is shown to it.

        Args:
            host: The server's name.
            end_point: Hash of the certificate that it is bound to, if it is known.

        Raises:
            ConnectorError: There is no ticket for the server.
        """
        gssapi = self._gssapi
        with self._asking():
            tickets = self._usable()
            name = gssapi.Name(f"HTTP@{host}", gssapi.NameType.hostbased_service)
            with _translated(gssapi):
                # Asked for by Kerberos alone first: through SPNEGO the reasons of a failure are renumbered.
                self._new_context(name, tickets, _KERBEROS, None).step()
                shown = gssapi.Credentials(
                    usage="initiate", mechs=[_oid(gssapi, _SPNEGO)], store={"ccache": self._cache}
                )
            binding = (
                gssapi.raw.ChannelBindings(application_data=b"tls-server-end-point:" + end_point) if end_point else None
            )
            context = self._new_context(name, shown, _SPNEGO, binding)
            with _translated(gssapi):
                return context, bytes(context.step())  # before anybody else replaces the tickets

    def step(self, context: Any, token: bytes) -> None:
        """Takes in a server's token.

        Raises:
            ConnectorError: The server's token says that it does not take ours, or is none.
        """
        try:
            context.step(token)
        except self._gssapi.exceptions.GSSError as error:
            raise server_failure(str(error)) from None

    def close(self) -> None:
        """Forgets the tickets."""
        with self._lock:
            self._forget()

    # -- tickets ---------------------------------------------------------------------------------------------------

    def _usable(self) -> Any:
        credential = self._credential
        if isinstance(credential, Keytab):
            if self._lasts() < _FRESH_SECONDS:
                self._forget()
                with _in_memory(credential.content) as keytab:
                    self._tickets = self._acquired({"client_keytab": keytab, "ccache": self._new_cache()})
            return self._tickets
        content = _read(credential)
        digest = hashlib.sha256(content).digest()
        if digest != self._read or not self._lasts():
            self._forget()
            self._principal = self._of_cache(content)
            with _in_memory(content) as file:
                # Tickets for the server are kept with the copy: the file is its keeper's, and maybe not ours to write.
                self._copied(self._acquired({"ccache": file}), self._new_cache())
            self._tickets, self._read = self._acquired({"ccache": self._cache}), digest
        return self._tickets

    def _lasts(self) -> int:
        """The seconds for which the tickets hold yet."""
        try:
            return int(self._tickets.lifetime or 0) if self._tickets is not None else 0
        except self._gssapi.exceptions.GSSError:
            return 0

    def _acquired(self, store: dict[str, str]) -> Any:
        gssapi = self._gssapi
        with _translated(gssapi):
            tickets = gssapi.Credentials(
                name=gssapi.Name(self._principal, gssapi.NameType.kerberos_principal),
                usage="initiate",
                mechs=[_oid(gssapi, _KERBEROS)],
                store=store,
            )
            if not tickets.lifetime:
                raise gssapi.exceptions.ExpiredCredentialsError(0, 0)
        return tickets

    def _copied(self, tickets: Any, cache: str) -> None:
        with _translated(self._gssapi):
            mechanism = _oid(self._gssapi, _KERBEROS)
            tickets.store({"ccache": cache}, usage="initiate", mech=mechanism, overwrite=True)

    def _new_cache(self) -> str:
        self._cache = f"MEMORY:syncvault-{uuid4()}"
        return self._cache

    def _new_context(self, name: Any, tickets: Any, mechanism: str, binding: Any) -> Any:
        gssapi = self._gssapi
        context = gssapi.SecurityContext(
            name=name,
            creds=tickets,
            usage="initiate",
            mech=_oid(gssapi, mechanism),
            flags=[gssapi.RequirementFlag.mutual_authentication],
            channel_bindings=binding,
        )
        context.__DEFER_STEP_ERRORS__ = False  # else a failure shows when the context is used the next time
        return context

    def _forget(self) -> None:
        cache, self._cache, self._tickets, self._read = self._cache, "", None, b""
        if cache:
            _destroy(cache)

    def _of_keytab(self, credential: Keytab) -> str:
        try:
            principal = principal_of(self._account, keytab_principals(credential.content))
        except KerberosFileError:
            raise CredentialRejected("This is no keytab.", code="keytab") from None
        return principal or _nobody("The keytab holds no key of the service account, or several that may be its.")

    def _of_cache(self, content: bytes) -> str:
        try:
            principal = principal_of(self._account, (cache_principal(content),))
        except KerberosFileError:
            raise CredentialRejected("The file is no ticket cache.", code="ticket-cache") from None
        return principal or _nobody("The ticket cache holds tickets of another account.")


class _NegotiateAuth(AuthBase):
    """One connection. The first request goes bare, as its answer brings the certificate to bind to; then none does."""

    def __init__(self, sign_in: KerberosSignIn) -> None:
        self._sign_in = sign_in
        self._is_wanted = False
        self._end_point: bytes | None = None
        self._context: Any = None

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        if self._is_wanted:
            request.headers["Authorization"] = self._proof(str(request.url))
        request.register_hook("response", self._answered)  # type: ignore[no-untyped-call]  # not in the stubs
        request.hooks[REFUSED] = self._why
        return request

    def _answered(self, response: Response, **options: Any) -> Response:
        is_bare = "Authorization" not in response.request.headers
        if response.status_code == HTTPStatus.UNAUTHORIZED and is_bare:
            if not self._sign_in.is_offered(response.headers.get("WWW-Authenticate", "")):
                return response
            self._end_point = end_point_of(response)
            response = send_again(response, self._proof(str(response.request.url)), **options)
            self._is_wanted = response.status_code != HTTPStatus.UNAUTHORIZED
        try:
            self._check(response)
        except ConnectorError:
            response.close()  # nobody else will: it is not handed over
            raise
        return response

    def _why(self, response: Response) -> ConnectorError | None:
        """What a server says of a ticket that it refuses."""
        try:
            self._check(response)
        except ConnectorError as error:
            return error
        return None

    def _proof(self, url: str) -> str:
        self._context, token = self._sign_in.context(urlsplit(url).hostname or "", self._end_point)
        return f"Negotiate {b64encode(token).decode()}"

    def _check(self, response: Response) -> None:
        """Lets the server prove itself where it does (TLS has done so already), or say why it refuses."""
        context, self._context = self._context, None
        offer = _OFFER.search(response.headers.get("WWW-Authenticate", ""))
        token = _decoded(offer.group(1)) if offer else b""
        if token and context is not None:
            self._sign_in.step(context, token)


def _decoded(text: str | None) -> bytes:
    try:
        return b64decode(text or "")
    except binascii.Error:
        raise ProtocolViolation(
            "The server does not answer the sign-in as Kerberos asks.", code="sign-in-method"
        ) from None


def _read(cache: TicketCache) -> bytes:
    try:
        with Path(cache.file).open("rb") as file:
            return file.read(_LARGEST)
    except OSError:
        raise Unreachable(
            "The ticket cache cannot be read.",
            code="ticket-cache",
            advice="Check that what keeps the tickets fresh (k5start, a timer) runs, and who may read them.",
        ) from None


def _library() -> Any:
    try:
        import gssapi  # noqa: PLC0415  # an extra, and not needed for any other way
    except (ImportError, OSError):
        raise ProtocolViolation(
            "Signing in by Kerberos needs a package that is not installed.",
            code="kerberos-missing",
            advice="Install it beside MIT Kerberos's libraries: pip install 'syncvault[kerberos]'",
        ) from None
    return gssapi


def _oid(gssapi: Any, dotted: str) -> Any:
    return gssapi.OID.from_int_seq(dotted)


def _nobody(message: str) -> NoReturn:
    raise CredentialRejected(
        message, code="principal", advice="Give the account as its principal, such as svc-syncvault@EXAMPLE.COM."
    )


@contextmanager
def _translated(gssapi: Any) -> Iterator[None]:
    try:
        yield
    except gssapi.exceptions.ExpiredCredentialsError:
        raise failure(None) from None
    except gssapi.exceptions.GSSError as error:
        raise failure(int(error.min_code)) from None


@contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """A name that Kerberos can open the bytes by. They are in no file: only this process can follow the name."""
    descriptor = os.memfd_create("kerberos", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:  # all of it
            file.write(content)
        yield f"FILE:/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _destroy(cache: str) -> None:
    """Takes a cache out of the process's memory: GSSAPI would keep it for as long as the process lives."""
    try:
        library = ctypes.CDLL("libkrb5.so.3")
    except OSError:  # another maker's
        return
    context, handle = ctypes.c_void_p(), ctypes.c_void_p()
    if library.krb5_init_context(ctypes.byref(context)):
        return
    if not library.krb5_cc_resolve(context, cache.encode(), ctypes.byref(handle)):
        library.krb5_cc_destroy(context, handle)
    library.krb5_free_context(context)
