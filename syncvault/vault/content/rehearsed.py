"""What a rehearsed run would do to each contact: added, changed in which fields, or removed. Never content."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from syncvault.vault.content.pages import RoundState
from syncvault.vault.content.sources import StoredMailbox

ADD, CHANGE, REMOVE = "add", "change", "remove"
FOLDER, PHOTO = "folder", "photo"  # what else than its own fields can change about a contact


@dataclass(frozen=True, slots=True)
class Change:
    """What would happen to one contact; `id` is None for one that is not stored yet."""

    action: str
    kind: str
    id: bytes | None
    mailbox: StoredMailbox
    fields: tuple[str, ...] = ()


class Entry(NamedTuple):
    """A contact that came, as it would stand after the steps so far."""

    id: bytes
    folder_id: bytes | None
    digest: bytes
    is_new: bool


class Look(NamedTuple):
    """A photo that the run would look at, by the server's IDs."""

    mailbox: StoredMailbox
    folder_id: str
    item_id: str


@dataclass(slots=True)
class Folder:
    """A folder as it would stand: its checkpoint, the full round that is under way, and its name."""

    id: bytes
    token: str | None
    scope: str
    round: RoundState
    path: str
    seen: set[bytes] = field(default_factory=set)
    is_renamed: bool = False


@dataclass(slots=True)
class Box:
    """A mailbox as it would stand; `entries` holds only what came, by the index of its server ID."""

    folders: dict[str, Folder]
    entries: dict[bytes, Entry] = field(default_factory=dict)
    pending: set[bytes] = field(default_factory=set)
    looks: dict[bytes, Look | None] = field(default_factory=dict)  # by contact; None: no look, whatever was due

    def lost_photo(self, contact_id: bytes) -> bool:
        """Whether a contact came as one without a photo: what was stored of it would be gone already."""
        return contact_id in self.looks and self.looks[contact_id] is None


class Ledger:
    """Collects the changes; several mailboxes are worked on at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changes: dict[bytes, tuple[str, str, StoredMailbox, set[str]]] = {}

    def note(self, contact_id: bytes, kind: str, mailbox: StoredMailbox, fields: Set[str], *, is_new: bool) -> None:
        """How a contact would differ from what is stored; the photo's part stays as noted."""
        with self._lock:
            before = self._changes.get(contact_id)
            kept = before[3] & {PHOTO} if before else set()
            if is_new or fields or kept:
                self._changes[contact_id] = (ADD if is_new else CHANGE, kind, mailbox, set(fields) | kept)
            elif before:
                del self._changes[contact_id]

    def note_also(self, contact_id: bytes, kind: str, mailbox: StoredMailbox, name: str) -> None:
        """One more thing that would change about a contact."""
        with self._lock:
            change = self._changes.setdefault(contact_id, (CHANGE, kind, mailbox, set()))
            change[3].add(name)

    def add_to(self, contact_id: bytes, name: str) -> None:
        """One more thing about a contact that was noted before."""
        with self._lock:
            self._changes[contact_id][3].add(name)

    def has(self, contact_id: bytes) -> bool:
        """Whether anything was noted of a contact."""
        return contact_id in self._changes

    def listing(self, removed: Iterable[Change]) -> list[Change]:
        """All changes, the removals last; what would be removed does not count as changed."""
        going = {change.id: change for change in removed}
        kept = [
            Change(action, kind, None if action == ADD else contact_id, mailbox, tuple(sorted(fields)))
            for contact_id, (action, kind, mailbox, fields) in self._changes.items()
            if contact_id not in going
        ]
        return [*kept, *going.values()]


def differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> set[str]:
    """The names of the fields in which two contacts differ; values as JSON gives them."""
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
