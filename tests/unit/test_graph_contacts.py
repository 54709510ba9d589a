"""Delta rounds of contact folders as Graph may send them, the odd cases included."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from connectors.graph.mailbox.contacts import ContactReader
from connectors.graph.wire.transport import Answer
from connectors.port import (
    CheckpointExpired,
    Ended,
    FolderGone,
    Mailbox,
    NotPermitted,
    Page,
    ProtocolViolation,
    ServerFault,
    Wanted,
)
from connectors.selection import Selection
from tests.unit.graph_mailboxes import (
    DELTA,
    EVERYTHING,
    FOLDERS,
    NOTHING,
    folder,
    folder_rows,
    graph_with,
    link,
    page,
    pull,
)
from tests.unit.graph_stub import ORIGIN, StubGraph, answer, refusal


class TestRounds:
    def test_the_first_request_names_the_fields_and_every_request_the_preferences(self) -> None:
        following = f"{DELTA}?$skiptoken=2"
        graph = graph_with({DELTA: page(following=following), following: page()})
        pull(graph)
        asked = [path for path in graph.asked if "contacts/delta" in path]
        assert "emailAddresses" in parse_qs(urlsplit(asked[0]).query)["$select"][0]
        assert asked[1] == following
        sent = [part for post in graph.posts for part in post if "contacts/delta" in part["url"]]
        assert [part["headers"]["Prefer"] for part in sent] == ['odata.maxpagesize=200, IdType="ImmutableId"'] * 2

    def test_every_page_carries_where_to_go_on_even_an_empty_one(self) -> None:
        following = f"{DELTA}?$skiptoken=2"
        graph = graph_with({DELTA: page(following=following), following: page({"id": "1"})})
        first, second = pull(graph)
        assert (first.upserts, first.last) == ((), False)
        assert second.last
        resumed = graph_with({following: page({"id": "1"})})
        (again,) = pull(resumed, {"D": first.checkpoint})
        assert again == second

    def test_a_checkpoint_holds_no_host(self) -> None:
        (only,) = pull(graph_with({}))
        assert "/users/u/contactFolders/D/contacts/delta?$deltatoken=1" in only.checkpoint
        assert "example.com" not in only.checkpoint

    def test_a_checkpoint_that_is_none_of_ours_has_expired(self) -> None:
        with pytest.raises(CheckpointExpired):
            pull(graph_with({}), {"D": '{"path": 7}'})

    def test_of_several_rows_for_one_contact_the_last_counts(self) -> None:
        rows = [
            {"id": "1", "surname": "Old"},
            {"id": "1", "surname": "New"},
            {"id": "2", "surname": "Back"},
            {"id": "2", "@removed": {"reason": "deleted"}},
            {"id": "3", "@removed": {"reason": "deleted"}},
            {"id": "3", "surname": "There"},
        ]
        (only,) = pull(graph_with({DELTA: page(*rows)}))
        assert [(upsert.id, upsert.contact.surname) for upsert in only.upserts] == [("1", "New"), ("3", "There")]
        assert [removal.id for removal in only.removals] == ["2"]

    @pytest.mark.parametrize("row", [{"surname": "No ID"}, "text", None, {"id": 7}, {"id": ""}, {"id": "x" * 5000}])
    def test_a_row_without_an_id_is_a_violation_for_it_could_be_anybodys(self, row: Any) -> None:
        with pytest.raises(ProtocolViolation):
            pull(graph_with({DELTA: page({"id": "1"}, row)}))

    @pytest.mark.parametrize(
        "said",
        [
            refusal(410, "syncStateNotFound", Location=link(f"{DELTA}?$deltatoken=")),
            refusal(410, ""),
            refusal(400, "SyncStateNotFound"),
            refusal(404, "resyncRequired"),
            refusal(400, "ErrorInvalidUrlQuery"),
        ],
    )
    def test_a_checkpoint_that_the_server_does_not_know_has_expired(self, said: Answer) -> None:
        graph = graph_with({f"{DELTA}?$deltatoken=old": said})
        with pytest.raises(CheckpointExpired) as caught:
            pull(graph, {"D": "/users/u/contactFolders/D/contacts/delta?$deltatoken=old"})
        assert caught.value.folder_id == "D"

    def test_folders_whose_checkpoints_expired_together_are_named_together(self) -> None:
        below = f"{FOLDERS}/B/contacts/delta?$deltatoken=old"
        gone = refusal(410, "syncStateNotFound")
        graph = graph_with(
            {f"{FOLDERS}/delta": folder_rows(folder("B", "Below")), f"{DELTA}?$deltatoken=old": gone, below: gone}
        )
        old = {"D": f"{DELTA}?$deltatoken=old".removeprefix("/v1.0"), "B": below.removeprefix("/v1.0")}
        with pytest.raises(CheckpointExpired) as caught:
            pull(graph, old)
        assert set(caught.value.folder_ids) == {"D", "B"}

    def test_a_bad_request_after_the_checkpoint_was_taken_is_not_an_expired_one(self) -> None:
        old, following = f"{DELTA}?$deltatoken=old", f"{DELTA}?$skiptoken=2"
        graph = graph_with({old: page(following=following), following: refusal(400, "ErrorInvalidUrlQuery")})
        with pytest.raises(ServerFault):
            pull(graph, {"D": old.removeprefix("/v1.0")})

    def test_a_bad_request_without_a_checkpoint_is_not_an_expired_one(self) -> None:
        with pytest.raises(ServerFault):
            pull(graph_with({DELTA: refusal(400, "ErrorInvalidUrlQuery")}))

    @pytest.mark.parametrize("name", ["@odata.nextLink", "@odata.deltaLink"])
    def test_nothing_goes_to_a_foreign_host(self, name: str) -> None:
        graph = graph_with({DELTA: answer({"value": [], name: "https://evil.example/v1.0/users/u/contacts/delta"})})
        with pytest.raises(ProtocolViolation):
            pull(graph)
        assert graph.origins == {ORIGIN}

    def test_a_foreign_checkpoint_is_not_sent_anywhere_either(self) -> None:
        graph = graph_with({})
        with pytest.raises(ProtocolViolation):
            pull(graph, {"D": "https://evil.example/v1.0/users/u/contacts/delta"})
        assert graph.origins == {ORIGIN}

    def test_an_empty_page_may_name_itself_as_the_next_twice(self) -> None:
        following = f"{DELTA}?$skiptoken=2"
        itself = page(following=following)
        (first, second) = pull(
            graph_with({DELTA: page(following=following), following: [itself, itself, page({"id": "1"})]})
        )
        assert (first.last, len(second.upserts)) == (False, 1)

    def test_a_page_that_names_itself_as_the_next_for_ever_is_a_violation(self) -> None:
        following = f"{DELTA}?$skiptoken=2"
        graph = graph_with({DELTA: page(following=following), following: page(following=following)})
        with pytest.raises(ProtocolViolation):
            pull(graph)
        assert graph.asked.count(following) == 3

    def test_a_page_with_rows_that_names_itself_as_the_next_is_a_violation(self) -> None:
        following = f"{DELTA}?$skiptoken=2"
        itself = page({"id": "1"}, following=following)
        with pytest.raises(ProtocolViolation):
            pull(graph_with({DELTA: page(following=following), following: [itself, page()]}))

    def test_a_page_without_any_link_is_a_violation(self) -> None:
        with pytest.raises(ProtocolViolation):
            pull(graph_with({DELTA: NOTHING}))

    def test_pages_that_are_too_large_are_asked_for_in_smaller_ones(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("connectors.graph.mailbox.reading._BATCH_LIMIT", 1_000)
        monkeypatch.setattr("connectors.graph.mailbox.reading._ALONE_LIMIT", 1_000)
        large = page({"id": "1", "personalNotes": "n" * 2_000})
        graph = graph_with({DELTA: [large, large, page({"id": "1"})]})
        (only,) = pull(graph)
        assert only.last
        sent = [headers.get("Prefer", "").split(",")[0] for headers in graph.headers]
        assert [size for size in sent if "maxpage" in size][-2:] == ["odata.maxpagesize=200", "odata.maxpagesize=20"]
        assert not [part for post in graph.posts for part in post if "=20," in str(part.get("headers"))]

    def test_a_single_contact_that_is_too_large_is_a_violation(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("connectors.graph.mailbox.reading._BATCH_LIMIT", 1_000)
        monkeypatch.setattr("connectors.graph.mailbox.reading._ALONE_LIMIT", 1_000)
        with pytest.raises(ProtocolViolation) as caught:
            pull(graph_with({DELTA: page({"id": "1", "personalNotes": "n" * 2_000})}))
        assert caught.value.code == "answer-too-large"

    @pytest.mark.parametrize("kind", ["#microsoft.graph.event", 7])
    def test_something_that_is_no_contact_is_a_violation(self, kind: object) -> None:
        assert pull(graph_with({DELTA: page({"id": "1", "@odata.type": "#microsoft.graph.contact"})}))
        with pytest.raises(ProtocolViolation):
            pull(graph_with({DELTA: page({"id": "1", "@odata.type": kind})}))

    def test_only_the_fields_that_are_wanted_are_asked_for_and_handed_over(self) -> None:
        graph = graph_with({DELTA: page({"id": "1", "surname": "King", "personalNotes": "n"})})
        (only,) = pull(graph, selection=Selection(fields=frozenset({"surname"}), private=True))
        assert only.upserts[0].contact.to_dict() == {"surname": "King"}
        assert "/v1.0/users/u/contactFolders/contacts/contacts/delta?$select=id,surname" in graph.asked


def test_an_entry_that_is_not_removed_may_say_so() -> None:
    (only,) = pull(graph_with({DELTA: page({"id": "1", "@removed": None}, {"id": "2", "@removed": {}})}))
    assert ([entry.id for entry in only.upserts], [entry.id for entry in only.removals]) == (["1"], ["2"])


def test_a_round_that_leads_back_to_an_earlier_page_is_a_violation() -> None:
    first, second = f"{DELTA}?$skiptoken=1", f"{DELTA}?$skiptoken=2"
    graph = graph_with({DELTA: page(following=first), first: page(following=second), second: page(following=first)})
    with pytest.raises(ProtocolViolation):
        pull(graph)
    assert graph.asked.count(second) == 1


class TestFoldersSideBySide:
    """Rounds of one mailbox's folders travel together and end one by one."""

    @staticmethod
    def _graph(round_of_a: Answer) -> StubGraph:
        rounds = {f"{FOLDERS}/A/contacts/delta": round_of_a, DELTA: page({"id": "1"})}
        return graph_with({f"{FOLDERS}/delta": folder_rows(folder("A", "A")), **rounds})

    def test_they_share_a_batch(self) -> None:
        graph = self._graph(page(final=f"{FOLDERS}/A/contacts/delta?$deltatoken=1"))
        pull(graph)
        assert [len(post) for post in graph.posts] == [1, 2, 1]

    @pytest.mark.parametrize(
        ("said", "error"),
        [
            (refusal(410, ""), CheckpointExpired),
            (refusal(403, "ErrorAccessDenied"), NotPermitted),
            (NOTHING, ProtocolViolation),
        ],
    )
    def test_what_one_fails_with_comes_after_what_the_others_brought(self, said: Answer, error: type) -> None:
        reader = ContactReader(self._graph(said).client, EVERYTHING)
        steps = [step.outcome for steps in reader.changes([Wanted(Mailbox("u"))]) for step in steps]
        brought, ended = steps
        assert isinstance(brought, Page)
        assert isinstance(ended, Ended)
        assert brought.folder.id == "D"
        assert isinstance(ended.error, error)

    def test_one_that_is_gone_is_reported(self) -> None:
        steps = pull(self._graph(refusal(404, "ErrorItemNotFound")))
        assert [type(step) for step in steps] == [Page, FolderGone]
