"""The company and everything that can happen to it, each change with a sequence number in a journal.

Servers compute deltas from the journals: "what happened after sequence number N". `lock` is held for every change;
a reader that walks over a dictionary holds it too.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from tests.simulators.company.records import (
    PUBLIC,
    Box,
    Change,
    ContactFolder,
    Group,
    Item,
    OrgContact,
    Person,
    PostalAddress,
    new_box,
    public_tree,
    stable_id,
)

Member = Person | Group | OrgContact

__all__ = [
    "PUBLIC",
    "Box",
    "Change",
    "Company",
    "ContactFolder",
    "Group",
    "Item",
    "Member",
    "OrgContact",
    "Person",
    "PostalAddress",
    "stable_id",
]


class Company:
    """One directory with its people, groups and mailboxes. Thread-safe."""

    def __init__(
        self,
        directory_id: str,
        people: Iterable[Person] = (),
        groups: Iterable[Group] = (),
        org_contacts: Iterable[OrgContact] = (),
        *,
        public: Box | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.public = public or public_tree()
        self.of_services: dict[str, Box] = {}  # mailboxes of accounts that are no people, by address
        self.directory_id = directory_id
        self.people = {person.object_id: person for person in people}
        self.groups = {group.object_id: group for group in groups}
        self.org_contacts = {contact.object_id: contact for contact in org_contacts}
        self.lock = threading.RLock()
        self.sequence = 0
        self.people_journal: list[Change] = []
        self.group_journal: list[Change] = []
        self.org_contact_journal: list[Change] = []
        self.member_journal: list[tuple[int, str, str, str]] = []  # sequence, group, member, "upsert" or "remove"
        self._clock = clock
        self._names: dict[str, str] = {}
        self._closures: dict[tuple[str, bool], tuple[int, list[Member]]] = {}
        for person in self.people.values():
            self._index(person)

    # -- looking ------------------------------------------------------------------------------------------------

    def find_person(self, key: str) -> Person | None:
        """The person with this object ID, user principal name, mail or other address, in any case."""
        # Without the lock: every request looks somebody up, and each of the two look-ups is atomic.
        return self.people.get(self._names.get(key.casefold(), key.casefold()))

    def find_member(self, object_id: str) -> Member | None:
        """The person, group or organisation contact with this object ID."""
        return self.people.get(object_id) or self.groups.get(object_id) or self.org_contacts.get(object_id)

    def transitive_members(self, group_id: str, *, hidden: bool = True) -> list[Member]:
        """Everything in a group, directly or through groups, each once; groups may contain each other.

        `hidden=False` leaves out what only a group with hidden membership contains.
        """
        with self.lock:
            sequence, members = self._closures.get((group_id, hidden), (-1, []))
            if sequence != self.sequence:  # a page of a large group must not cost a walk through all of it
                members = self._walk(group_id, hidden=hidden)
                if len(self._closures) > 16:
                    self._closures.clear()
                self._closures[group_id, hidden] = self.sequence, members
            return members

    def transitive_people(self, group_id: str) -> Iterator[Person]:
        """The people among the transitive members."""
        return (member for member in self.transitive_members(group_id) if isinstance(member, Person))

    def box_of(self, object_id: str) -> Box:
        """The mailbox of a person who has one or of an account, or the public folders; KeyError otherwise."""
        if object_id in self.of_services:
            return self.of_services[object_id]
        box = self.public if object_id == PUBLIC else self.people[object_id].box
        if box is None:
            raise KeyError(f"{object_id} has no mailbox")
        return box

    # -- people and groups --------------------------------------------------------------------------------------

    def add_person(self, **fields: Any) -> Person:
        """Hires somebody; with a mailbox unless `mailbox=False` is given."""
        with self.lock:
            sequence = self._bump()
            object_id = fields.pop("object_id", "") or str(uuid.UUID(bytes=_digest(self.directory_id, sequence)))
            has_mailbox = fields.pop("mailbox", True)
            if has_mailbox and fields.get("box") is None:
                fields["box"] = new_box(object_id)
            fields.setdefault("user_principal_name", fields.get("mail") or f"{object_id[:8]}@example.com")
            person = Person(object_id=object_id, created=self._clock(), **_plain(fields))
            self.people[object_id] = person
            self._index(person)
            self.people_journal.append((sequence, object_id, "upsert"))
            return person

    def change_person(self, object_id: str, **fields: Any) -> Person:
        """Changes a person's directory entry."""
        with self.lock:
            person = replace(self.people[object_id], **_plain(fields))
            self.people[object_id] = person
            self._index(person)
            self.people_journal.append((self._bump(), object_id, "upsert"))
            return person

    def disable_person(self, object_id: str) -> Person:
        """Blocks a person from signing in."""
        return self.change_person(object_id, enabled=False)

    def remove_person(self, object_id: str) -> None:
        """Lets somebody go: the entry, the mailbox and every membership."""
        with self.lock:
            del self.people[object_id]
            self._names = {name: owner for name, owner in self._names.items() if owner != object_id}
            self._leave_groups(object_id)
            self.people_journal.append((self._bump(), object_id, "remove"))

    def set_person_photo(self, object_id: str, photo: bytes | None) -> None:
        """Changes a person's photo; no journal tells of it, as in the real directory."""
        with self.lock:
            self._bump()
            self.people[object_id] = replace(self.people[object_id], photo=photo)

    def add_group(
        self,
        display_name: str,
        members: Iterable[str] = (),
        *,
        object_id: str = "",
        hidden: bool = False,
        dynamic: bool = False,
    ) -> Group:
        """Makes a group."""
        with self.lock:
            sequence = self._bump()
            object_id = object_id or str(uuid.UUID(bytes=_digest(self.directory_id, "group", sequence)))
            group = Group(object_id, display_name, tuple(members), hidden, dynamic)
            self.groups[object_id] = group
            self.group_journal.append((sequence, object_id, "upsert"))
            self.member_journal += [(sequence, object_id, member_id, "upsert") for member_id in group.members]
            return group

    def rename_group(self, object_id: str, display_name: str) -> Group:
        """Gives a group another name."""
        with self.lock:
            group = self.groups[object_id] = replace(self.groups[object_id], display_name=display_name)
            self.group_journal.append((self._bump(), object_id, "upsert"))
            return group

    def remove_group(self, object_id: str) -> None:
        """Removes a group, also from the groups it is in."""
        with self.lock:
            del self.groups[object_id]
            self._leave_groups(object_id)
            self.group_journal.append((self._bump(), object_id, "remove"))

    def add_member(self, group_id: str, member_id: str) -> None:
        """Puts a person, a group or an organisation contact into a group."""
        with self.lock:
            group = self.groups[group_id]
            if member_id not in group.members:
                self._set_members(group, (*group.members, member_id), member_id, "upsert")

    def remove_member(self, group_id: str, member_id: str) -> None:
        """Takes a member out of a group."""
        with self.lock:
            group = self.groups[group_id]
            self._set_members(group, tuple(m for m in group.members if m != member_id), member_id, "remove")

    # -- organisation contacts ----------------------------------------------------------------------------------

    def add_org_contact(self, **fields: Any) -> OrgContact:
        """Puts somebody outside into the directory."""
        with self.lock:
            sequence = self._bump()
            object_id = fields.pop("object_id", "") or str(
                uuid.UUID(bytes=_digest(self.directory_id, "org contact", sequence))
            )
            contact = self.org_contacts[object_id] = OrgContact(object_id=object_id, **_plain(fields))
            self.org_contact_journal.append((sequence, object_id, "upsert"))
            return contact

    def change_org_contact(self, object_id: str, **fields: Any) -> OrgContact:
        """Changes an organisation contact."""
        with self.lock:
            contact = replace(self.org_contacts[object_id], **_plain(fields))
            self.org_contacts[object_id] = contact
            self.org_contact_journal.append((self._bump(), object_id, "upsert"))
            return contact

    def remove_org_contact(self, object_id: str) -> None:
        """Removes an organisation contact, also from the groups it is in."""
        with self.lock:
            del self.org_contacts[object_id]
            self._leave_groups(object_id)
            self.org_contact_journal.append((self._bump(), object_id, "remove"))

    # -- contacts -----------------------------------------------------------------------------------------------

    def add_contact(self, object_id: str, folder_id: str | None = None, **fields: Any) -> Item:
        """Adds a contact to a folder, the default one unless given."""
        with self.lock:
            box = self.box_of(object_id)
            folder = box.folders[folder_id] if folder_id else box.default
            sequence, now = self._bump(), self._clock()
            fields.setdefault("id", stable_id(object_id, "item", sequence))
            item = Item(change_key=_change_key(sequence), created=now, modified=now, **_plain(fields))
            return self._put(folder, item, sequence)

    def change_contact(self, object_id: str, item_id: str, **fields: Any) -> Item:
        """Changes fields of a contact (any field of `Item`)."""
        with self.lock:
            folder, item = self._find(object_id, item_id)
            sequence = self._bump()
            changed = replace(item, change_key=_change_key(sequence), modified=self._clock(), **_plain(fields))
            return self._put(folder, changed, sequence)

    def remove_contact(self, object_id: str, item_id: str) -> None:
        """Deletes a contact."""
        with self.lock:
            folder, _ = self._find(object_id, item_id)
            del folder.items[item_id]
            folder.journal.append((self._bump(), item_id, "remove"))

    def move_contact(self, object_id: str, item_id: str, folder_id: str, *, keep_id: bool) -> Item:
        """Moves a contact to another folder, with its immutable ID or under a new one."""
        with self.lock:
            target = self.box_of(object_id).folders[folder_id]
            folder, item = self._find(object_id, item_id)
            sequence = self._bump()
            new_id = item_id if keep_id else stable_id(object_id, "item", sequence)
            del folder.items[item_id]
            folder.journal.append((sequence, item_id, "remove"))
            return self._put(target, replace(item, id=new_id, change_key=_change_key(sequence)), sequence)

    def set_contact_photo(self, object_id: str, item_id: str, photo: bytes | None) -> Item:
        """Gives a contact a photo or takes it away; the contact counts as changed."""
        return self.change_contact(object_id, item_id, photo=photo)

    def set_private(self, object_id: str, item_id: str, private: bool) -> Item:
        """Marks a contact private, or not."""
        return self.change_contact(object_id, item_id, private=private)

    def add_folder(
        self, object_id: str, name: str, parent_id: str | None = None, *, folder_class: str = "IPF.Contact"
    ) -> ContactFolder:
        """Makes a folder, below the default one (of public folders: the root) unless a parent is given."""
        with self.lock:
            box = self.box_of(object_id)
            sequence = self._bump()
            parent_id = parent_id or box.default.id
            identifier = stable_id(object_id, "folder", sequence)
            folder = ContactFolder(identifier, name, parent_id, folder_class=folder_class)
            box.folders[folder.id] = folder
            box.journal.append((sequence, folder.id, "upsert"))
            return folder

    def rename_folder(self, object_id: str, folder_id: str, name: str) -> None:
        """Gives a folder another name; its contacts stay as they are."""
        with self.lock:
            box = self.box_of(object_id)
            box.folders[folder_id].name = name
            box.journal.append((self._bump(), folder_id, "upsert"))

    def delete_folder(self, object_id: str, folder_id: str) -> None:
        """Deletes a folder with all that is in it and below it."""
        with self.lock:
            box = self.box_of(object_id)
            if box.folders[folder_id].parent_id is None:
                raise ValueError("the default folder cannot be deleted")
            for child in box.children(folder_id):
                self.delete_folder(object_id, child.id)
            del box.folders[folder_id]
            box.journal.append((self._bump(), folder_id, "remove"))

    # -- inside -------------------------------------------------------------------------------------------------

    def _leave_groups(self, object_id: str) -> None:
        for group in list(self.groups.values()):
            if object_id in group.members:
                self.remove_member(group.object_id, object_id)

    def _bump(self) -> int:
        self.sequence += 1
        return self.sequence

    def _index(self, person: Person) -> None:
        for name in (*person.other_addresses, person.mail, person.user_principal_name):
            if name:
                self._names[name.casefold()] = person.object_id

    def _walk(self, group_id: str, *, hidden: bool) -> list[Member]:
        seen: dict[str, Member] = {}
        waiting = [group_id]
        while waiting:
            group = self.groups[waiting.pop()]
            if group.hidden and not hidden:
                continue
            for member_id in group.members:
                member = self.find_member(member_id)
                if member is None or member_id in seen or member_id == group_id:
                    continue
                seen[member_id] = member
                if isinstance(member, Group):
                    waiting.append(member_id)
        return list(seen.values())

    def _set_members(self, group: Group, members: tuple[str, ...], member_id: str, what: str) -> None:
        sequence = self._bump()
        self.groups[group.object_id] = replace(group, members=members)
        self.group_journal.append((sequence, group.object_id, "upsert"))
        self.member_journal.append((sequence, group.object_id, member_id, what))

    def _find(self, object_id: str, item_id: str) -> tuple[ContactFolder, Item]:
        found = self.box_of(object_id).find(item_id)
        if found is None:
            raise KeyError(f"no contact {item_id}")
        return found

    def _put(self, folder: ContactFolder, item: Item, sequence: int) -> Item:
        folder.items[item.id] = item
        folder.journal.append((sequence, item.id, "upsert"))
        return item


def _digest(*parts: object) -> bytes:
    return stable_id(*parts).encode()[:16]


def _change_key(sequence: int) -> str:
    return f"EQAAABYAAAC{sequence:08x}"


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields as records hold them; what comes from JSON has lists and objects instead."""
    plain: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, list):
            plain[name] = tuple(value)
        elif isinstance(value, dict):
            plain[name] = PostalAddress(**value)
        else:
            plain[name] = value
    return plain
