"""What Graph gives an application: four requests at once and 10,000 in ten minutes per mailbox, and resource units of
the directory by the size of the organisation. Who comes back early waits twice as long the next time.

Source: "Microsoft Graph service-specific throttling limits" (Microsoft Learn): Outlook, and identity and access. How a
directory counts is documented; that coming early costs more is, by how much is not.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.simulators.company.model import Company
from tests.simulators.online.calls import Behaviour, Call, Route
from tests.simulators.online.errors import GraphError, throttled_mailbox

MAILBOX_CONCURRENCY = 4
_WINDOW = 600.0
_PERIOD = 10.0
_SIZES = ((50, 3_500), (500, 5_000))  # users fewer than, units in ten seconds
_LARGE = 8_000
_SMALL_PAGE = 20
_GRACE = 1.0  # what was under way when the limit was reached is not punished
_LONGEST = 300.0
_WARNING, _WORST = 0.8, 1.8


@dataclass(slots=True)
class _Patience:
    """How long a throttled client has been told to stay away."""

    told_at: float = -math.inf
    back_at: float = -math.inf
    wait: float = 0.0

    def too_early(self, now: float) -> int:
        """The seconds to ask for if the client may not be back yet, else 0; being early makes them more."""
        if now >= self.back_at:
            return 0
        if now > self.told_at + _GRACE:
            return self.send_away(now, 2 * self.wait)
        return math.ceil(self.back_at - now)

    def send_away(self, now: float, seconds: float) -> int:
        self.wait = max(1.0, min(_LONGEST, math.ceil(seconds)))
        self.told_at, self.back_at = now, now + self.wait
        return int(self.wait)


@dataclass(slots=True)
class _Window:
    begins: float
    requests: int = 0
    patience: _Patience = field(default_factory=_Patience)


@dataclass(slots=True)
class _Bucket:
    filled_at: float
    used: float = 0.0
    patience: _Patience = field(default_factory=_Patience)


class Limits:
    """Counts what applications ask for. Thread-safe."""

    def __init__(self, company: Company, behaviour: Behaviour) -> None:
        self._company = company
        self._behaviour = behaviour
        self._busy: Counter[str] = Counter()
        self._windows: dict[tuple[str, str], _Window] = {}
        self._buckets: dict[str, _Bucket] = {}
        self._lock = threading.Lock()

    def hold(self, users: Iterable[str]) -> list[bool]:
        """Takes a place in the mailbox of each user; whether that was one too many. `release` gives them back."""
        with self._lock:
            crowded = []
            for user in users:
                self._busy[user] += 1
                crowded.append(self._behaviour.limit_concurrency and self._busy[user] > MAILBOX_CONCURRENCY)
            return crowded

    def release(self, users: Iterable[str]) -> None:
        """Gives places back."""
        with self._lock:
            for user in users:
                self._busy[user] -= 1
                if not self._busy[user]:
                    del self._busy[user]

    def count(self, application: str, user: str) -> None:
        """Counts a request to a mailbox; 429 if it is one too many."""
        now = self._behaviour.clock()
        with self._lock:
            window = self._windows.get((application, user))
            if window is None or now >= window.begins + _WINDOW:
                window = self._windows[application, user] = _Window(now)
            seconds = window.patience.too_early(now)
            if not seconds and window.requests >= self._behaviour.mailbox_requests:
                seconds = window.patience.send_away(now, window.begins + _WINDOW - now)
            window.requests += 1
        if seconds:
            raise throttled_mailbox("RequestCount", seconds)

    def spend(self, application: str, cost: int) -> dict[str, str]:
        """Takes resource units of the directory, and says so in headers; 429 if there are none left."""
        now, capacity = self._behaviour.clock(), self._capacity()
        with self._lock:
            bucket = self._buckets.setdefault(application, _Bucket(now))
            bucket.used = max(0.0, bucket.used - (now - bucket.filled_at) * capacity / _PERIOD)
            bucket.filled_at = now
            seconds = bucket.patience.too_early(now)
            if not seconds and bucket.used + cost > capacity:
                seconds = bucket.patience.send_away(now, (bucket.used + cost - capacity) * _PERIOD / capacity)
            # What is refused counts as well, so that the percentage goes on to rise.
            bucket.used = min(bucket.used + cost, _WORST * capacity)
            share = bucket.used / capacity
        headers = {"x-ms-resource-unit": str(cost)}
        if share >= _WARNING:
            headers["x-ms-throttle-limit-percentage"] = f"{share:.2f}"
        if seconds:
            raise self._no_units(application, {**headers, "Retry-After": str(seconds)})
        return headers

    def refund(self, application: str, cost: int) -> None:
        """Gives back what a refused request took."""
        with self._lock:
            bucket = self._buckets[application]
            bucket.used = max(0.0, bucket.used - cost)

    def _capacity(self) -> int:
        if self._behaviour.resource_units:
            return self._behaviour.resource_units
        people = len(self._company.people)
        return next((units for fewer, units in _SIZES if people < fewer), _LARGE)

    def _no_units(self, application: str, headers: dict[str, str]) -> GraphError:
        scope = f"Tenant_Application/ReadWrite/{application}/{self._company.directory_id}"
        told = {"x-ms-throttle-scope": scope, "x-ms-throttle-information": "ResourceUnitLimitExceeded"}
        message = f"Too many requests from Identifier:{application} under category:aadgraph.app.tenant."
        return GraphError(429, "TooManyRequests", message, {**headers, **told})


def cost_of(route: Route, call: Call) -> int:
    """The resource units of a request to the directory, which are never less than one."""
    query: dict[str, Any] = call.query
    top = query.get("$top", "")
    small = top.isdigit() and int(top) < _SMALL_PAGE
    return max(1, route.cost - ("$select" in query) + ("$expand" in query) - small)
