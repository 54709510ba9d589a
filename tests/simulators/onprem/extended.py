"""MAPI properties of contacts and folders: what clients name by tag, or by number in a named set.

Tags and numbers are those of [MS-OXPROPS] and [MS-OXOCNTC]. Most stand for a field that the company keeps, and are
read and written there; some are worked out; the rest is whatever a client put down.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tests.simulators.company.model import Item
from tests.simulators.onprem.soap import text

if TYPE_CHECKING:
    from tests.simulators.onprem.fields import Entry
    from tests.simulators.onprem.mailboxes import DistributionList, FolderView

Key = tuple[tuple[str, str], ...]  # the attributes of an ExtendedFieldURI
_Property = tuple[str, int]  # the name of a set, empty for tags, and the number
_SETS = {
    "00062004-0000-0000-c000-000000000046": "Address",
    "00062008-0000-0000-c000-000000000046": "Common",
}


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where the company keeps a property: an attribute, a place in its list, or a part of its address."""

    attribute: str
    place: int = -1
    part: str = ""


_PARTS = ("city", "country", "postal_code", "region", "street")
_SPOTS: dict[_Property, _Spot] = {
    ("", 0x3001): _Spot("display_name"),
    ("", 0x3A05): _Spot("generation"),
    ("", 0x3A06): _Spot("given_name"),
    ("", 0x3A0A): _Spot("initials"),
    ("", 0x3A11): _Spot("surname"),
    ("", 0x3A16): _Spot("company"),
    ("", 0x3A17): _Spot("job_title"),
    ("", 0x3A18): _Spot("department"),
    ("", 0x3A19): _Spot("office_location"),
    ("", 0x3A30): _Spot("assistant"),
    ("", 0x3A44): _Spot("middle_name"),
    ("", 0x3A45): _Spot("title"),
    ("", 0x3A46): _Spot("profession"),
    ("", 0x3A48): _Spot("spouse"),
    ("", 0x3A4E): _Spot("manager"),
    ("", 0x3A4F): _Spot("nickname"),
    ("", 0x3A51): _Spot("web_page"),
    ("", 0x1000): _Spot("notes"),
    ("", 0x3A08): _Spot("business_phones", 0),
    ("", 0x3A1B): _Spot("business_phones", 1),
    ("", 0x3A09): _Spot("home_phones", 0),
    ("", 0x3A2F): _Spot("home_phones", 1),
    ("", 0x3A1C): _Spot("mobile_phone"),
    **{("", tag): _Spot("home_address", part=part) for tag, part in enumerate(_PARTS, 0x3A59)},
    **{("", tag): _Spot("other_address", part=part) for tag, part in enumerate(_PARTS, 0x3A5F)},
    ("", 0x3A26): _Spot("business_address", part="country"),
    ("", 0x3A27): _Spot("business_address", part="city"),
    ("", 0x3A28): _Spot("business_address", part="region"),
    ("", 0x3A29): _Spot("business_address", part="street"),
    ("", 0x3A2A): _Spot("business_address", part="postal_code"),
    ("Address", 0x8045): _Spot("business_address", part="street"),
    ("Address", 0x8046): _Spot("business_address", part="city"),
    ("Address", 0x8047): _Spot("business_address", part="region"),
    ("Address", 0x8048): _Spot("business_address", part="postal_code"),
    ("Address", 0x8049): _Spot("business_address", part="country"),
    **{("Address", 0x8083 + 16 * place): _Spot("email_addresses", place) for place in range(3)},
    ("Address", 0x8062): _Spot("im_addresses", 0),
}


# Numbers and names that the company has no place for: kept as clients put them down, by any of their names.
OTHER_PHONES = {
    "AssistantPhone": 0x3A2E,
    "BusinessFax": 0x3A24,
    "Callback": 0x3A02,
    "CarPhone": 0x3A1E,
    "CompanyMainPhone": 0x3A57,
    "HomeFax": 0x3A25,
    "Isdn": 0x3A2D,
    "OtherFax": 0x3A23,
    "OtherTelephone": 0x3A1F,
    "Pager": 0x3A21,
    "PrimaryPhone": 0x3A1A,
    "RadioPhone": 0x3A1D,
    "Telex": 0x3A2C,
    "TtyTddPhone": 0x3A4B,
}
FILE_AS: Key = (("DistinguishedPropertySetId", "Address"), ("PropertyId", str(0x8005)), ("PropertyType", "String"))


def key_of_tag(tag: int) -> Key:
    """The key of a text by its tag."""
    return ("PropertyTag", hex(tag)), ("PropertyType", "String")


def extended_key(attributes: dict[str, str]) -> Key:
    """The attributes of an ExtendedFieldURI in one order and spelling."""
    spelt = dict(attributes)
    if "PropertyTag" in spelt:
        spelt["PropertyTag"] = hex(number(spelt["PropertyTag"]))
    return tuple(sorted(spelt.items()))


def number(written: str) -> int:
    """A number as the schema has tags and bit masks: decimal, or hexadecimal behind 0x."""
    return int(written[2:] or "0", 16) if written[:2].casefold() == "0x" else int(written or "0")


def _property(key: Key) -> _Property:
    attributes = dict(key)
    if "PropertyTag" in attributes:
        return "", number(attributes["PropertyTag"])
    named = attributes.get("DistinguishedPropertySetId") or _SETS.get(attributes.get("PropertySetId", "").lower(), "?")
    return named, int(attributes.get("PropertyId", "0"))


