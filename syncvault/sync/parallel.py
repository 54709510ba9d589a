"""Bounded parallel work: a few threads over a lazily read sequence, never more items in hand than threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(workers: int, items: Iterable[Item], work: Callable[[Item], Result], *, name: str) -> Iterator[Result]:
    """Calls `work` on every item, `workers` at a time, and yields what it returns in the order of completion.

    The first exception ends it: no further item is begun, those in hand are waited for, and it is raised.

    Args:
        workers: How many threads; 1 or more.
        items: Read one at a time, in the calling thread.
        work: Called in a worker thread.
        name: Prefix of the threads' names.
    """
    remaining = iter(items)
    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix=name) as pool:
        in_hand: set[Future[Result]] = {pool.submit(work, item) for item in islice(remaining, workers)}
        while in_hand:
            done, in_hand = wait(in_hand, return_when=FIRST_COMPLETED)
            results = [future.result() for future in done]
            in_hand |= {pool.submit(work, item) for item in islice(remaining, len(done))}
            yield from results
