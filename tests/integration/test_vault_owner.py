"""Root at a shell and the service's user work on one vault."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from syncvault.roots import keyfiles
from syncvault.vault import layout
from tests.integration.vault_parts import Place

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def test_what_root_makes_belongs_to_the_owner_of_the_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "locks").mkdir(parents=True)
    os.chown(home, 1234, 1234)
    (home / "locks" / "maintenance").touch()
    outside = tmp_path / "outside"
    outside.touch()
    (home / "link").symlink_to(outside)
    layout.match_owner(home)
    assert {path.lstat().st_uid for path in home.rglob("*")} == {1234}
    assert outside.stat().st_uid == 0


def test_closing_a_vault_gives_its_files_to_the_owner_of_the_home(place: Place) -> None:
    vault = place.create()
    os.chown(place.home, 1234, 1234)
    vault.close()
    assert {path.stat().st_uid for path in place.home.rglob("*")} == {1234}


def test_a_file_that_has_a_second_name_elsewhere_is_not_given_away(tmp_path: Path) -> None:
    home, outside = tmp_path / "home", tmp_path / "outside"
    home.mkdir()
    os.chown(home, 1234, 1234)
    outside.touch()
    (home / "innocent").hardlink_to(outside)
    layout.match_owner(home)
    assert outside.stat().st_uid == 0


def test_a_key_file_that_root_writes_again_still_belongs_to_whom_it_did(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "root.key"
    keyfiles.place(path, b"one")
    os.chown(path.parent, 1234, 1234)
    os.chown(path, 1234, 1234)
    keyfiles.replace(path, b"two")
    assert (path.stat().st_uid, path.read_bytes()) == (1234, b"two")
