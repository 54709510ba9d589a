"""Sources, and the mailboxes they resolve to."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

from syncvault.crypto.index import Label, normalise_address
from syncvault.crypto.place import Place
from syncvault.errors import NotFoundError
from syncvault.policy.catalogue import DataClass
from syncvault.store import mailboxes as mailbox_rows
from syncvault.store import manifests
from syncvault.store import sources as rows
from syncvault.store.mailboxes import MailboxChange, MailboxRow
from syncvault.store.sources import MembershipRow, SourceRow
from syncvault.vault.content.filters import UserFilter
from syncvault.vault.keyring.keys import TenantKeys
from syncvault.vault.model import Tenant
from syncvault.vault.sealing import open_json, or_nothing, to_datetime, to_instant, to_json
from syncvault.vault.vault import Vault


@dataclass(frozen=True, slots=True)
class StoredSource:
    """A registered source; `ref` is an object ID, an address, a path, the text of the `filter`, or empty."""

    id: bytes
    kind: str
    ref: str = field(repr=False)
    mailboxes: int
    purge_at: datetime
    filter: UserFilter = field(default_factory=UserFilter)


class MailboxKind(StrEnum):
    """What there is of a mailbox; as `connectors.port.MailboxKind`."""

    PERSON = "person"
    LISTED = "listed"
    OUTSIDE = "outside"
    PUBLIC_FOLDER = "public-folder"

    @property
    def opens(self) -> bool:
        """Whether there are folders to read."""
        return self in {MailboxKind.PERSON, MailboxKind.PUBLIC_FOLDER}

    @property
    def has_card(self) -> bool:
        """Whether the directory may be asked for it."""
        return self is not MailboxKind.PUBLIC_FOLDER

    @property
    def may_have_photo(self) -> bool:
        """Whether the directory may have a picture to its card."""
        return self is not MailboxKind.OUTSIDE


@dataclass(frozen=True, slots=True)
class StoredMailbox:
    """A mailbox; `key` and `address` are those of `connectors.port.Mailbox`."""

    id: bytes
    key: str = field(repr=False)
    address: str = field(repr=False)
    kind: MailboxKind = MailboxKind.PERSON

    @property
    def ref(self) -> str:
        """What an administrator knows it by: its address or path, or the object ID of a person who has none."""
        return self.address or self.key

    @property
    def opens(self) -> bool:
        """Whether there are folders to read."""
        return self.kind.opens

    @property
    def is_shown(self) -> bool:
        """Whether it is shown with its contacts: contacts of the organisation have none."""
        return self.kind is not MailboxKind.OUTSIDE


class Named(NamedTuple):
    """A mailbox that a source names; see `StoredMailbox`."""

    key: str
    address: str
    kind: MailboxKind = MailboxKind.PERSON

    def plain(self) -> dict[str, Any]:
        """What is sealed of it; that it is a person's goes without saying."""
        return {"key": self.key, "address": self.address} | _SEALED_KIND[self.kind]


_SEALED_KIND: Final[dict[MailboxKind, dict[str, Any]]] = {
    MailboxKind.PERSON: {},
    MailboxKind.LISTED: {"kind": "listed"},
    MailboxKind.OUTSIDE: {"opens": False},  # from before there were kinds
    MailboxKind.PUBLIC_FOLDER: {"kind": "public-folder"},
}


_NO_FILTER: Final = UserFilter()


def add(vault: Vault, tenant: Tenant, kind: str, ref: str, wanted: UserFilter = _NO_FILTER) -> StoredSource:
    """Registers a source; one that is registered already is given back as it is.

    Args:
        vault: Where to.
        tenant: Whose.
        kind: One of `connectors.port.SourceKind`.
        ref: Object ID, address or path; empty where a filter says who is meant: its text stands there then.
        wanted: Which people are meant, of a source of all.
    """
    ref, given = ref or wanted.text, wanted.given()
    plain = {"kind": kind, "ref": ref} | ({"filter": given} if given else {})
    keys = vault.keys.tenant(tenant.id)
    known_as = _indexes(keys, Label.SOURCE, f"{kind}:{normalise_address(ref)}")
    ref_ix = known_as[0]
    source_id = uuid4().bytes
    row = SourceRow(
        id=source_id,
        tenant_id=tenant.id,
        kind=kind,
        ref_ix=ref_ix,
        blob=keys.cipher.seal(Place.SOURCE, source_id, to_json(plain), ref_ix),
        data_class=DataClass.SOURCE,
        purge_at=to_instant(tenant.purge_at),
    )
    with vault.writing(tenant) as (tx, changes):
        known = next(filter(None, (rows.by_ref(tx, tenant.id, kind, ix) for ix in known_as)), None)
        if known is None:
            rows.insert(tx, row)
            changes.added("sources", [row.blob])
        counts = rows.mailbox_counts(tx, tenant.id)
    return _to_source(keys, known or row, counts)


