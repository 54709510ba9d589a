"""Tenants in the store: the fence, quarantine, retagging, counting, and removal as a whole."""

from __future__ import annotations

import pytest

from syncvault.errors import BusyError
from syncvault.store import (
    contacts,
    credentials,
    folders,
    mailboxes,
    manifests,
    photos,
    removals,
    runs,
    sources,
    tenants,
)
from syncvault.store.engine import Database, Transaction
from syncvault.store.faults import ConflictError, Fenced
from syncvault.store.statements import insert, run
from syncvault.store.tenants import TenantCounts, TenantRow
from tests.integration import store_rows as rows


def populate(db: Database, *, people: int = 3) -> TenantRow:
    """Stores a tenant that has something in every table."""
    owner = rows.tenant()
    group, box = rows.source(owner), rows.mailbox(owner)
    place = rows.folder(box)
    entries = [rows.contact(box, place) for _ in range(people)]
    with db.write() as tx:
        tenants.insert(tx, owner)
        credentials.put(tx, rows.credential(owner))
        manifests.put(tx, rows.manifest(owner))
        sources.insert(tx, group)
        mailboxes.insert_many(tx, [box])
        sources.put_memberships(tx, [rows.membership(group, box)])
        folders.insert(tx, place)
        folders.set_checkpoint(tx, rows.checkpoint(place))
        contacts.insert_many(tx, [rows.contact(box), *entries])
        folders.add_seen(tx, [rows.seen(entry) for entry in entries])
        photos.put_many(tx, [rows.photo(entry) for entry in entries[1:]])
        removals.add(tx, [rows.pending(entries[0])])
        runs.insert(tx, rows.run(owner))
    return owner


FULL = {"contacts": 4, "photos": 2, "seen": 3} | dict.fromkeys(
    (
        "tenants",
        "credentials",
        "sources",
        "mailboxes",
        "memberships",
        "folders",
        "checkpoints",
        "pending_removals",
        "manifests",
    ),
    1,
)


def test_a_tenant_comes_back_as_it_was_stored(data_db: Database) -> None:
    owner = rows.tenant(profile=bytes(range(256)))
    with data_db.write() as tx:
        tenants.insert(tx, owner)
    with data_db.read() as tx:
        assert tenants.get(tx, owner.id) == owner
        assert tenants.by_name(tx, owner.name_ix) == owner
        assert tenants.list_all(tx) == [owner]
        assert tenants.get(tx, rows.new_id()) is None


def test_a_second_tenant_of_the_same_name_is_a_conflict_and_leaves_nothing(data_db: Database) -> None:
    owner = rows.tenant()
    with data_db.write() as tx:
        tenants.insert(tx, owner)
    with pytest.raises(ConflictError), data_db.write() as tx:
        insert(tx, "tenants", [rows.tenant(), rows.tenant(name_ix=owner.name_ix)])
    with data_db.read() as tx:
        assert tenants.list_all(tx) == [owner]


def test_the_fence_lets_through_only_a_live_tenant_in_the_same_epoch(data_db: Database) -> None:
    owner = populate(data_db)
    with data_db.write() as tx:
        tenants.fence(tx, owner.id, 1)
    for tenant_id, epoch in ((owner.id, 2), (rows.new_id(), 1)):
        with pytest.raises(Fenced), data_db.write() as tx:
            tenants.fence(tx, tenant_id, epoch)


def test_an_erasure_that_has_begun_fences_everybody_off(data_db: Database) -> None:
    owner = populate(data_db)
    with data_db.write() as tx:
        assert tenants.begin_erasure(tx, owner.id) == 2
    for epoch in (1, 2):
        with pytest.raises(Fenced), data_db.write() as tx:
            tenants.fence(tx, owner.id, epoch)
    with data_db.write() as tx:
        assert tenants.begin_erasure(tx, owner.id) is None
        tenants.set_erasure(tx, owner.id, '{"contacts": 4}')
        (found,) = tenants.erasing(tx)
    assert (found.epoch, found.erasure) == (2, '{"contacts": 4}')


@pytest.mark.slow
@pytest.mark.parametrize("database_urls", ["postgresql"], indirect=True)
def test_an_erasure_and_other_writers_wait_for_a_commit_that_passed_the_fence(data_db: Database) -> None:
    owner = populate(data_db)
    with data_db.write() as other:
        tenants.fence(other, owner.id, 1)
        with pytest.raises(BusyError), data_db.write() as tx:
            tenants.begin_erasure(impatient(tx), owner.id)
        with pytest.raises(BusyError), data_db.write() as tx:
            tenants.fence(impatient(tx), owner.id, 1)
    with data_db.write() as tx:
        assert tenants.begin_erasure(tx, owner.id) == 2


