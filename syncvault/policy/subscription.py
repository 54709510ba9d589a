"""The subscription of a tenant: what it covers, what state it is in on a day, and when everything must be gone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from syncvault.policy.calendar import add_months, civil_day, day_begins, parse_term, purge_day
from syncvault.policy.catalogue import DataClass

_IN_THE_TERM: Final = timedelta(days=100)


class SubscriptionKind(StrEnum):
    """What was agreed with the tenant."""

    TRIAL = "trial"
    PAID = "paid"


class State(StrEnum):
    """What a tenant is in on a given day."""

    ACTIVE = "active"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    ERASING = "erasing"


@dataclass(frozen=True, slots=True)
class Subscription:
    """The contract in facts; everything else is computed from them.

    Attributes:
        kind: Trial or paid.
        ends_on: The day on whose beginning the cover agreed so far ends (of a running paid one: of its first term).
        zone: The tenant's named time zone (IANA).
        term: ISO 8601 term by which a running paid subscription rolls forward; empty for a trial.
        cancelled: Whether it ends for good on `ends_on`.
    """

    kind: SubscriptionKind
    ends_on: date
    zone: str
    term: str = ""
    cancelled: bool = False

    def cover_ends(self, now: datetime) -> date:
        """The day on which the cover ends: of a running paid subscription, the end of the current term."""
        if self.kind is SubscriptionKind.TRIAL or self.cancelled or not self.term:
            return self.ends_on
        today, months = civil_day(now, ZoneInfo(self.zone)), parse_term(self.term)
        elapsed = (today.year - self.ends_on.year) * 12 + today.month - self.ends_on.month
        count = max(0, elapsed // months - 1)
        while add_months(self.ends_on, count * months) <= today:
            count += 1
        return add_months(self.ends_on, count * months)

    def state(self, now: datetime) -> State:
        """Active, cancelled (still covered) or expired at an instant."""
        if now >= day_begins(self.cover_ends(now), ZoneInfo(self.zone)):
            return State.EXPIRED
        return State.CANCELLED if self.cancelled else State.ACTIVE

    def purge_on(self, now: datetime) -> date:
        """The civil day on which everything of the tenant must be gone."""
        return purge_day(DataClass.TENANT_PROFILE, self.cover_ends(now))

    def purge_at(self, now: datetime) -> datetime:
        """The UTC instant at which that day begins in the tenant's zone."""
        return day_begins(self.purge_on(now), ZoneInfo(self.zone))

    def explains(self, tag: datetime, now: datetime) -> bool:
        """Whether rows may carry this purge date: the one that holds, or one of a term that has ended meanwhile."""
        due = self.purge_at(now)
        # A moment of the term's last days: its cover ended 90 days before the tag, and a term is a month at least.
        return tag == due or (tag < due and self.purge_at(tag - _IN_THE_TERM) == tag)

    def is_due(self, now: datetime) -> bool:
        """Whether that instant has come."""
        return now >= self.purge_at(now)

    def cancel(self, ends: date) -> Subscription:
        """Ends for good on a day, past or future."""
        return replace(self, ends_on=ends, cancelled=True)

    def renew(self, until: date) -> Subscription:
        """Paid cover until a day, rolling on from there; makes a trial paid and lifts a cancellation."""
        return replace(self, kind=SubscriptionKind.PAID, ends_on=until, term=self.term or "P1Y", cancelled=False)
