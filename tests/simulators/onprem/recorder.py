"""What went over the wire, for tests to read: bodies and outcomes, never what somebody signed in with."""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass

LIMIT = 64 * 1024 * 1024  # bytes kept; the oldest go first


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request and its answer. `operation` is empty where the request was not understood."""

    method: str
    path: str
    operation: str
    mailbox: str
    status: int
    request: bytes
    answer: bytes


class Recorder:
    """Keeps the latest requests and answers, and counts all of them."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._kept: deque[Recorded] = deque()
        self._size = 0
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()  # by operation
        self.statuses: Counter[int] = Counter()  # by HTTP status
        self.crashes: list[str] = []  # tracebacks of the simulator's own mistakes
        self.violations: list[str] = []  # what in our answers the schemas do not allow, where they are at hand

    def add(self, entry: Recorded) -> None:
        """Keeps an entry."""
        with self._lock:
            self.counts[entry.operation] += 1
            self.statuses[entry.status] += 1
            self._kept.append(entry)
            self._size += len(entry.request) + len(entry.answer)
            while self._size > self._limit and len(self._kept) > 1:
                oldest = self._kept.popleft()
                self._size -= len(oldest.request) + len(oldest.answer)

    @property
    def entries(self) -> list[Recorded]:
        """The entries kept, oldest first."""
        with self._lock:
            return list(self._kept)

    def of(self, operation: str) -> list[Recorded]:
        """The entries of one operation."""
        return [entry for entry in self.entries if entry.operation == operation]

    def clear(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._kept.clear()
            self._size = 0
            self.counts.clear()
            self.statuses.clear()
            self.crashes.clear()
            self.violations.clear()
