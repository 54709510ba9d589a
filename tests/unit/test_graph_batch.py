"""Batches: every part has its own outcome, and only what failed is asked again, when it may be."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from connectors.graph.wire.batch import Pace, Read, Reply, read_batch
from connectors.graph.wire.refusals import Refusal
from connectors.graph.wire.transport import TooLargeError
from connectors.port import CredentialRejected, ProtocolViolation, Throttled
from tests.unit.graph_stub import NOON, StubGraph, answer, refusal


def read(graph: StubGraph, *paths: str) -> list[Any]:
    return read_batch(graph.client, [Read(path) for path in paths])


def test_outcomes_come_in_the_order_of_the_reads() -> None:
    graph = StubGraph({f"/v1.0/{n}": answer({"n": n}) for n in range(20)})
    outcomes = read(graph, *(f"/{n}" for n in range(20)))
    assert [outcome.json()["n"] for outcome in outcomes] == list(range(20))
    assert graph.client.requests == 20


def test_only_throttled_parts_are_sent_again_and_not_before_their_time() -> None:
    graph = StubGraph(
        {
            "/v1.0/a": answer({}),
            "/v1.0/b": [refusal(429, "x", Retry_After="30"), answer({})],
            "/v1.0/c": [refusal(503, "x", Retry_After="5"), answer({})],
        }
    )
    assert all(isinstance(outcome, Reply) for outcome in read(graph, "/a", "/b", "/c"))
    assert [[part["url"] for part in post] for post in graph.posts] == [["/a", "/b", "/c"], ["/c"], ["/b"]]
    assert [wait for wait in graph.waits if wait >= 1] == [5.0, 25.0]


def test_a_part_that_never_recovers_does_not_spoil_the_others() -> None:
    graph = StubGraph({"/v1.0/a": answer({}), "/v1.0/b": refusal(429, "Busy", Retry_After="9999")})
    good, bad = read(graph, "/a", "/b")
    assert isinstance(good, Reply)
    assert isinstance(bad, Throttled)
    assert bad.retry_at is not None


def test_a_part_that_is_left_out_of_the_answer_is_asked_for_again() -> None:
    whole = answer({"responses": [{"id": "0", "status": 200, "body": {}}]})
    graph = StubGraph({"/v1.0/$batch": [answer({"responses": []}), whole]})
    (outcome,) = read(graph, "/a")
    assert isinstance(outcome, Reply)


def test_a_refused_part_keeps_its_code() -> None:
    (outcome,) = read(StubGraph({"/v1.0/a": refusal(403, "ErrorAccessDenied")}), "/a")
    assert isinstance(outcome, Refusal)
    assert (outcome.status, outcome.code) == (403, "ErrorAccessDenied")


def test_a_token_that_ends_in_the_middle_is_renewed_for_the_parts_that_missed_it() -> None:
    graph = StubGraph({"/v1.0/a": answer({}), "/v1.0/b": [refusal(401, "InvalidAuthenticationToken"), answer({})]})
    assert all(isinstance(outcome, Reply) for outcome in read(graph, "/a", "/b"))
    assert graph.tokens.given == 2


def test_a_part_that_refuses_a_fresh_token_too_is_final() -> None:
    with pytest.raises(CredentialRejected):
        read(StubGraph({"/v1.0/a": refusal(401, "InvalidAuthenticationToken")}), "/a")


@pytest.mark.parametrize("body", [{}, {"responses": {}}, {"responses": None}])
def test_an_answer_that_is_no_batch_is_a_violation(body: Any) -> None:
    with pytest.raises(ProtocolViolation):
        read(StubGraph({"/v1.0/$batch": answer(body)}), "/a")


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_server_without_batches_is_read_one_by_one_from_then_on(status: int) -> None:
    parts = {"/v1.0/a": answer({"n": 1}), "/v1.0/b": refusal(404, "Gone"), "/v1.0/c": answer(b"face")}
    graph = StubGraph({"/v1.0/$batch": refusal(status, "x"), **parts})
    for _ in range(2):
        good, bad, photo = read_batch(graph.client, [Read("/a"), Read("/b"), Read("/c", binary=True)])
        assert (good.json(), bad.code, photo.content()) == ({"n": 1}, "Gone", b"face")
    assert graph.asked.count("/v1.0/$batch") == 1


def test_a_batch_that_is_called_bad_is_read_one_by_one_this_time() -> None:
    graph = StubGraph({"/v1.0/$batch": refusal(400, "BadRequest"), "/v1.0/a": answer({})})
    read(graph, "/a")
    read(graph, "/a")
    assert graph.asked == ["/v1.0/$batch", "/v1.0/a"] * 2


def test_read_one_by_one_parts_hold_no_more_together_than_a_batch_would() -> None:
    waits = [refusal(429, "Busy", Retry_After="5"), answer(b"x" * 600)]
    graph = StubGraph({"/v1.0/$batch": refusal(404, ""), "/v1.0/a": answer(b"x" * 600), "/v1.0/b": waits})
    reads = [Read("/a", binary=True), Read("/b", binary=True)]
    with pytest.raises(TooLargeError):
        read_batch(graph.client, reads, limit=1_000)
    assert max(graph.waits) == 5


def test_read_one_by_one_a_part_fails_for_itself_and_a_web_page_is_no_answer() -> None:
    parts = {"/v1.0/a": refusal(429, "Busy", Retry_After="9999"), "/v1.0/b": answer("<html>"), "/v1.0/c": answer({})}
    throttled, page, good = read(StubGraph({"/v1.0/$batch": refusal(404, ""), **parts}), "/a", "/b", "/c")
    assert isinstance(throttled, Throttled)
    assert isinstance(page, ProtocolViolation)
    assert isinstance(good, Reply)


def test_a_refused_permission_to_batch_is_not_tried_again_part_by_part() -> None:
    graph = StubGraph({"/v1.0/$batch": refusal(403, "Forbidden")})
    with pytest.raises(Refusal):
        read(graph, "/a")
    assert graph.asked == ["/v1.0/$batch"]


@pytest.mark.parametrize("body", ['{"n": 1}', "eyJuIjogMX0="])
def test_a_json_body_may_travel_as_text(body: str) -> None:
    whole = answer({"responses": [{"id": "0", "status": "200", "body": body}]})
    (outcome,) = read(StubGraph({"/v1.0/$batch": whole}), "/a")
    assert outcome.json() == {"n": 1}


def test_a_code_is_read_out_of_a_body_that_is_text() -> None:
    whole = answer({"responses": [{"id": "0", "status": 404, "body": '{"error": {"code": "ImageNotFound"}}'}]})
    (outcome,) = read(StubGraph({"/v1.0/$batch": whole}), "/a")
    assert outcome.code == "ImageNotFound"


def test_a_part_that_was_cut_off_is_asked_for_again() -> None:
    cut = answer({"responses": [{"id": "0", "status": 200, "body": '{"value": [{"id'}]})
    whole = answer({"responses": [{"id": "0", "status": 200, "body": {"n": 1}}]})
    graph = StubGraph({"/v1.0/$batch": [cut, cut, whole]})
    (outcome,) = read(graph, "/a")
    assert outcome.json() == {"n": 1}
    assert len(graph.waits) == 2


def test_but_not_for_ever() -> None:
    cut = answer({"responses": [{"id": "0", "status": 200, "body": "<html>"}]})
    graph = StubGraph({"/v1.0/$batch": cut})
    (outcome,) = read(graph, "/a")
    assert isinstance(outcome, ProtocolViolation)
    assert graph.client.requests == 3


def test_each_part_carries_its_own_preference() -> None:
    graph = StubGraph({"/v1.0/a": answer({}), "/v1.0/b": answer({})})
    read_batch(graph.client, [Read("/a", prefer="x=1"), Read("/b")])
    assert [part.get("headers") for part in graph.posts[0]] == [{"Prefer": "x=1"}, None]


class TestPace:
    """Waiting where the clock stands still, as it does in these tests, and where it moves."""

    def test_what_was_slept_counts(self) -> None:
        graph = StubGraph({})
        pace = Pace(graph.client)
        pace.wait_until(30.0)
        pace.wait_until(20.0)
        assert (graph.waits, pace.elapsed) == ([30.0], 30.0)

    def test_time_that_passed_meanwhile_is_not_slept_again(self) -> None:
        graph = StubGraph({})
        pace = Pace(graph.client)
        graph.client.now = lambda: NOON + timedelta(seconds=25)
        pace.wait_until(30.0)
        assert (graph.waits, pace.elapsed) == ([5.0], 30.0)
