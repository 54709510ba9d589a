"""The `syncvault` command. Answers `--version` before anything heavy is imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from syncvault import __version__


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit code.

    Without `argv` it is the process's own, which then shuts itself to others before it reads anything secret.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    _open_closed_streams()
    if arguments == ["--version"]:
        sys.stdout.write(f"syncvault {__version__}\n")
        return 0
    from syncvault.cli.app import run  # noqa: PLC0415  (--version must not pay for the command line)

    os.umask(0o077)  # whatever is written is the owner's alone
    return run(arguments, owns_process=argv is None)


def _open_closed_streams() -> None:
    """Gives a process started without a standard stream an empty one, so that no database takes its place."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115  (it lives as long as the process)


if __name__ == "__main__":
    sys.exit(main())
