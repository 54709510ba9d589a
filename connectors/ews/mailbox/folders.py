"""Which contact folders there are: of a mailbox, and below a public folder.

Public folders are asked for as the service account itself, which needs to be allowed to read them. A deep search is
not allowed there (Microsoft, "FindFolder operation"), so they are walked level by level.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from lxml import etree

from connectors.contact import clean_text
from connectors.ews.wire.codes import FOLDER_GONE, UNSUPPORTED, failure
from connectors.ews.wire.operations import (
    MESSAGES,
    TYPES,
    count_folders_below,
    find_contact_folders,
    find_public_folders,
    get_contacts_folder,
)
from connectors.ews.wire.session import EwsSession, only
from connectors.ews.wire.soap import Message, is_whole
from connectors.port import (
    ConnectorError,
    Folder,
    Mailbox,
    MailboxGone,
    MailboxKind,
    NotPermitted,
    ProtocolViolation,
    ServerFault,
)

_T: Final = f"{{{TYPES}}}"
_ANY: Final = f".//{_T}FolderId"
_COUNT: Final = f"{{{MESSAGES}}}Folders/*/{_T}ChildFolderCount"
_CONTACT_CLASS: Final = "ipf.contact"  # classes below it are Exchange's own lists: recent recipients, chat partners
_DEEPEST: Final = 300  # levels, as Exchange allows of public folders
_MOST: Final = 100_000  # folders in one list; more is a list without end
READER_ADVICE: Final = (
    "Let the service account read the folder and those below it in the Exchange Management Shell:"
    " Add-PublicFolderClientPermission -Identity \\PATH -User ACCOUNT -AccessRights Reviewer"
)
GONE_ADVICE: Final = (
    "Check the path as Get-PublicFolder -Recurse shows it, or remove the source."
    f" If there is such a folder: {READER_ADVICE}"
)
ELSEWHERE_ADVICE: Final = (
    "If it stays, the content may lie in another public folder mailbox (Get-PublicFolder \\PATH | fl"
    " ContentMailboxName): Set-Mailbox ACCOUNT -DefaultPublicFolderMailbox NAME"
)
_PARENTS_AT_ONCE: Final = 50


def acting_as(mailbox: Mailbox) -> str:
    """In whose name a mailbox is read; empty for the service account itself, which reads public folders."""
    return "" if mailbox.kind is MailboxKind.PUBLIC_FOLDER else mailbox.address


@contextmanager
def reading(mailbox: Mailbox) -> Iterator[None]:
    """Says, where Exchange refuses a public folder, how it is opened; mailboxes have an advice of their own.

    Exchange keeps the tree in one mailbox and may keep what is in a folder in another one, where it may not look: then
    there is a folder, and none. That is no reason to take it for gone.
    """
    try:
        yield
    except (NotPermitted, ServerFault) as error:
        if mailbox.kind is not MailboxKind.PUBLIC_FOLDER or error.advice != error.default_advice:
            raise
        if isinstance(error, NotPermitted):
            raise NotPermitted(error.message, code=error.code, advice=READER_ADVICE) from None
        if error.code not in FOLDER_GONE:
            raise
        message = f"Exchange lists a public folder and does not find what is in it ({error.code})."
        raise ServerFault(message, code=error.code, advice=ELSEWHERE_ADVICE) from None


def contact_folders(session: EwsSession, mailbox: Mailbox, known: Collection[str] = ()) -> list[Folder]:
    """The contact folders of a mailbox, or the public ones at a path and below it, parents first.

    Args:
        session: Asks.
        mailbox: Whose.
        known: IDs of folders pulled before.

    Raises:
        MailboxGone: There is no such public folder.
    """
    if mailbox.kind is MailboxKind.PUBLIC_FOLDER:
        return _public_folders(session, mailbox.address)
    return _own_folders(session, mailbox.address, known)


@dataclass(frozen=True, slots=True)
class Found:
    """A folder that exists; `name` is its own, `parent` an ID."""

    id: str = field(repr=False)
    parent: str = field(repr=False)
    name: str = field(repr=False)
    holds_contacts: bool


# -- of a mailbox ----------------------------------------------------------------------------------------------------


def _own_folders(session: EwsSession, address: str, known: Collection[str]) -> list[Folder]:
    """The default contact folder and the contact folders below it."""
    message = only(session.call(get_contacts_folder(), act_as=address), act_as=address)
    container = message.find("Folders")
    top = None if container is None else _folder_of(next(iter(container), None))
    if top is None:
        raise ProtocolViolation("Exchange does not name the contact folder.")
    try:
        below = _below(session, address, top.id)
    except ServerFault as error:
        # Folders that were there before did not vanish because a server does not list them any more.
        if error.code not in UNSUPPORTED or any(folder_id != top.id for folder_id in known):
            raise
        below = {}
    folders = {top.id: top, **below}
    return [
        Folder(folder.id, _path(folder, folders, top))
        for folder in folders.values()
        if folder is top or folder.holds_contacts
    ]


def _below(session: EwsSession, address: str, top: str) -> dict[str, Found]:
    """Every folder below the default contact folder, by ID."""

    def ask(offset: int) -> Message:
        return only(session.call(find_contact_folders(offset), act_as=address), act_as=address)

    return {folder.id: folder for folder in _listed(ask, 0, lambda: _are_childless(session, [top], address))}


def _path(folder: Found, folders: dict[str, Found], top: Found) -> str:
    names: list[str] = []
    seen: set[str] = set()
    step: Found | None = folder
    while step is not None and step.id not in seen:
        seen.add(step.id)
        names.append(step.name)
        step = None if step is top else folders.get(step.parent)
    return "/".join(reversed(names))


# -- public ------------------------------------------------------------------------------------------------------------


def public_path(session: EwsSession, path: str) -> str | None:
    """A public folder's path as Exchange writes it; None if there is no such folder."""
    found = _public_folder(session, path)
    return None if found is None else found[1]


