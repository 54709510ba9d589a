"""Verifying: whatever somebody does to the database behind the vault's back is found, named, and given its kind."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from syncvault.errors import StorageError
from syncvault.store.schema import VAULT_TENANT
from syncvault.vault import credentials, tenants
from syncvault.vault import verify as verifying
from syncvault.vault.content import sources
from syncvault.vault.erasing import erasure, ledger
from syncvault.vault.keyring import keys_in_use, root_rotation
from syncvault.vault.model import Tenant
from syncvault.vault.vault import Vault
from syncvault.vault.verify import Verdict, verify
from tests.integration.fake_exchange import FakeExchange
from tests.integration.vault_parts import Place, execute, register, rows, secret, sync

LONG_AFTER = date(2031, 1, 1)
SEALED_BLOBS = ("credentials", "sources", "mailboxes", "folders", "checkpoints", "contacts")


@pytest.fixture
def tenant(vault: Vault, exchange: FakeExchange) -> Tenant:
    """A tenant with two mailboxes, a card and contacts in each, and photos."""
    exchange.hire("ann", "a1", "a2", "a3")
    exchange.hire("bob", "b1")
    exchange.photos = {"ann": b"photo of ann", "a1": b"photo of a1", "b1": b"photo of b1"}
    tenant = register(vault, "acme", "ann", "bob")
    sync(vault, tenant)
    return tenant


def found(verdict: Verdict) -> set[tuple[str, str]]:
    return {(finding.table, str(finding.kind)) for finding in verdict.findings}


def some(vault: Vault, table: str, column: str, where: str = "") -> Any:
    with vault.data.read() as tx:
        return tx.exec_driver_sql(f"SELECT {column} FROM {table} {where} ORDER BY 1 LIMIT 1").scalar()


def test_a_healthy_vault_has_no_findings_and_every_record_is_counted(vault: Vault, tenant: Tenant) -> None:
    verdict = verify(vault)
    assert verdict.findings == []
    sealed = {"tenants": 1, "credentials": 1, "sources": 2, "mailboxes": 2, "folders": 2, "checkpoints": 2}
    held = {table: len(rows(vault.data, table)) for table in ("contacts", "photos")}
    assert verdict.checked == sum(sealed.values()) + held["contacts"] + 2 * held["photos"]
    assert verify(vault, "acme").checked == verdict.checked


Tampering = Callable[[Vault], object]


def swap_blobs(vault: Vault) -> None:
    with vault.data.read() as tx:
        one, other = [tuple(row) for row in tx.exec_driver_sql("SELECT id, blob FROM contacts WHERE kind = 'contact'")][
            :2
        ]
    execute(vault.data, "UPDATE contacts SET blob = ? WHERE id = ?", other[1], one[0])
    execute(vault.data, "UPDATE contacts SET blob = ? WHERE id = ?", one[1], other[0])


def present_a_secret_as_a_contact(vault: Vault) -> None:
    blob = some(vault, "credentials", "blob")
    execute(vault.data, "UPDATE contacts SET blob = ? WHERE id = ?", blob, some(vault, "contacts", "id"))


def alter_byte(table: str, column: str, at: int, key: str = "id") -> Tampering:
    def tamper(vault: Vault) -> None:
        key_value = some(vault, table, key)
        with vault.data.read() as tx:
            sql = f"SELECT {column} FROM {table} WHERE {key} = " + ("?" if tx.dialect.name == "sqlite" else "%s")
            record = bytearray(tx.exec_driver_sql(sql, (key_value,)).scalar())
        record[at] ^= 1
        execute(vault.data, f"UPDATE {table} SET {column} = ? WHERE {key} = ?", bytes(record), key_value)

    return tamper


def set_column(table: str, column: str, value: Any) -> Tampering:
    return lambda vault: execute(vault.data, f"UPDATE {table} SET {column} = ?", value)


def delete_one(table: str, key: str = "id") -> Tampering:
    return lambda vault: execute(vault.data, f"DELETE FROM {table} WHERE {key} = ?", some(vault, table, key))


@pytest.mark.parametrize(
    ("tamper", "table", "kind"),
    [
        (swap_blobs, "contacts", "unreadable"),
        (present_a_secret_as_a_contact, "contacts", "unreadable"),
        *((alter_byte("contacts", "blob", at), "contacts", "unreadable") for at in (0, 1, 5, 6, 30, 69, 70, 82, -1)),
        (alter_byte("tenants", "profile", 90), "tenants", "unreadable"),
        (alter_byte("credentials", "blob", 90), "credentials", "unreadable"),
        (alter_byte("sources", "blob", 90), "sources", "unreadable"),
        (alter_byte("mailboxes", "blob", 90), "mailboxes", "unreadable"),
        (alter_byte("folders", "blob", 90), "folders", "unreadable"),
        (alter_byte("checkpoints", "blob", 90, "folder_id"), "checkpoints", "unreadable"),
        (alter_byte("photos", "details", 90, "contact_id"), "photos", "unreadable"),
        (alter_byte("photos", "content", 90, "contact_id"), "photos", "unreadable"),
        (alter_byte("manifests", "blob", 90, "tenant_id"), "manifests", "manifest"),
        (alter_byte("contacts", "remote_ix", 3), "contacts", "unreadable"),
        (alter_byte("sources", "ref_ix", 3), "sources", "unreadable"),
        (set_column("contacts", "kind", "card"), "contacts", "unreadable"),
        (set_column("contacts", "kind", "else"), "contacts", "unreadable"),
        (set_column("sources", "kind", "group"), "sources", "index"),
        (set_column("tenants", "kind", "onprem"), "tenants", "index"),
        (set_column("contacts", "blob", b""), "contacts", "unreadable"),
        (delete_one("credentials"), "credentials", "missing"),
        (delete_one("sources"), "sources", "missing"),
        (delete_one("mailboxes"), "mailboxes", "missing"),
        (delete_one("folders"), "folders", "missing"),
        (delete_one("checkpoints", "folder_id"), "checkpoints", "missing"),
        (delete_one("contacts"), "contacts", "missing"),
        (delete_one("photos", "contact_id"), "photos", "missing"),
        *(
            (set_column(table, "purge_at", 4_000_000_000), table, "purge_date")
            for table in ("tenants", "credentials", "sources", "mailboxes", "memberships", "folders", "checkpoints")
        ),
        *((set_column(table, "purge_at", 77), table, "purge_date") for table in ("contacts", "photos", "manifests")),
        (set_column("contacts", "data_class", "photo"), "contacts", "purge_date"),
    ],
)  # fmt: skip
def test_what_was_done_to_the_database_is_found(
    vault: Vault, tenant: Tenant, tamper: Tampering, table: str, kind: str
) -> None:
    tamper(vault)
    assert (table, kind) in found(verify(vault))
    assert (table, kind) in found(verify(vault, "acme"))


@pytest.mark.parametrize(
    ("tamper", "table", "kind"),
    [
        *((set_column(table, "blob", 7), table, "unreadable") for table in SEALED_BLOBS),
        *((set_column(table, "blob", "text"), table, "unreadable") for table in SEALED_BLOBS),
        *((set_column(table, "blob", b""), table, "unreadable") for table in SEALED_BLOBS),
        (set_column("tenants", "profile", "text"), "tenants", "unreadable"),
        (set_column("photos", "details", "text"), "photos", "unreadable"),
        (set_column("photos", "content", "text"), "photos", "unreadable"),
        (set_column("manifests", "blob", "text"), "manifests", "manifest"),
        (set_column("mailboxes", "address_ix", "text"), "mailboxes", "unreadable"),
        (set_column("contacts", "purge_at", "text"), "contacts", "purge_date"),
    ],
)  # fmt: skip
def test_a_column_that_holds_another_type_is_found(
    vault: Vault, tenant: Tenant, tamper: Tampering, table: str, kind: str
) -> None:
    if vault.data.dialect != "sqlite":
        return  # it keeps columns to their types
    tamper(vault)
    assert (table, kind) in found(verify(vault))
    assert keys_in_use.listing(vault)


@pytest.mark.parametrize("table", ["tenants", "contacts", "checkpoints", "memberships", "runs"])
def test_text_where_an_id_must_stand_is_found_and_ends_the_verification(
    vault: Vault, tenant: Tenant, table: str
) -> None:
    if vault.data.dialect != "sqlite":
        return
    column = {"checkpoints": "folder_id", "memberships": "source_id"}.get(table, "id")
    change = f"UPDATE {table} SET {column} = hex({column}) WHERE rowid = 1"
    with closing(sqlite3.connect(vault.layout.database.removeprefix("sqlite:///"))) as meddler:
        assert meddler.execute(change).rowcount == 1
        meddler.commit()
    assert found(verify(vault)) == {(table, "unreadable")}
    assert found(verify(vault, "acme")) == {(table, "unreadable")}


def test_an_epoch_that_no_living_tenant_has_is_found(vault: Vault, tenant: Tenant) -> None:
    execute(vault.data, "UPDATE tenants SET epoch = 2")
    assert found(verify(vault)) == {("tenants", "index")}


def test_a_key_that_names_another_root_key_than_the_one_it_is_under_is_found(vault: Vault, tenant: Tenant) -> None:
    root_rotation.rotate(vault)
    execute(vault.key_data, "UPDATE wrapped_keys SET root_generation = 1 WHERE tenant_id = ?", tenant.id)
    (first, second) = verify(vault).findings
    assert {(one.table, str(one.kind), one.tenant_id) for one in (first, second)} == {
        ("wrapped_keys", "key", tenant.id)
    }
    assert "names another root key" in first.message


def test_a_finding_names_the_row(vault: Vault, tenant: Tenant) -> None:
    victim = some(vault, "contacts", "id")
    execute(vault.data, "UPDATE contacts SET purge_at = 5 WHERE id = ?", victim)
    (finding,) = verify(vault).findings
    assert (finding.tenant_id, finding.table, finding.row) == (tenant.id, "contacts", victim)


def test_a_contact_in_its_older_state_is_found_as_rolled_back(
    vault: Vault, tenant: Tenant, exchange: FakeExchange
) -> None:
    with vault.data.read() as tx:
        before = dict(map(tuple, tx.exec_driver_sql("SELECT id, blob FROM contacts")))
    exchange.rename("ann", "a1", "Changed")
    sync(vault, tenant)
    for contact_id, blob in before.items():
        execute(vault.data, "UPDATE contacts SET blob = ? WHERE id = ?", blob, contact_id)
    assert found(verify(vault)) == {("contacts", "rolled_back")}


def test_a_replaced_credential_that_is_put_back_is_found_as_rolled_back(vault: Vault, tenant: Tenant) -> None:
    (before,) = rows(vault.data, "credentials")
    credentials.replace(vault, tenant, secret("another"))
    execute(vault.data, "UPDATE credentials SET id = ?, blob = ?", before[0], before[2])
    assert found(verify(vault)) == {("credentials", "rolled_back")}


def test_a_whole_tenant_of_yesterday_is_found_as_rolled_back(place: Place) -> None:
    vault = place.create()
    register(vault)
    manifest = rows(vault.data, "manifests")[0]
    tenant = tenants.find(vault, "acme")
    sources.add(vault, tenant, "user", "bob")
    vault.anchor()
    execute(vault.data, "DELETE FROM sources")
    execute(vault.data, "UPDATE manifests SET blob = ?", manifest[3])
    vault.close()
    assert found(verify(place.open())) == {("manifests", "rolled_back")}


def test_a_tenant_that_is_gone_without_an_erasure_is_found(vault: Vault, tenant: Tenant) -> None:
    vault.anchor()
    for table in ("manifests", "contacts", "mailboxes", "sources", "credentials", "tenants"):
        execute(vault.data, f"DELETE FROM {table}")
    verdict = verify(vault)
    assert found(verdict) == {("tenants", "missing")}
    assert verdict.findings[0].row == tenant.id


def test_an_erased_tenant_is_no_finding(vault: Vault, tenant: Tenant) -> None:
    vault.anchor()
    erasure.erase(vault, tenant, reason=erasure.ON_DEMAND, role="root")
    assert verify(vault).findings == []


def test_a_process_that_ends_after_an_erasure_brings_no_anchor_back(place: Place) -> None:
    slow = place.create()
    tenant = register(slow)  # noted, and not written down yet
    other = place.open()
    erasure.erase(other, tenant, reason=erasure.ON_DEMAND, role="root")
    slow.anchor()
    assert rows(other.key_data, "anchors") == []
    assert verify(other).findings == []


def test_an_anchor_of_a_tenant_that_the_ledger_calls_erased_is_no_finding(vault: Vault, tenant: Tenant) -> None:
    erasure.erase(vault, tenant, reason=erasure.ON_DEMAND, role="root")
    execute(vault.key_data, "INSERT INTO anchors (tenant_id, counter) VALUES (?, 9)", tenant.id)
    assert verify(vault).findings == []


@pytest.mark.parametrize("value", ["", "text", "-1", "9" * 5000])
def test_a_count_of_the_key_store_that_is_no_number_is_found(place: Place, value: str) -> None:
    with place.create() as vault:
        register(vault, "acme")
    with place.open() as vault:
        execute(vault.key_data, "UPDATE key_meta SET value = ? WHERE name = 'anchored'", value)
        assert found(verify(vault)) == {("key_meta", "rolled_back")}


def test_a_missing_manifest_is_found(vault: Vault, tenant: Tenant) -> None:
    vault.anchor()
    vault.anchors.forget(tenant.id)
    execute(vault.data, "DELETE FROM manifests")
    assert found(verify(vault)) == {("manifests", "manifest")}


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM wrapped_keys WHERE purpose = 'data' AND tenant_id = ?",
        "UPDATE wrapped_keys SET blob = substr(blob, 1, 90) WHERE purpose = 'data' AND tenant_id = ?",
        "DELETE FROM wrapped_keys WHERE tenant_id = ?",
        "UPDATE wrapped_keys SET state = 'retired' WHERE purpose = 'data' AND tenant_id = ?",
        "UPDATE wrapped_keys SET state = 'retired' WHERE purpose = 'index' AND tenant_id = ?",
    ],
)
def test_a_tenants_key_that_is_damaged_or_gone_is_found(vault: Vault, tenant: Tenant, sql: str) -> None:
    execute(vault.key_data, sql, tenant.id)
    vault.keys.forget(tenant.id)
    assert found(verify(vault)) == {("wrapped_keys", "key")}


def test_another_tenants_wrapped_key_is_found(vault: Vault, tenant: Tenant) -> None:
    other = register(vault, "other")
    with vault.key_data.read() as tx:
        wrapped = [tuple(row) for row in tx.exec_driver_sql("SELECT tenant_id, purpose, blob FROM wrapped_keys")]
    (blob,) = [blob for tenant_id, purpose, blob in wrapped if tenant_id == other.id and purpose == "data"]
    execute(
        vault.key_data, "UPDATE wrapped_keys SET blob = ? WHERE tenant_id = ? AND purpose = 'data'", blob, tenant.id
    )
    vault.keys.forget(tenant.id)
    verdict = verify(vault)
    assert found(verdict) == {("wrapped_keys", "key")}
    assert {finding.tenant_id for finding in verdict.findings} == {tenant.id}


def test_one_tenants_damage_hides_no_others(vault: Vault, tenant: Tenant) -> None:
    other = register(vault, "other")
    execute(vault.data, "UPDATE tenants SET profile = ? WHERE id = ?", b"nothing", tenant.id)
    execute(vault.data, "DELETE FROM credentials WHERE tenant_id = ?", other.id)
    assert {(one.tenant_id, one.table) for one in verify(vault).findings} >= {
        (tenant.id, "tenants"), (other.id, "credentials"),
    }  # fmt: skip


def test_a_key_store_older_than_the_root_key_provider_has_seen_is_found(place: Place) -> None:
    vault = place.create()
    register(vault)
    vault.close()
    vault = place.open()
    execute(vault.key_data, "UPDATE key_meta SET value = '0' WHERE name = 'anchored'")
    assert found(verify(vault)) == {("key_meta", "rolled_back")}


def test_a_tenant_that_is_written_to_meanwhile_is_checked_as_one(
    vault: Vault, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle = verifying._settle

    def write_first(*args: Any) -> None:
        sources.add(vault, tenant, "user", "eve")
        settle(*args)

    monkeypatch.setattr(verifying, "_settle", write_first)
    assert verify(vault).findings == []


def test_commits_that_others_anchor_meanwhile_are_no_finding(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.create()
    vault, other = place.open(), place.open()
    tenant = register(other)
    compare = verifying._compare

    def write_first(*args: Any) -> None:
        sources.add(other, tenant, "user", "eve")
        other.anchor()
        compare(*args)

    monkeypatch.setattr(verifying, "_compare", write_first)
    assert verify(vault).findings == []


def test_a_key_store_that_goes_on_meanwhile_is_no_finding(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.create()
    vault, other = place.open(), place.open()
    tenant = register(other)
    faults = ledger.faults

    def write_first(*args: Any) -> Any:
        sources.add(other, tenant, "user", "eve")
        other.anchor()
        return faults(*args)

    monkeypatch.setattr(ledger, "faults", write_first)
    assert verify(vault).findings == []


def test_a_tenant_whose_facts_change_while_it_is_checked_as_one_is_judged_by_those_of_then(
    vault: Vault, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle, check = verifying._settle, verifying._check_as_one

    def write_first(*args: Any) -> None:
        sources.add(vault, tenant, "user", "eve")
        settle(*args)

    def renew_first(*args: Any) -> Any:
        tenants.update(vault, tenant, lambda facts: replace(facts, subscription=facts.subscription.renew(LONG_AFTER)))
        return check(*args)

    monkeypatch.setattr(verifying, "_settle", write_first)
    monkeypatch.setattr(verifying, "_check_as_one", renew_first)
    assert verify(vault).findings == []


def test_a_tenant_that_is_erased_while_it_is_checked_is_no_finding(
    vault: Vault, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle = verifying._settle

    def erase_first(*args: Any) -> None:
        sources.add(vault, tenant, "user", "eve")
        intent = erasure._fence(vault, tenant, erasure.ON_DEMAND, "root")
        with pytest.raises(KeyboardInterrupt):  # it has destroyed the keys, and not removed the rows
            erasure._delete(vault, tenant.id, intent)
        settle(*args)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(verifying, "_settle", erase_first)
    monkeypatch.setattr(vault.anchors, "forget", interrupt)
    assert verify(vault).findings == []


def test_processes_find_what_one_finds(vault: Vault, tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    execute(vault.data, "UPDATE contacts SET purge_at = 5")
    alone = verify(vault)
    monkeypatch.setattr(verifying, "_SPREAD_FROM", 0)
    monkeypatch.setattr(verifying, "_MAILBOXES", 1)
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    told: list[tuple[int, int]] = []
    spread = verify(vault, progress=lambda done, total: told.append((done, total)))
    assert (spread.checked, set(spread.findings)) == (alone.checked, set(alone.findings))
    assert told[-1] == (2, 2)


def test_a_damaged_key_of_the_vault_itself_is_found(vault: Vault) -> None:
    execute(
        vault.key_data,
        "UPDATE wrapped_keys SET purpose = 'other' WHERE tenant_id = ? AND purpose = 'names'",
        VAULT_TENANT,
    )
    assert found(verify(vault)) == {("wrapped_keys", "key")}


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE erasure_ledger SET at = at + 1 WHERE event = 'completed'",
        "UPDATE erasure_ledger SET event = 'keys_destroyed'",
        "DELETE FROM erasure_ledger WHERE event = 'intent'",
        "DELETE FROM erasure_ledger",
    ],
)
def test_an_altered_erasure_ledger_is_found(vault: Vault, tenant: Tenant, sql: str) -> None:
    erasure.erase(vault, tenant, reason=erasure.ON_DEMAND, role="root")
    execute(vault.key_data, sql)
    assert ("erasure_ledger", "unreadable") in found(verify(vault))
    assert {table for table, _ in found(verify(vault))} == {"erasure_ledger"}


def test_an_erasure_that_nobody_ordered_is_found(vault: Vault, tenant: Tenant) -> None:
    execute(vault.data, "UPDATE tenants SET state = 'erasing', erasure = '{}'")
    verdict = verify(vault)
    assert found(verdict) == {("tenants", "unreadable")}
    assert verdict.findings[0].row == tenant.id


def test_a_process_that_is_killed_ends_the_verification(
    vault: Vault, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "_SPREAD_FROM", 0)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr(verifying, "_check", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(StorageError, match="was killed"):
        verify(vault)
