"""What is gone at the source: counted for the brake first, removed at the end of the run."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Final

from syncvault.store import contacts as contact_rows
from syncvault.store import folders as folder_rows
from syncvault.store import mailboxes as mailbox_rows
from syncvault.store import manifests
from syncvault.store import removals as rows
from syncvault.store import sources as source_rows
from syncvault.store.engine import Transaction
from syncvault.store.removals import PendingRow
from syncvault.vault.manifest import Changes
from syncvault.vault.model import Tenant
from syncvault.vault.vault import Vault


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a run would remove.

    Attributes:
        lost: Contacts and cards that are gone at the source, or whose mailbox no source names any more.
        released: Those of mailboxes whose sources were unregistered; no brake asks about them.
        stored: Contacts and cards the tenant has.
    """

    lost: int
    released: int
    stored: int


_NONE: Final[Set[bytes]] = frozenset()


def outlook(vault: Vault, tenant: Tenant, unread: Set[bytes] = _NONE) -> Outlook:
    """What awaits removal, without what `apply` would leave."""
    with vault.read() as tx:
        leaving = [row.id for row in mailbox_rows.leaving(tx, tenant.id)]
        released = [row.id for row in mailbox_rows.without_source(tx, tenant.id)]
        waiting = rows.count(tx, tenant.id)
        for mailbox_id in (*leaving, *released, *unread):  # these go whole, or not yet
            waiting.pop(mailbox_id, None)
        return Outlook(
            lost=sum(waiting.values()) + _held(tx, tenant, leaving),
            released=_held(tx, tenant, released),
            stored=sum(contact_rows.counts(tx, tenant.id).values()),
        )


def release(vault: Vault, tenant: Tenant, closed: Set[bytes] = _NONE) -> int:
    """Removes what only unregistered sources named; returns how many contacts and cards that were.

    Args:
        vault: The vault.
        tenant: Whose contacts.
        closed: Mailboxes that such sources opened, and of which others only want the card; all that awaits removal
            in them goes.
    """
    with vault.writing(tenant) as (tx, changes):
        removed = 0
        if closed:
            removed, kept = _remove_waiting(tx, changes, tenant, lambda mailbox_id: mailbox_id not in closed)
            rows.add(tx, kept)
        sourceless = [row.id for row in mailbox_rows.without_source(tx, tenant.id)]
        return removed + _remove_mailboxes(tx, changes, tenant, sourceless)


def apply(vault: Vault, tenant: Tenant, unread: Set[bytes] = _NONE) -> int:
    """Removes all that awaits it, in one transaction; returns how many contacts and cards that were.

    Args:
        vault: The vault.
        tenant: Whose contacts.
        unread: Mailboxes that were not read to their ends. What left one of their folders may have been moved to one
            that nobody has looked into, so it waits for a later run.
    """
    with vault.writing(tenant) as (tx, changes):
        removed, kept = _remove_waiting(tx, changes, tenant, lambda mailbox_id: mailbox_id in unread)
        source_rows.delete_leaving(tx, tenant.id)
        removed += _remove_mailboxes(
            tx, changes, tenant, [row.id for row in mailbox_rows.without_source(tx, tenant.id)]
        )
        changes.all_gone(manifests.tags_of_gone_folders(tx, tenant.id))
        folder_rows.delete_gone(tx, tenant.id)
        there = contact_rows.ids_among(tx, tenant.id, [row.contact_id for row in kept])
        rows.add(tx, [row for row in kept if row.contact_id in there])
    return removed


def _remove_waiting(
    tx: Transaction, changes: Changes, tenant: Tenant, stays: Callable[[bytes], bool]
) -> tuple[int, list[PendingRow]]:
    """Removes what awaits it; returns how many, and what still waits, to be added again."""
    kept = rows.take_out(tx, [one for one, mailbox_id in rows.each(tx, tenant.id) if stays(mailbox_id)])
    changes.all_gone(manifests.tags_of_waiting(tx, tenant.id))
    return rows.apply(tx, tenant.id), kept


def _remove_mailboxes(tx: Transaction, changes: Changes, tenant: Tenant, mailbox_ids: list[bytes]) -> int:
    removed = _held(tx, tenant, mailbox_ids)
    changes.all_gone(manifests.tags_of_mailboxes(tx, mailbox_ids))
    mailbox_rows.delete(tx, tenant.id, mailbox_ids)
    return removed


def _held(tx: Transaction, tenant: Tenant, mailbox_ids: list[bytes]) -> int:
    return sum(sum(contact_rows.counts(tx, tenant.id, mailbox_id).values()) for mailbox_id in mailbox_ids)
