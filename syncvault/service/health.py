"""The doctor: looks at everything a vault depends on, and says what is wrong and what to do about it.

No check stops another: what cannot be examined is a finding too.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from syncvault.clock import Clock, system_clock
from syncvault.errors import DamagedError, RootKeyError, SyncvaultError
from syncvault.policy.calendar import civil_day
from syncvault.policy.clock import doubt
from syncvault.store import identifiers
from syncvault.store import keys as key_rows
from syncvault.store.engine import Database, Role, open_database
from syncvault.store.upgrade import check_schema
from syncvault.store.urls import parse_url
from syncvault.vault import credentials, layout, tenants
from syncvault.vault.erasing import erasure, ledger, outstanding
from syncvault.vault.layout import Layout
from syncvault.vault.model import CredentialKind, Tenant
from syncvault.vault.opening import AskPassphrase, open_vault
from syncvault.vault.tenants import Roll
from syncvault.vault.trail import audit
from syncvault.vault.vault import Vault

EXPIRES_SOON: Final = timedelta(days=30)
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_MAY_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


class Result(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: one sentence, and one line of advice where something is to be done."""

    check: str
    result: Result
    message: str
    advice: str = ""


Findings = Iterator[Finding]


@dataclass(frozen=True, slots=True)
class Ending:
    """A credential that has ended, or ends within 30 days."""

    tenant: str
    kind: CredentialKind
    ends_at: datetime
    has_ended: bool

    @property
    def message(self) -> str:
        """What is the matter."""
        what = self.kind if self.kind in {CredentialKind.CERTIFICATE, CredentialKind.SECRET} else "credential"
        return f"The {what} of {self.tenant} {'ended' if self.has_ended else 'ends'} on {self.ends_at:%Y-%m-%d}."

    @property
    def advice(self) -> str:
        """What to do."""
        return f"Replace it with: syncvault credential rotate {self.tenant}"


def examine(home: Path, *, passphrase: AskPassphrase | None = None, clock: Clock = system_clock) -> Findings:
    """Checks a vault; each check gives at least one finding.

    Args:
        home: The data directory.
        passphrase: Asks for the passphrase, where the root key needs one.
        clock: Tells the time.

    Raises:
        NoVaultError: There is no vault at `home`.
    """
    place = layout.load(home.absolute())
    yield from _permissions(place)
    yield from _database("data", place.database)
    yield from _database("keys", place.key_database)
    if lost := [*_misplaced("data", place.database), *_misplaced("keys", place.key_database)]:
        yield from lost
        return  # whoever follows such an ID fails
    with ExitStack() as stack:
        try:
            vault = stack.enter_context(open_vault(home, passphrase=passphrase, clock=clock))
        except SyncvaultError as error:
            yield _failed("root key" if isinstance(error, RootKeyError) else "vault", error)
            return
        provider, generation = vault.keys.root
        yield Finding("root key", Result.OK, f"Generation {generation} of the provider {provider} opens the vault.")
        yield from _each_of(vault)


def _each_of(vault: Vault) -> Findings:
    checks: tuple[tuple[str, Callable[[Vault], Findings]], ...] = (
        ("old root keys", _retired_roots),
        ("erasures", _erasures),
        ("audit trail", _audit_trail),
        ("clock", _clock),
        ("tenants", _tenants),
    )
    for name, check in checks:
        try:
            yield from check(vault)
        except SyncvaultError as error:
            yield _failed(name, error)


