"""Which purge dates a tenant's rows may carry: the one that holds, or that of a term that has rolled over since."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncvault.policy.subscription import Subscription, SubscriptionKind

PAID = SubscriptionKind.PAID
NOW = datetime(2027, 6, 15, 12, tzinfo=UTC)
MONTHLY = Subscription(PAID, date(2027, 1, 31), "Europe/Berlin", term="P1M")


@given(
    st.dates(date(2020, 1, 1), date(2030, 12, 31)),
    st.sampled_from(["P1M", "P3M", "P1Y"]),
    st.sampled_from(["Europe/Berlin", "Pacific/Auckland", "America/New_York", "UTC"]),
    st.integers(0, 2000),
)
def test_what_the_facts_said_on_an_earlier_day_is_explained(ends: date, term: str, zone: str, days: int) -> None:
    running = Subscription(PAID, ends, zone, term=term)
    then = datetime(2027, 6, 15, 12, tzinfo=UTC)
    assert running.explains(running.purge_at(then), then + timedelta(days=days))


def test_a_date_to_come_is_not_explained() -> None:
    assert not MONTHLY.explains(MONTHLY.purge_at(NOW + timedelta(days=40)), NOW)


@pytest.mark.parametrize("hours", [-48, -1, 1, 48])
def test_a_date_between_two_terms_is_not_explained(hours: int) -> None:
    earlier = MONTHLY.purge_at(NOW - timedelta(days=40))
    assert MONTHLY.explains(earlier, NOW)
    assert not MONTHLY.explains(earlier + timedelta(hours=hours), NOW)


@pytest.mark.parametrize(
    "facts", [MONTHLY.cancel(date(2027, 7, 1)), Subscription(SubscriptionKind.TRIAL, date(2027, 7, 1), "UTC")]
)
def test_without_a_running_term_only_the_date_that_holds_is_explained(facts: Subscription) -> None:
    due = facts.purge_at(NOW)
    assert facts.explains(due, NOW)
    assert not facts.explains(due - timedelta(days=31), NOW)