def impatient(tx: Transaction) -> Transaction:
    run(tx, "SET LOCAL lock_timeout = 100")
    return tx


@pytest.mark.slow
@pytest.mark.parametrize("database_urls", ["postgresql"], indirect=True)
def test_tags_stay_on_the_server_until_they_are_wanted(data_db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = populate(data_db)
    monkeypatch.setattr(manifests, "_FETCHED", 2)
    with data_db.read() as tx:
        tags = manifests.tags_of_tenant(tx, owner.id, "contacts")
        assert len(next(tags)) == 2
        assert run(tx, "SELECT count(*) FROM pg_cursors").scalar_one() == 1


def test_quarantine_keeps_its_first_reason_until_it_is_lifted(data_db: Database) -> None:
    owner = populate(data_db)
    with data_db.write() as tx:
        tenants.set_quarantine(tx, owner.id, "AADSTS7000215", 500, "rotate it")
        tenants.set_quarantine(tx, owner.id, "other", 600, "other")
        found = tenants.get(tx, owner.id)
        assert found is not None
        assert (found.quarantine, found.quarantined_at, found.quarantine_advice) == ("AADSTS7000215", 500, "rotate it")
        tenants.lift_quarantine(tx, owner.id)
        assert tenants.get(tx, owner.id) == owner


def test_retagging_moves_every_personal_row_and_no_other_tenants(data_db: Database) -> None:
    owner, other = populate(data_db), populate(data_db)
    with data_db.write() as tx:
        assert tenants.retag(tx, owner.id, 77) == FULL
    with data_db.read() as tx:
        assert tenants.tags(tx, owner.id) == {name: {77} for name in FULL}
        assert tenants.tags(tx, other.id) == {name: {rows.PURGE_AT} for name in FULL}


def test_counts_are_per_tenant(data_db: Database) -> None:
    owner, other = populate(data_db, people=5), populate(data_db)
    with data_db.read() as tx:
        assert tenants.counts(tx) == {owner.id: TenantCounts(1, 1, 6, 4), other.id: TenantCounts(1, 1, 4, 2)}
        assert tenants.class_counts(tx, owner.id).items() >= {"profiles": 1, "contacts": 6, "photos": 4}.items()
        assert set(tenants.class_counts(tx, rows.new_id()).values()) == {0}


def test_of_mailboxes_those_count_that_were_opened_however_many_folders_they_have(data_db: Database) -> None:
    owner = populate(data_db)
    listed, opened = rows.mailbox(owner), rows.mailbox(owner)
    with data_db.write() as tx:
        mailboxes.insert_many(tx, [listed, opened])
        for place in (rows.folder(opened), rows.folder(opened)):
            folders.insert(tx, place)
        assert tenants.counts(tx)[owner.id].mailboxes == 2


def test_removing_a_tenant_takes_everything_of_it_and_nothing_of_others(data_db: Database) -> None:
    owner, other = populate(data_db), populate(data_db)
    with data_db.write() as tx:
        assert tenants.delete_rows(tx, owner.id) == FULL
        assert set(FULL) == set(tenants.PERSONAL_TABLES)
        assert runs.abandon(tx, owner.id, 900, "failed") == 1  # run history outlives the tenant
    with data_db.read() as tx:
        assert tenants.tags(tx, owner.id) == {name: set() for name in FULL}
        assert tenants.tags(tx, other.id) == {name: {rows.PURGE_AT} for name in FULL}
    assert data_db.integrity() == []


def test_renaming_to_a_name_that_is_taken_is_a_conflict(data_db: Database) -> None:
    owner, other = populate(data_db), populate(data_db)
    with data_db.write() as tx:
        assert tenants.update_profile(tx, owner.id, b"new", owner.name_ix)
        assert not tenants.update_profile(tx, rows.new_id(), b"new", rows.new_id())
    with pytest.raises(ConflictError), data_db.write() as tx:
        tenants.update_profile(tx, owner.id, b"new", other.name_ix)


def test_a_credential_replaces_the_one_before(data_db: Database) -> None:
    owner = populate(data_db)
    fresh = rows.credential(owner, b"rotated")
    with data_db.write() as tx:
        credentials.put(tx, fresh)
        assert credentials.get(tx, owner.id) == fresh
