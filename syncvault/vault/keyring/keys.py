"""The key ring: unlocks the vault with its root key, makes, opens, re-wraps and destroys tenant and vault keys."""

from __future__ import annotations

import hmac
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Final, NamedTuple
from uuid import UUID

from syncvault.crypto.index import BlindIndex
from syncvault.crypto.record import RecordCipher
from syncvault.errors import DamagedError, NotFoundError, RootKeyError
from syncvault.roots.port import Destruction, RootKeyProvider
from syncvault.store import keys as rows
from syncvault.store.engine import Database, Transaction
from syncvault.store.schema import VAULT_TENANT
from syncvault.vault.keyring.destruction import RootChange, may_change, not_possible_any_more, recorded
from syncvault.vault.keyring.roots_in_use import RootsInUse
from syncvault.vault.keyring.wrapped import TENANT_PURPOSES as TENANT_PURPOSES  # noqa: PLC0414  (part of this module's surface)
from syncvault.vault.keyring.wrapped import (
    VAULT_PURPOSES,
    Purpose,
    fresh_keys,
    handle_of,
    parts_of_signing_key,
    root_row,
    signing_key,
    unwrap,
    wrap,
)

IDLE_SECONDS: Final = 300.0  # a tenant's keys that nobody has used for so long are dropped from memory


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


class _Root(NamedTuple):
    """The root key in force, and what gave it."""

    provider: RootKeyProvider
    generation: int
    key: bytes


class _Held(NamedTuple):
    """Keys in memory, and when they were last used."""

    keys: TenantKeys
    used_at: float


