"""A forward proxy on loopback: connects through (`CONNECT`), refuses, or answers itself, and keeps what it saw."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
import threading
from dataclasses import dataclass, field

from tests.simulators.loopback import Loopback

SECONDS = 20


@dataclass
class Seen:
    """What passed the proxy: the request of each client, and all bytes in both directions."""

    heads: list[bytes] = field(default_factory=list)
    passed: bytearray = field(default_factory=bytearray)


class ConnectProxy(Loopback):
    """Leads every name to one port on loopback; answers `refusal` instead, where there is one; speaks TLS by `tls`."""

    def __init__(self, leads_to: int, *, refusal: bytes = b"", tls: ssl.SSLContext | None = None) -> None:
        super().__init__(_Client)
        self.leads_to, self.refusal, self.tls, self.seen = leads_to, refusal, tls, Seen()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"


class _Client(socketserver.BaseRequestHandler):
    server: ConnectProxy

    def handle(self) -> None:
        self.request.settimeout(SECONDS)
        if self.server.tls is not None:
            try:
                self.request = self.server.tls.wrap_socket(self.request, server_side=True)
            except OSError:  # a client that does not trust us
                return
        head = b""
        while b"\r\n\r\n" not in head and (more := self.request.recv(4096)):
            head += more
        self.server.seen.heads.append(head)
        if self.server.refusal:
            self.request.sendall(self.server.refusal)
            return
        place = ("127.0.0.1", self.server.leads_to)
        with contextlib.suppress(OSError), socket.create_connection(place, SECONDS) as behind:
            self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=self._pass_on, args=(behind, self.request), daemon=True)
            back.start()
            self._pass_on(self.request, behind)
            back.join(SECONDS)

    def finish(self) -> None:
        self.request.close()

    def _pass_on(self, origin: socket.socket, to: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := origin.recv(65_536):
                self.server.seen.passed += piece
                to.sendall(piece)
        with contextlib.suppress(OSError):
            to.shutdown(socket.SHUT_WR)
