"""Private items stay where they are, and contacts are known to have a picture or not, by two filters a folder."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import pytest

from connectors.graph.mailbox.contacts import ContactReader
from connectors.graph.wire.transport import Answer
from connectors.port import ConnectorError, FolderGone, Mailbox, NotPermitted, Page, Removal, ServerFault, Wanted
from connectors.selection import BUSINESS, Selection
from tests.unit.graph_mailboxes import DELTA, FOLDERS, graph_with, link, page, pull, read_to_its_end
from tests.unit.graph_stub import Script, StubGraph, answer, refusal

LISTS = f"{FOLDERS}/D/contacts"
PRIVATE = "singleValueExtendedProperties/any(ep: ep/id eq 'Integer 0x36' and cast(ep/value, Edm.Int32) eq 2)"
PICTURE = (
    "singleValueExtendedProperties/any(ep: ep/id eq 'Boolean {00062004-0000-0000-C000-000000000046} Id 0x8015'"
    " and cast(ep/value, Edm.Boolean) eq true)"
)


def ids(*identifiers: str, following: str = "") -> Answer:
    page: dict[str, Any] = {"value": [{"id": identifier} for identifier in identifiers]}
    return answer(page | ({"@odata.nextLink": link(following)} if following else {}))


def graph_saying(
    private: Script, pictured: Script, rounds: Script | None = None, **scripts: Script
) -> tuple[StubGraph, list[str]]:
    """The stub with what each filter is answered with, and the list of filters that it was asked for."""
    asked: list[str] = []

    def lists(path: str) -> Any:
        query = unquote(path.partition("?")[2])
        asked.append(query)
        said = private if "0x36" in query else pictured
        return said.pop(0) if isinstance(said, list) else said

    usual = page({"id": "1"}, {"id": "2"}, {"id": "3"})
    return graph_with({DELTA: rounds or usual, LISTS: lists, **scripts}), asked


def upserts_of(graph: StubGraph, selection: Selection | None = None) -> dict[str, bool | None]:
    """Whom the only page brought, and whether they have a photo."""
    (only,) = pull(graph, selection=selection or Selection())
    return {upsert.id: upsert.has_photo for upsert in only.upserts}


def test_a_folder_with_rows_costs_two_more_requests_and_one_for_the_name_in_one_exchange() -> None:
    graph, asked = graph_saying(ids("2"), ids("3"))
    pull(graph, selection=Selection())
    assert set(asked) == {f"$select=id&$filter={PRIVATE}&$top=999", f"$select=id&$filter={PICTURE}&$top=999"}
    assert [part["headers"]["Prefer"] for part in graph.posts[-1]] == ['IdType="ImmutableId"'] * 3
    assert len(graph.posts) == 3


def test_a_folder_without_new_rows_costs_none() -> None:
    graph, asked = graph_saying(ids(), ids(), page({"id": "1", "@removed": {"reason": "deleted"}}))
    pull(graph, selection=Selection())
    assert asked == []


def test_private_items_are_not_handed_over_but_counted_and_removed() -> None:
    graph, _ = graph_saying(ids("2", "9"), ids("3"))
    (only,) = pull(graph, selection=Selection())
    assert [(upsert.id, upsert.has_photo) for upsert in only.upserts] == [("1", False), ("3", True)]
    assert only.removals == (Removal("2"),)
    assert only.skipped == {"private": 1}


def test_lists_of_ids_are_read_to_their_end() -> None:
    more = f"{LISTS}/more"
    graph, _ = graph_saying(ids("1", following=more), ids(), None, **{more: ids("2")})
    assert upserts_of(graph) == {"3": False}


def test_marks_are_asked_for_at_the_first_page_and_again_at_the_last_of_several() -> None:
    second, third = f"{DELTA}?$skiptoken=2", f"{DELTA}?$skiptoken=3"
    pages = {second: page({"id": "2"}, {"id": "3"}, following=third), third: page({"id": "4"})}
    hidden = [ids("2"), ids("2", "3", "4")]  # what came with the second page was marked before the third was made
    graph, asked = graph_saying(hidden, ids(), page({"id": "1"}, following=second), **pages)
    came = pull(graph, selection=Selection())
    assert [[upsert.id for upsert in one.upserts] for one in came] == [["1"], ["3"], []]
    assert [[gone.id for gone in one.removals] for one in came] == [[], ["2"], ["3", "4"]]
    assert len(asked) == 4


def test_who_wants_private_items_too_does_not_ask_for_them() -> None:
    graph, asked = graph_saying(ids("2"), ids())
    assert set(upserts_of(graph, Selection(private=True))) == {"1", "2", "3"}
    assert len(asked) == 1


def test_who_wants_no_photos_does_not_ask_for_them() -> None:
    graph, asked = graph_saying(ids("2"), ids("1"))
    assert upserts_of(graph, Selection(fields=BUSINESS - {"photo"})) == {"1": False, "3": False}
    assert len(asked) == 1


@pytest.mark.parametrize("status", [400, 405, 501])
def test_a_server_that_cannot_find_private_items_hands_over_nothing(status: int) -> None:
    graph, _ = graph_saying(refusal(status, "ErrorInvalidUrlQueryFilter"), ids())
    with pytest.raises(ConnectorError) as caught:
        pull(graph, selection=Selection())
    assert caught.value.code == "private-unknown"
    assert "--include-private" in caught.value.advice


@pytest.mark.parametrize("status", [400, 405, 501])
def test_a_server_that_cannot_find_pictures_is_not_asked_again(status: int) -> None:
    graph, asked = graph_saying(ids("2"), refusal(status, "ErrorInvalidUrlQueryFilter"))
    reader = ContactReader(graph.client, Selection())
    for _ in range(2):
        (only,) = read_to_its_end(reader, Wanted(Mailbox("u")))
        assert [upsert.has_photo for upsert in only.upserts] == [None, None]
    assert len(asked) == 3


@pytest.mark.parametrize("failing", ["private", "pictured"])
@pytest.mark.parametrize(
    ("said", "error"),
    [
        (refusal(403, "ErrorAccessDenied"), NotPermitted),
        (refusal(503, "x"), ServerFault),
    ],
)
def test_what_else_a_filter_fails_with_ends_the_mailbox(failing: str, said: Answer, error: type[Exception]) -> None:
    graph, _ = graph_saying(**{"private": ids(), "pictured": ids(), failing: said})
    with pytest.raises(error):
        pull(graph, selection=Selection())


@pytest.mark.parametrize("failing", ["private", "pictured"])
def test_a_folder_deleted_before_it_was_filtered_is_gone(failing: str) -> None:
    gone = refusal(404, "ErrorItemNotFound")
    graph, _ = graph_saying(**{"private": ids(), "pictured": ids(), failing: gone})
    assert pull(graph, selection=Selection()) == [FolderGone("D")]


def test_what_has_been_handed_over_of_other_folders_is_marked_by_their_own_lists() -> None:
    rounds = {f"{FOLDERS}/A/contacts/delta": page({"id": "1"}, final=f"{FOLDERS}/A/contacts/delta?$deltatoken=1")}
    row = {"id": "A", "displayName": "A", "parentFolderId": "D"}
    flat = answer({"value": [row], "@odata.deltaLink": link(f"{FOLDERS}/delta?$deltatoken=1")})
    graph, _ = graph_saying(
        ids("1"), ids("2"), None, **{f"{FOLDERS}/delta": flat, f"{FOLDERS}/A/contacts": ids(), **rounds}
    )
    pages: list[Page] = pull(graph, selection=Selection())
    brought = {(one.folder.path, upsert.id): upsert.has_photo for one in pages for upsert in one.upserts}
    assert brought == {("Contacts", "2"): True, ("Contacts", "3"): False, ("Contacts/A", "1"): False}
