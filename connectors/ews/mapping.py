"""From Exchange's contact element to the canonical contact, straight from the parsed tree.

Pure. Fields that are not on the canonical list are not looked at. Source: Microsoft, "Contact (Exchange Web
Services)" and the element pages it names.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final

from lxml import etree, html

from connectors.contact import NOTES_LIMIT, Contact, PostalAddress, clean_list, clean_text
from connectors.ews.operations import TYPES

Children = dict[str, etree._Element]

_T: Final = f"{{{TYPES}}}"
_ENTRY: Final = f"{_T}Entry"
_FOREIGN_ADDRESS = re.compile(r"(?:sip|eum|x400|x500|ex|fax|ms|ccmail|notes|gwise|ums|spo|rfax|meum):", re.IGNORECASE)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_OWN_SCHEME = re.compile(r"(?:smtp|mailto):", re.IGNORECASE)
# Exchange keeps a birthday as an instant: 11:59 UTC on the day, or, in older versions, midnight where the owner was.
# Midnight east of Greenwich is the evening before in UTC.
_TO_NEXT_DAY: Final = timedelta(hours=11, minutes=59)


def children_of(element: etree._Element) -> Children:
    """The element's children by their local name."""
    return {child.tag[len(_T) :]: child for child in element if isinstance(child.tag, str)}


def contact_from(element: etree._Element, *, address: str = "") -> Contact:
    """The canonical contact of a `t:Contact` element.

    Args:
        element: A contact item, or a directory entry as ResolveNames gives it.
        address: The primary address where it is known from elsewhere; comes first among the e-mail addresses.
    """
    found = children_of(element)
    name = children_of(found["CompleteName"]) if "CompleteName" in found else {}
    phones = _entries(found, "PhoneNumbers")
    places = {entry.get("Key", ""): entry for entry in found.get("PhysicalAddresses", ())}
    return Contact(
        display_name=_text(found, "DisplayName") or _text(name, "FullName"),
        given_name=_text(found, "GivenName") or _text(name, "FirstName"),
        middle_name=_text(found, "MiddleName") or _text(name, "MiddleName"),
        surname=_text(found, "Surname") or _text(name, "LastName"),
        title=_text(name, "Title"),
        generation=_text(found, "Generation") or _text(name, "Suffix"),
        initials=_text(found, "Initials") or _text(name, "Initials"),
        nickname=_text(found, "Nickname") or _text(name, "Nickname"),
        company=_text(found, "CompanyName"),
        department=_text(found, "Department"),
        job_title=_text(found, "JobTitle"),
        office_location=_text(found, "OfficeLocation"),
        profession=_text(found, "Profession"),
        manager=_manager(found),
        assistant=_text(found, "AssistantName"),
        email_addresses=_email_addresses(found, address),
        business_phones=clean_list((phones.get("BusinessPhone"), phones.get("BusinessPhone2"))),
        home_phones=clean_list((phones.get("HomePhone"), phones.get("HomePhone2"))),
        mobile_phone=clean_text(phones.get("MobilePhone")),
        im_addresses=clean_list(text for _, text in sorted(_entries(found, "ImAddresses").items())),
        web_page=_text(found, "BusinessHomePage"),
        business_address=_place(places.get("Business")),
        home_address=_place(places.get("Home")),
        other_address=_place(places.get("Other")),
        birthday=_birthday(_text(found, "Birthday")),
        spouse=_text(found, "SpouseName"),
        children=clean_list(child.text for child in found.get("Children", ())),
        notes=_notes(found),
    )


def is_private(element: etree._Element) -> bool:
    """Whether the owner marked the item private."""
    return (element.findtext(f"{_T}Sensitivity") or "").strip() == "Private"


def has_picture(element: etree._Element) -> bool | None:
    """Whether the item has a contact photo; None where the server does not say."""
    text = (element.findtext(f"{_T}HasPicture") or "").strip().lower()
    return None if not text else text in {"true", "1"}


def plain_address(text: str, *, routing: str = "", name: str = "") -> str:
    """An e-mail address without its scheme; empty for what is no SMTP address (SIP, X.500, voice mail, fax).

    An entry that holds only Exchange's internal name (`/o=…`) gives the SMTP address in its display name, if it is one.
    """
    own = _OWN_SCHEME.match(text)
    if own:
        return text[own.end() :]
    internal = routing.upper() == "EX" and (text.startswith("/") or "@" not in text)
    if internal or text[:3].lower() == "/o=":
        return name if "@" in name and " " not in name else ""
    if _FOREIGN_ADDRESS.match(text) or routing.upper() not in {"", "SMTP", "EX"}:
        return ""
    return text


def _text(found: Children, name: str) -> str:
    element = found.get(name)
    return "" if element is None else clean_text(element.text)


def _entries(found: Children, name: str) -> dict[str, str]:
    dictionary = found.get(name)
    if dictionary is None:
        return {}
    return {entry.get("Key", ""): entry.text or "" for entry in dictionary if entry.tag == _ENTRY}


def _email_addresses(found: Children, address: str) -> tuple[str, ...]:
    entries = [entry for entry in found.get("EmailAddresses", ()) if entry.tag == _ENTRY]
    # The directory writes the scheme of the primary address in capitals.
    entries.sort(key=lambda entry: (not (entry.text or "").startswith("SMTP:"), entry.get("Key", "")))
    addresses = [
        plain_address(entry.text or "", routing=entry.get("RoutingType", ""), name=entry.get("Name", ""))
        for entry in entries
    ]
    if address:
        addresses = [address, *(other for other in addresses if other.lower() != address.lower())]
    return clean_list(addresses)


def _manager(found: Children) -> str:
    name = _text(found, "Manager")
    if name and not name.lower().startswith(("cn=", "/o=")):
        return name
    mailbox = found.get("ManagerMailbox")
    return "" if mailbox is None else clean_text(mailbox.findtext(f"{_T}Mailbox/{_T}Name"))


def _place(entry: etree._Element | None) -> PostalAddress:
    if entry is None:
        return PostalAddress()
    found = children_of(entry)
    return PostalAddress(
        street=_text(found, "Street"),
        city=_text(found, "City"),
        region=_text(found, "State"),
        postal_code=_text(found, "PostalCode"),
        country=_text(found, "CountryOrRegion"),
    )


def _birthday(text: str) -> str:
    text = text.strip()
    if not _DATE.match(text) or text.startswith(("4501-", "1601-")):  # what Outlook writes for "none"
        return ""
    try:
        instant = datetime.fromisoformat(text)
        return (instant + _TO_NEXT_DAY if text.endswith("Z") else instant).date().isoformat()
    except (ValueError, OverflowError):
        return ""


def _notes(found: Children) -> str:
    body = found.get("Body")
    if body is None:
        body = found.get("Notes")  # of a directory entry
    if body is None or not body.text:
        return ""
    text = _plain(body.text) if body.get("BodyType") == "HTML" else body.text
    return clean_text(text, limit=NOTES_LIMIT)


def _plain(markup: str) -> str:
    """The text of a note that a server gave as HTML although plain text was asked for."""
    if not markup.strip():
        return ""
    document = html.document_fromstring(markup.encode(), parser=html.HTMLParser(encoding="utf-8", no_network=True))
    etree.strip_elements(document, "head", "script", "style", with_tail=False)
    for element in document.iter("br", "p", "div"):
        element.tail = "\n" + (element.tail or "")
    return "".join(str(text) for text in document.itertext()).strip()
