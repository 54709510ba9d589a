"""A command whose standard streams are closed or full still ends in an exit code, never in a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # starts the program for each


def run_in_shell(line: str) -> subprocess.CompletedProcess[str]:
    """Runs a line of shell in which `"$0" -m syncvault` is the command line."""
    done = subprocess.run(["/bin/sh", "-c", line, sys.executable], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stdout + done.stderr
    return done


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("arguments", "code"), [("--version", 0), ("--home /nowhere status --json", 10)])
def test_closed_streams_change_no_exit_code(arguments: str, code: int, closed: str) -> None:
    assert run_in_shell(f'"$0" -m syncvault {arguments} {closed}').returncode == code


def test_what_is_read_from_a_closed_stream_is_empty(tmp_path: Path) -> None:
    line = f'"$0" -m syncvault --home {tmp_path} --passphrase-file - init --root-key passphrase --json <&-'
    assert '"The secret given by --passphrase-file is empty."' in run_in_shell(line).stdout


def test_a_full_disk_behind_stdout_is_told_on_stderr() -> None:
    done = run_in_shell('"$0" -m syncvault --home /nowhere status --json >/dev/full')
    assert done.returncode == 10
    assert "No space left on device" in done.stderr


def test_a_full_disk_behind_both_is_told_by_the_exit_code() -> None:
    assert run_in_shell('"$0" -m syncvault --help >/dev/full 2>/dev/full').returncode == 1
