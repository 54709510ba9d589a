"""Backing up and bringing back, as an administrator does it."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

from tests.acceptance.conftest import Shell
from tests.simulators.company.cast import ANNA, NILS
from tests.simulators.online.server import OnlineSimulator


def test_the_living_come_back_and_the_erased_do_not(vault: Shell, online: OnlineSimulator, tmp_path: Path) -> None:
    for name, person in (("alpha", ANNA), ("beta", NILS)):
        vault.add_online(online, name)
        vault.did("source", "add", name, "--user", person)
    vault.did("sync", "--all")
    shown = {name: vault.did("contact", "list", name, "--json").items for name in ("alpha", "beta")}
    data, keys = tmp_path / "data", tmp_path / "keys"
    made = vault.did("backup", "create", "--out", str(data), "--keys-out", str(keys), "--json").data
    assert made["rows"] > len(shown["alpha"]) + len(shown["beta"])
    for path in (data, keys, *data.iterdir(), *keys.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    for directory in (data, keys):
        assert vault.did("backup", "verify", str(directory), "--json").items == []

    vault.did("tenant", "delete", "alpha", "--yes")
    assert vault("backup", "verify", str(keys), "--json").code == 4  # older than an erasure
    vault.did("backup", "create", "--out", str(tmp_path / "later"), "--keys-out", str(keys))
    checked = vault.did("backup", "verify", str(data), "--json").data
    assert (checked["erased"], checked["items"]) == (1, [])

    refused = vault("restore", "--from", str(data), "--keys-from", str(keys), "--json")
    assert (refused.code, refused.error["code"]) == (1, "input")
    shutil.rmtree(vault.home)
    assert vault("backup", "verify", str(data)).code == 10
    restored = vault.did("restore", "--from", str(data), "--keys-from", str(keys), "--json").data
    assert (restored["tenants"], restored["erased"]) == (1, 1)
    assert vault.did("contact", "list", "beta", "--json").items == shown["beta"]
    assert vault("tenant", "show", "alpha").code == 1
    assert vault("verify").code == 0
    assert vault("audit", "verify").code == 0
    assert [entry["verb"] for entry in vault.did("audit", "list", "--json").items].count("restore") == 1
    assert vault.did("sync", "beta", "--json").items[0]["added"] == 0
