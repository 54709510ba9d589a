"""Civil-day arithmetic: purge dates are days in a named time zone, stored as the instant that day begins."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from syncvault.policy.catalogue import CATALOGUE, DataClass, Start

_TERM = re.compile(r"P(\d{1,3})([MY])")


def day_begins(day: date, zone: ZoneInfo) -> datetime:
    """The UTC instant at which a civil day begins in a zone (also where that midnight is skipped by a clock change)."""
    return datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)


def civil_day(instant: datetime, zone: ZoneInfo) -> date:
    """The civil day in a zone at an instant."""
    return instant.astimezone(zone).date()


def purge_day(data_class: DataClass, cover_ends: date) -> date:
    """The day on which a row that lives with its tenant must be gone.

    Raises:
        ValueError: The class does not count from the end of cover.
    """
    rule = CATALOGUE[data_class]
    if rule.start is not Start.COVER_ENDS:
        raise ValueError(f"{data_class} does not count from the end of cover")
    return cover_ends + timedelta(days=rule.days)


def log_purge_instant(data_class: DataClass, written: datetime) -> datetime:
    """The instant at which a log row must be gone: within its period, to the day (UTC)."""
    rule = CATALOGUE[data_class]
    if rule.start is not Start.WRITTEN:
        raise ValueError(f"{data_class} does not count from its writing")
    return day_begins(civil_day(written, ZoneInfo("UTC")) + timedelta(days=rule.days), ZoneInfo("UTC"))


def parse_term(text: str) -> int:
    """Months in an ISO 8601 term of whole months or years (`P1M`, `P1Y`); raises ValueError for anything else."""
    match = _TERM.fullmatch(text)
    if match is None or not int(match[1]):
        raise ValueError("a term is a number of months or years, such as P1M or P1Y")
    return int(match[1]) * (12 if match[2] == "Y" else 1)


def add_months(day: date, months: int) -> date:
    """The same day of a later month; where that month has no such day, the first of the month after."""
    years, month = divmod(day.month - 1 + months, 12)
    try:
        return day.replace(year=day.year + years, month=month + 1)
    except ValueError:  # never December, so that the month after is of the same year
        return date(day.year + years, month + 2, 1)
