"""An erasure as an administrator lives through it: interim under a passphrase, final under another, and no trace."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.conftest import Answer, Shell
from tests.simulators.company.cast import NILS
from tests.simulators.online.server import OnlineSimulator

pytestmark = pytest.mark.slow


def contents(*folders: Path) -> bytes:
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    return b"\0".join(path.read_bytes() for path in files)


def traces_of(vault: Shell, name: str) -> list[bytes]:
    """What would betray the tenant: what stands in its rows and keys, and who it was."""
    shown = vault.did("tenant", "show", name, "--reveal", "--json").data
    found = [name.encode(), b"admin@example.com"]
    tenant_id = bytes.fromhex(shown["id"].replace("-", ""))
    for database, table in (("vault.db", "contacts"), ("vault.db", "credentials"), ("keys.db", "wrapped_keys")):
        with closing(sqlite3.connect(vault.home / database)) as connection:
            query = f"SELECT blob FROM {table} WHERE tenant_id = ?"
            found += [blob[70:110] for (blob,) in connection.execute(query, (tenant_id,))]
    assert len(found) > 5
    return found


def test_under_a_passphrase_only_another_one_makes_the_receipt_final(shell: Shell, online: OnlineSimulator) -> None:
    old, new = shell.file("old", "correct horse battery\n"), shell.file("new", "staple of another kind\n")

    def vault(*argv: str, passphrase: str = old) -> Answer:
        return shell("--passphrase-file", passphrase, *argv, "--json")

    assert vault("init", "--root-key", "passphrase").code == 0
    added = shell(
        "--passphrase-file",
        old,
        *("tenant", "add-online", "cloud", *shell.online_options(online), "--secret-stdin", "--json"),
        given=online.client_secret,
    )
    assert added.code == 0
    receipt, out = shell.files / "receipt.json", shell.files / "final.json"
    erased = vault("tenant", "delete", "cloud", "--yes", "--receipt", str(receipt))
    assert (erased.code, erased.data["receipt_status"]) == (3, "interim")
    assert "passphrase" in erased.data["outstanding"][0]
    public = shell.file("key.pem", vault("receipt", "public-key").data["receipt_public_key"])
    elsewhere = Shell(shell.home.with_name("elsewhere"), shell.files, shell.authority)
    verified = elsewhere("receipt", "verify", str(receipt), "--public-key", public, "--json")
    assert (verified.code, verified.data["status"]) == (0, "interim")
    assert not elsewhere.home.exists()
    waiting = vault("receipt", "finalize", str(receipt), "--out", str(out))
    assert (waiting.code, out.exists()) == (3, False)
    assert "passphrase" in waiting.data["outstanding"][0]
    shutil.copytree(shell.home, shell.home.with_name("backup"))
    assert vault("key", "rotate-root", "--new-passphrase-file", new).code == 0
    assert vault("tenant", "list").code == 12
    final = vault("receipt", "finalize", str(receipt), "--out", str(out), passphrase=new)
    assert (final.code, final.data["status"]) == (0, "final")
    assert elsewhere("receipt", "verify", str(out), "--public-key", public, "--json").data["status"] == "final"
    assert json.loads(out.read_text())["statement"]["outstanding"] == []


def test_nothing_of_a_tenant_is_left_in_any_file(vault: Shell, online: OnlineSimulator) -> None:
    vault.add_online(online)
    vault.did("source", "add", "cloud", "--user", NILS)
    vault.did("sync", "cloud")
    traces = traces_of(vault, "cloud")
    before = contents(vault.home, vault.files / "keys")
    assert sum(trace in before for trace in traces) >= len(traces) - 2  # its name and address are sealed
    vault.did("tenant", "delete", "cloud", "--yes", "--vacuum")
    after = contents(vault.home, vault.files / "keys")
    assert [trace for trace in traces if trace in after] == []
    assert vault("tenant", "delete", "cloud", "--yes", "--json").code == 1  # there is none of that name any more
    assert vault.did("doctor", "--json").code == 0
