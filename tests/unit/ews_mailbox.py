"""A mailbox on paper: what Exchange answers about folders, changes and items, for unit tests."""

from __future__ import annotations

from typing import Any

from connectors.ews.connector import EwsConnector
from connectors.port import Mailbox
from tests.reading import outcomes
from tests.unit.ews_wire import Seen, answer

ANNA = Mailbox("anna@example.com", "anna@example.com")


def folder(folder_id: str, name: str, parent: str = "root", folder_class: str = "IPF.Contact") -> str:
    return (
        f'<t:ContactsFolder><t:FolderId Id="{folder_id}" ChangeKey="A"/><t:ParentFolderId Id="{parent}"/>'
        f"<t:FolderClass>{folder_class}</t:FolderClass><t:DisplayName>{name}</t:DisplayName></t:ContactsFolder>"
    )


TOP = answer("GetFolder", f"<m:Folders>{folder('top', 'Kontakte')}</m:Folders>")


LAST = "<m:IncludesLastItemInRange>true</m:IncludesLastItemInRange>"


def below(*folders: str, last: bool = True, offset: int = 0) -> str:
    paging = f'IndexedPagingOffset="{offset}" TotalItemsInView="9" IncludesLastItemInRange="{str(last).lower()}"'
    return answer(
        "FindFolder",
        f"<m:RootFolder {paging}><t:Folders>{''.join(folders)}</t:Folders></m:RootFolder>",
    )


def changed(state: str, *changes: str, last: bool = True) -> str:
    return answer(
        "SyncFolderItems",
        f"<m:SyncState>{state}</m:SyncState>"
        f"<m:IncludesLastItemInRange>{str(last).lower()}</m:IncludesLastItemInRange>"
        f"<m:Changes>{''.join(changes)}</m:Changes>",
    )


def said(kind: str, item_id: str, sensitivity: str = "Normal", element: str = "Contact") -> str:
    identity = f'<t:ItemId Id="{item_id}" ChangeKey="E"/>'
    if kind == "Delete":
        return f"<t:Delete>{identity}</t:Delete>"
    return f"<t:{kind}><t:{element}>{identity}<t:Sensitivity>{sensitivity}</t:Sensitivity></t:{element}></t:{kind}>"


def contact(item_id: str, name: str = "", sensitivity: str = "Normal", picture: str = "false") -> str:
    return (
        f'<t:Contact><t:ItemId Id="{item_id}" ChangeKey="E"/><t:Sensitivity>{sensitivity}</t:Sensitivity>'
        f"<t:DisplayName>{name or item_id}</t:DisplayName><t:HasPicture>{picture}</t:HasPicture></t:Contact>"
    )


def items(*contacts: str) -> str:
    return answer("GetItem", *(f"<m:Items>{one}</m:Items>" for one in contacts))


def found_below(*folders: str) -> str:
    return answer("FindFolder", f"<m:RootFolder><t:Folders>{''.join(folders)}</t:Folders></m:RootFolder>")


def found(*item_ids: str, last: bool = True, total: int = 3) -> str:
    entries = "".join(f'<t:Contact><t:ItemId Id="{item_id}"/></t:Contact>' for item_id in item_ids)
    attributes = f'TotalItemsInView="{total}" IncludesLastItemInRange="{str(last).lower()}"'
    return answer("FindItem", f"<m:RootFolder {attributes}><t:Items>{entries}</t:Items></m:RootFolder>")


def counted(*numbers: str) -> str:
    """A server's own count of the folders right below some."""
    inner = '<t:Folder><t:FolderId Id="f"/><t:ChildFolderCount>{}</t:ChildFolderCount></t:Folder>'
    return answer("GetFolder", *(f"<m:Folders>{inner.format(number)}</m:Folders>" for number in numbers))


def asked(request: Seen) -> list[str]:
    return [str(item_id) for item_id in request.find("//m:ItemIds/t:ItemId/@Id")]


def pull(connector: EwsConnector, checkpoints: dict[str, str] | None = None) -> list[Any]:
    return list(outcomes(connector, ANNA, checkpoints or {}))
