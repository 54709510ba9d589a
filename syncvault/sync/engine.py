"""Syncs tenants side by side: each under its lock, one tenant's failure never stopping another."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final

from connectors.port import ConnectorError, CredentialRejected
from syncvault.errors import BusyError, SyncvaultError
from syncvault.policy.subscription import State
from syncvault.sync.collecting import rarely_collecting
from syncvault.sync.connect import connect
from syncvault.sync.parallel import DeadlineError, Stop, StoppedError, each
from syncvault.sync.run import TenantRun
from syncvault.sync.scope import applied_by, scope_of, selection_of, unfinished
from syncvault.sync.summary import Failure, Options, Progress, Status, Summary
from syncvault.sync.target import Target, VaultTarget
from syncvault.vault import credentials, tenants
from syncvault.vault.content import runs, sources
from syncvault.vault.content.rehearsal import Rehearsal
from syncvault.vault.keyring import rotation
from syncvault.vault.model import Credential, Tenant, TenantProfile
from syncvault.vault.vault import Vault

_log: Final = logging.getLogger(__name__)


def sync(vault: Vault, wanted: Sequence[Tenant], options: Options, progress: Progress) -> list[Summary]:
    """Runs over tenants, several at a time; returns their summaries in the order given."""
    if not options.dry_run:
        vault.note_time()
    stop = Stop(seconds=options.deadline)

    def one(tenant: Tenant) -> tuple[bytes, Summary]:
        return tenant.id, _sync_tenant(vault, tenant, options, progress, stop)

    # The small ones first: a giant that holds a worker for hours must not keep them waiting.
    held = tenants.counts(vault)
    in_turn = sorted(wanted, key=lambda tenant: held[tenant.id].contacts if tenant.id in held else 0)
    with rarely_collecting():
        outcome = dict(each(options.tenants, in_turn, one, name="tenant", stop=stop))
    return [outcome[tenant.id] for tenant in wanted]


def _sync_tenant(vault: Vault, tenant: Tenant, options: Options, progress: Progress, stop: Stop) -> Summary:
    summary = Summary(tenant.profile.name if tenant.profile else "")
    began = time.monotonic()
    progress.begin(summary.tenant)
    try:
        with rotation.taken_for_run(vault, tenant.id, stop.check):
            present = tenants.read_again(vault, tenant)
            if _may_pull(vault, present, summary):
                rotation.finish_index(vault, present)
                _run(vault, present, options, progress=progress, stop=Stop(stop), summary=summary)
    except SyncvaultError as error:
        summary.status = _status_of(error)
        summary.failures.append(Failure.of(error))
    except StoppedError:
        raise
    except Exception as error:  # noqa: BLE001  (a mistake of ours with one tenant must not stop the others)
        summary.status = Status.FAILED
        _refuse_unforeseen(summary, error)
    summary.seconds = time.monotonic() - began
    progress.end(summary.tenant, summary)
    return summary


def _may_pull(vault: Vault, tenant: Tenant, summary: Summary) -> bool:
    if tenant.profile is None:
        raise BusyError("The tenant is being erased.", advice="Nothing of it is pulled any more.")
    if tenant.facts.subscription.state(vault.now) is State.EXPIRED:
        summary.status = Status.EXPIRED
        ended = tenant.facts.subscription.cover_ends(vault.now)
        _refuse(summary, "expired", f"The subscription ended on {ended}.", "Renew it: syncvault tenant renew")
    elif tenant.quarantine is not None:
        summary.status = Status.QUARANTINED
        held = tenant.quarantine
        _refuse(
            summary, held.code, "The server refused the credential; nothing is tried until it is replaced.", held.advice
        )
    return summary.status is Status.OK


def _rolled_forward(vault: Vault, tenant: Tenant) -> Tenant:
    """Moves the tags of a running subscription whose next term has begun."""
    if tenant.purge_at == tenant.facts.subscription.purge_at(vault.now):
        return tenant
    tenants.repair_tags(vault, tenant)
    return tenants.read_again(vault, tenant)


def _run(vault: Vault, tenant: Tenant, options: Options, *, progress: Progress, stop: Stop, summary: Summary) -> None:
    selection = selection_of(tenant.facts.scope)
    if options.dry_run:
        credential = credentials.load(vault, tenant)
        rehearsal = Rehearsal(vault, tenant, scope_of(selection), selection.fields, photos=selection.photos)
        _pull(vault, tenant, credential, rehearsal, options, progress=progress, stop=stop, summary=summary)
        summary.changes = rehearsal.changes()
        return
    ready = _rolled_forward(vault, tenant)
    run_id = runs.begin(vault, ready)
    try:
        credential, target = credentials.load(vault, ready), VaultTarget(vault, ready, selection)
        before, wanted = ready.facts.scope.applied, applied_by(selection)
        if before not in {wanted, begun := unfinished(selection, before)}:
            # Should this run not end, and its wishes be taken back, the next one still has to clean up after it.
            tenants.update(vault, ready, partial(_with_applied, applied=begun))
        is_whole = _pull(vault, ready, credential, target, options, progress=progress, stop=stop, summary=summary)
        if is_whole and before != wanted:
            tenants.update(vault, ready, partial(_with_applied, applied=wanted))
    except SyncvaultError as error:
        summary.status = _status_of(error)
        with suppress(SyncvaultError):  # where the vault refuses this too, the next run records that this one ended
            runs.end(vault, run_id, str(summary.status), summary.counts())
        raise
    if summary.status is Status.QUARANTINED:
        held = summary.failures[-1]
        tenants.quarantine(vault, ready, refused=credential, code=held.code, advice=held.advice)
    runs.end(vault, run_id, str(summary.status), summary.counts())
    with suppress(SyncvaultError):  # what cannot be anchored now is when the vault is closed, or after the next run
        vault.anchor()


def _pull(
    vault: Vault,
    tenant: Tenant,
    credential: Credential,
    target: Target,
    options: Options,
    *,
    progress: Progress,
    stop: Stop,
    summary: Summary,
) -> bool:
    """Pulls, and tells whether all that is stored of the tenant is now as it is wanted."""
    registered, scope = sources.listing(vault, tenant), tenant.facts.scope
    connector = None
    try:
        connector = connect(tenant.facts, credential, sleep=stop.wait)
        run = TenantRun(
            connector,
            target,
            registered,
            options,
            selection=selection_of(scope),
            applied=scope.applied,
            summary=summary,
            progress=progress,
            stop=stop,
        )
        with stop.telling(connector.hang_up):
            return run.go()
    except CredentialRejected as error:
        summary.status = Status.QUARANTINED
        summary.failures.append(Failure.of(error))
    except ConnectorError as error:
        summary.status = Status.FAILED
        summary.failures.append(Failure.of(error))
    finally:
        if connector is not None:
            summary.requests = connector.requests
            connector.close()
    return False


def _with_applied(facts: TenantProfile, applied: str) -> TenantProfile:
    return replace(facts, scope=replace(facts.scope, applied=applied))


def _status_of(error: SyncvaultError) -> Status:
    if isinstance(error, BusyError):
        return Status.BUSY
    return Status.PARTIAL if isinstance(error, DeadlineError) else Status.FAILED


def _refuse(summary: Summary, code: str, message: str, advice: str) -> None:
    summary.failures.append(Failure(None, code, message, advice))


def _refuse_unforeseen(summary: Summary, error: Exception) -> None:
    kind = type(error).__name__
    places = (f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__))
    _log.debug("%s at %s", kind, " > ".join(places))  # not what it says: that may be personal
    advice = "This is a bug: run the command again with --debug and report what it prints."
    _refuse(summary, "internal", f"Something unforeseen happened: {kind}.", advice)
