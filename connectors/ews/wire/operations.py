"""The bodies of the requests we send, in the element order of Microsoft's message and type schemas.

Pure: identifiers in, elements out. Of a contact only the fields that are wanted are asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from lxml import etree

from connectors.selection import PHOTO

MESSAGES: Final = "http://schemas.microsoft.com/exchange/services/2006/messages"
TYPES: Final = "http://schemas.microsoft.com/exchange/services/2006/types"

MAX_CHANGES: Final = 512  # MaxSyncChangesReturnedType allows no more
FOLDERS_PER_PAGE: Final = 500
PEOPLE_PER_PAGE: Final = 500

_NAMESPACES: Final = {"m": MESSAGES, "t": TYPES}
_ITEM_ID: Final = f"{{{TYPES}}}ItemId"

_FOLDER_FIELDS: Final = ("folder:ParentFolderId", "folder:FolderClass", "folder:DisplayName")
_PLAIN: Final = {  # of a contact: our field, Exchange's property
    "display_name": "contacts:DisplayName",
    "given_name": "contacts:GivenName",
    "middle_name": "contacts:MiddleName",
    "surname": "contacts:Surname",
    "title": "contacts:CompleteName",  # it has no property of its own
    "generation": "contacts:Generation",
    "initials": "contacts:Initials",
    "nickname": "contacts:Nickname",
    "company": "contacts:CompanyName",
    "department": "contacts:Department",
    "job_title": "contacts:JobTitle",
    "office_location": "contacts:OfficeLocation",
    "profession": "contacts:Profession",
    "manager": "contacts:Manager",
    "assistant": "contacts:AssistantName",
    "web_page": "contacts:BusinessHomePage",
    "birthday": "contacts:Birthday",
    "spouse": "contacts:SpouseName",
    "children": "contacts:Children",
    "notes": "item:Body",
    PHOTO: "contacts:HasPicture",
}
_PARTS: Final = ("Street", "City", "State", "CountryOrRegion", "PostalCode")
_INDEXED: Final = {
    "email_addresses": tuple(("contacts:EmailAddress", f"EmailAddress{number}") for number in (1, 2, 3)),
    "business_phones": (("contacts:PhoneNumber", "BusinessPhone"), ("contacts:PhoneNumber", "BusinessPhone2")),
    "home_phones": (("contacts:PhoneNumber", "HomePhone"), ("contacts:PhoneNumber", "HomePhone2")),
    "mobile_phone": (("contacts:PhoneNumber", "MobilePhone"),),
    "im_addresses": tuple(("contacts:ImAddress", f"ImAddress{number}") for number in (1, 2, 3)),
    **{
        f"{place.lower()}_address": tuple((f"contacts:PhysicalAddress:{part}", place) for part in _PARTS)
        for place in ("Business", "Home", "Other")
    },
}

_PERSONA: Final = ("PersonaType", "EmailAddress", "EmailAddresses")  # who it is
_PERSONA_FIELDS: Final = {  # of a persona, as far as a directory may fill it: our field, Exchange's properties
    "display_name": ("DisplayName",),
    "title": ("DisplayNamePrefix",),
    "given_name": ("GivenName",),
    "middle_name": ("MiddleNames",),
    "surname": ("Surname",),
    "generation": ("Generations",),
    "initials": ("Initials",),
    "nickname": ("Nicknames",),
    "company": ("CompanyName",),
    "department": ("Departments",),
    "job_title": ("Title",),
    "office_location": ("OfficeLocations",),
    "manager": ("Managers",),
    "assistant": ("AssistantNames",),
    "business_phones": ("BusinessPhoneNumbers", "BusinessPhoneNumbers2"),
    "home_phones": ("HomePhones", "HomePhones2"),
    "mobile_phone": ("MobilePhones",),
    "im_addresses": ("ImAddress",),
    "web_page": ("BusinessHomePages",),
    "business_address": ("BusinessAddresses",),
    "home_address": ("HomeAddresses",),
    "other_address": ("OtherAddresses",),
}


def get_contacts_folder() -> etree._Element:
    """GetFolder of the mailbox's default contact folder."""
    return _m(
        "GetFolder",
        _m("FolderShape", _t("BaseShape", "IdOnly"), _properties(_FOLDER_FIELDS)),
        _m("FolderIds", _t("DistinguishedFolderId", Id="contacts")),
    )