# -- contacts ----------------------------------------------------------------------------------------------------------


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _truth(holds: object) -> str:
    return "true" if holds else "false"


def article_number(identifier: str) -> str:
    """The number that readers of news and mail know an item by in its folder."""
    return str(zlib.crc32(identifier.encode()) >> 1)


def _opaque(entry: Entry) -> str:
    return base64.b64encode(entry.item.id.encode()).decode()


_WORKED_OUT: dict[_Property, Callable[[Entry], str]] = {
    ("", 0x001A): lambda entry: "IPM.Contact",
    ("", 0x0036): lambda entry: "2" if entry.item.private else "0",
    ("", 0x0037): lambda entry: entry.item.display_name,
    ("", 0x0E1D): lambda entry: entry.item.display_name,
    ("", 0x0E1B): lambda entry: _truth(entry.attachments),
    ("", 0x0E23): lambda entry: article_number(entry.item.id),
    ("", 0x0FFF): _opaque,
    ("", 0x10F3): lambda entry: f"{entry.item.id}.EML",  # its name in a URL
    ("", 0x300B): _opaque,
    ("", 0x3007): lambda entry: _moment(entry.item.created),
    ("", 0x3008): lambda entry: _moment(entry.item.modified),
    ("", 0x3A42): lambda entry: f"{entry.item.birthday}T11:59:00Z" if entry.item.birthday else "",
    ("Address", 0x8015): lambda entry: _truth(entry.item.photo),
    ("Common", 0x8506): lambda entry: _truth(entry.item.private),
    **{("Address", 0x8080 + 16 * place): lambda entry, place=place: _mail(entry, place) for place in range(3)},
    **{
        ("Address", 0x8082 + 16 * place): lambda entry, place=place: "SMTP" if _mail(entry, place) else ""
        for place in range(3)
    },
    **{("Address", 0x8084 + 16 * place): lambda entry, place=place: _mail(entry, place) for place in range(3)},
}


def _mail(entry: Entry, place: int) -> str:
    return "".join(entry.item.email_addresses[place : place + 1])


def read(entry: Entry, key: Key) -> str:
    """A contact's property as text; nothing where it has none."""
    if key in entry.extended:
        return entry.extended[key]
    named = _property(key)
    if named in _SPOTS:
        return _stored(entry.item, _SPOTS[named])
    return _WORKED_OUT[named](entry) if named in _WORKED_OUT else ""


def _stored(item: Item, spot: _Spot) -> str:
    found: Any = getattr(item, spot.attribute)
    if spot.part:
        return str(getattr(found, spot.part))
    return "".join(found[spot.place : spot.place + 1]) if spot.place >= 0 else str(found)


def written(item: Item, key: Key, content: str) -> dict[str, Any] | None:
    """The fields of a contact that a property changes; None where the company keeps no such thing."""
    named = _property(key)
    if named == ("", 0x3A42):
        return {"birthday": content[:10]}
    if named in {("", 0x0036), ("Common", 0x8506)}:
        return {"private": content in {"2", "true"}}
    if named not in _SPOTS:
        return None
    spot = _SPOTS[named]
    before: Any = getattr(item, spot.attribute)
    if spot.part:
        return {spot.attribute: replace(before, **{spot.part: content})}
    return {spot.attribute: placed(before, spot.place, content) if spot.place >= 0 else content}


def placed(values: tuple[str, ...], place: int, content: str) -> tuple[str, ...]:
    """A list with one of its values set, or taken out by an empty one."""
    padded = [*values, *[""] * (place + 1 - len(values))]
    padded[place] = content
    return tuple(entry for entry in padded if entry)


# -- distribution lists and folders ------------------------------------------------------------------------------------


def read_of_list(group: DistributionList, key: Key) -> str:
    """A distribution list's property as text; nothing where it has none."""
    known = {0x001A: "IPM.DistList", 0x0037: group.display_name, 0x3001: group.display_name}
    place, number = _property(key)
    return "" if place else known.get(number, article_number(group.id) if number == 0x0E23 else "")


_FOLDER: dict[int, Callable[[FolderView, int], str]] = {
    0x10F4: lambda view, total: "false",  # hidden
    0x3001: lambda view, total: view.name,
    0x3602: lambda view, total: str(total),
    0x3603: lambda view, total: "0",  # unread
    0x360A: lambda view, total: _truth(view.children),
    0x3613: lambda view, total: view.folder_class,
    0x3008: lambda view, total: _changed(view),
    0x670A: lambda view, total: _changed(view),
}


def _changed(view: FolderView) -> str:
    moments = [item.modified for item in view.contacts.items.values()] if view.contacts else []
    return _moment(max(moments)) if moments else "2020-01-01T00:00:00Z"


def read_of_folder(view: FolderView, total: int, key: Key) -> str:
    """A folder's property as text; nothing where it has none."""
    place, number = _property(key)
    return _FOLDER[number](view, total) if not place and number in _FOLDER else ""


def element(key: Key, content: str) -> str:
    """A property with its value; nothing where it has none."""
    if not content:
        return ""
    attributes = " ".join(f'{name}="{text(value)}"' for name, value in key)
    return (
        f"<t:ExtendedProperty><t:ExtendedFieldURI {attributes}/><t:Value>{text(content)}</t:Value></t:ExtendedProperty>"
    )