def listing(vault: Vault, tenant: Tenant) -> list[StoredSource]:
    """The sources of a tenant."""
    keys = vault.keys.tenant(tenant.id)
    with vault.read() as tx:
        found, counts = rows.of_tenant(tx, tenant.id), rows.mailbox_counts(tx, tenant.id)
    return [_to_source(keys, row, counts) for row in found]


def remove(vault: Vault, tenant: Tenant, source_id: bytes) -> None:
    """Unregisters a source; what only it named goes at the end of the next run, without a brake.

    Raises:
        NotFoundError: The tenant has no such source.
    """
    with vault.writing(tenant) as (tx, changes):
        changes.gone("sources", manifests.tags_of(tx, "sources", [source_id]))
        if not rows.delete(tx, tenant.id, source_id):
            raise NotFoundError(
                f"The tenant has no source {UUID(bytes=source_id)}.", advice="Run `syncvault source list`."
            )


def name_mailboxes(vault: Vault, tenant: Tenant, source_id: bytes, named: Sequence[Named]) -> list[bytes]:
    """Records that a source names these mailboxes; what is recorded already is left untouched.

    A person whom another source names as a mailbox to open stays one, although an address list names them too.

    Returns:
        The IDs of the mailboxes, in the order given.
    """
    keys = vault.keys.tenant(tenant.id)
    key_ixs = [_key_index(keys, entry.key) for entry in named]
    with vault.read() as tx:
        known = mailbox_rows.by_keys(tx, tenant.id, key_ixs)
        members = {row.mailbox_id: row for row in rows.memberships(tx, source_id)}
        listed = [ix for entry, ix in zip(named, key_ixs, strict=True) if entry.kind is MailboxKind.LISTED]
        kept = rows.named_by_others(tx, tenant.id, source_id) if known.keys() & set(listed) else set()
    purge_at = to_instant(tenant.purge_at)
    fresh: dict[bytes, MailboxRow] = {}
    moved: list[MailboxChange] = []
    ids: list[bytes] = []
    for entry, key_ix in zip(named, key_ixs, strict=True):
        row = known.get(key_ix) or fresh.get(key_ix)
        if row is None:
            row = fresh[key_ix] = _mailbox_row(keys, tenant.id, uuid4().bytes, entry, purge_at)
        elif key_ix in known and _differs(open_mailbox(keys, row), entry, is_kept=row.id in kept):
            changed = _mailbox_row(keys, tenant.id, row.id, entry, purge_at)
            moved.append(MailboxChange(changed.address_ix, changed.blob, row.id, tenant.id))
        ids.append(row.id)
    joining = [
        MembershipRow(source_id, mailbox_id, tenant.id, 0, DataClass.MAILBOX, purge_at)
        for mailbox_id in dict.fromkeys(ids)
        if mailbox_id not in members or members[mailbox_id].leaving
    ]
    if fresh or moved or joining:
        with vault.writing(tenant) as (tx, changes):
            changes.gone("mailboxes", manifests.tags_of(tx, "mailboxes", [change.id for change in moved]))
            changes.added("mailboxes", [*(row.blob for row in fresh.values()), *(change.blob for change in moved)])
            mailbox_rows.insert_many(tx, list(fresh.values()))
            mailbox_rows.update_many(tx, moved)
            rows.put_memberships(tx, joining)
    return ids


def finish_source(vault: Vault, tenant: Tenant, source_id: bytes, named: Set[bytes]) -> None:
    """Marks what the source has stopped naming, once it has been resolved to its end."""
    with vault.read() as tx:
        gone = [
            row.mailbox_id for row in rows.memberships(tx, source_id) if not row.leaving and row.mailbox_id not in named
        ]
    if gone:
        with vault.writing(tenant) as (tx, _):
            rows.set_leaving(tx, source_id, gone)


def left(vault: Vault, tenant: Tenant) -> set[bytes]:
    """The mailboxes that some source has stopped naming, whatever others say."""
    with vault.read() as tx:
        return rows.left(tx, tenant.id)


