"""Locks between processes: refused at once with the holder's name, shared and exclusive, freed when a holder dies."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path

import pytest

from syncvault.errors import BusyError, StorageError
from syncvault.store.engine import Database
from syncvault.store.locks import FileLocks, Locks, TenantBusyError, open_locks, wait_for_tenant
from tests.integration import store_rows as rows

HOLDER = """
import sys
from pathlib import Path
from syncvault.store.engine import open_database
from syncvault.store.locks import open_locks
locks = open_locks(open_database(sys.argv[1]), Path(sys.argv[2]))
with locks.maintenance(exclusive=False):
    pass  # the files of this lock stay open
with eval(sys.argv[3]):
    print("ready", flush=True)
    sys.stdin.readline()
"""

Hold = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def locks(data_db: Database, tmp_path: Path) -> Locks:
    return open_locks(data_db, tmp_path)


@pytest.fixture
def hold(data_db: Database, tmp_path: Path) -> Iterator[Hold]:
    """Starts a process that holds the lock of the expression until its input ends."""
    started: list[subprocess.Popen[str]] = []

    def start(expression: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLDER, data_db.url, str(tmp_path), expression]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_second_taker_of_a_tenant_is_told_who_holds_it(locks: Locks, hold: Hold) -> None:
    tenant_id = rows.new_id()
    holder = hold(f"locks.tenant(bytes.fromhex('{tenant_id.hex()}'))")
    with (
        pytest.raises(BusyError, match=f"process {holder.pid} on {socket.gethostname()[:32]}"),
        locks.tenant(tenant_id),
    ):
        pass
    with locks.tenant(rows.new_id()):
        pass


def test_a_holder_that_names_its_work_is_waited_for_and_another_is_not(locks: Locks, hold: Hold) -> None:
    tenant_id, pauses = rows.new_id(), []
    expression = f"locks.tenant(bytes.fromhex('{tenant_id.hex()}'), work='rotation')"
    holder = hold(expression)

    def let_go_at_the_third() -> None:
        pauses.append(1)
        if len(pauses) == 3:
            holder.kill()
            holder.wait()
        assert len(pauses) < 1000

    with wait_for_tenant(locks, tenant_id, waits_for=lambda busy: busy.work == "rotation", pause=let_go_at_the_third):
        assert len(pauses) >= 3
    hold(f"locks.tenant(bytes.fromhex('{tenant_id.hex()}'))")
    with (
        pytest.raises(TenantBusyError, match="in use by process"),
        wait_for_tenant(locks, tenant_id, waits_for=lambda busy: busy.work == "rotation", pause=lambda: None),
    ):
        pass


def test_a_lock_is_free_again_after_its_block_and_after_an_exception(locks: Locks) -> None:
    tenant_id = rows.new_id()
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), locks.tenant(tenant_id):
            raise ZeroDivisionError
    with locks.tenant(tenant_id):
        pass


def test_a_lock_excludes_the_same_process_too(locks: Locks) -> None:
    tenant_id = rows.new_id()
    with locks.tenant(tenant_id), pytest.raises(BusyError, match=f"process {os.getpid()} "), locks.tenant(tenant_id):
        pass


@pytest.mark.parametrize("expression", ["locks.tenant(bytes(16))", "locks.maintenance(exclusive=True)"])
def test_a_killed_holder_frees_its_lock(locks: Locks, hold: Hold, expression: str) -> None:
    holder = hold(expression)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    _eventually(lambda: locks.tenant(bytes(16)))
    with locks.maintenance(exclusive=True, timeout=10):
        pass


def test_maintenance_is_shared_by_readers_and_refused_to_one_who_wants_it_alone(locks: Locks, hold: Hold) -> None:
    holder = hold("locks.maintenance(exclusive=False)")
    with locks.maintenance(exclusive=False, timeout=0):
        pass
    who = rf"by process {holder.pid} \(python.*\): other commands" if isinstance(locks, FileLocks) else "still reading"
    with pytest.raises(BusyError, match=who), locks.maintenance(exclusive=True, timeout=0.1):
        pass


def test_one_that_keeps_the_files_open_but_has_left_is_not_named(tmp_path: Path, locks: Locks, hold: Hold) -> None:
    bystander, sharer = hold("locks.tenant(bytes(16))"), hold("locks.maintenance(exclusive=False)")
    who = f"by process {sharer.pid} " if isinstance(locks, FileLocks) else "still reading"
    with (
        pytest.raises(BusyError, match=who) as caught,
        locks.maintenance(exclusive=True, timeout=0),
    ):
        pass
    if isinstance(locks, FileLocks):
        assert str(tmp_path / "locks" / "maintenance") in _open_below(tmp_path, bystander.pid)
    assert f"process {bystander.pid} " not in str(caught.value)


def test_exclusive_maintenance_keeps_readers_out_until_it_ends(locks: Locks, hold: Hold) -> None:
    holder = hold("locks.maintenance(exclusive=True)")
    for exclusive in (False, True):
        with pytest.raises(BusyError), locks.maintenance(exclusive=exclusive, timeout=0.1):
            pass
    holder.communicate("end\n")
    with locks.maintenance(exclusive=True, timeout=10):
        pass


def test_one_who_wants_the_vault_alone_gets_it_though_sharers_never_stop_overlapping(tmp_path: Path) -> None:
    locks, stop = FileLocks(tmp_path / "locks"), threading.Event()
    overlap = threading.Barrier(2)

    def share() -> None:
        while not stop.is_set():
            with locks.maintenance(exclusive=False, timeout=20), suppress(threading.BrokenBarrierError):
                overlap.wait(timeout=0.02)  # leaves only when the other one is in as well, or is kept out

    threads = [threading.Thread(target=share) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            with locks.maintenance(exclusive=True, timeout=10):
                pass
            overlap.reset()
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_waiting_exclusive_taker_lets_nobody_in_behind_those_it_waits_for(tmp_path: Path) -> None:
    locks, taken = FileLocks(tmp_path / "locks"), threading.Event()

    def take() -> None:
        with locks.maintenance(exclusive=True, timeout=20):
            taken.set()

    seeker = threading.Thread(target=take)
    with locks.maintenance(exclusive=False):
        seeker.start()
        _refused_in_the_end(lambda: locks.maintenance(exclusive=False, timeout=0))
        assert not taken.is_set()
    seeker.join(timeout=20)
    assert taken.is_set()


def test_a_seeker_that_gives_up_opens_the_gate_again(locks: Locks, hold: Hold) -> None:
    hold("locks.maintenance(exclusive=False)")
    with pytest.raises(BusyError), locks.maintenance(exclusive=True, timeout=0.1):
        pass
    with locks.maintenance(exclusive=False, timeout=0):
        pass


def test_the_files_stay_open_for_the_next_taker_until_the_locks_are_closed(tmp_path: Path) -> None:
    locks, opened = FileLocks(tmp_path / "locks"), list[list[str]]()
    for _ in range(3):
        with locks.maintenance(exclusive=False):
            pass
        opened.append(_open_below(tmp_path))
    assert opened[0] == opened[1] == opened[2] != []
    locks.close()
    assert _open_below(tmp_path) == []
    with locks.maintenance(exclusive=False):
        pass
    del locks  # nobody closes these
    assert _open_below(tmp_path) == []


def test_a_sharer_that_leaves_does_not_take_the_lock_of_another_thread_with_it(tmp_path: Path) -> None:
    locks, is_in, may_leave = FileLocks(tmp_path / "locks"), threading.Event(), threading.Event()

    def share() -> None:
        with locks.maintenance(exclusive=False):
            is_in.set()
            may_leave.wait(timeout=20)

    with locks.maintenance(exclusive=False):
        pass
    thread = threading.Thread(target=share)
    thread.start()
    assert is_in.wait(timeout=20)
    with locks.maintenance(exclusive=False):
        pass
    try:
        with pytest.raises(BusyError), locks.maintenance(exclusive=True, timeout=0):
            pass
    finally:
        may_leave.set()
        thread.join()
    with locks.maintenance(exclusive=True, timeout=0):
        pass


def test_a_forked_child_and_its_parent_do_not_free_each_others_locks(tmp_path: Path) -> None:
    locks = FileLocks(tmp_path / "locks")
    with locks.maintenance(exclusive=False):
        pass  # what stays open now is inherited
    with _child_that(lambda: locks.maintenance(exclusive=False)):
        with locks.maintenance(exclusive=False):
            pass
        with pytest.raises(BusyError), FileLocks(tmp_path / "locks").maintenance(exclusive=True, timeout=0):
            pass
    with locks.maintenance(exclusive=True, timeout=0):
        pass


def test_what_a_child_inherits_of_a_lock_that_is_held_is_held_until_the_child_ends(tmp_path: Path) -> None:
    locks = FileLocks(tmp_path / "locks")
    with ExitStack() as child:
        with locks.maintenance(exclusive=False):
            child.enter_context(_child_that(nullcontext))
        with pytest.raises(BusyError), locks.maintenance(exclusive=True, timeout=0):
            pass
    with locks.maintenance(exclusive=True, timeout=0):
        pass


def test_a_directory_that_was_replaced_is_locked_and_not_the_one_before(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    locks = FileLocks(home / "locks")
    with locks.maintenance(exclusive=False):
        pass
    home.rename(tmp_path / "lost")
    home.mkdir()  # as a restore makes it
    with (
        FileLocks(home / "locks").maintenance(exclusive=True, timeout=0),
        pytest.raises(BusyError),
        locks.maintenance(exclusive=False, timeout=0),
    ):
        pass
    with locks.maintenance(exclusive=False, timeout=0):
        assert {Path(name).parent for name in _open_below(tmp_path)} == {home / "locks"}


def test_forgetting_a_tenant_leaves_no_file_and_no_second_holder(tmp_path: Path) -> None:
    locks, tenant_id = FileLocks(tmp_path / "locks"), rows.new_id()
    with locks.tenant(tenant_id):
        locks.forget(tenant_id)
    assert list((tmp_path / "locks").iterdir()) == []
    with locks.tenant(tenant_id), pytest.raises(BusyError), locks.tenant(tenant_id):
        pass


def test_one_who_waits_at_a_forgotten_file_takes_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locks, tenant_id = FileLocks(tmp_path / "locks"), rows.new_id()
    opened = FileLocks._open
    raced: list[str] = []

    def open_then_lose(self: FileLocks, name: str) -> int:
        descriptor = opened(self, name)
        if not raced:
            raced.append(name)
            self.forget(tenant_id)
        return descriptor

    monkeypatch.setattr(FileLocks, "_open", open_then_lose)
    with locks.tenant(tenant_id), pytest.raises(BusyError), locks.tenant(tenant_id):
        pass


def test_lock_files_are_the_owners_alone(tmp_path: Path) -> None:
    with FileLocks(tmp_path / "locks").tenant(bytes(16)):
        assert (tmp_path / "locks").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "locks" / bytes(16).hex()).stat().st_mode & 0o777 == 0o600


def test_a_directory_that_is_not_there_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError), FileLocks(tmp_path / "no" / "locks").tenant(bytes(16)):
        pass


def _open_below(directory: Path, pid: int | str = "self") -> list[str]:
    """The files in a directory that a process has open."""
    found = []
    for descriptor in sorted(Path(f"/proc/{pid}/fd").iterdir()):
        with suppress(FileNotFoundError):  # the one that lists them
            found.append(str(descriptor.readlink()))
    return [name for name in found if name.startswith(f"{directory}/")]


@contextmanager
def _child_that(take: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """A forked child that takes a lock and holds it as long as the block."""
    (is_in, tell), (wait, let_go) = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        with suppress(BaseException), take():  # whatever happens: nothing of pytest's may go on here
            os.close(let_go)
            os.write(tell, b"in")
            os.read(wait, 1)
        os._exit(0)
    os.close(tell)
    try:
        assert os.read(is_in, 2) == b"in"
        yield
    finally:
        os.close(let_go)
        os.waitpid(child, 0)
        for descriptor in (is_in, wait):
            os.close(descriptor)


def _eventually(take: Callable[[], AbstractContextManager[None]]) -> None:
    """Takes a lock that the server frees as soon as it has noticed that the holder died."""
    for _ in range(10_000):
        try:
            with take():
                return
        except BusyError:
            continue
    pytest.fail("the lock was never freed")


def _refused_in_the_end(take: Callable[[], AbstractContextManager[None]]) -> None:
    for _ in range(100_000):
        try:
            with take():
                continue
        except BusyError:
            return
    pytest.fail("nobody was ever kept out")
