"""The Exchange Online simulator refuses what Entra and Graph refuse, and serves what they serve."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.integration.graph_asking import IMMUTABLE, Get, asking, code_of, round_of, rows
from tests.simulators.company.cast import ANNA, BOARD, EVERYBODY, JURGEN, LAYLA, MEI, OLAF, SALES, SAM, ZOE, folder_id
from tests.simulators.company.growth import grown_company
from tests.simulators.online.server import OnlineSimulator


@pytest.fixture
def get(online: OnlineSimulator, graph_session: requests.Session) -> Get:
    return asking(online.origin, graph_session)


# -- reading ----------------------------------------------------------------------------------------------------------


def test_nested_groups_give_each_person_once(get: Get) -> None:
    path = f"groups/{EVERYBODY}/transitiveMembers/microsoft.graph.user?$select=id,accountEnabled&$top=2"
    found = rows(get, path)
    assert len(found) == len({row["id"] for row in found}) == 7
    assert [row["id"] for row in found if not row["accountEnabled"]] == [OLAF]
    assert {row["id"] for row in rows(get, f"groups/{BOARD}/members")} == {ANNA, MEI}
    assert {row["@odata.type"] for row in rows(get, f"groups/{SALES}/members")} == {
        "#microsoft.graph.user",
        "#microsoft.graph.group",
    }


def test_select_brings_what_is_asked_for_and_refuses_the_unknown(get: Get) -> None:
    assert set(get(f"users/{ANNA}?$select=mail,city").json()) == {"@odata.context", "mail", "city"}
    contact = get(f"users/{ANNA}/contacts?$select=displayName&$top=1").json()["value"][0]
    assert set(contact) == {"@odata.etag", "id", "displayName"}
    assert get(f"users/{ANNA}?$select=shoeSize").status_code == 400


def test_page_sizes_have_defaults_and_bounds(get: Get) -> None:
    kunden = get(f"users/{ANNA}/contactFolders").json()["value"][0]["id"]
    path = f"users/{ANNA}/contactFolders/{kunden}/contacts"
    assert len(get(path).json()["value"]) == 10
    assert len(rows(get, path)) == 23
    assert len(get(f"{path}?$top=20").json()["value"]) == 20
    assert get("users?$top=1000").status_code == 400


def test_lists_filter_by_extended_properties(get: Get) -> None:
    def names(condition: str) -> list[str]:
        path = f"users/{JURGEN}/contacts?$filter=singleValueExtendedProperties/any(ep: ep/id eq {condition})"
        return [row["displayName"] for row in get(path).json()["value"]]

    picture = "'Boolean {00062004-0000-0000-C000-000000000046} Id 0x8015'"
    assert names("'Integer 0x36' and cast(ep/value, Edm.Int32) eq 2") == ["Arzttermin Dr. Heim"]
    assert names(f"{picture} and cast(ep/value, Edm.Boolean) eq true") == ["Hugo Groß"]
    bare = get(
        f"users/{JURGEN}/contacts?$filter=singleValueExtendedProperties/any(ep: ep/id eq {picture} and ep/value eq 'x')"
    )
    assert bare.status_code == 400


def test_a_server_may_refuse_one_filter_by_extended_property_or_the_other(get: Get, online: OnlineSimulator) -> None:
    def status(condition: str) -> int:
        path = f"users/{JURGEN}/contacts?$select=id&$filter=singleValueExtendedProperties/any(ep: ep/id eq {condition})"
        return get(path).status_code

    private = "'Integer 0x36' and cast(ep/value, Edm.Int32) eq 2"
    picture = "'Boolean {00062004-0000-0000-C000-000000000046} Id 0x8015' and cast(ep/value, Edm.Boolean) eq true"
    online.behaviour.refused_filters = {"picture"}
    assert (status(private), status(picture)) == (200, 400)
    online.behaviour.refused_filters = {"sensitivity"}
    assert (status(private), status(picture)) == (400, 200)


def test_what_a_filter_finds_comes_in_pages(get: Get, online: OnlineSimulator) -> None:
    for number in range(25):
        online.company.add_contact(LAYLA, display_name=f"Geheim {number}", private=True)
    condition = "singleValueExtendedProperties/any(ep: ep/id eq 'Integer 0x36' and cast(ep/value, Edm.Int32) eq 2)"
    path = f"users/{LAYLA}/contacts?$select=id&$top=10&$filter={condition}"
    assert len(get(path, IMMUTABLE).json()["value"]) == 10
    assert len({row["id"] for row in rows(get, path, IMMUTABLE)}) == 25
    assert len(get(f"{path}&$skip=20", IMMUTABLE).json()["value"]) == 5


def test_hidden_from_address_lists_is_false_and_not_null(get: Get) -> None:
    listed = {row["id"]: row["showInAddressList"] for row in rows(get, "users?$select=id,showInAddressList")}
    assert (listed[ANNA], listed[SAM], listed[ZOE]) == (True, None, False)


def test_absent_things_have_the_codes_of_their_service(get: Get, online: OnlineSimulator) -> None:
    online.behaviour.denied.add(JURGEN)
    assert code_of(get("users/nobody")) == (404, "Request_ResourceNotFound")
    assert code_of(get("users/nobody/contacts")) == (404, "ErrorInvalidUser")
    assert code_of(get(f"users/{SAM}/contacts")) == (404, "MailboxNotEnabledForRESTAPI")
    assert code_of(get(f"users/{ANNA}/contacts/x")) == (404, "ErrorItemNotFound")
    assert code_of(get(f"users/{LAYLA}/photo/$value")) == (404, "ImageNotFound")
    assert code_of(get(f"users/{JURGEN}/contacts")) == (403, "ErrorAccessDenied")
    assert get(f"users/{JURGEN}").ok


def test_every_answer_carries_request_ids(get: Get) -> None:
    answer = get("users/nobody", {"client-request-id": "mine"})
    assert answer.headers["client-request-id"] == "mine" == answer.json()["error"]["innerError"]["client-request-id"]
    assert answer.headers["request-id"] == answer.json()["error"]["innerError"]["request-id"]
    assert answer.headers["Date"]


def test_photos_come_as_stored_in_the_sizes_there_are(get: Get, online: OnlineSimulator) -> None:
    people = online.company.people
    assert [row["id"] for row in get(f"users/{SAM}/photos").json()["value"]] == ["48x48", "64x64", "96x96"]
    assert get(f"users/{SAM}/photos/96x96/$value").content == people[SAM].photo
    assert get(f"users/{SAM}/photos/240x240/$value").status_code == 404
    assert get(f"users/{MEI}/photo/$value").content == people[MEI].photo
    tag = get(f"users/{ANNA}/photo").json()["@odata.mediaEtag"]
    assert get(f"users/{ANNA}/photo", {"If-None-Match": tag}).status_code == 304
    online.company.set_person_photo(ANNA, people[MEI].photo)
    assert get(f"users/{ANNA}/photo").json()["@odata.mediaEtag"] != tag


def test_no_photo_can_also_be_a_placeholder(get: Get, online: OnlineSimulator) -> None:
    online.behaviour.placeholder_photos = True
    assert get(f"users/{LAYLA}/photo").json()["@odata.mediaEtag"] == '""'
    assert get(f"users/{LAYLA}/photo/$value").headers["Content-Type"] == "image/gif"


# -- change tracking --------------------------------------------------------------------------------------------------


def test_a_round_brings_everything_and_the_next_one_only_changes(get: Get, online: OnlineSimulator) -> None:
    company = online.company
    found, link = round_of(get, f"users/{ANNA}/contacts/delta")
    assert len(found) == 9
    assert round_of(get, link)[0] == []
    first, second, *_ = company.box_of(ANNA).default.items
    company.change_contact(ANNA, first, nickname="Neu")
    company.remove_contact(ANNA, second)
    company.add_contact(ANNA, display_name="Dazu")
    changed, _ = round_of(get, link)
    assert [row.get("displayName") or row["@removed"]["reason"] for row in changed] == [
        "Dr. Katharina M. von Blumenthal",
        "deleted",
        "Dazu",
    ]
    assert changed == round_of(get, link)[0]  # a link can be followed again


@pytest.mark.parametrize("photo", [b"\xff\xd8\xff\xd9", None])
def test_a_contact_whose_photo_comes_or_goes_is_a_changed_contact(
    photo: bytes | None, get: Get, online: OnlineSimulator
) -> None:
    company = online.company
    item = next(item for item in company.box_of(ANNA).default.items.values() if item.photo)
    found, link = round_of(get, f"users/{ANNA}/contacts/delta")
    company.set_contact_photo(ANNA, item.id, photo)
    (changed,), _ = round_of(get, link)
    (before,) = [row for row in found if row["id"] == changed["id"]]
    assert changed["changeKey"] != before["changeKey"]
    assert changed["@odata.etag"] != before["@odata.etag"]


def test_what_happens_between_two_pages_comes_at_the_latest_in_the_next_round(
    get: Get, online: OnlineSimulator
) -> None:
    prefer = {"Prefer": 'odata.maxpagesize=2, IdType="ImmutableId"'}
    page = get(f"users/{ANNA}/contacts/delta", prefer).json()
    online.company.add_contact(ANNA, display_name="Dazwischen")
    rest, link = round_of(get, page["@odata.nextLink"])
    later, _ = round_of(get, link)
    assert "Dazwischen" in {row.get("displayName") for row in rest + later}


@pytest.mark.parametrize("keep_id", [True, False])
def test_a_moved_contact_leaves_one_folder_and_enters_the_other(
    keep_id: bool, get: Get, online: OnlineSimulator
) -> None:
    target = folder_id(ANNA, "Contacts/Leer")
    key = next(folder["id"] for folder in rows(get, f"users/{ANNA}/contactFolders") if folder["displayName"] == "Leer")
    old, old_link = round_of(get, f"users/{ANNA}/contacts/delta")
    _, new_link = round_of(get, f"users/{ANNA}/contactFolders/{key}/contacts/delta")
    moved = next(iter(online.company.box_of(ANNA).default.items))
    online.company.move_contact(ANNA, moved, target, keep_id=keep_id)
    gone, arrived = round_of(get, old_link)[0], round_of(get, new_link)[0]
    assert [row["@removed"] for row in gone] == [{"reason": "deleted"}]
    assert gone[0]["id"] in {row["id"] for row in old}
    assert (arrived[0]["id"] == gone[0]["id"]) is keep_id


def test_regular_ids_change_when_an_item_moves(get: Get, online: OnlineSimulator) -> None:
    before = get(f"users/{ANNA}/contacts?$top=1").json()["value"][0]["id"]
    fixed = get(f"users/{ANNA}/contacts?$top=1", IMMUTABLE).json()["value"][0]["id"]
    item = next(iter(online.company.box_of(ANNA).default.items))
    online.company.move_contact(ANNA, item, folder_id(ANNA, "Contacts/Leer"), keep_id=True)
    assert get(f"users/{ANNA}/contacts/{before}").status_code == 404
    assert get(f"users/{ANNA}/contacts/{fixed}").ok


def test_a_forgotten_token_is_410_with_the_way_back(get: Get, online: OnlineSimulator) -> None:
    _, link = round_of(get, f"users/{ANNA}/contacts/delta")
    online.expire_delta_tokens()
    answer = get(link)
    assert code_of(answer) == (410, "syncStateNotFound")
    assert len(round_of(get, answer.headers["Location"])[0]) == 9
    assert get(f"users/{ANNA}/contacts/delta?$deltatoken=made-up").status_code == 410


def test_users_delta_tells_of_people_and_not_of_photos(get: Get, online: OnlineSimulator) -> None:
    company = online.company
    _, link = round_of(get, "users/delta?$select=displayName")
    company.set_person_photo(ANNA, None)
    company.change_person(MEI, display_name="Mei")
    company.remove_person(JURGEN)
    assert {row["id"]: row.get("displayName") or row["@removed"] for row in round_of(get, link)[0]} == {
        MEI: "Mei",
        JURGEN: {"reason": "changed"},
    }


# -- batches, limits, faults ------------------------------------------------------------------------------------------


def test_a_batch_answers_its_parts_in_any_order_each_by_itself(
    online: OnlineSimulator, graph_session: requests.Session
) -> None:
    online.faults.fail_next(f"{MEI}/contacts", status=429, headers={"Retry-After": "7"})
    parts = [
        {"id": name, "method": "GET", "url": f"/users/{owner}/contacts?$top=1", "headers": IMMUTABLE}
        for name, owner in (("a", ANNA), ("m", MEI), ("s", SAM))
    ]
    answer = graph_session.post(f"{online.origin}/v1.0/$batch", json={"requests": parts})
    responses = answer.json()["responses"]
    assert [response["id"] for response in responses] != ["a", "m", "s"]
    by_id = {response["id"]: response for response in responses}
    assert {name: response["status"] for name, response in by_id.items()} == {"a": 200, "m": 429, "s": 404}
    assert by_id["m"]["headers"]["Retry-After"] == "7"
    assert by_id["a"]["body"]["value"][0]["id"].startswith("AAkALg")


@pytest.mark.parametrize(
    "parts",
    [
        [{"id": str(n), "method": "GET", "url": "/users"} for n in range(21)],
        [{"id": "1", "method": "GET", "url": "/users"}] * 2,
        [{"id": "1", "method": "GET", "url": "https://graph.microsoft.com/v1.0/users"}],
        [{"id": "1", "method": "GET", "url": "/users", "dependsOn": ["2"]}],
    ],
    ids=["21 parts", "same id", "absolute url", "unknown dependency"],
)
def test_a_batch_that_makes_no_sense_is_refused(
    parts: list[Any], online: OnlineSimulator, graph_session: requests.Session
) -> None:
    assert graph_session.post(f"{online.origin}/v1.0/$batch", json={"requests": parts}).status_code == 400


def test_faults_strike_as_often_as_they_are_told(get: Get, online: OnlineSimulator) -> None:
    faults, path = online.faults, f"users/{ANNA}/contacts/delta"
    faults.fail_next("contacts/delta", status=503, times=2)
    assert [get(path).status_code for _ in range(3)] == [503, 503, 200]
    faults.replay_rows_next("contacts/delta")
    faults.empty_page_next("contacts/delta")
    assert len(get(path).json()["value"]) == 18
    empty = get(path)
    assert empty.json()["value"] == []
    assert empty.json()["@odata.nextLink"] != empty.url
    faults.drop_next("contacts/delta")
    with pytest.raises(requests.ConnectionError):
        get(path)
    faults.truncate_next("contacts/delta")
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        get(path)
    assert get(path).ok


def test_the_simulator_serves_several_clients_at_once(get: Get, online: OnlineSimulator) -> None:
    online.behaviour.limit_concurrency = False
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(get, [f"users/{ANNA}/contacts"] * 40))
    assert {answer.status_code for answer in answers} == {200}


def test_recorded_requests_hold_no_bearer(get: Get, online: OnlineSimulator) -> None:
    get("users")
    assert "authorization" not in {name.lower() for name in online.recorder.exchanges[-1].headers}


# -- growth and standing alone ----------------------------------------------------------------------------------------


def test_a_grown_company_is_the_same_each_time_and_built_when_looked_at() -> None:
    one, two = grown_company(10_000, 20), grown_company(10_000, 20)
    last = list(one.people)[-1]
    assert one.box_of(last)._folders is None
    assert one.box_of(last).default == two.box_of(last).default
    assert len(one.box_of(last).default.items) == 20


def test_the_simulators_stand_alone_and_change_on_command(plain: requests.Session, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.simulators", "--online", "0", "--directory", str(tmp_path / "run")]
    command += ["--faults", "latency:0.1,server-error", "--faults", "reset:always", "--seed", "7"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout
        shown = json.loads(process.stdout.readline())
        plain.verify = shown["ca_file"]
        control = shown["control_url"]
        change = {"do": "add_contact", "object_id": ANNA, "display_name": "Ferngesteuert", "children": ["Ida"]}
        assert plain.post(f"{control}/company", json=change).ok
        assert plain.post(f"{control}/company", json={"do": "__init__"}).status_code == 400
        assert plain.post(f"{control}/faults", json={"do": "fail_next", "pattern": "x"}).ok
        assert plain.post(f"{control}/faults", json={"do": "arm", "name": "html", "rate": 0.5}).ok
        assert plain.post(f"{control}/faults", json={"do": "arm", "name": "hailstorm"}).status_code == 400
        told = plain.get(f"{control}/faults").json()
        holdings = plain.get(f"{control}/holdings").json()
        asked_before = plain.get(f"{control}/requests").json()
        plain.get(f"{shown['online']['graph_url']}/nowhere")
        asked = plain.get(f"{control}/requests").json()
        person = plain.get(f"{control}/company?person={ANNA}").json()["people"][0]
        process.terminate()
        assert process.wait(10) == 0
    assert {mode["name"]: mode["rate"] for mode in told["modes"]} == {
        "latency": 0.1,
        "server-error": 1.0,
        "reset": 1.0,
        "html": 0.5,
    }
    assert told["seed"] == 7
    assert (asked_before, asked) == ({}, {"sign_in": 1})
    assert holdings["mailboxes"] <= holdings["folders"]
    assert holdings["filled"] < holdings["folders"] < holdings["contacts"]
    assert 0 < holdings["pictures"] < holdings["contacts"]
    assert person["mailbox"]["folders"][0]["items"][-1]["display_name"] == "Ferngesteuert"
    assert (tmp_path / "run" / "client.secret").stat().st_mode & 0o777 == 0o600
