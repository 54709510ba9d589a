"""Restoring: the living come back whole, the erased do not, and a living vault is left alone."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from syncvault.errors import DamagedError, InputError, NotFoundError, RootKeyError, UsageError
from syncvault.vault import erasure, tenants
from syncvault.vault.archive import NotABackupError
from syncvault.vault.opening import open_vault
from syncvault.vault.vault import Vault
from tests.integration.fake_exchange import FakeExchange
from tests.integration.restoring import Backups, back_up, bring_back, everything, fill
from tests.integration.vault_parts import NOW, Place, register, rows, sync


@pytest.fixture
def places(tmp_path: Path) -> Backups:
    return Backups(tmp_path, tmp_path / "backup", tmp_path / "key-backup")


@pytest.fixture
def full(vault: Vault, exchange: FakeExchange) -> Vault:
    fill(vault, exchange)
    return vault


def reopened(places: Backups) -> Vault:
    return open_vault(places.home, clock=lambda: NOW)


def erase(vault: Vault, name: str) -> None:
    tenant = tenants.find(vault, name)
    assert erasure.erase(vault, tenant, reason=erasure.ON_DEMAND, role="root").status == "final"


def test_what_was_backed_up_comes_back_field_by_field(place: Place, full: Vault, places: Backups) -> None:
    before = {name: everything(full, name) for name in ("alpha", "beta")}
    made = back_up(full, places)
    place.close()
    restored = bring_back(place, places)
    assert (restored.tenants, restored.replayed.tenants, restored.unreadable) == (2, frozenset(), ())
    with reopened(places) as vault:
        assert {name: everything(vault, name) for name in ("alpha", "beta")} == before
        assert len(rows(vault.data, "contacts")) == made.data.rows["contacts"]
        assert vault.data.integrity() == vault.key_data.integrity() == []


def test_a_tenant_that_was_erased_after_the_backup_is_nowhere(
    place: Place, full: Vault, places: Backups, exchange: FakeExchange
) -> None:
    beta = everything(full, "beta")
    alpha = tenants.find(full, "alpha")
    back_up(full, places)
    erase(full, "alpha")
    back_up(full, places, out=places.root / "later")  # the keys are the latest, the rows are not
    place.close()
    restored = bring_back(place, places)
    assert restored.replayed.tenants == {alpha.id}
    with reopened(places) as vault:
        assert everything(vault, "beta") == beta
        with pytest.raises(NotFoundError):
            tenants.find(vault, "alpha")
        assert [one.facts.name for one in tenants.call_roll(vault).tenants] == ["beta"]
        assert sync(vault, tenants.find(vault, "beta")).added == 0
