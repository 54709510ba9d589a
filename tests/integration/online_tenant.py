"""A tenant in a vault whose Exchange Online is a simulator, with the people that a test gives it; nothing sleeps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from connectors.graph import connect
from connectors.graph.settings import GraphSettings
from syncvault.sync import engine
from syncvault.sync.scope import selection_of
from syncvault.sync.summary import Summary
from syncvault.vault import tenants
from syncvault.vault.content import sources
from syncvault.vault.vault import Vault
from tests.conftest import Authority
from tests.contract.harness_graph import GraphHarness
from tests.integration.vault_parts import profile, secret, sync
from tests.simulators.company.model import Company
from tests.simulators.company.pictures import jpeg
from tests.simulators.company.records import Person, new_box, stable_id
from tests.simulators.online.server import OnlineSimulator

DIRECTORY = "3f3e3d55-7c0e-4c53-9a63-1d6d3b1c9b01"
PICTURE = jpeg("somebody", edge=96, weight=900)


@dataclass(frozen=True)
class Holding:
    """What a mailbox holds: `contacts` of each folder, the default one first, and how many of all have a picture."""

    contacts: tuple[int, ...] = (0,)
    pictures: int = 0
    portrait: bool = False


def company_of(holdings: Iterable[Holding]) -> Company:
    """A company with a person for each holding."""
    held = dict(zip((_key(number) for number in range(10_000)), holdings, strict=False))
    people = [
        Person(key, f"{key[-4:]}@example.com", f"{key[-4:]}@example.com", display_name=key[-4:], box=new_box(key))
        for key in held
    ]
    company = Company(DIRECTORY, people)
    for key, holding in held.items():
        if holding.portrait:
            company.set_person_photo(key, PICTURE)
        left = holding.pictures
        for number, contacts in enumerate(holding.contacts):
            folder = company.add_folder(key, f"Kunden {number}").id if number else None
            for one in range(contacts):
                item = company.add_contact(key, folder, surname=stable_id(key, number, one))
                if left:
                    company.set_contact_photo(key, item.id, PICTURE)
                    left -= 1
    return company


def _key(number: int) -> str:
    return f"3f3e3d55-7c0e-4c53-9a63-{number:012d}"


class OnlineTenant:
    """The tenant; `harness` has its simulator."""

    def __init__(self, vault: Vault, company: Company, authority: Authority) -> None:
        self.harness = GraphHarness(company, authority.ca, authority.ca_pem)
        self.settings = self.harness.settings()
        self.vault = vault
        facts = replace(profile(), name="acme")
        self.tenant = tenants.register(vault, facts, secret(self.simulator.client_secret))
        sources.add(vault, self.tenant, "all-users", "")

    @property
    def simulator(self) -> OnlineSimulator:
        return self.harness.simulator

    def run(self, settings: GraphSettings | None = None, **options: Any) -> Summary:
        """One run."""

        def connected(facts: Any, *_: Any, **__: Any) -> Any:
            selection = selection_of(facts.scope)
            return connect(settings or self.settings, selection=selection, sleep=self.harness.waits.append)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(engine, "connect", connected)
            return sync(self.vault, self.tenant, **options)

    def asked(self) -> dict[str, int]:
        """How often the simulator was asked, by kind, since it was asked last."""
        counts = dict(self.simulator.recorder.counts)
        self.simulator.recorder.counts.clear()
        return counts

    def close(self) -> None:
        self.harness.close()
