"""Contact folders and what changed in them: SyncFolderItems page by page, then the fields of what it named."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from lxml import etree

from connectors.ews.mailbox.folders import acting_as, contact_folders
from connectors.ews.mailbox.items import Found, fetch, listed
from connectors.ews.mapping import is_private, item_from
from connectors.ews.wire.codes import FOLDER_GONE, PASSING, UNSUPPORTED
from connectors.ews.wire.operations import MAX_CHANGES, TYPES, sync_folder_items
from connectors.ews.wire.session import EwsSession, only
from connectors.ews.wire.soap import Message
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

MALFORMED: Final = "malformed"
NOT_A_CONTACT: Final = "not_a_contact"
PRIVATE: Final = "private"
_UNREAD: Final = "\x1f"  # between a sync state and the IDs of items that could not be read; XML allows it in neither
_MOST_UNREAD: Final = 256  # items of a folder that are asked for again with its next round
_MANY: Final = ["*"]  # stands for more of them
_PAGES_AHEAD: Final = 2  # one to take in next, one to fetch while the disk is waited for
_MOST_EMPTY: Final = 100  # pages in a row that bring nothing
_LISTINGS: Final = 5
_LISTED: Final = "listed"  # the checkpoint of a folder that Exchange does not synchronise

_T: Final = f"{{{TYPES}}}"
_CONTACT: Final = f"{_T}Contact"
_ITEM_ID: Final = f"{_T}ItemId"
# What a server may call an item it has been asked nothing but the ID of; the item itself tells what it is.
_MAYBE: Final = frozenset({_CONTACT, f"{_T}Item", f"{_T}Message"})


def changes(session: EwsSession, wanted: Wanted, selection: Selection, page_size: int) -> Iterator[Page | FolderGone]:
    """What changed in the mailbox's contact folders since the checkpoints."""
    mailbox, known = wanted.mailbox, wanted.checkpoints
    folders = [one for one in contact_folders(session, mailbox, known) if selection.takes_folder(one.path)]
    present = {folder.id for folder in folders}
    yield from (FolderGone(folder_id) for folder_id in known if folder_id not in present)
    again = [folder.id for folder in folders if known.get(folder.id) == _LISTED]
    if again:
        raise CheckpointExpired("These folders are read in full.", folder_id=again[0], others=again[1:])
    for folder in folders:
        yield from _Round(session, acting_as(mailbox), folder, selection).pages(known.get(folder.id, ""), page_size)


