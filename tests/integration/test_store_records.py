"""Settings, run history, the audit trail, the key database and the erasure ledger in the store."""

from __future__ import annotations

import pytest

from syncvault.store import audit, keys, ledger, meta, runs, tenants
from syncvault.store.audit import AuditRow, SegmentRow
from syncvault.store.engine import Database
from syncvault.store.faults import ConflictError
from syncvault.store.keys import VAULT_TENANT, RootRow
from tests.integration import store_rows as rows


def test_settings_are_set_and_replaced_in_either_database(data_db: Database, key_db: Database) -> None:
    for database, in_keys in ((data_db, False), (key_db, True)):
        with database.write() as tx:
            assert meta.get(tx, "vault_id", keys=in_keys) is None
            meta.put(tx, "vault_id", "old", keys=in_keys)
            meta.put(tx, "vault_id", "100 % ?", keys=in_keys)
            assert meta.get(tx, "vault_id", keys=in_keys) == "100 % ?"


def test_the_last_run_is_the_latest_that_ended(data_db: Database) -> None:
    owner, other = rows.tenant(), rows.tenant()
    early, late, open_run = rows.run(owner, 100), rows.run(owner, 200), rows.run(owner, 300)
    with data_db.write() as tx:
        for row in (early, late, open_run, rows.run(other, 400)):
            runs.insert(tx, row)
        assert runs.last_per_tenant(tx) == {}
        assert runs.finish(tx, early.id, 150, "ok", "{}")
        assert runs.finish(tx, late.id, 250, "partial", '{"added": 1}')
        assert not runs.finish(tx, late.id, 999, "ok", "{}")
        latest = late._replace(ended_at=250, status="partial", counts='{"added": 1}')
        assert runs.last_per_tenant(tx) == {owner.id: latest}
        assert runs.abandon(tx, owner.id, 350, "failed") == 1
        assert runs.last_per_tenant(tx)[owner.id].id == open_run.id


def test_runs_are_pruned_by_their_own_date(data_db: Database) -> None:
    owner = rows.tenant()
    with data_db.write() as tx:
        runs.insert(tx, rows.run(owner, purge_at=10))
        runs.insert(tx, rows.run(owner, purge_at=11))
        assert runs.prune(tx, 10) == 1


def test_audit_entries_come_newest_first_or_oldest_first_in_pages(data_db: Database) -> None:
    written = [_entry(seq) for seq in range(1, 6)]
    with data_db.write() as tx:
        assert audit.newest(tx) == 0
        for one in written:
            audit.append(tx, one)
        assert [audit.newest(tx), audit.newest(tx, signed=True)] == [5, 4]
        first = audit.list_latest(tx, limit=3)
        rest = audit.list_latest(tx, before=first[-1].seq, since=2)
        assert first + rest == written[:0:-1]
        assert audit.page(tx, after=1, until=4, limit=2) == written[1:3]
        assert audit.numbers(tx, after=1, until=4, limit=9) == [2, 3, 4]
        assert audit.signatures(tx, [2, 5, 9]) == {2: b"s" * 64, 5: None}


def test_audit_entries_are_deleted_from_the_oldest_on(data_db: Database) -> None:
    with data_db.write() as tx:
        for seq in range(1, 6):
            audit.append(tx, _entry(seq))
        assert audit.delete_before(tx, 4, limit=2) == 2
        assert audit.delete_before(tx, 4, limit=2) == 1
        assert audit.delete_unsigned(tx, 6, now=8) == 0
        assert audit.delete_unsigned(tx, 5, now=9) == 0
        assert audit.delete_unsigned(tx, 6, now=9) == 1
        assert audit.numbers(tx, after=0, until=9, limit=9) == [4]


def test_pins_of_the_audit_trail_are_replaced_as_a_whole(key_db: Database) -> None:
    first = SegmentRow(1, b"k" * 32, bytes(64), 4, b"s" * 64)
    with key_db.write() as tx:
        audit.lock(tx)
        audit.set_segments(tx, [first._replace(first_seq=7), first])
        assert audit.segments(tx) == [first, first._replace(first_seq=7)]
        audit.set_segments(tx, [first])
        assert audit.segments(tx) == [first]


