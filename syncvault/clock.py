"""Time comes from one injected clock; a command reads it once and uses that reference throughout."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def system_clock() -> datetime:
    """The present instant in UTC, to the second: what is stored needs no more."""
    return datetime.now(UTC).replace(microsecond=0)
