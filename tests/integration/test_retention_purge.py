"""The purge: erases by the sealed facts, never by a tag, never on a doubtful clock, and one failure stops no other."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest

from syncvault.errors import BrakeError, StorageError
from syncvault.retention import purge as retention
from syncvault.store import tenants as tenant_rows
from syncvault.vault import tenants
from syncvault.vault.erasing import erasure
from syncvault.vault.model import Tenant
from syncvault.vault.trail import audit
from syncvault.vault.vault import Vault
from tests.integration.fake_exchange import FakeExchange
from tests.integration.vault_parts import Place, execute, register, rows, sync

ENDS = date(2026, 9, 1)
ENDED = date(2026, 6, 15)
DUE = datetime(2026, 11, 29, 23, tzinfo=UTC)  # 90 civil days later, midnight in Berlin


def test_a_tenant_goes_on_its_day_and_not_before(place: Place, exchange: FakeExchange) -> None:
    exchange.hire("ann", "a1")
    vault = place.create()
    tenant = register(vault, "acme", "ann", ends=ENDS)
    register(vault, "other", ends=date(2026, 9, 2))
    sync(vault, tenant)
    early = place.open(DUE - timedelta(seconds=1))
    assert retention.preview(early).plans == []
    assert [plan.name for plan in retention.preview(early, date(2026, 11, 30)).plans] == ["acme"]
    assert retention.purge(early, role="service", accept_clock=True).erased == ()
    day = place.open(DUE)
    assert [(plan.name, plan.due_on, plan.contacts) for plan in retention.preview(day).plans] == [
        ("acme", date(2026, 11, 30), 2)
    ]
    outcome = retention.purge(day, role="service")
    assert [(one.plan.name, one.plan.reason, one.status) for one in outcome.erased] == [("acme", "retention", "final")]
    assert outcome.failures == ()
    assert [one.facts.name for one in tenants.call_roll(day).tenants] == ["other"]
    assert retention.purge(day, role="service").erased == ()


def test_a_running_subscription_rolls_forward_before_anything_is_purged(place: Place) -> None:
    vault = place.create()
    register(vault, "rolling", ends=ENDED, term="P1M")
    cancelled = register(vault, "ended", ends=ENDED, term="P1M")
    tenants.update(vault, cancelled, lambda facts: facts.with_subscription(facts.subscription.cancel(ENDED)))
    later = place.open(datetime(2026, 11, 1, tzinfo=UTC))
    outcome = retention.purge(later, role="root")
    assert ([one.plan.name for one in outcome.erased], outcome.repaired) == (["ended"], 0)
    assert [one.facts.name for one in tenants.call_roll(later).tenants] == ["rolling"]


@pytest.mark.parametrize("tag", [1, 2**40])
def test_a_tag_neither_purges_nor_saves_anybody(place: Place, tag: int) -> None:
    vault = place.create()
    register(vault, "early", ends=ENDS)
    late = register(vault, "late")
    for table in ("tenants", "credentials"):
        execute(vault.data, f"UPDATE {table} SET purge_at = ?", tag)
    outcome = retention.purge(place.open(DUE), role="root", accept_clock=True)
    assert ([one.plan.name for one in outcome.erased], outcome.repaired) == (["early"], 1)
    found = tenants.find(place.open(), "late")
    assert found.purge_at == late.purge_at


def test_a_tenant_whose_facts_do_not_open_is_reported_and_kept(place: Place) -> None:
    vault = place.create()
    register(vault, "due", ends=ENDS)
    damaged = register(vault, "damaged", ends=ENDS)
    lost = register(vault, "lost", ends=ENDS)
    execute(vault.data, "UPDATE tenants SET profile = ? WHERE id = ?", b"x" * 200, damaged.id)
    execute(vault.key_data, "DELETE FROM wrapped_keys WHERE tenant_id = ?", lost.id)
    opened = place.open(DUE)
    assert [plan.name for plan in retention.preview(opened).plans] == ["due"]
    outcome = retention.purge(opened, role="root", accept_clock=True)
    assert [one.plan.name for one in outcome.erased] == ["due"]
    assert len(outcome.failures) == 2
    for tenant in (damaged, lost):
        assert any(str(UUID(bytes=tenant.id)) in failure for failure in outcome.failures)
    assert {row[0] for row in rows(opened.data, "tenants")} == {damaged.id, lost.id}


def test_a_tenant_in_use_is_reported_and_the_others_go(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure, "MAINTENANCE_SECONDS", 0.0)
    vault = place.create()
    held = register(vault, "held", ends=ENDS)
    register(vault, "free", ends=ENDS)
    opened = place.open(DUE)
    monkeypatch.undo()
    with pytest.MonkeyPatch.context() as patch, vault.locks.tenant(held.id):
        patch.setattr(erasure, "MAINTENANCE_SECONDS", 0.5)
        outcome = retention.purge(opened, role="root", accept_clock=True)
    assert [one.plan.name for one in outcome.erased] == ["free"]
    assert str(os.getpid()) in outcome.failures[0]
    again = retention.purge(opened, role="root")
    assert [one.plan.tenant_id for one in again.erased] == [held.id]  # it was fenced, and is finished now


def test_whatever_stops_one_erasure_the_others_are_done_and_told_of(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = place.create()
    first, second = register(vault, "first", ends=ENDS), register(vault, "second", ends=ENDS)
    erase = erasure.erase

    def fail_first(vault: Vault, tenant: Tenant, *, reason: str, role: str, vacuum: bool) -> erasure.Erased:
        if tenant.id == first.id:
            raise StorageError("The disk is full.")
        return erase(vault, tenant, reason=reason, role=role, vacuum=vacuum)

    monkeypatch.setattr(erasure, "erase", fail_first)
    outcome = retention.purge(place.open(DUE), role="root")
    assert [one.plan.tenant_id for one in outcome.erased] == [second.id]
    assert outcome.failures == (f"Tenant {UUID(bytes=first.id)}: The disk is full.",)


def test_a_tenant_renewed_after_it_was_found_due_stays(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant = register(place.create(), "acme", ends=ENDS)
    day = place.open(DUE)
    found_due = tenants.call_roll(day)
    tenants.update(day, tenant, lambda facts: facts.with_subscription(facts.subscription.renew(date(2028, 1, 1))))
    monkeypatch.setattr(tenants, "call_roll", lambda _: found_due)
    outcome = retention.purge(day, role="root")
    assert (outcome.erased, len(outcome.failures)) == ((), 1)
    assert "renewed" in outcome.failures[0]
    assert tenants.find(day, "acme").facts.subscription.ends_on == date(2028, 1, 1)


def test_an_erasure_that_was_begun_is_finished(place: Place) -> None:
    vault = place.create()
    tenant = register(vault, "acme")
    erasure._fence(vault, tenant, erasure.ON_DEMAND, "root")
    assert [plan.name for plan in retention.preview(vault).plans] == [None]
    (erased,) = retention.purge(vault, role="service").erased
    assert (erased.plan.tenant_id, erased.plan.reason, erased.status) == (tenant.id, "on-demand", "final")
    with vault.read() as tx:
        assert tenant_rows.list_all(tx) == []


def test_logs_older_than_a_year_go_with_the_purge(place: Place) -> None:
    vault = place.create()
    audit.record(vault, verb="init", tenant_id=None, outcome="ok")
    retention.purge(place.open(vault.now + timedelta(days=366)), role="root", accept_clock=True)
    assert rows(vault.data, "audit") == []


class TestClock:
    """A wrong clock must not erase customers, however it got wrong and whoever has run meanwhile."""

    @pytest.fixture
    def seen(self, place: Place) -> Place:
        vault = place.create()
        register(vault, "acme", ends=ENDS)
        retention.purge(vault, role="root")
        return place

    def test_a_leap_ahead_stops_the_purge(self, seen: Place) -> None:
        later = seen.open(seen.now + timedelta(days=3650))
        with pytest.raises(BrakeError, match="3650 days ahead") as caught:
            retention.purge(later, role="root")
        assert "--accept-clock" in caught.value.advice
        assert tenants.find(later, "acme").profile is not None

    def test_a_sync_on_a_wrong_clock_does_not_make_it_right(self, seen: Place, exchange: FakeExchange) -> None:
        later = seen.open(seen.now + timedelta(days=3650))
        sync(later, tenants.find(later, "acme"))
        with pytest.raises(BrakeError):
            retention.purge(later, role="root")

    def test_a_clock_that_went_back_stops_the_purge_and_stays_noticed(
        self, seen: Place, exchange: FakeExchange
    ) -> None:
        earlier = seen.open(seen.now - timedelta(days=1))
        sync(earlier, tenants.find(earlier, "acme"))
        with pytest.raises(BrakeError, match="behind"):
            retention.purge(earlier, role="root")

    def test_what_a_time_service_corrects_is_no_matter(self, seen: Place) -> None:
        retention.purge(seen.open(seen.now - timedelta(minutes=4)), role="root")

    def test_an_administrators_word_counts_and_is_kept(self, seen: Place) -> None:
        earlier = seen.open(seen.now - timedelta(days=100))
        retention.purge(earlier, role="root", accept_clock=True)
        assert earlier.latest_time_seen() == earlier.now
        retention.purge(earlier, role="root")
