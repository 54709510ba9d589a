"""Sealing, storing and reading contacts, against one AES-GCM key with plain sqlite3, and against SQLCipher.

The payloads are serialised beforehand, a page of 200 contacts is a transaction, and everything is read back in
pages of 256 with all columns. CPU time counts: what the disk takes for a commit is the same for all.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median
from typing import Any, Final

from scripts.benchmarks.clocks import in_child, ratio
from scripts.benchmarks.entries import PAGE
from scripts.benchmarks.tables import show
from scripts.benchmarks.vaults import make_vault_to_fill
from scripts.benchmarks.ways import WAYS

_ROUNDS: Final = 7
_COUNTS: Final = (10_000, 100_000)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help="how often each way is measured, in turn")
    parser.add_argument("--contacts", type=int, nargs="+", default=_COUNTS, metavar="N", help="how many to store")


def measure(options: argparse.Namespace) -> None:
    for count in options.contacts:
        taken: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
        for _ in range(options.rounds):
            for way, figures in taken.items():
                figures.append(_measure_once(way, count))
        _report(count, taken)


def _measure_once(way: str, count: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        make_vault_to_fill(Path(directory), max(1, count // PAGE))
        return in_child("vault_case", way, directory, count)


def _report(count: int, taken: dict[str, list[dict[str, Any]]]) -> None:
    rows = []
    for way, figures in taken.items():
        row: list[object] = [way]
        for deed in ("insert", "read"):
            cpu = [each[f"{deed}_cpu"] for each in figures]
            wall = [each[f"{deed}_wall"] for each in figures]
            limit = [each[f"{deed}_cpu"] for each in taken["limit"]]
            row += [f"{median(cpu) / count * 1e6:.1f}", f"{median(wall) / count * 1e6:.1f}", ratio(limit, cpu)]
        rows.append([*row, f"{max(each['peak_mib'] for each in figures):.0f}"])
    header = [
        "", "insert CPU µs", "wall µs", "share of limit (CPU)", "read CPU µs", "wall µs", "share of limit (CPU)",
        "peak MiB",
    ]  # fmt: skip
    show(f"{count:,} contacts of about 1 KiB, µs per contact, median of {len(rows and figures)} rounds", header, rows)
