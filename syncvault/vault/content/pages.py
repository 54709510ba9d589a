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
from syncvault.store.contacts import ContactRow
from syncvault.store.engine import Transaction
from syncvault.store.folders import CheckpointRow, FolderRow, FolderState, SeenRow
from syncvault.store.removals import PendingRow
from syncvault.vault.content.diff import Diff, Incoming, Standing, Stored, Tally, compare, read_stored, write
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
    unread: Sequence[str] = field(default=(), repr=False)


class RoundState(NamedTuple):
    """Whether a full round is under way, and whether its end removes what it did not bring."""

    is_full: bool
    sweeps: bool


def begin(
    vault: Vault, tenant: Tenant, mailboxes: Sequence[StoredMailbox], scope: str, *, anew: bool = False
) -> dict[str, dict[str, str]]:
    """Prepares the reading of mailboxes: by their keys the checkpoints to go on from, by the server's folder ID.

    Args:
        vault: The vault.
        tenant: Whose mailboxes.
        mailboxes: Which.
        scope: Names what is read of an item. Folders that were read in another scope are read in full again.
        anew: Whether to read everything in full.

    Raises:
        DamagedError: Something that is stored of one of them does not open; nothing was written.
    """
    keys = vault.keys.tenant(tenant.id)
    with vault.read() as tx:
        states = folder_rows.of_mailboxes(tx, [mailbox.id for mailbox in mailboxes])
    found, outdated = dict[str, dict[str, str]](), list[FolderState]()
    for mailbox in mailboxes:
        checkpoints = found[mailbox.key] = {}
        for state in states.get(mailbox.id, []):
            if state.checkpoint is not None:
                plain = open_checkpoint(keys, state.checkpoint)
                if anew or plain["scope"] != scope:
                    outdated.append(state)
                else:
                    checkpoints[open_folder(keys, state.folder)["id"]] = plain["token"]
    if outdated:
        with vault.writing(tenant) as (tx, changes):
            for state in outdated:
                _begin_round(tx, changes, state)
    return found


def with_folders(vault: Vault, tenant: Tenant) -> set[bytes]:
    """The mailboxes of which folders are stored, be they gone."""
    with vault.read() as tx:
        return folder_rows.mailboxes(tx, tenant.id)


def was_read(vault: Vault, mailbox: StoredMailbox) -> bool:
    """Whether a mailbox was there before: folders of it are known, be it without a checkpoint."""
    with vault.read() as tx:
        return bool(folder_rows.of_mailbox(tx, mailbox.id))


def open_checkpoint(keys: TenantKeys, row: CheckpointRow) -> dict[str, Any]:
    """A checkpoint's `token` and `scope`, and where the round stands: `full`, `sweeps`."""
    plain: dict[str, Any] = open_json(keys.cipher, Place.CHECKPOINT, row.folder_id, row.blob)
    return {"scope": "", **plain}  # the first ones say none


def open_folder(keys: TenantKeys, row: FolderRow) -> dict[str, str]:
    """A folder's server `id` and its `path`."""
    return open_json(keys.cipher, Place.FOLDER, row.id, row.blob, row.mailbox_id, row.folder_ix)


def forget_checkpoint(vault: Vault, tenant: Tenant, mailbox: StoredMailbox, folder_id: str) -> None:
    """Drops a folder's checkpoint: it is read in full next time."""
    folder_ix = vault.keys.tenant(tenant.id).index.of(Label.FOLDER, folder_id)
    with vault.writing(tenant) as (tx, changes):
        for state in folder_rows.of_mailbox(tx, mailbox.id):
            if state.checkpoint is not None and state.folder.folder_ix == folder_ix:
                _begin_round(tx, changes, state)


def drop_folder(vault: Vault, tenant: Tenant, mailbox: StoredMailbox, folder_id: str) -> None:
    """Marks a folder that the mailbox no longer has: its contacts await removal."""
    folder_ix = vault.keys.tenant(tenant.id).index.of(Label.FOLDER, folder_id)
    with vault.writing(tenant) as (tx, changes):
        for state in folder_rows.of_mailbox(tx, mailbox.id):
            if state.folder.folder_ix == folder_ix:
                _mark_gone(tx, changes, state)


def finish(vault: Vault, tenant: Tenant, mailboxes: Sequence[StoredMailbox]) -> None:
    """Marks the folders that mailboxes, read to their end, turned out not to have any more.

    Those are the ones without a checkpoint: whatever is there has got one from its last page, and for a folder
    whose checkpoint had been forgotten nobody could ask whether it is gone.
    """
    with vault.read() as tx:
        found = folder_rows.of_mailboxes(tx, [mailbox.id for mailbox in mailboxes])
    gone = [state for states in found.values() for state in states if _is_lost(state)]
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


# SQLite's driver binds exact strings without looking for an adapter.
_CONTACT_CLASS: Final = DataClass.CONTACT.value
_CHECKPOINT_CLASS: Final = DataClass.CHECKPOINT.value
_FOLDER_CLASS: Final = DataClass.MAILBOX.value
_BEGINNING: Final = (None, RoundState(is_full=True, sweeps=False))  # of a folder that was never pulled


