"""The company's records as Graph shows them, and contacts as clients write them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any

import orjson

from tests.simulators.company.records import ContactFolder, Group, Item, OrgContact, Person, PostalAddress
from tests.simulators.online import identifiers
from tests.simulators.online.errors import bad_request
from tests.simulators.online.resources import ResourceType

_TEXT = {
    "displayName": "display_name",
    "givenName": "given_name",
    "middleName": "middle_name",
    "surname": "surname",
    "title": "title",
    "generation": "generation",
    "initials": "initials",
    "nickName": "nickname",
    "companyName": "company",
    "department": "department",
    "jobTitle": "job_title",
    "officeLocation": "office_location",
    "profession": "profession",
    "manager": "manager",
    "assistantName": "assistant",
    "mobilePhone": "mobile_phone",
    "businessHomePage": "web_page",
    "spouseName": "spouse",
    "personalNotes": "notes",
}
_LISTS = {
    "businessPhones": "business_phones",
    "homePhones": "home_phones",
    "imAddresses": "im_addresses",
    "children": "children",
}
_ADDRESSES = {"businessAddress": "business_address", "homeAddress": "home_address", "otherAddress": "other_address"}
_POSTAL = {
    "street": "street",
    "city": "city",
    "state": "region",
    "countryOrRegion": "country",
    "postalCode": "postal_code",
}
_READ_ONLY = {"id", "changeKey", "createdDateTime", "lastModifiedDateTime", "parentFolderId"}
_NOT_KEPT = {"fileAs", "yomiCompanyName", "yomiGivenName", "yomiSurname", "categories"}


def timestamp(moment: datetime) -> str:
    """A moment as Graph writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def etag(item: Item) -> str:
    """The weak ETag of a contact."""
    return f'W/"{item.change_key}"'


def _contact_properties() -> dict[str, Callable[[Item], Any]]:
    shown: dict[str, Callable[[Item], Any]] = {
        "createdDateTime": lambda item: timestamp(item.created),
        "lastModifiedDateTime": lambda item: timestamp(item.modified),
        "changeKey": attrgetter("change_key"),
        "categories": lambda _: [],
        # Outlook keeps a birthday as a point in time around noon, so that no time zone shifts the day.
        "birthday": lambda item: f"{item.birthday}T11:59:00Z" if item.birthday else None,
        "fileAs": attrgetter("display_name"),
        "yomiGivenName": lambda _: None,
        "yomiSurname": lambda _: None,
        "yomiCompanyName": lambda _: None,
        "emailAddresses": lambda item: [{"name": item.display_name or a, "address": a} for a in item.email_addresses],
    }
    for name, attribute in _TEXT.items():
        empty = None if name not in {"displayName", "personalNotes"} else ""
        shown[name] = _text_property(attribute, empty)
    for name, attribute in _LISTS.items():
        shown[name] = attrgetter(attribute)
    for name, attribute in _ADDRESSES.items():
        shown[name] = _address_property(attribute)
    return shown


def _text_property(attribute: str, empty: str | None) -> Callable[[Any], str | None]:
    value = attrgetter(attribute)
    return lambda record: value(record) or empty


def _address_property(attribute: str) -> Callable[[Item], dict[str, str]]:
    value = attrgetter(attribute)
    return lambda item: _postal(value(item))


@lru_cache(maxsize=1_000)
def _postal(address: PostalAddress) -> dict[str, str]:
    return {part: text for part, own in _POSTAL.items() if (text := getattr(address, own))}


_CONTACT = ResourceType(_contact_properties())
# What depends on where the contact is and how the client asks; `id` comes whether selected or not.
_PLACED = {"id", "parentFolderId"}


def contact_json(
    item: Item, folder: ContactFolder, *, immutable: bool, names: tuple[str, ...] | None = None
) -> dict[str, Any]:
    """A contact with the selected, or else all, properties of its resource type; 400 for one that it does not have."""
    shown: dict[str, Any] = {
        "@odata.etag": etag(item),
        "id": identifiers.item_id(item.id, folder, immutable=immutable),
    }
    if names is None or "parentFolderId" in names:
        shown["parentFolderId"] = identifiers.folder_id(folder)
    if names is None:
        return shown | _CONTACT.show(item)
    own = _own_names(names)
    return shown | _CONTACT.show(item, own) if own else shown


