"""The requests that a pull sends, written down so that they can be sent again by something barer."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from connectors.graph.wire.transport import Answer, Transport
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
    through_requests, through_urllib3, lock = TrustAdapter.send, Transport.send, threading.Lock()

    def note(method: str, url: str, headers: Mapping[str, str], body: bytes | str | None, status: int) -> None:
        if _SIGN_IN not in url and _CONFIGURATION not in url:
            sent = {name: value for name, value in headers.items() if name.lower() not in _OWN_HEADERS}
            text = body if isinstance(body, str) else (body or b"").decode()
            with lock:
                found.append(Exchange(method, url, sent, text, status))

    def onprem(self: TrustAdapter, request: Any, *args: Any, **options: Any) -> Any:
        response = through_requests(self, request, *args, **options)
        if request.method == "POST" and response.status_code != HTTPStatus.UNAUTHORIZED:  # the rest only signs in
            note(request.method, request.url, request.headers, request.body, response.status_code)
        return response

    def online(self: Transport, method: str, origin: str, path: str, **options: Any) -> Answer:
        answer = through_urllib3(self, method, origin, path, **options)
        note(method, origin + path, options["headers"], options["body"], answer.status)
        return answer

    TrustAdapter.send, Transport.send = onprem, online  # type: ignore[method-assign]
    try:
        yield
    finally:
        TrustAdapter.send, Transport.send = through_requests, through_urllib3  # type: ignore[method-assign]


def save(path: Path, found: list[Exchange]) -> None:
    path.write_text(json.dumps([asdict(each) for each in found]))


def load(path: Path) -> list[Exchange]:
    return [Exchange(**each) for each in json.loads(path.read_text())]
