"""Where `init` puts things, who may reach them, and what it leaves in the log."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

from tests.acceptance.conftest import ROOT, Shell


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def make_open_directory(path: Path) -> None:
    path.mkdir()
    path.chmod(0o755)


def test_an_empty_directory_made_beforehand_is_closed_to_others(shell: Shell) -> None:
    make_open_directory(shell.home)
    shell.init()
    assert mode(shell.home) == 0o700
    assert shell.did("doctor", "--json").code == 0


def test_a_directory_that_is_in_use_keeps_its_mode_and_the_doctor_tells(shell: Shell) -> None:
    make_open_directory(shell.home)
    (shell.home / "somebody's").touch()
    shell.init()
    assert mode(shell.home) == 0o755
    answer = shell("doctor", "--json")
    assert answer.code == 4
    assert [one["check"] for one in answer.items if one["result"] != "ok"] == ["permissions"]


def test_a_database_named_from_here_is_found_from_elsewhere(shell: Shell, tmp_path: Path) -> None:
    key = str(tmp_path / "keys" / "root.key")
    (tmp_path / "keys").mkdir(mode=0o700)
    arguments = ["init", "--root-key", "file", "--root-key-file", key, "--database", "sqlite:///here.db"]
    done = subprocess.run(
        [sys.executable, "-m", "syncvault", "--home", str(shell.home), *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
    )
    assert done.returncode == 0
    assert shell.did("status", "--json").data["tenants"] == 0


def test_making_the_vault_is_the_first_entry_of_the_log(vault: Shell) -> None:
    assert [(one["verb"], one["outcome"]) for one in vault.did("audit", "list", "--json").items] == [("init", "ok")]


def test_a_directory_that_is_everybody_s_takes_no_root_key_and_nobody_is_told_to_close_it(
    shell: Shell, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    answer = shell("init", "--root-key", "file", "--root-key-file", str(shared / "root.key"), "--json")
    assert answer.code == 12
    assert str(shared) in answer.error["message"]
    assert "chmod" not in answer.error["advice"]


def test_a_secret_given_as_an_option_is_refused_before_anything_is_kept(shell: Shell) -> None:
    answer = shell("init", "--root-key", "pkcs11", "--root-key-option", "pin=1234-5678", "--json")
    assert answer.code == 2
    assert "no option 'pin'" in answer.error["message"]
    assert "mechanism, module, token" in answer.error["advice"]
    assert not shell.home.exists()
