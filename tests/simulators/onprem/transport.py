"""HTTP/1.1 over TLS, a thread per connection. Sign-in belongs to the connection, so the connection is known here."""

from __future__ import annotations

import contextlib
import gzip
import os
import socket
import ssl
import struct
import threading
import traceback
from abc import abstractmethod
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.simulators.onprem.ntlm import ConnectionSignIn

BODY_LIMIT = 64 * 1024 * 1024
COMPRESS_FROM = 2048  # bytes
IDLE_SECONDS = 120


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
    """An answer; `end` may be "reset" (instead of it) or "truncate" (in the middle of it)."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = field(default=())
    end: str = ""


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


class Server(ThreadingHTTPServer):
    """Listens, and ends every connection when it stops."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], context: ssl.SSLContext, application: Application) -> None:
        super().__init__(address, _Handler)
        self.context = context
        self.application = application
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Shakes hands in the connection's own thread, so that a slow client holds nobody up."""
        with contextlib.suppress(OSError):
            request.settimeout(IDLE_SECONDS)
            request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            secured = self.context.wrap_socket(request, server_side=True)
            with self._guard:
                self._open.add(secured)
            try:
                self.finish_request(secured, client_address)
            except OSError:
                pass  # the client went away
            except Exception:  # noqa: BLE001 (kept for the test to see; a thread has nobody to raise to)
                self.application.crashed(traceback.format_exc())
            finally:
                with self._guard:
                    self._open.discard(secured)
                self.shutdown_request(secured)
            return
        self.shutdown_request(request)

    def close_connections(self) -> None:
        """Ends the connections that clients keep alive."""
        with self._guard:
            still_open = list(self._open)
        for connection in still_open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together
    server: Server
    sign_in: ConnectionSignIn

    def setup(self) -> None:
        super().setup()
        self.sign_in = self.server.application.new_sign_in()

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        body = self._body()
        if body is None:
            self.close_connection = True
            self._send(Outgoing(413))
            return
        self._send(self.server.application.respond(Incoming(self.command, self.path, self.headers, body, self.sign_in)))

    def _body(self) -> bytes | None:
        if "chunked" in (self.headers.get("Transfer-Encoding") or "").lower():
            return self._chunked()
        length = int(self.headers.get("Content-Length") or 0)
        return self.rfile.read(length) if length <= BODY_LIMIT else None

    def _chunked(self) -> bytes | None:
        body = bytearray()
        while size := int(self.rfile.readline().split(b";")[0], 16):
            if len(body) + size > BODY_LIMIT:
                return None
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers
        return bytes(body)

    def _send(self, outgoing: Outgoing) -> None:
        if outgoing.end == "reset":
            self._reset()
            return
        body, headers = self._compressed(outgoing)
        self.send_response(outgoing.status)
        for name, content in headers:
            self.send_header(name, content)
        if outgoing.status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if outgoing.end == "truncate":
            body = body[: len(body) // 2]
            self.close_connection = True
        self.wfile.write(body)
        self.wfile.flush()

    def _reset(self) -> None:
        # Closed with a linger of nought and no farewell of TLS: the client sees a reset.
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())

    def _compressed(self, outgoing: Outgoing) -> tuple[bytes, tuple[tuple[str, str], ...]]:
        accepted = "gzip" in (self.headers.get("Accept-Encoding") or "")
        is_text = any(name == "Content-Type" and content.startswith("text/") for name, content in outgoing.headers)
        if not accepted or not is_text or len(outgoing.body) < COMPRESS_FROM:
            return outgoing.body, outgoing.headers
        extra = (("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding"))
        return gzip.compress(outgoing.body, compresslevel=1), (*outgoing.headers, *extra)

    def version_string(self) -> str:
        return "Microsoft-IIS/10.0"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (http.server's name)
        """Says nothing; the recorder keeps what tests want to see."""
