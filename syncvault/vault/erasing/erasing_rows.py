"""Erasing less than a tenant: a mailbox, or single contacts.

The ledger names the rows first, so that a restore takes them out of whatever backup it is given, and an erasure that
was killed is finished by the next one, or by the purge. The tenant's keys live on, so backups that are old enough still
hold the rows, readable: the receipt is interim until the last of them has expired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any, Final
from uuid import UUID

import orjson

from syncvault.errors import DamagedError, NotFoundError
from syncvault.policy.catalogue import RULE_VERSION
from syncvault.store import contacts as contact_rows
from syncvault.store import ledger as ledger_rows
from syncvault.store import mailboxes as mailbox_rows
from syncvault.store import manifests
from syncvault.store.engine import Transaction
from syncvault.store.ledger import LedgerRow
from syncvault.vault import tenants
from syncvault.vault.erasing import ledger, outstanding
from syncvault.vault.erasing.erasure import ON_DEMAND, hold
from syncvault.vault.erasing.outstanding import Kept
from syncvault.vault.erasing.receipt import Rows, Statement
from syncvault.vault.model import Tenant
from syncvault.vault.sealing import to_datetime
from syncvault.vault.vault import Vault

BACKUP_KEEP_DAYS: Final = 35  # where nobody says otherwise
_TABLES: Final = (
    "photos",
    "pending_removals",
    "seen",
    "checkpoints",
    "contacts",
    "folders",
    "memberships",
    "mailboxes",
)


@dataclass(frozen=True, slots=True)
class _Named:
    """Rows by their IDs."""

    contacts: frozenset[bytes] = frozenset()
    mailboxes: frozenset[bytes] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.contacts or self.mailboxes)

    def covers(self, others: _Named) -> bool:
        return self.contacts >= others.contacts and self.mailboxes >= others.mailboxes

    def touches(self, others: _Named) -> bool:
        return bool(self.contacts & others.contacts or self.mailboxes & others.mailboxes)

    def to_dict(self) -> dict[str, list[str]]:
        return {
            "contacts": sorted(each.hex() for each in self.contacts),
            "mailboxes": sorted(each.hex() for each in self.mailboxes),
        }


def erase_mailbox(
    vault: Vault, tenant: Tenant, mailbox_id: bytes, *, role: str, keep_days: int = BACKUP_KEEP_DAYS
) -> Kept:
    """Erases a mailbox with everything in it; the next run brings it back for as long as a source names it.

    Args:
        vault: The vault.
        tenant: Whose mailbox.
        mailbox_id: Which.
        role: The role that asked.
        keep_days: How long a backup is kept.

    Raises:
        NotFoundError: The tenant has no such mailbox, and never erased one.
        BusyError: Another process kept the tenant, or the vault, for longer than we wait.
    """
    return _erase(vault, tenant, _Named(mailboxes=frozenset([mailbox_id])), role, keep_days)


def erase_contacts(
    vault: Vault, tenant: Tenant, contact_ids: Sequence[bytes], *, role: str, keep_days: int = BACKUP_KEEP_DAYS
) -> Kept:
    """Erases contacts with their photos; those that are gone already are left out. See `erase_mailbox`.

    Raises:
        NotFoundError: The tenant has none of them, and never erased one.
        BusyError: Another process kept the tenant, or the vault, for longer than we wait.
    """
    return _erase(vault, tenant, _Named(contacts=frozenset(contact_ids)), role, keep_days)


def finish(vault: Vault, tenant: Tenant) -> list[Kept]:
    """Finishes what was killed: erases rows that the ledger names and that are still there, and issues the receipt."""
    entries = _entries(vault, tenant)
    with vault.read() as tx:
        left = [entry for entry in entries if not entry.is_finished or _present(tx, tenant, entry.named)]
    if not left:
        return []
    with hold(vault, tenant.id):
        return [_finish(vault, tenant, entry) for entry in left]


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the ledger says of one such erasure."""

    row: LedgerRow
    detail: dict[str, Any]
    named: _Named
    is_finished: bool


def _erase(vault: Vault, tenant: Tenant, wanted: _Named, role: str, keep_days: int) -> Kept:
    with hold(vault, tenant.id):
        with vault.read() as tx:
            present = _present(tx, tenant, wanted)
        known = [entry for entry in _entries(vault, tenant) if entry.named.touches(wanted)]
        if present and not any(entry.named.covers(present) for entry in known):
            known.append(_order(vault, tenant, present, role, keep_days))
        if not known:
            raise NotFoundError(
                "The tenant has nothing of what is to be erased.", advice="Run `syncvault contact list`."
            )
        return [_finish(vault, tenant, entry) for entry in known][-1]


