"""The directory: whose address it is, and the person's card, by ResolveNames.

Asked as the service account itself, without impersonation: a mailbox that refuses us still has a card.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from lxml import etree

from connectors.contact import Contact
from connectors.ews.mapping import contact_from, plain_address
from connectors.ews.wire.codes import NO_ENTRY, failure
from connectors.ews.wire.operations import TYPES, get_contacts_folder, resolve_names
from connectors.ews.wire.session import EwsSession, only
from connectors.ews.wire.soap import is_whole
from connectors.port import MailboxGone, NotPermitted, ServerFault

MOST_RESOLUTIONS: Final = 100  # in one answer, whoever else there is
MAILBOXES: Final = frozenset({"", "Mailbox", "Unknown"})  # types of what may be a mailbox here

_T: Final = f"{{{TYPES}}}"


@dataclass(frozen=True, slots=True)
class Entry:
    """What the directory says of an address: whose primary one it belongs to, and the person's card.

    `kind` is Exchange's `MailboxType`: `Mailbox`, `Contact` (somebody outside), `PublicDL`, …; empty if it says none.
    """

    primary: str = field(repr=False)
    card: Contact = field(repr=False)
    kind: str = ""


def look_up(session: EwsSession, address: str) -> Entry | None:
    """The directory entry that carries exactly this address, None if there is none.

    Without a scheme Exchange looks at primary addresses, with one at all of a person's.
    """
    for name in (address, f"smtp:{address}"):
        # The search is by prefix, so somebody else may be found.
        for entry in resolutions(session, name)[0]:
            if address.lower() in {other.lower() for other in (entry.primary, *entry.card.email_addresses)}:
                return entry
    return None


def resolutions(session: EwsSession, beginning: str) -> tuple[list[Entry], bool]:
    """Whose name or address begins like this; and whether these are all for certain."""
    message = session.call(resolve_names(beginning)).messages[0]
    found = message.find("ResolutionSet")  # several people are a warning, with some servers an error
    if message.failed and message.code in NO_ENTRY:
        return [], True
    if message.failed and found is None:
        raise failure(message.code, impersonating=False)
    if found is None:
        return [], message.code in NO_ENTRY
    pairs = ((item.find(f"{_T}Mailbox"), item.find(f"{_T}Contact")) for item in found.iterfind(f"{_T}Resolution"))
    entries = [_entry(mailbox, contact) for mailbox, contact in pairs if mailbox is not None]
    # Whatever it says, a hundred may be where Exchange stops. What tells more is another server: its word counts.
    is_beyond = len(entries) > MOST_RESOLUTIONS and bool(found.get("IncludesLastItemInRange"))
    return entries, is_whole(found, len(entries)) and (len(entries) < MOST_RESOLUTIONS or is_beyond)


def open_mailbox(session: EwsSession, address: str) -> None:
    """Looks into a mailbox; an alias is known as one from then on.

    Raises:
        ConnectorError: There is none, it refuses us, or it is out of order.
    """
    only(session.call(get_contacts_folder(), act_as=address), act_as=address)


def has_mailbox(session: EwsSession, address: str) -> bool:
    """Whether there is a mailbox at an address that the directory does not show; it may be hidden from address lists.

    A mailbox that refuses us, or is out of order for now, is one.
    """
    try:
        open_mailbox(session, address)
    except MailboxGone:
        return False
    except (NotPermitted, ServerFault):
        return True
    return True


def _entry(mailbox: etree._Element, element: etree._Element | None) -> Entry:
    routing, kind = (_text(mailbox, name) for name in ("RoutingType", "MailboxType"))
    element = etree.Element(f"{_T}Contact") if element is None else element
    listed = contact_from(element)
    primary = plain_address(_text(mailbox, "EmailAddress"), routing=routing) or next(iter(listed.email_addresses), "")
    if not listed.display_name:
        etree.SubElement(element, f"{_T}DisplayName").text = _text(mailbox, "Name")
    return Entry(primary, contact_from(element, address=primary), kind)


def _text(element: etree._Element, name: str) -> str:
    return (element.findtext(f"{_T}{name}") or "").strip()
