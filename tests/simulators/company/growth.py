"""A company of any size for load: the same people each time, mailboxes filled when they are first looked at.

Every third contact and every third person has a photo, out of a small set that all share.
"""

from __future__ import annotations

import uuid
from functools import partial

from tests.simulators.company.model import Company
from tests.simulators.company.pictures import jpeg
from tests.simulators.company.records import Box, ContactFolder, Group, Item, Person, PostalAddress, stable_id

GROWN_DIRECTORY = "5d1e7f60-52a9-4c43-8f34-0a7be1d3c901"
ALL_GROUP = str(uuid.uuid5(uuid.UUID(GROWN_DIRECTORY), "all"))
GROUP_SIZE = 500

_GIVEN = ("Adele", "Björn", "Chloé", "Dörte", "Émile", "Fatma", "Göran", "Hanna", "Igor", "Jörg", "Kaja", "Léa", "Mia")
_SURNAME = ("Abel", "Bär", "Çelik", "Dvořák", "Eßer", "Fuchs", "Grün", "Höß", "Ibsen", "Jäger", "Křen", "Löwe", "Marx")
_COMPANY = tuple(f"{name} AG" for name in ("Nordwind", "Südlicht", "Ostsee", "Westfal", "Mittel", "Hanse"))
_CITY = (("Köln", "50667"), ("Bremen", "28195"), ("Leipzig", "04109"), ("Graz", "8010"))
_TITLE = ("Einkauf", "Vertrieb", "Technik", "Leitung", "Assistenz")
_ADDRESS = tuple(PostalAddress("Hauptstr. 1", city, "", code, "Germany") for city, code in _CITY)


def grown_company(people: int, contacts_per_mailbox: int = 20) -> Company:
    """A company of `people` with as many contacts each, in one group of all and one of each 500."""
    staff = [_person(number, contacts_per_mailbox) for number in range(people)]
    teams = [
        Group(
            _guid("team", start),
            f"Team {start // GROUP_SIZE:03d}",
            tuple(p.object_id for p in staff[start : start + GROUP_SIZE]),
        )
        for start in range(0, people, GROUP_SIZE)
    ]
    everybody = Group(ALL_GROUP, "Everybody", tuple(team.object_id for team in teams))
    return Company(GROWN_DIRECTORY, staff, [everybody, *teams])


def _guid(*parts: object) -> str:
    return str(uuid.uuid5(uuid.UUID(GROWN_DIRECTORY), "/".join(map(str, parts))))


def _person(number: int, contacts: int) -> Person:
    given_name, surname = _GIVEN[number % len(_GIVEN)], _SURNAME[number // len(_GIVEN) % len(_SURNAME)]
    mail = f"user{number:06d}@load.example"
    return Person(
        object_id=_guid("person", number),
        user_principal_name=mail,
        mail=mail,
        display_name=f"{given_name} {surname} {number}",
        given_name=given_name,
        surname=surname,
        company="Load Test SE",
        department=_TITLE[number % len(_TITLE)],
        job_title="Angestellte",
        business_phones=(f"+49 30 555 {number:06d}",),
        photo=_photo(number, edge=648) if number % 3 == 0 else None,
        box=Box(build=partial(_folders, number, contacts)),
    )


def _folders(owner: int, contacts: int) -> dict[str, ContactFolder]:
    folder = ContactFolder(stable_id(owner, "contacts"), "Contacts")
    prefix = stable_id(owner)[:26]
    for number in range(contacts):
        item = _item(prefix, owner, number)
        folder.items[item.id] = item
    return {folder.id: folder}


def _item(prefix: str, owner: int, number: int) -> Item:
    mixed = (owner * 2_654_435_761 + number * 40_503) >> 4  # spreads the names without the price of real dice
    given_name, surname = _GIVEN[mixed % len(_GIVEN)], _SURNAME[mixed // 13 % len(_SURNAME)]
    return Item(
        id=f"{prefix}{number:06x}",
        display_name=f"{given_name} {surname}",
        given_name=given_name,
        surname=surname,
        company=_COMPANY[mixed // 169 % len(_COMPANY)],
        job_title=_TITLE[mixed // 1_014 % len(_TITLE)],
        email_addresses=(f"contact{number}.{owner}@partner.example",),
        business_phones=(f"+49 221 {owner:06d}{number:03d}",),
        mobile_phone=f"+49 151 {owner:06d}{number:03d}",
        business_address=_ADDRESS[mixed % len(_ADDRESS)],
        photo=_photo(owner + number) if number % 3 == 0 else None,
    )


def _photo(number: int, *, edge: int = 96) -> bytes:
    return jpeg(f"load {number % 32}", edge=edge, weight=4_000)
