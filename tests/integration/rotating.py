"""A tenant whose keys are rotated, and what must hold of it before, meanwhile and afterwards."""

from __future__ import annotations

from typing import Any

from syncvault.crypto.record import generation
from syncvault.store import manifests
from syncvault.store import resealing as rows
from syncvault.vault import credentials, manifest, tenants
from syncvault.vault.content import contacts, photos, sources
from syncvault.vault.model import Tenant
from syncvault.vault.vault import Vault
from tests.integration.vault_parts import rows as table

INDEXED = {"sources": (3,), "mailboxes": (2, 3), "folders": (3,), "contacts": (5,), "seen": (1,)}


def everything(vault: Vault) -> dict[str, Any]:
    """All that is stored of the tenant acme, opened."""
    tenant = tenants.find(vault, "acme")
    stored = list(contacts.stream(vault, tenant))
    return {
        "profile": tenant.profile,
        "secret": credentials.load(vault, tenant).secret.reveal(),
        "sources": [(each.id, each.kind, each.ref, each.mailboxes) for each in sources.listing(vault, tenant)],
        "mailboxes": sources.mailboxes_by_id(vault, tenant),
        "contacts": sorted((each.id, each.folder, repr(each.fields)) for each in stored),
        "photos": sorted((each.id, photos.read(vault, tenant, each.id)) for each in stored if each.has_photo),
    }


def indexes(vault: Vault) -> set[bytes]:
    """All blind indexes under the tenant's key, as they lie in the tables."""
    return {
        row[position]
        for name, positions in INDEXED.items()
        for row in table(vault.data, name)
        for position in positions
        if row[position] is not None
    }


def generations(vault: Vault) -> set[int]:
    """The key generations that the tenant's records name."""
    found = set()
    for name, columns in {**rows.SEALED, "manifests": ("blob",)}.items():
        with vault.data.read() as tx:
            for column in columns:
                found |= {generation(bytes(blob)) for (blob,) in tx.exec_driver_sql(f"SELECT {column} FROM {name}")}
    return found


def is_sound(vault: Vault, tenant: Tenant) -> bool:
    """Whether the tenant's manifest says what its rows add up to."""
    from syncvault.crypto.multiset import MultisetHash

    with vault.read() as tx:
        row = manifests.get(tx, tenant.id)
        assert row is not None
        found = manifest.read(vault.keys.tenant(tenant.id), row)
        return found.totals == manifest.totals_of(tx, tenant.id, MultisetHash(found.key))
