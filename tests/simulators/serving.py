"""An HTTPS server in threads that hands each request to one function: what the simulators and the control share."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import trustme

_HANDSHAKE_SECONDS = 30
_BODY_LIMIT = 64 * 1024 * 1024


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


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: Cut | None = None


class HttpsServer:
    """Serves `respond` on a loopback port until stopped."""

    def __init__(
        self, respond: Callable[[Request], Answer], authority: trustme.CA, port: int = 0, host: str = "127.0.0.1"
    ) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        authority.issue_cert("localhost", "127.0.0.1", host).configure_cert(context)
        self._server = _Server((host, port), _Handler)
        self._server.context, self._server.respond = context, respond
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.origin = f"https://{host}:{self._server.server_address[1]}"

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stops listening and closes every connection."""
        self._server.shutdown()
        self._server.server_close()
        self._server.close_connections()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    context: ssl.SSLContext
    respond: Callable[[Request], Answer]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        # The handshake happens here, in the connection's own thread, so that a stalled client holds nobody up.
        request.settimeout(_HANDSHAKE_SECONDS)
        try:
            request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            secured = self.context.wrap_socket(request, server_side=True)
        except OSError:  # a client that does not trust us, or has gone
            request.close()
            return
        with self._guard:
            self._open.add(secured)
        try:
            with contextlib.suppress(OSError):
                self.finish_request(secured, client_address)
        finally:
            with self._guard:
                self._open.discard(secured)
            self.shutdown_request(secured)

    def close_connections(self) -> None:
        """Ends what clients keep alive."""
        with self._guard:
            still_open = list(self._open)
        for connection in still_open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together
    timeout = 120
    server: _Server

    def _serve(self) -> None:
        headers = Headers(dict(self.headers.items()))
        origin = f"https://{headers.get('Host', 'localhost')}"
        body = self._body(headers)
        if body is None:
            self._send(Answer(413, {"Connection": "close"}))
            return
        self._send(self.server.respond(Request(self.command, self.path, origin, headers, body)))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 (http.server's names)

    def _body(self, headers: Headers) -> bytes | None:
        if headers.get("Transfer-Encoding", "").lower() == "chunked":
            return b"".join(self._chunks())
        length = int(headers.get("Content-Length") or 0)
        return self.rfile.read(length) if length <= _BODY_LIMIT else None

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _send(self, answer: Answer) -> None:
        if answer.cut is Cut.DROP:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status not in {204, 304}:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if answer.cut is Cut.TRUNCATE:
            self.wfile.write(answer.body[: len(answer.body) // 2])
            self.close_connection = True
        elif answer.status not in {204, 304}:
            self.wfile.write(answer.body)
        self.wfile.flush()

    def version_string(self) -> str:
        return "Microsoft-IIS/10.0"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (http.server's name)
        """Says nothing; the recorder keeps what tests want to see."""
