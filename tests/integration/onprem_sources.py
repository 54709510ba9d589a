"""What an administrator of Exchange on premises registers, and what each of these sources has a vault hold.

A source that leads nowhere any more takes nothing with it: until the administrator removes it, what it named stays.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from connectors.contact import Contact
from connectors.port import public_folder_key
from connectors.selection import Selection
from tests.contract.harness_ews import EwsHarness
from tests.integration.conservation_site import Held, Key, Source, contacts_in, held_card, outside_card
from tests.simulators.company.model import PUBLIC, ContactFolder, Group, Person
from tests.simulators.onprem.mailboxes import primary_address

_ADDRESSES = 3  # of a card: Exchange shows no more


class Shown:
    """A company as EWS shows it."""

    def __init__(self, harness: EwsHarness) -> None:
        self.company = harness.company
        self._harness = harness

    def mailbox(self, person: Person, selection: Selection) -> dict[Key, Held]:
        """A person's card and contacts."""
        key = mailbox_key(person)
        found = {(key, key): held_card(selection, self._card(person), person.photo)}
        if person.box is not None:
            paths = {folder.id: person.box.path(folder.id) for folder in person.box.folders.values()}
            found |= self.contacts(key, person.object_id, paths, selection)
        return found

    def contacts(self, key: str, owner: str, paths: dict[str, str], selection: Selection) -> dict[Key, Held]:
        """The contacts in some of the owner's folders."""
        box = self.company.box_of(owner)
        found: dict[Key, Held] = {}
        for folder_id, path in paths.items():
            entries = contacts_in(box.folders[folder_id], path, selection, self._harness.contact_of)
            found |= {(key, item_id): entry for item_id, entry in entries.items()}
        return found

    def address_list(self, selection: Selection) -> dict[Key, Held]:
        """The card of everybody whom the address list shows; of two with one address it is the first."""
        people = [one for one in self.company.people.values() if one.in_address_list]
        found = [(mailbox_key(one), self._listed_card(one), one.photo) for one in people]
        found += [(one.mail.lower(), outside_card(one), None) for one in self.company.org_contacts.values() if one.mail]
        return {(key, key): held_card(selection, card, photo) for key, card, photo in reversed(found)}

    def _card(self, person: Person) -> Contact:
        if not person.in_address_list:
            return Contact(email_addresses=(primary_address(person),))
        card = self._harness.card_of(person)
        return card.replace(email_addresses=card.email_addresses[:_ADDRESSES])

    def _listed_card(self, person: Person) -> Contact:
        if self._harness.simulator.shows_whole_directory:  # as personas, who show one address
            return self._card(person).replace(email_addresses=(primary_address(person),))
        return self._card(person)


class Registered(ABC):
    """One source."""

    source: Source

    def __init__(self, shown: Shown) -> None:
        self._shown = shown

    @property
    @abstractmethod
    def is_there(self) -> bool:
        """Whether it leads anywhere."""

    @abstractmethod
    def brings(self, selection: Selection) -> dict[Key, Held]:
        """What a vault has to hold of it."""


class Mailbox(Registered):
    """A person's mailbox, by whatever address was theirs when it was registered."""

    def __init__(self, shown: Shown, person: str, address: str) -> None:
        super().__init__(shown)
        self.source = Source("mailbox", address)
        self._person = person
        self._last: dict[Key, Held] = {}

    @property
    def is_there(self) -> bool:
        return is_known(self._shown.company.people.get(self._person))

    def brings(self, selection: Selection) -> dict[Key, Held]:
        if self.is_there:
            self._last = self._shown.mailbox(self._shown.company.people[self._person], selection)
        return self._last


class DistributionList(Registered):
    """The mailboxes of all members, by the address that the list had when it was registered."""

    def __init__(self, shown: Shown, group: Group) -> None:
        super().__init__(shown)
        self.source = Source("list", list_address(group))
        self._group = group.object_id
        self._members: set[str] = set()

    @property
    def is_there(self) -> bool:
        group = self._shown.company.groups.get(self._group)
        return group is not None and list_address(group) == self.source.ref

    def brings(self, selection: Selection) -> dict[Key, Held]:
        people = self._shown.company.people
        if self.is_there:
            self._members = {one.object_id for one in self._shown.company.transitive_people(self._group)}
        here = (people[member] for member in self._members if member in people)
        found = (self._shown.mailbox(person, selection) for person in here if person.box is not None)
        return {key: entry for box in found for key, entry in box.items()}


class AddressList(Registered):
    """The cards of the global address list."""

    source = Source("gal")
    is_there = True

    def brings(self, selection: Selection) -> dict[Key, Held]:
        return self._shown.address_list(selection)


class PublicFolder(Registered):
    """The contacts of the public folder at a path, and of those below it."""

    def __init__(self, shown: Shown, path: str) -> None:
        super().__init__(shown)
        self.source = Source("public-folder", path)
        self._last: dict[Key, Held] = {}

    @property
    def is_there(self) -> bool:
        return self._top is not None

    @property
    def _top(self) -> ContactFolder | None:
        # Of paths that are written alike, the one with the shorter names is meant.
        wanted = self.source.ref.casefold()
        found = [names for names in public_folders(self._shown) if "/".join(names).casefold() == wanted]
        return public_folders(self._shown)[min(found, key=lambda names: [*map(len, names)])] if found else None

    def brings(self, selection: Selection) -> dict[Key, Held]:
        if (top := self._top) is not None:
            folders = public_folders(self._shown)
            above = next(names for names, folder in folders.items() if folder is top)
            paths = {
                folder.id: "/".join(names)
                for names, folder in folders.items()
                if names[: len(above)] == above and folder.folder_class == "IPF.Contact"
            }
            self._last = self._shown.contacts(public_folder_key(self.source.ref), PUBLIC, paths, selection)
        return self._last


def mailbox_key(person: Person) -> str:
    """What a vault knows a person's mailbox by."""
    return primary_address(person).lower()


def is_known(person: Person | None) -> bool:
    """Whether an address leads anywhere: to an entry that the directory shows, or to a mailbox."""
    return person is not None and (person.in_address_list or person.box is not None)


def list_address(group: Group) -> str:
    """The address that a list of plain letters receives mail under."""
    return f"{group.display_name.lower().replace(' ', '-')}@example.com"


def public_folders(shown: Shown) -> dict[tuple[str, ...], ContactFolder]:
    """The public folders by the names that lead to them."""
    box = shown.company.public
    found: dict[tuple[str, ...], ContactFolder] = {}
    level = [((), box.default)]
    while level:
        level = [((*names, child.name), child) for names, folder in level for child in box.children(folder.id)]
        found |= dict(level)
    return found
