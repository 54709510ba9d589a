"""A server that is too busy gets fewer requests, the time it asks for, and all of them again once it is well."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from connectors.ews import EwsSettings, Password, connect
from connectors.ews.connector import EwsConnector
from connectors.port import Mailbox, Throttled
from tests.conftest import Authority
from tests.reading import outcomes
from tests.simulators.company.cast import ANNA, JURGEN, MEI, NILS
from tests.simulators.onprem.mailboxes import primary_address
from tests.simulators.onprem.server import OnpremSimulator
from tests.simulators.onprem.transport import Incoming, Outgoing

FIVE = (ANNA, JURGEN, MEI, NILS, ANNA)  # requests that may be under way at once


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def connector(onprem: OnpremSimulator, authority: Authority, waits: list[float]) -> Iterator[EwsConnector]:
    settings = EwsSettings(onprem.url, onprem.username, Password(onprem.password.encode()), authority.ca_pem)
    connector = connect(settings, sleep=waits.append)
    yield connector
    connector.close()


@pytest.fixture
def pull(onprem: OnpremSimulator, connector: EwsConnector) -> Callable[[str], list[object]]:
    def pulled(person: str) -> list[object]:
        address = primary_address(onprem.company.people[person])
        return list(outcomes(connector, Mailbox(address.lower(), address)))

    return pulled


class Crowd:
    """Counts who is with the server at once; who comes waits a moment for company."""

    def __init__(self, company: int = 0) -> None:
        self.most = 0
        self._now = 0
        self._changed = threading.Condition()
        self._company = company

    def through(self, respond: Callable[[Incoming], Outgoing]) -> Callable[[Incoming], Outgoing]:
        def responding(incoming: Incoming) -> Outgoing:
            if incoming.method == "GET" or not incoming.body:
                return respond(incoming)
            with self._changed:
                self._now += 1
                self.most = max(self.most, self._now)
                self._changed.notify_all()
                self._changed.wait_for(lambda: self.most >= self._company, 5)
            try:
                return respond(incoming)
            finally:
                with self._changed:
                    self._now -= 1

        return responding


def test_five_requests_run_at_once_and_no_more(
    onprem: OnpremSimulator, pull: Callable[[str], list[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pull(ANNA)
    crowd = Crowd(company=5)
    monkeypatch.setattr(onprem, "respond", crowd.through(onprem.respond))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(pull, (*FIVE, *FIVE)))

    assert crowd.most == 5


@pytest.mark.parametrize("fault", ["reset", "truncate"])
def test_after_many_broken_connections_five_requests_still_run_at_once(
    onprem: OnpremSimulator, pull: Callable[[str], list[object]], monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    pull(ANNA)
    for _ in range(10):
        getattr(onprem.faults, fault)(times=4)
        pull(ANNA)
    crowd = Crowd(company=5)
    monkeypatch.setattr(onprem, "respond", crowd.through(onprem.respond))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(pull, FIVE))

    assert crowd.most == 5
    assert onprem.refused_logins == 0


@pytest.mark.parametrize("code", ["ErrorExceededConnectionCount", "ErrorTooManyObjectsOpened"])
def test_a_server_that_has_too_many_of_us_gets_fewer_at_once_until_it_is_well(
    onprem: OnpremSimulator,
    connector: EwsConnector,
    pull: Callable[[str], list[object]],
    code: str,
) -> None:
    crew = connector._session._crew
    pull(ANNA)
    onprem.faults.response(code, times=1)

    pull(ANNA)
    fewer = crew.allowed
    for _ in range(12):
        pull(ANNA)

    assert (fewer < 5, crew.allowed) == (True, 5)


def test_the_time_that_a_busy_server_asks_for_is_given(
    onprem: OnpremSimulator, pull: Callable[[str], list[object]], waits: list[float]
) -> None:
    onprem.faults.soap("ErrorServerBusy", back_off_ms=7_000, operation="SyncFolderItems")

    assert pull(ANNA)
    assert waits == [7.0]


def test_a_server_that_asks_for_an_hour_is_left_until_then(
    onprem: OnpremSimulator, pull: Callable[[str], list[object]], waits: list[float]
) -> None:
    onprem.faults.soap("ErrorServerBusy", back_off_ms=3_600_000, operation="SyncFolderItems")

    with pytest.raises(Throttled) as caught:
        pull(ANNA)

    assert caught.value.retry_at is not None
    assert waits == []


def test_who_comes_while_another_waits_for_the_server_waits_too(
    onprem: OnpremSimulator, authority: Authority, pull: Callable[[str], list[object]]
) -> None:
    asleep, over = threading.Event(), threading.Event()
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        asleep.set()
        if len(waited) == 1:
            over.wait(10)

    settings = EwsSettings(onprem.url, onprem.username, Password(onprem.password.encode()), authority.ca_pem)
    connector = connect(settings, sleep=sleep)
    connector.probe()
    onprem.faults.http(503, retry_after=30)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(connector.probe)
        assert asleep.wait(10)
        connector.probe()
        over.set()
        first.result()
    connector.close()

    assert waited[0] == 30.0
    assert 25 < waited[1] < 31


@pytest.mark.parametrize("schema", ["ErrorInvalidServerVersion", "ErrorIncorrectSchemaVersion"])
def test_what_version_a_server_has_is_asked_once(
    onprem: OnpremSimulator, connector: EwsConnector, pull: Callable[[str], list[object]], schema: str
) -> None:
    onprem.faults.soap(schema)
    connector.probe()
    asked = connector.requests
    others = len(onprem.recorder.entries)

    for person in (ANNA, JURGEN):
        pull(person)

    statuses = [entry.status for entry in onprem.recorder.entries[others:]]
    assert asked == 2
    assert set(statuses) == {200}
    assert connector.requests - asked == len(statuses)


def test_those_who_begin_together_learn_the_version_from_the_first(
    onprem: OnpremSimulator, connector: EwsConnector, pull: Callable[[str], list[object]]
) -> None:
    onprem.faults.arm("old-server", always=True)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(pull, FIVE[:4]))

    assert [entry.status for entry in onprem.recorder.entries if entry.operation].count(500) == 1
