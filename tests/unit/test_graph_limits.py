"""Holding back: what a request costs, how long it has to wait, and what is learnt from answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from connectors.graph.wire.limits import UNITS_IN_TEN_SECONDS, Limiter, units


class Clock:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = datetime(2026, 6, 1, tzinfo=UTC)
        self.slept: list[float] = []

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(clock: Clock) -> Limiter:
    return Limiter(clock.sleep, clock)


@pytest.mark.parametrize(
    ("path", "cost"),
    [
        ("/groups/g/transitiveMembers/microsoft.graph.user?$top=999", 5),
        ("/groups/g/transitiveMembers/microsoft.graph.user?$select=id", 4),
        ("/groups/g/members?$select=id", 2),
        ("/groups/g?$select=id", 1),
        ("/users?$top=999", 2),
        ("/users?$select=id", 1),
        ("/users/delta?$select=id", 1),
        ("/users/u", 1),
        ("/users/u?$expand=manager", 2),
        ("/contacts?$top=1", 1),
        ("/users/u/contactFolders", 0),
        ("/users/u/photo/$value", 0),
        ("/users/u/contacts/delta?$select=id", 0),
    ],
)
def test_requests_cost_what_the_directory_charges(path: str, cost: int) -> None:
    assert units(path) == cost


def test_nothing_waits_while_there_are_units_and_no_warning(limiter: Limiter, clock: Clock) -> None:
    for _ in range(int(UNITS_IN_TEN_SECONDS)):
        limiter.before(1)
        limiter.after(200, {})
    limiter.before(0)
    assert clock.slept == []


def test_no_ten_seconds_cost_much_more_than_a_small_directory_has(limiter: Limiter, clock: Clock) -> None:
    began = clock.now
    for _ in range(4 * int(UNITS_IN_TEN_SECONDS)):
        limiter.before(1)
    assert (clock.now - began).total_seconds() == pytest.approx(30, rel=0.01)


def test_mailboxes_do_not_wait_for_the_directory(limiter: Limiter, clock: Clock) -> None:
    limiter.before(2 * int(UNITS_IN_TEN_SECONDS))
    slept = len(clock.slept)
    limiter.before(0)
    assert len(clock.slept) == slept == 1


@pytest.mark.parametrize(
    ("status", "headers", "slower"),
    [
        (429, {}, True),
        (200, {"x-ms-throttle-limit-percentage": "0.8"}, True),
        (200, {"x-ms-throttle-limit-percentage": "1.3"}, True),
        (200, {"x-ms-throttle-limit-percentage": "0.79"}, False),
        (200, {"x-ms-throttle-limit-percentage": "soon"}, False),
        (503, {}, False),
    ],
)
def test_a_refusal_or_a_warning_slows_down(
    limiter: Limiter, clock: Clock, status: int, headers: dict[str, str], slower: bool
) -> None:
    limiter.after(status, headers)
    limiter.before(0)
    limiter.before(0)
    assert bool(clock.slept) is slower


def test_each_refusal_slows_down_further_up_to_a_limit_and_success_eases(limiter: Limiter, clock: Clock) -> None:
    gaps = []
    for _ in range(10):
        for _ in range(4):  # refused together, they say so once
            limiter.after(429, {})
        gaps.append(limiter.gap)
        clock.now += timedelta(seconds=1)
    assert gaps[:3] == [0.05, 0.1, 0.2]
    assert gaps[-1] == 0.2
    for _ in range(60):
        limiter.after(200, {})
    assert limiter.gap == 0.0
    limiter.before(0)
    assert clock.slept == []


def test_requests_take_turns_at_the_pace(limiter: Limiter, clock: Clock) -> None:
    limiter.after(429, {})
    began = clock.now
    for _ in range(11):
        limiter.before(0)
    assert (clock.now - began).total_seconds() == pytest.approx(10 * 0.05)


def test_nobody_waits_because_the_clock_was_set_back(limiter: Limiter, clock: Clock) -> None:
    clock.now += timedelta(hours=2)
    limiter.after(429, {})
    limiter.before(0)
    clock.now -= timedelta(hours=1)
    for _ in range(3):
        limiter.before(0)
    assert clock.slept == pytest.approx([0.05] * 3)
