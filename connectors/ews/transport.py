"""exchangelib's sessions and sign-in for one tenant: its own pool and trust, nothing shared with another tenant."""

from __future__ import annotations

import logging
import ssl
from typing import Any, Final

import requests
from exchangelib.account import Identity
from exchangelib.configuration import Configuration
from exchangelib.credentials import Credentials
from exchangelib.protocol import BaseProtocol, FailFast
from exchangelib.services.common import EWSService
from exchangelib.transport import BASIC, DEFAULT_HEADERS, NTLM
from lxml import etree
from requests.auth import HTTPBasicAuth

from connectors.ews.settings import EwsSettings, Password
from connectors.port import CredentialRejected, ProtocolViolation, Unreachable
from connectors.trust import TrustAdapter, tls_context

USER_AGENT: Final = "syncvault"
MAX_SESSIONS: Final = 5  # Exchange's default lets one account sync five folders at once

_AUTH_TYPES: Final = {"ntlm": NTLM, "basic": BASIC}

# At DEBUG these print whole requests, addresses and the tokens of the sign-in. What we say ourselves holds none.
for _name in ("exchangelib", "spnego", "requests_ntlm"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class TenantProtocol(BaseProtocol):  # type: ignore[misc]  # exchangelib has no types
    """exchangelib's session pool and sign-in, without the cache and the adapter that it shares between tenants."""

    def __init__(self, settings: EwsSettings) -> None:
        if not settings.ews_url.lower().startswith("https://"):
            raise ProtocolViolation("The EWS address must begin with https://.")
        credential = settings.credential
        if not isinstance(credential, Password) or credential.auth not in _AUTH_TYPES:
            raise ProtocolViolation("The way to sign in must be ntlm or basic.")
        try:
            self._context = tls_context(settings.ca_pem)
        except ssl.SSLError:
            raise Unreachable("The CA bundle holds no usable certificate.") from None
        try:
            password = credential.secret.decode()
        except UnicodeDecodeError:
            raise CredentialRejected("The password is not UTF-8 text.") from None
        super().__init__(
            Configuration(
                credentials=Credentials(settings.username, password),
                service_endpoint=settings.ews_url,
                auth_type=_AUTH_TYPES[credential.auth],
                retry_policy=FailFast(),
                max_connections=MAX_SESSIONS,
            )
        )

    def create_session(self) -> requests.Session:
        """A session that has not signed in yet."""
        session: requests.Session = super().create_session()
        if self.auth_type == BASIC:
            # As bytes: requests would encode texts as Latin-1 (RFC 7617 wants UTF-8).
            session.auth = HTTPBasicAuth(self.credentials.username.encode(), self.credentials.password.encode())
        session.signed_in = False  # type: ignore[attr-defined]  # exchangelib keeps such marks on sessions too
        return session

    def raw_session(self, prefix: str, **_options: Any) -> requests.Session:  # noqa: ARG002  # exchangelib's signature
        """A bare session that speaks https with the tenant's trust, and takes nothing from the environment."""
        session = requests.Session()
        session.trust_env = False
        session.headers.update(DEFAULT_HEADERS)
        session.headers["User-Agent"] = USER_AGENT
        session.adapters.clear()
        # One connection per session: NTLM signs in a connection.
        session.mount(
            "https://",
            TrustAdapter(self._context, pool_connections=1, pool_maxsize=1, pool_block=True, max_retries=0),
        )
        return session


class Envelope(EWSService):  # type: ignore[misc]  # exchangelib has no types
    """exchangelib's SOAP envelope around a body of our own, in the name of a mailbox if one is given."""

    SERVICE_NAME = "Envelope"

    def __init__(self, protocol: TenantProtocol, address: str) -> None:
        super().__init__(protocol)
        self._identity = Identity(primary_smtp_address=address) if address else None

    @property
    def _account_to_impersonate(self) -> Identity | None:
        return self._identity

    def seal(self, operation: etree._Element, version: str) -> tuple[bytes, dict[str, str]]:
        """The request's bytes and its extra headers (`X-AnchorMailbox`)."""
        # The header only routes the request; one that HTTP cannot carry is left out.
        headers = {name: text for name, text in self._extra_headers().items() if text.isascii() and text.isprintable()}
        return bytes(self.wrap(operation, api_version=version)), headers
