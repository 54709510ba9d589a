"""Requests to Graph: what is retried and how long, what is refused, and that tokens stay at home."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from connectors.graph.sign_in.auth import FRESH_TOKENS
from connectors.graph.wire.client import GraphClient, parse
from connectors.graph.wire.refusals import Refusal, explain
from connectors.graph.wire.transport import Answer
from connectors.port import CredentialRejected, NotPermitted, ProtocolViolation, ServerFault, Throttled, Unreachable
from tests.unit.graph_stub import NO_CONNECTION, NOON, ORIGIN, RESET, StubGraph, answer, refusal

GOOD = answer({"id": "1"})


def get(*steps: Any) -> tuple[StubGraph, Any]:
    graph = StubGraph({"/v1.0/users/u": list(steps)})
    return graph, graph.client.get_json("/users/u")


@pytest.mark.parametrize(
    ("fault", "waits"),
    [
        (refusal(429, "TooManyRequests", Retry_After="12"), [12.0]),
        (refusal(503, "ServiceUnavailable", Retry_After="Fri, 01 Jan 2027 12:00:09 GMT"), [9.0]),
    ],
)
def test_a_server_that_names_a_time_is_obeyed(fault: Answer, waits: list[float]) -> None:
    graph, body = get(fault, GOOD)
    assert body == {"id": "1"}
    assert graph.waits == waits


@pytest.mark.parametrize("fault", [refusal(429, "x"), refusal(504, "x"), refusal(500, "x"), RESET, NO_CONNECTION])
def test_other_passing_faults_are_ridden_out(fault: Any) -> None:
    graph, body = get(fault, fault, GOOD)
    assert body == {"id": "1"}
    assert len(graph.waits) >= 2


def test_json_that_was_cut_off_is_asked_for_again() -> None:
    _, body = get(Answer(200, {"Content-Type": "application/json"}, b'{"id": "1'), GOOD)
    assert body == {"id": "1"}


def test_throttling_without_end_says_when_to_come_back() -> None:
    with pytest.raises(Throttled) as caught:
        get(refusal(429, "ApplicationThrottled", Retry_After="4000"))
    assert caught.value.retry_at is not None
    assert (caught.value.retry_at - NOON).total_seconds() == 4000
    assert caught.value.code == "ApplicationThrottled"


@pytest.mark.parametrize(
    ("fault", "error"),
    [(refusal(502, "BadGateway"), ServerFault), (RESET, Unreachable), (NO_CONNECTION, Unreachable)],
)
def test_faults_that_do_not_pass_end_the_request(fault: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        get(fault)


def test_a_host_that_does_not_answer_is_given_up_sooner_than_one_that_fails() -> None:
    graph = StubGraph({"/v1.0/users/u": NO_CONNECTION})
    with pytest.raises(Unreachable):
        graph.client.get_json("/users/u")
    assert len(graph.asked) == 4


def test_an_expired_token_is_renewed_once() -> None:
    graph, body = get(refusal(401, "InvalidAuthenticationToken"), GOOD)
    assert body == {"id": "1"}
    assert [headers["Authorization"] for headers in graph.headers] == ["Bearer token-1", "Bearer token-2"]


def test_a_token_revoked_while_it_is_fresh_does_not_put_a_good_credential_in_doubt() -> None:
    graph, body = get(*[refusal(401, "InvalidAuthenticationToken")] * FRESH_TOKENS, GOOD)
    assert body == {"id": "1"}
    assert graph.headers[-1]["Authorization"] == f"Bearer token-{FRESH_TOKENS + 1}"


def test_refusing_every_fresh_token_is_final_for_every_request_to_come() -> None:
    graph = StubGraph({"/v1.0/users/u": refusal(401, "InvalidAuthenticationToken")})
    for _ in range(3):
        with pytest.raises(CredentialRejected) as caught:
            graph.client.get_json("/users/u")
    assert caught.value.code == "InvalidAuthenticationToken"
    assert (len(graph.asked), graph.tokens.given) == (FRESH_TOKENS + 1, FRESH_TOKENS + 1)


def test_a_place_that_refuses_tokens_which_others_take_is_alone_in_that() -> None:
    graph = StubGraph({"/v1.0/users/other": GOOD})

    def refuse_while_another_is_served(_: str) -> Answer:
        # Just then somebody else uses the fresh token with success.
        graph.client.get_json("/users/other")
        return refusal(401, "UnknownError")

    graph.scripts["/v1.0/users/u"] = refuse_while_another_is_served
    with pytest.raises(Refusal) as caught:
        graph.client.get_json("/users/u")
    assert isinstance(explain(caught.value, advice="-"), NotPermitted)
    assert graph.client.get_json("/users/other")


@pytest.mark.parametrize(
    "body", ["<html>Sign in to the hotel</html>", [1, 2]], ids=["a web page", "something else than an object"]
)
def test_answers_of_another_kind_are_violations(body: Any) -> None:
    with pytest.raises(ProtocolViolation):
        get(answer(body))


def test_a_redirect_is_not_followed() -> None:
    with pytest.raises(Refusal) as caught:
        get(answer({}, 302, {"Location": "https://evil.example/"}))
    assert caught.value.status == 302


def test_half_surrogates_and_broken_utf8_do_not_make_a_page_unreadable() -> None:
    body = b'{"a": "\\ud83d", "b": "\xff\xfe", "c": "tab\there"}'
    _, parsed = get(Answer(200, {"Content-Type": "application/json"}, body))
    assert set(parsed) == {"a", "b", "c"}


def test_errors_do_not_repeat_what_the_server_says_of_people() -> None:
    with pytest.raises(ServerFault) as caught:
        get(refusal(500, "Anna Becker <anna@example.com>"))
    assert "Becker" not in str(caught.value) + caught.value.code + caught.value.advice


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/v1.0/users/u/contacts/delta",
        "https://evil.example:8443/v1.0/users",
        "https://graph.example.com/v1.0/users",
        "https://graph.example.com:8444/v1.0/users",
        "http://graph.example.com:8443/v1.0/users",
        "https://graph.example.com:8443@evil.example/v1.0/users",
        "https://graph.example.com:8443\\@evil.example/v1.0/users",
        "https://graph.example.com:8443.evil.example/v1.0/users",
        "https://graph.example.com:8443/v1.0/../beta/users",
        "https://graph.example.com:8443/v1.0/users/%2e%2E/me",
        "https://graph.example.com:8443/beta/users",
        "https://graph.example.com:port/v1.0/users",
        "//evil.example/v1.0/users",
        "/beta/users",
        "///evil.example/v1.0/users",
        "https://graph.example.com:8443/v1.0/users\r\nHost: evil.example",
        17,
        None,
    ],
)
def test_a_link_that_leads_elsewhere_is_a_violation(link: object) -> None:
    with pytest.raises(ProtocolViolation):
        StubGraph({}).client.local_path(link)


@pytest.mark.parametrize(
    ("link", "path"),
    [
        (f"{ORIGIN}/v1.0/users('a')/contacts/delta?$skiptoken=a%2Fb", "/users('a')/contacts/delta?$skiptoken=a%2Fb"),
        ("https://GRAPH.example.com:8443/v1.0/groups/g", "/groups/g"),
        ("/v1.0/groups/g?$skiptoken=a%3D", "/groups/g?$skiptoken=a%3D"),
    ],
)
def test_a_link_home_becomes_a_path(link: str, path: str) -> None:
    assert StubGraph({}).client.local_path(link) == path


def test_the_default_port_may_be_written_or_not() -> None:
    client = GraphClient(None, "https://graph.microsoft.com", None, print, lambda: NOON)  # type: ignore[arg-type]
    assert client.local_path("https://graph.microsoft.com:443/v1.0/users") == "/users"


def test_a_list_that_goes_on_without_entries_is_given_up() -> None:
    following = (f"{ORIGIN}/v1.0/groups?$skiptoken={token}" for token in count())
    graph = StubGraph({"/v1.0/groups": lambda _: answer({"value": [], "@odata.nextLink": next(following)})})
    with pytest.raises(ProtocolViolation):
        list(graph.client.pages("/groups"))


def test_a_list_is_followed_over_all_its_pages() -> None:
    graph = StubGraph(
        {
            "/v1.0/groups": answer({"value": [1], "@odata.nextLink": f"{ORIGIN}/v1.0/groups?$skip=1"}),
            "/v1.0/groups?$skip=1": answer({"value": [2]}),
        }
    )
    assert list(graph.client.pages("/groups")) == [[1], [2]]


def test_a_list_that_goes_round_in_circles_is_a_violation() -> None:
    graph = StubGraph({"/v1.0/groups": answer({"value": [1], "@odata.nextLink": f"{ORIGIN}/v1.0/groups"})})
    with pytest.raises(ProtocolViolation):
        list(graph.client.pages("/groups"))


def test_a_page_without_a_list_is_a_violation() -> None:
    with pytest.raises(ProtocolViolation):
        list(StubGraph({"/v1.0/groups": answer({"value": "none"})}).client.pages("/groups"))


def test_a_byte_order_mark_before_the_data_is_no_part_of_it() -> None:
    assert parse(b'\xef\xbb\xbf{"value": []}') == {"value": []}