class _Reading(NamedTuple):
    """A page, and what is stored before it: its folder, where the round stands, and the items that it names.

    `folder_ix` is the index of the server's folder ID. `renamed` counts the contacts of a folder that the page calls by
    another name.
    """

    mailbox: StoredMailbox
    page: IncomingPage
    folder_ix: bytes
    state: FolderState | None
    reached: str | None
    round: RoundState
    renamed: int
    latest: dict[bytes, Incoming]
    unread: list[bytes]
    stored: dict[bytes, Stored]
    left: list[ContactRow]


class _Work(NamedTuple):
    """What a page comes to, ready to be written; the checkpoint is still to be sealed."""

    reading: _Reading
    folder: FolderRow
    diff: Diff
    pending: list[PendingRow]
    checkpoint: bytes


def store_pages(vault: Vault, tenant: Tenant, came: Sequence[tuple[StoredMailbox, IncomingPage]], scope: str) -> Tally:
    """Commits pages of different mailboxes together with their checkpoints, in one transaction.

    Raises:
        DamagedError: Something stored that a page is compared with does not open; nothing was written.
    """
    keys = vault.keys.tenant(tenant.id)
    with vault.read() as tx:
        states = folder_rows.of_mailboxes(tx, [mailbox.id for mailbox, _ in came])
        readings = [_read(tx, keys, mailbox, page, states.get(mailbox.id, [])) for mailbox, page in came]
    total, works = Tally(), list[_Work]()
    for reading in readings:
        work = _compared(vault, tenant, keys, reading, scope)
        total.take_in(work.diff.tally)
        if _is_news(work):
            works.append(work)
    if works:
        checkpoints = _sealed_checkpoints(keys, tenant, works)
        with vault.writing(tenant) as (tx, changes):
            _write(tx, changes, works, checkpoints)
    return total


def _read(
    tx: Transaction, keys: TenantKeys, mailbox: StoredMailbox, page: IncomingPage, states: Sequence[FolderState]
) -> _Reading:
    folder_ix = keys.index.of(Label.FOLDER, page.folder_id)
    state = next((one for one in states if one.folder.folder_ix == folder_ix), None)
    reached, progress = _BEGINNING if state is None else round_state(tx, keys, state)
    renamed = 0
    if state is not None and open_folder(keys, state.folder)["path"] != page.folder_path:
        renamed = folder_rows.count_contacts(tx, state.folder.id)
    latest = {keys.index.of(Label.ITEM, entry.id): entry for entry in page.upserts}
    unread = [keys.index.of(Label.ITEM, item) for item in page.unread]
    if not states:  # nothing of the mailbox is stored yet
        return _Reading(mailbox, page, folder_ix, None, reached, progress, renamed, latest, unread, {}, [])
    left = contact_rows.by_remote(tx, mailbox.id, [keys.index.of(Label.ITEM, item) for item in page.removals])
    stored = read_stored(tx, mailbox, list(latest))
    gone = list(left.values())
    return _Reading(mailbox, page, folder_ix, state, reached, progress, renamed, latest, unread, stored, gone)


def _compared(vault: Vault, tenant: Tenant, keys: TenantKeys, reading: _Reading, scope: str) -> _Work:
    page = reading.page
    purge_at = to_instant(tenant.purge_at)
    is_full, sweeps = reading.round
    folder = _folder_row(keys, tenant, reading)
    standing = Standing(tenant, reading.mailbox, folder.id, purge_at=purge_at, now=vault.instant)
    pending = [
        PendingRow(row.id, tenant.id, folder.id, _CONTACT_CLASS, purge_at)
        for row in reading.left
        if row.folder_id == folder.id and row.remote_ix not in reading.latest
    ]
    diff = compare(keys, standing, reading.latest, reading.stored)
    if reading.renamed:
        _count_renamed(diff, reading, folder.id, leaving=len(pending))
    is_open = is_full and not page.last
    token = to_json({"token": page.checkpoint, "full": is_open, "sweeps": sweeps and is_open, "scope": scope})
    return _Work(reading, folder, diff, pending, token)


def _sealed_checkpoints(keys: TenantKeys, tenant: Tenant, works: Sequence[_Work]) -> list[CheckpointRow]:
    folder_ids = [work.folder.id for work in works]
    sealed = keys.cipher.seal_rows(Place.CHECKPOINT, folder_ids, [work.checkpoint for work in works])
    purge_at = to_instant(tenant.purge_at)
    return [
        CheckpointRow(folder_id, tenant.id, blob, _CHECKPOINT_CLASS, purge_at)
        for folder_id, blob in zip(folder_ids, sealed, strict=True)
    ]


def _count_renamed(diff: Diff, reading: _Reading, folder_id: bytes, *, leaving: int) -> None:
    """Counts the contacts that stay in a renamed folder as changed."""
    stored = reading.stored.values()
    here = {entry.row.id for entry in stored if entry.row.folder_id == folder_id and not entry.is_pending}
    counted = sum(change.id in here for change in diff.changes)
    diff.tally.changed += reading.renamed - leaving - counted
    diff.tally.unchanged -= len(here) - counted


