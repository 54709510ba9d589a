"""Waiting ends with the run, at its deadline or when somebody gives it up; and it is not for each mailbox anew."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from connectors.port import WaitEnded
from syncvault.secret import Secret
from syncvault.sync import engine
from syncvault.sync.parallel import DeadlineError, Stop, StoppedError, each
from syncvault.sync.summary import Options, Silence, Status
from syncvault.vault import tenants
from syncvault.vault.content import sources
from syncvault.vault.model import Credential, CredentialKind, OnlineConnection, Tenant
from syncvault.vault.vault import Vault
from tests.conftest import Authority
from tests.integration import onprem_parts
from tests.integration.vault_parts import profile
from tests.silence import fallen_silent
from tests.simulators.company.cast import ANNA, JURGEN
from tests.simulators.onprem.server import OnpremSimulator
from tests.watching import watched

LATER = 200  # seconds that the servers ask for: less than a request's patience


@pytest.fixture
def asked() -> threading.Event:
    """Set when a server has told somebody to come back later."""
    return threading.Event()


@pytest.fixture(params=["online", "onprem"])
def server(request: pytest.FixtureRequest) -> Any:
    """A simulator of either kind."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def tenant(vault: Vault, authority: Authority, server: Any) -> Tenant:
    """Its company, with two mailboxes."""
    if isinstance(server, OnpremSimulator):
        return onprem_parts.register(vault, server, authority, ANNA, JURGEN)
    connection = OnlineConnection(
        server.directory_id,
        server.client_id,
        authority=server.origin,
        graph_url=server.origin,
        ca_pem=authority.ca_pem,
    )
    credential = Credential(CredentialKind.SECRET, Secret(server.client_secret))
    registered = tenants.register(vault, replace(profile(), connection=connection), credential)
    for person in (ANNA, JURGEN):
        sources.add(vault, registered, "user", person)
    return registered


@pytest.fixture
def busy_tenant(tenant: Tenant, server: Any, asked: threading.Event, monkeypatch: pytest.MonkeyPatch) -> Tenant:
    """A tenant whose server asks everybody who wants contacts to come back later."""
    if isinstance(server, OnpremSimulator):
        server.faults.http(503, operation="SyncFolderItems", retry_after=LATER, times=100)
        monkeypatch.setattr(server.faults, "draw", watched(server.faults.draw, asked))
    else:
        server.faults.fail_next("contact", status=429, headers={"Retry-After": str(LATER)}, times=100)
        monkeypatch.setattr(server.faults, "take", watched(server.faults.take, asked))
    return tenant


@pytest.mark.slow
def test_a_deadline_ends_the_wait_for_a_busy_server(vault: Vault, busy_tenant: Tenant, asked: threading.Event) -> None:
    began = time.monotonic()
    (summary,) = engine.sync(vault, [busy_tenant], Options(deadline=2.0), Silence())
    assert asked.is_set()
    assert (summary.status, [failure.code for failure in summary.failures]) == (Status.PARTIAL, ["deadline"])
    assert 2.0 <= time.monotonic() - began < 10.0


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["handshake", "answer"])
def test_a_deadline_ends_the_wait_for_a_silent_server(
    vault: Vault, tenant: Tenant, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = time.monotonic()
    with fallen_silent(stage, monkeypatch) as silent:
        (summary,) = engine.sync(vault, [tenant], Options(deadline=2.0), Silence())
        assert silent.is_set()
    assert (summary.status, [failure.code for failure in summary.failures]) == (Status.PARTIAL, ["deadline"])
    assert 2.0 <= time.monotonic() - began < 5.0


def test_giving_up_ends_the_wait_for_a_busy_server(
    vault: Vault, busy_tenant: Tenant, asked: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Stop] = []
    given_up: list[float] = []
    monkeypatch.setattr(engine, "Stop", lambda *args, **options: made.append(Stop(*args, **options)) or made[-1])

    def give_up() -> None:
        asked.wait(30)
        given_up.append(time.monotonic())
        made[0].set()

    interrupting = threading.Thread(target=give_up)
    interrupting.start()
    with pytest.raises(StoppedError):
        engine.sync(vault, [busy_tenant], Options(), Silence())
    assert time.monotonic() - given_up[0] < 1.0
    interrupting.join()


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that a run would have slept."""
    waits: list[float] = []
    monkeypatch.setattr(Stop, "wait", lambda stop, seconds: (stop.check(), waits.append(seconds)))
    return waits


def test_a_server_that_answers_nobody_any_more_fails_once_for_all(
    vault: Vault, tenant: Tenant, server: Any, waited: list[float]
) -> None:
    assert engine.sync(vault, [tenant], Options(), Silence())[0].status == Status.OK
    waited.clear()
    if isinstance(server, OnpremSimulator):
        server.faults.http(503, times=1_000)
    else:
        server.faults.fail_next("v1.0", status=503, times=1_000)
    (summary,) = engine.sync(vault, [tenant], Options(), Silence())
    assert (summary.status, [failure.mailbox for failure in summary.failures]) == (Status.FAILED, [None])
    assert summary.requests < 12
    assert sum(waited) < 20.0


def test_mailboxes_fail_one_by_one_where_the_rest_of_a_server_answers(
    vault: Vault, tenant: Tenant, server: Any, waited: list[float]
) -> None:
    if isinstance(server, OnpremSimulator):
        server.faults.http(503, operation="SyncFolderItems", times=1_000)
    else:
        server.faults.fail_next("contact", status=503, times=1_000)
    (summary,) = engine.sync(vault, [tenant], Options(), Silence())
    assert (summary.status, len(summary.failures)) == (Status.PARTIAL, 2)
    assert all(failure.mailbox for failure in summary.failures)
    assert summary.added >= 2  # their cards


def test_a_wait_lasts_as_long_as_it_should() -> None:
    began = time.monotonic()
    Stop(Stop(), seconds=60.0).wait(0.05)
    assert 0.05 <= time.monotonic() - began < 5.0


def test_who_gives_up_above_wakes_those_who_wait_below() -> None:
    above, waiting, ended = Stop(), threading.Event(), threading.Event()

    def wait() -> None:
        waiting.set()
        with pytest.raises(StoppedError):
            Stop(Stop(above)).wait(200.0)
        ended.set()

    thread = threading.Thread(target=wait)
    thread.start()
    waiting.wait(5)
    above.set()
    assert ended.wait(5)
    thread.join()


def test_the_time_of_those_above_ends_a_wait_too() -> None:
    with pytest.raises(DeadlineError) as caught:
        Stop(Stop(seconds=0.01), seconds=100.0).wait(200.0)
    assert isinstance(caught.value, WaitEnded)


def test_others_hear_at_once_of_what_is_over_and_only_of_that() -> None:
    above, heard = Stop(), []
    one, two = Stop(above), Stop(above)
    with one.telling(lambda: heard.append("one")), two.telling(lambda: heard.append("two")):
        one.set()
        assert heard == ["one"]
        above.set()
        assert set(heard) == {"one", "two"}
    heard.clear()
    above.set()
    assert heard == []
    with Stop(above).telling(lambda: heard.append("late")):
        assert heard == ["late"]


def test_a_deadline_ends_what_workers_wait_for_elsewhere() -> None:
    stop, ended = Stop(seconds=0.05), threading.Event()

    def work(_: int) -> bool:
        with stop.telling(ended.set):
            return ended.wait(30)

    assert list(each(2, range(3), work, name="work", stop=stop)) == [True] * 3
