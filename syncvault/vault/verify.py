"""Verifying the vault: everything that is stored is opened, and compared with what it must add up to.

Rows are checked beside whoever writes: a tenant whose manifest has moved meanwhile is checked again as one state of
the database. Opening records keeps a processor busy, so large vaults are spread over processes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple
from uuid import UUID

from syncvault.crypto.multiset import MultisetHash, Total
from syncvault.errors import DamagedError, NotFoundError
from syncvault.roots.port import Held
from syncvault.store import anchors as anchor_rows
from syncvault.store import identifiers, manifests, meta
from syncvault.store import ledger as ledger_rows
from syncvault.store import mailboxes as mailbox_rows
from syncvault.store import tenants as tenant_rows
from syncvault.store.engine import Transaction
from syncvault.store.schema import VAULT_TENANT
from syncvault.vault import anchors, tenants
from syncvault.vault import manifest as manifest_of
from syncvault.vault.erasing import erasure, ledger
from syncvault.vault.forking import spread
from syncvault.vault.keyring.keys import TenantKeys
from syncvault.vault.manifest import Manifest
from syncvault.vault.model import Tenant
from syncvault.vault.vault import Vault
from syncvault.vault.verify_rows import RESTORE, Finding, Kind, Part, RowCheck

_MAILBOXES: Final = 32  # in one piece of work
_MOST_PROCESSES: Final = 8
_SPREAD_FROM: Final = 20_000  # contacts; below, starting processes costs more than it saves

Progress = Callable[[int, int], None]  # mailboxes done, mailboxes in all


@dataclass(slots=True)
class Verdict:
    """What was found. `names` has the tenants whose facts open."""

    checked: int = 0
    findings: list[Finding] = field(default_factory=list)
    names: dict[bytes, str] = field(default_factory=dict)


class _Case(NamedTuple):
    """A tenant to be checked: its keys, its manifest as it was at the beginning, its mailboxes, and what is known."""

    tenant: Tenant
    keys: TenantKeys
    manifest: Manifest | None
    mailbox_ids: list[bytes]
    findings: list[Finding]


class _Work(NamedTuple):
    case: int
    mailbox_ids: list[bytes]
    is_head: bool


def verify(vault: Vault, name: str | None = None, *, progress: Progress | None = None) -> Verdict:
    """Checks the whole vault, or one tenant.

    Args:
        vault: The vault.
        name: Whose rows alone to check.
        progress: Told how far it is.

    Raises:
        NotFoundError: There is no tenant of that name.
    """
    verdict = Verdict(findings=list(_misplaced_ids(vault)))
    if verdict.findings:  # such rows cannot be followed, so nothing else is known until they are put right
        return verdict
    chosen = _chosen(vault, name, verdict)
    cases = [case for tenant in chosen if (case := _case(vault, tenant, verdict)) is not None]
    work = [piece for number, case in enumerate(cases) for piece in _pieces(number, case)]
    parts = [Part(case.tenant.id, findings=list(case.findings)) for case in cases]
    total, done = sum(len(case.mailbox_ids) for case in cases), 0
    for piece, part in _results(vault, cases, work):
        parts[piece.case].take_in(part)
        done += len(piece.mailbox_ids)
        if progress is not None:
            progress(done, total)
    for case, part in zip(cases, parts, strict=True):
        with suppress(NotFoundError):  # it was erased meanwhile
            _settle(vault, case, part, verdict)
    if name is None:
        _beyond_tenants(vault, verdict)
    return verdict


def damaged_vault(error: DamagedError) -> Verdict:
    """What is to be said of a vault whose own keys do not open, although the root key fits."""
    advice = "Restore the key store from its backup."
    return Verdict(findings=[Finding(None, "wrapped_keys", None, Kind.KEY, error.message, advice)])


def _misplaced_ids(vault: Vault) -> Iterator[Finding]:
    for database, read in ((vault.data, vault.read), (vault.key_data, vault.key_data.read)):
        with read() as tx:
            found = identifiers.misplaced(tx, database.role)
        for table, count in found.items():
            message = f"Table {table}: {count} rows hold something else where an ID must stand."
            yield Finding(None, table, None, Kind.UNREADABLE, message, RESTORE)


def _chosen(vault: Vault, name: str | None, verdict: Verdict) -> list[Tenant]:
    """The tenants to check; one whose facts do not open comes without them."""
    if name is not None:
        chosen = [tenants.find_to_erase(vault, name)]
    else:
        roll = tenants.call_roll(vault)
        with vault.read() as tx:
            damaged = [tenant_rows.get(tx, one.id) for one in roll.damaged]
        chosen = roll.tenants + [Tenant(row.id, row.epoch, None, vault.now) for row in damaged if row is not None]
    verdict.names |= {tenant.id: tenant.profile.name for tenant in chosen if tenant.profile is not None}
    return chosen


def _case(vault: Vault, tenant: Tenant, verdict: Verdict) -> _Case | None:
    """What is needed to check a tenant; None, with findings, if it cannot be had or there is nothing to check."""
    anchor = vault.anchors.of(tenant.id)  # before the manifest is read: that may move on, and be anchored anew
    with vault.read() as tx:
        row = tenant_rows.get(tx, tenant.id)
        stored = manifests.get(tx, tenant.id)
        mailbox_ids = mailbox_rows.ids_of_tenant(tx, tenant.id)
    if row is None:
        return None  # it was erased meanwhile
    if row.state != tenants.LIVE:
        verdict.findings += _unordered(vault, tenant)
        return None
    keys = _keys(vault, tenant.id, verdict)
    if keys is None:
        return None
    findings: list[Finding] = []
    if tenant.profile is None:
        try:
            tenant = tenants.read_again(vault, tenant)
        except DamagedError as error:
            findings.append(Finding(tenant.id, "tenants", tenant.id, Kind.UNREADABLE, error.message, RESTORE))
    manifest = None
    if stored is not None:
        try:
            manifest = manifest_of.read(keys, stored)
        except DamagedError as error:
            findings.append(_manifest_finding(tenant.id, error.message))
    elif anchor is not None:
        findings.append(_manifest_finding(tenant.id, "The tenant's manifest is missing."))
    return _Case(tenant, keys, manifest, mailbox_ids, findings)


def _unordered(vault: Vault, tenant: Tenant) -> Iterator[Finding]:
    """An erasure under way that this vault never ordered."""
    try:
        erasure.require_genuine(vault, tenant)
    except DamagedError as error:
        yield Finding(tenant.id, "tenants", tenant.id, Kind.UNREADABLE, error.message, error.advice)


def _keys(vault: Vault, tenant_id: bytes, verdict: Verdict) -> TenantKeys | None:
    advice = "Restore the key store from its backup, or delete the tenant: without the key nothing of it opens."
    try:
        for row, message in vault.keys.damaged(tenant_id).items():
            verdict.findings.append(Finding(tenant_id, "wrapped_keys", row, Kind.KEY, message, advice))
        return vault.keys.tenant(tenant_id)
    except NotFoundError:
        message = f"Tenant {UUID(bytes=tenant_id)} has no keys."
        verdict.findings.append(Finding(tenant_id, "wrapped_keys", None, Kind.KEY, message, advice))
    except DamagedError as error:
        if all(finding.tenant_id != tenant_id for finding in verdict.findings):
            verdict.findings.append(Finding(tenant_id, "wrapped_keys", None, Kind.KEY, error.message, advice))
    return None


def _pieces(number: int, case: _Case) -> Iterator[_Work]:
    yield _Work(number, [], is_head=True)
    for at in range(0, len(case.mailbox_ids), _MAILBOXES):
        yield _Work(number, case.mailbox_ids[at : at + _MAILBOXES], is_head=False)


def _check(vault: Vault, cases: list[_Case], piece: _Work) -> tuple[_Work, Part]:
    case = cases[piece.case]
    check = RowCheck(vault, case.tenant, case.keys, _multiset(case))
    if piece.is_head:
        with vault.read() as tx:
            check.head(tx)
    check.mailboxes(vault.read, piece.mailbox_ids)
    return piece, check.part


def _multiset(case: _Case) -> MultisetHash:
    return MultisetHash(case.manifest.key if case.manifest else bytes(32))


def _results(vault: Vault, cases: list[_Case], work: list[_Work]) -> Iterator[tuple[_Work, Part]]:
    check = partial(_check, vault, cases)
    processes = min(os.cpu_count() or 1, _MOST_PROCESSES)
    if processes < 2 or sum(held.contacts for held in tenants.counts(vault).values()) < _SPREAD_FROM:
        return map(check, work)
    return spread(check, work, processes)


def _settle(vault: Vault, case: _Case, part: Part, verdict: Verdict) -> None:
    """Compares a tenant's rows with its manifest, and that with its anchor."""
    manifest = case.manifest
    with vault.read() as tx:
        tenant, stored = tenant_rows.get(tx, case.tenant.id), manifests.get(tx, case.tenant.id)
        if tenant is None or tenant.state != tenants.LIVE:
            return  # its erasure has begun meanwhile
        with suppress(DamagedError):  # as it was from the beginning, or the next verification finds
            present = None if stored is None else manifest_of.read(case.keys, stored)
            if present is not None and (manifest is None or present.counter != manifest.counter):
                manifest, part = present, _check_as_one(vault, tx, case, present)
    if manifest is not None:
        _compare(manifest, part)
        anchor = vault.anchors.of(case.tenant.id)
        if anchor is not None and manifest.counter < anchor:
            error = manifest_of.rolled_back(case.tenant.id)
            part.findings.append(
                Finding(case.tenant.id, "manifests", case.tenant.id, Kind.ROLLED_BACK, error.message, error.advice)
            )
    verdict.checked += part.checked
    verdict.findings += part.findings


