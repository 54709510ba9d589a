"""What the server remembers beside the company, and what one call has at hand."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lxml import etree

from tests.simulators.company.model import Company, ContactFolder, Item, stable_id
from tests.simulators.onprem.blows import Blow
from tests.simulators.onprem.fields import Attachment, Entry
from tests.simulators.onprem.mailboxes import Access, Mailbox
from tests.simulators.onprem.soap import EwsError, Request, failure

if TYPE_CHECKING:
    from tests.simulators.onprem.faults import Faults
    from tests.simulators.onprem.notices import Subscription


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file on an item that is not its photo."""

    head: Attachment
    content: bytes


@dataclass(slots=True)
class State:
    """Everything behind the operations."""

    company: Company
    access: Access
    faults: Faults
    photo_absent_status: int = 404
    shows_whole_directory: bool = False  # to FindPeople without a query
    syncs_public_folders: bool = True  # "SyncFolderItems": not supported there, though servers have done it
    files: dict[str, list[StoredFile]] = field(default_factory=dict)  # by item ID
    extended: dict[str, dict[tuple[tuple[str, str], ...], str]] = field(default_factory=dict)  # by item ID
    subscriptions: dict[str, Subscription] = field(default_factory=dict)  # by ID
    baselines: dict[str, tuple[int, frozenset[str]]] = field(default_factory=dict)  # by folder ID, for Create or Update

    def entry(self, item: Item, folder: ContactFolder) -> Entry:
        """An item with its attachments and extended properties."""
        heads = [stored.head for stored in self.files.get(item.id, ())]
        if item.photo:
            heads.append(photo_head(item))
        return Entry(item, folder.id, tuple(heads), self.extended.get(item.id, {}))


def photo_head(item: Item) -> Attachment:
    """A contact's photo as the attachment it is; another photo has another ID."""
    photo = item.photo or b""
    kind = "image/png" if photo.startswith(b"\x89PNG") else "image/jpeg"
    identifier = f"{item.id}{stable_id(zlib.crc32(photo), len(photo))[:12]}"
    return Attachment(identifier, "ContactPicture.jpg", kind, len(photo), item.modified, is_photo=True)


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated request in one mailbox."""

    state: State
    request: Request
    mailbox: Mailbox
    blow: Blow = Blow()  # noqa: RUF009  (frozen)

    @property
    def body(self) -> etree._Element:
        """The operation's element."""
        return self.request.body

    @property
    def access(self) -> Access:
        """Who may open what."""
        return self.state.access

    def each(self, references: Iterable[etree._Element], answer: Callable[[etree._Element], str]) -> list[str]:
        """One response message per reference; what fails alone is an error alone."""
        return [self._one(place, reference, answer) for place, reference in enumerate(references)]

    def _one(self, place: int, reference: etree._Element, answer: Callable[[etree._Element], str]) -> str:
        identifier = reference.get("Id", "")
        try:
            failing = self.blow.item(place, identifier)
            if failing is not None:
                raise failing
            refusal = self.state.faults.refusal(identifier) if identifier else ""
            if refusal:
                raise EwsError(refusal)
            return answer(reference)
        except EwsError as problem:
            return failure(self.request.operation, problem)
