"""What the verification says of what it finds: whose row it is, what is wrong with it, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any
from uuid import UUID

import pytest

from connectors.port import Mailbox
from syncvault.crypto.index import BlindIndex
from syncvault.errors import DamagedError, NotFoundError
from syncvault.store import folders, removals
from syncvault.store.folders import SeenRow
from syncvault.store.removals import PendingRow
from syncvault.store.schema import VAULT_TENANT
from syncvault.vault import tenants
from syncvault.vault import verify as verifying
from syncvault.vault.content import sources
from syncvault.vault.erasing import erasure
from syncvault.vault.model import Tenant
from syncvault.vault.vault import Vault
from syncvault.vault.verify import Verdict, damaged_vault, verify
from syncvault.vault.verify_rows import Finding
from tests.integration.fake_exchange import FakeExchange
from tests.integration.vault_parts import Place, execute, register, rows, sync

SEALED = {
    "tenants": ("profile",),
    "credentials": ("blob",),
    "sources": ("blob",),
    "mailboxes": ("blob",),
    "folders": ("blob",),
    "checkpoints": ("blob",),
    "contacts": ("blob",),
    "photos": ("details", "content"),
}
TAGGED = ("memberships", "pending_removals", "seen", "manifests")  # nothing but their purge dates is looked at by row
KEY = {"checkpoints": "folder_id", "photos": "contact_id"}

DATABASE, DATES, KEYS = (
    "Find out who changed the database",
    "Run `syncvault purge --yes`",
    "Restore the key store from its backup",
)
Said = tuple[bytes | None, str, bytes | None, str, str]


@pytest.fixture
def tenant(vault: Vault, exchange: FakeExchange) -> Tenant:
    """A tenant with a mailbox that has an address and one that has none, and photos of a contact and a card."""
    exchange.hire("Ann", "a1", "a2")
    exchange.hire("bob", "b1").mailbox = Mailbox("bob", "")
    exchange.photos = {"a1": b"photo of a1", "bob": b"photo of bob"}
    tenant = register(vault, "acme", "Ann", "bob")
    sync(vault, tenant)
    return tenant


def column(vault: Vault, table: str, name: str) -> list[Any]:
    with vault.data.read() as tx:
        return list(tx.exec_driver_sql(f"SELECT {name} FROM {table}").scalars())


def said(findings: list[Finding], advice: str) -> list[Said]:
    """The findings in order, each of which names its row and gives this advice."""
    for finding in findings:
        assert finding.advice.startswith(advice)
        assert finding.row is None or finding.message.count(str(UUID(bytes=finding.row))) == 1
    return sorted((each.tenant_id, each.table, each.row, str(each.kind), advice) for each in findings)  # type: ignore[type-var]


def only(verdict: Verdict) -> Finding:
    (finding,) = verdict.findings
    return finding


def of_every_row(vault: Vault, tenant: Tenant, kind: str, advice: str) -> list[Said]:
    return sorted(
        (tenant.id, table, row, kind, advice) for table in SEALED for row in column(vault, table, KEY.get(table, "id"))
    )


def leave_marks_of_a_run(vault: Vault, tenant: Tenant) -> None:
    """What a run that was cut off leaves: items seen so far, and contacts that wait for their removal."""
    with vault.writing(tenant) as (tx, _):
        held = tx.exec_driver_sql("SELECT id, folder_id, remote_ix, purge_at FROM contacts WHERE kind = 'contact'")
        contact_id, folder_id, remote_ix, purge_at = held.first() or pytest.fail("there is no contact")
        folders.add_seen(tx, [SeenRow(folder_id, remote_ix, tenant.id, "checkpoint", purge_at)])
        removals.add(tx, [PendingRow(contact_id, tenant.id, folder_id, "contact", purge_at)])


def test_every_date_and_data_class_that_was_set_is_found_with_its_row(vault: Vault, tenant: Tenant) -> None:
    leave_marks_of_a_run(vault, tenant)
    assert verify(vault).findings == []
    for table in SEALED:
        execute(vault.data, f"UPDATE {table} SET data_class = 'else', purge_at = 77")
    for table in TAGGED:
        execute(vault.data, f"UPDATE {table} SET purge_at = 77")
    found = verify(vault).findings
    dates = [each for each in found if "date" in each.message]
    classes = [each for each in found if "data class" in each.message]
    assert len(dates) + len(classes) == len(found)
    assert said(classes, DATABASE) == of_every_row(vault, tenant, "purge_date", DATABASE)
    of_rows = [each for each in dates if each.table in SEALED]
    assert said(of_rows, DATES) == of_every_row(vault, tenant, "purge_date", DATES)
    of_tables = [each for each in dates if each.table in TAGGED]
    assert said(of_tables, DATES) == sorted((tenant.id, table, None, "purge_date", DATES) for table in TAGGED)
    for each in found:
        if each.row is not None:
            assert each.message.startswith(f"Row {UUID(bytes=each.row)} of {each.table}: ")


def test_one_tag_among_right_ones_is_found(vault: Vault, tenant: Tenant) -> None:
    leave_marks_of_a_run(vault, tenant)
    execute(vault.data, "UPDATE memberships SET purge_at = 77 WHERE source_id = ?", column(vault, "sources", "id")[0])
    assert said(verify(vault).findings, DATES) == [(tenant.id, "memberships", None, "purge_date", DATES)]


def test_every_record_that_does_not_open_is_found_with_its_row(vault: Vault, tenant: Tenant) -> None:
    checked = verify(vault).checked
    for table, columns in SEALED.items():
        key = KEY.get(table, "id")
        for row, *records in list(zip(*(column(vault, table, name) for name in (key, *columns)), strict=True)):
            for name, record in zip(columns, records, strict=True):
                spoilt = bytes(record)[:-1] + bytes([record[-1] ^ 1])
                execute(vault.data, f"UPDATE {table} SET {name} = ? WHERE {key} = ?", spoilt, row)
    verdict = verify(vault)
    every = of_every_row(vault, tenant, "unreadable", DATABASE)
    photos = [each for each in every if each[1] == "photos"]
    assert said(verdict.findings, DATABASE) == sorted(every + photos)  # a photo has two records
    assert verdict.checked == checked
    assert verdict.names == {}


def test_indexes_that_were_sealed_wrong_are_found_with_their_row(
    vault: Vault, exchange: FakeExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange.hire("ann", "a1")
    honest = BlindIndex.of
    with monkeypatch.context() as patch:
        patch.setattr(BlindIndex, "of", lambda self, label, value: honest(self, label, value + "!"))
        tenant = register(vault, "acme", "ann")
        sync(vault, tenant)
    expected = [
        (tenant.id, table, row, "index", DATABASE)
        for table in ("tenants", "sources", "mailboxes", "mailboxes", "folders", "contacts")
        for row in column(vault, table, "id")
    ]
    assert said(verify(vault).findings, DATABASE) == sorted(expected)


@pytest.mark.parametrize(("table", "value"), [("tenants", "onprem"), ("sources", "group")])
def test_a_kind_that_differs_from_the_sealed_one_is_found_with_its_row(
    vault: Vault, tenant: Tenant, table: str, value: str
) -> None:
    execute(vault.data, f"UPDATE {table} SET kind = ?", value)
    expected = sorted((tenant.id, table, row, "index", DATABASE) for row in column(vault, table, "id"))
    found = verify(vault).findings
    assert said(found, DATABASE) == expected
    assert all(f"{table}: A plain column does not agree" in each.message for each in found)


@pytest.mark.parametrize(
    "table", ["credentials", "sources", "mailboxes", "folders", "checkpoints", "contacts", "photos"]
)
def test_what_is_missing_is_counted_table_by_table(vault: Vault, tenant: Tenant, table: str) -> None:
    before = {name: len(rows(vault.data, name)) for name in SEALED}
    execute(vault.data, f"DELETE FROM {table}")
    verdict = verify(vault)
    gone = {name: count - len(rows(vault.data, name)) for name, count in before.items()}
    sums = [each for each in verdict.findings if "sealed records" in each.message]
    assert said(sums, DATABASE) == sorted(
        (tenant.id, name, None, "missing", DATABASE) for name, count in gone.items() if count
    )
    for each in sums:
        assert f"Table {each.table} of tenant {UUID(bytes=tenant.id)}" in each.message
        assert f"{gone[each.table] * len(SEALED[each.table])} sealed records are missing" in each.message
    others = [each for each in verdict.findings if each not in sums]
    if table == "credentials":
        assert said(others, DATABASE) == [(tenant.id, "credentials", None, "missing", DATABASE)]
        assert others[0].message.startswith("The tenant has no credential")
    elif table == "folders":
        orphans = [row[0] for row in rows(vault.data, "contacts") if row[3] is not None]
        assert len(orphans) == 3
        assert said(others, DATABASE) == sorted((tenant.id, "contacts", row, "missing", DATABASE) for row in orphans)
        assert all("contacts: Its folder is not there" in each.message for each in others)
    else:
        assert others == []


def test_one_missing_record_of_two_is_counted_as_one(vault: Vault, tenant: Tenant) -> None:
    execute(vault.data, "DELETE FROM sources WHERE id = ?", column(vault, "sources", "id")[0])
    assert ": 1 sealed records are missing" in only(verify(vault)).message


def test_removed_rows_that_are_put_back_are_counted(vault: Vault, tenant: Tenant) -> None:
    before = rows(vault.data, "sources")
    for source in sources.listing(vault, tenant)[:1]:
        sources.remove(vault, tenant, source.id)
        before = [row for row in before if row[0] == source.id]
    marks = ", ".join("?" * len(before[0]))
    for row in before:
        execute(vault.data, f"INSERT INTO sources VALUES ({marks})", *row)
    verdict = verify(vault)
    assert said(verdict.findings, DATABASE) == [(tenant.id, "sources", None, "rolled_back", DATABASE)]
    assert ": 1 sealed records are there that had been removed" in only(verdict).message


def test_rows_in_an_older_state_are_named_by_their_table(vault: Vault, tenant: Tenant) -> None:
    before = column(vault, "tenants", "profile")[0]
    tenants.update(vault, tenant, lambda facts: facts)
    execute(vault.data, "UPDATE tenants SET profile = ?", before)
    verdict = verify(vault)
    assert said(verdict.findings, DATABASE) == [(tenant.id, "tenants", None, "rolled_back", DATABASE)]
    assert ": Rows were put back in an older state" in only(verdict).message


def of_a_manifest(vault: Vault, tenant: Tenant, kind: str, advice: str) -> str:
    verdict = verify(vault)
    assert said(verdict.findings, advice)[0][:4] == (tenant.id, "manifests", tenant.id, kind)
    return only(verdict).message


def test_a_manifest_that_does_not_open_is_found_with_its_row(vault: Vault, tenant: Tenant) -> None:
    execute(vault.data, "UPDATE manifests SET blob = ?", b"\x01" * 200)
    assert "manifests does not open" in of_a_manifest(vault, tenant, "manifest", DATABASE)


def test_a_manifest_that_is_gone_is_found_with_its_tenant(vault: Vault, tenant: Tenant) -> None:
    vault.anchor()
    vault.anchors.forget(tenant.id)  # as another process would find it
    execute(vault.data, "DELETE FROM manifests")
    finding = only(verify(vault))
    assert (finding.tenant_id, finding.table, finding.row) == (tenant.id, "manifests", tenant.id)
    assert (str(finding.kind), DATABASE in finding.advice) == ("manifest", True)
    assert finding.message.startswith("The tenant's manifest is missing")


def test_a_manifest_that_was_never_written_is_no_finding(place: Place) -> None:
    vault = place.create()
    tenant = register(vault)
    execute(vault.data, "DELETE FROM manifests")
    vault.anchors.forget(tenant.id)
    with place.open() as other:
        assert verify(other).findings == []


def test_rows_behind_their_anchor_are_found_with_their_tenant(vault: Vault, tenant: Tenant) -> None:
    (manifest,) = rows(vault.data, "manifests")
    before = rows(vault.data, "sources")
    source = sources.add(vault, tenant, "user", "eve")
    vault.anchor()
    vault.anchors.forget(tenant.id)
    execute(vault.data, "DELETE FROM sources WHERE id = ?", source.id)
    execute(vault.data, "UPDATE manifests SET blob = ?", manifest[3])
    assert rows(vault.data, "sources") == before
    finding = only(verify(vault))
    assert (finding.tenant_id, finding.table, finding.row) == (tenant.id, "manifests", tenant.id)
    assert (str(finding.kind), "older than" in finding.message) == ("rolled_back", True)
    assert "backup" in finding.advice


def test_a_wrapped_key_that_does_not_open_is_found_with_its_row(vault: Vault, tenant: Tenant) -> None:
    execute(vault.key_data, "UPDATE wrapped_keys SET blob = ? WHERE tenant_id = ?", b"\x01" * 90, tenant.id)
    vault.keys.forget(tenant.id)
    spoilt = [row[0] for row in rows(vault.key_data, "wrapped_keys") if row[1] == tenant.id]
    verdict = verify(vault)
    assert said(verdict.findings, KEYS) == sorted((tenant.id, "wrapped_keys", row, "key", KEYS) for row in spoilt)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("DELETE FROM wrapped_keys WHERE tenant_id = ?", "has no keys"),
        ("UPDATE wrapped_keys SET state = 'retired' WHERE purpose = 'data' AND tenant_id = ?", "key"),
    ],
)
def test_keys_that_are_gone_are_found_with_their_tenant(vault: Vault, tenant: Tenant, sql: str, message: str) -> None:
    register(vault, "other")
    execute(vault.key_data, sql, tenant.id)
    vault.keys.forget(tenant.id)
    verdict = verify(vault)
    assert said(verdict.findings, KEYS) == [(tenant.id, "wrapped_keys", None, "key", KEYS)]
    assert message in only(verdict).message
    assert str(UUID(bytes=tenant.id)) in only(verdict).message


def test_a_key_of_the_vault_that_does_not_open_is_found_with_its_row(vault: Vault) -> None:
    execute(vault.key_data, "UPDATE wrapped_keys SET blob = ? WHERE purpose = 'names'", b"\x01" * 90)
    (row,) = [row[0] for row in rows(vault.key_data, "wrapped_keys") if (row[1], row[2]) == (VAULT_TENANT, "names")]
    latest = "Restore the key store from its latest backup"
    assert said(verify(vault).findings, latest) == [(None, "wrapped_keys", row, "key", latest)]


def test_a_vault_whose_own_keys_do_not_open_has_that_finding_alone() -> None:
    verdict = damaged_vault(DamagedError("The key store lacks keys."))
    assert verdict.checked == 0
    assert only(verdict).message == "The key store lacks keys."
    assert said(verdict.findings, KEYS)[0][:4] == (None, "wrapped_keys", None, "key")


def test_a_tenant_that_is_gone_is_named_by_its_id(vault: Vault, tenant: Tenant) -> None:
    vault.anchor()
    for table in ("memberships", "manifests", "contacts", "mailboxes", "sources", "credentials", "tenants"):
        execute(vault.data, f"DELETE FROM {table}")
    verdict = verify(vault)
    assert said(verdict.findings, DATABASE) == [(tenant.id, "tenants", tenant.id, "missing", DATABASE)]
    assert "no erasure removed it" in only(verdict).message


def test_an_erasure_that_nobody_ordered_is_named_by_its_tenant(vault: Vault, tenant: Tenant) -> None:
    execute(vault.data, "UPDATE tenants SET state = 'erasing', erasure = '{}'")
    finding = only(verify(vault))
    assert (finding.tenant_id, finding.table, finding.row) == (tenant.id, "tenants", tenant.id)
    assert str(finding.kind) == "unreadable"
    assert finding.message
    assert "backup" in finding.advice


def test_an_altered_ledger_is_a_finding_of_the_vault(vault: Vault, tenant: Tenant) -> None:
    erasure.erase(vault, tenant, reason=erasure.ON_DEMAND, role="root")
    execute(vault.key_data, "UPDATE erasure_ledger SET at = at + 1 WHERE event = 'completed'")
    forged, differs = verify(vault).findings
    for finding in (forged, differs):
        assert (finding.tenant_id, finding.table, finding.row) == (None, "erasure_ledger", None)
        assert str(finding.kind) == "unreadable"
        assert "who changed it" in finding.advice
    assert "not written by this vault" in forged.message
    assert "say different things" in differs.message


def test_a_copy_of_the_ledger_that_lags_behind_is_no_finding(vault: Vault, tenant: Tenant) -> None:
    erasure.erase(vault, tenant, reason=erasure.ON_DEMAND, role="root")
    vault.layout.ledger_mirror.unlink()
    assert verify(vault).findings == []


def test_a_key_store_of_before_is_a_finding_of_the_vault(place: Place) -> None:
    with place.create() as vault:
        register(vault)
    vault = place.open()
    execute(vault.key_data, "UPDATE key_meta SET value = '0' WHERE name = 'anchored'")
    latest = "Restore the key store from its latest backup"
    verdict = verify(vault)
    assert said(verdict.findings, latest) == [(None, "key_meta", None, "rolled_back", latest)]
    assert only(verdict).message.startswith("The key store is older")


def test_what_is_wrong_with_the_vault_is_no_finding_of_one_tenant(vault: Vault, tenant: Tenant) -> None:
    execute(vault.key_data, "UPDATE wrapped_keys SET blob = ? WHERE purpose = 'names'", b"\x01" * 90)
    assert verify(vault, "acme").findings == []
    with pytest.raises(NotFoundError, match="nobody"):
        verify(vault, "nobody")


def test_one_tenant_is_checked_without_the_others(vault: Vault, tenant: Tenant) -> None:
    other = register(vault, "other", "eve")
    execute(vault.data, "UPDATE sources SET purge_at = 77")
    alone, whole = verify(vault, "other"), verify(vault)
    assert {each.tenant_id for each in alone.findings} == {other.id}
    assert {each.tenant_id for each in whole.findings} == {tenant.id, other.id}
    assert (alone.checked, alone.names) == (3, {other.id: "other"})  # its facts, its credential, its source
    assert whole.names == {tenant.id: "acme", other.id: "other"}
    assert whole.checked == alone.checked + verify(vault, "acme").checked


def test_progress_is_told_in_mailboxes_of_all_tenants(
    vault: Vault, tenant: Tenant, exchange: FakeExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync(vault, register(vault, "other", "bob"))
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(verifying, "_MAILBOXES", 1)
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert verify(vault, progress=lambda done, total: told.append((done, total))).findings == []
    assert told == [(0, 3), (1, 3), (2, 3), (2, 3), (3, 3)]


def test_large_vaults_alone_are_spread_and_over_no_more_processes_than_there_are(
    vault: Vault, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def spread(check: Callable[[Any], Any], work: list[Any], processes: int) -> Any:
        asked.append(processes)
        return map(check, work)

    monkeypatch.setattr(verifying, "spread", spread)
    held = len(rows(vault.data, "contacts"))
    for cores, least in ((2, held), (64, held), (1, held), (None, held), (2, held + 1)):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        monkeypatch.setattr(verifying, "_SPREAD_FROM", least)
        assert verify(vault).findings == []
    assert asked == [2, 8]


def at_its_end(monkeypatch: pytest.MonkeyPatch, do: Callable[[], object]) -> None:
    """Does something between the check of a tenant's rows and the comparison with its manifest."""
    settle = verifying._settle

    def first(*args: Any) -> None:
        do()
        settle(*args)

    monkeypatch.setattr(verifying, "_settle", first)


