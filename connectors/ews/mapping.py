"""From Exchange's contact element to the canonical contact, straight from the parsed tree.

Pure. Each wanted field has a rule that reads one element; elements without a rule are not looked at. Source: Microsoft,
"Contact (Exchange Web Services)" and the element pages it names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final, NamedTuple

from lxml import etree, html

from connectors.contact import NOTES_LIMIT, Contact, clean_list, clean_text
from connectors.ews.wire.operations import TYPES
from connectors.selection import FULL

Fields = frozenset[str]  # names of connectors.selection.FIELDS
Filled = dict[str, Any]  # what `Contact.to_dict` gives: nothing empty

_Rule = Callable[[etree._Element, Filled], None]  # reads an element into the fields it fills

_T: Final = f"{{{TYPES}}}"
_ENTRY: Final = f"{_T}Entry"
_SENSITIVITY: Final = f"{_T}Sensitivity"
# What an item says of itself stands beside the fields while it is read; no field has such a name.
_IS_PRIVATE: Final = "(private)"
_HAS_PICTURE: Final = "(picture)"
_FOREIGN_ADDRESS = re.compile(r"(?:sip|eum|x400|x500|ex|fax|ms|ccmail|notes|gwise|ums|spo|rfax|meum):", re.IGNORECASE)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_OWN_SCHEME = re.compile(r"(?:smtp|mailto):", re.IGNORECASE)
# Exchange keeps a birthday as an instant: 11:59 UTC on the day, or, in older versions, midnight where the owner was.
# Midnight east of Greenwich is the evening before in UTC.
_TO_NEXT_DAY: Final = timedelta(hours=11, minutes=59)


class Item(NamedTuple):
    """What a contact item says: of the person, and of itself.

    Attributes:
        contact: The canonical contact.
        is_private: Whether the owner marked it private.
        has_picture: Whether it has a contact photo; None where the server does not say.
    """

    contact: Contact
    is_private: bool
    has_picture: bool | None


def item_from(element: etree._Element, fields: Fields) -> Item:
    """What the `t:Contact` element of an item says.

    Args:
        element: The item.
        fields: The fields that are wanted; the others stay empty.
    """
    texts, rules = _texts(fields), _rules(fields)
    filled: Filled = {}
    for child in element:
        tag = child.tag
        if (target := texts.get(tag)) is not None:  # most fields are
            if text := clean_text(child.text):
                filled[target] = text
        elif (rule := rules.get(tag)) is not None:
            rule(child, filled)
    return Item(Contact.of(filled), filled.pop(_IS_PRIVATE, False), filled.pop(_HAS_PICTURE, None))


def contact_from(element: etree._Element, *, address: str = "") -> Contact:
    """The canonical contact of a directory entry, as ResolveNames gives it.

    Args:
        element: The entry's `t:Contact` element.
        address: The primary address where it is known from elsewhere; comes first among the e-mail addresses.
    """
    contact = item_from(element, FULL).contact
    if not address:
        return contact
    others = (one for one in contact.email_addresses if one.lower() != address.lower())
    return contact.replace(email_addresses=clean_list([address, *others]))


def is_private(element: etree._Element) -> bool:
    """Whether the owner marked the item private."""
    # `find` goes through Python code for every element.
    sensitivity = next(element.iterchildren(_SENSITIVITY), None)
    return sensitivity is not None and _is_private(sensitivity)


def _is_private(sensitivity: etree._Element) -> bool:
    return (sensitivity.text or "").strip() == "Private"


def plain_address(text: str, *, routing: str = "", name: str = "") -> str:
    """An e-mail address without its scheme; empty for what is no SMTP address (SIP, X.500, voice mail, fax).

    An entry that holds only Exchange's internal name (`/o=…`) gives the SMTP address in its display name, if it is one.
    """
    if routing == "SMTP" and ":" not in text and text[:1] != "/":
        return text  # nearly all
    own = _OWN_SCHEME.match(text)
    if own:
        return text[own.end() :]
    internal = routing.upper() == "EX" and (text.startswith("/") or "@" not in text)
    if internal or text[:3].lower() == "/o=":
        return name if "@" in name and " " not in name else ""
    if _FOREIGN_ADDRESS.match(text) or routing.upper() not in {"", "SMTP", "EX"}:
        return ""
    return text


# -- rules ---------------------------------------------------------------------------------------------------------

_TEXTS: Final = {
    "DisplayName": "display_name",
    "GivenName": "given_name",
    "MiddleName": "middle_name",
    "Surname": "surname",
    "Generation": "generation",
    "Initials": "initials",
    "Nickname": "nickname",
    "CompanyName": "company",
    "Department": "department",
    "JobTitle": "job_title",
    "OfficeLocation": "office_location",
    "Profession": "profession",
    "AssistantName": "assistant",
    "BusinessHomePage": "web_page",
    "SpouseName": "spouse",
}
_NAME_PARTS: Final = {
    "FullName": "display_name",
    "FirstName": "given_name",
    "MiddleName": "middle_name",
    "LastName": "surname",
    "Title": "title",
    "Suffix": "generation",
    "Initials": "initials",
    "Nickname": "nickname",
}
_PHONES: Final = {
    "BusinessPhone": "business_phones",
    "BusinessPhone2": "business_phones",
    "HomePhone": "home_phones",
    "HomePhone2": "home_phones",
    "MobilePhone": "mobile_phone",
}
_PLACES: Final = {"Business": "business_address", "Home": "home_address", "Other": "other_address"}
_PLACE_PARTS: Final = {
    f"{_T}{name}": part
    for name, part in (
        ("Street", "street"),
        ("City", "city"),
        ("State", "region"),
        ("PostalCode", "postal_code"),
        ("CountryOrRegion", "country"),
    )
}


@lru_cache(maxsize=64)
def _texts(fields: Fields) -> dict[str, str]:
    """These fields as far as they are the text of an element, by the elements' names."""
    return {f"{_T}{name}": target for name, target in _TEXTS.items() if target in fields}


