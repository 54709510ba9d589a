"""What a run leaves in the vault: exactly what the source has, with only what changed written again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

import orjson
import pytest

from connectors.port import CheckpointExpired, Throttled
from syncvault.crypto import place as sealed
from syncvault.crypto.record import row_version
from syncvault.store import contacts as contact_rows
from syncvault.store import removals as pending_rows
from syncvault.store.engine import Database
from syncvault.store.removals import PendingRow
from syncvault.sync.summary import Status
from syncvault.vault.content import contacts, diff, pages, photos, sources
from syncvault.vault.content.diff import Incoming, Tally
from syncvault.vault.content.pages import IncomingPage
from syncvault.vault.content.photos import LookedAt
from syncvault.vault.model import Tenant
from syncvault.vault.sealing import to_json
from syncvault.vault.vault import Vault
from tests.integration.fake_exchange import FakeExchange, FakeFolder, contact
from tests.integration.vault_parts import Place, execute, held, manifest_agrees, register, rows, sync, tables


class PowerCut(BaseException):
    """Ends a run as abruptly as a test can within its own process."""


def cut_after(pages: int, exchange: FakeExchange) -> None:
    def cut(count: int) -> None:
        if count == pages:
            exchange.after_page = lambda count: None
            raise PowerCut

    exchange.after_page, exchange.pages = cut, 0


def as_source(exchange: FakeExchange, *keys: str) -> dict[str, dict[str, tuple[str, str]]]:
    """What the vault has to hold, as `held` tells it."""
    return {
        key: {"card": ("", f"Card of {key}")}
        | {item: (path, entry.display_name) for item, (path, entry) in items.items()}
        for key, items in exchange.content().items()
        if key in keys
    }


SCOPE = "all of it"


@pytest.fixture
def tenant(vault: Vault) -> Tenant:
    """A tenant with two mailboxes that nothing was pulled of yet."""
    tenant = register(vault, "acme", "ann")
    named = [sources.Named(key, f"{key}@example.com") for key in ("ann", "bob")]
    sources.name_mailboxes(vault, tenant, sources.listing(vault, tenant)[0].id, named)
    return tenant


def entry(item: str, name: str = "", *, has_photo: bool | None = None) -> Incoming:
    return Incoming(item, {"surname": item, "display_name": name}, has_photo)


def page(*upserts: Incoming, gone: Sequence[str] = (), folder: str = "inbox", path: str = "inbox") -> IncomingPage:
    """The last page of a round; every page has the same checkpoint."""
    return IncomingPage(folder, path, upserts, gone, f"token of {folder}", last=True)


def took(vault: Vault, tenant: Tenant, key: str, *brought: IncomingPage) -> Tally:
    """What the last of some pages came to."""
    box = sources.mailbox(vault, tenant, key)
    return [pages.store_pages(vault, tenant, [(box, one)], SCOPE) for one in brought][-1]


def begun(vault: Vault, tenant: Tenant, box: sources.StoredMailbox, scope: str) -> dict[str, str]:
    """The checkpoints that a mailbox's reading goes on from."""
    return pages.begin(vault, tenant, [box], scope)[box.key]


def test_a_page_comes_to_what_it_changes_though_its_checkpoint_is_the_one_before(vault: Vault, tenant: Tenant) -> None:
    assert took(vault, tenant, "ann", page(entry("a"), entry("b"), entry("c"))) == Tally(added=3)
    assert took(vault, tenant, "ann", page(entry("a", "A"), entry("b", "B"), entry("c"))) == Tally(
        changed=2, unchanged=1
    )
    assert took(vault, tenant, "ann", page(entry("b", "B"), entry("c"))) == Tally(unchanged=2)
    assert held(vault, tenant)["ann"] == {"a": ("inbox", "A"), "b": ("inbox", "B"), "c": ("inbox", "")}
    versions = sorted(row_version(blob) for (blob,) in rows(vault.data, "contacts", "blob"))
    assert versions == [1, 2, 2]
    took(vault, tenant, "ann", page(entry("c"), gone=["c"]), page(gone=["a"], folder="other", path="other"))
    assert rows(vault.data, "pending_removals") == []  # what is there, in this folder or another, is not gone
    assert took(vault, tenant, "ann", page(gone=["c"])) == Tally()
    assert len(rows(vault.data, "pending_removals")) == 1
    assert manifest_agrees(vault, tenant)


