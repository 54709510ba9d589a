"""Faults that have a name, as both simulators know them: armed at a rate, chosen by a seed, with mercy for the patient.

A mode at rate 0.1 strikes every tenth request that it is about. Which ones follows from the seed, the mode, the request
and how often it came, not from the order in which clients ask, so that a run can be repeated. The same request is
never struck more than twice running, by whatever modes, so that a client which tries again gets through; a mode that is
armed with `always` knows no mercy.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

Choice = TypeVar("Choice")
Settings = TypeVar("Settings")

_RUNNING = 2


class Dice:
    """Choices that follow from 32 bytes."""

    def __init__(self, digest: bytes) -> None:
        self._digest = digest.ljust(32, b"\0")

    def share(self) -> float:
        """At least 0, less than 1."""
        return int.from_bytes(self._digest[:8], "big") / 2**64

    def number(self, place: int = 1) -> int:
        """A whole number, another for each place from 1 to 3."""
        return int.from_bytes(self._digest[8 * place : 8 * place + 8], "big")

    def choice(self, among: Sequence[Choice], place: int = 1) -> Choice:
        """One of several."""
        return among[self.number(place) % len(among)]


@dataclass(slots=True)
class ArmedMode(Generic[Settings]):
    """A mode at work, with what it has done so far."""

    name: str
    rate: float
    times: int | None
    pattern: re.Pattern[str] | None
    always: bool
    settings: Settings
    struck: int = 0
    asked_seconds: float = 0  # to wait, all that was asked for together

    def shown(self) -> dict[str, Any]:
        """For people, as JSON."""
        pattern = self.pattern.pattern if self.pattern else None
        told = {"name": self.name, "rate": self.rate, "times": self.times, "always": self.always, "pattern": pattern}
        return told | {"struck": self.struck, "asked_seconds": self.asked_seconds}


@dataclass(slots=True)
class _Wait:
    back_at: float
    seconds: float


@dataclass
class NamedFaults(ABC, Generic[Settings]):
    """The modes armed at one server. Thread-safe."""

    seed: int = field(default_factory=lambda: secrets.randbits(32))
    clock: Callable[[], float] = time.monotonic
    modes: dict[str, ArmedMode[Settings]] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _seen: Counter[tuple[str, int]] = field(default_factory=Counter)
    _running: Counter[tuple[str, int]] = field(default_factory=Counter)
    _waits: dict[int, _Wait] = field(default_factory=dict)

    @property
    @abstractmethod
    def known(self) -> Collection[str]:
        """The names there are."""

    @abstractmethod
    def _settings(self, given: dict[str, Any]) -> Settings:
        """What was set when a mode was armed."""

    def arm(
        self,
        name: str,
        *,
        rate: float = 1.0,
        times: int | None = None,
        pattern: str = "",
        always: bool = False,
        **settings: Any,
    ) -> ArmedMode[Settings]:
        """Lets a mode strike from now on; `settings` are the simulator's own.

        Raises:
            ValueError: There is no such mode, or the rate is not between 0 and 1.
        """
        if name not in self.known or not 0 <= rate <= 1:
            raise ValueError(f"no fault {name} at rate {rate}; there are {', '.join(self.known)}")
        where = re.compile(pattern) if pattern else None
        mode = ArmedMode(name, rate, times, where, always, self._settings(settings))
        with self._lock:
            self.modes[name] = mode
        return mode

    def arm_listed(self, text: str) -> None:
        """Arms what a command line asks for: `NAME[:RATE|:always]`, several joined by commas."""
        for name, word in listed_faults(text):
            self.arm(name, rate=float(word) if word and word != "always" else 1.0, always=word == "always")

    def disarm(self, name: str) -> None:
        """Ends a mode."""
        with self._lock:
            del self.modes[name]

    def listed(self) -> dict[str, Any]:
        """What is at work, and what there is."""
        with self._lock:
            modes = [mode.shown() for mode in self.modes.values()]
            return {"seed": self.seed, "modes": modes, "known": list(self.known)}

    def clear(self) -> None:
        """Disarms everything and forgets what was struck."""
        with self._lock:
            self.modes.clear()
            for memory in (self._seen, self._running, self._waits):
                memory.clear()

    # -- for the simulators -----------------------------------------------------------------------------------------

    def _chosen(self, mode: ArmedMode[Settings], text: str) -> Dice | None:
        """The dice if a mode has chosen this thing, for as long as it is armed."""
        dice = Dice(self._digest(mode.name, text, 0))
        return dice if dice.share() < mode.rate else None

    def _thrown(
        self, mode: ArmedMode[Settings], text: str, key: int, parts: Sequence[int], *, harmless: bool
    ) -> Dice | None:
        """The dice if a mode strikes this request now; `parts` are all that must not suffer too often running."""
        memory = mode.name if harmless else ""
        self._seen[mode.name, key] += 1
        dice = Dice(self._digest(mode.name, text, self._seen[mode.name, key]))
        if dice.share() < mode.rate and self._may_strike(mode, memory, parts):
            return dice
        if harmless:
            self._running.pop((memory, key), None)
        return None

    def _may_strike(self, mode: ArmedMode[Settings], memory: str, parts: Sequence[int]) -> bool:
        """Whether none of what is asked for was struck too often running; from now on once more."""
        if not mode.always and any(self._running[memory, key] >= _RUNNING for key in parts):
            return False
        for key in parts:
            self._running[memory, key] += 1
        return True

    def _passed(self, key: int) -> None:
        """The request got through."""
        self._running.pop(("", key), None)

    def _came_early(self, mode: ArmedMode[Settings], key: int, parts: Sequence[int]) -> float:
        """The seconds that a client was told to wait and did not, if this is to be punished."""
        wait = self._waits.pop(key, None)
        if wait is None or self.clock() >= wait.back_at or not self._may_strike(mode, "", parts):
            return 0
        return wait.seconds

    def _note(self, mode: ArmedMode[Settings], key: int, asked_seconds: float) -> None:
        mode.struck += 1
        if mode.times is not None and mode.struck >= mode.times:
            self.modes.pop(mode.name, None)
        if asked_seconds:
            mode.asked_seconds += asked_seconds
            self._waits[key] = _Wait(self.clock() + asked_seconds, asked_seconds)

    def _digest(self, *parts: object) -> bytes:
        return hashlib.blake2b(f"{self.seed}/{'/'.join(map(str, parts))}".encode(), digest_size=32).digest()


def listed_faults(text: str) -> list[tuple[str, str]]:
    """The names on a command line, each with its rate, `always`, or nothing."""
    entries = (entry.strip().partition(":") for entry in text.split(",") if entry)
    return [(name, word) for name, _, word in entries]
