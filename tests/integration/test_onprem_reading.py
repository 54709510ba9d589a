"""What a mailbox of Exchange on premises costs to read: requests, what they ask for, and the rows that they touch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from connectors.ews import EwsSettings, Password, connect
from connectors.port import Mailbox, Photo, PhotoRef, PhotoState
from connectors.selection import FULL, Selection
from syncvault.vault import tenants
from syncvault.vault.content import contacts, sources
from syncvault.vault.model import Tenant
from syncvault.vault.vault import Vault
from tests.conftest import Authority
from tests.integration.vault_parts import rows, sync
from tests.simulators.company import cast
from tests.simulators.company.growth import grown_company
from tests.simulators.company.model import PUBLIC, Company
from tests.simulators.company.pictures import jpeg
from tests.simulators.onprem.server import OnpremSimulator

pytestmark = pytest.mark.slow

ANNAS = "anna.becker@example.com"
BIG = "user000000@load.example"
EVERYTHING = ",".join(FULL)
Look = Callable[..., Photo]
IDLE = {"ResolveNames": 1, "GetFolder": 1, "FindFolder": 1}  # and a SyncFolderItems for each contact folder


def choose(vault: Vault, tenant: Tenant, profile: str, address: str) -> Tenant:
    """Registers a mailbox and the fields that are wanted of it."""
    sources.add(vault, tenant, "mailbox", address)
    tenants.update(vault, tenant, lambda facts: replace(facts, scope=replace(facts.scope, profile=profile)))
    return tenants.find(vault, tenant.facts.name)


def asked(onprem: OnpremSimulator) -> dict[str, int]:
    """How often each operation was asked for since the last look."""
    counts = dict(Counter(entry.operation for entry in onprem.recorder.entries if entry.operation))
    onprem.recorder.clear()
    return counts


@pytest.fixture
def annas(vault: Vault, house: Tenant, onprem: OnpremSimulator) -> Tenant:
    """Anna's mailbox with all its photos, pulled once."""
    tenant = choose(vault, house, EVERYTHING, ANNAS)
    sync(vault, tenant)
    onprem.recorder.clear()
    return tenant


class TestALargeMailbox:
    @pytest.fixture
    def company(self) -> Company:
        return grown_company(1, 1_100)

    def test_it_takes_a_page_of_changes_and_one_of_fields_for_512_contacts(
        self, vault: Vault, house: Tenant, onprem: OnpremSimulator
    ) -> None:
        tenant = choose(vault, house, "display_name,notes", BIG)
        assert sync(vault, tenant).added == 1_101
        assert asked(onprem) == {**IDLE, "SyncFolderItems": 3, "GetItem": 3}
        assert sync(vault, tenant).added == 0
        assert asked(onprem) == {**IDLE, "SyncFolderItems": 1}

    def test_a_state_that_is_lost_touches_no_row_of_a_contact(
        self, vault: Vault, house: Tenant, onprem: OnpremSimulator
    ) -> None:
        tenant = choose(vault, house, "display_name", BIG)
        sync(vault, tenant)
        before = rows(vault.data, "contacts")
        onprem.faults.lose_sync_states()
        summary = sync(vault, tenant)
        assert (summary.status, summary.added, summary.changed, summary.removed) == ("ok", 0, 0, 0)
        assert rows(vault.data, "contacts", "id, blob") == [(row[0], row[6]) for row in before]
        assert onprem.recorder.counts["GetItem"] == 6  # all were read twice


