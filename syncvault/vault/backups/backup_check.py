"""Checking a backup against the vault it was made of: is it whole, is it ours, and does every record in it open?"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from uuid import UUID

from syncvault.crypto.signature import public_key
from syncvault.errors import DamagedError, RootKeyError, SchemaError, StorageError
from syncvault.store import keys as key_rows
from syncvault.store import ledger as ledger_rows
from syncvault.store import tenants as tenant_rows
from syncvault.store.engine import Database, Role
from syncvault.store.transfer import open_archive, row_counts
from syncvault.store.upgrade import check_schema
from syncvault.vault import verify
from syncvault.vault.anchors import Anchors
from syncvault.vault.backups import archive
from syncvault.vault.backups.archive import (
    DATA_FILE,
    FILES,
    KEY_FILE,
    LEDGER_FILE,
    STATEMENT,
    Archive,
    Kind,
    NotABackupError,
)
from syncvault.vault.backups.replay import OF_A_TENANT
from syncvault.vault.erasing import ledger
from syncvault.vault.vault import Vault
from syncvault.vault.verify_rows import Kind as RowKind

_AGAIN: Final = "Make a new backup, and find out what changed this one."
_FRESH: Final = "Make a new key backup with `syncvault backup create --keys-out`; this one can restore nothing."

Progress = Callable[[int, int], None]  # parts done, parts in all


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with a file of a backup, or with a row in it."""

    file: str
    kind: str
    message: str
    advice: str = _AGAIN
    table: str | None = None
    row: bytes | None = None


@dataclass(slots=True)
class Verdict:
    """What was found.

    Attributes:
        checked: Records that were opened, or keys.
        erased: Tenants whose rows do not open because they are erased, as is right.
        findings: What is wrong.
        statement: What the backup says of itself; None if that cannot be read.
    """

    checked: int = 0
    erased: int = 0
    findings: list[Finding] = field(default_factory=list)
    statement: archive.Statement | None = None


def check(vault: Vault, directory: Path, *, progress: Progress | None = None) -> Verdict:
    """Checks a backup of rows or of keys.

    Raises:
        NotABackupError: There is none.
    """
    verdict = Verdict()
    try:
        found = archive.read(directory)
    except NotABackupError as error:
        if not (directory / STATEMENT).is_file():
            raise
        verdict.findings.append(Finding(STATEMENT, "statement", error.message))
        return verdict
    verdict.statement = found.statement
    verdict.findings += _files(vault, found)
    name: str
    role: Role
    name, role = (DATA_FILE, "data") if found.statement.kind is Kind.DATA else (KEY_FILE, "keys")
    with _reported(verdict, name), _opened(found, name, role) as database:
        verdict.findings += _tables(found, name, database)
        if found.statement.kind is Kind.DATA:
            _rows(vault, database, verdict, progress)
        else:
            _keys(vault, found, database, verdict)
    return verdict


def _files(vault: Vault, found: Archive) -> Iterator[Finding]:
    """Whether statement and files are as they were made."""
    statement = found.statement
    if statement.vault_id != vault.id:
        yield Finding(
            STATEMENT, "vault", f"This is a backup of vault {UUID(bytes=statement.vault_id)}, not of this one."
        )
    elif not found.is_signed_by(public_key(vault.keys.receipt_seed)):
        yield Finding(STATEMENT, "signature", f"{STATEMENT} was not signed by this vault, or was changed since.")
    for name in FILES[statement.kind]:
        if not found.path(name).is_file():
            yield Finding(name, "missing", f"{name} is missing.")
            continue
        content = archive.measure(found.path(name))
        if content.size != statement.files[name].size:
            yield Finding(name, "size", f"{name} has {content.size} bytes, not {statement.files[name].size}.")
        elif content != statement.files[name]:
            yield Finding(name, "digest", f"{name} was changed: its SHA-256 is another.")


