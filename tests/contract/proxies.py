"""A forward proxy on loopback: connects through (`CONNECT`), refuses, or answers itself, and keeps what it saw."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from dataclasses import dataclass, field

SECONDS = 20


@dataclass
class Seen:
    """What passed the proxy: the request of each client, and all bytes in both directions."""

    heads: list[bytes] = field(default_factory=list)
    passed: bytearray = field(default_factory=bytearray)


class ConnectProxy(socketserver.ThreadingTCPServer):
    """Leads every name to one port on loopback; answers `refusal` instead, where there is one."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int, *, refusal: bytes = b"") -> None:
        super().__init__(("127.0.0.1", 0), _Client)
        self.port, self.refusal, self.seen = port, refusal, Seen()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> ConnectProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Client(socketserver.BaseRequestHandler):
    server: ConnectProxy

    def handle(self) -> None:
        self.request.settimeout(SECONDS)
        head = b""
        while b"\r\n\r\n" not in head and (more := self.request.recv(4096)):
            head += more
        self.server.seen.heads.append(head)
        if self.server.refusal:
            self.request.sendall(self.server.refusal)
            return
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.server.port), SECONDS) as behind:
            self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=self._pass_on, args=(behind, self.request), daemon=True)
            back.start()
            self._pass_on(self.request, behind)
            back.join(SECONDS)

    def _pass_on(self, origin: socket.socket, to: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := origin.recv(65_536):
                self.server.seen.passed += piece
                to.sendall(piece)
        with contextlib.suppress(OSError):
            to.shutdown(socket.SHUT_WR)
