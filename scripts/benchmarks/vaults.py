"""Vaults to measure with: new, in a directory of their own, with one tenant, on SQLite or in schemas of PostgreSQL."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Final

from scripts.benchmarks.postgres import new_schema
from syncvault.policy.subscription import Subscription, SubscriptionKind
from syncvault.secret import Secret
from syncvault.vault import tenants
from syncvault.vault.content import sources
from syncvault.vault.content.sources import Named
from syncvault.vault.layout import Layout, default_database, default_key_database, default_root_key_file
from syncvault.vault.model import (
    Credential,
    CredentialKind,
    OnlineConnection,
    OnpremConnection,
    Scope,
    Tenant,
    TenantProfile,
)
from syncvault.vault.opening import create_vault
from syncvault.vault.vault import Vault

TENANT: Final = "bench"
NOT_USED: Final = Credential(CredentialKind.SECRET, Secret(b"not used"))
_USUAL: Final = Scope()
_NOBODY: Final = "00000000-0000-4000-8000-000000000000"


def home_in(directory: Path) -> Path:
    """Where the vault of a directory lies."""
    return directory / "home"


def make_vault(directory: Path, server: str | None = None) -> Vault:
    """A new vault with its root key in a file; its databases are schemas of a PostgreSQL server, if one is named."""
    home = home_in(directory)
    data, keys = default_database(home), default_key_database(home)
    if server is not None:
        data, keys = new_schema(server), new_schema(server)
    return create_vault(Layout(home, data, keys, "file", default_root_key_file(home)))


def add_tenant(
    vault: Vault, connection: OnlineConnection | OnpremConnection, credential: Credential, scope: Scope = _USUAL
) -> Tenant:
    """Registers the tenant that everything is stored for."""
    subscription = Subscription(SubscriptionKind.PAID, date(2099, 1, 1), "Europe/Berlin")
    facts = TenantProfile(TENANT, connection, subscription, "admin@example.com", scope=scope)
    return tenants.register(vault, facts, credential)


def make_vault_to_fill(directory: Path, mailboxes: int, server: str | None = None) -> None:
    """A closed vault with a tenant that nothing is pulled from, and its mailboxes."""
    with make_vault(directory, server) as vault:
        tenant = add_tenant(vault, OnlineConnection(_NOBODY, _NOBODY), NOT_USED)
        source = sources.add(vault, tenant, "user", _NOBODY)
        named = [Named(f"mailbox-{number}", f"mailbox-{number}@example.com") for number in range(mailboxes)]
        sources.name_mailboxes(vault, tenant, source.id, named)
