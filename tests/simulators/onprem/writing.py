"""What clients write: contacts out of their elements, and the changes of UpdateItem."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lxml import etree

from tests.simulators.company.model import Item, PostalAddress
from tests.simulators.onprem.extended import FILE_AS, OTHER_PHONES, Key, extended_key, key_of_tag, placed, written
from tests.simulators.onprem.fields import ADDRESS_PARTS
from tests.simulators.onprem.soap import EwsError, T, children, local, value

Extended = dict[Key, str]

_TEXTS = {
    "DisplayName": "display_name",
    "GivenName": "given_name",
    "Initials": "initials",
    "MiddleName": "middle_name",
    "Nickname": "nickname",
    "CompanyName": "company",
    "AssistantName": "assistant",
    "BusinessHomePage": "web_page",
    "Department": "department",
    "Generation": "generation",
    "JobTitle": "job_title",
    "Manager": "manager",
    "OfficeLocation": "office_location",
    "Profession": "profession",
    "SpouseName": "spouse",
    "Surname": "surname",
}
_DICTIONARIES = {
    "EmailAddresses": (("EmailAddress1", "EmailAddress2", "EmailAddress3"), "email_addresses"),
    "ImAddresses": (("ImAddress1", "ImAddress2", "ImAddress3"), "im_addresses"),
}
_PHONES = {
    "BusinessPhone": ("business_phones", 0),
    "BusinessPhone2": ("business_phones", 1),
    "HomePhone": ("home_phones", 0),
    "HomePhone2": ("home_phones", 1),
}
_INDEXED = {
    "contacts:EmailAddress": ("email_addresses", "EmailAddress"),
    "contacts:ImAddress": ("im_addresses", "ImAddress"),
}
_ADDRESSES = {"Business": "business_address", "Home": "home_address", "Other": "other_address"}
_READ_ONLY = {"CompleteName", "HasPicture", "ContactSource", "Alias", "Notes", "Photo", "DirectoryId", "HasAttachments"}


def read_contact(element: etree._Element) -> tuple[dict[str, Any], Extended]:
    """The fields that a `t:Contact` holds, as the company names them, and its extended properties."""
    fields: dict[str, Any] = {}
    extended: Extended = {}
    for child in children(element):
        name = local(child)
        if name == "ExtendedProperty":
            key, content = read_extended(child)
            known = written(replace(Item(""), **fields), key, content)
            fields.update(known or {})
            if known is None:
                extended[key] = content
        else:
            fields.update(_read_property(name, child, Item("")))
            extended.update(_read_others(child))
    return fields, extended


def _read_others(element: etree._Element) -> Extended:
    """What the company has no place for, under the names that MAPI has for it."""
    if local(element) == "FileAs":
        return {FILE_AS: element.text or ""}
    entries = _entries(element) if local(element) == "PhoneNumbers" else {}
    return {key_of_tag(OTHER_PHONES[key]): content for key, content in entries.items() if key in OTHER_PHONES}


def read_extended(element: etree._Element) -> tuple[Key, str]:
    """An extended property's key and value."""
    uri = element.find(f"{T}ExtendedFieldURI")
    attributes = {} if uri is None else {str(name): str(content) for name, content in uri.attrib.items()}
    return extended_key(attributes), value(element, "t:Value")


def _read_property(name: str, element: etree._Element, before: Item) -> dict[str, Any]:
    content = element.text or ""
    if name in _TEXTS:
        return {_TEXTS[name]: content}
    if name in {"Body", "Sensitivity", "Birthday", "Children"}:
        return _read_special(name, element)
    if name in _DICTIONARIES:
        keys, attribute = _DICTIONARIES[name]
        entries = _entries(element)
        return {attribute: tuple(entries[key] for key in keys if entries.get(key))}
    if name == "PhoneNumbers":
        return _read_phones(_entries(element), before)
    if name == "PhysicalAddresses":
        return _read_addresses(element, before)
    if name in _READ_ONLY:
        raise EwsError("ErrorInvalidPropertySet", "Set action is invalid for property.")
    return {}  # what the company has no place for


def _read_special(name: str, element: etree._Element) -> dict[str, Any]:
    content = element.text or ""
    if name == "Body":
        return {"notes": content}
    if name == "Sensitivity":
        return {"private": content == "Private"}
    if name == "Birthday":
        return {"birthday": content[:10]}
    return {"children": tuple(child.text or "" for child in children(element))}


def _entries(element: etree._Element) -> dict[str, str]:
    return {entry.get("Key", ""): entry.text or "" for entry in children(element)}


def _read_phones(entries: dict[str, str], before: Item) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    for key, content in entries.items():
        if key == "MobilePhone":
            changed["mobile_phone"] = content
        elif key in _PHONES:
            attribute, place = _PHONES[key]
            current = changed.get(attribute, getattr(before, attribute))
            changed[attribute] = placed(current, place, content)
    return changed


