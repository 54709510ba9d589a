"""How long the command takes to say something: `--version` and `--help`, beside a Python that does nothing."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final

from scripts.benchmarks.tables import show

_SYNCVAULT: Final = str(Path(sys.executable).with_name("syncvault"))
_COMMANDS: Final = {
    "python -c pass": ([sys.executable, "-c", "pass"], None),
    "syncvault --version": ([_SYNCVAULT, "--version"], 30),
    "syncvault --help": ([_SYNCVAULT, "--help"], 150),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of this subject."""
    parser.add_argument("--rounds", type=int, default=21, help="how often each command is run, in turn")


def measure(options: argparse.Namespace) -> None:
    """Runs the commands and shows what they took."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in _COMMANDS}
    for _ in range(options.rounds):
        for name, (command, _limit) in _COMMANDS.items():
            taken[name].append(_run(command))
    rows = []
    for name, (_command, limit) in _COMMANDS.items():
        cpu, wall = ([1000 * each for each in column] for column in zip(*taken[name], strict=True))
        wanted = f"{limit}" if limit else ""
        rows.append([name, *(f"{value:.0f}" for value in (median(cpu), median(wall), min(wall))), wanted])
    show(f"ms, {options.rounds} rounds", ["", "CPU", "wall", "wall, best", "wall wanted"], rows)


def _run(command: Sequence[str]) -> tuple[float, float]:
    """CPU and wall seconds of a process."""
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as running:
        _, status, usage = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {running.returncode}")
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - began