def test_pages_of_several_mailboxes_come_to_the_sum(vault: Vault, tenant: Tenant) -> None:
    ann, bob = boxes = [sources.mailbox(vault, tenant, key) for key in ("ann", "bob")]
    first = page(entry("a"), entry("b"))
    assert pages.store_pages(vault, tenant, [(box, first) for box in boxes], SCOPE) == Tally(added=4)
    looks = [LookedAt(one.id, b"photo", "etag") for one in contacts.stream(vault, tenant)]
    assert photos.store(vault, tenant, looks) == 4
    second = page(entry("a", "A", has_photo=False), entry("b", has_photo=False))
    came = [(ann, second), (bob, second)]
    assert pages.store_pages(vault, tenant, came, SCOPE) == Tally(changed=2, unchanged=2, photos_gone=4)
    assert rows(vault.data, "photos") == []
    assert {due for (due,) in rows(vault.data, "contacts", "photo_due_at")} == {None}


def test_a_folders_new_name_changes_those_that_stay(vault: Vault, tenant: Tenant) -> None:
    took(vault, tenant, "ann", page(*map(entry, "abcd")), page(entry("e"), folder="other", path="other"))
    renamed = page(entry("a", "A"), entry("b"), entry("e"), gone=["d"], path="renamed")
    assert took(vault, tenant, "ann", renamed) == Tally(changed=4)  # a, b, c and the one that came
    assert {item: path for item, (path, _) in held(vault, tenant)["ann"].items()} == dict.fromkeys("abcde", "renamed")
    assert [flag for (flag,) in rows(vault.data, "folders", "gone")] == [0, 0]
    assert sorted(row_version(blob) for (blob,) in rows(vault.data, "folders", "blob")) == [1, 2]


def test_a_checkpoint_is_gone_on_from_in_its_scope_until_it_is_forgotten(vault: Vault, tenant: Tenant) -> None:
    took(vault, tenant, "ann", page(entry("a")), page(entry("b"), folder="other", path="other"))
    ann = sources.mailbox(vault, tenant, "ann")
    assert begun(vault, tenant, ann, SCOPE) == {name: f"token of {name}" for name in ("inbox", "other")}
    took(vault, tenant, "ann", replace(page(entry("a")), checkpoint="the next"))
    assert begun(vault, tenant, ann, SCOPE) == {"inbox": "the next", "other": "token of other"}
    pages.forget_checkpoint(vault, tenant, ann, "inbox")
    assert begun(vault, tenant, ann, SCOPE) == {"other": "token of other"}
    assert begun(vault, tenant, ann, "more of it") == {}
    assert begun(vault, tenant, ann, SCOPE) == {}
    assert manifest_agrees(vault, tenant)


def test_a_checkpoint_that_was_sealed_without_a_scope_is_not_gone_on_from(vault: Vault, tenant: Tenant) -> None:
    took(vault, tenant, "ann", page(entry("a")))
    ((folder_id,),) = rows(vault.data, "checkpoints", "folder_id")
    plain = to_json({"token": "token", "full": False, "sweeps": False})
    blob = vault.keys.tenant(tenant.id).cipher.seal(sealed.Place.CHECKPOINT, folder_id, plain)
    execute(vault.data, "UPDATE checkpoints SET blob = ?", blob)
    assert begun(vault, tenant, sources.mailbox(vault, tenant, "ann"), SCOPE) == {}


