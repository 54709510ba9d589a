"""Rotating a tenant's keys: additive, beside whatever else goes on, and resumable.

The new generation is committed first. From then on the manifest keeps out whoever would still seal under the old one,
and the rows are sealed anew, a page per transaction, under the tenant's lock: it is let go between pages, so that a
run waits for a moment only. A generation is retired when no row needs it any more; it is destroyed when no backup does.

Records say which generation they need; blind indexes do not. So a run never meets indexes of two generations: whoever
takes the tenant for one finishes the rotation first. Who does not take it looks things up under all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Set
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Final, NamedTuple
from uuid import UUID

from syncvault.errors import DamagedError, InputError
from syncvault.store import keys as key_rows
from syncvault.store import manifests
from syncvault.store import resealing as rows
from syncvault.store.keys import WrappedKeyRow
from syncvault.store.locks import TenantBusyError, wait_for_tenant
from syncvault.vault import tenants
from syncvault.vault.keyring.keys import TENANT_PURPOSES
from syncvault.vault.keyring.resealing import Cursor, Page, read_page
from syncvault.vault.keyring.wrapped import Purpose
from syncvault.vault.model import Tenant
from syncvault.vault.vault import Vault

WORK: Final = "rotation"  # what the tenant's lock says of its holder
_WAIT_SECONDS: Final = 0.05
_WAIT_FOR_ROTATION_SECONDS: Final = 0.003  # shorter than a rotation's pause, so that a run meets one
_PAUSE_SECONDS: Final = 0.01

Hold = Callable[[], AbstractContextManager[None]]


class Follower(NamedTuple):
    """Who is told how a rotation goes on.

    Attributes:
        waits: The tenant is taken: by whom, in a sentence. Told once.
        done: How many rows have been looked at, of how many.
        resumes: For which keys an earlier rotation is finished, and no new one is made. Told at the beginning.
    """

    waits: Callable[[str], object]
    done: Callable[[int, int], object]
    resumes: Callable[[Set[Purpose]], object] = lambda _: None


NOBODY: Final = Follower(lambda _: None, lambda _, __: None)


class _Moved(Exception):
    """A row changed between reading and writing its page."""


def rotate(
    vault: Vault, tenant: Tenant, purposes: Set[Purpose] = frozenset(TENANT_PURPOSES), follower: Follower = NOBODY
) -> int:
    """Rotates a tenant's keys, or resumes a rotation that was interrupted; returns how many rows were sealed anew.

    Waits for runs of the tenant as long as they take.

    Args:
        vault: The vault.
        tenant: Whose keys.
        purposes: Which of them.
        follower: Who is told.

    Raises:
        Fenced: The tenant is being erased.
        DamagedError: A row does not open; the rotation can be resumed when it is put right.
    """
    hold = _patiently(vault, tenant, follower)
    with hold():
        begun = _begin(vault, tenant, purposes, follower)
    resealed = _walk(vault, tenant, begun, hold, follower)
    with hold():
        resealed += _finish(vault, tenant, begun)
    return resealed


def unfinished(vault: Vault, tenant_id: bytes) -> set[Purpose]:
    """The purposes of a tenant's keys whose rotation has begun and not ended."""
    with vault.key_data.read() as tx:
        wrapped = key_rows.of_tenant(tx, tenant_id)
    with vault.read() as tx:
        manifest = manifests.get(tx, tenant_id)
    found = {Purpose(row.purpose) for row in wrapped if row.state == "retired" and row.retired_at is None}
    current = {row.purpose: row.generation for row in wrapped if row.state == "current"}
    if manifest is not None:  # behind, if older rows were restored under the keys of today
        found |= {Purpose.DATA} if manifest.data_generation < current.get(Purpose.DATA, 0) else set()
        found |= {Purpose.INDEX} if manifest.index_generation < current.get(Purpose.INDEX, 0) else set()
    return found


@contextmanager
def taken_for_run(vault: Vault, tenant_id: bytes, check: Callable[[], None]) -> Iterator[None]:
    """The tenant's lock for a run, with its keys as they are now.

    Args:
        vault: The vault.
        tenant_id: Whose.
        check: Called while waiting for a rotation; raises to give up.

    Raises:
        BusyError: Something else than a rotation has it.
    """

    def pause() -> None:
        check()
        time.sleep(_WAIT_FOR_ROTATION_SECONDS)

    with wait_for_tenant(vault.locks, tenant_id, waits_for=lambda busy: busy.work == WORK, pause=pause):
        vault.keys.forget(tenant_id)  # those from before a rotation seal nothing any more
        yield


def finish_index(vault: Vault, tenant: Tenant) -> None:
    """Finishes a rotation of the index key, if one was interrupted, or is under way; hold the tenant's lock."""
    purposes = {Purpose.INDEX} & unfinished(vault, tenant.id)
    if purposes:
        _bump(vault, tenant)
        _finish(vault, tenant, purposes)


