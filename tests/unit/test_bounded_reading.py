"""Whatever a server sends, an answer is read within a size and a time."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator

import pytest
import requests
from urllib3 import HTTPResponse

from connectors.ews.wire import bodies
from connectors.ews.wire.soap import AnswerTooLargeError
from connectors.graph.wire import transport

LATER = time.monotonic() + 3600


class Dripping(io.RawIOBase):
    """A body that comes in pieces; counts those that were taken."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces, self.taken = list(pieces), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self.taken == len(self.pieces):
            return 0
        piece = self.pieces[self.taken]
        self.taken += 1
        buffer[: len(piece)] = piece
        return len(piece)


class Pieces(HTTPResponse):
    """An answer whose body urllib3 would hand over piece by piece."""

    def __init__(self, body: Dripping, length: str = "") -> None:
        super().__init__(body, headers={"Content-Length": length} if length else {}, preload_content=False)
        self._body_in_pieces = body

    def stream(self, amt: int | None = 0, decode_content: bool | None = None) -> Iterator[bytes]:
        while piece := self._body_in_pieces.read(1024):
            yield piece

    def read1(self, amt: int | None = None, decode_content: bool | None = None) -> bytes:
        return self._body_in_pieces.read(1024) or b""


def by_graph(body: Dripping, length: str = "") -> bytes:
    return transport._read(Pieces(body, length), 10, LATER)


def by_ews(body: Dripping, length: str = "") -> bytes:
    response = requests.Response()
    response.raw = Pieces(body, length)
    response.headers.update(response.raw.headers)
    return b"".join(bodies.blocks(response, 10))


ADAPTERS = pytest.mark.parametrize(
    ("read", "too_large"),
    [(by_graph, transport.TooLargeError), (by_ews, AnswerTooLargeError)],
    ids=["graph", "ews"],
)
Read = Callable[..., bytes]


@ADAPTERS
def test_an_answer_within_its_bounds_is_whole(read: Read, too_large: type[Exception]) -> None:
    assert read(Dripping(b"a" * 6, b"b" * 4)) == b"aaaaaabbbb"
    assert read(Dripping(b"only")) == b"only"
    assert read(Dripping()) == b""


@ADAPTERS
def test_reading_stops_where_the_size_is_passed(read: Read, too_large: type[Exception]) -> None:
    body = Dripping(b"a" * 6, b"b" * 5, b"c" * 5)
    with pytest.raises(too_large):
        read(body)
    assert body.taken == 2


@ADAPTERS
def test_nobody_even_begins_with_what_says_that_it_is_too_large(read: Read, too_large: type[Exception]) -> None:
    body = Dripping(b"a")
    with pytest.raises(too_large):
        read(body, length="11")
    assert body.taken == 0


def test_an_answer_that_drips_for_too_long_is_given_up() -> None:
    body = Dripping(b"a", b"b", b"c")
    with pytest.raises(TimeoutError):
        transport._read(Pieces(body), 10, time.monotonic() - 1)
    assert body.taken == 1
