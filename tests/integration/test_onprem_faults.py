"""What becomes of a run when Exchange on premises has a bad day: one story for each fault that has a name.

Each is told with the real connector, engine and vault against the simulator: what the run reports, that nothing is
stored by half, that other mailboxes go on, and that the next run makes good.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from syncvault.sync.summary import Status, Summary
from syncvault.vault import credentials
from syncvault.vault.model import Credential
from tests.conftest import Authority
from tests.integration.conservation import Conservation, Held, Key, snapshot
from tests.integration.onprem_site import OnpremSite, pulled_once
from tests.integration.source_edits import ANN, MEANWHILE
from tests.integration.vault_parts import sync
from tests.simulators.company.pictures import jpeg
from tests.simulators.onprem.blows import Kind
from tests.simulators.onprem.fault_modes import MODES

pytestmark = pytest.mark.slow  # each pulls a tenant twice or more

ANNS = "ann@example.com"
_PICTURE = jpeg("somebody", edge=96, weight=900)
PAGE = 10  # contacts


class Office:
    """A tenant that was pulled once, and its Exchange."""

    def __init__(self, story: Conservation) -> None:
        assert isinstance(story.site, OnpremSite)
        self.story, self.site = story, story.site
        self.simulator, self.faults, self.clock = self.site.simulator, self.site.simulator.faults, self.site.clock
        self.company = self.site.company
        self._known = self.held

    @property
    def held(self) -> dict[Key, Held]:
        """What the vault holds."""
        return {key: entry for key, (_, entry) in snapshot(self.story.vault, self.story.tenant).items()}

    @property
    def expected(self) -> dict[Key, Held]:
        """What Exchange has."""
        return self.site.expected(self.story.selection)

    def fill(self, number: int, person: str = ANN) -> list[str]:
        """More contacts; their IDs."""
        return [self.company.add_contact(person, surname=f"Contact {n:03}").id for n in range(number)]

    def edit(self) -> None:
        """A bit of everything happens to contacts and folders."""
        for edit in MEANWHILE:
            if edit[0] not in {"hire", "leave", "set_portrait"}:
                self.story.edit(edit)

    def run(self, **options: Any) -> Summary:
        """One run; whatever is stored after it is as it was before, or as Exchange has it."""
        with self.story._watching():
            summary = sync(self.story.vault, self.story.tenant, **{"mailboxes": 1, **options})
        before, expected, after = self._known, self.expected, self.held
        half = {key for key, entry in after.items() if not _is_whole(entry, before.get(key), expected.get(key))}
        assert half == set()
        self._known = after
        return summary

    def run_under(self, fault: str, **options: Any) -> Summary:
        """A run in which a fault strikes."""
        mode = self.faults.arm(fault, **options)
        summary = self.run()
        assert mode.struck
        return summary

    def heals(self) -> None:
        """Once all is well, the next run brings whatever is missing."""
        self.faults.clear()
        summary = self.run(accept_removals=True)
        assert (summary.status, summary.failures) == (Status.OK, [])
        assert self.held == self.expected

    def of(self, person: str, entries: dict[Key, Held]) -> dict[Key, Held]:
        """What belongs to one mailbox."""
        return {key: entry for key, entry in entries.items() if key[0] == self.site.key(person)}

    def has_all_but(self, person: str) -> bool:
        """Whether the vault holds what Exchange has of everybody else."""
        mine = self.site.key(person)
        held, expected = (
            {key: e for key, e in those.items() if key[0] != mine} for those in (self.held, self.expected)
        )
        return held == expected


def _is_whole(entry: Held, *known: Held | None) -> bool:
    """Whether an entry holds nothing but what was or is there; its photo comes after it."""
    whole = [one for one in known if one is not None]
    return entry.fields in {one.fields for one in whole} and entry.photo in {"", *(one.photo for one in whole)}


@pytest.fixture
def office(authority: Authority) -> Iterator[Office]:
    with pulled_once(authority, PAGE) as story:
        yield Office(story)
        assert story.site.simulator.recorder.crashes == []
        assert story.site.simulator.recorder.violations == []


# -- what passes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [*OnpremSite.ridden_out, "alias"])
def test_what_passes_is_ridden_out(office: Office, fault: str) -> None:
    office.edit()
    office.story.pass_time()
    summary = office.run_under(fault, seconds=0.001, back_off_ms=7_000, page=1)
    assert (summary.status, summary.failures) == (Status.OK, [])
    office.heals()


def test_a_busy_server_is_given_the_time_it_asks_for(office: Office) -> None:
    mode = office.faults.arm("busy", back_off_ms=7_000)
    before = office.clock.seconds
    assert office.run(full=True).status is Status.OK
    assert office.clock.seconds - before >= mode.asked_seconds == 7 * mode.struck


@pytest.mark.parametrize("fault", ["busy-long", "http-503", "http-500", "reset-mid-body", "server-fault", "cut-xml"])
def test_what_stays_is_given_up_and_left_to_the_next_run(office: Office, fault: str) -> None:
    office.edit()
    before = office.clock.seconds
    summary = office.run_under(fault, always=True, pattern=f"^SyncFolderItems {ANNS}")
    assert summary.status is Status.PARTIAL
    assert len(summary.failures) == 1
    assert office.clock.seconds - before < 600
    assert office.has_all_but(ANN)
    office.heals()


def test_a_server_that_is_busy_for_an_hour_is_not_waited_for(office: Office) -> None:
    before = office.clock.seconds
    summary = office.run_under("busy-long", always=True)
    assert {failure.code for failure in summary.failures} == {"ErrorServerBusy"}
    assert summary.status is Status.FAILED
    assert office.clock.seconds == before
    office.heals()


@pytest.mark.parametrize("fault", ["stalled", "dripping"])
def test_an_answer_that_stops_coming_is_given_up_and_asked_for_again(office: Office, fault: str) -> None:
    office.edit()
    began = time.monotonic()
    summary = office.run_under(fault, times=1, pattern="^GetItem ")
    assert time.monotonic() - began < 15
    assert (summary.status, summary.failures) == (Status.OK, [])
    office.heals()


def test_a_busy_server_that_wants_an_older_version_too_is_ridden_out(office: Office) -> None:
    office.faults.arm("http-503")
    office.faults.arm("old-server")
    summary = office.run(full=True)
    assert (summary.status, summary.failures) == (Status.OK, [])


def test_a_budget_of_syncs_is_kept_by_taking_turns(office: Office) -> None:
    office.edit()
    mode = office.faults.arm("connection-count", limit=1, seconds=0.1)
    summary = office.run(mailboxes=4, full=True)
    assert (summary.status, summary.failures) == (Status.OK, [])
    assert mode.struck > office.simulator.recorder.counts["SyncFolderItems"] / 3
    office.heals()


def test_the_usual_budget_of_five_syncs_is_never_exceeded(office: Office) -> None:
    for number in range(8):
        office.story.edit(("hire", number, 1))
    office.story.adjust_sources()
    office.faults.arm("connection-count", seconds=0.05)
    before = office.clock.seconds
    assert office.run(mailboxes=11).status is Status.OK
    assert office.clock.seconds == before  # nobody had to be sent away
    office.heals()


# -- the account ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0, 4, 9])
def test_a_password_that_is_no_longer_right_is_offered_once(office: Office, after: int) -> None:
    office.edit()
    summary = office.run_under("wrong-password", after=after)
    assert summary.status is Status.QUARANTINED
    assert office.simulator.refused_logins == 1
    assert office.run().status is Status.QUARANTINED
    assert office.simulator.refused_logins == 1
    office.faults.clear()
    office.simulator.set_password("Another-Horse-8-Battery")
    fresh: Credential = office.site.credential()
    credentials.replace(office.story.vault, office.story.tenant, fresh)
    office.heals()


# -- mailboxes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("impersonation-denied", "ErrorImpersonateUserDenied"),
        ("mailbox-moving", "ErrorMailboxMoveInProgress"),
        ("mailbox-moved", "ErrorNonExistentMailbox"),
        ("alias-unnamed", "ErrorNonPrimarySmtpAddress"),
    ],
)
def test_what_one_mailbox_suffers_costs_nobody_else_anything(office: Office, fault: str, code: str) -> None:
    before = office.of(ANN, office.held)
    office.edit()
    summary = office.run_under(fault, pattern=ANNS)
    assert summary.status is Status.PARTIAL
    assert {failure.code for failure in summary.failures} == {code}
    assert office.of(ANN, office.held).keys() == before.keys()
    assert office.has_all_but(ANN)
    office.heals()


def test_a_refusal_to_impersonate_names_the_command_that_grants_it(office: Office) -> None:
    summary = office.run_under("impersonation-denied", pattern=ANNS)
    assert "ApplicationImpersonation" in summary.failures[0].advice


def test_an_alias_is_read_under_the_address_that_exchange_names(office: Office) -> None:
    office.edit()
    summary = office.run_under("alias", pattern=ANNS)
    assert (summary.status, summary.failures) == (Status.OK, [])
    assert office.held == office.expected


def test_a_mailbox_on_an_older_server_costs_nobody_their_photos(office: Office) -> None:
    office.story.edit(("set_portrait", 1, 1))
    office.story.pass_time()
    summary = office.run_under("old-mailbox", pattern=ANNS)
    assert (summary.status, summary.failures) == (Status.OK, [])
    assert office.held == office.expected


# -- answers that are none --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["html", "login-page", "malformed", "doctype", "entities", "huge", "huge-gzip"])
def test_what_is_no_answer_of_exchange_is_refused_whole(office: Office, fault: str) -> None:
    before = office.held
    office.edit()
    began = time.monotonic()
    summary = office.run_under(fault, always=True)
    assert time.monotonic() - began < 15
    assert summary.status is Status.FAILED
    assert all(failure.code and failure.advice for failure in summary.failures)
    assert office.held == before
    office.heals()


@pytest.mark.parametrize("fault", ["html", "doctype", "entities", "huge-gzip"])
@pytest.mark.parametrize("operation", ["FindFolder", "SyncFolderItems", "GetItem"])
def test_a_broken_answer_ends_that_mailbox_alone(office: Office, fault: str, operation: str) -> None:
    office.edit()
    office.company.add_contact(ANN, surname="Somebody new")
    summary = office.run_under(fault, always=True, pattern=f"^{operation} {ANNS}", size=200_000_000)
    assert summary.status is Status.PARTIAL
    assert len(summary.failures) == 1
    assert office.has_all_but(ANN)
    office.heals()


# -- items ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def large_office(authority: Authority) -> Iterator[Office]:
    """Pages of a hundred."""
    with pulled_once(authority, 100) as story:
        yield Office(story)


def asked_for(office: Office) -> list[int]:
    """How many contacts each request asked for since the recorder was cleared."""
    entries = office.simulator.recorder.of("GetItem")
    return [entry.request.count(b"<t:ItemId ") for entry in entries if b"contacts:" in entry.request]


def test_of_a_hundred_items_the_one_that_fails_in_passing_is_asked_for_again(large_office: Office) -> None:
    office = large_office
    office.fill(100)
    office.simulator.recorder.clear()
    summary = office.run_under("item-passing", times=1, pattern=ANNS)
    assert (summary.status, summary.added) == (Status.OK, 100)
    assert asked_for(office) == [100, 1]
    assert office.held == office.expected


@pytest.mark.parametrize("fault", ["item-denied", "item-damaged"])
def test_of_a_hundred_items_those_that_cannot_be_read_hide_none_of_the_others(large_office: Office, fault: str) -> None:
    office = large_office
    ids = office.fill(100)
    mode = office.faults.arm(fault, rate=0.05)
    unreadable = {identifier for identifier in ids if office.faults._chosen(mode, identifier)}
    summary = office.run()
    assert 0 < len(unreadable) < 20
    assert (summary.status, summary.skipped) == (Status.OK, len(unreadable))
    assert {key[1] for key in office.expected.keys() - office.held.keys()} == unreadable
    office.heals()


@pytest.mark.parametrize("fault", ["item-denied", "item-damaged"])
def test_a_contact_that_cannot_be_read_any_more_stays_as_it_is_stored(large_office: Office, fault: str) -> None:
    office = large_office
    (identifier,) = office.fill(1)
    office.run()
    office.company.change_contact(ANN, identifier, surname="Renamed")
    office.faults.refuse_item(identifier, {"item-denied": "ErrorAccessDenied"}.get(fault, "ErrorItemCorrupt"))
    assert office.run().skipped == 1
    assert office.run(full=True).status is Status.OK
    assert (ANNS, identifier) in office.held
    office.heals()


def test_private_items_are_counted_and_come_once_they_are_not(office: Office) -> None:
    before, plain = office.held, office.run(full=True).skipped
    office.faults.arm("private-items", pattern=ANNS)
    summary = office.run(full=True, accept_removals=True)
    cards = {key for key in before if key[0] == key[1]}
    assert office.of(ANN, office.held).keys() == office.of(ANN, before).keys() & cards
    assert summary.skipped == plain + len(office.of(ANN, before)) - 1
    office.faults.clear()
    assert office.run(full=True).status is Status.OK
    assert office.held == before


def test_distribution_lists_are_counted(office: Office) -> None:
    plain = office.run(full=True).skipped
    mode = office.faults.arm("list-items")
    summary = office.run(full=True)
    assert summary.skipped == plain + mode.struck
    assert office.held == office.expected


# -- rounds -----------------------------------------------------------------------------------------------------------


def states(office: Office) -> list[bool]:
    """Of each request to sync Ann's default folder since the recorder was cleared: whether it brought a state."""
    folder = office.company.box_of(ANN).default.id.encode()
    entries = office.simulator.recorder.of("SyncFolderItems")
    return [b"<m:SyncState>" in entry.request for entry in entries if folder in entry.request]


