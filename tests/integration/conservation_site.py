"""What an adapter brings to a story of conservation: a simulator over a company, and what it makes of records."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

from connectors.contact import Contact
from connectors.port import Connector
from connectors.selection import Selection
from syncvault.vault.model import Credential, TenantProfile
from tests.integration.source_edits import Edits
from tests.integration.vault_parts import profile, secret
from tests.simulators.company.model import Company
from tests.simulators.company.records import ContactFolder, Item, OrgContact

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
    def switch(self, number: int) -> None:
        """Another choice of sources, one for each number."""

    @abstractmethod
    def adjust(self) -> None:
        """The administrator gives up what leads nowhere any more."""

    def edits(self) -> Edits:
        """What may happen to the company."""
        return Edits(self.company)

    @abstractmethod
    def expected(self, selection: Selection) -> dict[Key, Held]:
        """What a vault has to hold of the source."""

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


def contacts_in(
    folder: ContactFolder, path: str, selection: Selection, contact_of: Callable[[Item], Contact]
) -> dict[str, Held]:
    """What a vault has to hold of a folder, by the contacts' own IDs."""
    items = folder.items.values() if selection.takes_folder(path) else ()
    wanted = (item for item in items if selection.private or not item.private)
    return {item.id: _held("contact", path, selection, contact_of(item), item.photo) for item in wanted}


def held_card(selection: Selection, contact: Contact, photo: bytes | None) -> Held:
    """What a vault has to hold of a card."""
    return _held("card", "", selection, contact, photo)


def outside_card(one: OrgContact) -> Contact:
    """The card of somebody outside."""
    return Contact(
        display_name=one.display_name,
        given_name=one.given_name,
        surname=one.surname,
        company=one.company,
        department=one.department,
        job_title=one.job_title,
        email_addresses=tuple(filter(None, [one.mail])),
        business_phones=tuple(filter(None, [one.business_phone])),
        mobile_phone=one.mobile_phone,
    )


def _held(kind: str, folder: str, selection: Selection, contact: Contact, photo: bytes | None) -> Held:
    fields = json.dumps(selection.only(contact).to_dict(), sort_keys=True)
    return Held(kind, folder, fields, hashlib.sha256(photo).hexdigest() if photo and selection.photos else "")
