"""A vault for tests: where it lies, a clock that is set by hand, tenants to register, and its tables to compare."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from syncvault.crypto.multiset import MultisetHash
from syncvault.policy.subscription import Subscription, SubscriptionKind
from syncvault.secret import Secret
from syncvault.store import ledger as ledger_rows
from syncvault.store import manifests
from syncvault.store.engine import Database
from syncvault.store.schema import data_metadata, key_metadata
from syncvault.sync import engine
from syncvault.sync.summary import Options, Silence, Summary
from syncvault.vault import manifest, tenants
from syncvault.vault.content import contacts, sources
from syncvault.vault.content.contacts import StoredContact
from syncvault.vault.keyring.wrapped import Purpose
from syncvault.vault.layout import Layout
from syncvault.vault.model import Credential, CredentialKind, OnlineConnection, Tenant, TenantProfile
from syncvault.vault.opening import create_vault, open_vault
from syncvault.vault.vault import Vault

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
LATER = date(2026, 12, 1)  # a subscription until then runs at NOW
LOGS = {"audit", "runs"}


@dataclass
class Place:
    """Where a vault lies, and what time it is there."""

    layout: Layout
    now: datetime = NOW
    opened: list[Vault] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.layout.home

    def create(self) -> Vault:
        self.opened.append(create_vault(self.layout, clock=lambda: self.now))
        return self.opened[-1]

    def open(self, now: datetime | None = None) -> Vault:
        """The vault as another process would open it, at another time if one is given."""
        self.now = now or self.now
        self.opened.append(open_vault(self.home, clock=lambda: self.now))
        return self.opened[-1]

    def close(self) -> None:
        while self.opened:
            self.opened.pop().close()


def as_before_signatures(vault: Vault, *events: ledger_rows.Event) -> bytes:
    """Takes the vault back to when its ledger was not signed, with some entries; returns the tenant that they name."""
    gone = b"g" * 16
    vault.keys.follow_root()
    with vault.key_data.write() as tx:
        for event in events:
            ledger_rows.append(tx, 1, event, gone, '{"reason":"on-demand","rule_version":1,"keys":[]}')
        vault.keys._keep(tx, Purpose.RECEIPT, vault.keys.receipt_seed, vault.now)
    return gone


def profile(name: str = "acme", *, ends: date = LATER, term: str = "", cancelled: bool = False) -> TenantProfile:
    kind = SubscriptionKind.PAID if term else SubscriptionKind.TRIAL
    subscription = Subscription(kind, ends, "Europe/Berlin", term=term, cancelled=cancelled)
    connection = OnlineConnection("7e57d1ec-0000-4000-8000-000000000001", "7e57c11e-0000-4000-8000-000000000001")
    return TenantProfile(name, connection, subscription, f"admin@{name}.example", customer_number=f"No-{name}")


def secret(text: str = "s3cr3t-of-acme", *, expires_at: datetime | None = None) -> Credential:
    return Credential(CredentialKind.SECRET, Secret(text), expires_at=expires_at)


def register(vault: Vault, name: str = "acme", *refs: str, **changes: Any) -> Tenant:
    """Registers a tenant and its sources: `g:` marks a group."""
    tenant = tenants.register(vault, profile(name, **changes), secret())
    for ref in refs:
        sources.add(vault, tenant, "group" if ref.startswith("g:") else "user", ref)
    return tenant


def sync(vault: Vault, tenant: Tenant, **options: Any) -> Summary:
    """One run over one tenant, after which its manifest has to agree with its rows, if it did before."""
    is_whole = manifest_agrees(vault, tenant)
    summary = engine.sync(vault, [tenant], Options(**options), Silence())[0]
    assert manifest_agrees(vault, tenant) or not is_whole
    return summary


def manifest_agrees(vault: Vault, tenant: Tenant) -> bool:
    """Whether the tenant's sealed rows add up to what its manifest says."""
    with vault.read() as tx:
        row = manifests.get(tx, tenant.id)
        if row is None:
            return True  # it is erased, or was never written to
        stated = manifest.read(vault.keys.tenant(tenant.id), row)
        return manifest.totals_of(tx, tenant.id, MultisetHash(stated.key)) == stated.totals


def held(vault: Vault, tenant: Tenant) -> dict[str, dict[str, tuple[str, str]]]:
    """What the vault holds: by mailbox key, then by surname (the item) or `card`, the folder and display name."""
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for entry in contacts.stream(vault, tenant):
        item = "card" if entry.kind == "card" else entry.fields["surname"]
        box = found.setdefault(entry.mailbox.key, {})
        assert item not in box, "stored twice"
        box[item] = (entry.folder, entry.fields["display_name"])
    return found


Told = tuple[str, str, bytes | None, str, tuple[str, ...]]  # as a `Change` has them, the mailbox by its key


def standing(vault: Vault, tenant: Tenant) -> dict[bytes, StoredContact]:
    """Every contact as it stands, by its ID."""
    return {entry.id: entry for entry in contacts.stream(vault, tenant)}


def told_of(before: dict[bytes, StoredContact], after: dict[bytes, StoredContact]) -> list[Told]:
    """What a dry run has to say where contacts stand so afterwards."""
    told: list[Told] = []
    for contact_id in before.keys() | after.keys():
        was, is_now = before.get(contact_id), after.get(contact_id)
        one = was or is_now
        assert one is not None
        old, new = ({} if each is None else _details(each) for each in (was, is_now))
        names = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
        action = "add" if was is None else "remove" if is_now is None else "change"
        fields = () if is_now is None else tuple(sorted(names - ({"folder"} if was is None else set())))
        if names:
            told.append((action, one.kind, None if was is None else contact_id, one.mailbox.key, fields))
    return sorted(told, key=repr)


def _details(entry: StoredContact) -> dict[str, Any]:
    return {**entry.fields, "folder": entry.folder, "photo": entry.photo_sha256}


def as_told(said: Summary) -> list[Told]:
    """What a dry run says of each contact, as `told_of` gives it."""
    told = [(one.action, one.kind, one.id, one.mailbox.key, one.fields) for one in said.changes or ()]
    return sorted(told, key=repr)


def tables(vault: Vault, *, without: Iterable[str] = LOGS) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of both databases, as it lies there."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for database, metadata in ((vault.data, data_metadata), (vault.key_data, key_metadata)):
        for name in metadata.tables.keys() - set(without):
            found[name] = rows(database, name)
    return found


def rows(database: Database, table: str, columns: str = "*") -> list[tuple[Any, ...]]:
    with database.read() as tx:
        found = [tuple(row) for row in tx.exec_driver_sql(f"SELECT {columns} FROM {table}")]
    return sorted(found, key=repr)


def execute(database: Database, statement: str, *values: Any) -> int:
    """Meddles with a database behind the vault's back."""
    sql = statement if database.dialect == "sqlite" else statement.replace("?", "%s")
    with database.write() as tx:
        return tx.exec_driver_sql(sql, values).rowcount