class KeyRing:
    """The keys of an unlocked vault. Tenant keys are unwrapped at their first use, and dropped when they lie idle.

    Args:
        vault_id: 16 bytes.
        database: The key database.
        roots: What keeps the root keys.
        seconds: A clock that only goes forward.
    """

    def __init__(
        self, vault_id: bytes, database: Database, roots: RootsInUse, *, seconds: Callable[[], float] = time.monotonic
    ) -> None:
        self._vault_id = vault_id
        self._database = database
        self._roots = roots
        self._seconds = seconds
        self._lock = threading.Lock()
        self._tenants: OrderedDict[bytes, _Held] = OrderedDict()  # the longest unused first
        self._in_force: _Root | None = None  # the first keys to be opened bring it; swapped whole, for other threads
        self._vault_keys = self._open_vault_keys()
        self.names: Final = BlindIndex(self._vault_keys[Purpose.NAMES])

    def __repr__(self) -> str:
        return f"KeyRing(root={self._root.provider.name}/{self._root.generation})"

    @property
    def provider(self) -> RootKeyProvider:
        """What keeps the root key in force."""
        return self._root.provider

    @property
    def receipt_seed(self) -> bytes:
        """The seed of the key that signs receipts."""
        return parts_of_signing_key(self._vault_keys[Purpose.RECEIPT])[0]

    @property
    def unsigned_until(self) -> int | None:
        """Up to which number entries of the erasure ledger may lack a signature; None until that is settled."""
        return parts_of_signing_key(self._vault_keys[Purpose.RECEIPT])[1]

    def tenant(self, tenant_id: bytes) -> TenantKeys:
        """The keys of a tenant.

        Raises:
            NotFoundError: It has none (any more).
            DamagedError: They do not open.
        """
        with self._lock:
            self._drop_idle(IDLE_SECONDS)
            held = self._tenants.pop(tenant_id, None)
            keys = self._open_tenant_keys(tenant_id) if held is None else held.keys
            self._tenants[tenant_id] = _Held(keys, self._seconds())
            return keys

    def over(self, database: Database) -> KeyRing:
        """The keys in another copy of the key database, such as a backup, under the same root key."""
        return KeyRing(self._vault_id, database, self._roots, seconds=self._seconds)

    def damaged(self, tenant_id: bytes) -> dict[bytes, str]:
        """Those of a tenant's wrapped keys that do not open, or are not what they say: the row's ID, and why."""
        wrapped, found = self._wrapped_keys(tenant_id), {}
        root = self._root_cipher(tenant_id)
        for row in wrapped:
            if row.root_generation != root.current:
                found[row.id] = f"Row {UUID(bytes=row.id)} of wrapped_keys names another root key than that in force."
            try:
                unwrap(root, row)
            except DamagedError as error:
                found[row.id] = error.message
        return found

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
        return self._root.provider.name, self._root.generation

    def forget(self, tenant_id: bytes) -> None:
        """Drops a tenant's keys from memory."""
        with self._lock:
            self._tenants.pop(tenant_id, None)

    def close(self) -> None:
        """Drops every key from memory, and what opened the root key; nothing can be opened any more."""
        with self._lock:
            self._tenants.clear()
            self._vault_keys.clear()
            self._in_force = None
            self._roots.close()

    def drop_idle(self, seconds: float) -> None:
        """Drops the keys of tenants that nobody has used for so long; what lives long calls it now and then."""
        with self._lock:
            self._drop_idle(seconds)

    def rotate(self, tenant_id: bytes, purposes: Iterable[Purpose], now: datetime) -> None:
        """Makes the next generations of a tenant's keys the current ones, in one transaction.

        Hold the tenant's lock, and the maintenance lock shared, so that no root is re-keyed.
        """
        self._follow_root(self._current_root())
        root = self._root_cipher(tenant_id)
        with self._database.write() as tx:
            for purpose in purposes:
                latest = rows.of_purpose(tx, tenant_id, purpose)
                if latest is None:
                    raise NotFoundError("The tenant has no keys: it is erased, or being erased.")
                rows.promote(tx, fresh_keys(root, tenant_id, [purpose], now, generation=latest.generation + 1)[0])
        self.forget(tenant_id)

    def retire(self, tenant_id: bytes, purposes: Iterable[Purpose], now: datetime) -> None:
        """Records that no row needs the tenant's retired generations any more."""
        with self._database.write() as tx:
            for purpose in purposes:
                rows.set_retired(tx, tenant_id, purpose, int(now.timestamp()))

    def rekey(
        self,
        now: datetime,
        scrub: Callable[[], object],
        *,
        to: RootKeyProvider | None = None,
        before_switch: Callable[[], object] = lambda: None,
    ) -> RootChange:
        """Replaces the root key: makes a new generation, re-wraps every key in one transaction, destroys the old one.

        Hold the maintenance lock exclusively. A crash at any point leaves one root key that opens everything.

        Args:
            now: When.
            scrub: Removes what the re-wrapped rows left in the key database; called before the old root is destroyed.
            to: What makes and keeps the new generation, if not the provider that keeps the present one.
            before_switch: Called when the new generation has been made and read back, and nothing uses it yet.
        """
        self._follow_root(self._current_root())
        provider, replaced = to or self._root.provider, self._root.generation
        handle = provider.create(replaced + 1)
        key = provider.unwrap(handle)
        before_switch()
        with self._database.write() as tx:
            rows.insert_root(tx, root_row(provider, replaced + 1, handle, now))
            self._rewrap(tx, replaced + 1, key)
            rows.promote_root(tx, replaced + 1)
        self._in_force = _Root(provider, replaced + 1, key)
        scrub()
        return RootChange(provider.name, replaced + 1, replaced, self.destroy_retired_roots())

    def destroy_retired_roots(self, *, only_changed: bool = False) -> dict[int, Destruction]:
        """Has root generations that are no longer current destroyed; also finishes what a crash left undone.

        Args:
            only_changed: Whether to leave alone those that could not be destroyed as things were.
        """
        with self._database.read() as tx:
            retired = [root for root in rows.roots(tx) if root.state == "retired"]
        outcome = {root.generation: self._destroy(root) for root in retired if not only_changed or may_change(root)}
        with self._database.write() as tx:
            for generation, destruction in outcome.items():
                rows.settle_root(tx, generation, recorded(destruction))
        return outcome

    def _destroy(self, root: rows.RootRow) -> Destruction:
        keeper = self._roots.keeper_of(root)
        if keeper is not None:
            return keeper.destroy(handle_of(root))
        return not_possible_any_more(root)

    def _drop_idle(self, seconds: float) -> None:
        oldest = self._seconds() - seconds
        while self._tenants and next(iter(self._tenants.values())).used_at < oldest:
            self._tenants.popitem(last=False)

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
            return unwrap(self._root_cipher(VAULT_TENANT), row)
        except RootKeyError:  # the other keys of the vault opened, so the root key is right
            raise DamagedError("The audit key does not open.") from None

    def keep_audit_state(self, tx: Transaction, state: bytes, now: datetime) -> None:
        """Stores what signs the next audit entries in the place of what signed before."""
        self._keep(tx, Purpose.AUDIT, state, now)

    def settle_unsigned(self, tx: Transaction, until: int, now: datetime) -> None:
        """Seals up to which number ledger entries may lack a signature, beside what signs them; see `follow_root`."""
        key = signing_key(self.receipt_seed, until)
        self._keep(tx, Purpose.RECEIPT, key, now)
        self._vault_keys[Purpose.RECEIPT] = key

    def _keep(self, tx: Transaction, purpose: Purpose, key: bytes, now: datetime) -> None:
        cipher = self._root_cipher(VAULT_TENANT)
        row = rows.of_purpose(tx, VAULT_TENANT, purpose)
        if row is None:
            row = fresh_keys(cipher, VAULT_TENANT, [purpose], now)[0]
        rows.put(tx, row._replace(blob=wrap(cipher, row, key), root_generation=cipher.current))

    @property
    def _root(self) -> _Root:
        if self._in_force is None:
            raise RootKeyError("The vault is closed.")
        return self._in_force

    def _current_root(self) -> rows.RootRow | None:
        with self._database.read() as tx:
            return rows.current_root(tx)

    def _follow_root(self, root: rows.RootRow | None) -> None:
        """Gets the root key in force, unless it is at hand; outside of transactions, for it may wait for a person."""
        if root is None:
            raise RootKeyError("The key store names no root key.", advice="Restore the key store from its backup.")
        if self._in_force is None or root.generation != self._in_force.generation:
            provider = self._roots.of(root)
            self._in_force = _Root(provider, root.generation, provider.unwrap(handle_of(root)))

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
        if set(opened) != set(TENANT_PURPOSES) or not all(current for _, current in opened.values()):
            raise DamagedError(f"The key store lacks keys of tenant {UUID(bytes=tenant_id)}.")
        data, current = opened[Purpose.DATA]
        index, current_index = opened[Purpose.INDEX]
        later = partial(self._later_key, tenant_id)
        cipher = RecordCipher(data, current, vault_id=self._vault_id, tenant_id=tenant_id, later=later)
        indexes = {generation: BlindIndex(key) for generation, key in index.items()}
        return TenantKeys(cipher, indexes[current_index], current_index, indexes)

    def _later_key(self, tenant_id: bytes, generation: int) -> bytes | None:
        """A generation of a tenant's data key that was made after its keys had been opened."""
        wrapped, root = self._wrapped_keys(tenant_id), self._root_cipher(tenant_id)
        found = [row for row in wrapped if (row.purpose, row.generation) == (Purpose.DATA, generation)]
        return unwrap(root, found[0]) if found else None

    def _open_all(self, tenant_id: bytes) -> dict[str, tuple[dict[int, bytes], int]]:
        """All generations of a tenant's keys by purpose, with the current one."""
        wrapped = [row for row in self._wrapped_keys(tenant_id) if row.purpose != Purpose.AUDIT]
        if not wrapped:
            raise NotFoundError("The tenant has no keys: it is erased, or being erased.")
        root = self._root_cipher(tenant_id)
        opened: dict[str, tuple[dict[int, bytes], int]] = {}
        for row in wrapped:
            keys, current = opened.get(row.purpose, ({}, 0))
            keys[row.generation] = unwrap(root, row)
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
        root = self._root
        return RecordCipher({root.generation: root.key}, root.generation, vault_id=self._vault_id, tenant_id=tenant_id)

    def _rewrap(self, tx: Transaction, generation: int, key: bytes) -> None:
        """Re-wraps every key under a new root, opening each again before it is trusted."""
        rewrapped: dict[bytes, bytes] = {}
        for tenant_id, wrapped in groupby(rows.list_all(tx, lock=True), key=attrgetter("tenant_id")):
            old = self._root_cipher(tenant_id)
            new = RecordCipher({generation: key}, generation, vault_id=self._vault_id, tenant_id=tenant_id)
            for row in wrapped:
                try:
                    plain = unwrap(old, row)
                except (DamagedError, RootKeyError):
                    if row.purpose != Purpose.AUDIT:
                        raise
                    rewrapped[row.id] = row.blob  # opens no more either way, and must not keep a tenant from erasure
                    continue
                rewrapped[row.id] = wrap(new, row, plain)
                if not hmac.compare_digest(unwrap(new, row._replace(blob=rewrapped[row.id])), plain):
                    raise RootKeyError("The new root key does not open what it sealed.")
        rows.rewrap_all(tx, generation, rewrapped)
