"""CreateItem, UpdateItem and DeleteItem, for clients that write contacts."""

from __future__ import annotations

from lxml import etree

from tests.simulators.company.model import ContactFolder, Item
from tests.simulators.onprem.fields import change_key
from tests.simulators.onprem.mailboxes import DistributionList, FolderView, Mailbox, hierarchy, target
from tests.simulators.onprem.shapes import id_element
from tests.simulators.onprem.soap import EwsError, M, T, children, local, response, success
from tests.simulators.onprem.state import Call
from tests.simulators.onprem.writing import Extended, read_contact, read_updates


def create_item(call: Call) -> str:
    """New contacts in a folder, one message each."""

    def answer(element: etree._Element) -> str:
        if local(element) != "Contact":
            raise EwsError("ErrorInvalidOperation", "Only contacts can be created here.")
        mailbox, view = _destination(call)
        if view.contacts is None:
            raise EwsError("ErrorCannotCreateContactInNonContactFolder", "Contacts belong into contact folders.")
        fields, extended = read_contact(element)
        item = call.state.company.add_contact(mailbox.owner, view.contacts.id, **fields)
        _keep(call, item, extended)
        return success("CreateItem", f"<m:Items>{id_element(item)}</m:Items>")

    return response("CreateItem", call.each(children(call.body.find(f"{M}Items")), answer))


def _destination(call: Call) -> tuple[Mailbox, FolderView]:
    saved = call.body.find(f"{M}SavedItemFolderId")
    if saved is not None:
        return call.access.folder(target(saved), call.mailbox)
    return call.mailbox, next(v for v in hierarchy(call.mailbox).values() if v.distinguished == "contacts")


def _keep(call: Call, item: Item, extended: Extended) -> None:
    if extended:
        call.state.extended.setdefault(item.id, {}).update(extended)


def update_item(call: Call) -> str:
    """Changes to items, one message each."""
    resolution = call.body.get("ConflictResolution", "")

    def answer(change: etree._Element) -> str:
        reference = change.find(f"{T}ItemId")
        if reference is None:
            raise EwsError("ErrorInvalidIdMalformed")
        mailbox, item = _contact(call, reference)
        _check_key(reference.get("ChangeKey", ""), item, resolution)
        fields, extended = read_updates(children(change.find(f"{T}Updates")), item)
        changed = call.state.company.change_contact(mailbox.owner, item.id, **fields)
        _keep(call, changed, extended)
        conflicts = "<m:ConflictResults><t:Count>0</t:Count></m:ConflictResults>"
        return success("UpdateItem", f"<m:Items>{id_element(changed)}</m:Items>{conflicts}")

    return response("UpdateItem", call.each(children(call.body.find(f"{M}ItemChanges")), answer))


def _contact(call: Call, reference: etree._Element) -> tuple[Mailbox, Item]:
    mailbox, _, item = call.access.item(reference.get("Id", ""), call.mailbox)
    if isinstance(item, DistributionList):
        raise EwsError("ErrorInvalidOperation", "Distribution lists cannot be changed here.")
    return mailbox, item


def _check_key(given: str, item: Item, resolution: str) -> None:
    if resolution == "AlwaysOverwrite":
        return
    if not given:
        raise EwsError("ErrorChangeKeyRequiredForWriteOperations")
    # AutoResolve merges what does not collide; with one value per property that means the later write stands.
    if resolution == "NeverOverwrite" and given != change_key(item):
        raise EwsError("ErrorIrresolvableConflict")


def delete_item(call: Call) -> str:
    """Deletes items, one message each."""

    def answer(reference: etree._Element) -> str:
        mailbox, item = _contact(call, reference)
        _forget(call, mailbox, item)
        return success("DeleteItem")

    return response("DeleteItem", call.each(children(call.body.find(f"{M}ItemIds")), answer))


def _forget(call: Call, mailbox: Mailbox, item: Item) -> None:
    call.state.company.remove_contact(mailbox.owner, item.id)
    call.state.files.pop(item.id, None)
    call.state.extended.pop(item.id, None)


def owner_of(call: Call, item_id: str) -> tuple[Mailbox, ContactFolder, Item]:
    """The contact with an ID, with where it lies."""
    mailbox, folder, item = call.access.item(item_id, call.mailbox)
    if isinstance(item, DistributionList):
        raise EwsError("ErrorInvalidOperation", "Distribution lists hold no files here.")
    return mailbox, folder, item
