"""Runs over tenants: who is pulled and who is not, who stands in whose way, and what stopping leaves behind."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from connectors.port import ConnectorError, CredentialRejected, MailboxKind, Unreachable
from syncvault.clock import system_clock
from syncvault.errors import DamagedError
from syncvault.store import tenants as tenant_rows
from syncvault.sync import engine
from syncvault.sync.scope import selection_of
from syncvault.sync.summary import Options, Silence, Status
from syncvault.vault import credentials, tenants
from syncvault.vault.content import runs, sources
from syncvault.vault.erasing import erasure
from syncvault.vault.vault import Vault
from tests.integration.fake_exchange import FakeExchange, FakeFolder, contact
from tests.integration.vault_parts import (
    NOW,
    Place,
    as_told,
    execute,
    held,
    profile,
    register,
    rows,
    secret,
    standing,
    sync,
    tables,
    told_of,
)


def test_a_refused_credential_quarantines_and_stops(vault: Vault, exchange: FakeExchange) -> None:
    exchange.hire("ann", "a1").fault = CredentialRejected("Refused.", code="AADSTS7000215", advice="Rotate it.")
    tenant = register(vault, "acme", "ann")
    run = sync(vault, tenant)
    assert (run.status, [one.code for one in run.failures]) == (Status.QUARANTINED, ["AADSTS7000215"])
    held_back = tenants.find(vault, "acme").quarantine
    assert held_back is not None
    assert (held_back.code, held_back.advice, held_back.since) == ("AADSTS7000215", "Rotate it.", NOW)
    exchange.calls.clear()
    assert sync(vault, tenant).status == Status.QUARANTINED  # also for one who has not heard of it yet
    assert exchange.calls == []
    exchange.people["ann"].fault = None
    credentials.replace(vault, tenant, secret("new"))
    assert sync(vault, tenant).status == Status.OK


def test_each_mailbox_that_fails_is_told_though_they_look_the_same_when_masked(
    vault: Vault, exchange: FakeExchange
) -> None:
    people = ["ann", "bob", "cat"]
    for name in people:
        exchange.hire(name, name[0])
        exchange.people[name].fault = exchange.people[name].card = Unreachable("Nobody there.")
    tenant = register(vault, "acme", *people)
    run = sync(vault, tenant)
    assert [failure.mailbox for failure in run.failures] == ["…@example.com"] * 3
    assert run.status is Status.FAILED
    assert "ann" not in repr(run)
    assert set(run.to_dict()["failures"][0]) == {"mailbox", "code", "message", "advice"}


@pytest.mark.parametrize("together", [False, True])
def test_what_concerns_all_mailboxes_ends_the_run_and_is_told_once(
    together: bool, vault: Vault, exchange: FakeExchange
) -> None:
    people = ["ann", "bob", "cat", "dan"]
    for name in people:
        exchange.hire(name, name[0])
    tenant = register(vault, "acme", *people)
    sync(vault, tenant)
    down = Unreachable("Nobody there.")
    down.concerns_all = together
    for name in people:
        exchange.people[name].fault = down
    run = sync(vault, tenant, mailboxes=2)
    told = [failure.mailbox for failure in run.failures]
    assert (run.status, run.removed) == (Status.FAILED if together else Status.PARTIAL, 0)
    assert told == [None] if together else None not in told


def test_a_dry_run_quarantines_nobody(vault: Vault, exchange: FakeExchange) -> None:
    exchange.hire("ann").fault = CredentialRejected("Refused.")
    tenant = register(vault, "acme", "ann")
    assert sync(vault, tenant, dry_run=True).status == Status.QUARANTINED
    assert tenants.find(vault, "acme").quarantine is None


def test_small_tenants_do_not_wait_for_large_ones(vault: Vault, exchange: FakeExchange) -> None:
    exchange.hire("ann", *(f"a{number}" for number in range(9)))
    exchange.hire("bob", "b1")
    large, small = register(vault, "large", "ann"), register(vault, "small", "bob")
    for tenant in (large, small):
        sync(vault, tenant)
    begun: list[str] = []

    class Watcher(Silence):
        def begin(self, tenant: str) -> None:
            begun.append(tenant)

    summaries = engine.sync(vault, [large, small], Options(tenants=1), Watcher())
    assert begun == ["small", "large"]
    assert [summary.tenant for summary in summaries] == ["large", "small"]


def test_a_run_ends_in_time_and_the_next_one_goes_on(
    vault: Vault, exchange: FakeExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange.hire("ann", "a1", "a2", "a3", "a4", "a5")
    exchange.hire("bob", "b1")
    chosen = [register(vault, "acme", "ann"), register(vault, "other", "bob")]
    passed = [0.0]
    monkeypatch.setattr("syncvault.sync.parallel.time.monotonic", lambda: passed[0])

    def age(count: int) -> None:
        passed[0] = 100.0

    exchange.after_page = age
    late = engine.sync(vault, chosen, Options(tenants=1, deadline=60), Silence())
    assert [summary.status for summary in late] == [Status.PARTIAL, Status.PARTIAL]
    assert {failure.code for summary in late for failure in summary.failures} == {"deadline"}
    assert all(run.status == "partial" for run in runs.last(vault).values())
    exchange.after_page = lambda count: None
    assert [sync(vault, tenant).status for tenant in chosen] == [Status.OK, Status.OK]
    assert {key: len(items) for tenant in chosen for key, items in held(vault, tenant).items()} == {"ann": 6, "bob": 2}


def test_one_tenants_failure_does_not_stop_another(
    vault: Vault, exchange: FakeExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange.hire("ann", "a1")
    chosen = [register(vault, name, "ann") for name in ("one", "two", "three", "four")]
    execute(vault.data, "UPDATE credentials SET blob = ? WHERE tenant_id = ?", b"x" * 300, chosen[0].id)

    def connect(facts: Any, credential: Any, **_: Any) -> Any:
        if facts.name == "three":
            raise ConnectorError("No such cloud.")
        return exchange.connect(selection_of(facts.scope))

    monkeypatch.setattr(engine, "connect", connect)
    outcome = engine.sync(vault, chosen, Options(tenants=3), Silence())
    assert [run.tenant for run in outcome] == ["one", "two", "three", "four"]
    assert [run.status for run in outcome] == [Status.FAILED, Status.OK, Status.FAILED, Status.OK]
    assert "credentials" in outcome[0].failures[0].message
    assert {name: run.status for name, run in _last(vault, chosen).items()} == {
        "one": "failed",
        "two": "ok",
        "three": "failed",
        "four": "ok",
    }


def test_a_mistake_of_ours_with_one_tenant_does_not_stop_another(
    vault: Vault, exchange: FakeExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange.hire("ann", "a1")
    first, second = register(vault, "first", "ann"), register(vault, "second", "ann")
    honest = engine.connect

    def connect(profile: Any, credential: Any, **options: Any) -> Any:
        if profile.name == "first":
            raise KeyError("ann@example.com")
        return honest(profile, credential, **options)

    monkeypatch.setattr(engine, "connect", connect)
    failed, done = engine.sync(vault, [first, second], Options(), Silence())
    assert (failed.status, [entry.code for entry in failed.failures]) == (Status.FAILED, ["internal"])
    assert "ann" not in str(failed.to_dict())
    assert (done.status, done.added) == (Status.OK, 2)


def test_an_expired_tenant_is_not_pulled(vault: Vault, exchange: FakeExchange) -> None:
    tenant = register(vault, "acme", "ann", ends=date(2026, 6, 1))
    run = sync(vault, tenant)
    assert (run.status, exchange.calls) == (Status.EXPIRED, [])
    assert "2026-06-01" in run.failures[0].message


def test_a_tenant_in_use_is_busy_and_names_the_process(vault: Vault, exchange: FakeExchange) -> None:
    tenant = register(vault, "acme", "ann")
    with vault.locks.tenant(tenant.id):
        run = sync(vault, tenant)
    assert run.status == Status.BUSY
    assert str(os.getpid()) in run.failures[0].message


def test_a_tenant_in_erasure_is_not_pulled(vault: Vault, exchange: FakeExchange) -> None:
    tenant = register(vault, "acme", "ann")
    with vault.data.write() as tx:
        tenant_rows.begin_erasure(tx, tenant.id)
    assert sync(vault, tenant).status == Status.BUSY
    assert exchange.calls == []


def test_an_erasure_in_the_middle_of_a_run_keeps_what_it_removed(vault: Vault, exchange: FakeExchange) -> None:
    exchange.hire("ann", "a1", "a2", "a3", "a4", "a5")
    tenant = register(vault, "acme", "ann")

    def erase(count: int) -> None:
        if count == 1:
            with vault.data.write() as tx:  # what an erasure in another process does first
                tenant_rows.begin_erasure(tx, tenant.id)
                tenant_rows.delete_rows(tx, tenant.id, tables=tenant_rows.PERSONAL_TABLES[:-1])

    exchange.after_page = erase
    run = sync(vault, tenant)
    assert run.status == Status.BUSY
    assert [name for name, found in tables(vault).items() if found and name in tenant_rows.PERSONAL_TABLES] == [
        "tenants"
    ]


def test_an_erasure_waits_for_the_run_that_it_has_fenced_off(
    vault: Vault, place: Place, exchange: FakeExchange
) -> None:
    import threading

    exchange.hire("ann", "a1", "a2", "a3")
    tenant = register(vault, "acme", "ann")
    other, began, done = place.open(), threading.Event(), []
    fence = erasure._fence

    def erase() -> None:
        done.append(erasure.erase(other, tenant, reason="on-demand", role="root"))

    def fence_and_tell(*args: Any) -> Any:
        intent = fence(*args)
        began.set()
        return intent

    eraser = threading.Thread(target=erase)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(erasure, "_fence", fence_and_tell)
        exchange.after_page = lambda count: (eraser.start(), began.wait(20))[0] if count == 1 else None
        run = sync(vault, tenant)
        eraser.join()
    assert run.status == Status.BUSY
    assert done[0].status == "final"
    assert rows(vault.data, "contacts") == []


def test_a_run_works_on_the_facts_as_they_are_when_it_begins(vault: Vault, exchange: FakeExchange) -> None:
    stale = register(vault, "acme", "ann", ends=date(2026, 1, 1), term="P1M")
    exchange.hire("ann", "a1")
    renewed = stale.facts.with_subscription(stale.facts.subscription.cancel(date(2026, 12, 24)))
    tenants.update(vault, stale, lambda _: renewed)
    assert sync(vault, stale).status == Status.OK
    assert tenants.find(vault, "acme").facts.subscription == renewed.subscription


def test_a_term_that_has_begun_moves_every_purge_date(place: Place, exchange: FakeExchange) -> None:
    exchange.hire("ann", "a1")
    tenant = register(place.create(), "acme", "ann", ends=date(2026, 6, 15), term="P1M")
    sync(place.opened[0], tenant)
    later = place.open(NOW + timedelta(days=20))
    assert sync(later, tenants.find(later, "acme")).status == Status.OK
    due = int(tenants.find(later, "acme").facts.subscription.purge_at(later.now).timestamp())
    with later.data.read() as tx:
        found = tenant_rows.tags(tx, tenant.id)
    assert {tag for tags in found.values() for tag in tags} == {due}


def test_a_renewal_during_a_run_moves_what_the_run_writes_too(vault: Vault, exchange: FakeExchange) -> None:
    exchange.hire("ann", "a1", "a2", "a3")
    tenant = register(vault, "acme", "ann")

    def renew(count: int) -> None:
        if count == 1:
            tenants.update(vault, tenant, lambda _: profile("acme", ends=date(2027, 6, 1)))

    exchange.after_page = renew
    assert sync(vault, tenant).status == Status.OK
    due = int(tenants.find(vault, "acme").purge_at.timestamp())
    with vault.data.read() as tx:
        found = tenant_rows.tags(tx, tenant.id)
    assert {tag for tags in found.values() for tag in tags} == {due}


def test_an_interrupt_stops_the_run_and_the_next_one_continues(vault: Vault, exchange: FakeExchange) -> None:
    exchange.hire("ann", "a1", "a2", "a3", "a4", "a5")
    tenant = register(vault, "acme", "ann")
    run_stops = []

    class Interrupting(Silence):
        def advance(self, tenant: str, *, mailboxes: int = 0, contacts: int = 0, photos: int = 0) -> None:
            if contacts and not run_stops:
                run_stops.append(True)
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.sync(vault, [tenant], Options(), Interrupting())
    assert _last(vault, [tenant]) == {}
    with vault.locks.tenant(tenant.id):
        pass  # the lock is free
    run = sync(vault, tenant)
    assert (run.status, len(held(vault, tenant)["ann"])) == (Status.OK, 6)
    assert {row[4] for row in rows(vault.data, "runs")} == {"interrupted", "ok"}


def test_workers_of_a_stopped_run_stop_at_the_next_page(vault: Vault, exchange: FakeExchange) -> None:
    exchange.hire("ann", "a1", "a2", "a3", "a4", "a5")
    exchange.hire("bob", *(f"b{number}" for number in range(9)))
    tenant = register(vault, "acme", "ann", "bob")

    class BugError(Exception):
        pass

    def fail(count: int) -> None:
        if count == 3:
            raise BugError

    exchange.after_page = fail
    assert [entry.code for entry in sync(vault, tenant).failures] == ["internal"]
    assert exchange.pages < 7


def _last(vault: Vault, chosen: list[Any]) -> dict[str, Any]:
    names = {tenant.id: tenant.facts.name for tenant in chosen}
    return {names[tenant_id]: run for tenant_id, run in runs.last(vault).items()}


class TestDryRun:
    """It says exactly what the real run then does, and writes nothing."""

    def compare(self, vault: Vault, tenant: Any, **options: Any) -> tuple[int, ...]:
        before, stood = tables(vault), standing(vault, tenant)
        self.asked()
        said = sync(vault, tenant, dry_run=True, **options)
        asked = self.asked()
        rehearsed = _plain(said)
        changes = rehearsed.pop("changes")
        told = Counter(change["action"] for change in changes)
        assert (told["add"], told["remove"]) == (rehearsed["added"], rehearsed["removed"])
        assert tables(vault) == before
        assert rows(vault.data, "runs") == self.runs
        real = _plain(sync(vault, tenant, **options))
        assert rehearsed == real
        assert asked == self.asked()
        if real["status"] != Status.BRAKED:
            assert as_told(said) == told_of(stood, standing(vault, tenant))
        self.runs = rows(vault.data, "runs")
        return tuple(real[name] for name in ("added", "changed", "removed", "unchanged"))

    def asked(self) -> tuple[int, list[Any]]:
        """How many pages the server was asked for since the last time, and which photos."""
        looks = sorted((one.mailbox.key, one.folder_id, one.item_id, one.etag) for one in self.exchange.looks)
        found = self.exchange.pages, looks
        self.exchange.pages, self.exchange.looks = 0, []
        return found

    @pytest.fixture(autouse=True)
    def no_runs(self, exchange: FakeExchange) -> None:
        self.runs: list[Any] = []
        self.exchange = exchange

    def test_of_a_whole_story(self, vault: Vault, exchange: FakeExchange) -> None:
        ann = exchange.hire("ann", "a1", "a2", "a3", "a4", "a5")
        exchange.hire("bob", "b1", "b2")
        exchange.hire("off", enabled=False)
        exchange.groups["g:all"] = ["ann", "bob", "off"]
        tenant = register(vault, "acme", "g:all", "ann")
        assert self.compare(vault, tenant) == (9, 0, 0, 0)
        ann.folders["ann-other"] = FakeFolder("other")
        exchange.move("ann", "a1", "ann-other")
        exchange.rename("ann", "a2", "Changed")
        exchange.rename("ann", "a2", "Changed twice")
        exchange.folder_of("ann", "a3").remove("a3")
        ann.folders["ann-other"].put("a6", contact("a6"))
        exchange.hire("new", "n1")
        exchange.groups["g:all"].append("new")
        # Every replayed entry counts: a2 came twice, and a1 left one folder for the other.
        self.compare(vault, tenant)
        exchange.move("ann", "a1", "ann-inbox")
        exchange.groups["g:all"].remove("bob")
        assert self.compare(vault, tenant)[2] == 3
        del ann.folders["ann-other"]
        assert self.compare(vault, tenant)[2] == 1
        assert self.compare(vault, tenant, full=True)[:3] == (0, 0, 0)
        source = next(one for one in sources.listing(vault, tenant) if one.ref == "g:all")
        sources.remove(vault, tenant, source.id)
        self.compare(vault, tenant)
        assert held(vault, tenant).keys() == {"ann"}

    def test_of_a_resync(self, vault: Vault, exchange: FakeExchange) -> None:
        exchange.hire("ann", "a1", "a2", "a3", "a4", "a5")
        tenant = register(vault, "acme", "ann")
        self.compare(vault, tenant)
        folder = exchange.folder_of("ann", "a2")
        folder.remove("a2")
        folder.log.clear()
        exchange.expired.add("ann-inbox")
        before = tables(vault)
        rehearsed = _plain(sync(vault, tenant, dry_run=True))
        assert [change["action"] for change in rehearsed.pop("changes")] == ["remove"]
        assert tables(vault) == before
        exchange.expired.add("ann-inbox")
        assert _plain(sync(vault, tenant)) == rehearsed
        assert rehearsed["removed"] == 1

    def test_of_a_resync_that_was_cut_off(self, vault: Vault, exchange: FakeExchange) -> None:
        exchange.hire("ann", "a1", "a2", "a3", "a4", "a5")
        tenant = register(vault, "acme", "ann")
        sync(vault, tenant)
        exchange.folder_of("ann", "a5").remove("a5")
        exchange.expired.add("ann-inbox")

        def cut(count: int) -> None:
            exchange.after_page = lambda count: None
            raise DamagedError("cut")

        exchange.after_page = cut
        sync(vault, tenant)
        self.runs = rows(vault.data, "runs")
        assert self.compare(vault, tenant)[2] == 1

    def test_of_a_brake(self, vault: Vault, exchange: FakeExchange) -> None:
        exchange.page_size = 50
        exchange.hire("ann", *(f"a{number}" for number in range(30)))
        tenant = register(vault, "acme", "ann")
        self.compare(vault, tenant)
        folder = exchange.people["ann"].folders["ann-inbox"]
        for item in list(folder.items)[:20]:
            folder.remove(item)
        assert self.compare(vault, tenant)[2] == 20  # what accepting it would remove
        folder.put("a0", contact("a0"))  # comes back while the brake holds
        assert self.compare(vault, tenant, accept_removals=True)[2] == 19

    def test_of_photos(self, vault: Vault, exchange: FakeExchange) -> None:
        exchange.hire("ann", "a1", "a2", "a3")
        tenant = register(vault, "acme", "ann")
        exchange.photos = {"ann": b"face", "a1": b"one"}
        self.compare(vault, tenant)
        exchange.photos = {"ann": b"face", "a2": b"two"}
        exchange.rename("ann", "a1", "Another")
        exchange.rename("ann", "a2", "Somebody")
        rehearsed = sync(vault, tenant, dry_run=True)
        told = sorted((change.action, change.fields) for change in rehearsed.changes or ())
        assert told == [("change", ("display_name", "photo"))] * 2
        assert self.compare(vault, tenant)[1] == 2
        exchange.photos["ann"] = b"another face"
        self.compare(vault, tenant, full=True)

    def test_of_another_name_for_a_folder(self, vault: Vault, exchange: FakeExchange) -> None:
        ann = exchange.hire("ann", "a1", "a2", "a3")
        tenant = register(vault, "acme", "ann")
        self.compare(vault, tenant)
        ann.folders["ann-inbox"].path = "renamed"
        exchange.rename("ann", "a1", "Another")
        rehearsed = sync(vault, tenant, dry_run=True)
        told = sorted(change.fields for change in rehearsed.changes or ())
        assert told == [("display_name", "folder"), ("folder",), ("folder",)]
        assert self.compare(vault, tenant) == (0, 3, 0, 1)
        ann.folders["ann-other"] = FakeFolder("other")
        ann.folders["ann-other"].put("a4", contact("a4"))
        self.compare(vault, tenant)
        ann.folders["ann-inbox"].path = "renamed again"
        exchange.move("ann", "a4", "ann-inbox")
        exchange.move("ann", "a1", "ann-other")
        exchange.folder_of("ann", "a2").remove("a2")
        ann.folders["ann-inbox"].put("a5", contact("a5"))
        assert self.compare(vault, tenant)[::2] == (1, 1)

    def test_of_what_servers_say_of_photos(self, vault: Vault, exchange: FakeExchange) -> None:
        ann = exchange.hire("ann", "a1", "a2", "a3", "a4", "a5")
        folder = ann.folders["ann-inbox"]
        folder.pictured = {"a1": True, "a2": True, "a3": False, "a4": False}
        exchange.photos = {"ann": b"face", "a1": b"one", "a2": b"two"}
        tenant = register(vault, "acme", "ann")
        self.compare(vault, tenant)
        folder.pictured = {"a1": False, "a2": False, "a3": True, "a4": False}
        exchange.photos = {"ann": b"face", "a3": b"three", "a5": b"five"}
        for item in ("a1", "a2", "a1", "a3", "a5"):
            folder.put(item, folder.items[item])
        self.compare(vault, tenant)
        folder.pictured["a4"] = True
        exchange.photos["a4"] = b"four"
        exchange.expired.add("ann-inbox")
        said = sync(vault, tenant, dry_run=True)
        assert [(one.action, one.fields) for one in said.changes or ()] == [("change", ("photo",))]
        self.compare(vault, tenant, full=True)
        ann.mailbox = replace(ann.mailbox, kind=MailboxKind.OUTSIDE)
        exchange.brings_cards = True
        self.compare(vault, tenant)


def _plain(run: Any) -> dict[str, Any]:
    plain = run.to_dict()
    for name in ("seconds", "requests"):
        plain.pop(name)
    return plain


def test_the_system_clock_tells_whole_seconds_in_utc() -> None:
    now = system_clock()
    assert (now.microsecond, now.utcoffset()) == (0, timedelta(0))
