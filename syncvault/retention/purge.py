"""The purge: erases tenants whose day has come, finishes what earlier erasures left, repairs tags, prunes the logs.

The tag on a row only finds candidates. What is due is decided by the sealed subscription; a tenant whose facts do
not open is never purged but reported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from syncvault.errors import DamagedError, SyncvaultError
from syncvault.policy.calendar import day_begins
from syncvault.retention import clock_guard
from syncvault.vault import tenants
from syncvault.vault.content import runs
from syncvault.vault.erasing import erasing_rows, erasure, ledger, outstanding
from syncvault.vault.erasing.erasure import RETENTION, Erased, Plan
from syncvault.vault.erasing.outstanding import Kept
from syncvault.vault.keyring import rotation
from syncvault.vault.model import Tenant
from syncvault.vault.trail import audit
from syncvault.vault.vault import Vault

_LOGS: Final[tuple[tuple[str, Callable[[Vault], Any]], ...]] = (("run history", runs.prune), ("audit log", audit.prune))


class Preview(NamedTuple):
    """What a purge would erase, and what it would refuse to, a sentence each."""

    plans: list[Plan]
    failures: list[str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a purge did.

    Attributes:
        erased: Finished erasures.
        repaired: How many tenants had tags that were never right; they are now.
        finished: Receipts of earlier erasures: those that became final, and those of rows whose erasure was killed.
        failures: Tenants that it could not judge or erase, and what else it could not do, a sentence or two each;
            the others were not held up.
    """

    erased: tuple[Erased, ...]
    repaired: int
    finished: tuple[Kept, ...] = ()
    failures: tuple[str, ...] = ()


def preview(vault: Vault, as_of: date | None = None) -> Preview:
    """What a purge would erase now, or at the beginning of another day."""
    found, roll = Preview([], []), tenants.call_roll(vault)
    found.failures.extend(damaged.message for damaged in roll.damaged)
    for tenant in roll.tenants:
        if _is_due(vault, tenant, as_of):
            try:
                found.plans.append(erasure.plan(vault, tenant, RETENTION))
            except DamagedError as error:
                found.failures.append(error.message)
    return found


def purge(
    vault: Vault,
    *,
    role: str,
    accept_clock: bool = False,
    vacuum: bool = False,
    keep_days: int = erasing_rows.BACKUP_KEEP_DAYS,
) -> Outcome:
    """Erases what is due, after every running subscription has been rolled forward.

    Args:
        vault: The vault.
        role: Who asked; goes into the receipts.
        accept_clock: Whether an administrator has confirmed the clock.
        vacuum: Whether to write the database file anew without its free pages after each erasure.
        keep_days: How long backups are kept, which may need keys that no row needs any more.

    Raises:
        BrakeError: The clock cannot be trusted.
    """
    if not accept_clock:
        clock_guard.check(vault)
    vault.note_time(confirmed=accept_clock)
    roll = tenants.call_roll(vault)
    failures = [damaged.message for damaged in roll.damaged]
    erased: list[Erased] = []
    finished: list[Kept] = []
    repaired = 0
    for tenant in roll.tenants:
        try:
            if _is_due(vault, tenant):
                erased.append(erasure.erase(vault, tenant, reason=RETENTION, role=role, vacuum=vacuum))
            else:
                repaired += tenants.repair_tags(vault, tenant)
                finished += erasing_rows.finish(vault, tenant)
        except SyncvaultError as error:
            failures.append(f"Tenant {UUID(bytes=tenant.id)}: {error.message}")
    # What has been erased is to be told of, whatever happens from here on.
    try:
        ledger.mirror(vault)
        finished += outstanding.finish(vault)
    except SyncvaultError as error:
        failures.append(f"What earlier receipts call outstanding was not looked after: {error.message}")
    for log, prune in _LOGS:
        try:
            prune(vault)
        except SyncvaultError as error:
            failures.append(f"The {log} was not pruned: {error.message}")
    try:
        rotation.destroy_expired(vault, timedelta(days=keep_days))
    except SyncvaultError as error:
        failures.append(f"Retired keys were not destroyed: {error.message}")
    return Outcome(tuple(_as_kept(erased, finished)), repaired, tuple(finished), tuple(failures))


def _as_kept(erased: list[Erased], finished: list[Kept]) -> list[Erased]:
    """The erasures with their newest receipts: a later one may have ended what an earlier one waited for."""
    newest = {kept.path: kept for kept in finished}
    return [
        replace(one, receipt=newest[one.receipt_path].content, status="final", outstanding=())
        if one.receipt_path in newest
        else one
        for one in erased
    ]


def _is_due(vault: Vault, tenant: Tenant, as_of: date | None = None) -> bool:
    """Whether a tenant is due by the facts, or its erasure was interrupted."""
    if tenant.profile is None:
        return True
    subscription = tenant.profile.subscription
    moment = vault.now if as_of is None else day_begins(as_of, ZoneInfo(subscription.zone))
    return subscription.is_due(moment)
