"""Whether the machine's clock can be trusted, judged by the latest time that the vault has seen. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

LONGEST_LEAP: Final = timedelta(days=180)  # longer than any machine should go without a single command
BACKWARD_SLACK: Final = timedelta(minutes=5)  # what a time service may correct


def doubt(now: datetime, seen: datetime | None) -> str | None:
    """Why the clock is not to be believed, in one sentence; None if nothing speaks against it."""
    if seen is None:
        return None
    if now < seen - BACKWARD_SLACK:
        return "The clock is behind the time this vault has seen already."
    if now > seen + LONGEST_LEAP:
        return f"The clock is {(now - seen).days} days ahead of the last command here."
    return None
