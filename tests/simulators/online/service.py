"""Graph itself: checks the bearer, finds the room for a path, and puts every answer into Graph's envelope."""

from __future__ import annotations

import re
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from tests.simulators.online import contact_delta, contacts, directory, directory_delta, folders, photos
from tests.simulators.online.batch import answer_batch
from tests.simulators.online.calls import Area, Call, Route, World, json_answer
from tests.simulators.online.errors import (
    GraphError,
    access_denied,
    bad_request,
    no_segment,
    role_missing,
    throttled_mailbox,
)
from tests.simulators.online.faults import Faults, strike
from tests.simulators.online.recorder import Recorder
from tests.simulators.online.tokens import TokenIssuer
from tests.simulators.serving import Answer, Request

_ROOMS = (directory_delta, directory, contact_delta, folders, photos, contacts)
_ROUTES = [route for room in _ROOMS for route in room.ROUTES]
# A fixed name beats a placeholder: users/delta is not the user "delta".
_ROUTES.sort(key=lambda route: [segment.startswith("{") for segment in route.template.split("/")])
_KEY = re.compile(r"\('?([^()']*)'?\)")
_MAILBOX_CONCURRENCY = 4


class GraphService:
    """Answers requests under `/v1.0`."""

    def __init__(self, world: World, issuer: TokenIssuer, faults: Faults, recorder: Recorder) -> None:
        self.world = world
        self._issuer = issuer
        self._faults = faults
        self._recorder = recorder
        self._busy: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._pause = threading.Event()

    def answer(self, request: Request) -> Answer:
        """The answer to a request, or to a part of a batch; both are recorded."""
        if self.world.behaviour.latency and not request.part_of_batch:
            self._pause.wait(self.world.behaviour.latency)
        fault = self._faults.take(request)
        answer = fault.answer if fault and fault.answer else self._answered(request)
        if fault:
            answer = strike(fault, request, answer)
        answer = replace(answer, headers={**_envelope(request), **answer.headers})
        self._recorder.note(request, answer)
        return answer

    def _answered(self, request: Request) -> Answer:
        try:
            claims = self._issuer.check(request.headers.get("Authorization"), request.origin)
            path = _plain_path(request.path)
            if path.lower() == "$batch" and not request.part_of_batch and request.method == "POST":
                return answer_batch(request, self.answer)
            route, args = _find(request.method, path)
            return self._in_room(route, Call(self.world, request, args), set(claims["roles"]))
        except GraphError as error:
            head = _envelope(request)
            date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
            body = error.body(head["request-id"], head["client-request-id"], date)
            return json_answer(body, error.status, {**head, **error.headers})

    def _in_room(self, route: Route, call: Call, roles: set[str]) -> Answer:
        if roles.isdisjoint(route.area.value):
            raise access_denied() if route.area.is_mailbox else role_missing()
        if not route.area.is_mailbox:
            return _finished(route, call)
        with self._counted(call.args["user"].lower()):
            _ = call.box  # a mailbox that is not there, or not open to us, is so for every path
            return _finished(route, call)

    @contextmanager
    def _counted(self, user: str) -> Iterator[None]:
        with self._lock:
            self._busy[user] += 1
            too_many = self._busy[user] > _MAILBOX_CONCURRENCY
        try:
            if too_many and self.world.behaviour.limit_concurrency:
                raise throttled_mailbox()
            yield
        finally:
            with self._lock:
                self._busy[user] -= 1


def _finished(route: Route, call: Call) -> Answer:
    try:
        outcome = route.handler(call)
    except KeyError as error:
        # Somebody changed the company between two looks at it; the real server says "not found" then, too.
        raise GraphError(404, "ErrorItemNotFound", "The specified object was not found in the store.") from error
    answer = outcome if isinstance(outcome, Answer) else json_answer(outcome)
    if route.area in {Area.USERS, Area.GROUPS}:
        cost = 5 if "transitive" in route.template else 3 if "members" in route.template else 1
        return replace(answer, headers={**answer.headers, "x-ms-resource-unit": str(cost)})
    return answer


def _plain_path(path: str) -> str:
    """The path below the version with keys as segments: `users('x')` is `users/x`, `delta()` is `delta`."""
    version, _, rest = path.lstrip("/").partition("/")
    if version not in {"v1.0", "beta"}:
        raise bad_request("Invalid version: " + version)
    plain = _KEY.sub(lambda match: f"/{match.group(1)}" if match.group(1) else "", unquote_keys(rest))
    # `graph` is the alias of the namespace `microsoft.graph`; msgraph-sdk writes it.
    plain = re.sub(r"/graph\.(?=\w+)", "/microsoft.graph.", plain.rstrip("/"))
    return plain.replace("microsoft.graph.delta", "delta")


def unquote_keys(path: str) -> str:
    """The path with brackets and quotes readable, everything else still encoded."""
    return path.replace("%28", "(").replace("%29", ")").replace("%27", "'").replace("%24", "$")


def _find(method: str, path: str) -> tuple[Route, dict[str, str]]:
    allowed = []
    for route in _ROUTES:
        match = route.pattern.fullmatch(path)
        if match is None:
            continue
        if route.method == method:
            return route, {name: unquote(value) for name, value in match.groupdict().items()}
        allowed.append(route.method)
    if path.lower().split("/")[0] == "me":
        raise bad_request("/me request is only valid with delegated authentication flow.")
    if allowed:
        raise GraphError(405, "UnsupportedMethod", f"Specified HTTP method is not allowed: {method}.")
    raise no_segment(path.split("/", maxsplit=1)[0])


def _envelope(request: Request) -> dict[str, Any]:
    request_id = str(uuid.uuid4())
    return {
        "request-id": request_id,
        "client-request-id": request.headers.get("client-request-id") or request_id,
        "x-ms-ags-diagnostic": '{"ServerInfo":{"DataCenter":"Germany West Central","Slice":"E","Ring":"5"}}',
        "OData-Version": "4.0",
    }
