"""The audit trail: one row per command that changes or reveals something, without anything personal."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from syncvault.policy.calendar import log_purge_instant
from syncvault.policy.catalogue import DataClass
from syncvault.store import audit as rows
from syncvault.store.audit import AuditEntry
from syncvault.vault.sealing import to_datetime, to_instant
from syncvault.vault.vault import Vault

_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Entry:
    """Who (by numeric user ID and role) did what to which tenant (by its random ID), and how it ended."""

    seq: int
    at: datetime
    uid: int
    role: str
    verb: str
    tenant_id: bytes | None
    outcome: str


def role() -> str:
    """The role this process acts in: `root`, `service` (started by systemd) or `user`."""
    if os.geteuid() == 0:
        return "root"
    return "service" if "INVOCATION_ID" in os.environ else "user"


def record(vault: Vault, *, verb: str, tenant_id: bytes | None, outcome: str) -> None:
    """Writes an entry."""
    now = vault.clock()
    entry = AuditEntry(
        at=to_instant(now),
        uid=os.getuid(),
        role=role(),
        verb=verb,
        tenant_id=tenant_id,
        outcome=outcome,
        data_class=DataClass.AUDIT,
        purge_at=to_instant(log_purge_instant(DataClass.AUDIT, now)),
    )
    with vault.write() as tx:
        rows.append(tx, entry)


def listing(vault: Vault) -> Iterator[Entry]:
    """All entries, newest first."""
    before: int | None = None
    while True:
        with vault.read() as tx:
            page = rows.list_latest(tx, limit=_PAGE, before=before)
        for row in page:
            yield Entry(row.seq, to_datetime(row.at), row.uid, row.role, row.verb, row.tenant_id, row.outcome)
        if len(page) < _PAGE:
            return
        before = page[-1].seq


def prune(vault: Vault) -> int:
    """Removes entries whose purge date has come; returns how many."""
    with vault.write() as tx:
        return rows.prune(tx, vault.instant)
