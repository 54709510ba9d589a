"""Pulling a large mailbox out of Exchange on premises: requests, speed, memory, exchangelib itself, further runs.

The simulator runs in a process of its own, on the second core where there is one, and counts what it is asked. Every
speed is that of a first run less a run that finds nothing, so that starting up and signing in are nobody's burden.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Final

from connectors.selection import FIELDS, PHOTO
from scripts.benchmarks import peers
from scripts.benchmarks.clocks import in_child, ratio
from scripts.benchmarks.simulated import Simulated, simulators
from scripts.benchmarks.tables import show

_CHANGED: Final = 100  # one contact of so many
_PHOTO_BYTES: Final = 100_000
_MOST_CHANGES: Final = 512  # that one SyncFolderItems may bring, by Microsoft's schema
_PER_RUN: Final = 3  # whose mailbox it is, its contact folder, the folders below
_CONTACT_FIELDS: Final = ",".join(name for name in FIELDS if name != PHOTO)

Figures = dict[str, Any]


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of this subject."""
    parser.add_argument("--contacts", type=int, default=20_000, metavar="N", help="in the mailbox")
    parser.add_argument("--photos", type=int, default=500, metavar="N", help="of 100 kB each, in another mailbox")
    parser.add_argument("--rounds", type=int, default=1, help="how often each way is measured, in turn")
    parser.add_argument("--auth", choices=["basic", "ntlm"], default="basic", help="how everybody signs in")
    parser.add_argument("--latency", type=int, default=0, metavar="MS", help="of every answer")
    parser.add_argument("--incremental", action="store_true", help="runs after the first: nothing or 1 %% changed")
    parser.add_argument("--no-peers", action="store_true", help="leave out exchangelib")
    parser.add_argument("--peer-env", type=Path, metavar="DIR", help="have exchangelib in an environment of its own")


def measure(options: argparse.Namespace) -> None:
    """Measures and shows what was asked for."""
    python = "" if options.no_peers or options.incremental else _peer_python(options.peer_env)
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        with simulators("onprem", 1, options.contacts, own_core=True) as simulated:
            bench = _Bench(simulated, Path(directory), _CONTACT_FIELDS, options.auth)
            simulated.delay_onprem(options.latency / 1000)
            if options.incremental:
                bench.incremental(options.contacts)
                return
            bench.contacts(options.contacts, options.rounds, python)
        if options.photos:
            with simulators("onprem", 1, options.photos, own_core=True) as simulated:
                _give_pictures(simulated, options.photos)
                bench = _Bench(simulated, Path(directory), f"display_name,{PHOTO}", options.auth)
                simulated.delay_onprem(options.latency / 1000)
                bench.photos(options.photos, options.rounds, python)


