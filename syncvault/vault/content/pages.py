"""Taking in what a run pulls, a page at a time: rows and the checkpoint that covers them in one transaction.

Reading, comparing and sealing happen before the write transaction: the tenant's lock keeps other runs away, and the
fence at the transaction's beginning keeps out an erasure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from uuid import uuid4

from syncvault.crypto.index import Label
from syncvault.crypto.place import Place
from syncvault.crypto.record import row_version
from syncvault.policy.catalogue import DataClass
from syncvault.store import contacts as contact_rows
from syncvault.store import folders as folder_rows
from syncvault.store import removals as removal_rows
from syncvault.store.engine import Transaction
from syncvault.store.folders import CheckpointRow, FolderRow, FolderState, SeenRow
from syncvault.store.removals import PendingRow
from syncvault.vault.content.diff import Diff, Incoming, Standing, Tally, compare, read_stored, write
from syncvault.vault.content.sources import StoredMailbox
from syncvault.vault.keyring.keys import TenantKeys
from syncvault.vault.manifest import Changes
from syncvault.vault.model import Tenant
from syncvault.vault.sealing import open_bytes, open_json, to_instant, to_json
from syncvault.vault.vault import Vault


@dataclass(frozen=True, slots=True)
class IncomingPage:
    """A page of one folder's round; see `connectors.port.Page`."""

    folder_id: str = field(repr=False)
    folder_path: str = field(repr=False)
    upserts: Sequence[Incoming]
    removals: Sequence[str]
    checkpoint: str = field(repr=False)
    last: bool


class RoundState(NamedTuple):
    """Whether a full round is under way, and whether its end removes what it did not bring."""

    is_full: bool
    sweeps: bool


def checkpoints(vault: Vault, tenant: Tenant, mailbox: StoredMailbox) -> dict[str, str]:
    """The checkpoint of each folder of a mailbox that has one, by the server's folder ID."""
    keys = vault.keys.tenant(tenant.id)
    with vault.read() as tx:
        states = folder_rows.of_mailbox(tx, mailbox.id)
    return {
        open_folder(keys, state.folder)["id"]: open_json(
            keys.cipher, Place.CHECKPOINT, state.folder.id, state.checkpoint.blob
        )["token"]
        for state in states
        if state.checkpoint is not None
    }


def open_folder(keys: TenantKeys, row: FolderRow) -> dict[str, str]:
    """A folder's server `id` and its `path`."""
    return open_json(keys.cipher, Place.FOLDER, row.id, row.blob, row.mailbox_id, row.folder_ix)


def forget_checkpoints(vault: Vault, tenant: Tenant, mailbox: StoredMailbox, folder_id: str | None = None) -> None:
    """Drops the checkpoint of one folder, or of all: they are read in full next time."""
    folder_ix = None if folder_id is None else vault.keys.tenant(tenant.id).index.of(Label.FOLDER, folder_id)
    with vault.writing(tenant) as (tx, changes):
        for state in folder_rows.of_mailbox(tx, mailbox.id):
            if state.checkpoint is not None and folder_ix in {None, state.folder.folder_ix}:
                _begin_round(tx, changes, state)


def drop_folder(vault: Vault, tenant: Tenant, mailbox: StoredMailbox, folder_id: str) -> None:
    """Marks a folder that the mailbox no longer has: its contacts await removal."""
    folder_ix = vault.keys.tenant(tenant.id).index.of(Label.FOLDER, folder_id)
    with vault.writing(tenant) as (tx, changes):
        for state in folder_rows.of_mailbox(tx, mailbox.id):
            if state.folder.folder_ix == folder_ix:
                _mark_gone(tx, changes, state)


def finish_mailbox(vault: Vault, tenant: Tenant, mailbox: StoredMailbox) -> None:
    """Marks the folders that a mailbox, pulled to its end, turned out not to have any more.

    Those are the ones without a checkpoint: whatever is there has got one from its last page, and for a folder
    whose checkpoint had been forgotten nobody could ask whether it is gone.
    """
    with vault.read() as tx:
        gone = [state for state in folder_rows.of_mailbox(tx, mailbox.id) if _is_lost(state)]
    if gone:
        with vault.writing(tenant) as (tx, changes):
            for state in gone:
                _mark_gone(tx, changes, state)


def _is_lost(state: FolderState) -> bool:
    return state.checkpoint is None and not state.folder.gone


def _mark_gone(tx: Transaction, changes: Changes, state: FolderState) -> None:
    _begin_round(tx, changes, state)
    folder_rows.set_gone(tx, state.folder.id)
    folder_rows.pend_all(tx, state.folder.id)


def _begin_round(tx: Transaction, changes: Changes, state: FolderState) -> None:
    if state.checkpoint is not None:
        changes.gone("checkpoints", [state.checkpoint.blob])
    folder_rows.begin_round(tx, state.folder.id)


_BEGINNING: Final = (None, RoundState(is_full=True, sweeps=False))  # of a folder that was never pulled