def test_a_round_that_fails_on_its_third_page_goes_on_there(office: Office) -> None:
    office.fill(35)
    office.simulator.faults.lose_sync_states()
    summary = office.run_under("sync-page-fails", always=True)
    assert summary.status is Status.PARTIAL
    stored = len(office.of(ANN, office.held))
    office.faults.clear()
    office.simulator.recorder.clear()
    again = office.run()
    assert (again.status, again.added) == (Status.OK, len(office.of(ANN, office.expected)) - stored)
    assert states(office)[0]
    assert office.held == office.expected


def test_a_state_that_is_lost_again_and_again_ends_that_folder_only_for_now(office: Office) -> None:
    office.edit()
    summary = office.run_under("sync-state-lost", always=True)
    assert {failure.code for failure in summary.failures} <= {"ErrorInvalidSyncStateData"}
    office.heals()


def test_a_lost_state_reads_the_folder_anew_without_touching_what_is_the_same(office: Office) -> None:
    office.simulator.faults.lose_sync_states()
    summary = office.run()
    assert (summary.status, summary.added, summary.changed, summary.removed) == (Status.OK, 0, 0, 0)


# -- photos -----------------------------------------------------------------------------------------------------------


def photos(entries: dict[Key, Held]) -> set[Key]:
    """Whose photos there are."""
    return {key for key, entry in entries.items() if entry.photo}