@lru_cache(maxsize=64)
def _rules(fields: Fields) -> dict[str, _Rule]:
    """How the other fields are read, by the elements' names."""
    rules: dict[str, _Rule] = {"Sensitivity": _read_sensitivity, "HasPicture": _read_has_picture}
    together: list[tuple[str, Iterable[str], _Rule]] = [
        ("CompleteName", _NAME_PARTS.values(), _complete_name_rule(fields)),
        ("PhoneNumbers", _PHONES.values(), _phones_rule(fields)),
        ("PhysicalAddresses", _PLACES.values(), _places_rule(fields)),
        ("EmailAddresses", ["email_addresses"], _read_email_addresses),
        ("ImAddresses", ["im_addresses"], _read_im_addresses),
        ("Birthday", ["birthday"], _read_birthday),
        ("Children", ["children"], _read_children),
        ("Manager", ["manager"], _read_manager),
        ("ManagerMailbox", ["manager"], _read_manager_mailbox),
        ("Body", ["notes"], _read_notes),
        ("Notes", ["notes"], _read_notes),  # of a directory entry
    ]
    rules.update({name: rule for name, targets, rule in together if not fields.isdisjoint(targets)})
    return {f"{_T}{name}": rule for name, rule in rules.items()}


def _read_sensitivity(element: etree._Element, filled: Filled) -> None:
    filled[_IS_PRIVATE] = _is_private(element)


def _read_has_picture(element: etree._Element, filled: Filled) -> None:
    text = (element.text or "").strip().lower()
    if text:
        filled[_HAS_PICTURE] = text in {"true", "1"}


