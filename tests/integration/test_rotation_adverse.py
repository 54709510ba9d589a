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
from syncvault.vault.keyring import resealing, root_rotation, rotation
from syncvault.vault.keyring.wrapped import Purpose
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
    with pytest.raises(DamagedError, match=rf"^Rows of tenant {UUID(bytes=tenant.id)} .* cannot reach them") as refused:
        rotation.rotate(vault, tenant)
    assert refused.value.advice.startswith("Run `syncvault verify`")
    assert rotation.unfinished(vault, tenant.id) == {Purpose.DATA, Purpose.INDEX}
