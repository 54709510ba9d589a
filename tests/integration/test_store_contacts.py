"""Contacts and photos in the store: by the page, found again by their remote ID, removed behind the brake."""

from __future__ import annotations

import pytest

from syncvault.store import contacts, folders, mailboxes, photos, removals, tenants
from syncvault.store.contacts import ContactChange, PhotoDueChange
from syncvault.store.engine import Database
from syncvault.store.faults import ConflictError
from syncvault.store.folders import FolderRow
from syncvault.store.mailboxes import MailboxRow
from tests.integration import store_rows as rows


@pytest.fixture
def box(data_db: Database) -> MailboxRow:
    owner = rows.tenant()
    row = rows.mailbox(owner)
    with data_db.write() as tx:
        tenants.insert(tx, owner)
        mailboxes.insert_many(tx, [row])
    return row


@pytest.fixture
def place(data_db: Database, box: MailboxRow) -> FolderRow:
    row = rows.folder(box)
    with data_db.write() as tx:
        folders.insert(tx, row)
    return row


def test_contacts_are_found_again_by_their_remote_ids(data_db: Database, box: MailboxRow, place: FolderRow) -> None:
    entries = [rows.contact(box, place) for _ in range(600)]
    with data_db.write() as tx:
        assert contacts.insert_many(tx, entries) == 600
    with data_db.read() as tx:
        wanted = [entry.remote_ix for entry in entries] + [rows.new_id()]
        assert contacts.by_remote(tx, box.id, wanted) == {entry.remote_ix: entry for entry in entries}
        assert contacts.by_remote(tx, rows.new_id(), wanted) == {}
        assert contacts.by_remote(tx, box.id, []) == {}
        assert contacts.get(tx, box.tenant_id, entries[5].id) == entries[5]
        assert contacts.get(tx, rows.new_id(), entries[5].id) is None


def test_those_that_exist_are_told_from_those_that_do_not(data_db: Database, box: MailboxRow) -> None:
    entries = [rows.contact(box) for _ in range(10)]
    with data_db.write() as tx:
        contacts.insert_many(tx, entries)
        wanted = [entry.id for entry in entries] + [rows.new_id()]
        assert contacts.ids_among(tx, box.tenant_id, wanted) == {entry.id for entry in entries}
        assert contacts.ids_among(tx, rows.new_id(), wanted) == set()


def test_a_remote_id_is_stored_once_per_mailbox(data_db: Database, box: MailboxRow) -> None:
    entry = rows.contact(box)
    with pytest.raises(ConflictError), data_db.write() as tx:
        contacts.insert_many(tx, [entry, rows.contact(box, remote_ix=entry.remote_ix)])
    with data_db.read() as tx:
        assert contacts.counts(tx, box.tenant_id) == {}


def test_a_contact_of_an_unknown_mailbox_is_a_conflict(data_db: Database, box: MailboxRow) -> None:
    with pytest.raises(ConflictError), data_db.write() as tx:
        contacts.insert_many(tx, [rows.contact(box, mailbox_id=rows.new_id())])


def test_an_update_touches_the_contact_named_and_only_under_its_tenant(data_db: Database, box: MailboxRow) -> None:
    entry, other = rows.contact(box), rows.contact(box)
    change = ContactChange(rows.new_id(), b"new", 9, "contact", 8, entry.id, box.tenant_id)
    with data_db.write() as tx:
        contacts.insert_many(tx, [entry, other])
        assert contacts.update_many(tx, [change, change._replace(id=other.id, tenant_id=rows.new_id())]) == 1
        found = contacts.by_remote(tx, box.id, [entry.remote_ix, other.remote_ix])
    expected = entry._replace(folder_id=change.folder_id, blob=b"new", photo_due_at=9, purge_at=8)
    assert found == {entry.remote_ix: expected, other.remote_ix: other}


@pytest.mark.parametrize("page_size", [1, 3, 4, 256])
def test_streaming_brings_every_contact_once_in_pages_of_about_the_size_asked_for(
    data_db: Database, box: MailboxRow, page_size: int
) -> None:
    owner = rows.tenant(id=box.tenant_id)
    boxes = [box, *(rows.mailbox(owner) for _ in range(4))]
    entries = [rows.contact(boxes[n % 4]) for n in range(13)]  # the fifth mailbox stays empty
    with data_db.write() as tx:
        mailboxes.insert_many(tx, boxes[1:])
        contacts.insert_many(tx, entries)
    pages = list(contacts.stream(data_db.read, box.tenant_id, page_size=page_size))
    streamed = [entry for part in pages for entry in part]
    assert streamed == sorted(entries, key=lambda entry: (entry.mailbox_id, entry.remote_ix))
    assert all(page_size <= 2 * len(part) < 3 * page_size for part in pages[:-1])
    assert 2 * len(pages[-1]) < 3 * page_size
    only = [entry for part in contacts.stream(data_db.read, box.tenant_id, mailbox_id=box.id) for entry in part]
    assert only == [entry for entry in streamed if entry.mailbox_id == box.id]


def test_a_slow_reader_of_a_stream_holds_up_neither_writers_nor_a_scrub(data_db: Database, box: MailboxRow) -> None:
    with data_db.write() as tx:
        contacts.insert_many(tx, [rows.contact(box) for _ in range(4)])
    pages = contacts.stream(data_db.read, box.tenant_id, page_size=2)
    next(pages)
    with data_db.write() as tx:
        mailboxes.delete(tx, box.tenant_id, [box.id])
    data_db.scrub(["contacts"], timeout=1)
    assert list(pages) == []


