"""Looking contacts up by what the server calls them: a blind index, among very many rows, and the record opened."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final

from scripts.benchmarks.bare import CLASS, COLUMNS, KIND, PHOTO_DUE_AT, PURGE_AT, Bare
from scripts.benchmarks.clocks import Watch, peak_mib
from scripts.benchmarks.postgres import drop_schemas
from scripts.benchmarks.tables import show
from scripts.benchmarks.vaults import TENANT, home_in, make_vault_to_fill
from syncvault.crypto.identifiers import fresh_ids
from syncvault.crypto.index import Label
from syncvault.crypto.place import Place
from syncvault.store import contacts as contact_rows
from syncvault.store.contacts import ContactRow
from syncvault.vault import tenants
from syncvault.vault.content.diff import open_contact, open_contacts
from syncvault.vault.opening import open_vault
from syncvault.vault.vault import Vault

_PER_MAILBOX: Final = 10_000
_STORED_AT_ONCE: Final = 10_000
_ROUNDS: Final = 5
_LOOKUPS: Final = 2000  # in one round
_PLAIN: Final = b"a contact"  # short: the size of what is looked up does not matter to an index


def measure_lookups(count: int, server: str | None) -> None:
    """Shows what one takes among `count` contacts, beside the statement alone with the index known beforehand."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        make_vault_to_fill(Path(directory), max(1, count // _PER_MAILBOX), server)
        bare = Bare(Path(directory))
        with open_vault(home_in(Path(directory))) as vault:
            store = _Store(vault, bare)
            store.fill(count)
            deeds = {
                "the statement alone": store.by_statement,
                "one by one: index, transaction, statement, record opened": store.one_by_one,
                "those of a mailbox together": store.by_the_page,
            }
            taken: dict[str, list[float]] = {name: [] for name in deeds}
            for _ in range(_ROUNDS):
                chosen = [str(number) for number in random.sample(range(count), _LOOKUPS)]
                for name, look_up in deeds.items():
                    watch = Watch()
                    with watch.running():
                        found = look_up(chosen)
                    if found != _LOOKUPS:
                        raise SystemExit(f"{found} of {_LOOKUPS} contacts were found")
                    taken[name].append(watch.wall)
        bare.close()
    if server is not None:
        drop_schemas(server)
    rows = [[name, f"{median(times) / _LOOKUPS * 1e6:.0f}"] for name, times in taken.items()]
    title = f"Blind-index look-ups among {count:,} contacts, median of {_ROUNDS} rounds; peak {peak_mib():.0f} MiB"
    show(title, ["", "wall µs"], rows)


class _Store:
    """A vault's contacts, each known to the server by a number."""

    def __init__(self, vault: Vault, bare: Bare) -> None:
        self._vault, self._bare = vault, bare
        self._tenant = tenants.find(vault, TENANT)
        self._keys = vault.keys.tenant(self._tenant.id)
        self._mailbox_ids = bare.mailbox_ids
        self._statement = bare.sql(f"SELECT {COLUMNS} FROM contacts WHERE mailbox_id = ? AND remote_ix IN (?)")  # noqa: S608

    def fill(self, count: int) -> None:
        """Seals and stores contacts as a pull does, though in larger pages."""
        tenant_id, folder_id = self._tenant.id, os.urandom(16)
        for start in range(0, count, _STORED_AT_ONCE):
            remote_ids = [str(number) for number in range(start, min(start + _STORED_AT_ONCE, count))]
            places = [self._place(remote_id) for remote_id in remote_ids]
            mailbox_ids, remote_ixs = zip(*places, strict=True)
            ids, plains, folder_ids = fresh_ids(len(places)), [_PLAIN] * len(places), [folder_id] * len(places)
            blobs = self._keys.cipher.seal_rows(Place.CONTACT, ids, plains, mailbox_ids, folder_ids, remote_ixs)
            rows = [
                ContactRow(
                    row_id, tenant_id, mailbox_id, folder_id, KIND, remote_ix, blob, PHOTO_DUE_AT, CLASS, PURGE_AT
                )
                for row_id, (mailbox_id, remote_ix), blob in zip(ids, places, blobs, strict=True)
            ]
            with self._vault.writing(self._tenant) as (tx, changes):
                changes.added("contacts", blobs)
                contact_rows.insert_many(tx, rows)

    def by_statement(self, remote_ids: Sequence[str]) -> int:
        """What the database alone takes for it, without a transaction, a lock, or a record opened."""
        places = [self._place(remote_id) for remote_id in remote_ids]
        return sum(len(self._bare.query(self._statement, *place)) for place in places)

    def one_by_one(self, remote_ids: Sequence[str]) -> int:
        """A transaction for each."""
        found = 0
        for remote_id in remote_ids:
            mailbox_id, remote_ix = self._place(remote_id)
            with self._vault.read() as tx:
                row = contact_rows.by_remote(tx, mailbox_id, [remote_ix])[remote_ix]
            found += open_contact(self._keys, row) == _PLAIN
        return found

    def by_the_page(self, remote_ids: Sequence[str]) -> int:
        """As a pull looks up what a page of it brings: those of one mailbox together."""
        wanted: dict[bytes, list[bytes]] = {}
        for remote_id in remote_ids:
            mailbox_id, remote_ix = self._place(remote_id)
            wanted.setdefault(mailbox_id, []).append(remote_ix)
        found = 0
        for mailbox_id, remote_ixs in wanted.items():
            with self._vault.read() as tx:
                rows = contact_rows.by_remote(tx, mailbox_id, remote_ixs)
            found += sum(plain == _PLAIN for plain in open_contacts(self._keys, list(rows.values())))
        return found

    def _place(self, remote_id: str) -> tuple[bytes, bytes]:
        """The mailbox of a contact, and its index there."""
        mailbox_id = self._mailbox_ids[int(remote_id) % len(self._mailbox_ids)]
        return mailbox_id, self._keys.index.of(Label.ITEM, remote_id)
