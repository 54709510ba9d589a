"""What every connector does, whatever server it talks to: one suite against the port, run over each adapter."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest

from connectors.port import (
    CheckpointExpired,
    Connector,
    CredentialRejected,
    FolderGone,
    NoMailbox,
    NotPermitted,
    Page,
    PhotoRef,
    PhotoState,
    SourceGone,
    WaitEnded,
    Wanted,
)
from tests.contract.harness import Copy, Fault, Harness, names
from tests.contract.harness_ews import EwsHarness
from tests.contract.harness_graph import GraphHarness
from tests.reading import mailboxes, outcomes
from tests.simulators.company import cast
from tests.simulators.company.model import Company
from tests.simulators.company.pictures import jpeg

if TYPE_CHECKING:
    from tests.conftest import Authority

ANNA, JURGEN, NILS, SAM, MEI = cast.ANNA, cast.JURGEN, cast.NILS, cast.SAM, cast.MEI
CUSTOMERS = cast.folder_id(ANNA, "Contacts/Kunden")
NORTH = cast.folder_id(ANNA, "Contacts/Kunden/Nord")
EMPTY = cast.folder_id(ANNA, "Contacts/Leer")
KATHARINA = "Dr. Katharina M. von Blumenthal"


@pytest.fixture(params=[GraphHarness, EwsHarness], ids=["graph", "ews"])
def harness(request: pytest.FixtureRequest, company: Company, authority: Authority) -> Iterator[Harness]:
    made = request.param(company, authority.ca, authority.ca_pem)
    yield made
    made.close()


@pytest.fixture
def connector(harness: Harness) -> Connector:
    return harness.connect()


@pytest.mark.parametrize("is_signed_in", [False, True])
def test_nothing_goes_out_any_more_after_hanging_up(connector: Connector, *, is_signed_in: bool) -> None:
    if is_signed_in:
        connector.probe()
    connector.hang_up()
    with pytest.raises(WaitEnded):
        connector.probe()


def pulled(harness: Harness, connector: Connector, person: str) -> Copy:
    return Copy(harness.mailbox(person)).pull(connector)


def look(connector: Connector, *wanted: PhotoRef) -> dict[PhotoRef, Any]:
    return {photo.ref: photo for photo in connector.photos(wanted)}


class TestIdentity:
    def test_a_probe_tells_whom_the_server_took_us_for(self, connector: Connector) -> None:
        identity = connector.probe()
        assert identity.account
        assert "127.0.0.1" in identity.server or "localhost" in identity.server

    def test_a_wrong_credential_is_tried_once_and_never_again(self, harness: Harness) -> None:
        connector = harness.connect_wrongly()
        with pytest.raises(CredentialRejected) as caught:
            connector.probe()
        assert caught.value.code
        assert caught.value.advice
        assert harness.refusals() == 1
        assert harness.waits == []

    def test_a_wrong_credential_is_not_retried_while_pulling_either(self, harness: Harness) -> None:
        with pytest.raises(CredentialRejected):
            list(outcomes(harness.connect_wrongly(), harness.mailbox(NILS), {}))
        assert harness.refusals() == 1

    def test_requests_are_counted(self, harness: Harness, connector: Connector) -> None:
        before = connector.requests
        pulled(harness, connector, NILS)
        assert connector.requests > before


class TestSources:
    def test_a_person_resolves_to_one_mailbox(self, harness: Harness, connector: Connector) -> None:
        assert list(mailboxes(connector, harness.source(ANNA))) == [harness.mailbox(ANNA)]

    def test_an_unknown_source_is_said_to_be_gone(self, harness: Harness, connector: Connector) -> None:
        with pytest.raises(SourceGone):
            list(mailboxes(connector, harness.unknown_source()))

    def test_a_group_gives_its_members_members_each_once(self, harness: Harness, connector: Connector) -> None:
        if not harness.knows_groups:
            pytest.skip("sources are mailboxes")
        harness.company.add_member(cast.EVERYBODY, ANNA)  # is in it twice now: directly, and through the sales group
        found = list(mailboxes(connector, harness.group(cast.EVERYBODY)))
        expected = {person.object_id for person in harness.company.transitive_people(cast.EVERYBODY)}
        assert sorted(mailbox.key for mailbox in found) == sorted(expected)

    def test_a_disabled_member_is_flagged(self, harness: Harness, connector: Connector) -> None:
        if not harness.knows_groups:
            pytest.skip("sources are mailboxes")
        found = {mailbox.key: mailbox.enabled for mailbox in mailboxes(connector, harness.group(cast.SALES))}
        assert [key for key, enabled in found.items() if not enabled] == [cast.OLAF]

    def test_an_empty_group_is_not_a_missing_one(self, harness: Harness, connector: Connector) -> None:
        if not harness.knows_groups:
            pytest.skip("sources are mailboxes")
        assert list(mailboxes(connector, harness.group(cast.EMPTY))) == []
        harness.company.remove_group(cast.EMPTY)
        with pytest.raises(SourceGone):
            list(mailboxes(connector, harness.group(cast.EMPTY)))


class TestCards:
    @pytest.mark.parametrize("person", [ANNA, JURGEN, MEI, SAM], ids=["full", "umlauts", "emoji", "without mailbox"])
    def test_a_card_has_what_the_directory_holds(self, harness: Harness, connector: Connector, person: str) -> None:
        (card,) = connector.card([harness.mailbox(person)])
        assert card.error is None
        assert card.contact == harness.card_of(harness.company.people[person])

    def test_every_mailbox_gets_exactly_one_outcome(self, harness: Harness, connector: Connector) -> None:
        wanted = [harness.mailbox(person) for person in (ANNA, JURGEN, NILS)] * 9
        assert [card.mailbox for card in connector.card(wanted)] == wanted

    def test_somebody_who_left_is_an_outcome_not_an_exception(self, harness: Harness, connector: Connector) -> None:
        mailboxes = [harness.mailbox(NILS), harness.mailbox(ANNA)]
        harness.company.remove_person(NILS)
        gone, there = connector.card(mailboxes)
        assert gone.contact is None
        assert gone.error is not None
        assert there.contact is not None


class TestContacts:
    @pytest.mark.parametrize("person", [ANNA, JURGEN, cast.LAYLA, MEI, cast.ZOE, NILS])
    def test_the_first_pull_brings_exactly_what_the_source_holds(
        self, harness: Harness, connector: Connector, person: str
    ) -> None:
        assert pulled(harness, connector, person).holdings == harness.holdings(person)

    def test_every_folder_has_its_own_checkpoint(self, harness: Harness, connector: Connector) -> None:
        copy = pulled(harness, connector, ANNA)
        assert len(copy.checkpoints) == len(harness.company.box_of(ANNA).folders)
        assert len(set(copy.checkpoints.values())) == len(copy.checkpoints)

    def test_a_pull_may_stop_after_any_page_and_go_on(self, harness: Harness) -> None:
        copy, rounds = Copy(harness.mailbox(ANNA)), 0
        while True:
            # One page at a time, each with a connector that knows nothing of the one before.
            taken = list(islice(outcomes(harness.connect(page_size=5), copy.mailbox, copy.checkpoints), 12))
            fresh = next((step for step in taken if isinstance(step, Page) and step.upserts), None)
            if fresh is None:
                break
            for step in taken[: taken.index(fresh) + 1]:
                copy.take(step)
            rounds += 1
            assert rounds < 40
        assert rounds >= 5
        copy.pull(harness.connect())
        assert copy.holdings == harness.holdings(ANNA)

    def test_without_changes_nothing_moves(self, harness: Harness, connector: Connector) -> None:
        copy = pulled(harness, connector, ANNA)
        copy.pull(connector)
        assert copy.moved == 0

    def test_a_changed_contact_is_the_only_one_to_move(self, harness: Harness, connector: Connector) -> None:
        copy = pulled(harness, connector, ANNA)
        harness.company.change_contact(ANNA, cast.item_id(ANNA, "Kundin 07"), surname="Sieben", mobile_phone="0151 7")
        copy.pull(connector)
        assert copy.moved == 1
        assert copy.holdings == harness.holdings(ANNA)

    def test_added_and_removed_contacts_come_with_the_next_pull(self, harness: Harness, connector: Connector) -> None:
        copy = pulled(harness, connector, ANNA)
        harness.company.add_contact(ANNA, EMPTY, display_name="Neu Hier", given_name="Neu", surname="Hier")
        harness.company.remove_contact(ANNA, cast.item_id(ANNA, "Kundin 01"))
        copy.pull(connector)
        assert copy.holdings == harness.holdings(ANNA)
        assert copy.moved == 2

    @pytest.mark.parametrize("keep_id", [True, False], ids=["keeping its ID", "under a new ID"])
    def test_a_moved_contact_is_in_its_new_folder_only(
        self, harness: Harness, connector: Connector, keep_id: bool
    ) -> None:
        copy = pulled(harness, connector, ANNA)
        harness.company.move_contact(ANNA, cast.item_id(ANNA, "Fiete Deichgraf"), EMPTY, keep_id=keep_id)
        copy.pull(connector)
        assert copy.holdings == harness.holdings(ANNA)

    def test_a_renamed_folder_keeps_its_contacts(self, harness: Harness, connector: Connector) -> None:
        copy = pulled(harness, connector, ANNA)
        harness.company.rename_folder(ANNA, CUSTOMERS, "Stammkunden")
        copy.pull(connector)
        assert copy.holdings == harness.holdings(ANNA)
        assert copy.moved == 0

    def test_a_new_folder_is_pulled_in_full(self, harness: Harness, connector: Connector) -> None:
        copy = pulled(harness, connector, ANNA)
        folder = harness.company.add_folder(ANNA, "Messe", NORTH)
        harness.company.add_contact(ANNA, folder.id, display_name="Messegast")
        copy.pull(connector)
        assert copy.holdings == harness.holdings(ANNA)

    def test_deleted_folders_are_reported_gone(self, harness: Harness, connector: Connector) -> None:
        copy = pulled(harness, connector, ANNA)
        harness.company.delete_folder(ANNA, NORTH)
        copy.pull(connector)
        assert sum(isinstance(step, FolderGone) for step in copy.last_pull) == 2  # the one below it too
        assert copy.holdings == harness.holdings(ANNA)

    def test_an_expired_checkpoint_is_said_and_the_folder_comes_in_full(
        self, harness: Harness, connector: Connector
    ) -> None:
        copy = pulled(harness, connector, NILS)
        harness.company.remove_contact(NILS, cast.item_id(NILS, "Nord 1"))
        harness.forget_checkpoints(NILS)
        with pytest.raises(CheckpointExpired) as caught:
            copy.pull(connector)
        copy.forget(caught.value.folder_id)
        assert copy.pull(connector).holdings == harness.holdings(NILS)

    def test_private_items_are_skipped_and_counted(self, harness: Harness, connector: Connector) -> None:
        copy = pulled(harness, connector, JURGEN)
        assert copy.skipped["private"] == 1
        assert "Arzttermin Dr. Heim" not in names(copy.holdings)

    def test_a_person_without_a_mailbox_is_told_apart(self, harness: Harness, connector: Connector) -> None:
        with pytest.raises(NoMailbox):
            pulled(harness, connector, SAM)

    def test_a_mailbox_that_refuses_names_the_permission(self, harness: Harness, connector: Connector) -> None:
        harness.refuse_mailbox(ANNA)
        with pytest.raises(NotPermitted) as caught:
            pulled(harness, connector, ANNA)
        assert harness.permission in caught.value.advice
        assert pulled(harness, connector, NILS).holdings == harness.holdings(NILS)


class TestPhotos:
    def test_a_contacts_photo_comes_as_stored(self, harness: Harness, connector: Connector) -> None:
        copy = pulled(harness, connector, ANNA)
        ref = copy.photo_ref(KATHARINA)
        (photo,) = connector.photos([ref])
        assert photo.state is PhotoState.PRESENT
        _, item = harness.company.box_of(ANNA).find(cast.item_id(ANNA, KATHARINA)) or (None, None)
        assert item is not None
        assert photo.content == item.photo

    def test_a_persons_photo_comes_as_stored(self, harness: Harness, connector: Connector) -> None:
        (photo,) = connector.photos([PhotoRef(harness.mailbox(ANNA))])
        assert (photo.state, photo.content) == (PhotoState.PRESENT, harness.company.people[ANNA].photo)

    def test_where_there_is_none_it_is_absent(self, harness: Harness, connector: Connector) -> None:
        copy = pulled(harness, connector, ANNA)
        contact, person = copy.photo_ref("Nur Telefon"), PhotoRef(harness.mailbox(NILS))
        found = look(connector, contact, person)
        assert [found[contact].state, found[person].state] == [PhotoState.ABSENT, PhotoState.ABSENT]

    def test_an_unchanged_photo_is_not_sent_again(self, harness: Harness, connector: Connector) -> None:
        copy = pulled(harness, connector, ANNA)
        (contact,) = connector.photos([copy.photo_ref(KATHARINA)])
        (person,) = connector.photos([PhotoRef(harness.mailbox(ANNA))])
        again = [copy.photo_ref(KATHARINA, etag=contact.etag), PhotoRef(harness.mailbox(ANNA), etag=person.etag)]
        assert [photo.state for photo in connector.photos(again)] == [PhotoState.UNCHANGED] * 2

    def test_a_changed_photo_is_sent_again(self, harness: Harness, connector: Connector) -> None:
        copy = pulled(harness, connector, ANNA)
        (contact,) = connector.photos([copy.photo_ref(KATHARINA)])
        (person,) = connector.photos([PhotoRef(harness.mailbox(ANNA))])
        new = jpeg("somebody else", weight=5_000)
        harness.company.set_contact_photo(ANNA, cast.item_id(ANNA, KATHARINA), new)
        harness.company.set_person_photo(ANNA, new)
        copy.pull(connector)
        again = [copy.photo_ref(KATHARINA, etag=contact.etag), PhotoRef(harness.mailbox(ANNA), etag=person.etag)]
        assert [(photo.state, photo.content) for photo in connector.photos(again)] == [(PhotoState.PRESENT, new)] * 2

    def test_a_removed_photo_is_absent(self, harness: Harness, connector: Connector) -> None:
        copy = pulled(harness, connector, ANNA)
        (before,) = connector.photos([copy.photo_ref(KATHARINA)])
        harness.company.set_contact_photo(ANNA, cast.item_id(ANNA, KATHARINA), None)
        copy.pull(connector)
        (after,) = connector.photos([copy.photo_ref(KATHARINA, etag=before.etag)])
        assert after.state is PhotoState.ABSENT

    def test_four_megabytes_come_whole(self, harness: Harness, connector: Connector) -> None:
        copy = pulled(harness, connector, JURGEN)
        (photo,) = connector.photos([copy.photo_ref("Hugo Groß")])
        assert photo.state is PhotoState.PRESENT
        assert len(photo.content) >= cast.FOUR_MEGABYTES

    def test_every_reference_gets_exactly_one_outcome(self, harness: Harness, connector: Connector) -> None:
        copy = pulled(harness, connector, ANNA)
        wanted = [PhotoRef(copy.mailbox, folder, key) for folder, held in copy.contacts.items() for key in held]
        wanted += [PhotoRef(harness.mailbox(person)) for person in (ANNA, JURGEN, NILS)]
        found = list(connector.photos(wanted))
        assert len(wanted) > 20
        assert sorted(map(hash, wanted)) == sorted(hash(photo.ref) for photo in found)
        assert not [photo for photo in found if photo.state is PhotoState.FAILED]


class TestPassingFaults:
    @pytest.mark.parametrize("fault", list(Fault))
    def test_a_pull_rides_out_a_fault(self, harness: Harness, connector: Connector, fault: Fault) -> None:
        harness.fail(fault, times=2)
        assert pulled(harness, connector, JURGEN).holdings == harness.holdings(JURGEN)
        assert harness.waits

    @pytest.mark.parametrize("fault", list(Fault))
    def test_so_do_cards_and_photos(self, harness: Harness, connector: Connector, fault: Fault) -> None:
        harness.fail(fault)
        (card,) = connector.card([harness.mailbox(ANNA)])
        assert card.contact == harness.card_of(harness.company.people[ANNA])
        harness.fail(fault)
        (photo,) = connector.photos([PhotoRef(harness.mailbox(ANNA))])
        assert photo.content == harness.company.people[ANNA].photo
        assert harness.waits


class Impatient(list[float]):
    """Waits that nobody has time for any more."""

    def append(self, seconds: float, /) -> None:
        raise WaitEnded


class TestWaiting:
    @pytest.mark.parametrize("verb", ["probe", "resolve", "card", "changes", "photos"])
    def test_whoever_ends_a_wait_ends_the_work(self, harness: Harness, verb: str) -> None:
        harness.waits = Impatient()
        connector, jurgen = harness.connect(), harness.mailbox(JURGEN)
        wanted: dict[str, tuple[Any, ...]] = {
            "resolve": (harness.source(JURGEN),),
            "card": ([jurgen],),
            "changes": ([Wanted(jurgen)],),
            "photos": ([PhotoRef(jurgen)],),
        }
        harness.fail(Fault.BUSY, times=3)
        with pytest.raises(WaitEnded):
            list(getattr(connector, verb)(*wanted.get(verb, ())))
