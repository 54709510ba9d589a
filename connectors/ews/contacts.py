"""Contact folders and what changed in them: SyncFolderItems page by page, then the fields of what it named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Final

from lxml import etree

from connectors.contact import clean_text
from connectors.ews.codes import FOLDER_GONE, PASSING, UNSUPPORTED, failure
from connectors.ews.mapping import contact_from, has_picture, is_private
from connectors.ews.operations import (
    MAX_CHANGES,
    MESSAGES,
    TYPES,
    find_contact_folders,
    get_contacts,
    get_contacts_folder,
    sync_folder_items,
)
from connectors.ews.session import ANSWER_LIMIT, AnswerTooLargeError, EwsSession, only
from connectors.ews.soap import Message
from connectors.port import (
    CheckpointExpired,
    ConnectorError,
    Folder,
    FolderGone,
    Page,
    ProtocolViolation,
    Removal,
    ServerFault,
    Upsert,
    Wanted,
)
from connectors.selection import Selection

FETCHED_AT_ONCE: Final = 256
MALFORMED: Final = "malformed"
NOT_A_CONTACT: Final = "not_a_contact"
PRIVATE: Final = "private"

_T: Final = f"{{{TYPES}}}"
_CONTACT: Final = f"{_T}Contact"
_ITEM: Final = f"{_T}Item"  # what a server may call an item it has been asked nothing but the ID of
_CONTACT_CLASS: Final = "ipf.contact"  # classes below it are Exchange's own lists: recent recipients, chat partners
_FOLDER_PAGES: Final = 200


def changes(session: EwsSession, wanted: Wanted, selection: Selection, page_size: int) -> Iterator[Page | FolderGone]:
    """What changed in the mailbox's contact folders since the checkpoints."""
    mailbox, known = wanted.mailbox, wanted.checkpoints
    listed = contact_folders(session, mailbox.address, known)
    folders = [folder for folder in listed if selection.takes_folder(folder.path)]
    present = {folder.id for folder in folders}
    yield from (FolderGone(folder_id) for folder_id in known if folder_id not in present)
    for folder in folders:
        yield from _Round(session, mailbox.address, folder, selection).pages(known.get(folder.id, ""), page_size)


# -- folders ------------------------------------------------------------------------------------------------------


def contact_folders(session: EwsSession, address: str, known: Collection[str] = ()) -> list[Folder]:
    """The default contact folder and the contact folders below it, parents first.

    Args:
        session: Asks.
        address: Of the mailbox.
        known: IDs of folders pulled before.
    """
    message = only(session.call(get_contacts_folder(), act_as=address), act_as=address)
    container = message.find("Folders")
    top = None if container is None else _folder_of(next(iter(container), None))
    if top is None:
        raise ProtocolViolation("Exchange does not name the contact folder.")
    try:
        below = _below(session, address)
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


def _below(session: EwsSession, address: str) -> dict[str, _Found]:
    """Every folder below the default contact folder, by ID."""
    below: dict[str, _Found] = {}
    offset = 0
    for _ in range(_FOLDER_PAGES):
        message = only(session.call(find_contact_folders(offset), act_as=address), act_as=address)
        root = message.find("RootFolder")
        found = [] if root is None else [_folder_of(element) for element in root.iterfind(f"{_T}Folders/*")]
        known = len(below)
        below.update((folder.id, folder) for folder in found if folder is not None)
        if root is None or root.get("IncludesLastItemInRange", "true") in {"true", "1"} or len(below) == known:
            break
        offset = _number(root.get("IndexedPagingOffset")) or offset + len(found)
    return below


@dataclass(frozen=True, slots=True)
class _Found:
    id: str = field(repr=False)
    parent: str = field(repr=False)
    name: str = field(repr=False)
    holds_contacts: bool