def _is_news(work: _Work) -> bool:
    """Whether anything happened; else not even the checkpoint moved."""
    reading = work.reading
    if work.diff.has_effect or work.pending or reading.round.is_full or reading.reached != reading.page.checkpoint:
        return True
    return reading.state is None or reading.state.folder != work.folder


def _write(tx: Transaction, changes: Changes, works: Sequence[_Work], checkpoints: Sequence[CheckpointRow]) -> None:
    """Writes what pages came to, table by table: a statement over many rows costs little more than over one."""
    fresh = [work.folder for work in works if work.reading.state is None]
    folder_rows.insert(tx, *fresh)
    changes.added("folders", [folder.blob for folder in fresh])
    total = Diff()
    for work in works:
        _rewrite_folder(tx, changes, work)
        total.take_in(work.diff)
    write(tx, changes, total)
    removal_rows.add(tx, [row for work in works for row in work.pending])
    for work, checkpoint in zip(works, checkpoints, strict=True):
        if work.reading.round.sweeps:
            _sweep(tx, work, checkpoint)
    replaced = [work.reading.state.checkpoint for work in works if work.reading.state is not None]
    changes.gone("checkpoints", [checkpoint.blob for checkpoint in replaced if checkpoint is not None])
    changes.added("checkpoints", [checkpoint.blob for checkpoint in checkpoints])
    folder_rows.set_checkpoint(tx, *checkpoints)


def _rewrite_folder(tx: Transaction, changes: Changes, work: _Work) -> None:
    """Writes a folder that has another name, or is back."""
    state, folder = work.reading.state, work.folder
    if state is not None and (state.folder.gone or state.folder.blob != folder.blob):
        folder_rows.update(tx, folder.id, folder.blob)
        changes.gone("folders", [state.folder.blob])
        changes.added("folders", [folder.blob])


def _sweep(tx: Transaction, work: _Work, checkpoint: CheckpointRow) -> None:
    """Notes what a full round has seen; at its end, what it has not seen awaits removal."""
    folder_id, tenant_id, _, data_class, purge_at = checkpoint
    seen = (*work.reading.latest, *work.reading.unread)
    folder_rows.add_seen(tx, [SeenRow(folder_id, ix, tenant_id, data_class, purge_at) for ix in seen])
    if work.reading.page.last:
        folder_rows.pend_unseen(tx, folder_id)
        folder_rows.clear_seen(tx, folder_id)


def store_cards(vault: Vault, tenant: Tenant, cards: Sequence[tuple[StoredMailbox, Mapping[str, Any]]]) -> Tally:
    """Commits the directory entries of some mailboxes; contacts of the organisation have no photos."""
    keys = vault.keys.tenant(tenant.id)
    indexed = [(mailbox, keys.index.of(Label.CARD, mailbox.key), fields) for mailbox, fields in cards]
    with vault.read() as tx:
        stored = [read_stored(tx, mailbox, [remote_ix]) for mailbox, remote_ix, _ in indexed]
    total = Diff()
    for (mailbox, remote_ix, fields), known in zip(indexed, stored, strict=True):
        standing = Standing(tenant, mailbox, None, purge_at=to_instant(tenant.purge_at), now=vault.instant)
        entry = Incoming(mailbox.key, fields, has_photo=None if mailbox.kind.may_have_photo else False)
        total.take_in(compare(keys, standing, {remote_ix: entry}, known))
    if total.has_effect:
        with vault.writing(tenant) as (tx, changes):
            write(tx, changes, total)
    return total.tally


def round_state(tx: Transaction, keys: TenantKeys, state: FolderState) -> tuple[str | None, RoundState]:
    """A folder's checkpoint, and where its round stands."""
    if state.checkpoint is None:
        return None, RoundState(is_full=True, sweeps=folder_rows.has_contacts(tx, state.folder.id))
    plain = open_checkpoint(keys, state.checkpoint)
    return plain["token"], RoundState(is_full=plain["full"], sweeps=plain["sweeps"])


def _folder_row(keys: TenantKeys, tenant: Tenant, reading: _Reading) -> FolderRow:
    """The folder's row: as it stands, or with its new name, or new."""
    plain = to_json({"id": reading.page.folder_id, "path": reading.page.folder_path})
    folder_id, version = uuid4().bytes, 1
    if reading.state is not None:
        row = reading.state.folder
        if open_bytes(keys.cipher, Place.FOLDER, row.id, row.blob, row.mailbox_id, row.folder_ix) == plain:
            return row
        folder_id, version = row.id, row_version(row.blob) + 1
    bound = (reading.mailbox.id, reading.folder_ix)
    blob = keys.cipher.seal(Place.FOLDER, folder_id, plain, *bound, row_version=version)
    return FolderRow(folder_id, tenant.id, *bound, blob, 0, _FOLDER_CLASS, to_instant(tenant.purge_at))
