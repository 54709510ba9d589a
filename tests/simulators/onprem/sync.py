"""SyncFolderItems and SyncFolderHierarchy: what happened since an opaque state.

A state is either inside the first round (a base sequence and the last ID given) or after it (a sequence). It is
sealed with a key of the company, so it outlives a restart of the server, and refused when it was tampered with.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import dataclass, replace

from tests.simulators.company.model import PUBLIC, Change, ContactFolder, Item
from tests.simulators.onprem.fields import Wanted
from tests.simulators.onprem.folders import total
from tests.simulators.onprem.items import content, element
from tests.simulators.onprem.mailboxes import FolderView, Mailbox, below, hierarchy, target
from tests.simulators.onprem.shapes import folder_element, read_folder_shape, read_shape
from tests.simulators.onprem.soap import EwsError, M, failure, response, success, text, value
from tests.simulators.onprem.state import Call

MOST = 512


@dataclass(frozen=True, slots=True)
class Position:
    """Where a client stands: `cursor` is the last ID of an unfinished first round, None after it."""

    kind: str
    folder: str
    sequence: int
    cursor: str | None
    epoch: int


def seal(position: Position, key: str) -> str:
    """The position as an opaque state."""
    fields = [position.kind, position.folder, position.sequence, position.cursor, position.epoch]
    plain = json.dumps(fields).encode()
    return base64.b64encode(_mac(plain, key) + plain).decode()


def unseal(state: str, key: str, kind: str, folder: str, epoch: int) -> Position:
    """The position in a state; an error for a state that is not ours, not of this folder, or lost."""
    try:
        raw = base64.b64decode(state, validate=True)
        if not hmac.compare_digest(_mac(raw[16:], key), raw[:16]):
            raise EwsError("ErrorInvalidSyncStateData")
        position = Position(*json.loads(raw[16:]))
    except (binascii.Error, ValueError, TypeError):
        raise EwsError("ErrorInvalidSyncStateData") from None
    if (position.kind, position.folder, position.epoch) != (kind, folder, epoch):
        raise EwsError("ErrorInvalidSyncStateData")
    return position


def _mac(plain: bytes, key: str) -> bytes:
    return hmac.digest(hashlib.sha256(key.encode()).digest(), plain, "sha256")[:16]


def sync_folder_items(call: Call) -> str:
    """A page of changes of one folder."""
    try:
        return response("SyncFolderItems", [_items(call)])
    except EwsError as problem:
        return response("SyncFolderItems", [failure("SyncFolderItems", problem)])


@dataclass(frozen=True, slots=True)
class _Round:
    """One folder's changes as one request asks for them."""

    call: Call
    mailbox: Mailbox
    folder: ContactFolder
    position: Position
    most: int
    wanted: Wanted

    def at(self, sequence: int, cursor: str | None) -> Position:
        return replace(self.position, sequence=sequence, cursor=cursor)


def _items(call: Call) -> str:
    mailbox, view = _folder(call)
    if mailbox.owner == PUBLIC and not call.state.syncs_public_folders:
        raise EwsError("ErrorInvalidOperation", "Public folders cannot be synchronised.")
    key, epoch = call.state.company.directory_id, call.state.faults.sync_epoch(mailbox.address)
    # A tilde and what follows means nothing: pages that come again have states of their own (`odd_answers`).
    state = value(call.body, "m:SyncState").partition("~")[0]
    if state:
        position = unseal(state, key, "items", view.id, epoch)
    else:
        position = Position("items", view.id, call.state.company.sequence, "", epoch)
    if view.contacts is None:
        reached, changes, last = replace(position, cursor=None), "", True
    else:
        most = min(int(value(call.body, "m:MaxChangesReturned")), MOST)
        wanted = read_shape(call.body.find(f"{M}ItemShape"), light=True)
        step = _Round(call, mailbox, view.contacts, position, most, wanted)
        reached, changes, last = _delta(step) if position.cursor is None else _first_round(step)
    return _answer("SyncFolderItems", seal(reached, key), "IncludesLastItemInRange", last, changes)


def _folder(call: Call) -> tuple[Mailbox, FolderView]:
    reference = call.body.find(f"{M}SyncFolderId")
    if reference is None:
        mailbox = call.mailbox
        root = next(v for v in hierarchy(mailbox).values() if v.distinguished == "msgfolderroot")
        return mailbox, root
    try:
        return call.access.folder(target(reference), call.mailbox)
    except EwsError as problem:
        if problem.code == "ErrorFolderNotFound":
            raise EwsError("ErrorSyncFolderNotFound") from None
        raise


