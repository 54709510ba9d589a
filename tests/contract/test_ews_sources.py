"""What the sources of an Exchange on premises resolve to: address list, distribution lists, public folders, aliases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connectors.contact import Contact
from connectors.ews.connector import EwsConnector
from connectors.port import (
    CheckpointExpired,
    Connector,
    FolderGone,
    Mailbox,
    MailboxGone,
    MailboxKind,
    NotPermitted,
    Page,
    PhotoRef,
    PhotoState,
    ServerFault,
    Source,
    SourceGone,
    SourceKind,
)
from tests.conftest import Authority
from tests.contract.harness import Copy, names
from tests.contract.harness_ews import EwsHarness
from tests.reading import mailboxes, outcomes
from tests.simulators.company import cast
from tests.simulators.company.model import PUBLIC, Company

GAL = Source(SourceKind.GAL)
CUSTOMERS = Source(SourceKind.PUBLIC_FOLDER, "vertrieb/KUNDEN")
CUSTOMERS_BOX = Mailbox("\\vertrieb/kunden", "Vertrieb/Kunden", kind=MailboxKind.PUBLIC_FOLDER)
LISTED = {"anna.becker", "juergen.muessig", "layla.haddad", "mei.tanaka", "olaf.left", "sam.frontline", "nils.berg"}


@pytest.fixture
def harness(company: Company, authority: Authority) -> Iterator[EwsHarness]:
    made = EwsHarness(company, authority.ca, authority.ca_pem)
    yield made
    made.close()
    assert made.simulator.recorder.crashes == []
    assert made.simulator.recorder.violations == []


@pytest.fixture
def connector(harness: EwsHarness) -> Connector:
    return harness.connect()


def in_list(harness: EwsHarness, name: str) -> Source:
    return Source(SourceKind.LIST, f"{name}@{harness.simulator.upn.partition('@')[2]}")


def operations(harness: EwsHarness) -> list[str]:
    return [entry.operation for entry in harness.simulator.recorder.entries if entry.operation]


def acted_for(harness: EwsHarness) -> set[str]:
    return {entry.mailbox for entry in harness.simulator.recorder.entries} - {harness.simulator.upn, ""}


@pytest.fixture(params=[True, False], ids=["browsed", "searched"])
def browsable(request: pytest.FixtureRequest, harness: EwsHarness) -> bool:
    """Whether the directory may be listed by FindPeople, or has to be searched by ResolveNames."""
    harness.simulator.shows_whole_directory = request.param
    return bool(request.param)


class TestAddressList:
    @pytest.mark.usefixtures("browsable")
    def test_it_gives_everybody_it_shows_with_a_card_and_opens_nobody(
        self, harness: EwsHarness, connector: Connector
    ) -> None:
        cards = list(connector.resolve(GAL))
        expected = {f"{name}@example.com" for name in LISTED} | {"hakon@fjord.example"}
        assert sorted(card.mailbox.key for card in cards) == sorted(expected)
        assert {card.mailbox.kind for card in cards} == {MailboxKind.LISTED}
        assert all(card.contact and card.contact.display_name for card in cards)
        assert acted_for(harness) == set()

    def test_a_card_holds_what_the_directory_does(
        self, harness: EwsHarness, connector: Connector, browsable: bool
    ) -> None:
        anna = harness.company.people[cast.ANNA]
        (found,) = (card.contact for card in connector.resolve(GAL) if card.mailbox.address == anna.mail)
        expected = harness.card_of(anna).to_dict()
        if browsable:  # personas have no more addresses
            expected["email_addresses"] = expected["email_addresses"][:1]
        assert isinstance(found, Contact)
        assert found.to_dict() == expected

    @pytest.mark.usefixtures("browsable")
    def test_more_people_than_one_answer_holds_come_each_once(self, harness: EwsHarness, connector: Connector) -> None:
        for number in range(620):
            mail = f"{'abc'[number % 3]}{number:03d}@example.com"
            harness.company.add_person(mail=mail, display_name=f"Müller {number}", surname="Müller", mailbox=False)
        found = [mailbox.key for mailbox in mailboxes(connector, GAL)]
        assert len(found) == len(set(found)) == 620 + len(LISTED) + 1

    def test_browsing_costs_a_request_for_500_people(self, harness: EwsHarness, connector: Connector) -> None:
        harness.simulator.shows_whole_directory = True
        for number in range(1_000 - len(LISTED) - 1):
            harness.company.add_person(mail=f"p{number}@example.com", display_name=f"P {number}", mailbox=False)
        assert len(list(connector.resolve(GAL))) == 1_000
        assert operations(harness) == ["FindPeople"] * 2

    @pytest.mark.slow
    def test_searching_costs_a_request_for_ten_people_of_a_thousand(
        self, harness: EwsHarness, connector: Connector
    ) -> None:
        letters = "abcdefghijklmnoprstuvwz"
        for number in range(1_000):
            first, last = letters[number % 23] + "onas", letters[number // 23 % 23] + f"eber{number}"
            mail = f"{first}.{last}@example.com"
            harness.company.add_person(mail=mail, display_name=f"{last}, {first}", surname=last, mailbox=False)
        assert len(list(connector.resolve(GAL))) == 1_000 + len(LISTED) + 1
        assert len(operations(harness)) < 100

    def test_a_room_is_nobody(self, harness: EwsHarness, connector: Connector) -> None:
        harness.simulator.shows_whole_directory = True
        harness.company.add_person(mail="saal@example.com", display_name="Saal 1", is_room=True)
        assert "saal@example.com" not in {mailbox.key for mailbox in mailboxes(connector, GAL)}

    @pytest.mark.usefixtures("browsable")
    def test_a_later_answer_that_fails_fails_the_whole(self, harness: EwsHarness, connector: Connector) -> None:
        for operation in ("FindPeople", "ResolveNames"):
            harness.simulator.faults.response("ErrorInternalServerError", operation=operation, after=1, times=1_000)
        for number in range(600):
            harness.company.add_person(mail=f"p{number}@example.com", display_name=f"P {number}", mailbox=False)
        with pytest.raises(ServerFault):
            list(connector.resolve(GAL))


class TestLists:
    def test_members_of_lists_in_a_list_are_members(self, harness: EwsHarness, connector: Connector) -> None:
        cards = list(connector.resolve(in_list(harness, "alle-mitarbeiter")))
        mailboxes_of_all = {harness.mailbox(p.object_id) for p in harness.company.transitive_people(cast.EVERYBODY)}
        assert {card.mailbox for card in cards} == mailboxes_of_all - {harness.mailbox(cast.SAM)}  # who has none
        assert all(card.contact is not None for card in cards)
        assert acted_for(harness) == set()

    def test_lists_that_contain_each_other_end(self, harness: EwsHarness, connector: Connector) -> None:
        harness.company.add_member(cast.SALES_NORTH, cast.SALES)
        harness.company.add_member(cast.SALES, cast.SALES)
        found = [mailbox.key for mailbox in mailboxes(connector, in_list(harness, "vertrieb-nord"))]
        assert sorted(found) == [
            f"{who}@example.com" for who in ("anna.becker", "juergen.muessig", "nils.berg", "olaf.left")
        ]

    def test_a_member_costs_one_request(self, harness: EwsHarness, connector: Connector) -> None:
        list(connector.resolve(in_list(harness, "vertrieb-nord")))
        assert operations(harness) == ["ExpandDL", "ResolveNames", "ResolveNames"]

    def test_members_come_before_the_last_one_is_looked_up(self, harness: EwsHarness, connector: Connector) -> None:
        next(iter(connector.resolve(in_list(harness, "vertrieb-nord"))))
        assert operations(harness) == ["ExpandDL", "ResolveNames"]

    def test_somebody_outside_or_hidden_is_told_apart(self, harness: EwsHarness, connector: Connector) -> None:
        harness.company.add_member(cast.BOARD, cast.SUPPLIER)
        harness.company.change_person(cast.ROBOT, in_address_list=False)
        harness.company.add_member(cast.BOARD, cast.ROBOT)
        found = {mailbox.key for mailbox in mailboxes(connector, in_list(harness, "vorstand"))}
        assert found == {"anna.becker@example.com", "mei.tanaka@example.com", "scanner@example.com"}

    def test_an_empty_list_is_not_a_missing_one(self, harness: EwsHarness, connector: Connector) -> None:
        assert list(connector.resolve(in_list(harness, "noch-leer"))) == []
        with pytest.raises(SourceGone) as caught:
            list(connector.resolve(in_list(harness, "keine")))
        assert "--mailbox" in caught.value.advice

    def test_a_list_below_that_cannot_be_read_fails_the_whole(self, harness: EwsHarness, connector: Connector) -> None:
        harness.simulator.faults.response("ErrorAccessDenied", operation="ExpandDL", after=1)
        with pytest.raises(NotPermitted):
            list(connector.resolve(in_list(harness, "alle-mitarbeiter")))


class TestAliases:
    def test_two_names_of_one_mailbox_are_one_mailbox(self, harness: EwsHarness, connector: Connector) -> None:
        found = [
            mailbox
            for address in ("ANNA@muster.example", "anna.becker@example.com")
            for mailbox in mailboxes(connector, Source(SourceKind.MAILBOX, address))
        ]
        assert found == [harness.mailbox(cast.ANNA)] * 2

    def test_an_alias_of_somebody_hidden_leads_to_the_primary_address_too(
        self, harness: EwsHarness, connector: Connector
    ) -> None:
        harness.company.change_person(cast.ROBOT, other_addresses=("drucker@example.com",))
        (found,) = mailboxes(connector, Source(SourceKind.MAILBOX, "drucker@example.com"))
        assert found == harness.mailbox(cast.ROBOT)


class TestPublicFolders:
    def test_a_path_is_found_whatever_its_case(self, connector: Connector) -> None:
        (card,) = connector.resolve(CUSTOMERS)
        assert (card.mailbox, card.contact) == (CUSTOMERS_BOX, None)
        assert not card.mailbox.kind.has_card

    @pytest.mark.parametrize("path", ["\\Vertrieb\\Kunden", "vertrieb\\kunden\\", "/Vertrieb\\KUNDEN"])
    def test_a_path_may_be_written_as_exchange_does(self, connector: Connector, path: str) -> None:
        assert list(mailboxes(connector, Source(SourceKind.PUBLIC_FOLDER, path))) == [CUSTOMERS_BOX]

    def test_a_name_may_hold_exchanges_separator_too(self, harness: EwsHarness, connector: Connector) -> None:
        odd = harness.company.add_folder(PUBLIC, "Ein\\Aus", cast.folder_id(PUBLIC, "Vertrieb"))
        harness.company.add_contact(PUBLIC, odd.id, display_name="Schalter")
        for path in ("vertrieb/ein\\aus", "\\Vertrieb\\Ein\\Aus"):
            (mailbox,) = mailboxes(connector, Source(SourceKind.PUBLIC_FOLDER, path))
            assert (mailbox.key, mailbox.address) == ("\\vertrieb/ein/aus", "Vertrieb/Ein\\Aus")
            assert names(Copy(mailbox).pull(connector).holdings) == ["Schalter"]

    def test_it_gives_its_contacts_and_those_of_the_contact_folders_below(self, connector: Connector) -> None:
        copy = Copy(CUSTOMERS_BOX).pull(connector)
        assert names(copy.holdings) == ["Gast Nr. 1", "Greta Großkunde", "Karl Kleinkunde", "Ole Nordkunde"]
        assert sorted(copy.paths.values()) == [
            "Vertrieb/Kunden",
            "Vertrieb/Kunden/Nord",
            "Vertrieb/Kunden/Protokolle/Gäste",
        ]

    def test_it_is_walked_level_by_level_in_nobodys_name(self, harness: EwsHarness, connector: Connector) -> None:
        list(connector.resolve(CUSTOMERS))
        Copy(CUSTOMERS_BOX).pull(connector)
        walked = harness.simulator.recorder.entries
        assert [entry.operation for entry in walked].count("FindFolder") == 7
        assert acted_for(harness) == set()

    def test_a_folder_without_contacts_may_have_some_below(self, connector: Connector) -> None:
        box = Mailbox("\\vertrieb", "Vertrieb", kind=MailboxKind.PUBLIC_FOLDER)
        assert "Vertrieb" not in Copy(box).pull(connector).paths.values()
        assert names(Copy(box).pull(connector).holdings) == [
            "Gast Nr. 1",
            "Greta Großkunde",
            "Karl Kleinkunde",
            "Ole Nordkunde",
        ]

    def test_only_what_changed_comes_again(self, harness: EwsHarness, connector: Connector) -> None:
        copy = Copy(CUSTOMERS_BOX).pull(connector)
        company, north = harness.company, cast.folder_id(PUBLIC, "Vertrieb/Kunden/Nord")
        assert copy.pull(connector).moved == 0
        company.add_contact(PUBLIC, north, display_name="Neu im Norden")
        company.remove_contact(PUBLIC, cast.item_id(PUBLIC, "Karl Kleinkunde"))
        assert copy.pull(connector).moved == 2
        assert names(copy.holdings) == ["Gast Nr. 1", "Greta Großkunde", "Neu im Norden", "Ole Nordkunde"]

    def test_a_folder_that_went_is_told(self, harness: EwsHarness, connector: Connector) -> None:
        copy = Copy(CUSTOMERS_BOX).pull(connector)
        harness.company.delete_folder(PUBLIC, cast.folder_id(PUBLIC, "Vertrieb/Kunden/Nord"))
        assert FolderGone(cast.folder_id(PUBLIC, "Vertrieb/Kunden/Nord")) in copy.pull(connector).last_pull

    def test_one_whose_content_is_not_found_for_once_keeps_it(self, harness: EwsHarness, connector: Connector) -> None:
        copy = Copy(CUSTOMERS_BOX).pull(connector)
        held = names(copy.holdings)
        harness.simulator.faults.response("ErrorSyncFolderNotFound", operation="SyncFolderItems", times=10)
        with pytest.raises(ServerFault) as caught:
            copy.pull(connector)
        assert "ContentMailboxName" in caught.value.advice
        assert names(copy.holdings) == held

    def test_photos_of_its_contacts_come(self, harness: EwsHarness, connector: Connector) -> None:
        copy = Copy(CUSTOMERS_BOX).pull(connector)
        (photo,) = connector.photos([copy.photo_ref("Greta Großkunde")])
        greta = harness.company.public.find(cast.item_id(PUBLIC, "Greta Großkunde"))
        assert greta is not None
        assert (photo.state, photo.content) == (PhotoState.PRESENT, greta[1].photo)
        assert acted_for(harness) == set()

    @pytest.mark.parametrize("path", ["Vertrieb/Kundin", "Kunden", "Vertrieb/Kunden/Nord/Pol"])
    def test_a_path_that_leads_nowhere_is_gone(self, connector: Connector, path: str) -> None:
        with pytest.raises(SourceGone) as caught:
            list(connector.resolve(Source(SourceKind.PUBLIC_FOLDER, path)))
        assert path not in caught.value.message
        gone = Mailbox(f"\\{path.lower()}", path, kind=MailboxKind.PUBLIC_FOLDER)
        with pytest.raises(MailboxGone):
            list(outcomes(connector, gone))

    def test_a_name_may_hold_the_separator(self, harness: EwsHarness, connector: Connector) -> None:
        company = harness.company
        odd = company.add_folder(PUBLIC, "Ein/Aus", cast.folder_id(PUBLIC, "Vertrieb"))
        company.add_contact(PUBLIC, odd.id, display_name="Schalter")
        company.add_folder(PUBLIC, "Ein", cast.folder_id(PUBLIC, "Vertrieb"))
        (mailbox,) = mailboxes(connector, Source(SourceKind.PUBLIC_FOLDER, "vertrieb/ein/aus"))
        assert names(Copy(mailbox).pull(connector).holdings) == ["Schalter"]

    def test_a_server_that_does_not_synchronise_them_is_asked_for_all(
        self, harness: EwsHarness, connector: Connector
    ) -> None:
        harness.simulator.syncs_public_folders = False
        copy = Copy(CUSTOMERS_BOX).pull(connector)
        assert names(copy.holdings) == ["Gast Nr. 1", "Greta Großkunde", "Karl Kleinkunde", "Ole Nordkunde"]
        harness.company.remove_contact(PUBLIC, cast.item_id(PUBLIC, "Karl Kleinkunde"))
        with pytest.raises(CheckpointExpired) as expired:
            copy.pull(connector)
        for folder_id in expired.value.folder_ids:
            copy.forget(folder_id)
        assert names(copy.pull(connector).holdings) == ["Gast Nr. 1", "Greta Großkunde", "Ole Nordkunde"]
        assert acted_for(harness) == set()

    @pytest.mark.slow
    def test_many_folders_come_by_the_page(self, harness: EwsHarness, connector: Connector) -> None:
        parent = cast.folder_id(PUBLIC, "Lieferanten")
        made = [harness.company.add_folder(PUBLIC, f"Nr. {number}", parent).id for number in range(510)]
        box = Mailbox("\\lieferanten", "Lieferanten", kind=MailboxKind.PUBLIC_FOLDER)
        pages = [step for step in outcomes(connector, box) if isinstance(step, Page)]
        assert {page.folder.id for page in pages} == {parent, *made}


def test_the_probe_and_the_directory_are_asked_in_nobodys_name(harness: EwsHarness) -> None:
    connector = harness.connect()
    assert isinstance(connector, EwsConnector)
    connector.probe()
    list(connector.card([harness.mailbox(cast.ANNA)]))
    list(connector.photos([PhotoRef(harness.mailbox(cast.ANNA))]))
    assert acted_for(harness) == set()
