"""Tenants, their credentials, sources and contacts, the audit trail and the runs, as the vault keeps them."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from syncvault.crypto.record import row_version
from syncvault.errors import BusyError, DamagedError, InputError, NotFoundError
from syncvault.store import tenants as tenant_rows
from syncvault.vault import credentials, tenants
from syncvault.vault.content import contacts, runs, sources
from syncvault.vault.content.sources import Named, StoredMailbox
from syncvault.vault.model import (
    Counts,
    Credential,
    CredentialKind,
    OnpremConnection,
    Quarantine,
    Tenant,
    TenantProfile,
)
from syncvault.vault.trail import audit
from syncvault.vault.vault import Vault
from tests.integration.fake_exchange import FakeExchange
from tests.integration.vault_parts import NOW, Place, execute, manifest_agrees, profile, register, rows, secret, sync


def test_a_tenant_is_found_by_its_name_with_all_its_facts(place: Place) -> None:
    registered = register(place.create(), "acme")
    opened = place.open()
    assert tenants.find(opened, "acme") == registered
    assert (registered.facts, registered.epoch) == (profile("acme"), 1)
    assert rows(opened.data, "tenants")[0][1] == "online"
    assert registered.purge_at == datetime(2027, 2, 28, 23, tzinfo=UTC)  # 90 days later, midnight in Berlin
    with pytest.raises(NotFoundError, match="nobody"):
        tenants.find(opened, "nobody")


def test_an_onprem_tenant_comes_back_too(vault: Vault) -> None:
    facts = profile("acme")
    onprem = TenantProfile(
        "acme",
        OnpremConnection("https://mail.example/EWS/Exchange.asmx", "svc", "basic", "PEM"),
        facts.subscription,
        "a@acme.example",
        billing_mail="b@acme.example",
        locale="de",
    )
    tenants.register(vault, onprem, secret())
    assert tenants.find(vault, "acme").facts == onprem
    assert onprem.kind == "onprem"


def test_a_name_is_taken_once(vault: Vault) -> None:
    first = register(vault, "acme")
    keys = rows(vault.key_data, "wrapped_keys")
    with pytest.raises(InputError, match=r"^A tenant of that name is registered already") as caught:
        register(vault, "acme")
    assert caught.value.advice.startswith("Choose another name")
    assert rows(vault.key_data, "wrapped_keys") == keys
    other = register(vault, "other")
    with pytest.raises(InputError, match="registered already"):
        tenants.update(vault, other, lambda _: profile("acme"))
    assert [one.id for one in tenants.call_roll(vault).tenants] == [first.id, other.id]


def test_new_facts_move_every_purge_date(vault: Vault, exchange: FakeExchange) -> None:
    exchange.hire("ann", "a1")
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    changed = tenants.update(vault, tenant, lambda _: profile("renamed", ends=date(2027, 1, 1)))
    assert tenants.find(vault, "renamed") == changed
    assert tenants.is_name_free(vault, "acme")
    with vault.read() as tx:
        found = tenant_rows.tags(tx, tenant.id)
    assert {tag for tags in found.values() for tag in tags} == {int(changed.purge_at.timestamp())}
    assert sum(1 for tags in found.values() if tags) >= 7


def test_facts_that_are_written_again_are_of_the_next_version(vault: Vault) -> None:
    tenant = register(vault, "acme", ends=date(2026, 1, 1), term="P1M")
    for version in (2, 3):
        changed = tenants.update(vault, tenant, lambda facts: facts)
        assert row_version(rows(vault.data, "tenants")[0][5]) == version
    assert changed == tenant == tenants.find(vault, "acme")
    assert tenant.purge_at == datetime(2026, 9, 28, 22, tzinfo=UTC)  # 90 days after the term that runs
    assert manifest_agrees(vault, tenant)


def test_the_roll_is_called_by_name(vault: Vault) -> None:
    names = ["zeta", "acme", "mid", "beta"]
    for name in names:
        register(vault, name)
    assert [one.facts.name for one in tenants.call_roll(vault).tenants] == sorted(names)


def test_a_tenant_to_erase_is_found_though_its_facts_or_keys_are_gone(vault: Vault) -> None:
    sound, damaged, keyless = (register(vault, name) for name in ("sound", "damaged", "keyless"))
    execute(vault.data, "UPDATE tenants SET profile = ? WHERE id = ?", b"x" * 200, damaged.id)
    execute(vault.key_data, "DELETE FROM wrapped_keys WHERE tenant_id = ?", keyless.id)
    vault.keys.forget(keyless.id)
    assert tenants.find_to_erase(vault, "sound") == sound
    assert tenants.find_to_erase(vault, "damaged") == replace(damaged, profile=None)
    assert tenants.find_to_erase(vault, "keyless") == replace(keyless, profile=None)
    with pytest.raises(NotFoundError, match="no tenant named nobody"):
        tenants.find_to_erase(vault, "nobody")


def test_a_tag_that_disagrees_is_repaired_once(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant = register(vault, "acme", "ann")
    with monkeypatch.context() as patch:
        patch.setattr(tenant_rows, "retag", lambda *_: pytest.fail("nothing was to be written"))
        assert not tenants.repair_tags(vault, tenant)
    execute(vault.data, "UPDATE sources SET purge_at = 1")
    assert tenants.repair_tags(vault, tenant)
    assert {row[-1] for row in rows(vault.data, "sources")} == {int(tenant.purge_at.timestamp())}
    assert not tenants.repair_tags(vault, tenant)


def test_a_quarantine_keeps_its_first_reason_until_the_credential_is_replaced(vault: Vault) -> None:
    tenant = register(vault, "acme")
    refused = credentials.load(vault, tenant)
    tenants.quarantine(vault, tenant, refused=refused, code="first", advice="Do this.")
    tenants.quarantine(vault, tenant, refused=refused, code="second", advice="Do that.")
    assert tenants.find(vault, "acme").quarantine == Quarantine("first", NOW, "Do this.")
    assert tenants.update(vault, tenant, lambda facts: facts) == tenants.find(vault, "acme")
    credentials.replace(vault, tenant, secret("another"))
    found = tenants.find(vault, "acme")
    assert found.quarantine is None
    assert credentials.load(vault, found).secret.reveal() == b"another"
    assert len(rows(vault.data, "credentials")) == 1
    assert manifest_agrees(vault, found)


def test_a_credential_comes_back_whole_and_its_length_is_hidden(vault: Vault) -> None:
    tenant = register(vault, "acme")
    short = rows(vault.data, "credentials")[0][2]
    whole = Credential(
        CredentialKind.CERTIFICATE, secret("k" * 60).secret, "PEM", "ab" * 32, datetime(2027, 1, 1, tzinfo=UTC)
    )
    credentials.replace(vault, tenant, whole)
    found = credentials.load(vault, tenant)
    assert found.to_dict() == whole.to_dict()
    assert found == replace(whole, id=rows(vault.data, "credentials")[0][0], secret=found.secret)
    assert "kkk" not in repr(found)
    credentials.replace(vault, tenant, secret("s"))
    assert len(rows(vault.data, "credentials")[0][2]) == len(short)


@pytest.mark.parametrize("column", ["data_generation", "index_generation"])
def test_nothing_is_written_under_keys_of_before_a_rotation(vault: Vault, column: str) -> None:
    tenant = register(vault, "acme")
    before = rows(vault.data, "credentials")
    execute(vault.data, f"UPDATE manifests SET {column} = 2")
    with pytest.raises(BusyError, match=r"^The tenant's keys were rotated meanwhile") as caught:
        credentials.replace(vault, tenant, secret("another"))
    assert caught.value.advice.startswith("Run the command again")
    assert rows(vault.data, "credentials") == before


def test_a_missing_credential_is_damage_with_advice(vault: Vault) -> None:
    tenant = register(vault, "acme")
    execute(vault.data, "DELETE FROM credentials")
    with pytest.raises(DamagedError, match=r"^The tenant has no credential") as caught:
        credentials.load(vault, tenant)
    assert caught.value.advice.startswith("Store one with `syncvault credential rotate`")
    credentials.replace(vault, tenant, secret("the next one"))
    assert credentials.load(vault, tenant).secret.reveal() == b"the next one"


@pytest.mark.parametrize("table", ["tenants", "credentials", "sources", "contacts", "mailboxes", "folders", "photos"])
def test_a_damaged_record_names_its_table_and_row(vault: Vault, exchange: FakeExchange, table: str) -> None:
    exchange.hire("ann", "a1")
    exchange.photos = {"a1": b"photo", "ann": b"photo"}
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    column = {"tenants": "profile", "photos": "details"}.get(table, "blob")
    row_id = "contact_id" if table == "photos" else "id"
    ids = {str(UUID(bytes=row[0])) for row in rows(vault.data, table)}
    with vault.data.write() as tx:
        for found in tx.exec_driver_sql(f"SELECT {row_id}, {column} FROM {table}").all():
            spoilt = bytes(found[1])[:-1] + bytes([found[1][-1] ^ 1])
            mark = "?" if vault.data.dialect == "sqlite" else "%s"
            tx.exec_driver_sql(f"UPDATE {table} SET {column} = {mark} WHERE {row_id} = {mark}", (spoilt, found[0]))
    with pytest.raises(DamagedError) as caught:
        _read_all(vault, tenant)
    assert table in caught.value.message
    assert any(row in caught.value.message for row in ids)


def _read_all(vault: Vault, tenant: Tenant) -> None:
    tenants.read_again(vault, tenant)
    credentials.load(vault, tenant)
    sources.listing(vault, tenant)
    list(contacts.stream(vault, tenant))


def test_changes_made_at_the_same_time_are_all_kept(vault: Vault) -> None:
    tenant = register(vault, "acme")
    tenants.update(vault, tenant, lambda facts: facts.with_subscription(facts.subscription.cancel(date(2026, 11, 1))))
    changed = tenants.update(vault, tenant, lambda facts: replace(facts, locale="de"))  # by who read it before
    assert (changed.facts.subscription.cancelled, changed.facts.locale) == (True, "de")
    assert tenants.find(vault, "acme") == changed


def test_a_credential_replaced_meanwhile_is_not_blamed_for_the_refusal_of_the_old_one(vault: Vault) -> None:
    tenant = register(vault, "acme")
    refused = credentials.load(vault, tenant)
    credentials.replace(vault, tenant, secret("the next one"))
    tenants.quarantine(vault, tenant, refused=refused, code="AADSTS7000215", advice="Rotate it.")
    assert tenants.find(vault, "acme").quarantine is None


def test_one_damaged_tenant_hides_no_other(vault: Vault) -> None:
    damaged, sound = register(vault, "acme"), register(vault, "other")
    execute(vault.data, "UPDATE tenants SET profile = ? WHERE id = ?", b"x" * 200, damaged.id)
    roll = tenants.call_roll(vault)
    assert roll.tenants == [sound]
    assert [(one.id, str(UUID(bytes=damaged.id)) in one.message) for one in roll.damaged] == [(damaged.id, True)]
    assert tenants.find(vault, "other") == sound


def test_rows_of_one_tenant_do_not_open_in_anothers_place(vault: Vault) -> None:
    one, two = register(vault, "one"), register(vault, "two")
    blobs = {row[1]: row[2] for row in rows(vault.data, "credentials")}
    execute(vault.data, "UPDATE credentials SET blob = ? WHERE tenant_id = ?", blobs[one.id], two.id)
    with pytest.raises(DamagedError, match="credentials"):
        credentials.load(vault, two)
    execute(vault.data, "UPDATE tenants SET name_ix = ? WHERE id = ?", b"n" * 16, one.id)
    with pytest.raises(DamagedError, match="tenants"):
        tenants.read_again(vault, one)


def test_a_tenant_in_erasure_has_no_facts_and_comes_last(vault: Vault) -> None:
    first, second = register(vault, "aaa"), register(vault, "bbb")
    with vault.data.write() as tx:
        tenant_rows.begin_erasure(tx, first.id)
    found = tenants.call_roll(vault).tenants
    assert [one.id for one in found] == [second.id, first.id]
    with pytest.raises(ValueError, match="no profile"):
        found[1].facts  # noqa: B018  (reading it is the point)
    with pytest.raises(BusyError):
        tenants.update(vault, first, lambda facts: facts)
    execute(vault.data, "DELETE FROM credentials")
    execute(vault.data, "DELETE FROM manifests")
    execute(vault.data, "DELETE FROM tenants WHERE id = ?", first.id)
    with pytest.raises(NotFoundError, match=r"^The tenant was erased meanwhile"):
        tenants.read_again(vault, first)


def test_a_source_is_registered_once_and_removed(vault: Vault) -> None:
    tenant = register(vault, "acme")
    first = sources.add(vault, tenant, "user", "ANN@Example.com")
    assert sources.add(vault, tenant, "user", "ann@example.com") == first
    assert first.ref == "ANN@Example.com"
    other = sources.add(vault, tenant, "group", "ann@example.com")
    assert {one.id for one in sources.listing(vault, tenant)} == {first.id, other.id}
    assert {(one.kind, one.ref, one.mailboxes, one.purge_at) for one in sources.listing(vault, tenant)} == {
        ("user", "ANN@Example.com", 0, tenant.purge_at),
        ("group", "ann@example.com", 0, tenant.purge_at),
    }
    sources.remove(vault, tenant, first.id)
    assert manifest_agrees(vault, tenant)
    assert [one.id for one in sources.listing(vault, tenant)] == [other.id]
    with pytest.raises(NotFoundError, match=f"no source {UUID(bytes=first.id)}") as caught:
        sources.remove(vault, tenant, first.id)
    assert caught.value.advice.startswith("Run `syncvault source list`")


def test_a_mailbox_is_found_by_id_address_or_key(vault: Vault, exchange: FakeExchange) -> None:
    exchange.hire("ann", "a1")
    exchange.hire("bob")
    tenant = register(vault, "acme", "ann", "bob")
    sync(vault, tenant)
    ann = sources.mailbox(vault, tenant, "ANN")
    assert ann.address == ann.ref == "ann@example.com"
    assert sources.mailbox(vault, tenant, str(UUID(bytes=ann.id))) == ann
    assert sources.mailbox(vault, tenant, "Ann@Example.com") == ann
    assert sources.mailboxes_by_id(vault, tenant)[ann.id] == ann
    assert {one.mailboxes for one in sources.listing(vault, tenant)} == {1}
    for ref in ("cid", str(uuid4())):
        with pytest.raises(NotFoundError, match=r"^The tenant has no such mailbox") as caught:
            sources.mailbox(vault, tenant, ref)
        assert caught.value.advice.startswith("Name it by the mailbox `id`")
    assert {one.kind for one in contacts.stream(vault, tenant, ann)} == {"card", "contact"}
    assert {one.mailbox for one in contacts.stream(vault, tenant, ann)} == {ann}


def test_an_address_that_two_mailboxes_have_names_neither(vault: Vault) -> None:
    tenant = register(vault, "acme", "ann")
    source = sources.listing(vault, tenant)[0]
    shared = [Named("one", "Shared@Example.com"), Named("two", "shared@example.com"), Named("three", "")]
    one, two, three = sources.name_mailboxes(vault, tenant, source.id, shared)
    with pytest.raises(NotFoundError, match="two with this address"):
        sources.mailbox(vault, tenant, "shared@example.com")
    assert sources.mailbox(vault, tenant, "TWO") == StoredMailbox(two, "two", "shared@example.com")
    assert sources.mailbox(vault, tenant, "three").ref == "three"
    assert sources.mailboxes_by_id(vault, tenant)[three].address == ""
    with pytest.raises(NotFoundError):  # no address is not one that a mailbox can be found by
        sources.mailbox(vault, tenant, "")
    assert sources.mailbox(vault, tenant, str(UUID(bytes=one))).ref == "Shared@Example.com"


def test_naming_mailboxes_writes_only_what_is_new(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant = register(vault, "acme", "ann", "bob")
    first, second = sources.listing(vault, tenant)
    named = [Named("one", "one@example.com"), Named("two", ""), Named("ONE", "one@example.com")]
    ids = sources.name_mailboxes(vault, tenant, first.id, named)
    assert ids == [ids[0], ids[1], ids[0]]
    assert {one.mailboxes for one in sources.listing(vault, tenant) if one.id == first.id} == {2}
    assert sources.name_mailboxes(vault, tenant, second.id, named[:1]) == ids[:1]
    before = rows(vault.data, "mailboxes"), rows(vault.data, "memberships")
    with monkeypatch.context() as patch:
        patch.setattr(vault, "writing", lambda _: pytest.fail("nothing was to be written"))
        assert sources.name_mailboxes(vault, tenant, first.id, named) == ids
        sources.finish_source(vault, tenant, first.id, set(ids))
    assert (rows(vault.data, "mailboxes"), rows(vault.data, "memberships")) == before
    sources.name_mailboxes(vault, tenant, first.id, [Named("one", "new@example.com")])
    assert {one.address for one in sources.mailboxes_by_id(vault, tenant).values()} == {"new@example.com", ""}
    assert manifest_agrees(vault, tenant)


def test_a_mailbox_that_its_sources_stop_naming_is_not_pulled_until_one_names_it_again(vault: Vault) -> None:
    tenant = register(vault, "acme", "ann", "bob")
    first, second = sources.listing(vault, tenant)
    named = [Named("one", "one@example.com"), Named("two", "two@example.com")]
    one, two = sources.name_mailboxes(vault, tenant, first.id, named)
    sources.name_mailboxes(vault, tenant, second.id, named[:1])
    sources.finish_source(vault, tenant, first.id, set())
    assert [box.id for box in sources.to_pull(vault, tenant)] == [one]
    assert sources.name_mailboxes(vault, tenant, first.id, named[1:]) == [two]
    assert {box.id for box in sources.to_pull(vault, tenant)} == {one, two}
    sources.finish_source(vault, tenant, first.id, {two})
    assert {box.id for box in sources.to_pull(vault, tenant)} == {one, two}


def test_a_contact_is_got_by_its_id(vault: Vault, exchange: FakeExchange) -> None:
    exchange.hire("ann", "a1")
    exchange.photos = {"a1": b"photo"}
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    listed = {one.id: one for one in contacts.stream(vault, tenant)}
    assert {contact_id: contacts.get(vault, tenant, contact_id) for contact_id in listed} == listed
    assert {(one.kind, one.folder, one.has_photo, one.photo_sha256) for one in listed.values()} == {
        ("card", "", False, None),
        ("contact", "inbox", True, hashlib.sha256(b"photo").hexdigest()),
    }
    assert {one.purge_at for one in listed.values()} == {tenant.purge_at}
    other = register(vault, "other")
    for owner, contact_id in ((tenant, bytes(16)), (other, next(iter(listed)))):
        with pytest.raises(NotFoundError, match=f"no contact {UUID(bytes=contact_id)}") as caught:
            contacts.get(vault, owner, contact_id)
        assert caught.value.advice.startswith("Run `syncvault contact list`")
    (contact_id,) = (one.id for one in listed.values() if one.kind == "contact")
    execute(vault.data, "UPDATE contacts SET folder_id = ? WHERE kind = 'contact'", b"f" * 16)
    with pytest.raises(DamagedError, match=str(UUID(bytes=contact_id))):
        list(contacts.stream(vault, tenant))


def test_a_contact_without_its_folder_or_its_mailbox_is_damaged_and_names_its_row(
    vault: Vault, exchange: FakeExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange.hire("ann", "a1")
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    (contact_id,) = (one.id for one in contacts.stream(vault, tenant) if one.kind == "contact")
    row = f"Row {UUID(bytes=contact_id)} of contacts"
    for table in ("checkpoints", "folders"):
        execute(vault.data, f"DELETE FROM {table}")
    with pytest.raises(DamagedError, match=f"{row} names a folder that is not there"):
        contacts.get(vault, tenant, contact_id)
    monkeypatch.setattr(sources, "mailboxes_by_id", lambda *_: {})  # as when it is removed between two reads
    with pytest.raises(DamagedError, match=f"{row} names a mailbox that is not there"):
        contacts.get(vault, tenant, contact_id)
    assert list(contacts.stream(vault, tenant)) == []


def test_a_contact_of_a_kind_that_nobody_knows_is_damaged_and_names_its_row(
    vault: Vault, exchange: FakeExchange
) -> None:
    exchange.hire("ann")
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    (card,) = contacts.stream(vault, tenant)
    execute(vault.data, "UPDATE contacts SET kind = 'postcard'")
    with pytest.raises(DamagedError, match=f"Row {UUID(bytes=card.id)} of contacts does not open: [a-z]"):
        contacts.get(vault, tenant, card.id)


def test_counts_are_per_tenant(vault: Vault, exchange: FakeExchange) -> None:
    exchange.hire("ann", "a1")
    exchange.photos = {"a1": b"photo"}
    tenant = register(vault, "acme", "ann")
    register(vault, "other")
    sync(vault, tenant)
    assert tenants.counts(vault) == {tenant.id: Counts(sources=1, mailboxes=1, contacts=2, photos=1)}


def test_audit_entries_come_newest_first_and_go_after_a_year(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    vault = place.create()
    monkeypatch.setattr(audit, "_PAGE", 3)
    for number in range(7):
        audit.record(vault, verb=f"verb {number}", tenant_id=None, outcome="ok")
    listed = list(audit.listing(vault))
    assert [entry.verb for entry in listed] == [f"verb {number}" for number in reversed(range(7))]
    assert {(entry.uid, entry.at) for entry in listed} == {(os.getuid(), NOW)}
    assert audit.prune(place.open(NOW + timedelta(days=364))) == 0
    assert audit.prune(place.open(NOW + timedelta(days=366))) == 7


def test_a_role_is_told_from_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert audit.role() == "root"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.delenv("INVOCATION_ID", raising=False)
    assert audit.role() == "user"
    monkeypatch.setenv("INVOCATION_ID", "x")
    assert audit.role() == "service"


def test_runs_left_open_by_a_dead_process_are_ended_by_the_next(place: Place) -> None:
    vault = place.create()
    tenant = register(vault, "acme")
    runs.begin(vault, tenant)
    assert runs.last(vault) == {}
    second = runs.begin(vault, tenant)
    assert runs.last(vault) == {tenant.id: runs.LastRun(NOW, NOW, "interrupted")}
    place.now = NOW + timedelta(minutes=5)  # the run has gone on while its reference time stood still
    runs.end(vault, second, "ok", {"added": 1})
    assert {row[4] for row in rows(vault.data, "runs")} == {"interrupted", "ok"}
    (ended,) = (row for row in rows(vault.data, "runs") if row[0] == second)
    assert (ended[5], ended[6], ended[1]) == ('{"added":1}', "run-history", tenant.id)
    assert ended[2:4] == (int(NOW.timestamp()), int(place.now.timestamp()))
    assert runs.prune(place.open(NOW + timedelta(days=364))) == 0
    assert runs.prune(place.open(NOW + timedelta(days=366))) == 2


def test_a_tenant_that_is_not_due_any_more_is_not_to_be_purged(vault: Vault) -> None:
    tenant = register(vault, "acme")
    with vault.read() as tx, pytest.raises(BusyError, match=r"^The tenant was renewed while") as caught:
        tenants.require_due(vault, tx, tenant.id)
    assert caught.value.advice.startswith("Nothing was erased of it")
