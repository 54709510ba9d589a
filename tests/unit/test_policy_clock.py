"""A clock is believed unless it stands behind what the vault has seen, or far ahead of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncvault.policy.clock import BACKWARD_SLACK, LONGEST_LEAP, doubt

SEEN = datetime(2027, 1, 1, 12, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)


def test_a_vault_that_has_seen_no_time_believes_any() -> None:
    assert doubt(datetime(1970, 1, 1, tzinfo=UTC), None) is None


def test_half_a_year_and_five_minutes_are_what_is_believed() -> None:
    assert timedelta(days=180) == LONGEST_LEAP
    assert timedelta(minutes=5) == BACKWARD_SLACK


@given(moved=st.timedeltas(-BACKWARD_SLACK, LONGEST_LEAP))
def test_a_clock_within_both_bounds_is_believed(moved: timedelta) -> None:
    assert doubt(SEEN + moved, SEEN) is None


@pytest.mark.parametrize("moved", [-BACKWARD_SLACK, LONGEST_LEAP])
def test_the_bounds_themselves_are_believed(moved: timedelta) -> None:
    assert doubt(SEEN + moved, SEEN) is None


@pytest.mark.parametrize("back", [INSTANT, timedelta(days=1), timedelta(days=9000)])
def test_a_clock_behind_the_slack_is_doubted(back: timedelta) -> None:
    assert doubt(SEEN - BACKWARD_SLACK - back, SEEN) == "The clock is behind the time this vault has seen already."


@pytest.mark.parametrize(("ahead", "days"), [(INSTANT, 180), (timedelta(days=1), 181), (timedelta(days=9000), 9180)])
def test_a_clock_that_leapt_is_doubted_and_the_leap_is_counted(ahead: timedelta, days: int) -> None:
    assert doubt(SEEN + LONGEST_LEAP + ahead, SEEN) == f"The clock is {days} days ahead of the last command here."
