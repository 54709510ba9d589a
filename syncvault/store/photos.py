"""Photos: at most one per contact, its details (digest, etag) apart from its content.

Surface:

    put_many(tx, rows: Sequence[PhotoRow]) -> int
    get(tx, tenant_id, contact_id) -> PhotoRow | None
    of_contacts(tx, contact_ids) -> list[PhotoRow]            those that have one
    details(tx, contact_ids) -> dict[bytes, bytes]            by contact id; those without a photo left out
    set_details(tx, contact_id, details) -> bool
    delete(tx, contact_ids) -> int
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from syncvault.store.engine import Transaction
from syncvault.store.statements import changed, fetch, fetch_one, in_lists, run_many, upsert


class PhotoRow(NamedTuple):
    """A row of `photos`."""

    contact_id: bytes
    tenant_id: bytes
    details: bytes
    content: bytes
    data_class: str
    purge_at: int


class _Details(NamedTuple):
    contact_id: bytes
    details: bytes


def put_many(tx: Transaction, rows: Sequence[PhotoRow]) -> int:
    """Stores photos in place of those before."""
    return upsert(tx, "photos", "contact_id", rows)


def get(tx: Transaction, tenant_id: bytes, contact_id: bytes) -> PhotoRow | None:
    """The photo of the tenant's contact, or None."""
    return fetch_one(tx, PhotoRow, "photos", "WHERE contact_id = ? AND tenant_id = ?", contact_id, tenant_id)


def of_contacts(tx: Transaction, contact_ids: Sequence[bytes]) -> list[PhotoRow]:
    """The photos of those contacts that have one, whole."""
    found: dict[bytes, PhotoRow] = {}
    for marks, part in in_lists(contact_ids):
        rows = fetch(tx, PhotoRow, "photos", f"WHERE contact_id IN ({marks})", *part)
        found.update((row.contact_id, row) for row in rows)
    return list(found.values())


def details(tx: Transaction, contact_ids: Sequence[bytes]) -> dict[bytes, bytes]:
    """The sealed details of those contacts that have a photo."""
    found: dict[bytes, bytes] = {}
    for marks, part in in_lists(contact_ids):
        found.update(fetch(tx, _Details, "photos", f"WHERE contact_id IN ({marks})", *part))
    return found


def set_details(tx: Transaction, contact_id: bytes, sealed: bytes) -> bool:
    """Replaces the details of a photo whose content stays; False if there is none."""
    return changed(tx, "UPDATE photos SET details = ? WHERE contact_id = ?", sealed, contact_id) == 1


def delete(tx: Transaction, contact_ids: Sequence[bytes]) -> int:
    """Removes the photos of contacts."""
    return run_many(tx, "DELETE FROM photos WHERE contact_id = ?", [(contact_id,) for contact_id in contact_ids])
