"""Root-key providers of other packages: real distributions on the path of a real command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow  # against a server or a token of its own

ROOT = Path(__file__).parents[2]

DRAWER = '''
"""Keeps root keys in a drawer: one file per generation."""

import os
from pathlib import Path

from syncvault.errors import RootKeyError
from syncvault.roots.port import Destroyed, RootKeyProvider


class Drawer(RootKeyProvider):
    name = "drawer"

    def __init__(self, settings):
        self._folder = settings.options.get("folder")
        self._vault = settings.vault_id

    @property
    def remembers(self):
        return {"folder": self._folder}

    def create(self, generation):
        self._file(generation).write_bytes(os.urandom(32))
        return {"provider": self.name, "generation": generation}

    def unwrap(self, handle):
        try:
            return self._file(handle["generation"]).read_bytes()
        except FileNotFoundError:
            raise RootKeyError("The drawer is empty.") from None

    def destroy(self, handle):
        self._file(handle["generation"]).unlink(missing_ok=True)
        return Destroyed()

    def why_unusable(self):
        return None if self._folder else "No drawer is named (option folder)."

    def describe(self):
        return "Protects nothing much. Does not protect against whoever opens the drawer."

    def _file(self, generation):
        return Path(self._folder) / f"{self._vault}-{generation}"
'''


@dataclass(frozen=True)
class Machine:
    """A machine on which other packages are installed beside syncvault."""

    folder: Path
    site: Path = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "site", self.folder / "site")
        self.site.mkdir()

    def install(self, module: str, source: str, **entries: str) -> None:
        """Lays out a distribution as an installer would."""
        (self.site / f"{module}.py").write_text(source)
        information = self.site / f"{module}-1.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        lines = [f"{name} = {target}" for name, target in entries.items()]
        (information / "entry_points.txt").write_text("\n".join(["[syncvault.roots]", *lines, ""]))

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """The real command line in a process of its own."""
        return subprocess.run(
            [sys.executable, "-m", "syncvault", "--home", str(self.folder / "vault"), *argv],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), "PYTHONPATH": str(self.site)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def survey(self) -> dict[str, str]:
        """What `init` says of each provider when it is given none."""
        said = self.run("init")
        assert said.returncode == 2
        lines = [line.split(maxsplit=1) for line in said.stderr.splitlines() if line.startswith("  ")]
        return {words[0]: words[1] for words in lines if len(words) == 2}

    def init(self, provider: str, *options: str) -> Any:
        """Makes a vault."""
        done = self.run("init", "--root-key", provider, *options, "--json")
        assert done.returncode == 0, done
        return json.loads(done.stdout)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def drawer(machine: Machine, tmp_path: Path) -> Path:
    """The package that brings `drawer`, and an empty drawer."""
    machine.install("acme_drawer", DRAWER, drawer="acme_drawer:Drawer")
    (tmp_path / "drawer").mkdir()
    return tmp_path / "drawer"


def test_init_shows_a_provider_of_another_package_after_ours(machine: Machine, drawer: Path) -> None:
    survey = machine.survey()
    assert list(survey)[:3] == ["keyring", "systemd", "passphrase"]
    assert survey["drawer"] == "not usable: No drawer is named (option folder)."


@pytest.mark.slow
def test_a_vault_is_made_opened_and_lost_with_a_provider_of_another_package(machine: Machine, drawer: Path) -> None:
    made = machine.init("drawer", "--root-key-option", f"folder={drawer}")
    assert made["data"]["root_key"] == "drawer"
    assert [len(key.read_bytes()) for key in drawer.iterdir()] == [32]
    assert machine.run("audit", "list", "--json").returncode == 0
    for key in drawer.iterdir():
        key.unlink()
    lost = machine.run("audit", "list", "--json")
    assert lost.returncode == 12
    assert json.loads(lost.stdout)["error"]["message"] == "The drawer is empty."


BROKEN = {
    "lacks": ("import a_module_that_is_not_installed", "ModuleNotFoundError"),
    "fails": ("raise SystemError('at import')", "SystemError"),
    "number": ("Broken = 7", "TypeError"),
    "nothing": ("", "AttributeError"),
    "unmade": ("def Broken(settings): raise LookupError", "LookupError"),
    "unasked": ("class Broken:\n    def __init__(self, _): 0\n    def why_unusable(self): 1 / 0", "ZeroDivisionError"),
}


@pytest.mark.slow
def test_broken_packages_are_named_and_do_not_break_the_others(machine: Machine, drawer: Path) -> None:
    for name, (source, _) in BROKEN.items():
        machine.install(f"acme_{name}", source, **{name: f"acme_{name}:Broken"})
    survey = machine.survey()
    for name, (_, kind) in BROKEN.items():
        assert survey[name] == f"not usable: The root-key provider {name} cannot be loaded: {kind}."
    assert "usable" in survey["file"]
    assert machine.init("drawer", "--root-key-option", f"folder={drawer}")["data"]["root_key"] == "drawer"


def test_a_vault_is_not_made_with_a_broken_package(machine: Machine) -> None:
    machine.install("acme_broken", "import a_module_that_is_not_installed", broken="acme_broken:Broken")
    done = machine.run("init", "--root-key", "broken", "--json")
    assert done.returncode == 12
    assert "Repair or remove" in json.loads(done.stdout)["error"]["advice"]


@pytest.mark.slow
def test_a_package_cannot_take_one_of_our_names(machine: Machine, drawer: Path, tmp_path: Path) -> None:
    machine.install("acme_impostor", DRAWER, file="acme_impostor:Drawer", keyring="acme_impostor:Drawer")
    survey = machine.survey()
    assert "drawer" not in survey["file"]
    assert len([name for name in survey if name == "file"]) == 1
    key = tmp_path / "keys" / "root.key"
    made = machine.init("file", "--root-key-file", str(key))
    assert made["data"]["root_key"] == "file"
    assert list(drawer.iterdir()) == []
    assert json.loads(key.read_text())["format"] == "syncvault-root-keys v1"
