"""Small servers on loopback that run while a `with` block does."""

from __future__ import annotations

import socketserver
import threading
from typing import Self


class Loopback(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Answers each connection by `handler`, in a thread of its own, on any free port."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, handler: type[socketserver.BaseRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.port = int(self.server_address[1])
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()
