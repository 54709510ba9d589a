"""The Graph simulator's directory: filters, organisation contacts, hidden and large groups, and change tracking."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.conftest import Authority
from tests.contract.openapi_validator import OpenApi
from tests.integration.graph_asking import ADVANCED, Get, asking, code_of, round_of, rows
from tests.simulators.company.cast import ANNA, COURIER, JURGEN, LAYLA, MEI, OLAF, ROBOT, SALES, SAM, SUPPLIER, ZOE
from tests.simulators.company.growth import ALL_GROUP, grown_company
from tests.simulators.company.model import Company
from tests.simulators.online.server import OnlineSimulator

SignIn = Callable[..., Get]


def signed_in(online: OnlineSimulator, session: requests.Session, *more_roles: str) -> Get:
    """With a fresh bearer for the application's roles and some more."""
    online.application.roles = (*online.application.roles, *more_roles)
    token = online.issuer.issue(online.application, online.origin, online.origin)
    session.headers["Authorization"] = f"Bearer {token}"
    return asking(online.origin, session)


@pytest.fixture
def get(online: OnlineSimulator, graph_session: requests.Session) -> Get:
    return asking(online.origin, graph_session)


@pytest.fixture
def hidden(online: OnlineSimulator) -> str:
    """A group that hides its members, inside another one."""
    group = online.company.add_group("Geheim", [MEI, LAYLA], hidden=True).object_id
    online.company.add_group("Offen", [group, MEI], object_id="11111111-0000-4000-8000-000000000000")
    return group


OPEN = "11111111-0000-4000-8000-000000000000"


# -- filters ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("accountEnabled eq false", {OLAF}),
        ("department eq 'einkauf'", {LAYLA}),
        ("startsWith(displayName,'ann')", {ANNA}),
        ("accountEnabled eq true and (department eq 'Lager' or department eq 'R&D')", {SAM, MEI}),
        ("mail in ('anna.becker@example.com', 'mei.tanaka@example.com')", {ANNA, MEI}),
        ("proxyAddresses/any(p:startsWith(p,'smtp:anna@muster'))", {ANNA}),
    ],
)
def test_filters_that_every_query_may_have(condition: str, found: set[str], get: Get) -> None:
    assert {row["id"] for row in rows(get, f"users?$select=id&$filter={requests.utils.quote(condition)}")} == found


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("companyName eq null", {ROBOT}),
        ("endsWith(mail,'@EXAMPLE.com') and not(department eq 'Vertrieb')", {LAYLA, MEI, SAM, ROBOT}),
        ("showInAddressList eq false", {ZOE, ROBOT}),
        ("department eq null", {ZOE, ROBOT}),
        ("proxyAddresses/any(p:endsWith(p,'@muster.example'))", {ANNA}),
        ("accountEnabled ne true", {OLAF}),
    ],
)
def test_filters_that_need_an_advanced_query(condition: str, found: set[str], get: Get) -> None:
    path = f"users?$select=id&$filter={condition}"
    assert code_of(get(path)) == (400, "Request_UnsupportedQuery")
    assert get(f"{path}&$count=true").status_code == 400
    assert get(path, ADVANCED).status_code == 400
    page = get(f"{path}&$count=true&$top=2", ADVANCED).json()
    assert page["@odata.count"] == len(found)
    assert {row["id"] for row in rows(get, f"{path}&$count=true&$top=2", ADVANCED)} == found


@pytest.mark.parametrize(
    "condition",
    [
        "faxNumber eq '1'",
        "endsWith(displayName,'x')",
        "displayName eq",
        "displayName eq 'a' or",
        "startsWith(jobTitle,'a')",
    ],
)
def test_filters_that_there_are_not(condition: str, get: Get) -> None:
    assert get(f"users?$count=true&$filter={condition}", ADVANCED).status_code == 400


def test_without_its_header_a_count_is_ignored(get: Get) -> None:
    assert "@odata.count" not in get("users?$count=true").json()
    assert get("users?$count=true", ADVANCED).json()["@odata.count"] == 9


def test_members_are_filtered_and_sorted_in_advanced_queries(get: Get) -> None:
    path = f"groups/{SALES}/transitiveMembers/microsoft.graph.user?$select=id&$filter=accountEnabled eq true"
    assert OLAF not in {row["id"] for row in rows(get, path)}
    assert get("users?$filter=accountEnabled eq true&$orderby=displayName").status_code == 400
    ordered = "users?$filter=accountEnabled eq true&$orderby=displayName&$count=true"
    names = [row["displayName"] for row in get(ordered, ADVANCED).json()["value"]]
    assert names == sorted(names, key=str.casefold)


