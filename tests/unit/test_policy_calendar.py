"""Purge dates are civil days in a zone, whatever its clocks do."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncvault.policy.calendar import (
    add_months,
    civil_day,
    day_begins,
    log_purge_instant,
    parse_term,
    purge_day,
)
from syncvault.policy.catalogue import CATALOGUE, DataClass, Start

WITH_TENANT = [name for name, rule in CATALOGUE.items() if rule.start is Start.COVER_ENDS]
LOGS = [DataClass.RUN, DataClass.AUDIT]
ZONES = (
    "Europe/Berlin",
    "Europe/Lisbon",
    "Africa/Cairo",
    "America/Havana",
    "America/New_York",
    "America/Nuuk",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Asia/Tehran",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Pacific/Kiritimati",
    "UTC",
)

zones = st.sampled_from(ZONES).map(ZoneInfo)
days = st.dates(date(1990, 1, 1), date(2100, 12, 31))


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


def test_ninety_days_after_new_year_in_berlin_is_the_first_of_april_at_midnight_there() -> None:
    day = purge_day(DataClass.CONTACT, date(2027, 1, 1))
    begins = day_begins(day, ZoneInfo("Europe/Berlin"))
    assert day == date(2027, 4, 1)
    assert begins == utc(2027, 3, 31, 22)
    assert begins.astimezone(ZoneInfo("Europe/Berlin")).isoformat() == "2027-04-01T00:00:00+02:00"
    assert begins - day_begins(date(2027, 1, 1), ZoneInfo("Europe/Berlin")) == timedelta(days=90, hours=-1)


@pytest.mark.parametrize(
    ("day", "zone", "expected"),
    [
        (date(2018, 11, 4), "America/Sao_Paulo", utc(2018, 11, 4, 3)),  # midnight is skipped: 01:00 there
        (date(2024, 4, 26), "Africa/Cairo", utc(2024, 4, 25, 22)),
        (date(2011, 12, 30), "Pacific/Apia", utc(2011, 12, 30, 10)),  # the whole day is skipped
        (date(2011, 12, 31), "Pacific/Apia", utc(2011, 12, 30, 10)),
        (date(2024, 11, 3), "America/Havana", utc(2024, 11, 3, 4)),  # midnight comes twice: the first
        (date(2027, 10, 31), "Europe/Berlin", utc(2027, 10, 30, 22)),
        (date(2027, 11, 1), "Europe/Berlin", utc(2027, 10, 31, 23)),
        (date(2027, 1, 1), "Pacific/Kiritimati", utc(2026, 12, 31, 10)),
    ],
)
def test_a_day_begins_at_its_first_instant(day: date, zone: str, expected: datetime) -> None:
    assert day_begins(day, ZoneInfo(zone)) == expected


@given(day=days, zone=zones)
def test_a_day_begins_after_the_day_before_and_no_instant_earlier(day: date, zone: ZoneInfo) -> None:
    begins = day_begins(day, zone)
    assert begins.utcoffset() == timedelta(0)
    assert civil_day(begins - timedelta(seconds=1), zone) < day
    if (zone.key, day) != ("Pacific/Apia", date(2011, 12, 30)):
        assert civil_day(begins, zone) == day


@given(day=days, zone=zones)
def test_days_begin_in_their_order(day: date, zone: ZoneInfo) -> None:
    assert day_begins(day, zone) <= day_begins(day + timedelta(days=1), zone)


@pytest.mark.parametrize("data_class", WITH_TENANT)
@given(ends=days)
def test_what_lives_with_a_tenant_goes_ninety_calendar_days_after_the_cover(data_class: DataClass, ends: date) -> None:
    assert (purge_day(data_class, ends) - ends).days == 90


@pytest.mark.parametrize("data_class", LOGS)
@given(written=st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=zones))  # noqa: DTZ001  (bounds)
def test_a_log_row_goes_at_a_midnight_within_its_year(data_class: DataClass, written: datetime) -> None:
    gone = log_purge_instant(data_class, written)
    assert timedelta(days=364) < gone - written <= timedelta(days=365)
    assert (gone.hour, gone.minute, gone.second, gone.microsecond) == (0, 0, 0, 0)


def test_every_data_class_has_exactly_one_rule() -> None:
    assert set(CATALOGUE) == set(DataClass)
    assert sorted([*WITH_TENANT, *LOGS]) == sorted(DataClass)


def test_a_rule_is_not_applied_to_what_counts_from_elsewhere() -> None:
    with pytest.raises(ValueError, match="audit-entry"):
        purge_day(DataClass.AUDIT, date(2027, 1, 1))
    with pytest.raises(ValueError, match="contact"):
        log_purge_instant(DataClass.CONTACT, utc(2027, 1, 1))


@pytest.mark.parametrize(
    ("day", "months", "expected"),
    [
        (date(2028, 2, 29), 12, date(2029, 3, 1)),
        (date(2028, 2, 29), 48, date(2032, 2, 29)),
        (date(2027, 1, 31), 1, date(2027, 3, 1)),
        (date(2028, 1, 30), 1, date(2028, 3, 1)),
        (date(2027, 1, 31), 2, date(2027, 3, 31)),
        (date(2027, 10, 31), 1, date(2027, 12, 1)),
        (date(2027, 12, 31), 1, date(2028, 1, 31)),
        (date(2027, 12, 15), 12, date(2028, 12, 15)),
        (date(2027, 5, 5), 0, date(2027, 5, 5)),
    ],
)
def test_months_are_added_and_a_missing_day_is_the_first_of_the_next(day: date, months: int, expected: date) -> None:
    assert add_months(day, months) == expected


@given(day=days, months=st.integers(0, 600))
def test_adding_months_lands_in_the_month_meant_or_on_the_first_after_it(day: date, months: int) -> None:
    later = add_months(day, months)
    distance = (later.year - day.year) * 12 + later.month - day.month
    assert (distance == months and later.day == day.day) or (distance == months + 1 and later.day == 1 and day.day > 28)


@given(day=days, first=st.integers(0, 300), more=st.integers(1, 300))
def test_more_months_end_later(day: date, first: int, more: int) -> None:
    assert add_months(day, first) < add_months(day, first + more)


@pytest.mark.parametrize(("text", "months"), [("P1M", 1), ("P12M", 12), ("P1Y", 12), ("P3Y", 36), ("P999M", 999)])
def test_terms_are_months_or_years(text: str, months: int) -> None:
    assert parse_term(text) == months


@pytest.mark.parametrize(
    "text",
    ["", "P", "1M", "P1", "P0M", "P000Y", "P1D", "P1W", "P-1M", "P1.5M", "P1Y6M", "p1m", "P1M ", "P1M\n", "P1000M"],
)
def test_anything_else_is_no_term(text: str) -> None:
    with pytest.raises(ValueError, match=r"^a term is a number of months or years, such as P1M or P1Y$"):
        parse_term(text)


@pytest.mark.parametrize("own_zone", ["Pacific/Kiritimati", "America/Nuuk", "UTC"])
def test_the_machine_s_own_zone_changes_nothing(own_zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as machine:
        machine.setenv("TZ", own_zone)
        time.tzset()
        begins = day_begins(date(2027, 4, 1), ZoneInfo("Europe/Berlin"))
        gone = log_purge_instant(DataClass.AUDIT, utc(2027, 3, 1, 23, 59, 59))
    time.tzset()
    assert begins.isoformat() == "2027-03-31T22:00:00+00:00"
    assert gone.isoformat() == "2028-02-29T00:00:00+00:00"


def test_no_month_after_the_last_year_is_given() -> None:
    with pytest.raises(ValueError, match="year 10000"):
        add_months(date(9999, 12, 31), 1)
