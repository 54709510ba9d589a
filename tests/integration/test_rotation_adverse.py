"""Rotations where two hosts begin at once, where the disk is full, and what can be said of the keys meanwhile."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from syncvault.errors import DamagedError, StorageError
from syncvault.store import keys as key_rows
from syncvault.store.engine import Database
from syncvault.store.statements import run, value
from syncvault.vault import tenants
from syncvault.vault.keyring import keys_in_use, resealing, root_rotation, rotation
from syncvault.vault.keyring.keys_in_use import KeyInUse
from syncvault.vault.keyring.rotation import NOBODY
from syncvault.vault.keyring.wrapped import Purpose
from syncvault.vault.layout import RootPlace
from syncvault.vault.model import Tenant
from syncvault.vault.vault import Vault
from tests.integration.fake_exchange import FakeExchange
from tests.integration.killed import first_scene
from tests.integration.rotating import everything, generations, is_sound
from tests.integration.vault_parts import Place, execute, register, sync

pytestmark = pytest.mark.slow  # many whole vaults

ROTATE = """
import sys
from pathlib import Path
from syncvault.vault import tenants
from syncvault.vault.keyring import root_rotation, rotation
from syncvault.vault.opening import open_vault
with open_vault(Path(sys.argv[1])) as vault:
    print("ready", flush=True)
    sys.stdin.readline()
    eval(sys.argv[2])
"""


@pytest.fixture
def tenant(vault: Vault, exchange: FakeExchange) -> Tenant:
    exchange.__dict__.update(first_scene().__dict__)
    tenant = register(vault, "acme", "g:all", "ann")
    sync(vault, tenant)
    return tenant


def at_once(place: Place, expression: str) -> None:
    """Two processes of their own that do the same at the same time."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", ROTATE, str(place.home), expression]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    both = [subprocess.Popen(command, cwd=root, text=True, **pipes) for _ in range(2)]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    threads = [threading.Thread(target=process.communicate, args=("\n",)) for process in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert [process.returncode for process in both] == [0, 0]


@pytest.mark.slow
def test_two_hosts_that_rotate_the_root_at_once_end_in_one_state(place: Place, vault: Vault, tenant: Tenant) -> None:
    before = everything(vault)
    at_once(place, "root_rotation.rotate(vault)")
    again = place.open()
    assert everything(again) == before
    with again.key_data.read() as tx:
        assert {root.generation: root.state for root in key_rows.roots(tx)} == {
            1: "destroyed",
            2: "destroyed",
            3: "current",
        }
        assert {row.root_generation for row in key_rows.list_all(tx)} == {3}


@pytest.mark.slow
def test_two_hosts_that_rotate_a_tenant_at_once_end_in_one_state(place: Place, vault: Vault, tenant: Tenant) -> None:
    before = everything(vault)
    at_once(place, "rotation.rotate(vault, tenants.find(vault, 'acme'))")
    again = place.open()
    assert everything(again) == before
    assert is_sound(again, tenant)
    assert rotation.unfinished(again, tenant.id) == set()
    assert generations(again) in ({2}, {3})


def _sqlite_only(vault: Vault) -> None:
    if vault.data.dialect != "sqlite":
        pytest.skip("how full a disk is can be set for SQLite alone")


@pytest.mark.parametrize("nth", range(1, 14))
def test_a_write_that_the_disk_refuses_leaves_a_rotation_that_can_be_resumed(
    vault: Vault, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    before, left = everything(vault), [nth]
    monkeypatch.setattr(resealing, "PAGE", 4)
    write = Database.write

    @contextmanager
    def full_at_the_nth(self: Database) -> Iterator[Any]:
        with write(self) as tx:
            yield tx
            left[0] -= 1
            if left[0] == 0:  # at the end of the transaction, where the disk is found to be full
                raise StorageError("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(Database, "write", full_at_the_nth)
        try:
            rotation.rotate(vault, tenant)
            assert left[0] > 0
        except StorageError:
            assert left[0] == 0
    assert everything(vault) == before
    assert is_sound(vault, tenant)
    rotation.rotate(vault, tenant)
    assert everything(vault) == before
    assert is_sound(vault, tenant)
    assert rotation.unfinished(vault, tenant.id) == set()


def test_a_full_disk_says_so_and_leaves_the_root_key_as_it_was(place: Place, vault: Vault, tenant: Tenant) -> None:
    _sqlite_only(vault)
    before = everything(vault)
    with vault.key_data.write() as tx:
        run(tx, f"PRAGMA max_page_count = {value(tx, 'PRAGMA page_count')}")
    for number in range(2000):
        try:
            execute(vault.key_data, "INSERT INTO key_meta (name, value) VALUES (?, ?)", f"filler {number}", "x" * 200)
        except StorageError:
            break

    def rotate_again_and_again() -> None:
        for _ in range(50):  # each adds a row to root_generations
            root_rotation.rotate(vault)

    with pytest.raises(StorageError, match="full"):
        rotate_again_and_again()
    again = place.open()
    assert everything(again) == before
    with again.key_data.read() as tx:
        assert [root.state for root in key_rows.roots(tx)].count("current") == 1


@pytest.mark.parametrize(
    "tampered", ["DELETE FROM contacts", "DELETE FROM mailboxes", "UPDATE contacts SET remote_ix = id || 'x'"]
)
def test_rows_that_hang_on_nothing_end_a_rotation_instead_of_holding_it_up(
    place: Place, vault: Vault, tenant: Tenant, tampered: str
) -> None:
    if vault.data.dialect != "sqlite":
        return  # it keeps what rows hang on
    with sqlite3.connect(place.home / "vault.db") as behind_its_back:
        behind_its_back.execute(tampered)
    behind_its_back.close()
    with pytest.raises(DamagedError, match="cannot reach them"):
        rotation.rotate(vault, tenant)
    assert rotation.unfinished(vault, tenant.id) == {Purpose.DATA, Purpose.INDEX}


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
