"""Which other processes have a file open, or locked: what to say when one keeps us waiting.

From proc_pid_fd(5) and proc_pid_fdinfo(5).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

_MOST_NAMED: Final = 5


def named(files: Iterable[Path], *, locked: bool = False) -> str:
    """The other processes that have any of the files open, as far as this one may see: number and program.

    Args:
        files: Which.
        locked: Whether to name only those that hold a lock on what they have open.
    """
    wanted = {os.path.realpath(file) for file in files}
    found = [f"process {pid} ({name})" for pid, name in _processes_with(wanted, locked=locked)]
    if not found:
        return "this process itself, or one of another user"
    return ", ".join(found[:_MOST_NAMED]) + (" and others" if len(found) > _MOST_NAMED else "")


def _processes_with(files: set[str], *, locked: bool) -> Iterator[tuple[int, str]]:
    for process in sorted(Path("/proc").glob("[0-9]*"), key=lambda each: int(each.name)):
        if int(process.name) == os.getpid():
            continue
        with suppress(OSError):  # it has ended meanwhile, or is another user's
            held = (one.name for one in (process / "fd").iterdir() if _target(one) in files)
            if any(not locked or _is_locked(process, descriptor) for descriptor in held):
                # The program's name and not its arguments: those are nobody's business.
                yield int(process.name), (process / "comm").read_text(errors="replace").strip()


def _is_locked(process: Path, descriptor: str) -> bool:
    try:
        return "\nlock:" in (process / "fdinfo" / descriptor).read_text()
    except OSError:  # closed meanwhile
        return False


def _target(descriptor: Path) -> str:
    try:
        return str(descriptor.readlink())
    except OSError:
        return ""
