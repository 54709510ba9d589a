"""How many requests a pull needs at least, by what there is to read, and how many a simulator was sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from scripts.benchmarks.simulated import Simulated

_PER_RUN: Final = 3
_FILTERS: Final = 2  # for private contacts, for those with a picture


def first_floor(holdings: Mapping[str, int]) -> int:
    """Requests of a first run: a look at each portrait, the folders, their contacts, and every contact's picture."""
    read = holdings["folders"] + _FILTERS * holdings["filled"] + holdings["pictures"]
    return _PER_RUN + 2 * holdings["mailboxes"] + read


def idle_floor(holdings: Mapping[str, int]) -> int:
    """Requests of a run within a day that finds nothing new."""
    return _PER_RUN + holdings["mailboxes"] + holdings["folders"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a simulator was sent.

    Attributes:
        requests: Single ones and the parts of batches.
        wire: Single ones and batches.
    """

    requests: int
    wire: int

    @classmethod
    def of(cls, simulated: Simulated) -> Asked:
        """Since the simulator's start."""
        counts = simulated.asked()
        single = counts["single"] + counts["sign_in"]
        return cls(single + counts["part"], single + counts["batch"])

    def __sub__(self, before: Asked) -> Asked:
        return Asked(self.requests - before.requests, self.wire - before.wire)