def _permissions(place: Layout) -> Findings:
    files = [place.home / layout.FILE_NAME, place.ledger_mirror]
    files += [path for url in (place.database, place.key_database) for path in _files_of(url)]
    if place.root_key == "file" and place.root_key_file is not None:  # other providers' files are encrypted
        files.append(place.root_key_file)
    open_to_others = [path for path in files if _mode(path) & _OTHERS]
    for path in open_to_others:
        yield Finding(
            "permissions",
            Result.FAIL,
            f"Other users can reach {path} (mode {_mode(path):04o}).",
            f"Find out who may have read or changed it, then: chmod 600 {path}",
        )
    mode = _mode(place.home)
    if mode & _OTHERS:
        yield Finding(
            "permissions",
            Result.FAIL if mode & _MAY_WRITE else Result.WARN,
            f"Other users can {'write to' if mode & _MAY_WRITE else 'look into'} {place.home} (mode {mode:04o}).",
            f"Run: chmod 700 {place.home}",
        )
    elif not open_to_others:
        yield Finding("permissions", Result.OK, "Nobody but its owner can reach the vault's files.")


def _files_of(url: str) -> list[Path]:
    path = parse_url(url).path
    return [] if path is None else [path.with_name(path.name + suffix) for suffix in ("", "-wal", "-shm")]


