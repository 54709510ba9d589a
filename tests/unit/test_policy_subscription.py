"""What a subscription covers, what state it is in, and when everything of it must be gone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncvault.policy.calendar import civil_day, day_begins, parse_term
from syncvault.policy.subscription import State, Subscription, SubscriptionKind

BERLIN = "Europe/Berlin"
TRIAL, PAID = SubscriptionKind.TRIAL, SubscriptionKind.PAID

moments = st.datetimes(datetime(2020, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  (bounds)
days = st.dates(date(2020, 1, 1), date(2090, 1, 1))
zones = st.sampled_from([BERLIN, "America/Sao_Paulo", "Asia/Kathmandu", "Pacific/Apia", "Pacific/Kiritimati", "UTC"])
terms = st.sampled_from(["P1M", "P3M", "P7M", "P1Y", "P2Y"])


@st.composite
def subscriptions(draw: st.DrawFn) -> Subscription:
    kind = draw(st.sampled_from([TRIAL, PAID]))
    term = draw(terms) if kind is PAID else ""
    return Subscription(kind, draw(days), draw(zones), term, draw(st.booleans()))


def at(text: str, zone: str = BERLIN) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


@pytest.mark.parametrize(
    ("now", "state"),
    [
        ("2026-01-01T00:00:00", State.ACTIVE),
        ("2026-12-31T23:59:59", State.ACTIVE),
        ("2027-01-01T00:00:00", State.EXPIRED),
        ("2030-01-01T00:00:00", State.EXPIRED),
    ],
)
def test_a_trial_runs_until_its_last_day_begins_there(now: str, state: State) -> None:
    assert Subscription(TRIAL, date(2027, 1, 1), BERLIN).state(at(now)) is state


@pytest.mark.parametrize(
    ("now", "state"), [("2027-06-29T23:59:59", State.CANCELLED), ("2027-06-30T00:00:00", State.EXPIRED)]
)
def test_a_cancelled_subscription_is_covered_until_its_end(now: str, state: State) -> None:
    paid = Subscription(PAID, date(2027, 12, 31), BERLIN, "P1Y")
    assert paid.cancel(date(2027, 6, 30)).state(at(now)) is state


def test_a_trial_s_purge_day_is_ninety_days_on_at_midnight_there() -> None:
    trial = Subscription(TRIAL, date(2027, 1, 1), BERLIN)
    assert trial.purge_on(at("2026-12-01T00:00:00")) == date(2027, 4, 1)
    assert trial.purge_at(at("2026-12-01T00:00:00")) == at("2027-04-01T00:00:00")


@pytest.mark.parametrize(
    ("now", "ends"),
    [
        ("2026-12-31T23:59:59", date(2027, 1, 1)),
        ("2027-01-01T00:00:00", date(2028, 1, 1)),
        ("2027-12-31T23:59:59", date(2028, 1, 1)),
        ("2041-05-05T00:00:00", date(2042, 1, 1)),
    ],
)
def test_a_running_paid_subscription_rolls_from_term_to_term(now: str, ends: date) -> None:
    paid = Subscription(PAID, date(2027, 1, 1), BERLIN, "P1Y")
    assert paid.cover_ends(at(now)) == ends
    assert paid.state(at(now)) is State.ACTIVE


def test_a_term_that_began_on_a_leap_day_comes_back_to_it() -> None:
    paid = Subscription(PAID, date(2028, 2, 29), "UTC", "P1Y")
    ends = [paid.cover_ends(datetime(year, 2, 28, tzinfo=UTC)) for year in range(2028, 2034)]
    assert ends == [
        date(2028, 2, 29),
        date(2029, 3, 1),
        date(2030, 3, 1),
        date(2031, 3, 1),
        date(2032, 2, 29),
        date(2033, 3, 1),
    ]


def test_monthly_terms_from_the_thirty_first_never_drift() -> None:
    paid = Subscription(PAID, date(2027, 1, 31), "UTC", "P1M")
    ends = [paid.cover_ends(datetime(2027, month, 15, tzinfo=UTC)) for month in range(1, 7)]
    assert ends == [
        date(2027, 1, 31),
        date(2027, 3, 1),
        date(2027, 3, 31),
        date(2027, 5, 1),
        date(2027, 5, 31),
        date(2027, 7, 1),
    ]


def test_cancelling_in_the_past_moves_the_purge_date_back() -> None:
    paid = Subscription(PAID, date(2027, 12, 31), "UTC", "P1Y")
    cancelled = paid.cancel(date(2026, 1, 1))
    now = datetime(2027, 3, 1, tzinfo=UTC)
    assert cancelled.state(now) is State.EXPIRED
    assert cancelled.purge_on(now) == date(2026, 4, 1)


def test_renewing_makes_a_trial_paid_and_lifts_a_cancellation() -> None:
    trial = Subscription(TRIAL, date(2027, 1, 1), BERLIN)
    now = at("2027-02-01T00:00:00")
    renewed = trial.cancel(date(2026, 12, 1)).renew(date(2028, 1, 1))
    assert trial.state(now) is State.EXPIRED
    assert renewed == Subscription(PAID, date(2028, 1, 1), BERLIN, "P1Y")
    assert renewed.state(now) is State.ACTIVE
    assert renewed.cancel(date(2027, 6, 1)).state(now) is State.CANCELLED


def test_renewing_keeps_the_term_that_was_agreed() -> None:
    assert Subscription(PAID, date(2027, 1, 1), BERLIN, "P3M").renew(date(2028, 1, 1)).term == "P3M"


@given(subscription=subscriptions(), now=moments)
def test_the_purge_date_is_ninety_days_after_the_cover_in_the_tenant_s_zone(
    subscription: Subscription, now: datetime
) -> None:
    day = subscription.purge_on(now)
    assert (day - subscription.cover_ends(now)).days == 90
    assert subscription.purge_at(now) == day_begins(day, ZoneInfo(subscription.zone))


@given(subscription=subscriptions(), now=moments)
def test_nothing_that_is_covered_is_due(subscription: Subscription, now: datetime) -> None:
    if subscription.state(now) is not State.EXPIRED:
        assert now < subscription.purge_at(now)
        assert civil_day(now, ZoneInfo(subscription.zone)) < subscription.cover_ends(now)


@given(subscription=subscriptions(), now=moments, later=st.timedeltas(timedelta(0), timedelta(days=4000)))
def test_an_expired_subscription_stays_expired_and_its_purge_date_stands(
    subscription: Subscription, now: datetime, later: timedelta
) -> None:
    if subscription.state(now) is State.EXPIRED:
        assert subscription.state(now + later) is State.EXPIRED
        assert subscription.purge_at(now + later) == subscription.purge_at(now)


@given(ends=days, zone=zones, term=terms, now=moments)
def test_a_running_paid_subscription_never_expires_and_ends_within_a_term(
    ends: date, zone: str, term: str, now: datetime
) -> None:
    paid = Subscription(PAID, ends, zone, term)
    today, cover = civil_day(now, ZoneInfo(zone)), paid.cover_ends(now)
    assert paid.state(now) is State.ACTIVE
    assert cover > today
    assert cover == ends or (cover - today).days <= parse_term(term) * 31 + 1


@given(ends=days, zone=zones, term=terms, now=moments, later=st.timedeltas(timedelta(0), timedelta(days=4000)))
def test_the_purge_date_of_a_running_subscription_never_moves_back(
    ends: date, zone: str, term: str, now: datetime, later: timedelta
) -> None:
    paid = Subscription(PAID, ends, zone, term)
    assert paid.purge_at(now) <= paid.purge_at(now + later)


@given(subscription=subscriptions(), day=days, now=moments)
def test_a_cancellation_fixes_the_end_whatever_the_clock_says(
    subscription: Subscription, day: date, now: datetime
) -> None:
    cancelled = subscription.cancel(day)
    assert cancelled.cover_ends(now) == day
    assert cancelled.state(now) in {State.CANCELLED, State.EXPIRED}
    assert cancelled.cancel(day) == cancelled


@given(subscription=subscriptions(), now=moments)
def test_the_state_changes_at_the_very_instant(subscription: Subscription, now: datetime) -> None:
    fixed = subscription.cancel(subscription.cover_ends(now))
    turn = day_begins(fixed.ends_on, ZoneInfo(fixed.zone))
    assert fixed.state(turn) is State.EXPIRED
    assert fixed.state(turn - timedelta(microseconds=1)) is State.CANCELLED


@given(subscription=subscriptions(), now=moments)
def test_everything_is_due_from_the_very_instant_on(subscription: Subscription, now: datetime) -> None:
    fixed = subscription.cancel(subscription.cover_ends(now))
    instant = fixed.purge_at(now)
    assert fixed.is_due(instant)
    assert fixed.is_due(instant + timedelta(microseconds=1))
    assert not fixed.is_due(instant - timedelta(microseconds=1))


def test_a_running_subscription_is_never_due() -> None:
    paid = Subscription(PAID, date(2027, 1, 31), BERLIN, "P1M")
    assert not any(paid.is_due(datetime(year, 1, 31, tzinfo=UTC)) for year in (2027, 2028, 2090))
