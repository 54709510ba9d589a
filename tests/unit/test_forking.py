"""Work that is spread over forked processes, and what becomes of it when one of them is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from syncvault.errors import DamagedError, StorageError
from syncvault.vault.forking import spread

CHILDREN_OF_ONE_THAT_IS_KILLED = """
import os, signal
from syncvault.vault.forking import spread
def work(piece):
    if piece == 3:
        os.kill(os.getppid(), signal.SIGKILL)
    return os.getpid(), bytes(1 << 20)
for pid, _ in spread(work, range(1000), 2):
    print(pid, flush=True)
"""


@pytest.mark.parametrize("processes", [1, 2, 3, 50])
def test_every_piece_is_done_once(processes: int) -> None:
    assert sorted(spread(lambda piece: piece * 2, range(17), processes)) == [piece * 2 for piece in range(17)]


def test_no_work_needs_no_process() -> None:
    assert list(spread(abs, [], 4)) == []


def test_the_work_is_done_by_children() -> None:
    workers = set(spread(lambda _: os.getpid(), range(8), 2))
    assert len(workers) == 2
    assert os.getpid() not in workers


def test_what_a_piece_raises_is_raised_whole() -> None:
    def fail(piece: int) -> int:
        if piece == 5:
            raise DamagedError("Record 5 does not open.", advice="Restore it.")
        return piece

    with pytest.raises(DamagedError, match="Record 5") as caught:
        list(spread(fail, range(8), 2))
    assert caught.value.advice == "Restore it."


def test_a_killed_process_is_an_error_and_leaves_nobody() -> None:
    def die(piece: int) -> int:
        if piece == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return piece

    with pytest.raises(StorageError, match=r"^A process that was verifying was killed") as caught:
        list(spread(die, range(100), 2))
    assert caught.value.advice.startswith("Look whether the machine is short of memory")
    assert not multiprocessing.active_children()


def test_who_stops_listening_leaves_nobody() -> None:
    results = spread(lambda _: bytes(1 << 20), range(100), 2)
    next(results)
    results.close()
    assert not multiprocessing.active_children()


def test_children_of_a_killed_process_end() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILDREN_OF_ONE_THAT_IS_KILLED], check=False, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 20
    left = {int(pid) for pid in done.stdout.split()}
    while left and time.monotonic() < deadline:
        left = {pid for pid in left if Path(f"/proc/{pid}").exists()}
    assert not left
