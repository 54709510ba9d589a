"""Whatever a server sends, an answer is read within a size and a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from connectors.ews import session as ews
from connectors.graph import transport as graph


class Dripping(requests.Response):
    """An answer that comes in pieces; counts those that were taken."""

    def __init__(self, *pieces: bytes, length: str = "") -> None:
        super().__init__()
        self.pieces, self.taken = pieces, 0
        if length:
            self.headers["Content-Length"] = length

    def iter_content(self, *args: object, **kwargs: object) -> Iterator[bytes]:  # type: ignore[override]
        for piece in self.pieces:
            self.taken += 1
            yield piece


LATER = time.monotonic() + 3600
ADAPTERS = pytest.mark.parametrize(
    ("read", "too_large", "too_slow"),
    [
        (graph._read, graph.TooLargeError, requests.ReadTimeout),
        (ews._read, ews.AnswerTooLargeError, ews.PassingFaultError),
    ],
    ids=["graph", "ews"],
)


@ADAPTERS
def test_an_answer_within_both_bounds_is_whole(
    read: Any, too_large: type[Exception], too_slow: type[Exception]
) -> None:
    assert read(Dripping(b"a" * 6, b"b" * 4), 10, LATER) == b"aaaaaabbbb"
    assert read(Dripping(b"only"), 10, LATER) == b"only"
    assert read(Dripping(), 10, LATER) == b""


@ADAPTERS
def test_reading_stops_where_the_size_is_passed(
    read: Any, too_large: type[Exception], too_slow: type[Exception]
) -> None:
    answer = Dripping(b"a" * 6, b"b" * 5, b"c" * 5)
    with pytest.raises(too_large):
        read(answer, 10, LATER)
    assert answer.taken == 2


@ADAPTERS
def test_an_answer_that_drips_for_too_long_is_given_up(
    read: Any, too_large: type[Exception], too_slow: type[Exception]
) -> None:
    answer = Dripping(b"a", b"b", b"c")
    with pytest.raises(too_slow):
        read(answer, 10, time.monotonic() - 1)
    assert answer.taken == 1


def test_graph_does_not_even_begin_with_what_says_that_it_is_too_large() -> None:
    answer = Dripping(b"a", length="11")
    with pytest.raises(graph.TooLargeError):
        graph._read(answer, 10, LATER)
    assert answer.taken == 0
