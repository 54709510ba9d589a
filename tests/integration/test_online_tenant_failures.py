"""What no mailbox of a tenant gets around ends its run at once, and is told once."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from connectors.graph.sign_in import auth
from syncvault.sync.summary import Status, Summary
from tests.conftest import Authority
from tests.integration.conservation import fresh_place
from tests.integration.online_tenant import Holding, OnlineTenant, company_of

MANY = 45  # mailboxes: more than a lot
ATTEMPTS = 7  # of a request that meets a passing fault
TOKENS = "oauth2/v2.0/token"


@pytest.fixture
def tenant(authority: Authority) -> Iterator[OnlineTenant]:
    """A tenant that was pulled once."""
    company = company_of([Holding((1,))] * MANY)
    with fresh_place() as place, closing(OnlineTenant(place.create(), company, authority)) as tenant:
        assert tenant.run().status is Status.OK
        tenant.asked()
        yield tenant


def only_failure(summary: Summary) -> str:
    """The code of the only failure, which is that of the tenant."""
    (failure,) = summary.failures
    assert failure.mailbox is None
    assert (summary.status, summary.removed) == (Status.FAILED, 0)
    return failure.code


@pytest.mark.parametrize(
    ("status", "waits", "code"), [(503, {}, "server-fault"), (429, {"Retry-After": "9999"}, "throttled")]
)
def test_a_sign_in_that_fails_passingly_is_told_once_and_tried_as_often_as_one_request(
    status: int, waits: dict[str, str], code: str, tenant: OnlineTenant
) -> None:
    tenant.simulator.faults.fail_next(TOKENS, status=status, headers=waits, times=10_000)
    assert only_failure(tenant.run()) == code
    asked = tenant.asked()
    assert asked["sign_in"] <= 1 + ATTEMPTS
    assert set(asked) == {"sign_in"}


@pytest.mark.parametrize("lives", [1, 10])
def test_so_is_one_that_fails_when_the_token_has_run_out_in_the_middle(
    lives: int, tenant: OnlineTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    bearer, given = auth.Tokens.bearer, iter(range(10_000))

    def expiring(self: auth.Tokens) -> str:
        if next(given) == lives:
            self._token = None
            tenant.simulator.faults.fail_next(TOKENS, status=503, times=10_000)
        return bearer(self)

    monkeypatch.setattr(auth.Tokens, "bearer", expiring)
    assert only_failure(tenant.run(full=True)) == "server-fault"
    assert tenant.asked()["sign_in"] <= 2 + ATTEMPTS


def test_a_sign_in_service_that_nobody_listens_at_is_told_once(tenant: OnlineTenant) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        nowhere = f"https://127.0.0.1:{taken.getsockname()[1]}"
        assert only_failure(tenant.run(replace(tenant.settings, authority=nowhere))) == "unreachable"


def test_a_host_that_goes_down_in_the_middle_is_told_once(
    tenant: OnlineTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, given = tenant.simulator._graph.answer, iter(range(10_000))
    # The folders of the first mailboxes still come.
    monkeypatch.setattr(
        tenant.simulator._graph,
        "answer",
        lambda request: answer(request) if next(given) < 4 else tenant.simulator._server.stop() or answer(request),
    )
    assert only_failure(tenant.run()) == "unreachable"


@pytest.mark.parametrize(
    ("pattern", "word"),
    [("contacts/delta", "again and again"), (r"/users\?", "lost its place")],
    ids=["folder", "list"],
)
def test_a_server_that_keeps_losing_its_place_is_told_with_what_to_do(
    pattern: str, word: str, tenant: OnlineTenant
) -> None:
    body = {"error": {"code": "syncStateNotFound", "message": "x"}}
    tenant.simulator.faults.fail_next(pattern, status=410, body=body, times=10_000)
    failures = tenant.run().failures
    assert failures
    for failure in failures:
        assert failure.code == "syncStateNotFound"
        assert word in failure.message
        assert "support" in failure.advice


def test_the_next_run_makes_it_good(tenant: OnlineTenant) -> None:
    tenant.simulator.faults.fail_next(TOKENS, status=503, times=10_000)
    tenant.run()
    tenant.simulator.faults.clear()
    again = tenant.run()
    assert (again.status, again.failures) == (Status.OK, [])
