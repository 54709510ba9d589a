"""An HTTPS server in threads that hands each request to one function: what the simulators and the control share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import parse_qsl, unquote, urlsplit

import trustme

from tests.simulators.listening import Connection, Listener, server_context


class Headers(Mapping[str, str]):
    """Header fields, looked up in any case, shown as they were written."""

    def __init__(self, fields: Mapping[str, str] | None = None) -> None:
        self._fields = {name.lower(): (name, value) for name, value in (fields or {}).items()}

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()][1]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._fields.values())

    def __len__(self) -> int:
        return len(self._fields)


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came in; `origin` is how the client addresses us."""

    method: str
    target: str
    origin: str
    headers: Headers
    body: bytes = b""
    part_of_batch: bool = False
    crowded: bool | None = None  # of a part of a batch: whether its mailbox has too many requests at once

    @property
    def path(self) -> str:
        """The path, still percent-encoded."""
        return urlsplit(self.target).path

    @property
    def segments(self) -> list[str]:
        """The parts of the path, decoded."""
        return [unquote(segment) for segment in self.path.strip("/").split("/")]

    @property
    def query(self) -> dict[str, str]:
        """The query options; the last one of a name counts."""
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @property
    def url(self) -> str:
        """The whole URL."""
        return self.origin + self.target


class Cut(StrEnum):
    """How an answer fails to arrive."""

    DROP = "drop"  # the connection is reset instead of an answer
    TRUNCATE = "truncate"  # half the body, then the connection ends
    STALL = "stall"  # half the body, then nothing more
    DRIP = "drip"  # half the body, then a byte now and again


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back; `stream` makes a body that is too large to be held, of `Content-Length` bytes if there is one."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: Cut | None = None
    stream: Callable[[], Iterator[bytes]] | None = None


class HttpsServer:
    """Serves `respond` on a loopback port until stopped."""

    def __init__(
        self, respond: Callable[[Request], Answer], authority: trustme.CA, port: int = 0, host: str = "127.0.0.1"
    ) -> None:
        context = server_context(authority.issue_cert("localhost", "127.0.0.1", host))
        self._listener = _Listener((host, port), _Connection, context)
        self._listener.respond = respond
        self.origin = f"https://{host}:{self._listener.server_address[1]}"

    def start(self) -> None:
        """Begins to answer."""
        self._listener.start()

    def stop(self) -> None:
        """Stops listening and closes every connection."""
        self._listener.stop()


class _Listener(Listener):
    respond: Callable[[Request], Answer]


class _Connection(Connection):
    server: _Listener

    def _serve(self) -> None:
        headers = Headers(dict(self.headers.items()))
        origin = f"https://{headers.get('Host', 'localhost')}"
        body = self.read_body()
        if body is None:
            self._send(Answer(413, {"Connection": "close"}))
            return
        self._send(self.server.respond(Request(self.command, self.path, origin, headers, body)))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 (http.server's names)

    def _send(self, answer: Answer) -> None:
        if answer.cut is Cut.DROP:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        has_body = answer.status not in {204, 304}
        if answer.stream:
            self.send_stream(answer.stream(), framed="Content-Length" not in answer.headers)
            return
        if has_body:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if answer.cut:
            half = len(answer.body) // 2
            self.wfile.write(answer.body[:half])
            self.close_connection = True
            if answer.cut is not Cut.TRUNCATE:
                self.wait_for_the_end(answer.body[half:] if answer.cut is Cut.DRIP else b"")
        elif has_body:
            self.wfile.write(answer.body)
        self.wfile.flush()
