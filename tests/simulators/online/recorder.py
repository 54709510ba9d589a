"""Keeps what was asked and answered, so that tests can hold it against the published contract."""

from __future__ import annotations

import json
import threading
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any

from tests.simulators.serving import Answer, Request


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request with its answer; the bearer is left out. Parts of a `$batch` are exchanges of their own."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    status: int
    answer_headers: dict[str, str]
    answer_body: bytes
    part_of_batch: bool

    def json(self) -> Any:
        """The answer's body."""
        return json.loads(self.answer_body)


class Recorder:
    """The last exchanges, oldest first, and how many there were since the start.

    Attributes:
        counts: By kind: `single` requests, each `batch` as a whole, each `part` of one, and each `sign_in`.
    """

    def __init__(self, limit: int) -> None:
        self.exchanges: deque[Exchange] = deque(maxlen=limit)
        self.counts: Counter[str] = Counter()
        self._counting = threading.Lock()

    def count(self, kind: str) -> None:
        """Counts one exchange."""
        with self._counting:
            self.counts[kind] += 1

    def note(self, request: Request, answer: Answer) -> None:
        """Counts one exchange, and keeps it."""
        self.count("part" if request.part_of_batch else "batch" if request.path.endswith("/$batch") else "single")
        if self.exchanges.maxlen == 0:
            return
        headers = {name: value for name, value in request.headers.items() if name.lower() != "authorization"}
        self.exchanges.append(
            Exchange(
                request.method,
                request.path,
                request.query,
                headers,
                request.body,
                answer.status,
                dict(answer.headers),
                answer.body,
                request.part_of_batch,
            )
        )

    def clear(self) -> None:
        """Forgets."""
        self.exchanges.clear()

    def paths(self) -> list[str]:
        """The paths asked for, in order."""
        return [exchange.path for exchange in self.exchanges]
