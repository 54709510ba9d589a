"""The purge: erases tenants whose day has come, repairs tags that disagree with the facts, prunes the logs.

The tag on a row only finds candidates. What is due is decided by the sealed subscription; a tenant whose facts do
not open is never purged but reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from uuid import UUID
from zoneinfo import ZoneInfo

from syncvault.errors import SyncvaultError
from syncvault.policy.calendar import day_begins
from syncvault.retention import clock_guard
from syncvault.vault import audit, erasure, runs, tenants
from syncvault.vault.erasure import RETENTION, Erased, Plan
from syncvault.vault.model import Tenant
from syncvault.vault.vault import Vault


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a purge did.

    Attributes:
        erased: Finished erasures.
        repaired: How many tenants' tags it had to bring to what the facts say.
        failures: Tenants that it could not judge or erase, and logs that it could not prune, a sentence or two each;
            the others were not held up.
    """

    erased: tuple[Erased, ...]
    repaired: int
    failures: tuple[str, ...] = ()


def preview(vault: Vault, as_of: date | None = None) -> list[Plan]:
    """What a purge would erase now, or at the beginning of another day."""
    living = tenants.call_roll(vault).tenants
    return [erasure.plan(vault, tenant, RETENTION) for tenant in living if _is_due(vault, tenant, as_of)]


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
    vault.note_time(confirmed=accept_clock)
    roll = tenants.call_roll(vault)
    failures = [damaged.message for damaged in roll.damaged]
    erased: list[Erased] = []
    repaired = 0
    for tenant in roll.tenants:
        try:
            if _is_due(vault, tenant):
                erased.append(erasure.erase(vault, tenant, reason=RETENTION, role=role))
            else:
                repaired += tenants.repair_tags(vault, tenant)
        except SyncvaultError as error:
            failures.append(f"Tenant {UUID(bytes=tenant.id)}: {error.message}")
    for log, prune in (("run history", runs.prune), ("audit log", audit.prune)):
        try:
            prune(vault)
        except SyncvaultError as error:  # what has been erased is to be told of all the same
            failures.append(f"The {log} was not pruned: {error.message}")
    return Outcome(tuple(erased), repaired, tuple(failures))


def _is_due(vault: Vault, tenant: Tenant, as_of: date | None = None) -> bool:
    """Whether a tenant is due by the facts, or its erasure was interrupted."""
    if tenant.profile is None:
        return True
    subscription = tenant.profile.subscription
    moment = vault.now if as_of is None else day_begins(as_of, ZoneInfo(subscription.zone))
    return subscription.is_due(moment)
