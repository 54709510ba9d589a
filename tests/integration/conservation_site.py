"""What an adapter brings to a story of conservation: a simulator over a company, and what it makes of records."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from connectors.contact import Contact
from connectors.port import Connector
from connectors.selection import Selection
from syncvault.vault.model import Credential, TenantProfile
from tests.integration.vault_parts import profile, secret
from tests.simulators.company.model import Company
from tests.simulators.company.records import ContactFolder, Item

Key = tuple[str, str]  # a mailbox's key and the server's ID of the contact; of a card, the key once more


class Held(NamedTuple):
    """A contact or card as the vault holds it, or should."""

    kind: str
    folder: str
    fields: str  # JSON: what is compared is what would be read back
    photo: str  # its SHA-256, empty for none


class Source(NamedTuple):
    """What an administrator registers."""

    kind: str
    ref: str = ""


class Clock:
    """Time that passes only while somebody waits."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class Site(ABC):
    """One adapter, its simulator, and the company that this serves.

    Attributes:
        company: Whose contacts are pulled.
        ridden_out: Faults that a run must get over by itself.
        isolated: Faults that may cost a mailbox or a run, but nothing that is stored.
    """

    company: Company
    ridden_out: Sequence[str]
    isolated: Sequence[str]

    @abstractmethod
    def connect(self, selection: Selection) -> Connector:
        """A connector that does not really sleep."""

    def facts(self) -> TenantProfile:
        """The tenant to register; another process needs to find the simulator by them."""
        return profile("acme")

    def credential(self) -> Credential:
        """What opens it."""
        return secret()

    @abstractmethod
    def sources(self) -> set[Source]:
        """What an administrator would have registered as things stand."""

    @abstractmethod
    def named(self) -> set[str]:
        """Object IDs of the people whom the sources name."""

    @abstractmethod
    def switch(self, number: int) -> None:
        """Another choice of sources, one for each number."""

    @abstractmethod
    def key(self, person: str) -> str:
        """The mailbox's key."""

    @abstractmethod
    def remote_id(self, folder: ContactFolder, item: Item) -> str:
        """The server's ID of a contact."""

    @abstractmethod
    def contact_of(self, item: Item) -> Contact:
        """What the connector makes of an item."""

    @abstractmethod
    def cards(self) -> dict[str, tuple[Contact, bytes | None]]:
        """The card and the photo of everybody named, by key; of people outside too."""

    @abstractmethod
    def arm(self, fault: str, rate: float) -> None:
        """From now on a fault strikes this share of requests."""

    @abstractmethod
    def calm(self) -> None:
        """Ends all faults."""

    @abstractmethod
    def forget_checkpoints(self) -> None:
        """The server knows none of the checkpoints it gave out."""

    @abstractmethod
    def close(self) -> None:
        """Ends the simulator."""

    def expected(self, selection: Selection) -> dict[Key, Held]:
        """What a vault has to hold of the source."""
        found: dict[Key, Held] = {}
        for key, (card, photo) in self.cards().items():
            found[key, key] = _held("card", "", selection, card, photo)
        for person in self.named():
            box, key = self.company.people[person].box, self.key(person)
            for folder in box.folders.values() if box else ():
                path = box.path(folder.id) if box else ""
                for item in folder.items.values() if selection.takes_folder(path) else ():
                    if selection.private or not item.private:
                        entry = _held("contact", path, selection, self.contact_of(item), item.photo)
                        found[key, self.remote_id(folder, item)] = entry
        return found


def _held(kind: str, folder: str, selection: Selection, contact: Contact, photo: bytes | None) -> Held:
    fields = json.dumps(selection.only(contact).to_dict(), sort_keys=True)
    return Held(kind, folder, fields, hashlib.sha256(photo).hexdigest() if photo and selection.photos else "")
