"""What goes wrong on purpose: single faults armed from a test, and modes (`fault_modes`) that strike at a rate.

A mode that is about mailboxes chooses these, and goes on until it is disarmed; the others strike requests
(`named_faults`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from tests.simulators.named_faults import ArmedMode, Dice, NamedFaults
from tests.simulators.online.batch import batch_parts
from tests.simulators.online.blows import Blow, Kind, Settings, same_request
from tests.simulators.online.errors import GraphError
from tests.simulators.online.fault_modes import MODES, empty_page, expired_token, repeat_rows
from tests.simulators.online.routing import mailbox_of
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

    def blow(self) -> Blow:
        """What it does to a request."""
        return Blow(answer=self.answer, change=self._change)

    def _change(self, request: Request, answer: Answer) -> Answer:
        if self.cut:
            return replace(answer, cut=self.cut)
        if self.rewrite and answer.status == 200 and answer.body.startswith(b"{"):
            return replace(answer, body=orjson.dumps(self.rewrite(request, orjson.loads(answer.body))))
        return answer


@dataclass
class Faults(NamedFaults[Settings]):
    """The faults armed at one server; the first that matches strikes. Thread-safe."""

    armed: list[Fault] = field(default_factory=list)
    _stale: dict[int, int] = field(default_factory=dict)  # what was asked for with a bearer that had run out
    _lost: set[int] = field(default_factory=set)  # parts that run in a batch whose answer will not arrive

    @property
    def known(self) -> Collection[str]:
        """The names of all modes."""
        return MODES

    def _settings(self, given: dict[str, Any]) -> Settings:
        return Settings(**given)

    def listed(self) -> dict[str, Any]:
        """What is at work, and what there is."""
        return {**super().listed(), "armed": len(self.armed)}

    def clear(self) -> None:
        """Disarms everything and forgets what was struck."""
        with self._lock:
            super().clear()
            self.armed.clear()
            self._stale.clear()
            self._lost.clear()

    # -- single faults ----------------------------------------------------------------------------------------------

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
        return self.rewrite_next(pattern, repeat_rows, times=times)

    def empty_page_next(self, pattern: str, *, times: int = 1) -> Fault:
        """Inserts an empty page with another link to the page that was asked for."""
        return self.rewrite_next(pattern, empty_page, times=times)

    def foreign_link_next(self, pattern: str, origin: str, *, times: int = 1) -> Fault:
        """Points a page's link to another host."""

        def rewrite(request: Request, page: dict[str, Any]) -> dict[str, Any]:
            return {k: v.replace(request.origin, origin) if k.endswith("Link") else v for k, v in page.items()}

        return self.rewrite_next(pattern, rewrite, times=times)

    def rewrite_next(self, pattern: str, rewrite: Rewrite, *, times: int = 1) -> Fault:
        """Changes the JSON of successful answers on their way out."""
        return self._arm(Fault(re.compile(pattern), times, rewrite=rewrite))

    def _arm(self, fault: Fault) -> Fault:
        with self._lock:
            self.armed.append(fault)
        return fault

    # -- striking ---------------------------------------------------------------------------------------------------

    def take(self, request: Request) -> Blow | None:
        """What strikes this request, used up once."""
        if not self.armed and not self.modes and not self._stale:
            return None
        with self._lock:
            return self._single(request) or self._mode(request)

    def _single(self, request: Request) -> Blow | None:
        for fault in self.armed:
            if fault.method not in {None, request.method} or not fault.pattern.search(request.target):
                continue
            if request.part_of_batch and fault.cut:
                continue  # a part has no connection of its own
            fault.times -= 1
            if fault.times <= 0:
                self.armed.remove(fault)
            return fault.blow()
        return None

    def _mode(self, request: Request) -> Blow | None:
        asked = _asked(request)
        if request.part_of_batch and asked.key in self._lost:
            self._lost.discard(asked.key)
            return None
        if self._stale.get(asked.key) == _bearer(request):
            return Blow(error=expired_token())
        self._stale.pop(asked.key, None)
        found: Blow | None = None
        for mode in list(self.modes.values()):
            definition = MODES[mode.name]
            if definition.is_about(request, mode.pattern):
                found = self._punished(mode, asked) or self._struck(mode, request, asked)
            if found is not None:
                harmless = definition.kind is Kind.HARMLESS
                break
        if (found is None or harmless) and not asked.is_batch:
            self._passed(asked.key)
        return found

    def _struck(self, mode: ArmedMode[Settings], request: Request, asked: _Asked) -> Blow | None:
        definition = MODES[mode.name]
        if definition.kind is Kind.BY_MAILBOX:
            dice = self._chosen(mode, mailbox_of(request.path).lower())
        else:
            harmless = definition.kind is Kind.HARMLESS
            dice = self._thrown(mode, asked.text, asked.key, asked.parts, harmless=harmless)
        if dice is None:
            return None
        blow = definition.strike(dice, mode.settings)
        self._note(mode, asked.key, blow.asked_seconds)
        if blow.stale_from is not None:
            stale = [asked.key] if blow.error else asked.parts[int(blow.stale_from * len(asked.parts)) :]
            self._stale |= dict.fromkeys(stale, _bearer(request))
        if asked.is_batch and blow.change is not None:
            self._lost.update(asked.parts)
        return blow

    def _punished(self, mode: ArmedMode[Settings], asked: _Asked) -> Blow | None:
        """Another refusal, for twice as long, of a client that was told to wait and did not."""
        seconds = self._came_early(mode, asked.key, asked.parts) if MODES[mode.name].waits else 0
        if not seconds:
            return None
        blow = MODES[mode.name].strike(Dice(b""), replace(mode.settings, retry_after=int(2 * seconds)))
        self._note(mode, asked.key, blow.asked_seconds)
        return blow


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a request is for: a batch for all that its parts are for, however they are put together."""

    text: str
    key: int
    parts: list[int]
    is_batch: bool = False


def _bearer(request: Request) -> int:
    """Enough to know a bearer again; the simulator keeps none."""
    return hash(request.headers.get("Authorization", ""))


def _asked(request: Request) -> _Asked:
    if not request.path.endswith("$batch"):
        text = f"{request.method} {same_request(request.target)}"
        key = hash(text)
        return _Asked(text, key, [key])
    try:
        texts = [f"{part['method']} {same_request(part['url'])}" for part in batch_parts(request)]
    except (GraphError, KeyError, TypeError):
        texts = []
    text = "\n".join(sorted(texts))
    return _Asked(text, hash(text + "\nbatch"), [hash(part) for part in texts], is_batch=True)


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
