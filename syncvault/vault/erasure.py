"""Full deletion of a tenant, in the order that no backup undoes.

Fence → keys → rows → scrub both files → new root key, old one destroyed → ledger → receipt → the last row. The
tenant's own row stays until the receipt is on disk: emptied, and holding what the receipt will say, so that an
erasure that was killed anywhere is finished by running it again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import orjson

from syncvault.errors import BusyError, InputError, NotFoundError
from syncvault.policy.calendar import civil_day
from syncvault.policy.catalogue import RULE_VERSION
from syncvault.roots.port import Destroyed, Destruction, Pending, PrivilegedStepNeededError
from syncvault.store import anchors as anchor_rows
from syncvault.store import credentials as credential_rows
from syncvault.store import tenants as rows
from syncvault.store.engine import Transaction
from syncvault.store.tenants import PERSONAL_TABLES, TenantRow
from syncvault.vault import ledger, tenants
from syncvault.vault.layout import write_durably
from syncvault.vault.model import Tenant
from syncvault.vault.receipt import Statement, issue
from syncvault.vault.sealing import to_datetime
from syncvault.vault.vault import MAINTENANCE_SECONDS, Vault

ON_DEMAND: Final = "on-demand"
RETENTION: Final = "retention"
_POLL_SECONDS: Final = 0.1
_KEY_TABLES: Final = ("wrapped_keys", "root_generations", "anchors")


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
    """What erasing a tenant would remove."""
    with vault.read() as tx:
        row = rows.get(tx, tenant.id)
        if row is None:
            raise NotFoundError("The tenant is gone already.")
        intent = _new_intent(vault, tx, tenant, reason, "") if row.erasure is None else orjson.loads(row.erasure)
    return _to_plan(tenant, intent)


def erase(vault: Vault, tenant: Tenant, *, reason: str, role: str) -> Erased:
    """Erases a tenant, or finishes an erasure that was begun.

    Args:
        vault: The vault.
        tenant: Who.
        reason: `ON_DEMAND` or `RETENTION`.
        role: The role that asked.

    Raises:
        BusyError: Another process kept the tenant, or the vault, for longer than we wait: the tenant stays fenced. Or
            it was to go by RETENTION and was renewed meanwhile.
    """
    intent = _fence(vault, tenant, reason, role)
    with _lock(vault, tenant.id):
        if not _is_erasing(vault, tenant.id):
            raise BusyError("Another process has just finished this erasure.", advice="Its receipt is in the vault.")
        _delete(vault, tenant.id, intent)
        with vault.alone():
            statement = _make_unrecoverable(vault, tenant.id, intent)
            receipt = issue(statement, vault.keys.receipt_seed)
            path = vault.layout.receipts / f"{UUID(bytes=tenant.id)}.json"
            write_durably(path, receipt)
            with vault.write() as tx:
                rows.delete_rows(tx, tenant.id, tables=("tenants",))
            vault.data.scrub(("tenants",))
        vault.locks.forget(tenant.id)
    return Erased(_to_plan(tenant, intent), receipt, path, statement.status, statement.outstanding)


def _fence(vault: Vault, tenant: Tenant, reason: str, role: str) -> dict[str, Any]:
    """Keeps everybody else from writing to the tenant, and records what is about to go."""
    with vault.write() as tx:
        if rows.begin_erasure(tx, tenant.id) is None:
            intent: dict[str, Any] = orjson.loads(_erasing_row(tx, tenant.id).erasure or "{}")
        else:  # behind the fence: nobody adds to what is counted now, nor changes the facts
            if reason == RETENTION:
                tenants.require_due(vault, tx, tenant.id)
            intent = _new_intent(vault, tx, tenant, reason, role)
            rows.set_erasure(tx, tenant.id, orjson.dumps(intent).decode("ascii"))
    with vault.key_data.write() as tx:
        ledger.append(vault, tx, "intent", tenant.id, {"reason": intent["reason"], "rule_version": intent["rules"]})
    ledger.mirror(vault)
    return intent


def _delete(vault: Vault, tenant_id: bytes, intent: Mapping[str, Any]) -> None:
    with vault.key_data.write() as tx:
        vault.keys.destroy_tenant(tx, tenant_id)
        anchor_rows.delete(tx, tenant_id)
        ledger.append(vault, tx, "keys_destroyed", tenant_id, {"keys": intent["keys"]})
    ledger.mirror(vault)
    vault.anchors.forget(tenant_id)
    with vault.write() as tx:
        rows.delete_rows(tx, tenant_id, tables=[table for table in PERSONAL_TABLES if table != "tenants"])
        rows.update_profile(tx, tenant_id, b"", _erasing_row(tx, tenant_id).name_ix)
        rows.lift_quarantine(tx, tenant_id)


def _make_unrecoverable(vault: Vault, tenant_id: bytes, intent: Mapping[str, Any]) -> Statement:
    """Scrubs both databases and replaces the root key; hold the vault alone."""
    report = vault.data.scrub(PERSONAL_TABLES)
    vault.key_data.scrub(_KEY_TABLES)
    try:
        change = vault.keys.rekey(vault.now, lambda: vault.key_data.scrub(_KEY_TABLES))
        root = {"provider": change.provider, "generation": change.generation, "replaced": change.replaced}
        outstanding = _outstanding(change.destructions)
    except PrivilegedStepNeededError as error:
        provider, generation = vault.keys.root
        root = {"provider": provider, "generation": generation, "replaced": None}
        outstanding = (f"root key: not replaced yet. {error.message} {error.advice}",)
    with vault.key_data.write() as tx:
        ledger.append(vault, tx, "completed", tenant_id, {"outstanding": list(outstanding)})
    ledger.mirror(vault)
    return Statement(
        vault_id=vault.id,
        tenant_id=tenant_id,
        reason=intent["reason"],
        requested_by=intent["role"],
        requested_at=to_datetime(intent["requested_at"]),
        issued_at=_later(vault, intent),
        rule_version=intent["rules"],
        counts=intent["counts"],
        keys_destroyed=tuple(intent["keys"]),
        root_key=root,
        storage=(*report.done, *(f"not reached: {what}" for what in report.remains)),
        outstanding=outstanding,
    )


def _outstanding(destructions: Mapping[int, Destruction]) -> tuple[str, ...]:
    left = []
    for generation, outcome in sorted(destructions.items()):
        if not isinstance(outcome, Destroyed):
            why = outcome.until if isinstance(outcome, Pending) else outcome.why
            left.append(f"root key generation {generation}: {why}")
    return tuple(left)


@contextmanager
def _lock(vault: Vault, tenant_id: bytes) -> Iterator[None]:
    """Takes the tenant's lock; its holder, fenced off by now, gives up at its next commit."""
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


