"""Connections end when they have to: whatever somebody waits for there once nobody wants it, or a head without end."""

from __future__ import annotations

import gc
import io
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import trustme
import urllib3

from connectors import lines as lines_module
from connectors.lines import Lines, StalledError
from connectors.port import WaitEnded
from connectors.trust import tls_context
from tests.conftest import Authority
from tests.simulators.listening import server_context
from tests.simulators.loopback import Loopback

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
UNTIL_CLOSED = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
LAST_WORDS = {
    "handshake": b"",
    "request": b"",
    "head": HEAD[:20],
    "interim": CONTINUE,
    "body": HEAD + b"half",
    "body-until-closed": UNTIL_CLOSED + b"half",
    "chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n9\r\n",
}


class OverError(WaitEnded):
    """Why nobody waits any more."""


def is_over(_: float) -> None:
    raise OverError


class Mute(Loopback):
    """Says no more than `words`, and then nothing until the test is over."""

    def __init__(self, context: ssl.SSLContext | None, words: bytes, *, shakes_hands: bool = True) -> None:
        outer = self
        self.silent, self.over = threading.Event(), threading.Event()

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                if context is None or not shakes_hands:
                    self.talk(self.request)
                else:
                    with context.wrap_socket(self.request, server_side=True) as line:
                        self.talk(line)

            def talk(self, line: socket.socket) -> None:
                if shakes_hands:
                    line.recv(4096)
                    line.sendall(words)
                outer.silent.set()
                outer.over.wait(30)

        super().__init__(Handler)

    def __exit__(self, *_: object) -> None:
        self.over.set()
        super().__exit__()


@pytest.fixture
def context(authority: Authority) -> ssl.SSLContext:
    return server_context(authority.ca.issue_cert("127.0.0.1"))


@pytest.fixture
def ask(authority: Authority) -> Iterator[Callable[[Lines, str], urllib3.BaseHTTPResponse]]:
    """Sends a request over lines, and reads the answer."""
    managers = []

    def asking(lines: Lines, url: str) -> urllib3.BaseHTTPResponse:
        manager = urllib3.PoolManager(ssl_context=tls_context(authority.ca_pem), retries=False, timeout=30.0)
        manager.pool_classes_by_scheme = lines.pools()
        managers.append(manager)
        return manager.request("GET", url)

    yield asking
    for manager in managers:
        manager.clear()


def cut_off(lines: Lines, silent: threading.Event, request: Callable[[], object]) -> float:
    """Hangs up on a request once the server has fallen silent; the seconds that it took to end."""
    began: list[float] = []

    def hang_up() -> None:
        assert silent.wait(10)
        began.append(time.monotonic())
        lines.hang_up()

    thread = threading.Thread(target=hang_up)
    thread.start()
    try:
        with pytest.raises(OverError):
            request()
        return time.monotonic() - began[0]
    finally:
        thread.join()


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("stage", LAST_WORDS)
def test_hanging_up_ends_whatever_a_request_waits_for(
    ask: Callable[..., Any], context: ssl.SSLContext, scheme: str, stage: str
) -> None:
    lines = Lines(is_over)
    with Mute(context if scheme == "https" else None, LAST_WORDS[stage], shakes_hands=stage != "handshake") as server:
        url = f"{scheme}://127.0.0.1:{server.port}/"
        assert cut_off(lines, server.silent, lambda: ask(lines, url)) < 1.0


