"""Several tenants at once: imported together, pulled side by side, each failing for itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.acceptance.conftest import ROOT, Shell
from tests.simulators.company.cast import ANNA, JURGEN, NILS, item_id
from tests.simulators.company.model import Company
from tests.simulators.online.server import OnlineSimulator


def import_file(shell: Shell, online: OnlineSimulator, *tenants: tuple[str, str]) -> str:
    """An import file of online tenants, each a name and a secret."""
    (shell.files / "ca.pem").write_bytes(shell.authority.ca_file.read_bytes())
    tables = []
    for name, secret in tenants:
        shell.file(f"{name}.secret", f"{secret}\n")
        tables.append(
            f'[[tenant]]\nname = "{name}"\ndirectory-id = "{online.directory_id}"\nclient-id = "{online.client_id}"\n'
            f'authority = "{online.origin}"\ngraph-url = "{online.origin}"\nca-bundle = "ca.pem"\n'
            f'admin-mail = "admin@example.com"\npaid-until = 2099-06-01\nsecret-file = "{name}.secret"\n'
        )
    return shell.file("tenants.toml", "\n".join(tables))


def test_tenants_are_imported_each_for_itself(vault: Shell, online: OnlineSimulator) -> None:
    file = import_file(vault, online, ("one", online.client_secret), ("two", "wrong"), ("three", online.client_secret))
    answer = vault("tenant", "import", file, "--json")
    assert answer.code == 3
    assert [item["status"] for item in answer.items] == ["registered", "failed", "registered"]
    assert answer.items[1]["error"]["code"] == "AADSTS7000215"
    assert [item["name"] for item in vault.did("tenant", "list", "--json").items] == ["one", "three"]
    again = vault("tenant", "import", file, "--json")
    assert (again.code, again.error["code"]) == (1, "input")


def test_one_mistake_in_an_import_file_stores_none(vault: Shell, online: OnlineSimulator) -> None:
    file = import_file(vault, online, ("one", online.client_secret), ("Two", online.client_secret))
    answer = vault("tenant", "import", file, "--json")
    assert (answer.code, "tenant 2" in answer.error["message"]) == (2, True)
    assert vault.did("tenant", "list", "--json").items == []


def test_a_run_over_several_tenants_is_partly_done_when_one_fails(vault: Shell, online: OnlineSimulator) -> None:
    vault.did(
        "tenant", "import", import_file(vault, online, ("one", online.client_secret), ("two", online.client_secret))
    )
    vault.did("source", "add", "one", "--user", NILS)
    vault.did("source", "add", "two", "--user", "00000000-0000-4000-8000-000000000000")
    answer = vault("sync", "--all", "--json")
    assert answer.code == 3
    assert {item["tenant"]: item["status"] == "ok" for item in answer.items} == {"one": True, "two": False}


def test_the_brake_holds_until_an_administrator_accepts(
    vault: Shell, online: OnlineSimulator, company: Company
) -> None:
    vault.add_online(online)
    vault.did("source", "add", "cloud", "--user", ANNA)
    before = vault.did("sync", "cloud", "--json").items[0]["added"]
    for n in range(1, 24):
        company.remove_contact(ANNA, item_id(ANNA, f"Kundin {n:02d}"))
    rehearsed = vault("sync", "cloud", "--dry-run", "--json")
    assert rehearsed.code == 13
    braked = vault("sync", "cloud", "--json")
    assert (braked.code, braked.items[0]["status"], braked.items[0]["removed"]) == (13, "braked", 23)
    assert vault.did("status", "--json").data["contacts"] == before
    assert vault.did("sync", "cloud", "--accept-removals", "--json").items[0]["removed"] == 23
    assert vault.did("status", "--json").data["contacts"] == before - 23


def test_a_rehearsal_stores_nothing(vault: Shell, online: OnlineSimulator) -> None:
    vault.add_online(online)
    vault.did("source", "add", "cloud", "--user", NILS)
    rehearsed = vault.did("sync", "cloud", "--dry-run", "--json").items[0]
    assert rehearsed["added"] == 4
    assert vault.did("status", "--json").data["contacts"] == 0
    assert vault.did("sync", "cloud", "--json").items[0]["added"] == 4


def test_a_second_sync_of_a_tenant_is_told_who_is_at_it(vault: Shell, online: OnlineSimulator) -> None:
    vault.add_online(online)
    vault.did("source", "add", "cloud", "--user", JURGEN)
    online.behaviour.latency = 0.5
    with holding(vault) as first:
        second = vault("sync", "cloud", "--json")
        assert (second.code, second.items[0]["status"]) == (11, "busy")
        assert str(first.pid) in second.items[0]["failures"][0]["message"]


def test_a_run_that_is_interrupted_says_so_and_the_next_one_goes_on(vault: Shell, online: OnlineSimulator) -> None:
    vault.add_online(online)
    vault.did("source", "add", "cloud", "--user", JURGEN)
    online.behaviour.latency = 0.5
    with holding(vault) as first:
        first.send_signal(signal.SIGINT)
        _, said = first.communicate(timeout=60)
        assert (first.returncode, "Interrupted." in said) == (130, True)
    online.behaviour.latency = 0.0
    assert vault.did("sync", "cloud", "--json").items[0]["status"] == "ok"


@contextmanager
def holding(vault: Shell) -> Iterator[subprocess.Popen[str]]:
    """A sync in another process, which holds the tenant by now."""
    argv = [sys.executable, "-m", "syncvault", "--home", str(vault.home), "sync", "cloud"]
    # A runner in a shell's background ignores Ctrl+C, and hands that down; what is caught here is not inherited.
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(argv, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        signal.signal(signal.SIGINT, inherited)
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            while line and "mailboxes" not in line:
                line = process.stderr.readline()
            assert line, "it ended before it held the tenant"
            yield process
        finally:
            process.kill()


def test_nothing_is_said_to_a_reader_who_has_left(vault: Shell, online: OnlineSimulator) -> None:
    vault.add_online(online)
    vault.did("source", "add", "cloud", "--user", ANNA)
    vault.did("sync", "cloud")
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "syncvault", "--home", str(vault.home), "contact", "list", "cloud", "--json"],
        cwd=ROOT,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert done.stderr == ""


def test_a_tenant_is_edited_in_the_fields_it_has(vault: Shell, online: OnlineSimulator) -> None:
    vault.add_online(online)
    options = [
        "--admin-mail",
        "new.admin@example.com",
        "--locale",
        "de",
        "--customer-number",
        "K-1",
        "--time-zone",
        "UTC",
    ]
    vault.did("tenant", "edit", "cloud", *options)
    shown = vault.did("tenant", "show", "cloud", "--reveal", "--json").data
    assert shown["admin_mail"] == "new.admin@example.com"
    assert (shown["locale"], shown["customer_number"], shown["time_zone"]) == ("de", "K-1", "UTC")
    vault.did("tenant", "edit", "cloud", "--customer-number", "", "--ca-bundle", "")
    shown = vault.did("tenant", "show", "cloud", "--json").data
    assert (shown["customer_number"], shown["has_own_ca"], shown["admin_mail"]) == ("", False, "n…n@example.com")
    for wrong in (["--ews-url", "https://x.example/EWS"], [], ["--admin-mail", ""], ["--directory-id", "x"]):
        assert vault("tenant", "edit", "cloud", *wrong).code == 2
    checked = vault("credential", "check", "cloud", "--json")
    assert (checked.code, checked.error["code"]) == (1, "tls")


def test_purge_dates_follow_the_subscription(vault: Shell, online: OnlineSimulator) -> None:
    vault.add_online(online)
    vault.did("source", "add", "cloud", "--user", NILS)
    vault.did("sync", "cloud")

    def dates() -> set[str]:
        contacts = vault.did("contact", "list", "cloud", "--json").items
        sources = vault.did("source", "list", "cloud", "--json").items
        return {row["purge_on"] for row in [*contacts, *sources, vault.did("tenant", "show", "cloud", "--json").data]}

    assert vault.did("tenant", "cancel", "cloud", "--ends", "2027-01-01", "--json").data["state"] == "cancelled"
    assert dates() == {"2027-04-01"}
    assert vault.did("purge", "--as-of", "2027-03-31", "--json").items == []
    assert [item["tenant"] for item in vault.did("purge", "--as-of", "2027-04-01", "--json").items] == ["cloud"]
    assert vault.did("tenant", "cancel", "cloud", "--ends", "2020-01-01", "--json").data["state"] == "expired"
    assert dates() == {"2020-03-31"}
    renewed = vault.did("tenant", "renew", "cloud", "--until", "2098-01-01", "--term", "P1M", "--json").data
    assert (renewed["state"], renewed["term"]) == ("active", "P1M")
    assert dates() == {"2098-04-01"}


def test_settings_files_are_read_and_mistakes_in_them_named(vault: Shell) -> None:
    good = vault.file("good.toml", f'home = "{vault.home}"\nmailboxes = 2\n')
    bad = vault.file("bad.toml", "mailboxs = 2\n")
    elsewhere = Shell(vault.files / "none", vault.files, vault.authority)
    assert elsewhere("--config", good, "--home", str(vault.home), "tenant", "list").code == 0
    refused = vault("--config", bad, "tenant", "list", "--json")
    assert (refused.code, refused.error["advice"]) == (2, "Did you mean mailboxes?")
    assert vault("--config", str(Path("/nowhere.toml")), "tenant", "list").code == 2
