"""Run history: when a tenant was synced, how it ended, and its counts; nothing personal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

import orjson

from syncvault.policy.calendar import log_purge_instant
from syncvault.policy.catalogue import DataClass
from syncvault.store import runs as rows
from syncvault.store.runs import RunRow
from syncvault.vault.model import Tenant
from syncvault.vault.sealing import to_datetime, to_instant
from syncvault.vault.vault import Vault


@dataclass(frozen=True, slots=True)
class LastRun:
    """The latest run of a tenant that has ended."""

    started_at: datetime
    ended_at: datetime
    status: str


def begin(vault: Vault, tenant: Tenant) -> bytes:
    """Records that a run begins, and that those a dead process left open have ended; hold the tenant's lock."""
    run_id = uuid4().bytes
    purge_at = to_instant(log_purge_instant(DataClass.RUN, vault.now))
    with vault.writing(tenant) as (tx, _):
        rows.abandon(tx, tenant.id, vault.instant, "interrupted")
        rows.insert(tx, RunRow(run_id, tenant.id, vault.instant, None, None, "{}", DataClass.RUN, purge_at))
    return run_id


def end(vault: Vault, run_id: bytes, status: str, counts: Mapping[str, int]) -> None:
    """Records how a run ended."""
    with vault.write() as tx:
        rows.finish(tx, run_id, to_instant(vault.clock()), status, orjson.dumps(dict(counts)).decode("ascii"))


def last(vault: Vault) -> dict[bytes, LastRun]:
    """The latest run of each tenant that has one."""
    with vault.read() as tx:
        found = rows.last_per_tenant(tx)
    return {
        tenant_id: LastRun(to_datetime(row.started_at), to_datetime(row.ended_at or 0), row.status or "")
        for tenant_id, row in found.items()
    }


def prune(vault: Vault) -> int:
    """Removes runs whose purge date has come; returns how many."""
    with vault.write() as tx:
        return rows.prune(tx, vault.instant)
