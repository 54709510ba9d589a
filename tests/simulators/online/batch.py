"""`$batch`: up to 20 requests in one, answered in any order, each with its own status, headers and body.

Source: "Combine multiple HTTP requests using JSON batching" (Microsoft Learn). Parts run four at a time, which is what
counts for a mailbox that takes four requests at once.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import orjson

from tests.simulators.online.calls import json_answer
from tests.simulators.online.errors import GraphError, bad_request
from tests.simulators.serving import Answer, Headers, Request

_LIMIT = 20
_METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE"}
_AT_ONCE = 4

Together = Callable[[list[Request]], AbstractContextManager[list[Request]]]


def answer_batch(request: Request, respond: Callable[[Request], Answer], together: Together) -> Answer:
    """Answers every part through `respond`, four of them `together`.

    Raises:
        GraphError: 400 when the batch as a whole makes no sense.
    """
    parts = batch_parts(request)
    for part in _checked(parts):
        _check_shape(part)
    statuses: dict[str, int] = {}
    responses = []
    for begin in range(0, len(parts), _AT_ONCE):
        wave = parts[begin : begin + _AT_ONCE]
        with together([part_request(part, request) for part in wave]) as requests:
            for part, inner in zip(wave, requests, strict=True):
                before = part.get("dependsOn") or []
                if any(not 200 <= statuses.get(name, 0) < 300 for name in before):
                    response = _failed_dependency(part["id"])
                else:
                    response = _response(part["id"], respond(inner))
                statuses[part["id"]] = response["status"]
                responses.append(response)
    # The order of answers means nothing; reversing it keeps clients from relying on one.
    return json_answer({"responses": responses[::-1]})


def batch_parts(request: Request) -> list[dict[str, Any]]:
    """The parts of a batch as they came; 400 if it is none."""
    try:
        parts = orjson.loads(request.body)["requests"]
    except (ValueError, KeyError, TypeError) as error:
        raise bad_request("Invalid batch payload format.") from error
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise bad_request("Invalid batch payload format.")
    return parts


def part_request(part: dict[str, Any], outer: Request) -> Request:
    """A part as a request of its own."""
    headers = Headers({"Authorization": outer.headers.get("Authorization", ""), **(part.get("headers") or {})})
    body = part.get("body", "")
    content = orjson.dumps(body) if isinstance(body, dict | list) else base64.b64decode(body)
    target = "/v1.0/" + part["url"].lstrip("/")
    return Request(part["method"], target, outer.origin, headers, content, part_of_batch=True)


def _checked(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if len(parts) > _LIMIT:
        raise bad_request(
            f"Number of batch request steps exceeds the maximum value of {_LIMIT}.", "MaximumValueExceeded"
        )
    seen: set[str] = set()
    for part in parts:
        name = part.get("id")
        if not isinstance(name, str) or not name or name in seen:
            raise bad_request("Every batch request step needs an id of its own.")
        if any(before not in seen for before in part.get("dependsOn") or []):
            raise bad_request(f"The batch request step {name} depends on one that does not come before it.")
        seen.add(name)
    return parts


def _check_shape(part: dict[str, Any]) -> None:
    url = part.get("url")
    if not isinstance(url, str) or "://" in url or part.get("method") not in _METHODS:
        raise bad_request(f"The batch request step {part['id']} has no valid method or relative url.")
    if "body" in part and "content-type" not in {key.lower() for key in part.get("headers") or {}}:
        raise bad_request(f"The batch request step {part['id']} has a body and no Content-Type header.")


def _response(name: str, answer: Answer) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": name, "status": answer.status, "headers": answer.headers}
    kind = answer.headers.get("Content-Type", "")
    if not answer.body:
        return shown
    if "json" in kind:
        shown["body"] = orjson.Fragment(answer.body)
    elif kind.startswith("text/"):
        shown["body"] = answer.body.decode()
    else:
        shown["body"] = base64.b64encode(answer.body).decode()
    return shown


def _failed_dependency(name: str) -> dict[str, Any]:
    error = GraphError(424, "FailedDependency", "A request that this one depends on failed.")
    body = {"error": {"code": error.code, "message": error.message}}
    return {"id": name, "status": 424, "headers": {"Content-Type": "application/json"}, "body": body}
