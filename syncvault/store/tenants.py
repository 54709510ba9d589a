"""Tenants: their rows, the fence that keeps a lost process from writing, retagging, and removal as a whole.

Surface:

    insert(tx, row: TenantRow) -> None
    get(tx, tenant_id) -> TenantRow | None
    by_name(tx, name_ix) -> TenantRow | None
    list_all(tx) -> list[TenantRow]                              ordered by id
    erasing(tx) -> list[TenantRow]                               erasures under way, to be finished
    counts(tx) -> dict[bytes, TenantCounts]
    class_counts(tx, tenant_id) -> dict[str, int]                by data class, in the plural
    fence(tx, tenant_id, epoch) -> Standing                      or Fenced; first in every write
    update_profile(tx, tenant_id, profile, name_ix) -> bool
    begin_erasure(tx, tenant_id) -> int | None                   the new epoch; None if it was not live
    set_erasure(tx, tenant_id, intent) -> None
    set_quarantine(tx, tenant_id, code, at, advice) -> None; lift_quarantine(tx, tenant_id) -> None
    retag(tx, tenant_id, purge_at) -> dict[str, int]             every row of the tenant; rows per table
    tags(tx, tenant_id, *, tables=PERSONAL_TABLES) -> dict[str, set[int]]   the purge dates found in each table
    delete_rows(tx, tenant_id, *, tables=PERSONAL_TABLES) -> dict[str, int]   children first; rows per table
    PERSONAL_TABLES                                              what delete_rows empties, in its order
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from syncvault.store.engine import Transaction
from syncvault.store.faults import Fenced
from syncvault.store.statements import changed, fetch, fetch_one, first, run, value
from syncvault.store.statements import insert as insert_rows

FIRST_EPOCH: Final = 1  # of a tenant that lives; beginning its erasure raises it


class TenantRow(NamedTuple):
    """A row of `tenants`; `profile` is sealed, `erasure` is the JSON of an erasure's intent."""

    id: bytes
    kind: str
    state: str
    epoch: int
    name_ix: bytes
    profile: bytes
    erasure: str | None
    quarantine: str | None
    quarantined_at: int | None
    quarantine_advice: str | None
    data_class: str
    purge_at: int


class Standing(NamedTuple):
    """Where a live tenant stands: its purge date, and the generations its rows are sealed and indexed under.

    The generations are None where the tenant has no manifest yet.
    """

    purge_at: int
    data_generation: int | None
    index_generation: int | None


class TenantCounts(NamedTuple):
    """How much is held for a tenant; of mailboxes those that were opened: not all that are listed can be."""

    sources: int = 0
    mailboxes: int = 0
    contacts: int = 0
    photos: int = 0


BY_TENANT: Final = "tenant_id = ?"
_BY_FOLDER: Final = "folder_id IN (SELECT id FROM folders WHERE tenant_id = ?)"

# Children before parents. `seen` has no index by tenant and is reached through its folder.
PERSONAL_TABLES: Final = (
    "photos",
    "pending_removals",
    "seen",
    "checkpoints",
    "contacts",
    "folders",
    "memberships",
    "mailboxes",
    "sources",
    "credentials",
    "manifests",
    "tenants",
)
_CLASSES: Final = {"profiles": "tenants"} | {
    table: table for table in ("credentials", "sources", "mailboxes", "folders", "contacts", "photos", "checkpoints")
}
_SCOPES: Final = dict.fromkeys(PERSONAL_TABLES, BY_TENANT) | {"seen": _BY_FOLDER, "tenants": "id = ?"}


_FENCE: Final = (
    "SELECT t.state, t.epoch, t.purge_at, m.data_generation, m.index_generation"
    " FROM tenants t LEFT JOIN manifests m ON m.tenant_id = t.id WHERE t.id = ?"
)


def insert(tx: Transaction, row: TenantRow) -> None:
    """Stores a new tenant; ConflictError if its name is taken."""
    insert_rows(tx, "tenants", [row])


def get(tx: Transaction, tenant_id: bytes) -> TenantRow | None:
    """The tenant, or None."""
    return fetch_one(tx, TenantRow, "tenants", "WHERE id = ?", tenant_id)


def by_name(tx: Transaction, name_ix: bytes) -> TenantRow | None:
    """The tenant with the blind index of this name, or None."""
    return fetch_one(tx, TenantRow, "tenants", "WHERE name_ix = ?", name_ix)


def list_all(tx: Transaction) -> list[TenantRow]:
    """All tenants, those being erased too."""
    return fetch(tx, TenantRow, "tenants", "ORDER BY id")


def erasing(tx: Transaction) -> list[TenantRow]:
    """Tenants whose erasure has begun and not ended."""
    return fetch(tx, TenantRow, "tenants", "WHERE state = 'erasing' ORDER BY id")