def contact_row(
    item: Item, folder: ContactFolder, *, immutable: bool, names: tuple[str, ...] | None = None
) -> orjson.Fragment:
    """The same, ready to be sent; made once for clients that ask alike."""
    asked = (folder.id, immutable, names)
    if item.shown is None or item.shown[0] != asked:
        row = orjson.dumps(contact_json(item, folder, immutable=immutable, names=names))
        item.shown = asked, bytes(memoryview(row))  # orjson's own bytes hold on to several kilobytes each
    return orjson.Fragment(item.shown[1])


@lru_cache(maxsize=1_000)
def _own_names(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if name not in _PLACED)


def contact_fields(body: dict[str, Any]) -> dict[str, Any]:
    """What a client wrote, as fields of an item.

    Raises:
        GraphError: 400 for an unknown property, a wrong type, or more values than Outlook takes.
    """
    fields: dict[str, Any] = {}
    for name, value in body.items():
        if name in _TEXT:
            fields[_TEXT[name]] = _text(name, value)
        elif name in _LISTS:
            fields[_LISTS[name]] = tuple(_text(name, entry) for entry in value or ())
        elif name in _ADDRESSES:
            parts = {own: _text(part, (value or {}).get(part)) for part, own in _POSTAL.items()}
            fields[_ADDRESSES[name]] = PostalAddress(**parts)
        elif name == "emailAddresses":
            fields["email_addresses"] = tuple(_text(name, entry.get("address")) for entry in value or ())
        elif name == "birthday":
            fields["birthday"] = _text(name, value)[:10]
        elif name not in _READ_ONLY | _NOT_KEPT and not name.startswith("@odata"):
            raise bad_request(
                f"The property '{name}' does not exist on type 'Microsoft.OutlookServices.Contact'.", "RequestBodyRead"
            )
    if len(fields.get("business_phones", ())) > 2:
        raise bad_request("The collection 'BusinessPhones' has more than 2 entries.", "ErrorInvalidArgument")
    if len(fields.get("email_addresses", ())) > 3:
        raise bad_request("The collection 'EmailAddresses' has more than 3 entries.", "ErrorInvalidArgument")
    return fields


