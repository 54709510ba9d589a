"""A wrong clock must not erase customers: purging stops when time went backwards or leapt ahead."""

from __future__ import annotations

from syncvault.errors import BrakeError
from syncvault.policy.clock import doubt
from syncvault.vault.vault import Vault


def check(vault: Vault) -> None:
    """Compares the clock with the latest time the vault has seen.

    Raises:
        BrakeError: It is behind, or far ahead.
    """
    seen = vault.latest_time_seen()
    why = doubt(vault.now, seen)
    if why is not None:
        advice = f"Check the clock. If it is right, give --accept-clock. Last seen: {seen:%Y-%m-%d %H:%M}Z."
        raise BrakeError(why, advice=advice)