def floor(contacts: int) -> int:
    """Requests of a first pull of one folder: three for the run, and for each page its changes and their fields."""
    pages = max(1, -(-contacts // _MOST_CHANGES))
    return _PER_RUN + 2 * pages


@dataclass(frozen=True, slots=True)
class _First:
    """A first pull less one that finds nothing, and the requests of both as the simulator saw them."""

    figures: Figures
    requests: int
    idle_requests: int


class _Bench:
    """Pulls of one mailbox. Each vault is a directory of its own."""

    def __init__(self, simulated: Simulated, directory: Path, profile: str, auth: str) -> None:
        self._simulated = simulated
        self._directory = Path(tempfile.mkdtemp(dir=directory))
        (self._address,) = simulated.info["onprem"]["mailboxes"]
        self._info, self._exchanges = self._directory / "info.json", self._directory / "exchanges.json"
        self._info.write_text(json.dumps({**simulated.info, "profile": profile, "auth": auth}))
        # Not measured: the simulator fills the mailbox when it is first looked at, which it does now.
        in_child("pull_case", "record", "onprem", self._info, self._exchanges)

    def contacts(self, contacts: int, rounds: int, peer: str) -> None:
        """A first pull of all fields against a download that keeps nothing, and against exchangelib."""
        taken = self._measure(rounds, "contacts", peer)
        ours = self._firsts[0]
        least = floor(contacts)
        rows = [
            ["requests", f"{ours.requests:,}", ""],
            ["requests per 1,000 contacts", f"{ours.requests / contacts * 1000:.2f}", ""],
            ["floor", f"{least:,}", ""],
            ["requests to the floor", f"{ours.requests / least:.2f}", ""],
            ["requests of a run that finds nothing", f"{ours.idle_requests:,}", f"{_PER_RUN + 1}"],
        ]
        show(f"First pull of a mailbox of {contacts:,} contacts, as the simulator saw it", ["", "", "floor"], rows)
        _show_speeds(f"Its speed, all fields but the photo; median of {rounds}", "contacts", contacts, taken)

    def photos(self, photos: int, rounds: int, peer: str) -> None:
        """A first pull of a mailbox in which everybody has a picture."""
        taken = self._measure(rounds, "photos", peer)
        sent = f"{self._firsts[0].requests:,} requests"
        _show_speeds(f"{photos:,} photos of 100 kB, {sent}; median of {rounds}", "photos", photos, taken)

    def incremental(self, contacts: int) -> None:
        """Runs after the first: nothing changed, and one contact of a hundred did."""
        first, first_requests = self._pull("kept")
        idle, idle_requests = self._pull("kept")
        changed = self._change(contacts)
        after, after_requests = self._pull("kept")
        if (idle["changed"], after["changed"]) != (0, changed):
            raise SystemExit(f"{after['changed']} of {changed} changes arrived, {idle['changed']} before")
        rows = []
        for name, figures, sent in (
            ("first", first, first_requests),
            ("nothing changed", idle, idle_requests),
            (f"{changed:,} contacts changed", after, after_requests),
        ):
            shares = [f"{figures[clock] / first[clock]:.1%}" for clock in ("wall", "cpu")]
            row = [name, f"{sent:,}", f"{figures['wall']:.2f}", shares[0], f"{figures['cpu']:.2f}", shares[1]]
            rows.append([*row, f"{figures['peak_mib']:.0f}"])
        header = ["", "requests", "wall s", "share", "CPU s", "share", "peak MiB"]
        show(f"Further runs: a mailbox of {contacts:,} contacts", header, rows)

    def _measure(self, rounds: int, what: str, peer: str) -> dict[str, list[Figures]]:
        taken: dict[str, list[Figures]] = {"syncvault, into a vault": [], "bare, parsing nothing": []}
        self._firsts: list[_First] = []
        for number in range(rounds):
            self._firsts.append(self._first(f"first-{number}"))
            taken["syncvault, into a vault"].append(self._firsts[-1].figures)
            taken["bare, parsing nothing"].append(in_child("pull_case", "deaf", "onprem", self._info, self._exchanges))
            if peer:
                read = in_child("peer_exchangelib", what, self._info, self._address, python=peer)
                taken.setdefault("exchangelib, keeping nothing", []).append(read)
                ours = self._firsts[-1].figures[what]
                if read[what] != ours:
                    raise SystemExit(f"exchangelib read {read[what]} {what}, syncvault {ours}")
        return taken

    def _first(self, vault: str) -> _First:
        first, sent = self._pull(vault)
        idle, idle_sent = self._pull(vault)
        less = {clock: first[clock] - idle[clock] for clock in ("wall", "cpu")}
        counted = {"contacts": first["contacts"] - 1, "photos": first["photos"] - 1}  # one is the owner's own
        return _First({**first, **counted, **less}, sent, idle_sent)

    def _pull(self, vault: str) -> tuple[Figures, int]:
        before = sum(self._simulated.asked_onprem().values())
        figures = in_child("pull_case", "syncvault", "onprem", self._info, self._directory / vault)
        return figures, sum(self._simulated.asked_onprem().values()) - before

    def _change(self, contacts: int) -> int:
        """Changes one contact of every hundred; tells how many."""
        person = self._simulated.person(0)
        numbers = range(0, contacts, _CHANGED)
        for number in numbers:
            self._simulated.change_contact(person, number)
        return len(numbers)


def _peer_python(environment: Path | None) -> str:
    """The interpreter that has exchangelib in the version that syncvault uses; empty if it cannot be had."""
    if environment is None:
        return sys.executable
    python = environment / "bin" / "python"
    refusal = peers.install(python, f"exchangelib=={version('exchangelib')}")
    if refusal:
        print(f"  exchangelib is left out: {refusal}")
    return "" if refusal else str(python)


def _give_pictures(simulated: Simulated, photos: int) -> None:
    dice = random.Random(5)  # noqa: S311  (not for secrets: the same pictures in every run)
    person = simulated.person(0)
    for number in range(photos):
        simulated.set_picture(person, number, b"\xff\xd8\xff\xe0" + dice.randbytes(_PHOTO_BYTES - 4))


def _show_speeds(title: str, what: str, count: int, taken: dict[str, list[Figures]]) -> None:
    ours = _walls(taken["syncvault, into a vault"])
    wanted = {"exchangelib, keeping nothing": {"contacts": "8", "photos": "15"}[what], "bare, parsing nothing": "0.6"}
    rows = [_row(name, figures, ours, count, wanted.get(name, "")) for name, figures in taken.items()]
    header = ["", f"{what}/s", "syncvault is faster by", "wanted", "CPU µs each", "peak MiB"]
    show(title, header, rows)


def _row(name: str, figures: Sequence[Figures], ours: Sequence[float], count: int, wanted: str) -> list[str]:
    walls = _walls(figures)
    cpu = median(each["cpu"] for each in figures)
    faster = ratio(walls, ours) if wanted else ""
    peak = max(each["peak_mib"] for each in figures)
    return [name, f"{count / median(walls):,.0f}", faster, wanted, f"{cpu / count * 1e6:,.0f}", f"{peak:.0f}"]


def _walls(figures: Sequence[Figures]) -> list[float]:
    return [each["wall"] for each in figures]
