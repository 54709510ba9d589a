"""Keys at the command line: shown, rotated while syncs go on, and the root key moved from provider to provider."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import ROOT, Shell
from tests.simulators.company.cast import ANNA
from tests.simulators.online.server import OnlineSimulator

pytestmark = pytest.mark.slow

FIRST, SECOND = "correct horse battery", "another staple"


@pytest.fixture
def synced(vault: Shell, online: OnlineSimulator) -> Shell:
    """A shell whose vault holds a tenant's contacts."""
    vault.add_online(online)
    vault.did("source", "add", "cloud", "--user", ANNA)
    vault.did("sync", "cloud")
    return vault


def contacts(shell: Shell, *options: str) -> list[str]:
    return sorted(str(item) for item in shell.did(*options, "contact", "list", "cloud", "--reveal", "--json").items)


def test_status_shows_every_key_with_the_rows_that_need_it(synced: Shell) -> None:
    data = synced.did("key", "status", "--json").data
    assert (data["provider"], data["usable"], data["why"]) == ("file", True, None)
    keys = {(item["tenant"], item["purpose"]): item for item in data["items"]}
    assert keys[None, "root"] == {
        "tenant": None,
        "purpose": "root",
        "generation": 1,
        "state": "current",
        "rows": len(data["items"]) - 1,
    }
    assert keys[None, "names"]["rows"] == 1
    assert keys["cloud", "data"]["rows"] > keys["cloud", "index"]["rows"] > 0
    assert "provider file" in synced.did("key", "status").out


def test_a_rotated_root_key_opens_everything(synced: Shell) -> None:
    before = contacts(synced)
    data = synced.did("key", "rotate-root", "--json").data
    assert data == {"provider": "file", "generation": 2, "replaced": 1, "destroyed": True, "outstanding": []}
    assert contacts(synced) == before
    assert synced.did("verify").code == 0


def test_a_rotated_tenant_has_no_row_under_its_old_keys(synced: Shell) -> None:
    before = contacts(synced)
    check = synced.did("key", "rotate-tenant", "cloud", "--check", "--json").items
    assert [(item["purpose"], item["generation"]) for item in check] == [("data", 1), ("index", 1)]
    answer = synced.did("key", "rotate-tenant", "cloud", "--json")
    states = {(item["purpose"], item["generation"]): (item["state"], item["rows"]) for item in answer.items}
    assert states == {
        ("data", 1): ("retired", 0),
        ("data", 2): ("current", check[0]["rows"]),
        ("index", 1): ("retired", 0),
        ("index", 2): ("current", check[1]["rows"]),
    }
    assert "rows" in answer.err
    assert answer.data["resumed"] == []
    assert contacts(synced) == before
    assert synced.did("sync", "cloud", "--full", "--json").items[0]["added"] == 0
    assert synced.did("verify").code == 0
    with sqlite3.connect(synced.home / "vault.db") as database:
        (left,) = database.execute("SELECT count(*) FROM contacts WHERE substr(blob, 3, 4) <> x'00000002'").fetchone()
    assert left == 0


def test_only_the_key_that_was_named_is_rotated(synced: Shell) -> None:
    items = synced.did("key", "rotate-tenant", "cloud", "--purpose", "index", "--json").items
    assert [(item["purpose"], item["generation"]) for item in items] == [("data", 1), ("index", 1), ("index", 2)]
    assert synced("key", "rotate-tenant", "cloud", "--purpose", "root").code == 2
    assert synced("key", "rotate-tenant", "nobody").code == 1


@pytest.mark.parametrize("purpose", ["data", "index"])
def test_a_sync_and_a_rotation_run_side_by_side(synced: Shell, purpose: str) -> None:
    before = contacts(synced)
    command = [sys.executable, "-m", "syncvault", "--home", str(synced.home), "sync", "cloud", "--full"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("SYNCVAULT_", "XDG_"))}
    environment["HOME"] = str(synced.files)
    syncs = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(1)
    ]
    synced.did("key", "rotate-tenant", "cloud", "--purpose", purpose)
    assert [process.wait(timeout=60) for process in syncs] == [0]
    assert contacts(synced) == before
    assert synced.did("verify").code == 0


