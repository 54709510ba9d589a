"""Exchange Online through Microsoft Graph, signed in as an application.

Importing this package is cheap: msal and requests are loaded by the first `connect`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from connectors.graph.settings import CLOUDS as CLOUDS
from connectors.graph.settings import ClientCertificate as ClientCertificate
from connectors.graph.settings import ClientSecret as ClientSecret
from connectors.graph.settings import FederatedToken as FederatedToken
from connectors.graph.settings import GraphCredential as GraphCredential
from connectors.graph.settings import GraphSettings as GraphSettings
from connectors.graph.settings import ManagedIdentity as ManagedIdentity
from connectors.graph.sign_in.credentials import CertificateError as CertificateError
from connectors.graph.sign_in.credentials import load_certificate as load_certificate
from connectors.selection import Selection
from connectors.throttle import Now, Sleep, utc_now

if TYPE_CHECKING:
    from connectors.graph.connector import GraphConnector
    from connectors.graph.directory.permissions import Checked

__all__ = [
    "CLOUDS",
    "CertificateError",
    "ClientCertificate",
    "ClientSecret",
    "FederatedToken",
    "GraphCredential",
    "GraphSettings",
    "ManagedIdentity",
    "check",
    "connect",
    "load_certificate",
]


_USUAL = Selection()


def connect(
    settings: GraphSettings,
    *,
    selection: Selection = _USUAL,
    sleep: Sleep = time.sleep,
    now: Now = utc_now,
    page_size: int = 0,
) -> GraphConnector:
    """A connector for one tenant. Makes no request yet.

    Args:
        settings: Where the tenant is and what opens it.
        selection: What is wanted of a mailbox.
        sleep: Waits some seconds; called between retries.
        now: Tells the time (aware, UTC).
        page_size: Contacts to ask for in a page; 0 leaves the choice to the connector.

    Raises:
        ValueError: An origin is not `https://host[:port]`, or `ca_pem` holds no certificate.
    """
    from connectors.graph.connector import open_connector  # noqa: PLC0415 - requests and msal take 0.2 s to load

    return open_connector(settings, selection, sleep=sleep, now=now, page_size=page_size)


def check(
    settings: GraphSettings,
    *,
    users: Sequence[str] = (),
    groups: Sequence[str] = (),
    sleep: Sleep = time.sleep,
    now: Now = utc_now,
) -> Checked:
    """Signs in and tries every feature; see `connectors.graph.directory.features.check`."""
    from connectors.graph.directory import features  # noqa: PLC0415 - the same

    return features.check(settings, users=users, groups=groups, sleep=sleep, now=now)
