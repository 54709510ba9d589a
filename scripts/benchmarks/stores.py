"""Storing, reading and deleting a tenant's contacts, in every way that is there, a process for each.

The payloads are serialised beforehand, a page of 200 contacts is a transaction, and everything is read back in pages
with all columns. CPU time counts: what the disk takes for a commit is the same for all. On PostgreSQL it is that of
the client; the server's own work is the same for all, too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from scripts.benchmarks.clocks import in_child, ratio
from scripts.benchmarks.entries import PAGE
from scripts.benchmarks.postgres import drop_schemas
from scripts.benchmarks.tables import show
from scripts.benchmarks.vaults import make_vault_to_fill
from scripts.benchmarks.ways import WAYS

_SLOW_ROUNDS: Final = 2
_BASE: Final = "limit"

Figures = dict[str, Any]


def compare_stores(count: int, rounds: int, server: str | None) -> None:
    """Shows what `count` contacts take; `server` is a PostgreSQL server to store them in."""
    taken: dict[str, list[Figures]] = {name: [] for name, way in WAYS.items() if way.is_there}
    if server is not None:
        taken = {name: figures for name, figures in taken.items() if not WAYS[name].is_file}
    for number in range(rounds):
        for name, figures in taken.items():
            if number < _SLOW_ROUNDS or not WAYS[name].is_slow:
                figures.append(_measure_once(name, count, server))
    missing = [name for name, way in WAYS.items() if not way.is_there]
    _report(count, taken, missing, "SQLite" if server is None else "PostgreSQL")


def _measure_once(way: str, count: int, server: str | None) -> Figures:
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        make_vault_to_fill(Path(directory), max(1, count // PAGE), server)
        figures = in_child("vault_case", way, directory, count)
    if server is not None:
        drop_schemas(server)
    return figures


def _report(count: int, taken: dict[str, list[Figures]], missing: Sequence[str], database: str) -> None:
    rows: list[list[str]] = []
    for way, figures in taken.items():
        row = [way]
        for deed in ("insert", "read"):
            cpu, wall, base = (
                [each[f"{deed}_{clock}"] for each in source]
                for clock, source in (("cpu", figures), ("wall", figures), ("cpu", taken[_BASE][: len(figures)]))
            )
            row += [f"{median(cpu) / count * 1e6:.1f}", f"{median(wall) / count * 1e6:.1f}", ratio(base, cpu)]
        row += [f"{median(each[f'delete_{clock}'] for each in figures):.2f}" for clock in ("cpu", "wall")]
        rows.append([*row, f"{max(each['peak_mib'] for each in figures):.0f}"])
    header = [
        "", "insert CPU µs", "wall µs", "share of limit (CPU)", "read CPU µs", "wall µs", "share of limit (CPU)",
        "delete CPU s", "wall s", "peak MiB",
    ]  # fmt: skip
    rows += [[name, "not installed", *[""] * (len(header) - 2)] for name in missing]
    rounds = len(taken[_BASE])
    show(f"{database}: {count:,} contacts of about 1 KiB, µs per contact, median of {rounds} rounds", header, rows)
