"""The manifest: rows deleted or put back behind the vault's back no longer add up, and older ones stop writers."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from threading import Barrier, BrokenBarrierError
from types import ModuleType
from uuid import UUID

import pytest

from syncvault.errors import BusyError, DamagedError, NotFoundError, StorageError
from syncvault.roots.port import Held, ValueHolder
from syncvault.store import anchors
from syncvault.store import credentials as credential_rows
from syncvault.store import tenants as tenant_rows
from syncvault.store.engine import Transaction
from syncvault.vault import credentials, manifest, tenants
from syncvault.vault.content import sources
from syncvault.vault.erasing import erasure
from syncvault.vault.vault import Vault
from syncvault.vault.verify import verify
from tests.integration.fake_exchange import FakeExchange
from tests.integration.vault_parts import Place, execute, manifest_agrees, register, rows, secret, sync


@pytest.fixture
def exchange(exchange: FakeExchange) -> FakeExchange:
    exchange.hire("ann", "a1", "a2", "a3")
    exchange.photos = {"ann": b"photo of ann", "a1": b"photo of a1"}
    return exchange


def snapshot(vault: Vault, table: str, key: str = "id") -> dict[bytes, dict[str, object]]:
    """Rows of a table by their key, as they lie there."""
    with vault.data.read() as tx:
        return {row[key]: dict(row) for row in tx.exec_driver_sql(f"SELECT * FROM {table}").mappings()}


def anchor_of(vault: Vault, tenant_id: bytes) -> int | None:
    with vault.key_data.read() as tx:
        return anchors.get(tx, tenant_id)


def put_back(vault: Vault, table: str, row: dict[str, object]) -> None:
    marks = ", ".join("?" * len(row))
    execute(vault.data, f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", *row.values())


@pytest.mark.parametrize(
    "table", ["credentials", "sources", "mailboxes", "folders", "checkpoints", "contacts", "photos"]
)
def test_a_deleted_row_does_not_add_up(vault: Vault, exchange: FakeExchange, table: str) -> None:
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    key = {"checkpoints": "folder_id", "photos": "contact_id"}.get(table, "id")
    victim = min(snapshot(vault, table, key))
    execute(vault.data, f"DELETE FROM {table} WHERE {key} = ?", victim)
    assert not manifest_agrees(vault, tenant)


def test_a_contact_put_back_in_its_older_state_does_not_add_up(vault: Vault, exchange: FakeExchange) -> None:
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    before = snapshot(vault, "contacts")
    exchange.rename("ann", "a1", "Changed")
    sync(vault, tenant)
    changed = [row for key, row in snapshot(vault, "contacts").items() if row["blob"] != before[key]["blob"]]
    assert len(changed) == 1
    older = before[changed[0]["id"]]["blob"]  # type: ignore[index]
    execute(vault.data, "UPDATE contacts SET blob = ? WHERE id = ?", older, changed[0]["id"])
    assert not manifest_agrees(vault, tenant)


def test_a_removed_contact_that_is_put_back_does_not_add_up(vault: Vault, exchange: FakeExchange) -> None:
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    before = snapshot(vault, "contacts")
    exchange.folder_of("ann", "a2").remove("a2")
    sync(vault, tenant)
    (gone,) = before.keys() - snapshot(vault, "contacts").keys()
    put_back(vault, "contacts", before[gone])
    assert not manifest_agrees(vault, tenant)


def test_a_replaced_credential_that_is_put_back_does_not_add_up(vault: Vault) -> None:
    tenant = register(vault)
    (before,) = snapshot(vault, "credentials").values()
    credentials.replace(vault, tenant, secret("another"))
    execute(vault.data, "DELETE FROM credentials")
    put_back(vault, "credentials", before)
    assert credentials.load(vault, tenant).secret.reveal() == b"s3cr3t-of-acme"  # it opens like any other
    assert not manifest_agrees(vault, tenant)


def test_every_verb_that_changes_rows_keeps_the_manifest_right(vault: Vault, exchange: FakeExchange) -> None:
    tenant = register(vault, "acme", "ann")
    assert manifest_agrees(vault, tenant)
    sync(vault, tenant)
    source = sources.add(vault, tenant, "user", "bob")
    assert manifest_agrees(vault, tenant)
    sources.remove(vault, tenant, source.id)
    assert manifest_agrees(vault, tenant)
    credentials.replace(vault, tenant, secret("another"))
    assert manifest_agrees(vault, tenant)
    tenants.update(vault, tenant, lambda facts: facts)
    assert manifest_agrees(vault, tenant)


def test_the_counter_is_anchored_when_a_run_ends_and_when_the_vault_is_closed(
    place: Place, exchange: FakeExchange
) -> None:
    vault = place.create()
    tenant = register(vault, "acme", "ann")
    assert anchor_of(vault, tenant.id) is None
    sync(vault, tenant)
    after_the_run = anchor_of(vault, tenant.id)
    assert after_the_run is not None
    sources.add(vault, tenant, "user", "bob")
    assert anchor_of(vault, tenant.id) == after_the_run
    vault.close()
    assert anchor_of(place.open(), tenant.id) == after_the_run + 1


def test_a_tenant_that_is_erased_is_not_anchored_again(vault: Vault) -> None:
    tenant = register(vault)  # noted, and not yet written down
    erasure.erase(vault, tenant, reason=erasure.ON_DEMAND, role="root")
    vault.anchor()
    assert anchor_of(vault, tenant.id) is None


def test_a_transaction_that_changes_nothing_sealed_does_not_count(vault: Vault) -> None:
    tenant = register(vault)
    before = rows(vault.data, "manifests")
    with vault.writing(tenant):
        pass
    assert rows(vault.data, "manifests") == before


def test_threads_may_note_their_commits_in_any_order(vault: Vault) -> None:
    tenant = register(vault)
    for counter in (8, 9, 7):
        vault.anchors.note(tenant.id, counter)
    vault.anchor()
    assert anchor_of(vault, tenant.id) == 9


def test_what_could_not_be_written_down_stays_noted(vault: Vault) -> None:
    tenant = register(vault)
    execute(vault.key_data, "ALTER TABLE anchors RENAME TO anchors_away")
    with pytest.raises(StorageError):
        vault.anchor()
    execute(vault.key_data, "ALTER TABLE anchors_away RENAME TO anchors")
    vault.anchor()
    assert anchor_of(vault, tenant.id) == 1


def test_the_root_key_provider_holds_how_often_anchors_were_written_down(vault: Vault) -> None:
    assert isinstance(vault.keys.provider, ValueHolder)
    tenant = register(vault)
    vault.anchor()
    assert vault.keys.provider.held(Held.COUNT) == 1
    vault.anchor()  # nothing is new
    sources.add(vault, tenant, "user", "bob")
    vault.anchor()
    assert vault.keys.provider.held(Held.COUNT) == 2


def test_a_key_store_that_was_put_back_stays_behind_what_the_provider_holds(vault: Vault) -> None:
    assert isinstance(vault.keys.provider, ValueHolder)
    tenant = register(vault)
    vault.keys.provider.hold(Held.COUNT, 7)
    sources.add(vault, tenant, "user", "bob")
    vault.anchor()
    assert vault.keys.provider.held(Held.COUNT) == 7
    assert [(each.table, str(each.kind)) for each in verify(vault).findings] == [("key_meta", "rolled_back")]


def test_a_ledger_whose_end_was_taken_off_everywhere_is_behind_what_the_provider_holds(vault: Vault) -> None:
    erasure.erase(vault, register(vault), reason=erasure.ON_DEMAND, role="root")
    assert verify(vault).findings == []
    execute(vault.key_data, "DELETE FROM erasure_ledger WHERE event = 'completed'")
    vault.layout.ledger_mirror.unlink()
    assert [(each.table, str(each.kind)) for each in verify(vault).findings] == [("erasure_ledger", "rolled_back")]


def test_rows_ahead_of_their_anchor_are_healthy(place: Place) -> None:
    vault = place.create()
    tenant = register(vault)
    vault.anchor()
    sources.add(vault, tenant, "user", "bob")
    sources.add(vault, tenant, "user", "eve")  # killed here, nothing is anchored
    sources.add(place.open(), tenant, "user", "ann")


def test_a_tenant_whose_rows_are_older_than_their_anchor_is_not_written_to(place: Place) -> None:
    vault = place.create()
    tenant = register(vault)
    before = {table: rows(vault.data, table) for table in ("manifests", "sources")}
    sources.add(vault, tenant, "user", "bob")
    vault.close()
    vault = place.open()
    execute(vault.data, "DELETE FROM sources")
    assert before["sources"] == []
    execute(vault.data, "UPDATE manifests SET blob = ?", before["manifests"][0][3])
    assert manifest_agrees(vault, tenant)  # all rows of an older state agree with each other
    said = f"tenant {UUID(bytes=tenant.id)} are older than what the key store has seen"
    with pytest.raises(DamagedError, match=said) as refused:
        sources.add(vault, tenant, "user", "eve")
    assert "restore it from a backup" in refused.value.advice
    assert rows(vault.data, "sources") == []


def test_a_tenant_without_its_manifest_is_not_written_to(place: Place) -> None:
    vault = place.create()
    tenant = register(vault)
    vault.close()
    vault = place.open()
    execute(vault.data, "DELETE FROM manifests")
    with pytest.raises(DamagedError, match=f"tenant {UUID(bytes=tenant.id)} is missing") as refused:
        sources.add(vault, tenant, "user", "eve")
    assert "restore it from a backup" in refused.value.advice


def test_a_tenant_of_before_gets_its_manifest_at_the_next_write(vault: Vault, exchange: FakeExchange) -> None:
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    execute(vault.data, "DELETE FROM manifests")
    execute(vault.key_data, "DELETE FROM anchors")
    vault.anchors.forget(tenant.id)
    sources.add(vault, tenant, "user", "bob")
    assert len(rows(vault.data, "manifests")) == 1
    assert manifest_agrees(vault, tenant)


def test_no_manifest_is_made_for_a_tenant_that_is_gone(vault: Vault) -> None:
    tenant = register(vault)
    keys = vault.keys.tenant(tenant.id)
    with pytest.raises(NotFoundError, match=r"^The tenant was erased meanwhile\.$"), vault.write() as tx:
        manifest.rebuild(tx, keys, b"x" * 16)


@pytest.mark.parametrize("column", ["data_generation", "index_generation"])
def test_whoever_still_has_the_keys_of_before_a_rotation_is_held_off(vault: Vault, column: str) -> None:
    tenant = register(vault)
    execute(vault.data, f"UPDATE manifests SET {column} = 2")
    with pytest.raises(BusyError, match="rotated"):
        sources.add(vault, tenant, "user", "bob")


@pytest.mark.parametrize("column", ["data_generation", "index_generation"])
@pytest.mark.parametrize("value", [0, -5])
def test_an_altered_generation_is_damage(vault: Vault, column: str, value: int) -> None:
    tenant = register(vault)
    execute(vault.data, f"UPDATE manifests SET {column} = {value}")
    with pytest.raises(DamagedError, match="of manifests does not open"):
        sources.add(vault, tenant, "user", "bob")


def _replace(vault: Vault, name: str) -> object:
    return credentials.replace(vault, tenants.find(vault, "acme"), secret(name))


def _edit(vault: Vault, name: str) -> object:
    change = lambda known: replace(known, customer_number=name)  # noqa: E731
    return tenants.update(vault, tenants.find(vault, "acme"), change)


@pytest.mark.slow
@pytest.mark.parametrize("database_urls", ["postgresql"], indirect=True)
@pytest.mark.parametrize(("table", "verb"), [(credential_rows, _replace), (tenant_rows, _edit)])
def test_two_who_replace_the_same_row_at_once_take_turns(
    vault: Vault, monkeypatch: pytest.MonkeyPatch, table: ModuleType, verb: Callable[[Vault, str], object]
) -> None:
    tenant = register(vault)
    get, both_have_read = table.get, Barrier(2)

    def get_together(tx: Transaction, tenant_id: bytes) -> object:
        row = get(tx, tenant_id)
        with suppress(BrokenBarrierError):  # the other waits its turn
            both_have_read.wait(timeout=0.5)
        return row

    monkeypatch.setattr(table, "get", get_together)
    with ThreadPoolExecutor(2) as threads:
        assert len(list(threads.map(verb, [vault] * 2, ["one", "other"]))) == 2
    assert manifest_agrees(vault, tenant)
