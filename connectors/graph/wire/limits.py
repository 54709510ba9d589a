"""Holding back before Graph has to refuse: the directory's resource units, and a pace that follows its warnings.

Who exceeds a limit is refused for longer each time, so what is asked too early is lost twice.

Source: Microsoft Graph, "Microsoft Graph service-specific throttling limits" (identity and access) and "Throttling".
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from typing import Final

from connectors.throttle import Now, Sleep

UNITS_IN_TEN_SECONDS: Final = 3_500.0  # what the smallest directories have; larger ones have up to 8,000
_PER_SECOND: Final = UNITS_IN_TEN_SECONDS / 10
_WARNED: Final = 0.8  # of the limit: from there on the server says how near it is
_FIRST_GAP: Final = 0.05  # seconds between two requests
_LONGEST_GAP: Final = 0.2
_BURST: Final = 1.0  # seconds: refusals so close together answer requests that were under way together
_EASED: Final = 0.7
_NO_GAP: Final = 0.005
_MEMBERS: Final = re.compile(r"^/groups/[^/]+/(?:transitiveMembers|transitiveMemberOf)\b")
_SOME_MEMBERS: Final = re.compile(r"^/groups/[^/]+/(?:members|memberOf)\b")
_PERSON: Final = re.compile(r"^/users(?:/[^/?]+)?(?:\?|$)|^/users/delta\b")


def units(path: str) -> int:
    """What a request costs of the directory's resource units; nothing for what is in mailboxes.

    Args:
        path: Relative to the API version.
    """
    if _MEMBERS.match(path):
        cost = 5
    elif _SOME_MEMBERS.match(path):
        cost = 3
    elif path.startswith(("/users?", "/users/delta")):
        cost = 2
    elif _PERSON.match(path) or path.startswith(("/groups", "/contacts")):
        cost = 1
    else:
        return 0
    return max(1, cost - ("$select=" in path) + ("$expand=" in path))


class Limiter:
    """Waits as long as an application had better wait. Safe to use from several threads.

    Args:
        sleep: Waits some seconds.
        now: Tells the time.
    """

    def __init__(self, sleep: Sleep, now: Now) -> None:
        self._sleep = sleep
        self._now = now
        self._lock = threading.Lock()
        self._left = UNITS_IN_TEN_SECONDS
        self._told = now()
        self._gap = 0.0
        self._free = 0.0  # seconds since the beginning at which the next request may go
        self._turned = 0.0  # seconds since the beginning at which a turn was last asked for
        self._slowed: float | None = None  # seconds since the beginning at which the gap last grew
        self._began = self._told

    @property
    def gap(self) -> float:
        """Seconds that lie between two requests at present."""
        return self._gap

    def before(self, cost: int) -> None:
        """Waits until a request that costs so many units may be sent."""
        with self._lock:
            seconds = max(self._short_of(cost), self._turn())
        if seconds > 0:
            self._sleep(seconds)

    def after(self, status: int, headers: Mapping[str, str]) -> None:
        """Learns from an answer: slower after a refusal or a warning, faster again after anything else."""
        warned = _share(headers.get("x-ms-throttle-limit-percentage"))
        with self._lock:
            if status == 429 or warned >= 1:
                self._slow_down()
            elif warned >= _WARNED:
                self._gap = max(self._gap, _FIRST_GAP)
            elif self._gap:
                self._gap = self._gap * _EASED if self._gap * _EASED > _NO_GAP else 0.0

    def _slow_down(self) -> None:
        elapsed = (self._now() - self._began).total_seconds()
        if self._slowed is None or not 0 <= elapsed - self._slowed < _BURST:
            self._slowed = elapsed
            self._gap = min(max(self._gap * 2, _FIRST_GAP), _LONGEST_GAP)

    def _short_of(self, cost: int) -> float:
        """Seconds until the bucket holds what a request costs; takes it out of the bucket."""
        if not cost:
            return 0.0
        now = self._now()
        passed = max((now - self._told).total_seconds(), 0.0)
        self._told = now
        self._left = min(self._left + passed * _PER_SECOND, UNITS_IN_TEN_SECONDS) - cost
        return max(-self._left / _PER_SECOND, 0.0)

    def _turn(self) -> float:
        """Seconds until it is this request's turn."""
        if not self._gap:
            return 0.0
        elapsed = (self._now() - self._began).total_seconds()
        self._free -= max(self._turned - elapsed, 0.0)  # a clock that was set back must not keep anybody waiting
        self._turned = elapsed
        begins = max(self._free, elapsed)
        self._free = begins + self._gap
        return begins - elapsed


def _share(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0
