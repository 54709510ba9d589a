"""Ctrl-C, or SIGTERM, while a server asks for patience or is silent: over in a moment, and said so."""

from __future__ import annotations

import signal
import subprocess
import threading
import time

import pytest

from tests.acceptance.conftest import ROOT, Shell
from tests.silence import fallen_silent
from tests.simulators.company.cast import ANNA
from tests.simulators.online.server import OnlineSimulator
from tests.simulators.onprem.mailboxes import primary_address
from tests.simulators.onprem.server import OnpremSimulator
from tests.watching import watched

pytestmark = pytest.mark.slow

LATER = 200


def interrupted(
    shell: Shell, asked: threading.Event, tenant: str, by: signal.Signals = signal.SIGINT
) -> tuple[int, float, str]:
    """Interrupts a sync once the server has it wait: its exit code, how long it took to end, what it said."""
    sync = subprocess.Popen(
        shell.line("sync", tenant), cwd=ROOT, stderr=subprocess.PIPE, text=True, env=shell.environment()
    )
    try:
        assert asked.wait(60)
        began = time.monotonic()
        sync.send_signal(by)
        _, said = sync.communicate(timeout=60)
    finally:
        sync.kill()
    return sync.returncode, time.monotonic() - began, said


def test_a_sync_that_waits_for_exchange_on_premises_ends_at_once(
    vault: Shell, onprem: OnpremSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault.add_onprem(onprem)
    vault.did("source", "add", "house", "--mailbox", primary_address(onprem.company.people[ANNA]))
    asked = threading.Event()
    onprem.faults.http(503, operation="SyncFolderItems", retry_after=LATER, times=100)
    monkeypatch.setattr(onprem.faults, "draw", watched(onprem.faults.draw, asked))

    code, seconds, said = interrupted(vault, asked, "house")

    assert (code, "Traceback" in said) == (130, False)
    assert seconds < 3.0


def test_a_sync_that_waits_for_exchange_online_ends_at_once(
    vault: Shell, online: OnlineSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault.add_online(online)
    vault.did("source", "add", "cloud", "--user", ANNA)
    asked = threading.Event()
    online.faults.fail_next("contact", status=429, headers={"Retry-After": str(LATER)}, times=100)
    monkeypatch.setattr(online.faults, "take", watched(online.faults.take, asked))

    code, seconds, said = interrupted(vault, asked, "cloud")

    assert (code, "Traceback" in said) == (130, False)
    assert seconds < 3.0


@pytest.fixture(params=["cloud", "house"])
def tenant(request: pytest.FixtureRequest, vault: Shell) -> str:
    """A tenant of one mailbox, online or on premises."""
    if request.param == "cloud":
        vault.add_online(request.getfixturevalue("online"))
        vault.did("source", "add", "cloud", "--user", ANNA)
    else:
        onprem = request.getfixturevalue("onprem")
        vault.add_onprem(onprem)
        vault.did("source", "add", "house", "--mailbox", primary_address(onprem.company.people[ANNA]))
    return str(request.param)


@pytest.mark.parametrize("stage", ["handshake", "body"])
def test_a_sync_of_a_server_that_is_silent_ends_at_once_and_the_next_one_is_whole(
    vault: Shell, tenant: str, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fallen_silent(stage, monkeypatch) as silent:
        code, seconds, said = interrupted(vault, silent, tenant)

    assert (code, "Traceback" in said) == (130, False)
    assert seconds < 5.0
    (run,) = vault.did("sync", tenant, "--json").items
    assert (run["status"], run["mailboxes"]) == ("ok", 1)
    assert run["added"] > 1


def test_a_service_manager_ends_a_sync_as_ctrl_c_does(
    vault: Shell, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fallen_silent("answer", monkeypatch) as silent:
        code, seconds, said = interrupted(vault, silent, tenant, signal.SIGTERM)

    assert (code, "Error: Interrupted." in said) == (130, True)
    assert seconds < 5.0
