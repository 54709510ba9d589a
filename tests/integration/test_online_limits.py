"""The Graph simulator gives an application what Graph gives it, and no more."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from tests.integration.graph_asking import Get, asking, code_of
from tests.simulators.company.cast import ANNA, EVERYBODY, LAYLA, MEI
from tests.simulators.online.server import OnlineSimulator


@dataclass
class Clock:
    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(online: OnlineSimulator) -> Clock:
    clock = Clock()
    online.behaviour.clock = clock
    return clock


@pytest.fixture
def get(online: OnlineSimulator, graph_session: requests.Session) -> Get:
    return asking(online.origin, graph_session)


def asked_to_wait(answer: requests.Response) -> int:
    assert answer.status_code == 429
    return int(answer.headers["Retry-After"])


def batch(online: OnlineSimulator, session: requests.Session, *urls: str) -> list[dict[str, Any]]:
    """The answers to the parts, in the order of the parts."""
    parts = [{"id": str(number), "method": "GET", "url": url} for number, url in enumerate(urls)]
    answer = session.post(f"{online.origin}/v1.0/$batch", json={"requests": parts}, timeout=20)
    return sorted(answer.json()["responses"], key=lambda response: int(response["id"]))


def test_the_fifth_request_at_once_to_a_mailbox_is_throttled(get: Get, online: OnlineSimulator) -> None:
    with ThreadPoolExecutor(5) as pool:
        with online.company.lock:  # whoever got into the mailbox waits there until the company is free again
            pending = {pool.submit(get, f"users/{ANNA}/contacts") for _ in range(5)}
            refused, inside = wait(pending, return_when=FIRST_COMPLETED)
        assert [code_of(answer.result()) for answer in refused] == [(429, "ApplicationThrottled")]
        assert [answer.result().status_code for answer in inside] == [200] * 4


def test_a_batch_takes_four_places_of_a_mailbox(online: OnlineSimulator, graph_session: requests.Session) -> None:
    urls = [f"/users/{ANNA}/contacts?$top=1"] * 4
    assert [r["status"] for r in batch(online, graph_session, *urls * 5)] == [200] * 20
    online._graph._limits.hold([ANNA])  # what a request does that is under way
    assert [r["status"] for r in batch(online, graph_session, *urls)] == [200, 200, 200, 429]
    online._graph._limits.release([ANNA])
    assert [r["status"] for r in batch(online, graph_session, *urls)] == [200] * 4


def test_a_mailbox_takes_so_many_requests_in_ten_minutes(get: Get, online: OnlineSimulator, clock: Clock) -> None:
    online.behaviour.mailbox_requests = 3
    assert [get(f"users/{ANNA}/contacts").status_code for _ in range(3)] == [200] * 3
    clock.now += 60
    refused = get(f"users/{ANNA}/photo")
    assert code_of(refused) == (429, "ApplicationThrottled")
    assert asked_to_wait(refused) == 300  # of the 540 s that are left
    assert get(f"users/{LAYLA}/contacts").ok
    assert get(f"users/{ANNA}").ok  # the directory is another service
    clock.now += 540
    assert get(f"users/{ANNA}/contacts").ok


@pytest.mark.parametrize(
    ("path", "cost"),
    [
        ("users", 2),
        ("users?$select=id", 1),
        (f"users/{ANNA}?$select=id", 1),
        (f"groups/{EVERYBODY}/members", 3),
        (f"groups/{EVERYBODY}/transitiveMembers?$top=999", 5),
        (f"groups/{EVERYBODY}/transitiveMembers/microsoft.graph.user?$select=id&$top=999", 4),
        (f"groups/{EVERYBODY}/transitiveMembers?$select=id&$top=5", 3),
        ("groups/delta?$expand=members", 2),
        ("contacts", 1),
    ],
)
def test_what_a_request_to_the_directory_costs(path: str, cost: int, get: Get) -> None:
    assert get(path).headers["x-ms-resource-unit"] == str(cost)


def test_the_directory_warns_from_four_fifths_on_and_then_refuses(
    get: Get, online: OnlineSimulator, clock: Clock
) -> None:
    online.behaviour.resource_units = 10
    warnings = [get(f"users/{ANNA}").headers.get("x-ms-throttle-limit-percentage") for _ in range(10)]
    assert warnings == [None] * 7 + ["0.80", "0.90", "1.00"]
    refused = get("users")
    assert code_of(refused) == (429, "TooManyRequests")
    assert refused.headers["x-ms-throttle-limit-percentage"] == "1.20"
    assert refused.headers["x-ms-throttle-scope"].startswith("Tenant_Application/ReadWrite/")
    clock.now += asked_to_wait(refused) + 2
    assert get("users").ok


def test_what_is_not_there_costs_nothing(get: Get, online: OnlineSimulator, clock: Clock) -> None:
    online.behaviour.resource_units = 10
    for _ in range(20):
        assert get("users/nobody").status_code == 404
    assert get("users").ok


def test_who_comes_back_early_waits_twice_as_long(get: Get, online: OnlineSimulator, clock: Clock) -> None:
    online.behaviour.resource_units = 3
    get("users?$top=100")
    first = asked_to_wait(get("users"))
    assert asked_to_wait(get("users")) == first  # was under way already
    clock.now += 1.5
    second = asked_to_wait(get("users"))
    assert (first, second) == (4, 8)
    clock.now += second - 0.5
    assert asked_to_wait(get("users")) == 2 * second
    clock.now += 2 * second
    assert get(f"users/{MEI}").ok


def test_parts_of_a_batch_are_throttled_by_themselves(
    online: OnlineSimulator, graph_session: requests.Session, clock: Clock
) -> None:
    online.behaviour.resource_units = 3
    answers = batch(online, graph_session, *[f"/users/{ANNA}"] * 4, f"/users/{ANNA}/contacts")
    assert [answer["status"] for answer in answers] == [200, 200, 200, 429, 200]
    assert int(answers[3]["headers"]["Retry-After"]) > 0
