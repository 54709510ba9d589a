"""What the contract suite asks of an adapter and its simulator; one subclass per adapter, in `harness_NAME.py`.

The company (`tests.simulators.company`) is the same for both, so the suite edits it directly, by object IDs. A harness
knows how the adapter names people, how to make its connector, and how to make its server misbehave. A fixture
gives each test a fresh one and closes it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import fields
from enum import StrEnum

from connectors.contact import ADDRESS_FIELDS, FIELD_NAMES, Contact, PostalAddress
from connectors.port import Connector, FolderGone, Mailbox, Page, PhotoRef, Source
from tests.reading import outcomes
from tests.simulators.company.model import Company
from tests.simulators.company.records import Item, Person


class Fault(StrEnum):
    """Passing faults that a connector rides out by itself."""

    BUSY = "busy"  # "come back later", with a time: Graph 429, EWS ErrorServerBusy
    ERROR = "error"  # 503 without a word of when
    RESET = "reset"  # the connection breaks before an answer
    TRUNCATED = "truncated"  # the connection breaks in the middle of an answer


class Harness(ABC):
    """One adapter, one simulator, one company.

    Attributes:
        name: The adapter's.
        permission: What the advice of a `NotPermitted` mailbox must name.
        knows_groups: Whether groups are sources (online only).
        company: What the server serves; edit it freely.
        waits: Seconds that the connectors of this harness would have slept (pass `sleep=self.waits.append`).
    """

    name: str
    permission: str
    knows_groups: bool
    company: Company
    waits: list[float]

    @abstractmethod
    def connect(self, *, page_size: int = 0) -> Connector:
        """A connector with the right credential; 0 leaves the adapter's own page size."""

    @abstractmethod
    def connect_wrongly(self) -> Connector:
        """A connector with a credential that the server refuses."""

    @abstractmethod
    def refusals(self) -> int:
        """How many attempts to sign in the server has refused for their credential."""

    @abstractmethod
    def source(self, person: str) -> Source:
        """The source that names this person (an object ID of the company)."""

    def group(self, group: str) -> Source:
        """The source that names this group; only called where `knows_groups`."""
        raise NotImplementedError(group)

    @abstractmethod
    def unknown_source(self) -> Source:
        """A well-formed source that names nobody."""

    @abstractmethod
    def mailbox(self, person: str) -> Mailbox:
        """The mailbox as `resolve` would give it."""

    @abstractmethod
    def fail(self, fault: Fault, *, times: int = 1) -> None:
        """The next `times` requests for data (not for signing in) meet this fault."""

    @abstractmethod
    def forget_checkpoints(self, person: str) -> None:
        """From now on the server knows none of the checkpoints it gave out for this mailbox."""

    @abstractmethod
    def refuse_mailbox(self, person: str) -> None:
        """Takes away the right to this one mailbox."""

    @abstractmethod
    def close(self) -> None:
        """Closes connectors and whatever the harness started."""

    # -- what the source holds, as the port should tell it; override where a server really holds less --------------

    def contact_of(self, item: Item) -> Contact:
        """The contact that an item of the company is."""
        return Contact(**{name: _plain(name, getattr(item, name)) for name in FIELD_NAMES})

    def card_of(self, person: Person) -> Contact:
        """The card that a person of the company has."""
        return Contact(
            display_name=person.display_name,
            given_name=person.given_name,
            surname=person.surname,
            company=person.company,
            department=person.department,
            job_title=person.job_title,
            office_location=person.office_location,
            email_addresses=tuple(filter(None, [person.mail, *person.other_addresses])),
            business_phones=person.business_phones,
            mobile_phone=person.mobile_phone,
            business_address=_address(person.address),
        )

    def holdings(self, person: str) -> Counter[tuple[str, Contact]]:
        """All contacts of a mailbox that should be pulled, each with its folder's path."""
        box = self.company.box_of(person)
        return Counter(
            (box.path(folder.id), self.contact_of(item))
            for folder in box.folders.values()
            for item in folder.items.values()
            if not item.private
        )


class Copy:
    """A copy of one mailbox, kept as syncvault keeps it: page by page, each with its checkpoint."""

    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox
        self.checkpoints: dict[str, str] = {}
        self.paths: dict[str, str] = {}
        self.contacts: dict[str, dict[str, Contact]] = {}
        self.skipped: Counter[str] = Counter()
        self.last_pull: list[Page | FolderGone] = []
        self._brought: dict[str, set[str]] = {}  # of full rounds under way

    def pull(self, connector: Connector) -> Copy:
        """Takes in everything that `changes` has."""
        self.last_pull = []
        for step in outcomes(connector, self.mailbox, self.checkpoints):
            self.take(step)
        return self

    def take(self, step: Page | FolderGone) -> None:
        """Takes in one step."""
        self.last_pull.append(step)
        if isinstance(step, FolderGone):
            for kept in (self.checkpoints, self.paths, self.contacts, self._brought):
                kept.pop(step.folder_id, None)
            return
        folder = step.folder.id
        if folder not in self.checkpoints:
            self._brought[folder] = set()
        self.paths[folder] = step.folder.path
        held = self.contacts.setdefault(folder, {})
        held.update({upsert.id: upsert.contact for upsert in step.upserts})
        for removal in step.removals:
            held.pop(removal.id, None)
        if folder in self._brought:
            self._brought[folder] |= {upsert.id for upsert in step.upserts}
            if step.last:
                brought = self._brought.pop(folder)
                self.contacts[folder] = {key: held[key] for key in held if key in brought}
        self.checkpoints[folder] = step.checkpoint
        self.skipped.update(step.skipped)

    def forget(self, folder_id: str) -> None:
        """Drops a folder's checkpoint, as one does when it has expired."""
        del self.checkpoints[folder_id]

    @property
    def holdings(self) -> Counter[tuple[str, Contact]]:
        """What the copy holds, to compare with the source."""
        return Counter(
            (self.paths[folder], contact) for folder, held in self.contacts.items() for contact in held.values()
        )

    @property
    def moved(self) -> int:
        """How many rows the last pull brought."""
        return sum(len(step.upserts) + len(step.removals) for step in self.last_pull if isinstance(step, Page))

    def photo_ref(self, display_name: str, *, etag: str = "") -> PhotoRef:
        """The reference to the photo of the contact with this name."""
        for folder, held in self.contacts.items():
            for identifier, contact in held.items():
                if contact.display_name == display_name:
                    return PhotoRef(self.mailbox, folder, identifier, etag)
        raise KeyError(display_name)


def names(holdings: Mapping[tuple[str, Contact], int] | Iterable[tuple[str, Contact]]) -> list[str]:
    """The display names among holdings, in order."""
    return sorted(contact.display_name for _, contact in holdings)


def _plain(name: str, value: object) -> object:
    return _address(value) if name in ADDRESS_FIELDS else value


def _address(value: object) -> PostalAddress:
    return PostalAddress(**{part.name: getattr(value, part.name) for part in fields(PostalAddress)})
