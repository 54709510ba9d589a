"""What others use for Graph, reading the same mailboxes: installed into an environment of their own, never into ours.

They are told what they could only find out by asking more: who has a photo. Each reads four mailboxes at a time, as the
pull does, in pages as large as it can ask for, and keeps nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from scripts.benchmarks.clocks import in_child
from scripts.benchmarks.simulated import Simulated

_PEERS: Final = {"O365": ("peer_o365", "O365==2.1.10"), "msgraph-sdk": ("peer_msgraph", "msgraph-sdk==1.65.0")}
_INSTALLING_SECONDS: Final = 900

Read = Callable[[], dict[str, Any]]


@contextmanager
def ready(
    simulated: Simulated, mailboxes: int, environment: Path | None
) -> Iterator[tuple[dict[str, Read], list[str]]]:
    """Has every peer ready to read so many mailboxes; and a line for each that could not be had.

    Args:
        simulated: Whose mailboxes.
        mailboxes: How many, from the first.
        environment: Where the packages are kept for another time; None throws them away.
    """
    there, missing = {}, []
    with tempfile.TemporaryDirectory(prefix="bench-peers-") as directory:
        task = Path(directory) / "task.json"
        task.write_text(json.dumps({**simulated.info, "people": [_told(simulated, n) for n in range(mailboxes)]}))
        for name, (module, package) in _PEERS.items():
            python = (environment or Path(directory) / "env") / "bin" / "python"
            if refusal := install(python, package):
                missing.append(f"{name} is left out: {refusal}")
            else:
                there[name] = partial(in_child, module, task, python=str(python))
        yield there, missing


def _told(simulated: Simulated, number: int) -> dict[str, Any]:
    person = simulated.person(number)
    items = [item for folder in person["mailbox"]["folders"] for item in folder["items"]]
    return {
        "id": person["object_id"],
        "mail": person["mail"],
        "photo": bool(person["photo_size"]),
        "pictured": [item["email_addresses"][0] for item in items if item["photo_size"]],
    }


def install(python: Path, package: str) -> str:
    """Sees to it that a package is in an environment; gives why not, empty if it is."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    commands = [[str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", package]]
    if not python.exists():
        commands.insert(0, [sys.executable, "-m", "venv", str(python.parent.parent)])
    for command in commands:
        try:
            subprocess.run(command, check=True, env=environment, capture_output=True, timeout=_INSTALLING_SECONDS)
        except subprocess.TimeoutExpired:
            return f"{package} took too long to install"
        except subprocess.CalledProcessError:
            return f"{package} cannot be installed here"
    return ""
