"""Sources, mailboxes and folders in the store: who names whom, and where each folder's round stands."""

from __future__ import annotations

import pytest

from syncvault.store import contacts, folders, mailboxes, removals, sources, tenants
from syncvault.store.engine import Database
from syncvault.store.faults import ConflictError
from syncvault.store.mailboxes import MailboxChange
from syncvault.store.tenants import TenantRow
from tests.integration import store_rows as rows


@pytest.fixture
def owner(data_db: Database) -> TenantRow:
    row = rows.tenant()
    with data_db.write() as tx:
        tenants.insert(tx, row)
    return row


def test_a_source_is_registered_once(data_db: Database, owner: TenantRow) -> None:
    group = rows.source(owner)
    with data_db.write() as tx:
        sources.insert(tx, group)
        assert sources.by_ref(tx, owner.id, "group", group.ref_ix) == group
        assert sources.by_ref(tx, owner.id, "user", group.ref_ix) is None
    with pytest.raises(ConflictError), data_db.write() as tx:
        sources.insert(tx, rows.source(owner, ref_ix=group.ref_ix))


def test_a_source_belongs_to_its_tenant_alone(data_db: Database, owner: TenantRow) -> None:
    group = rows.source(owner)
    with data_db.write() as tx:
        sources.insert(tx, group)
        assert not sources.delete(tx, rows.new_id(), group.id)
        assert sources.delete(tx, owner.id, group.id)
        assert sources.of_tenant(tx, owner.id) == []


def test_a_source_of_an_unknown_tenant_is_a_conflict(data_db: Database) -> None:
    with pytest.raises(ConflictError), data_db.write() as tx:
        sources.insert(tx, rows.source(rows.tenant()))


def test_a_mailbox_leaves_only_when_all_its_sources_stopped_naming_it(data_db: Database, owner: TenantRow) -> None:
    first, second, box = rows.source(owner), rows.source(owner), rows.mailbox(owner)
    with data_db.write() as tx:
        sources.insert(tx, first)
        sources.insert(tx, second)
        mailboxes.insert_many(tx, [box])
        assert mailboxes.without_source(tx, owner.id) == [box]
        sources.put_memberships(tx, [rows.membership(first, box), rows.membership(second, box)])
        assert sources.mailbox_counts(tx, owner.id) == {first.id: 1, second.id: 1}
        assert sources.set_leaving(tx, first.id, [box.id]) == 1
        assert mailboxes.leaving(tx, owner.id) == []
        sources.set_leaving(tx, second.id, [box.id])
        assert mailboxes.leaving(tx, owner.id) == [box]
        assert mailboxes.without_source(tx, owner.id) == []
        sources.put_memberships(tx, [rows.membership(first, box)])
        assert mailboxes.leaving(tx, owner.id) == []
        assert sources.delete_leaving(tx, owner.id) == 1
        assert sources.memberships_of_tenant(tx, owner.id) == [rows.membership(first, box)]
        sources.delete(tx, owner.id, first.id)
        assert mailboxes.without_source(tx, owner.id) == [box]


def test_mailboxes_are_found_by_key_and_by_address(data_db: Database, owner: TenantRow) -> None:
    boxes = [rows.mailbox(owner) for _ in range(70)]
    with data_db.write() as tx:
        assert mailboxes.insert_many(tx, boxes) == 70
        assert mailboxes.by_key(tx, owner.id, boxes[3].key_ix) == boxes[3]
        assert mailboxes.by_key(tx, rows.new_id(), boxes[3].key_ix) is None
        assert mailboxes.by_address(tx, owner.id, boxes[4].address_ix or b"") == [boxes[4]]
        wanted = [box.key_ix for box in boxes] + [rows.new_id()]
        assert mailboxes.by_keys(tx, owner.id, wanted) == {box.key_ix: box for box in boxes}
        assert mailboxes.get(tx, owner.id, boxes[5].id) == boxes[5]
        assert mailboxes.update_many(tx, [MailboxChange(None, b"new", boxes[5].id, owner.id)]) == 1
        assert mailboxes.get(tx, owner.id, boxes[5].id) == boxes[5]._replace(address_ix=None, blob=b"new")


def test_mailboxes_are_listed_by_id(data_db: Database, owner: TenantRow) -> None:
    boxes = sorted((rows.mailbox(owner) for _ in range(7)), key=lambda box: box.id)
    with data_db.write() as tx:
        mailboxes.insert_many(tx, boxes)
        assert mailboxes.of_tenant(tx, owner.id) == boxes
        assert mailboxes.ids_of_tenant(tx, owner.id) == [box.id for box in boxes]


