"""Which keys there are, and how many rows need each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from syncvault.errors import SyncvaultError
from syncvault.store import keys as key_rows
from syncvault.store import resealing as rows
from syncvault.store import tenants as tenant_rows
from syncvault.store.keys import WrappedKeyRow
from syncvault.store.schema import VAULT_TENANT
from syncvault.vault import tenants
from syncvault.vault.keyring import rotation
from syncvault.vault.keyring.resealing import index_generations
from syncvault.vault.keyring.wrapped import Purpose
from syncvault.vault.model import Tenant
from syncvault.vault.vault import Vault

ROOT: Final = "root"


@dataclass(frozen=True, slots=True)
class KeyInUse:
    """One generation of a key.

    Attributes:
        tenant: Whose, by name, or by ID if that cannot be known; None for the vault's own.
        purpose: `root`, or what a wrapped key is for.
        generation: Which.
        state: `current` or `retired`.
        rows: How many rows are sealed, indexed or wrapped under it.
    """

    tenant: str | None
    purpose: str
    generation: int
    state: str
    rows: int


def listing(vault: Vault) -> list[KeyInUse]:
    """Every key of the vault that is not destroyed: root keys, the vault's own, the tenants'."""
    with vault.key_data.read() as tx:
        roots = [root for root in key_rows.roots(tx) if root.state in {"current", "retired"}]
        wrapped = key_rows.list_all(tx)
    under = Counter(row.root_generation for row in wrapped)
    found = [KeyInUse(None, ROOT, root.generation, root.state, under[root.generation]) for root in roots]
    of_tenant: dict[bytes, list[WrappedKeyRow]] = {}
    for row in wrapped:
        of_tenant.setdefault(row.tenant_id, []).append(row)
    found += _of_vault(vault, of_tenant.pop(VAULT_TENANT, []))
    names = {tenant.id: tenant.profile.name for tenant in tenants.call_roll(vault).tenants if tenant.profile}
    for tenant_id, own in sorted(of_tenant.items(), key=lambda each: (names.get(each[0], "~"), each[0])):
        found += _of_tenant(vault, names.get(tenant_id), tenant_id, own)
    return found


def of_tenant(vault: Vault, tenant: Tenant) -> list[KeyInUse]:
    """The keys of one tenant."""
    with vault.key_data.read() as tx:
        wrapped = key_rows.of_tenant(tx, tenant.id)
    return _of_tenant(vault, tenant.profile.name if tenant.profile else None, tenant.id, wrapped)


def _of_vault(vault: Vault, wrapped: list[WrappedKeyRow]) -> list[KeyInUse]:
    with vault.read() as tx:
        named = len(tenant_rows.list_all(tx))
    return [
        KeyInUse(None, row.purpose, row.generation, row.state, named if row.purpose == Purpose.NAMES else 0)
        for row in wrapped
    ]


def _of_tenant(vault: Vault, name: str | None, tenant_id: bytes, wrapped: list[WrappedKeyRow]) -> list[KeyInUse]:
    with vault.read() as tx:
        sealed = rows.generations(tx, tenant_id)
    counts: dict[str, Mapping[int, int]] = {Purpose.DATA: sealed, Purpose.INDEX: _indexed(vault, tenant_id, wrapped)}
    whose = name or str(UUID(bytes=tenant_id))
    return [
        KeyInUse(whose, row.purpose, row.generation, row.state, counts.get(row.purpose, {}).get(row.generation, 0))
        for row in wrapped
    ]


def _indexed(vault: Vault, tenant_id: bytes, wrapped: list[WrappedKeyRow]) -> Mapping[int, int]:
    """Rows by the generation of their blind indexes, which do not say it: counted out only while a rotation goes on."""
    try:
        if Purpose.INDEX in rotation.unfinished(vault, tenant_id):
            keys = vault.keys.tenant(tenant_id)
            with vault.read() as tx:
                return index_generations(keys, tx, tenant_id)
    except SyncvaultError:  # a key or a row does not open, which `verify` reports: this is only an overview
        pass
    current = next((row.generation for row in wrapped if (row.purpose, row.state) == (Purpose.INDEX, "current")), 0)
    with vault.read() as tx:
        return {current: rows.indexed(tx, tenant_id)}
