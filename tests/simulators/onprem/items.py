"""GetItem and FindItem."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from lxml import etree

from tests.simulators.company.model import ContactFolder, Item
from tests.simulators.onprem.fields import Wanted
from tests.simulators.onprem.folders import page
from tests.simulators.onprem.mailboxes import DistributionList, Mailbox, distribution_list
from tests.simulators.onprem.restrictions import Read, admits, mentions, reader, sort_key
from tests.simulators.onprem.shapes import contact_element, list_element, read_shape
from tests.simulators.onprem.soap import EwsError, M, children, local, response, success, text, value
from tests.simulators.onprem.state import Call


def get_item(call: Call) -> str:
    """Named items, one message each."""
    wanted = read_shape(call.body.find(f"{M}ItemShape"))

    def answer(reference: etree._Element) -> str:
        if local(reference) != "ItemId":
            raise EwsError("ErrorInvalidIdMalformed")
        _, folder, item = call.access.item(reference.get("Id", ""), call.mailbox)
        return success("GetItem", f"<m:Items>{element(call, item, folder, wanted)}</m:Items>")

    return response("GetItem", call.each(children(call.body.find(f"{M}ItemIds")), answer))


def find_item(call: Call) -> str:
    """The items of folders, one message for each folder."""
    shape = call.body.find(f"{M}ItemShape")
    wanted = read_shape(shape, light=True)
    view = next(
        (child for child in children(call.body) if local(child).endswith(("PageItemView", "ContactsView"))), None
    )

    def answer(reference: etree._Element) -> str:
        mailbox, parent = call.access.folder(reference, call.mailbox)
        found = [] if parent.contacts is None else _found(call, mailbox, parent.contacts)
        shown, attributes = page(found, view)
        inner = "" if parent.contacts is None else _shown(call, shown, parent.contacts, wanted)
        return success("FindItem", f"<m:RootFolder {attributes}>{inner or '<t:Items/>'}</m:RootFolder>")

    return response("FindItem", call.each(children(call.body.find(f"{M}ParentFolderIds")), answer))


def _shown(call: Call, items: Sequence[Item | DistributionList], folder: ContactFolder, wanted: Wanted) -> str:
    """A page of what was found, in groups where groups are asked for."""
    order = call.body.find(f"{M}GroupBy")
    if order is None:
        return f"<t:Items>{''.join(element(call, item, folder, wanted) for item in items)}</t:Items>"
    path = children(order)[0]
    groups: dict[str, list[str]] = {}
    for item in items:
        name = "".join(reader(partial(element, call, item, folder))(path)[:1])
        groups.setdefault(name, []).append(element(call, item, folder, wanted))
    names = sorted(groups, reverse=order.get("Order") == "Descending")
    inner = "".join(
        f"<t:GroupedItems><t:GroupIndex>{text(name)}</t:GroupIndex><t:Items>{''.join(groups[name])}</t:Items>"
        "</t:GroupedItems>"
        for name in names
    )
    return f"<t:Groups>{inner}</t:Groups>"


def content(mailbox: Mailbox, folder: ContactFolder) -> list[Item | DistributionList]:
    """All that lies in a contact folder."""
    group = distribution_list(mailbox.box, folder)
    return [*folder.items.values(), *([group] if group else [])]


def element(call: Call, item: Item | DistributionList, folder: ContactFolder, wanted: Wanted) -> str:
    """An item of a folder in the properties wanted."""
    if isinstance(item, DistributionList):
        return list_element(item, folder.id, wanted)
    return contact_element(call.state.entry(item, folder), wanted)


def _is_between(call: Call, name: str) -> bool:
    """Whether a name is among those that a view of contacts begins and ends with."""
    view = call.body.find(f"{M}ContactsView")
    if view is None:
        return True
    first, last = view.get("InitialName", "").casefold(), view.get("FinalName", "").casefold()
    return first <= name.casefold() and (not last or name.casefold() <= last)


def _found(call: Call, mailbox: Mailbox, folder: ContactFolder) -> list[Item | DistributionList]:
    """What a search finds in a folder, in its order. Nothing is associated or soft-deleted here."""
    if call.body.get("Traversal") != "Shallow":
        return []
    restriction, query = call.body.find(f"{M}Restriction"), value(call.body, "m:QueryString")

    def read(item: Item | DistributionList) -> Read:
        return reader(partial(element, call, item, folder))

    found = [item for item in content(mailbox, folder) if _is_between(call, item.display_name)]
    if restriction is not None or query:
        found = [item for item in found if admits(restriction, read(item)) and mentions(query, read(item))]
    for order in reversed(children(call.body.find(f"{M}SortOrder"))):
        path, is_descending = children(order)[0], order.get("Order") == "Descending"
        found = sorted(found, key=lambda item: sort_key(path, read(item)), reverse=is_descending)
    return found