# -- organisation contacts --------------------------------------------------------------------------------------------


def test_organisation_contacts_come_in_pages_with_their_phones_by_type(get: Get) -> None:
    assert {row["id"] for row in rows(get, "contacts?$select=id&$top=1")} == {SUPPLIER, COURIER}
    contact = get(f"contacts/{SUPPLIER}").json()
    assert {phone["type"]: phone["number"] for phone in contact["phones"]} == {
        "mobile": "+47 400 55 151",
        "business": "+47 55 55 01 50",
        "businessFax": None,
    }
    assert contact["proxyAddresses"][0] == "SMTP:hakon@fjord.example"
    assert contact["addresses"][0]["city"] == "Bergen"
    assert get(f"contacts/{COURIER}").json()["mail"] is None
    assert get("contacts/nobody").status_code == 404
    assert [row["id"] for row in rows(get, "contacts?$filter=startsWith(companyName,'fjord')")] == [SUPPLIER]


def test_organisation_contacts_have_a_delta_and_a_permission(
    get: Get, online: OnlineSimulator, graph_session: requests.Session
) -> None:
    found, link = round_of(get, "contacts/delta?$select=displayName,mail")
    assert {row["id"] for row in found} == {SUPPLIER, COURIER}
    online.company.change_org_contact(SUPPLIER, job_title="Daglig leder")
    online.company.remove_org_contact(COURIER)
    assert [row.get("@removed") for row in round_of(get, link)[0]] == [None, {"reason": "changed"}]
    online.application.roles = ("User.Read.All",)
    assert code_of(signed_in(online, graph_session)("contacts")) == (403, "Authorization_RequestDenied")


def test_a_group_tells_people_from_others(get: Get, online: OnlineSimulator) -> None:
    online.company.add_member(SALES, SUPPLIER)
    kinds = {row["@odata.type"] for row in rows(get, f"groups/{SALES}/members?$select=id,mail,accountEnabled")}
    assert kinds == {"#microsoft.graph.user", "#microsoft.graph.group", "#microsoft.graph.orgContact"}
    assert SUPPLIER not in {r["id"] for r in rows(get, f"groups/{SALES}/transitiveMembers/microsoft.graph.user")}
    only = rows(get, f"groups/{SALES}/members/microsoft.graph.orgContact?$select=id")
    assert [row["id"] for row in only] == [SUPPLIER]


# -- groups -----------------------------------------------------------------------------------------------------------


def test_hidden_members_need_a_permission(
    hidden: str, get: Get, online: OnlineSimulator, graph_session: requests.Session
) -> None:
    assert code_of(get(f"groups/{hidden}/members")) == (403, "Authorization_RequestDenied")
    assert get(f"groups/{hidden}?$select=visibility").json()["visibility"] == "HiddenMembership"
    seen = rows(get, f"groups/{OPEN}/transitiveMembers/microsoft.graph.user?$select=id")
    assert {row["id"] for row in seen} == {MEI}
    get = signed_in(online, graph_session, "Member.Read.Hidden")
    assert {row["id"] for row in rows(get, f"groups/{hidden}/members?$select=id")} == {MEI, LAYLA}
    seen = rows(get, f"groups/{OPEN}/transitiveMembers/microsoft.graph.user?$select=id")
    assert {row["id"] for row in seen} == {MEI, LAYLA}


def test_groups_may_contain_each_other(get: Get, online: OnlineSimulator) -> None:
    one = online.company.add_group("Eins", [ANNA]).object_id
    two = online.company.add_group("Zwei", [one, MEI]).object_id
    online.company.add_member(one, two)
    for group in (one, two):
        found = rows(get, f"groups/{group}/transitiveMembers/microsoft.graph.user?$select=id")
        assert sorted(row["id"] for row in found) == sorted([ANNA, MEI])


def test_a_long_chain_of_groups_is_walked_to_its_end(get: Get, online: OnlineSimulator) -> None:
    inner = online.company.add_group("Innen", [ANNA]).object_id
    for number in range(1_100):
        inner = online.company.add_group(f"Hülle {number}", [inner]).object_id
    assert [r["id"] for r in rows(get, f"groups/{inner}/transitiveMembers/microsoft.graph.user?$select=id")] == [ANNA]


