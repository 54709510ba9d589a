"""Exchange on premises: reads mailboxes over Exchange Web Services with one service account."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from connectors.ews.settings import EwsCredential, EwsSettings, Keytab, OAuthClient, Password, TicketCache
from connectors.selection import Selection
from connectors.throttle import Now, Sleep, utc_now

if TYPE_CHECKING:
    from connectors.ews.connector import EwsConnector

__all__ = ["EwsCredential", "EwsSettings", "Keytab", "OAuthClient", "Password", "TicketCache", "connect"]

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
