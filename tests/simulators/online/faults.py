"""What goes wrong on purpose: single faults armed from a test, and modes (`fault_modes`) that strike at a rate.

A mode at rate 0.1 strikes every tenth request that it is about. Which ones follows from the seed, the mode, the request
and how often it came, not from the order in which clients ask, so that a run can be repeated. The same request is
never struck more than twice running, by whatever modes, so that a client which tries again gets through; a mode that is
armed with `always` knows no mercy. A mode that is about mailboxes chooses these, and goes on until it is disarmed.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from tests.simulators.online.batch import batch_parts
from tests.simulators.online.blows import Blow, Dice, Kind, Settings, same_request
from tests.simulators.online.errors import GraphError
from tests.simulators.online.fault_modes import MODES, empty_page, expired_token, repeat_rows
from tests.simulators.online.routing import mailbox_of
from tests.simulators.serving import Answer, Cut, Request

Rewrite = Callable[[Request, dict[str, Any]], dict[str, Any]]

_RUNNING = 2


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


@dataclass(slots=True)
class ArmedMode:
    """A mode at work, with what it has done so far."""

    name: str
    rate: float
    times: int | None
    pattern: re.Pattern[str] | None
    always: bool
    settings: Settings
    struck: int = 0
    asked_seconds: int = 0  # to wait, all Retry-Afters together

    def shown(self) -> dict[str, Any]:
        """For people, as JSON."""
        pattern = self.pattern.pattern if self.pattern else None
        told = {"name": self.name, "rate": self.rate, "times": self.times, "always": self.always, "pattern": pattern}
        return told | {"struck": self.struck, "asked_seconds": self.asked_seconds}


@dataclass(slots=True)
class _Wait:
    back_at: float
    seconds: int


@dataclass(slots=True)
class Faults:
    """The faults armed at one server; the first that matches strikes. Thread-safe."""

    seed: int = field(default_factory=lambda: secrets.randbits(32))
    clock: Callable[[], float] = time.monotonic
    armed: list[Fault] = field(default_factory=list)
    modes: dict[str, ArmedMode] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _seen: Counter[tuple[str, int]] = field(default_factory=Counter)
    _running: Counter[tuple[str, int]] = field(default_factory=Counter)
    _waits: dict[int, _Wait] = field(default_factory=dict)
    _stale: dict[int, int] = field(default_factory=dict)  # what was asked for with a bearer that had run out

    # -- modes ------------------------------------------------------------------------------------------------------

    def arm(
        self,
        name: str,
        *,
        rate: float = 1.0,
        times: int | None = None,
        pattern: str = "",
        always: bool = False,
        **settings: Any,
    ) -> ArmedMode:
        """Lets a mode strike from now on; `settings` are those of `fault_modes.Settings`.

        Raises:
            ValueError: There is no such mode, or the rate is not between 0 and 1.
        """
        if name not in MODES or not 0 <= rate <= 1:
            raise ValueError(f"no fault {name} at rate {rate}; there are {', '.join(MODES)}")
        mode = ArmedMode(name, rate, times, re.compile(pattern) if pattern else None, always, Settings(**settings))
        with self._lock:
            self.modes[name] = mode
        return mode

    def arm_listed(self, text: str) -> None:
        """Arms what a command line asks for: `NAME[:RATE|:always]`, several joined by commas."""
        for entry in filter(None, text.split(",")):
            name, _, word = entry.strip().partition(":")
            self.arm(name, rate=float(word) if word and word != "always" else 1.0, always=word == "always")

    def disarm(self, name: str) -> None:
        """Ends a mode."""
        with self._lock:
            del self.modes[name]

    def listed(self) -> dict[str, Any]:
        """What is at work, and what there is."""
        with self._lock:
            modes = [mode.shown() for mode in self.modes.values()]
            return {"seed": self.seed, "modes": modes, "armed": len(self.armed), "known": list(MODES)}

    def clear(self) -> None:
        """Disarms everything and forgets what was struck."""
        with self._lock:
            self.armed.clear()
            self.modes.clear()
            for memory in (self._seen, self._running, self._waits, self._stale):
                memory.clear()

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
            self._running.pop(("", asked.key), None)
        return found

    def _struck(self, mode: ArmedMode, request: Request, asked: _Asked) -> Blow | None:
        definition = MODES[mode.name]
        if definition.kind is Kind.BY_MAILBOX:
            dice = Dice(self._digest(mode.name, mailbox_of(request.path).lower(), 0))
            if dice.share() >= mode.rate:
                return None
        else:
            memory = mode.name if definition.kind is Kind.HARMLESS else ""
            self._seen[mode.name, asked.key] += 1
            dice = Dice(self._digest(mode.name, asked.text, self._seen[mode.name, asked.key]))
            if dice.share() >= mode.rate or not self._may_strike(mode, memory, asked):
                self._running.pop((memory, asked.key), None) if memory else None
                return None
        blow = definition.strike(dice, mode.settings)
        self._note(mode, asked, blow)
        if blow.stale_from is not None:
            stale = [asked.key] if blow.error else asked.parts[int(blow.stale_from * len(asked.parts)) :]
            self._stale |= dict.fromkeys(stale, _bearer(request))
        return blow

    def _may_strike(self, mode: ArmedMode, memory: str, asked: _Asked) -> bool:
        """Whether none of what is asked for was struck too often running; from now on once more."""
        if not mode.always and any(self._running[memory, key] >= _RUNNING for key in asked.parts):
            return False
        for key in asked.parts:
            self._running[memory, key] += 1
        return True

    def _punished(self, mode: ArmedMode, asked: _Asked) -> Blow | None:
        """Another refusal, for twice as long, of a client that was told to wait and did not."""
        wait = self._waits.get(asked.key) if MODES[mode.name].waits else None
        if wait is None:
            return None
        del self._waits[asked.key]
        if self.clock() >= wait.back_at or not self._may_strike(mode, "", asked):
            return None
        blow = MODES[mode.name].strike(Dice(b""), replace(mode.settings, retry_after=2 * wait.seconds))
        self._note(mode, asked, blow)
        return blow

    def _note(self, mode: ArmedMode, asked: _Asked, blow: Blow) -> None:
        mode.struck += 1
        if mode.times is not None and mode.struck >= mode.times:
            self.modes.pop(mode.name, None)
        if blow.asked_seconds:
            mode.asked_seconds += blow.asked_seconds
            self._waits[asked.key] = _Wait(self.clock() + blow.asked_seconds, blow.asked_seconds)

    def _digest(self, *parts: object) -> bytes:
        return hashlib.blake2b(f"{self.seed}/{'/'.join(map(str, parts))}".encode(), digest_size=32).digest()


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