def _new_intent(vault: Vault, tx: Transaction, tenant: Tenant, reason: str, role: str) -> dict[str, Any]:
    """Everything the receipt will say, gathered while it can still be known."""
    if reason not in {ON_DEMAND, RETENTION}:
        raise InputError(f"{reason} is no reason to erase.")
    held = rows.counts_of(tx, tenant.id)
    subscription = None if tenant.profile is None else tenant.profile.subscription
    due_on = civil_day(vault.now, ZoneInfo(subscription.zone if subscription else "UTC"))
    if reason == RETENTION and subscription:
        due_on = subscription.purge_on(vault.now)
    return {
        "reason": reason,
        "role": role,
        "requested_at": vault.instant,
        "due_on": due_on.isoformat(),
        "rules": RULE_VERSION,
        "keys": vault.keys.names_of(tenant.id),
        "counts": {**held._asdict(), "credentials": int(credential_rows.get(tx, tenant.id) is not None)},
    }


def _to_plan(tenant: Tenant, intent: Mapping[str, Any]) -> Plan:
    counts = intent["counts"]
    return Plan(
        tenant_id=tenant.id,
        name=tenant.profile.name if tenant.profile else None,
        contacts=counts["contacts"],
        photos=counts["photos"],
        credentials=counts["credentials"],
        sources=counts["sources"],
        reason=intent["reason"],
        due_on=date.fromisoformat(intent["due_on"]),
    )


def _erasing_row(tx: Transaction, tenant_id: bytes) -> TenantRow:
    row = rows.get(tx, tenant_id)
    if row is None or row.erasure is None:
        raise NotFoundError("The tenant is gone already.")
    return row


def _is_erasing(vault: Vault, tenant_id: bytes) -> bool:
    with vault.read() as tx:
        return any(row.id == tenant_id for row in rows.erasing(tx))


def _later(vault: Vault, intent: Mapping[str, Any]) -> datetime:
    return max(vault.clock().replace(microsecond=0), to_datetime(intent["requested_at"]))
