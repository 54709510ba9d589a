"""How both adapters wait: back-off after a passing fault, what `Retry-After` says, and how much may run at once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from math import isnan
from random import SystemRandom
from typing import Final

from connectors.port import ConnectorError, Throttled

Sleep = Callable[[float], object]  # may end early by raising `connectors.port.WaitEnded`
Now = Callable[[], datetime]

_RANDOM: Final = SystemRandom()
_LONGEST: Final = 366 * 86_400.0
_REGROWTH: Final = 0.25  # of a place for each request that went well while there was one place
_SPREAD: Final = 0.5  # seconds


def utc_now() -> datetime:
    """The present instant."""
    return datetime.now(UTC)


def retry_after(value: str | None, now: datetime) -> float | None:
    """The seconds that a `Retry-After` header (a number or an HTTP date, RFC 9110) asks for; None if it says none."""
    text = (value or "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            instant = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
        if instant.tzinfo is None:
            instant = instant.replace(tzinfo=UTC)
        seconds = (instant - now).total_seconds()
    return None if isnan(seconds) else min(max(seconds, 0.0), _LONGEST)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long a passing fault is ridden out.

    Attributes:
        attempts: How often a request is sent at most.
        first: Seconds of the first wait where the server does not say; it doubles from then on.
        longest: Seconds of the longest wait of our own choosing.
        patience: Seconds that one request may wait in all. A server that asks for more is obeyed by the next run.
        deadline: Seconds after which a request that has met a fault is not sent again, however they were spent.
    """

    attempts: int = 7
    first: float = 0.25
    longest: float = 20.0
    patience: float = 300.0
    deadline: float = 1_800.0


class OutOfPatienceError(Exception):
    """A request met passing faults for longer than a run waits; `retry_at` is when it may be tried again."""

    def __init__(self, retry_at: datetime) -> None:
        super().__init__("out of patience")
        self.retry_at = retry_at


@dataclass(slots=True)
class Backoff:
    """The waits of one request: call `pause` after each passing fault, then send the request again."""

    sleep: Sleep = time.sleep
    now: Now = utc_now
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    faults: int = 0
    waited: float = 0.0
    began: datetime = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.now()

    def pause(self, asked: float | None = None) -> None:
        """Waits as long as the server asked, else exponentially with jitter.

        Args:
            asked: Seconds the server asked for, None where it did not say.

        Raises:
            OutOfPatienceError: The request has failed too often, or would have to wait too long.
        """
        self.faults += 1
        seconds = self._own_choice() if asked is None else asked
        late = (self.now() - self.began).total_seconds() + seconds > self.policy.deadline
        if late or self.faults >= self.policy.attempts or self.waited + seconds > self.policy.patience:
            raise OutOfPatienceError(self.now() + timedelta(seconds=seconds))
        self.waited += seconds
        self.sleep(seconds)

    def _own_choice(self) -> float:
        ceiling: float = min(self.policy.longest, self.policy.first * 2 ** (self.faults - 1))
        # Half of it by chance: clients that failed together must not come back together.
        return ceiling * (0.5 + _RANDOM.random() / 2)


def pause(backoff: Backoff, asked: float | None, failure: ConnectorError) -> None:
    """Waits before another try.

    Args:
        backoff: Of the request.
        asked: Seconds the server asked for, None where it did not say.
        failure: What is raised when it is not worth waiting any more.
    """
    try:
        backoff.pause(asked)
    except OutOfPatienceError as end:
        if isinstance(failure, Throttled):
            failure.retry_at = end.retry_at
        raise failure from None


class Slots:
    """At most so many requests at once per key (a mailbox); a request over several mailboxes takes of each at once."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken: Counter[str] = Counter()
        self._freed = threading.Condition()

    @contextmanager
    def taken(self, keys: Iterable[str]) -> Iterator[None]:
        """Holds one slot for each time a key is named, but never more than all slots of a key."""
        wanted = {key: min(number, self._limit) for key, number in Counter(keys).items()}
        with self._freed:
            # All or none: a request that held one mailbox while it waits for another could wait for ever.
            self._freed.wait_for(
                lambda: all(self._taken[key] + number <= self._limit for key, number in wanted.items())
            )
            self._taken.update(wanted)
        try:
            yield
        finally:
            with self._freed:
                self._taken.subtract(wanted)
                for key in wanted:
                    if not self._taken[key]:
                        del self._taken[key]
                self._freed.notify_all()


class Crew:
    """So many at once; fewer for a while when the server says that these are too many, and more again bit by bit.

    Args:
        most: How many at best.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._allowed = float(most)
        self._busy = 0
        self._round = 0  # grows with every time that there were too many
        self._freed = threading.Condition()

    @property
    def allowed(self) -> int:
        """How many may be at work at once for now."""
        return int(self._allowed)

    @contextmanager
    def member(self) -> Iterator[int]:
        """Holds a place; gives what `too_many` wants to be told."""
        with self._freed:
            self._freed.wait_for(lambda: self._busy < self.allowed)
            self._busy += 1
            begun = self._round
        try:
            yield begun
        finally:
            with self._freed:
                self._busy -= 1
                self._freed.notify_all()

    def too_many(self, begun: int) -> None:
        """Halves how many may be at work; those who began together with others only once together."""
        with self._freed:
            if begun == self._round:
                self._round += 1
                self._allowed = max(1.0, self._allowed // 2)

    def went_well(self) -> None:
        """Lets one more in after a few for each that may be at work."""
        if self._allowed < self._most:
            with self._freed:
                self._allowed = min(self._most, self._allowed + _REGROWTH / self._allowed)
                self._freed.notify_all()


class Quiet:
    """Keeps everybody away from a server for as long as it has asked one of them to stay away."""

    def __init__(self, sleep: Sleep) -> None:
        self._sleep = sleep
        self._until = 0.0
        self._lock = threading.Lock()

    def ask(self, seconds: float) -> float:
        """Has whoever comes within so many seconds wait until they are over; gives when that is."""
        until = time.monotonic() + seconds
        with self._lock:
            self._until = max(self._until, until)
        return until

    def wait(self, seconds: float) -> None:
        """Waits, and has others wait that come meanwhile."""
        until = self.ask(seconds)
        self._sleep(seconds)
        with self._lock:
            if self._until == until:
                self._until = 0.0

    def keep(self) -> None:
        """Waits if somebody does."""
        left = self._until - time.monotonic()
        if left > 0:
            # Not all at the same instant.
            self._sleep(left + _RANDOM.random() * _SPREAD)