# -- one folder's round --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Brought:
    """What one step of a round brought: what the sync answer says, and the contacts that it names."""

    said: _Said
    found: list[Found] = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Round:
    session: EwsSession
    address: str
    folder: Folder
    selection: Selection

    def pages(self, checkpoint: str, page_size: int) -> Iterator[Page | FolderGone]:
        """The pages from a checkpoint on. While one is taken in, the next two are fetched, and never one more.

        What changed after them is asked for at the same time: without it, nothing further can be asked.

        Exchange names an item once. So the checkpoint keeps in mind what could not be read, and the next round asks
        for it again; for all of the folder if that is too much to keep in mind.
        """
        state, *unread = checkpoint.split(_UNREAD)
        if unread == _MANY:
            raise CheckpointExpired("Too many items could not be read.", folder_id=self.folder.id, code="many-unread")
        limit = min(page_size or MAX_CHANGES, MAX_CHANGES)
        try:
            said = self._sync(state, limit)
        except ServerFault as error:
            if self.address or not _may_mean_unsupported(error.code):
                raise
            yield from self._listed(limit)
            return
        with _ahead() as ahead:
            brought = self._fetched(said, unread)
            # Not before: a server that is too busy for what comes later would hold up the first page as well.
            after = ahead.submit(self._sync, said.state, limit) if said and not said.last else None
            coming: deque[Future[_Brought | None]] = deque()
            unread, empty = [], 0
            while brought is not None:
                said = brought.said
                while after is not None and len(coming) < _PAGES_AHEAD:
                    coming.append(ahead.submit(self._named, after))
                    after = ahead.submit(self._after, after, limit)
                page = self._page(brought, stored_before=bool(checkpoint))
                brought = None  # a page of elements takes more memory than one of contacts
                empty = empty + 1 if said.empty else 0
                if empty > _MOST_EMPTY:
                    raise ProtocolViolation("Exchange's sync has no end.")
                unread = [item_id for item_id in unread if not said.names(item_id)] + list(page.unread)
                kept = unread if len(unread) <= _MOST_UNREAD else _MANY
                yield replace(page, checkpoint=_UNREAD.join([page.checkpoint, *kept]))
                if said.last:
                    return
                brought = coming.popleft().result()
            yield from [FolderGone(self.folder.id)] if checkpoint else []

    def _named(self, step: Future[_Said | None]) -> _Brought | None:
        """The contacts that a step names, once it is known; None if the folder is gone, or there is none."""
        return self._fetched(step.result())

    def _after(self, step: Future[_Said | None], limit: int) -> _Said | None:
        """What changed after a step, unless it was the last."""
        said = step.result()
        return None if said is None or said.last else self._sync(said.state, limit)

    def _fetched(self, said: _Said | None, unread: Iterable[str] = ()) -> _Brought | None:
        """The contacts that a step names, and those that could not be read before."""
        if said is None:
            return None
        said.wanted.update((item_id, True) for item_id in unread if not said.names(item_id))
        return _Brought(said, list(fetch(self.session, self.address, list(said.wanted), self.selection.fields)))

    def _sync(self, state: str, limit: int) -> _Said | None:
        """What changed since a state; None if the folder is gone."""
        try:
            operation = sync_folder_items(self.folder.id, state, limit)
            message = only(self.session.call(operation, act_as=self.address), act_as=self.address)
        except ConnectorError as error:
            if error.code in FOLDER_GONE and self.address:  # of a public folder it does not say so: `folders.reading`
                return None
            if error.code == "ErrorInvalidSyncStateData" and state:
                raise CheckpointExpired(
                    "Exchange no longer knows how far this folder was read.",
                    folder_id=self.folder.id,
                    code=error.code,
                ) from None
            raise
        said = _Said.of(message, skips_private=not self.selection.private)
        said.state = message.text("SyncState")
        if not said.state:
            raise ProtocolViolation("Exchange's answer holds no sync state.")
        includes_last = message.truth("IncludesLastItemInRange")
        said.last = said.empty if includes_last is None else includes_last
        if not said.last and said.state == state:
            raise ProtocolViolation("Exchange's sync does not advance.")
        return said

    def _listed(self, limit: int) -> Iterator[Page]:
        """The pages of a public folder that cannot be synchronised: all there is, each time.

        Microsoft, "SyncFolderItems operation", does not support them, though servers do it; "Public folder access with
        EWS in Exchange" points to FindItem and GetItem instead.
        """
        said = self._all()
        item_ids, fields = list(said.wanted), self.selection.fields
        for start in range(0, len(item_ids) or 1, limit):
            found = list(fetch(self.session, self.address, item_ids[start : start + limit], fields))
            said.last = start + limit >= len(item_ids)
            yield self._page(_Brought(said, found), stored_before=False)
            said = _Said(wanted=said.wanted, state=_LISTED)  # what is left out is counted once

    def _all(self) -> _Said:
        """All of the folder, each item as if it were new; listed anew if it changed meanwhile.

        Else a page could miss what slipped to the one before.
        """
        for _ in range(_LISTINGS):
            said, totals = _Said(skips_private=not self.selection.private, state=_LISTED), set()
            for total, items in listed(self.session, self.address, self.folder.id):
                totals.add(total)
                for item in items:
                    said.note("Create", item, item)
            if len(totals) == 1:
                return said
        raise ServerFault("The folder changes faster than it can be listed.", code="folder-changing")

    def _page(self, brought: _Brought, *, stored_before: bool) -> Page:
        said, fields = brought.said, self.selection.fields
        skipped: Counter[str] = Counter()
        skipped[NOT_A_CONTACT] += len(said.foreign)
        skipped[MALFORMED] += said.nameless
        upserts: list[Upsert] = []
        private = dict(said.private)
        for item_id, element in brought.found:
            if element is None:
                skipped[MALFORMED] += 1
            elif element.tag != _CONTACT:
                skipped[NOT_A_CONTACT] += 1
            else:
                item = item_from(element, fields)
                if item.is_private and not self.selection.private:
                    private[item_id] = said.wanted[item_id]
                else:
                    upserts.append(Upsert(item_id, item.contact, item.has_picture))
        skipped[PRIVATE] += len(private)
        # What has become private must not stay stored, whatever a server calls the change.
        hidden = [item_id for item_id, updated in private.items() if updated or stored_before]
        return Page(
            folder=self.folder,
            upserts=tuple(upserts),
            removals=tuple(Removal(item_id) for item_id in (*said.removed, *hidden)),
            checkpoint=said.state,
            last=said.last,
            skipped={reason: number for reason, number in skipped.items() if number},
            unread=tuple(item_id for item_id, element in brought.found if element is None),
        )


