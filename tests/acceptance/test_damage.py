"""A record that does not open is named, fails what needs it, and holds up nothing else."""

from __future__ import annotations

import sqlite3

from tests.acceptance.conftest import Shell
from tests.simulators.company.cast import NILS
from tests.simulators.online.server import OnlineSimulator


def spoil(vault: Shell, table: str, column: str, where: str = "1") -> str:
    """Flips a bit in the last sealed value of a table; returns the row's ID in hexadecimal digits."""
    with sqlite3.connect(vault.home / "vault.db") as database:
        query = f"SELECT rowid, id, {column} FROM {table} WHERE {where} ORDER BY rowid DESC LIMIT 1"
        rowid, own_id, blob = database.execute(query).fetchone()
        spoilt = blob[:-1] + bytes([blob[-1] ^ 1])
        database.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (spoilt, rowid))
    database.close()
    return bytes(own_id).hex()


def test_a_damaged_contact_ends_a_list_that_stays_valid_and_names_the_row(
    vault: Shell, online: OnlineSimulator
) -> None:
    vault.add_online(online)
    vault.did("source", "add", "cloud", "--user", NILS)
    vault.did("sync", "cloud")
    spoilt = spoil(vault, "contacts", "blob")
    listed = vault("contact", "list", "cloud", "--json")
    assert (listed.code, listed.error["code"]) == (1, "damaged")
    assert "contacts" in listed.error["message"]
    assert spoilt in listed.error["message"].replace("-", "")
    out = vault.files / "export.csv"
    exported = vault("contact", "export", "cloud", "--format", "csv", "--out", str(out), "--json")
    assert (exported.code, exported.error["code"]) == (1, "damaged")
    assert not out.exists()


def test_a_damaged_tenant_hides_no_other_and_can_still_be_erased(vault: Shell, online: OnlineSimulator) -> None:
    broken = vault.add_online(online, "broken").data["id"]
    vault.add_online(online, "whole")
    spoil(vault, "tenants", "profile", where=f"id = x'{broken.replace('-', '')}'")
    listed = vault("tenant", "list", "--json")
    assert (listed.code, listed.error["code"]) == (1, "damaged")
    assert broken in listed.error["message"]
    assert [item["name"] for item in listed.items] == ["whole"]
    assert vault("status", "--json").data["tenants"] == 1
    synced = vault("sync", "--all", "--json")
    assert synced.code == 3
    assert {item["tenant"]: item["status"] for item in synced.items} == {"whole": "ok", broken: "failed"}
    assert vault("tenant", "show", "broken", "--json").error["code"] == "damaged"
    erased = vault.did("tenant", "delete", "broken", "--yes", "--json").items[0]
    assert (erased["tenant"], erased["done"]) == ("broken", True)
    assert vault.did("tenant", "list", "--json").items[0]["name"] == "whole"


def test_a_database_that_is_gone_is_missed_where_a_vault_is(vault: Shell) -> None:
    (vault.home / "keys.db").unlink()
    answer = vault("status", "--json")
    assert (answer.code, answer.error["code"]) == (10, "no-vault")
    assert "keys.db" in answer.error["message"]
    assert "init" not in answer.error["advice"]


def test_a_contact_whose_mailbox_is_gone_is_named(vault: Shell, online: OnlineSimulator) -> None:
    vault.add_online(online)
    vault.did("source", "add", "cloud", "--user", NILS)
    vault.did("sync", "cloud")
    contact = vault.did("contact", "list", "cloud", "--json").items[0]["id"]
    with sqlite3.connect(vault.home / "vault.db") as database:
        database.execute("DELETE FROM mailboxes")
    database.close()
    shown = vault("contact", "show", "cloud", contact, "--json")
    assert (shown.code, shown.error["code"]) == (1, "damaged")
    assert contact in shown.error["message"]
    rotated = vault("key", "rotate-tenant", "cloud", "--json")
    assert (rotated.code, rotated.error["code"]) == (1, "damaged")