def test_cards_come_to_the_sum_and_lose_their_photos_with_the_mailbox(vault: Vault, tenant: Tenant) -> None:
    boxes = [sources.mailbox(vault, tenant, key) for key in ("ann", "bob")]
    fields = {"display_name": "Somebody"}
    assert pages.store_cards(vault, tenant, [(box, fields) for box in boxes]) == Tally(added=2)
    keys = vault.keys.tenant(tenant.id)
    with vault.read() as tx:
        (stored,) = contact_rows.stream(lambda: nullcontext(tx), tenant.id)
    assert {orjson.loads(diff.open_contact(keys, row))["id"] for row in stored} == {"ann", "bob"}
    photos.store(vault, tenant, [LookedAt(row.id, b"face", "etag", is_card=True) for row in stored])
    waiting = [PendingRow(row.id, tenant.id, None, "contact", row.purge_at) for row in stored]
    with vault.writing(tenant) as (tx, _):
        pending_rows.add(tx, waiting)
    before = rows(vault.data, "contacts", "id, photo_due_at")
    changed = [(box, {"display_name": "Somebody else"}) for box in boxes]
    assert pages.store_cards(vault, tenant, changed) == Tally(changed=2)
    assert rows(vault.data, "pending_removals") == []
    assert rows(vault.data, "contacts", "id, photo_due_at") == before  # which says nothing of the photo
    closed = [(replace(box, kind=sources.MailboxKind.OUTSIDE), fields) for box, fields in changed]
    assert pages.store_cards(vault, tenant, closed) == Tally(unchanged=2, photos_gone=2)
    assert rows(vault.data, "photos") == []
    assert {due for (due,) in rows(vault.data, "contacts", "photo_due_at")} == {None}
    assert manifest_agrees(vault, tenant)


