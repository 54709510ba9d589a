"""Runs over the sources of an Exchange on premises: what the vault then holds of whom, through the real connector."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from syncvault.sync.summary import Status, Summary
from syncvault.vault.content import contacts, sources
from syncvault.vault.content.contacts import StoredContact
from syncvault.vault.model import Tenant
from syncvault.vault.vault import Vault
from tests.integration.vault_parts import as_told, rows, standing, sync, told_of
from tests.simulators.company import cast
from tests.simulators.company.model import PUBLIC, Company
from tests.simulators.onprem.server import OnpremSimulator

pytestmark = pytest.mark.slow

ANNAS = "anna.becker@example.com"
NORTH = cast.folder_id(PUBLIC, "Vertrieb/Kunden/Nord")


def names(vault: Vault, tenant: Tenant, kind: str = "card") -> set[str]:
    return {one.fields.get("display_name", "") for one in contacts.stream(vault, tenant) if one.kind == kind}


def opened(onprem: OnpremSimulator) -> set[str]:
    """The mailboxes in whose name something was asked."""
    return {entry.mailbox for entry in onprem.recorder.entries} - {"", onprem.upn}


def listed(company: Company) -> set[str]:
    people = {one.display_name for one in company.people.values() if one.in_address_list and one.mail}
    return people | {one.display_name for one in company.org_contacts.values() if one.mail}


def rehearsed(vault: Vault, tenant: Tenant) -> Summary:
    """A dry run, and the run: what the one says has to be what the other does."""
    before = standing(vault, tenant)
    said = sync(vault, tenant, dry_run=True)
    done = sync(vault, tenant)
    assert as_told(said) == told_of(before, standing(vault, tenant))
    assert (said.added, said.changed, said.removed) == (done.added, done.changed, done.removed)
    return done


class TestAddressList:
    def test_it_brings_cards_with_photos_and_opens_no_mailbox(
        self, vault: Vault, house: Tenant, onprem: OnpremSimulator, company: Company
    ) -> None:
        sources.add(vault, house, "gal", "")
        assert rehearsed(vault, house).failures == []
        assert names(vault, house) == listed(company)
        assert names(vault, house, "contact") == set()
        assert opened(onprem) == set()
        photos = {one.photo_sha256 for one in contacts.stream(vault, house)}
        assert hashlib.sha256(company.people[cast.ANNA].photo or b"").hexdigest() in photos
        again = rehearsed(vault, house)
        assert (again.added, again.changed, again.removed) == (0, 0, 0)

    def test_nobody_goes_when_only_a_part_could_be_read(
        self, vault: Vault, house: Tenant, onprem: OnpremSimulator, company: Company
    ) -> None:
        sources.add(vault, house, "gal", "")
        sync(vault, house)
        before = names(vault, house)
        onprem.faults.response("ErrorAccessDenied", operation="ResolveNames", after=5, times=100)
        assert sync(vault, house).status is not Status.OK
        assert names(vault, house) == before
        onprem.faults.clear()
        company.change_person(cast.NILS, in_address_list=False)
        assert sync(vault, house).removed == 1
        assert before - names(vault, house) == {"Nils Berg"}

    def test_whoever_is_a_mailbox_too_is_opened_until_that_source_goes(
        self, vault: Vault, house: Tenant, onprem: OnpremSimulator, company: Company
    ) -> None:
        onprem.shows_whole_directory = True  # with cards that hold one address
        sources.add(vault, house, "gal", "")
        sync(vault, house)
        own = sources.add(vault, house, "mailbox", ANNAS)
        assert rehearsed(vault, house).failures == []
        card, *others = sorted(self.annas(vault, house), key=lambda one: one.kind)
        assert (card.kind, len(card.fields["email_addresses"]), len(others) > 20) == ("card", 3, True)
        sealed = rows(vault.data, "mailboxes")
        assert rehearsed(vault, house).changed == 0
        assert rows(vault.data, "mailboxes") == sealed
        sources.remove(vault, house, own.id)
        assert rehearsed(vault, house).removed == len(others)
        assert [one.kind for one in self.annas(vault, house)] == ["card"]
        assert names(vault, house) == listed(company)
        sources.add(vault, house, "mailbox", ANNAS)
        assert rehearsed(vault, house).added == len(others)

    def test_whoever_leaves_a_list_and_stays_in_the_address_list_goes_only_past_the_brake(
        self, vault: Vault, house: Tenant, company: Company
    ) -> None:
        sources.add(vault, house, "gal", "")
        sources.add(vault, house, "list", "vertrieb@example.com")
        sync(vault, house)
        before = standing(vault, house).keys()
        company.remove_member(cast.SALES, cast.ANNA)
        for _ in range(2):
            said, braked = sync(vault, house, dry_run=True), sync(vault, house)
            assert said.status is braked.status is Status.BRAKED
            assert standing(vault, house).keys() == before
        held = standing(vault, house)
        said = sync(vault, house, dry_run=True, accept_removals=True)
        done = sync(vault, house, accept_removals=True)
        assert as_told(said) == told_of(held, standing(vault, house))
        assert said.removed == done.removed > 20
        assert [one.kind for one in self.annas(vault, house)] == ["card"]
        assert sync(vault, house).removed == 0

    @staticmethod
    def annas(vault: Vault, tenant: Tenant) -> list[StoredContact]:
        return [one for one in contacts.stream(vault, tenant) if one.mailbox.key == ANNAS]

    def test_a_mailbox_that_cannot_be_resolved_for_once_loses_nothing_to_the_list(
        self, vault: Vault, house: Tenant, onprem: OnpremSimulator
    ) -> None:
        sources.add(vault, house, "gal", "")
        sources.add(vault, house, "mailbox", "a.becker@example.com")
        sync(vault, house)
        before = standing(vault, house)
        onprem.deny_impersonation(ANNAS)
        onprem.faults.response("ErrorServerBusy", operation="ResolveNames", times=4)
        assert sync(vault, house).status is not Status.OK
        assert standing(vault, house) == before


class TestLists:
    def test_members_are_pulled_and_go_when_they_leave(self, vault: Vault, house: Tenant, company: Company) -> None:
        company.add_member(cast.SALES_NORTH, cast.SALES)  # which contains it
        company.add_member(cast.SALES_NORTH, cast.SUPPLIER)
        sources.add(vault, house, "list", "vertrieb-nord@example.com")
        assert rehearsed(vault, house).failures == []
        assert names(vault, house) == {"Anna Becker", "Jürgen Müßig-Ångström", "Nils Berg", "Olaf Left"}
        assert {"Nord 1", "Olafs Kunde", "Wiebke Halligen"} <= names(vault, house, "contact")
        company.remove_member(cast.SALES_NORTH, cast.NILS)
        assert rehearsed(vault, house).failures == []
        assert "Nils Berg" not in names(vault, house)
        assert "Nord 1" not in names(vault, house, "contact")

    def test_a_list_that_is_gone_takes_nobody_with_it(self, vault: Vault, house: Tenant, company: Company) -> None:
        sources.add(vault, house, "list", "vertrieb-nord@example.com")
        sync(vault, house)
        before = standing(vault, house)
        company.remove_group(cast.SALES_NORTH)
        (failure,) = sync(vault, house).failures
        assert (failure.code, failure.mailbox) == ("source-gone", "v…d@example.com")
        assert standing(vault, house) == before


class TestPublicFolders:
    @pytest.fixture
    def customers(self, vault: Vault, house: Tenant) -> Any:
        sources.add(vault, house, "public-folder", "vertrieb/kunden")
        assert rehearsed(vault, house).failures == []

    @pytest.mark.usefixtures("customers")
    def test_it_brings_contacts_with_their_folder_and_no_card(
        self, vault: Vault, house: Tenant, onprem: OnpremSimulator
    ) -> None:
        found = {(one.kind, one.mailbox.ref, one.folder) for one in contacts.stream(vault, house)}
        assert found == {
            ("contact", "Vertrieb/Kunden", "Vertrieb/Kunden"),
            ("contact", "Vertrieb/Kunden", "Vertrieb/Kunden/Nord"),
            ("contact", "Vertrieb/Kunden", "Vertrieb/Kunden/Protokolle/Gäste"),
        }
        assert opened(onprem) == set()
        assert onprem.recorder.of("ResolveNames") == onprem.recorder.of("ResolveNames")[:4]  # the probes'
        assert all(b'Traversal="Deep"' not in entry.request for entry in onprem.recorder.of("FindFolder"))

    @pytest.mark.usefixtures("customers")
    def test_photos_come_with_its_contacts(self, vault: Vault, house: Tenant, company: Company) -> None:
        (greta,) = (one for one in contacts.stream(vault, house) if one.fields["display_name"] == "Greta Großkunde")
        found = company.public.find(cast.item_id(PUBLIC, "Greta Großkunde"))
        assert found is not None
        assert greta.photo_sha256 == hashlib.sha256(found[1].photo or b"").hexdigest()

    @pytest.mark.usefixtures("customers")
    def test_a_second_run_brings_only_what_changed(
        self, vault: Vault, house: Tenant, onprem: OnpremSimulator, company: Company
    ) -> None:
        company.add_contact(PUBLIC, NORTH, display_name="Neu im Norden")
        company.remove_contact(PUBLIC, cast.item_id(PUBLIC, "Karl Kleinkunde"))
        onprem.recorder.clear()
        done = sync(vault, house)
        assert (done.added, done.removed, done.unchanged) == (1, 1, 3)
        assert len(onprem.recorder.of("GetItem")) == 1
        company.delete_folder(PUBLIC, NORTH)
        assert rehearsed(vault, house).removed == 2

    @pytest.mark.usefixtures("customers")
    def test_states_that_the_server_lost_cost_nothing_but_requests(
        self, vault: Vault, house: Tenant, onprem: OnpremSimulator
    ) -> None:
        before = rows(vault.data, "contacts")
        onprem.faults.lose_sync_states()
        assert sync(vault, house).failures == []
        assert rows(vault.data, "contacts") == before

    @pytest.mark.usefixtures("customers")
    def test_a_server_that_stops_to_synchronise_them_costs_nothing_but_requests(
        self, vault: Vault, house: Tenant, onprem: OnpremSimulator, company: Company
    ) -> None:
        before = rows(vault.data, "contacts")
        onprem.syncs_public_folders = False
        for _ in range(2):
            assert sync(vault, house).failures == []
            assert rows(vault.data, "contacts") == before
        company.remove_contact(PUBLIC, cast.item_id(PUBLIC, "Karl Kleinkunde"))
        assert rehearsed(vault, house).removed == 1

    @pytest.mark.usefixtures("customers")
    def test_a_path_that_is_gone_is_told_once_and_takes_nothing_with_it(
        self, vault: Vault, house: Tenant, company: Company
    ) -> None:
        before = standing(vault, house)
        company.rename_folder(PUBLIC, cast.folder_id(PUBLIC, "Vertrieb/Kunden"), "Kundschaft")
        (failure,) = sync(vault, house).failures
        assert (failure.code, failure.mailbox) == ("ErrorFolderNotFound", "v…n")
        assert standing(vault, house) == before


def test_an_alias_and_the_primary_address_are_one_mailbox(vault: Vault, house: Tenant) -> None:
    sources.add(vault, house, "mailbox", "anna@muster.example")
    sources.add(vault, house, "mailbox", ANNAS)
    assert sync(vault, house).mailboxes == 1
    assert {(one.mailbox.key, one.mailbox.ref) for one in contacts.stream(vault, house)} == {(ANNAS, ANNAS)}
