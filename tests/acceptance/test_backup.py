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


def test_refusals_name_what_to_do_and_leave_everything_as_it_was(vault: Shell, tmp_path: Path) -> None:
    data, keys = str(tmp_path / "data"), str(tmp_path / "keys")
    inside = vault("backup", "create", "--out", str(vault.home / "data"), "--json")
    assert (inside.code, inside.error["code"]) == (2, "usage")
    made = vault.did("backup", "create", "--out", data)
    assert "--keys-out" in made.err
    again = vault("backup", "create", "--out", data, "--keys-out", keys)
    assert again.code == 1
    assert "already" in again.err
    nothing = vault("backup", "verify", str(tmp_path / "nothing"), "--json")
    assert (nothing.code, nothing.error["code"]) == (1, "no-backup")
    vault.did("backup", "create", "--out", str(tmp_path / "second"), "--keys-out", keys)
    root = vault.files / "keys" / "root.key"
    key = root.read_bytes()
    shutil.rmtree(vault.home)
    root.unlink()
    lost = vault("restore", "--from", data, "--keys-from", keys, "--json")
    assert (lost.code, lost.error["code"]) == (12, "root-key")
    assert not vault.home.exists()
    moved = vault.file("moved.key", key)
    Path(moved).chmod(0o600)
    out = vault.did("restore", "--from", data, "--keys-from", keys, "--root-key-file", moved).out
    assert str(vault.home) in out
    assert [entry["verb"] for entry in vault.did("audit", "list", "--json").items][:1] == ["restore"]


def test_a_damaged_backup_is_a_finding_with_a_row_of_its_own(vault: Shell, tmp_path: Path) -> None:
    data = tmp_path / "data"
    vault.did("backup", "create", "--out", str(data))
    content = bytearray((data / "vault.db").read_bytes())
    content[-1] ^= 1
    (data / "vault.db").write_bytes(content)
    found = vault("backup", "verify", str(data), "--json")
    assert (found.code, [item["finding"] for item in found.items]) == (4, ["digest"])
    assert found.items[0].keys() == {"file", "table", "row", "finding", "message", "advice"}
    refused = vault("backup", "verify", str(data))
    assert refused.code == 4
    assert "vault.db" in refused.out


def test_a_vault_under_a_passphrase_comes_back_with_it_and_with_no_other(shell: Shell, tmp_path: Path) -> None:
    right, wrong = shell.file("right", "a long passphrase"), shell.file("wrong", "another passphrase")
    shell.did("--passphrase-file", right, "init", "--root-key", "passphrase")
    data, keys = str(tmp_path / "data"), str(tmp_path / "keys")
    shell.did("--passphrase-file", right, "backup", "create", "--out", data, "--keys-out", keys)
    shutil.rmtree(shell.home)
    assert shell("--passphrase-file", wrong, "restore", "--from", data, "--keys-from", keys).code == 12
    assert not shell.home.exists()
    shell.did("--passphrase-file", right, "restore", "--from", data, "--keys-from", keys)
    shell.did("--passphrase-file", right, "verify")