def test_a_mailbox_goes_with_everything_in_it(data_db: Database, owner: TenantRow) -> None:
    box, other = rows.mailbox(owner), rows.mailbox(owner)
    place = rows.folder(box)
    with data_db.write() as tx:
        mailboxes.insert_many(tx, [box, other])
        folders.insert(tx, place)
        folders.set_checkpoint(tx, rows.checkpoint(place))
        contacts.insert_many(tx, [rows.contact(box), rows.contact(box, place), rows.contact(other)])
        assert mailboxes.delete(tx, rows.new_id(), [box.id]) == 0
        assert mailboxes.delete(tx, owner.id, [box.id]) == 1
        assert contacts.counts(tx, owner.id) == {"card": 1}
        assert folders.of_mailbox(tx, box.id) == []


def test_a_folder_shows_its_checkpoint(data_db: Database, owner: TenantRow) -> None:
    box = rows.mailbox(owner)
    place, bare = rows.folder(box), rows.folder(box)
    with data_db.write() as tx:
        mailboxes.insert_many(tx, [box])
        folders.insert(tx, place)
        folders.insert(tx, bare)
        folders.set_checkpoint(tx, rows.checkpoint(place, b"one"))
        folders.set_checkpoint(tx, rows.checkpoint(place, b"two"))
        found = {state.folder: state.checkpoint for state in folders.of_mailbox(tx, box.id)}
        assert found == {place: rows.checkpoint(place, b"two"), bare: None}
        assert folders.by_ids(tx, [place.id, rows.new_id()]) == {place.id: place}
        assert folders.update(tx, place.id, b"renamed")
        folders.set_gone(tx, bare.id)
        renamed, left = place._replace(blob=b"renamed"), bare._replace(gone=1)
        assert {state.folder for state in folders.of_mailbox(tx, box.id)} == {renamed, left}


def test_what_a_full_round_did_not_bring_awaits_removal(data_db: Database, owner: TenantRow) -> None:
    box = rows.mailbox(owner)
    place, elsewhere = rows.folder(box), rows.folder(box)
    kept, gone, untouched = rows.contact(box, place), rows.contact(box, place), rows.contact(box, elsewhere)
    with data_db.write() as tx:
        mailboxes.insert_many(tx, [box])
        folders.insert(tx, place)
        folders.insert(tx, elsewhere)
        contacts.insert_many(tx, [kept, gone, untouched, rows.contact(box)])
        assert folders.add_seen(tx, [rows.seen(kept)]) == 1
        folders.add_seen(tx, [rows.seen(kept)])
        assert folders.pend_unseen(tx, place.id) == 1
        assert folders.pend_unseen(tx, place.id) == 0
        assert removals.each(tx, owner.id) == [(gone.id, box.id)]
        assert folders.clear_seen(tx, place.id) == 1


def test_a_full_round_that_begins_forgets_what_the_last_one_saw(data_db: Database, owner: TenantRow) -> None:
    box = rows.mailbox(owner)
    place = rows.folder(box)
    entry = rows.contact(box, place)
    with data_db.write() as tx:
        mailboxes.insert_many(tx, [box])
        folders.insert(tx, place)
        contacts.insert_many(tx, [entry])
        folders.set_checkpoint(tx, rows.checkpoint(place))
        folders.add_seen(tx, [rows.seen(entry)])
        folders.begin_round(tx, place.id)
        assert folders.of_mailbox(tx, box.id)[0].checkpoint is None
        assert folders.pend_unseen(tx, place.id) == 1


def test_a_folder_that_is_gone_goes_once_its_contacts_went(data_db: Database, owner: TenantRow) -> None:
    box = rows.mailbox(owner)
    place, full = rows.folder(box), rows.folder(box)
    with data_db.write() as tx:
        mailboxes.insert_many(tx, [box])
        folders.insert(tx, place)
        folders.insert(tx, full)
        contacts.insert_many(tx, [rows.contact(box, place), rows.contact(box, place), rows.contact(box, full)])
        folders.set_gone(tx, place.id)
        assert folders.pend_all(tx, place.id) == 2
        assert folders.delete_gone(tx, owner.id) == 0
        assert removals.apply(tx, owner.id) == 2
        assert folders.delete_gone(tx, owner.id) == 1
        assert [state.folder for state in folders.of_mailbox(tx, box.id)] == [full]
        assert contacts.counts(tx, owner.id) == {"contact": 1}