def _complete_name_rule(fields: Fields) -> _Rule:
    parts = {f"{_T}{name}": target for name, target in _NAME_PARTS.items() if target in fields}

    def read(element: etree._Element, filled: Filled) -> None:
        for child in element:
            target = parts.get(child.tag)
            # The elements of their own, before this one or after it, come first.
            if target is not None and target not in filled and (text := clean_text(child.text)):
                filled[target] = text

    return read


def _phones_rule(fields: Fields) -> _Rule:
    wanted = {key: target for key, target in _PHONES.items() if target in fields}

    def read(element: etree._Element, filled: Filled) -> None:
        found = {entry.get("Key", ""): entry.text for entry in element}
        for key, target in wanted.items():  # a first number before a second
            text = clean_text(found.get(key))
            if text:
                filled[target] = text if key == "MobilePhone" else clean_list((*filled.get(target, ()), text))

    return read


def _places_rule(fields: Fields) -> _Rule:
    wanted = {key: target for key, target in _PLACES.items() if target in fields}

    def read(element: etree._Element, filled: Filled) -> None:
        for entry in element:
            target = wanted.get(entry.get("Key", ""))
            if target is not None:
                parts = {
                    part: text
                    for one in entry
                    if (part := _PLACE_PARTS.get(one.tag)) and (text := clean_text(one.text))
                }
                if parts:
                    filled[target] = parts

    return read


def _read_email_addresses(element: etree._Element, filled: Filled) -> None:
    entries = [(entry.text or "", entry) for entry in element if entry.tag == _ENTRY]
    if len(entries) > 1:  # the directory writes the scheme of the primary address in capitals
        entries.sort(key=lambda found: (not found[0].startswith("SMTP:"), found[1].get("Key", "")))
    addresses = clean_list(
        [plain_address(text, routing=one.get("RoutingType", ""), name=one.get("Name", "")) for text, one in entries]
    )
    if addresses:
        filled["email_addresses"] = addresses


def _read_im_addresses(element: etree._Element, filled: Filled) -> None:
    entries = sorted((entry.get("Key", ""), entry.text or "") for entry in element if entry.tag == _ENTRY)
    addresses = clean_list(text for _, text in entries)
    if addresses:
        filled["im_addresses"] = addresses


def _read_children(element: etree._Element, filled: Filled) -> None:
    children = clean_list(child.text for child in element)
    if children:
        filled["children"] = children


def _read_manager(element: etree._Element, filled: Filled) -> None:
    name = clean_text(element.text)
    if name and not name.lower().startswith(("cn=", "/o=")):
        filled["manager"] = name


def _read_manager_mailbox(element: etree._Element, filled: Filled) -> None:
    name = clean_text(element.findtext(f"{_T}Mailbox/{_T}Name"))
    if name:
        filled.setdefault("manager", name)


def _read_birthday(element: etree._Element, filled: Filled) -> None:
    text = (element.text or "").strip()
    if not _DATE.match(text) or text.startswith(("4501-", "1601-")):  # what Outlook writes for "none"
        return
    try:
        instant = datetime.fromisoformat(text)
        day = (instant + _TO_NEXT_DAY if text.endswith("Z") else instant).date()
    except (ValueError, OverflowError):
        return
    filled["birthday"] = day.isoformat()


def _read_notes(element: etree._Element, filled: Filled) -> None:
    text = element.text or ""
    notes = clean_text(_plain(text) if element.get("BodyType") == "HTML" else text, limit=NOTES_LIMIT)
    if notes:
        filled.setdefault("notes", notes)


def _plain(markup: str) -> str:
    """The text of a note that a server gave as HTML although plain text was asked for."""
    try:
        document = html.document_fromstring(markup.encode(), parser=html.HTMLParser(encoding="utf-8", no_network=True))
    except etree.ParserError:  # there is nothing, or nothing but comments
        return ""
    etree.strip_elements(document, "head", "script", "style", with_tail=False)
    for element in document.iter("br", "p", "div"):
        element.tail = "\n" + (element.tail or "")
    return "".join(str(text) for text in document.itertext()).strip()