def counts(tx: Transaction) -> dict[bytes, TenantCounts]:
    """How much is held for each tenant that has anything."""
    found: dict[bytes, dict[str, int]] = {}
    for name in TenantCounts._fields:
        # What has no folder is a card alone: somebody of an address list, or a contact of the organisation.
        what = "count(DISTINCT mailbox_id) FROM folders" if name == "mailboxes" else f"count(*) FROM {name}"
        for tenant_id, count in run(tx, f"SELECT tenant_id, {what} GROUP BY tenant_id"):
            found.setdefault(tenant_id, {})[name] = count
    return {tenant_id: TenantCounts(**held) for tenant_id, held in found.items()}


def class_counts(tx: Transaction, tenant_id: bytes) -> dict[str, int]:
    """How much is held for one tenant of each data class that goes with it."""
    statement = "SELECT count(*) FROM {} WHERE {}"
    return {
        data_class: value(tx, statement.format(table, _SCOPES[table]), tenant_id)
        for data_class, table in _CLASSES.items()
    }


def fence(tx: Transaction, tenant_id: bytes, epoch: int) -> Standing:
    """Makes sure that the tenant is live and in this epoch, and no other's to write, until the transaction ends.

    Returns:
        Where it stands.

    Raises:
        Fenced: It is not: an erasure or a successor has taken it.
    """
    if tx.dialect.name != "sqlite":  # which lets one writer in
        # Writers of one tenant take turns: each reads what it replaces, and the manifest counts it. A statement of its
        # own, because what is read along with a lock may be as it was before the wait for it.
        first(tx, "SELECT 1 FROM tenants WHERE id = ? FOR NO KEY UPDATE", tenant_id)
    found = first(tx, _FENCE, tenant_id)
    if found is None or (found[0], found[1]) != ("live", epoch):
        raise Fenced("The tenant was erased or taken over meanwhile.")
    return Standing(*found[2:])


def update_profile(tx: Transaction, tenant_id: bytes, profile: bytes, name_ix: bytes) -> bool:
    """Replaces the sealed profile and the name's blind index; False if there is no such tenant."""
    statement = "UPDATE tenants SET profile = ?, name_ix = ? WHERE id = ?"
    return changed(tx, statement, profile, name_ix, tenant_id) == 1


def begin_erasure(tx: Transaction, tenant_id: bytes) -> int | None:
    """Fences the tenant off: from here on nobody commits to it but the erasure. None if it was not live."""
    statement = "UPDATE tenants SET state = 'erasing', epoch = epoch + 1 WHERE id = ? AND state = 'live'"
    if not changed(tx, statement, tenant_id):
        return None
    epoch: int = value(tx, "SELECT epoch FROM tenants WHERE id = ?", tenant_id)
    return epoch


def set_erasure(tx: Transaction, tenant_id: bytes, intent: str) -> None:
    """Records what the erasure's receipt will say."""
    run(tx, "UPDATE tenants SET erasure = ? WHERE id = ? AND state = 'erasing'", intent, tenant_id)


def set_quarantine(tx: Transaction, tenant_id: bytes, code: str, at: int, advice: str) -> None:
    """Stops pulling for the tenant; the first reason stays."""
    statement = (
        "UPDATE tenants SET quarantine = ?, quarantined_at = ?, quarantine_advice = ?"
        " WHERE id = ? AND quarantine IS NULL"
    )
    run(tx, statement, code, at, advice, tenant_id)


def lift_quarantine(tx: Transaction, tenant_id: bytes) -> None:
    """Lets the tenant be pulled again."""
    # Only a tenant that is in quarantine: a row that is written as it was costs a page of the log.
    statement = (
        "UPDATE tenants SET quarantine = NULL, quarantined_at = NULL, quarantine_advice = NULL"
        " WHERE id = ? AND quarantine IS NOT NULL"
    )
    changed(tx, statement, tenant_id)


def retag(tx: Transaction, tenant_id: bytes, purge_at: int) -> dict[str, int]:
    """Moves the purge date of every row of the tenant; returns how many rows of each table."""
    statement = "UPDATE {} SET purge_at = ? WHERE {}"
    return {table: changed(tx, statement.format(table, scope), purge_at, tenant_id) for table, scope in _SCOPES.items()}


def tags(tx: Transaction, tenant_id: bytes, *, tables: Sequence[str] = PERSONAL_TABLES) -> dict[str, set[int]]:
    """The purge dates that the tenant's rows carry, by table; one each, unless somebody meddled."""
    statement = "SELECT DISTINCT purge_at FROM {} WHERE {}"
    return {table: set(run(tx, statement.format(table, _SCOPES[table]), tenant_id).scalars()) for table in tables}


def delete_rows(tx: Transaction, tenant_id: bytes, *, tables: Sequence[str] = PERSONAL_TABLES) -> dict[str, int]:
    """Removes everything held for the tenant, itself last; returns how many rows of each table."""
    statement = "DELETE FROM {} WHERE {}"
    return {table: changed(tx, statement.format(table, _SCOPES[table]), tenant_id) for table in tables}
