"""What may happen at a source, as plain values: a name and numbers that choose among whatever is there at that moment.

So the same story can be told again, shortened by Hypothesis, and told in the middle of a run. What cannot happen as
things stand does not happen.
"""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import Any, Final, TypeVar

from hypothesis import strategies as st

from tests.simulators.company.model import PUBLIC, Company
from tests.simulators.company.pictures import jpeg
from tests.simulators.company.records import ContactFolder, Group, Item, OrgContact, Person, PostalAddress, new_box

DIRECTORY: Final = "3f3e3d55-7c0e-4c53-9a63-1d6d3b1c9a01"
EVERYBODY: Final = "3f3e3d55-7c0e-4c53-9a63-1d6d3b1c9a02"
TEAM: Final = "3f3e3d55-7c0e-4c53-9a63-1d6d3b1c9a03"
GROUPS: Final = (EVERYBODY, TEAM)
ANN, BOB, CAT = (f"3f3e3d55-7c0e-4c53-9a63-1d6d3b1c9a1{number}" for number in range(3))
ANY: Final = 12  # the numbers of an edit are below this

_LOOKS: Final[tuple[dict[str, Any], ...]] = (
    {"display_name": "Kundin Eins", "given_name": "Kundin", "surname": "Eins"},
    {"display_name": "Żółć 🎈", "email_addresses": ("zolc@example.org", "z@example.org")},
    {"mobile_phone": "+49 151 555 0101", "business_phones": ("+49 221 555 0100", "+49 221 555 0101")},
    {"mobile_phone": "", "business_phones": (), "home_phones": ("+49 221 555 0199",)},
    {"company": "Muster & Söhne", "department": "Einkauf", "job_title": "Leitung"},
    {"business_address": PostalAddress("Hauptstr. 1", "Köln", "NRW", "50667", "Deutschland")},
    {"notes": "Ruft lieber zurück.\r\nNicht vor neun.", "birthday": "1975-03-14"},
    {"notes": "", "birthday": "", "spouse": "Friedrich", "children": ("Emilia", "Jonathan")},
    {"home_address": PostalAddress(city="Bremen"), "web_page": "https://example.org/", "nickname": "Kathi"},
    {"display_name": "", "given_name": "", "surname": "", "email_addresses": ()},
)
_CARD_LOOKS: Final[tuple[dict[str, Any], ...]] = (
    {"display_name": "Ann Neumann", "surname": "Neumann"},
    {"job_title": "Leitung", "department": "Vertrieb"},
    {"job_title": "", "department": "", "office_location": "K 2.17"},
    {"mobile_phone": "+49 151 555 0200", "business_phones": ("+49 221 555 0200",)},
    {"mobile_phone": "", "business_phones": ()},
    {"address": PostalAddress("Große Straße 7", "Köln", "NRW", "50667", "Germany")},
    {"in_address_list": False},
    {"in_address_list": True},
)
_ORG_LOOKS: Final[tuple[dict[str, Any], ...]] = (
    {"display_name": "Håkon Ærlig", "surname": "Ærlig", "mail": "hakon@fjord.example"},
    {"company": "Fjord & Fisk AS", "job_title": "Selger"},
    {"business_phone": "+47 55 55 01 50", "mobile_phone": ""},
    {"business_phone": "", "mobile_phone": "+47 400 55 151"},
)
_NAMES: Final = ("Kunden", "Nord", "Privat", "Kunden")  # the same name twice is allowed
_PICTURES: Final = (None, *(jpeg(f"picture {number}", edge=96, weight=900) for number in range(3)))

Edit = tuple[Any, ...]
Choice = TypeVar("Choice")
MEANWHILE: Final[tuple[Edit, ...]] = (
    ("add_folder", 0, 0, 0),
    ("move_contact", 0, 0, 1, 1),
    ("add_contact", 1, 0, 3),
    ("remove_contact", 2, 0),
    ("change_contact", 0, 1, 6),
    ("set_portrait", 1, 1),
    ("hire", 0, 1),
    ("leave", 0, 1),
    ("delete_folder", 2, 1),
)


