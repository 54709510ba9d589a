"""Where a run's findings go. The engine speaks to this; a rehearsal puts something else in its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, Protocol

from connectors.selection import Selection
from syncvault.sync.scope import scope_of
from syncvault.vault.content import minimising, pages, photos, removals, sources
from syncvault.vault.content.diff import Tally
from syncvault.vault.content.minimising import Minimised
from syncvault.vault.content.pages import IncomingPage
from syncvault.vault.content.photos import DuePhoto, LookedAt
from syncvault.vault.content.removals import Outlook
from syncvault.vault.content.sources import Named, StoredMailbox
from syncvault.vault.model import Tenant
from syncvault.vault.vault import Vault


class Target(Protocol):
    """What a run of one tenant asks and tells; called from several threads, each with mailboxes of its own."""

    def name_mailboxes(self, source_id: bytes, named: Sequence[Named]) -> list[bytes]:
        """See `vault.sources.name_mailboxes`."""

    def finish_source(self, source_id: bytes, named: Set[bytes]) -> None:
        """See `vault.sources.finish_source`."""

    def to_pull(self) -> list[StoredMailbox]:
        """See `vault.sources.to_pull`."""

    def begin(self, mailboxes: Sequence[StoredMailbox], *, anew: bool) -> Mapping[str, Mapping[str, str]]:
        """See `vault.pages.begin`."""

    def left(self) -> set[bytes]:
        """See `vault.sources.left`."""

    def with_folders(self) -> set[bytes]:
        """See `vault.pages.with_folders`."""

    def was_read(self, mailbox: StoredMailbox) -> bool:
        """See `vault.pages.was_read`."""

    def forget_checkpoint(self, mailbox: StoredMailbox, folder_id: str) -> None:
        """See `vault.pages.forget_checkpoint`."""

    def drop_folder(self, mailbox: StoredMailbox, folder_id: str) -> None:
        """See `vault.pages.drop_folder`."""

    def finish(self, mailboxes: Sequence[StoredMailbox]) -> None:
        """See `vault.pages.finish`."""

    def store_pages(self, came: Sequence[tuple[StoredMailbox, IncomingPage]]) -> Tally:
        """See `vault.pages.store_pages`."""

    def store_cards(self, cards: Sequence[tuple[StoredMailbox, Mapping[str, Any]]]) -> Tally:
        """See `vault.pages.store_cards`."""

    def due_photos(self, *, everything: bool) -> Iterator[list[DuePhoto]]:
        """See `vault.photos.due`."""

    def store_photos(self, looks: Sequence[LookedAt]) -> int:
        """See `vault.photos.store`."""

    def minimise(self) -> Minimised:
        """See `vault.minimising.apply`."""

    def release(self, closed: Set[bytes]) -> int:
        """See `vault.removals.release`."""

    def outlook(self, unread: Set[bytes] = frozenset()) -> Outlook:
        """See `vault.removals.outlook`."""

    def apply(self, unread: Set[bytes]) -> int:
        """See `vault.removals.apply`."""


class VaultTarget:
    """The vault itself."""

    def __init__(self, vault: Vault, tenant: Tenant, selection: Selection) -> None:
        self._vault = vault
        self._tenant = tenant
        self._selection = selection
        self._scope = scope_of(selection)

    def name_mailboxes(self, source_id: bytes, named: Sequence[Named]) -> list[bytes]:
        """See `Target`."""
        return sources.name_mailboxes(self._vault, self._tenant, source_id, named)

    def finish_source(self, source_id: bytes, named: Set[bytes]) -> None:
        """See `Target`."""
        sources.finish_source(self._vault, self._tenant, source_id, named)

    def to_pull(self) -> list[StoredMailbox]:
        """See `Target`."""
        return sources.to_pull(self._vault, self._tenant)

    def begin(self, mailboxes: Sequence[StoredMailbox], *, anew: bool) -> Mapping[str, Mapping[str, str]]:
        """See `Target`."""
        return pages.begin(self._vault, self._tenant, mailboxes, self._scope, anew=anew)

    def left(self) -> set[bytes]:
        """See `Target`."""
        return sources.left(self._vault, self._tenant)

    def with_folders(self) -> set[bytes]:
        """See `Target`."""
        return pages.with_folders(self._vault, self._tenant)

    def was_read(self, mailbox: StoredMailbox) -> bool:
        """See `Target`."""
        return pages.was_read(self._vault, mailbox)

    def forget_checkpoint(self, mailbox: StoredMailbox, folder_id: str) -> None:
        """See `Target`."""
        pages.forget_checkpoint(self._vault, self._tenant, mailbox, folder_id)

    def drop_folder(self, mailbox: StoredMailbox, folder_id: str) -> None:
        """See `Target`."""
        pages.drop_folder(self._vault, self._tenant, mailbox, folder_id)

    def finish(self, mailboxes: Sequence[StoredMailbox]) -> None:
        """See `Target`."""
        pages.finish(self._vault, self._tenant, mailboxes)

    def store_pages(self, came: Sequence[tuple[StoredMailbox, IncomingPage]]) -> Tally:
        """See `Target`."""
        return pages.store_pages(self._vault, self._tenant, came, self._scope)

    def store_cards(self, cards: Sequence[tuple[StoredMailbox, Mapping[str, Any]]]) -> Tally:
        """See `Target`."""
        return pages.store_cards(self._vault, self._tenant, cards)

    def due_photos(self, *, everything: bool) -> Iterator[list[DuePhoto]]:
        """See `Target`."""
        return photos.due(self._vault, self._tenant, everything=everything)

    def store_photos(self, looks: Sequence[LookedAt]) -> int:
        """See `Target`."""
        return photos.store(self._vault, self._tenant, looks)

    def minimise(self) -> Minimised:
        """See `Target`."""
        fields, photos = self._selection.fields, self._selection.photos
        return minimising.apply(self._vault, self._tenant, fields, photos=photos)

    def release(self, closed: Set[bytes]) -> int:
        """See `Target`."""
        return removals.release(self._vault, self._tenant, closed)

    def outlook(self, unread: Set[bytes] = frozenset()) -> Outlook:
        """See `Target`."""
        return removals.outlook(self._vault, self._tenant, unread)

    def apply(self, unread: Set[bytes]) -> int:
        """See `Target`."""
        return removals.apply(self._vault, self._tenant, unread)
