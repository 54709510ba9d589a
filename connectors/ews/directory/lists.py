"""Distribution lists: their members at any depth, by ExpandDL. Asked as the service account itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from connectors.ews.directory.entries import MAILBOXES
from connectors.ews.mapping import plain_address
from connectors.ews.wire.codes import NO_ENTRY, failure
from connectors.ews.wire.operations import TYPES, expand_dl
from connectors.ews.wire.session import EwsSession
from connectors.ews.wire.soap import is_whole
from connectors.port import MailboxGone, ProtocolViolation, ServerFault, SourceGone

_T: Final = f"{{{TYPES}}}"
_LISTS: Final = frozenset({"PublicDL", "GroupMailbox"})
_ADVICE: Final = "Check the address of the list. A person's mailbox is registered with --mailbox."


@dataclass(frozen=True, slots=True)
class _Member:
    address: str = field(repr=False)
    kind: str


def members(session: EwsSession, address: str) -> Iterator[str]:
    """The addresses of all members that may be mailboxes, each once, and nobody outside; lists may contain each other.

    Raises:
        SourceGone: There is no such list.
        ConnectorError: Some list could not be read: who is in it is not known.
    """
    seen = {address.lower()}
    waiting = [address]
    while waiting:
        expanded = _expanded(session, waiting.pop())
        if expanded is None and len(seen) == 1:
            raise SourceGone("Exchange knows no distribution list with this address.", advice=_ADVICE)
        for member in expanded or ():
            if not member.address or member.address.lower() in seen:
                continue
            seen.add(member.address.lower())
            if member.kind in _LISTS:
                waiting.append(member.address)
            elif member.kind in MAILBOXES:
                yield member.address


def _expanded(session: EwsSession, address: str) -> list[_Member] | None:
    """Whom a list contains directly; None if there is none. A list whose members are hidden has none for us."""
    try:
        message = session.call(expand_dl(address)).messages[0]
    except (MailboxGone, ServerFault) as error:
        if isinstance(error, MailboxGone) or error.code in NO_ENTRY:
            return None
        raise
    found = message.find("DLExpansion")
    if found is None and message.code in NO_ENTRY:
        return None
    if found is None and message.failed:
        raise failure(message.code, impersonating=False)
    told = [] if found is None else list(found.iterfind(f"{_T}Mailbox"))
    if found is None or not is_whole(found, len(told)):
        raise ProtocolViolation("Exchange does not tell all members of a distribution list.")
    return [
        _Member(
            plain_address(
                (member.findtext(f"{_T}EmailAddress") or "").strip(),
                routing=(member.findtext(f"{_T}RoutingType") or "").strip(),
            ),
            (member.findtext(f"{_T}MailboxType") or "").strip(),
        )
        for member in told
    ]
