"""Full deletion of a tenant, in the order that no backup undoes.

Fence → keys → rows → scrub both files → new root key, old one destroyed → ledger → receipt → the last row. The
tenant's own row stays until the receipt is on disk: emptied, and holding what the receipt will say, so that an
erasure that was killed anywhere is finished by running it again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import orjson

from syncvault.crypto.signature import public_key
from syncvault.errors import BusyError, DamagedError, InputError, NotFoundError
from syncvault.policy.calendar import civil_day
from syncvault.policy.catalogue import RULE_VERSION
from syncvault.roots.port import PrivilegedStepNeededError
from syncvault.store import anchors as anchor_rows
from syncvault.store import ledger as ledger_rows
from syncvault.store import tenants as rows
from syncvault.store.engine import Transaction
from syncvault.store.tenants import PERSONAL_TABLES, TenantRow
from syncvault.vault import tenants
from syncvault.vault.erasing import intent as intents
from syncvault.vault.erasing import ledger, outstanding
from syncvault.vault.erasing.intent import Intent
from syncvault.vault.erasing.outstanding import KEY_TABLES
from syncvault.vault.erasing.receipt import Statement
from syncvault.vault.model import Tenant
from syncvault.vault.sealing import to_datetime
from syncvault.vault.vault import MAINTENANCE_SECONDS, Vault

ON_DEMAND: Final = "on-demand"
RETENTION: Final = "retention"
_POLL_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Plan:
    """What an erasure removes. `name` is None once the tenant's keys are gone."""

    tenant_id: bytes
    name: str | None
    contacts: int
    photos: int
    credentials: int
    sources: int
    reason: str
    due_on: date


@dataclass(frozen=True, slots=True)
class Erased:
    """A finished erasure and its receipt, which is also kept in the vault's directory."""

    plan: Plan
    receipt: bytes
    receipt_path: Path
    status: str
    outstanding: tuple[str, ...]


def plan(vault: Vault, tenant: Tenant, reason: str) -> Plan:
    """What erasing a tenant would remove.

    Raises:
        DamagedError: It is marked as being erased, and nobody has ordered that; ON_DEMAND would be an order.
    """
    with vault.read() as tx:
        row = _row(tx, tenant.id)
        intent = _read_intent(vault, row, reason) or _new_intent(vault, tx, row, tenant, reason=reason, role="")
    return _to_plan(tenant, intent)


def require_genuine(vault: Vault, tenant: Tenant) -> None:
    """Makes sure that the erasure of a tenant that is marked as being erased was asked for.

    Raises:
        DamagedError: It was not: somebody else has changed the database.
    """
    with vault.read() as tx:
        intents.read(_row(tx, tenant.id), public_key(vault.keys.receipt_seed))


def erase(vault: Vault, tenant: Tenant, *, reason: str, role: str, vacuum: bool = False) -> Erased:
    """Erases a tenant, or finishes an erasure that was begun.

    Args:
        vault: The vault.
        tenant: Who.
        reason: `ON_DEMAND` or `RETENTION`.
        role: The role that asked.
        vacuum: Whether to write the database file anew without its free pages.

    Raises:
        BusyError: Another process kept the tenant, or the vault, for longer than we wait: the tenant stays fenced. Or
            it was to go by RETENTION and was renewed meanwhile.
        DamagedError: It was to go by RETENTION and is marked as being erased, which nobody has ordered.
    """
    intent = _fence(vault, tenant, reason, role)
    with hold(vault, tenant.id):
        if not _is_erasing(vault, tenant.id):
            raise BusyError("Another process has just finished this erasure.", advice="Its receipt is in the vault.")
        keys = _delete(vault, tenant.id, intent)
        with vault.alone():
            statement = _make_unrecoverable(vault, intent, keys, vacuum=vacuum)
            kept = outstanding.keep(vault, statement)
            with vault.write() as tx:
                rows.delete_rows(tx, tenant.id, tables=("tenants",))
            vault.data.scrub(("tenants",))
        vault.locks.forget(tenant.id)
    return Erased(_to_plan(tenant, intent), kept.content, kept.path, statement.status, statement.outstanding)


def _fence(vault: Vault, tenant: Tenant, reason: str, role: str) -> Intent:
    """Keeps everybody else from writing to the tenant, and records what is about to go."""
    with vault.write() as tx:
        was_live = rows.begin_erasure(tx, tenant.id) is not None
        row = _row(tx, tenant.id)
        intent = None if was_live else _read_intent(vault, row, reason)
        if intent is None:  # behind the fence: nobody adds to what is counted now, nor changes the facts
            if reason == RETENTION:
                tenants.require_due(vault, tx, tenant.id)
            intent = _new_intent(vault, tx, row, tenant, reason=reason, role=role)
            rows.set_erasure(tx, tenant.id, intents.to_text(intent, vault.keys.receipt_seed))
    with vault.key_data.write() as tx:
        ledger.append(vault, tx, "intent", tenant.id, {"reason": intent.reason, "rule_version": intent.rules})
    ledger.mirror(vault)
    return intent


