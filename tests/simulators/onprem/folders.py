"""GetFolder and FindFolder, and the paging that searches share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TypeVar

from lxml import etree

from tests.simulators.company.model import PUBLIC
from tests.simulators.onprem.fields import Wanted
from tests.simulators.onprem.mailboxes import FolderView, Mailbox, below, distribution_list, hierarchy
from tests.simulators.onprem.restrictions import admits, reader
from tests.simulators.onprem.shapes import folder_element, read_folder_shape
from tests.simulators.onprem.soap import EwsError, M, children, local, response, success
from tests.simulators.onprem.state import Call

Thing = TypeVar("Thing")
PAGE_LIMIT = 1000  # Exchange's own: EwsFindCountLimit


def get_folder(call: Call) -> str:
    """Named folders, one message each."""
    wanted = read_folder_shape(call.body.find(f"{M}FolderShape"))

    def answer(reference: etree._Element) -> str:
        mailbox, view = call.access.folder(reference, call.mailbox)
        return success("GetFolder", f"<m:Folders>{_element(mailbox, view, wanted)}</m:Folders>")

    return response("GetFolder", call.each(children(call.body.find(f"{M}FolderIds")), answer))


def find_folder(call: Call) -> str:
    """The folders below others, one message for each parent."""
    wanted = read_folder_shape(call.body.find(f"{M}FolderShape"))
    restriction = call.body.find(f"{M}Restriction")
    view_of_page = next((child for child in children(call.body) if local(child).endswith("PageFolderView")), None)
    deep = call.body.get("Traversal") == "Deep"

    def answer(reference: etree._Element) -> str:
        mailbox, parent = call.access.folder(reference, call.mailbox)
        if call.body.get("Traversal") == "SoftDeleted":
            raise EwsError("ErrorInvalidOperation", "Soft-deleted traversal is not supported.")
        if deep and mailbox.owner == PUBLIC:
            raise EwsError("ErrorInvalidOperation", "Deep traversal queries are not allowed on public folders.")
        views = hierarchy(mailbox)
        inside = below(views, parent.id) if deep else (v for v in views.values() if v.parent_id == parent.id)
        found = [view for view in inside if admits(restriction, reader(partial(_element, mailbox, view)))]
        shown, attributes = page(found, view_of_page)
        elements = "".join(_element(mailbox, view, wanted) for view in shown)
        return success("FindFolder", f"<m:RootFolder {attributes}><t:Folders>{elements}</t:Folders></m:RootFolder>")

    return response("FindFolder", call.each(children(call.body.find(f"{M}ParentFolderIds")), answer))


def _element(mailbox: Mailbox, view: FolderView, wanted: Wanted) -> str:
    return folder_element(view, wanted, total(mailbox, view))


def total(mailbox: Mailbox, view: FolderView) -> int:
    """How many entries lie in a folder."""
    if view.contacts is None:
        return 0
    return len(view.contacts.items) + (distribution_list(mailbox.box, view.contacts) is not None)


def page(found: Sequence[Thing], view: etree._Element | None) -> tuple[Sequence[Thing], str]:
    """The part of a result that a paged view asks for, and the attributes that say which it is."""
    offset, most = 0, PAGE_LIMIT
    if view is not None:
        offset, most = _begin(view, len(found)), min(int(view.get("MaxEntriesReturned", str(PAGE_LIMIT))), PAGE_LIMIT)
        if offset < 0 or most < 1:
            raise EwsError("ErrorInvalidIndexedPagingParameters", "The paging parameters are not valid.")
        if view.get("BasePoint") == "End":
            shown = found[max(0, len(found) - offset - most) : max(0, len(found) - offset)]
            return shown, _paging(min(offset + len(shown), len(found)), len(found))
    shown = found[offset : offset + most]
    return shown, _paging(min(offset + len(shown), len(found)), len(found))


def _begin(view: etree._Element, total_found: int) -> int:
    """Where a view begins."""
    if not local(view).startswith("Fractional"):
        return int(view.get("Offset", "0"))
    numerator, denominator = int(view.get("Numerator", "0")), int(view.get("Denominator", "0"))
    if not 0 <= numerator <= denominator or not denominator:
        raise EwsError("ErrorInvalidFractionalPagingParameters", "The fraction is not between nought and one.")
    return total_found * numerator // denominator


def _paging(reached: int, total_found: int) -> str:
    last = "true" if reached >= total_found else "false"
    return f'IndexedPagingOffset="{reached}" TotalItemsInView="{total_found}" IncludesLastItemInRange="{last}"'
