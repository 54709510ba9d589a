"""The doctor finds what is wrong, says what to do, and lets no failed check hide another."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

import pytest

from syncvault.errors import NoVaultError
from syncvault.retention import purge as retention
from syncvault.roots.file import FileProvider
from syncvault.roots.port import Pending
from syncvault.service.health import Finding, Result, examine
from syncvault.store import upgrade
from syncvault.vault import credentials, tenants
from syncvault.vault.erasing import erasure
from syncvault.vault.model import Tenant
from syncvault.vault.trail import audit
from syncvault.vault.vault import Vault
from tests.integration.vault_parts import NOW, Place, execute, register, secret

CHECKS = {
    "permissions",
    "data database",
    "keys database",
    "root key",
    "old root keys",
    "erasures",
    "audit trail",
    "clock",
    "tenants",
    "purge",
    "credentials",
    "quarantine",
}


def look(place: Place) -> list[Finding]:
    return list(examine(place.home, clock=lambda: place.now))


def trouble(found: Iterable[Finding]) -> list[tuple[str, str]]:
    return [(one.check, str(one.result)) for one in found if one.result is not Result.OK]


def hold_back(vault: Vault, tenant: Tenant) -> None:
    refused = credentials.load(vault, tenant)
    tenants.quarantine(vault, tenant, refused=refused, code="AADSTS7000215", advice="Rotate it.")


def test_a_sound_vault_passes_every_check(place: Place) -> None:
    register(place.create())
    found = look(place)
    assert trouble(found) == []
    assert {one.check for one in found} == CHECKS
    assert all(one.message.endswith(".") and "\n" not in one.message + one.advice for one in found)


def test_without_a_vault_there_is_nothing_to_examine(tmp_path: Path) -> None:
    with pytest.raises(NoVaultError):
        list(examine(tmp_path))


def test_a_missing_root_key_is_a_finding_beside_the_others(place: Place) -> None:
    place.create()
    assert place.layout.root_key_file is not None
    place.layout.root_key_file.unlink()
    found = look(place)
    assert trouble(found) == [("root key", "fail")]
    assert {"permissions", "data database", "keys database"} <= {one.check for one in found}


def test_files_that_others_can_reach_are_found(place: Place) -> None:
    place.create()
    (place.home / "vault.toml").chmod(0o644)
    assert trouble(look(place)) == [("permissions", "fail")]
    (place.home / "vault.toml").chmod(0o600)
    place.home.chmod(0o755)
    assert trouble(look(place)) == [("permissions", "warn")]
    place.home.chmod(0o770)
    assert trouble(look(place)) == [("permissions", "fail")]
    place.home.chmod(0o700)
    assert place.layout.root_key_file is not None
    place.layout.root_key_file.chmod(0o640)
    assert trouble(look(place)) == [("permissions", "fail"), ("root key", "fail")]


def test_a_missing_database_is_a_finding(place: Place) -> None:
    vault = place.create()
    if vault.data.path is None:
        pytest.skip("the server keeps the files")
    place.close()
    vault.data.path.unlink()
    assert trouble(look(place)) == [("data database", "fail"), ("vault", "fail")]


def test_a_damaged_database_is_a_finding(place: Place) -> None:
    vault = place.create()
    if vault.data.path is None:
        pytest.skip("the server keeps the files")
    place.close()
    vault.data.path.write_bytes(b"no database" * 1000)
    assert ("data database", "fail") in trouble(look(place))


def test_a_newer_schema_is_a_finding(place: Place) -> None:
    vault = place.create()
    execute(vault.key_data, f"UPDATE {upgrade.version_table('keys')} SET version_num = 'keys_9999'")
    found = look(place)
    assert trouble(found) == [("keys database", "fail"), ("vault", "fail")]


def test_an_older_schema_is_a_warning(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.create()
    monkeypatch.setitem(upgrade.REVISIONS, "data", ("data_0001", "data_0002", "data_0003"))
    monkeypatch.setattr("syncvault.vault.opening.migrate", lambda database: None)
    assert trouble(look(place)) == [("data database", "warn")]


def test_rows_without_their_parents_are_found(place: Place) -> None:
    vault = place.create()
    if vault.data.path is None:
        pytest.skip("the server lets none in")
    register(vault)
    with closing(sqlite3.connect(vault.data.path)) as meddler:  # foreign keys are off unless asked for
        meddler.execute("DELETE FROM tenants")
        meddler.commit()
    assert ("data database", "fail") in trouble(look(place))


@pytest.mark.parametrize(
    ("store", "sql"),
    [
        ("data", "UPDATE tenants SET id = 'text'"),
        ("data", "UPDATE credentials SET id = 'text'"),
        ("keys", "UPDATE wrapped_keys SET id = 'text' WHERE purpose = 'data'"),
    ],
)
def test_an_id_that_is_none_is_found_before_anybody_follows_it(place: Place, store: str, sql: str) -> None:
    vault = place.create()
    if vault.data.path is None:
        pytest.skip("the server lets none in")
    register(vault)
    database = vault.data if store == "data" else vault.key_data
    with closing(sqlite3.connect(str(database.path))) as meddler:
        meddler.execute(sql)
        meddler.commit()
    assert (f"{store} database", "fail") in trouble(look(place))


def test_a_clock_that_went_back_fails(place: Place) -> None:
    retention.purge(place.create(), role="root")
    place.now = NOW - timedelta(days=2)
    assert trouble(look(place)) == [("clock", "fail")]


def test_a_removed_audit_entry_and_a_lost_audit_key_fail(place: Place) -> None:
    vault = place.create()
    audit.record(vault, verb="init", tenant_id=None, outcome="ok")
    execute(vault.data, "DELETE FROM audit")
    assert trouble(look(place)) == [("audit trail", "fail")]
    execute(vault.key_data, "DELETE FROM wrapped_keys WHERE purpose = 'audit'")
    found = look(place)
    assert trouble(found) == [("audit trail", "fail")]
    assert "audit verify" in next(one.advice for one in found if one.check == "audit trail")


def test_an_overdue_tenant_fails_after_its_day(place: Place) -> None:
    register(place.create(), "acme", ends=date(2026, 5, 1))
    place.now = NOW + timedelta(days=60)  # 31 July: two days late
    assert trouble(look(place)) == [("purge", "fail")]
    place.now = NOW + timedelta(days=59)  # 30 July, the day itself
    assert ("purge", "warn") in trouble(look(place))
    place.now = NOW + timedelta(days=57)
    assert trouble(look(place)) == []


def test_an_unfinished_erasure_fails(place: Place) -> None:
    vault = place.create()
    erasure._fence(vault, register(vault), erasure.ON_DEMAND, "root")
    found = look(place)
    assert trouble(found) == [("purge", "fail")]
    assert "purge --yes" in next(one.advice for one in found if one.check == "purge")


def test_credentials_are_announced_thirty_days_ahead(place: Place) -> None:
    vault = place.create()
    tenant = register(vault)
    credentials.replace(vault, tenant, secret(expires_at=NOW + timedelta(days=31)))
    assert trouble(look(place)) == []
    credentials.replace(vault, tenant, secret(expires_at=NOW + timedelta(days=29)))
    assert trouble(look(place)) == [("credentials", "warn")]
    credentials.replace(vault, tenant, secret(expires_at=NOW - timedelta(days=1)))
    assert trouble(look(place)) == [("credentials", "fail")]
    execute(vault.data, "DELETE FROM credentials")
    assert trouble(look(place)) == [("credentials", "fail")]


def test_a_quarantined_tenant_is_a_warning(place: Place) -> None:
    vault = place.create()
    hold_back(vault, register(vault))
    found = look(place)
    assert trouble(found) == [("quarantine", "warn")]
    assert "AADSTS7000215" in next(one.message for one in found if one.check == "quarantine")


def test_a_damaged_tenant_fails_and_hides_no_other(place: Place) -> None:
    vault = place.create()
    damaged, other = register(vault, "acme"), register(vault, "other")
    execute(vault.data, "UPDATE tenants SET profile = ? WHERE id = ?", b"x" * 200, damaged.id)
    hold_back(vault, other)
    assert trouble(look(place)) == [("tenants", "fail"), ("quarantine", "warn")]


def test_a_root_key_not_destroyed_yet_is_a_warning(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    vault = place.create()
    monkeypatch.setattr(FileProvider, "destroy", lambda self, handle: Pending("later"))
    erasure.erase(vault, register(vault), reason=erasure.ON_DEMAND, role="root")
    assert trouble(look(place)) == [("old root keys", "warn"), ("erasures", "warn")]


def test_a_check_that_cannot_be_made_is_a_finding(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    vault = place.create()
    execute(vault.data, "UPDATE meta SET value = ? WHERE name = ?", "1", "vault_id")
    assert trouble(look(place)) == [("root key", "fail")]
