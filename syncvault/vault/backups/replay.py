"""Replays the erasure ledger over restored databases, before anybody can open them: what was erased stays erased."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from syncvault.errors import DamagedError, InputError
from syncvault.store import anchors as anchor_rows
from syncvault.store import contacts as contact_rows
from syncvault.store import keys as key_rows
from syncvault.store import ledger as ledger_rows
from syncvault.store import mailboxes as mailbox_rows
from syncvault.store import tenants as rows
from syncvault.store.engine import Transaction
from syncvault.store.ledger import LedgerRow
from syncvault.store.tenants import PERSONAL_TABLES, TenantRow
from syncvault.vault.erasing import intent as intents
from syncvault.vault.erasing.intent import Intent
from syncvault.vault.sealing import to_datetime
from syncvault.vault.trail import audit

OF_A_TENANT: Final = frozenset({"intent", "keys_destroyed", "completed"})  # events; others are about single rows


@dataclass(frozen=True, slots=True)
class Replayed:
    """What was taken out of the restored databases: whole tenants by their IDs, and rows of others."""

    tenants: frozenset[bytes]
    rows: int


def longest(ledgers: Iterable[Sequence[LedgerRow]]) -> list[LedgerRow]:
    """The ledger that all others are beginnings of: it is only ever appended to.

    Raises:
        InputError: One says something else, so it is another vault's, or was changed.
    """
    found: Sequence[LedgerRow] = ()
    for one in ledgers:
        shorter, longer = sorted((found, one), key=len)
        if list(longer[: len(shorter)]) != list(shorter):
            raise InputError(
                "The erasure ledgers of the key backup and of the data directory contradict each other.",
                advice="Restore into an empty directory, if the ledger there is another vault's; keep both.",
            )
        found = longer
    return list(found)


def replay(data: Transaction, keys: Transaction, ledger: Sequence[LedgerRow], seed: bytes) -> Replayed:
    """Takes everything out that the ledger says was erased, or was to be.

    An erasure that has not come to its end is left where it can be ended: its tenant has no keys and no rows any
    more, but for the one that its receipt will be written from.

    Args:
        data: The restored data database.
        keys: The restored key database; it gets the entries that it lacks.
        ledger: All entries there are.
        seed: The vault's signing seed.

    Raises:
        DamagedError: An entry cannot be understood.
    """
    known = {row.seq for row in ledger_rows.list_all(keys)}
    ledger_rows.insert_many(keys, [row for row in ledger if row.seq not in known])
    erased: dict[bytes, list[LedgerRow]] = {}
    removed = 0
    for entry in ledger:
        if entry.event in OF_A_TENANT:
            erased.setdefault(entry.tenant_id, []).append(entry)
        elif entry.event == "rows_erased":
            removed += _remove_rows(data, entry)
        else:
            raise DamagedError(f"Entry {entry.seq} of the erasure ledger is of an unknown kind.")
    for tenant_id, entries in erased.items():
        _remove_tenant(data, keys, tenant_id, entries, seed)
    return Replayed(frozenset(erased), removed)


def _remove_rows(data: Transaction, entry: LedgerRow) -> int:
    detail = _detail(entry)
    try:
        contact_ids = [bytes.fromhex(each) for each in detail.get("contacts", ())]
        mailbox_ids = [bytes.fromhex(each) for each in detail.get("mailboxes", ())]
    except (ValueError, TypeError):
        raise _unreadable(entry) from None
    removed = contact_rows.delete_many(data, entry.tenant_id, contact_ids)
    return removed + mailbox_rows.delete(data, entry.tenant_id, mailbox_ids)


def _remove_tenant(
    data: Transaction, keys: Transaction, tenant_id: bytes, entries: Sequence[LedgerRow], seed: bytes
) -> None:
    row = rows.get(data, tenant_id)
    if row is not None and all(entry.event != "completed" for entry in entries):
        epoch = rows.begin_erasure(data, tenant_id)
        if epoch is not None:  # the backup is older than the erasure
            intent = _intent(data, keys, row._replace(epoch=epoch), entries)
            rows.set_erasure(data, tenant_id, intents.to_text(intent, seed))
        rows.delete_rows(data, tenant_id, tables=[table for table in PERSONAL_TABLES if table != "tenants"])
        rows.update_profile(data, tenant_id, b"", row.name_ix)
        rows.lift_quarantine(data, tenant_id)
    else:
        rows.delete_rows(data, tenant_id)
    key_rows.delete_of_tenant(keys, tenant_id)
    anchor_rows.delete(keys, tenant_id)


def _intent(data: Transaction, keys: Transaction, row: TenantRow, entries: Sequence[LedgerRow]) -> Intent:
    """What the receipt will say, from the ledger and from the rows as the backup has them."""
    first, said = entries[0], {entry.event: _detail(entry) for entry in entries}
    present = [f"{key.purpose}/{key.generation}" for key in key_rows.of_tenant(keys, row.id)]
    try:
        return Intent(
            tenant_id=row.id,
            epoch=row.epoch,
            reason=said["intent"]["reason"],
            role=audit.role(),
            requested_at=first.at,
            due_on=to_datetime(first.at).date().isoformat(),
            rules=said["intent"]["rule_version"],
            keys=tuple(said.get("keys_destroyed", {"keys": present})["keys"]),
            counts=rows.class_counts(data, row.id),
        )
    except (KeyError, TypeError):
        raise _unreadable(first) from None


def _detail(entry: LedgerRow) -> dict[str, Any]:
    try:
        detail = orjson.loads(entry.detail)
    except ValueError:
        raise _unreadable(entry) from None
    if not isinstance(detail, dict):
        raise _unreadable(entry)
    return detail


def _unreadable(entry: LedgerRow) -> DamagedError:
    return DamagedError(f"Entry {entry.seq} of the erasure ledger cannot be understood.")
