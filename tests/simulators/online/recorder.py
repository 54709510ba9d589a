"""Keeps what was asked and answered, so that tests can hold it against the published contract."""

from __future__ import annotations

import json
from collections import deque
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
    """The last exchanges, oldest first."""

    def __init__(self, limit: int) -> None:
        self.exchanges: deque[Exchange] = deque(maxlen=limit)

    def note(self, request: Request, answer: Answer) -> None:
        """Keeps one exchange."""
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
