"""When the faults of the on-premises simulator strike, and how they are armed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import requests

from tests.simulators.onprem import fault_modes
from tests.simulators.onprem.blows import Asked
from tests.simulators.onprem.fault_modes import MODES
from tests.simulators.onprem.faults import NOTHING, Faults

ROOT = Path(__file__).parents[2]
ANNS = "ann@example.com"


def asked(number: int, operation: str = "GetItem", mailbox: str = ANNS) -> Asked:
    return Asked(operation, mailbox, str(number).encode(), (f"id-{number}",), version="Exchange2016")


def struck(faults: Faults, asks: list[Asked]) -> list[int]:
    found = []
    for number, ask in enumerate(asks):
        with faults.taken(ask) as blow:
            found += [number] if blow is not NOTHING else []
    return found


def test_the_table_names_every_mode() -> None:
    listed = re.findall(r"^\| ([a-z][a-z0-9-]+) \|", fault_modes.__doc__ or "", re.MULTILINE)
    assert listed[1:] == list(MODES)  # the first is the head of the table


def test_a_rate_is_kept_and_a_seed_repeats_it() -> None:
    def chosen(seed: int) -> list[int]:
        faults = Faults(seed)
        faults.arm("http-500", rate=0.1)
        return struck(faults, [asked(number) for number in range(2_000)])

    assert 140 < len(chosen(1)) < 260
    assert chosen(1) == chosen(1) != chosen(2)


def test_nothing_is_struck_more_than_twice_running_unless_always() -> None:
    faults = Faults(1)
    for name in ("http-500", "busy", "reset"):
        faults.arm(name)
    assert struck(faults, [asked(1)] * 6) == [0, 1, 3, 4]
    faults.arm("http-502", always=True)
    faults.disarm("http-500")
    assert struck(faults, [asked(2)] * 6) == list(range(6))


def test_a_mailbox_or_item_that_is_chosen_stays_so() -> None:
    faults = Faults(3)
    faults.arm("mailbox-moving", rate=0.5)
    people = [asked(number, mailbox=f"{number}@example.com") for number in range(40)]
    assert 5 < len(struck(faults, people)) < 35
    assert struck(faults, people) == struck(faults, people)
    assert struck(faults, [asked(1, mailbox="")] * 3) == []
    faults.clear()
    faults.arm("item-denied", rate=0.5)
    items = [asked(number) for number in range(40)]
    assert 5 < len(struck(faults, items)) < 35
    assert struck(faults, items) == struck(faults, items)


def test_who_comes_early_is_told_to_wait_twice_as_long() -> None:
    now = 100.0
    faults = Faults(1, clock=lambda: now)
    mode = faults.arm("busy", back_off_ms=5_000, always=True)
    waits = []
    for _ in range(2):
        with faults.taken(asked(1)) as blow:
            waits.append(blow.asked_seconds)
    assert waits == [5, 10]
    now += 10
    with faults.taken(asked(1)) as blow:
        assert blow.asked_seconds == 5
    assert mode.asked_seconds == 20


def test_faults_can_be_armed_on_the_command_line_and_while_it_runs(tmp_path: Path, plain: requests.Session) -> None:
    options = [
        "--onprem",
        "0",
        "--faults",
        "busy:0.25,html:always",
        "--seed",
        "7",
        "--directory",
        str(tmp_path / "run"),
    ]
    command = [sys.executable, "-m", "tests.simulators", *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        shown = json.loads(process.stdout.readline())
        plain.verify, control = shown["ca_file"], shown["control_url"]
        told = plain.get(f"{control}/faults").json()
        assert plain.post(f"{control}/faults", json={"do": "arm", "name": "item-denied", "rate": 0.5}).ok
        assert plain.post(f"{control}/faults", json={"do": "disarm", "name": "busy"}).ok
        assert plain.post(f"{control}/faults", json={"do": "arm", "name": "hailstorm"}).status_code == 400
        later = plain.get(f"{control}/faults?at=onprem").json()
        process.terminate()
    assert (told["seed"], told["known"]) == (7, list(MODES))
    assert [(mode["name"], mode["rate"], mode["always"]) for mode in told["modes"]] == [
        ("busy", 0.25, False),
        ("html", 1.0, True),
    ]
    assert [mode["name"] for mode in later["modes"]] == ["html", "item-denied"]


def test_a_fault_that_nobody_knows_is_refused_at_once() -> None:
    command = [sys.executable, "-m", "tests.simulators", "--onprem", "0", "--faults", "busy,throttled-seconds"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "no fault throttled-seconds" in done.stderr
