"""The default folder's name: asked for where a mailbox holds anything, and again now and then."""

from __future__ import annotations

from datetime import timedelta
from itertools import count

import pytest

from connectors.graph.mailbox.contacts import ContactReader
from connectors.port import FolderGone, Mailbox, Page, Wanted
from connectors.selection import Selection
from tests.unit.graph_mailboxes import (
    DEFAULT,
    DELTA,
    EVERYTHING,
    FLAT,
    FOLDERS,
    folder,
    folder_rows,
    graph_with,
    page,
    paths_of,
    pull,
    read_to_its_end,
)
from tests.unit.graph_stub import NOON, Script, StubGraph, answer, refusal

UNNAMED = f"{DEFAULT}/contacts/delta"
AGAIN = f"{DELTA}?$deltatoken=1"
OF_A = f"{FOLDERS}/A/contacts/delta"
ONE = page({"id": "1"})
GONE = refusal(404, "ErrorItemNotFound")


def checkpoints(steps: list[object]) -> dict[str, str]:
    return {step.folder.id: step.checkpoint for step in steps if isinstance(step, Page)}


def asks_for_name(graph: StubGraph) -> bool:
    return any(path.partition("?")[0] == DEFAULT for path in graph.asked)


class TestWithoutName:
    @pytest.mark.parametrize("beside", [[], [folder("A", "Kunden")]], ids=["alone", "with another"])
    def test_an_empty_mailbox_costs_one_request_and_one_for_each_folder(self, beside: list[dict[str, str]]) -> None:
        graph = graph_with({FLAT: folder_rows(*beside), OF_A: page(final=f"{OF_A}?$deltatoken=1")})
        steps = pull(graph)
        assert graph.client.requests == 2 + len(beside)
        assert steps[0].folder.path == "Contacts"
        again = graph_with({FLAT: folder_rows(*beside), AGAIN: page(), f"{OF_A}?$deltatoken=1": page()})
        assert len(pull(again, checkpoints(steps))) == 1 + len(beside)
        assert again.client.requests == 2 + len(beside)

    def test_it_is_asked_for_as_soon_as_there_is_a_contact_wherever_that_lies(self) -> None:
        beside = folder_rows(folder("A", "Kunden"))
        before = pull(graph_with({FLAT: beside, OF_A: page(final=f"{OF_A}?$deltatoken=1")}))
        graph = graph_with({FLAT: beside, AGAIN: page(), f"{OF_A}?$deltatoken=1": ONE})
        steps = pull(graph, checkpoints(before))
        assert paths_of(steps) == ["Contacts", "Contacts/Kunden"]
        assert [step.folder.id for step in steps[:2]] == ["D", "A"]
        assert steps[2:] == [FolderGone("contacts")]
        assert graph.client.requests == 3 + 1

    def test_the_round_goes_on_where_it_stood_without(self) -> None:
        before = pull(graph_with({}))
        steps = pull(graph_with({AGAIN: ONE}), checkpoints(before))
        assert [len(step.upserts) for step in steps[:1]] == [1]
        assert steps[1:] == [FolderGone("contacts")]

    def test_a_name_that_came_in_the_middle_of_a_run_counts_though_that_was_cut_off(self) -> None:
        unnamed, named = pull(graph_with({}))[0], pull(graph_with({DELTA: ONE}))[0]
        graph = graph_with({AGAIN: page()})
        steps = pull(graph, {"contacts": unnamed.checkpoint, "D": named.checkpoint})
        assert [step.folder.id for step in steps[:1]] == ["D"]
        assert steps[1:] == [FolderGone("contacts")]
        assert not asks_for_name(graph)

    def test_who_chooses_folders_needs_it_at_once(self) -> None:
        graph = graph_with({})
        (step,) = pull(graph, selection=Selection(EVERYTHING.fields, ("Contacts*",), private=True))
        assert (step.folder.id, graph.client.requests) == ("D", 3)

    def test_a_default_folder_that_is_listed_is_read_once(self) -> None:
        (step,) = pull(graph_with({FLAT: folder_rows(folder("D", "Kontakte", "root")), DELTA: ONE}))
        assert (step.folder.id, step.folder.path, len(step.upserts)) == ("D", "Contacts", 1)

    def test_a_folder_with_a_checkpoint_that_is_not_listed_may_be_the_default_one(self) -> None:
        graph = graph_with({AGAIN: page()})
        (step,) = pull(graph, {"D": AGAIN.removeprefix("/v1.0")})
        assert step.folder.id == "D"

    @pytest.mark.parametrize("said", [GONE, refusal(400, "ErrorInvalidIdMalformed"), refusal(405, "")])
    def test_a_server_that_knows_folders_by_their_ids_alone_is_asked_for_them_from_then_on(self, said: Script) -> None:
        graph = graph_with({UNNAMED: said})
        reader = ContactReader(graph.client, EVERYTHING)
        for _ in range(2):
            (step,) = read_to_its_end(reader, Wanted(Mailbox("u")))
            assert step.folder.id == "D"
        assert len([path for path in graph.asked if path.startswith(UNNAMED)]) == 1

    def test_an_expired_checkpoint_of_one_without_a_name_is_its_own(self) -> None:
        before = checkpoints(pull(graph_with({})))
        steps = pull(graph_with({AGAIN: GONE}), before)
        assert steps[0] == FolderGone("contacts")
        assert [step.folder.id for step in steps[1:]] == ["D"]


