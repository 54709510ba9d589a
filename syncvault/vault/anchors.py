"""Anchors: how far each tenant's manifest has counted, kept outside the database that holds the manifests.

They follow the commits and are not part of them: a process notes what it has committed, and writes it down when it
is done. So a crash leaves the rows ahead of their anchor, which is healthy; rows behind it were put back.

What writes them down is counted too. A provider that can hold a value holds that count, so that the key store itself
cannot be put back unnoticed.
"""

from __future__ import annotations

import threading
from typing import Final

from syncvault.roots.port import Held, RootKeyProvider, ValueHolder
from syncvault.store import anchors as rows
from syncvault.store import meta
from syncvault.store.engine import Database, Transaction

COUNT: Final = "anchored"  # in key_meta: how often anchors were written down


class Anchors:
    """The anchors of one vault's tenants, as this process knows them. Safe to share between threads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._known: dict[bytes, int | None] = {}
        self._noted: dict[bytes, int] = {}

    def of(self, tenant_id: bytes) -> int | None:
        """The tenant's anchor as this process first found it, which is all that a commit has to reach."""
        with self._lock:
            if tenant_id not in self._known:
                with self._database.read() as tx:
                    self._known[tenant_id] = rows.get(tx, tenant_id)
            return self._known[tenant_id]

    def note(self, tenant_id: bytes, counter: int) -> None:
        """Remembers a commit, to be written down later."""
        with self._lock:
            self._noted[tenant_id] = max(counter, self._noted.get(tenant_id, 0))

    def write_down(self, provider: RootKeyProvider) -> None:
        """Writes down what was noted.

        Raises:
            SyncvaultError: The key database or the provider refuses; it stays noted.
        """
        with self._lock:
            noted, self._noted = self._noted, {}
        if not noted:
            return
        try:
            with self._database.write() as tx:
                rows.advance(tx, noted)
                count = next_count(tx)
        except BaseException:
            for tenant_id, counter in noted.items():
                self.note(tenant_id, counter)
            raise
        hold(provider, Held.COUNT, count)

    def forget(self, tenant_id: bytes) -> None:
        """Drops what is known of a tenant that is erased."""
        with self._lock:
            self._known.pop(tenant_id, None)
            self._noted.pop(tenant_id, None)


def hold(provider: RootKeyProvider, what: Held, value: int) -> None:
    """Has the provider hold a number, if it can. One that it holds and that is higher shows a key store put back.

    Raises:
        RootKeyError: The place cannot be reached, or holds something else.
    """
    if isinstance(provider, ValueHolder) and (provider.held(what) or 0) < value:
        provider.hold(what, value)


def held(provider: RootKeyProvider, what: Held) -> int | None:
    """The number that the provider holds; None if it holds none, or cannot.

    Raises:
        RootKeyError: The place cannot be reached, or holds something else.
    """
    return provider.held(what) if isinstance(provider, ValueHolder) else None


def next_count(tx: Transaction) -> int:
    """Counts one more writing down."""
    count = meta.number(tx, COUNT, keys=True) + 1
    meta.put(tx, COUNT, str(count), keys=True)
    return count