def to_pull(vault: Vault, tenant: Tenant) -> list[StoredMailbox]:
    """The mailboxes that some source names."""
    keys = vault.keys.tenant(tenant.id)
    with vault.read() as tx:
        wanted = {row.mailbox_id for row in rows.memberships_of_tenant(tx, tenant.id) if not row.leaving}
        found = [row for row in mailbox_rows.of_tenant(tx, tenant.id) if row.id in wanted]
    return [open_mailbox(keys, row) for row in found]


def mailbox(vault: Vault, tenant: Tenant, ref: str) -> StoredMailbox:
    """The mailbox with this ID, address or object ID.

    Raises:
        NotFoundError: The tenant has none, or the address is that of two.
    """
    keys = vault.keys.tenant(tenant.id)
    with vault.read() as tx:
        by_key = _indexes(keys, Label.MAILBOX_KEY, normalise_address(ref))
        row = next(filter(None, (mailbox_rows.by_key(tx, tenant.id, ix) for ix in by_key)), None)
        if row is None and (mailbox_id := _as_uuid(ref)) is not None:
            row = mailbox_rows.get(tx, tenant.id, mailbox_id)
        if row is None:
            by_address = _indexes(keys, Label.MAILBOX_ADDRESS, normalise_address(ref))
            with_address = [row for ix in by_address for row in mailbox_rows.by_address(tx, tenant.id, ix)]
            row = with_address[0] if len(with_address) == 1 else None
    if row is None:
        raise NotFoundError(
            "The tenant has no such mailbox, or two with this address.",
            advice="Name it by the mailbox `id` that `syncvault contact list --json` shows.",
        )
    return open_mailbox(keys, row)


def mailboxes_by_id(vault: Vault, tenant: Tenant) -> dict[bytes, StoredMailbox]:
    """All mailboxes of a tenant."""
    keys = vault.keys.tenant(tenant.id)
    with vault.read() as tx:
        return {row.id: open_mailbox(keys, row) for row in mailbox_rows.of_tenant(tx, tenant.id)}


def _to_source(keys: TenantKeys, row: SourceRow, counts: dict[bytes, int]) -> StoredSource:
    plain = open_json(keys.cipher, Place.SOURCE, row.id, row.blob, row.ref_ix)
    wanted = UserFilter(**plain.get("filter", {}))
    return StoredSource(row.id, plain["kind"], plain["ref"], counts.get(row.id, 0), to_datetime(row.purge_at), wanted)


def _differs(stored: StoredMailbox, entry: Named, *, is_kept: bool) -> bool:
    if is_kept and is_listed_person(stored, entry):
        return False
    return (stored.address, stored.kind) != (entry.address, entry.kind)


def is_listed_person(stored: StoredMailbox, entry: Named) -> bool:
    """Whether an address list names somebody who is stored as a mailbox to open."""
    return entry.kind is MailboxKind.LISTED and stored.kind is MailboxKind.PERSON


def _mailbox_row(keys: TenantKeys, tenant_id: bytes, mailbox_id: bytes, entry: Named, purge_at: int) -> MailboxRow:
    key_ix = _key_index(keys, entry.key)
    address_ix = _address_index(keys, entry.address) if entry.address else None
    blob = keys.cipher.seal(Place.MAILBOX, mailbox_id, to_json(entry.plain()), key_ix, or_nothing(address_ix))
    return MailboxRow(mailbox_id, tenant_id, key_ix, address_ix, blob, DataClass.MAILBOX, purge_at)


def open_mailbox(keys: TenantKeys, row: MailboxRow) -> StoredMailbox:
    """A mailbox from its row."""
    plain = open_json(keys.cipher, Place.MAILBOX, row.id, row.blob, row.key_ix, or_nothing(row.address_ix))
    kind = plain.get("kind", MailboxKind.PERSON if plain.get("opens", True) else MailboxKind.OUTSIDE)
    return StoredMailbox(row.id, plain["key"], plain["address"], MailboxKind(kind))


def _indexes(keys: TenantKeys, label: Label, value: str) -> list[bytes]:
    """A value under the current index key first, then under older ones: a rotation may not have come to its row yet."""
    older = [index for generation, index in keys.indexes.items() if generation != keys.index_generation]
    return [index.of(label, value) for index in (keys.index, *older)]


def _key_index(keys: TenantKeys, key: str) -> bytes:
    return keys.index.of(Label.MAILBOX_KEY, normalise_address(key))


def _address_index(keys: TenantKeys, address: str) -> bytes:
    return keys.index.of(Label.MAILBOX_ADDRESS, normalise_address(address))


def _as_uuid(text: str) -> bytes | None:
    try:
        return UUID(text).bytes
    except ValueError:
        return None
