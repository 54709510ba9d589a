"""Knowing when something has happened on another thread, without asking again and again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


def watched(choose: Callable[..., Any], chosen: threading.Event) -> Callable[..., Any]:
    """A simulator's way of choosing what strikes a request, which sets `chosen` once something does."""

    def choosing(*args: Any) -> Any:
        found = choose(*args)
        if found is not None:
            chosen.set()
        return found

    return choosing
