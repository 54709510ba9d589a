"""Pulling a large directory out of Graph: requests, speed, memory, what others use, further runs, faults.

The simulator runs in a process of its own, on the second core where there is one, and counts what it is asked. Without
a flag the first pull is measured, against a download that keeps nothing and against what others use for Graph: with
answers that come at once, which no network gives and which shows what the machine has to do, and with answers that take
a little while, which is what a pull is made for.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from scripts.benchmarks import peers
from scripts.benchmarks.clocks import in_child, ratio
from scripts.benchmarks.floor import Asked, first_floor, idle_floor
from scripts.benchmarks.simulated import Simulated, simulators
from scripts.benchmarks.tables import show

_CONTACTS: Final = 20
_PEERS_BEAR: Final = 200  # mailboxes
_AT_ONCE: Final = 4  # lots of mailboxes that a pull reads side by side
_CHANGED: Final = 100  # one contact of so many
_RATE: Final = 0.1
_LATENCIES: Final = (0, 50)  # ms
_FAULTS: Final = ("throttled-seconds", "server-error")

Figures = dict[str, Any]


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of this subject."""
    parser.add_argument("--people", type=int, default=10_000, metavar="N", help="mailboxes, of 20 contacts each")
    parser.add_argument("--rounds", type=int, default=1, help="how often the first pull is measured, in turn with bare")
    parser.add_argument("--latency", type=int, nargs="+", default=_LATENCIES, metavar="MS", help="of every answer")
    parser.add_argument("--incremental", action="store_true", help="runs after the first: nothing or 1 %% changed")
    parser.add_argument("--faults", action="store_true", help="a first pull of which requests are throttled or fail")
    parser.add_argument("--rate", type=float, default=_RATE, help="of each kind of fault")
    parser.add_argument("--no-peers", action="store_true", help="leave out what others use")
    parser.add_argument("--peer-env", type=Path, metavar="DIR", help="keep the peers' packages here, for the next time")