def test_a_photo_that_is_said_to_be_far_too_large_is_counted_and_left_out(office: Office) -> None:
    (identifier,) = office.fill(1)
    office.company.set_contact_photo(ANN, identifier, _PICTURE)
    plain = office.run(dry_run=True).skipped
    summary = office.run_under("photo-large")
    assert (summary.status, summary.skipped) == (Status.OK, plain + 1)
    assert (ANNS, identifier) not in photos(office.held)
    office.company.set_contact_photo(ANN, identifier, _PICTURE)
    office.heals()


@pytest.mark.parametrize("fault", ["photo-empty", "photo-garbled"])
def test_a_photo_that_is_none_is_said_so_and_asked_for_again(office: Office, fault: str) -> None:
    (identifier,) = office.fill(1)
    office.company.set_contact_photo(ANN, identifier, _PICTURE)
    summary = office.run_under(fault, always=True)
    assert {failure.code for failure in summary.failures} == {"protocol-violation"}
    assert (ANNS, identifier) not in photos(office.held)
    office.heals()


@pytest.mark.parametrize("fault", ["photo-empty", "photo-garbled"])
def test_a_photo_that_is_none_takes_nothing_away(office: Office, fault: str) -> None:
    before = photos(office.held)
    office.story.edit(("set_picture", 0, 0, 2))
    summary = office.run_under(fault, always=True)
    assert photos(office.held) == before
    assert summary.failures
    office.heals()


def test_every_kind_of_fault_is_told_of_here() -> None:
    told = {"alias", "wrong-password", "private-items", "photo-large", "huge", "huge-gzip"}
    told.update(OnpremSite.ridden_out, OnpremSite.isolated)
    assert told == set(MODES)
    assert {mode.kind for mode in MODES.values()} == set(Kind)
