"""Which keys are in use: the root keys, the vault's own and the tenants', with the rows that need each."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from syncvault.roots.file import FileProvider
from syncvault.roots.port import Pending
from syncvault.vault import tenants
from syncvault.vault.erasing import erasure
from syncvault.vault.keyring import keys_in_use, resealing, root_rotation, rotation
from syncvault.vault.keyring.keys_in_use import KeyInUse
from syncvault.vault.keyring.rotation import NOBODY
from syncvault.vault.keyring.wrapped import Purpose
from syncvault.vault.layout import RootPlace
from syncvault.vault.model import Tenant
from syncvault.vault.vault import Vault
from tests.integration.fake_exchange import FakeExchange
from tests.integration.killed import first_scene
from tests.integration.vault_parts import execute, register, sync


@pytest.fixture
def tenant(vault: Vault, exchange: FakeExchange) -> Tenant:
    exchange.__dict__.update(first_scene().__dict__)
    tenant = register(vault, "acme", "g:all", "ann")
    sync(vault, tenant)
    return tenant


def test_the_keys_in_use_are_listed_with_the_rows_that_need_them(
    vault: Vault, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = keys_in_use.listing(vault)
    assert [one for one in found if one.tenant is None and one.purpose in {"root", "names"}] == [
        KeyInUse(None, "root", 1, "current", len(found) - 1),
        KeyInUse(None, "names", 1, "current", 1),
    ]
    (data, index) = keys_in_use.of_tenant(vault, tenant)
    assert (data.tenant, data.purpose, data.generation, data.state) == ("acme", "data", 1, "current")
    assert (index.tenant, index.purpose, index.generation, index.state) == ("acme", "index", 1, "current")
    # Two sources, two mailboxes, two folders, six contacts with cards; without an index: profile, credential,
    # two checkpoints, two photos and the manifest.
    assert (index.rows, data.rows) == (12, 12 + 7)


@pytest.mark.parametrize("purpose", list(Purpose)[-2:])
def test_meanwhile_the_rows_of_both_generations_add_up(
    vault: Vault, tenant: Tenant, purpose: Purpose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resealing, "PAGE", 1)
    expected = {one.purpose: one.rows for one in keys_in_use.of_tenant(vault, tenant)}
    seen: list[dict[int, int]] = []

    def look(done: int, of: int) -> None:
        del done, of
        found = [one for one in keys_in_use.listing(vault) if one.tenant == "acme" and one.purpose == purpose]
        seen.append({one.generation: one.rows for one in found})

    rotation.rotate(vault, tenant, {purpose}, NOBODY._replace(done=look))
    assert {sum(each.values()) for each in seen} == {expected[purpose]}
    assert [each[2] for each in seen] == sorted(each[2] for each in seen)
    assert seen[-1] == {1: 0, 2: expected[purpose]}
    assert len({each[2] for each in seen}) > 5


def test_the_keys_of_a_tenant_that_cannot_be_named_are_listed_by_its_id(vault: Vault, tenant: Tenant) -> None:
    execute(vault.data, "UPDATE tenants SET profile = ?", b"torn")
    found = [one for one in keys_in_use.listing(vault) if one.tenant]
    assert {one.tenant for one in found} == {str(UUID(bytes=tenant.id))}


def test_a_moved_root_key_is_listed_under_its_new_generation(vault: Vault, tenant: Tenant, tmp_path: Path) -> None:
    root_rotation.migrate(vault, RootPlace("file", tmp_path / "elsewhere" / "root.key"))
    roots = [one for one in keys_in_use.listing(vault) if one.purpose == "root"]
    assert [(one.generation, one.state) for one in roots] == [(2, "current")]
    assert tenants.find(vault, "acme").id == tenant.id


def test_tenants_come_by_name_and_those_without_one_last_by_id(vault: Vault) -> None:
    torn = sorted(register(vault, f"torn {number}").id for number in range(3))
    for name in ("delta", "acme", "carol", "beta"):
        register(vault, name)
    for tenant_id in torn:
        execute(vault.data, "UPDATE tenants SET profile = ? WHERE id = ?", b"torn", tenant_id)
    found = [one.tenant for one in keys_in_use.listing(vault) if one.tenant and one.purpose == Purpose.DATA]
    assert found == ["acme", "beta", "carol", "delta", *(str(UUID(bytes=each)) for each in torn)]


def test_of_the_vaults_own_keys_only_that_of_the_names_has_rows(vault: Vault) -> None:
    for name in ("acme", "beta"):
        register(vault, name)
    own = {one.purpose: one.rows for one in keys_in_use.listing(vault) if one.tenant is None and one.purpose != "root"}
    assert own.pop("names") == 2
    assert set(own.values()) == {0}


def test_a_root_key_that_is_not_destroyed_yet_is_listed(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FileProvider, "destroy", lambda self, handle: Pending("tonight"))
    root_rotation.rotate(vault)
    own = len([one for one in keys_in_use.listing(vault) if one.purpose != "root"])
    roots = [one for one in keys_in_use.listing(vault) if one.purpose == "root"]
    assert roots == [KeyInUse(None, "root", 1, "retired", 0), KeyInUse(None, "root", 2, "current", own)]


def test_the_keys_of_a_tenant_in_erasure_are_named_by_its_id(vault: Vault, tenant: Tenant) -> None:
    erasure._fence(vault, tenant, erasure.ON_DEMAND, "root")
    found = keys_in_use.of_tenant(vault, tenants.find(vault, "acme"))
    assert {one.tenant for one in found} == {str(UUID(bytes=tenant.id))}


def test_a_row_that_does_not_open_keeps_nobody_from_an_overview(vault: Vault, tenant: Tenant) -> None:
    expected = {(one.purpose, one.generation): one.rows for one in keys_in_use.of_tenant(vault, tenant)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rotation, "_walk", lambda *args: 0)
        patch.setattr(rotation, "_finish", lambda *args: 0)
        rotation.rotate(vault, tenant, {Purpose.INDEX})
    execute(vault.data, "UPDATE sources SET blob = ?", b"torn" * 80)
    found = {(one.purpose, one.generation): one.rows for one in keys_in_use.of_tenant(vault, tenant)}
    assert found[Purpose.INDEX, 2] == expected[Purpose.INDEX, 1]
