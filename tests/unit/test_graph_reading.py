"""Many mailboxes at once: they share batches, commit together, and each fares for itself."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from connectors.graph.mailbox.contacts import ContactReader
from connectors.graph.wire.transport import Answer
from connectors.port import (
    ConnectorError,
    CredentialRejected,
    Ended,
    Mailbox,
    MailboxKind,
    NotPermitted,
    Page,
    ProtocolViolation,
    ServerFault,
    Step,
    Throttled,
    Unreachable,
    Wanted,
)
from connectors.selection import Selection
from tests.unit.graph_mailboxes import EVERYTHING, empty_mailbox, page
from tests.unit.graph_stub import NO_CONNECTION, NOON, ORIGIN, RESET, Script, StubGraph, answer, refusal


def delta(key: str) -> str:
    return f"/v1.0/users/{key}/contactFolders/D/contacts/delta"


def pages_of(key: str, number: int) -> dict[str, Script]:
    """A round of so many pages with a row each."""
    links = [delta(key), *(f"{delta(key)}?$skiptoken={count}" for count in range(1, number))]
    last = page({"id": str(number)}, final=f"{delta(key)}?$deltatoken=1")
    steps = [page({"id": str(count)}, following=link) for count, link in enumerate(links[1:], 1)]
    return dict(zip(links, [*steps, last], strict=True))


def mailboxes(keys: Iterable[str], scripts: dict[str, Script] | None = None) -> StubGraph:
    usual: dict[str, Script] = {}
    for key in keys:
        usual |= empty_mailbox(key) | pages_of(key, 1)
    return StubGraph(usual | (scripts or {}))


def wanted(keys: Iterable[str]) -> list[Wanted]:
    return [Wanted(Mailbox(key)) for key in keys]


def read(graph: StubGraph, keys: Iterable[str], selection: Selection = EVERYTHING) -> list[list[Step]]:
    return [list(steps) for steps in ContactReader(graph.client, selection).changes(wanted(keys))]


def errors_of(sequences: list[list[Step]]) -> dict[str, ConnectorError | None]:
    """What each mailbox ended with; each has to end once."""
    ended = [step for steps in sequences for step in steps if isinstance(step.outcome, Ended)]
    errors = {step.mailbox.key: step.outcome.error for step in ended if isinstance(step.outcome, Ended)}
    assert len(errors) == len(ended)
    return errors


def pages_in(sequences: list[list[Step]], key: str) -> list[Page]:
    return [
        step.outcome
        for steps in sequences
        for step in steps
        if step.mailbox.key == key and isinstance(step.outcome, Page)
    ]


MANY = [f"u{number}" for number in range(100)]


class TestTogether:
    def test_batches_are_full_whatever_the_mailboxes_wait_for(self) -> None:
        graph = mailboxes(MANY)
        sequences = read(graph, MANY)
        assert errors_of(sequences) == dict.fromkeys(MANY)
        assert all(len(pages_in(sequences, key)) == 1 for key in MANY)
        assert graph.client.requests == 3 * len(MANY)
        assert [len(post) for post in graph.posts] == [20] * 15

    def test_no_sequence_holds_two_pages_of_a_mailbox(self) -> None:
        keys = ["a", "b"]
        graph = mailboxes(keys, pages_of("a", 4) | pages_of("b", 3))
        sequences = read(graph, keys)
        for steps in sequences:
            brought = [step.mailbox.key for step in steps if isinstance(step.outcome, Page)]
            assert len(brought) == len(set(brought))
        assert [len(pages_in(sequences, key)) for key in keys] == [4, 3]
        assert [[upsert.id for upsert in one.upserts] for one in pages_in(sequences, "a")] == [
            ["1"],
            ["2"],
            ["3"],
            ["4"],
        ]

    def test_folders_of_one_mailbox_come_in_sequences_of_their_own(self) -> None:
        rows = [{"id": name, "displayName": name, "parentFolderId": "D"} for name in "ABC"]
        flat = answer({"value": rows, "@odata.deltaLink": "/v1.0/users/a/contactFolders/delta?$deltatoken=1"})
        rounds = {f"/v1.0/users/a/contactFolders/{name}/contacts/delta": page(final=delta("a")) for name in "ABC"}
        sequences = read(mailboxes("a", {"/v1.0/users/a/contactFolders/delta": flat, **rounds}), "a")
        assert [len(steps) for steps in sequences] == [1, 1, 1, 2]

    def test_nobody_is_nothing(self) -> None:
        assert read(mailboxes([]), []) == []

    def test_somebody_without_a_mailbox_to_open_is_not_asked_for(self) -> None:
        graph = StubGraph({})
        (steps,) = ContactReader(graph.client, EVERYTHING).changes([Wanted(Mailbox("a", kind=MailboxKind.OUTSIDE))])
        assert list(steps) == [Step(Mailbox("a", kind=MailboxKind.OUTSIDE), Ended())]
        assert graph.asked == []

    def test_few_pages_are_held_however_many_mailboxes_there_are(self) -> None:
        graph = mailboxes(MANY)
        first = next(iter(ContactReader(graph.client, EVERYTHING).changes(wanted(MANY))))
        assert len(graph.posts) <= 3
        assert any(isinstance(step.outcome, Page) for step in first)


class TestApart:
    """One of three mailboxes fails; the others do not."""

    KEYS = ("a", "b", "c")

    def _others_are_fine(self, sequences: list[list[Step]]) -> ConnectorError | None:
        errors = errors_of(sequences)
        assert (errors["a"], errors["c"]) == (None, None)
        assert all(len(pages_in(sequences, key)) == 1 for key in "ac")
        return errors["b"]

    @pytest.mark.parametrize(
        ("said", "error"),
        [
            (refusal(403, "ErrorAccessDenied"), NotPermitted),
            (refusal(429, "ApplicationThrottled", Retry_After="9999"), Throttled),
            (refusal(503, "x"), ServerFault),
            (refusal(302, ""), ProtocolViolation),
            (answer("<html>Hotel</html>"), ProtocolViolation),
            (answer({"value": [{"id": "1"}], "@odata.nextLink": "https://evil.example/v1.0/x"}), ProtocolViolation),
            (answer({"value": {}, "@odata.deltaLink": "x"}), ProtocolViolation),
            (answer([1]), ProtocolViolation),
        ],
        ids=["403", "429", "503", "redirect", "html", "foreign link", "wrong type", "no object"],
    )
    def test_a_failure_is_its_own(self, said: Answer, error: type[Exception]) -> None:
        graph = mailboxes(self.KEYS, {delta("b"): said})
        assert isinstance(self._others_are_fine(read(graph, self.KEYS)), error)

    def test_so_is_an_answer_that_is_too_large(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("connectors.graph.mailbox.reading._BATCH_LIMIT", 5_000)
        monkeypatch.setattr("connectors.graph.mailbox.reading._ALONE_LIMIT", 5_000)
        graph = mailboxes(self.KEYS, {delta("b"): page({"id": "1", "personalNotes": "n" * 10_000})})
        error = self._others_are_fine(read(graph, self.KEYS))
        assert error is not None
        assert error.code == "answer-too-large"

    def test_large_answers_make_smaller_batches(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("connectors.graph.mailbox.reading._BATCH_LIMIT", 15_000)
        large = {delta(key): page({"id": "1", "personalNotes": "n" * 2_000}, final=delta(key)) for key in MANY[:20]}
        graph = mailboxes(MANY[:20], large)
        assert errors_of(read(graph, MANY[:20])) == dict.fromkeys(MANY[:20])
        assert sum(map(len, graph.posts)) == graph.client.requests  # nothing was read by itself

    def test_a_batch_that_makes_no_sense_is_read_part_by_part(self) -> None:
        graph = mailboxes(self.KEYS, {"/v1.0/$batch": answer({"responses": {}})})
        assert errors_of(read(graph, self.KEYS)) == dict.fromkeys(self.KEYS)

    def test_a_server_without_batches_is_read_part_by_part(self) -> None:
        graph = mailboxes(self.KEYS, {"/v1.0/$batch": refusal(404, "x")})
        assert errors_of(read(graph, self.KEYS)) == dict.fromkeys(self.KEYS)
        assert graph.asked.count("/v1.0/$batch") == 1

    def test_a_connection_that_breaks_for_one_part_alone_ends_its_mailbox(self) -> None:
        graph = mailboxes(self.KEYS, {"/v1.0/$batch": refusal(400, "BadRequest"), delta("b"): RESET})
        assert isinstance(self._others_are_fine(read(graph, self.KEYS)), Unreachable)

    @pytest.mark.parametrize(
        "way",
        [{}, {"/v1.0/$batch": refusal(404, "x")}, {"/v1.0/$batch": refusal(400, "x")}],
        ids=["", "none", "refused"],
    )
    def test_one_that_has_to_wait_holds_up_nobody(self, way: dict[str, Script]) -> None:
        waits = [refusal(429, "ApplicationThrottled", Retry_After="30"), *pages_of("b", 1).values()]
        graph = mailboxes(self.KEYS, {delta("b"): waits, **way})
        reading = ContactReader(graph.client, EVERYTHING).changes(wanted(self.KEYS))
        sequences = []
        for steps in reading:
            sequences.append(list(steps))
            ended = {step.mailbox.key for sequence in sequences for step in sequence if isinstance(step.outcome, Ended)}
            long = [seconds for seconds in graph.waits if seconds > 1]  # the others keep a pace
            assert long == ([30.0] if "b" in ended else [])
        assert self._others_are_fine(sequences) is None
        assert ended == set(self.KEYS)


class TestAllOfThem:
    def test_a_refused_credential_ends_it_all(self) -> None:
        with pytest.raises(CredentialRejected):
            read(mailboxes("ab", {delta("a"): refusal(401, "InvalidAuthenticationToken")}), "ab")

    def test_without_a_connection_there_is_nothing_to_say_of_single_ones(self) -> None:
        with pytest.raises(Unreachable) as caught:
            read(StubGraph({"/v1.0/$batch": NO_CONNECTION}), "ab")
        assert caught.value.concerns_all

    def test_with_one_that_breaks_again_and_again_every_mailbox_ends(self) -> None:
        errors = errors_of(read(StubGraph({"/v1.0/$batch": RESET}), "ab"))
        assert [type(error) for error in errors.values()] == [Unreachable, Unreachable]

    def test_so_does_it_where_batches_are_not_permitted(self) -> None:
        errors = errors_of(read(StubGraph({"/v1.0/$batch": refusal(403, "Forbidden")}), "ab"))
        assert [type(error) for error in errors.values()] == [NotPermitted, NotPermitted]


class TestDeadline:
    def test_a_mailbox_that_takes_too_long_ends_with_what_it_had(self) -> None:
        graph = mailboxes("a", pages_of("a", 5))
        reading = ContactReader(graph.client, EVERYTHING, mailbox_seconds=60).changes(wanted("a"))
        first = [list(next(reading))]
        graph.client.now = lambda: NOON + timedelta(seconds=61)
        rest = [list(steps) for steps in reading]
        (error,) = errors_of(rest).values()
        assert error is not None
        assert error.code == "deadline"
        assert len(pages_in(first + rest, "a")) == 1

    def test_so_does_one_whose_list_goes_on_and_on_without_a_page_of_contacts(self) -> None:
        folders, tokens = "/v1.0/users/a/contactFolders/delta", count()
        graph = mailboxes("a")

        def another(_: str) -> Answer:
            following = f"{ORIGIN}{folders}?$skiptoken={next(tokens)}"
            graph.client.now = lambda: NOON + timedelta(seconds=30 * len(graph.asked))
            return answer({"value": [], "@odata.nextLink": following})

        graph.scripts[folders] = another
        reading = ContactReader(graph.client, EVERYTHING, mailbox_seconds=300).changes(wanted("a"))
        (error,) = errors_of([list(steps) for steps in reading]).values()
        assert error is not None
        assert error.code == "deadline"

    def test_nobody_waits_for_what_would_come_too_late(self) -> None:
        busy = refusal(429, "ApplicationThrottled", Retry_After="200")
        graph = mailboxes("a", {delta("a"): busy})
        sequences = [
            list(steps) for steps in ContactReader(graph.client, EVERYTHING, mailbox_seconds=60).changes(wanted("a"))
        ]
        (error,) = errors_of(sequences).values()
        assert error is not None
        assert error.code == "deadline"
        assert graph.waits == []


def test_what_nobody_foresaw_in_one_mailbox_is_a_violation_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise RecursionError

    monkeypatch.setattr("connectors.graph.mailbox.rounds.values", fails)
    errors = errors_of(read(mailboxes("a"), "a"))
    assert [type(error) for error in errors.values()] == [ProtocolViolation]