def test_hanging_up_ends_the_wait_for_a_connection(ask: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.create_connection(full.getsockname()):
        lines, trying = Lines(is_over), threading.Event()
        url = f"https://127.0.0.1:{full.getsockname()[1]}/"
        threading.Timer(0.1, trying.set).start()  # nobody sees that somebody is not let in
        assert cut_off(lines, trying, lambda: ask(lines, url)) < 1.0


def test_nobody_waits_for_a_connection_any_more_after_hanging_up(
    ask: Callable[..., Any], handles: list[socket.socket]
) -> None:
    lines = Lines(is_over)
    lines.hang_up()
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.create_connection(full.getsockname()):
        began = time.monotonic()
        with pytest.raises(OverError):
            ask(lines, f"http://127.0.0.1:{full.getsockname()[1]}/")
        assert time.monotonic() - began < 1.0
    assert [handle.fileno() for handle in handles] == [-1]


def test_a_caller_without_a_reason_hears_that_waiting_has_ended() -> None:
    lines = Lines(lambda _: None)
    lines.check()
    lines.hang_up()
    with pytest.raises(WaitEnded):
        lines.check()


def test_an_answer_may_be_collected_as_garbage_while_its_lines_are_cut() -> None:
    lines, ended = Lines(is_over), threading.Event()

    class Handle(socket.socket):
        def shutdown(self, how: int) -> None:
            lines.closed(self)
            super().shutdown(how)

    class Forgotten(socket.socket):
        def dup(self) -> socket.socket:
            return Handle(fileno=super().dup().detach())

    def hang_up() -> None:
        lines.hang_up()
        ended.set()

    with Forgotten() as one, Forgotten() as other:
        handles = [lines.opened(one), lines.opened(other)]
        threading.Thread(target=hang_up, daemon=True).start()
        assert ended.wait(5)
    assert [handle.fileno() for handle in handles] == [-1, -1]


@pytest.fixture
def handles(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[socket.socket]]:
    """The descriptors of its own that whoever hangs up has held, in a process that collects no garbage."""
    held: list[socket.socket] = []
    real = socket.socket.dup
    monkeypatch.setattr(socket.socket, "dup", lambda line: held.append(real(line)) or held[-1])
    gc.disable()
    yield held
    gc.enable()


@pytest.mark.parametrize("words", [HEAD + b"x" * 9, UNTIL_CLOSED + b"x" * 9, b"nonsense\r\n\r\n", HEAD, b""])
def test_no_descriptor_outlives_its_connection(
    authority: Authority, context: ssl.SSLContext, handles: list[socket.socket], words: bytes
) -> None:
    class Once(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with context.wrap_socket(self.request, server_side=True) as line:
                line.recv(4096)
                line.sendall(words)

    with Loopback(Once) as server, urllib3.PoolManager(ssl_context=tls_context(authority.ca_pem)) as manager:
        manager.pool_classes_by_scheme = Lines().pools()
        for _ in range(3):
            with suppress(urllib3.exceptions.HTTPError):
                manager.request("GET", f"https://127.0.0.1:{server.port}/", retries=False)
        manager.clear()
        assert [handle.fileno() for handle in handles] == [-1] * 3


def test_a_server_that_is_not_trusted_costs_no_descriptor(
    ask: Callable[..., Any], handles: list[socket.socket]
) -> None:
    class Stranger(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            stranger = server_context(trustme.CA().issue_cert("127.0.0.1"))
            with suppress(ssl.SSLError):
                stranger.wrap_socket(self.request, server_side=True).close()

    with Loopback(Stranger) as server, pytest.raises(urllib3.exceptions.SSLError):
        ask(Lines(is_over), f"https://127.0.0.1:{server.port}/")
    assert [handle.fileno() for handle in handles] == [-1]


@pytest.mark.parametrize(
    ("host", "failure"),
    [
        ("127.0.0.1:1", urllib3.exceptions.NewConnectionError),
        ("nobody.invalid", urllib3.exceptions.NameResolutionError),
        ("no..body.invalid", urllib3.exceptions.NameResolutionError),
    ],
)
def test_what_cannot_be_connected_fails_as_it_does_elsewhere(
    ask: Callable[..., Any], host: str, failure: type[Exception]
) -> None:
    with pytest.raises(failure):
        ask(Lines(is_over), f"https://{host}/")


def test_a_connection_that_takes_too_long_times_out() -> None:
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as full,
        socket.create_connection(full.getsockname()),
        urllib3.PoolManager(retries=False, timeout=0.05) as manager,
    ):
        manager.pool_classes_by_scheme = Lines(is_over).pools()
        with pytest.raises(urllib3.exceptions.ConnectTimeoutError):
            manager.request("GET", f"http://127.0.0.1:{full.getsockname()[1]}/")


# -- heads -----------------------------------------------------------------------------------------------------------


class Line(io.RawIOBase):
    """A connection that brings a piece at a time, each so many seconds after the last."""

    def __init__(self, *pieces: tuple[float, bytes]) -> None:
        self._pieces = iter(pieces)
        self.seconds = 1.0
        self.before: Callable[[], None] = lambda: None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.before()
        wait, piece = next(self._pieces, (0.0, b""))
        self.seconds += wait
        buffer[: len(piece)] = piece
        return len(piece)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)


def answer_over(line: Line, monkeypatch: pytest.MonkeyPatch, lines: Lines | None = None) -> Any:
    manager = urllib3.PoolManager()
    manager.pool_classes_by_scheme = (lines or Lines()).pools()
    monkeypatch.setattr(lines_module.time, "monotonic", lambda: line.seconds)
    connection: Any = manager.connection_from_url("https://mail.example.com")._new_conn()
    return connection.response_class(line, method="GET")


@pytest.mark.parametrize("piece", [b"X", CONTINUE, CONTINUE[:-1]])
def test_a_head_that_drips_or_never_ends_is_given_up(piece: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line((0, b"HTTP/1.1 100 "), *[(1.0, piece)] * 1000)
    with pytest.raises(StalledError):
        answer_over(line, monkeypatch).begin()
    assert line.seconds < 20


@pytest.mark.parametrize("first", [[], [(0.0, CONTINUE)]])
def test_an_answer_may_be_long_in_coming_and_its_body_too(
    first: list[tuple[float, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    response = answer_over(Line(*first, (100.0, HEAD), *[(60.0, b"x")] * 9), monkeypatch)
    response.begin()
    assert response.read() == b"x" * 9


def test_a_line_that_breaks_as_it_is_cut_is_no_failure_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    lines, line = Lines(is_over), Line()

    def break_off() -> None:
        lines.hang_up()
        raise ConnectionResetError

    line.before = break_off
    with pytest.raises(OverError):
        answer_over(line, monkeypatch, lines).begin()
