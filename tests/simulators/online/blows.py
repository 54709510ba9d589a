"""What a fault can do to a request, and what it is about: the parts that named modes are made of."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from tests.simulators.named_faults import Dice
from tests.simulators.online.errors import GraphError
from tests.simulators.serving import Answer, Request

DATA = re.compile(r"^/(v1\.0|beta)/")
_AGAIN = re.compile(r"((?:\$|%24)skiptoken=[^&.]*)\.\d+")
_NO_TOKEN = re.compile(r"[?&](?:\$|%24)skiptoken=$")
_VERSION = re.compile(r"^/?(?:(?:v1\.0|beta)/)?")


class Kind(Enum):
    """What a mode is about, and whether it can keep a client from getting through."""

    WHOLE = "whole"
    PART = "part"
    BATCH = "batch"
    ANY = "any"
    BY_MAILBOX = "mailbox"
    HARMLESS = "harmless"  # legal, if odd: does not count as a failure


@dataclass(frozen=True, slots=True)
class Settings:
    """What can be set when a mode is armed: seconds, an origin (`https://evil.example`), bytes, an HTTP status."""

    retry_after: int = 1
    seconds: float = 0.05
    origin: str = ""
    size: int = 1 << 30
    status: int = 0


@dataclass(frozen=True, slots=True)
class Blow:
    """What happens to a request: an error or answer instead of its own, or a change to that; and how long it takes.

    From `stale_from` on, a share of the batch's parts, the bearer counts as expired; from 0 with an error, as a whole.
    """

    error: GraphError | None = None
    answer: Answer | None = None
    change: Callable[[Request, Answer], Answer] | None = None
    wait: float = 0.0
    asked_seconds: int = 0
    stale_from: float | None = None


Strike = Callable[[Dice, Settings], Blow]


@dataclass(frozen=True, slots=True)
class Mode:
    """A fault that has a name."""

    kind: Kind
    strike: Strike
    where: re.Pattern[str] = DATA
    methods: frozenset[str] = frozenset()
    parts: bool = True  # of a HARMLESS or ANY one: whether parts are struck
    waits: bool = False

    def is_about(self, request: Request, pattern: re.Pattern[str] | None) -> bool:
        """Whether it could strike a request; a pattern of one's own replaces the usual one."""
        if self.methods and request.method not in self.methods:
            return False
        batch = request.path.endswith("$batch")
        allowed = {
            Kind.WHOLE: not request.part_of_batch,
            Kind.PART: request.part_of_batch,
            Kind.BATCH: batch,
            Kind.ANY: not batch,
            Kind.BY_MAILBOX: not batch,
            Kind.HARMLESS: not batch or not self.parts,
        }[self.kind]
        if not allowed or (not self.parts and request.part_of_batch):
            return False
        if self.kind is Kind.BY_MAILBOX and not self.where.search(request.path):
            return False
        return bool((pattern or self.where).search(request.target))


def same_request(target: str) -> str:
    """The target without what distinguishes links to the same page."""
    plain = _AGAIN.sub(r"\1", _VERSION.sub("", target, count=1))
    return _NO_TOKEN.sub("", plain)
