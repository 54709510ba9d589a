"""exchangelib's sessions for one tenant: its own pool, trust and sign-in, nothing shared with another tenant."""

from __future__ import annotations

import io
import logging
import random
import ssl
import time
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import requests
from exchangelib.account import Identity
from exchangelib.configuration import Configuration
from exchangelib.protocol import BaseProtocol, FailFast
from exchangelib.services.common import EWSService
from exchangelib.transport import DEFAULT_HEADERS, NOAUTH
from lxml import etree
from urllib3 import HTTPResponse
from urllib3.exceptions import HTTPError

from connectors.ews.settings import EwsSettings, OAuthClient
from connectors.ews.sign_in.guard import Guard
from connectors.ews.sign_in.methods import SignIn, server_end_point, way_to_sign_in
from connectors.ews.wire.bodies import blocks, socket_of
from connectors.ews.wire.breaks import PassingFaultError
from connectors.ews.wire.soap import AnswerTooLargeError
from connectors.lines import Lines
from connectors.port import CredentialRejected, ProtocolViolation, Unreachable
from connectors.throttle import Now, Sleep, utc_now
from connectors.trust import StayingSession, TrustAdapter, tls_context

USER_AGENT: Final = "syncvault"
MAX_SESSIONS: Final = 5  # Exchange's default lets one account sync five folders at once
_REFUSAL_LIMIT: Final = 1024 * 1024

# At DEBUG these print whole requests, addresses and the tokens of the sign-in. What we say ourselves holds none.
for _name in ("exchangelib", "spnego", "requests_ntlm"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class SignInAdapter(TrustAdapter):
    """Reads refusals at once, and no longer ones than there are, having noted which certificate they came under.

    What signs in reads them too, however long they are, and looks for the certificate on a connection that has been
    given back by then.
    """

    guard: Guard | None = None

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        """One request, if the guard lets it out.

        Raises:
            ProtocolViolation: A refusal is larger than any that is expected.
            PassingFaultError: A refusal hardly comes.
        """
        send = partial(super().send, request, *args, **options)
        if self.guard is None:
            response = send()
        else:
            response = self.guard.let_out(request, send, is_connected=lambda: self.is_connected)
        if response.status_code == HTTPStatus.UNAUTHORIZED:
            response.end_point = _end_point(response)  # type: ignore[attr-defined]  # for `sign_in.methods.end_point_of`
            body = _whole(response)
            response.raw = HTTPResponse(io.BytesIO(body), status=response.status_code, preload_content=False)
        return response

    @property
    def is_connected(self) -> bool:
        """Whether its connection is there, and nobody uses it."""
        waiting = (connection for pool in self._pools() for connection in pool.pool.queue)
        return any(connection is not None and connection.is_connected for connection in waiting)

    @property
    def connections(self) -> int:
        """How many connections have been made so far."""
        return sum(pool.num_connections for pool in self._pools())

    def _pools(self) -> list[Any]:
        pools = self.poolmanager.pools
        return [pools[key] for key in pools.keys()]  # noqa: SIM118  # they cannot be iterated over


def _end_point(response: requests.Response) -> bytes | None:
    socket = socket_of(response)
    certificate = socket.getpeercert(binary_form=True) if isinstance(socket, ssl.SSLSocket) else None
    return server_end_point(certificate) if certificate else None


def _whole(response: requests.Response) -> bytes:
    try:
        return b"".join(blocks(response, _REFUSAL_LIMIT))
    except AnswerTooLargeError:
        response.close()
        raise ProtocolViolation("The server's refusal is larger than any that is expected.") from None
    except HTTPError:
        raise requests.exceptions.ChunkedEncodingError from None
    except PassingFaultError:
        response.close()
        raise


def trusted(settings: EwsSettings) -> ssl.SSLContext:
    """Whom the tenant trusts.

    Raises:
        Unreachable: The CA bundle holds no usable certificate.
    """
    try:
        return tls_context(settings.ca_pem)
    except ssl.SSLError:
        raise Unreachable("The CA bundle holds no usable certificate.") from None


def bare_session(context: ssl.SSLContext, guard: Guard | None = None, lines: Lines | None = None) -> requests.Session:
    """A session that speaks https with the tenant's trust, signs in nobody, and takes nothing from the environment."""
    session = StayingSession()
    session.trust_env = False
    session.headers.update(DEFAULT_HEADERS)
    session.headers["User-Agent"] = USER_AGENT
    session.adapters.clear()
    # One connection per session: NTLM signs in a connection.
    adapter = SignInAdapter(context, lines, pool_connections=1, pool_maxsize=1, pool_block=True, max_retries=0)
    adapter.guard = guard
    session.mount("https://", adapter)
    return session


class TenantProtocol(BaseProtocol):  # type: ignore[misc]  # exchangelib has no types
    """exchangelib's session pool, without the cache, the adapter and the sign-in that it shares between tenants."""

    def __init__(self, settings: EwsSettings, *, sleep: Sleep = time.sleep, now: Now = utc_now) -> None:
        if not settings.ews_url.lower().startswith("https://"):
            raise ProtocolViolation("The EWS address must begin with https://.")
        self._context = trusted(settings)
        self.lines = Lines(sleep)
        self._sign_in = way_to_sign_in(settings, self._context, sleep=sleep, now=now, lines=self.lines)
        # A token of an application belongs to nobody: such requests are made in the name of the account's mailbox.
        self.stand_in = settings.username if isinstance(settings.credential, OAuthClient) else ""
        super().__init__(
            Configuration(
                service_endpoint=settings.ews_url,
                auth_type=NOAUTH,  # ours signs in
                retry_policy=FailFast(),
                max_connections=MAX_SESSIONS,
            )
        )

    @property
    def sign_in(self) -> SignIn:
        """How the tenant signs in."""
        return self._sign_in

    def refused(self) -> CredentialRejected:
        """What a refusal by the server means."""
        return CredentialRejected(self._sign_in.refused, code="http-401")

    def create_session(self) -> requests.Session:
        """A session that has not signed in yet."""
        session = bare_session(self._context, lines=self.lines)
        session.auth = self._sign_in.auth()
        # Marks that exchangelib's pool, and ours, keep on sessions.
        session.session_id = random.randint(10_000, 99_999)  # type: ignore[attr-defined]  # noqa: S311
        session.usage_count = 0  # type: ignore[attr-defined]
        session.signed_in = False  # type: ignore[attr-defined]
        return session

    def close(self) -> None:
        """Ends the connections, and forgets what was made of the credential."""
        super().close()
        self._sign_in.close()


class Envelope(EWSService):  # type: ignore[misc]  # exchangelib has no types
    """exchangelib's SOAP envelope around a body of our own, in the name of a mailbox if one is given."""

    SERVICE_NAME = "Envelope"

    def __init__(self, protocol: TenantProtocol, address: str, *, by_any_address: bool = False) -> None:
        super().__init__(protocol)
        name = address or protocol.stand_in
        kind = "smtp_address" if by_any_address else "primary_smtp_address"
        self._identity = Identity(**{kind: name}) if name else None

    @property
    def _account_to_impersonate(self) -> Identity | None:
        return self._identity

    def seal(self, operation: etree._Element, version: str) -> tuple[bytes, dict[str, str]]:
        """The request's bytes and its extra headers (`X-AnchorMailbox`)."""
        # The header only routes the request; one that HTTP cannot carry is left out.
        headers = {name: text for name, text in self._extra_headers().items() if text.isascii() and text.isprintable()}
        return bytes(self.wrap(operation, api_version=version)), headers
