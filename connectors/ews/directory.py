"""The directory: whose address it is, and the person's card, by ResolveNames.

Asked as the service account itself, without impersonation: a mailbox that refuses us still has a card.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lxml import etree

from connectors.contact import Contact, clean_list
from connectors.ews.codes import NO_ENTRY, failure
from connectors.ews.mapping import contact_from, plain_address
from connectors.ews.operations import TYPES, get_contacts_folder, resolve_names
from connectors.ews.session import EwsSession, only
from connectors.port import MailboxGone, NotPermitted, ServerFault

_T = f"{{{TYPES}}}"


@dataclass(frozen=True, slots=True)
class Entry:
    """What the directory says of an address: whose primary one it belongs to, and the person's card."""

    primary: str = field(repr=False)
    card: Contact = field(repr=False)


def look_up(session: EwsSession, address: str) -> Entry | None:
    """The directory entry that carries exactly this address, None if there is none.

    Without a scheme Exchange looks at primary addresses, with one at all of a person's.
    """
    for name in (address, f"smtp:{address}"):
        for mailbox, element in _resolve(session, name):
            primary = plain_address((mailbox.findtext(f"{_T}EmailAddress") or "").strip())
            contact = Contact() if element is None else contact_from(element)
            # The search is by prefix, so somebody else may be found.
            if address.lower() in {other.lower() for other in (primary, *contact.email_addresses)}:
                return Entry(primary or address, _card(mailbox, element, primary or address))
    return None


def has_mailbox(session: EwsSession, address: str) -> bool:
    """Whether there is a mailbox at an address that the directory does not show; it may be hidden from address lists.

    A mailbox that refuses us, or is out of order for now, is one.
    """
    try:
        only(session.call(get_contacts_folder(), act_as=address), act_as=address)
    except MailboxGone:
        return False
    except (NotPermitted, ServerFault):
        return True
    return True


def _resolve(session: EwsSession, entry: str) -> list[tuple[etree._Element, etree._Element | None]]:
    message = session.call(resolve_names(entry)).messages[0]
    found = message.find("ResolutionSet")  # several people are a warning, with some servers an error
    if message.failed and message.code in NO_ENTRY:
        return []
    if message.failed and found is None:
        raise failure(message.code, impersonating=False)
    if found is None:
        return []
    pairs = ((item.find(f"{_T}Mailbox"), item.find(f"{_T}Contact")) for item in found.iterfind(f"{_T}Resolution"))
    return [(mailbox, contact) for mailbox, contact in pairs if mailbox is not None]


def _card(mailbox: etree._Element, element: etree._Element | None, primary: str) -> Contact:
    if element is None or not contact_from(element).display_name:
        name = mailbox.find(f"{_T}Name")
        if name is not None:
            element = etree.Element(f"{_T}Contact") if element is None else element
            etree.SubElement(element, f"{_T}DisplayName").text = name.text
    return (
        Contact(email_addresses=clean_list((primary,))) if element is None else contact_from(element, address=primary)
    )