def test_contacts_are_counted_by_kind(data_db: Database, box: MailboxRow, place: FolderRow) -> None:
    with data_db.write() as tx:
        contacts.insert_many(tx, [rows.contact(box), rows.contact(box, place), rows.contact(box, place)])
        assert contacts.counts(tx, box.tenant_id) == {"card": 1, "contact": 2}
        assert contacts.counts(tx, box.tenant_id, box.id) == {"card": 1, "contact": 2}
        assert contacts.counts(tx, rows.new_id()) == {}


def test_pending_removals_take_effect_only_when_applied(data_db: Database, box: MailboxRow, place: FolderRow) -> None:
    gone, back, card = rows.contact(box, place), rows.contact(box, place), rows.contact(box)
    with data_db.write() as tx:
        contacts.insert_many(tx, [gone, back, card])
        photos.put_many(tx, [rows.photo(gone)])
        removals.add(tx, [rows.pending(gone), rows.pending(back), rows.pending(card)])
        removals.add(tx, [rows.pending(gone)])
        assert removals.clear(tx, [back.id]) == 1
        assert removals.count(tx, box.tenant_id) == {box.id: 2}
        assert contacts.counts(tx, box.tenant_id) == {"card": 1, "contact": 2}
        assert removals.apply(tx, box.tenant_id) == 2
        assert contacts.by_remote(tx, box.id, [gone.remote_ix, back.remote_ix, card.remote_ix]).keys() == {
            back.remote_ix
        }
        assert tenants.class_counts(tx, box.tenant_id)["photos"] == 0
        assert removals.clear_of_tenant(tx, box.tenant_id) == 0


def test_a_contact_that_moved_to_another_folder_meanwhile_is_not_removed(
    data_db: Database, box: MailboxRow, place: FolderRow
) -> None:
    moved, target = rows.contact(box, place), rows.folder(box)
    with data_db.write() as tx:
        folders.insert(tx, target)
        contacts.insert_many(tx, [moved])
        removals.add(tx, [rows.pending(moved)])
        contacts.update_many(tx, [ContactChange(target.id, b"", None, "contact", 1, moved.id, box.tenant_id)])
        assert removals.count(tx, box.tenant_id) == {}
        assert removals.apply(tx, box.tenant_id) == 0
        assert contacts.counts(tx, box.tenant_id) == {"contact": 1}


def test_marks_are_listed_with_their_mailbox_and_can_all_be_dropped(data_db: Database, box: MailboxRow) -> None:
    entries = [rows.contact(box) for _ in range(5)]
    with data_db.write() as tx:
        contacts.insert_many(tx, entries)
        removals.add(tx, [rows.pending(entry) for entry in entries])
        assert set(removals.each(tx, box.tenant_id)) == {(entry.id, box.id) for entry in entries}
        assert removals.clear_of_tenant(tx, box.tenant_id) == 5
        assert removals.each(tx, box.tenant_id) == []


def test_a_photo_is_replaced_and_goes_with_its_contact(data_db: Database, box: MailboxRow) -> None:
    entry, plain = rows.contact(box), rows.contact(box)
    large = rows.photo(entry, bytes(4_000_000))
    with data_db.write() as tx:
        contacts.insert_many(tx, [entry, plain])
        photos.put_many(tx, [rows.photo(entry)])
        photos.put_many(tx, [large])
        assert photos.set_details(tx, entry.id, b"looked at")
        assert not photos.set_details(tx, plain.id, b"looked at")
        assert photos.get(tx, box.tenant_id, entry.id) == large._replace(details=b"looked at")
        assert photos.get(tx, rows.new_id(), entry.id) is None
        assert photos.details(tx, [entry.id, plain.id]) == {entry.id: b"looked at"}
        removals.add(tx, [rows.pending(entry)])
        removals.apply(tx, box.tenant_id)
        assert photos.get(tx, box.tenant_id, entry.id) is None


def test_photos_can_go_alone(data_db: Database, box: MailboxRow) -> None:
    entry = rows.contact(box)
    with data_db.write() as tx:
        contacts.insert_many(tx, [entry])
        photos.put_many(tx, [rows.photo(entry)])
        assert photos.delete(tx, [entry.id]) == 1
        assert contacts.get(tx, box.tenant_id, entry.id) == entry


def test_due_photos_come_with_the_stored_ones_details_longest_due_first(
    data_db: Database, box: MailboxRow, place: FolderRow
) -> None:
    card = rows.contact(box, photo_due_at=20)
    item = rows.contact(box, place, photo_due_at=10)
    later, never = rows.contact(box, photo_due_at=31), rows.contact(box)
    with data_db.write() as tx:
        contacts.insert_many(tx, [card, item, later, never])
        photos.put_many(tx, [rows.photo(card)])
        found = contacts.photo_due(tx, box.tenant_id, 30)
        assert found == [(item, None), (card, b"details")]
        assert contacts.photo_due(tx, box.tenant_id, 30, after=found[0]) == found[1:]
        assert contacts.photo_due(tx, box.tenant_id, 30, limit=1) == found[:1]
        assert contacts.set_photo_due_many(tx, [PhotoDueChange(99, card.id, box.tenant_id)]) == 1
        assert contacts.photo_due(tx, box.tenant_id, 30) == found[:1]