def test_a_page_of_sound_contacts_is_opened_at_once(
    vault: Vault, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    took(vault, tenant, "ann", page(entry("a"), entry("b")))
    monkeypatch.setattr(diff, "open_contact", lambda *_: pytest.fail("one by one takes many times as long"))
    assert {one.fields["surname"] for one in contacts.stream(vault, tenant)} == {"a", "b"}
    pages.store_cards(vault, tenant, [(sources.mailbox(vault, tenant, "ann"), {"surname": "card"})])
    assert {one.fields["surname"] for one in contacts.stream(vault, tenant)} == {"a", "b", "card"}


def test_a_first_run_brings_everything_and_a_second_one_touches_nothing(vault: Vault, exchange: FakeExchange) -> None:
    exchange.hire("ann", "a1", "a2", "a3")
    exchange.hire("bob", "b1")
    tenant = register(vault, "acme", "ann", "bob")
    first = sync(vault, tenant)
    assert (first.status, first.mailboxes, first.added, first.failures) == (Status.OK, 2, 6, [])
    assert held(vault, tenant) == as_source(exchange, "ann", "bob")
    before = tables(vault, without={"runs"})
    second = sync(vault, tenant)
    assert (second.added, second.changed, second.removed, second.unchanged) == (0, 0, 0, 6)
    assert tables(vault, without={"runs"}) == before


def test_a_full_run_reads_everything_and_rewrites_nothing(vault: Vault, exchange: FakeExchange) -> None:
    exchange.hire("ann", "a1", "a2", "a3")
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    before = rows(vault.data, "contacts", "id, blob, purge_at")
    full = sync(vault, tenant, full=True)
    assert (full.added, full.changed, full.removed, full.unchanged) == (0, 0, 0, 4)
    assert rows(vault.data, "contacts", "id, blob, purge_at") == before
    assert rows(vault.data, "seen") == []


def test_only_what_changed_moves(vault: Vault, exchange: FakeExchange) -> None:
    ann = exchange.hire("ann", "a1", "a2", "a3")
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    before = set(rows(vault.data, "contacts"))
    exchange.rename("ann", "a1", "New name")
    exchange.folder_of("ann", "a2").remove("a2")
    ann.folders["ann-inbox"].put("a4", contact("a4"))
    run = sync(vault, tenant)
    assert (run.added, run.changed, run.removed, run.unchanged) == (1, 1, 1, 2)
    assert held(vault, tenant) == as_source(exchange, "ann")
    assert len(before & set(rows(vault.data, "contacts"))) == 2  # the card and a3


@pytest.mark.parametrize("old_first", [True, False], ids=["left-first", "arrived-first"])
def test_a_move_between_folders_is_a_change_in_either_order(
    vault: Vault, exchange: FakeExchange, old_first: bool
) -> None:
    ann = exchange.hire("ann", "a1", "a2")
    other = FakeFolder("other", pictured={})
    if old_first:
        ann.folders["ann-other"] = other
    else:
        ann.folders = {"ann-other": other, **ann.folders}
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    exchange.move("ann", "a1", "ann-other")
    assert _counts(sync(vault, tenant, dry_run=True)) == (0, 1, 0, 2)
    assert _counts(sync(vault, tenant)) == (0, 1, 0, 2)
    assert held(vault, tenant) == as_source(exchange, "ann")
    assert rows(vault.data, "pending_removals") == []


def test_a_folder_that_is_gone_takes_its_contacts_along(vault: Vault, exchange: FakeExchange) -> None:
    ann = exchange.hire("ann", "a1", "a2")
    ann.folders["ann-other"] = FakeFolder("other")
    ann.folders["ann-other"].put("a3", contact("a3"))
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    del ann.folders["ann-other"]
    assert sync(vault, tenant).removed == 1
    assert held(vault, tenant) == as_source(exchange, "ann")
    assert len(rows(vault.data, "folders")) == 1
    assert len(rows(vault.data, "checkpoints")) == 1


@pytest.mark.parametrize("forgotten", ["by --full", "by the server"])
def test_a_folder_that_went_after_its_checkpoint_was_forgotten_is_gone_too(
    vault: Vault, exchange: FakeExchange, forgotten: str
) -> None:
    ann = exchange.hire("ann", "a1", "a2")
    ann.folders["ann-other"] = FakeFolder("other")
    ann.folders["ann-other"].put("a3", contact("a3"))
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    if forgotten == "by the server":  # and the run was cut off before it could read the folder again
        pages.forget_checkpoint(vault, tenant, sources.to_pull(vault, tenant)[0], "ann-other")
    del ann.folders["ann-other"]
    assert sync(vault, tenant, full=forgotten == "by --full").removed == 1
    assert held(vault, tenant) == as_source(exchange, "ann")
    assert len(rows(vault.data, "folders")) == 1


def test_a_renamed_folder_shows_its_new_name(vault: Vault, exchange: FakeExchange) -> None:
    ann = exchange.hire("ann", "a1")
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    ann.folders["ann-inbox"].path = "Partners/Berlin"
    sync(vault, tenant)
    assert held(vault, tenant)["ann"]["a1"] == ("Partners/Berlin", "Contact a1")


def test_a_forgotten_checkpoint_removes_what_went_meanwhile_and_touches_nothing_else(
    vault: Vault, exchange: FakeExchange
) -> None:
    exchange.hire("ann", "a1", "a2", "a3", "a4", "a5")
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    before = set(rows(vault.data, "contacts"))
    folder = exchange.folder_of("ann", "a2")
    folder.remove("a2")
    folder.log.clear()  # the change can be found by reading in full only
    exchange.expired.add("ann-inbox")
    run = sync(vault, tenant)
    assert (run.status, run.added, run.changed, run.removed, run.unchanged) == (Status.OK, 0, 0, 1, 5)
    assert held(vault, tenant) == as_source(exchange, "ann")
    assert set(rows(vault.data, "contacts")) < before


def test_a_resync_that_was_cut_off_is_resumed(place: Place, exchange: FakeExchange) -> None:
    vault = place.create()
    exchange.hire("ann", "a1", "a2", "a3", "a4", "a5")
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    folder = exchange.folder_of("ann", "a5")
    folder.remove("a5")
    folder.log.clear()
    exchange.expired.add("ann-inbox")
    before = set(rows(vault.data, "contacts"))
    cut_after(1, exchange)
    with pytest.raises(PowerCut):
        sync(vault, tenant)
    assert rows(vault.data, "seen") != []
    exchange.pages = 0
    again = place.open()
    run = sync(again, tenant)
    assert (run.added, run.changed, run.removed, exchange.pages) == (0, 0, 1, 2)
    assert held(again, tenant) == as_source(exchange, "ann")
    assert set(rows(again.data, "contacts")) < before
    assert rows(again.data, "seen") == []


@pytest.mark.parametrize("pages", [1, 2, 3])
def test_a_first_pull_that_was_cut_off_is_resumed(place: Place, exchange: FakeExchange, pages: int) -> None:
    exchange.hire("ann", "a1", "a2", "a3", "a4", "a5")
    tenant = register(place.create(), "acme", "ann")
    cut_after(pages, exchange)
    with pytest.raises(PowerCut):
        sync(place.opened[0], tenant)
    again = place.open()
    run = sync(again, tenant)
    assert run.status == Status.OK
    assert held(again, tenant) == as_source(exchange, "ann")


def test_a_page_that_the_server_replays_changes_nothing(vault: Vault, exchange: FakeExchange) -> None:
    exchange.hire("ann", "a1", "a2")
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    folder = exchange.folder_of("ann", "a1")
    before = rows(vault.data, "contacts")
    folder.log += ["a1", "a2", "a1"]
    assert _counts(sync(vault, tenant)) == (0, 0, 0, 3)
    assert [row[:-3] for row in rows(vault.data, "contacts")] == [row[:-3] for row in before]


def test_throttling_midway_keeps_what_was_committed(vault: Vault, exchange: FakeExchange) -> None:
    exchange.hire("ann", "a1", "a2", "a3", "a4", "a5")
    tenant = register(vault, "acme", "ann")

    def throttle(count: int) -> None:
        if count == 2:
            raise Throttled("Come back later.")

    exchange.after_page = throttle
    run = sync(vault, tenant)
    assert (run.status, run.added, [failure.code for failure in run.failures]) == (Status.PARTIAL, 5, ["throttled"])
    exchange.after_page = lambda count: None
    again = sync(vault, tenant)
    assert (again.status, again.added) == (Status.OK, 1)
    assert held(vault, tenant) == as_source(exchange, "ann")


def test_a_checkpoint_that_is_refused_again_and_again_ends_in_a_failure(vault: Vault, exchange: FakeExchange) -> None:
    ann = exchange.hire("ann", "a1")
    tenant = register(vault, "acme", "ann")
    ann.fault = CheckpointExpired("Unknown.", folder_id="ann-inbox")
    run = sync(vault, tenant)
    assert [failure.code for failure in run.failures] == ["checkpoint-expired"]


def test_the_same_person_in_two_groups_is_stored_once(vault: Vault, exchange: FakeExchange) -> None:
    exchange.hire("ann", "a1")
    exchange.hire("bob", "b1")
    exchange.groups = {"g:sales": ["ann", "bob"], "g:all": ["bob", "ann"]}
    tenant = register(vault, "acme", "g:sales", "g:all", "ann")
    run = sync(vault, tenant)
    assert (run.mailboxes, run.added) == (2, 4)
    assert held(vault, tenant) == as_source(exchange, "ann", "bob")


def test_a_damaged_contact_fails_its_mailbox_and_no_other(vault: Vault, exchange: FakeExchange) -> None:
    exchange.hire("ann", "a1")
    exchange.hire("bob", "b1")
    tenant = register(vault, "acme", "ann", "bob")
    sync(vault, tenant)
    _spoil(vault.data, "SELECT id FROM contacts WHERE kind = 'contact' AND mailbox_id IN"
           " (SELECT mailbox_id FROM memberships WHERE source_id = ?)", vault, tenant)  # fmt: skip
    exchange.rename("ann", "a1", "New")
    exchange.rename("bob", "b1", "New")
    run = sync(vault, tenant)
    assert (run.status, run.changed, [failure.code for failure in run.failures]) == (Status.PARTIAL, 1, ["damaged"])
    assert re.search(r"of contacts does not open: [a-z]", run.failures[0].message)


def _spoil(database: Database, which: str, vault: Vault, tenant: object) -> None:
    from syncvault.vault.content import sources

    source = sources.listing(vault, tenant)[0]  # type: ignore[arg-type]
    changed = execute(database, f"UPDATE contacts SET blob = ? WHERE id IN ({which})", b"x" * 200, source.id)
    assert changed == 1


def _counts(run: object) -> tuple[int, ...]:
    return tuple(getattr(run, name) for name in ("added", "changed", "removed", "unchanged"))
