"""Backups: the sealed rows without a key, and apart from them the keys with the erasure ledger and the receipts.

Both are read while others work, each in one state. The keys are read after the rows: whatever tenant has rows in the
backup has keys in it, or an entry in the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from syncvault.errors import InputError, UsageError
from syncvault.store import ledger as ledger_rows
from syncvault.store.engine import Database, Role
from syncvault.store.transfer import copy_rows, finish_archive, new_archive, row_counts
from syncvault.store.upgrade import schema_revision
from syncvault.vault import layout as layouts
from syncvault.vault.backups import archive, receipts
from syncvault.vault.backups.archive import (
    DATA_FILE,
    FILES,
    KEY_FILE,
    LEDGER_FILE,
    RECEIPTS_FILE,
    STATEMENT,
    Kind,
    Statement,
)
from syncvault.vault.backups.staging import new_directory, replaced_directory, require_vacant
from syncvault.vault.erasing import ledger
from syncvault.vault.layout import write_durably
from syncvault.vault.vault import Vault


class Progress(Protocol):
    """Learns how far a backup or a restore is."""

    def expect(self, rows: int) -> None:
        """There are so many more rows to do."""

    def advance(self, rows: int) -> None:
        """So many more are done."""


@dataclass(frozen=True, slots=True)
class Made:
    """What was made; `keys` is None where no directory for the keys was named."""

    data: Statement
    keys: Statement | None


def create(vault: Vault, out: Path, *, keys_out: Path | None, keep_days: int, progress: Progress) -> Made:
    """Makes a backup beside whoever works with the vault.

    Args:
        vault: The vault.
        out: The directory for the sealed rows; it must not exist yet, or be empty.
        keys_out: The directory for the keys and the ledger; those of an earlier backup in it are replaced.
        keep_days: How long the backup is to be kept.
        progress: Learns how far it is.

    Raises:
        UsageError: One directory lies in the other, or in the vault's own.
        InputError: A directory holds something else, or cannot be made.
        BusyError: Another process is making a backup there, or has the vault alone.
        StorageError: The disk is full, or refuses.
    """
    out, keys_out = out.resolve(), keys_out.resolve() if keys_out else None  # to rename what a link leads to
    _require_apart(vault, out, keys_out)
    require_vacant(out)
    if keys_out is not None:
        _require_ours(vault, keys_out)
    # The keys take their place first: newer keys than rows do no harm, newer rows than keys cannot be opened.
    with vault.beside_others(), new_directory(out) as directory:
        data = _copy_data(vault, directory, keep_days, progress)
        with replaced_directory(keys_out) if keys_out else nullcontext() as key_directory:
            keys = _copy_keys(vault, key_directory, keep_days, progress) if key_directory else None
    return Made(data, keys)


def _copy_data(vault: Vault, directory: Path, keep_days: int, progress: Progress) -> Statement:
    rows, schema = _copy(vault.data, directory / DATA_FILE, "data", progress)
    statement = archive.describe(
        directory, Kind.DATA, vault.id, now=vault.now, keep_days=keep_days, schema=schema, rows=rows
    )
    archive.write(directory, statement, vault.keys.receipt_seed)
    return statement


def _copy_keys(vault: Vault, directory: Path, keep_days: int, progress: Progress) -> Statement:
    rows, schema = _copy(vault.key_data, directory / KEY_FILE, "keys", progress, ledger_to=directory / LEDGER_FILE)
    write_durably(directory / RECEIPTS_FILE, receipts.to_text(vault))
    vault.keys.follow_root()  # both may have changed since the vault was opened, and stay while it is held
    layout = layouts.load(vault.layout.home)
    place = layout.place_of(vault.keys.root[1])
    statement = archive.describe(
        directory,
        Kind.KEYS,
        vault.id,
        now=vault.now,
        keep_days=keep_days,
        schema=schema,
        rows=rows,
        roots=(replace(place, generation=0), *layout.replaced),
    )
    archive.write(directory, statement, vault.keys.receipt_seed)
    return statement


def _copy(
    source: Database, path: Path, role: Role, progress: Progress, *, ledger_to: Path | None = None
) -> tuple[Mapping[str, int], str]:
    """Copies one state of a database into a file; returns its rows per table and its schema's revision."""
    target = new_archive(path, role)
    with source.read() as tx, target.write() as into:
        progress.expect(sum(row_counts(tx, role).values()))
        rows = copy_rows(tx, into, role, progress.advance)
        if ledger_to is not None:
            write_durably(ledger_to, ledger.to_text(ledger_rows.list_all(tx)))
    finish_archive(target)
    return rows, schema_revision(target) or ""


def _require_apart(vault: Vault, out: Path, keys_out: Path | None) -> None:
    places = [("--out", out), *([("--keys-out", keys_out)] if keys_out else [])]
    home = vault.layout.home.resolve()
    for name, place in places:
        if _overlap(place, home):
            raise UsageError(
                f"The directory given for {name} and the vault's own lie in one another.",
                advice=f"Name one on another disk, like {name} /mnt/backup/{place.name}",
            )
    if keys_out is not None and _overlap(places[0][1], places[1][1]):
        raise UsageError(
            "The directories for rows and keys lie in one another.",
            advice="Keep them apart, best on different disks: whoever has both needs only the root key.",
        )


def _overlap(one: Path, other: Path) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)


def _require_ours(vault: Vault, place: Path) -> None:
    """Refuses to replace anything but an earlier backup of this vault's keys."""
    if not place.is_dir() or not any(place.iterdir()):
        require_vacant(place)
        return
    found = {path.name for path in place.iterdir()}
    if STATEMENT in found:
        earlier = archive.read(place).statement
        if (earlier.kind, earlier.vault_id) == (Kind.KEYS, vault.id) and found == {STATEMENT, *FILES[Kind.KEYS]}:
            return
    raise InputError(
        "The directory given for --keys-out holds something other than this vault's keys.",
        advice="Name a new directory; nothing was touched.",
    )
