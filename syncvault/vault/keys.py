"""The key ring: unlocks the vault with its root key, makes, opens, re-wraps and destroys tenant and vault keys."""

from __future__ import annotations

import hmac
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import groupby
from operator import attrgetter
from typing import Final
from uuid import UUID, uuid4

import orjson

from syncvault.crypto.index import BlindIndex
from syncvault.crypto.place import ID_SIZE, Place
from syncvault.crypto.record import KEY_SIZE, RecordCipher, RecordRefusedError, WrongKeyError
from syncvault.errors import DamagedError, NotFoundError, RootKeyError
from syncvault.roots.port import Destroyed, Destruction, Handle, RootKeyProvider
from syncvault.store import keys as rows
from syncvault.store.engine import Database, Transaction
from syncvault.store.schema import VAULT_TENANT


class Purpose(StrEnum):
    """What a wrapped key is for; at most 16 ASCII characters, because it is bound into the record that wraps it."""

    NAMES = "names"  # vault: blind index of tenant names
    RECEIPT = "receipt"  # vault: seed of the signing key
    AUDIT = "audit"  # vault: seeds of the next audit entries; changes with each, so not opened with the others
    DATA = "data"  # tenant: records
    INDEX = "index"  # tenant: blind indexes


VAULT_PURPOSES: Final = (Purpose.NAMES, Purpose.RECEIPT)
TENANT_PURPOSES: Final = (Purpose.DATA, Purpose.INDEX)


@dataclass(frozen=True, slots=True)
class TenantKeys:
    """What seals and indexes one tenant's rows.

    Attributes:
        cipher: Seals under the current generation, opens under all.
        index: Makes blind indexes under the current generation.
        index_generation: Which that is.
        indexes: All generations by number; a rotation that is not finished needs the older ones to look things up.
    """

    cipher: RecordCipher
    index: BlindIndex
    index_generation: int
    indexes: Mapping[int, BlindIndex]


@dataclass(frozen=True, slots=True)
class RootChange:
    """A re-keyed root: what is current now, what was replaced, and what became of each generation that is not."""

    provider: str
    generation: int
    replaced: int
    destructions: Mapping[int, Destruction]


