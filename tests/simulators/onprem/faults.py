"""What a real Exchange does on a bad day: failures planned for the next requests, and modes that have a name.

Planned failures come first, in the order they were planned; then the first mode (`fault_modes`) that strikes.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from tests.simulators.named_faults import ArmedMode, Dice, NamedFaults
from tests.simulators.onprem.blows import Asked, Blow, Kind, Settings
from tests.simulators.onprem.fault_modes import MODES, PRIMARY
from tests.simulators.onprem.soap import EwsError, SoapFault

NOTHING = Blow()


@dataclass(slots=True)
class Planned:
    """A failure that waits for its requests."""

    blow: Blow
    operation: str = ""  # empty: any
    mailbox: str = ""  # empty: any
    times: int = 1
    after: int = 0  # matching requests to let pass first


@dataclass
class Faults(NamedFaults[Settings]):
    """The failures of one simulator. Thread-safe."""

    _planned: list[Planned] = field(default_factory=list)
    _refused_items: dict[str, str] = field(default_factory=dict)
    _lost: Counter[str] = field(default_factory=Counter)  # sync states, by mailbox; empty: all of them
    _pages: Counter[str] = field(default_factory=Counter)  # given of a folder's round, by folder
    _syncing: int = 0
    _signing_in: int = 0
    _other_password: bool = False
    _counting: threading.Lock = field(default_factory=threading.Lock)

    # -- single failures ---------------------------------------------------------------------------------------------

    def http(
        self, status: int, *, operation: str = "", times: int = 1, after: int = 0, retry_after: int | None = None
    ) -> None:
        """The next requests are answered with an HTTP status (429, 502, 503 …)."""
        later = (("Retry-After", str(retry_after)),) if retry_after is not None else ()
        self._plan(Planned(Blow(status=status, headers=later), operation, "", times, after))

    def soap(
        self, code: str, *, operation: str = "", times: int = 1, after: int = 0, back_off_ms: int | None = None
    ) -> None:
        """The next requests are answered with a SOAP fault."""
        values = {} if back_off_ms is None else {"BackOffMilliseconds": str(back_off_ms)}
        self._plan(Planned(Blow(fault=SoapFault(code, values=values)), operation, "", times, after))

    def response(self, code: str, *, operation: str = "", mailbox: str = "", times: int = 1, after: int = 0) -> None:
        """The next requests are answered with error messages of a code."""
        self._plan(Planned(Blow(error=EwsError(code)), operation, mailbox.lower(), times, after))

    def item(
        self, code: str, item: int | str = 0, *, operation: str = "GetItem", times: int = 1, after: int = 0
    ) -> None:
        """One item of the next requests, by place or ID, is answered with an error (a passing one)."""

        def fail(place: int, identifier: str) -> EwsError | None:
            return EwsError(code) if item in {place, identifier} else None

        self._plan(Planned(Blow(item=fail), operation, "", times, after))

    def reset(self, *, operation: str = "", times: int = 1, after: int = 0) -> None:
        """The next requests end in a connection reset."""
        self._plan(Planned(Blow(end="reset"), operation, "", times, after))

    def truncate(self, *, operation: str = "", times: int = 1, after: int = 0) -> None:
        """The next answers break off in the middle."""
        self._plan(Planned(Blow(end="truncate"), operation, "", times, after))

    def rewrite(self, change: Callable[[bytes], bytes], *, operation: str = "", times: int = 1, after: int = 0) -> None:
        """The next answers are changed on their way out; nobody minds what the schemas say to that."""
        self._plan(Planned(Blow(change=change, is_flawed=True), operation, "", times, after))

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
        """Drops every failure planned or armed; sync states that were lost stay lost."""
        with self._lock:
            super().clear()
            self._planned.clear()
            self._refused_items.clear()
            self._other_password, self._signing_in = False, 0

    def _plan(self, planned: Planned) -> None:
        with self._lock:
            self._planned.append(planned)

    # -- modes -------------------------------------------------------------------------------------------------------

    @property
    def known(self) -> Collection[str]:
        """The names of all modes."""
        return MODES

    def _settings(self, given: dict[str, Any]) -> Settings:
        return Settings(**given)

    def disarm(self, name: str) -> None:
        """Ends a mode; with it a password that was changed is the old one again."""
        with self._lock:
            super().disarm(name)
            if name == "wrong-password":
                self._other_password, self._signing_in = False, 0

    def listed(self) -> dict[str, Any]:
        """What is at work, and what there is."""
        return {**super().listed(), "armed": len(self._planned)}

    def has_other_password(self) -> bool:
        """Whether the service account's password is another one by now; asked once for each HTTP request."""
        with self._lock:
            mode = self.modes.get("wrong-password")
            if mode is not None and not self._other_password:
                self._signing_in += 1
                is_due = self._signing_in > mode.settings.after
                if is_due and Dice(self._digest(mode.name, self._signing_in)).share() < mode.rate:
                    self._other_password = True
                    self._note(mode, 0, 0)
            return self._other_password

    def known_as(self, named: tuple[str, str] | None) -> tuple[str, str] | None:
        """Whom an impersonation means: while addresses are aliases, a person has another primary one."""
        if named is None or "alias" not in self.modes:
            return named
        return named[0], named[1].removeprefix(PRIMARY)

    # -- striking ----------------------------------------------------------------------------------------------------

    @contextmanager
    def taken(self, asked: Asked) -> Iterator[Blow]:
        """What strikes this request, used up once; requests to sync count as at work until this is left."""
        syncs = asked.operation == "SyncFolderItems"
        with self._counting:
            self._syncing += syncs
            crowd = self._syncing
        try:
            page = self._pages[asked.ids[0]] + 1 if syncs and asked.ids else 0
            yield self.draw(replace(asked, page=page, crowd=crowd)) or NOTHING
        finally:
            with self._counting:
                self._syncing -= syncs

    def answered(self, asked: Asked, answer: bytes) -> None:
        """Takes note of a page that was given of a folder's round."""
        if asked.operation == "SyncFolderItems" and asked.ids and b"<m:Changes" in answer:
            more = b"<m:IncludesLastItemInRange>false" in answer
            with self._counting:
                self._pages[asked.ids[0]] = self._pages[asked.ids[0]] + 1 if more else 0

    def draw(self, asked: Asked) -> Blow | None:
        """What this request runs into, if anything."""
        with self._lock:
            return self._single(asked) or self._mode(asked)

    def _single(self, asked: Asked) -> Blow | None:
        for planned in self._planned:
            if planned.operation not in {"", asked.operation} or planned.mailbox not in {"", asked.mailbox}:
                continue
            if planned.after:
                planned.after -= 1
                continue
            planned.times -= 1
            if planned.times <= 0:
                self._planned.remove(planned)
            return planned.blow
        return None

    def _mode(self, asked: Asked) -> Blow | None:
        key = hash(asked.payload)
        for mode in list(self.modes.values()):
            if not MODES[mode.name].is_about(asked, mode.pattern):
                continue
            blow = self._punished(mode, asked, key) or self._struck(mode, asked, key)
            if blow is not None:
                self._note(mode, key, blow.asked_seconds)
                if MODES[mode.name].kind is Kind.HARMLESS:
                    self._passed(key)
                return blow
        self._passed(key)
        return None

    def _struck(self, mode: ArmedMode[Settings], asked: Asked, key: int) -> Blow | None:
        definition = MODES[mode.name]
        dice: Dice | None
        if definition.kind is Kind.BY_ITEM:
            asked = replace(asked, chosen=lambda identifier: self._chosen(mode, identifier) is not None)
            dice = Dice(b"")
        elif definition.kind is Kind.CONSTANT:
            dice = Dice(self._digest(mode.name, asked.payload, 0))
        elif definition.kind is Kind.BY_MAILBOX:
            dice = self._chosen(mode, asked.mailbox.removeprefix(PRIMARY))
        elif definition.strike(Dice(b""), mode.settings, asked) is None:
            return None  # not of its sort after all
        else:
            harmless = definition.kind is Kind.HARMLESS
            dice = self._thrown(mode, str(asked.payload), key, [key], harmless=harmless)
        return None if dice is None else definition.strike(dice, mode.settings, asked)

    def _punished(self, mode: ArmedMode[Settings], asked: Asked, key: int) -> Blow | None:
        """Another refusal, for twice as long, of a client that was told to wait and did not."""
        seconds = self._came_early(mode, key, [key]) if MODES[mode.name].waits else 0
        if not seconds:
            return None
        return MODES[mode.name].strike(Dice(b""), replace(mode.settings, back_off_ms=int(2_000 * seconds)), asked)
