"""Contact folders: all at once where the server lists them so, else level by level, with the same outcome."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from connectors.graph.mailbox.contacts import ContactReader
from connectors.graph.wire.transport import Answer
from connectors.port import (
    FolderGone,
    Mailbox,
    MailboxGone,
    NoMailbox,
    NotPermitted,
    Page,
    ProtocolViolation,
    ServerFault,
    Wanted,
)
from connectors.selection import Selection
from tests.unit.graph_mailboxes import (
    DEFAULT,
    DELTA,
    EVERYTHING,
    FLAT,
    FOLDERS,
    NO_FLAT,
    NOTHING,
    folder,
    folder_rows,
    graph_with,
    link,
    page,
    paths_of,
    pull,
    read_to_its_end,
)
from tests.unit.graph_stub import Script, StubGraph, answer, refusal

ROWS = [folder("C", "Süd", "A"), folder("A", "Kunden"), folder("B", "Nord", "A"), folder("E", "Privat", "root")]
TREE = {"Contacts", "Contacts/Kunden", "Contacts/Kunden/Nord", "Contacts/Kunden/Süd", "Privat"}


HOLDING: dict[str, Script] = {DELTA: page({"id": "1"})}


def rounds_of(*identifiers: str) -> dict[str, Script]:
    return {f"{FOLDERS}/{identifier}/contacts/delta": page() for identifier in identifiers}


def level_by_level(rows: list[dict[str, str]]) -> StubGraph:
    """The stub with these folders, on a server that does not list them all at once."""
    lists: dict[str, Script] = {
        f"{FOLDERS}/{row['id']}/childFolders": answer(
            {"value": [one for one in rows if one["parentFolderId"] == row["id"]]}
        )
        for row in rows
    }
    top = [row for row in rows if row["parentFolderId"] in {"D", "root"}]
    return graph_with({**NO_FLAT, FOLDERS: answer({"value": top}), **lists, **rounds_of(*(row["id"] for row in rows))})


def all_at_once(rows: list[Any], **scripts: Script) -> StubGraph:
    return graph_with({FLAT: folder_rows(*rows), **rounds_of(*"ABCE"), **scripts})


def test_both_ways_find_the_same_folders() -> None:
    flat, levels = pull(all_at_once(ROWS)), pull(level_by_level(ROWS))
    assert set(paths_of(flat)) == TREE
    assert {(step.folder.id, step.folder.path) for step in flat} == {
        (step.folder.id, step.folder.path) for step in levels
    }


class TestAllAtOnce:
    def test_it_costs_one_request_and_one_for_the_default_folder(self) -> None:
        graph = all_at_once(ROWS)
        pull(graph)
        assert graph.client.requests == 1 + 1 + 5

    def test_and_no_more_than_one_once_the_default_folder_is_known(self) -> None:
        steps = pull(all_at_once(ROWS))
        again = all_at_once(ROWS, **{f"{DELTA}?$deltatoken=1": page()})
        assert set(paths_of(pull(again, {step.folder.id: step.checkpoint for step in steps}))) == TREE
        assert again.client.requests == 1 + 5

    def test_it_is_read_to_its_end(self) -> None:
        more = f"{FLAT}?$skiptoken=1"
        first = answer({"value": ROWS[:2], "@odata.nextLink": link(more)})
        assert (
            set(paths_of(pull(graph_with({FLAT: first, more: folder_rows(*ROWS[2:]), **rounds_of(*"ABCE")})))) == TREE
        )

    def test_but_not_for_ever_where_it_has_none(self) -> None:
        tokens = count()
        graph = graph_with(
            {FLAT: lambda _: answer({"value": [], "@odata.nextLink": link(f"{FLAT}?$skiptoken={next(tokens)}")})}
        )
        with pytest.raises(ProtocolViolation):
            pull(graph)

    @pytest.mark.parametrize("row", ["text", {"displayName": "No ID"}])
    def test_a_row_without_an_id_is_a_violation_for_the_folder_could_be_a_known_one(self, row: Any) -> None:
        with pytest.raises(ProtocolViolation):
            pull(all_at_once([folder("A", "Kunden"), row]))

    def test_rows_that_are_removed_or_the_default_folder_itself_are_no_folders(self) -> None:
        rows = [
            {"id": "X", "@removed": {"reason": "deleted"}},
            folder("Y", "Deleted"),
            {"id": "Y", "@removed": {"reason": "deleted"}},
            folder("D", "Contacts", "root"),
            folder("A", "Kunden"),
        ]
        assert paths_of(pull(all_at_once(rows))) == ["Contacts", "Contacts/Kunden"]

    def test_a_default_folder_that_is_listed_brings_its_new_name(self) -> None:
        (step,) = pull(all_at_once([], **HOLDING))
        (again,) = pull(all_at_once([folder("D", "Kontakte", "root")]), {"D": step.checkpoint})
        assert again.folder.path == "Kontakte"

    def test_folders_in_a_ring_are_pulled_too(self) -> None:
        rows = [folder("A", "A", "B"), folder("B", "B", "A")]
        assert set(paths_of(pull(all_at_once(rows)))) == {"Contacts", "A", "B"}

    @pytest.mark.parametrize("status", [400, 404, 405, 501])
    def test_a_server_without_it_is_asked_level_by_level_from_then_on(self, status: int) -> None:
        graph = level_by_level(ROWS)
        graph.scripts[FLAT] = refusal(status, "x")
        reader = ContactReader(graph.client, EVERYTHING)
        for _ in range(2):
            assert set(paths_of(read_to_its_end(reader, Wanted(Mailbox("u"))))) == TREE
        assert len([path for path in graph.asked if path.startswith(FLAT)]) == 1

    def test_a_mailbox_that_lost_its_place_in_it_alone_is_asked_level_by_level(self) -> None:
        graph = level_by_level(ROWS)
        graph.scripts[FLAT] = [refusal(410, "syncStateNotFound"), folder_rows(*ROWS)]
        reader = ContactReader(graph.client, EVERYTHING)
        for _ in range(2):
            assert set(paths_of(read_to_its_end(reader, Wanted(Mailbox("u"))))) == TREE
        assert len([path for path in graph.asked if path.startswith(FLAT)]) == 2

    @pytest.mark.parametrize(
        ("said", "error"),
        [
            (refusal(404, "MailboxNotEnabledForRESTAPI"), NoMailbox),
            (refusal(403, "ErrorAccessDenied"), NotPermitted),
            (refusal(418, "Teapot"), ServerFault),
        ],
    )
    def test_what_a_mailbox_says_no_with_ends_it_at_once(self, said: Answer, error: type[Exception]) -> None:
        graph = graph_with({FLAT: said, DEFAULT: said})
        with pytest.raises(error) as caught:
            pull(graph)
        assert type(caught.value) is error
        assert graph.client.requests == 1

    def test_a_mailbox_that_got_another_default_folder_is_read_again_from_there(self) -> None:
        (before,) = pull(all_at_once([], **HOLDING))
        new: dict[str, Script] = {
            FLAT: folder_rows(folder("A", "Kunden", "N")),
            DEFAULT: answer(folder("N", "Contacts", "root")),
            f"{DELTA}?$deltatoken=1": refusal(404, "ErrorItemNotFound"),
            f"{FOLDERS}/N/contacts/delta": page({"id": "1"}),
        }
        steps = pull(graph_with({**rounds_of("A"), **new}), {"D": before.checkpoint})
        assert steps[0] == FolderGone("D")
        assert paths_of(steps) == ["Contacts", "Contacts/Kunden"]


class TestChosenFolders:
    def test_a_folder_that_is_not_wanted_is_not_read(self) -> None:
        graph = all_at_once(ROWS)
        steps = pull(graph, selection=Selection(EVERYTHING.fields, ("!*/Nord", "Contacts*"), private=True))
        assert set(paths_of(steps)) == TREE - {"Contacts/Kunden/Nord", "Privat"}
        assert not [path for path in graph.asked if "/B/" in path or "/E/" in path]

    def test_one_that_is_not_wanted_any_more_is_gone(self) -> None:
        steps = pull(all_at_once(ROWS), {"B": "/users/u/x"}, Selection(EVERYTHING.fields, ("!*/Nord",), private=True))
        assert [step for step in steps if isinstance(step, FolderGone)] == [FolderGone("B")]


class TestLevelByLevel:
    def test_the_default_folder_comes_first_and_children_carry_their_parents_names(self) -> None:
        graph = graph_with(
            {
                **NO_FLAT,
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
                **NO_FLAT,
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
                **NO_FLAT,
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
            {
                **NO_FLAT,
                DEFAULT: said,
                "/v1.0/users/u/contacts": NOTHING,
                "/v1.0/users/u/contacts/delta": page({"id": "1"}),
            }
        )
        (only,) = pull(graph)
        assert only.folder.id == "contacts"
        assert [upsert.id for upsert in only.upserts] == ["1"]

    def test_and_folders_below_it_do_not_seem_gone_while_they_cannot_be_listed(self) -> None:
        graph = graph_with(
            {
                **NO_FLAT,
                DEFAULT: refusal(404, "ErrorItemNotFound"),
                f"{DEFAULT}/childFolders": refusal(503, "ServiceUnavailable"),
                "/v1.0/users/u/contacts": NOTHING,
                "/v1.0/users/u/contacts/delta": page(),
            }
        )
        with pytest.raises(ServerFault):
            pull(graph, {"A": "/users/u/x"})

    def test_but_not_twice_if_the_list_has_them_anyway(self) -> None:
        graph = graph_with(
            {
                **NO_FLAT,
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
        scripts: dict[str, Script] = {**NO_FLAT, FOLDERS: said, DEFAULT: said, f"{DEFAULT}/childFolders": said}
        with pytest.raises(error) as caught:
            pull(graph_with(scripts))
        assert type(caught.value) is error

    def test_a_person_who_is_there_while_the_mailbox_is_not_has_none(self) -> None:
        scripts: dict[str, Script] = {
            **NO_FLAT,
            FOLDERS: refusal(404, "ResourceNotFound"),
            "/v1.0/users/u": answer({"id": "u"}),
        }
        with pytest.raises(NoMailbox):
            pull(graph_with(scripts))

    def test_whether_a_person_is_there_may_be_a_secret(self) -> None:
        denied = refusal(403, "Authorization_RequestDenied")
        with pytest.raises(NotPermitted):
            pull(graph_with({**NO_FLAT, FOLDERS: refusal(404, "ResourceNotFound"), "/v1.0/users/u": denied}))

    @pytest.mark.parametrize(
        "said", [refusal(404, "ResourceNotFound"), refusal(405, ""), refusal(501, "x"), refusal(400, "BadRequest")]
    )
    def test_a_server_without_child_folders_still_gives_the_others(self, said: Answer) -> None:
        graph = graph_with(
            {
                **NO_FLAT,
                FOLDERS: answer({"value": [folder("A", "A")]}),
                f"{DEFAULT}/childFolders": said,
                f"{FOLDERS}/D/childFolders": said,
                f"{FOLDERS}/A/childFolders": said,
                f"{FOLDERS}/A/contacts/delta": page(),
            }
        )
        assert len(paths_of(pull(graph))) == 2

    @pytest.mark.parametrize(
        "said", [refusal(404, "ResourceNotFound"), refusal(405, ""), refusal(501, "x"), refusal(400, "BadRequest")]
    )
    def test_nor_do_folders_below_others_seem_gone_that_it_listed_before(self, said: Answer) -> None:
        graph = level_by_level(ROWS)
        known = {step.folder.id: step.checkpoint for step in pull(graph) if isinstance(step, Page)}
        graph = level_by_level(ROWS)
        graph.scripts |= {f"{FOLDERS}/{folder_id}/childFolders": said for folder_id in ("contacts", *"DABCE")}
        graph.scripts |= {f"{FOLDERS}/{row['id']}": answer(row) for row in ROWS if row["id"] != "B"}
        graph.scripts |= {f"{FOLDERS}/B": refusal(404, "ErrorItemNotFound"), f"{DELTA}?$deltatoken=1": page()}
        steps = pull(graph, known)
        assert set(paths_of(steps)) == TREE - {"Contacts/Kunden/Nord"}
        assert [step for step in steps if isinstance(step, FolderGone)] == [FolderGone("B")]

    def test_and_nothing_seems_gone_while_a_server_says_nothing_of_single_folders(self) -> None:
        graph = level_by_level(ROWS)
        graph.scripts |= {f"{FOLDERS}/A/childFolders": refusal(405, ""), f"{FOLDERS}/B": refusal(405, "")}
        with pytest.raises(ServerFault):
            pull(graph, {"B": "/users/u/x"})

    def test_every_request_gives_ids_in_their_lasting_form(self) -> None:
        graph = level_by_level(ROWS)
        graph.scripts[DEFAULT] = refusal(405, "")
        graph.scripts["/v1.0/users/u/contacts"] = NOTHING
        pull(graph)
        assert {"Immutable" in part.get("headers", {}).get("Prefer", "") for post in graph.posts for part in post} == {
            True
        }

    def test_a_folder_that_is_not_listed_any_more_is_gone(self) -> None:
        steps = pull(graph_with({}), {"D": "", "old": "/users/u/x"})
        assert [step for step in steps if isinstance(step, FolderGone)] == [FolderGone("old")]

    def test_a_folder_deleted_between_the_list_and_its_round_is_gone(self) -> None:
        assert pull(graph_with({DELTA: refusal(404, "ErrorItemNotFound")})) == [FolderGone("D")]
