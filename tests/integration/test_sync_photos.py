"""Photos follow their contacts: looked at when something changed, after a day, or when everything is."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest

from connectors.port import ServerFault
from syncvault.store import photos as photo_rows
from syncvault.sync.summary import Status
from syncvault.vault.content import contacts, photos
from syncvault.vault.content.photos import LookedAt
from syncvault.vault.model import Tenant
from syncvault.vault.vault import Vault
from tests.integration.fake_exchange import FakeExchange
from tests.integration.vault_parts import NOW, Place, register, rows, sync


def photos_of(vault: Vault, tenant: Tenant) -> dict[str, bytes | None]:
    return {
        entry.fields.get("surname", "card"): photos.read(vault, tenant, entry.id)
        for entry in contacts.stream(vault, tenant)
    }


def test_photos_are_stored_as_served_and_absent_ones_are_not(vault: Vault, exchange: FakeExchange) -> None:
    jpeg = b"\xff\xd8 jpeg"
    exchange.hire("ann", "a1", "a2")
    exchange.photos = {"ann": b"card photo", "a1": jpeg}
    tenant = register(vault, "acme", "ann")
    run = sync(vault, tenant)
    assert (run.status, run.photos) == (Status.OK, 2)
    assert photos_of(vault, tenant) == {"card": b"card photo", "a1": jpeg, "a2": None}
    stored = next(one for one in contacts.stream(vault, tenant) if one.fields.get("surname") == "a1")
    assert stored.has_photo
    assert stored.photo_sha256 == hashlib.sha256(jpeg).hexdigest()
    with vault.read() as tx:
        kept = photo_rows.get(tx, tenant.id, stored.id)
    assert kept is not None
    assert (kept.data_class, kept.purge_at) == ("photo", int(tenant.purge_at.timestamp()))
    details = photos.open_details(vault.keys.tenant(tenant.id), stored.id, kept.details)
    assert details == {"etag": f"etag-{hash(jpeg)}", "sha256": stored.photo_sha256, "size": 7}
    assert {ref.folder_id for ref in exchange.looks} == {"", "ann-inbox"}


def test_a_contact_said_to_have_none_is_never_looked_at(vault: Vault, exchange: FakeExchange) -> None:
    ann = exchange.hire("ann", "a1", "a2")
    ann.folders["ann-inbox"].pictured = {"a1": False, "a2": True}
    exchange.photos = {"a2": b"two"}
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    assert {ref.item_id for ref in exchange.looks} == {"", "a2"}
    exchange.looks.clear()
    ann.folders["ann-inbox"].pictured["a2"] = False
    exchange.rename("ann", "a2", "Changed")
    sync(vault, tenant)
    assert photos_of(vault, tenant)["a2"] is None
    assert exchange.looks == []


def test_people_are_looked_at_again_within_two_days_and_not_before_one(place: Place, exchange: FakeExchange) -> None:
    exchange.hire("ann", "a1")
    exchange.photos = {"ann": b"one", "a1": b"item"}
    tenant = register(place.create(), "acme", "ann")
    sync(place.opened[0], tenant)
    exchange.photos["ann"] = b"two"
    exchange.looks.clear()
    early = place.open(NOW + timedelta(hours=23))
    assert sync(early, tenant).photos == 0
    assert exchange.looks == []
    late = place.open(NOW + timedelta(hours=48))
    assert sync(late, tenant).photos == 1
    assert b"two" in photos_of(late, tenant).values()
    assert [look.item_id for look in exchange.looks] == [""]  # a contact's photo changes with the contact


def test_people_first_seen_together_are_looked_at_again_in_different_runs(place: Place, exchange: FakeExchange) -> None:
    everybody = [f"p{number}" for number in range(40)]
    for key in everybody:
        exchange.hire(key)
    tenant = register(place.create(), "acme", *everybody)
    sync(place.opened[0], tenant)
    exchange.looks.clear()
    sync(place.open(NOW + timedelta(hours=36)), tenant)
    assert 0 < len(exchange.looks) < 40


def test_a_full_run_looks_at_all_photos_and_rewrites_none(vault: Vault, exchange: FakeExchange) -> None:
    exchange.hire("ann", "a1", "a2")
    exchange.photos = {"a1": b"one", "a2": b"two"}
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    before = rows(vault.data, "photos")
    exchange.looks.clear()
    assert sync(vault, tenant, full=True).photos == 0
    assert len(exchange.looks) == 3
    assert rows(vault.data, "photos") == before


def test_a_photo_of_a_changed_contact_is_looked_at_at_once(vault: Vault, exchange: FakeExchange) -> None:
    exchange.hire("ann", "a1")
    exchange.photos = {"a1": b"one"}
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    exchange.photos["a1"] = b"two"
    exchange.rename("ann", "a1", "Changed")
    assert sync(vault, tenant).photos == 1
    assert photos_of(vault, tenant)["a1"] == b"two"


def test_a_photo_alone_may_have_changed_of_a_contact_that_is_named(vault: Vault, exchange: FakeExchange) -> None:
    exchange.hire("ann", "a1", "a2")
    exchange.photos = {"a1": b"one", "a2": b"two"}
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    exchange.photos["a1"] = b"another"
    exchange.looks.clear()
    folder = exchange.folder_of("ann", "a1")
    folder.put("a1", folder.items["a1"])
    assert sync(vault, tenant).photos == 1
    assert [look.item_id for look in exchange.looks] == ["a1"]


def test_reading_in_full_looks_at_the_photos_that_there_are(vault: Vault, exchange: FakeExchange) -> None:
    folder = exchange.hire("ann", "a1", "a2", "a3").folders["ann-inbox"]
    folder.pictured = {"a1": True, "a2": False, "a3": False}
    exchange.photos = {"a1": b"one", "a2": b"two"}
    tenant = register(vault, "acme", "ann")
    assert sync(vault, tenant).photos == 1
    folder.pictured["a2"] = True
    exchange.photos["a1"] = b"another"  # which the checkpoint would have told
    exchange.expired.add("ann-inbox")
    exchange.looks.clear()
    assert sync(vault, tenant).photos == 2
    assert {look.item_id for look in exchange.looks} == {"a1", "a2"}


def test_a_photo_gone_at_the_source_is_removed(vault: Vault, exchange: FakeExchange) -> None:
    exchange.hire("ann", "a1")
    exchange.photos = {"a1": b"one"}
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    exchange.photos.clear()
    assert sync(vault, tenant, full=True).photos == 1
    assert rows(vault.data, "photos") == []


def test_the_same_bytes_under_another_name_are_not_written_again(vault: Vault, exchange: FakeExchange) -> None:
    exchange.hire("ann", "a1")
    exchange.photos = {"a1": b"one"}
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    (before,) = rows(vault.data, "photos")
    assert photos.store(vault, tenant, [LookedAt(before[0], b"one", "another-etag")]) == 0
    (after,) = rows(vault.data, "photos")
    assert after[3] == before[3]
    assert photos.open_details(vault.keys.tenant(tenant.id), after[0], after[2]) == {
        "etag": "another-etag",
        "sha256": hashlib.sha256(b"one").hexdigest(),
        "size": 3,
    }


def test_a_photo_over_the_limit_is_skipped_and_counted(vault: Vault, exchange: FakeExchange) -> None:
    exchange.hire("ann", "a1")
    exchange.photos = {"a1": ServerFault("Too large.", code="photo-too-large")}
    tenant = register(vault, "acme", "ann")
    run = sync(vault, tenant)
    assert (run.status, run.skipped, run.photos) == (Status.OK, 1, 0)
    exchange.looks.clear()
    sync(vault, tenant)
    assert exchange.looks == []


def test_a_photo_that_fails_is_looked_at_by_the_next_run(vault: Vault, exchange: FakeExchange) -> None:
    exchange.hire("ann", "a1", "a2")
    exchange.photos = {"a1": ServerFault("It failed."), "a2": b"two"}
    tenant = register(vault, "acme", "ann")
    run = sync(vault, tenant)
    assert (run.status, run.photos, [one.code for one in run.failures]) == (Status.PARTIAL, 1, ["server-fault"])
    exchange.photos["a1"] = b"one"
    exchange.looks.clear()
    assert sync(vault, tenant).photos == 1
    assert [ref.item_id for ref in exchange.looks] == ["a1"]


def test_photos_go_with_their_contact(vault: Vault, exchange: FakeExchange) -> None:
    exchange.hire("ann", "a1", "a2")
    exchange.photos = {"a1": b"one", "a2": b"two"}
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    exchange.folder_of("ann", "a1").remove("a1")
    sync(vault, tenant)
    assert len(rows(vault.data, "photos")) == 1


def test_what_is_due_comes_by_the_page_and_names_what_servers_are_asked_by(
    vault: Vault, exchange: FakeExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange.hire("ann", "a1", "a2", "a3", "a4")
    exchange.photos = {"a1": b"one", "ann": b"card"}
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    assert list(photos.due(vault, tenant)) == []
    monkeypatch.setattr(photos, "_PAGE", 2)
    pages = list(photos.due(vault, tenant, everything=True))
    assert [len(page) for page in pages] == [2, 2, 1]
    for page in pages:  # contacts first: servers are asked for them in another way
        assert [bool(entry.item_id) for entry in page] == sorted((bool(entry.item_id) for entry in page), reverse=True)
    found = {entry.contact_id: entry for page in pages for entry in page}
    assert found.keys() == {entry.id for entry in contacts.stream(vault, tenant)}
    assert sorted((entry.folder_id, entry.item_id, entry.etag) for entry in found.values()) == [
        ("", "", f"etag-{hash(b'card')}"),
        ("ann-inbox", "a1", f"etag-{hash(b'one')}"),
        *(("ann-inbox", item, "") for item in ("a2", "a3", "a4")),
    ]
    assert {entry.mailbox.key for entry in found.values()} == {"ann"}


def test_a_look_at_everything_outlasts_the_run_unless_it_is_a_rehearsal(vault: Vault, exchange: FakeExchange) -> None:
    exchange.hire("ann", "a1", "a2")
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    (everything,) = photos.due(vault, tenant, everything=True, dry_run=True)
    assert len(everything) == 3
    assert list(photos.due(vault, tenant, dry_run=True)) == []
    next(photos.due(vault, tenant, everything=True))  # and whoever asked was cut off
    assert list(photos.due(vault, tenant)) == [everything]


def test_a_photo_of_a_contact_that_went_meanwhile_is_not_stored(vault: Vault, exchange: FakeExchange) -> None:
    exchange.hire("ann", "a1")
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    (stays,) = (entry.id for entry in contacts.stream(vault, tenant) if entry.kind == "contact")
    looks = [LookedAt(contact_id, b"photo", "etag") for contact_id in (b"x" * 16, stays)]
    assert photos.store(vault, tenant, looks) == 1
    assert rows(vault.data, "photos", "contact_id") == [(stays,)]
    assert photos.read(vault, tenant, b"x" * 16) is None
