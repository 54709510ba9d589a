"""The small company that most tests run against: few people, every oddity. All names and domains are fictitious."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tests.simulators.company.model import Company
from tests.simulators.company.pictures import jpeg
from tests.simulators.company.records import (
    PUBLIC,
    Box,
    ContactFolder,
    Group,
    Item,
    OrgContact,
    Person,
    PostalAddress,
    public_tree,
    stable_id,
)

DIRECTORY_ID = "8c5f0d2e-3b47-4f0a-9d55-6b1c2e7a9f10"
FOUR_MEGABYTES = 4 * 1024 * 1024


def _guid(name: str) -> str:
    return str(uuid.uuid5(uuid.UUID(DIRECTORY_ID), name))


ANNA, JURGEN, LAYLA, MEI, OLAF, SAM, ZOE, NILS, ROBOT = (
    _guid(name) for name in ("anna", "jurgen", "layla", "mei", "olaf", "sam", "zoe", "nils", "robot")
)
EVERYBODY, SALES, SALES_NORTH, BOARD, EMPTY = (_guid(f"group {n}") for n in ("all", "sales", "north", "board", "empty"))
SUPPLIER, COURIER = _guid("org contact supplier"), _guid("org contact courier")

LONG_NOTES = (
    "Gesprächsnotiz: Rückruf wegen der Verlängerung, bitte nicht vor neun. ☎\r\n" * 430
)  # over 30,000 characters


def small_company(*, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Company:
    """A fresh company, the same each time."""
    return Company(DIRECTORY_ID, _people(), _groups(), _org_contacts(), public=_public_folders(), clock=clock)


def folder_id(owner: str, path: str) -> str:
    """The ID of a folder of the cast by its path, such as `Contacts/Kunden/Nord`."""
    return stable_id(owner, "folder", path)


def item_id(owner: str, name: str) -> str:
    """The ID of a contact of the cast by its display name."""
    return stable_id(owner, "item", name)


def _person(object_id: str, login: str, display_name: str, **fields: Any) -> Person:
    given_name, _, surname = display_name.partition(" ")
    mail = f"{login}@example.com"
    values = {"given_name": given_name, "surname": surname, "mail": mail, "company": "Muster & Söhne GmbH", **fields}
    return Person(object_id=object_id, user_principal_name=mail, display_name=display_name, **values)


def _people() -> list[Person]:
    street = PostalAddress("Große Straße 7", "Köln", "NRW", "50667", "Germany")
    return [
        _person(
            ANNA,
            "anna.becker",
            "Anna Becker",
            other_addresses=("a.becker@example.com", "anna@muster.example"),
            department="Vertrieb",
            job_title="Leiterin Vertrieb",
            office_location="K 2.17",
            business_phones=("+49 221 555 0100",),
            mobile_phone="+49 151 5550101",
            address=street,
            photo=jpeg("anna", weight=6_000),
            box=_box(ANNA, _anna()),
        ),
        _person(
            JURGEN,
            "juergen.muessig",
            "Jürgen Müßig-Ångström",
            department="Vertrieb",
            job_title="Außendienst",
            business_phones=("+49 221 555 0102",),
            address=street,
            photo=jpeg("jurgen", weight=3_000),
            box=_box(JURGEN, _jurgen()),
        ),
        _person(
            LAYLA,
            "layla.haddad",
            "ليلى حداد",
            department="Einkauf",
            job_title="مديرة المشتريات",
            box=_box(LAYLA, {"Contacts": [_item(LAYLA, "יוסף כהן", email_addresses=("yosef@levant.example",))]}),
        ),
        _person(
            MEI,
            "mei.tanaka",
            "芽衣 田中 🌸",
            department="R&D",
            job_title="Engineer 👩‍🔬",
            mobile_phone="+81 90 5550 0104",
            photo=jpeg("mei", edge=648, weight=FOUR_MEGABYTES),
            box=_box(MEI, {"Contacts": []}),
        ),
        _person(
            OLAF,
            "olaf.left",
            "Olaf Left",
            department="Vertrieb",
            enabled=False,
            box=_box(OLAF, {"Contacts": [_item(OLAF, "Olafs Kunde", mobile_phone="+49 170 5550105")]}),
        ),
        _person(SAM, "sam.frontline", "Sam Frontline", department="Lager", photo=jpeg("sam", edge=96)),  # no mailbox
        _person(
            ZOE,
            "zoe.external",
            "Zoë d'Arc-O'Neill",
            mail=None,
            in_address_list=False,
            box=_box(ZOE, {"Contacts": [_item(ZOE, "Only A Name")]}),
        ),
        _person(NILS, "nils.berg", "Nils Berg", department="Vertrieb", box=_box(NILS, _nils())),
        _person(
            ROBOT, "scanner", "Scanner 2. OG", company="", in_address_list=False, box=_box(ROBOT, {"Contacts": []})
        ),
    ]


def _groups() -> list[Group]:
    return [
        Group(EVERYBODY, "Alle Mitarbeiter", (SALES, MEI, LAYLA, SAM)),
        Group(SALES, "Vertrieb", (ANNA, OLAF, SALES_NORTH)),
        Group(SALES_NORTH, "Vertrieb Nord", (JURGEN, NILS)),
        Group(BOARD, "Vorstand", (ANNA, MEI)),  # both are in "Alle Mitarbeiter" too
        Group(EMPTY, "Noch leer"),
    ]


def _org_contacts() -> list[OrgContact]:
    return [
        OrgContact(
            SUPPLIER,
            "Håkon Ærlig",
            "Håkon",
            "Ærlig",
            "hakon@fjord.example",
            other_addresses=("post@fjord.example",),
            company="Fjord & Fisk AS",
            department="Salg",
            job_title="Selger",
            business_phone="+47 55 55 01 50",
            mobile_phone="+47 400 55 151",
            address=PostalAddress("Bryggen 1", "Bergen", "", "5003", "Norway"),
        ),
        OrgContact(COURIER, "Kurierdienst 24h", business_phone="+49 221 555 0152"),  # without an address
    ]


def _public_folders() -> Box:
    box = public_tree()
    tree = {
        "Vertrieb": ("IPF.Note", []),
        "Vertrieb/Kunden": (
            "IPF.Contact",
            [
                _item(
                    PUBLIC, "Greta Großkunde", email_addresses=("greta@gross.example",), photo=jpeg("greta", edge=96)
                ),
                _item(PUBLIC, "Karl Kleinkunde", mobile_phone="+49 171 5550160"),
            ],
        ),
        "Vertrieb/Kunden/Nord": ("IPF.Contact", [_item(PUBLIC, "Ole Nordkunde", business_phones=("+49 40 555 0161",))]),
        "Vertrieb/Kunden/Protokolle": ("IPF.Note", []),
        "Vertrieb/Kunden/Protokolle/Gäste": ("IPF.Contact", [_item(PUBLIC, "Gast Nr. 1", notes="war da")]),
        "Lieferanten": ("IPF.Contact", [_item(PUBLIC, "Lena Lieferant", email_addresses=("lena@liefer.example",))]),
    }
    for path, (folder_class, items) in tree.items():
        parent, _, name = path.rpartition("/")
        parent_id = folder_id(PUBLIC, parent) if parent else box.default.id
        made = {item.id: item for item in items}
        folder = ContactFolder(folder_id(PUBLIC, path), name, parent_id, made, folder_class=folder_class)
        box.folders[folder.id] = folder
    return box


def _item(owner: str, display_name: str, **fields: Any) -> Item:
    return Item(id=item_id(owner, display_name), display_name=display_name, **fields)


def _box(owner: str, folders: dict[str, list[Item]]) -> Box:
    made: dict[str, ContactFolder] = {}
    for path, items in folders.items():
        parent, _, name = path.rpartition("/")
        identifier = folder_id(owner, path)
        made[identifier] = ContactFolder(
            identifier, name, folder_id(owner, parent) if parent else None, {item.id: item for item in items}
        )
    return Box(made)


def _anna() -> dict[str, list[Item]]:
    return {
        "Contacts": [_full_item(), *_varied_items()],
        "Contacts/Kunden": [
            _item(
                ANNA,
                f"Kundin {n:02d}",
                given_name="Kundin",
                surname=f"{n:02d}",
                email_addresses=(f"k{n}@kunde.example",),
            )
            for n in range(1, 24)
        ],
        "Contacts/Kunden/Nord": [_item(ANNA, "Fiete Deichgraf", business_phones=("+49 40 555 0110",))],
        "Contacts/Kunden/Nord/Inseln ⛵": [_item(ANNA, "Wiebke Halligen", photo=jpeg("wiebke", edge=96))],
        "Contacts/Privat": [_item(ANNA, "Tante Erna", private=True, home_phones=("+49 221 555 0111",))],
        "Contacts/Leer": [],
    }


def _full_item() -> Item:
    return _item(
        ANNA,
        "Dr. Katharina M. von Blumenthal",
        given_name="Katharina",
        middle_name="Maria",
        surname="von Blumenthal",
        title="Dr.",
        generation="II.",
        initials="K.M.v.B.",
        nickname="Kathi",
        company="Blumenthal & Töchter KG",
        department="Geschäftsführung",
        job_title="Geschäftsführerin",
        office_location="Turmzimmer",
        profession="Juristin",
        manager="Aufsichtsrat",
        assistant="Herr Klein",
        email_addresses=("katharina@blumenthal.example", "kvb@blumenthal.example", "kathi@privat.example"),
        business_phones=("+49 89 555 0120", "+49 89 555 0121"),
        home_phones=("+49 89 555 0122",),
        mobile_phone="+49 160 5550123",
        im_addresses=("sip:katharina@blumenthal.example",),
        web_page="https://blumenthal.example/",
        business_address=PostalAddress("Marienplatz 1", "München", "Bayern", "80331", "Deutschland"),
        home_address=PostalAddress("Seeweg 3", "Starnberg", "Bayern", "82319", "Deutschland"),
        other_address=PostalAddress("Via Roma 9", "Bolzano", "", "39100", "Italia"),
        birthday="1975-03-14",
        spouse="Friedrich von Blumenthal",
        children=("Emilia", "Jonathan"),
        notes="Mag keinen Kaffee.\r\nRuft lieber zurück.",
        photo=jpeg("katharina", weight=9_000),
    )


def _varied_items() -> list[Item]:
    return [
        _item(ANNA, "Łukasz Żółć", given_name="Łukasz", surname="Żółć", email_addresses=("lukasz@zolc.example",)),
        _item(ANNA, "🎈 Party-Service 🎉", business_phones=("0221 5550130",), notes="🎂" * 20),
        _item(ANNA, "محمد العربي", email_addresses=("m.arabi@souk.example",), photo=jpeg("arabi", weight=2_500)),
        _item(ANNA, "Nur Telefon", mobile_phone="+49 171 5550131"),
        _item(ANNA, "Lange Notiz", email_addresses=("lang@notiz.example",), notes=LONG_NOTES),
        _item(ANNA, "Doppelgänger", email_addresses=("doppel@example.org",)),
        Item(id=item_id(ANNA, "Doppelgänger/2"), display_name="Doppelgänger", email_addresses=("doppel@example.org",)),
        _item(ANNA, "", company="Firma ohne Ansprechpartner AG", business_phones=("+49 30 555 0132",)),
    ]


def _jurgen() -> dict[str, list[Item]]:
    return {
        "Contacts": [
            _item(
                JURGEN,
                "Kirsten Ærø",
                email_addresses=("kirsten@aeroe.example",),
                business_address=PostalAddress(city="Ærø"),
            ),
            _item(JURGEN, "Arzttermin Dr. Heim", private=True, notes="vertraulich"),
            _item(
                JURGEN, "Hugo Groß", photo=jpeg("hugo", edge=648, weight=FOUR_MEGABYTES), mobile_phone="0160 5550140"
            ),
        ],
        "Contacts/Lieferanten": [_item(JURGEN, "Ines Ñandú", email_addresses=("ines@nandu.example",))],
    }


def _nils() -> dict[str, list[Item]]:
    return {"Contacts": [_item(NILS, f"Nord {n}", email_addresses=(f"nord{n}@nord.example",)) for n in range(3)]}
