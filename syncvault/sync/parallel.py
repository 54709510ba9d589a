"""Bounded parallel work: a few threads over a lazily read sequence, never more items in hand than threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class StoppedError(Exception):
    """Raised in a worker whose result nobody waits for any more."""


class Stop:
    """Tells workers that somebody has given up: here, or for everything above."""

    def __init__(self, above: Stop | None = None) -> None:
        self._here = threading.Event()
        self._above = above

    def set(self) -> None:
        """Gives up."""
        self._here.set()

    def check(self) -> None:
        """Raises StoppedError once somebody has given up."""
        if self._here.is_set():
            raise StoppedError
        if self._above is not None:
            self._above.check()


def each(
    workers: int, items: Iterable[Item], work: Callable[[Item], Result], *, name: str, stop: Stop
) -> Iterator[Result]:
    """Calls `work` on every item, `workers` at a time, and yields what it returns in the order of completion.

    The first exception ends it: `stop` is set, no further item is begun, those in hand are waited for, and it is
    raised.

    Args:
        workers: How many threads; 1 or more.
        items: Read one at a time, in the calling thread.
        work: Called in a worker thread; should check `stop` now and then.
        name: Prefix of the threads' names.
        stop: Set when the work ends early.
    """
    remaining = iter(items)
    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix=name) as pool:
        try:
            in_hand: set[Future[Result]] = {pool.submit(work, item) for item in islice(remaining, workers)}
            while in_hand:
                done, in_hand = wait(in_hand, return_when=FIRST_COMPLETED)
                results = [future.result() for future in _cause_first(done)]
                in_hand |= {pool.submit(work, item) for item in islice(remaining, len(done))}
                yield from results
        except BaseException:  # an interrupt too has to reach the workers before the pool waits for them
            stop.set()
            raise


def _cause_first(done: Iterable[Future[Result]]) -> list[Future[Result]]:
    """Puts a real failure before a `StoppedError`, which only follows from another's."""
    return sorted(done, key=lambda future: isinstance(future.exception(), StoppedError))
