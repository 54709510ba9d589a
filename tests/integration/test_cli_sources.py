"""`syncvault source` and what `syncvault contact` shows of people without a mailbox."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from syncvault.cli.app import run
from syncvault.errors import Exit
from syncvault.vault import tenants
from syncvault.vault.content import pages, sources
from syncvault.vault.model import OnpremConnection, Tenant
from syncvault.vault.vault import Vault
from tests.integration.vault_parts import Place, profile, register, secret

GROUP = "0d4f6c1b-5e2a-4b7d-9a38-c7f1e6d20b95"
USER = "5b7e9c02-1d4f-4a68-8e3b-f60a2c9d7184"


class Answer(NamedTuple):
    code: int
    document: Any

    @property
    def items(self) -> Any:
        return self.document["data"]["items"]


@pytest.fixture
def vault(place: Place) -> Vault:
    return place.create()


@pytest.fixture
def cli(vault: Vault, place: Place, capsys: pytest.CaptureFixture[str]) -> Any:
    def ask(*words: str) -> Answer:
        capsys.readouterr()
        code = run(["--home", str(place.home), *words, "--json"])
        return Answer(code, json.loads(capsys.readouterr().out))

    return ask


@pytest.fixture
def acme(vault: Vault) -> Tenant:
    return register(vault, "acme")


def test_everybody_is_a_source_with_and_without_a_filter(acme: Tenant, cli: Any) -> None:
    assert cli("source", "add", "acme", "--all-users").code == Exit.OK
    options = ["--department", "Human Resources", "--company", "Contoso", "--domain", "Example.COM"]
    options += ["--exclude-group", GROUP.upper(), "--include-disabled", "--include-hidden"]
    (added,) = cli("source", "add", "acme", "--all-users", *options).items
    assert (added["kind"], added["mailboxes"]) == ("all-users", 0)
    shown, revealed = (
        {one["id"]: one for one in cli("source", "list", "acme", *more).items} for more in ([], ["--reveal"])
    )
    assert sorted((one["ref"], one["filter"]) for one in shown.values() if one["id"] != added["id"]) == [("", {})]
    wanted = {"department": "Human Resources", "company": "Contoso", "domain": "example.com"}
    wanted |= {"include_disabled": True, "include_hidden": True}
    assert shown[added["id"]]["filter"] == wanted | {"exclude_group": f"{GROUP[:8]}…"}
    assert revealed[added["id"]]["filter"] == wanted | {"exclude_group": GROUP}
    text = 'department="Human Resources" company=Contoso domain=example.com exclude_group={} '
    text += "include_disabled include_hidden"
    assert shown[added["id"]]["ref"] == text.format(f"{GROUP[:8]}…")
    assert revealed[added["id"]]["ref"] == text.format(GROUP)


def test_the_same_filter_is_not_registered_twice(acme: Tenant, cli: Any) -> None:
    first = cli("source", "add", "acme", "--all-users", "--department", "Sales").items
    assert cli("source", "add", "acme", "--all-users", "--department", "SALES").items == first
    assert cli("source", "list", "acme").items == first


def test_several_sources_in_one_call(acme: Tenant, cli: Any) -> None:
    words = ["--user", USER, "--group", GROUP, "--all-users", "--domain", "example.com", "--org-contacts"]
    added = cli("source", "add", "acme", *words).items
    assert [(one["kind"], one["filter"]) for one in added] == [
        ("user", None),
        ("group", None),
        ("all-users", {"domain": "example.com"}),
        ("org-contacts", None),
    ]
    assert added[3]["ref"] == ""


REFUSED = [
    ["--department", "Sales"],
    ["--user", USER, "--domain", "example.com"],
    ["--org-contacts", "--include-hidden"],
    ["--group", GROUP, "--exclude-group", GROUP],
    ["--all-users", "--domain", "@example.com"],
    ["--all-users", "--domain", "anna@example.com"],
    ["--all-users", "--domain", "example"],
    ["--all-users", "--domain", ""],
    ["--all-users", "--exclude-group", "everybody"],
    ["--all-users", "--exclude-group", ""],
    ["--all-users", "--department", ""],
    ["--all-users", "--department", " "],
    ["--all-users", "--company", "a\nb"],
    ["--all-users", "--company", "x" * 257],
    [],
]


def test_what_cannot_be_meant_is_refused_and_nothing_registered(acme: Tenant, cli: Any) -> None:
    assert [words for words in REFUSED if cli("source", "add", "acme", *words).code != Exit.USAGE] == []
    assert cli("source", "list", "acme").items == []


@pytest.fixture
def house(vault: Vault) -> Tenant:
    connection = OnpremConnection("https://mail.example/EWS/Exchange.asmx", "EXAMPLE\\svc")
    facts = profile("house")
    return tenants.register(vault, type(facts)(facts.name, connection, facts.subscription, facts.admin_mail), secret())


@pytest.mark.usefixtures("house")
@pytest.mark.parametrize("option", ["--all-users", "--org-contacts"])
def test_a_house_of_its_own_has_no_directory_online(cli: Any, option: str) -> None:
    answer = cli("source", "add", "house", option)
    assert (answer.code, option in answer.document["error"]["message"]) == (Exit.USAGE, True)


ONPREM = ["--gal", "--list", "sales@house.example", "--public-folder", "\\Sales\\Customers"]
ONPREM += ["--public-folder", "Ein/Aus @ Nord", "--list", "all@house.example"]


@pytest.mark.usefixtures("house")
def test_sources_on_premises_are_shown_masked_unless_asked_otherwise(cli: Any) -> None:
    added = cli("source", "add", "house", *ONPREM).items
    assert [(one["kind"], one["ref"], one["filter"]) for one in added] == [
        ("gal", "", None),
        ("list", "s…s@house.example", None),
        ("list", "…@house.example", None),
        ("public-folder", "S…s", None),
        ("public-folder", "E…d", None),
    ]
    revealed = {(one["kind"], one["ref"]) for one in cli("source", "list", "house", "--reveal").items}
    assert revealed == {
        ("gal", ""),
        ("list", "sales@house.example"),
        ("list", "all@house.example"),
        ("public-folder", "Sales/Customers"),
        ("public-folder", "Ein/Aus @ Nord"),
    }


@pytest.mark.usefixtures("house")
def test_the_same_source_on_premises_is_not_registered_twice(cli: Any) -> None:
    first = cli("source", "add", "house", *ONPREM).items
    assert cli("source", "add", "house", "--gal", "--public-folder", "sales/CUSTOMERS").items == [first[0], first[3]]
    assert len(cli("source", "list", "house").items) == len(first)


REFUSED_ON_PREMISES = [
    ["--list", ""],
    ["--list", "sales"],
    ["--list", "a\nb@house.example"],
    ["--public-folder", ""],
    ["--public-folder", " "],
    ["--public-folder", "/"],
    ["--public-folder", "a//b"],
    ["--public-folder", "a/ /b"],
    ["--public-folder", "a\tb"],
    ["--public-folder", "a/\x1b[31mb"],
    ["--public-folder", "a" * 1025],
    ["--gal", "--department", "Sales"],
    ["--gal", "--user", USER],
]


@pytest.mark.usefixtures("house")
def test_what_cannot_be_meant_on_premises_is_refused_and_nothing_registered(cli: Any) -> None:
    assert [words for words in REFUSED_ON_PREMISES if cli("source", "add", "house", *words).code != Exit.USAGE] == []
    assert cli("source", "list", "house").items == []


@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize(
    "words", [["--gal"], ["--list", "a@b.example"], ["--public-folder", "a/b"]], ids=lambda w: w[0]
)
def test_a_tenant_online_has_none_of_these(cli: Any, words: list[str]) -> None:
    answer = cli("source", "add", "acme", *words)
    assert (answer.code, words[0] in answer.document["error"]["message"]) == (Exit.USAGE, True)


@pytest.fixture
def outside(vault: Vault, acme: Tenant) -> sources.StoredMailbox:
    """Somebody outside, as a run leaves them: a card, and no mailbox to it."""
    source = sources.add(vault, acme, "org-contacts", "")
    sources.name_mailboxes(
        vault, acme, source.id, [sources.Named(USER, "paul@partner.example", sources.MailboxKind.OUTSIDE)]
    )
    found = sources.mailbox(vault, acme, USER)
    fields = {"display_name": "Paul Partner", "email_addresses": ["paul@partner.example"]}
    pages.store_cards(vault, acme, [(found, fields)])
    return found


def test_a_contact_of_the_organisation_is_a_card_without_a_mailbox(outside: Any, cli: Any) -> None:
    (listed,) = cli("contact", "list", "acme", "--reveal").items
    assert (listed["kind"], listed["mailbox"], listed["folder"]) == ("card", None, "")
    shown = cli("contact", "show", "acme", listed["id"]).document["data"]
    assert (shown["mailbox"], shown["display_name"]) == (None, "Paul Partner")


@pytest.mark.parametrize("ref", [USER, "paul@partner.example"])
def test_a_list_of_one_mailbox_may_name_somebody_without_one(outside: Any, cli: Any, ref: str) -> None:
    assert [one["display_name"] for one in cli("contact", "list", "acme", "--mailbox", ref).items] == ["Paul Partner"]


@pytest.mark.parametrize("chosen", ["json", "csv", "vcard"])
def test_every_export_holds_somebody_without_a_mailbox(outside: Any, cli: Any, tmp_path: Path, chosen: str) -> None:
    file = tmp_path / "out"
    assert cli("contact", "export", "acme", "--format", chosen, "--out", str(file)).code == Exit.OK
    text = file.read_text("utf-8-sig")
    if chosen == "json":
        assert [one["mailbox"] for one in json.loads(text)["data"]["items"]] == [None]
    elif chosen == "csv":
        assert [row["mailbox"] for row in csv.DictReader(text.splitlines())] == [""]
    assert "paul@partner.example" in text