def _public_folders(session: EwsSession, path: str) -> list[Folder]:
    found = _public_folder(session, path)
    if found is None:
        raise MailboxGone(
            "Exchange knows no public folder at this path any more.", code="ErrorFolderNotFound", advice=GONE_ADVICE
        )
    folders: list[Folder] = []
    seen: set[str] = set()
    level = [found]
    depth = 0
    while level:
        depth += 1
        if depth > _DEEPEST or len(seen) > _MOST:
            raise ProtocolViolation("Exchange's tree of public folders has no end.")
        fresh = [(folder, name) for folder, name in level if folder.id not in seen]
        seen.update(folder.id for folder, _ in fresh)
        folders += [Folder(folder.id, name) for folder, name in fresh if folder.holds_contacts]
        paths = {folder.id: name for folder, name in fresh}
        level = [(child, f"{paths[parent]}/{child.name}") for parent, child in _children(session, list(paths))]
    return folders


def _public_folder(session: EwsSession, path: str) -> tuple[Found, str] | None:
    r"""The folder at a path, compared without case as Exchange does, and the path as Exchange writes it.

    A `\` is as good as a `/`: Exchange's own tools write paths with it. A name may hold either itself, so folders
    whose names go on behind one are tried where no shorter name leads on.
    """
    try:
        return _descend(session, "", _comparable(path).strip("/"), "")
    except MailboxGone as error:
        message = "Exchange shows public folders only to accounts with a mailbox; the service account has none."
        raise NotPermitted(message, code=error.code, advice="Give the service account a mailbox.") from None
    except ConnectorError as error:
        if error.code in FOLDER_GONE:
            return None
        raise


def _descend(session: EwsSession, parent: str, rest: str, above: str) -> tuple[Found, str] | None:
    for child in sorted(_pages(session, parent, 0), key=lambda child: len(child.name)):
        name, path = _comparable(child.name), f"{above}{child.name}"
        if name == rest:
            return child, path
        if name and rest.startswith(f"{name}/"):
            found = _descend(session, child.id, rest[len(name) + 1 :], f"{path}/")
            if found is not None:
                return found
    return None


def _comparable(path: str) -> str:
    return path.lower().replace("\\", "/")