def _read_addresses(element: etree._Element, before: Item) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    for entry in children(element):
        attribute = _ADDRESSES.get(entry.get("Key", ""), "")
        if attribute:
            parts = {
                part: value(entry, f"t:{name}") for name, part in ADDRESS_PARTS if entry.find(f"{T}{name}") is not None
            }
            changed[attribute] = replace(getattr(before, attribute), **parts)
    return changed


def read_updates(updates: list[etree._Element], before: Item) -> tuple[dict[str, Any], Extended]:
    """What a list of SetItemField, AppendToItemField and DeleteItemField does to an item."""
    fields: dict[str, Any] = {}
    extended: Extended = {}
    current = before
    for update in updates:
        path = children(update)[0]
        if local(path) == "ExtendedFieldURI":
            key = extended_key({str(name): str(content) for name, content in path.attrib.items()})
            content = value(update, "t:Contact/t:ExtendedProperty/t:Value")
            known = written(current, key, content)
            fields.update(known or {})
            current = replace(before, **fields)
            if known is None:
                extended[key] = content
            continue
        fields.update(_read_update(local(update), path, update, current))
        for given in update.iterfind(f"{T}Contact/*"):
            extended.update(_read_others(given))
        if local(update) == "DeleteItemField":
            extended.update(_cleared_others(path))
        current = replace(before, **fields)
    return fields, extended


def _index(written: str, prefix: str) -> int:
    """Which of three entries an index such as `EmailAddress2` means, counted from nought."""
    if written not in {f"{prefix}{place}" for place in (1, 2, 3)}:
        raise EwsError("ErrorInvalidPropertySet", "Set action is invalid for property.")
    return int(written[-1]) - 1


def _cleared_others(path: etree._Element) -> Extended:
    if path.get("FieldURI") == "contacts:FileAs":
        return {FILE_AS: ""}
    tag = OTHER_PHONES.get(path.get("FieldIndex", "")) if path.get("FieldURI") == "contacts:PhoneNumber" else None
    return {key_of_tag(tag): ""} if tag else {}


def _read_update(action: str, path: etree._Element, update: etree._Element, current: Item) -> dict[str, Any]:
    if action == "DeleteItemField":
        return _cleared(path, current)
    contact = update.find(f"{T}Contact")
    if contact is None:
        contact = update.find(f"{T}Item")
    given = children(contact)
    if len(given) != 1:
        raise EwsError(
            "ErrorIncorrectUpdatePropertyCount", "An object within a change description must contain one property."
        )
    uri = path.get("FieldURI", "")
    if action == "AppendToItemField":
        if uri != "item:Body":
            raise EwsError("ErrorInvalidPropertyAppend", "Append action is invalid for property.")
        return {"notes": current.notes + (given[0].text or "")}
    if local(path) == "IndexedFieldURI" and uri in _INDEXED:
        attribute, prefix = _INDEXED[uri]
        place = _index(path.get("FieldIndex", ""), prefix)
        content = _entries(given[0]).get(path.get("FieldIndex", ""), "")
        return {attribute: placed(getattr(current, attribute), place, content)}
    return _read_property(local(given[0]), given[0], current)


def _cleared(path: etree._Element, current: Item) -> dict[str, Any]:
    uri, index = path.get("FieldURI", ""), path.get("FieldIndex", "")
    if local(path) == "IndexedFieldURI":
        if uri in _INDEXED:
            attribute, prefix = _INDEXED[uri]
            return {attribute: placed(getattr(current, attribute), _index(index, prefix), "")}
        if uri == "contacts:PhoneNumber":
            return _read_phones({index: ""}, current)
        part = dict(ADDRESS_PARTS).get(uri.rpartition(":")[2], "")
        attribute = _ADDRESSES.get(index, "")
        return {attribute: replace(getattr(current, attribute), **{part: ""})} if part and attribute else {}
    name = uri.partition(":")[2]
    if name in _TEXTS:
        return {_TEXTS[name]: ""}
    whole: dict[str, Any] = {
        "Body": {"notes": ""},
        "Sensitivity": {"private": False},
        "Birthday": {"birthday": ""},
        "Children": {"children": ()},
        "EmailAddresses": {"email_addresses": ()},
        "ImAddresses": {"im_addresses": ()},
        "PhoneNumbers": {"business_phones": (), "home_phones": (), "mobile_phone": ""},
        "PhysicalAddresses": {attribute: PostalAddress() for attribute in _ADDRESSES.values()},
    }
    if name in _READ_ONLY:
        raise EwsError("ErrorInvalidPropertyDelete", "Delete action is invalid for property.")
    return dict(whole.get(name, {}))
