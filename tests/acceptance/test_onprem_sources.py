"""Address lists, distribution lists, public folders and aliases on premises: through the real command line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.acceptance.conftest import Shell
from tests.simulators.company.cast import BOARD, MEI, SUPPLIER
from tests.simulators.company.model import Company
from tests.simulators.onprem.server import OnpremSimulator

pytestmark = pytest.mark.slow


@pytest.fixture
def house(vault: Shell, onprem: OnpremSimulator) -> Shell:
    """A shell with an on-premises tenant, `house`, and no sources yet."""
    vault.add_onprem(onprem)
    return vault


def held(house: Shell, *options: str) -> list[Any]:
    return house.did("contact", "list", "house", "--json", *options).items  # type: ignore[no-any-return]


def opened(onprem: OnpremSimulator) -> set[str]:
    return {entry.mailbox for entry in onprem.recorder.entries} - {"", onprem.upn}


def test_the_address_list_brings_cards_and_opens_nobody(
    house: Shell, onprem: OnpremSimulator, company: Company
) -> None:
    house.did("source", "add", "house", "--gal")
    (summary,) = house.did("sync", "house", "--json").items
    assert (summary["status"], summary["failures"]) == ("ok", [])
    shown = {one.display_name for one in company.people.values() if one.in_address_list and one.mail}
    cards = {one["display_name"]: one for one in held(house)}
    assert cards.keys() == shown | {company.org_contacts[SUPPLIER].display_name}
    assert {(one["kind"], one["folder"]) for one in cards.values()} == {("card", "")}
    revealed = {one["mailbox"]["ref"] for one in held(house, "--reveal")}
    assert revealed == {one["email_addresses"][0] for one in cards.values()}
    assert cards["Anna Becker"]["job_title"] == "Leiterin Vertrieb"
    assert opened(onprem) == set()
    (source,) = house.did("source", "list", "house", "--json").items
    assert (source["kind"], source["ref"], source["mailboxes"]) == ("gal", "", len(cards))
    (again,) = house.did("sync", "house", "--json").items
    assert (again["added"], again["changed"], again["removed"]) == (0, 0, 0)


def test_the_members_of_a_list_are_pulled_like_mailboxes(
    house: Shell, onprem: OnpremSimulator, company: Company
) -> None:
    company.add_member(BOARD, SUPPLIER)
    company.add_member(BOARD, BOARD)
    house.did("source", "add", "house", "--list", "vorstand@example.com", "--mailbox", "a.becker@example.com")
    (summary,) = house.did("sync", "house", "--json").items
    assert (summary["status"], summary["mailboxes"]) == ("ok", 2)
    refs = {one["mailbox"]["ref"] for one in held(house, "--reveal")}
    assert refs == {"anna.becker@example.com", company.people[MEI].mail}
    assert {one["kind"] for one in held(house)} == {"card", "contact"}
    assert opened(onprem) == refs


def test_a_public_folder_brings_its_contacts_under_its_path(
    house: Shell, onprem: OnpremSimulator, tmp_path: Any
) -> None:
    house.did("source", "add", "house", "--public-folder", "Vertrieb/Kunden")
    (said,) = house.did("sync", "house", "--dry-run", "--json").items
    assert {(one["action"], one["mailbox"]["ref"]) for one in said["changes"]} == {("add", "V…n")}
    (summary,) = house.did("sync", "house", "--json").items
    assert (summary["status"], summary["added"], summary["mailboxes"]) == ("ok", 4, 1)
    found = held(house, "--reveal")
    assert {one["kind"] for one in found} == {"contact"}
    assert {one["mailbox"]["ref"] for one in found} == {"Vertrieb/Kunden"}
    assert len({one["mailbox"]["id"] for one in found}) == 1
    assert {one["folder"]: one["display_name"] for one in found}["Vertrieb/Kunden/Nord"] == "Ole Nordkunde"
    assert held(house, "--mailbox", "vertrieb/kunden") == held(house)
    assert {one["mailbox"]["ref"] for one in held(house)} == {"V…n"}
    file = tmp_path / "out.json"
    house.did("contact", "export", "house", "--format", "json", "--out", str(file))
    assert len(json.loads(file.read_text())["data"]["items"]) == 4
    assert opened(onprem) == set()
    (source,) = house.did("source", "list", "house", "--json").items
    assert (source["kind"], source["ref"], source["mailboxes"]) == ("public-folder", "V…n", 1)


def test_what_is_not_there_is_told_and_the_rest_goes_on(house: Shell) -> None:
    house.did("source", "add", "house", "--list", "nobody@example.com", "--public-folder", "Vertrieb/Keiner")
    house.did("source", "add", "house", "--mailbox", "nils.berg@example.com")
    answer = house("sync", "house", "--json")
    (summary,) = answer.items
    assert (answer.code, summary["status"]) == (3, "partial")
    failures = sorted((one["mailbox"], one["code"]) for one in summary["failures"])
    assert failures == [("V…r", "ErrorFolderNotFound"), ("n…y@example.com", "source-gone")]
    assert len(held(house)) == 4
