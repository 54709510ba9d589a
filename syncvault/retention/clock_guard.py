"""A wrong clock must not erase customers: purging stops when time went backwards or leapt ahead."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from syncvault.errors import BrakeError
from syncvault.vault.vault import Vault

LONGEST_LEAP: Final = timedelta(days=180)  # longer than any machine should go without a single command
BACKWARD_SLACK: Final = timedelta(minutes=5)  # what a time service may correct


def check(vault: Vault) -> None:
    """Compares the clock with the latest time the vault has seen.

    Raises:
        BrakeError: It is behind, or far ahead.
    """
    seen = vault.latest_time_seen()
    if seen is None:
        return
    advice = f"Check the clock; if it is right, run the command with --accept-clock. Last seen: {seen:%Y-%m-%d %H:%M}Z."
    if vault.now < seen - BACKWARD_SLACK:
        raise BrakeError("The clock is behind the time this vault has seen already.", advice=advice)
    if vault.now > seen + LONGEST_LEAP:
        raise BrakeError(f"The clock is {(vault.now - seen).days} days ahead of the last command here.", advice=advice)
