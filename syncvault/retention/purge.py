"""The purge: erases tenants whose day has come, repairs tags that disagree with the facts, prunes the logs.

The tag on a row only finds candidates. What is due is decided by the sealed subscription; a tenant whose facts do
not open is never purged but reported.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

from syncvault.policy.calendar import day_begins
from syncvault.retention import clock_guard
from syncvault.vault import audit, erasure, runs, tenants
from syncvault.vault.erasure import RETENTION, Erased, Plan
from syncvault.vault.model import Tenant
from syncvault.vault.vault import Vault


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a purge did: erasures, and how many tenants' tags it had to repair."""

    erased: tuple[Erased, ...]
    repaired: int


def preview(vault: Vault, as_of: date | None = None) -> list[Plan]:
    """What a purge would erase now, or at the beginning of another day."""
    return [erasure.plan(vault, tenant, RETENTION) for tenant in _due(vault, as_of)]


def purge(vault: Vault, *, role: str, accept_clock: bool = False) -> Outcome:
    """Erases what is due, after every running subscription has been rolled forward.

    Args:
        vault: The vault.
        role: Who asked; goes into the receipts.
        accept_clock: Whether an administrator has confirmed the clock.

    Raises:
        BrakeError: The clock cannot be trusted.
    """
    if not accept_clock:
        clock_guard.check(vault)
    vault.note_time()
    living = [tenant for tenant in tenants.everyone(vault) if tenant.profile is not None]
    repaired = sum(tenants.repair_tags(vault, tenant) for tenant in living)
    erased = tuple(erasure.erase(vault, tenant, reason=RETENTION, role=role) for tenant in _due(vault))
    runs.prune(vault)
    audit.prune(vault)
    return Outcome(erased, repaired)


def _due(vault: Vault, as_of: date | None = None) -> Iterator[Tenant]:
    """Tenants that are due by the facts, and those whose erasure was interrupted."""
    for tenant in tenants.everyone(vault):
        if tenant.profile is None:
            yield tenant
            continue
        subscription = tenant.profile.subscription
        moment = vault.now if as_of is None else day_begins(as_of, ZoneInfo(subscription.zone))
        if moment >= subscription.purge_at(moment):
            yield tenant
