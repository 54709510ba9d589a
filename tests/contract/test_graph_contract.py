"""Every request to the Graph simulator and every answer of it is as Microsoft's description has it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from connectors.port import Mailbox, Page, PhotoRef, Source, SourceKind
from tests.conftest import Authority
from tests.contract.harness_graph import GraphHarness
from tests.contract.openapi_validator import ContractBroken, OpenApi
from tests.reading import mailboxes, outcomes
from tests.simulators.company.cast import ANNA, EMPTY, EVERYBODY, JURGEN, LAYLA, SALES, SAM
from tests.simulators.company.model import Company
from tests.simulators.online.recorder import Exchange
from tests.simulators.online.server import OnlineSimulator

Ask = Callable[..., requests.Response]


@pytest.fixture(scope="session")
def graph(contracts: Path) -> OpenApi:
    return OpenApi(contracts / "graph" / "graph-slice.yaml")


@pytest.fixture
def ask(graph: OpenApi, online: OnlineSimulator, graph_session: requests.Session) -> Iterator[Ask]:
    """Sends a request; at the end of the test every exchange is held against the description."""

    def send(path: str, method: str = "GET", **options: Any) -> requests.Response:
        url = path if path.startswith("https:") else f"{online.origin}/v1.0/{path}"
        return graph_session.request(method, url, **options)

    yield send
    assert online.recorder.exchanges
    for exchange in online.recorder.exchanges:
        graph.check(exchange)


def sign_in_for_writing(online: OnlineSimulator, graph_session: requests.Session) -> None:
    """Signs in again, now with the roles for writing."""
    online.application.roles = (*online.application.roles, "Contacts.ReadWrite", "User.ReadWrite.All")
    form = {
        "grant_type": "client_credentials",
        "client_id": online.client_id,
        "client_secret": online.client_secret,
        "scope": f"{online.origin}/.default",
    }
    answer = graph_session.post(f"{online.origin}/{online.directory_id}/oauth2/v2.0/token", data=form)
    graph_session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"


def follow(ask: Ask, path: str, **options: Any) -> dict[str, Any]:
    """The last page of a collection."""
    page = ask(path, **options).json()
    while "@odata.nextLink" in page:
        page = ask(page["@odata.nextLink"], **options).json()
    return page


def an_exchange(online: OnlineSimulator, ask: Ask) -> Exchange:
    ask(f"users/{ANNA}/contacts?$top=1&$select=displayName,birthday,emailAddresses")
    return online.recorder.exchanges[-1]


def with_body(exchange: Exchange, change: Callable[[dict[str, Any]], None]) -> Exchange:
    body = json.loads(exchange.answer_body)
    change(body)
    return replace(exchange, answer_body=json.dumps(body).encode())


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda body: body.pop("value"), id="no value"),
        pytest.param(lambda body: body["value"][0].update(dispalyName="x"), id="misspelt property"),
        pytest.param(lambda body: body["value"][0].update(displayName=7), id="number for text"),
        pytest.param(lambda body: body["value"][0].update(birthday="yesterday"), id="no date"),
        pytest.param(lambda body: body["value"][0].update(emailAddresses="a@b.example"), id="text for list"),
        pytest.param(lambda body: body["value"][0]["emailAddresses"][0].update(adress="x"), id="misspelt inside"),
    ],
)
def test_the_validator_refuses_a_wrong_body(
    change: Callable[[dict[str, Any]], None], graph: OpenApi, online: OnlineSimulator, ask: Ask
) -> None:
    right = an_exchange(online, ask)
    graph.check(right)
    with pytest.raises(ContractBroken):
        graph.check(with_body(right, change))


@pytest.mark.parametrize(
    "wrong",
    [
        {"path": "/v1.0/users/x/addressBook"},
        {"method": "PUT"},
        {"status": 302},
        {"query": {"$topp": "3"}},
        {"query": {"$top": "many"}},
        {"answer_headers": {"Content-Type": "text/html", "request-id": "1", "client-request-id": "1"}},
        {"answer_headers": {"Content-Type": "application/json"}},
        {"answer_body": b"<html>"},
        {"body": b"{}"},
        {"headers": {"X-Prefer": "ponies"}},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_the_validator_refuses_a_wrong_exchange(
    wrong: dict[str, Any], graph: OpenApi, online: OnlineSimulator, ask: Ask
) -> None:
    with pytest.raises(ContractBroken):
        graph.check(replace(an_exchange(online, ask), **wrong))


def test_directory_answers_are_as_described(ask: Ask) -> None:
    eventual = {"ConsistencyLevel": "eventual"}
    follow(ask, "users?$top=4&$select=id,displayName,mail,proxyAddresses,showInAddressList")
    follow(ask, "users?$filter=accountEnabled eq true&$count=true", headers=eventual)
    ask("users/$count", headers=eventual)
    ask(f"users/{ANNA}")
    ask(f"users/{ANNA}?$select=id,otherMails,accountEnabled,streetAddress,state,country,city,postalCode,companyName")
    ask(f"users/{ANNA}/transitiveMemberOf")
    ask("users/nobody")
    ask(f"users/{ANNA}/manager")
    ask("organization?$select=id,displayName")
    ask("groups")
    ask(f"groups/{SALES}")
    ask(f"groups/{EMPTY}/members")
    for kind in ("members", "transitiveMembers"):
        ask(f"groups/{EVERYBODY}/{kind}")
        ask(f"groups/{EVERYBODY}/{kind}/$count", headers=eventual)
        follow(ask, f"groups/{EVERYBODY}/{kind}/microsoft.graph.user?$select=id,mail&$top=2")
        ask(f"groups/{EVERYBODY}/{kind}/microsoft.graph.orgContact")
    ask("directoryObjects/getByIds", "POST", json={"ids": [ANNA, SALES], "types": ["user", "group"]})
    ask(f"directoryObjects/{ANNA}")


def test_directory_change_tracking_is_as_described(ask: Ask, online: OnlineSimulator) -> None:
    users, groups = follow(ask, "users/delta?$select=displayName,mail"), follow(ask, "groups/delta")
    online.company.change_person(ANNA, job_title="Vorständin")
    online.company.remove_person(JURGEN)
    assert len(ask(users["@odata.deltaLink"]).json()["value"]) == 2
    assert ask(groups["@odata.deltaLink"]).json()["value"]
    online.expire_delta_tokens()
    assert ask(users["@odata.deltaLink"]).status_code == 410


def test_mailbox_answers_are_as_described(ask: Ask, online: OnlineSimulator) -> None:
    folders = follow(ask, f"users/{ANNA}/contactFolders?$top=2")
    folder = ask(f"users/{ANNA}/contactFolders").json()["value"][0]["id"]
    assert folders["value"]
    ask(f"users/{ANNA}/contactFolders/contacts")
    ask(f"users/{ANNA}/contactFolders/{folder}/childFolders?$select=displayName")
    ask(f"users/{ANNA}/contactFolders/delta")
    follow(ask, f"users/{ANNA}/contacts", headers={"Prefer": 'IdType="ImmutableId"'})
    follow(ask, f"users/{ANNA}/contactFolders/{folder}/contacts?$orderby=displayName&$top=7")
    contact = ask(f"users/{ANNA}/contacts").json()["value"][0]["id"]
    ask(f"users/{ANNA}/contacts/$count")
    ask(f"users/{ANNA}/contacts/{contact}?$expand=singleValueExtendedProperties($filter=id eq 'Integer 0x36')")
    ask(f"users/{ANNA}/contacts/{contact}/photo")
    ask(f"users/{ANNA}/contacts/{contact}/photo/$value")
    ask(f"users/{ANNA}/contacts/missing")
    ask(f"users/{SAM}/contacts")
    body = {"InputIds": [contact], "SourceIdType": "restId", "TargetIdType": "restImmutableEntryId"}
    ask(f"users/{ANNA}/translateExchangeIds", "POST", json=body)


def test_contact_change_tracking_is_as_described(ask: Ask, online: OnlineSimulator) -> None:
    prefer = {"Prefer": 'odata.maxpagesize=3, IdType="ImmutableId"'}
    page = follow(ask, f"users/{ANNA}/contacts/delta?$select=displayName,birthday", headers=prefer)
    first, second, *_ = online.company.box_of(ANNA).default.items
    online.company.change_contact(ANNA, first, notes="neu")
    online.company.remove_contact(ANNA, second)
    rows = ask(page["@odata.deltaLink"], headers=prefer).json()["value"]
    assert [("@removed" in row) for row in rows] == [False, True]
    assert ask(f"users/{ANNA}/contacts/delta?$expand=extensions").status_code == 500
    online.expire_delta_tokens()
    assert ask(page["@odata.deltaLink"]).status_code == 410


def test_portraits_are_as_described(ask: Ask) -> None:
    for owner in (ANNA, LAYLA):
        for path in ("photo", "photo/$value", "photos", "photos/240x240", "photos/240x240/$value", "photos/7x7/$value"):
            ask(f"users/{owner}/{path}")


def test_batches_are_as_described(ask: Ask) -> None:
    parts = [
        {"id": "1", "method": "GET", "url": f"/users/{ANNA}/photo/$value"},
        {"id": "2", "method": "GET", "url": f"/users/{LAYLA}/photo/$value"},
        {"id": "3", "method": "GET", "url": f"/users/{ANNA}/contacts?$top=1", "dependsOn": ["2"]},
        {
            "id": "4",
            "method": "GET",
            "url": f"/groups/{SALES}/members/$count",
            "headers": {"ConsistencyLevel": "eventual"},
        },
    ]
    answers = ask("$batch", "POST", json={"requests": parts}).json()["responses"]
    assert {answer["id"]: answer["status"] for answer in answers} == {"1": 200, "2": 404, "3": 424, "4": 200}


def test_writing_is_as_described(ask: Ask, online: OnlineSimulator, graph_session: requests.Session) -> None:
    sign_in_for_writing(online, graph_session)
    contacts = f"users/{ANNA}/contacts"
    made = ask(contacts, "POST", json={"givenName": "Otto", "surname": "Neu", "businessPhones": ["1"]}).json()
    assert ask(contacts, "POST", json={"businessPhones": ["1", "2", "3"]}).status_code == 400
    one = f"{contacts}/{made['id']}"
    assert ask(one, "PATCH", json={"jobTitle": "x"}, headers={"If-Match": made["@odata.etag"]}).status_code == 200
    assert ask(one, "PATCH", json={"jobTitle": "y"}, headers={"If-Match": made["@odata.etag"]}).status_code == 412
    picture = {"data": b"\xff\xd8\xff\xd9", "headers": {"Content-Type": "image/jpeg"}}
    ask(f"{one}/photo/$value", "PUT", **picture)
    ask(f"users/{ANNA}/photo/$value", "PUT", **picture)
    ask(f"{one}/photo/$value", "DELETE")
    ask(one, "DELETE")
    folder = ask(f"users/{ANNA}/contactFolders", "POST", json={"displayName": "Neu"}).json()["id"]
    ask(f"users/{ANNA}/contactFolders/{folder}", "PATCH", json={"displayName": "Neuer"})
    ask(f"users/{ANNA}/contactFolders/{folder}/childFolders", "POST", json={"displayName": "Darin"})
    assert ask(f"users/{ANNA}/contactFolders/{folder}", "DELETE").status_code == 204


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503, 504])
def test_simulated_faults_are_as_described(status: int, ask: Ask, online: OnlineSimulator) -> None:
    online.faults.fail_next("contacts", status=status, headers={"Retry-After": "3"})
    assert ask(f"users/{ANNA}/contacts").status_code == status


def test_what_the_connector_asks_for_is_as_described(graph: OpenApi, company: Company, authority: Authority) -> None:
    harness = GraphHarness(company, authority.ca, authority.ca_pem)
    try:
        connector = harness.connect(page_size=5)
        connector.probe()
        found = list(mailboxes(connector, Source(SourceKind.GROUP, EVERYBODY)))
        cards = list(connector.card(found))
        pages = [page for page in outcomes(connector, Mailbox(ANNA), {}) if isinstance(page, Page)]
        upserts = [(page.folder.id, upsert.id) for page in pages for upsert in page.upserts]
        wanted = [PhotoRef(Mailbox(ANNA), folder, item) for folder, item in upserts]
        photos = list(connector.photos([PhotoRef(card.mailbox) for card in cards] + wanted))
        assert (len(cards), len(photos)) == (7, 7 + len(upserts))
        for exchange in harness.simulator.recorder.exchanges:
            graph.check(exchange)
    finally:
        harness.close()
