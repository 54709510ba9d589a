"""The open vault: its two databases, its locks and its key ring."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self

from syncvault.clock import Clock
from syncvault.crypto.signature import public_key_pem
from syncvault.policy.clock import doubt
from syncvault.roots.port import RootKeyProvider
from syncvault.store import meta
from syncvault.store import tenants as tenant_rows
from syncvault.store.engine import Database, Transaction
from syncvault.store.locks import Locks, open_locks
from syncvault.vault import layout as layouts
from syncvault.vault.keys import KeyRing
from syncvault.vault.layout import Layout
from syncvault.vault.model import Tenant

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
        keys: The key ring.
    """

    def __init__(
        self,
        layout: Layout,
        vault_id: bytes,
        *,
        data: Database,
        key_data: Database,
        provider: RootKeyProvider,
        clock: Clock,
    ) -> None:
        self.layout = layout
        self.id = vault_id
        self.data = data
        self.key_data = key_data
        self.locks: Locks = open_locks(data, layout.home)
        self.clock = clock
        self.now: datetime = clock().astimezone(UTC).replace(microsecond=0)
        self.keys = KeyRing(vault_id, key_data, provider)
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
    def writing(self, tenant: Tenant) -> Iterator[Transaction]:
        """A transaction on a tenant's rows.

        Raises:
            Fenced: The tenant was erased, or taken over, after it had been read.
        """
        with self.write() as tx:
            purge_at = tenant_rows.fence(tx, tenant.id, tenant.epoch)
            yield tx
            if purge_at != int(tenant.purge_at.timestamp()):  # the subscription changed after the tenant had been read
                tenant_rows.retag(tx, tenant.id, purge_at)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Holds off every other reader and writer of the vault, to scrub it or to re-key its root."""
        with self._maintenance(exclusive=True):
            yield

    @contextmanager
    def beside_others(self) -> Iterator[None]:
        """Holds off whoever wants the vault alone."""
        if getattr(self._holds, "lock", False):
            yield
        else:
            with self._maintenance(exclusive=False):
                yield

    def latest_time_seen(self) -> datetime | None:
        """The latest instant at which a command was at work here."""
        with self.read() as tx:
            seen = meta.get(tx, _CLOCK)
        return None if seen is None else datetime.fromtimestamp(int(seen), UTC)

    def note_time(self, *, confirmed: bool = False) -> None:
        """Records the present instant as seen, unless the clock is doubtful and nobody has confirmed it."""
        seen = self.latest_time_seen()
        if confirmed or (doubt(self.now, seen) is None and (seen is None or self.now > seen)):
            with self.write() as tx:
                meta.put(tx, _CLOCK, str(self.instant))

    def close(self) -> None:
        """Closes both databases."""
        self.data.close()
        self.key_data.close()
        layouts.match_owner(self.layout.home)

    @contextmanager
    def _transaction_beside_others(self) -> Iterator[None]:
        # On PostgreSQL the server itself keeps a VACUUM FULL and its readers apart, row by row of the catalogue.
        if self.data.dialect != "sqlite":
            yield
        else:
            with self.beside_others():
                yield

    @contextmanager
    def _maintenance(self, *, exclusive: bool) -> Iterator[None]:
        with self.locks.maintenance(exclusive=exclusive, timeout=MAINTENANCE_SECONDS):
            self._holds.lock = True
            try:
                yield
            finally:
                self._holds.lock = False
