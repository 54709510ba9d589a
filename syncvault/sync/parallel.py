"""Bounded parallel work: a few threads over a lazily read sequence, never more items in hand than threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

from connectors.port import WaitEnded
from syncvault.errors import SyncvaultError

Item = TypeVar("Item")
Result = TypeVar("Result")


class StoppedError(WaitEnded):
    """Raised in a worker whose result nobody waits for any more."""


class DeadlineError(SyncvaultError, WaitEnded):
    """The time given to a run is over."""

    code = "deadline"


class Stop:
    """Tells workers that somebody has given up: here, or for everything above; or that the time is over.

    Args:
        above: What stops this as well.
        seconds: After how long the time is over; None for never.
    """

    def __init__(self, above: Stop | None = None, *, seconds: float | None = None) -> None:
        self._given_up = False
        self._above = above
        self._until = None if seconds is None else time.monotonic() + seconds
        # One for all that hang together: who gives up above wakes those who wait below.
        self._changed: threading.Condition = threading.Condition() if above is None else above._changed
        self._told: dict[object, tuple[Stop, Callable[[], None]]] = {} if above is None else above._told

    def set(self) -> None:
        """Gives up."""
        with self._changed:
            self._given_up = True
            self._changed.notify_all()
        self.tell()

    @contextmanager
    def telling(self, call: Callable[[], None]) -> Iterator[None]:
        """Has `call` called, from any thread, should it be over before the block is: for waits of other kinds."""
        key = object()
        with self._changed:
            self._told[key] = (self, call)
        try:
            self._tell(self, call)
            yield
        finally:
            with self._changed:
                del self._told[key]

    def tell(self) -> None:
        """Calls what is to be called of all that hang together and are over."""
        with self._changed:
            told = list(self._told.values())
        for stop, call in told:
            self._tell(stop, call)

    def wait(self, seconds: float) -> None:
        """Lets so much time pass; raises as `check` does, and as soon as that is known."""
        ends = time.monotonic() + seconds
        with self._changed:
            self.check()
            while (left := ends - time.monotonic()) > 0:
                self._changed.wait(min(left, self.left))
                self.check()

    def check(self) -> None:
        """Raises StoppedError once somebody has given up, DeadlineError once the time is over."""
        if self._given_up:
            raise StoppedError
        if self._until is not None and time.monotonic() >= self._until:
            raise DeadlineError(
                "The run's time was over before this tenant was done.",
                advice="What was pulled stands; the next run goes on from there. Or give it longer: --deadline MINUTES",
            )
        if self._above is not None:
            self._above.check()

    @property
    def left(self) -> float:
        """Seconds until the time is over."""
        here = threading.TIMEOUT_MAX if self._until is None else max(self._until - time.monotonic(), 0.0)
        return here if self._above is None else min(here, self._above.left)

    @staticmethod
    def _tell(stop: Stop, call: Callable[[], None]) -> None:
        try:
            stop.check()
        except WaitEnded:
            call()


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
                done, in_hand = _first_done(in_hand, stop)
                results = [future.result() for future in _cause_first(done)]
                in_hand |= {pool.submit(work, item) for item in islice(remaining, len(done))}
                yield from results
        except BaseException:  # an interrupt too has to reach the workers before the pool waits for them
            stop.set()
            raise


def _first_done(in_hand: set[Future[Result]], stop: Stop) -> tuple[set[Future[Result]], set[Future[Result]]]:
    """Waits for the first of them, and tells whoever has to know should the time be over meanwhile."""
    done, left = wait(in_hand, stop.left, FIRST_COMPLETED)
    if not done:
        stop.tell()
        done, left = wait(left, None, FIRST_COMPLETED)
    return done, left


def _cause_first(done: Iterable[Future[Result]]) -> list[Future[Result]]:
    """Puts a real failure before a `StoppedError`, which only follows from another's."""
    return sorted(done, key=lambda future: isinstance(future.exception(), StoppedError))
