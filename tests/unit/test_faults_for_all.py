"""A fault that stays ends one mailbox's work, or the run where the server answers nobody: one more look tells."""

from __future__ import annotations

from typing import Any

import pytest
from requests import ReadTimeout

from connectors.ews.connector import EwsConnector
from connectors.ews.wire.breaks import PassingFaultError, translated
from connectors.graph.wire.client import PROBE
from connectors.port import ConnectorError, Ended, Mailbox, Throttled, Wanted
from tests.unit.ews_wire import NOBODY, Seen, Wire, fault
from tests.unit.graph_stub import RESET, StubGraph, answer, refusal

ANNA = Mailbox("anna@example.com", "Anna@example.com")
BUSY = refusal(503, "ServiceUnavailable")
LATER = {"Retry_After": "4000"}


def failed(graph: StubGraph, path: str) -> ConnectorError:
    with pytest.raises(ConnectorError) as caught:
        graph.client.get_json(path)
    return caught.value


@pytest.mark.parametrize(
    ("look", "is_for_all"),
    [(BUSY, True), (RESET, True), (answer({"value": []}), False), (refusal(403, "Authorization_RequestDenied"), False)],
)
def test_online_the_directory_tells_whether_others_would_fare_better(look: Any, *, is_for_all: bool) -> None:
    graph = StubGraph({"/v1.0/users/u": BUSY, f"/v1.0{PROBE}": look})
    assert failed(graph, "/users/u").concerns_all is is_for_all
    assert graph.asked[-1] == f"/v1.0{PROBE}"


def test_online_nobody_looks_where_others_were_answered_meanwhile() -> None:
    def busy_with_another(_: str) -> Any:
        graph.client.get_json("/users/v")
        return BUSY

    graph = StubGraph({"/v1.0/users/u": busy_with_another, "/v1.0/users/v": answer({"id": "v"})})
    assert not failed(graph, "/users/u").concerns_all
    assert f"/v1.0{PROBE}" not in graph.asked


@pytest.mark.parametrize(("path", "looks"), [("/users/u", 0), ("/users/u/contacts", 1)])
def test_online_a_directory_that_asks_for_an_hour_is_left_in_peace(path: str, looks: int) -> None:
    graph = StubGraph({f"/v1.0{path}": refusal(429, "TooManyRequests", **LATER), f"/v1.0{PROBE}": BUSY})
    assert failed(graph, path).concerns_all
    assert graph.asked.count(f"/v1.0{PROBE}") == looks


def changes(connector: EwsConnector) -> Any:
    ((step,),) = connector.changes([Wanted(ANNA)])
    return step.outcome


@pytest.fixture
def signed_in(wire: Wire, connector: EwsConnector) -> EwsConnector:
    wire.reply(NOBODY)
    connector.probe()
    return connector


def test_on_premises_a_mailbox_that_alone_fails_fails_alone(wire: Wire, signed_in: EwsConnector) -> None:
    def answer_others(seen: Seen) -> Any:
        return (503, {}, "") if seen.find("//t:ExchangeImpersonation") else NOBODY

    wire.replies += [answer_others] * 20
    outcome = changes(signed_in)
    assert isinstance(outcome, Ended)
    assert (outcome.error and outcome.error.code) == "http-503"


def test_on_premises_a_server_that_answers_nobody_ends_the_run(wire: Wire, signed_in: EwsConnector) -> None:
    wire.replies += [(503, {}, "")] * 20
    with pytest.raises(ConnectorError) as caught:
        changes(signed_in)
    assert caught.value.concerns_all
    assert wire.operations[-1] == "ResolveNames"
    assert len(wire.seen) == 1 + 7 + 1


def test_on_premises_a_server_that_is_silent_for_minutes_is_asked_twice_and_no_more() -> None:
    with pytest.raises(PassingFaultError) as caught, translated(known=True):
        raise ReadTimeout
    assert caught.value.attempts == 2


def test_on_premises_a_server_that_asks_for_an_hour_is_left_in_peace(wire: Wire, signed_in: EwsConnector) -> None:
    wire.reply(fault("ErrorServerBusy", '<t:Value Name="BackOffMilliseconds">3600000</t:Value>'))
    with pytest.raises(Throttled) as caught:
        signed_in.probe()
    assert caught.value.concerns_all
