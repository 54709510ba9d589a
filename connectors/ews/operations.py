"""The bodies of the requests we send, in the element order of Microsoft's message and type schemas.

Pure: identifiers in, elements out. Only the closed list of fields that the canonical contact holds is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from lxml import etree

MESSAGES: Final = "http://schemas.microsoft.com/exchange/services/2006/messages"
TYPES: Final = "http://schemas.microsoft.com/exchange/services/2006/types"

MAX_CHANGES: Final = 512  # MaxSyncChangesReturnedType allows no more
FOLDERS_PER_PAGE: Final = 500

_NAMESPACES: Final = {"m": MESSAGES, "t": TYPES}

_FOLDER_FIELDS: Final = ("folder:ParentFolderId", "folder:FolderClass", "folder:DisplayName")
_CONTACT_FIELDS: Final = (
    "item:Sensitivity",
    "item:Body",
    *(
        f"contacts:{name}"
        for name in (
            "DisplayName",
            "GivenName",
            "Initials",
            "MiddleName",
            "Nickname",
            "CompleteName",
            "CompanyName",
            "AssistantName",
            "Birthday",
            "BusinessHomePage",
            "Children",
            "Department",
            "Generation",
            "JobTitle",
            "Manager",
            "OfficeLocation",
            "Profession",
            "SpouseName",
            "Surname",
            "HasPicture",
        )
    ),
)
_INDEXED_FIELDS: Final = (
    *(("contacts:EmailAddress", f"EmailAddress{number}") for number in (1, 2, 3)),
    *(
        (f"contacts:PhysicalAddress:{part}", place)
        for place in ("Business", "Home", "Other")
        for part in ("Street", "City", "State", "CountryOrRegion", "PostalCode")
    ),
    *(
        ("contacts:PhoneNumber", key)
        for key in ("BusinessPhone", "BusinessPhone2", "HomePhone", "HomePhone2", "MobilePhone")
    ),
    *(("contacts:ImAddress", f"ImAddress{number}") for number in (1, 2, 3)),
)


def get_contacts_folder() -> etree._Element:
    """GetFolder of the mailbox's default contact folder."""
    return _m(
        "GetFolder",
        _m("FolderShape", _t("BaseShape", "IdOnly"), _properties(_FOLDER_FIELDS)),
        _m("FolderIds", _t("DistinguishedFolderId", Id="contacts")),
    )


def find_contact_folders(offset: int) -> etree._Element:
    """FindFolder of everything below the default contact folder, a page of it from `offset` on."""
    return _m(
        "FindFolder",
        _m("FolderShape", _t("BaseShape", "IdOnly"), _properties(_FOLDER_FIELDS)),
        _m(
            "IndexedPageFolderView", MaxEntriesReturned=str(FOLDERS_PER_PAGE), Offset=str(offset), BasePoint="Beginning"
        ),
        _m("ParentFolderIds", _t("DistinguishedFolderId", Id="contacts")),
        Traversal="Deep",
    )


def sync_folder_items(folder_id: str, state: str, limit: int) -> etree._Element:
    """SyncFolderItems from `state` on (empty: from the start): IDs, and whether an item is private.

    Exchange leaves bodies out of sync answers, so the fields come with GetItem; and what is private is never fetched.
    """
    parts = [
        _m("ItemShape", _t("BaseShape", "IdOnly"), _properties(("item:Sensitivity",))),
        _m("SyncFolderId", _t("FolderId", Id=folder_id)),
    ]
    if state:
        parts.append(_m("SyncState", state))
    parts.append(_m("MaxChangesReturned", str(limit)))
    parts.append(_m("SyncScope", "NormalItems"))
    return _m("SyncFolderItems", *parts)


def get_contacts(item_ids: Iterable[str]) -> etree._Element:
    """GetItem with the closed list of contact fields, notes as plain text."""
    return _m(
        "GetItem",
        _m(
            "ItemShape",
            _t("BaseShape", "IdOnly"),
            _t("BodyType", "Text"),
            _properties(_CONTACT_FIELDS, _INDEXED_FIELDS),
        ),
        _item_ids(item_ids),
    )


def get_attachment_lists(item_ids: Iterable[str]) -> etree._Element:
    """GetItem with nothing but the list of attachments."""
    return _m(
        "GetItem",
        _m("ItemShape", _t("BaseShape", "IdOnly"), _properties(("item:Attachments",))),
        _item_ids(item_ids),
    )


def get_attachments(attachment_ids: Iterable[str]) -> etree._Element:
    """GetAttachment with the bytes of each."""
    return _m(
        "GetAttachment",
        _m("AttachmentIds", *(_t("AttachmentId", Id=attachment_id) for attachment_id in attachment_ids)),
    )


def resolve_names(entry: str) -> etree._Element:
    """ResolveNames in the directory alone, with the whole entry."""
    return _m(
        "ResolveNames",
        _m("UnresolvedEntry", entry),
        ReturnFullContactData="true",
        SearchScope="ActiveDirectory",
        ContactDataShape="AllProperties",
    )


def get_user_photo(address: str, size: str) -> etree._Element:
    """GetUserPhoto: the picture of a person in the directory."""
    return _m("GetUserPhoto", _m("Email", address), _m("SizeRequested", size))


def _properties(names: Iterable[str], indexed: Iterable[tuple[str, str]] = ()) -> etree._Element:
    return _t(
        "AdditionalProperties",
        *(_t("FieldURI", FieldURI=name) for name in names),
        *(_t("IndexedFieldURI", FieldURI=name, FieldIndex=index) for name, index in indexed),
    )


def _item_ids(item_ids: Iterable[str]) -> etree._Element:
    return _m("ItemIds", *(_t("ItemId", Id=item_id) for item_id in item_ids))


def _m(name: str, *content: etree._Element | str, **attributes: str) -> etree._Element:
    return _element(f"{{{MESSAGES}}}{name}", content, attributes)


def _t(name: str, *content: etree._Element | str, **attributes: str) -> etree._Element:
    return _element(f"{{{TYPES}}}{name}", content, attributes)


def _element(tag: str, content: Iterable[etree._Element | str], attributes: dict[str, str]) -> etree._Element:
    element = etree.Element(tag, attributes, nsmap=_NAMESPACES)
    for part in content:
        if isinstance(part, str):
            element.text = part
        else:
            element.append(part)
    return element
