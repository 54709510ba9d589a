"""What the adapter has to know of a tenant: where it is, who we are there, and what proves it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple
from urllib.parse import urlsplit


class Cloud(NamedTuple):
    """One of Microsoft's clouds: the origins of sign-in and of Graph ("National cloud deployments")."""

    authority: str
    graph: str


CLOUDS: Final = {
    "global": Cloud("https://login.microsoftonline.com", "https://graph.microsoft.com"),
    "us-gov": Cloud("https://login.microsoftonline.us", "https://graph.microsoft.us"),
    "us-dod": Cloud("https://login.microsoftonline.us", "https://dod-graph.microsoft.us"),
    "china": Cloud("https://login.partner.microsoftonline.cn", "https://microsoftgraph.chinacloudapi.cn"),
}


@dataclass(frozen=True, slots=True)
class ClientSecret:
    """A client secret as Entra shows it once (the value, not its ID), and when it ends, where that is known."""

    secret: bytes = field(repr=False)
    not_after: datetime | None = None


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A certificate with its private key, in the one form that is stored; `load_certificate` makes it.

    Attributes:
        private_key_pem: The key, PKCS 8, not encrypted.
        certificate_pem: The certificate of the key first, then those of its issuers that came along.
        not_after: When the certificate ends.
        thumbprint: SHA-1 in upper-case hexadecimal digits, as Entra shows it. To tell certificates apart, not to trust.
    """

    private_key_pem: bytes = field(repr=False)
    certificate_pem: bytes = field(repr=False)
    not_after: datetime | None = None
    thumbprint: str = ""


@dataclass(frozen=True, slots=True)
class ManagedIdentity:
    """The identity that Azure gives the machine we run on: the one with this client ID, or the machine's own."""

    client_id: str = ""


@dataclass(frozen=True, slots=True)
class FederatedToken:
    """A workload identity: a file that holds a token of an issuer whom the application trusts.

    The platform replaces what is in the file every hour or so; it is read afresh for every sign-in and never kept.
    """

    file: str = field(repr=False)


GraphCredential = ClientSecret | ClientCertificate | ManagedIdentity | FederatedToken


@dataclass(frozen=True, slots=True)
class GraphSettings:
    """One tenant. `authority` and `graph_url` are origins that replace the cloud's; `ca_pem` adds to system trust.

    `uses_proxy` tells whether the proxy that the environment names (`HTTPS_PROXY`, `NO_PROXY`) is used.
    """

    directory_id: str
    client_id: str
    credential: GraphCredential
    cloud: str = "global"
    authority: str = ""
    graph_url: str = ""
    ca_pem: str = field(default="", repr=False)
    uses_proxy: bool = True

    def authority_origin(self) -> str:
        """Where to sign in; raises ValueError if it is no https origin."""
        return https_origin(self.authority or CLOUDS[self.cloud].authority)

    def graph_origin(self) -> str:
        """Where Graph is; raises ValueError if it is no https origin."""
        return https_origin(self.graph_url or CLOUDS[self.cloud].graph)


def https_origin(url: str) -> str:
    """The origin in its normal form, `https://host[:port]` without the default port.

    Raises:
        ValueError: It is something else: another scheme, a path, a user name.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.path not in {"", "/"} or "@" in parts.netloc:
        raise ValueError("not an origin like https://graph.microsoft.com")
    if parts.query or parts.fragment:
        raise ValueError("not an origin like https://graph.microsoft.com")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"https://{host}" if parts.port in {None, 443} else f"https://{host}:{parts.port}"
