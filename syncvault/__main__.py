"""The `syncvault` command. Answers `--version` before anything heavy is imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from syncvault import __version__


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments == ["--version"]:
        sys.stdout.write(f"syncvault {__version__}\n")
        return 0
    from syncvault.cli.app import run  # noqa: PLC0415  (--version must not pay for the command line)

    os.umask(0o077)  # whatever is written is the owner's alone
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
