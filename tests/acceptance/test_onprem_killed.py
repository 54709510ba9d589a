"""`kill -9` in the middle of a pull from Exchange on premises, through the command line: the next run completes it."""

from __future__ import annotations

import subprocess
import threading

import pytest

from tests.acceptance.conftest import ROOT, Shell
from tests.simulators.company.cast import ANNA
from tests.simulators.onprem.mailboxes import primary_address
from tests.simulators.onprem.server import OnpremSimulator
from tests.watching import watched

pytestmark = pytest.mark.slow

CONTACTS = 1_200  # three pages of 512 at most


@pytest.mark.parametrize(("operation", "after"), [("SyncFolderItems", 1), ("GetItem", 2), ("GetItem", 4)])
def test_a_pull_that_is_killed_goes_on_where_it_was(
    vault: Shell, onprem: OnpremSimulator, monkeypatch: pytest.MonkeyPatch, operation: str, after: int
) -> None:
    for number in range(CONTACTS):
        onprem.company.add_contact(ANNA, surname=f"Contact {number:04}")
    vault.add_onprem(onprem)
    vault.did("source", "add", "house", "--mailbox", primary_address(onprem.company.people[ANNA]))
    reached = threading.Event()
    onprem.faults.http(503, operation=operation, after=after, retry_after=200, times=100)
    monkeypatch.setattr(onprem.faults, "draw", watched(onprem.faults.draw, reached))
    sync = subprocess.Popen(vault.line("sync", "house"), cwd=ROOT, stderr=subprocess.DEVNULL, env=vault.environment())
    assert reached.wait(60)
    sync.kill()
    assert sync.wait(60) == -9

    onprem.faults.clear()
    (done,) = vault.did("sync", "house", "--json").items
    assert (done["status"], done["failures"]) == ("ok", [])
    box = onprem.company.box_of(ANNA)
    held = vault.did("contact", "list", "house", "--json").items
    assert len(held) == 1 + sum(not item.private for folder in box.folders.values() for item in folder.items.values())
    again = vault.did("sync", "house", "--json").items[0]
    assert (again["added"], again["changed"], again["removed"]) == (0, 0, 0)