def _entry(seq: int) -> AuditRow:
    entry = AuditRow(seq, 0, 0, "root", "sync", None, "ok", "audit-entry", 9)
    return entry if seq == 5 else entry._replace(next_key=b"k" * 32, signature=b"s" * 64)


def test_the_next_root_generation_takes_over_with_every_key_or_not_at_all(key_db: Database) -> None:
    tenant_id = rows.new_id()
    stored = [rows.wrapped_key(tenant_id), rows.wrapped_key(VAULT_TENANT, "names")]
    with key_db.write() as tx:
        keys.insert_root(tx, RootRow(1, "file", "{}", "current", 100))
        keys.insert_root(tx, RootRow(2, "file", "{}", "creating", 200))
        keys.insert_many(tx, stored)
    with pytest.raises(ConflictError), key_db.write() as tx:
        keys.rewrap_all(tx, 2, {stored[0].id: b"new"})
    with key_db.read() as tx:
        assert keys.current_root(tx) == RootRow(1, "file", "{}", "current", 100)
    with key_db.write() as tx:
        assert keys.rewrap_all(tx, 2, {row.id: b"new" for row in stored}) == 2
        keys.promote_root(tx, 2)
    with key_db.read() as tx:
        assert {(row.blob, row.root_generation) for row in keys.list_all(tx)} == {(b"new", 2)}
        assert [row.state for row in keys.roots(tx)] == ["retired", "current"]


def test_only_a_root_generation_that_is_recorded_can_come_into_force(key_db: Database) -> None:
    with key_db.write() as tx:
        keys.insert_root(tx, RootRow(1, "file", "{}", "current", 100))
        assert keys.set_root_state(tx, 1, "destroyed")
        assert keys.roots(tx) == [RootRow(1, "file", "{}", "destroyed", 100)]
    with pytest.raises(ConflictError), key_db.write() as tx:
        keys.promote_root(tx, 9)


def test_a_tenants_keys_go_together_and_no_others_with_them(key_db: Database) -> None:
    tenant_id, other = rows.new_id(), rows.new_id()
    purposes = ("data", "index")
    with key_db.write() as tx:
        keys.insert_root(tx, RootRow(1, "file", "{}", "current", 100))
        keys.insert_many(tx, [rows.wrapped_key(tenant_id, purpose) for purpose in purposes])
        keys.insert_many(tx, [rows.wrapped_key(tenant_id, generation=2), rows.wrapped_key(other)])
        keys.insert_many(tx, [rows.wrapped_key(VAULT_TENANT, "names")])
        assert keys.delete_of_tenant(tx, tenant_id) == 3
        assert {row.tenant_id for row in keys.list_all(tx)} == {other, VAULT_TENANT}


def test_a_key_has_each_generation_once_the_vaults_own_too(key_db: Database) -> None:
    key = rows.wrapped_key(VAULT_TENANT, "receipt")
    with key_db.write() as tx:
        keys.insert_root(tx, RootRow(1, "file", "{}", "current", 100))
        keys.insert_many(tx, [key])
        assert keys.of_tenant(tx, VAULT_TENANT) == [key]
    with pytest.raises(ConflictError), key_db.write() as tx:
        keys.insert_many(tx, [rows.wrapped_key(VAULT_TENANT, "receipt")])


def test_the_ledger_numbers_its_entries_in_the_order_of_writing(key_db: Database) -> None:
    tenant_id = rows.new_id()
    with key_db.write() as tx:
        first = ledger.append(tx, 100, "intent", tenant_id, "{}")
        second = ledger.append(tx, 101, "completed", tenant_id, '{"counts": 1}')
        ledger.append(tx, 102, "intent", rows.new_id(), "{}")
        assert [row.event for row in ledger.of_tenant(tx, tenant_id)] == ["intent", "completed"]
        assert ledger.list_all(tx)[0] == (first, 100, "intent", tenant_id, "{}", None)
        assert next(row.seq for row in ledger.list_all(tx, after=first)) == second
    with pytest.raises(ConflictError), key_db.write() as tx:
        ledger.append(tx, 103, "forgotten", tenant_id, "{}")  # type: ignore[arg-type]


def test_a_state_that_no_tenant_can_have_is_refused(data_db: Database) -> None:
    with pytest.raises(ConflictError), data_db.write() as tx:
        tenants.insert(tx, rows.tenant(state="asleep"))
