"""Credentials: one sealed record per tenant.

Surface:

    put(tx, row: CredentialRow) -> None          replaces the tenant's one, its id too
    get(tx, tenant_id) -> CredentialRow | None
"""

from __future__ import annotations

from typing import NamedTuple

from syncvault.store.engine import Transaction
from syncvault.store.statements import fetch_one, upsert


class CredentialRow(NamedTuple):
    """A row of `credentials`."""

    id: bytes
    tenant_id: bytes
    blob: bytes
    data_class: str
    purge_at: int


def put(tx: Transaction, row: CredentialRow) -> None:
    """Stores the tenant's credential in place of the one before."""
    upsert(tx, "credentials", "tenant_id", [row])


def get(tx: Transaction, tenant_id: bytes) -> CredentialRow | None:
    """The tenant's credential, or None."""
    return fetch_one(tx, CredentialRow, "credentials", "WHERE tenant_id = ?", tenant_id)