class TestRequests:
    def test_a_run_that_finds_nothing_asks_for_no_photo(
        self, vault: Vault, annas: Tenant, onprem: OnpremSimulator, company: Company
    ) -> None:
        assert any(contact.has_photo for contact in contacts.stream(vault, annas))
        sync(vault, annas)
        assert asked(onprem) == {**IDLE, "SyncFolderItems": len(company.box_of(cast.ANNA).folders)}

    def test_a_contact_that_changed_has_its_photo_looked_at_and_the_same_one_left_alone(
        self, vault: Vault, annas: Tenant, onprem: OnpremSimulator, company: Company
    ) -> None:
        pictured, plain = (
            next(item for item in company.box_of(cast.ANNA).default.items.values() if bool(item.photo) is has)
            for has in (True, False)
        )
        for item in (pictured, plain):
            company.change_contact(cast.ANNA, item.id, job_title="Neu")
        assert (sync(vault, annas).changed, asked(onprem)["GetItem"]) == (2, 2)  # the fields, and its attachments
        company.set_contact_photo(cast.ANNA, pictured.id, jpeg("new"))
        assert sync(vault, annas).photos == 1
        assert asked(onprem)["GetAttachment"] == 1

    def test_nothing_that_is_private_goes_over_the_wire(
        self, vault: Vault, house: Tenant, onprem: OnpremSimulator, company: Company
    ) -> None:
        secret = company.add_contact(cast.ANNA, surname="Geheimnis", private=True)
        company.add_contact(cast.ANNA, surname="Offenbar")
        sync(vault, choose(vault, house, EVERYTHING, ANNAS))
        answers = b"".join(entry.answer for entry in onprem.recorder.entries)
        assert b"Offenbar" in answers
        assert b"Geheimnis" not in answers
        assert not any(secret.id.encode() in entry.request for entry in onprem.recorder.of("GetItem"))

    def test_only_fields_of_the_profile_are_asked_for(
        self, vault: Vault, house: Tenant, onprem: OnpremSimulator
    ) -> None:
        sync(vault, choose(vault, house, "display_name", ANNAS))
        (request,) = {entry.request.partition(b"<m:ItemIds>")[0] for entry in onprem.recorder.of("GetItem")}
        assert request.count(b"FieldURI=") == 2
        assert b"contacts:DisplayName" in request
        assert b"item:Sensitivity" in request


class TestPhotosOfPeople:
    REF = PhotoRef(Mailbox(ANNAS, ANNAS))

    @pytest.fixture
    def look(self, onprem: OnpremSimulator, authority: Authority) -> Iterator[Look]:
        """Looks at Anna's photo in a size, with what it was called before."""
        settings = EwsSettings(onprem.url, onprem.username, Password(onprem.password.encode()), ca_pem=authority.ca_pem)
        with ExitStack() as stack:

            def look(pixels: int, etag: str = "") -> Photo:
                connector = connect(settings, selection=Selection(photo_pixels=pixels))
                stack.callback(connector.close)
                (photo,) = connector.photos([replace(self.REF, etag=etag)])
                return photo

            yield look

    def test_one_that_is_the_same_comes_without_its_bytes(
        self, look: Look, onprem: OnpremSimulator, company: Company
    ) -> None:
        first = look(240)
        assert first.content == company.people[cast.ANNA].photo
        assert look(240, first.etag).state is PhotoState.UNCHANGED
        assert b"<m:PictureData/>" in onprem.recorder.of("GetUserPhoto")[-1].answer
        company.set_person_photo(cast.ANNA, jpeg("another"))
        assert look(240, first.etag).content == jpeg("another")

    def test_one_in_another_size_is_fetched(self, look: Look, onprem: OnpremSimulator) -> None:
        assert look(648, look(240).etag).state is PhotoState.PRESENT
        assert b">HR648x648<" in onprem.recorder.of("GetUserPhoto")[-1].request


class TestAPublicFolderThatIsNotSynchronised:
    @pytest.fixture
    def customers(self, vault: Vault, house: Tenant, onprem: OnpremSimulator) -> Tenant:
        sources.add(vault, house, "public-folder", "Vertrieb/Kunden")
        onprem.faults.response("ErrorInvalidOperation", operation="SyncFolderItems", times=100)
        assert sync(vault, house).failures == []
        return house

    def test_it_is_listed_in_every_run_and_no_row_is_written_again(
        self, vault: Vault, customers: Tenant, onprem: OnpremSimulator
    ) -> None:
        before = rows(vault.data, "contacts", "id, blob")
        assert len(before) == 4
        summary = sync(vault, customers)
        assert (summary.status, summary.added, summary.changed, summary.removed) == ("ok", 0, 0, 0)
        assert rows(vault.data, "contacts", "id, blob") == before
        assert onprem.recorder.counts["FindItem"] == 6  # three folders, twice

    def test_what_changed_or_went_is_found(
        self, vault: Vault, customers: Tenant, onprem: OnpremSimulator, company: Company
    ) -> None:
        north = cast.folder_id(PUBLIC, "Vertrieb/Kunden/Nord")
        kept = company.add_contact(PUBLIC, north, display_name="Neu im Norden")
        company.remove_contact(PUBLIC, cast.item_id(PUBLIC, "Karl Kleinkunde"))
        summary = sync(vault, customers)
        assert (summary.added, summary.removed) == (1, 1)
        company.set_private(PUBLIC, kept.id, True)
        assert sync(vault, customers).removed == 1
