"""The tables of both databases, as the code of this version expects them; `migrations/` brings a database there.

IDs are 16 random bytes, instants are UTC epoch seconds. Whatever can hold personal data has `tenant_id`,
`data_class` and `purge_at`. Columns named `blob`, `profile`, `details` and `content` are sealed records,
columns ending in `_ix` are blind indexes.

Contacts come in by the hundred thousand: beside their primary key they carry three indexes and one foreign
key, and no index on `purge_at`, because tenants are due as a whole (`tenants.purge_at` has one).
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

_NAMES: Final = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}

data_metadata: Final = MetaData(naming_convention=_NAMES)
key_metadata: Final = MetaData(naming_convention=_NAMES)

SEQUENCE: Final = BigInteger().with_variant(Integer(), "sqlite")  # SQLite counts up only in an INTEGER primary key


def _id() -> Column[Any]:
    return Column("id", LargeBinary(16), primary_key=True)


def _tenant(*, references: bool = False, unique: bool = False, index: bool = False) -> Column[Any]:
    keys = [ForeignKey("tenants.id")] if references else []
    return Column("tenant_id", LargeBinary(16), *keys, nullable=False, unique=unique or None, index=index or None)


def _parent(name: str, target: str, *, primary_key: bool = False, index: bool = False) -> Column[Any]:
    reference = ForeignKey(target, ondelete="CASCADE")
    return Column(name, LargeBinary(16), reference, nullable=False, primary_key=primary_key, index=index or None)


def _index_of(name: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, LargeBinary(16), nullable=nullable)


def _sealed(name: str = "blob") -> Column[Any]:
    return Column(name, LargeBinary(), nullable=False)


def _flag(name: str) -> Column[Any]:
    return Column(name, Integer(), nullable=False, server_default="0")


def _text(name: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, Text(), nullable=nullable)


def _instant(name: str, *, nullable: bool = False, index: bool = False) -> Column[Any]:
    return Column(name, BigInteger(), nullable=nullable, index=index or None)


def _retention(*, index: bool = False) -> tuple[Column[Any], Column[Any]]:
    return _text("data_class"), _instant("purge_at", index=index)


def _sequence() -> Column[Any]:
    return Column("seq", SEQUENCE, Identity(), primary_key=True)


def _settings(name: str, metadata: MetaData) -> Table:
    return Table(name, metadata, Column("name", Text(), primary_key=True), _text("value"))


meta = _settings("meta", data_metadata)

tenants = Table(
    "tenants",
    data_metadata,
    _id(),
    _text("kind"),
    _text("state"),
    Column("epoch", Integer(), nullable=False),
    Column("name_ix", LargeBinary(16), nullable=False, unique=True),
    _sealed("profile"),
    _text("erasure", nullable=True),
    _text("quarantine", nullable=True),
    _instant("quarantined_at", nullable=True),
    _text("quarantine_advice", nullable=True),
    *_retention(index=True),
    CheckConstraint("state IN ('live', 'erasing')", name="state"),
)

credentials = Table(
    "credentials",
    data_metadata,
    _id(),
    _tenant(references=True, unique=True),
    _sealed(),
    *_retention(),
)

sources = Table(
    "sources",
    data_metadata,
    _id(),
    _tenant(references=True),
    _text("kind"),
    _index_of("ref_ix"),
    _sealed(),
    *_retention(),
    UniqueConstraint("tenant_id", "kind", "ref_ix"),
)

mailboxes = Table(
    "mailboxes",
    data_metadata,
    _id(),
    _tenant(references=True),
    _index_of("key_ix"),
    _index_of("address_ix", nullable=True),
    _sealed(),
    *_retention(),
    UniqueConstraint("tenant_id", "key_ix"),
    Index(None, "tenant_id", "address_ix"),
)

memberships = Table(
    "memberships",
    data_metadata,
    _parent("source_id", "sources.id", primary_key=True),
    _parent("mailbox_id", "mailboxes.id", primary_key=True, index=True),
    _tenant(index=True),
    _flag("leaving"),
    *_retention(),
)

folders = Table(
    "folders",
    data_metadata,
    _id(),
    _tenant(index=True),
    _parent("mailbox_id", "mailboxes.id"),
    _index_of("folder_ix"),
    _sealed(),
    _flag("gone"),
    *_retention(),
    UniqueConstraint("mailbox_id", "folder_ix"),
)

checkpoints = Table(
    "checkpoints",
    data_metadata,
    _parent("folder_id", "folders.id", primary_key=True),
    _tenant(index=True),
    _sealed(),
    *_retention(),
)

contacts = Table(
    "contacts",
    data_metadata,
    _id(),
    _tenant(),
    _parent("mailbox_id", "mailboxes.id"),
    Column("folder_id", LargeBinary(16), nullable=True, index=True),
    _text("kind"),
    _index_of("remote_ix"),
    _sealed(),
    _instant("photo_due_at", nullable=True),
    *_retention(),
    UniqueConstraint("mailbox_id", "remote_ix"),
    Index(None, "tenant_id", "photo_due_at", "id"),  # with the ID, or each page of photos would be sorted out anew
)

photos = Table(
    "photos",
    data_metadata,
    _parent("contact_id", "contacts.id", primary_key=True),
    _tenant(index=True),
    _sealed("details"),
    _sealed("content"),
    *_retention(),
)

pending_removals = Table(
    "pending_removals",
    data_metadata,
    _parent("contact_id", "contacts.id", primary_key=True),
    _tenant(index=True),
    Column("folder_id", LargeBinary(16), nullable=True),
    *_retention(),
)

# No index by tenant: these rows come and go with every full round, and are reached through their folder.
seen = Table(
    "seen",
    data_metadata,
    _parent("folder_id", "folders.id", primary_key=True),
    Column("remote_ix", LargeBinary(16), primary_key=True),
    _tenant(),
    *_retention(),
)

# The generations are those that seal and index now: who still uses older ones may not write.
manifests = Table(
    "manifests",
    data_metadata,
    Column("tenant_id", LargeBinary(16), ForeignKey("tenants.id"), primary_key=True),
    Column("data_generation", Integer(), nullable=False),
    Column("index_generation", Integer(), nullable=False),
    _sealed(),
    *_retention(),
)

# Runs and audit entries outlive their tenants, so nothing ties them.
runs = Table(
    "runs",
    data_metadata,
    _id(),
    _tenant(),
    _instant("started_at"),
    _instant("ended_at", nullable=True),
    _text("status", nullable=True),
    _text("counts"),
    *_retention(index=True),
    Index(None, "tenant_id", "started_at"),
)

audit = Table(
    "audit",
    data_metadata,
    _sequence(),
    _instant("at"),
    Column("uid", BigInteger(), nullable=False),
    _text("role"),
    _text("verb"),
    Column("tenant_id", LargeBinary(16), nullable=True),
    _text("outcome"),
    *_retention(index=True),
    Column("next_key", LargeBinary(32), nullable=True),
    Column("signature", LargeBinary(64), nullable=True),
    sqlite_autoincrement=True,
)

key_meta = _settings("key_meta", key_metadata)

root_generations = Table(
    "root_generations",
    key_metadata,
    Column("generation", Integer(), primary_key=True, autoincrement=False),
    _text("provider"),
    _text("handle"),
    _text("state"),
    _instant("created_at"),
    _text("outstanding", nullable=True),
    CheckConstraint("state IN ('creating', 'current', 'retired', 'destroyed')", name="state"),
)

wrapped_keys = Table(
    "wrapped_keys",
    key_metadata,
    _id(),
    _tenant(),
    _text("purpose"),
    Column("generation", Integer(), nullable=False),
    _text("state"),
    Column("root_generation", Integer(), ForeignKey("root_generations.generation"), nullable=False),
    _sealed(),
    _instant("created_at"),
    _instant("retired_at", nullable=True),
    CheckConstraint("state IN ('current', 'retired')", name="state"),
    UniqueConstraint("tenant_id", "purpose", "generation"),
)

erasure_ledger = Table(
    "erasure_ledger",
    key_metadata,
    _sequence(),
    _instant("at"),
    _text("event"),
    _tenant(),
    _text("detail"),
    Column("signature", LargeBinary(64), nullable=True),
    CheckConstraint("event IN ('intent', 'keys_destroyed', 'completed', 'rows_erased')", name="event"),
    sqlite_autoincrement=True,
)

# How far each tenant's manifest had counted when it was last looked at from here.
anchors = Table("anchors", key_metadata, Column("tenant_id", LargeBinary(16), primary_key=True), _instant("counter"))

# The audit trail's unbroken stretches; a restore begins a new one. `before` is the signature that precedes the first.
audit_segments = Table(
    "audit_segments",
    key_metadata,
    Column("first_seq", BigInteger(), primary_key=True, autoincrement=False),
    Column("first_key", LargeBinary(32), nullable=False),
    Column("before", LargeBinary(64), nullable=False),
    Column("last_seq", BigInteger(), nullable=False),
    Column("last_signature", LargeBinary(64), nullable=False),
)

VAULT_TENANT: Final = bytes(16)  # the tenant_id of keys that belong to the vault as a whole
