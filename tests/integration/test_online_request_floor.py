"""How many requests a run sends: hardly more than there is to ask, also of mailboxes that hold next to nothing."""

from __future__ import annotations

from contextlib import closing

import pytest

from scripts.benchmarks.floor import first_floor, idle_floor
from syncvault.sync.summary import Status
from tests.conftest import Authority
from tests.integration.conservation import fresh_place
from tests.integration.online_tenant import Holding, OnlineTenant, company_of
from tests.simulators.company.content import holdings

MANY = 10  # mailboxes of the same kind: what a run asks for besides weighs little
SMALL = {
    "empty": Holding(),
    "empty, with a portrait": Holding(portrait=True),
    "a contact": Holding((1,)),
    "a contact with a picture": Holding((1,), pictures=1),
    "a contact with a picture, and a portrait": Holding((1,), pictures=1, portrait=True),
    "a folder, all empty": Holding((0, 0)),
    "a folder with a contact": Holding((0, 1)),
    "two folders, all empty": Holding((0, 0, 0)),
    "two folders with pictures": Holding((2, 2, 2), pictures=6, portrait=True),
}


@pytest.mark.parametrize("holding", SMALL.values(), ids=SMALL)
def test_a_first_run_stays_near_the_floor_and_an_idle_one_on_it(holding: Holding, authority: Authority) -> None:
    with (
        fresh_place() as place,
        closing(OnlineTenant(place.create(), company_of([holding] * MANY), authority)) as tenant,
    ):
        _costs_no_more_than_it_has_to(tenant, holding)


def _costs_no_more_than_it_has_to(tenant: OnlineTenant, holding: Holding) -> None:
    there = holdings(tenant.simulator.company)
    first = tenant.run()
    assert (first.status, first.failures) == (Status.OK, [])
    assert first.added == MANY * (1 + sum(holding.contacts))
    assert first.photos == MANY * (holding.pictures + holding.portrait)
    assert first.requests == _sent(tenant)
    # The floor counts a look at each portrait; one that is there is a picture to fetch as well.
    assert first.requests <= 1.2 * (first_floor(there) + there["portraits"])
    idle = tenant.run()
    assert idle.requests == _sent(tenant) <= idle_floor(there)
    assert not [path for path in tenant.simulator.recorder.paths()[-idle.requests :] if "photo" in path]


def _sent(tenant: OnlineTenant) -> int:
    counts = tenant.asked()
    return sum(counts.get(kind, 0) for kind in ("single", "part", "sign_in"))
