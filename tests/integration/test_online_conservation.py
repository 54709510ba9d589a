"""Exchange Online, edited, failing and cut off at will: in the end the vault equals it exactly.

Everything is real but Exchange itself: connector, TLS, engine and vault. Nothing sleeps: the simulator's clock and the
connector's waits are one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis.stateful import run_state_machine_as_test

from connectors.graph import connect
from connectors.graph.wire import transport
from connectors.port import Connector
from connectors.selection import Selection
from syncvault.sync.summary import Status
from syncvault.vault.model import Credential, OnlineConnection, TenantProfile
from tests.conftest import Authority
from tests.contract.harness_graph import GraphHarness
from tests.integration.conservation import Conservation, fresh_place, snapshot
from tests.integration.conservation_machine import LONG, QUICK, ConservationMachine
from tests.integration.conservation_site import Clock, Held, Key, Site, Source, contacts_in, held_card, outside_card
from tests.integration.killed import kill_after
from tests.integration.source_edits import ANN, BOB, EVERYBODY, MEANWHILE, TEAM, sample_company
from tests.integration.vault_parts import profile, secret
from tests.simulators.online import identifiers
from tests.simulators.online.links import TokenBox
from tests.simulators.serving import Request

PAGE = 3  # contacts: small enough for rounds of several pages


class OnlineSite(Site):
    """Graph, pulled through a group, through everybody, or through single people; and the people outside."""

    ridden_out = (
        "throttled-seconds",
        "throttled-date",
        "throttled-bare",
        "server-error",
        "part-throttled",
        "part-failed",
        "token-expired",
        "token-expired-in-batch",
        "empty-page",
        "replayed-rows",
        "duplicate-rows",
        "tombstone-first",
        "single-pixel-photo",
        "cut-json",
        "truncated",
        "reset",
        "reset-after-effect",
        "latency",
    )
    isolated = (
        "sync-state-gone",
        "sync-state-not-found",
        "mailbox-denied",
        "mailbox-missing",
        "foreign-link",
        "wrong-types",
        "unknown-type",
        "redirect",
        "html",
        "stalled",
        "dripping",
        "huge",
    )

    def __init__(self, authority: Authority) -> None:
        self.company = sample_company()
        self._harness = GraphHarness(self.company, authority.ca, authority.ca_pem)
        self._simulator = self._harness.simulator
        self._clock = Clock()
        self._simulator.faults.seed = 7
        self._simulator.faults.clock = self._simulator.behaviour.clock = self._clock
        self._simulator.world.tokens = TokenBox(7)
        self._choice = 0

    def facts(self) -> TenantProfile:
        settings = self._harness.settings()
        connection = OnlineConnection(
            settings.directory_id,
            settings.client_id,
            authority=settings.authority,
            graph_url=settings.graph_url,
            ca_pem=settings.ca_pem,
        )
        return replace(profile("acme"), connection=connection)

    def credential(self) -> Credential:
        return secret(self._simulator.client_secret)

    def connect(self, selection: Selection) -> Connector:
        return connect(self._harness.settings(), selection=selection, sleep=self._clock.sleep, page_size=PAGE)

    def sources(self) -> set[Source]:
        sources = {Source("org-contacts")}
        if self._choice == 0:
            return sources | {Source("group", EVERYBODY)}
        if self._choice == 1:
            return sources | {Source("all-users")}
        people = {Source("user", person) for person in (ANN, BOB) if person in self.company.people}
        return sources | people | {Source("group", TEAM)}

    def named(self) -> set[str]:
        """Object IDs of the people whom the sources name."""
        if self._choice == 1:
            return {one.object_id for one in self.company.people.values() if one.enabled and one.in_address_list}
        group = EVERYBODY if self._choice == 0 else TEAM
        members = {one.object_id for one in self.company.transitive_people(group) if one.enabled}
        return members if self._choice == 0 else members | ({ANN, BOB} & self.company.people.keys())

    def switch(self, number: int) -> None:
        self._choice = number % 3

    def adjust(self) -> None:
        """Nothing that is registered leads nowhere."""

    def expected(self, selection: Selection) -> dict[Key, Held]:
        outside = ((one.object_id, outside_card(one)) for one in self.company.org_contacts.values())
        found = {(key, key): held_card(selection, card, None) for key, card in outside}
        for key in self.named():
            person = self.company.people[key]
            found[key, key] = held_card(selection, self._harness.card_of(person), person.photo)
            for folder in person.box.folders.values() if person.box else ():
                path = person.box.path(folder.id) if person.box else ""
                entries = contacts_in(folder, path, selection, self._harness.contact_of)
                found |= {
                    (key, identifiers.item_id(item_id, folder, immutable=True)): entry
                    for item_id, entry in entries.items()
                }
        return found

    def arm(self, fault: str, rate: float) -> None:
        once = 1 if fault in {"stalled", "dripping", "huge"} else None  # these cost real time
        self._simulator.faults.arm(fault, rate=rate, seconds=0.001, times=once)

    def misshape(self, pattern: str) -> None:
        """From now on the first row of these lists has an ID that is none."""

        def rewrite(request: Request, page: dict[str, Any]) -> dict[str, Any]:
            return {**page, "value": [{"id": 7}, *page["value"][1:]]} if page.get("value") else page

        self._simulator.faults.rewrite_next(pattern, rewrite, times=1_000)

    def calm(self) -> None:
        self._simulator.faults.clear()

    def forget_checkpoints(self) -> None:
        self._simulator.expire_delta_tokens()

    def close(self) -> None:
        self._harness.close()


@pytest.fixture
def make_site(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Site]:
    """A site for each story; servers that fall silent are given up on within moments."""
    monkeypatch.setattr(transport, "SILENCE_SECONDS", 1.0)
    monkeypatch.setattr(transport, "ANSWER_SECONDS", 3.0)
    return partial(OnlineSite, authority)


@pytest.mark.slow
def test_the_vault_ends_up_with_what_exchange_online_has(make_site: Callable[[], Site]) -> None:
    run_state_machine_as_test(partial(ConservationMachine, make_site), settings=QUICK)


@pytest.mark.soak
@pytest.mark.timeout(7_200)
def test_the_vault_ends_up_with_what_exchange_online_has_in_long_stories(make_site: Callable[[], Site]) -> None:
    run_state_machine_as_test(partial(ConservationMachine, make_site), settings=LONG)


@pytest.fixture
def story(make_site: Callable[[], Site]) -> Iterator[Conservation]:
    """A tenant that was pulled once."""
    with fresh_place() as place, closing(make_site()) as site:
        story = Conservation(site, place)
        story.run()
        yield story


def test_a_dry_run_counts_a_photo_that_is_not_wanted_any_more_once(story: Conservation) -> None:
    story.change_scope(profile="display_name")
    assert story.rehearse_and_run().photos == 2


def test_tokens_that_run_out_at_one_batch_after_the_other_cost_no_credential(story: Conservation) -> None:
    story.arm("token-expired", 1.0)
    assert story.run(full=True).status is Status.OK


def test_nobody_asks_for_the_photo_of_a_person_who_has_left(story: Conservation) -> None:
    story.edit(("fire", 1))
    assert story.run(full=True).status is Status.OK


@pytest.mark.parametrize(
    ("sources", "pattern"),
    [
        (0, "contactFolders/delta"),
        (0, "transitiveMembers"),
        (1, r"/users\?"),
        (0, r"v1\.0/contacts\?"),
        (0, "contacts/delta"),
        (0, "filter="),
    ],
    ids=["folders", "members", "everybody", "outside", "contacts", "private"],
)
def test_a_row_that_cannot_be_read_takes_nothing_away_and_shows_nothing_private(
    story: Conservation, sources: int, pattern: str
) -> None:
    story.switch(sources)
    story.edit(("add_folder", 0, 0, 0))
    story.edit(("add_contact", 0, 1, 0))
    story.edit(("set_private", 0, 0, 1))
    story.run()
    assert isinstance(story.site, OnlineSite)
    story.site.misshape(pattern)
    story.armed.add("wrong-types")
    story.run(full=True)
    assert snapshot(story.vault, story.tenant).keys() <= story.site.expected(story.selection).keys()


@pytest.mark.slow
@pytest.mark.parametrize("step", [3, 6, 9])
def test_a_run_that_is_killed_is_made_good_by_the_next(story: Conservation, step: int) -> None:
    for edit in MEANWHILE:
        story.edit(edit)
    story.vault.close()
    assert kill_after(step, "pull", story.place.home)
    story.reopen()
    story.settle()
