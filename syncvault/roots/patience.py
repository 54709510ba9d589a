"""Waiting for what keeps a root key, and not for ever."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

from syncvault.errors import RootKeyError

T = TypeVar("T")


def bounded(seconds: float, who: str, call: Callable[[], T], *, advice: str = "") -> T:
    """Runs a call that may hang (a driver, a metadata service, a person at a prompt), and gives up on it in time.

    Raises:
        RootKeyError: It took longer. What the call itself raises is passed on.
    """
    outcome: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcome.put((call(), None))
        except BaseException as error:  # noqa: BLE001  (crosses the thread and is raised there)
            outcome.put((None, error))

    threading.Thread(target=run, daemon=True, name=who).start()
    try:
        value, error = outcome.get(timeout=seconds)
    except queue.Empty:
        raise unanswered(who, seconds, advice=advice) from None
    if error is not None:
        raise error
    return value  # type: ignore[return-value]


def unanswered(who: str, seconds: float, *, advice: str = "") -> RootKeyError:
    """What is said of one that did not answer in time."""
    return RootKeyError(
        f"{who} did not answer within {seconds:.0f} s.",
        advice=advice or "Check the way to it (network, proxy, device), then run the command again.",
    )