def _answer(operation: str, state: str, last_name: str, last: bool, changes: str) -> str:
    return success(
        operation,
        f"<m:SyncState>{text(state)}</m:SyncState><m:{last_name}>{'true' if last else 'false'}</m:{last_name}>"
        f"<m:Changes>{changes}</m:Changes>",
    )


def _first_round(step: _Round) -> tuple[Position, str, bool]:
    call, folder, cursor = step.call, step.folder, step.position.cursor or ""
    if not cursor:
        call.state.baselines.setdefault(folder.id, (call.state.company.sequence, frozenset(folder.items)))
    rest = sorted((item for item in content(step.mailbox, folder) if item.id > cursor), key=lambda item: item.id)
    shown, last = rest[: step.most], len(rest) <= step.most
    changes = "".join(f"<t:Create>{element(call, item, folder, step.wanted)}</t:Create>" for item in shown)
    return step.at(step.position.sequence, None if last else shown[-1].id), changes, last


def _delta(step: _Round) -> tuple[Position, str, bool]:
    latest: dict[str, Change] = {}
    for change in step.folder.journal:
        if change[0] > step.position.sequence:
            latest[change[1]] = change
    pending = sorted(latest.values())
    shown, last = pending[: step.most], len(pending) <= step.most
    changes = "".join(_change(step, identifier) for _, identifier, _ in shown)
    return step.at(shown[-1][0] if shown else step.position.sequence, None), changes, last


def _change(step: _Round, identifier: str) -> str:
    item: Item | None = step.folder.items.get(identifier)
    if item is None:
        return f'<t:Delete><t:ItemId Id="{text(identifier)}" ChangeKey="EgAAAA=="/></t:Delete>'
    kind = "Update" if _was_there(step.call, step.folder, identifier, step.position.sequence) else "Create"
    return f"<t:{kind}>{element(step.call, item, step.folder, step.wanted)}</t:{kind}>"


def _was_there(call: Call, folder: ContactFolder, identifier: str, since: int) -> bool:
    begun, present = call.state.baselines.get(folder.id, (0, frozenset()))
    before = [what for number, changed, what in folder.journal if changed == identifier and begun < number <= since]
    return before[-1] == "upsert" if before else identifier in present


def sync_folder_hierarchy(call: Call) -> str:
    """What happened to the folders below one."""
    try:
        return response("SyncFolderHierarchy", [_folders(call)])
    except EwsError as problem:
        return response("SyncFolderHierarchy", [failure("SyncFolderHierarchy", problem)])


def _folders(call: Call) -> str:
    mailbox, root = _folder(call)
    company, epoch = call.state.company, call.state.faults.sync_epoch(mailbox.address)
    state = value(call.body, "m:SyncState")
    wanted = read_folder_shape(call.body.find(f"{M}FolderShape"))
    views = {view.id: view for view in below(hierarchy(mailbox), root.id)}
    if state:
        position = unseal(state, company.directory_id, "folders", root.id, epoch)
        changes = "".join(_folder_changes(mailbox, views, position, wanted))
    else:
        changes = "".join(f"<t:Create>{_shown(mailbox, view, wanted)}</t:Create>" for view in views.values())
    known = ",".join(views)
    reached = Position("folders", root.id, company.sequence, known, epoch)
    return _answer(
        "SyncFolderHierarchy", seal(reached, company.directory_id), "IncludesLastFolderInRange", True, changes
    )


def _folder_changes(mailbox: Mailbox, views: dict[str, FolderView], position: Position, wanted: Wanted) -> list[str]:
    known = set((position.cursor or "").split(","))
    parts = [f"<t:Create>{_shown(mailbox, v, wanted)}</t:Create>" for v in views.values() if v.id not in known]
    touched = {identifier for number, identifier, _ in mailbox.box.journal if number > position.sequence}
    parts += [f"<t:Update>{_shown(mailbox, v, wanted)}</t:Update>" for v in views.values() if v.id in touched & known]
    gone = (identifier for identifier in sorted(known) if identifier and identifier not in views)
    return [*parts, *(f'<t:Delete><t:FolderId Id="{text(identifier)}"/></t:Delete>' for identifier in gone)]


def _shown(mailbox: Mailbox, view: FolderView, wanted: Wanted) -> str:
    return folder_element(view, wanted, total(mailbox, view))