def _folder_of(element: etree._Element | None) -> _Found | None:
    if element is None:
        return None
    identity, parent = element.find(f"{_T}FolderId"), element.find(f"{_T}ParentFolderId")
    if identity is None or not identity.get("Id"):
        return None
    folder_class = (element.findtext(f"{_T}FolderClass") or "").strip().lower()
    return _Found(
        id=identity.get("Id", ""),
        parent="" if parent is None else parent.get("Id", ""),
        name=clean_text(element.findtext(f"{_T}DisplayName")),
        holds_contacts=folder_class == _CONTACT_CLASS or (not folder_class and element.tag == f"{_T}ContactsFolder"),
    )


def _path(folder: _Found, folders: dict[str, _Found], top: _Found) -> str:
    names: list[str] = []
    seen: set[str] = set()
    step: _Found | None = folder
    while step is not None and step.id not in seen:
        seen.add(step.id)
        names.append(step.name)
        step = None if step is top else folders.get(step.parent)
    return "/".join(reversed(names))


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else 0


# -- one folder's round --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Round:
    session: EwsSession
    address: str
    folder: Folder
    selection: Selection

    def pages(self, checkpoint: str, page_size: int) -> Iterator[Page | FolderGone]:
        state, last = checkpoint, False
        limit = min(page_size or MAX_CHANGES, MAX_CHANGES)
        while not last:
            try:
                operation = sync_folder_items(self.folder.id, state, limit)
                message = only(self.session.call(operation, act_as=self.address), act_as=self.address)
            except ConnectorError as error:
                if error.code in FOLDER_GONE:
                    yield from [FolderGone(self.folder.id)] if checkpoint else []
                    return
                if error.code == "ErrorInvalidSyncStateData" and state:
                    raise CheckpointExpired(
                        "Exchange no longer knows how far this folder was read.",
                        folder_id=self.folder.id,
                        code=error.code,
                    ) from None
                raise
            said = _Said.of(message, skips_private=not self.selection.private)
            new_state = message.text("SyncState")
            if not new_state:
                raise ProtocolViolation("Exchange's answer holds no sync state.")
            includes_last = message.truth("IncludesLastItemInRange")
            last = said.empty if includes_last is None else includes_last
            if not last and new_state == state:
                raise ProtocolViolation("Exchange's sync does not advance.")
            state = new_state
            yield self._page(said, state, last=last, stored_before=bool(checkpoint))

    def _page(self, said: _Said, state: str, *, last: bool, stored_before: bool) -> Page:
        skipped: Counter[str] = Counter()
        skipped[NOT_A_CONTACT] += len(said.foreign)
        skipped[MALFORMED] += said.nameless
        upserts: list[Upsert] = []
        private = dict(said.private)
        for item_id, element in _fetch(self.session, self.address, list(said.wanted)):
            if element is None:
                skipped[MALFORMED] += 1
            elif element.tag != _CONTACT:
                skipped[NOT_A_CONTACT] += 1
            elif is_private(element) and not self.selection.private:
                private[item_id] = said.wanted[item_id]
            else:
                upserts.append(Upsert(item_id, self.selection.only(contact_from(element)), has_picture(element)))
        skipped[PRIVATE] += len(private)
        # What has become private must not stay stored, whatever a server calls the change.
        hidden = [item_id for item_id, updated in private.items() if updated or stored_before]
        return Page(
            folder=self.folder,
            upserts=tuple(upserts),
            removals=tuple(Removal(item_id) for item_id in (*said.removed, *hidden)),
            checkpoint=state,
            last=last,
            skipped={reason: number for reason, number in skipped.items() if number},
        )