@contextmanager
def _ahead() -> Iterator[ThreadPoolExecutor]:
    """What reads ahead; it has no thread before there is a next page.

    Who wants no more pages does not wait for the next one: that may take as long as a server asks for patience.
    """
    ahead = ThreadPoolExecutor(2, thread_name_prefix="ews")
    is_wanted = True
    try:
        yield ahead
    except (GeneratorExit, KeyboardInterrupt):
        is_wanted = False
        raise
    finally:
        ahead.shutdown(wait=is_wanted, cancel_futures=not is_wanted)


def _may_mean_unsupported(code: str) -> bool:
    """Whether a server may say by it that it does not synchronise public folders: which code does is written nowhere.

    An internal error was ridden out in vain; servers have answered so to what they have no public folders in mind for.
    """
    passing = PASSING - {"ErrorInternalServerError"}
    return code in UNSUPPORTED or (code.startswith("Error") and code not in passing | FOLDER_GONE)


@dataclass(slots=True)
class _Said:
    """What one sync answer says, the last word on each item only.

    Attributes:
        wanted: IDs of contacts to fetch; the value says whether they were there before, as far as Exchange says.
        private: IDs of private items, likewise.
        removed: IDs of what is gone.
        foreign: IDs of what is no contact.
        nameless: How many have no ID.
        state: How far this goes.
        last: Whether there is nothing after it for now.
    """

    wanted: dict[str, bool] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    removed: dict[str, bool] = field(default_factory=dict)
    foreign: dict[str, bool] = field(default_factory=dict)
    nameless: int = 0
    skips_private: bool = True
    state: str = field(default="", repr=False)
    last: bool = False

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

    def names(self, item_id: str) -> bool:
        """Whether anything is said of an item."""
        return any(item_id in bucket for bucket in (self.wanted, self.private, self.removed, self.foreign))

    def _take(self, change: etree._Element) -> None:
        kind = change.tag.rpartition("}")[2]
        if kind != "ReadFlagChange":
            self.note(kind, change, next(change.iterchildren("*"), None))

    def note(self, kind: str, named: etree._Element, item: etree._Element | None) -> None:
        """Takes down what is said of an item: the element that names it, and the item as far as it is told."""
        identity = next(named.iter(_ITEM_ID), None)
        item_id = "" if identity is None else identity.get("Id", "")
        if not item_id:
            self.nameless += 1
            return
        for earlier in (self.wanted, self.private, self.removed, self.foreign):
            earlier.pop(item_id, None)
        self._bucket(kind, item)[item_id] = kind == "Update"

    def _bucket(self, kind: str, item: etree._Element | None) -> dict[str, bool]:
        if kind == "Delete":
            return self.removed
        if item is None or item.tag not in _MAYBE:
            return self.foreign
        return self.private if self.skips_private and is_private(item) else self.wanted
