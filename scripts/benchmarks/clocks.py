"""What is measured: CPU time of the process (all its threads), wall time, and the most memory it ever had."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any


@dataclass(slots=True)
class Watch:
    """Adds up the time spent inside `running`."""

    cpu: float = 0.0
    wall: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Runs the clocks during the block."""
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.cpu += time.process_time() - cpu
            self.wall += time.perf_counter() - wall


def peak_mib() -> float:
    """The most memory this process has had resident; what rusage says may be that of the one that started it."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def in_child(module: str, *arguments: object, python: str = sys.executable) -> dict[str, Any]:
    """Runs a module of this package in a process of its own and returns the JSON that it prints."""
    command = [python, "-m", f"scripts.benchmarks.{module}", *map(str, arguments)]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return found


def ratio(bases: Sequence[float], ours: Sequence[float]) -> str:
    """How fast ours is against the base (above 1: faster): the median of the rounds, and their range."""
    ratios = [base / own for base, own in zip(bases, ours, strict=True)]
    return f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
