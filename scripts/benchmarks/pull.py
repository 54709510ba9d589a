"""Pulling contacts and photos out of the simulators into a new vault, against a download that keeps nothing.

The download sends the very requests of a pull again, as many at a time, through `requests` and a JSON (on-premises:
XML) parser. The simulators run in a process of their own, whose time does not count as CPU time of either.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from statistics import median
from typing import Any, Final

from scripts.benchmarks.clocks import in_child, ratio
from scripts.benchmarks.simulated import simulators
from scripts.benchmarks.tables import show

_WAYS: Final = ("bare", "syncvault")
_ONPREM_PEOPLE: Final = 50  # the simulator names no more mailboxes
_COMPANIES: Final = ((500, 20), (50, 200))  # people, contacts of each: small pages, full pages


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of this subject."""
    parser.add_argument("--rounds", type=int, default=5, help="how often each way is measured, in turn")
    parser.add_argument("--people", type=int, help="measure one company of that size instead")
    parser.add_argument("--contacts", type=int, default=20, help="contacts of each person")
    parser.add_argument("--side", choices=("online", "onprem"), action="append", help="what to measure; both if absent")


def measure(options: argparse.Namespace) -> None:
    """Pulls from companies of several shapes and shows what it took."""
    companies = [(options.people, options.contacts)] if options.people else _COMPANIES
    for people, contacts in companies:
        for side in options.side or ("online", "onprem"):
            _measure(side, min(people, _ONPREM_PEOPLE) if side == "onprem" else people, contacts, options.rounds)


def _measure(side: str, people: int, contacts: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, simulators(side, people, contacts) as simulated:
        info_file, exchanges = Path(directory) / "info.json", Path(directory) / "exchanges.json"
        info_file.write_text(json.dumps(simulated.info))
        recorded = in_child("pull_case", "record", side, info_file, exchanges)
        taken: dict[str, list[dict[str, Any]]] = {way: [] for way in _WAYS}
        for number in range(rounds):
            for way, figures in taken.items():
                place = exchanges if way == "bare" else Path(directory) / f"vault-{number}"
                figures.append(in_child("pull_case", way, side, info_file, place))
    bare = taken["bare"]
    title = (
        f"{side}: {recorded['contacts']:,} contacts (cards included) of {people} mailboxes,"
        f" {recorded['photos']:,} photos: {bare[0]['requests']:,} requests, {bare[0]['bytes'] / 2**20:.1f} MiB;"
        f" median of {rounds} rounds"
    )
    header = [
        "", "CPU s", "speed to bare (CPU)", "wall s", "speed to bare (wall)", "best to best (wall)", "contacts/s",
        "peak MiB",
    ]  # fmt: skip
    show(title, header, [_row(way, figures, bare, recorded["contacts"]) for way, figures in taken.items()])


def _row(way: str, figures: list[dict[str, Any]], bare: list[dict[str, Any]], contacts: int) -> list[str]:
    row = [way]
    for clock in ("cpu", "wall"):
        times = [each[clock] for each in figures]
        row += [f"{median(times):.2f}", ratio([each[clock] for each in bare], times)]
    # On a machine with other work the best rounds are those with the least of it.
    best = min(each["wall"] for each in bare) / min(each["wall"] for each in figures)
    speed = contacts / median(each["wall"] for each in figures)
    return [*row, f"{best:.2f}", f"{speed:,.0f}", f"{max(each['peak_mib'] for each in figures):.0f}"]
