"""Graph's JSON into the canonical contact; the fields that are wanted are also what `$select` asks for.

Sources: Microsoft Graph, "contact resource type" and "user resource type".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Final

from connectors.contact import NOTES_LIMIT, Contact, clean_list, clean_text
from connectors.selection import FULL

Json = dict[str, Any]
Fields = frozenset[str]  # names of connectors.selection.FIELDS

_Rule = tuple[str, str, Callable[[Any], Any]]  # Graph's property, our field, how the one becomes the other

_ISO_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}(?!\d)")
_MAILBOX_PROPERTIES: Final = ("id", "mail", "userPrincipalName", "accountEnabled", "showInAddressList")
_CARD_ADDRESSES: Final = ("mail", "proxyAddresses", "otherMails")
_CONTACT_POSTAL: Final = (
    ("street", "street"),
    ("city", "city"),
    ("state", "region"),
    ("postalCode", "postal_code"),
    ("countryOrRegion", "country"),
)
_CARD_POSTAL: Final = (
    ("streetAddress", "street"),
    ("city", "city"),
    ("state", "region"),
    ("postalCode", "postal_code"),
    ("country", "country"),
)


def contact_select(fields: Fields) -> str:
    """The properties of a contact to ask for: its ID and those that fill the fields."""
    return ",".join(["id", *(source for source, _, _ in _contact_rules(fields))])


def contact_from(entry: Json, fields: Fields = FULL) -> Contact:
    """A contact of a mailbox with the fields that are wanted. Whatever has an unexpected type counts as empty."""
    return Contact.of(_filled(entry, _contact_rules(fields)))


def card_select(fields: Fields) -> str:
    """The properties of a user to ask for: those that make a mailbox and those that fill the fields."""
    asked = [*_MAILBOX_PROPERTIES, *(source for source, _, _ in _card_rules(fields))]
    if "email_addresses" in fields:
        asked += _CARD_ADDRESSES
    if "business_address" in fields:
        asked += (source for source, _ in _CARD_POSTAL)
    return ",".join(dict.fromkeys(asked))


def card_from(entry: Json, fields: Fields = FULL) -> Contact:
    """A user of the directory, as a card with the fields that are wanted."""
    filled = _filled(entry, _card_rules(fields))
    if "email_addresses" in fields and (addresses := _card_addresses(entry)):
        filled["email_addresses"] = addresses
    if "business_address" in fields and (address := _parts(entry, _CARD_POSTAL)):
        filled["business_address"] = address
    return Contact.of(filled)


def _filled(entry: Json, rules: Iterable[_Rule]) -> Json:
    get = entry.get
    return {target: found for source, target, read in rules if (value := get(source)) and (found := read(value))}


def _texts(value: object) -> tuple[str, ...]:
    return clean_list(value) if isinstance(value, list) else ()


def _address(value: object) -> dict[str, str]:
    return _parts(value, _CONTACT_POSTAL) if isinstance(value, dict) else {}


def _parts(entry: Json, names: Iterable[tuple[str, str]]) -> dict[str, str]:
    """An address, of which our names follow Graph's."""
    get = entry.get
    return {part: text for source, part in names if (text := clean_text(get(source)))}


def _mail_addresses(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        return ()
    return clean_list(entry.get("address") for entry in value if isinstance(entry, dict))


def _card_addresses(entry: Json) -> tuple[str, ...]:
    proxies = entry.get("proxyAddresses")
    found = [entry.get("mail")]
    if isinstance(proxies, list):
        # The primary one is written SMTP:, aliases smtp:; SIP:, X500: and the like are no e-mail addresses.
        found += [text[5:] for text in proxies if isinstance(text, str) and text[:5].lower() == "smtp:"]
    others = entry.get("otherMails")
    if isinstance(others, list):
        found += others
    distinct: dict[str, str] = {}
    for address in clean_list(found):
        distinct.setdefault(address.casefold(), address)
    return tuple(distinct.values())


def _date(value: object) -> str:
    # Graph gives an instant (11:59 UTC on the day); Outlook shows its date.
    return match.group(0) if isinstance(value, str) and (match := _ISO_DATE.match(value)) else ""


def _notes(value: object) -> str:
    return clean_text(value, limit=NOTES_LIMIT)


_TEXTS: Final[tuple[tuple[str, str], ...]] = (
    ("displayName", "display_name"),
    ("givenName", "given_name"),
    ("surname", "surname"),
    ("companyName", "company"),
    ("department", "department"),
    ("jobTitle", "job_title"),
    ("officeLocation", "office_location"),
    ("mobilePhone", "mobile_phone"),
)  # of contacts and users alike
_CONTACT_RULES: Final[tuple[_Rule, ...]] = (
    *((source, target, clean_text) for source, target in _TEXTS),
    ("middleName", "middle_name", clean_text),
    ("title", "title", clean_text),
    ("generation", "generation", clean_text),
    ("initials", "initials", clean_text),
    ("nickName", "nickname", clean_text),
    ("profession", "profession", clean_text),
    ("manager", "manager", clean_text),
    ("assistantName", "assistant", clean_text),
    ("businessHomePage", "web_page", clean_text),
    ("spouseName", "spouse", clean_text),
    ("emailAddresses", "email_addresses", _mail_addresses),
    ("businessPhones", "business_phones", _texts),
    ("homePhones", "home_phones", _texts),
    ("imAddresses", "im_addresses", _texts),
    ("children", "children", _texts),
    ("businessAddress", "business_address", _address),
    ("homeAddress", "home_address", _address),
    ("otherAddress", "other_address", _address),
    ("birthday", "birthday", _date),
    ("personalNotes", "notes", _notes),
)
_CARD_RULES: Final[tuple[_Rule, ...]] = (
    *((source, target, clean_text) for source, target in _TEXTS),
    ("businessPhones", "business_phones", _texts),
)


def _wanted(rules: Iterable[_Rule], fields: Fields) -> tuple[_Rule, ...]:
    return tuple(rule for rule in rules if rule[1] in fields)


@lru_cache(maxsize=64)
def _contact_rules(fields: Fields) -> tuple[_Rule, ...]:
    return _wanted(_CONTACT_RULES, fields)


@lru_cache(maxsize=64)
def _card_rules(fields: Fields) -> tuple[_Rule, ...]:
    return _wanted(_CARD_RULES, fields)
