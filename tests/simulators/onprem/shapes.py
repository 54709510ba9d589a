"""Response shapes: which properties a request wants, and the elements that come of it."""

from __future__ import annotations

from lxml import etree

from tests.simulators.company.model import Item
from tests.simulators.onprem import extended
from tests.simulators.onprem.fields import FIELDS, Entry, Wanted, change_key
from tests.simulators.onprem.mailboxes import DistributionList, FolderView
from tests.simulators.onprem.soap import EwsError, T, children, local, text, value

# Of a search or a synchronisation Exchange leaves these out, whoever asks.
HEAVY = frozenset({"item:Body", "item:TextBody", "item:Attachments"})
DEFAULT = frozenset(
    {
        "item:ItemClass",
        "item:Subject",
        "item:Sensitivity",
        "item:Body",
        "item:HasAttachments",
        "item:Culture",
        "contacts:FileAs",
        "contacts:DisplayName",
        "contacts:GivenName",
        "contacts:CompleteName",
        "contacts:CompanyName",
        "contacts:EmailAddresses",
        "contacts:PhysicalAddresses",
        "contacts:PhoneNumbers",
        "contacts:ImAddresses",
        "contacts:JobTitle",
        "contacts:Surname",
        "contacts:HasPicture",
    }
)
_SHAPES = {"IdOnly": frozenset[str](), "Default": DEFAULT, "AllProperties": frozenset(FIELDS)}
_BY_INDEX = {
    "contacts:EmailAddress": "contacts:EmailAddresses",
    "contacts:PhoneNumber": "contacts:PhoneNumbers",
    "contacts:ImAddress": "contacts:ImAddresses",
}


def read_shape(shape: etree._Element | None, *, light: bool = False) -> Wanted:
    """What an ItemShape asks for; `light` leaves out what only GetItem gives."""
    if shape is None:
        return named_shape("IdOnly")
    names = set(_SHAPES[value(shape, "t:BaseShape")])
    indexed: dict[str, set[str]] = {}
    keys = []
    for path in children(shape.find(f"{T}AdditionalProperties")):
        kind = local(path)
        if kind == "ExtendedFieldURI":
            keys.append(_key(path))
        elif kind == "IndexedFieldURI":
            indexed.setdefault(path.get("FieldURI", ""), set()).add(path.get("FieldIndex", ""))
        else:
            names.add(path.get("FieldURI", ""))
    if light:
        names -= HEAVY
    body_type = value(shape, "t:BodyType") or "Best"
    return _wanted(names, {uri: frozenset(keys) for uri, keys in indexed.items()}, tuple(keys), body_type)


def named_shape(base: str) -> Wanted:
    """One of Exchange's own shapes."""
    return _wanted(set(_SHAPES[base]), {}, (), "Best")


def path_shape(path: etree._Element) -> Wanted:
    """Nothing but the property at a path."""
    uri = path.get("FieldURI", "")
    if local(path) == "ExtendedFieldURI":
        return _wanted(set(), {}, (_key(path),), "Best")
    if local(path) == "IndexedFieldURI":
        return _wanted(set(), {uri: frozenset({path.get("FieldIndex", "")})}, (), "Best")
    return _wanted({uri}, {}, (), "Text")


def _key(path: etree._Element) -> extended.Key:
    return extended.extended_key({str(name): str(content) for name, content in path.attrib.items()})


def _wanted(
    names: set[str],
    indexed: dict[str, frozenset[str]],
    keys: tuple[extended.Key, ...],
    body_type: str,
) -> Wanted:
    active = set(names)
    for uri in indexed:
        whole = "contacts:PhysicalAddresses" if uri.startswith("contacts:PhysicalAddress:") else _BY_INDEX.get(uri, "")
        active.add(whole)
    if keys:
        active.add("extended")
    renderers = tuple(render for name, render in FIELDS.items() if name in active)
    return Wanted(frozenset(names), indexed, keys, body_type, renderers)


def contact_element(entry: Entry, wanted: Wanted) -> str:
    """A `t:Contact`; one of the address list has no ID."""
    item = entry.item
    head = "" if entry.directory else f'<t:ItemId Id="{text(item.id)}" ChangeKey="{change_key(item)}"/>'
    inner = "".join([render(entry, wanted) for render in wanted.renderers])
    return f"<t:Contact>{head}{inner}</t:Contact>"


