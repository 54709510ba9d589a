"""The company's records as Graph shows them, and contacts as clients write them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tests.simulators.company.records import ContactFolder, Group, Item, Person, PostalAddress
from tests.simulators.online import identifiers
from tests.simulators.online.errors import bad_request

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

DEFAULT_USER_FIELDS = [
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
]


def timestamp(moment: datetime) -> str:
    """A moment as Graph writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def etag(item: Item) -> str:
    """The weak ETag of a contact."""
    return f'W/"{item.change_key}"'


def contact_json(item: Item, folder: ContactFolder, *, immutable: bool) -> dict[str, Any]:
    """A contact with every property of its resource type."""
    shown: dict[str, Any] = {
        "@odata.etag": etag(item),
        "id": identifiers.item_id(item.id, folder, immutable=immutable),
        "createdDateTime": timestamp(item.created),
        "lastModifiedDateTime": timestamp(item.modified),
        "changeKey": item.change_key,
        "categories": [],
        "parentFolderId": identifiers.folder_id(folder),
        # Outlook keeps a birthday as a point in time around noon, so that no time zone shifts the day.
        "birthday": f"{item.birthday}T11:59:00Z" if item.birthday else None,
        "fileAs": item.display_name,
        "yomiGivenName": None,
        "yomiSurname": None,
        "yomiCompanyName": None,
        "emailAddresses": [{"name": item.display_name or a, "address": a} for a in item.email_addresses],
    }
    for name, attribute in _TEXT.items():
        shown[name] = getattr(item, attribute) or (None if name not in {"displayName", "personalNotes"} else "")
    for name, attribute in _LISTS.items():
        shown[name] = list(getattr(item, attribute))
    for name, attribute in _ADDRESSES.items():
        address = getattr(item, attribute)
        shown[name] = {part: text for part, own in _POSTAL.items() if (text := getattr(address, own))}
    return shown


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


def folder_json(folder: ContactFolder) -> dict[str, Any]:
    """A contact folder."""
    parent = identifiers.ROOT_FOLDER if folder.parent_id is None else identifiers.folder_key(folder.parent_id)
    return {"id": identifiers.folder_id(folder), "parentFolderId": parent, "displayName": folder.name}


def user_json(person: Person) -> dict[str, Any]:
    """A user with the properties of its type that the simulator knows."""
    address = person.address
    proxies = [f"SMTP:{person.mail}"] if person.mail else []
    return {
        "id": person.object_id,
        "accountEnabled": person.enabled,
        "businessPhones": list(person.business_phones),
        "city": address.city or None,
        "companyName": person.company or None,
        "country": address.country or None,
        "createdDateTime": timestamp(person.created),
        "department": person.department or None,
        "displayName": person.display_name,
        "faxNumber": None,
        "givenName": person.given_name or None,
        "imAddresses": [],
        "jobTitle": person.job_title or None,
        "mail": person.mail,
        "mailNickname": person.user_principal_name.partition("@")[0],
        "mobilePhone": person.mobile_phone or None,
        "officeLocation": person.office_location or None,
        "otherMails": list(person.other_addresses),
        "postalCode": address.postal_code or None,
        "preferredLanguage": None,
        "proxyAddresses": [*proxies, *(f"smtp:{a}" for a in person.other_addresses)],
        "showInAddressList": person.in_address_list,
        "state": address.region or None,
        "streetAddress": address.street or None,
        "surname": person.surname or None,
        "userPrincipalName": person.user_principal_name,
        "userType": "Member",
    }


def group_json(group: Group) -> dict[str, Any]:
    """A security group."""
    return {
        "id": group.object_id,
        "createdDateTime": "2026-01-05T08:00:00Z",
        "description": None,
        "displayName": group.display_name,
        "groupTypes": [],
        "mail": None,
        "mailEnabled": False,
        "mailNickname": group.object_id[:8],
        "securityEnabled": True,
        "visibility": None,
    }