class KeyRing:
    """The keys of an unlocked vault. Tenant keys are unwrapped at their first use and dropped by `forget`."""

    def __init__(self, vault_id: bytes, database: Database, provider: RootKeyProvider) -> None:
        self._vault_id = vault_id
        self._database = database
        self._provider = provider
        self._lock = threading.Lock()
        self._tenants: dict[bytes, TenantKeys] = {}
        self._root_generation, self._root_key = 0, b""  # none yet: the first keys to be opened bring it
        self._vault_keys = self._open_vault_keys()
        self.names: Final = BlindIndex(self._vault_keys[Purpose.NAMES])

    def __repr__(self) -> str:
        return f"KeyRing(root={self._provider.name}/{self._root_generation})"

    @property
    def provider(self) -> RootKeyProvider:
        """What keeps the root key in force."""
        return self._provider

    @property
    def receipt_seed(self) -> bytes:
        """The seed of the key that signs receipts."""
        return self._vault_keys[Purpose.RECEIPT]

    def tenant(self, tenant_id: bytes) -> TenantKeys:
        """The keys of a tenant.

        Raises:
            NotFoundError: It has none (any more).
            DamagedError: They do not open.
        """
        with self._lock:
            if tenant_id not in self._tenants:
                self._tenants[tenant_id] = self._open_tenant_keys(tenant_id)
            return self._tenants[tenant_id]

    def create_tenant(self, tenant_id: bytes, now: datetime) -> TenantKeys:
        """Makes and stores the keys of a new tenant. Hold the maintenance lock shared, so that no root is re-keyed."""
        self._follow_root(self._current_root())
        with self._database.write() as tx:
            rows.insert_many(tx, fresh_keys(self._root_cipher(tenant_id), tenant_id, TENANT_PURPOSES, now))
        return self.tenant(tenant_id)

    def destroy_tenant(self, tx: Transaction, tenant_id: bytes) -> None:
        """Deletes a tenant's wrapped keys, and drops them from memory."""
        self.forget(tenant_id)
        rows.delete_of_tenant(tx, tenant_id)

    def names_of(self, tenant_id: bytes) -> list[str]:
        """A tenant's keys as `purpose/generation`."""
        with self._database.read() as tx:
            return [f"{row.purpose}/{row.generation}" for row in rows.of_tenant(tx, tenant_id)]

    @property
    def root(self) -> tuple[str, int]:
        """The root-key provider and the generation in force."""
        return self._provider.name, self._root_generation

    def forget(self, tenant_id: bytes) -> None:
        """Drops a tenant's keys from memory."""
        with self._lock:
            self._tenants.pop(tenant_id, None)

    def rekey(self, now: datetime, scrub: Callable[[], object]) -> RootChange:
        """Replaces the root key: makes a new generation, re-wraps every key in one transaction, destroys the old one.

        Hold the maintenance lock exclusively. A crash at any point leaves one root key that opens everything.

        Args:
            now: When.
            scrub: Removes what the re-wrapped rows left in the key database; called before the old root is destroyed.
        """
        self._follow_root(self._current_root())
        replaced = self._root_generation
        handle = self._provider.create(replaced + 1)
        key = self._provider.unwrap(handle)
        with self._database.write() as tx:
            rows.insert_root(tx, root_row(self._provider, replaced + 1, handle, now))
            self._rewrap(tx, replaced + 1, key)
            rows.promote_root(tx, replaced + 1)
        self._root_generation, self._root_key = replaced + 1, key
        scrub()
        return RootChange(self._provider.name, replaced + 1, replaced, self.destroy_retired_roots())

    def destroy_retired_roots(self) -> dict[int, Destruction]:
        """Asks the provider to destroy what is no longer current; also finishes what a crash left undone."""
        with self._database.read() as tx:
            retired = [root for root in rows.roots(tx) if root.state == "retired"]
        outcome = {root.generation: self._provider.destroy(orjson.loads(root.handle)) for root in retired}
        with self._database.write() as tx:
            for generation, destruction in outcome.items():
                if isinstance(destruction, Destroyed):
                    rows.set_root_state(tx, generation, "destroyed")
        return outcome

    def follow_root(self) -> None:
        """Gets the root key in force, for a transaction on the key database; hold the maintenance lock shared."""
        self._follow_root(self._current_root())

    def audit_state(self, tx: Transaction) -> bytes | None:
        """What signs the next audit entries, or None if none was ever written; see `follow_root`.

        Raises:
            DamagedError: It does not open.
        """
        row = rows.of_purpose(tx, VAULT_TENANT, Purpose.AUDIT)
        if row is None:
            return None
        try:
            return _unwrap(self._root_cipher(VAULT_TENANT), row)
        except RootKeyError:  # the other keys of the vault opened, so the root key is right
            raise DamagedError("The audit key does not open.") from None

    def keep_audit_state(self, tx: Transaction, state: bytes, now: datetime) -> None:
        """Stores what signs the next audit entries in the place of what signed before."""
        cipher = self._root_cipher(VAULT_TENANT)
        row = rows.of_purpose(tx, VAULT_TENANT, Purpose.AUDIT)
        if row is None:
            row = fresh_keys(cipher, VAULT_TENANT, [Purpose.AUDIT], now)[0]
        blob = cipher.seal(Place.WRAPPED_KEY, row.id, state, *_bound(row))
        rows.put(tx, row._replace(blob=blob, root_generation=cipher.current))

    def _current_root(self) -> rows.RootRow | None:
        with self._database.read() as tx:
            return rows.current_root(tx)

    def _follow_root(self, root: rows.RootRow | None) -> None:
        """Gets the root key in force, unless it is at hand; outside of transactions, for it may wait for a person."""
        if root is None:
            raise RootKeyError("The key store names no root key.", advice="Restore the key store from its backup.")
        if root.generation != self._root_generation:
            self._root_generation, self._root_key = root.generation, self._provider.unwrap(orjson.loads(root.handle))

    def _open_vault_keys(self) -> dict[str, bytes]:
        try:
            opened = {purpose: keys[current] for purpose, (keys, current) in self._open_all(VAULT_TENANT).items()}
        except NotFoundError:
            opened = {}
        if set(opened) != set(VAULT_PURPOSES):
            raise DamagedError("The key store lacks keys of the vault itself.", advice="Restore it from its backup.")
        return opened

    def _open_tenant_keys(self, tenant_id: bytes) -> TenantKeys:
        opened = self._open_all(tenant_id)
        if set(opened) != set(TENANT_PURPOSES):
            raise DamagedError(f"The key store lacks keys of tenant {UUID(bytes=tenant_id)}.")
        data, current = opened[Purpose.DATA]
        index, current_index = opened[Purpose.INDEX]
        cipher = RecordCipher(data, current, vault_id=self._vault_id, tenant_id=tenant_id)
        indexes = {generation: BlindIndex(key) for generation, key in index.items()}
        return TenantKeys(cipher, indexes[current_index], current_index, indexes)

    def _open_all(self, tenant_id: bytes) -> dict[str, tuple[dict[int, bytes], int]]:
        """All generations of a tenant's keys by purpose, with the current one."""
        wrapped = [row for row in self._wrapped_keys(tenant_id) if row.purpose != Purpose.AUDIT]
        if not wrapped:
            raise NotFoundError("The tenant has no keys: it is erased, or being erased.")
        root = self._root_cipher(tenant_id)
        opened: dict[str, tuple[dict[int, bytes], int]] = {}
        for row in wrapped:
            keys, current = opened.get(row.purpose, ({}, 0))
            keys[row.generation] = _unwrap(root, row)
            opened[row.purpose] = keys, row.generation if row.state == "current" else current
        return opened

    def _wrapped_keys(self, tenant_id: bytes) -> list[rows.WrappedKeyRow]:
        """A tenant's wrapped keys, with the root key that opens them at hand."""
        while True:
            with self._database.read() as tx:
                wrapped, root = rows.of_tenant(tx, tenant_id), rows.current_root(tx)
            try:
                self._follow_root(root)
            except RootKeyError:
                if self._current_root() == root:  # else another process has replaced and destroyed it meanwhile
                    raise
            else:
                return wrapped

    def _root_cipher(self, tenant_id: bytes) -> RecordCipher:
        keys = {self._root_generation: self._root_key}
        return RecordCipher(keys, self._root_generation, vault_id=self._vault_id, tenant_id=tenant_id)

    def _rewrap(self, tx: Transaction, generation: int, key: bytes) -> None:
        """Re-wraps every key under a new root, opening each again before it is trusted."""
        rewrapped: dict[bytes, bytes] = {}
        for tenant_id, wrapped in groupby(rows.list_all(tx), key=attrgetter("tenant_id")):
            old = self._root_cipher(tenant_id)
            new = RecordCipher({generation: key}, generation, vault_id=self._vault_id, tenant_id=tenant_id)
            for row in wrapped:
                try:
                    plain = _unwrap(old, row)
                except (DamagedError, RootKeyError):
                    if row.purpose != Purpose.AUDIT:
                        raise
                    rewrapped[row.id] = row.blob  # opens no more either way, and must not keep a tenant from erasure
                    continue
                rewrapped[row.id] = new.seal(Place.WRAPPED_KEY, row.id, plain, *_bound(row))
                if not hmac.compare_digest(_unwrap(new, row._replace(blob=rewrapped[row.id])), plain):
                    raise RootKeyError("The new root key does not open what it sealed.")
        rows.rewrap_all(tx, generation, rewrapped)