def _mode(path: Path) -> int:
    """The permission bits; 0 for what is not there, or cannot be seen from here."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return 0


def _database(role: Role, url: str) -> Findings:
    name = f"{role} database"
    try:
        database = open_database(url, role=role)
    except SyncvaultError as error:
        yield _failed(name, error)
        return
    try:
        yield _schema(name, database)
        faults = database.integrity(quick=True)
        for fault in faults:
            yield Finding(name, Result.FAIL, f"The {name}: {fault}.", "Restore it from a backup.")
        if not faults:
            yield Finding(name, Result.OK, f"The {name} is sound.")
    except SyncvaultError as error:
        yield _failed(name, error)
    finally:
        database.close()


def _misplaced(role: Role, url: str) -> Findings:
    try:
        with closing(open_database(url, role=role)) as database, database.read() as tx:
            found = identifiers.misplaced(tx, role)
    except SyncvaultError:
        return  # said before
    for table, count in found.items():
        message = f"Table {table}: {count} rows hold something else where an ID must stand."
        yield Finding(f"{role} database", Result.FAIL, message, "Restore it from a backup.")


def _schema(name: str, database: Database) -> Finding:
    if check_schema(database):
        return Finding(name, Result.OK, f"The {name} has the schema of this version.")
    message = f"The {name} has an older schema; the next command brings it up to date."
    return Finding(name, Result.WARN, message, "Back both databases up first.")


def _retired_roots(vault: Vault) -> Findings:
    with vault.key_data.read() as tx:
        left = [root for root in key_rows.roots(tx) if root.state == "retired"]
    for root in left:
        yield Finding(
            "old root keys",
            Result.WARN,
            f"Generation {root.generation} of the provider {root.provider} was replaced but is not destroyed yet.",
            "Receipts since then are interim: do what they name as outstanding, then run any command.",
        )
    if not left:
        yield Finding("old root keys", Result.OK, "No root key is left that was replaced.")


def _erasures(vault: Vault) -> Findings:
    is_sound = True
    for fault in ledger.faults(vault):
        is_sound = False
        yield Finding("erasures", Result.FAIL if fault.is_grave else Result.WARN, fault.message, fault.advice)
    for statement in outstanding.interim(vault):
        if statement.rows is None:
            is_sound = False
            left = "; ".join(each.removesuffix(".") for each in statement.outstanding)
            message = f"The receipt for tenant {UUID(bytes=statement.tenant_id)} is interim: {left}."
            yield Finding("erasures", Result.WARN, message, "`syncvault purge --yes` makes it final where that can be.")
    if is_sound:
        yield Finding("erasures", Result.OK, "The erasure ledger is sound, and no tenant's receipt is interim.")


def _audit_trail(vault: Vault) -> Findings:
    found = audit.look(vault)
    for one in found:
        yield Finding("audit trail", Result.FAIL, one.message, f"Run `syncvault audit verify`. {one.advice}")
    if not found:
        yield Finding("audit trail", Result.OK, "The audit trail ends where the key store says.")


def _clock(vault: Vault) -> Findings:
    why = doubt(vault.now, vault.latest_time_seen())
    if why is None:
        yield Finding("clock", Result.OK, "The clock agrees with the time of the last command.")
    else:
        advice = "Put the clock right; if it is right, run: syncvault purge --yes --accept-clock"
        yield Finding("clock", Result.FAIL, why, advice)


def _tenants(vault: Vault) -> Findings:
    roll = tenants.call_roll(vault)
    yield from _damaged(roll)
    yield from _purge(vault, roll)
    living = [tenant for tenant in roll.tenants if tenant.profile is not None]
    yield from _credentials(vault, living)
    yield from _quarantine(living)


def _damaged(roll: Roll) -> Findings:
    for damaged in roll.damaged:
        advice = "Restore the row from a backup, or erase the tenant with `syncvault tenant delete NAME --yes`."
        yield Finding("tenants", Result.FAIL, damaged.message, advice)
    if not roll.damaged:
        yield Finding("tenants", Result.OK, f"The facts about all {len(roll.tenants)} tenants open.")


def _purge(vault: Vault, roll: Roll) -> Findings:
    late = False
    for tenant in roll.tenants:
        if tenant.profile is None:
            late = True
            yield _unfinished(vault, tenant)
        elif (subscription := tenant.facts.subscription).is_due(vault.now):
            late = True
            today = civil_day(vault.now, ZoneInfo(subscription.zone))
            is_today = subscription.purge_on(vault.now) == today
            message = f"Tenant {tenant.facts.name} had to be gone by {subscription.purge_on(vault.now)}."
            result = Result.WARN if is_today else Result.FAIL  # the timer has until midnight
            yield Finding("purge", result, message, "Run `syncvault purge --yes`, and check its timer.")
    if not late:
        yield Finding("purge", Result.OK, "No tenant has outlived its purge date.")


def _unfinished(vault: Vault, tenant: Tenant) -> Finding:
    try:
        erasure.require_genuine(vault, tenant)
    except DamagedError as error:
        return _failed("purge", error)
    message = f"The erasure of tenant {UUID(bytes=tenant.id)} was begun and is not finished."
    return Finding("purge", Result.FAIL, message, "Finish it with `syncvault purge --yes`.")


def ending_credentials(vault: Vault, living: list[Tenant]) -> Iterator[Ending | tuple[Tenant, SyncvaultError]]:
    """The credentials that have ended or end soon, and the tenants whose credential does not open."""
    for tenant in living:
        try:
            held = credentials.load(vault, tenant)
        except SyncvaultError as error:
            yield tenant, error
            continue
        if held.expires_at is not None and held.expires_at <= vault.now + EXPIRES_SOON:
            yield Ending(tenant.facts.name, held.kind, held.expires_at, has_ended=held.expires_at <= vault.now)


def _credentials(vault: Vault, living: list[Tenant]) -> Findings:
    noteworthy = False
    for found in ending_credentials(vault, living):
        noteworthy = True
        if isinstance(found, Ending):
            result = Result.FAIL if found.has_ended else Result.WARN
            yield Finding("credentials", result, found.message, found.advice)
        else:
            yield _failed("credentials", found[1])
    if not noteworthy:
        yield Finding("credentials", Result.OK, "No credential ends within 30 days.")


def _quarantine(living: list[Tenant]) -> Findings:
    held = [tenant for tenant in living if tenant.quarantine is not None]
    for tenant in held:
        why = tenant.quarantine
        message = f"{tenant.facts.name} is not pulled: the server refused its credential"
        advice = f"Run: syncvault credential rotate {tenant.facts.name}"
        yield Finding("quarantine", Result.WARN, f"{message} ({why.code if why else ''}).", advice)
    if not held:
        yield Finding("quarantine", Result.OK, "No tenant is held back.")


def _failed(check: str, error: SyncvaultError) -> Finding:
    return Finding(check, Result.FAIL, error.message, error.advice)
