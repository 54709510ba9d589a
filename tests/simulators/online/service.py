"""Graph itself: checks the bearer, finds the room for a path, and puts every answer into Graph's envelope."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from tests.simulators.online.batch import answer_batch
from tests.simulators.online.calls import Area, Call, Route, World, json_answer
from tests.simulators.online.errors import GraphError, access_denied, role_missing, throttled_mailbox
from tests.simulators.online.faults import Faults
from tests.simulators.online.limits import Limits, cost_of
from tests.simulators.online.recorder import Recorder
from tests.simulators.online.routing import find_route, mailbox_of, plain_path
from tests.simulators.online.tokens import TokenIssuer
from tests.simulators.serving import Answer, Request

_SPENDING = {Area.USERS, Area.GROUPS, Area.ORG_CONTACTS, Area.ORGANIZATION}


class GraphService:
    """Answers requests under `/v1.0`."""

    def __init__(self, world: World, issuer: TokenIssuer, faults: Faults, recorder: Recorder) -> None:
        self.world = world
        self._issuer = issuer
        self._faults = faults
        self._recorder = recorder
        self._limits = Limits(world.company, world.behaviour)
        self._pause = threading.Event()

    def answer(self, request: Request) -> Answer:
        """The answer to a request, or to a part of a batch; both are recorded."""
        if self.world.behaviour.latency and not request.part_of_batch:
            self._pause.wait(self.world.behaviour.latency)
        blow = self._faults.take(request)
        head = _envelope(request)
        if blow is None:
            answer = self._answered(request, head)
        else:
            if blow.wait:
                self._pause.wait(blow.wait)
            answer = _refusal(blow.error, head) if blow.error else blow.answer or self._answered(request, head)
            if blow.change:
                answer = blow.change(request, answer)
        answer = replace(answer, headers={**head, **answer.headers})
        self._recorder.note(request, answer)
        return answer

    def _answered(self, request: Request, head: dict[str, str]) -> Answer:
        try:
            claims = self._issuer.check(request.headers.get("Authorization"), request.origin)
            path = plain_path(request.path)
            if path.lower() == "$batch" and not request.part_of_batch and request.method == "POST":
                return answer_batch(request, self.answer, self._together)
            route, args = find_route(request.method, path)
            call = Call(self.world, request, args, frozenset(claims["roles"]))
            return self._in_room(route, call, claims["appid"])
        except GraphError as error:
            return _refusal(error, head)

    def _in_room(self, route: Route, call: Call, application: str) -> Answer:
        if call.roles.isdisjoint(route.area.value):
            raise access_denied() if route.area.is_mailbox else role_missing()
        if route.area in _SPENDING:
            return self._spending(route, call, application)
        user = self._object_id(call.args["user"])
        with self._placed(call.request, user):
            self._limits.count(application, user)
            if route.area.is_mailbox:
                _ = call.box  # a mailbox that is not there, or not open to us, is so for every path
            return _finished(route, call)

    def _spending(self, route: Route, call: Call, application: str) -> Answer:
        cost = cost_of(route, call)
        headers = self._limits.spend(application, cost)
        try:
            answer = _finished(route, call)
        except GraphError:
            self._limits.refund(application, cost)
            raise
        return replace(answer, headers={**answer.headers, **headers})

    @contextmanager
    def _placed(self, request: Request, user: str) -> Iterator[None]:
        """One of the places that a mailbox has; the parts of a batch have theirs already."""
        crowded = request.crowded
        held = [] if crowded is not None else [user]
        if held:
            (crowded,) = self._limits.hold(held)
        try:
            if crowded:
                raise throttled_mailbox()
            yield
        finally:
            self._limits.release(held)

    @contextmanager
    def _together(self, parts: list[Request]) -> Iterator[list[Request]]:
        """The parts with the places that they take in their mailboxes while all of them run."""
        users = [self._object_id(name) if (name := mailbox_of(part.path)) else "" for part in parts]
        held = [user for user in users if user]
        crowded = iter(self._limits.hold(held))
        try:
            yield [
                replace(part, crowded=next(crowded)) if user else part for part, user in zip(parts, users, strict=True)
            ]
        finally:
            self._limits.release(held)

    def _object_id(self, name: str) -> str:
        person = self.world.company.find_person(name)
        return person.object_id if person else name.lower()


def _refusal(error: GraphError, head: dict[str, str]) -> Answer:
    date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    body = error.body(head["request-id"], head["client-request-id"], date)
    return json_answer(body, error.status, {**head, **error.headers})


def _finished(route: Route, call: Call) -> Answer:
    try:
        outcome = route.handler(call)
    except KeyError as error:
        # Somebody changed the company between two looks at it; the real server says "not found" then, too.
        raise GraphError(404, "ErrorItemNotFound", "The specified object was not found in the store.") from error
    return outcome if isinstance(outcome, Answer) else json_answer(outcome)


def _envelope(request: Request) -> dict[str, Any]:
    request_id = str(uuid.uuid4())
    return {
        "request-id": request_id,
        "client-request-id": request.headers.get("client-request-id") or request_id,
        "x-ms-ags-diagnostic": '{"ServerInfo":{"DataCenter":"Germany West Central","Slice":"E","Ring":"5"}}',
        "OData-Version": "4.0",
    }
