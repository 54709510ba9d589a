"""A Graph without a network: answers by path, notes what was sent, and unfolds batches."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from requests.structures import CaseInsensitiveDict

from connectors.graph.connector import GraphConnector
from connectors.graph.settings import ClientSecret, GraphSettings
from connectors.graph.sign_in.auth import Token, Tokens
from connectors.graph.wire.client import GraphClient
from connectors.graph.wire.transport import Answer, BrokenError, TooLargeError
from connectors.selection import Selection

ORIGIN = "https://graph.example.com:8443"
NOON = datetime(2027, 1, 1, 12, 0, tzinfo=UTC)

# A mailbox's default folder is `D`, and read by its ID or without it.
DEFAULT_CONTACTS = re.compile(r"(?<=/users/)([^/]+)/(?:contactFolders/contacts/)?contacts(?=/|$)")

Step = Answer | Exception
Script = Step | list[Step] | Callable[[str], Step]


def answer(body: Any = None, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer with JSON, or with bytes or text as they are."""
    kind, content = "application/json", b""
    if isinstance(body, bytes):
        kind, content = "image/jpeg", body
    elif isinstance(body, str):
        kind, content = "text/html", body.encode()
    elif body is not None:
        content = json.dumps(body).encode()
    return Answer(status, CaseInsensitiveDict({"Content-Type": kind, **(headers or {})}), content)


def refusal(status: int, code: str, **headers: str) -> Answer:
    """An error answer of Graph's."""
    body = {"error": {"code": code, "message": "Anna Becker <anna@example.com> is not to be shown."}}
    return answer(body, status, {name.replace("_", "-"): value for name, value in headers.items()})


class NumberedTokens:
    """Gives tokens by number, for an hour each."""

    requests = 0

    def __init__(self) -> None:
        self.given = 0

    def acquire(self) -> Token:
        self.given += 1
        return Token(f"token-{self.given}", NOON + timedelta(hours=1))


class StubGraph:
    """Scripts by path without query; a list is used up front to back, its last step repeats."""

    def __init__(self, scripts: Mapping[str, Script]) -> None:
        self.scripts = {path: list(script) if isinstance(script, list) else script for path, script in scripts.items()}
        self.asked: list[str] = []  # paths with query, parts of batches too
        self.posts: list[list[dict[str, Any]]] = []
        self.headers: list[Mapping[str, str]] = []
        self.origins: set[str] = set()
        self.waits: list[float] = []
        self.tokens = NumberedTokens()
        tokens = Tokens(self.tokens, lambda: NOON)
        self.client = GraphClient(self, ORIGIN, tokens, self.waits.append, lambda: NOON)  # type: ignore[arg-type]

    def connector(self, selection: Selection | None = None, page_size: int = 200) -> GraphConnector:
        settings = GraphSettings("d", "c", ClientSecret(b"s"), graph_url=ORIGIN)
        return GraphConnector(self.client, settings, selection or Selection(), page_size)

    def send(
        self, method: str, origin: str, path: str, *, headers: Mapping[str, str], body: bytes | None, limit: int
    ) -> Answer:
        self.origins.add(origin)
        self.headers.append(headers)
        if path == "/v1.0/$batch" and path not in self.scripts:
            given = self._batch(json.loads(body or b"{}")["requests"])
        else:
            given = self._step(path)
        if len(given.body) > limit:
            raise TooLargeError
        return given

    def close(self) -> None:
        """Nothing to close."""

    def _batch(self, requests: list[dict[str, Any]]) -> Answer:
        self.posts.append(requests)
        # Backwards: parts are answered in any order.
        return answer({"responses": [self._part(request) for request in reversed(requests)]})

    def _part(self, request: dict[str, Any]) -> dict[str, Any]:
        self.headers.append(request.get("headers", {}))
        given = self._step("/v1.0" + request["url"])
        is_json = given.headers["Content-Type"] == "application/json"
        body = json.loads(given.body or b"null") if is_json else base64.b64encode(given.body).decode()
        return {"id": request["id"], "status": given.status, "headers": dict(given.headers), "body": body}

    def _step(self, path: str) -> Answer:
        self.asked.append(path)
        plain = path.partition("?")[0]
        by_id = DEFAULT_CONTACTS.sub(r"\1/contactFolders/D/contacts", plain)
        script = self.scripts.get(path, self.scripts.get(plain, self.scripts.get(by_id, refusal(404, "UnknownPath"))))
        if callable(script):
            step = script(path)
        elif isinstance(script, list):
            step = script.pop(0) if len(script) > 1 else script[0]
        else:
            step = script
        if isinstance(step, Exception):
            raise step
        return step


RESET = BrokenError(connected=True)
NO_CONNECTION = BrokenError(connected=False)
