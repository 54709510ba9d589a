"""Failures on demand: what a real Exchange does on a bad day, for the next requests that match."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from enum import Enum


class Mode(Enum):
    """How a request fails."""

    HTTP = "http"  # a bare HTTP status
    SOAP = "soap"  # a SOAP fault
    RESPONSE = "response"  # every response message is an error
    ITEM = "item"  # one item of the request is an error
    RESET = "reset"  # the connection is reset before the answer
    TRUNCATE = "truncate"  # the connection ends in the middle of the answer


@dataclass(slots=True)
class Planned:
    """A failure that waits for its requests."""

    mode: Mode
    operation: str = ""  # empty: any
    mailbox: str = ""  # empty: any
    times: int = 1
    after: int = 0  # matching requests to let pass first
    status: int = 503
    code: str = ""
    retry_after: int | None = None  # seconds
    back_off_ms: int | None = None
    item: int | str = 0  # which one: its place in the request, or its ID


class Faults:
    """The failures planned for a simulator. Thread-safe."""

    def __init__(self) -> None:
        self._planned: list[Planned] = []
        self._refused_items: dict[str, str] = {}
        self._lock = threading.Lock()
        self._lost: Counter[str] = Counter()  # by mailbox; empty: all of them

    def http(
        self, status: int, *, operation: str = "", times: int = 1, after: int = 0, retry_after: int | None = None
    ) -> None:
        """The next requests are answered with an HTTP status (429, 502, 503 …)."""
        self._plan(Planned(Mode.HTTP, operation, "", times, after, status, retry_after=retry_after))

    def soap(
        self, code: str, *, operation: str = "", times: int = 1, after: int = 0, back_off_ms: int | None = None
    ) -> None:
        """The next requests are answered with a SOAP fault."""
        self._plan(Planned(Mode.SOAP, operation, "", times, after, code=code, back_off_ms=back_off_ms))

    def response(self, code: str, *, operation: str = "", mailbox: str = "", times: int = 1, after: int = 0) -> None:
        """The next requests are answered with error messages of a code."""
        self._plan(Planned(Mode.RESPONSE, operation, mailbox.lower(), times, after, code=code))

    def item(
        self, code: str, item: int | str = 0, *, operation: str = "GetItem", times: int = 1, after: int = 0
    ) -> None:
        """One item of the next requests, by place or ID, is answered with an error (a passing one)."""
        self._plan(Planned(Mode.ITEM, operation, "", times, after, code=code, item=item))

    def reset(self, *, operation: str = "", times: int = 1, after: int = 0) -> None:
        """The next requests end in a connection reset."""
        self._plan(Planned(Mode.RESET, operation, "", times, after))

    def truncate(self, *, operation: str = "", times: int = 1, after: int = 0) -> None:
        """The next answers break off in the middle."""
        self._plan(Planned(Mode.TRUNCATE, operation, "", times, after))

    def refuse_item(self, item_id: str, code: str = "ErrorAccessDenied") -> None:
        """An item (or attachment) is answered with an error from now on; an empty code ends it."""
        with self._lock:
            if code:
                self._refused_items[item_id] = code
            else:
                self._refused_items.pop(item_id, None)

    def refusal(self, item_id: str) -> str:
        """The code an item is refused with, or nothing."""
        return self._refused_items.get(item_id, "")

    def lose_sync_states(self, mailbox: str = "") -> None:
        """Every sync state given out so far, or for one mailbox, becomes unknown (`ErrorInvalidSyncStateData`)."""
        with self._lock:
            self._lost[mailbox.lower()] += 1

    def sync_epoch(self, mailbox: str) -> int:
        """Part of every sync state; it grows when states are lost."""
        return self._lost[""] + self._lost[mailbox.lower()]

    def clear(self) -> None:
        """Drops every failure planned; sync states that were lost stay lost."""
        with self._lock:
            self._planned.clear()
            self._refused_items.clear()

    def draw(self, operation: str, mailbox: str) -> Planned | None:
        """The failure this request runs into, if any."""
        with self._lock:
            for planned in self._planned:
                if planned.operation not in {"", operation} or planned.mailbox not in {"", mailbox}:
                    continue
                if planned.after:
                    planned.after -= 1
                    continue
                planned.times -= 1
                if planned.times <= 0:
                    self._planned.remove(planned)
                return planned
        return None

    def _plan(self, planned: Planned) -> None:
        with self._lock:
            self._planned.append(planned)