def _order(vault: Vault, tenant: Tenant, named: _Named, role: str, keep_days: int) -> _Entry:
    """Writes down what is about to go, while it can still be counted."""
    with vault.writing(tenant) as (tx, _):  # so that a tenant in erasure is refused
        tags = _tags(tx, named)
    counts = {table: len(found) for table, found in tags.items()}
    counts["photos"] //= len(manifests.SEALED["photos"])
    until = (vault.now + timedelta(days=keep_days)).astimezone(UTC)
    detail = {
        **named.to_dict(),
        "reason": ON_DEMAND,
        "role": role,
        "rule_version": RULE_VERSION,
        "counts": {table: count for table, count in counts.items() if count},
        "backups_until": int(until.timestamp()),
    }
    with vault.key_data.write() as keys:
        row = ledger.add(vault, keys, "rows_erased", tenant.id, detail)
    ledger.mirror(vault)
    return _Entry(row, detail, named, is_finished=False)


def _finish(vault: Vault, tenant: Tenant, entry: _Entry) -> Kept:
    """Does what an entry orders, however much of it has been done already; hold the tenant."""
    with vault.writing(tenants.read_again(vault, tenant)) as (tx, changes):
        present = _present(tx, tenant, entry.named)
        changes.all_gone(_tags(tx, present))
        contact_rows.delete_many(tx, tenant.id, sorted(present.contacts))
        mailbox_rows.delete(tx, tenant.id, sorted(present.mailboxes))
    with vault.alone():
        report = vault.data.scrub(_TABLES)
    provider, generation = vault.keys.root
    until = to_datetime(entry.detail["backups_until"])
    statement = Statement(
        vault_id=vault.id,
        tenant_id=tenant.id,
        reason=entry.detail["reason"],
        requested_by=entry.detail["role"],
        requested_at=to_datetime(entry.row.at),
        issued_at=max(vault.clock().astimezone(UTC).replace(microsecond=0), to_datetime(entry.row.at)),
        rule_version=entry.detail["rule_version"],
        counts=entry.detail["counts"],
        keys_destroyed=(),
        root_key={"provider": provider, "generation": generation, "replaced": None},
        storage=report.sentences,
        outstanding=(outstanding.backups_until(until),) if vault.now < until else (),
        rows=Rows(entry.row.seq, tuple(sorted(entry.named.contacts)), tuple(sorted(entry.named.mailboxes)), until),
    )
    kept = outstanding.keep(vault, statement)
    if not entry.is_finished:
        with vault.key_data.write() as keys:
            ledger.add(vault, keys, "rows_erased", tenant.id, {"finished": entry.row.seq})
    ledger.mirror(vault)
    return kept


def _tags(tx: Transaction, named: _Named) -> manifests.Tags:
    tags = manifests.tags_of_mailboxes(tx, sorted(named.mailboxes))
    for table in ("contacts", "photos"):
        tags[table] += manifests.tags_of(tx, table, sorted(named.contacts))
    return tags


def _present(tx: Transaction, tenant: Tenant, named: _Named) -> _Named:
    """Those of the rows that are there; contacts of a mailbox that goes anyway count with it."""
    boxes = {each for each in named.mailboxes if mailbox_rows.get(tx, tenant.id, each) is not None}
    found = contact_rows.ids_among(tx, tenant.id, sorted(named.contacts))
    return _Named(frozenset(found), frozenset(boxes))


def _entries(vault: Vault, tenant: Tenant) -> list[_Entry]:
    with vault.key_data.read() as tx:
        found = [row for row in ledger_rows.of_tenant(tx, tenant.id) if row.event == "rows_erased"]
    if found:
        ledger.require_genuine(vault, tenant.id, "rows_erased")
    try:
        said = [(row, _detail(row)) for row in found]
        finished = {detail["finished"] for _, detail in said if "finished" in detail}
        return [
            _Entry(row, detail, _named(detail), row.seq in finished) for row, detail in said if "finished" not in detail
        ]
    except (KeyError, ValueError, TypeError):
        raise DamagedError(f"The erasure ledger cannot be understood about tenant {UUID(bytes=tenant.id)}.") from None


def _named(detail: dict[str, Any]) -> _Named:
    return _Named(*(frozenset(bytes.fromhex(each) for each in detail[name]) for name in ("contacts", "mailboxes")))


def _detail(row: LedgerRow) -> dict[str, Any]:
    detail = orjson.loads(row.detail)
    if not isinstance(detail, dict):
        raise TypeError
    return detail
