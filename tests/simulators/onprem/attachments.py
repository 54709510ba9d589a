"""GetAttachment, CreateAttachment and DeleteAttachment: contact photos, and files beside them."""

from __future__ import annotations

import base64

from lxml import etree

from tests.simulators.company.model import Item, stable_id
from tests.simulators.onprem.fields import Attachment, attachment_head, change_key
from tests.simulators.onprem.soap import EwsError, M, children, flag, local, response, success, text, value
from tests.simulators.onprem.state import Call, StoredFile, photo_head
from tests.simulators.onprem.writes import owner_of

_ITEM_ID_LENGTH = 32  # an attachment's ID begins with its item's


def get_attachment(call: Call) -> str:
    """Named attachments with their content, one message each."""

    def answer(reference: etree._Element) -> str:
        identifier = reference.get("Id", "")
        head, content = _find(call, owner_of(call, identifier[:_ITEM_ID_LENGTH])[2], identifier)
        encoded = base64.b64encode(content).decode()
        element = f"<t:FileAttachment>{attachment_head(head)}<t:Content>{encoded}</t:Content></t:FileAttachment>"
        return success("GetAttachment", f"<m:Attachments>{element}</m:Attachments>")

    return response("GetAttachment", call.each(children(call.body.find(f"{M}AttachmentIds")), answer))


def _find(call: Call, item: Item, identifier: str) -> tuple[Attachment, bytes]:
    if item.photo and photo_head(item).id == identifier:
        return photo_head(item), item.photo
    for stored in call.state.files.get(item.id, ()):
        if stored.head.id == identifier:
            return stored.head, stored.content
    raise EwsError("ErrorItemNotFound")


def create_attachment(call: Call) -> str:
    """Puts files on an item; one marked as contact photo becomes its picture."""
    parent = call.body.find(f"{M}ParentItemId")
    parent_id = "" if parent is None else parent.get("Id", "")

    def answer(element: etree._Element) -> str:
        mailbox, _, item = owner_of(call, parent_id)
        if local(element) != "FileAttachment":
            raise EwsError("ErrorInvalidOperation", "Only file attachments can be created here.")
        content = _content(element)
        company = call.state.company
        if flag(value(element, "t:IsContactPhoto")):
            changed = company.set_contact_photo(mailbox.owner, item.id, content)
            identifier = photo_head(changed).id
        else:
            changed = company.change_contact(mailbox.owner, item.id)
            identifier = _store(call, changed, element, content)
        inner = (
            f'<t:FileAttachment><t:AttachmentId Id="{text(identifier)}" RootItemId="{text(item.id)}" '
            f'RootItemChangeKey="{change_key(changed)}"/></t:FileAttachment>'
        )
        return success("CreateAttachment", f"<m:Attachments>{inner}</m:Attachments>")

    return response("CreateAttachment", call.each(children(call.body.find(f"{M}Attachments")), answer))


def _content(element: etree._Element) -> bytes:
    try:
        return base64.b64decode(value(element, "t:Content"))
    except ValueError:
        raise EwsError("ErrorInvalidRequest") from None


def _store(call: Call, item: Item, element: etree._Element, content: bytes) -> str:
    files = call.state.files.setdefault(item.id, [])
    identifier = f"{item.id}{stable_id(item.change_key, len(files))[:12]}"
    name = value(element, "t:Name")
    kind = value(element, "t:ContentType") or "application/octet-stream"
    files.append(StoredFile(Attachment(identifier, name, kind, len(content), item.modified), content))
    return identifier


def delete_attachment(call: Call) -> str:
    """Takes files off items, one message each."""

    def answer(reference: etree._Element) -> str:
        identifier = reference.get("Id", "")
        mailbox, _, item = owner_of(call, identifier[:_ITEM_ID_LENGTH])
        head, _content = _find(call, item, identifier)
        company = call.state.company
        if head.is_photo:
            changed = company.set_contact_photo(mailbox.owner, item.id, None)
        else:
            call.state.files[item.id] = [f for f in call.state.files[item.id] if f.head.id != identifier]
            changed = company.change_contact(mailbox.owner, item.id)
        root = f'<m:RootItemId RootItemId="{text(item.id)}" RootItemChangeKey="{change_key(changed)}"/>'
        return success("DeleteAttachment", root)

    return response("DeleteAttachment", call.each(children(call.body.find(f"{M}AttachmentIds")), answer))