def sample_company() -> Company:
    """Three people with a few contacts, one of them in a group in the group, and somebody outside."""
    people = [
        Person(key, f"{name}@example.com", f"{name}@example.com", display_name=name.title(), box=new_box(key))
        for key, name in ((ANN, "ann"), (BOB, "bob"), (CAT, "cat"))
    ]
    groups = [Group(EVERYBODY, "Everybody", (TEAM, ANN, BOB)), Group(TEAM, "Team", (CAT,))]
    company = Company(DIRECTORY, people, groups)
    edits = Edits(company)
    for number in range(7):
        edits.add_contact(number, 0, number)
    for person in range(3):  # so that there is something to delete and to rename
        edits.add_folder(person, 0, person)
        edits.add_contact(person, 1, person)
    edits.set_picture(0, 0, 1)
    edits.set_portrait(0, 2)
    edits.add_org_contact(0)
    return company


class Edits:
    """The edits of one company."""

    def __init__(self, company: Company) -> None:
        self._company = company

    def happen(self, edit: Edit) -> None:
        """Lets one edit happen."""
        name, *numbers = edit
        getattr(self, name)(*numbers)

    # -- contacts ------------------------------------------------------------------------------------------------------

    def add_contact(self, person: int, folder: int, look: int) -> None:
        if owner := self._owner(person):
            place = self._folder(owner, folder)
            self._company.add_contact(owner, place.id, **{"surname": "New", **pick(_LOOKS, look)})

    def change_contact(self, person: int, item: int, look: int) -> None:
        for owner, _, found in self._item(person, item):
            self._company.change_contact(owner, found.id, **pick(_LOOKS, look))

    def remove_contact(self, person: int, item: int) -> None:
        for owner, _, found in self._item(person, item):
            self._company.remove_contact(owner, found.id)

    def move_contact(self, person: int, item: int, folder: int, keeps_id: int) -> None:
        for owner, place, found in self._item(person, item):
            target = self._folder(owner, folder)
            if target is not place:
                self._company.move_contact(owner, found.id, target.id, keep_id=keeps_id % 3 > 0)

    def set_private(self, person: int, item: int, private: int) -> None:
        for owner, _, found in self._item(person, item):
            self._company.set_private(owner, found.id, private % 2 > 0)

    def set_picture(self, person: int, item: int, picture: int) -> None:
        for owner, _, found in self._item(person, item):
            self._company.set_contact_photo(owner, found.id, pick(_PICTURES, picture))

    # -- folders -------------------------------------------------------------------------------------------------------

    def add_folder(self, person: int, parent: int, name: int) -> None:
        if owner := self._owner(person):
            above, chosen = self._folder(owner, parent).id, pick(_NAMES, name)
            if self._is_free(owner, above, chosen):
                self._company.add_folder(owner, chosen, above)

    def rename_folder(self, person: int, folder: int, name: int) -> None:
        # Nobody can rename the default folder.
        if (owner := self._owner(person)) and (place := self._folder(owner, folder)).parent_id is not None:
            chosen = pick(_NAMES, name) + " 2"
            if self._is_free(owner, place.parent_id, chosen):
                self._company.rename_folder(owner, place.id, chosen)

    def delete_folder(self, person: int, folder: int) -> None:
        if (owner := self._owner(person)) and (place := self._folder(owner, folder)).parent_id is not None:
            self._company.delete_folder(owner, place.id)

    # -- people --------------------------------------------------------------------------------------------------------

    def hire(self, number: int, has_mailbox: int) -> None:
        mail = f"new{number}-{self._company.sequence}@example.com"
        hired = self._company.add_person(display_name=f"New {number}", mail=mail, mailbox=has_mailbox % 3 > 0)
        for group in self._group(number):
            self._company.add_member(group, hired.object_id)

    def give_mailbox(self, person: int) -> None:
        for one in self._person(person):
            if one.box is None:
                self._company.change_person(one.object_id, box=new_box(one.object_id))

    def fire(self, person: int) -> None:
        for one in self._person(person):
            self._company.remove_person(one.object_id)

    def set_enabled(self, person: int, enabled: int) -> None:
        for one in self._person(person):
            self._company.change_person(one.object_id, enabled=enabled % 2 > 0)

    def change_card(self, person: int, look: int) -> None:
        for one in self._person(person):
            self._company.change_person(one.object_id, **pick(_CARD_LOOKS, look))

    def set_portrait(self, person: int, picture: int) -> None:
        for one in self._person(person):
            self._company.set_person_photo(one.object_id, pick(_PICTURES, picture))

    def join(self, group: int, person: int) -> None:
        for one in self._person(person):
            for group_id in self._group(group):
                self._company.add_member(group_id, one.object_id)

    def leave(self, group: int, member: int) -> None:
        for group_id in self._group(group):
            if members := self._company.groups[group_id].members:
                self._company.remove_member(group_id, pick(members, member))

    def nest(self) -> None:
        if self._company.groups.keys() >= set(GROUPS):
            self._company.add_member(EVERYBODY, TEAM)

    # -- people outside ------------------------------------------------------------------------------------------------

    def add_org_contact(self, look: int) -> None:
        self._company.add_org_contact(**{"display_name": "Somebody", **pick(_ORG_LOOKS, look)})

    def change_org_contact(self, contact: int, look: int) -> None:
        for one in self._org_contact(contact):
            self._company.change_org_contact(one.object_id, **pick(_ORG_LOOKS, look))

    def remove_org_contact(self, contact: int) -> None:
        for one in self._org_contact(contact):
            self._company.remove_org_contact(one.object_id)

    # -- choosing ------------------------------------------------------------------------------------------------------

    def _person(self, number: int) -> list[Person]:
        people = list(self._company.people.values())
        return [pick(people, number)] if people else []

    def _owner(self, number: int) -> str | None:
        """Whose contact folders: a person's, or the public ones where there are any."""
        owners = [person.object_id for person in self._company.people.values() if person.box]
        owners += [PUBLIC] if self._folders(PUBLIC) else []
        return pick(owners, number) if owners else None

    def _folders(self, owner: str) -> list[ContactFolder]:
        return [one for one in self._company.box_of(owner).folders.values() if one.folder_class == "IPF.Contact"]

    def _folder(self, owner: str, number: int) -> ContactFolder:
        return pick(self._folders(owner), number)

    def _is_free(self, owner: str, parent: str | None, name: str) -> bool:
        """Whether a folder can have a name: of public ones, no two beside each other have the same."""
        beside = self._company.box_of(owner).children(parent or "")
        return owner != PUBLIC or name.casefold() not in {folder.name.casefold() for folder in beside}

    def _item(self, person: int, number: int) -> list[tuple[str, ContactFolder, Item]]:
        owner = self._owner(person)
        folders = self._folders(owner) if owner else []
        found = [(owner, folder, item) for folder in folders for item in folder.items.values() if owner]
        return [pick(found, number)] if found else []

    def _group(self, number: int) -> list[str]:
        return [one for one in [pick(GROUPS, number)] if one in self._company.groups]

    def _org_contact(self, number: int) -> list[OrgContact]:
        contacts = list(self._company.org_contacts.values())
        return [pick(contacts, number)] if contacts else []


def pick(among: Sequence[Choice], number: int) -> Choice:
    """The one that a number chooses."""
    return among[number % len(among)]


def strategy_of(edits_of: type[Edits]) -> st.SearchStrategy[Edit]:
    """Any of a class's own edits."""
    number = st.integers(0, ANY - 1)
    names = [name for name in vars(edits_of) if not name.startswith("_") and name != "happen"]
    arity = {name: len(signature(getattr(edits_of, name)).parameters) - 1 for name in names}
    return st.one_of([st.tuples(st.just(name), *[number] * arity[name]) for name in names])


edits: Final = strategy_of(Edits)
