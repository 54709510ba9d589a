"""`kill -9` at any step of a backup or a restore: what is there is whole, and running it again ends it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from syncvault.vault import layout, verify
from syncvault.vault.backups import backup_check
from syncvault.vault.backups.archive import NotABackupError
from syncvault.vault.opening import open_vault
from syncvault.vault.vault import Vault
from tests.integration.fake_exchange import FakeExchange
from tests.integration.killed import kill_after
from tests.integration.restoring import Backups, back_up, bring_back, everything, fill
from tests.integration.vault_parts import NOW, Place, register

MOST_STEPS = 120
FIRST_STEPS = [1, 2, 3, 4]

pytestmark = pytest.mark.parametrize("database_urls", ["sqlite"], indirect=True)  # the files are the same on both
AT_HOME = {"vault.toml", "vault.db", "keys.db", "erasure.ledger", "receipts", "locks", ".restoring"}
AT_HOME |= {f"{name}.db-{journal}" for name in ("vault", "keys") for journal in ("wal", "shm")}


@pytest.fixture
def places(tmp_path: Path) -> Backups:
    return Backups(tmp_path, tmp_path / "backup", tmp_path / "key-backup")


def whole(vault: Vault, directory: Path) -> bool:
    """Whether a backup is there; if it is, nothing is wrong with it."""
    if not (directory / "backup.json").exists():
        return False
    assert backup_check.check(vault, directory).findings == []
    return True


def steps(verb: str, home: Path, first: int) -> Iterator[int]:
    """Runs the verb again and again, killed a few steps later each time, until it comes to its end."""
    for step in range(first, MOST_STEPS, len(FIRST_STEPS)):
        was_killed = kill_after(step, verb, home)
        yield step
        if not was_killed:
            return
    pytest.fail("it never came to its end")


@pytest.mark.slow
@pytest.mark.parametrize("first", FIRST_STEPS)
def test_a_backup_killed_after_any_step_is_whole_or_not_there(
    place: Place, vault: Vault, exchange: FakeExchange, places: Backups, first: int
) -> None:
    fill(vault, exchange)
    back_up(vault, places, out=places.root / "first")  # so that there are keys to be replaced
    register(vault, "gamma")
    moments_without = 0
    for _ in steps("backup", place.home, first):
        if not whole(vault, places.keys):  # between two renames: the earlier ones stand beside their place
            moments_without += 1
            with pytest.raises(NotABackupError) as refused:
                backup_check.check(vault, places.keys)
            aside = places.keys.with_name(".key-backup.syncvault-replaced")
            assert str(aside) in refused.value.advice
            assert whole(vault, aside)
        if whole(vault, places.data):
            shutil.rmtree(places.data)
    assert moments_without <= 1
    assert whole(vault, places.keys)
    assert not [path for path in places.root.iterdir() if ".syncvault" in path.name]


@pytest.mark.slow
@pytest.mark.parametrize("first", FIRST_STEPS)
def test_a_restore_killed_after_any_step_is_a_whole_vault_or_none(
    place: Place, vault: Vault, exchange: FakeExchange, places: Backups, first: int
) -> None:
    fill(vault, exchange)
    before = {name: everything(vault, name) for name in ("alpha", "beta")}
    back_up(vault, places)
    place.close()
    for step in steps("restore", places.home, first):
        if not layout.exists(places.home) and step % 3:
            continue  # let some go on from where they were killed
        if not layout.exists(places.home):
            bring_back(place, places)
        with open_vault(places.home, clock=lambda: NOW) as restored:
            assert {name: everything(restored, name) for name in before} == before
            assert verify.verify(restored).findings == []
            assert {path.name for path in places.home.iterdir()} <= AT_HOME
        shutil.rmtree(places.home)
