"""Exchange on premises as a site of conservation: EWS by NTLM, on a clock that passes only while somebody waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from connectors.ews import connect
from connectors.ews.wire import bodies, posting
from connectors.port import Connector
from connectors.selection import Selection
from syncvault.secret import Secret
from syncvault.vault.model import Credential, CredentialKind, OnpremConnection, TenantProfile
from tests.conftest import Authority
from tests.contract.harness_ews import EwsHarness
from tests.integration.conservation import Conservation, fresh_place
from tests.integration.conservation_site import Clock, Held, Key, Site, Source
from tests.integration.onprem_edits import OnpremEdits, onprem_company
from tests.integration.onprem_sources import (
    AddressList,
    DistributionList,
    Mailbox,
    PublicFolder,
    Registered,
    Shown,
    mailbox_key,
    public_folders,
)
from tests.integration.source_edits import ANN, BOB, EVERYBODY, TEAM
from tests.integration.vault_parts import profile
from tests.simulators.onprem.mailboxes import primary_address
from tests.simulators.onprem.server import OnpremSimulator

PAGE = 3  # contacts: small enough for rounds of several pages


CHOICES = (
    "everybody",
    "two_people",
    "everybodys_list",
    "aliases",
    "teams_list",
    "address_list",
    "public_folders",
    "a_folder_below",
)
_USUAL = (
    ("everybody",),
    ("two_people", "aliases", "address_list", "a_folder_below"),
    ("everybodys_list", "public_folders"),
)


class OnpremSite(Site):
    """EWS, pulled through any of its sources: at the beginning the mailboxes of everybody."""

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
        self.company = onprem_company()
        move = self.company.move_contact
        # A contact that moves gets another ID: immutable ones are known online only.
        self.company.move_contact = lambda *where, keep_id: move(*where, keep_id=False)  # type: ignore[method-assign]
        self._harness = EwsHarness(self.company, authority.ca, authority.ca_pem)
        self.simulator = self._harness.simulator
        self.clock = Clock()
        self.simulator.faults.seed = 7
        self.simulator.faults.clock = self.clock
        self._page_size = page_size
        self._shown = Shown(self._harness)
        self._addresses: dict[str, str] = {}  # that people were registered by
        self._registered: dict[Source, Registered] = {}
        self.switch(0)

    def facts(self) -> TenantProfile:
        settings = self._harness.settings()
        connection = OnpremConnection(settings.ews_url, settings.username, ca_pem=settings.ca_pem)
        return replace(profile("acme"), connection=connection)

    def credential(self) -> Credential:
        return Credential(CredentialKind.PASSWORD, Secret(self.simulator.password))

    def connect(self, selection: Selection) -> Connector:
        return connect(self._harness.settings(), selection=selection, sleep=self.clock.sleep, page_size=self._page_size)

    # -- what is registered --------------------------------------------------------------------------------------------

    def sources(self) -> set[Source]:
        return {source for source, registered in self._registered.items() if registered.is_there}

    def switch(self, number: int) -> None:
        self._chosen = set(_USUAL[number % len(_USUAL)])
        self.adjust()

    def choose(self, number: int) -> None:
        """One choice more, or one less."""
        self._chosen ^= {CHOICES[number % len(CHOICES)]}
        self.adjust()

    def adjust(self) -> None:
        named = [registered for choice in CHOICES if choice in self._chosen for registered in getattr(self, choice)()]
        self._registered = {one.source: self._registered.get(one.source, one) for one in named if one.is_there}

    def everybody(self) -> Iterator[Registered]:
        """All people, each by the first address that they were registered by."""
        for person in self.company.people.values():
            address = self._addresses.setdefault(person.object_id, primary_address(person))
            yield Mailbox(self._shown, person.object_id, address)

    def two_people(self) -> Iterator[Registered]:
        """Two people, likewise."""
        for person in {ANN, BOB} & self.company.people.keys():
            address = self._addresses.setdefault(person, primary_address(self.company.people[person]))
            yield Mailbox(self._shown, person, address)

    def aliases(self) -> Iterator[Registered]:
        """Everybody who has an alias, by that."""
        for person in self.company.people.values():
            if person.other_addresses:
                yield Mailbox(self._shown, person.object_id, person.other_addresses[-1])

    def everybodys_list(self) -> Iterator[Registered]:
        """The list that contains the other one."""
        return self._list(EVERYBODY)

    def teams_list(self) -> Iterator[Registered]:
        """The list in the list."""
        return self._list(TEAM)

    def _list(self, key: str) -> Iterator[Registered]:
        if key in self.company.groups:
            yield DistributionList(self._shown, self.company.groups[key])

    def address_list(self) -> Iterator[Registered]:
        """The cards of all who are listed."""
        yield AddressList(self._shown)

    def public_folders(self) -> Iterator[Registered]:
        """The public folders at the top, their paths as nobody writes them."""
        yield from (PublicFolder(self._shown, path.upper()) for path in self._paths() if "/" not in path)

    def a_folder_below(self) -> Iterator[Registered]:
        """A public folder that is below another."""
        yield from [PublicFolder(self._shown, path) for path in self._paths() if "/" in path][:1]

    def _paths(self) -> list[str]:
        return ["/".join(names) for names in public_folders(self._shown)]

    def key(self, person: str) -> str:
        """What a vault knows a person's mailbox by."""
        return mailbox_key(self.company.people[person])

    def expected(self, selection: Selection) -> dict[Key, Held]:
        found: dict[Key, Held] = {}
        # Whose mailbox is opened, has the card that comes with it.
        for registered in sorted(self._registered.values(), key=lambda one: isinstance(one, AddressList)):
            found = registered.brings(selection) | found
        return found

    # -- what goes wrong -----------------------------------------------------------------------------------------------

    def arm(self, fault: str, rate: float) -> None:
        once = 1 if fault in {"stalled", "dripping"} else None  # these cost real time
        self.simulator.faults.arm(fault, rate=rate, seconds=0.001, times=once)

    def calm(self) -> None:
        self.simulator.faults.clear()

    def forget_checkpoints(self) -> None:
        self.simulator.faults.lose_sync_states()

    def change_server(self, *, syncs_public_folders: bool, shows_whole_directory: bool) -> None:
        """From now on it is another release."""
        self.simulator.syncs_public_folders = syncs_public_folders
        self.simulator.shows_whole_directory = shows_whole_directory

    def edits(self) -> OnpremEdits:
        return OnpremEdits(self.company)

    def close(self) -> None:
        self._harness.close()


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
