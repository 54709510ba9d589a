"""What the tests of backups and restores share: a vault worth backing up, and the two steps."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from syncvault.vault import credentials, tenants, verify
from syncvault.vault.backups import archive, backup, restore
from syncvault.vault.backups.backup import Made
from syncvault.vault.backups.restore import Restored, Wanted
from syncvault.vault.content import contacts, photos, sources
from syncvault.vault.erasing import erasure
from syncvault.vault.opening import open_vault
from syncvault.vault.trail import audit
from syncvault.vault.vault import Vault
from tests.integration.fake_exchange import FakeExchange
from tests.integration.vault_parts import NOW, Place, register, sync


class Quiet:
    """Progress that nobody watches."""

    def expect(self, rows: int) -> None: ...

    def advance(self, rows: int) -> None: ...


@dataclass(frozen=True)
class Backups:
    """Where the backups of one vault lie, and where it is restored to."""

    root: Path
    data: Path
    keys: Path

    @property
    def home(self) -> Path:
        return self.root / "restored"

    def wanted(self, **changes: Any) -> Wanted:
        return Wanted(**{"home": self.home, "data": self.data, "keys": self.keys, **changes})


def hire(exchange: FakeExchange) -> None:
    """Two companies: A's people are ann and bob, B's is eve; all of them have contacts and a photo."""
    exchange.hire("ann", "a1", "a2", "a3")
    exchange.hire("bob", "b1")
    exchange.hire("eve", "e1", "e2")
    exchange.photos = {"ann": b"photo of ann", "a1": b"photo of a1", "eve": b"photo of eve", "e1": b"photo of e1"}


def fill(vault: Vault, exchange: FakeExchange) -> None:
    """Registers both tenants, `alpha` and `beta`, and pulls them."""
    hire(exchange)
    for name, *people in (("alpha", "ann", "bob"), ("beta", "eve")):
        tenant = register(vault, name, *people)
        assert list(sync(vault, tenant).failures) == []


def back_up(vault: Vault, places: Backups, **changes: Any) -> Made:
    """A backup of both kinds."""
    options: dict[str, Any] = {"keys_out": places.keys, "keep_days": 35, "progress": Quiet(), **changes}
    return backup.create(vault, options.pop("out", places.data), **options)


def bring_back(place: Place, places: Backups, **changes: Any) -> Restored:
    """A restore into another home."""
    return restore.restore(places.wanted(**changes), progress=Quiet(), clock=lambda: place.now)


def alter(database: Path, seed: bytes, statement: str) -> None:
    """Changes a database of a backup and signs the backup anew, as another version would have made it."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(statement)
        connection.commit()
    sign_anew(database.parent, seed)


def sign_anew(directory: Path, seed: bytes, **changes: Any) -> None:
    """Has a backup's statement say what its files are now, and whatever else is given."""
    said = archive.read(directory).statement
    files = {name: archive.measure(directory / name) for name in said.files}
    archive.write(directory, replace(said, files=files, **changes), seed)


def everything(vault: Vault, name: str) -> dict[str, Any]:
    """All that the vault knows of a tenant, field by field."""
    tenant = tenants.find(vault, name)
    credential = credentials.load(vault, tenant)
    return {
        "profile": tenant.facts.to_dict(),
        "purge_at": tenant.purge_at,
        "credential": credential.to_dict(),
        "sources": [(each.kind, each.ref) for each in sources.listing(vault, tenant)],
        "contacts": {
            entry.id: (entry.mailbox.key, entry.folder, entry.kind, entry.fields, photos.read(vault, tenant, entry.id))
            for entry in contacts.stream(vault, tenant)
        },
    }


def reopened(places: Backups) -> Vault:
    """The restored vault, as another process would open it."""
    return open_vault(places.home, clock=lambda: NOW)


def erase(vault: Vault, name: str) -> None:
    """Deletes a tenant for good."""
    tenant = tenants.find(vault, name)
    assert erasure.erase(vault, tenant, reason=erasure.ON_DEMAND, role="root").status == "final"


def assert_sound(vault: Vault) -> None:
    """Nothing is to be found wrong with it."""
    assert verify.verify(vault).findings == []
    assert not audit.verify(vault).findings
    assert vault.data.integrity() == vault.key_data.integrity() == []
