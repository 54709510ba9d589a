"""A full disk, met at every size that files may still grow to: nothing half made is left, and space is all it takes."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from syncvault.errors import StorageError
from syncvault.vault.vault import Vault
from tests.integration.fake_exchange import FakeExchange
from tests.integration.restoring import Backups, back_up, bring_back, everything, fill, reopened
from tests.integration.vault_parts import Place

pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize("database_urls", ["sqlite"], indirect=True),  # the files are the same on both
]

LIMITS = [0, 1, 100, 500, 1_000, 4_096, 5_000, 20_000, 50_000, 65_536, 66_000, 100_000, 150_000, 200_000, 230_000]


@pytest.fixture
def places(tmp_path: Path) -> Backups:
    return Backups(tmp_path, tmp_path / "backup", tmp_path / "key-backup")


@pytest.fixture
def full(vault: Vault, exchange: FakeExchange) -> Vault:
    fill(vault, exchange)
    return vault


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """No file of this process grows beyond a size; the signal that says so is one that Python ignores."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def left(places: Backups) -> set[str]:
    return {path.name for path in places.root.iterdir()} - {"home", "root-key"}


def test_a_backup_that_finds_no_room_leaves_the_earlier_one_and_nothing_else(full: Vault, places: Backups) -> None:
    back_up(full, places)
    before, earlier = left(places), {path: path.read_bytes() for path in places.keys.iterdir()}
    refusals = 0
    for limit in LIMITS:
        with files_up_to(limit):
            try:
                back_up(full, places, out=places.root / "later")
            except StorageError:
                refusals += 1
            else:
                break
        assert left(places) == before, limit
        assert {path: path.read_bytes() for path in places.keys.iterdir()} == earlier
    assert refusals > 8
    if not (places.root / "later").exists():
        back_up(full, places, out=places.root / "later")


def test_a_restore_that_finds_no_room_leaves_no_vault(place: Place, full: Vault, places: Backups) -> None:
    before = everything(full, "alpha")
    back_up(full, places)
    place.close()
    refusals = 0
    for limit in LIMITS:
        with files_up_to(limit):
            try:
                bring_back(place, places)
            except StorageError:
                refusals += 1
            else:
                break
        assert not places.home.exists(), limit
    assert refusals > 8
    if not places.home.exists():
        bring_back(place, places)
    with reopened(places) as vault:
        assert everything(vault, "alpha") == before
