"""The systemd journal: a place outside the vault that remembers where the audit trail stood.

Written in the journal's native protocol (systemd, "Native Journal Protocol"): one datagram of `NAME=value` lines. Read
with `journalctl`, because the files' format is not for others to parse.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from syncvault.hygiene import without_secrets

SOCKET: Final = Path("/run/systemd/journal/socket")
IDENTIFIER: Final = "syncvault"
_PRIORITY_INFO: Final = "6"


class JournalUnreadable(Exception):
    """The journal cannot be read here; says why in a clause."""


def post(message: str, fields: Mapping[str, str], *, path: Path | None = None) -> bool:
    """Sends one entry; where there is no journal, or it is not listening, nothing happens.

    Args:
        message: What a person reads, in one line.
        fields: What stands beside it; names in capitals, values in one line.
        path: The journal's socket.

    Returns:
        Whether it was sent.
    """
    whole = {"MESSAGE": message, "PRIORITY": _PRIORITY_INFO, "SYSLOG_IDENTIFIER": IDENTIFIER, **fields}
    datagram = "".join(f"{name}={value}\n" for name, value in whole.items()).encode()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)  # a journal that hangs holds up nobody
            sender.sendto(datagram, str(path or SOCKET))
    except OSError:
        return False
    return True


def read(matches: Sequence[str], fields: Sequence[str], *, program: str = "journalctl") -> Iterator[dict[str, str]]:
    """Entries, oldest first, one at a time, each with `__REALTIME_TIMESTAMP` (microseconds) and the fields wanted.

    Args:
        matches: `NAME=value`; one name given twice means either value.
        fields: Which fields.
        program: What reads the journal.

    Raises:
        JournalUnreadable: It cannot be read.
    """
    command = [program, "--quiet", "--no-pager", "--output=json", f"--output-fields={','.join(fields)}", *matches]
    try:
        reader = subprocess.Popen(  # noqa: S603  (a list without a shell, from no stranger)
            command,
            env=without_secrets(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
    except OSError as error:
        raise JournalUnreadable(f"{program} cannot be run: {error.strerror}") from None
    with reader:
        assert reader.stdout is not None  # noqa: S101  (it is a pipe)
        try:
            for line in reader.stdout:
                yield _entry(line)
        except ValueError:
            reader.kill()
            raise JournalUnreadable(f"{program} gave something else than entries") from None
        except GeneratorExit:
            reader.kill()
            raise
    if reader.returncode:
        raise JournalUnreadable(f"{program} ended with {reader.returncode}")


def _entry(line: str) -> dict[str, str]:
    found: Any = json.loads(line)
    if not isinstance(found, dict):
        raise ValueError("no entry")  # noqa: TRY004  (as for what is no JSON)
    return {name: value for name, value in found.items() if isinstance(value, str)}  # a field given twice is a list
