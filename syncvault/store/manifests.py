"""Manifests: one sealed row per tenant that says what its other sealed rows add up to; and the tags they add up from.

Surface:

    get(tx, tenant_id) -> ManifestRow | None
    put(tx, row: ManifestRow) -> None
    SEALED                                                        table -> its sealed columns
    tags_of_tenant(tx, tenant_id, table) -> Iterator[list[bytes]]
    tags_of_mailboxes(tx, mailbox_ids) -> Tags                    with everything that hangs on them
    tags_of_waiting(tx, tenant_id) -> Tags                        contacts that `removals.apply` will remove
    tags_of_gone_folders(tx, tenant_id) -> Tags                   folders that `folders.delete_gone` will remove
    tags_of(tx, table, ids) -> list[bytes]                        of rows by their primary key

A tag is the last 16 bytes of a record: it changes with every sealing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from syncvault.store.engine import Transaction
from syncvault.store.folders import GONE_AND_EMPTY
from syncvault.store.removals import STILL_THERE
from syncvault.store.statements import fetch_one, in_lists, parts, run, upsert
from syncvault.store.tenants import BY_TENANT

Tags = dict[str, list[bytes]]  # by table

SEALED: Final[Mapping[str, tuple[str, ...]]] = {
    "tenants": ("profile",),
    "credentials": ("blob",),
    "sources": ("blob",),
    "mailboxes": ("blob",),
    "folders": ("blob",),
    "checkpoints": ("blob",),
    "contacts": ("blob",),
    "photos": ("details", "content"),
}
_KEYS: Final = dict.fromkeys(SEALED, "id") | {"checkpoints": "folder_id", "photos": "contact_id"}
_FETCHED: Final = 4096


class ManifestRow(NamedTuple):
    """A row of `manifests`."""

    tenant_id: bytes
    data_generation: int
    index_generation: int
    blob: bytes
    data_class: str
    purge_at: int


def get(tx: Transaction, tenant_id: bytes) -> ManifestRow | None:
    """The tenant's manifest, or None."""
    return fetch_one(tx, ManifestRow, "manifests", "WHERE tenant_id = ?", tenant_id)


def put(tx: Transaction, row: ManifestRow) -> None:
    """Stores the tenant's manifest in place of the one before."""
    upsert(tx, "manifests", "tenant_id", [row])


def tags_of_tenant(tx: Transaction, tenant_id: bytes, table: str) -> Iterator[list[bytes]]:
    """The tags of all sealed columns of one table, in parts."""
    where = "id = ?" if table == "tenants" else BY_TENANT
    for column in SEALED[table]:
        for part in parts(tx, _select(tx, table, column, where), tenant_id, size=_FETCHED):
            yield [_tag(found) for (found,) in part]


def tags_of(tx: Transaction, table: str, ids: Sequence[bytes]) -> list[bytes]:
    """The tags of those of the rows that exist."""
    return _among(tx, table, _KEYS[table], ids)


def tags_of_mailboxes(tx: Transaction, mailbox_ids: Sequence[bytes]) -> Tags:
    """The tags of mailboxes and of everything that hangs on them."""
    of_folder = "folder_id IN (SELECT id FROM folders WHERE mailbox_id IN ({}))"
    of_contact = "contact_id IN (SELECT id FROM contacts WHERE mailbox_id IN ({}))"
    scopes = {"mailboxes": "id IN ({})", "folders": "mailbox_id IN ({})", "contacts": "mailbox_id IN ({})"}
    scopes |= {"checkpoints": of_folder, "photos": of_contact}
    found: Tags = {table: [] for table in scopes}
    for marks, part in in_lists(mailbox_ids):
        for table, scope in scopes.items():
            found[table] += _where(tx, table, scope.format(marks), *part)
    return found


def tags_of_waiting(tx: Transaction, tenant_id: bytes) -> Tags:
    """The tags of the contacts that await removal, and of their photos."""
    return {
        "contacts": _where(tx, "contacts", f"id IN ({STILL_THERE})", tenant_id),
        "photos": _where(tx, "photos", f"contact_id IN ({STILL_THERE})", tenant_id),
    }


def tags_of_gone_folders(tx: Transaction, tenant_id: bytes) -> Tags:
    """The tags of the folders that are gone and empty, and of their checkpoints."""
    gone = f"SELECT id FROM folders WHERE {GONE_AND_EMPTY}"  # noqa: S608  (a constant)
    return {
        "folders": _where(tx, "folders", GONE_AND_EMPTY, tenant_id),
        "checkpoints": _where(tx, "checkpoints", f"folder_id IN ({gone})", tenant_id),
    }


def _among(tx: Transaction, table: str, key: str, ids: Sequence[bytes]) -> list[bytes]:
    found: list[bytes] = []
    for marks, part in in_lists(ids):
        found += _where(tx, table, f"{key} IN ({marks})", *part)
    return found


def _where(tx: Transaction, table: str, where: str, *values: bytes) -> list[bytes]:
    return [
        _tag(found)
        for column in SEALED[table]
        for found in run(tx, _select(tx, table, column, where), *values).scalars()
    ]


def _tag(found: object) -> bytes:
    """The tag of a record; zeros where the column holds no record, which SQLite does not prevent."""
    return found.rjust(16, b"\0") if isinstance(found, bytes) else bytes(16)


def _select(tx: Transaction, table: str, column: str, where: str) -> str:
    # PostgreSQL counts from the beginning only.
    start = "-16" if tx.dialect.name == "sqlite" else f"octet_length({column}) - 15"
    last = f"substr({column}, {start})"
    return f"SELECT {last} FROM {table} WHERE {where}"  # noqa: S608  (names are code)
