"""Every named fault of the Graph simulator does what its table says, and lets those through who try again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import requests

from tests.integration.graph_asking import IMMUTABLE, Get, asking, code_of, round_of, rows
from tests.simulators.company.cast import ANNA, JURGEN, LAYLA, MEI, NILS, OLAF, SALES, SAM
from tests.simulators.online import fault_modes
from tests.simulators.online.fault_modes import MODES
from tests.simulators.online.faults import Faults
from tests.simulators.online.server import OnlineSimulator
from tests.simulators.serving import Headers, Request

CONTACTS = f"users/{ANNA}/contacts"
DELTA = f"{CONTACTS}/delta"
BROKEN = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)


@pytest.fixture
def faults(online: OnlineSimulator) -> Faults:
    online.faults.seed = 7
    return online.faults


@pytest.fixture
def get(online: OnlineSimulator, graph_session: requests.Session) -> Get:
    return asking(online.origin, graph_session)


def batch(online: OnlineSimulator, session: requests.Session, *urls: str) -> Any:
    """The answer to a batch: its parts in their order, or the refusal of the whole."""
    parts = [{"id": str(number), "method": "GET", "url": url} for number, url in enumerate(urls)]
    answer = session.post(f"{online.origin}/v1.0/$batch", json={"requests": parts}, timeout=20)
    if not answer.ok:
        return answer.status_code
    return sorted(answer.json()["responses"], key=lambda response: int(response["id"]))


def requests_of(number: int) -> Iterator[Request]:
    for one in range(number):
        yield Request("GET", f"/v1.0/users/{one}/contacts", "https://x", Headers())


# -- how modes strike -------------------------------------------------------------------------------------------------


def test_the_table_names_every_mode() -> None:
    listed = re.findall(r"^\| ([a-z][a-z-]+) \|", fault_modes.__doc__ or "", re.MULTILINE)
    assert listed[1:] == list(MODES)  # the first is the head of the table


def test_a_rate_is_kept_and_a_seed_repeats_it() -> None:
    def struck(seed: int) -> list[int]:
        faults = Faults(seed)
        faults.arm("html", rate=0.1)
        return [number for number, request in enumerate(requests_of(2_000)) if faults.take(request)]

    assert 140 < len(struck(1)) < 260
    assert struck(1) == struck(1) != struck(2)


def test_the_order_of_requests_changes_nothing() -> None:
    def struck(requests_: list[Request]) -> set[str]:
        faults = Faults(3)
        faults.arm("html", rate=0.2)
        return {request.target for request in requests_ if faults.take(request)}

    asked = list(requests_of(200))
    assert struck(asked) == struck(asked[::-1])


def test_nothing_is_struck_more_than_twice_running(faults: Faults, get: Get) -> None:
    for name in ("throttled-bare", "server-error", "html"):
        faults.arm(name)
    answers = [get(CONTACTS) for _ in range(6)]
    passed = [a.status_code == 200 and "json" in a.headers["Content-Type"] for a in answers]
    assert passed == [False, False, True] * 2


def test_a_part_counts_what_its_batch_suffered(
    faults: Faults, online: OnlineSimulator, graph_session: requests.Session
) -> None:
    faults.arm("throttled-bare")
    faults.arm("part-failed")
    url = f"/{CONTACTS}"
    seen = [batch(online, graph_session, url, f"/users/{LAYLA}") for _ in range(3)]
    assert seen[:2] == [429, 429]
    assert [part["status"] for part in seen[2]] == [200, 200]


def test_parts_of_a_batch_that_is_lost_on_its_way_did_not_get_through(
    faults: Faults, online: OnlineSimulator, graph_session: requests.Session
) -> None:
    faults.arm("truncated")
    for _ in range(2):
        with pytest.raises(BROKEN):
            batch(online, graph_session, f"/{CONTACTS}", f"/users/{LAYLA}")
    assert [part["status"] for part in batch(online, graph_session, f"/{CONTACTS}", f"/users/{LAYLA}")] == [200, 200]


def test_always_knows_no_mercy_and_times_are_counted(faults: Faults, get: Get) -> None:
    faults.arm("throttled-bare", always=True, times=5, pattern="/contacts$")
    assert [get(CONTACTS).status_code for _ in range(6)] == [429] * 5 + [200]
    assert faults.listed()["modes"] == []


def test_what_is_listed_is_armed_and_the_unknown_refused(faults: Faults) -> None:
    faults.arm_listed("html:0.25,latency:always,reset")
    assert [(m["name"], m["rate"], m["always"]) for m in faults.listed()["modes"]] == [
        ("html", 0.25, False),
        ("latency", 1.0, True),
        ("reset", 1.0, False),
    ]
    faults.disarm("html")
    for wrong in ("hailstorm", "html:2", "html:often"):
        with pytest.raises(ValueError, match=r"."):
            faults.arm_listed(wrong)


# -- refusals ---------------------------------------------------------------------------------------------------------


def test_throttled_seconds_punishes_who_comes_early(faults: Faults, get: Get) -> None:
    now = 100.0
    faults.clock = lambda: now
    faults.arm("throttled-seconds", rate=1.0, times=3, always=True, retry_after=5)
    waits = [int(get(CONTACTS).headers["Retry-After"]) for _ in range(2)]
    assert waits == [5, 10]
    assert faults.listed()["modes"][0]["asked_seconds"] == 15
    now += 10
    assert int(get(CONTACTS).headers["Retry-After"]) == 5
    assert get(CONTACTS).ok


def test_throttled_date(faults: Faults, get: Get) -> None:
    faults.arm("throttled-date", retry_after=60)
    back = parsedate_to_datetime(get(CONTACTS).headers["Retry-After"])
    assert 50 < (back - datetime.now(UTC)).total_seconds() <= 60


def test_throttled_bare(faults: Faults, get: Get) -> None:
    faults.arm("throttled-bare")
    answer = get(CONTACTS)
    assert code_of(answer) == (429, "TooManyRequests")
    assert "Retry-After" not in answer.headers


def test_server_error(faults: Faults, get: Get) -> None:
    faults.arm("server-error", always=True)
    answers = [get(CONTACTS) for _ in range(40)]
    assert {answer.status_code for answer in answers} == {500, 502, 503, 504}
    assert {"Retry-After" in answer.headers for answer in answers if answer.status_code == 503} == {True, False}
    faults.arm("server-error", status=504)
    assert get(f"users/{ANNA}").status_code == 504


def test_part_throttled_and_part_failed(
    faults: Faults, online: OnlineSimulator, graph_session: requests.Session, get: Get
) -> None:
    urls = [f"/users/{person}/contacts" for person in (ANNA, JURGEN, LAYLA, MEI)]
    faults.arm("part-throttled", retry_after=3, pattern=JURGEN)
    faults.arm("part-failed", pattern=LAYLA)
    answers = batch(online, graph_session, *urls)
    assert [answer["status"] // 100 for answer in answers] == [2, 4, 5, 2]
    assert answers[1]["headers"]["Retry-After"] == "3"
    assert get(f"users/{JURGEN}/contacts").ok


def test_storage_full(faults: Faults, online: OnlineSimulator, graph_session: requests.Session) -> None:
    faults.arm("storage-full")
    before = len(online.company.box_of(ANNA).default.items)
    answer = graph_session.post(f"{online.origin}/v1.0/{CONTACTS}", json={"givenName": "X"}, timeout=20)
    assert (answer.status_code, len(online.company.box_of(ANNA).default.items)) == (507, before)
    assert graph_session.get(f"{online.origin}/v1.0/{CONTACTS}", timeout=20).ok


def test_sync_state_gone(faults: Faults, get: Get) -> None:
    _, link = round_of(get, DELTA)
    _, people = round_of(get, "users/delta")
    faults.arm("sync-state-gone")
    for one in (link, people):
        answer = get(one)
        assert code_of(answer) == (410, "syncStateNotFound")
        assert get(answer.headers["Location"]).json()["value"]


def test_sync_state_not_found(faults: Faults, get: Get) -> None:
    _, link = round_of(get, DELTA)
    faults.arm("sync-state-not-found", always=True)
    answers = [get(link) for _ in range(12)]
    assert {code_of(answer) for answer in answers} == {(400, "SyncStateNotFound"), (404, "SyncStateNotFound")}
    assert get(DELTA).ok


def test_token_expired_until_there_is_another(
    faults: Faults, online: OnlineSimulator, graph_session: requests.Session, get: Get
) -> None:
    faults.arm("token-expired", times=1)
    assert [code_of(get(CONTACTS)) for _ in range(3)] == [(401, "InvalidAuthenticationToken")] * 3
    fresh = online.issuer.issue(online.application, online.origin, online.origin)
    graph_session.headers["Authorization"] = f"Bearer {fresh}"
    assert get(CONTACTS).ok


def test_token_expired_in_batch(faults: Faults, online: OnlineSimulator, graph_session: requests.Session) -> None:
    urls = [f"/users/{person}" for person in (ANNA, JURGEN, LAYLA, MEI, OLAF, SAM, NILS)]
    faults.arm("token-expired-in-batch", times=1)
    statuses = [part["status"] for part in batch(online, graph_session, *urls)]
    assert statuses == sorted(statuses)
    assert set(statuses) == {200, 401}
    assert batch(online, graph_session, urls[-1])[0]["status"] == 401
    fresh = online.issuer.issue(online.application, online.origin, online.origin)
    graph_session.headers["Authorization"] = f"Bearer {fresh}"
    assert [part["status"] for part in batch(online, graph_session, *urls)] == [200] * 7


@pytest.mark.parametrize(
    ("name", "refusal"),
    [("mailbox-denied", (403, "ErrorAccessDenied")), ("mailbox-missing", (404, "MailboxNotEnabledForRESTAPI"))],
)
def test_a_mailbox_that_is_closed_stays_so(name: str, refusal: tuple[int, str], faults: Faults, get: Get) -> None:
    people = [ANNA, JURGEN, LAYLA, MEI, OLAF, NILS]
    faults.arm(name, rate=0.5)
    for path in ("contacts", "contactFolders", "contacts/delta"):
        answers = [get(f"users/{person}/{path}") for person in people]
        closed = [person for person, answer in zip(people, answers, strict=True) if not answer.ok]
        assert 0 < len(closed) < len(people)
        assert {code_of(answer) for answer in answers if not answer.ok} == {refusal}
        assert get(f"users/{closed[0]}").ok
    faults.disarm(name)
    assert all(get(f"users/{person}/contacts").ok for person in people)


# -- odd pages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [DELTA, CONTACTS, f"users/{ANNA}/contactFolders", "users", "users/delta"])
@pytest.mark.parametrize("name", ["empty-page", "replayed-rows", "duplicate-rows"])
def test_pages_may_be_empty_or_come_twice(name: str, path: str, faults: Faults, get: Get) -> None:
    plain = {row["id"] for row in rows(get, path, IMMUTABLE)}
    size = len(rows(get, path, IMMUTABLE))
    faults.arm(name)
    found = rows(get, path, IMMUTABLE)
    assert {row["id"] for row in found} == plain
    assert faults.listed()["modes"][0]["struck"] >= 1
    assert len(found) == size if name == "empty-page" else len(found) >= 2 * size


def test_tombstone_first(faults: Faults, get: Get) -> None:
    faults.arm("tombstone-first")
    found, link = round_of(get, DELTA)
    assert found[0]["@removed"] == {"reason": "deleted"}
    assert len(found) == 10
    assert round_of(get, link)[0] == []


def test_foreign_link(faults: Faults, get: Get, online: OnlineSimulator) -> None:
    faults.arm("foreign-link", always=True)
    links = {get(f"{DELTA}?$select={name}").json()["@odata.deltaLink"] for name in ("id", "title", "surname") * 6}
    places = {link.partition("/v1.0")[0] for link in links}
    assert len(places) > 2
    assert online.origin not in places
    faults.arm("foreign-link", always=True, origin="https://evil.example")
    assert get(DELTA).json()["@odata.deltaLink"].startswith("https://evil.example/v1.0/")


def test_single_pixel_photo(faults: Faults, get: Get) -> None:
    faults.arm("single-pixel-photo", always=True)
    assert get(f"users/{LAYLA}/photo").json()["@odata.mediaEtag"] == '""'
    assert get(f"users/{LAYLA}/photos/240x240/$value").content[:3] == b"GIF"
    assert get(f"users/{ANNA}/photo/$value").headers["Content-Type"] == "image/jpeg"


# -- bad input --------------------------------------------------------------------------------------------------------


def test_wrong_types(faults: Faults, get: Get) -> None:
    faults.arm("wrong-types", always=True)
    pages = [get(f"{CONTACTS}?$select=displayName,emailAddresses").json() for _ in range(30)]
    kinds = {type(page.get("value")) if isinstance(page, dict) else list for page in pages}
    assert kinds >= {dict, str, list}
    assert get(f"users/{ANNA}?$select=displayName").json()["displayName"] == 7


def test_unknown_type(faults: Faults, get: Get) -> None:
    faults.arm("unknown-type")
    assert get(f"groups/{SALES}/members").json()["value"][0]["@odata.type"] == "#microsoft.graph.hologram"
    assert get(f"users/{MEI}/contacts").json()["value"][0]["@odata.type"] == "#microsoft.graph.hologram"


def test_redirect(faults: Faults, get: Get) -> None:
    faults.arm("redirect", always=True, origin="https://evil.example")
    answers = [get(CONTACTS) for _ in range(10)]
    assert {answer.status_code for answer in answers} == {302, 307}
    assert answers[0].headers["Location"] == f"https://evil.example/v1.0/{CONTACTS}"


def test_html(faults: Faults, get: Get) -> None:
    faults.arm("html")
    answer = get(CONTACTS)
    assert (answer.status_code, answer.headers["Content-Type"].partition(";")[0]) == (200, "text/html")


def test_cut_json(faults: Faults, get: Get) -> None:
    faults.arm("cut-json")
    answer = get(CONTACTS)
    assert answer.status_code == 200
    with pytest.raises(requests.JSONDecodeError):
        answer.json()


@pytest.mark.parametrize("name", ["truncated", "reset", "reset-after-effect"])
def test_the_connection_ends(name: str, faults: Faults, get: Get) -> None:
    faults.arm(name)
    for _ in range(2):
        with pytest.raises(BROKEN):
            get(CONTACTS)
    assert get(CONTACTS).ok


@pytest.mark.parametrize(("name", "effect"), [("reset", 0), ("reset-after-effect", 1), ("truncated", 1)])
def test_a_reset_comes_before_or_after_the_effect(
    name: str, effect: int, faults: Faults, online: OnlineSimulator, graph_session: requests.Session
) -> None:
    online.application.roles = (*online.application.roles, "Contacts.ReadWrite")
    fresh = online.issuer.issue(online.application, online.origin, online.origin)
    graph_session.headers["Authorization"] = f"Bearer {fresh}"
    faults.arm(name)
    items = online.company.box_of(ANNA).default.items
    before = len(items)
    with pytest.raises(BROKEN):
        graph_session.post(f"{online.origin}/v1.0/{CONTACTS}", json={"givenName": "X"}, timeout=20)
    assert len(items) == before + effect


def test_stalled_and_dripping(faults: Faults, get: Get) -> None:
    faults.arm("stalled")
    with pytest.raises(requests.ConnectionError, match="timed out"):
        get(CONTACTS, timeout=0.5)
    faults.disarm("stalled")
    faults.arm("dripping")
    answer = get(CONTACTS, timeout=2, stream=True)
    whole, seen = int(answer.headers["Content-Length"]), 0
    for _ in answer.iter_content(1):
        seen += 1
        if seen > whole // 2 + 1:
            break  # a byte that came by itself, in time
    answer.close()
    assert seen < whole


@pytest.mark.parametrize("name", ["huge", "huge-gzip"])
def test_a_huge_body_is_made_as_it_is_sent(name: str, faults: Faults, get: Get) -> None:
    faults.arm(name, size=3_000_000, always=True)
    bodies = [get(CONTACTS) for _ in range(8)]
    assert {len(answer.content) for answer in bodies} == {3_000_000}
    assert bodies[0].json()["value"][0] == {"displayName": "Nobody"}
    assert ("Content-Length" in bodies[0].headers) is False or name == "huge"
    faults.arm(name)
    with get(f"users/{MEI}/contacts", stream=True) as answer:
        assert next(answer.iter_content(1_000))


def test_latency(faults: Faults, get: Get) -> None:
    faults.arm("latency", seconds=0.2)
    assert get(CONTACTS).elapsed.total_seconds() >= 0.2
