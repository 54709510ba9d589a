"""A tenant's manifest: how many sealed rows each table holds of it, and what they add up to.

Records vouch for themselves, but not for each other: a row that was deleted, or put back in its own older state, opens
like any other. The manifest shows that. It is a sealed row of its own, written with every commit that touches sealed
rows, and its row version counts those commits. The count is anchored in the key database (`Vault.anchor`), so that an
older manifest cannot be put back together with the rows that match it.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from syncvault.crypto.multiset import ELEMENT_SIZE, MultisetHash, Total
from syncvault.crypto.place import ID_SIZE, Place
from syncvault.crypto.record import KEY_SIZE, row_version
from syncvault.errors import DamagedError, NotFoundError
from syncvault.policy.catalogue import DataClass
from syncvault.secret import NotPicklable
from syncvault.store import manifests as rows
from syncvault.store import tenants as tenant_rows
from syncvault.store.engine import Transaction
from syncvault.store.manifests import SEALED, ManifestRow, Tags
from syncvault.vault.keyring.keys import TenantKeys
from syncvault.vault.sealing import open_json, to_json

_ADVICE: Final = "Find out who changed the database; then restore it from a backup, or delete the tenant."


class Changes:
    """What one transaction does to a tenant's sealed rows. Records, or just their tags, by table."""

    __slots__ = ("_added", "_gone", "is_due")

    def __init__(self) -> None:
        self._added: Tags = {}
        self._gone: Tags = {}
        self.is_due = False  # whether the manifest is to be sealed anew, even if no row changes

    def __bool__(self) -> bool:
        return self.is_due or bool(self._added) or bool(self._gone)

    def added(self, table: str, records: Iterable[bytes]) -> None:
        """These records are there from now on."""
        _note(self._added, table, records)

    def gone(self, table: str, records: Iterable[bytes]) -> None:
        """These records are no longer there: replaced or deleted."""
        _note(self._gone, table, records)

    def all_gone(self, tags: Tags) -> None:
        """What `gone` says, for several tables."""
        for table, records in tags.items():
            self.gone(table, records)

    def applied_to(self, totals: Mapping[str, Total], multiset: MultisetHash) -> dict[str, Total]:
        """The totals after the transaction."""
        after = dict(totals)
        for table, tags in self._added.items():
            after[table] = after[table].plus(multiset.of(tags))
        for table, tags in self._gone.items():
            after[table] = after[table].minus(multiset.of(tags))
        return after


def _note(tags: Tags, table: str, records: Iterable[bytes]) -> None:
    found = [record[-ELEMENT_SIZE:] for record in records]
    if found:
        tags.setdefault(table, []).extend(found)


@dataclass(frozen=True, slots=True)
class Manifest(NotPicklable):
    """An opened manifest.

    Attributes:
        counter: How many commits it has seen.
        key: The key of its multiset hash.
        totals: What each table holds.
    """

    counter: int
    key: bytes = field(repr=False)
    totals: Mapping[str, Total] = field(repr=False)


def read(keys: TenantKeys, row: ManifestRow) -> Manifest:
    """Opens a manifest.

    Raises:
        DamagedError: It does not open.
    """
    plain = open_json(keys.cipher, Place.MANIFEST, row.tenant_id, row.blob, *_bound(row))
    totals = {
        table: Total(each["count"], int(each["sum"][:16], 16), int(each["sum"][16:], 16))
        for table, each in plain["tables"].items()
    }
    return Manifest(row_version(row.blob), base64.b64decode(plain["key"]), totals)


def update(tx: Transaction, keys: TenantKeys, tenant_id: bytes, changes: Changes, anchor: int | None) -> int:
    """Brings the manifest up to what the transaction did; returns its counter.

    A tenant that never had one, as none of before had, gets it from the rows as they are.

    Args:
        tx: The transaction, in which all has been done, behind the tenant's fence.
        keys: The tenant's.
        tenant_id: Whose.
        changes: What was done.
        anchor: The counter that is anchored; None if none is.

    Raises:
        DamagedError: The manifest is gone, does not open, or is older than its anchor.
    """
    row = rows.get(tx, tenant_id)
    if row is None:
        if anchor is not None:
            raise DamagedError(f"The manifest of tenant {UUID(bytes=tenant_id)} is missing.", advice=_ADVICE)
        return rebuild(tx, keys, tenant_id)
    before = read(keys, row)
    if anchor is not None and before.counter < anchor:
        raise rolled_back(tenant_id)
    totals = changes.applied_to(before.totals, MultisetHash(before.key))
    return _put(tx, keys, tenant_id, row.purge_at, Manifest(before.counter + 1, before.key, totals))


def rebuild(tx: Transaction, keys: TenantKeys, tenant_id: bytes, *, counter: int = 1) -> int:
    """Makes a manifest from the rows as they are; returns its counter.

    Raises:
        NotFoundError: There is no such tenant.
    """
    tenant = tenant_rows.get(tx, tenant_id)
    if tenant is None:
        raise NotFoundError("The tenant was erased meanwhile.")
    key = os.urandom(KEY_SIZE)
    totals = totals_of(tx, tenant_id, MultisetHash(key))
    return _put(tx, keys, tenant_id, tenant.purge_at, Manifest(counter, key, totals))


def totals_of(tx: Transaction, tenant_id: bytes, multiset: MultisetHash) -> dict[str, Total]:
    """What the rows add up to, by table; reads the tags alone."""
    totals = dict.fromkeys(SEALED, Total())
    for table in SEALED:
        for tags in rows.tags_of_tenant(tx, tenant_id, table):
            totals[table] = totals[table].plus(multiset.of(tags))
    return totals


def rolled_back(tenant_id: bytes) -> DamagedError:
    """What to raise for a manifest that has counted less than its anchor."""
    whose = UUID(bytes=tenant_id)
    return DamagedError(
        f"The rows of tenant {whose} are older than what the key store has seen of them.", advice=_ADVICE
    )


def _put(tx: Transaction, keys: TenantKeys, tenant_id: bytes, purge_at: int, manifest: Manifest) -> int:
    row = ManifestRow(tenant_id, keys.cipher.current, keys.index_generation, b"", DataClass.TENANT_PROFILE, purge_at)
    tables = {
        table: {"count": total.size, "sum": f"{total.low:016x}{total.high:016x}"}
        for table, total in manifest.totals.items()
    }
    plain = to_json({"key": base64.b64encode(manifest.key).decode("ascii"), "tables": tables})
    blob = keys.cipher.seal(Place.MANIFEST, tenant_id, plain, *_bound(row), row_version=manifest.counter)
    rows.put(tx, row._replace(blob=blob))
    return manifest.counter


def _bound(row: ManifestRow) -> tuple[bytes, bytes]:
    # Nobody vouches for the columns before the record is open: they may hold anything that is a number.
    generations = (max(row.data_generation, 0), max(row.index_generation, 0))
    return generations[0].to_bytes(ID_SIZE, "big"), generations[1].to_bytes(ID_SIZE, "big")