def measure(options: argparse.Namespace) -> None:
    """Measures and shows what was asked for."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        simulators("online", options.people, _CONTACTS, own_core=True) as simulated,
    ):
        bench = _Bench(simulated, Path(directory))
        if options.incremental:
            bench.incremental()
        if options.faults:
            bench.faults(options.latency, options.rate)
        if options.incremental or options.faults:
            return
        speeds = bench.first(options.latency, options.rounds)
        if not options.no_peers:
            _compare_peers(simulated, min(options.people, _PEERS_BEAR), speeds, options.peer_env)


@dataclass(frozen=True, slots=True)
class _Pulled:
    """A pull as measured in its process, with what the simulator saw of it."""

    figures: Figures
    asked: Asked


class _Bench:
    """Pulls of one company. Each vault is a directory of its own."""

    def __init__(self, simulated: Simulated, directory: Path) -> None:
        self._simulated = simulated
        self._directory = directory
        self._info = directory / "info.json"
        self._info.write_text(json.dumps(simulated.info))
        self._exchanges = directory / "exchanges.json"
        # Not measured: the simulator fills mailboxes when they are first looked at, which it does now.
        in_child("pull_case", "record", "online", self._info, self._exchanges)
        self._holdings = simulated.holdings()
        company = "{mailboxes:,} mailboxes, {contacts:,} contacts, {pictures:,} with a picture".format(**self._holdings)
        self._company = f"{company}; {self._holdings['portraits']:,} people with one"

    def first(self, latencies: Sequence[int], rounds: int) -> dict[int, float]:
        """A first pull against bare; gives its contacts a second by the latency."""
        pulls: dict[int, list[_Pulled]] = {latency: [] for latency in latencies}
        bares: dict[int, list[Figures]] = {latency: [] for latency in latencies}
        for number in range(rounds):
            for latency in latencies:
                self._simulated.delay(latency / 1000)
                bares[latency].append(in_child("pull_case", "bare", "online", self._info, self._exchanges))
                pulls[latency].append(self._pull(f"first-{number}-{latency}"))
                shutil.rmtree(self._directory / f"first-{number}-{latency}")  # one of 10,000 mailboxes takes 600 MB
        self._simulated.delay(0)
        self._show_requests([each for taken in pulls.values() for each in taken])
        taken = {latency: [each.figures for each in pulls[latency]] for latency in latencies}
        rows = []
        for latency, ours in taken.items():
            row = [f"{latency} ms", f"{_speed(ours):,.0f}"]
            for clock in ("wall", "cpu"):
                base, own = _column(bares[latency], clock), _column(ours, clock)
                row += [f"{median(own):.1f}", f"{median(base):.1f}", ratio(base, own)]
            rows.append([*row, f"{max(_column(ours, 'peak_mib')):.0f}"])
        header = [
            "latency", "contacts/s", "wall s", "bare", "speed to bare (wanted: 0.7)", "CPU s", "bare", "speed to bare",
            "peak MiB (wanted: below 200)",
        ]  # fmt: skip
        show(f"Speed of a first pull, cards counted as contacts; median of {rounds}", header, rows)
        return {latency: _speed(ours) for latency, ours in taken.items()}

    def _show_requests(self, pulls: Sequence[_Pulled]) -> None:
        sent, wire = (max(getattr(each.asked, kind) for each in pulls) for kind in ("requests", "wire"))
        disagreeing = [each for each in pulls if each.asked.requests != each.figures["requests"]]
        floor = first_floor(self._holdings)
        rows = [
            ["requests", f"{sent:,}", ""],
            ["as the pull counted them", "otherwise" if disagreeing else "the same", "the same"],
            ["requests a mailbox", f"{sent / self._holdings['mailboxes']:.2f}", ""],
            ["floor", f"{floor:,}", ""],
            ["requests to the floor", f"{sent / floor:.3f}", "1.2 at most"],
            ["over the wire", f"{wire:,}", ""],
            ["over the wire to full batches of the floor", f"{wire / (floor / 20):.2f}", "3 at most"],
        ]
        show(f"First pull, as the simulator saw it: {self._company}", ["", "", "wanted"], rows)

    def incremental(self) -> None:
        """Runs after the first: nothing changed, and one contact of a hundred did."""
        first = self._pull("kept")
        idle = self._pull("kept")
        changed = self._change()
        after = self._pull("kept")
        if (idle.figures["changed"], after.figures["changed"]) != (0, changed):
            raise SystemExit(
                f"{after.figures['changed']} of {changed} changes arrived, {idle.figures['changed']} before"
            )
        floor = idle_floor(self._holdings)
        runs = {"first": first, "nothing changed": idle, f"{changed:,} contacts changed": after}
        rows = [
            [name, *_shares(run, first), f"{run.asked.requests / floor:.2f}", f"{run.figures['peak_mib']:.0f}"]
            for name, run in runs.items()
        ]
        header = [
            "", "requests", "share of the first", "over the wire", "wall s", "share", "CPU s", "share",
            f"to the idle floor ({floor:,})", "peak MiB",
        ]  # fmt: skip
        show(f"Further runs: {self._company}", header, rows)

    def faults(self, latencies: Sequence[int], rate: float) -> None:
        """A first pull through faults, against one without: the same must be stored."""
        rows = []
        for latency in latencies:
            self._simulated.delay(latency / 1000)
            calm = self._pull(f"calm-{latency}")
            self._simulated.arm(dict.fromkeys(_FAULTS, rate))
            through = self._pull(f"faults-{latency}")
            struck, seconds = self._simulated.struck()
            self._simulated.arm({})
            held = [in_child("contents", self._directory / f"{name}-{latency}") for name in ("calm", "faults")]
            if held[0] != held[1]:
                raise SystemExit(f"without faults the vault holds {held[0]}, with them {held[1]}")
            before, wall = calm.figures["wall"], through.figures["wall"]
            waits = seconds / _AT_ONCE
            row = [f"{latency} ms", f"{through.asked.wire:,}", f"{struck:,}", f"{before:.1f}", f"{wall:.1f}"]
            row += [f"{seconds:,}", f"{waits:.1f}", f"{(wall - waits) / before:.2f}"]
            rows.append([*row, f"{through.figures['peak_mib']:.0f}"])
        self._simulated.delay(0)
        header = [
            "latency", "over the wire", "of which struck", "wall s without", "wall s", "s asked to wait",
            f"{_AT_ONCE} at a time", "time beyond that (wanted: 2)", "peak MiB",
        ]  # fmt: skip
        kinds = " and ".join(f"{name} {rate:.0%}" for name in _FAULTS)
        show(f"Faults ({kinds}), the same stored as without: {self._company}", header, rows)

    def _pull(self, vault: str) -> _Pulled:
        before = Asked.of(self._simulated)
        figures = in_child("pull_case", "syncvault", "online", self._info, self._directory / vault)
        return _Pulled(figures, Asked.of(self._simulated) - before)

    def _change(self) -> int:
        """Changes one contact of every hundred, not always the same of its mailbox; tells how many."""
        begins = range(0, self._holdings["contacts"], _CHANGED)
        for turn, begin in enumerate(begins):
            number = begin + turn % _CONTACTS
            person = self._simulated.person(number // _CONTACTS)
            self._simulated.change_contact(person, number % _CONTACTS)
        return len(begins)


def _compare_peers(simulated: Simulated, mailboxes: int, speeds: Mapping[int, float], environment: Path | None) -> None:
    rows = []
    with peers.ready(simulated, mailboxes, environment) as (there, missing):
        for latency, ours in speeds.items():
            simulated.delay(latency / 1000)
            rows.append([f"{latency} ms: syncvault, into a vault", f"{ours:,.0f}", "", "", ""])
            for name, read in there.items():
                figures = read()
                contacts = figures["contacts"]
                speed = contacts / figures["wall"]
                row = [f"{latency} ms: {name}", f"{speed:,.0f}", f"{ours / speed:.1f}"]
                rows.append([*row, f"{figures['cpu'] / contacts * 1e6:,.0f}", f"{contacts:,}, {figures['photos']:,}"])
    header = ["", "contacts/s", "syncvault is faster (wanted: 5)", "CPU µs each", "contacts, photos"]
    show(f"What others use, reading {mailboxes:,} mailboxes and keeping nothing", header, rows)
    for line in missing:
        print(f"  {line}")


def _speed(figures: Sequence[Figures]) -> float:
    return float(figures[0]["contacts"]) / _middle(figures, "wall")


def _column(figures: Sequence[Figures], name: str) -> list[float]:
    return [each[name] for each in figures]


def _middle(figures: Sequence[Figures], name: str) -> float:
    return median(_column(figures, name))


def _shares(run: _Pulled, first: _Pulled) -> list[str]:
    sent = run.asked.requests
    row = [f"{sent:,}", f"{sent / first.asked.requests:.1%}", f"{run.asked.wire:,}"]
    for clock in ("wall", "cpu"):
        row += [f"{run.figures[clock]:.1f}", f"{run.figures[clock] / first.figures[clock]:.1%}"]
    return row
