"""`$batch`: up to 20 requests in one, answered in any order, each with its own status, headers and body.

Source: "Combine multiple HTTP requests using JSON batching" (Microsoft Learn).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from tests.simulators.online.calls import json_answer
from tests.simulators.online.errors import GraphError, bad_request
from tests.simulators.serving import Answer, Headers, Request

_LIMIT = 20
_METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE"}


def answer_batch(request: Request, respond: Callable[[Request], Answer]) -> Answer:
    """Answers every part through `respond`.

    Raises:
        GraphError: 400 when the batch as a whole makes no sense.
    """
    parts = _parts(request)
    statuses: dict[str, int] = {}
    responses = []
    for part in parts:
        before = part.get("dependsOn") or []
        if any(not 200 <= statuses.get(name, 0) < 300 for name in before):
            response = _failed_dependency(part["id"])
        else:
            response = _response(part["id"], respond(_request(part, request)))
        statuses[part["id"]] = response["status"]
        responses.append(response)
    # The order of answers means nothing; reversing it keeps clients from relying on one.
    return json_answer({"responses": responses[::-1]})


def _parts(request: Request) -> list[dict[str, Any]]:
    try:
        parts = json.loads(request.body)["requests"]
    except (ValueError, KeyError, TypeError) as error:
        raise bad_request("Invalid batch payload format.") from error
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise bad_request("Invalid batch payload format.")
    if len(parts) > _LIMIT:
        raise bad_request(
            f"Number of batch request steps exceeds the maximum value of {_LIMIT}.", "MaximumValueExceeded"
        )
    seen: set[str] = set()
    for part in parts:
        _check(part, seen)
        seen.add(part["id"])
    return parts


def _check(part: dict[str, Any], seen: set[str]) -> None:
    name, url = part.get("id"), part.get("url")
    if not isinstance(name, str) or not name or name in seen:
        raise bad_request("Every batch request step needs an id of its own.")
    if not isinstance(url, str) or "://" in url or part.get("method") not in _METHODS:
        raise bad_request(f"The batch request step {name} has no valid method or relative url.")
    if "body" in part and "content-type" not in {key.lower() for key in part.get("headers") or {}}:
        raise bad_request(f"The batch request step {name} has a body and no Content-Type header.")
    if any(before not in seen for before in part.get("dependsOn") or []):
        raise bad_request(f"The batch request step {name} depends on one that does not come before it.")


def _request(part: dict[str, Any], outer: Request) -> Request:
    headers = Headers({"Authorization": outer.headers.get("Authorization", ""), **(part.get("headers") or {})})
    body = part.get("body", "")
    content = json.dumps(body).encode() if isinstance(body, dict | list) else base64.b64decode(body)
    target = "/v1.0/" + part["url"].lstrip("/")
    return Request(part["method"], target, outer.origin, headers, content, part_of_batch=True)


def _response(name: str, answer: Answer) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": name, "status": answer.status, "headers": answer.headers}
    kind = answer.headers.get("Content-Type", "")
    if not answer.body:
        return shown
    if "json" in kind:
        shown["body"] = json.loads(answer.body)
    elif kind.startswith("text/plain"):
        shown["body"] = answer.body.decode()
    else:
        shown["body"] = base64.b64encode(answer.body).decode()
    return shown


def _failed_dependency(name: str) -> dict[str, Any]:
    error = GraphError(424, "FailedDependency", "A request that this one depends on failed.")
    body = {"error": {"code": error.code, "message": error.message}}
    return {"id": name, "status": 424, "headers": {"Content-Type": "application/json"}, "body": body}
