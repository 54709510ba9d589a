"""From a persona, as FindPeople shows people, to whom it means and the canonical card.

Pure. Source: Microsoft, "Persona" and the element pages it names.
"""

from __future__ import annotations

from typing import Any, Final

from lxml import etree

from connectors.contact import Contact, PostalAddress, clean_list, clean_text
from connectors.ews.mapping import plain_address
from connectors.ews.wire.operations import TYPES

_T: Final = f"{{{TYPES}}}"
_TEXTS: Final = {  # our field: the element, then the list that may stand in its place
    "display_name": ("DisplayName", "DisplayNames"),
    "given_name": ("GivenName", "GivenNames"),
    "middle_name": ("MiddleName", "MiddleNames"),
    "surname": ("Surname", "Surnames"),
    "title": ("DisplayNamePrefix", "DisplayNamePrefixes"),
    "generation": ("Generation", "Generations"),
    "initials": ("", "Initials"),
    "nickname": ("Nickname", "Nicknames"),
    "company": ("CompanyName", "CompanyNames"),
    "department": ("Department", "Departments"),
    "job_title": ("Title", "Titles"),
    "office_location": ("", "OfficeLocations"),
    "manager": ("", "Managers"),
    "assistant": ("", "AssistantNames"),
    "web_page": ("", "BusinessHomePages"),
}


def is_person(persona: etree._Element) -> bool:
    """Whether it is somebody: no room, no list, no group."""
    return (persona.findtext(f"{_T}PersonaType") or "Person").strip() in {"Person", "Unknown"}


def addresses_of(persona: etree._Element) -> tuple[str, ...]:
    """A persona's SMTP addresses, the primary one first."""
    places = ("EmailAddress", "EmailAddresses/{0}Address", *(f"Emails{n}/*/{{0}}Value" for n in (1, 2, 3)))
    found = (element for place in places for element in persona.iterfind(f"{_T}{place.format(_T)}"))
    return clean_list(
        plain_address(
            (element.findtext(f"{_T}EmailAddress") or "").strip(),
            routing=(element.findtext(f"{_T}RoutingType") or "").strip(),
        )
        for element in found
    )


def card_from(persona: etree._Element) -> Contact:
    """The canonical card of a `t:Persona`, as far as the directory fills one."""
    texts: dict[str, Any] = {name: _text(persona, *places) for name, places in _TEXTS.items()}
    return Contact(
        **texts,
        email_addresses=addresses_of(persona),
        business_phones=_numbers(persona, "BusinessPhoneNumbers", "BusinessPhoneNumbers2"),
        home_phones=_numbers(persona, "HomePhones", "HomePhones2"),
        mobile_phone=next(iter(_numbers(persona, "MobilePhones", "MobilePhones2")), ""),
        im_addresses=_im_addresses(persona),
        business_address=_place(persona, "BusinessAddresses"),
        home_address=_place(persona, "HomeAddresses"),
        other_address=_place(persona, "OtherAddresses"),
    )


def _text(persona: etree._Element, plain: str, listed: str) -> str:
    text = clean_text(persona.findtext(f"{_T}{plain}")) if plain else ""
    return text or next(iter(_values(persona, listed)), "")


def _values(persona: etree._Element, *names: str) -> tuple[str, ...]:
    found = (element for name in names for element in persona.iterfind(f"{_T}{name}/*/{_T}Value"))
    return clean_list(element.text for element in found)


def _numbers(persona: etree._Element, *names: str) -> tuple[str, ...]:
    found = (element for name in names for element in persona.iterfind(f"{_T}{name}/*/{_T}Value/{_T}Number"))
    return clean_list(element.text for element in found)


def _im_addresses(persona: etree._Element) -> tuple[str, ...]:
    return clean_list(
        [
            persona.findtext(f"{_T}ImAddress"),
            *_values(persona, "ImAddresses", "ImAddresses2", "ImAddresses3"),
        ]
    )


def _place(persona: etree._Element, name: str) -> PostalAddress:
    found = persona.find(f"{_T}{name}/*/{_T}Value")
    if found is None:
        return PostalAddress()
    return PostalAddress(
        street=clean_text(found.findtext(f"{_T}Street")),
        city=clean_text(found.findtext(f"{_T}City")),
        region=clean_text(found.findtext(f"{_T}State")),
        postal_code=clean_text(found.findtext(f"{_T}PostalCode")),
        country=clean_text(found.findtext(f"{_T}Country")),
    )
