"""What a tenant wants pulled: what it no longer wants goes at the next run, in place, and a dry run says so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from connectors.contact import Contact
from connectors.port import NotPermitted
from syncvault.crypto.record import row_version
from syncvault.errors import BusyError
from syncvault.sync.summary import Status, Summary
from syncvault.vault import tenants
from syncvault.vault.content import contacts, minimising, sources
from syncvault.vault.content.minimising import Minimised
from syncvault.vault.model import Scope, Tenant
from syncvault.vault.vault import Vault
from tests.integration.fake_exchange import FakeExchange, FakeFolder
from tests.integration.vault_parts import as_told, execute, register, rows, standing, sync, told_of

WHOLE = Contact(display_name="Whole", surname="w", notes="met at the fair", spouse="Kim", job_title="Boss")


@pytest.fixture
def tenant(vault: Vault, exchange: FakeExchange) -> Tenant:
    exchange.hire("ann").folders["ann-inbox"].put("w", WHOLE)
    exchange.hire("bob").folders["bob-inbox"].put("v", WHOLE.replace(surname="v"))
    exchange.photos = {"w": b"item", "ann": b"face"}
    return register(vault, "acme", "ann", "bob")


def want(vault: Vault, tenant: Tenant, **changes: Any) -> Tenant:
    return tenants.update(vault, tenant, lambda facts: replace(facts, scope=replace(facts.scope, **changes)))


def fields(vault: Vault, tenant: Tenant) -> dict[str, set[str]]:
    return {one.fields["surname"]: set(one.fields) for one in contacts.stream(vault, tenant) if one.kind == "contact"}


def rehearsed(vault: Vault, tenant: Tenant) -> tuple[Summary, Summary]:
    """What a dry run says, and what the run then says; what it says of each contact is what then becomes of it."""
    before, said, done = standing(vault, tenant), sync(vault, tenant, dry_run=True), sync(vault, tenant)
    assert as_told(said) == told_of(before, standing(vault, tenant))
    return said, done


def counts(run: Summary) -> dict[str, int]:
    return {name: count for name, count in run.counts().items() if name != "requests"}


def test_business_is_what_a_tenant_gets_unless_it_says_otherwise(vault: Vault, tenant: Tenant) -> None:
    sync(vault, tenant)
    assert fields(vault, tenant)["w"] == {"display_name", "surname", "job_title"}


def test_a_narrower_profile_strips_what_is_stored_and_keeps_ids(vault: Vault, tenant: Tenant) -> None:
    full = want(vault, tenant, profile="full")
    sync(vault, full)
    assert fields(vault, full)["w"] >= {"notes", "spouse"}
    before = rows(vault.data, "contacts", "id")
    narrow = want(vault, full, profile="display_name,surname,photo")
    said, done = rehearsed(vault, narrow)
    assert counts(said) == counts(done)
    assert done.changed == 4  # two contacts, and both cards lose their addresses
    changes = {change.fields for change in said.changes or () if change.kind == "contact"}
    assert changes == {("job_title", "notes", "spouse")}
    assert fields(vault, narrow) == {"w": {"display_name", "surname"}, "v": {"display_name", "surname"}}
    assert minimising.apply(vault, narrow, {"display_name", "surname"}, photos=True) == Minimised()
    assert rows(vault.data, "contacts", "id") == before


def test_a_wider_profile_brings_what_is_missing(vault: Vault, tenant: Tenant) -> None:
    sync(vault, tenant)
    wide = want(vault, tenant, profile="full")
    said, done = rehearsed(vault, wide)
    assert (counts(said), done.changed) == (counts(done), 2)
    assert fields(vault, wide)["w"] >= {"notes", "spouse"}
    assert sync(vault, wide).changed == 0


def test_mailboxes_that_cannot_be_read_are_stripped_as_well(
    vault: Vault, exchange: FakeExchange, tenant: Tenant
) -> None:
    full = want(vault, tenant, profile="full")
    sync(vault, full)
    exchange.people["bob"].fault = NotPermitted("No.")
    before = rows(vault.data, "contacts", "id, folder_id, photo_due_at")
    narrow = want(vault, full, profile="business")
    said, done = rehearsed(vault, narrow)
    assert (counts(said), done.changed, done.status) == (counts(done), 2, Status.PARTIAL)
    assert fields(vault, narrow)["v"] == {"display_name", "surname", "job_title"}
    assert rows(vault.data, "contacts", "id, folder_id, photo_due_at") == before
    assert {row_version(blob) for kind, blob in rows(vault.data, "contacts", "kind, blob") if kind == "contact"} == {2}
    assert sync(vault, narrow).changed == 0


def test_what_an_interrupted_run_brought_goes_though_the_wish_was_taken_back(
    vault: Vault, exchange: FakeExchange, tenant: Tenant
) -> None:
    sync(vault, tenant)
    full = want(vault, tenant, profile="full")

    def give_up(_: int) -> None:
        raise BusyError("Somebody else came.")

    exchange.page_size, exchange.pages = 1, 0
    exchange.hire("eve", "x", "y")
    sources.add(vault, full, "user", "eve")
    exchange.after_page = give_up
    assert sync(vault, full).status == Status.BUSY
    exchange.after_page = lambda _: None
    assert fields(vault, full)["w"] >= {"notes", "spouse"}
    business = want(vault, full, profile="business")
    for person in exchange.people.values():
        person.fault = NotPermitted("No.")
    sync(vault, business)
    assert all("notes" not in names for names in fields(vault, business).values())


def test_a_damaged_contact_is_told_and_keeps_no_other_from_being_stripped(
    vault: Vault, exchange: FakeExchange, tenant: Tenant
) -> None:
    full = want(vault, tenant, profile="full")
    sync(vault, full)
    exchange.people["bob"].fault = NotPermitted("No.")
    narrow = want(vault, full, profile="business")
    (whole,) = (one.id for one in contacts.stream(vault, narrow) if one.fields.get("surname") == "w")
    (blob,) = (blob for one, blob in rows(vault.data, "contacts", "id, blob") if one == whole)
    execute(vault.data, "UPDATE contacts SET blob = ? WHERE id = ?", blob[:-1], whole)
    said, done = sync(vault, narrow, dry_run=True), sync(vault, narrow)
    assert counts(said) == counts(done)
    assert [failure for failure in done.failures if str(UUID(bytes=whole)) in failure.message]
    execute(vault.data, "UPDATE contacts SET blob = ? WHERE id = ?", blob, whole)
    business = {"display_name", "surname", "job_title"}
    assert fields(vault, narrow) == {"v": business, "w": business | {"notes", "spouse"}}
    sync(vault, narrow)
    assert fields(vault, narrow) == {"v": business, "w": business}


def test_photos_go_when_they_are_not_wanted_and_come_back_when_they_are(
    vault: Vault, exchange: FakeExchange, tenant: Tenant
) -> None:
    assert sync(vault, tenant).photos == 2
    without = want(vault, tenant, profile="display_name,surname")
    exchange.looks.clear()
    said, done = rehearsed(vault, without)
    assert (counts(said), done.photos) == (counts(done), 2)
    assert rows(vault.data, "photos") == []
    assert exchange.looks == []
    assert sync(vault, want(vault, without, profile="display_name,surname,photo")).photos == 2


def test_another_size_has_every_photo_looked_at(vault: Vault, exchange: FakeExchange, tenant: Tenant) -> None:
    sync(vault, tenant)
    exchange.looks.clear()
    sync(vault, tenant)
    assert exchange.looks == []
    sync(vault, want(vault, tenant, photo_pixels=96))
    assert {look.mailbox.key for look in exchange.looks} == {"ann", "bob"}
    exchange.looks.clear()
    sync(vault, tenant)
    assert exchange.looks == []


def test_folders_that_are_not_wanted_go(vault: Vault, exchange: FakeExchange, tenant: Tenant) -> None:
    exchange.people["ann"].folders["ann-club"] = FakeFolder("inbox/Club", items={"c": WHOLE}, order=["c"])
    sync(vault, tenant)
    assert sync(vault, want(vault, tenant, folders=("!*club",))).removed == 1
    assert sync(vault, want(vault, tenant, folders=("inbox/*",))).removed == 2
    assert sync(vault, want(vault, tenant, folders=())).added == 2


def test_facts_sealed_before_there_was_a_scope_still_open(vault: Vault, tenant: Tenant) -> None:
    plain = tenant.facts.to_dict()
    del plain["scope"]
    assert type(tenant.facts).from_dict(plain).scope == Scope()