def _read_intent(vault: Vault, row: TenantRow, reason: str) -> Intent | None:
    """What an erasure under way was to end with; None if there is none, or another order takes the place of a bad one.

    Raises:
        DamagedError: Nobody has ordered it.
    """
    if row.state == tenants.LIVE:
        return None
    try:
        return intents.read(row, public_key(vault.keys.receipt_seed))
    except DamagedError:
        if reason == ON_DEMAND:
            return None
        raise


def _delete(vault: Vault, tenant_id: bytes, intent: Intent) -> list[str]:
    """Destroys the keys, then the rows; returns which keys those were, also if an earlier attempt destroyed them."""
    present = vault.keys.names_of(tenant_id)
    with vault.key_data.write() as tx:
        vault.keys.destroy_tenant(tx, tenant_id)
        anchor_rows.delete(tx, tenant_id)
        keys = {"keys": list(dict.fromkeys([*intent.keys, *present]))}
        ledger.append(vault, tx, "keys_destroyed", tenant_id, keys)
        said = [row.detail for row in ledger_rows.of_tenant(tx, tenant_id) if row.event == "keys_destroyed"]
    ledger.mirror(vault)
    vault.anchors.forget(tenant_id)
    with vault.write() as tx:
        rows.delete_rows(tx, tenant_id, tables=[table for table in PERSONAL_TABLES if table != "tenants"])
        rows.update_profile(tx, tenant_id, b"", _row(tx, tenant_id).name_ix)
        rows.lift_quarantine(tx, tenant_id)
    destroyed: list[str] = orjson.loads(said[0])["keys"]
    return destroyed


def _make_unrecoverable(vault: Vault, intent: Intent, keys: list[str], *, vacuum: bool) -> Statement:
    """Scrubs both databases and replaces the root key; hold the vault alone."""
    report = vault.data.scrub(PERSONAL_TABLES, vacuum=vacuum)
    vault.key_data.scrub(KEY_TABLES)
    try:
        change = vault.keys.rekey(vault.now, lambda: vault.key_data.scrub(KEY_TABLES))
        root = {"provider": change.provider, "generation": change.generation, "replaced": change.replaced}
        left = outstanding.of_root(vault, change.replaced)
    except (PrivilegedStepNeededError, DamagedError) as error:
        provider, generation = vault.keys.root
        root = {"provider": provider, "generation": generation, "replaced": None}
        left = outstanding.of_root(vault, generation, outstanding.why_in_force(error))
    with vault.key_data.write() as tx:
        ledger.append(vault, tx, "completed", intent.tenant_id, {"outstanding": list(left)})
    ledger.mirror(vault)
    return Statement(
        vault_id=vault.id,
        tenant_id=intent.tenant_id,
        reason=intent.reason,
        requested_by=intent.role,
        requested_at=to_datetime(intent.requested_at),
        issued_at=_later(vault, intent),
        rule_version=intent.rules,
        counts=intent.counts,
        keys_destroyed=tuple(keys),
        root_key=root,
        storage=report.sentences,
        outstanding=left,
    )


@contextmanager
def hold(vault: Vault, tenant_id: bytes) -> Iterator[None]:
    """Takes the tenant's lock, waiting a while for its holder: one that was fenced off gives up at its next commit.

    Raises:
        BusyError: The holder has not let go.
    """
    deadline = time.monotonic() + MAINTENANCE_SECONDS
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(vault.locks.tenant(tenant_id))
                break
            except BusyError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_POLL_SECONDS)
        yield


def _new_intent(vault: Vault, tx: Transaction, row: TenantRow, tenant: Tenant, *, reason: str, role: str) -> Intent:
    """Everything the receipt will say, gathered while it can still be known."""
    if reason not in {ON_DEMAND, RETENTION}:
        raise InputError(f"{reason} is no reason to erase.")
    subscription = None if tenant.profile is None else tenant.profile.subscription
    due_on = civil_day(vault.now, ZoneInfo(subscription.zone if subscription else "UTC"))
    if reason == RETENTION and subscription:
        due_on = subscription.purge_on(vault.now)
    return Intent(
        tenant_id=row.id,
        epoch=row.epoch,
        reason=reason,
        role=role,
        requested_at=vault.instant,
        due_on=due_on.isoformat(),
        rules=RULE_VERSION,
        keys=tuple(vault.keys.names_of(row.id)),
        counts=rows.class_counts(tx, row.id),
    )


def _to_plan(tenant: Tenant, intent: Intent) -> Plan:
    return Plan(
        tenant_id=tenant.id,
        name=tenant.profile.name if tenant.profile else None,
        contacts=intent.counts["contacts"],
        photos=intent.counts["photos"],
        credentials=intent.counts["credentials"],
        sources=intent.counts["sources"],
        reason=intent.reason,
        due_on=date.fromisoformat(intent.due_on),
    )


def _row(tx: Transaction, tenant_id: bytes) -> TenantRow:
    row = rows.get(tx, tenant_id)
    if row is None:
        raise NotFoundError("The tenant is gone already.")
    return row


def _is_erasing(vault: Vault, tenant_id: bytes) -> bool:
    with vault.read() as tx:
        return any(row.id == tenant_id for row in rows.erasing(tx))


def _later(vault: Vault, intent: Intent) -> datetime:
    return max(vault.clock().replace(microsecond=0), to_datetime(intent.requested_at))
