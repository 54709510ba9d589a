"""What Graph's refusals mean: status and error code into the port's errors, with what an administrator can do.

Sources: Microsoft Graph, "Microsoft Graph error responses and resource types"; Entra, "Microsoft Entra authentication
and authorization error codes".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from connectors.port import (
    ConnectorError,
    MailboxGone,
    NoMailbox,
    NotPermitted,
    ProtocolViolation,
    ServerFault,
)

CONTACTS: Final = (
    "Grant the application Contacts.Read for this mailbox: in Exchange Online with RBAC for Applications"
    " (management scope), or for all mailboxes in Entra."
)
USERS: Final = "Grant the application User.Read.All in Entra, with admin consent."
GROUPS: Final = (
    "Grant the application GroupMember.Read.All in Entra, with admin consent;"
    " for groups with hidden membership Member.Read.Hidden too."
)

_LOST: Final = (
    "Nothing to do if it passes: the next run begins anew. If it stays so, ask Microsoft's support, with the code."
)

_CODE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.\-]{0,79}")
_NO_MAILBOX: Final = frozenset(
    {
        "mailboxnotenabledforrestapi",
        "mailboxnotsupportedforrestapi",
        "mailboxnothostedinexchangeonline",
        "errornonexistentmailbox",
        "errormailboxnotenabledforrestapi",
    }
)
_NO_USER: Final = frozenset({"request_resourcenotfound", "resourcenotfound", "errorinvaliduser", "invaliduser"})
_NO_FOLDER: Final = frozenset(
    {"erroritemnotfound", "errorfoldernotfound", "itemnotfound", "errornonexistentfolder", "erroritemnotfoundinfolder"}
)
_LOST_STATE: Final = frozenset(
    {
        "syncstatenotfound",
        "syncstateinvalid",
        "errorinvalidsyncstatedata",
        "resyncrequired",
        "resyncchangesapplydifferences",
        "resyncchangesuploaddifferences",
        "fullsyncrequired",
    }
)


class Refusal(Exception):
    """An answer that says no and that no repetition would turn into a yes."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"HTTP {status} {code}")
        self.status = status
        self.code = code

    @property
    def no_mailbox(self) -> bool:
        """The user exists without a mailbox here."""
        return self.status in {400, 404} and self.code.lower() in _NO_MAILBOX

    @property
    def no_user(self) -> bool:
        """The user does not exist."""
        return self.status in {400, 404} and self.code.lower() in _NO_USER

    @property
    def no_folder(self) -> bool:
        """The folder does not exist."""
        return self.status == 404 and self.code.lower() in _NO_FOLDER

    @property
    def lost_state(self) -> bool:
        """The server does not know the checkpoint any more and wants a round from the start."""
        return self.status == 410 or (400 <= self.status < 500 and self.code.lower() in _LOST_STATE)


def error_code(body: Any) -> str:
    """The code in an error body, empty where there is none. Messages are not read: they name people."""
    error = body.get("error") if isinstance(body, Mapping) else None
    code = error.get("code") if isinstance(error, Mapping) else error
    return code if isinstance(code, str) and _CODE.fullmatch(code) else ""


def explain(refusal: Refusal, *, advice: str) -> ConnectorError:
    """The port's error for a refusal that its place in the code has no special meaning for.

    Args:
        refusal: What the server answered.
        advice: Names the permission that the request needs.
    """
    code = refusal.code
    if refusal.status == 401:
        # Not the credential: Graph takes its tokens elsewhere, or `Tokens` would have ended all of it.
        return NotPermitted("Graph refuses here a token that it takes elsewhere.", code=code, advice=advice)
    if refusal.status == 403:
        return NotPermitted("Graph does not let the application read this.", code=code, advice=advice)
    if refusal.no_mailbox:
        return NoMailbox("The person has no mailbox in Exchange Online.", code=code)
    if refusal.no_user:
        return MailboxGone("The user does not exist in this directory.", code=code)
    if 300 <= refusal.status < 400:
        return ProtocolViolation("The server redirects, and redirects are not followed.", code=code)
    message, advice = f"Graph refused the request with HTTP {refusal.status}.", ""
    if refusal.lost_state:
        message = f"Graph lost its place in a list, or in changes that it keeps track of (HTTP {refusal.status})."
        advice = _LOST
    return ServerFault(message, code=code or f"http-{refusal.status}", advice=advice)