def count_folders_below(folder_ids: Sequence[str]) -> etree._Element:
    """GetFolder of how many folders are right below some, or below the root of the public ones."""
    folders = [_t("FolderId", Id=folder_id) for folder_id in folder_ids]
    return _m(
        "GetFolder",
        _m("FolderShape", _t("BaseShape", "IdOnly"), _properties(("folder:ChildFolderCount",))),
        _m("FolderIds", *(folders or [_t("DistinguishedFolderId", Id="publicfoldersroot")])),
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


def find_public_folders(parent_ids: Sequence[str], offset: int) -> etree._Element:
    """FindFolder one level below public folders, or below the root of their tree; a page of each from `offset` on."""
    parents = [_t("FolderId", Id=parent_id) for parent_id in parent_ids]
    return _m(
        "FindFolder",
        _m("FolderShape", _t("BaseShape", "IdOnly"), _properties(_FOLDER_FIELDS)),
        _m(
            "IndexedPageFolderView", MaxEntriesReturned=str(FOLDERS_PER_PAGE), Offset=str(offset), BasePoint="Beginning"
        ),
        _m("ParentFolderIds", *(parents or [_t("DistinguishedFolderId", Id="publicfoldersroot")])),
        Traversal="Shallow",
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


def find_items(folder_id: str, offset: int) -> etree._Element:
    """FindItem of what lies in a folder, a page of it from `offset` on: IDs, and whether an item is private."""
    return _m(
        "FindItem",
        _m("ItemShape", _t("BaseShape", "IdOnly"), _properties(("item:Sensitivity",))),
        _m("IndexedPageItemView", MaxEntriesReturned=str(MAX_CHANGES), Offset=str(offset), BasePoint="Beginning"),
        _m("ParentFolderIds", _t("FolderId", Id=folder_id)),
        Traversal="Shallow",
    )


def get_contacts(item_ids: Iterable[str], fields: frozenset[str]) -> etree._Element:
    """GetItem with what fills the fields and nothing else, notes as plain text; and whether an item is private."""
    asked = ["item:Sensitivity", *(uri for name, uri in _PLAIN.items() if name in fields)]
    indexed = [pair for name, pairs in _INDEXED.items() if name in fields for pair in pairs]
    return _m(
        "GetItem",
        _m("ItemShape", _t("BaseShape", "IdOnly"), _t("BodyType", "Text"), _properties(asked, indexed)),
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


def expand_dl(address: str) -> etree._Element:
    """ExpandDL: whom a distribution list contains directly."""
    return _m("ExpandDL", _m("Mailbox", _t("EmailAddress", address)))


def find_people(offset: int, fields: Collection[str]) -> etree._Element:
    """FindPeople of the whole directory, a page of it from `offset` on."""
    wanted = (name for field, names in _PERSONA_FIELDS.items() if field in fields for name in names)
    return _m(
        "FindPeople",
        _m(
            "PersonaShape",
            _t("BaseShape", "Default"),
            _properties(f"persona:{name}" for name in (*_PERSONA, *wanted)),
        ),
        _m("IndexedPageItemView", MaxEntriesReturned=str(PEOPLE_PER_PAGE), Offset=str(offset), BasePoint="Beginning"),
        _m("ParentFolderId", _t("DistinguishedFolderId", Id="directory")),
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
    listed = _m("ItemIds")
    for item_id in item_ids:
        etree.SubElement(listed, _ITEM_ID, {"Id": item_id})
    return listed


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
