"""Directories that appear whole or not at all: filled under another name beside their place, then renamed."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from syncvault.errors import BusyError, InputError, StorageError
from syncvault.vault.backups.archive import FILES, REPLACED, STATEMENT, UNFINISHED, beside
from syncvault.vault.layout import sync_directory

_CHUNK: Final = 1024 * 1024
_OURS: Final = frozenset({STATEMENT}.union(*FILES.values()))
_SUFFIXES: Final = ("", "-journal", "-wal", "-shm", ".new")  # what stands beside a file of ours while it is written


@contextmanager
def new_directory(place: Path) -> Iterator[Path]:
    """A directory (0700) to fill, which appears at its place when the block ends well, and never otherwise.

    What an interrupted attempt left beside the place is removed first.

    Raises:
        InputError: Something is there already, or nothing can be made there.
        BusyError: Another process is filling it.
    """
    require_vacant(place)
    with _staged(place) as staging:
        yield staging
        _rename(staging, place)


@contextmanager
def replaced_directory(place: Path) -> Iterator[Path]:
    """A directory to fill, which takes the place of the one there, whose files are overwritten and removed.

    Raises:
        InputError: Nothing can be made there.
        BusyError: Another process is filling it.
    """
    old = beside(place, REPLACED)
    with _staged(place) as staging:
        if old.is_dir() and not place.exists():  # killed between the two renames
            _rename(old, place)
        _shred(old)
        yield staging
        with _explained(place):
            sync_directory(staging)
            if place.exists():
                place.rename(old)
            try:
                staging.rename(place)
            except BaseException:
                if old.exists():
                    old.rename(place)
                raise
            sync_directory(place.parent)
        _shred(old)


def require_vacant(place: Path) -> None:
    """Refuses a place where something lies.

    Raises:
        InputError: It is no directory, or not an empty one.
    """
    if os.path.lexists(place) and not (place.is_dir() and not place.is_symlink() and not any(place.iterdir())):
        raise InputError(
            f"There is something at {place} already.", advice="Name a directory that does not exist yet, or is empty."
        )


@contextmanager
def _staged(place: Path) -> Iterator[Path]:
    staging = beside(place, UNFINISHED)
    with _explained(place):
        staging.mkdir(mode=0o700, exist_ok=True)
        handle = os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(f"Another process is making a backup at {place}.") from None
        for leftover in staging.iterdir():
            _overwrite(leftover)
        try:
            yield staging
        except BaseException:
            _shred(staging)
            raise
    finally:
        os.close(handle)


def _rename(old: Path, new: Path) -> None:
    with _explained(new):
        sync_directory(old)
        old.rename(new)
        sync_directory(new.parent)


def _shred(directory: Path) -> None:
    """Overwrites and removes a directory's files, and the directory."""
    try:
        for path in directory.iterdir():
            _overwrite(path)
        directory.rmdir()
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(f"{directory} cannot be removed: {error.strerror}.") from None


def _overwrite(path: Path) -> None:
    known = any(path.name.removesuffix(suffix) in _OURS for suffix in _SUFFIXES)
    if not known or path.is_symlink() or not path.is_file():
        raise InputError(f"{path} is nothing of a backup's.", advice="Move it away; it was not touched.")
    with path.open("r+b") as file:
        left = path.stat().st_size
        while left > 0:
            left -= file.write(bytes(min(left, _CHUNK)))
        file.flush()
        os.fsync(file.fileno())
    path.unlink()


@contextmanager
def _explained(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        advice = "Name a directory that does not exist yet, in one that you may write to."
        if error.errno in {errno.EBUSY, errno.EXDEV}:  # the root of a file system cannot be replaced
            advice = "Name a new directory inside it."
        raise InputError(f"No backup can be made at {place}: {error.strerror}.", advice=advice) from None