class TestNewName:
    def _named(self) -> dict[str, str]:
        return checkpoints(pull(graph_with({DELTA: ONE})))

    def _after(self, days: int, scripts: dict[str, Script]) -> StubGraph:
        graph = graph_with({AGAIN: page(final=AGAIN), **scripts})
        graph.client.now = lambda: NOON + timedelta(days=days)  # type: ignore[method-assign]
        return graph

    def test_it_is_seen_within_two_weeks_and_looked_for_once_a_week_at_most(self) -> None:
        renamed: dict[str, Script] = {DEFAULT: answer(folder("D", "Kontakte", "root"))}
        standing, seen = self._named(), []
        for day in range(15):
            graph = self._after(day, renamed)
            (step,) = pull(graph, standing)
            standing = checkpoints([step])
            if asks_for_name(graph):
                seen.append(day)
            assert step.folder.path == ("Kontakte" if seen else "Contacts")
        assert len(seen) in {1, 2}
        assert 7 <= seen[0] < 14

    def test_mailboxes_are_looked_at_on_different_days(self) -> None:
        first = []
        for key in map(str, range(20)):
            graphs = (self._after(day, {}) for day in count())
            stands = {"D": self._named()["D"]}
            for day, graph in enumerate(graphs):
                graph.scripts = {path.replace("/u/", f"/{key}/"): one for path, one in graph.scripts.items()}
                reader = ContactReader(graph.client, EVERYTHING)
                stands = {"D": stands["D"].replace("/u/", f"/{key}/")}
                read_to_its_end(reader, Wanted(Mailbox(key), stands))
                if any(path.partition("?")[0].endswith("/contactFolders/contacts") for path in graph.asked):
                    first.append(day)
                    break
        assert len(set(first)) > 3

    def test_a_server_that_says_nothing_of_it_any_more_leaves_it_as_it_was(self) -> None:
        graph = self._after(30, {DEFAULT: refusal(404, "ErrorItemNotFound")})
        (step,) = pull(graph, self._named())
        assert (step.folder.id, step.folder.path) == ("D", "Contacts")
        assert asks_for_name(graph)
        graph.asked.clear()
        pull(graph, checkpoints([step]))
        assert not asks_for_name(graph)

    def test_one_that_never_needed_a_name_gets_one_in_time(self) -> None:
        (before,) = pull(graph_with({}))
        steps = pull(self._after(30, {}), {"contacts": before.checkpoint})
        assert [step.folder.id for step in steps[:1]] == ["D"]
        assert steps[1:] == [FolderGone("contacts")]

    def test_a_clock_that_went_back_does_not_put_it_off(self) -> None:
        graph = self._after(-400, {})
        pull(graph, self._named())
        assert asks_for_name(graph)
