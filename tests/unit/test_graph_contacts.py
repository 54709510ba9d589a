"""Contact folders and their delta rounds as Graph may send them, the odd cases included."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from connectors.graph.transport import Answer
from connectors.port import (
    CheckpointExpired,
    Checkpoints,
    FolderGone,
    Mailbox,
    MailboxGone,
    NoMailbox,
    NotPermitted,
    Page,
    ProtocolViolation,
    ServerFault,
)
from tests.unit.graph_stub import ORIGIN, Script, StubGraph, answer, refusal

FOLDERS = "/v1.0/users/u/contactFolders"
DEFAULT = f"{FOLDERS}/contacts"
DELTA = f"{FOLDERS}/D/contacts/delta"
NOTHING = answer({"value": []})


def link(path: str) -> str:
    return f"{ORIGIN}{path}"


def folder(identifier: str, name: str, parent: str = "D") -> dict[str, str]:
    return {"id": identifier, "displayName": name, "parentFolderId": parent}


def page(*entries: Any, following: str = "", final: str = f"{DELTA}?$deltatoken=1") -> Answer:
    ends = {"@odata.nextLink": link(following)} if following else {"@odata.deltaLink": link(final)}
    return answer({"value": list(entries), **ends})


def graph_with(scripts: dict[str, Script]) -> StubGraph:
    usual: dict[str, Script] = {
        FOLDERS: NOTHING,
        DEFAULT: answer(folder("D", "Contacts", "root")),
        f"{DEFAULT}/childFolders": NOTHING,
        DELTA: page(),
    }
    return StubGraph(usual | scripts)


def pull(graph: StubGraph, checkpoints: Checkpoints | None = None) -> list[Any]:
    return list(graph.connector().changes(Mailbox("u"), checkpoints or {}))


def paths_of(steps: list[Any]) -> list[str]:
    return [step.folder.path for step in steps if isinstance(step, Page)]


class TestFolders:
    def test_the_default_folder_comes_first_and_children_carry_their_parents_names(self) -> None:
        graph = graph_with(
            {
                FOLDERS: answer({"value": [folder("A", "Kunden")]}),
                f"{FOLDERS}/A/childFolders": answer({"value": [folder("B", "Nord", "A")]}),
                f"{FOLDERS}/B/childFolders": NOTHING,
                f"{FOLDERS}/A/contacts/delta": page(),
                f"{FOLDERS}/B/contacts/delta": page(),
            }
        )
        assert paths_of(pull(graph)) == ["Contacts", "Contacts/Kunden", "Contacts/Kunden/Nord"]

    def test_a_folder_that_several_lists_name_is_pulled_once(self) -> None:
        graph = graph_with(
            {
                FOLDERS: answer({"value": [folder("D", "Contacts", "root"), folder("A", "Kunden")]}),
                f"{DEFAULT}/childFolders": answer({"value": [folder("A", "Kunden")]}),
                f"{FOLDERS}/A/childFolders": answer({"value": [folder("D", "Contacts", "root")]}),
                f"{FOLDERS}/A/contacts/delta": page(),
            }
        )
        assert sorted(paths_of(pull(graph))) == ["Contacts", "Contacts/Kunden"]

    def test_lists_of_folders_are_read_to_their_end(self) -> None:
        more = f"{FOLDERS}?$skip=1"
        graph = graph_with(
            {
                FOLDERS: answer({"value": [folder("A", "A")], "@odata.nextLink": link(more)}),
                more: answer({"value": [folder("B", "B")]}),
                f"{FOLDERS}/A/childFolders": NOTHING,
                f"{FOLDERS}/B/childFolders": NOTHING,
                f"{FOLDERS}/A/contacts/delta": page(),
                f"{FOLDERS}/B/contacts/delta": page(),
            }
        )
        assert len(paths_of(pull(graph))) == 3

    @pytest.mark.parametrize(
        "said",
        [
            refusal(404, "ErrorItemNotFound"),
            refusal(404, "Request_ResourceNotFound"),
            refusal(400, "ErrorInvalidIdMalformed"),
            refusal(405, ""),
        ],
        ids=["404", "404-directory", "400", "405"],
    )
    def test_without_the_well_known_name_the_default_contacts_are_pulled_all_the_same(self, said: Answer) -> None:
        graph = graph_with(
            {DEFAULT: said, "/v1.0/users/u/contacts": NOTHING, "/v1.0/users/u/contacts/delta": page({"id": "1"})}
        )
        (only,) = pull(graph)
        assert only.folder.id == "contacts"
        assert [upsert.id for upsert in only.upserts] == ["1"]

    def test_but_not_twice_if_the_list_has_them_anyway(self) -> None:
        graph = graph_with(
            {
                FOLDERS: answer({"value": [folder("D", "Contacts", "root")]}),
                DEFAULT: refusal(404, "ErrorItemNotFound"),
                f"{FOLDERS}/D/childFolders": NOTHING,
                "/v1.0/users/u/contacts": answer({"value": [{"id": "1", "parentFolderId": "D"}]}),
            }
        )
        assert paths_of(pull(graph)) == ["Contacts"]

    @pytest.mark.parametrize(
        ("said", "error"),
        [
            (refusal(404, "MailboxNotEnabledForRESTAPI"), NoMailbox),
            (refusal(404, "MailboxNotHostedInExchangeOnline"), NoMailbox),
            (refusal(404, "ErrorInvalidUser"), MailboxGone),
            (refusal(404, "Request_ResourceNotFound"), MailboxGone),
            (refusal(403, "ErrorAccessDenied"), NotPermitted),
            (refusal(418, "Teapot"), ServerFault),
        ],
    )
    def test_what_a_mailbox_says_no_with_is_told_apart(self, said: Answer, error: type[Exception]) -> None:
        scripts: dict[str, Script] = {FOLDERS: said, DEFAULT: said, f"{DEFAULT}/childFolders": said}
        with pytest.raises(error) as caught:
            pull(graph_with(scripts))
        assert type(caught.value) is error

    def test_a_person_who_is_there_while_the_mailbox_is_not_has_none(self) -> None:
        scripts: dict[str, Script] = {FOLDERS: refusal(404, "ResourceNotFound"), "/v1.0/users/u": answer({"id": "u"})}
        with pytest.raises(NoMailbox):
            pull(graph_with(scripts))

    def test_whether_a_person_is_there_may_be_a_secret(self) -> None:
        denied = refusal(403, "Authorization_RequestDenied")
        with pytest.raises(NotPermitted):
            pull(graph_with({FOLDERS: refusal(404, "ResourceNotFound"), "/v1.0/users/u": denied}))

    @pytest.mark.parametrize(
        "said", [refusal(404, "ResourceNotFound"), refusal(405, ""), refusal(501, "x"), refusal(400, "BadRequest")]
    )
    def test_a_server_without_child_folders_still_gives_the_others(self, said: Answer) -> None:
        graph = graph_with(
            {
                FOLDERS: answer({"value": [folder("A", "A")]}),
                f"{DEFAULT}/childFolders": said,
                f"{FOLDERS}/D/childFolders": said,
                f"{FOLDERS}/A/childFolders": said,
                f"{FOLDERS}/A/contacts/delta": page(),
            }
        )
        assert len(paths_of(pull(graph))) == 2

    def test_a_folder_that_is_not_listed_any_more_is_gone(self) -> None:
        steps = pull(graph_with({}), {"D": "", "old": "/users/u/x"})
        assert [step for step in steps if isinstance(step, FolderGone)] == [FolderGone("old")]

    def test_a_folder_deleted_between_the_list_and_its_round_is_gone(self) -> None:
        assert pull(graph_with({DELTA: refusal(404, "ErrorItemNotFound")})) == [FolderGone("D")]


class TestRounds:
    def test_the_first_request_names_the_fields_and_every_request_the_preferences(self) -> None:
        following = f"{DELTA}?$skiptoken=2"
        graph = graph_with({DELTA: page(following=following), following: page()})
        pull(graph)
        asked = [path for path in graph.asked if "delta" in path]
        assert "emailAddresses" in parse_qs(urlsplit(asked[0]).query)["$select"][0]
        assert asked[1] == following
        preferences = [headers["Prefer"] for headers in graph.headers if "maxpagesize" in headers.get("Prefer", "")]
        assert preferences == ['odata.maxpagesize=200, IdType="ImmutableId"'] * 2

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
        assert only.checkpoint == "/users/u/contactFolders/D/contacts/delta?$deltatoken=1"

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

    def test_rows_that_cannot_be_told_apart_are_counted_and_left_out(self) -> None:
        rows = [{"surname": "No ID"}, "text", None, {"id": 7}, {"id": ""}, {"id": "x" * 5000}, {"id": "1"}]
        (only,) = pull(graph_with({DELTA: page(*rows)}))
        assert len(only.upserts) == 1
        assert only.skipped == {"malformed": 6}

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

    def test_a_page_that_names_itself_as_the_next_is_a_violation(self) -> None:
        following = f"{DELTA}?$skiptoken=2"
        with pytest.raises(ProtocolViolation):
            pull(graph_with({DELTA: page(following=following), following: page(following=following)}))

    def test_a_page_without_any_link_is_a_violation(self) -> None:
        with pytest.raises(ProtocolViolation):
            pull(graph_with({DELTA: NOTHING}))

    def test_pages_that_are_too_large_are_asked_for_in_smaller_ones(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("connectors.graph.client.Ask.__init__.__defaults__", (None, 1_000, 1))
        large = page({"id": "1", "personalNotes": "n" * 2_000})
        graph = graph_with({DELTA: [large, page({"id": "1"})]})
        (only,) = pull(graph)
        assert only.last
        sizes = [headers["Prefer"].split(",")[0] for headers in graph.headers if "maxpage" in headers.get("Prefer", "")]
        assert sizes == ["odata.maxpagesize=200", "odata.maxpagesize=20"]


def test_an_entry_that_is_not_removed_may_say_so() -> None:
    (only,) = pull(graph_with({DELTA: page({"id": "1", "@removed": None}, {"id": "2", "@removed": {}})}))
    assert ([entry.id for entry in only.upserts], [entry.id for entry in only.removals]) == (["1"], ["2"])


def test_a_round_that_leads_back_to_an_earlier_page_is_a_violation() -> None:
    ring = [page(following=f"{DELTA}?$skiptoken={number}") for number in (1, 2, 3, 1)]
    with pytest.raises(ProtocolViolation):
        pull(graph_with({DELTA: ring}))
