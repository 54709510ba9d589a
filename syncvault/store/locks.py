"""Locks between processes: one per tenant, and the vault's maintenance lock that readers share with each other.

    open_locks(db, home) -> Locks                            by the data database's dialect
    Locks.tenant(tenant_id, *, work="") -> context manager   TenantBusyError at once, naming the holder and its work
    wait_for_tenant(locks, tenant_id, *, work, told, ...) -> context manager   waits, as long as it takes
    Locks.maintenance(*, exclusive, timeout=30.0) -> context manager   BusyError once the time is up
    Locks.forget(tenant_id) -> None                          removes the lock file of an erased tenant; hold the lock
    Locks.close() -> None                                    closes the files that are kept open for the next taker

The kernel (flock) or the server (advisory locks) frees a lock when its holder dies, however it dies. A holder
must not fork without exec: the child would hold the lock too.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from syncvault.errors import BusyError, StorageError
from syncvault.store import holders
from syncvault.store.engine import Database, Transaction
from syncvault.store.statements import run, value

_POLL_SECONDS: Final = 0.05
_GATE_POLL_SECONDS: Final = 0.005  # sharers hold the gate for microseconds, so a moment without any soon comes
_MAINTENANCE: Final = "maintenance"
_GATE: Final = "maintenance.gate"


class TenantBusyError(BusyError):
    """Another process has the tenant; `work` is what it says it is doing, empty for a run or an erasure."""

    def __init__(self, holder: str) -> None:
        self.holder = holder
        host, pid, self.work = (*holder.split(maxsplit=2), "", "", "")[:3]
        by = f"process {pid} on {host}" if pid else "another process"
        super().__init__(f"The tenant is in use by {by}{f' ({self.work})' if self.work else ''}.")


class Locks(Protocol):
    """What keeps processes from working on the same tenant, or under a scrub."""

    def tenant(self, tenant_id: bytes, *, work: str = "") -> AbstractContextManager[None]:
        """Takes the tenant; TenantBusyError at once, naming the holder, if another has it.

        Args:
            tenant_id: Which.
            work: A word for what it is taken for, if whoever finds it taken shall know; ASCII.
        """

    def maintenance(self, *, exclusive: bool, timeout: float = 30.0) -> AbstractContextManager[None]:
        """Takes the vault, alone or beside others who share it; BusyError once the time is up."""

    def forget(self, tenant_id: bytes) -> None:
        """Leaves no trace of the tenant among the locks; call it while holding the tenant."""

    def close(self) -> None:
        """Closes what is kept open; locks may be taken again afterwards."""


def open_locks(db: Database, home: Path) -> Locks:
    """The locks of the vault whose data database this is; `home` is its data directory."""
    return FileLocks(home / "locks") if db.dialect == "sqlite" else AdvisoryLocks(db)


@contextmanager
def wait_for_tenant(
    locks: Locks,
    tenant_id: bytes,
    *,
    work: str = "",
    waits_for: Callable[[TenantBusyError], bool],
    pause: Callable[[], None],
) -> Iterator[None]:
    """Takes the tenant, however long that takes.

    Args:
        locks: Whose tenant it is.
        tenant_id: Which.
        work: See `Locks.tenant`.
        waits_for: Whether to wait for the holder that the error names; asked each time it is still there.
        pause: Lets a moment pass between two attempts; may raise to give up.

    Raises:
        TenantBusyError: A holder has it that is not waited for.
    """
    found = ""
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(locks.tenant(tenant_id, work=work))
                break
            except TenantBusyError as busy:
                # A lock is taken a moment before its holder has written who it is: only what is seen twice counts.
                if busy.holder and busy.holder == found and not waits_for(busy):
                    raise
                found = busy.holder
            pause()
        yield


def _vault_busy(*, exclusive: bool, lock: Path | None) -> BusyError:
    who = "other commands are still reading it" if exclusive else "a scrub or a restore is under way"
    by = f" by {holders.named([lock], locked=True)}" if lock is not None else ""
    return BusyError(f"The vault is in use{by}: {who}.")


def _wait(
    attempt: Callable[[], bool],
    *,
    exclusive: bool,
    deadline: float,
    poll: float = _POLL_SECONDS,
    lock: Path | None = None,
) -> None:
    while not attempt():
        if time.monotonic() >= deadline:
            raise _vault_busy(exclusive=exclusive, lock=lock)
        time.sleep(poll)


def _holder(work: str = "") -> str:
    # PostgreSQL cuts an application's name after 63 bytes.
    return f"{socket.gethostname()[:32]} {os.getpid()} {work}".rstrip()


_age = object()  # replaced before this process forks: a child shares the locks of what it inherits


def _end_age() -> None:
    global _age  # noqa: PLW0603  (one process, one age)
    _age = object()


os.register_at_fork(before=_end_age)


class _Doors:
    """Both files of the maintenance lock, open. For one taker at a time: a lock belongs to the open file."""

    __slots__ = ("__weakref__", "_age", "close", "gate", "inode", "lock")

    def __init__(self, gate: int, lock: int) -> None:
        found = os.fstat(lock)
        self.gate, self.lock, self.inode, self._age = gate, lock, (found.st_dev, found.st_ino), _age
        self.close = weakref.finalize(self, _close, gate, lock)  # at the latest when nobody refers to it any more
        self.close.atexit = False

    @property
    def is_our_own(self) -> bool:
        """Whether no child can have inherited it."""
        return self._age is _age


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class FileLocks:
    """Locks by flock on files in a directory; for a vault whose data database is a file on this machine.

    The files of the maintenance lock stay open between two takers, because every transaction takes it and opening them
    costs more than all else about it. Each taker has a pair of its own, so threads exclude each other like processes.
    After a fork, neither parent nor child takes one that both have; nor is one taken that is no longer in its place.
    """

    directory: Path
    _unused: list[_Doors] = field(default_factory=list, repr=False, compare=False)  # threads just `pop` and `append`

    @contextmanager
    def tenant(self, tenant_id: bytes, *, work: str = "") -> Iterator[None]:
        """See `Locks.tenant`."""
        descriptor = self._take(tenant_id.hex())
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, _holder(work).encode(), 0)
            yield
        finally:
            os.ftruncate(descriptor, 0)
            os.close(descriptor)

    @contextmanager
    def maintenance(self, *, exclusive: bool, timeout: float = 30.0) -> Iterator[None]:
        """See `Locks.maintenance`.

        Whoever wants the vault alone shuts a gate behind those who are in it, so that sharers who keep overlapping
        cannot keep it out for ever. Not to be nested in one thread: the inner taker would wait at the gate.
        """
        doors = self._enter(exclusive=exclusive, deadline=time.monotonic() + timeout)
        try:
            yield
        finally:
            if exclusive or not doors.is_our_own:
                doors.close()  # which also gives the locks back
            else:
                fcntl.flock(doors.lock, fcntl.LOCK_UN)
                self._unused.append(doors)

    def forget(self, tenant_id: bytes) -> None:
        """See `Locks.forget`."""
        (self.directory / tenant_id.hex()).unlink(missing_ok=True)

    def close(self) -> None:
        """See `Locks.close`."""
        while self._unused:
            self._unused.pop().close()

    def _take(self, name: str) -> int:
        while True:
            descriptor = self._open(name)
            if not _flock(descriptor, fcntl.LOCK_EX):
                holder = os.pread(descriptor, 200, 0).decode(errors="replace")
                os.close(descriptor)
                raise TenantBusyError(holder)
            if self._is_linked(name, descriptor):
                return descriptor
            os.close(descriptor)  # `forget` removed the file between opening and locking it

    def _enter(self, *, exclusive: bool, deadline: float) -> _Doors:
        kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        while True:
            doors = self._doors()
            try:
                self._wait_for(_GATE, doors.gate, kind, deadline=deadline, poll=_GATE_POLL_SECONDS)
                if not exclusive:
                    fcntl.flock(doors.gate, fcntl.LOCK_UN)  # sharers only pass through
                self._wait_for(_MAINTENANCE, doors.lock, kind, deadline=deadline)
                if self._is_there(_MAINTENANCE, doors.inode):
                    return doors
            except BaseException:
                doors.close()
                raise
            doors.close()  # the directory was replaced: what others take is not this

    def _doors(self) -> _Doors:
        while self._unused:
            try:
                doors = self._unused.pop()
            except IndexError:  # another thread took the last one
                break
            if doors.is_our_own:
                return doors
            doors.close()
        gate = self._open(_GATE)
        try:
            return _Doors(gate, self._open(_MAINTENANCE))
        except BaseException:
            os.close(gate)
            raise

    def _wait_for(self, name: str, descriptor: int, kind: int, *, deadline: float, poll: float = _POLL_SECONDS) -> None:
        if not _flock(descriptor, kind):
            attempt, exclusive = partial(_flock, descriptor, kind), kind == fcntl.LOCK_EX
            _wait(attempt, exclusive=exclusive, deadline=deadline, poll=poll, lock=self.directory / name)

    def _is_linked(self, name: str, descriptor: int) -> bool:
        found = os.fstat(descriptor)
        return self._is_there(name, (found.st_dev, found.st_ino))

    def _is_there(self, name: str, inode: tuple[int, int]) -> bool:
        try:
            found = os.stat(f"{self.directory}/{name}")  # noqa: PTH116  (a Path takes longer to be put together)
        except FileNotFoundError:
            return False
        return (found.st_dev, found.st_ino) == inode

    def _open(self, name: str) -> int:
        path, flags = f"{self.directory}/{name}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            try:
                return os.open(path, flags, 0o600)
            except FileNotFoundError:
                self.directory.mkdir(mode=0o700, exist_ok=True)
                return os.open(path, flags, 0o600)
        except OSError as fault:
            raise StorageError(f"No lock can be taken in {self.directory}: {fault.strerror}.") from None


def _flock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class AdvisoryLocks:
    """Locks by the PostgreSQL server, each on a connection of its own; they hold across machines."""

    db: Database

    @contextmanager
    def tenant(self, tenant_id: bytes, *, work: str = "") -> Iterator[None]:
        """See `Locks.tenant`."""
        with self.db.lone() as connection:
            _introduce(connection, work)
            key = _key(b"tenant", tenant_id)
            if not value(connection, "SELECT pg_try_advisory_lock(?)", key):
                raise TenantBusyError(_holder_of(connection, key))
            with _freeing(connection, "pg_advisory_unlock", key):
                yield

    @contextmanager
    def maintenance(self, *, exclusive: bool, timeout: float = 30.0) -> Iterator[None]:
        """See `Locks.maintenance`."""
        suffix = "" if exclusive else "_shared"
        with self.db.lone() as connection:
            _introduce(connection)
            # Vaults may share a server's database, each in a schema of its own.
            key = _key(b"maintenance", value(connection, "SELECT current_schema()").encode())
            statement = f"SELECT pg_try_advisory_lock{suffix}(?)"
            deadline = time.monotonic() + timeout
            _wait(lambda: bool(value(connection, statement, key)), exclusive=exclusive, deadline=deadline)
            with _freeing(connection, f"pg_advisory_unlock{suffix}", key):
                yield

    def forget(self, tenant_id: bytes) -> None:
        """See `Locks.forget`; the server keeps nothing of a lock that is free."""

    def close(self) -> None:
        """See `Locks.close`; each connection is closed with its lock."""


@contextmanager
def _freeing(connection: Transaction, function: str, key: int) -> Iterator[None]:
    # The server notices a closed connection a moment later; who comes next must not find the lock still taken.
    try:
        yield
    finally:
        run(connection, f"SELECT {function}(?)", key)


def _introduce(connection: Transaction, work: str = "") -> None:
    run(connection, "SELECT set_config('application_name', ?, false)", f"syncvault {_holder(work)}")


def _key(kind: bytes, name: bytes) -> int:
    digest = hashlib.blake2b(name, digest_size=8, person=kind).digest()
    return int.from_bytes(digest, "big", signed=True)


def _holder_of(connection: Transaction, key: int) -> str:
    # How pg_locks shows a bigint key: the high half in classid, the low half in objid, objsubid 1.
    statement = (
        "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid"
        " WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.database ="
        " (SELECT oid FROM pg_database WHERE datname = current_database())"
        " AND l.classid::bigint = ? AND l.objid::bigint = ?"
    )
    unsigned = key & 0xFFFFFFFFFFFFFFFF
    found = value(connection, statement, unsigned >> 32, unsigned & 0xFFFFFFFF)
    return str(found or "").removeprefix("syncvault ")