def destroy_expired(vault: Vault, keep: timedelta) -> int:
    """Destroys retired generations that no backup needs any more; returns how many.

    Args:
        vault: The vault.
        keep: How long backups are kept.

    Raises:
        BusyError: The key database could not be scrubbed, because somebody keeps reading it.
    """
    with vault.key_data.read() as tx:
        expired = key_rows.retired_before(tx, int((vault.now - keep).timestamp()))
    gone = [row.id for row in expired if not _is_needed(vault, row)]
    if gone:
        with vault.alone():
            with vault.key_data.write() as tx:
                key_rows.delete_many(tx, gone)
            vault.key_data.scrub(("wrapped_keys",))
    return len(gone)


def _is_needed(vault: Vault, row: WrappedKeyRow) -> bool:
    """Whether rows need a retired generation after all: an older state of them may have been put back."""
    if row.purpose in unfinished(vault, row.tenant_id):
        return True
    with vault.read() as tx:
        return row.purpose == Purpose.DATA and row.generation in rows.generations(tx, row.tenant_id)


def _begin(vault: Vault, tenant: Tenant, purposes: Set[Purpose], follower: Follower) -> set[Purpose]:
    """Makes the new generations, unless older ones are still in use; returns what is to be walked for."""
    present = tenants.read_again(vault, tenant)
    if present.profile is None:
        raise InputError("The tenant is being erased.", advice="Its keys go with it; there is nothing to rotate.")
    begun = unfinished(vault, tenant.id)
    follower.resumes(begun)
    fresh = [purpose for purpose in TENANT_PURPOSES if purpose in purposes and purpose not in begun]
    if fresh:
        with vault.beside_others():
            vault.keys.rotate(tenant.id, fresh, vault.clock())
    _bump(vault, present)
    return begun | set(purposes)


def _bump(vault: Vault, tenant: Tenant) -> None:
    """Has the manifest name the current generations: whoever still has the older keys may write no more."""
    vault.keys.forget(tenant.id)
    with vault.writing(tenant) as (_, changes):
        changes.is_due = True


def _walk(vault: Vault, tenant: Tenant, purposes: Set[Purpose], hold: Hold, follower: Follower) -> int:
    """Goes through all rows once, holding the tenant for a page at a time."""
    with vault.read() as tx:
        of = rows.count(tx, tenant.id)
    cursor: Cursor | None = Cursor()
    done = resealed = 0
    while cursor is not None:
        with hold():
            vault.keys.forget(tenant.id)
            page = _reseal(vault, tenants.read_again(vault, tenant), cursor, purposes)
        done, cursor = done + page.size, page.next
        resealed += page.changed
        follower.done(min(done, of), of)
        if page.has_effect and hold is not nullcontext:  # somebody may be waiting for the tenant
            time.sleep(_PAUSE_SECONDS)
    return resealed


def _reseal(vault: Vault, tenant: Tenant, cursor: Cursor, purposes: Set[Purpose]) -> Page:
    """Brings one page to the current generations."""
    keys = vault.keys.tenant(tenant.id)
    while True:
        with vault.read() as tx:
            page = read_page(tx, keys, tenant.id, cursor, reindex=Purpose.INDEX in purposes)
        if not page.has_effect:
            return page
        try:
            with vault.writing(tenant) as (tx, changes):
                if not page.write(tx, changes):
                    raise _Moved
        except _Moved:
            continue
        return page


def _finish(vault: Vault, tenant: Tenant, purposes: Set[Purpose]) -> int:
    """Makes sure that no row needs an older generation, and retires those; hold the tenant's lock throughout."""
    present = tenants.read_again(vault, tenant)
    resealed = 0
    while True:
        # Indexes do not say their generation: the rows are gone through again until a walk finds nothing to do.
        if Purpose.INDEX in purposes:
            while once := _walk(vault, present, purposes, nullcontext, NOBODY):
                resealed += once
        keys = vault.keys.tenant(tenant.id)
        with vault.writing(present) as (tx, _):
            named = rows.generations(tx, tenant.id).keys()
            is_done = Purpose.DATA not in purposes or named <= {keys.cipher.current}
            if is_done and Purpose.INDEX in purposes:
                rows.drop_unmatched_seen(tx, tenant.id)
        if is_done:
            vault.keys.retire(tenant.id, purposes, vault.clock())
            return resealed
        once = _walk(vault, present, purposes, nullcontext, NOBODY)
        if not once and _has_older(vault, tenant.id):
            raise DamagedError(
                f"Rows of tenant {UUID(bytes=tenant.id)} hang on nothing: the rotation cannot reach them.",
                advice="Run `syncvault verify`. The older keys stay; rotate again when the rows are put right.",
            )
        resealed += once


def _has_older(vault: Vault, tenant_id: bytes) -> bool:
    with vault.read() as tx:
        return not rows.generations(tx, tenant_id).keys() <= {vault.keys.tenant(tenant_id).cipher.current}


def _patiently(vault: Vault, tenant: Tenant, follower: Follower) -> Hold:
    told: list[str] = []

    def waits_for(busy: TenantBusyError) -> bool:
        if busy.work != WORK and not told:
            told.append(busy.message)
            follower.waits(busy.message)
        return True

    def hold() -> AbstractContextManager[None]:
        pause = lambda: time.sleep(_WAIT_SECONDS)  # noqa: E731
        return wait_for_tenant(vault.locks, tenant.id, work=WORK, waits_for=waits_for, pause=pause)

    return hold
