"""What a mailbox's reading is made of: a generator that hands out what it asks and what it found.

It yields the reads it waits for and is sent their outcomes, in their order; or it yields something it found. Who drives
it (`connectors.graph.mailbox.reading`) decides when and with whom its reads travel.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, TypeVar

from connectors.graph import paths
from connectors.graph.wire.batch import Outcome, Read, Reply
from connectors.graph.wire.client import MOST_EMPTY_PAGES, GraphClient, values
from connectors.graph.wire.refusals import Refusal
from connectors.port import FolderGone, Page, ProtocolViolation

T = TypeVar("T")
Other = TypeVar("Other")

Found = Page | FolderGone
Asking = Generator[list[Read] | Found, list[Outcome], T]

UNKNOWN_HERE: Final = frozenset({400, 404, 405, 501})  # what a server says to a path or option that it does not know


@dataclass(slots=True)
class Server:
    """A server, and what has been learnt of it: what it does not know is not asked of it again."""

    client: GraphClient
    flat_folders: bool = True  # it lists the folders of all depths at once
    tells_pictures: bool = True  # it finds contacts by whether they have a picture
    names_stand_for_ids: bool = True  # it reads the default folder by its well-known name


class TooLargePartError(ProtocolViolation):
    """A part's answer is larger than what is read, also when it is read alone."""

    default_code = "answer-too-large"


def outlook(path: str, key: str, *, page_size: int, alone: bool = False) -> Read:
    """A page of a mailbox's list or round."""
    return Read(path, key, f"odata.maxpagesize={page_size}, {paths.IMMUTABLE}", alone=alone)


def needed(outcome: Outcome) -> Reply:
    """The reply, where nothing else will do; raises what came instead."""
    if isinstance(outcome, Reply):
        return outcome
    raise outcome


def followed(
    client: GraphClient, reads: Sequence[Read], outcomes: Sequence[Outcome], pick: Callable[[Any], T | None], most: int
) -> Asking[list[list[T] | Refusal]]:
    """Lists to their ends, all at once.

    Args:
        client: Knows which links lead home.
        reads: The first page of each.
        outcomes: What became of them.
        pick: What to keep of an entry; None to leave it out.
        most: How long a list may get.

    Returns:
        What was picked of each list, in order; the refusal of the first page where that was refused.
    """
    picked: list[list[T] | Refusal] = []
    open_ends: list[tuple[list[T], set[int], Read]] = []

    def take(kept: list[T], seen: set[int], read: Read, reply: Reply) -> None:
        page = reply.json()
        kept.extend(found for entry in values(page) if (found := pick(entry)) is not None)
        seen.add(hash(read.path))
        if (path := client.next_link(page)) is not None:
            if hash(path) in seen or len(kept) > most or len(seen) > len(kept) + MOST_EMPTY_PAGES:
                raise ProtocolViolation("A list has no end.")
            open_ends.append((kept, seen, Read(path, read.mailbox, read.prefer)))

    for read, outcome in zip(reads, outcomes, strict=True):
        if isinstance(outcome, Refusal):
            picked.append(outcome)
            continue
        kept: list[T] = []
        picked.append(kept)
        take(kept, set(), read, needed(outcome))
    while open_ends:
        asked, open_ends = open_ends, []
        answers = yield [read for _, _, read in asked]
        for (kept, seen, read), answer in zip(asked, answers, strict=True):
            take(kept, seen, read, needed(answer))
    return picked


def both(first: Asking[T], second: Asking[Other]) -> Asking[tuple[T, Other]]:
    """Two things that are asked for, together; both only ask, and find nothing to hand out meanwhile."""
    works: tuple[Asking[Any], Asking[Any]] = (first, second)
    results: list[Any] = [None, None]
    outcomes: list[list[Outcome] | None] = [None, None]
    going = {0, 1}
    while True:
        asked: dict[int, list[Read]] = {}
        for number in sorted(going):
            try:
                found = works[number].send(outcomes[number])  # type: ignore[arg-type]  # None begins it
                asked[number] = found if isinstance(found, list) else []
            except StopIteration as end:
                results[number] = end.value
                going.discard(number)
        if not going:
            return results[0], results[1]
        answers = iter((yield [read for reads in asked.values() for read in reads]))
        for number, reads in asked.items():
            outcomes[number] = list(islice(answers, len(reads)))


__all__ = [
    "UNKNOWN_HERE",
    "Asking",
    "Found",
    "Server",
    "TooLargePartError",
    "both",
    "followed",
    "needed",
    "outlook",
]
