"""What both simulators stand on: HTTP/1.1 over TLS, a thread per connection, and an end to all of them on demand."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
import sys
import threading
import traceback
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import trustme

BODY_LIMIT = 64 * 1024 * 1024
IDLE_SECONDS = 120
_DRIP_SECONDS = 0.2


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    """TLS 1.2 or newer with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    certificate.configure_cert(context)
    return context


class Listener(ThreadingHTTPServer):
    """Listens once started, and ends every connection when it is stopped."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[Connection], context: ssl.SSLContext) -> None:
        super().__init__(address, handler)
        self._context = context
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stops listening and closes every connection."""
        if self._thread.is_alive():
            self.shutdown()
            self._thread.join()
        self.server_close()
        self._close_connections()

    def crashed(self, story: str) -> None:
        """Takes note of a mistake of the simulator; `story` is its traceback."""

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Shakes hands in the connection's own thread, so that a slow client holds nobody up."""
        sys.settrace(None)  # a simulator's coverage is nobody's concern, and measuring it takes as long as the work
        try:
            request.settimeout(IDLE_SECONDS)
            request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            secured = self._context.wrap_socket(request, server_side=True)
        except OSError:  # a client that does not trust us, or has gone
            self.shutdown_request(request)
            return
        with self._guard:
            self._open.add(secured)
        try:
            self.finish_request(secured, client_address)
        except OSError:
            pass  # the client went away
        except Exception:  # noqa: BLE001 (kept for the test to see; a thread has nobody to raise to)
            self.crashed(traceback.format_exc())
        finally:
            with self._guard:
                self._open.discard(secured)
            self.shutdown_request(secured)

    def _close_connections(self) -> None:
        with self._guard:
            still_open = list(self._open)
        for connection in still_open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Connection(BaseHTTPRequestHandler):
    """One client's connection: reads bodies however they are framed, and says nothing on the console."""

    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.1"  # a line that cannot be read is answered with a head all the same
    error_content_type = "text/html; charset=us-ascii"
    error_message_format = "<html><head><title>%(message)s</title></head><body><h2>%(message)s</h2></body></html>"
    wbufsize = -1  # head and body leave together

    def parse_request(self) -> bool:
        """Reads the head; a length that is none is a bad request."""
        if not super().parse_request():
            return False
        if (self.headers.get("Content-Length") or "0").strip().isdecimal():
            return True
        self.send_error(HTTPStatus.BAD_REQUEST)
        return False

    def end_headers(self) -> None:
        """Ends the head; a client of HTTP/1.0 has to be told that the connection stays."""
        if self.request_version == "HTTP/1.0" and not self.close_connection:
            self.send_header("Connection", "keep-alive")
        super().end_headers()

    def read_body(self) -> bytes | None:
        """The request's body; None if it is too large.

        Raises:
            ConnectionAbortedError: It was sent in chunks that are none; the client has been told.
        """
        if "chunked" in (self.headers.get("Transfer-Encoding") or "").lower():
            try:
                return self._chunked()
            except ValueError:
                self.send_error(HTTPStatus.BAD_REQUEST)
                raise ConnectionAbortedError from None
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

    def send_stream(self, chunks: Iterator[bytes], *, framed: bool) -> None:
        """Sends a body as it is made, in chunks unless its length was told."""
        if framed:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for chunk in chunks:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk) if framed else chunk)
        self.wfile.write(b"0\r\n\r\n" if framed else b"")
        self.wfile.flush()

    def wait_for_the_end(self, dripping: bytes) -> None:
        """Stays until the client hangs up or the server is stopped, sending a byte now and again if there are any."""
        self.wfile.flush()
        self.connection.settimeout(_DRIP_SECONDS if dripping else IDLE_SECONDS)
        place = 0
        while True:
            try:
                self.connection.recv(1)
            except TimeoutError:
                if place >= len(dripping):
                    return
                self.wfile.write(dripping[place : place + 1])
                self.wfile.flush()
                place += 1
            else:
                return

    def reset(self) -> None:
        """Closes with a linger of nought and no farewell of TLS: the client sees a reset."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())

    def version_string(self) -> str:
        """The server's name, as Exchange gives it."""
        return "Microsoft-IIS/10.0"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (http.server's name)
        """Says nothing; the recorder keeps what tests want to see."""
