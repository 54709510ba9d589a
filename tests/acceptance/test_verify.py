"""`syncvault verify` as an administrator and a monitoring script see it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from tests.acceptance.conftest import Shell, a_shell
from tests.simulators.company.cast import NILS, small_company
from tests.simulators.online.server import OnlineSimulator


@contextmanager
def behind_its_back(vault: Shell, database: str = "vault.db") -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(vault.home / database)) as connection, connection:
        connection.create_function("flipped", 1, lambda blob: blob[:-1] + bytes([blob[-1] ^ 1]))
        yield connection


@pytest.fixture(scope="module")
def pulled_once(tmp_path_factory: pytest.TempPathFactory, new_vault: Shell) -> Shell:
    """A vault with two tenants and a mailbox of one of them. Exchange has gone: nobody is asked here any more."""
    shell = a_shell(tmp_path_factory.mktemp("pulled"), new_vault.authority)
    shell.take_over(new_vault)
    online = OnlineSimulator(small_company(), shell.authority.ca)
    online.start()
    shell.add_online(online)
    shell.add_online(online, "other")
    shell.did("source", "add", "cloud", "--user", NILS)
    shell.did("sync", "cloud")
    online.stop()
    return shell


@pytest.fixture
def pulled(shell: Shell, pulled_once: Shell) -> Shell:
    shell.take_over(pulled_once)
    return shell


def test_a_healthy_vault_passes(pulled: Shell) -> None:
    answer = pulled.did("verify", "--json")
    assert answer.document["command"] == "verify"
    assert answer.items == []
    alone = pulled.did("verify", "cloud", "--json")
    assert answer.data["checked"] > alone.data["checked"] > 5
    assert "as they should be" in pulled.did("verify").out


def test_findings_exit_4_and_name_tenant_table_and_row(pulled: Shell) -> None:
    with behind_its_back(pulled) as database:
        (row,) = database.execute("SELECT id FROM contacts LIMIT 1").fetchone()
        database.execute("UPDATE contacts SET blob = flipped(blob) WHERE id = ?", (row,))
        database.execute("DELETE FROM sources")
    answer = pulled("verify", "--json")
    assert answer.code == 4
    assert [(each["tenant"], each["table"], each["finding"]) for each in answer.items] == [
        ("cloud", "contacts", "unreadable"),
        ("cloud", "sources", "missing"),
    ]
    assert set(answer.items[0]) == {"tenant", "tenant_id", "table", "row", "finding", "message", "advice"}
    assert answer.items[0]["row"].replace("-", "") == bytes(row).hex()
    assert answer.items[1]["row"] is None
    assert pulled("verify", "other", "--json").code == 0


@pytest.mark.parametrize(
    ("database", "statement", "finding"),
    [
        ("vault.db", "UPDATE tenants SET profile = flipped(profile)", "unreadable"),
        ("vault.db", "UPDATE tenants SET name_ix = flipped(name_ix)", "unreadable"),
        ("keys.db", "UPDATE wrapped_keys SET blob = flipped(blob) WHERE purpose IN ('data', 'index')", "key"),
        ("keys.db", "UPDATE wrapped_keys SET blob = flipped(blob) WHERE purpose = 'names'", "key"),
        ("keys.db", "DELETE FROM wrapped_keys WHERE purpose = 'data'", "key"),
        ("keys.db", "DELETE FROM wrapped_keys WHERE purpose = 'receipt'", "key"),
        ("vault.db", "UPDATE contacts SET purge_at = purge_at + 1", "purge_date"),
        ("vault.db", "DELETE FROM manifests", "manifest"),
    ],
)
def test_a_tenants_own_damaged_row_or_key_is_a_finding_and_no_failure(
    pulled: Shell, database: str, statement: str, finding: str
) -> None:
    with behind_its_back(pulled, database) as connection:
        connection.execute(statement)
    answer = pulled("verify", "--json")
    assert (answer.code, {each["finding"] for each in answer.items}) == (4, {finding})


def test_a_root_key_that_does_not_fit_is_no_finding_but_exit_12(pulled: Shell) -> None:
    (pulled.files / "keys" / "root.key").unlink()
    answer = pulled("verify", "--json")
    assert (answer.code, answer.error["code"]) == (12, "root-key")


def test_a_tenant_that_is_not_there_is_a_plain_failure(pulled: Shell) -> None:
    answer = pulled("verify", "nobody", "--json")
    assert (answer.code, answer.error["code"]) == (1, "not-found")