@dataclass(slots=True)
class _Said:
    """What one sync answer says, the last word on each item only.

    Attributes:
        wanted: IDs of contacts to fetch; the value says whether they were there before, as far as Exchange says.
        private: IDs of private items, likewise.
        removed: IDs of what is gone.
        foreign: IDs of what is no contact.
    """

    wanted: dict[str, bool] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    removed: dict[str, bool] = field(default_factory=dict)
    foreign: dict[str, bool] = field(default_factory=dict)
    nameless: int = 0
    skips_private: bool = True

    @classmethod
    def of(cls, message: Message, *, skips_private: bool) -> _Said:
        said = cls(skips_private=skips_private)
        container = message.find("Changes")
        for change in () if container is None else container:
            if isinstance(change.tag, str):
                said._take(change)
        return said

    @property
    def empty(self) -> bool:
        return not (self.wanted or self.private or self.removed or self.foreign or self.nameless)

    def _take(self, change: etree._Element) -> None:
        kind = etree.QName(change).localname
        if kind == "ReadFlagChange":
            return
        identity = change.find(f".//{_T}ItemId")
        item_id = "" if identity is None else identity.get("Id", "")
        if not item_id:
            self.nameless += 1
            return
        for earlier in (self.wanted, self.private, self.removed, self.foreign):
            earlier.pop(item_id, None)
        self._bucket(kind, change)[item_id] = kind == "Update"

    def _bucket(self, kind: str, change: etree._Element) -> dict[str, bool]:
        if kind == "Delete":
            return self.removed
        item = next((child for child in change if isinstance(child.tag, str)), None)
        if item is None or item.tag not in {_CONTACT, _ITEM}:
            return self.foreign
        return self.private if self.skips_private and is_private(item) else self.wanted


# -- the fields of items -------------------------------------------------------------------------------------------


def _fetch(session: EwsSession, address: str, item_ids: list[str]) -> Iterator[tuple[str, etree._Element | None]]:
    """Each item with its element, or None if it cannot be read. Items that are gone meanwhile are left out."""
    for start in range(0, len(item_ids), FETCHED_AT_ONCE):
        yield from _fetch_some(session, address, item_ids[start : start + FETCHED_AT_ONCE])


def _fetch_some(session: EwsSession, address: str, item_ids: list[str]) -> Iterator[tuple[str, etree._Element | None]]:
    try:
        messages = session.call(get_contacts(item_ids), act_as=address, limit=ANSWER_LIMIT).messages
    except AnswerTooLargeError:
        messages = ()
        if len(item_ids) == 1:
            yield item_ids[0], None
            return
    if len(messages) != len(item_ids):
        # Too much at once, or an answer that does not say which item it leaves out: ask for less.
        if len(item_ids) == 1:
            raise ProtocolViolation("Exchange's answer does not match the items asked for.")
        half = len(item_ids) // 2
        yield from _fetch_some(session, address, item_ids[:half])
        yield from _fetch_some(session, address, item_ids[half:])
        return
    again: list[str] = []
    for item_id, message in zip(item_ids, messages, strict=True):
        if message.failed and message.code in PASSING:
            again.append(item_id)
        elif not message.failed:
            yield item_id, _item_of(message)
        elif message.code != "ErrorItemNotFound":  # its removal comes with a later page
            _raise_if_general(message, address)
            yield item_id, None
    if again:  # a request in which nothing but passing faults come back waits, and gives up, in the session
        yield from _fetch_some(session, address, again)


def _item_of(message: Message) -> etree._Element | None:
    container = message.element.find(f"{{{MESSAGES}}}Items")
    return None if container is None else next((child for child in container if isinstance(child.tag, str)), None)


_OF_THE_ITEM: Final = frozenset({
    "ErrorAccessDenied",
    "ErrorContentConversionFailed",
    "ErrorCorruptData",
    "ErrorInvalidId",
    "ErrorInvalidIdMalformed",
    "ErrorItemCorrupt",
    "ErrorItemPropertyRequestFailed",
    "ErrorMessageSizeExceeded",
    "ErrorMimeContentConversionFailed",
    "ErrorPropertyValidationFailure",
    "ErrorUnsupportedTypeForConversion",
    "ErrorVirusDetected",
    "ErrorVirusMessageDeleted",
})  # fmt: skip


def _raise_if_general(message: Message, address: str) -> None:
    """An error that is not one item's own must not let the items after it be forgotten."""
    if message.code not in _OF_THE_ITEM:
        raise failure(message.code, impersonating=bool(address))
