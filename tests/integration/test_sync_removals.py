"""What is gone at the source is removed, unless it is too much at once; what cannot be reached stays."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from connectors.port import MailboxGone, NoMailbox, NotPermitted, SourceGone, Unreachable
from syncvault.store import contacts as contact_rows
from syncvault.store import removals as pending_rows
from syncvault.store.removals import PendingRow
from syncvault.sync.summary import Status
from syncvault.vault.content import removals, sources
from syncvault.vault.content.removals import Outlook
from syncvault.vault.vault import Vault
from tests.integration.fake_exchange import FakeExchange, FakeFolder
from tests.integration.vault_parts import held, manifest_agrees, register, rows, sync, tables


def fill(exchange: FakeExchange, key: str, count: int) -> None:
    exchange.page_size = 200
    exchange.hire(key, *(f"{key}{number}" for number in range(count)))


def lose(exchange: FakeExchange, key: str, count: int) -> None:
    folder = exchange.people[key].folders[f"{key}-inbox"]
    for item in list(folder.items)[:count]:
        folder.remove(item)


@pytest.mark.parametrize(("stored", "gone"), [(20, 11), (19, 19), (1200, 501)])
def test_the_brake_holds_where_too_much_is_gone(vault: Vault, exchange: FakeExchange, stored: int, gone: int) -> None:
    fill(exchange, "ann", stored)
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    lose(exchange, "ann", gone)
    run = sync(vault, tenant)
    if stored < 20:  # with the card, 20 in all: a small tenant
        assert (run.status, run.removed) == (Status.OK, gone)
        return
    assert (run.status, run.removed) == (Status.BRAKED, gone)
    assert str(gone) in run.failures[-1].message
    assert removals.outlook(vault, tenant).lost == gone
    assert len(held(vault, tenant)["ann"]) == stored + 1
    assert sync(vault, tenant).status == Status.BRAKED  # nothing new is gone, and it holds still
    accepted = sync(vault, tenant, accept_removals=True)
    assert (accepted.status, accepted.removed) == (Status.OK, gone)
    assert len(held(vault, tenant)["ann"]) == stored + 1 - gone


def test_half_of_a_larger_tenant_and_500_may_go(vault: Vault, exchange: FakeExchange) -> None:
    fill(exchange, "ann", 1199)
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    lose(exchange, "ann", 500)
    assert sync(vault, tenant).removed == 500
    fill(exchange, "bob", 21)
    other = register(vault, "other", "bob")
    sync(vault, other)
    lose(exchange, "bob", 11)
    assert sync(vault, other).removed == 11


def test_what_comes_back_while_the_brake_holds_is_not_removed(vault: Vault, exchange: FakeExchange) -> None:
    fill(exchange, "ann", 30)
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    folder = exchange.people["ann"].folders["ann-inbox"]
    entries = dict(folder.items)
    lose(exchange, "ann", 30)
    assert sync(vault, tenant).status == Status.BRAKED
    for item, entry in entries.items():
        folder.put(item, entry)
    run = sync(vault, tenant)
    assert (run.status, run.removed, run.changed, run.unchanged) == (Status.OK, 0, 0, 31)
    assert rows(vault.data, "pending_removals") == []


def test_unregistering_a_source_asks_no_brake(vault: Vault, exchange: FakeExchange) -> None:
    fill(exchange, "ann", 30)
    fill(exchange, "bob", 5)
    tenant = register(vault, "acme", "ann", "bob")
    sync(vault, tenant)
    source = next(one for one in sources.listing(vault, tenant) if one.ref == "ann")
    sources.remove(vault, tenant, source.id)
    assert sync(vault, tenant, dry_run=True).removed == 31
    run = sync(vault, tenant)
    assert (run.status, run.removed) == (Status.OK, 31)
    assert held(vault, tenant).keys() == {"bob"}


def test_the_outlook_tells_what_is_lost_from_what_is_released(vault: Vault, exchange: FakeExchange) -> None:
    for key, count in (("ann", 3), ("bob", 4), ("cid", 5)):
        fill(exchange, key, count)
    exchange.groups["g:all"] = ["bob", "cid"]
    tenant = register(vault, "acme", "ann", "g:all")
    sync(vault, tenant)
    assert removals.outlook(vault, tenant) == Outlook(lost=0, released=0, stored=15)
    known = {box.key: box.id for box in sources.to_pull(vault, tenant)}
    group, ann = sorted(sources.listing(vault, tenant), key=lambda one: one.kind)
    with vault.writing(tenant) as (tx, _):  # one of bob's contacts is gone, which is counted with him when he goes
        page = next(contact_rows.stream(lambda: nullcontext(tx), tenant.id, mailbox_id=known["bob"]))
        gone = next(row for row in page if row.folder_id is not None)
        pending_rows.add(tx, [PendingRow(gone.id, tenant.id, gone.folder_id, "contact", gone.purge_at)])
    assert removals.outlook(vault, tenant) == Outlook(lost=1, released=0, stored=15)
    sources.finish_source(vault, tenant, group.id, {known["cid"]})  # bob has left the group
    sources.remove(vault, tenant, ann.id)
    assert removals.outlook(vault, tenant) == Outlook(lost=5, released=4, stored=15)
    assert removals.release(vault, tenant) == 4
    assert manifest_agrees(vault, tenant)
    assert removals.outlook(vault, tenant) == Outlook(lost=5, released=0, stored=11)
    assert removals.apply(vault, tenant) == 5
    assert manifest_agrees(vault, tenant)
    assert removals.outlook(vault, tenant) == Outlook(lost=0, released=0, stored=6)


def test_only_what_awaits_removal_in_a_closed_mailbox_goes_with_it(vault: Vault, exchange: FakeExchange) -> None:
    for key in ("ann", "bob"):
        fill(exchange, key, 15)
    tenant = register(vault, "acme", "ann", "bob")
    sync(vault, tenant)
    for key in ("ann", "bob"):
        lose(exchange, key, 9)
    assert sync(vault, tenant).status == Status.BRAKED
    closed = {box.id for box in sources.to_pull(vault, tenant) if box.key == "ann"}
    assert removals.release(vault, tenant, closed) == 9
    assert manifest_agrees(vault, tenant)
    assert {key: len(found) for key, found in held(vault, tenant).items()} == {"ann": 7, "bob": 16}
    assert removals.outlook(vault, tenant).lost == 9  # bob's


def test_a_mailbox_its_source_stops_naming_goes_behind_the_brake(vault: Vault, exchange: FakeExchange) -> None:
    fill(exchange, "ann", 30)
    fill(exchange, "bob", 5)
    exchange.groups["g:all"] = ["ann", "bob"]
    tenant = register(vault, "acme", "g:all")
    sync(vault, tenant)
    exchange.groups["g:all"] = ["bob"]
    assert sync(vault, tenant).status == Status.BRAKED
    assert held(vault, tenant).keys() == {"ann", "bob"}
    exchange.groups["g:all"] = ["ann", "bob"]
    assert sync(vault, tenant).status == Status.OK
    exchange.groups["g:all"] = ["ann"]
    assert sync(vault, tenant).removed == 6
    assert held(vault, tenant).keys() == {"ann"}


def test_a_source_that_does_not_resolve_keeps_its_mailboxes(vault: Vault, exchange: FakeExchange) -> None:
    exchange.hire("ann", "a1")
    exchange.hire("bob", "b1")
    exchange.groups["g:all"] = ["ann"]
    tenant = register(vault, "acme", "g:all", "bob")
    sync(vault, tenant)
    exchange.unresolvable = {"g:all": Unreachable("No connection."), "bob": SourceGone("Gone.")}
    exchange.groups["g:all"] = []
    run = sync(vault, tenant)
    assert (run.status, run.removed, run.mailboxes) == (Status.PARTIAL, 0, 1)
    assert {failure.code for failure in run.failures} == {"unreachable", "source-gone"}
    assert held(vault, tenant).keys() == {"ann", "bob"}


def test_a_mailbox_that_is_gone_keeps_what_was_pulled(vault: Vault, exchange: FakeExchange) -> None:
    ann = exchange.hire("ann", "a1")
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    ann.card = ann.fault = MailboxGone("It does not exist.")
    run = sync(vault, tenant)
    assert (run.status, run.removed, [one.code for one in run.failures]) == (Status.FAILED, 0, ["mailbox-gone"])
    assert exchange.calls[-1] == "card"  # and its contacts were not asked for
    assert held(vault, tenant)["ann"].keys() == {"card", "a1"}


def test_a_person_without_a_mailbox_has_a_card_and_is_no_failure(vault: Vault, exchange: FakeExchange) -> None:
    ann = exchange.hire("ann")
    ann.fault = NoMailbox("No mailbox.")
    tenant = register(vault, "acme", "ann")
    run = sync(vault, tenant)
    assert (run.status, run.added, run.failures) == (Status.OK, 1, [])


def test_a_mailbox_lost_after_it_had_contacts_is_a_failure(vault: Vault, exchange: FakeExchange) -> None:
    ann = exchange.hire("ann", "a1")
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    ann.fault = NoMailbox("No mailbox.")
    for full in (False, True, False):  # also once everything was to be read again
        for run in (sync(vault, tenant, full=full, dry_run=True), sync(vault, tenant, full=full)):
            assert (run.status, [one.code for one in run.failures]) == (Status.PARTIAL, ["no-mailbox"])
    assert held(vault, tenant)["ann"].keys() == {"card", "a1"}


def test_a_mailbox_that_refuses_is_a_failure_and_its_card_is_stored(vault: Vault, exchange: FakeExchange) -> None:
    exchange.hire("ann", "a1").fault = NotPermitted("Not allowed.", advice="Grant Contacts.Read.")
    exchange.hire("bob", "b1")
    tenant = register(vault, "acme", "ann", "bob")
    run = sync(vault, tenant)
    assert (run.status, run.added) == (Status.PARTIAL, 3)
    assert [(one.mailbox, one.code, one.advice) for one in run.failures] == [
        ("…@example.com", "not-permitted", "Grant Contacts.Read.")
    ]
    assert held(vault, tenant) == {
        "ann": {"card": ("", "Card of ann")},
        "bob": {"card": ("", "Card of bob"), "b1": ("inbox", "Contact b1")},
    }


def test_disabled_members_are_skipped_and_counted_but_not_those_named_themselves(
    vault: Vault, exchange: FakeExchange
) -> None:
    exchange.hire("ann", enabled=False)
    exchange.hire("bob", enabled=False)
    exchange.hire("cid")
    exchange.groups = {"g:all": ["ann", "bob", "cid"], "g:some": ["ann", "bob"]}
    tenant = register(vault, "acme", "g:all", "g:some", "bob")
    run = sync(vault, tenant)
    assert (run.status, run.mailboxes, run.skipped) == (Status.OK, 2, 1)
    assert held(vault, tenant).keys() == {"bob", "cid"}


def test_a_new_address_is_taken_over_and_found(vault: Vault, exchange: FakeExchange) -> None:
    from connectors.port import Mailbox

    ann = exchange.hire("ann", "a1")
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    ann.mailbox = Mailbox("ann", "Married@Example.com")
    sync(vault, tenant)
    assert sources.mailbox(vault, tenant, "married@example.com").key == "ann"
    assert len(tables(vault)["mailboxes"]) == 1


def test_what_moved_to_a_folder_that_cannot_be_read_stays_until_it_can(vault: Vault, exchange: FakeExchange) -> None:
    fill(exchange, "ann", 5)
    club = exchange.people["ann"].folders["ann-club"] = FakeFolder("club")
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    before = rows(vault.data, "contacts", "id")
    exchange.move("ann", "ann0", "ann-club")
    lose(exchange, "ann", 1)
    club.fault = Unreachable("No.")
    said, done = sync(vault, tenant, dry_run=True), sync(vault, tenant)
    assert (said.removed, said.changes, done.removed, done.status) == (0, [], 0, Status.PARTIAL)
    assert rows(vault.data, "contacts", "id") == before
    club.fault = None
    said, done = sync(vault, tenant, dry_run=True), sync(vault, tenant)
    assert (said.removed, done.removed, done.changed, done.added) == (1, 1, 1, 0)
    assert held(vault, tenant)["ann"]["ann0"] == ("club", "Contact ann0")
    assert set(rows(vault.data, "contacts", "id")) < set(before)
