"""Graph's JSON into the canonical contact; the closed field list is also what `$select` asks for.

Sources: Microsoft Graph, "contact resource type" and "user resource type".
"""

from __future__ import annotations

import re
from typing import Any, Final

from connectors.contact import NOTES_LIMIT, Contact, PostalAddress, clean_list, clean_text

Json = dict[str, Any]

_CONTACT_TEXTS: Final = (
    ("displayName", "display_name"),
    ("givenName", "given_name"),
    ("middleName", "middle_name"),
    ("surname", "surname"),
    ("title", "title"),
    ("generation", "generation"),
    ("initials", "initials"),
    ("nickName", "nickname"),
    ("companyName", "company"),
    ("department", "department"),
    ("jobTitle", "job_title"),
    ("officeLocation", "office_location"),
    ("profession", "profession"),
    ("manager", "manager"),
    ("assistantName", "assistant"),
    ("mobilePhone", "mobile_phone"),
    ("businessHomePage", "web_page"),
    ("spouseName", "spouse"),
)
_CONTACT_LISTS: Final = (
    ("businessPhones", "business_phones"),
    ("homePhones", "home_phones"),
    ("imAddresses", "im_addresses"),
    ("children", "children"),
)
_CONTACT_ADDRESSES: Final = (
    ("businessAddress", "business_address"),
    ("homeAddress", "home_address"),
    ("otherAddress", "other_address"),
)
_USER_TEXTS: Final = (
    ("displayName", "display_name"),
    ("givenName", "given_name"),
    ("surname", "surname"),
    ("companyName", "company"),
    ("department", "department"),
    ("jobTitle", "job_title"),
    ("officeLocation", "office_location"),
    ("mobilePhone", "mobile_phone"),
)
_NO_ADDRESS: Final = PostalAddress()
_ISO_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}(?!\d)")

CONTACT_SELECT: Final = ",".join(
    ["id"]
    + [source for source, _ in (*_CONTACT_TEXTS, *_CONTACT_LISTS, *_CONTACT_ADDRESSES)]
    + ["emailAddresses", "birthday", "personalNotes"]
)
CARD_SELECT: Final = ",".join(
    ["id", "mail", "userPrincipalName", "otherMails", "proxyAddresses", "businessPhones"]
    + [source for source, _ in _USER_TEXTS]
    + ["streetAddress", "city", "state", "postalCode", "country"]
)


def contact_from(entry: Json) -> Contact:
    """A contact of a mailbox. Whatever has an unexpected type counts as empty."""
    get = entry.get
    filled: Json = {target: clean_text(value) for source, target in _CONTACT_TEXTS if (value := get(source))}
    for source, target in _CONTACT_LISTS:
        if value := get(source):
            filled[target] = _texts(value)
    for source, target in _CONTACT_ADDRESSES:
        filled[target] = _address(value) if (value := get(source)) else _NO_ADDRESS
    if value := get("emailAddresses"):
        filled["email_addresses"] = _mail_addresses(value)
    if value := get("personalNotes"):
        filled["notes"] = clean_text(value, limit=NOTES_LIMIT)
    if value := get("birthday"):
        filled["birthday"] = _date(value)
    return Contact(**filled)


def card_from(entry: Json) -> Contact:
    """A user of the directory, as a card."""
    filled: Json = {target: clean_text(value) for source, target in _USER_TEXTS if (value := entry.get(source))}
    return Contact(
        **filled,
        email_addresses=_card_addresses(entry),
        business_phones=_texts(entry.get("businessPhones")),
        business_address=_address(
            {
                "street": entry.get("streetAddress"),
                "city": entry.get("city"),
                "state": entry.get("state"),
                "postalCode": entry.get("postalCode"),
                "countryOrRegion": entry.get("country"),
            }
        ),
    )


def _texts(value: object) -> tuple[str, ...]:
    return clean_list(value) if isinstance(value, list) else ()


def _address(value: object) -> PostalAddress:
    if not isinstance(value, dict):
        return _NO_ADDRESS
    get = value.get
    return PostalAddress(
        clean_text(get("street")),
        clean_text(get("city")),
        clean_text(get("state")),
        clean_text(get("postalCode")),
        clean_text(get("countryOrRegion")),
    )


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
