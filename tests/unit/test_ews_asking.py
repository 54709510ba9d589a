"""Who asks for tickets and tokens: one at a time, and nobody again for what was refused to somebody a moment ago."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from requests.auth import AuthBase

from connectors.ews.sign_in.methods import SignIn
from connectors.port import ConnectorError, CredentialRejected, Unreachable


class Queue:
    """A lock that tells how many came to wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._came = threading.Semaphore(0)

    def __enter__(self) -> None:
        self._came.release()
        assert self._lock.acquire(timeout=5)

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def wait_for(self, threads: int) -> None:
        for _ in range(threads):
            assert self._came.acquire(timeout=5)


class Way(SignIn):
    """A way to sign in whose tickets are given out, or not, by the test."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: Any = Queue()
        self._lock = self.queue
        self.asked = 0
        self.failure: ConnectorError | None = Unreachable("Nobody gives tickets.")

    def auth(self) -> AuthBase:
        raise NotImplementedError

    def ask(self, together: int = 1) -> None:
        """Asks once so many threads are there that want a ticket."""
        with self._asking():
            self.asked += 1
            self.queue.wait_for(together)
            if self.failure is not None:
                raise self.failure


def failures_of(way: Way, threads: int) -> list[ConnectorError]:
    """What comes of threads that ask at the same time."""
    with ThreadPoolExecutor(threads) as pool:
        asking = [pool.submit(way.ask, threads) for _ in range(threads)]
    return [error for each in asking if isinstance(error := each.exception(), ConnectorError)]


def test_who_waited_while_somebody_failed_fails_alike_and_asks_nobody() -> None:
    way = Way()

    failures = failures_of(way, 4)

    assert way.asked == 1
    assert {(type(error), error.message, error.concerns_all) for error in failures} == {
        (Unreachable, "Nobody gives tickets.", True)
    }
    assert len(set(map(id, failures))) == 4  # each thread's own


def test_who_comes_within_moments_of_a_failure_does_not_ask() -> None:
    way = Way()
    failures_of(way, 2)
    way.failure = None

    with pytest.raises(Unreachable):
        way.ask()

    assert way.asked == 1


def test_who_comes_later_asks_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    way = Way()
    failures_of(way, 2)
    way.failure = None
    monkeypatch.setattr("connectors.ews.sign_in.methods._MOMENTS", 0.0)

    way.ask()

    assert way.asked == 2


def test_nobody_asks_any_more_once_the_credential_was_refused() -> None:
    way = Way()
    way.failure = CredentialRejected("No.", code="wrong-key")
    failures_of(way, 2)
    way.failure = None

    with pytest.raises(CredentialRejected) as caught:
        way.ask()

    assert caught.value.code == "wrong-key"
    assert way.asked == 1
