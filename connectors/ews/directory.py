"""The directory: a mailbox's card by ResolveNames. Asked as the service account itself, without impersonation."""

from __future__ import annotations

from lxml import etree

from connectors.contact import Contact, clean_list
from connectors.ews.codes import NO_ENTRY, failure
from connectors.ews.mapping import contact_from, plain_address
from connectors.ews.operations import TYPES, resolve_names
from connectors.ews.session import EwsSession
from connectors.port import Mailbox

_T = f"{{{TYPES}}}"


def card_of(session: EwsSession, mailbox: Mailbox) -> Contact:
    """The person's directory entry; where the directory has none, a card with nothing but the address."""
    return look_up(session, mailbox.address) or Contact(email_addresses=clean_list((mailbox.address,)))


def look_up(session: EwsSession, address: str) -> Contact | None:
    """The directory entry that carries exactly this address, None if there is none.

    Without a scheme Exchange looks at primary addresses, with one at all of a person's.
    """
    for entry in (address, f"smtp:{address}"):
        for mailbox, element in _resolve(session, entry):
            primary = plain_address((mailbox.findtext(f"{_T}EmailAddress") or "").strip())
            contact = Contact() if element is None else contact_from(element)
            # The search is by prefix, so somebody else may be found.
            if address.lower() in {other.lower() for other in (primary, *contact.email_addresses)}:
                return _card(mailbox, element, primary or address)
    return None


def _resolve(session: EwsSession, entry: str) -> list[tuple[etree._Element, etree._Element | None]]:
    message = session.call(resolve_names(entry)).messages[0]
    if message.failed and message.code in NO_ENTRY:
        return []
    if message.failed:
        raise failure(message.code, impersonating=False)
    found = message.find("ResolutionSet")
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