def _tables(found: Archive, name: str, database: Database) -> Iterator[Finding]:
    if not check_schema(database):
        raise SchemaError(f"{name} was made by an older version; `syncvault restore` brings it up to this one.")
    for clause in database.integrity():
        yield Finding(name, "integrity", f"{name}: {clause}.")
    with database.read() as tx:
        present = row_counts(tx, database.role)
    for table, stated in found.statement.rows.items():
        if present.get(table) != stated:
            message = f"Table {table} has {present.get(table, 0)} rows, not {stated}."
            yield Finding(name, "rows", message, table=table)


def _rows(vault: Vault, database: Database, verdict: Verdict, progress: Progress | None) -> None:
    """Opens every record of every living tenant with today's keys."""
    with vault.key_data.read() as tx:
        erased = {entry.tenant_id for entry in ledger_rows.list_all(tx) if entry.event in OF_A_TENANT}
    with database.read() as tx:
        held = {row.id for row in tenant_rows.list_all(tx)}
    verdict.erased = len(held & erased)
    judged = verify.verify(_view(vault, database), progress=progress)
    verdict.checked = judged.checked
    for finding in judged.findings:
        about_rows = finding.tenant_id in held - erased and finding.kind is not RowKind.PURGE_DATE
        if about_rows:
            verdict.findings.append(
                Finding(DATA_FILE, str(finding.kind), finding.message, table=finding.table, row=finding.row)
            )


def _keys(vault: Vault, found: Archive, database: Database, verdict: Verdict) -> None:
    """Opens every key with today's root key, and holds the ledger against today's."""
    entries = _ledger(found, database, verdict)
    with vault.key_data.read() as tx:
        today = ledger_rows.list_all(tx)
    if entries is not None and entries != today[: len(entries)]:
        verdict.findings.append(Finding(LEDGER_FILE, "ledger", "The ledger is not a beginning of the vault's own."))
    elif entries is not None and len(entries) < len(today):
        verdict.findings.append(Finding(LEDGER_FILE, "outdated", "Something was erased since this backup.", _FRESH))
    with database.read() as tx:
        root, whose = key_rows.current_root(tx), sorted({row.tenant_id for row in key_rows.list_all(tx)})
    if root is None or root.generation != vault.keys.root[1]:
        verdict.findings.append(Finding(KEY_FILE, "outdated", "The root key was replaced since this backup.", _FRESH))
        return
    ring = vault.keys.over(database)
    for tenant_id in whose:
        for row, message in ring.damaged(tenant_id).items():
            verdict.findings.append(Finding(KEY_FILE, "key", message, table="wrapped_keys", row=row))
        verdict.checked += 1


def _ledger(found: Archive, database: Database, verdict: Verdict) -> list[ledger_rows.LedgerRow] | None:
    with database.read() as tx:
        entries = ledger_rows.list_all(tx)
    try:
        copied = ledger.parse(found.path(LEDGER_FILE).read_bytes())
    except (OSError, ValueError):
        copied = None
    if copied != entries:
        if any(finding.file == LEDGER_FILE for finding in verdict.findings):
            return None
        verdict.findings.append(Finding(LEDGER_FILE, "ledger", f"{LEDGER_FILE} is not what {KEY_FILE} says."))
        return None
    return entries


def _view(vault: Vault, database: Database) -> Vault:
    """The vault as it would be with these rows; nothing anchors them, for they are old on purpose."""
    view = copy.copy(vault)
    view.data = database
    view.anchors = _NoAnchors(vault.key_data)
    return view


class _NoAnchors(Anchors):
    def of(self, tenant_id: bytes) -> int | None:  # noqa: ARG002  (the base's)
        return None


@contextmanager
def _opened(found: Archive, name: str, role: Role) -> Iterator[Database]:
    database = open_archive(found.path(name), role)
    try:
        yield database
    finally:
        database.close()


@contextmanager
def _reported(verdict: Verdict, name: str) -> Iterator[None]:
    """Makes a finding of what keeps a file from being looked into, unless enough is known already."""
    was_sound = not verdict.findings
    try:
        yield
    except (DamagedError, StorageError, RootKeyError) as error:
        if was_sound:
            verdict.findings.append(Finding(name, "unreadable", error.message))
    except Exception:  # changed bytes may come out as anything, at any place; a newer schema is no finding
        if was_sound:
            raise