def test_the_root_key_moves_from_file_to_file_to_passphrase_and_back(synced: Shell) -> None:
    before = contacts(synced)
    elsewhere, first = synced.files / "elsewhere" / "root.key", synced.file("first", FIRST)
    data = synced.did("key", "migrate", "--to", "file", "--root-key-file", str(elsewhere), "--json").data
    assert (data["provider"], data["generation"], data["destroyed"]) == ("file", 2, True)
    assert not (synced.files / "keys" / "root.key").exists()
    assert contacts(synced) == before
    again = synced("key", "migrate", "--to", "file", "--root-key-file", str(elsewhere))
    assert (again.code, "already" in again.err) == (2, True)

    synced.did("key", "migrate", "--to", "passphrase", "--new-passphrase-file", first)
    assert not elsewhere.exists()
    assert synced("contact", "list", "cloud").code == 12
    assert contacts(synced, "--passphrase-file", first) == before
    assert synced("--passphrase-file", first, "key", "migrate", "--to", "passphrase").code == 2

    synced.did("--passphrase-file", first, "key", "migrate", "--to", "file", "--root-key-file", str(elsewhere))
    assert contacts(synced) == before
    verbs = [(item["verb"], item["outcome"]) for item in synced.did("audit", "list", "--json").items]
    assert verbs.count(("key migrate", "ok")) == 3
    assert verbs.count(("key migrate", "failed:usage")) == 2


def test_a_new_passphrase_takes_the_place_of_the_old_one(shell: Shell) -> None:
    first, second = shell.file("first", FIRST + "\n"), shell.file("second", SECOND)
    shell.did("--passphrase-file", first, "init", "--root-key", "passphrase")
    resalted = shell("--passphrase-file", first, "key", "rotate-root", "--json")
    assert (resalted.code, resalted.data["destroyed"]) == (3, False)
    assert "passphrase" in resalted.data["outstanding"][0]
    same = shell("--passphrase-file", first, "key", "rotate-root", "--new-passphrase-file", first)
    assert (same.code, "present one" in same.err) == (1, True)
    data = shell.did("--passphrase-file", first, "key", "rotate-root", "--new-passphrase-file", second, "--json").data
    assert (data["generation"], data["destroyed"]) == (3, True)
    assert shell("--passphrase-file", first, "key", "status").code == 12
    roots = [
        item
        for item in shell.did("--passphrase-file", second, "key", "status", "--json").items
        if item["purpose"] == "root"
    ]
    assert [(item["generation"], item["state"]) for item in roots] == [(3, "current")]
    given = shell("--passphrase-file", "-", "key", "rotate-root", "--new-passphrase-file", "-", given=SECOND)
    assert (given.code, "cannot hold two" in given.err) == (2, True)


def test_what_cannot_be_done_is_said(vault: Shell) -> None:
    unknown = vault("key", "migrate", "--to", "hope")
    assert (unknown.code, "file" in unknown.err) == (2, True)
    assert vault("key", "migrate").code == 2
    inside = vault("key", "migrate", "--to", "file", "--root-key-file", str(vault.home / "root.key"))
    assert (inside.code, "data directory" in inside.err) == (12, True)
    assert vault("key", "migrate", "--to", "passphrase").code == 12, "nobody can be asked"
    assert vault("key", "rotate-root", "--new-passphrase-file", vault.file("new", SECOND)).code == 2
    assert vault.did("key", "status").code == 0


def test_a_missing_root_key_ends_it_with_12(vault: Shell) -> None:
    Path(vault.files / "keys" / "root.key").unlink()
    assert vault("key", "status", "--json").code == 12
    assert vault("key", "rotate-root", "--json").code == 12