def _text(name: str, value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise bad_request(f"Cannot read the value of '{name}' as text.", "RequestBodyRead")
    return value


def folder_json(folder: ContactFolder, names: tuple[str, ...] | None = None) -> dict[str, Any]:
    """A contact folder."""
    return _FOLDER.show(folder, names)


def _parent(folder: ContactFolder) -> str:
    return identifiers.ROOT_FOLDER if folder.parent_id is None else identifiers.folder_key(folder.parent_id)


_FOLDER: ResourceType[ContactFolder] = ResourceType(
    {"id": identifiers.folder_id, "parentFolderId": _parent, "displayName": attrgetter("name")}, always=("id",)
)


def _optional(*attributes: str) -> dict[str, Callable[[Any], str | None]]:
    return {attribute: _text_property(attribute, None) for attribute in attributes}


def _proxies(record: Person | OrgContact) -> list[str]:
    primary = [f"SMTP:{record.mail}"] if record.mail else []
    return primary + [f"smtp:{address}" for address in record.other_addresses]


def _listed(person: Person) -> bool | None:
    # Nobody ever set it for somebody without a mailbox; hidden is `false` only.
    return person.in_address_list if person.box or not person.in_address_list else None


_PERSON_TEXT = _optional(
    "company",
    "department",
    "given_name",
    "surname",
    "job_title",
    "mobile_phone",
    "office_location",
    "address.city",
    "address.country",
    "address.region",
    "address.postal_code",
    "address.street",
    "mail",
)

USER: ResourceType[Person] = ResourceType(
    {
        "id": attrgetter("object_id"),
        "accountEnabled": attrgetter("enabled"),
        "businessPhones": attrgetter("business_phones"),
        "city": _PERSON_TEXT["address.city"],
        "companyName": _PERSON_TEXT["company"],
        "country": _PERSON_TEXT["address.country"],
        "createdDateTime": lambda person: timestamp(person.created),
        "department": _PERSON_TEXT["department"],
        "displayName": attrgetter("display_name"),
        "faxNumber": lambda _: None,
        "givenName": _PERSON_TEXT["given_name"],
        "imAddresses": lambda _: [],
        "jobTitle": _PERSON_TEXT["job_title"],
        "mail": _PERSON_TEXT["mail"],
        "mailNickname": lambda person: person.user_principal_name.partition("@")[0],
        "mobilePhone": _PERSON_TEXT["mobile_phone"],
        "officeLocation": _PERSON_TEXT["office_location"],
        "onPremisesSyncEnabled": lambda _: None,
        "otherMails": attrgetter("other_addresses"),
        "postalCode": _PERSON_TEXT["address.postal_code"],
        "preferredLanguage": lambda _: None,
        "proxyAddresses": _proxies,
        "showInAddressList": _listed,
        "state": _PERSON_TEXT["address.region"],
        "streetAddress": _PERSON_TEXT["address.street"],
        "surname": _PERSON_TEXT["surname"],
        "userPrincipalName": attrgetter("user_principal_name"),
        "userType": lambda _: "Member",
    },
    default=(
        "businessPhones",
        "displayName",
        "givenName",
        "id",
        "jobTitle",
        "mail",
        "mobilePhone",
        "officeLocation",
        "preferredLanguage",
        "surname",
        "userPrincipalName",
    ),
)

GROUP: ResourceType[Group] = ResourceType(
    {
        "id": attrgetter("object_id"),
        "createdDateTime": lambda _: "2026-01-05T08:00:00Z",
        "description": lambda _: None,
        "displayName": attrgetter("display_name"),
        # Only Microsoft 365 groups can hide their members.
        "groupTypes": lambda group: ["Unified"] * group.hidden + ["DynamicMembership"] * group.dynamic,
        "mail": lambda _: None,
        "mailEnabled": attrgetter("hidden"),
        "mailNickname": lambda group: group.object_id[:8],
        "membershipRule": lambda group: '(user.department -ne "")' if group.dynamic else None,
        "onPremisesSyncEnabled": lambda _: None,
        "securityEnabled": lambda group: not group.hidden,
        "visibility": lambda group: "HiddenMembership" if group.hidden else None,
    }
)


def _phones(contact: OrgContact) -> list[dict[str, str | None]]:
    numbers = {"mobile": contact.mobile_phone, "business": contact.business_phone, "businessFax": contact.business_fax}
    return [{"type": kind, "number": number or None} for kind, number in numbers.items()]


def _office(contact: OrgContact) -> list[dict[str, str | None]]:
    place = {part: getattr(contact.address, own) or None for part, own in _POSTAL.items()}
    return [{**place, "officeLocation": contact.office_location or None}]


ORG_CONTACT: ResourceType[OrgContact] = ResourceType(
    {
        "id": attrgetter("object_id"),
        "addresses": _office,
        "companyName": _PERSON_TEXT["company"],
        "department": _PERSON_TEXT["department"],
        "displayName": attrgetter("display_name"),
        "givenName": _PERSON_TEXT["given_name"],
        "jobTitle": _PERSON_TEXT["job_title"],
        "mail": _PERSON_TEXT["mail"],
        "mailNickname": lambda contact: contact.mail.partition("@")[0] if contact.mail else None,
        "onPremisesLastSyncDateTime": lambda _: None,
        "onPremisesProvisioningErrors": lambda _: [],
        "onPremisesSyncEnabled": lambda _: None,
        "phones": _phones,
        "proxyAddresses": _proxies,
        "serviceProvisioningErrors": lambda _: [],
        "surname": _PERSON_TEXT["surname"],
    }
)
