"""The directory: sources, members and cards, and what is said when the directory says no."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.graph.transport import Answer
from connectors.port import (
    Mailbox,
    MailboxGone,
    NotPermitted,
    ProtocolViolation,
    Source,
    SourceGone,
    SourceKind,
)
from tests.unit.graph_stub import ORIGIN, StubGraph, answer, refusal

GROUP = "/v1.0/groups/g"
MEMBERS = f"{GROUP}/transitiveMembers/microsoft.graph.user"


def resolve(graph: StubGraph, kind: SourceKind, ref: str) -> list[Mailbox]:
    return list(graph.connector().resolve(Source(kind, ref)))


def test_a_user_is_known_by_object_id_in_lower_case_and_by_mail_or_principal_name() -> None:
    graph = StubGraph({"/v1.0/users/U": answer({"id": "AB-CD", "mail": None, "userPrincipalName": "a@example.com"})})
    assert resolve(graph, SourceKind.USER, "U") == [Mailbox("ab-cd", "a@example.com", enabled=True)]


def test_a_principal_name_that_begins_with_a_dollar_sign_is_written_the_other_way() -> None:
    graph = StubGraph({"/v1.0/users('%24a@example.com')": answer({"id": "1"})})
    assert resolve(graph, SourceKind.USER, "$a@example.com") == [Mailbox("1")]


def test_ids_cannot_leave_their_place_in_a_path() -> None:
    graph = StubGraph({})
    with pytest.raises(SourceGone):
        resolve(graph, SourceKind.USER, "../groups?x#y")
    assert graph.asked[0].startswith("/v1.0/users/..%2Fgroups%3Fx%23y?")


def test_members_come_page_by_page_each_once_and_only_people() -> None:
    rows: list[Any] = [{"id": "A"}, {"id": "a"}, {"id": "B", "accountEnabled": False}, {}, "text"]
    device = {"@odata.type": "#microsoft.graph.device", "id": "D"}
    graph = StubGraph(
        {
            GROUP: answer({"id": "g"}),
            MEMBERS: answer({"value": rows, "@odata.nextLink": f"{ORIGIN}{MEMBERS}?$skiptoken=2"}),
            f"{MEMBERS}?$skiptoken=2": answer({"value": [device, {"id": "C"}]}),
        }
    )
    found = resolve(graph, SourceKind.GROUP, "g")
    assert [(mailbox.key, mailbox.enabled) for mailbox in found] == [("a", True), ("b", False), ("c", True)]


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (refusal(404, "Request_ResourceNotFound"), SourceGone),
        (refusal(400, "Request_BadRequest"), SourceGone),
        (refusal(403, "Authorization_RequestDenied"), NotPermitted),
    ],
)
@pytest.mark.parametrize(
    ("kind", "path", "permission"),
    [(SourceKind.USER, "/v1.0/users/g", "User.Read.All"), (SourceKind.GROUP, GROUP, "GroupMember.Read.All")],
)
def test_a_source_that_is_refused(
    said: Answer, error: type[Exception], kind: SourceKind, path: str, permission: str
) -> None:
    with pytest.raises(error) as caught:
        resolve(StubGraph({path: said}), kind, "g")
    assert error is SourceGone or permission in caught.value.advice  # type: ignore[attr-defined]


def test_hidden_membership_names_its_own_permission() -> None:
    graph = StubGraph({GROUP: answer({"id": "g"}), MEMBERS: refusal(403, "Authorization_RequestDenied")})
    with pytest.raises(NotPermitted) as caught:
        resolve(graph, SourceKind.GROUP, "g")
    assert "Member.Read.Hidden" in caught.value.advice


def test_an_online_tenant_has_no_mailbox_sources() -> None:
    with pytest.raises(SourceGone):
        resolve(StubGraph({}), SourceKind.MAILBOX, "a@example.com")


def test_a_user_without_an_id_is_a_violation() -> None:
    with pytest.raises(ProtocolViolation):
        resolve(StubGraph({"/v1.0/users/u": answer({"mail": "a@example.com"})}), SourceKind.USER, "u")


def test_a_surprise_inside_comes_out_as_the_ports_error_and_names_nobody() -> None:
    graph = StubGraph({"/v1.0/users/u": RuntimeError("anna@example.com")})
    with pytest.raises(ProtocolViolation) as caught:
        resolve(graph, SourceKind.USER, "u")
    assert "anna" not in str(caught.value)


def test_every_card_has_its_own_outcome() -> None:
    graph = StubGraph(
        {
            "/v1.0/users/good": answer({"displayName": "Good"}),
            "/v1.0/users/gone": refusal(404, "Request_ResourceNotFound"),
            "/v1.0/users/shut": refusal(403, "Authorization_RequestDenied"),
            "/v1.0/users/odd": answer(["no", "object"]),
            "/v1.0/users/busy": refusal(429, "x", Retry_After="9999"),
        }
    )
    cards = list(graph.connector().card([Mailbox(name) for name in ("good", "gone", "shut", "odd", "busy")]))
    assert cards[0].contact is not None
    assert [type(card.error).__name__ for card in cards[1:]] == [
        MailboxGone.__name__,
        NotPermitted.__name__,
        ProtocolViolation.__name__,
        "Throttled",
    ]


@pytest.mark.parametrize("status", [400, 404, 501])
def test_a_server_that_cannot_pick_out_users_lists_everybody(status: int) -> None:
    everybody = [
        {"@odata.type": "#microsoft.graph.user", "id": "A", "accountEnabled": None},
        {"@odata.type": "#microsoft.graph.group", "id": "b", "mail": "b@example.com"},
        {"@odata.type": "#microsoft.graph.device", "id": "c"},
        {"id": "d", "userPrincipalName": "d@example.com"},
        {"id": "e"},
    ]
    listed = answer({"value": everybody})
    graph = StubGraph({GROUP: answer({"id": "g"}), MEMBERS: refusal(status, "x"), f"{GROUP}/transitiveMembers": listed})
    assert resolve(graph, SourceKind.GROUP, "g") == [Mailbox("a"), Mailbox("d", "d@example.com")]


def test_a_list_that_breaks_off_is_not_begun_again_in_another_way() -> None:
    first = answer({"value": [{"id": "a"}], "@odata.nextLink": f"{ORIGIN}{MEMBERS}?$skiptoken=1"})
    graph = StubGraph({GROUP: answer({"id": "g"}), MEMBERS: [first, refusal(400, "x")]})
    with pytest.raises(SourceGone):
        resolve(graph, SourceKind.GROUP, "g")


def test_a_list_that_leads_back_is_a_violation() -> None:
    def page(number: int) -> Answer:
        return answer({"value": [], "@odata.nextLink": f"{ORIGIN}{MEMBERS}?$skiptoken={number}"})

    graph = StubGraph({GROUP: answer({"id": "g"}), MEMBERS: [page(1), page(2), page(1)]})
    with pytest.raises(ProtocolViolation):
        resolve(graph, SourceKind.GROUP, "g")
