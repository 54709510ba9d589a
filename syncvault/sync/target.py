"""Where a run's findings go. The engine speaks to this; a rehearsal puts something else in its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, Protocol

from syncvault.vault.content import pages, photos, removals, sources
from syncvault.vault.content.diff import Tally
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

    def checkpoints(self, mailbox: StoredMailbox) -> Mapping[str, str]:
        """See `vault.pages.checkpoints`."""

    def forget_checkpoints(self, mailbox: StoredMailbox, folder_id: str | None = None) -> None:
        """See `vault.pages.forget_checkpoints`."""

    def drop_folder(self, mailbox: StoredMailbox, folder_id: str) -> None:
        """See `vault.pages.drop_folder`."""

    def finish_mailbox(self, mailbox: StoredMailbox) -> None:
        """See `vault.pages.finish_mailbox`."""

    def store_page(self, mailbox: StoredMailbox, page: IncomingPage) -> Tally:
        """See `vault.pages.store_page`."""

    def store_cards(self, cards: Sequence[tuple[StoredMailbox, Mapping[str, Any]]]) -> Tally:
        """See `vault.pages.store_cards`."""

    def due_photos(self, *, everything: bool) -> Iterator[list[DuePhoto]]:
        """See `vault.photos.due`."""

    def store_photos(self, looks: Sequence[LookedAt]) -> int:
        """See `vault.photos.store`."""

    def release(self) -> int:
        """See `vault.removals.release`."""

    def outlook(self) -> Outlook:
        """See `vault.removals.outlook`."""

    def apply(self) -> int:
        """See `vault.removals.apply`."""


class VaultTarget:
    """The vault itself."""

    def __init__(self, vault: Vault, tenant: Tenant) -> None:
        self._vault = vault
        self._tenant = tenant

    def name_mailboxes(self, source_id: bytes, named: Sequence[Named]) -> list[bytes]:
        """See `Target`."""
        return sources.name_mailboxes(self._vault, self._tenant, source_id, named)

    def finish_source(self, source_id: bytes, named: Set[bytes]) -> None:
        """See `Target`."""
        sources.finish_source(self._vault, self._tenant, source_id, named)

    def to_pull(self) -> list[StoredMailbox]:
        """See `Target`."""
        return sources.to_pull(self._vault, self._tenant)

    def checkpoints(self, mailbox: StoredMailbox) -> Mapping[str, str]:
        """See `Target`."""
        return pages.checkpoints(self._vault, self._tenant, mailbox)

    def forget_checkpoints(self, mailbox: StoredMailbox, folder_id: str | None = None) -> None:
        """See `Target`."""
        pages.forget_checkpoints(self._vault, self._tenant, mailbox, folder_id)

    def drop_folder(self, mailbox: StoredMailbox, folder_id: str) -> None:
        """See `Target`."""
        pages.drop_folder(self._vault, self._tenant, mailbox, folder_id)

    def finish_mailbox(self, mailbox: StoredMailbox) -> None:
        """See `Target`."""
        pages.finish_mailbox(self._vault, self._tenant, mailbox)

    def store_page(self, mailbox: StoredMailbox, page: IncomingPage) -> Tally:
        """See `Target`."""
        return pages.store_page(self._vault, self._tenant, mailbox, page)

    def store_cards(self, cards: Sequence[tuple[StoredMailbox, Mapping[str, Any]]]) -> Tally:
        """See `Target`."""
        return pages.store_cards(self._vault, self._tenant, cards)

    def due_photos(self, *, everything: bool) -> Iterator[list[DuePhoto]]:
        """See `Target`."""
        return photos.due(self._vault, self._tenant, everything=everything)

    def store_photos(self, looks: Sequence[LookedAt]) -> int:
        """See `Target`."""
        return photos.store(self._vault, self._tenant, looks)

    def release(self) -> int:
        """See `Target`."""
        return removals.release(self._vault, self._tenant)

    def outlook(self) -> Outlook:
        """See `Target`."""
        return removals.outlook(self._vault, self._tenant)

    def apply(self) -> int:
        """See `Target`."""
        return removals.apply(self._vault, self._tenant)
