"""Exchange on premises: reads mailboxes over Exchange Web Services with one service account."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from connectors.selection import Selection
from connectors.throttle import Now, Sleep, utc_now

if TYPE_CHECKING:
    from connectors.ews.connector import EwsConnector

Auth = Literal["ntlm", "basic"]

__all__ = ["Auth", "EwsSettings", "connect"]


@dataclass(frozen=True, slots=True)
class EwsSettings:
    r"""How to reach one tenant's Exchange.

    Attributes:
        ews_url: The whole address of the service, such as `https://mail.example.com/EWS/Exchange.asmx`.
        username: The service account: `DOMAIN\name` or `name@example.com`.
        password: Its password as UTF-8.
        auth: How it signs in.
        ca_pem: Certificates in PEM form, trusted in addition to the system's.
    """

    ews_url: str
    username: str
    password: bytes = field(repr=False)
    auth: Auth = "ntlm"
    ca_pem: str = field(default="", repr=False)


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
