"""Waiting as the server asks, and not for ever."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from connectors.throttle import Backoff, Crew, OutOfPatienceError, Quiet, RetryPolicy, Slots, retry_after

NOON = datetime(2027, 1, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        (" 2.5 ", 2.5),
        ("-3", 0.0),
        ("Fri, 01 Jan 2027 12:00:30 GMT", 30.0),
        ("Fri, 01 Jan 2027 11:00:00 GMT", 0.0),
        (None, None),
        ("", None),
        ("soon", None),
        ("nan", None),
    ],
)
def test_a_retry_after_is_seconds_or_a_date_or_nothing(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, NOON) == seconds


def test_the_server_is_obeyed_to_the_second() -> None:
    waits: list[float] = []
    Backoff(waits.append, lambda: NOON).pause(12.0)
    assert waits == [12.0]


def test_waits_of_our_own_grow_and_stay_below_their_ceilings() -> None:
    waits: list[float] = []
    backoff = Backoff(waits.append, lambda: NOON, RetryPolicy(attempts=5, first=1.0, longest=3.0))
    for _ in range(4):
        backoff.pause()
    assert all(ceiling / 2 <= wait <= ceiling for wait, ceiling in zip(waits, [1.0, 2.0, 3.0, 3.0], strict=True))


def test_a_request_is_not_sent_more_often_than_the_policy_says() -> None:
    backoff = Backoff(lambda _: None, lambda: NOON, RetryPolicy(attempts=3))
    backoff.pause()
    backoff.pause()
    with pytest.raises(OutOfPatienceError):
        backoff.pause()


def test_a_server_that_asks_for_too_much_is_left_alone_until_then() -> None:
    waits: list[float] = []
    with pytest.raises(OutOfPatienceError) as caught:
        Backoff(waits.append, lambda: NOON, RetryPolicy(patience=60)).pause(3600.0)
    assert caught.value.retry_at == NOON + timedelta(hours=1)
    assert waits == []


def test_no_mailbox_gets_more_requests_at_once_than_it_has_slots() -> None:
    slots, entered, release = Slots(2), threading.Semaphore(0), threading.Event()

    def hold() -> None:
        with slots.taken(["anna"]):
            entered.release()
            release.wait(5)

    threads = [threading.Thread(target=hold) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert entered.acquire(timeout=5)
    assert entered.acquire(timeout=5)
    assert not entered.acquire(timeout=0.05)
    with slots.taken(["ben"] * 20):
        pass
    release.set()
    for thread in threads:
        thread.join(5)
    assert entered.acquire(timeout=5)


def test_a_request_is_not_sent_again_for_ever_however_its_time_was_spent() -> None:
    instants = [NOON, NOON + timedelta(minutes=20)]
    backoff = Backoff(lambda _: None, lambda: instants[0], RetryPolicy(deadline=900.0))
    backoff.pause()
    instants.pop(0)
    with pytest.raises(OutOfPatienceError):
        backoff.pause()


def test_those_who_were_too_many_together_are_halved_once() -> None:
    crew = Crew(5)
    with crew.member() as first, crew.member() as second:
        crew.too_many(first)
        crew.too_many(second)
    assert crew.allowed == 2
    with crew.member() as third:
        crew.too_many(third)
    with crew.member() as fourth:
        crew.too_many(fourth)
    assert crew.allowed == 1


def test_a_crew_grows_back_bit_by_bit_and_no_further() -> None:
    crew = Crew(5)
    for _ in range(3):
        with crew.member() as begun:
            crew.too_many(begun)
    sizes = []
    for _ in range(100):
        crew.went_well()
        sizes.append(crew.allowed)
    assert sizes[0] == 1
    assert sizes == sorted(sizes)
    assert sizes[-1] == 5


def test_nobody_is_kept_away_any_more_once_a_wait_is_over() -> None:
    waits: list[float] = []
    quiet = Quiet(waits.append)
    quiet.wait(30.0)
    quiet.keep()
    assert waits == [30.0]


def test_who_comes_while_a_server_wants_to_be_left_in_peace_waits() -> None:
    waits: list[float] = []
    quiet = Quiet(waits.append)
    quiet.ask(30.0)
    quiet.ask(10.0)
    quiet.keep()
    (waited,) = waits
    assert 29.0 < waited < 31.0
