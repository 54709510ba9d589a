"""Files that hold keys: out of others' reach, whole or not there at all, and overwritten before they go.

Beside a file `K` there may be `.K.new` (being written) and `.K.old` (replaced, about to be overwritten). What a
crash leaves of them is overwritten and removed by the next write or scrub.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from syncvault.errors import RootKeyError

_LIMIT = 1024 * 1024  # bytes; what systemd allows a credential, and far more than a key file needs


def read(path: Path) -> bytes | None:
    """The content of a key file, or None if there is none.

    Raises:
        RootKeyError: Others can reach it, it is a symbolic link or no regular file, or it cannot be read.
    """
    with _explained(path), suppress(FileNotFoundError), _folder(path) as folder, _file(path, folder, os.O_RDONLY) as fd:
        status = os.fstat(fd)
        _refuse_reachable(path, status, stat.S_IRWXG | stat.S_IRWXO)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LIMIT:
            raise RootKeyError(
                f"{path} is not a root key's file.",
                advice="Name the file that the vault was made with, with --root-key-file.",
            )
        return os.read(fd, _LIMIT)
    return None


def place(path: Path, content: bytes) -> bool:
    """Writes a key file where there is none; makes its directory (0700) when missing.

    Returns:
        False, with nothing changed, if there is a file already.

    Raises:
        RootKeyError: It cannot be written there.
    """
    with _explained(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _folder(path) as folder:
            fresh = _write_beside(path, folder, content)
            try:
                os.link(fresh.name, path.name, src_dir_fd=folder, dst_dir_fd=folder)
            except FileExistsError:
                _scrub(fresh, folder)
                return False
            os.unlink(fresh.name, dir_fd=folder)
            os.fsync(folder)
    return True


def replace(path: Path, content: bytes) -> None:
    """Writes a key file, and overwrites the bytes of the one that stood there; makes its directory when missing.

    Raises:
        RootKeyError: It cannot be written there.
    """
    with _explained(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _folder(path) as folder:
            old = _old(path)
            fresh = _write_beside(path, folder, content)
            _scrub(old, folder, unless=path)
            # The link keeps the old bytes within reach until they are overwritten, across a crash too.
            with suppress(FileNotFoundError):
                os.link(path.name, old.name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
            os.rename(fresh.name, path.name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)
            _scrub(old, folder)


def scrub(path: Path) -> None:
    """Overwrites and removes a key file and what a crash left beside it; one that is gone already is fine.

    Raises:
        RootKeyError: It cannot be overwritten or removed.
    """
    with _explained(path), suppress(FileNotFoundError), _folder(path) as folder:
        for each in (_new(path), _old(path), path):
            _scrub(each, folder)


def scrub_leftovers(path: Path) -> None:
    """Overwrites and removes what a crash left beside a key file, and leaves the file itself.

    Raises:
        RootKeyError: It cannot be overwritten or removed.
    """
    with _explained(path), suppress(FileNotFoundError), _folder(path) as folder:
        for each in (_new(path), _old(path)):
            _scrub(each, folder, unless=path)


def _new(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def _old(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turns what the system says into a sentence and advice."""
    try:
        yield
    except OSError as error:
        reason = "it is a symbolic link" if error.errno == errno.ELOOP else (error.strerror or "it failed")
        raise RootKeyError(
            f"The root key's file {path} cannot be used: {reason}.",
            advice="Check the path and its directory, and run as the user that the vault belongs to.",
        ) from error
    except ValueError as error:  # a zero byte or half a surrogate, which no system call takes
        raise RootKeyError(
            f"The root key's file cannot have the path {str(path)!a}.", advice="Name another with --root-key-file."
        ) from error


@contextmanager
def _folder(path: Path) -> Iterator[int]:
    """The file's directory, opened once, so that all steps happen in the one that was checked."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _refuse_reachable(path.parent, os.fstat(folder), stat.S_IWGRP | stat.S_IWOTH)
        yield folder
    finally:
        os.close(folder)


@contextmanager
def _file(path: Path, folder: int, flags: int, mode: int = 0) -> Iterator[int]:
    fd = os.open(path.name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode, dir_fd=folder)
    try:
        yield fd
    finally:
        os.close(fd)


def _refuse_reachable(path: Path, status: os.stat_result, others: int) -> None:
    user = os.geteuid()
    if status.st_uid not in {user, 0} and user != 0:
        raise RootKeyError(f"{path} belongs to another user.", advice="Run as the user that the vault belongs to.")
    if status.st_mode & others:
        # A directory may be everybody's on purpose, like /tmp: nobody shall be told to close it.
        put_right = "give the root key a directory of its own" if stat.S_ISDIR(status.st_mode) else f"chmod 600 {path}"
        raise RootKeyError(
            f"Other users can reach {path} (mode {stat.S_IMODE(status.st_mode):04o}).",
            advice=f"Find out who may have read or changed it, then: {put_right}",
        )


def _write_beside(path: Path, folder: int, content: bytes) -> Path:
    fresh = _new(path)
    _scrub(fresh, folder, unless=path)
    with _file(fresh, folder, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600) as fd:
        if os.geteuid() == 0:  # root at a shell must not take the key from the service's user
            owner = _owner(path, folder)
            os.fchown(fd, owner.st_uid, owner.st_gid)
        _write(fd, content)
    return fresh


def _owner(path: Path, folder: int) -> os.stat_result:
    """Whose the file is, or whose it will be as the directory's first."""
    try:
        return os.stat(path.name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return os.fstat(folder)


def _scrub(path: Path, folder: int, *, unless: Path | None = None) -> None:
    """Overwrites and removes a file; one that a crash left as a second name of a file in use is only removed."""
    with suppress(FileNotFoundError), _file(path, folder, os.O_WRONLY) as fd:
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode) and not (unless is not None and _is_same(status, unless, folder)):
            _write(fd, bytes(status.st_size))
        os.unlink(path.name, dir_fd=folder)
        os.fsync(folder)


def _is_same(status: os.stat_result, path: Path, folder: int) -> bool:
    try:
        other = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(status, other)


def _write(fd: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(fd, rest) :]
    os.fsync(fd)
