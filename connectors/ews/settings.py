"""What the adapter has to know of a tenant: where its Exchange is, who we are there, and what proves it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

PasswordAuth = Literal["ntlm", "basic"]


@dataclass(frozen=True, slots=True)
class Password:
    """A service account's password as UTF-8, and how it is offered: by NTLM, or as it is (Basic, over TLS)."""

    secret: bytes = field(repr=False)
    auth: PasswordAuth = "ntlm"


@dataclass(frozen=True, slots=True)
class Keytab:
    """Kerberos with the keys of a service account: what a keytab file holds. Nothing of it touches the disk."""

    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class TicketCache:
    """Kerberos with the tickets that something else on this machine keeps fresh in a file; read for every sign-in."""

    file: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class OAuthClient:
    """OAuth 2.0 client credentials at a given endpoint: AD FS, or Entra for hybrid modern authentication.

    Attributes:
        token_url: Where tokens are given out; https.
        client_id: Of the application.
        secret: Its client secret as UTF-8.
        scope: What the token shall be for; empty for the origin of the EWS address with `/.default`.
    """

    token_url: str
    client_id: str
    secret: bytes = field(repr=False)
    scope: str = ""


EwsCredential = Password | Keytab | TicketCache | OAuthClient


@dataclass(frozen=True, slots=True)
class EwsSettings:
    r"""One tenant.

    Attributes:
        ews_url: The whole address of the service, such as `https://mail.example.com/EWS/Exchange.asmx`.
        username: The service account: `DOMAIN\name` or `name@example.com`; with Kerberos its principal.
        credential: What proves it.
        ca_pem: Certificates in PEM form, trusted in addition to the system's.
    """

    ews_url: str
    username: str
    credential: EwsCredential
    ca_pem: str = field(default="", repr=False)
