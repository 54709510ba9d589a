"""How a vault is made, and opened; and what a crash left half done of its keys is finished."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from syncvault.clock import Clock, system_clock
from syncvault.crypto.record import RecordCipher
from syncvault.errors import InputError, RootKeyError, SchemaError, StorageError, UsageError
from syncvault.roots.port import RootKeyProvider
from syncvault.store import keys as key_rows
from syncvault.store import meta
from syncvault.store.engine import Database, open_database
from syncvault.store.schema import VAULT_TENANT
from syncvault.store.upgrade import check_schema, migrate
from syncvault.vault import layout as layouts
from syncvault.vault.erasing import ledger
from syncvault.vault.keyring import root_rotation
from syncvault.vault.keyring.roots_in_use import AskPassphrase as AskPassphrase  # noqa: PLC0414  (part of this surface)
from syncvault.vault.keyring.roots_in_use import RootsInUse
from syncvault.vault.keyring.wrapped import VAULT_PURPOSES, fresh_keys, root_row
from syncvault.vault.layout import Layout
from syncvault.vault.vault import Vault


def create_vault(layout: Layout, *, passphrase: AskPassphrase | None = None, clock: Clock = system_clock) -> Vault:
    """Makes a vault and opens it. Killed in between, it can simply be called again.

    Raises:
        InputError: One lives there already, or the databases hold another.
        RootKeyError: The provider cannot make a root key here.
    """
    if layouts.exists(layout.home):
        raise InputError(f"There is a vault at {layout.home} already.", advice="Name another directory with --home.")
    if layout.database == layout.key_database:
        raise UsageError("Keys and data cannot share one database.", advice="Name another with --key-database.")
    _make_home(layout)
    with ExitStack() as undo:
        data = open_database(layout.database, role="data", create=True)
        key_data = open_database(layout.key_database, role="keys", create=True)
        undo.callback(data.close)
        undo.callback(key_data.close)
        migrate(data)
        migrate(key_data)
        vault_id = _choose_id(data, key_data)
        roots = RootsInUse(layout, vault_id, passphrase)
        provider = roots.open(layout.root_place)
        _make_keys(key_data, vault_id, provider, clock)
        layout = replace(layout, root_key_options={**layout.root_key_options, **provider.remembers})
        roots = RootsInUse(layout, vault_id, passphrase)
        roots.adopt(layout.root_place, provider)
        vault = Vault(layout, vault_id, data=data, key_data=key_data, roots=roots, clock=clock)
        layouts.save(layout)
        undo.pop_all()
    return vault


def open_vault(home: Path, *, passphrase: AskPassphrase | None = None, clock: Clock = system_clock) -> Vault:
    """Opens a vault, and finishes what a crash left half done of its root key and of registrations.

    Raises:
        NoVaultError: There is none at `home`.
        RootKeyError: Its root key is missing, unreachable or another one.
        SchemaError: A newer version made it.
    """
    layout = layouts.load(home.absolute())
    with ExitStack() as undo:
        data = open_database(layout.database, role="data")
        key_data = open_database(layout.key_database, role="keys")
        for database in (data, key_data):
            undo.callback(database.close)
            if not check_schema(database):
                migrate(database)
        vault_id = _vault_id(data, key_data)
        roots = RootsInUse(layout, vault_id, passphrase)
        vault = Vault(layout, vault_id, data=data, key_data=key_data, roots=roots, clock=clock)
        ledger.settle_beginning(vault)
        root_rotation.finish(vault)
        undo.pop_all()
    return vault


def _make_home(layout: Layout) -> None:
    try:
        layout.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not any(layout.home.iterdir()):  # what others share already keeps its mode, and `doctor` tells of it
            with suppress(PermissionError):
                layout.home.chmod(0o700)
        layout.receipts.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise StorageError(f"The directory {layout.home} cannot be made: {error.strerror}.") from None


def _choose_id(data: Database, key_data: Database) -> bytes:
    """The vault's ID, written down before anything is made under it: an interrupted `init` goes on with the same."""
    with key_data.write() as tx:
        chosen = meta.get(tx, "vault_id", keys=True)
        has_keys = key_rows.current_root(tx) is not None
        if chosen is None:
            chosen = uuid4().hex
            meta.put(tx, "vault_id", chosen, keys=True)
    with data.write() as tx:
        found = meta.get(tx, "vault_id")
        if found not in {None, chosen}:
            raise InputError("The database holds the rows of another vault.", advice="Name another with --database.")
        if found is None and has_keys:  # `init` makes keys only after this database has got the ID
            raise InputError(
                "The key database holds the keys of another vault.", advice="Name another with --key-database."
            )
        meta.put(tx, "vault_id", chosen)
    return bytes.fromhex(chosen)


def _make_keys(key_data: Database, vault_id: bytes, provider: RootKeyProvider, clock: Clock) -> None:
    """The root key and the vault's own keys, in one transaction; those of an interrupted `init` are taken over."""
    with key_data.read() as tx:
        root = key_rows.current_root(tx)
    if root is not None:
        if root.provider != provider.name:
            raise InputError(
                f"An interrupted init left keys here that the provider {root.provider} opens.",
                advice=f"Run init again with --root-key {root.provider}, or remove the directory.",
            )
        return
    handle, now = provider.create(1), clock()
    cipher = RecordCipher({1: provider.unwrap(handle)}, 1, vault_id=vault_id, tenant_id=VAULT_TENANT)
    with key_data.write() as tx:
        key_rows.insert_root(tx, root_row(provider, 1, handle, now))
        key_rows.insert_many(tx, fresh_keys(cipher, VAULT_TENANT, VAULT_PURPOSES, now))
        key_rows.promote_root(tx, 1)


def _vault_id(data: Database, key_data: Database) -> bytes:
    with data.read() as tx:
        of_data = meta.get(tx, "vault_id")
    with key_data.read() as tx:
        of_keys = meta.get(tx, "vault_id", keys=True)
    if of_data is None or of_keys is None:
        raise SchemaError("A database of this vault is empty.", advice="Restore both from one backup.")
    if of_data != of_keys:
        raise RootKeyError(
            "The two databases belong to different vaults.", advice="Restore the key database that goes with the data."
        )
    return bytes.fromhex(of_data)
