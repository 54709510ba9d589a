"""Exchange on premises, edited, failing and cut off at will: in the end the vault equals it exactly.

Everything is real but Exchange itself: connector, TLS, NTLM, engine and vault. Nothing sleeps: the simulator's clock
and the connector's waits are one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial

import pytest
from hypothesis.stateful import run_state_machine_as_test

from connectors.contact import Contact
from connectors.ews import connect, session
from connectors.port import Connector
from connectors.selection import Selection
from syncvault.secret import Secret
from syncvault.vault.model import Credential, CredentialKind, OnpremConnection, TenantProfile
from tests.conftest import Authority
from tests.contract.harness_ews import EwsHarness
from tests.integration.conservation import Conservation, fresh_place
from tests.integration.conservation_machine import LONG, QUICK, ConservationMachine
from tests.integration.conservation_site import Clock, Site, Source
from tests.integration.killed import kill_after
from tests.integration.source_edits import ANN, BOB, MEANWHILE, sample_company
from tests.integration.vault_parts import profile
from tests.simulators.company.records import ContactFolder, Item, Person
from tests.simulators.onprem.mailboxes import primary_address

PAGE = 3  # contacts: small enough for rounds of several pages


class OnpremSite(Site):
    """EWS, pulled by the addresses of everybody, of those with a mailbox, or of two people."""

    ridden_out = (
        "busy",
        "busy-message",
        "too-many-objects",
        "connection-count",
        "http-429",
        "http-500",
        "http-502",
        "http-503",
        "server-fault",
        "mailbox-failover",
        "reset",
        "reset-mid-body",
        "truncated",
        "latency",
        "item-passing",
        "item-vanishes",
        "folder-vanishes",
        "sync-page-fails",
        "replayed-page",
        "duplicate-changes",
        "empty-page",
        "last-unsaid",
        "privacy-unsaid",
        "list-items",
        "alias",
        "old-server",
        "malformed",
        "cut-xml",
        "bad-characters",
        "photo-size",
        "photo-absent-bare",
        "photo-absent-plain",
    )
    isolated = (
        "busy-long",
        "stalled",
        "dripping",
        "item-denied",
        "item-damaged",
        "sync-state-lost",
        "impersonation-denied",
        "mailbox-moving",
        "mailbox-moved",
        "alias-unnamed",
        "old-mailbox",
        "html",
        "login-page",
        "doctype",
        "entities",
        "photo-empty",
        "photo-garbled",
    )

    def __init__(self, authority: Authority) -> None:
        self.company = sample_company()
        self._harness = EwsHarness(self.company, authority.ca, authority.ca_pem)
        self._simulator = self._harness.simulator
        self._clock = Clock()
        self._simulator.faults.seed = 7
        self._simulator.faults.clock = self._clock
        self._choice = 0

    def facts(self) -> TenantProfile:
        settings = self._harness.settings()
        connection = OnpremConnection(settings.ews_url, settings.username, ca_pem=settings.ca_pem)
        return replace(profile("acme"), connection=connection)

    def credential(self) -> Credential:
        return Credential(CredentialKind.PASSWORD, Secret(self._simulator.password))

    def connect(self, selection: Selection) -> Connector:
        return connect(self._harness.settings(), selection=selection, sleep=self._clock.sleep, page_size=PAGE)

    def sources(self) -> set[Source]:
        return {Source("mailbox", primary_address(self.company.people[person])) for person in self.named()}

    def named(self) -> set[str]:
        people = self.company.people.values()
        if self._choice == 2:
            return {ANN, BOB} & self.company.people.keys()
        return {one.object_id for one in people if one.box is not None or self._choice == 0}

    def switch(self, number: int) -> None:
        self._choice = number % 3

    def key(self, person: str) -> str:
        return primary_address(self.company.people[person]).lower()

    def remote_id(self, folder: ContactFolder, item: Item) -> str:
        return item.id

    def contact_of(self, item: Item) -> Contact:
        return self._harness.contact_of(item)

    def cards(self) -> dict[str, tuple[Contact, bytes | None]]:
        people = [self.company.people[person] for person in self.named()]
        return {self.key(one.object_id): (self._card(one), one.photo) for one in people if _is_known(one)}

    def _card(self, person: Person) -> Contact:
        if person.in_address_list:
            return self._harness.card_of(person)
        return Contact(email_addresses=(primary_address(person),))

    def arm(self, fault: str, rate: float) -> None:
        once = 1 if fault in {"stalled", "dripping"} else None  # these cost real time
        self._simulator.faults.arm(fault, rate=rate, seconds=0.001, times=once)

    def calm(self) -> None:
        self._simulator.faults.clear()

    def forget_checkpoints(self) -> None:
        self._simulator.faults.lose_sync_states()

    def close(self) -> None:
        self._harness.close()


def _is_known(person: Person) -> bool:
    """Whether an address leads anywhere: to an entry that the directory shows, or to a mailbox."""
    return person.in_address_list or person.box is not None


@pytest.fixture
def make_site(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Site]:
    """A site for each story; servers that fall silent are given up on within moments."""
    monkeypatch.setattr(session, "_TIMEOUTS", (5.0, 1.0))
    monkeypatch.setattr(session, "_LONGEST_ANSWER", 3.0)
    return partial(OnpremSite, authority)


@pytest.mark.slow
def test_the_vault_ends_up_with_what_exchange_has(make_site: Callable[[], Site]) -> None:
    run_state_machine_as_test(partial(ConservationMachine, make_site), settings=QUICK)


@pytest.mark.soak
@pytest.mark.timeout(7_200)
def test_the_vault_ends_up_with_what_exchange_has_in_long_stories(make_site: Callable[[], Site]) -> None:
    run_state_machine_as_test(partial(ConservationMachine, make_site), settings=LONG)


@pytest.fixture
def story(make_site: Callable[[], Site]) -> Iterator[Conservation]:
    """A tenant that was pulled once."""
    with fresh_place() as place, closing(make_site()) as site:
        story = Conservation(site, place)
        story.run()
        yield story


@pytest.mark.slow
@pytest.mark.parametrize("step", [3, 6, 9])
def test_a_run_that_is_killed_is_made_good_by_the_next(story: Conservation, step: int) -> None:
    for edit in MEANWHILE:
        story.edit(edit)
    story.vault.close()
    assert kill_after(step, "pull", story.place.home)
    story.reopen()
    story.settle()
