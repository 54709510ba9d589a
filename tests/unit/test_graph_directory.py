"""The directory: sources, members and cards, and what is said when the directory says no."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from itertools import islice
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from connectors.contact import Contact, PostalAddress
from connectors.graph.directory import people
from connectors.graph.directory.org_contacts import organisation_contacts
from connectors.graph.sign_in.auth import Token
from connectors.graph.wire.transport import Answer
from connectors.port import (
    Card,
    Mailbox,
    MailboxGone,
    MailboxKind,
    NotPermitted,
    ProtocolViolation,
    Source,
    SourceGone,
    SourceKind,
)
from connectors.selection import BUSINESS, FULL, UserFilter
from tests.unit.graph_stub import NOON, ORIGIN, StubGraph, answer, refusal

GROUP = "/v1.0/groups/g"
MEMBERS = f"{GROUP}/transitiveMembers/microsoft.graph.user"


def resolve(graph: StubGraph, kind: SourceKind, ref: str) -> list[Mailbox]:
    return [card.mailbox for card in graph.connector().resolve(Source(kind, ref))]


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
    rows: list[Any] = [{"id": "A"}, {"id": "a"}, {"id": "B", "accountEnabled": False}]
    graph = StubGraph(
        {
            GROUP: answer({"id": "g"}),
            MEMBERS: answer({"value": rows, "@odata.nextLink": f"{ORIGIN}{MEMBERS}?$skiptoken=2"}),
            f"{MEMBERS}?$skiptoken=2": answer({"value": [{"id": "C"}]}),
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


# -- cards that come along --------------------------------------------------------------------------------------------

ANNA = {"id": "A", "userPrincipalName": "anna@example.com", "displayName": "Anna", "officeLocation": "4.01"}


def selected(path: str) -> set[str]:
    """The properties that a request asked for."""
    return set(parse_qs(urlsplit(path).query)["$select"][0].split(","))


def largest(path: str) -> bool:
    """Whether a request asks for the largest page that the directory gives."""
    return parse_qs(urlsplit(path).query)["$top"] == ["999"]


def test_a_person_brings_the_card_along_in_one_request_with_the_wanted_fields_alone() -> None:
    graph = StubGraph({"/v1.0/users/a": answer(ANNA)})
    assert people.user(graph.client, "a", BUSINESS) == Card(
        Mailbox("a", "anna@example.com"), Contact(display_name="Anna")
    )
    assert people.user(graph.client, "a", FULL).contact == Contact(display_name="Anna", office_location="4.01")
    assert ["officeLocation" in selected(path) for path in graph.asked] == [False, True]


def test_members_bring_their_cards_along_by_the_largest_page() -> None:
    graph = StubGraph({GROUP: answer({"id": "g"}), MEMBERS: answer({"value": [ANNA]})})
    assert [card.contact for card in people.members(graph.client, "g", BUSINESS)] == [Contact(display_name="Anna")]
    assert len(graph.asked) == 2
    assert largest(graph.asked[1])


def test_a_huge_group_is_read_by_the_page_as_its_members_are_taken() -> None:
    def page(path: str) -> Answer:
        number = int(parse_qs(urlsplit(path).query).get("$skiptoken", ["0"])[0])
        rows = [{"id": f"{number}-{row}"} for row in range(999)]
        following = {"@odata.nextLink": f"{ORIGIN}{MEMBERS}?$skiptoken={number + 1}"} if number < 50 else {}
        return answer({"value": rows, **following})

    graph = StubGraph({GROUP: answer({"id": "g"}), MEMBERS: page})
    found = people.members(graph.client, "g", BUSINESS)
    assert len(list(islice(found, 999))) == 999
    assert len(graph.asked) == 2
    assert sum(1 for _ in found) == 50 * 999


# -- what is kept from us ---------------------------------------------------------------------------------------------


def holding(graph: StubGraph, *roles: str) -> StubGraph:
    """The same, with a token that carries roles."""
    claims = base64.urlsafe_b64encode(json.dumps({"roles": roles}).encode()).decode().rstrip("=")
    graph.tokens.acquire = lambda: Token(f"x.{claims}.x", NOON + timedelta(hours=1))  # type: ignore[method-assign]
    return graph


def group(visibility: str | None, *people: Any) -> StubGraph:
    return StubGraph({GROUP: answer({"id": "g", "visibility": visibility}), MEMBERS: answer({"value": list(people)})})


@pytest.mark.parametrize("roles", [(), ("GroupMember.Read.All", "User.Read.All")])
def test_a_group_that_hides_its_members_does_not_look_empty(roles: tuple[str, ...]) -> None:
    graph = holding(group("HiddenMembership"), *roles)
    with pytest.raises(NotPermitted) as caught:
        list(people.members(graph.client, "g", BUSINESS))
    assert "Member.Read.Hidden" in caught.value.advice


def test_a_group_is_empty_where_nothing_is_hidden_from_us() -> None:
    may_see = holding(group("HiddenMembership"), "Member.Read.Hidden")
    for graph in (may_see, group("Private"), group(None)):
        assert list(people.members(graph.client, "g", BUSINESS)) == []


def test_hidden_members_that_we_may_see_are_given() -> None:
    assert len(list(people.members(group("HiddenMembership", ANNA).client, "g", BUSINESS))) == 1


def test_people_of_whom_only_the_id_is_shown_are_not_taken_for_people_without_properties() -> None:
    graph = group(None, {"id": "A", "mail": None, "userPrincipalName": None, "accountEnabled": None})
    with pytest.raises(NotPermitted) as caught:
        list(people.members(graph.client, "g", BUSINESS))
    assert "User.Read.All" in caught.value.advice


# -- everybody --------------------------------------------------------------------------------------------------------

PEOPLE = [
    {"id": "1", "mail": "one@Example.com", "userPrincipalName": "u1@internal.example", "department": "Sales"},
    {"id": "2", "mail": "two@example.com", "userPrincipalName": "u2@x", "department": "SALES", "companyName": "Nord"},
    {"id": "3", "mail": "three@mail.example.com", "userPrincipalName": "u3@x", "department": "Sales East"},
    {"id": "4", "mail": None, "userPrincipalName": "four@example.com", "companyName": "NORD"},
    {"id": "5", "mail": "five@example.com", "userPrincipalName": "u5@x", "accountEnabled": False, "department": "It"},
    {"id": "6", "mail": "six@example.com", "userPrincipalName": "u6@x", "showInAddressList": False},
    {"id": "7", "mail": "seven@xn--mller-kva.example", "userPrincipalName": "u7@x", "showInAddressList": None},
    {"id": "8", "mail": "", "userPrincipalName": "u8", "department": 8, "companyName": ["Nord"]},
    {"id": "1", "mail": "one@example.com", "userPrincipalName": "u1@x"},
]


def everybody(graph: StubGraph, **wanted: Any) -> str:
    """The IDs of those whom a filter lets through."""
    return "".join(card.mailbox.key for card in people.everybody(graph.client, UserFilter(**wanted), BUSINESS))


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, "123478"),
        ({"disabled": True}, "1234578"),
        ({"hidden": True}, "1234678"),
        ({"department": "sales"}, "12"),
        ({"department": "Sales East"}, "3"),
        ({"department": "Sale"}, ""),
        ({"company": "nord"}, "24"),
        ({"domain": "EXAMPLE.com"}, "12"),
        ({"domain": "müller.example"}, "7"),
        ({"domain": "xn--mller-kva.example"}, "7"),
        ({"domain": "example.com", "department": "Sales", "company": "Nord"}, "2"),
        ({"department": "IT"}, ""),
        ({"department": "IT", "disabled": True}, "5"),
    ],
)
def test_a_filter_lets_through_whom_all_of_it_means(wanted: dict[str, Any], found: str) -> None:
    assert everybody(StubGraph({"/v1.0/users": answer({"value": PEOPLE})}), **wanted) == found


def test_a_decomposed_letter_is_the_same_letter() -> None:
    people = [{"id": "1", "department": "Bu\u0308ro"}]
    assert everybody(StubGraph({"/v1.0/users": answer({"value": people})}), department="BÜRO") == "1"


def test_everybody_comes_page_by_page_with_cards_and_nothing_more_is_asked_for_than_fields_and_filter_need() -> None:
    first = answer({"value": [ANNA], "@odata.nextLink": f"{ORIGIN}/v1.0/users?$skiptoken=1"})
    second = answer({"value": [{"id": "B", "displayName": "Ben", "companyName": "Nord"}]})
    fields = frozenset({"display_name"})
    graph = StubGraph({"/v1.0/users": [first, second]})
    named = [card.contact for card in people.everybody(graph.client, UserFilter(), fields)]
    assert named == [Contact(display_name="Anna"), Contact(display_name="Ben")]
    assert largest(graph.asked[0])
    needed = {"id", "mail", "userPrincipalName", "accountEnabled", "showInAddressList", "displayName"}
    assert selected(graph.asked[0]) == needed
    graph = StubGraph({"/v1.0/users": [first, second]})
    (nord,) = people.everybody(graph.client, UserFilter(company="Nord"), fields)
    assert nord.contact == Contact(display_name="Ben")
    assert selected(graph.asked[0]) == needed | {"companyName"}


def test_who_is_in_the_group_to_leave_out_at_any_depth_is_left_out() -> None:
    left_out = answer({"value": [{"id": "2"}, {"id": "4"}]})
    graph = StubGraph({GROUP: answer({"id": "g"}), MEMBERS: left_out, "/v1.0/users": answer({"value": PEOPLE})})
    assert everybody(graph, exclude_group="g") == "1378"
    assert selected(graph.asked[1]) == {"id"}


def test_a_group_to_leave_out_that_there_is_not_is_named_and_nobody_is_read() -> None:
    ref = "0d4f6c1b-5e2a-4b7d-9a38-c7f1e6d20b95"
    graph = StubGraph({f"/v1.0/groups/{ref}": refusal(404, "Request_ResourceNotFound")})
    with pytest.raises(SourceGone) as caught:
        everybody(graph, exclude_group=ref)
    assert ref[:8] in caught.value.message
    assert "--exclude-group" in caught.value.advice
    assert len(graph.asked) == 1


def test_a_group_to_leave_out_that_hides_its_members_lets_nobody_through() -> None:
    graph = holding(group("HiddenMembership"))
    with pytest.raises(NotPermitted):
        everybody(graph, exclude_group="g")


def test_users_that_may_not_be_read_name_the_permission() -> None:
    with pytest.raises(NotPermitted) as caught:
        everybody(StubGraph({"/v1.0/users": refusal(403, "Authorization_RequestDenied")}))
    assert "User.Read.All" in caught.value.advice


# -- contacts of the organisation -------------------------------------------------------------------------------------

PAUL = {
    "id": "AB-CD",
    "mail": "paul@partner.example",
    "displayName": "Paul Partner",
    "givenName": "Paul",
    "surname": "Partner",
    "companyName": "Partner AG",
    "department": "Sales",
    "jobTitle": "Head",
    "proxyAddresses": ["smtp:other@partner.example"],
    "addresses": [{"city": "Bremen"}],
    "phones": [
        {"type": "businessFax", "number": "1"},
        {"type": "business", "number": "2"},
        {"type": "mobile", "number": ""},
        {"type": "mobile", "number": "3"},
        {"type": "business", "number": "4"},
        {"type": "business", "number": 5},
        "text",
    ],
}


def outside(fields: frozenset[str], *rows: Any) -> tuple[StubGraph, list[Card]]:
    graph = StubGraph({"/v1.0/contacts": answer({"value": list(rows)})})
    return graph, list(organisation_contacts(graph.client, fields))


def test_a_contact_of_the_organisation_has_a_card_and_no_mailbox() -> None:
    _, (card,) = outside(FULL, PAUL)
    assert card.mailbox == Mailbox("ab-cd", "paul@partner.example", kind=MailboxKind.OUTSIDE)
    assert card.contact == Contact(
        display_name="Paul Partner",
        given_name="Paul",
        surname="Partner",
        company="Partner AG",
        department="Sales",
        job_title="Head",
        email_addresses=("paul@partner.example",),
        business_phones=("2", "4"),
        mobile_phone="3",
        business_address=PostalAddress(),
    )


def test_of_contacts_of_the_organisation_only_wanted_fields_are_asked_for_and_taken() -> None:
    graph, (card,) = outside(frozenset({"surname", "mobile_phone", "notes"}), PAUL)
    assert largest(graph.asked[0])
    assert selected(graph.asked[0]) == {"id", "mail", "surname", "phones"}
    assert card.contact == Contact(surname="Partner", mobile_phone="3")


def test_contacts_of_the_organisation_come_once_and_oddities_in_their_fields_not_at_all() -> None:
    odd = {"id": "B", "mail": ["x"], "phones": {"type": "mobile"}, "displayName": 7}
    _, cards = outside(FULL, PAUL, PAUL | {"id": "ab-CD"}, odd)
    assert [card.mailbox for card in cards] == [
        Mailbox("ab-cd", "paul@partner.example", kind=MailboxKind.OUTSIDE),
        Mailbox("b", kind=MailboxKind.OUTSIDE),
    ]
    assert cards[1].contact == Contact()


def test_somebody_of_an_unknown_type_is_a_violation_for_leaving_them_out_would_remove_them() -> None:
    listed = answer({"value": [{"id": "A"}, {"id": "B", "@odata.type": "#microsoft.graph.stranger"}]})
    graph = StubGraph({"/v1.0/users": listed, GROUP: answer({"id": "g"}), MEMBERS: listed})
    with pytest.raises(ProtocolViolation):
        everybody(graph)
    with pytest.raises(ProtocolViolation):
        resolve(graph, SourceKind.GROUP, "g")


@pytest.mark.parametrize("row", [{}, "text", {"id": None}, {"id": ""}])
def test_somebody_without_an_id_is_a_violation_for_it_could_be_anybody(row: Any) -> None:
    listed = answer({"value": [{"id": "A"}, row]})
    graph = StubGraph({"/v1.0/users": listed, GROUP: answer({"id": "g"}), MEMBERS: listed})
    with pytest.raises(ProtocolViolation):
        everybody(graph)
    with pytest.raises(ProtocolViolation):
        resolve(graph, SourceKind.GROUP, "g")
    with pytest.raises(ProtocolViolation):
        outside(FULL, row)


def test_contacts_of_the_organisation_that_may_not_be_read_name_the_permission() -> None:
    graph = StubGraph({"/v1.0/contacts": refusal(403, "Authorization_RequestDenied")})
    with pytest.raises(NotPermitted) as caught:
        list(organisation_contacts(graph.client, FULL))
    assert "OrgContact.Read.All" in caught.value.advice
