"""The head of an answer comes within moments, or not at all."""

from __future__ import annotations

import io
import ssl
from http.client import HTTPResponse
from typing import Any

import pytest

from connectors.ews.wire import heads
from connectors.ews.wire.breaks import PassingFaultError
from connectors.ews.wire.transport import bare_session

URL = "https://mail.example.com/EWS/Exchange.asmx"


class Line(io.RawIOBase):
    """A connection that brings a piece at a time, each so many seconds after the last."""

    def __init__(self, *pieces: tuple[float, bytes]) -> None:
        self._pieces = iter(pieces)
        self.seconds = 1.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        wait, piece = next(self._pieces, (0.0, b""))
        self.seconds += wait
        buffer[: len(piece)] = piece
        return len(piece)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)


def answer_over(line: Line, monkeypatch: pytest.MonkeyPatch) -> HTTPResponse:
    adapter: Any = bare_session(ssl.create_default_context()).get_adapter(URL)
    monkeypatch.setattr(heads.time, "monotonic", lambda: line.seconds)
    made = adapter.poolmanager.connection_from_url(URL).ConnectionCls.response_class(line)
    assert isinstance(made, HTTPResponse)
    return made


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"


@pytest.mark.parametrize("piece", [b"X", CONTINUE, CONTINUE[:-1]])
def test_a_head_that_drips_or_never_ends_is_given_up(piece: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line((0, b"HTTP/1.1 100 "), *[(1.0, piece)] * 1000)
    with pytest.raises(PassingFaultError, match="answer-stalled"):
        answer_over(line, monkeypatch).begin()
    assert line.seconds < 20


@pytest.mark.parametrize("first", [[], [(0.0, CONTINUE)]])
def test_an_answer_may_be_long_in_coming_and_its_body_too(
    first: list[tuple[float, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    response = answer_over(Line(*first, (100.0, HEAD), *[(60.0, b"x")] * 9), monkeypatch)
    response.begin()
    assert response.read() == b"x" * 9