def _check_as_one(vault: Vault, tx: Transaction, case: _Case, manifest: Manifest) -> Part:
    """Checks a tenant again, in one transaction: it was written to while it was checked."""
    vault.keys.forget(case.tenant.id)
    keys = vault.keys.tenant(case.tenant.id)
    current = case.tenant if case.tenant.profile is None else tenants.as_of(vault, tx, case.tenant)
    check = RowCheck(vault, current, keys, MultisetHash(manifest.key))
    check.part.findings += case.findings
    check.head(tx)
    check.mailboxes(lambda: nullcontext(tx), mailbox_rows.ids_of_tenant(tx, case.tenant.id))
    return check.part


def _compare(manifest: Manifest, part: Part) -> None:
    """Tells which tables do not add up to what the manifest says."""
    damaged = {finding.table for finding in part.findings if finding.kind is Kind.UNREADABLE}
    for table, stated in manifest.totals.items():
        found = part.totals.get(table, Total())
        if found.size < stated.size:
            missing = stated.size - found.size
            part.findings.append(_table_finding(part, table, Kind.MISSING, f"{missing} sealed records are missing."))
        elif found.size > stated.size:
            extra = found.size - stated.size
            message = f"{extra} sealed records are there that had been removed."
            part.findings.append(_table_finding(part, table, Kind.ROLLED_BACK, message))
        elif found != stated and table not in damaged:  # a record that does not open explains the sum
            message = "Rows were put back in an older state."
            part.findings.append(_table_finding(part, table, Kind.ROLLED_BACK, message))