def _children(session: EwsSession, parents: Sequence[str]) -> Iterator[tuple[str, Found]]:
    """The folders right below some, each with the ID of its parent."""
    for start in range(0, len(parents), _PARENTS_AT_ONCE):
        some = parents[start : start + _PARENTS_AT_ONCE]
        messages = session.call(find_public_folders(some, 0)).messages
        if len(messages) != len(some):
            messages = tuple(only(session.call(find_public_folders([one], 0))) for one in some)
        untold = [parent for parent, message in zip(some, messages, strict=True) if _leaves_out(message)]
        are_childless = bool(untold) and _are_childless(session, untold)
        for parent, message in zip(some, messages, strict=True):
            if message.failed and message.code in FOLDER_GONE:
                continue  # gone since its parent was looked at
            if message.failed:
                raise failure(message.code, impersonating=False)
            if are_childless and parent in untold:
                continue
            found, offset = _page(message, 0)
            yield from ((parent, child) for child in found)
            if offset is not None:
                yield from ((parent, child) for child in _pages(session, parent, offset))


def _pages(session: EwsSession, parent: str, offset: int | None) -> Iterator[Found]:
    """The folders right below one, or without a parent those at the top, from an offset on."""
    some = [parent] if parent else []
    return _listed(
        lambda start: only(session.call(find_public_folders(some, start))),
        offset,
        lambda: _are_childless(session, some),
    )


# -- answers -----------------------------------------------------------------------------------------------------------


def _listed(ask: Callable[[int], Message], offset: int | None, are_childless: Callable[[], bool]) -> Iterator[Found]:
    """The folders of a list from an offset on, each once. What is not told would count as gone, so all of it is."""
    seen: set[str] = set()
    while offset is not None:
        message = ask(offset)
        if offset == 0 and _leaves_out(message) and are_childless():
            return
        found, offset = _page(message, offset)
        fresh = [folder for folder in found if folder.id not in seen]
        seen.update(folder.id for folder in fresh)
        yield from fresh
        if offset is not None and (not fresh or len(seen) > _MOST):
            raise ProtocolViolation("Exchange's list of folders does not advance.")


def _leaves_out(message: Message) -> bool:
    """Whether an answer says that all went well, and no folder nor list: grommunio's way to say that it is empty."""
    return not message.failed and message.find("RootFolder") is None and message.element.find(_ANY) is None


def _are_childless(session: EwsSession, folder_ids: Sequence[str], act_as: str = "") -> bool:
    """Whether there is nothing right below some folders by the server's own count, or below the public ones' root."""
    messages = session.call(count_folders_below(folder_ids), act_as=act_as).messages
    counts = [message.element.findtext(_COUNT) for message in messages if not message.failed]
    return len(counts) == max(len(folder_ids), 1) and all((count or "").strip() == "0" for count in counts)


def _page(message: Message, offset: int) -> tuple[list[Found], int | None]:
    """The folders of an answer, and where the next page begins; None after the last."""
    root = message.find("RootFolder")
    if root is None:
        raise ProtocolViolation("Exchange's answer does not tell the folders.")
    elements = list(root.iterfind(f"{_T}Folders/*"))
    found = [folder for folder in map(_folder_of, elements) if folder is not None]
    if len(found) < len(elements):  # left out, one would look as if it were not there any more
        raise ProtocolViolation("Exchange's answer holds a folder without an ID.")
    if is_whole(root, offset + len(elements)):
        return found, None
    said = root.get("IndexedPagingOffset", "")
    return found, int(said) if said.isdecimal() and int(said) > offset else offset + len(elements)


def _folder_of(element: etree._Element | None) -> Found | None:
    if element is None:
        return None
    identity, parent = element.find(f"{_T}FolderId"), element.find(f"{_T}ParentFolderId")
    if identity is None or not identity.get("Id"):
        return None
    folder_class = (element.findtext(f"{_T}FolderClass") or "").strip().lower()
    return Found(
        id=identity.get("Id", ""),
        parent="" if parent is None else parent.get("Id", ""),
        name=clean_text(element.findtext(f"{_T}DisplayName")),
        holds_contacts=folder_class == _CONTACT_CLASS or (not folder_class and element.tag == f"{_T}ContactsFolder"),
    )