def list_element(group: DistributionList, folder_id: str, wanted: Wanted) -> str:
    """A `t:DistributionList`."""
    name = text(group.display_name)
    parts = (
        ("item:ParentFolderId", f'<t:ParentFolderId Id="{text(folder_id)}" ChangeKey="AQAAAA=="/>'),
        ("item:ItemClass", "<t:ItemClass>IPM.DistList</t:ItemClass>"),
        ("item:Subject", f"<t:Subject>{name}</t:Subject>"),
        ("item:Sensitivity", "<t:Sensitivity>Normal</t:Sensitivity>"),
        ("item:HasAttachments", "<t:HasAttachments>false</t:HasAttachments>"),
        ("extended", "".join(extended.element(key, extended.read_of_list(group, key)) for key in wanted.extended)),
        ("contacts:DisplayName", f"<t:DisplayName>{name}</t:DisplayName>"),
        ("contacts:FileAs", f"<t:FileAs>{name}</t:FileAs>"),
        ("distributionlist:Members", _members(group)),
    )
    inner = "".join(content for uri, content in parts if uri == "extended" or uri in wanted.names)
    head = f'<t:ItemId Id="{text(group.id)}" ChangeKey="{group.change_key}"/>'
    return f"<t:DistributionList>{head}{inner}</t:DistributionList>"


def _members(group: DistributionList) -> str:
    inner = "".join(
        f"<t:Member><t:Mailbox><t:Name>{text(name)}</t:Name><t:EmailAddress>{text(address)}</t:EmailAddress>"
        "<t:RoutingType>SMTP</t:RoutingType><t:MailboxType>OneOff</t:MailboxType></t:Mailbox>"
        "<t:Status>Normal</t:Status></t:Member>"
        for name, address in group.members
    )
    return f"<t:Members>{inner}</t:Members>"


def id_element(item: Item | DistributionList) -> str:
    """An item with nothing but its ID, as answers to writes hold it."""
    if isinstance(item, DistributionList):
        return list_element(item, "", named_shape("IdOnly"))
    return contact_element(Entry(item), named_shape("IdOnly"))


def read_folder_shape(shape: etree._Element | None) -> Wanted:
    """What a FolderShape asks for."""
    if shape is None:
        raise EwsError("ErrorInvalidRequest")
    base = value(shape, "t:BaseShape")
    names = {"folder:DisplayName", "folder:TotalCount", "folder:ChildFolderCount"} if base != "IdOnly" else set()
    if base == "AllProperties":
        names |= {"folder:ParentFolderId", "folder:FolderClass", "folder:DistinguishedFolderId", "folder:UnreadCount"}
    keys = []
    for path in children(shape.find(f"{T}AdditionalProperties")):
        if local(path) == "ExtendedFieldURI":
            keys.append(_key(path))
        else:
            names.add(path.get("FieldURI", ""))
    return Wanted(frozenset(names), {}, tuple(keys))


def folder_element(view: FolderView, wanted: Wanted, total: int) -> str:
    """A folder in the element of its kind."""
    parent = f'<t:ParentFolderId Id="{text(view.parent_id)}" ChangeKey="AQAAAA=="/>' if view.parent_id else ""
    parts = (
        ("folder:ParentFolderId", parent),
        ("folder:FolderClass", f"<t:FolderClass>{view.folder_class}</t:FolderClass>" if view.folder_class else ""),
        ("folder:DisplayName", f"<t:DisplayName>{text(view.name)}</t:DisplayName>"),
        ("folder:TotalCount", f"<t:TotalCount>{total}</t:TotalCount>"),
        ("folder:ChildFolderCount", f"<t:ChildFolderCount>{view.children}</t:ChildFolderCount>"),
        (
            "extended",
            "".join(extended.element(key, extended.read_of_folder(view, total, key)) for key in wanted.extended),
        ),
        (
            "folder:DistinguishedFolderId",
            f"<t:DistinguishedFolderId>{view.distinguished}</t:DistinguishedFolderId>" if view.distinguished else "",
        ),
        ("folder:UnreadCount", "<t:UnreadCount>0</t:UnreadCount>" if view.element == "Folder" else ""),
    )
    inner = "".join(content for uri, content in parts if uri == "extended" or uri in wanted.names)
    head = f'<t:FolderId Id="{text(view.id)}" ChangeKey="{view.change_key}"/>'
    return f"<t:{view.element}>{head}{inner}</t:{view.element}>"
