"""Locks between processes: one per tenant, and the vault's maintenance lock that readers share with each other.

    open_locks(db, home) -> Locks                            by the data database's dialect
    Locks.tenant(tenant_id, *, work="") -> context manager   TenantBusyError at once, naming the holder and its work
    wait_for_tenant(locks, tenant_id, *, work, told, ...) -> context manager   waits, as long as it takes
    Locks.maintenance(*, exclusive, timeout=30.0) -> context manager   BusyError once the time is up
    Locks.forget(tenant_id) -> None                          removes the lock file of an erased tenant; hold the lock

The kernel (flock) or the server (advisory locks) frees a lock when its holder dies, however it dies. A holder
must not fork without exec: the child would hold the lock too.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
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
    by = f" by {holders.named([lock])}" if lock is not None else ""
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


@dataclass(frozen=True, slots=True)
class FileLocks:
    """Locks by flock on files in a directory; for a vault whose data database is a file on this machine."""

    directory: Path

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
        kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        deadline = time.monotonic() + timeout
        with self._opened(_GATE) as gate, self._opened(_MAINTENANCE) as lock:
            wait = partial(_wait, exclusive=exclusive, deadline=deadline, lock=self.directory / _MAINTENANCE)
            wait(lambda: _flock(gate, kind), poll=_GATE_POLL_SECONDS)
            if not exclusive:
                fcntl.flock(gate, fcntl.LOCK_UN)  # sharers only pass through
            wait(lambda: _flock(lock, kind))
            yield

    def forget(self, tenant_id: bytes) -> None:
        """See `Locks.forget`."""
        (self.directory / tenant_id.hex()).unlink(missing_ok=True)

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

    def _is_linked(self, name: str, descriptor: int) -> bool:
        try:
            there = (self.directory / name).stat()
        except FileNotFoundError:
            return False
        return there.st_ino == os.fstat(descriptor).st_ino

    @contextmanager
    def _opened(self, name: str) -> Iterator[int]:
        descriptor = self._open(name)
        try:
            yield descriptor
        finally:
            os.close(descriptor)  # which also gives the lock back

    def _open(self, name: str) -> int:
        # Twice in every transaction: a Path would take longer to be put together than the file to be opened.
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