def store_page(vault: Vault, tenant: Tenant, mailbox: StoredMailbox, page: IncomingPage) -> Tally:
    """Commits a page together with its checkpoint."""
    keys = vault.keys.tenant(tenant.id)
    purge_at = to_instant(tenant.purge_at)
    with vault.read() as tx:
        state = _folder_state(tx, keys, mailbox, page.folder_id)
        reached, (is_full, sweeps) = _BEGINNING if state is None else round_state(tx, keys, state)
        latest = {keys.index.of(Label.ITEM, entry.id): entry for entry in page.upserts}
        stored = read_stored(tx, mailbox, list(latest))
        left = contact_rows.by_remote(tx, mailbox.id, [keys.index.of(Label.ITEM, item) for item in page.removals])
    folder = _folder_row(keys, tenant, mailbox, page, state)
    standing = Standing(tenant, mailbox, folder.id, purge_at=purge_at, now=vault.instant, is_full=is_full)
    diff = compare(keys, standing, latest, stored)
    pending = [
        PendingRow(row.id, tenant.id, folder.id, DataClass.CONTACT, purge_at)
        for row in left.values()
        if row.folder_id == folder.id and row.remote_ix not in latest
    ]
    is_news = diff.has_effect or pending or is_full or state is None or state.folder != folder
    if reached == page.checkpoint and not is_news:
        return diff.tally  # nothing happened: not even the checkpoint moved
    is_open = is_full and not page.last
    token = to_json({"token": page.checkpoint, "full": is_open, "sweeps": sweeps and is_open})
    checkpoint = keys.cipher.seal(Place.CHECKPOINT, folder.id, token)
    with vault.writing(tenant) as (tx, changes):
        if state is None:
            folder_rows.insert(tx, folder)
            changes.added("folders", [folder.blob])
        elif state.folder.gone or state.folder.blob != folder.blob:
            folder_rows.update(tx, folder.id, folder.blob)
            changes.gone("folders", [state.folder.blob])
            changes.added("folders", [folder.blob])
        write(tx, changes, diff)
        removal_rows.add(tx, pending)
        if sweeps:
            folder_rows.add_seen(
                tx, [SeenRow(folder.id, ix, tenant.id, DataClass.CHECKPOINT, purge_at) for ix in latest]
            )
            if page.last:
                folder_rows.pend_unseen(tx, folder.id)
                folder_rows.clear_seen(tx, folder.id)
        if state is not None and state.checkpoint is not None:
            changes.gone("checkpoints", [state.checkpoint.blob])
        changes.added("checkpoints", [checkpoint])
        folder_rows.set_checkpoint(tx, CheckpointRow(folder.id, tenant.id, checkpoint, DataClass.CHECKPOINT, purge_at))
    return diff.tally


def store_cards(vault: Vault, tenant: Tenant, cards: Sequence[tuple[StoredMailbox, Mapping[str, Any]]]) -> Tally:
    """Commits the directory entries of some mailboxes."""
    keys = vault.keys.tenant(tenant.id)
    indexed = [(mailbox, keys.index.of(Label.CARD, mailbox.key), fields) for mailbox, fields in cards]
    with vault.read() as tx:
        stored = [read_stored(tx, mailbox, [remote_ix]) for mailbox, remote_ix, _ in indexed]
    total = Diff()
    for (mailbox, remote_ix, fields), known in zip(indexed, stored, strict=True):
        standing = Standing(
            tenant, mailbox, None, purge_at=to_instant(tenant.purge_at), now=vault.instant, is_full=True
        )
        total.take_in(compare(keys, standing, {remote_ix: Incoming(mailbox.key, fields)}, known))
    if total.has_effect:
        with vault.writing(tenant) as (tx, changes):
            write(tx, changes, total)
    return total.tally


def _folder_state(tx: Transaction, keys: TenantKeys, mailbox: StoredMailbox, folder_id: str) -> FolderState | None:
    """The stored folder with this server ID, and where its round stands."""
    folder_ix = keys.index.of(Label.FOLDER, folder_id)
    states = folder_rows.of_mailbox(tx, mailbox.id)
    return next((state for state in states if state.folder.folder_ix == folder_ix), None)


def round_state(tx: Transaction, keys: TenantKeys, state: FolderState) -> tuple[str | None, RoundState]:
    """A folder's checkpoint, and where its round stands."""
    if state.checkpoint is None:
        return None, RoundState(is_full=True, sweeps=folder_rows.has_contacts(tx, state.folder.id))
    plain = open_json(keys.cipher, Place.CHECKPOINT, state.folder.id, state.checkpoint.blob)
    return plain["token"], RoundState(is_full=plain["full"], sweeps=plain["sweeps"])


def _folder_row(
    keys: TenantKeys, tenant: Tenant, mailbox: StoredMailbox, page: IncomingPage, state: FolderState | None
) -> FolderRow:
    """The folder's row: as it stands, or with its new name, or new."""
    plain = to_json({"id": page.folder_id, "path": page.folder_path})
    folder_ix = keys.index.of(Label.FOLDER, page.folder_id)
    folder_id, version = uuid4().bytes, 1
    if state is not None:
        row = state.folder
        if open_bytes(keys.cipher, Place.FOLDER, row.id, row.blob, row.mailbox_id, row.folder_ix) == plain:
            return row
        folder_id, version = row.id, row_version(row.blob) + 1
    blob = keys.cipher.seal(Place.FOLDER, folder_id, plain, mailbox.id, folder_ix, row_version=version)
    purge_at = to_instant(tenant.purge_at)
    return FolderRow(folder_id, tenant.id, mailbox.id, folder_ix, blob, 0, DataClass.MAILBOX, purge_at)
