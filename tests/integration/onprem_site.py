"""Exchange on premises as a site of conservation: EWS by NTLM, on a clock that passes only while somebody waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from connectors.contact import Contact
from connectors.ews import connect
from connectors.ews.wire import bodies, posting
from connectors.port import Connector
from connectors.selection import Selection
from syncvault.secret import Secret
from syncvault.vault.model import Credential, CredentialKind, OnpremConnection, TenantProfile
from tests.conftest import Authority
from tests.contract.harness_ews import EwsHarness
from tests.integration.conservation import Conservation, fresh_place
from tests.integration.conservation_site import Clock, Site, Source
from tests.integration.source_edits import ANN, BOB, EVERYBODY, sample_company
from tests.integration.vault_parts import profile
from tests.simulators.company.records import ContactFolder, Item, Person
from tests.simulators.onprem.mailboxes import primary_address
from tests.simulators.onprem.server import OnpremSimulator

LIST = "everybody@example.com"
PAGE = 3  # contacts: small enough for rounds of several pages


class OnpremSite(Site):
    """EWS, pulled by the addresses of everybody, of two people, or through a distribution list in a list."""

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
        "old-server",
        "cut-xml",
        "bad-characters",
        "photo-small",
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
        "malformed",
        "doctype",
        "entities",
        "photo-empty",
        "photo-garbled",
    )

    simulator: OnpremSimulator
    clock: Clock

    def __init__(self, authority: Authority, page_size: int = PAGE) -> None:
        self.company = sample_company()
        move = self.company.move_contact
        # A contact that moves gets another ID: immutable ones are known online only.
        self.company.move_contact = lambda *where, keep_id: move(*where, keep_id=False)  # type: ignore[method-assign]
        self._harness = EwsHarness(self.company, authority.ca, authority.ca_pem)
        self.simulator = self._harness.simulator
        self.clock = Clock()
        self.simulator.faults.seed = 7
        self.simulator.faults.clock = self.clock
        self._choice, self._page_size = 0, page_size

    def facts(self) -> TenantProfile:
        settings = self._harness.settings()
        connection = OnpremConnection(settings.ews_url, settings.username, ca_pem=settings.ca_pem)
        return replace(profile("acme"), connection=connection)

    def credential(self) -> Credential:
        return Credential(CredentialKind.PASSWORD, Secret(self.simulator.password))

    def connect(self, selection: Selection) -> Connector:
        return connect(self._harness.settings(), selection=selection, sleep=self.clock.sleep, page_size=self._page_size)

    def sources(self) -> set[Source]:
        if self._choice == 2:
            return {Source("list", LIST)}
        return {Source("mailbox", primary_address(self.company.people[person])) for person in self.named()}

    def named(self) -> set[str]:
        if self._choice == 2:
            members = self.company.transitive_people(EVERYBODY)
            return {one.object_id for one in members if one.box is not None}
        return set(self.company.people) if self._choice == 0 else {ANN, BOB} & self.company.people.keys()

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
        self.simulator.faults.arm(fault, rate=rate, seconds=0.001, times=once)

    def calm(self) -> None:
        self.simulator.faults.clear()

    def forget_checkpoints(self) -> None:
        self.simulator.faults.lose_sync_states()

    def close(self) -> None:
        self._harness.close()


def _is_known(person: Person) -> bool:
    """Whether an address leads anywhere: to an entry that the directory shows, or to a mailbox."""
    return person.in_address_list or person.box is not None


@contextmanager
def impatience() -> Iterator[None]:
    """Servers that fall silent are given up on within moments."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(posting, "_TIMEOUTS", (5.0, 2.0))
        patch.setattr(bodies, "_SILENCE", 1.0)
        yield


@contextmanager
def pulled_once(authority: Authority, page_size: int = PAGE) -> Iterator[Conservation]:
    """A tenant that was pulled once from a site of its own."""
    with impatience(), fresh_place() as place:
        site = OnpremSite(authority, page_size)
        try:
            story = Conservation(site, place)
            story.run()
            yield story
        finally:
            site.close()
