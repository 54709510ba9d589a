"""The open vault: its two databases, its locks and its key ring."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self

from syncvault.clock import Clock
from syncvault.crypto.signature import public_key_pem
from syncvault.errors import BusyError, SyncvaultError
from syncvault.policy.clock import doubt
from syncvault.store import meta
from syncvault.store import tenants as tenant_rows
from syncvault.store.engine import Database, Transaction
from syncvault.store.locks import Locks, open_locks
from syncvault.store.tenants import Standing
from syncvault.vault import layout as layouts
from syncvault.vault import manifest
from syncvault.vault.anchors import Anchors
from syncvault.vault.keyring.keys import KeyRing, TenantKeys
from syncvault.vault.keyring.roots_in_use import RootsInUse
from syncvault.vault.layout import Layout
from syncvault.vault.manifest import Changes
from syncvault.vault.model import Tenant
from syncvault.vault.sealing import to_datetime

_CLOCK: Final = "latest_time_seen"
MAINTENANCE_SECONDS: Final = 60.0  # how long an erasure waits for readers to end


class Vault:
    """An unlocked vault. One reference time serves the whole command; safe to share between threads.

    Attributes:
        id: 16 bytes.
        layout: Where it lies.
        now: The instant the command began, aware, UTC, whole seconds.
        data: The database with sealed rows.
        key_data: The database with wrapped keys.
        locks: Tenant locks and the maintenance lock.
        roots: What keeps its root keys.
        keys: The key ring.
        anchors: What the rows may not fall behind.
    """

    def __init__(
        self,
        layout: Layout,
        vault_id: bytes,
        *,
        data: Database,
        key_data: Database,
        roots: RootsInUse,
        clock: Clock,
    ) -> None:
        self.layout = layout
        self.id = vault_id
        self.data = data
        self.key_data = key_data
        self.locks: Locks = open_locks(data, layout.home)
        self.clock = clock
        self.now: datetime = clock().astimezone(UTC).replace(microsecond=0)
        self.roots = roots
        self.keys = KeyRing(vault_id, key_data, roots)
        self.anchors = Anchors(key_data)
        self._holds = threading.local()  # what this thread has of the maintenance lock, which must not be nested

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def receipt_public_key(self) -> str:
        """The public key that verifies this vault's receipts, in PEM."""
        return public_key_pem(self.keys.receipt_seed)

    @property
    def instant(self) -> int:
        """`now` as it is stored: whole seconds since 1970, UTC."""
        return int(self.now.timestamp())

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """One state of the sealed rows, to read from."""
        with self._transaction_beside_others(), self.data.read() as tx:
            yield tx

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """A transaction on the sealed rows, committed at the end of the block."""
        with self._transaction_beside_others(), self.data.write() as tx:
            yield tx

    @contextmanager
    def writing(self, tenant: Tenant) -> Iterator[tuple[Transaction, Changes]]:
        """A transaction on a tenant's rows; tell the second what it does to sealed ones.

        Raises:
            Fenced: The tenant was erased, or taken over, after it had been read.
            BusyError: Its keys were rotated after this process had got them; nothing was written.
            DamagedError: Its rows were tampered with.
        """
        with self.fenced(tenant) as (tx, changes, purge_at):
            yield tx, changes
            if purge_at != int(tenant.purge_at.timestamp()):  # the subscription changed after the tenant was read
                tenant_rows.retag(tx, tenant.id, purge_at)

    @contextmanager
    def fenced(self, tenant: Tenant) -> Iterator[tuple[Transaction, Changes, int]]:
        """What `writing` gives, and the purge date that stands, for who moves it; raises the same."""
        keys, changes, counter = self.keys.tenant(tenant.id), Changes(), None
        with self.write() as tx:
            standing = tenant_rows.fence(tx, tenant.id, tenant.epoch)
            self._refuse_old(keys, tenant.id, standing)
            yield tx, changes, standing.purge_at
            if changes or standing.data_generation is None:
                counter = manifest.update(tx, keys, tenant.id, changes, self.anchors.of(tenant.id))
        if counter is not None:
            self.anchors.note(tenant.id, counter)

    def anchor(self) -> None:
        """Writes down, outside the data, how far the tenants' rows have come; at the latest `close` does."""
        self.anchors.write_down(self.keys.provider)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Holds off every other reader and writer of the vault, to scrub it or to re-key its root."""
        with self._maintenance(exclusive=True):
            yield

    def beside_others(self) -> AbstractContextManager[None]:
        """Holds off whoever wants the vault alone."""
        return nullcontext() if getattr(self._holds, "lock", False) else self._maintenance(exclusive=False)

    def latest_time_seen(self) -> datetime | None:
        """The latest instant at which a command was at work here."""
        with self.read() as tx:
            seen = meta.number(tx, _CLOCK)
        return to_datetime(seen) if seen else None

    def note_time(self, *, confirmed: bool = False) -> None:
        """Records the present instant as seen, unless the clock is doubtful and nobody has confirmed it."""
        seen = self.latest_time_seen()
        if confirmed or (doubt(self.now, seen) is None and (seen is None or self.now > seen)):
            with self.write() as tx:
                meta.put(tx, _CLOCK, str(self.instant))

    def close(self) -> None:
        """Closes both databases and drops the keys."""
        with suppress(SyncvaultError):  # rows ahead of their anchor are as healthy as after a crash
            self.anchor()
        self.keys.close()
        self.data.close()
        self.key_data.close()
        self.locks.close()
        layouts.match_owner(self.layout.home)

    def _refuse_old(self, keys: TenantKeys, tenant_id: bytes, standing: Standing) -> None:
        """A rotation that has begun must not be followed by rows under the keys of before."""
        data, index = standing.data_generation or 0, standing.index_generation or 0
        if data > keys.cipher.current or index > keys.index_generation:
            self.keys.forget(tenant_id)
            raise BusyError("The tenant's keys were rotated meanwhile.", advice="Run the command again.")

    def _transaction_beside_others(self) -> AbstractContextManager[None]:
        # On PostgreSQL the server itself keeps a VACUUM FULL and its readers apart, row by row of the catalogue.
        return self.beside_others() if self.data.dialect == "sqlite" else nullcontext()

    @contextmanager
    def _maintenance(self, *, exclusive: bool) -> Iterator[None]:
        with self.locks.maintenance(exclusive=exclusive, timeout=MAINTENANCE_SECONDS):
            self._holds.lock = True
            try:
                yield
            finally:
                self._holds.lock = False
