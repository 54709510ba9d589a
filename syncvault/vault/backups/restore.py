"""Restoring a vault: old rows under today's keys, and nothing of what was erased since.

Everything is made ready in a directory of its own, `.restoring` in the new home: copied, checked, opened with the root
key, freed of what the ledger names, anchored anew. Only then are the databases put in their places, and `vault.toml`
last: before that there is no vault, and the same command can simply be run again.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

from syncvault.clock import Clock, system_clock
from syncvault.crypto.multiset import MultisetHash
from syncvault.crypto.signature import public_key
from syncvault.errors import BusyError, DamagedError, InputError, NotFoundError, StorageError, UsageError
from syncvault.roots.port import Held
from syncvault.roots.registry import require_options
from syncvault.store import anchors as anchor_rows
from syncvault.store import keys as key_rows
from syncvault.store import ledger as ledger_rows
from syncvault.store import manifests as manifest_rows
from syncvault.store import meta
from syncvault.store import tenants as tenant_rows
from syncvault.store.engine import Database, Role, Transaction, open_database
from syncvault.store.ledger import LedgerRow
from syncvault.store.tenants import TenantRow
from syncvault.store.transfer import row_counts, settle
from syncvault.store.upgrade import check_schema, migrate
from syncvault.store.urls import sqlite_url
from syncvault.vault import anchors, manifest
from syncvault.vault import layout as layouts
from syncvault.vault.backups import archive, placing, receipts
from syncvault.vault.backups.archive import (
    DATA_FILE,
    KEY_FILE,
    LEDGER_FILE,
    RECEIPTS_FILE,
    Archive,
    Kind,
    NotABackupError,
)
from syncvault.vault.backups.backup import Progress
from syncvault.vault.backups.replay import OF_A_TENANT, Replayed, longest, replay
from syncvault.vault.erasing import ledger
from syncvault.vault.keyring.roots_in_use import AskPassphrase, RootsInUse
from syncvault.vault.layout import Layout, write_durably
from syncvault.vault.sealing import to_instant
from syncvault.vault.tenants import KEPT_UNTIL
from syncvault.vault.trail import audit, audit_chain
from syncvault.vault.vault import Vault

RESTORED_AT: Final = "restored_at"  # in key_meta
_STAGING: Final = ".restoring"
_MARK: Final = "token"
_OURS: Final = (DATA_FILE, KEY_FILE, LEDGER_FILE, _MARK, "locks", "receipts")  # and what SQLite puts beside them
_OLDER: Final = "Take a key backup that is at least as new as the data: name it with --keys-from."


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be restored, and where to.

    Attributes:
        home: The new data directory.
        data: The backup of the rows.
        keys: The backup of the keys and the ledger.
        database: URL for the rows; empty for a file in the home directory.
        key_database: The same for the keys.
        root_key_file: Where the root key's file lies now, if not where it was.
        root_key_options: What the provider is told now, over what it was told then.
        keep_days: How long backups are kept: keys without rows outlast a restore for as long.
    """

    home: Path
    data: Path
    keys: Path
    database: str = ""
    key_database: str = ""
    root_key_file: Path | None = None
    root_key_options: Mapping[str, str] = field(default_factory=dict)
    keep_days: int = 35


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back, and what did not."""

    vault_id: bytes
    layout: Layout
    tenants: int
    rows: int
    replayed: Replayed
    unreadable: tuple[bytes, ...]  # tenants whose rows do not add up to what was last written of them


def restore(
    wanted: Wanted, *, progress: Progress, passphrase: AskPassphrase | None = None, clock: Clock = system_clock
) -> Restored:
    """Makes a vault of a backup where there is none. Killed in between, it can simply be called again.

    Args:
        wanted: What, and where to.
        progress: Learns how far it is.
        passphrase: Asks for the passphrase, where the root key has one.
        clock: Tells the time.

    Raises:
        InputError: There is a vault already; the backups are of two vaults, or the keys older than the rows.
        NotABackupError: One of them is none.
        DamagedError: A file is not what the backup says it is, or was not signed by this vault.
        RootKeyError: The root key is missing, unreachable, or not the one that opens these keys.
        SchemaError: A newer version made the backup.
    """
    if layouts.exists(wanted.home):
        raise InputError(
            f"There is a vault at {wanted.home} already.",
            advice="Name another directory with --home; nothing was touched.",
        )
    data, keys = _backups(wanted)
    layout = _layout(wanted, keys)
    with _staging(wanted.home) as (directory, token):
        placing.require_free(layout.database, "data", token)
        placing.require_free(layout.key_database, "keys", token)
        with ExitStack() as opened:
            progress.expect(sum(content.size for one in (data, keys) for content in one.statement.files.values()))
            databases = [
                _staged_copy(data, DATA_FILE, directory, "data", progress),
                _staged_copy(keys, KEY_FILE, directory, "keys", progress),
            ]
            for database in databases:
                opened.callback(database.close)
            entries = _ledger(wanted.home, keys, databases[1])
            progress.advance(keys.statement.files[LEDGER_FILE].size)
            roots = RootsInUse(layout, keys.statement.vault_id, passphrase)
            vault = Vault(
                replace(layout, home=directory),
                keys.statement.vault_id,
                data=databases[0],
                key_data=databases[1],
                roots=roots,
                clock=clock,
            )
            opened.callback(vault.close)
            _require_signed(vault, (data, keys), entries)
            kept = receipts.read(vault, keys)
            progress.advance(keys.statement.files[RECEIPTS_FILE].size)
            restored = _make_ready(vault, layout, entries, token, wanted.keep_days)
        for database in databases:
            settle(database)
        write_durably(directory / _MARK, token.encode("ascii"))
        _put_in_place(layout, directory, entries)
        receipts.put(layout, kept)
        layouts.save(layout)
    layouts.match_owner(wanted.home)
    return restored


def _backups(wanted: Wanted) -> tuple[Archive, Archive]:
    data, keys = archive.read(wanted.data), archive.read(wanted.keys)
    for option, found, kind in (("--from", data, Kind.DATA), ("--keys-from", keys, Kind.KEYS)):
        if found.statement.kind is not kind:
            raise UsageError(
                f"The directory given for {option} holds a backup of {found.statement.kind}, not of {kind}.",
                advice="--from takes what `backup create --out` made, --keys-from what --keys-out made.",
            )
    if data.statement.vault_id != keys.statement.vault_id:
        raise InputError("The two backups are of different vaults.", advice="Name two that are of the same.")
    if not keys.path(LEDGER_FILE).is_file():
        raise NotABackupError(
            f"{keys.directory} has no {LEDGER_FILE}: nobody can tell what was erased since the data was backed up.",
            advice="Take a key backup with its ledger; nothing is restored without one.",
        )
    return data, keys


def _layout(wanted: Wanted, keys: Archive) -> Layout:
    place, *left = keys.statement.roots
    require_options(place.provider, wanted.root_key_options)
    layout = Layout(
        home=wanted.home,
        database=wanted.database or layouts.default_database(wanted.home),
        key_database=wanted.key_database or layouts.default_key_database(wanted.home),
        root_key=place.provider,
        root_key_file=wanted.root_key_file.absolute() if wanted.root_key_file else place.file,
        root_key_options={**place.options, **wanted.root_key_options},
        replaced=tuple(left),
    )
    if layout.database == layout.key_database:
        raise UsageError("Keys and data cannot share one database.", advice="Name another with --key-database.")
    return layout


@contextmanager
def _staging(home: Path) -> Iterator[tuple[Path, str]]:
    """A directory in the home that nobody else uses, and the token of this restore.

    An interrupted restore's token is taken over, for what it has put in place may be replaced.
    """
    directory, was_there = home / _STAGING, home.is_dir()
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.mkdir(mode=0o700, exist_ok=True)
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise StorageError(f"The directory {directory} cannot be made: {error.strerror}.") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(f"Another process is restoring a vault at {home}.") from None
        try:
            _clean(directory)
            yield directory, _token(directory)
        finally:
            _clean(directory)
            if layouts.exists(home):
                (directory / _MARK).unlink(missing_ok=True)
            with suppress(OSError):  # not empty: the token is needed once more
                directory.rmdir()
    finally:
        os.close(handle)
        if not was_there:
            with suppress(OSError):  # not empty: a vault lives there now
                home.rmdir()


def _token(directory: Path) -> str:
    try:
        return UUID((directory / _MARK).read_text("ascii")).hex
    except (OSError, ValueError):
        return uuid4().hex


def _clean(directory: Path) -> None:
    """Removes what a restore has left in its directory, but its token."""
    for leftover in directory.iterdir():
        if not leftover.name.startswith(_OURS):
            raise InputError(f"{leftover} is nothing of a restore's.", advice="Move it away; it was not touched.")
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover)
        elif leftover.name != _MARK:
            leftover.unlink()


def _staged_copy(found: Archive, name: str, directory: Path, role: Role, progress: Progress) -> Database:
    """Opens a copy of a backup's database, brought to this version's schema."""
    content = archive.copy_file(found.path(name), directory / name)
    _require_content(found, name, content)
    progress.advance(content.size)
    database = open_database(sqlite_url(directory / name), role=role)
    try:
        if not check_schema(database):
            migrate(database)
        with database.read() as tx:
            if meta.get(tx, "vault_id", keys=role == "keys") != found.statement.vault_id.hex():
                raise DamagedError(f"{found.path(name)} is of another vault.", advice=archive.ANOTHER)
    except BaseException:
        database.close()
        raise
    return database


def _ledger(home: Path, keys: Archive, database: Database) -> list[LedgerRow]:
    """All that is known of erasures: from the key database, its ledger, and the one that a lost vault left here."""
    copy, left = keys.path(LEDGER_FILE), home / LEDGER_FILE
    for name in (LEDGER_FILE, RECEIPTS_FILE):
        _require_content(keys, name, archive.measure(keys.path(name)))
    with database.read() as tx:
        ledgers = [ledger_rows.list_all(tx)]
    for path in (copy, left):
        try:
            ledgers.append(ledger.parse(path.read_bytes()))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StorageError(f"{path} cannot be read: {error.strerror}.") from None
        except ValueError:
            raise DamagedError(
                f"{path} is damaged.", advice="Find out what it said of erasures before you move it away."
            ) from None
    return longest(ledgers)


def _require_content(found: Archive, name: str, content: archive.Content) -> None:
    if content != found.statement.files[name]:
        raise DamagedError(
            f"{found.path(name)} is not what {archive.STATEMENT} says of it: it is damaged, or of another backup.",
            advice=archive.ANOTHER,
        )


def _require_signed(vault: Vault, backups: Iterable[Archive], entries: list[LedgerRow]) -> None:
    public = public_key(vault.keys.receipt_seed)
    for found in backups:
        if not found.is_signed_by(public):
            raise DamagedError(
                f"{found.path(archive.STATEMENT)} was not signed by this vault, or was changed since.",
                advice=archive.ANOTHER,
            )
    ledger.settle_beginning(vault)  # once what is in the key backup is known to be the vault's own
    ledger.require_all_genuine(vault, entries)
    ledger.require_latest(vault, entries)


def _make_ready(vault: Vault, layout: Layout, entries: list[LedgerRow], token: str, keep_days: int) -> Restored:
    """Makes the two databases one vault again, of which nothing is left that was erased."""
    counters = _counters(vault, {entry.tenant_id for entry in entries if entry.event in OF_A_TENANT})
    held = anchors.held(vault.keys.provider, Held.COUNT)
    with vault.data.write() as data, vault.key_data.write() as keys:
        replayed = replay(data, keys, entries, vault.keys.receipt_seed)
        unreadable = _anchor(vault, data, keys, counters)
        key_rows.reopen_retired(keys)
        meta.put(data, placing.MARK, token)
        meta.put(keys, placing.MARK, token, keys=True)
        meta.put(keys, RESTORED_AT, str(vault.instant), keys=True)
        kept_until = to_instant(vault.now + timedelta(days=keep_days))
        meta.put(keys, KEPT_UNTIL, str(kept_until), keys=True)
        count = max(held or 0, meta.number(keys, anchors.COUNT, keys=True)) + 1
        meta.put(keys, anchors.COUNT, str(count), keys=True)
        tenants, rows = len(tenant_rows.list_all(data)), sum(row_counts(data, "data").values())
    anchors.hold(vault.keys.provider, Held.COUNT, count)
    anchors.hold(vault.keys.provider, Held.LEDGER, ledger.end_of(entries))
    audit_chain.begin_segment(vault)
    audit.record(vault, verb="restore", tenant_id=None, outcome="ok")
    return Restored(vault.id, layout, tenants, rows, replayed, unreadable)


def _counters(vault: Vault, erased: set[bytes]) -> dict[bytes, int | None]:
    """The manifest counter of each tenant that stays; None where rows and manifest do not add up.

    Raises:
        InputError: The keys are older than the rows.
    """
    with vault.data.read() as tx:
        found: dict[bytes, int | None] = {}
        for row in tenant_rows.list_all(tx):
            if row.id not in erased:
                found[row.id] = _counter(vault, tx, row)
    return found


def _counter(vault: Vault, tx: Transaction, row: TenantRow) -> int | None:
    whose = UUID(bytes=row.id)
    try:
        keys = vault.keys.tenant(row.id)
    except NotFoundError:
        raise InputError(
            f"The key backup has neither keys of tenant {whose} nor word of its erasure: it is older than the data.",
            advice=_OLDER,
        ) from None
    except DamagedError:
        return None
    kept = manifest_rows.get(tx, row.id)
    if kept is None:
        return 0  # from before there were manifests
    if kept.data_generation > keys.cipher.current or kept.index_generation > keys.index_generation:
        raise InputError(
            f"The key backup lacks the latest keys of tenant {whose}: it is older than the data.", advice=_OLDER
        )
    try:
        written = manifest.read(keys, kept)
    except DamagedError:
        return None
    is_whole = manifest.totals_of(tx, row.id, MultisetHash(written.key)) == written.totals
    return written.counter if is_whole else None


def _anchor(
    vault: Vault, data: Transaction, keys: Transaction, counters: Mapping[bytes, int | None]
) -> tuple[bytes, ...]:
    """Has every manifest count on from beyond all that was ever anchored; returns whose does not add up."""
    anchored = anchor_rows.all_of(keys)
    for tenant_id in anchored:
        anchor_rows.delete(keys, tenant_id)
    for row in tenant_rows.list_all(data):
        counter = counters.get(row.id)
        if counter is not None:
            beyond = max(counter, anchored.get(row.id, 0)) + 1
            manifest.rebuild(data, vault.keys.tenant(row.id), row.id, counter=beyond)
            anchor_rows.put(keys, row.id, beyond)
    return tuple(tenant_id for tenant_id, counter in counters.items() if counter is None)


def _put_in_place(layout: Layout, directory: Path, entries: list[LedgerRow]) -> None:
    placing.put(directory / KEY_FILE, layout.key_database, "keys")
    placing.put(directory / DATA_FILE, layout.database, "data")
    write_durably(layout.ledger_mirror, ledger.to_text(entries))
    _clean(directory)
