"""HTTP/1.1 over TLS, a thread per connection. Sign-in belongs to the connection, so the connection is known here."""

from __future__ import annotations

import gzip
import ssl
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from tests.simulators.listening import Connection, Listener

if TYPE_CHECKING:
    from tests.simulators.onprem.sign_in import ConnectionSignIn

COMPRESS_FROM = 2048  # bytes


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request with its body, and the sign-in of its connection."""

    method: str
    target: str
    headers: Any
    body: bytes
    sign_in: ConnectionSignIn


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An answer; `stream` makes a body that is too large to be held.

    `end` says how it fails to arrive: "reset" instead of it; in the middle of it "reset-mid-body", "truncate" (the
    connection ends), "stall" (nothing more comes) or "drip" (a byte comes now and again).
    """

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = field(default=())
    end: str = ""
    stream: Callable[[], Iterator[bytes]] | None = None


class Application:
    """What answers requests."""

    @abstractmethod
    def new_sign_in(self) -> ConnectionSignIn:
        """The sign-in of a new connection."""

    @abstractmethod
    def respond(self, incoming: Incoming) -> Outgoing:
        """The answer to a request."""

    @abstractmethod
    def crashed(self, story: str) -> None:
        """Takes note of a mistake of the simulator."""


class Server(Listener):
    """Listens for an application."""

    def __init__(self, address: tuple[str, int], context: ssl.SSLContext, application: Application) -> None:
        super().__init__(address, _Connection, context)
        self.application = application

    def crashed(self, story: str) -> None:
        """Tells the application."""
        self.application.crashed(story)


class _Connection(Connection):
    server: Server
    sign_in: ConnectionSignIn

    def setup(self) -> None:
        super().setup()
        self.sign_in = self.server.application.new_sign_in()

    def _serve(self) -> None:
        body = self.read_body()
        if body is None:
            self.close_connection = True
            self._send(Outgoing(413))
            return
        self._send(self.server.application.respond(Incoming(self.command, self.path, self.headers, body, self.sign_in)))

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _serve  # noqa: N815 (http.server's names)

    def _send(self, outgoing: Outgoing) -> None:
        if outgoing.end == "reset":
            self.reset()
            return
        if outgoing.stream is not None:
            self._begin(outgoing.status, outgoing.headers)
            self.send_stream(outgoing.stream(), framed="Content-Length" not in dict(outgoing.headers))
            return
        body, headers = self._compressed(outgoing)
        self._begin(outgoing.status, headers)
        if outgoing.status != HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        half = len(body) // 2 if outgoing.end else len(body)
        self.wfile.write(body[:half])
        self.wfile.flush()
        if outgoing.end:
            self.close_connection = True
        if outgoing.end in {"stall", "drip"}:
            self.wait_for_the_end(body[half:] if outgoing.end == "drip" else b"")
        elif outgoing.end == "reset-mid-body":
            self.reset()

    def _begin(self, status: int, headers: tuple[tuple[str, str], ...]) -> None:
        self.send_response(status)
        for name, content in headers:
            self.send_header(name, content)

    def _compressed(self, outgoing: Outgoing) -> tuple[bytes, tuple[tuple[str, str], ...]]:
        accepted = "gzip" in (self.headers.get("Accept-Encoding") or "")
        is_text = any(name == "Content-Type" and content.startswith("text/") for name, content in outgoing.headers)
        if not accepted or not is_text or len(outgoing.body) < COMPRESS_FROM:
            return outgoing.body, outgoing.headers
        extra = (("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding"))
        return gzip.compress(outgoing.body, compresslevel=1), (*outgoing.headers, *extra)
