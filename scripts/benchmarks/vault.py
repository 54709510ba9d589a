"""Sealing, storing, reading and erasing contacts, against the least that would do it and against what others use.

Tables: contacts in every way of storing them; one credential; blind-index look-ups; verifying. CPU time is compared
where the disk's part is the same for all, and wall time where waiting for the disk is the point.
"""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from typing import Final

from scripts.benchmarks.credential import compare_credentials
from scripts.benchmarks.lookup import measure_lookups
from scripts.benchmarks.postgres import postgres_server
from scripts.benchmarks.proof import measure_proof
from scripts.benchmarks.stores import compare_stores

_ROUNDS: Final = 7
_COUNTS: Final = (10_000, 100_000)
_LOOKED_UP: Final = 1_000_000
_PARTS: Final = ("contacts", "credential", "lookup", "proof")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of this subject."""
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help="how often each way is measured, in turn")
    parser.add_argument("--contacts", type=int, nargs="+", default=_COUNTS, metavar="N", help="how many to store")
    parser.add_argument("--rows", type=int, default=_LOOKED_UP, metavar="N", help="among how many to look up")
    parser.add_argument("--postgres", action="store_true", help="on a PostgreSQL server of our own instead of SQLite")
    parser.add_argument("--part", choices=_PARTS, action="append", help="what to measure; all if absent")


def measure(options: argparse.Namespace) -> None:
    """Measures and shows what was asked for."""
    parts = options.part or _PARTS
    with postgres_server() if options.postgres else nullcontext() as server:
        if "contacts" in parts:
            for count in options.contacts:
                compare_stores(count, options.rounds, server)
        if "credential" in parts:
            compare_credentials(options.rounds, server)
        if "lookup" in parts:
            measure_lookups(options.rows, server)
        if "proof" in parts:
            measure_proof(max(options.contacts), server)