def test_a_tenant_that_was_written_to_is_checked_and_counted_anew(
    vault: Vault, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = verify(vault).checked
    execute(vault.data, "UPDATE tenants SET kind = 'onprem'")
    at_its_end(monkeypatch, lambda: sources.add(vault, tenant, "user", "eve"))
    verdict = verify(vault)
    assert verdict.checked == checked + 1
    assert said(verdict.findings, DATABASE) == [(tenant.id, "tenants", tenant.id, "index", DATABASE)]


def test_a_tenant_that_is_renewed_while_it_is_checked_is_judged_by_its_new_facts(
    vault: Vault, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed = tenant.facts.subscription.renew(date(2031, 1, 1))
    at_its_end(monkeypatch, lambda: tenants.update(vault, tenant, lambda facts: replace(facts, subscription=renewed)))
    assert verify(vault).findings == []


def test_a_tenant_whose_terms_roll_on_is_healthy_when_its_vault_is_opened_again(place: Place) -> None:
    with place.create() as vault:
        tenant = register(vault, "acme", "ann", ends=date(2026, 1, 1), term="P1M")
        execute(vault.data, "UPDATE sources SET purge_at = 1")
        assert tenants.repair_tags(vault, tenant)
    assert verify(place.open()).findings == []


def test_what_was_found_of_a_tenant_stays_when_its_rows_are_checked_anew(
    vault: Vault, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(vault.data, "UPDATE tenants SET profile = ?", b"\x01" * 200)
    at_its_end(monkeypatch, lambda: sources.add(vault, tenant, "user", "eve"))
    assert said(verify(vault).findings, DATABASE) == [(tenant.id, "tenants", tenant.id, "unreadable", DATABASE)]


def test_a_tenant_that_gets_its_first_manifest_meanwhile_is_compared_with_it(
    vault: Vault, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(vault.data, "DELETE FROM manifests")
    execute(vault.key_data, "DELETE FROM anchors")
    vault.anchors.forget(tenant.id)

    def write_and_lose() -> None:
        sources.add(vault, tenant, "user", "eve")
        execute(vault.data, "DELETE FROM credentials")

    at_its_end(monkeypatch, write_and_lose)
    found = [each for each in verify(vault).findings if "sealed records" in each.message]
    assert said(found, DATABASE) == [(tenant.id, "credentials", None, "missing", DATABASE)]


def test_keys_that_change_meanwhile_are_read_again(
    vault: Vault, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten: list[bytes] = []
    forget = vault.keys.forget
    monkeypatch.setattr(vault.keys, "forget", lambda tenant_id: (forgotten.append(tenant_id), forget(tenant_id)))
    at_its_end(monkeypatch, lambda: sources.add(vault, tenant, "user", "eve"))
    assert verify(vault).findings == []
    assert forgotten == [tenant.id]
