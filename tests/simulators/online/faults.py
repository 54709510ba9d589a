"""What can go wrong on purpose, armed from a test or over the control endpoint."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from tests.simulators.serving import Answer, Cut, Request

Rewrite = Callable[[Request, dict[str, Any]], dict[str, Any]]


@dataclass(slots=True)
class Fault:
    """A fault that strikes requests whose path and query match, a number of times."""

    pattern: re.Pattern[str]
    times: int
    method: str | None = None
    answer: Answer | None = None
    cut: Cut | None = None
    rewrite: Rewrite | None = None


@dataclass(slots=True)
class Faults:
    """The faults armed at one server; the first that matches strikes."""

    armed: list[Fault] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fail_next(
        self,
        pattern: str,
        *,
        status: int = 503,
        headers: dict[str, str] | None = None,
        body: Any = None,
        times: int = 1,
        method: str | None = None,
    ) -> Fault:
        """Answers the next requests that match with `status`; the request has no effect."""
        if body is None:
            body = {"error": {"code": _CODES.get(status, "UnknownError"), "message": "Simulated failure."}}
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        kind = "text/html" if isinstance(body, str) else "application/json"
        answer = Answer(status, {"Content-Type": kind, **(headers or {})}, content)
        return self._arm(Fault(re.compile(pattern), times, method, answer=answer))

    def drop_next(self, pattern: str, *, times: int = 1, method: str | None = None) -> Fault:
        """Lets the request have its effect and resets the connection instead of answering."""
        return self._arm(Fault(re.compile(pattern), times, method, cut=Cut.DROP))

    def truncate_next(self, pattern: str, *, times: int = 1, method: str | None = None) -> Fault:
        """Sends half the body."""
        return self._arm(Fault(re.compile(pattern), times, method, cut=Cut.TRUNCATE))

    def replay_rows_next(self, pattern: str, *, times: int = 1) -> Fault:
        """Repeats a page's rows on the same page."""
        return self.rewrite_next(pattern, _repeat_rows, times=times)

    def empty_page_next(self, pattern: str, *, times: int = 1) -> Fault:
        """Inserts an empty page with another link to the page that was asked for."""
        return self.rewrite_next(pattern, _empty_page, times=times)

    def foreign_link_next(self, pattern: str, origin: str, *, times: int = 1) -> Fault:
        """Points a page's link to another host."""

        def rewrite(request: Request, page: dict[str, Any]) -> dict[str, Any]:
            return {k: v.replace(request.origin, origin) if k in _LINKS else v for k, v in page.items()}

        return self.rewrite_next(pattern, rewrite, times=times)

    def rewrite_next(self, pattern: str, rewrite: Rewrite, *, times: int = 1) -> Fault:
        """Changes the JSON of successful answers on their way out."""
        return self._arm(Fault(re.compile(pattern), times, rewrite=rewrite))

    def clear(self) -> None:
        """Disarms everything."""
        with self._lock:
            self.armed.clear()

    def take(self, request: Request) -> Fault | None:
        """The fault that strikes this request, used up once."""
        with self._lock:
            for fault in self.armed:
                if fault.method not in {None, request.method} or not fault.pattern.search(request.target):
                    continue
                if request.part_of_batch and fault.cut:
                    continue  # a part has no connection of its own
                fault.times -= 1
                if fault.times <= 0:
                    self.armed.remove(fault)
                return fault
        return None

    def _arm(self, fault: Fault) -> Fault:
        with self._lock:
            self.armed.append(fault)
        return fault


def strike(fault: Fault, request: Request, answer: Answer) -> Answer:
    """The answer as the fault lets it through."""
    if fault.cut:
        return replace(answer, cut=fault.cut)
    if fault.rewrite and answer.status == 200 and answer.body.startswith(b"{"):
        return replace(answer, body=json.dumps(fault.rewrite(request, json.loads(answer.body))).encode())
    return answer


_LINKS = ("@odata.nextLink", "@odata.deltaLink")
_CODES = {
    401: "InvalidAuthenticationToken",
    403: "ErrorAccessDenied",
    404: "ErrorItemNotFound",
    410: "syncStateNotFound",
    429: "ApplicationThrottled",
    500: "InternalServerError",
    502: "BadGateway",
    503: "ServiceUnavailable",
    504: "GatewayTimeout",
    507: "InsufficientStorage",
}


def _repeat_rows(request: Request, page: dict[str, Any]) -> dict[str, Any]:
    return {**page, "value": [*page.get("value", []), *page.get("value", [])]}


def _empty_page(request: Request, page: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in page.items() if name not in _LINKS}
    # Graph's pages each have a link of their own, also when they stand for the same rows.
    following = f"{request.url}{'&' if '?' in request.url else '?'}page=again"
    return {**kept, "value": [], "@odata.nextLink": following}