@pytest.mark.slow
def test_a_group_of_50_000_comes_in_pages_of_999(authority: Authority, plain: requests.Session) -> None:
    online = OnlineSimulator(grown_company(50_000), authority.ca, record=0)
    online.start()
    try:
        get = signed_in(online, plain)
        path, pages, seen = f"groups/{ALL_GROUP}/transitiveMembers/microsoft.graph.user?$select=id&$top=999", 0, set()
        while path:
            page = get(path).json()
            seen |= {row["id"] for row in page["value"]}
            path, pages = page.get("@odata.nextLink"), pages + 1
        assert (len(seen), pages) == (50_000, 51)
    finally:
        online.stop()


# -- change tracking --------------------------------------------------------------------------------------------------


def test_groups_delta_brings_members_and_then_who_came_and_left(get: Get, online: OnlineSimulator) -> None:
    company = online.company
    found, link = round_of(get, "groups/delta?$select=displayName&$expand=members")
    by_name = {row["displayName"]: row for row in found}
    assert {member["id"] for member in by_name["Vertrieb Nord"]["members@delta"]} == set(
        company.groups[by_name["Vertrieb Nord"]["id"]].members
    )
    assert "members@delta" not in by_name["Noch leer"]
    company.add_member(SALES, MEI)
    company.remove_member(SALES, ANNA)
    company.remove_person(OLAF)
    company.rename_group(by_name["Noch leer"]["id"], "Immer noch leer")
    company.remove_group(by_name["Vorstand"]["id"])
    changed = {row["id"]: row for row in round_of(get, link)[0]}
    assert {m["id"]: m.get("@removed") for m in changed[SALES]["members@delta"]} == {
        MEI: None,
        ANNA: {"reason": "deleted"},
        OLAF: {"reason": "deleted"},
    }
    assert changed[by_name["Noch leer"]["id"]]["displayName"] == "Immer noch leer"
    assert changed[by_name["Vorstand"]["id"]]["@removed"] == {"reason": "changed"}


def test_groups_delta_without_members_and_of_one_group_only(get: Get, hidden: str) -> None:
    assert all("members@delta" not in row for row in round_of(get, "groups/delta?$select=displayName")[0])
    (only,) = round_of(get, f"groups/delta?$filter=id eq '{SALES}'")[0]
    assert only["id"] == SALES
    assert "members@delta" in only
    (secret,) = round_of(get, f"groups/delta?$filter=id eq '{hidden}'")[0]
    assert "members@delta" not in secret
    assert get("groups/delta?$filter=displayName eq 'x'").status_code == 400


def test_the_members_of_a_large_group_come_over_several_pages(get: Get, online: OnlineSimulator) -> None:
    company = online.company
    staff = [company.add_person(mail=f"p{n}@example.com", mailbox=False).object_id for n in range(2_300)]
    _, before = round_of(get, "groups/delta")
    large = company.add_group("Alle zusammen", staff).object_id
    for path in ("groups/delta", before):
        found, _ = round_of(get, path)
        parts = [row["members@delta"] for row in found if row["id"] == large]
        assert len(parts) > 2
        assert sorted(member["id"] for part in parts for member in part) == sorted(staff)


def test_users_delta_leaves_out_what_nobody_set_and_follows_single_people(get: Get, online: OnlineSimulator) -> None:
    path = f"users/delta?$select=displayName,department&$filter=id eq '{ANNA}' or id eq '{ZOE}'"
    found, link = round_of(get, path)
    assert {row["id"]: row.get("department", "-") for row in found} == {ANNA: "Vertrieb", ZOE: "-"}
    online.company.change_person(ANNA, department="")
    online.company.change_person(JURGEN, department="")
    assert round_of(get, link)[0] == [{"id": ANNA, "displayName": "Anna Becker", "department": None}]
    assert round_of(get, "users/delta?$deltatoken=latest")[0] == []


def test_all_that_is_as_described(
    contracts: Any, online: OnlineSimulator, graph_session: requests.Session, hidden: str, company: Company
) -> None:
    graph = OpenApi(contracts / "graph" / "graph-slice.yaml")
    get = signed_in(online, graph_session, "Member.Read.Hidden")
    company.add_member(SALES, SUPPLIER)
    _, people = round_of(get, "users/delta")
    _, groups = round_of(get, "groups/delta?$select=displayName,members")
    _, contacts = round_of(get, "contacts/delta")
    company.add_member(SALES, COURIER)
    company.remove_org_contact(SUPPLIER)
    for path in (people, groups, contacts, "contacts?$top=1", f"contacts/{COURIER}", f"groups/{hidden}/members"):
        assert get(path).ok
    get("users?$filter=endsWith(mail,'com')&$count=true", ADVANCED)
    for exchange in online.recorder.exchanges:
        graph.check(exchange)
