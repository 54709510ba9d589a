"""The requests that a pull sends, written down so that they can be sent again by something barer."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from connectors.trust import TrustAdapter

# The sign-in holds a secret and cannot be repeated; the connection's own headers are made by whoever sends.
_SIGN_IN: Final = "/oauth2/"
_CONFIGURATION: Final = "/.well-known/"
_OWN_HEADERS: Final = frozenset({"authorization", "content-length", "connection", "host", "cookie"})


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request as it went out, without what proves who we are."""

    method: str
    url: str
    headers: dict[str, str]
    body: str
    status: int  # of the answer


@contextmanager
def recorded(found: list[Exchange]) -> Iterator[None]:
    """Notes what both adapters send inside the block."""
    sends, lock = TrustAdapter.send, threading.Lock()

    def send(self: TrustAdapter, request: Any, *args: Any, **options: Any) -> Any:
        response = sends(self, request, *args, **options)
        if _SIGN_IN not in request.url and _CONFIGURATION not in request.url:
            with lock:
                found.append(_exchange(request, response.status_code))
        return response

    TrustAdapter.send = send  # type: ignore[method-assign]
    try:
        yield
    finally:
        TrustAdapter.send = sends  # type: ignore[method-assign]


def save(path: Path, found: list[Exchange]) -> None:
    path.write_text(json.dumps([asdict(each) for each in found]))


def load(path: Path) -> list[Exchange]:
    return [Exchange(**each) for each in json.loads(path.read_text())]


def _exchange(request: Any, status: int) -> Exchange:
    headers = {name: value for name, value in request.headers.items() if name.lower() not in _OWN_HEADERS}
    body = request.body or b""
    return Exchange(request.method, request.url, headers, body if isinstance(body, str) else body.decode(), status)
