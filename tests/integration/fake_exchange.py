"""An Exchange of dictionaries behind the connector's port: paged full and incremental rounds, and faults on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from connectors.contact import Contact
from connectors.port import (
    Card,
    CheckpointExpired,
    ConnectorError,
    Folder,
    FolderGone,
    Identity,
    Mailbox,
    Page,
    Photo,
    PhotoRef,
    PhotoState,
    Removal,
    Source,
    SourceGone,
    Step,
    Upsert,
    Wanted,
)
from connectors.selection import Selection
from connectors.steps import one_by_one


@dataclass
class FakeFolder:
    """A contact folder with the log of its changes; a token is `full/<position>/<end>` or `since/<number>`."""

    path: str
    items: dict[str, Contact] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    order: list[str] = field(default_factory=list)  # all that ever came, so that full rounds keep their place
    pictured: dict[str, bool] = field(default_factory=dict)  # what the server says of an item's photo
    fault: ConnectorError | None = None  # of its rounds

    def put(self, item: str, contact: Contact) -> None:
        self.items[item] = contact
        self.log.append(item)
        if item not in self.order:
            self.order.append(item)

    def remove(self, item: str) -> None:
        del self.items[item]
        self.log.append(item)


@dataclass
class FakePerson:
    """A person: directory entry, and folders by ID where they have a mailbox."""

    mailbox: Mailbox
    card: Contact | ConnectorError
    folders: dict[str, FakeFolder] = field(default_factory=dict)
    fault: ConnectorError | None = None  # of `changes`, instead of pages


class FakeExchange:
    """The company; `people` by key, `groups` by ID with the keys of their members."""

    def __init__(self) -> None:
        self.people: dict[str, FakePerson] = {}
        self.groups: dict[str, list[str]] = {}
        self.unresolvable: dict[str, ConnectorError] = {}
        self.expired: set[str] = set()  # folders whose checkpoints are refused, once
        self.photos: dict[str, bytes | ConnectorError] = {}  # by item ID, or by the person's key
        self.page_size = 2
        self.lot = 3
        self.brings_cards = False
        self.after_page: Callable[[int], None] = lambda count: None
        self.pages = 0
        self.looks: list[PhotoRef] = []
        self.calls: list[str] = []

    def hire(self, key: str, *items: str, folder: str = "inbox", enabled: bool = True) -> FakePerson:
        """Adds a person with contacts in one folder."""
        person = FakePerson(
            Mailbox(key, f"{key}@example.com", enabled),
            Contact(display_name=f"Card of {key}", email_addresses=(f"{key}@example.com",)),
        )
        self.people[key] = person
        person.folders[f"{key}-{folder}"] = FakeFolder(folder)
        for item in items:
            person.folders[f"{key}-{folder}"].put(item, contact(item))
        return person

    def rename(self, key: str, item: str, name: str) -> None:
        folder = self.folder_of(key, item)
        folder.put(item, folder.items[item].replace(display_name=name))

    def move(self, key: str, item: str, to: str) -> None:
        origin = self.folder_of(key, item)
        moved = origin.items[item]
        origin.remove(item)
        self.people[key].folders[to].put(item, moved)

    def folder_of(self, key: str, item: str) -> FakeFolder:
        return next(folder for folder in self.people[key].folders.values() if item in folder.items)

    def content(self) -> dict[str, dict[str, tuple[str, Contact]]]:
        """All contacts: by person, then by item ID, with the path of their folder."""
        return {
            key: {
                item: (folder.path, entry) for folder in person.folders.values() for item, entry in folder.items.items()
            }
            for key, person in self.people.items()
        }

    def connect(self, selection: Selection) -> FakeConnector:
        return FakeConnector(self, selection)


def contact(name: str) -> Contact:
    return Contact(display_name=f"Contact {name}", surname=name, email_addresses=(f"{name}@partner.example",))


class FakeConnector:
    """One run's view of it."""

    def __init__(self, exchange: FakeExchange, selection: Selection) -> None:
        self._exchange = exchange
        self._selection = selection
        self.requests = 0
        self.closed = False

    def probe(self) -> Identity:
        return Identity("app", "fake.example")

    @property
    def lot(self) -> int:
        return self._exchange.lot

    def resolve(self, source: Source) -> Iterator[Card]:
        self.requests += 1
        exchange = self._exchange
        exchange.calls.append("resolve")
        members = exchange.groups.get(source.ref, [source.ref])
        for key in members:
            if key not in exchange.people:
                raise SourceGone("The user or group does not exist.")
            person = exchange.people[key]
            card = person.card if exchange.brings_cards and isinstance(person.card, Contact) else None
            yield Card(person.mailbox, None if card is None else self._selection.only(card))
        if source.ref in exchange.unresolvable:
            raise exchange.unresolvable[source.ref]

    def card(self, mailboxes: Sequence[Mailbox]) -> Iterator[Card]:
        self.requests += 1
        self._exchange.calls.append("card")
        for mailbox in mailboxes:
            found = self._exchange.people[mailbox.key].card
            if isinstance(found, Contact):
                yield Card(mailbox, contact=self._selection.only(found))
            else:
                yield Card(mailbox, error=found)

    def changes(self, wanted: Sequence[Wanted]) -> Iterator[Sequence[Step]]:
        """As a server does that is asked for several mailboxes at once: each exchange brings a step of every one."""
        rounds = [one_by_one(self._changes, [one]) for one in wanted]
        while rounds:
            moved = [(each, next(each, None)) for each in rounds]
            rounds = [each for each, steps in moved if steps is not None]
            if brought := [step for _, steps in moved for step in steps or ()]:
                yield brought

    def _changes(self, wanted: Wanted) -> Iterator[Page | FolderGone]:
        mailbox, checkpoints = wanted.mailbox, wanted.checkpoints
        person = self._exchange.people[mailbox.key]
        self._exchange.calls.append("changes")
        if person.fault is not None:
            raise person.fault
        for folder_id in checkpoints.keys() - person.folders.keys():
            yield FolderGone(folder_id)
        for folder_id, folder in person.folders.items():
            if not self._selection.takes_folder(folder.path):
                if folder_id in checkpoints:
                    yield FolderGone(folder_id)
                continue
            token = checkpoints.get(folder_id)
            if token is not None and folder_id in self._exchange.expired:
                self._exchange.expired.discard(folder_id)
                raise CheckpointExpired("The checkpoint is no longer known.", folder_id=folder_id)
            yield from self._round(folder_id, folder, token or f"full/0/{len(folder.log)}")

    def _round(self, folder_id: str, folder: FakeFolder, token: str) -> Iterator[Page]:
        last = False
        if folder.fault is not None:
            raise folder.fault
        while not last:
            self.requests += 1
            size = self._exchange.page_size
            kind, _, rest = token.partition("/")
            if kind == "full":
                position, end = (int(part) for part in rest.split("/"))
                items = folder.order[position : position + size]
                last = position + size >= len(folder.order)
                token = f"since/{end}" if last else f"full/{position + size}/{end}"
            else:
                items = folder.log[int(rest) : int(rest) + size]
                last = int(rest) + size >= len(folder.log)
                token = f"since/{int(rest) + len(items)}"
            gone = [item for item in items if item not in folder.items] if kind == "since" else []
            yield Page(
                Folder(folder_id, folder.path),
                tuple(self._upsert(folder, item) for item in items if item in folder.items),
                tuple(Removal(item) for item in gone),
                token,
                last,
            )
            self._exchange.pages += 1
            self._exchange.after_page(self._exchange.pages)

    def _upsert(self, folder: FakeFolder, item: str) -> Upsert:
        return Upsert(item, self._selection.only(folder.items[item]), folder.pictured.get(item))

    def photos(self, wanted: Sequence[PhotoRef]) -> Iterator[Photo]:
        self.requests += 1
        self._exchange.looks.extend(wanted)
        for ref in wanted:
            found = self._exchange.photos.get(ref.item_id or ref.mailbox.key)
            if found is None:
                yield Photo(ref, PhotoState.ABSENT)
            elif isinstance(found, ConnectorError):
                yield Photo(ref, PhotoState.FAILED, error=found)
            elif ref.etag == f"etag-{hash(found)}":
                yield Photo(ref, PhotoState.UNCHANGED, etag=ref.etag)
            else:
                yield Photo(ref, PhotoState.PRESENT, content=found, etag=f"etag-{hash(found)}")

    def hang_up(self) -> None:
        pass  # it never waits

    def close(self) -> None:
        self.closed = True
