"""Root at a shell and the service's user work on one vault."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from syncvault.vault import layout

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