def root_row(provider: RootKeyProvider, generation: int, handle: Handle, now: datetime) -> rows.RootRow:
    """The row of a root generation that is about to come into force."""
    text = orjson.dumps(dict(handle)).decode("utf-8")
    return rows.RootRow(generation, provider.name, text, "creating", int(now.timestamp()))


def fresh_keys(
    root: RecordCipher, tenant_id: bytes, purposes: Iterable[Purpose], now: datetime
) -> list[rows.WrappedKeyRow]:
    """New random keys of generation 1, wrapped under a root key."""
    wrapped = []
    for purpose in purposes:
        row = rows.WrappedKeyRow(
            id=uuid4().bytes,
            tenant_id=tenant_id,
            purpose=str(purpose),
            generation=1,
            state="current",
            root_generation=root.current,
            blob=b"",
            created_at=int(now.timestamp()),
        )
        blob = root.seal(Place.WRAPPED_KEY, row.id, os.urandom(KEY_SIZE), *_bound(row))
        wrapped.append(row._replace(blob=blob))
    return wrapped


def _bound(row: rows.WrappedKeyRow) -> tuple[bytes, bytes]:
    return row.purpose.encode("ascii").ljust(ID_SIZE, b"\x00"), row.generation.to_bytes(ID_SIZE, "big")


def _unwrap(root: RecordCipher, row: rows.WrappedKeyRow) -> bytes:
    try:
        return root.open(Place.WRAPPED_KEY, row.id, row.blob, *_bound(row))
    except RecordRefusedError as error:
        # The vault's own keys are opened first: until they have been, nothing shows that the root key is right.
        if isinstance(error, WrongKeyError) and row.tenant_id == VAULT_TENANT:
            raise RootKeyError("The root key is not the one this vault was made with.") from None
        whose = "the vault itself" if row.tenant_id == VAULT_TENANT else f"tenant {UUID(bytes=row.tenant_id)}"
        message = f"Row {UUID(bytes=row.id)} of wrapped_keys, a key of {whose}, does not open: {error}."
        raise DamagedError(message) from None
