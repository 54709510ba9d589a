"""The brake: a run that would remove too much at once stops and asks; an emptied source is usually a mistake."""

from __future__ import annotations

from typing import Final

MOST_REMOVALS: Final = 500
SMALL_TENANT: Final = 20  # contacts; below this a share says nothing


def holds(removals: int, stored: int) -> bool:
    """Whether removing this many contacts of a tenant that held so many needs an administrator's word.

    Args:
        removals: Contacts and cards to remove, without those of sources that were unregistered on purpose.
        stored: Contacts and cards the tenant held before the run.
    """
    return removals > MOST_REMOVALS or (stored > SMALL_TENANT and removals * 2 > stored)