def _beyond_tenants(vault: Vault, verdict: Verdict) -> None:
    """Checks the vault's own keys, tenants that are gone without an erasure, the ledger, and the key store's age."""
    held = {what: anchors.held(vault.keys.provider, what) or 0 for what in Held}  # before what they follow
    with vault.key_data.read() as tx:
        before = anchor_rows.all_of(tx)
        count = meta.number(tx, anchors.COUNT, keys=True)
    with vault.read() as tx:
        present = {row.id for row in tenant_rows.list_all(tx)}
    with vault.key_data.read() as tx:  # an erasure takes the anchor before it takes the row
        after = anchor_rows.all_of(tx)
        entries = ledger_rows.list_all(tx)
    erased = {entry.tenant_id for entry in entries if entry.event == "keys_destroyed"}
    for tenant_id in (before.keys() & after.keys()) - present - erased:
        message = f"Tenant {UUID(bytes=tenant_id)} is gone, and no erasure removed it."
        verdict.findings.append(Finding(tenant_id, "tenants", tenant_id, Kind.MISSING, message, RESTORE))
    advice = "Restore the key store from its latest backup."
    for row, message in vault.keys.damaged(VAULT_TENANT).items():
        verdict.findings.append(Finding(None, "wrapped_keys", row, Kind.KEY, message, advice))
    for fault in ledger.faults(vault):
        if fault.is_grave:
            verdict.findings.append(Finding(None, "erasure_ledger", None, Kind.UNREADABLE, fault.message, fault.advice))
    last = ledger.end_of(entries)
    for table, is_older in (("key_meta", count < held[Held.COUNT]), ("erasure_ledger", last < held[Held.LEDGER])):
        if is_older:
            message = "The key store is older than what the root-key provider has seen of it."
            verdict.findings.append(Finding(None, table, None, Kind.ROLLED_BACK, message, advice))


def _manifest_finding(tenant_id: bytes, message: str) -> Finding:
    return Finding(tenant_id, "manifests", tenant_id, Kind.MANIFEST, message, RESTORE)


def _table_finding(part: Part, table: str, kind: Kind, what: str) -> Finding:
    message = f"Table {table} of tenant {UUID(bytes=part.tenant_id)}: {what}"
    return Finding(part.tenant_id, table, None, kind, message, RESTORE)
