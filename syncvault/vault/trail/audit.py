"""The audit trail: one row per command that changes or reveals something, without anything personal."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson

from syncvault import journal
from syncvault.errors import DamagedError
from syncvault.policy.calendar import log_purge_instant
from syncvault.policy.catalogue import DataClass
from syncvault.store import audit as rows
from syncvault.store.audit import AuditRow, SegmentRow
from syncvault.vault.sealing import to_datetime, to_instant
from syncvault.vault.trail import audit_chain
from syncvault.vault.trail.audit_chain import NOTHING_BEFORE, Chain, begin_segment, is_well_formed
from syncvault.vault.trail.audit_check import (
    SEQ_FIELD,
    SIGNATURE_FIELD,
    VAULT_FIELD,
    Finding,
    Report,
    Stretch,
    look,
    verify,
)
from syncvault.vault.vault import Vault

__all__ = ["Entry", "Finding", "Report", "begin_segment", "export", "listing", "look", "prune", "record"]
__all__ += ["require_writable", "role", "verify"]

EXPORT_FORMAT: Final = "syncvault-audit v1"
_PAGE: Final = 500
_PRUNED_AT_ONCE: Final = 2000


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
    """Writes an entry, and tells the journal of it.

    Raises:
        DamagedError: The key store has lost what signs entries.
        StorageError: A database refused.
    """
    head = audit_chain.append(vault, _draft(vault, verb, tenant_id, outcome))
    anchor = {
        VAULT_FIELD: str(UUID(bytes=vault.id)),
        SEQ_FIELD: str(head.last_seq),
        SIGNATURE_FIELD: head.last_signature.hex(),
    }
    journal.post(f"Audit entry {head.last_seq} was written: {verb}, {outcome}.", anchor)


def require_writable(vault: Vault, *, verb: str, tenant_id: bytes | None = None) -> None:
    """Makes sure that an entry could be written now, without writing it; raises what `record` raises."""
    audit_chain.rehearse(vault, _draft(vault, verb, tenant_id, ""))


def listing(vault: Vault) -> Iterator[Entry]:
    """All entries, newest first.

    Raises:
        DamagedError: One holds what no entry holds.
    """
    since, before = _since(_pins(vault)), None
    while True:
        with vault.read() as tx:
            page = rows.list_latest(tx, since=since, before=before, limit=_PAGE)
        for row in page:
            _require_well_formed(row)
            yield Entry(row.seq, to_datetime(row.at), row.uid, row.role, row.verb, row.tenant_id, row.outcome)
        if len(page) < _PAGE:
            return
        before = page[-1].seq


def export(vault: Vault) -> Iterator[bytes]:
    """The trail as a JSON document that anybody can verify without a secret, in pieces."""
    pins = _pins(vault)
    after, separator = _since(pins) - 1, b"\n"
    if pins:
        until = max(one.last_seq for one in pins)
    else:  # no entry was signed yet, but some may be from before that
        with vault.read() as tx:
            until = rows.newest(tx)
    head = {"format": EXPORT_FORMAT, "vault": str(UUID(bytes=vault.id))}
    yield orjson.dumps(head)[:-1] + b',"entries":['
    while True:
        with vault.read() as tx:
            page = rows.page(tx, after=after, until=until, limit=_PAGE)
        for row in page:
            yield separator + orjson.dumps(_exported(row))
            separator = b",\n"
        if len(page) < _PAGE:
            break
        after = page[-1].seq
    # Pins come last: pruning may have moved their beginning meanwhile, and entries from before it count no more.
    yield b'\n],"stretches":' + orjson.dumps(_exported_pins(_pins(vault), rows_until=until, vault=vault)) + b"}\n"


def prune(vault: Vault) -> int:
    """Removes entries whose purge date has come, after the pins have moved past them; returns how many.

    What goes is decided by entries that are in order, so that no edited date takes anything away. Entries that are not
    go with those around them.

    Raises:
        DamagedError: The key store has lost what the entries hang on.
    """
    while _move_pins(vault):
        pass
    pins, removed = _pins(vault), 0
    with vault.write() as tx:
        removed += rows.delete_unsigned(tx, pins[0].first_seq if pins else rows.LATEST, vault.instant)
    while pins and pins[0].before != NOTHING_BEFORE:
        with vault.write() as tx:
            gone = rows.delete_before(tx, pins[0].first_seq, limit=_PRUNED_AT_ONCE)
        removed += gone
        if gone < _PRUNED_AT_ONCE:
            break
    return removed


def _draft(vault: Vault, verb: str, tenant_id: bytes | None, outcome: str) -> AuditRow:
    now = vault.clock()
    return AuditRow(
        seq=0,
        at=to_instant(now),
        uid=os.getuid(),
        role=role(),
        verb=verb,
        tenant_id=tenant_id,
        outcome=outcome,
        data_class=DataClass.AUDIT,
        purge_at=to_instant(log_purge_instant(DataClass.AUDIT, now)),
    )


def _pins(vault: Vault) -> list[SegmentRow]:
    with vault.key_data.read() as keys:
        return rows.segments(keys)


def _since(pins: list[SegmentRow]) -> int:
    """The first number that counts: before it is what pruning is about to remove."""
    return pins[0].first_seq if pins and pins[0].before != NOTHING_BEFORE else 1


def _move_pins(vault: Vault) -> bool:
    """Lets the trail begin after a batch of entries that are due; false if there are none."""
    with vault.beside_others():
        vault.keys.follow_root()
        with vault.key_data.write() as keys:
            rows.lock(keys)
            chain = audit_chain.load(vault, keys)
            if chain is None:
                return False
            first, *others = chain.segments
            with vault.read() as tx:
                page = rows.page(tx, after=first.first_seq - 1, until=first.last_seq, limit=_PRUNED_AT_ONCE)
            last = _last_due(first, page, vault.instant)
            if last is None or last.next_key is None or last.signature is None:
                return False
            if last.seq < first.last_seq or not others:
                first = first._replace(first_seq=last.seq + 1, first_key=last.next_key, before=last.signature)
                others = [first, *others]
            audit_chain.keep(vault, keys, Chain(tuple(others), chain.seed, chain.next_seed))
    return True


def _last_due(pins: SegmentRow, page: list[AuditRow], now: int) -> AuditRow | None:
    """The last entry before the first that is to be kept; one dated in the future keeps nothing back."""
    stretch, last = Stretch.of(pins, is_open=False), None
    for row in page:
        if stretch.take(row):
            continue
        if row.purge_at <= now:
            last = row
        elif row.at <= now:
            break
    return last


def _require_well_formed(row: AuditRow) -> None:
    if not is_well_formed(row):
        raise DamagedError(f"Entry {row.seq} of the audit trail is damaged.", advice="Run: syncvault audit verify")


def _exported(row: AuditRow) -> dict[str, Any]:
    _require_well_formed(row)
    document = audit_chain.document(row, b"")
    del document["before"]  # it is the signature of the entry before
    return {**document, "signature": None if row.signature is None else row.signature.hex()}


def _exported_pins(pins: list[SegmentRow], *, rows_until: int, vault: Vault) -> list[dict[str, Any]]:
    """The pins, without entries that were written while the others were read."""
    if pins and pins[-1].last_seq > rows_until >= pins[-1].first_seq:
        with vault.read() as tx:
            end = rows.link(tx, rows_until)
        if end is not None and end.signature is not None:
            pins = [*pins[:-1], pins[-1]._replace(last_seq=rows_until, last_signature=end.signature)]
    return [
        {key: value.hex() if isinstance(value, bytes) else value for key, value in one._asdict().items()}
        for one in pins
    ]
