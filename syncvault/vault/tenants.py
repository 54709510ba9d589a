"""Tenants: registering, finding, changing and quarantining them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple
from uuid import UUID, uuid4

from syncvault.crypto.index import Label
from syncvault.crypto.place import Place
from syncvault.crypto.record import row_version
from syncvault.errors import BusyError, DamagedError, InputError, NotFoundError
from syncvault.policy.catalogue import DataClass
from syncvault.store import credentials as credential_rows
from syncvault.store import keys as key_rows
from syncvault.store import meta
from syncvault.store import tenants as rows
from syncvault.store.engine import Transaction
from syncvault.store.faults import ConflictError
from syncvault.store.schema import VAULT_TENANT
from syncvault.store.tenants import TenantRow
from syncvault.vault import manifest
from syncvault.vault.credentials import put_instead, sealed_credential
from syncvault.vault.model import Counts, Credential, Quarantine, Tenant, TenantProfile
from syncvault.vault.sealing import open_json, to_datetime, to_instant, to_json
from syncvault.vault.vault import Vault

LIVE: Final = "live"
KEPT_UNTIL: Final = "orphans_kept_until"  # in key_meta, as epoch seconds: written by a restore
_ORPHAN_SECONDS: Final = 3600  # keys that have had no tenant for so long are left over from a crash


class DamagedTenant(NamedTuple):
    """A tenant whose facts do not open: it can be erased on demand, and nothing else."""

    id: bytes
    message: str


class Roll(NamedTuple):
    """All tenants of a vault."""

    tenants: list[Tenant]
    damaged: list[DamagedTenant]


def register(vault: Vault, profile: TenantProfile, credential: Credential) -> Tenant:
    """Stores a new tenant with its credential: keys first, then its rows.

    Raises:
        InputError: The name is taken.
    """
    with vault.beside_others():
        _sweep(vault)
        if _row_by_name(vault, profile.name) is not None:
            raise _name_taken()
        tenant_id = uuid4().bytes
        keys = vault.keys.create_tenant(tenant_id, vault.clock())  # not `now`: what is old and has no tenant is swept
        purge_at = profile.subscription.purge_at(vault.now)
        name_ix = vault.keys.names.of(Label.TENANT_NAME, profile.name)
        row = TenantRow(
            id=tenant_id,
            kind=str(profile.kind),
            state=LIVE,
            epoch=rows.FIRST_EPOCH,
            name_ix=name_ix,
            profile=keys.cipher.seal(Place.TENANT_PROFILE, tenant_id, to_json(profile.to_dict()), name_ix),
            erasure=None,
            quarantine=None,
            quarantined_at=None,
            quarantine_advice=None,
            data_class=DataClass.TENANT_PROFILE,
            purge_at=to_instant(purge_at),
        )
        with _unique_name(), vault.write() as tx:
            rows.insert(tx, row)
            credential_rows.put(tx, sealed_credential(keys, tenant_id, credential, row.purge_at))
            counter = manifest.rebuild(tx, keys, tenant_id)
        vault.anchors.note(tenant_id, counter)
    return Tenant(tenant_id, row.epoch, profile, purge_at)


def find(vault: Vault, name: str) -> Tenant:
    """The tenant of that name.

    Raises:
        NotFoundError: There is none.
    """
    row = _row_by_name(vault, name)
    if row is None:
        raise NotFoundError(f"There is no tenant named {name}.")
    return _to_tenant(vault, row)


def find_to_erase(vault: Vault, name: str) -> Tenant:
    """The tenant of that name, also if its own records are damaged: nothing may keep it from being erased."""
    row = _row_by_name(vault, name)
    if row is None:
        raise NotFoundError(f"There is no tenant named {name}.")
    try:
        return _to_tenant(vault, row)
    except (DamagedError, NotFoundError):
        return Tenant(row.id, row.epoch, None, to_datetime(row.purge_at))


def read_again(vault: Vault, tenant: Tenant) -> Tenant:
    """The tenant as it stands now: another process may have changed it since it was read.

    Raises:
        NotFoundError: It is gone.
    """
    with vault.read() as tx:
        row = _row(tx, tenant.id)
    return _to_tenant(vault, row)


def as_of(vault: Vault, tx: Transaction, tenant: Tenant) -> Tenant:
    """The tenant as a transaction sees it; raises what `read_again` does."""
    return _to_tenant(vault, _row(tx, tenant.id))


def is_name_free(vault: Vault, name: str) -> bool:
    """Whether a tenant could be registered under this name."""
    return _row_by_name(vault, name) is None


def call_roll(vault: Vault) -> Roll:
    """All tenants by name, those in erasure last; one whose facts do not open stands apart and hides no other."""
    with vault.read() as tx:
        found = rows.list_all(tx)
    roll = Roll([], [])
    for row in found:
        try:
            roll.tenants.append(_to_tenant(vault, row))
        except (DamagedError, NotFoundError) as error:
            roll.damaged.append(DamagedTenant(row.id, f"Tenant {UUID(bytes=row.id)}: {error.message}"))
    roll.tenants.sort(key=lambda one: (one.profile is None, one.profile.name if one.profile else ""))
    return roll


def counts(vault: Vault) -> dict[bytes, Counts]:
    """How much is held for each tenant."""
    with vault.read() as tx:
        found = rows.counts(tx)
    return {
        tenant_id: Counts(held.sources, held.mailboxes, held.contacts, held.photos) for tenant_id, held in found.items()
    }


def update(
    vault: Vault,
    tenant: Tenant,
    change: Callable[[TenantProfile], TenantProfile],
    *,
    credential: Credential | None = None,
) -> Tenant:
    """Changes a tenant's facts; when its purge date moves, every row's tag moves in the same transaction.

    Args:
        vault: The vault.
        tenant: Whose facts.
        change: Makes the new facts from those that stand, which another process may have changed since they were read.
        credential: One that the new facts go with; it is put in the place of the present one, and lifts a quarantine.

    Raises:
        InputError: The new name is taken.
        BusyError: The tenant is being erased.
    """
    with _unique_name(), vault.fenced(tenant) as (tx, changes, before):
        row = _row(tx, tenant.id)
        profile = change(_facts(vault, row))
        purge_at = profile.subscription.purge_at(vault.now)
        name_ix = vault.keys.names.of(Label.TENANT_NAME, profile.name)
        plain, version = to_json(profile.to_dict()), row_version(row.profile) + 1
        keys = vault.keys.tenant(tenant.id)
        blob = keys.cipher.seal(Place.TENANT_PROFILE, tenant.id, plain, name_ix, row_version=version)
        rows.update_profile(tx, tenant.id, blob, name_ix)
        changes.gone("tenants", [row.profile])
        changes.added("tenants", [blob])
        if credential is not None:
            put_instead(tx, changes, sealed_credential(keys, tenant.id, credential, to_instant(purge_at)))
        if before != to_instant(purge_at):
            rows.retag(tx, tenant.id, to_instant(purge_at))
    quarantine = _quarantine(row) if credential is None else None
    return Tenant(tenant.id, tenant.epoch, profile, purge_at, quarantine)


def repair_tags(vault: Vault, tenant: Tenant) -> bool:
    """Brings every row's purge tag to what the sealed facts say; returns whether any was never right.

    A running paid subscription gets here when a term has ended and the next one has begun: nothing is wrong with that.
    """
    with vault.read() as tx:
        subscription = _facts(vault, _row(tx, tenant.id)).subscription
        found = set[int]().union(*rows.tags(tx, tenant.id).values())
    due = to_instant(subscription.purge_at(vault.now))
    if found == {due}:
        return False
    with vault.write() as tx:
        rows.fence(tx, tenant.id, tenant.epoch)
        rows.retag(tx, tenant.id, _purge_instant(vault, _row(tx, tenant.id)))
    return not all(subscription.explains(to_datetime(tag), vault.now) for tag in found)


def require_due(vault: Vault, tx: Transaction, tenant_id: bytes) -> None:
    """Makes sure that a tenant is due by the facts as they stand in this transaction.

    Raises:
        BusyError: It is not: it was renewed after it had been judged.
    """
    if not _facts(vault, _row(tx, tenant_id)).subscription.is_due(vault.now):
        raise BusyError("The tenant was renewed while it was about to be purged.", advice="Nothing was erased of it.")


def quarantine(vault: Vault, tenant: Tenant, *, refused: Credential, code: str, advice: str) -> None:
    """Stops pulling for a tenant until its credential is replaced, unless that has happened; the first reason stays."""
    with vault.writing(tenant) as (tx, _):
        present = credential_rows.get(tx, tenant.id)
        if present is not None and present.id == refused.id:
            rows.set_quarantine(tx, tenant.id, code, vault.instant, advice)


def _row(tx: Transaction, tenant_id: bytes) -> TenantRow:
    row = rows.get(tx, tenant_id)
    if row is None:
        raise NotFoundError("The tenant was erased meanwhile.")
    return row


def _row_by_name(vault: Vault, name: str) -> TenantRow | None:
    with vault.read() as tx:
        return rows.by_name(tx, vault.keys.names.of(Label.TENANT_NAME, name))


def _to_tenant(vault: Vault, row: TenantRow) -> Tenant:
    profile = _facts(vault, row) if row.state == LIVE else None
    return Tenant(row.id, row.epoch, profile, to_datetime(row.purge_at), _quarantine(row))


def _facts(vault: Vault, row: TenantRow) -> TenantProfile:
    cipher = vault.keys.tenant(row.id).cipher
    return TenantProfile.from_dict(open_json(cipher, Place.TENANT_PROFILE, row.id, row.profile, row.name_ix))


def _purge_instant(vault: Vault, row: TenantRow) -> int:
    return to_instant(_facts(vault, row).subscription.purge_at(vault.now))


def _quarantine(row: TenantRow) -> Quarantine | None:
    if row.quarantine is None:
        return None
    return Quarantine(row.quarantine, to_datetime(row.quarantined_at or 0), row.quarantine_advice or "")


@contextmanager
def _unique_name() -> Iterator[None]:
    # The databases report a duplicate when the transaction ends, so this goes around it.
    try:
        yield
    except ConflictError:
        raise _name_taken() from None


def _sweep(vault: Vault) -> None:
    """Removes keys that a registration left without a tenant when it was killed.

    Not for a while after a restore: whoever was registered after the backup of the rows has keys, and may come back
    with a later one.
    """
    with vault.key_data.write() as keys, vault.data.read() as tx:
        if vault.instant < meta.number(keys, KEPT_UNTIL, keys=True):
            return
        known = {row.id for row in rows.list_all(tx)} | {VAULT_TENANT}
        old = {row.tenant_id for row in key_rows.list_all(keys) if row.created_at < vault.instant - _ORPHAN_SECONDS}
        for orphan in old - known:
            key_rows.delete_of_tenant(keys, orphan)


def _name_taken() -> InputError:
    return InputError("A tenant of that name is registered already.", advice="Choose another name, or edit that one.")
