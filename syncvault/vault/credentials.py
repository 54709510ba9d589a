"""Credentials: one per tenant, padded so that its length tells nothing, sealed and never compressed."""

from __future__ import annotations

import dataclasses
from uuid import uuid4

import orjson

from syncvault.crypto.padding import pad, unpad
from syncvault.crypto.place import Place
from syncvault.errors import DamagedError
from syncvault.policy.catalogue import DataClass
from syncvault.store import credentials as rows
from syncvault.store import tenants as tenant_rows
from syncvault.store.credentials import CredentialRow
from syncvault.store.engine import Transaction
from syncvault.vault.keyring.keys import TenantKeys
from syncvault.vault.manifest import Changes
from syncvault.vault.model import Credential, Tenant
from syncvault.vault.sealing import open_bytes, to_instant, to_json
from syncvault.vault.vault import Vault


def load(vault: Vault, tenant: Tenant) -> Credential:
    """The credential of a tenant.

    Raises:
        DamagedError: It is missing or does not open.
    """
    with vault.read() as tx:
        row = rows.get(tx, tenant.id)
    if row is None:
        raise DamagedError("The tenant has no credential.", advice="Store one with `syncvault credential rotate`.")
    cipher = vault.keys.tenant(tenant.id).cipher
    plain = orjson.loads(unpad(open_bytes(cipher, Place.CREDENTIAL, row.id, row.blob)))
    return dataclasses.replace(Credential.from_dict(plain), id=row.id)


def replace(vault: Vault, tenant: Tenant, credential: Credential) -> None:
    """Puts another credential in the place of the present one, and lifts the tenant's quarantine."""
    row = sealed_credential(vault.keys.tenant(tenant.id), tenant.id, credential, to_instant(tenant.purge_at))
    with vault.writing(tenant) as (tx, changes):
        put_instead(tx, changes, row)


def put_instead(tx: Transaction, changes: Changes, row: CredentialRow) -> None:
    """Puts a row in the place of its tenant's present credential, within a transaction."""
    if (before := rows.get(tx, row.tenant_id)) is not None:
        changes.gone("credentials", [before.blob])
    changes.added("credentials", [row.blob])
    rows.put(tx, row)
    tenant_rows.lift_quarantine(tx, row.tenant_id)


def sealed_credential(keys: TenantKeys, tenant_id: bytes, credential: Credential, purge_at: int) -> CredentialRow:
    """The row that holds a credential."""
    row_id = uuid4().bytes
    blob = keys.cipher.seal(Place.CREDENTIAL, row_id, pad(to_json(credential.to_dict())))
    return CredentialRow(row_id, tenant_id, blob, DataClass.CREDENTIAL, purge_at)
