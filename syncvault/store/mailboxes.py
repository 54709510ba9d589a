"""Mailboxes, and those that no source names any more.

Surface:

    insert_many(tx, rows: Sequence[MailboxRow]) -> int
    update_many(tx, changes: Sequence[MailboxChange]) -> int         address and blob
    get(tx, tenant_id, mailbox_id) -> MailboxRow | None
    by_key(tx, tenant_id, key_ix) -> MailboxRow | None
    by_keys(tx, tenant_id, key_ixs) -> dict[bytes, MailboxRow]       by key_ix
    by_ids(tx, mailbox_ids) -> dict[bytes, MailboxRow]
    by_address(tx, tenant_id, address_ix) -> list[MailboxRow]
    of_tenant(tx, tenant_id) -> list[MailboxRow]                     ordered by id
    ids_of_tenant(tx, tenant_id) -> list[bytes]
    without_source(tx, tenant_id) -> list[MailboxRow]                no membership at all
    leaving(tx, tenant_id) -> list[MailboxRow]                       memberships, and every one is leaving
    delete(tx, tenant_id, mailbox_ids) -> int                        folders, contacts, photos go with it
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from syncvault.store.engine import Transaction
from syncvault.store.statements import fetch, fetch_one, in_lists, insert, run, run_many


class MailboxRow(NamedTuple):
    """A row of `mailboxes`."""

    id: bytes
    tenant_id: bytes
    key_ix: bytes
    address_ix: bytes | None
    blob: bytes
    data_class: str
    purge_at: int


class MailboxChange(NamedTuple):
    """What changes about a mailbox; the key never does."""

    address_ix: bytes | None
    blob: bytes
    id: bytes
    tenant_id: bytes


_NOWHERE = "NOT EXISTS (SELECT 1 FROM memberships WHERE mailbox_id = mailboxes.id{})"


def insert_many(tx: Transaction, rows: Sequence[MailboxRow]) -> int:
    """Stores new mailboxes; ConflictError if a key is known."""
    return insert(tx, "mailboxes", rows)


def update_many(tx: Transaction, changes: Sequence[MailboxChange]) -> int:
    """Replaces the address's blind index and the sealed part."""
    return run_many(tx, "UPDATE mailboxes SET address_ix = ?, blob = ? WHERE id = ? AND tenant_id = ?", changes)


def get(tx: Transaction, tenant_id: bytes, mailbox_id: bytes) -> MailboxRow | None:
    """The tenant's mailbox with this ID, or None."""
    return fetch_one(tx, MailboxRow, "mailboxes", "WHERE id = ? AND tenant_id = ?", mailbox_id, tenant_id)


def by_key(tx: Transaction, tenant_id: bytes, key_ix: bytes) -> MailboxRow | None:
    """The tenant's mailbox with the blind index of this key, or None."""
    return fetch_one(tx, MailboxRow, "mailboxes", "WHERE tenant_id = ? AND key_ix = ?", tenant_id, key_ix)


def by_keys(tx: Transaction, tenant_id: bytes, key_ixs: Sequence[bytes]) -> dict[bytes, MailboxRow]:
    """Those of the keys that are known, each with its mailbox."""
    found: dict[bytes, MailboxRow] = {}
    for marks, part in in_lists(key_ixs):
        rows = fetch(tx, MailboxRow, "mailboxes", f"WHERE tenant_id = ? AND key_ix IN ({marks})", tenant_id, *part)
        found.update((row.key_ix, row) for row in rows)
    return found


def by_ids(tx: Transaction, mailbox_ids: Sequence[bytes]) -> dict[bytes, MailboxRow]:
    """Those of the mailboxes that exist."""
    found: dict[bytes, MailboxRow] = {}
    for marks, part in in_lists(mailbox_ids):
        found.update((row.id, row) for row in fetch(tx, MailboxRow, "mailboxes", f"WHERE id IN ({marks})", *part))
    return found


def by_address(tx: Transaction, tenant_id: bytes, address_ix: bytes) -> list[MailboxRow]:
    """The tenant's mailboxes with the blind index of this address; addresses can move, so there may be two."""
    return fetch(tx, MailboxRow, "mailboxes", "WHERE tenant_id = ? AND address_ix = ?", tenant_id, address_ix)


def of_tenant(tx: Transaction, tenant_id: bytes) -> list[MailboxRow]:
    """The tenant's mailboxes by ID."""
    return fetch(tx, MailboxRow, "mailboxes", "WHERE tenant_id = ? ORDER BY id", tenant_id)


def ids_of_tenant(tx: Transaction, tenant_id: bytes) -> list[bytes]:
    """The IDs of the tenant's mailboxes, in order."""
    return list(run(tx, "SELECT id FROM mailboxes WHERE tenant_id = ? ORDER BY id", tenant_id).scalars())


def without_source(tx: Transaction, tenant_id: bytes) -> list[MailboxRow]:
    """Mailboxes whose sources were all unregistered."""
    where = f"WHERE tenant_id = ? AND {_NOWHERE.format('')} ORDER BY id"
    return fetch(tx, MailboxRow, "mailboxes", where, tenant_id)


def leaving(tx: Transaction, tenant_id: bytes) -> list[MailboxRow]:
    """Mailboxes that have sources, all of which stopped naming them."""
    some = _NOWHERE.format("").removeprefix("NOT ")
    where = f"WHERE tenant_id = ? AND {some} AND {_NOWHERE.format(' AND leaving = 0')} ORDER BY id"
    return fetch(tx, MailboxRow, "mailboxes", where, tenant_id)


def delete(tx: Transaction, tenant_id: bytes, mailbox_ids: Sequence[bytes]) -> int:
    """Removes mailboxes with everything in them."""
    statement = "DELETE FROM mailboxes WHERE id = ? AND tenant_id = ?"
    return run_many(tx, statement, [(mailbox_id, tenant_id) for mailbox_id in mailbox_ids])
