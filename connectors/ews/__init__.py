"""Exchange on premises: reads mailboxes over Exchange Web Services with one service account."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from connectors.ews.settings import EwsCredential, EwsSettings, Keytab, OAuthClient, Password, TicketCache
from connectors.selection import Selection
from connectors.throttle import Now, Sleep, utc_now

if TYPE_CHECKING:
    from connectors.ews.connector import EwsConnector

__all__ = ["EwsCredential", "EwsSettings", "Keytab", "OAuthClient", "Password", "TicketCache", "connect", "discover"]

_USUAL = Selection()


def connect(
    settings: EwsSettings,
    *,
    selection: Selection = _USUAL,
    sleep: Sleep = time.sleep,
    now: Now = utc_now,
    page_size: int = 0,
) -> EwsConnector:
    """A connector for one tenant. Sends nothing yet.

    Args:
        settings: Where and as whom.
        selection: What is wanted of a mailbox.
        sleep: What waits between attempts.
        now: The present instant.
        page_size: Contacts per page; 0 for the connector's own choice, 512 at most.

    Raises:
        ConnectorError: The settings cannot be used.
    """
    from connectors.ews.connector import EwsConnector  # noqa: PLC0415  # exchangelib takes half a second to import

    return EwsConnector(settings, selection, sleep=sleep, now=now, page_size=page_size)


def discover(username: str, credential: EwsCredential, domain: str, *, ca_pem: str = "") -> str:
    r"""The address of EWS that a domain's autodiscover names for the service account; signs in once at most.

    Args:
        username: The service account: `DOMAIN\name`, `name@example.com` or its principal.
        credential: What proves it.
        domain: Where the account's mailbox is at home, such as `example.com`.
        ca_pem: Certificates in PEM form, trusted in addition to the system's.

    Raises:
        ConnectorError: There is none, it refused the credential, or it leads to plain http or out of the domain.
    """
    from connectors.ews import autodiscover  # noqa: PLC0415  # exchangelib takes half a second to import

    return autodiscover.discover(username, credential, domain, ca_pem=ca_pem)
