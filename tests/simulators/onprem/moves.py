"""CreateFolder, UpdateFolder, DeleteFolder, MoveItem and CopyItem, for clients that tidy up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

from lxml import etree

from tests.simulators.company.model import PUBLIC, ContactFolder, Item
from tests.simulators.onprem.mailboxes import CONTACTS, FolderView, Mailbox, hierarchy, target
from tests.simulators.onprem.shapes import folder_element, id_element, read_folder_shape
from tests.simulators.onprem.soap import (
    TYPES,
    EwsError,
    M,
    SoapFault,
    T,
    children,
    flag,
    local,
    response,
    success,
    value,
)
from tests.simulators.onprem.state import Call
from tests.simulators.onprem.writes import owner_of

_ID_ONLY = etree.fromstring(f'<s xmlns:t="{TYPES}"><t:BaseShape>IdOnly</t:BaseShape></s>')
_Act = Callable[[Mailbox, Item, ContactFolder | None], Item | None]  # None for what is not kept
_OWN = frozenset({"id", "change_key", "created", "modified", "shown"})  # what a copy does not take along


def create_folder(call: Call) -> str:
    """New contact folders below one, one message each."""
    above = call.body.find(f"{M}ParentFolderId")

    def answer(element: etree._Element) -> str:
        mailbox, parent = call.access.folder(target(_given(above)), call.mailbox)
        if parent.contacts is None:
            raise EwsError("ErrorAccessDenied")
        folder_class = value(element, "t:FolderClass") or (CONTACTS if local(element) == "ContactsFolder" else "")
        if not folder_class.startswith(CONTACTS):
            raise EwsError("ErrorInvalidOperation", "Only contact folders can be created here.")
        name = value(element, "t:DisplayName")
        _check_free(mailbox, parent.id, name)
        made = call.state.company.add_folder(mailbox.owner, name, parent.id, folder_class=folder_class)
        return success("CreateFolder", _folders(hierarchy(mailbox)[made.id]))

    return response("CreateFolder", call.each(children(call.body.find(f"{M}Folders")), answer))


def update_folder(call: Call) -> str:
    """Folders get other names, one message each."""

    def answer(change: etree._Element) -> str:
        mailbox, folder = _changeable(call, target(change))
        for update in children(change.find(f"{T}Updates")):
            _update(call, mailbox, folder, update)
        return success("UpdateFolder", _folders(hierarchy(mailbox)[folder.id]))

    return response("UpdateFolder", call.each(children(call.body.find(f"{M}FolderChanges")), answer))


def _update(call: Call, mailbox: Mailbox, folder: ContactFolder, update: etree._Element) -> None:
    given = children(update)
    uri = given[0].get("FieldURI", "")
    if uri == "folder:PermissionSet":
        return  # nobody's rights are kept here
    content = value(given[-1], f"t:{uri.partition(':')[2]}")
    if uri == "folder:DisplayName" and content and content != folder.name:
        _check_free(mailbox, folder.parent_id or "", content)
        call.state.company.rename_folder(mailbox.owner, folder.id, content)
    elif uri not in {"folder:DisplayName", "folder:FolderClass"} or not content:
        raise EwsError("ErrorInvalidPropertySet", "Set action is invalid for property.")
    elif uri == "folder:FolderClass" and content != folder.folder_class:
        raise EwsError("ErrorObjectTypeChanged", "A folder stays what it is.")


def delete_folder(call: Call) -> str:
    """Folders go with all that is in them, one message each."""

    def answer(reference: etree._Element) -> str:
        mailbox, folder = _changeable(call, reference)
        call.state.company.delete_folder(mailbox.owner, folder.id)
        return success("DeleteFolder")

    return response("DeleteFolder", call.each(children(call.body.find(f"{M}FolderIds")), answer))


def _changeable(call: Call, reference: etree._Element) -> tuple[Mailbox, ContactFolder]:
    mailbox, view = call.access.folder(reference, call.mailbox)
    if view.distinguished:
        raise EwsError("ErrorDeleteDistinguishedFolder", "Distinguished folders cannot be changed.")
    if view.contacts is None:
        raise EwsError("ErrorAccessDenied")
    return mailbox, view.contacts


def _check_free(mailbox: Mailbox, parent_id: str, name: str) -> None:
    if any(view.name == name for view in hierarchy(mailbox).values() if view.parent_id == parent_id):
        raise EwsError("ErrorFolderExists", "A folder with the specified name already exists.")


def _folders(view: FolderView) -> str:
    return f"<m:Folders>{folder_element(view, read_folder_shape(_ID_ONLY), 0)}</m:Folders>"


def move_item(call: Call) -> str:
    """Contacts go to another folder, and get new IDs there."""

    def act(mailbox: Mailbox, item: Item, folder: ContactFolder | None) -> Item | None:
        company = call.state.company
        if folder is None:
            company.remove_contact(mailbox.owner, item.id)
            return None
        moved = company.move_contact(mailbox.owner, item.id, folder.id, keep_id=False)
        call.state.files[moved.id] = call.state.files.pop(item.id, [])
        call.state.extended[moved.id] = call.state.extended.pop(item.id, {})
        return moved

    return _each_item(call, "MoveItem", act)


def copy_item(call: Call) -> str:
    """Contacts stay, and others like them lie in another folder."""

    def act(mailbox: Mailbox, item: Item, folder: ContactFolder | None) -> Item | None:
        if folder is None:
            return None
        content = {known.name: getattr(item, known.name) for known in fields(item) if known.name not in _OWN}
        return call.state.company.add_contact(mailbox.owner, folder.id, **content)

    return _each_item(call, "CopyItem", act)


def _each_item(call: Call, operation: str, act: _Act) -> str:
    wanted = target(_given(call.body.find(f"{M}ToFolderId")))
    is_told = flag(value(call.body, "m:ReturnNewItemIds") or "true")

    def answer(reference: etree._Element) -> str:
        mailbox, _, item = owner_of(call, reference.get("Id", ""))
        there, view = call.access.folder(wanted, call.mailbox)
        if view.contacts is None and view.distinguished != "deleteditems":
            raise EwsError("ErrorMoveCopyFailed", "The item cannot be kept in the folder.")
        if there.owner != mailbox.owner or PUBLIC in {there.owner, mailbox.owner}:
            raise EwsError("ErrorAccessDenied")
        new = act(mailbox, item, view.contacts)
        # What lands among deleted items is not kept, so there is nothing to tell of it.
        return success(operation, f"<m:Items>{id_element(new) if new and is_told else ''}</m:Items>")

    return response(operation, call.each(children(call.body.find(f"{M}ItemIds")), answer))


def _given(element: etree._Element | None) -> etree._Element:
    if element is None:
        raise SoapFault("ErrorInvalidRequest")
    return element
