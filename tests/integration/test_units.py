"""The systemd units: the same sandbox around both, timers that catch up, and the credential that the provider reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from syncvault.errors import Exit
from syncvault.roots.systemd import CREDENTIAL, DEFAULT_FILE

UNITS = Path(__file__).parents[2] / "scripts" / "systemd"
SERVICES = ["syncvault-sync.service", "syncvault-purge.service"]
TIMERS = ["syncvault-sync.timer", "syncvault-purge.timer"]


def settings(unit: str) -> list[tuple[str, str]]:
    lines = (UNITS / unit).read_text().splitlines()
    return [tuple(line.split("=", 1)) for line in lines if "=" in line and not line.startswith("#")]  # type: ignore[misc]


def test_both_services_differ_in_nothing_but_what_they_do() -> None:
    own = {"Description", "Wants", "After", "ExecStart", "TimeoutStartSec"}
    sync, purge = ([each for each in settings(unit) if each[0] not in own] for unit in SERVICES)
    assert sync == purge


def test_they_run_the_verbs_that_an_administrator_would() -> None:
    assert [dict(settings(unit))["ExecStart"] for unit in SERVICES] == [
        "/opt/syncvault/.venv/bin/syncvault sync --all",
        "/opt/syncvault/.venv/bin/syncvault purge --yes",
    ]


@pytest.mark.parametrize("unit", SERVICES)
def test_they_load_the_credential_that_the_provider_reads(unit: str) -> None:
    assert dict(settings(unit))["LoadCredentialEncrypted"] == f"{CREDENTIAL}:{DEFAULT_FILE}"


@pytest.mark.parametrize("unit", SERVICES)
def test_only_a_busy_vault_and_a_stop_are_no_failure_and_what_waits_for_somebody_is_one(unit: str) -> None:
    codes = {int(code) for code in dict(settings(unit))["SuccessExitStatus"].split()}
    assert codes == {Exit.BUSY, Exit.INTERRUPTED}


@pytest.mark.parametrize("unit", TIMERS)
def test_timers_catch_up_after_an_outage_and_do_not_all_fire_at_once(unit: str) -> None:
    timer = dict(settings(unit))
    assert timer["Persistent"] == "yes"
    assert timer["RandomizedDelaySec"]
