"""Restrictions of FindItem and FindFolder, as far as they compare text."""

from __future__ import annotations

from collections.abc import Callable

from lxml import etree

from tests.simulators.company.model import Item
from tests.simulators.onprem.mailboxes import FolderView
from tests.simulators.onprem.soap import EwsError, children, local

Read = Callable[[etree._Element], list[str] | None]  # the values of a property; None where it is not known

_ATTRIBUTES = {
    "contacts:DisplayName": "display_name",
    "item:Subject": "display_name",
    "contacts:GivenName": "given_name",
    "contacts:Surname": "surname",
    "contacts:MiddleName": "middle_name",
    "contacts:Nickname": "nickname",
    "contacts:CompanyName": "company",
    "contacts:Department": "department",
    "contacts:JobTitle": "job_title",
    "contacts:OfficeLocation": "office_location",
    "contacts:Profession": "profession",
    "item:Body": "notes",
}


def item_reader(item: Item) -> Read:
    """Reads a contact's properties."""

    def read(path: etree._Element) -> list[str] | None:
        uri = path.get("FieldURI", "")
        if uri in _ATTRIBUTES:
            return [getattr(item, _ATTRIBUTES[uri])]
        if uri == "item:ItemClass":
            return ["IPM.Contact"]
        if uri == "contacts:EmailAddress":
            place = int(path.get("FieldIndex", "EmailAddress1")[-1]) - 1
            return list(item.email_addresses[place : place + 1])
        return None

    return read


def folder_reader(view: FolderView) -> Read:
    """Reads a folder's properties."""
    known = {"folder:DisplayName": view.name, "folder:FolderClass": view.folder_class}

    def read(path: etree._Element) -> list[str] | None:
        uri = path.get("FieldURI", "")
        return [known[uri]] if uri in known else None

    return read


def admits(restriction: etree._Element | None, read: Read) -> bool:
    """Whether something passes a `m:Restriction`."""
    return all(_holds(expression, read) for expression in children(restriction))


def _holds(expression: etree._Element, read: Read) -> bool:
    kind, parts = local(expression), children(expression)
    if kind == "And":
        return all(_holds(part, read) for part in parts)
    if kind == "Or":
        return any(_holds(part, read) for part in parts)
    if kind == "Not":
        return not _holds(parts[0], read)
    values = read(parts[0])
    if values is None:
        raise EwsError("ErrorUnsupportedPathForQuery", "The property cannot be used in a query.")
    if kind == "Exists":
        return any(values)
    if kind == "Contains":
        return any(_contains(expression, text, parts[1].get("Value", "")) for text in values)
    return any(_compares(kind, text, _constant(parts[1])) for text in values)


def _constant(element: etree._Element) -> str:
    inner = children(element)
    return (inner[0] if inner else element).get("Value", "")


def _contains(expression: etree._Element, text: str, wanted: str) -> bool:
    if "IgnoreCase" in expression.get("ContainmentComparison", ""):
        text, wanted = text.casefold(), wanted.casefold()
    mode = expression.get("ContainmentMode", "Substring")
    if mode == "FullString":
        return text == wanted
    return text.startswith(wanted) if mode == "Prefixed" else wanted in text


def _compares(kind: str, text: str, wanted: str) -> bool:
    outcomes = {
        "IsEqualTo": text == wanted,
        "IsNotEqualTo": text != wanted,
        "IsGreaterThan": text > wanted,
        "IsGreaterThanOrEqualTo": text >= wanted,
        "IsLessThan": text < wanted,
        "IsLessThanOrEqualTo": text <= wanted,
    }
    if kind not in outcomes:
        raise EwsError("ErrorUnsupportedQueryFilter", "The filter is not supported.")
    return outcomes[kind]
