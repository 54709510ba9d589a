"""The real command line in a subprocess, against the simulators of this process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Authority
from tests.simulators.company.cast import small_company
from tests.simulators.company.model import Company
from tests.simulators.online.server import OnlineSimulator
from tests.simulators.onprem.server import OnpremSimulator

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Answer:
    """What a call left behind."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)

    @property
    def data(self) -> Any:
        return self.document["data"]

    @property
    def items(self) -> Any:
        return self.data["items"]

    @property
    def error(self) -> Any:
        return self.document["error"]


@dataclass(frozen=True)
class Shell:
    """Somebody at a shell with a data directory."""

    home: Path
    files: Path
    authority: Authority

    def __call__(self, *argv: str, given: str = "", **environment: str) -> Answer:
        done = subprocess.run(
            self.line(*argv),
            cwd=ROOT,
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env=self.environment(**environment),
        )
        assert "Traceback" not in done.stderr
        return Answer(done.returncode, done.stdout, done.stderr)

    def line(self, *argv: str) -> list[str]:
        """What is run for a call."""
        return [sys.executable, "-m", "syncvault", "--home", str(self.home), *argv]

    def environment(self, **more: str) -> dict[str, str]:
        """What it is run with."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("SYNCVAULT_", "XDG_"))}
        return {**clean, "HOME": str(self.files), **more}

    def did(self, *argv: str, given: str = "") -> Answer:
        """A call that has to go well."""
        answer = self(*argv, given=given)
        assert answer.code == 0, answer
        return answer

    def file(self, name: str, content: str | bytes) -> str:
        """Writes a file of the administrator's."""
        path = self.files / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    def init(self) -> Answer:
        key = self.files / "keys" / "root.key"
        key.parent.mkdir(mode=0o700, exist_ok=True)
        return self.did("init", "--root-key", "file", "--root-key-file", str(key), "--json")

    def take_over(self, other: Shell) -> None:
        """Puts a copy of another shell's vault and root key here, as if they had been made here."""
        for theirs, ours in ((other.home, self.home), (other.files / "keys", self.files / "keys")):
            shutil.copytree(theirs, ours)
        settings = self.home / "vault.toml"
        settings.write_text(settings.read_text().replace(str(other.home.parent), str(self.home.parent)))

    def online_options(self, simulator: OnlineSimulator) -> list[str]:
        """Where the online simulator is, and for how long it is covered."""
        options = ["--directory-id", simulator.directory_id, "--client-id", simulator.client_id]
        options += ["--authority", simulator.origin, "--graph-url", simulator.origin]
        return [*options, "--admin-mail", "admin@example.com", *self.common_options()]

    def onprem_options(self, simulator: OnpremSimulator) -> list[str]:
        """Where the on-premises simulator is, and for how long it is covered."""
        options = ["--ews-url", simulator.url, "--username", simulator.username]
        return [*options, "--admin-mail", "admin@example.com", *self.common_options()]

    def common_options(self) -> list[str]:
        return [
            "--ca-bundle",
            str(self.authority.ca_file),
            "--paid-until",
            "2099-06-01",
            "--time-zone",
            "Europe/Berlin",
        ]

    def add_online(self, simulator: OnlineSimulator, name: str = "cloud", *more: str) -> Answer:
        options = [*self.online_options(simulator), *more]
        return self.did(
            "tenant", "add-online", name, *options, "--secret-stdin", "--json", given=simulator.client_secret
        )

    def add_onprem(self, simulator: OnpremSimulator, name: str = "house") -> Answer:
        options = [*self.onprem_options(simulator), "--password-stdin", "--json"]
        return self.did("tenant", "add-onprem", name, *options, given=simulator.password)


@contextmanager
def exchange(authority: Authority, company: Company | None = None, **options: Any) -> Iterator[OnpremSimulator]:
    """Another Exchange than that of the fixture."""
    simulator = OnpremSimulator(company or small_company(), authority.ca, **options)
    simulator.start()
    try:
        yield simulator
    finally:
        simulator.stop()


def a_shell(folder: Path, authority: Authority) -> Shell:
    """Somebody at a shell, whose files and whose data directory to be lie in this folder."""
    files = folder / "admin"
    files.mkdir()
    return Shell(folder / "home", files, authority)


@pytest.fixture
def shell(tmp_path: Path, authority: Authority) -> Shell:
    return a_shell(tmp_path, authority)


@pytest.fixture(scope="session")
def new_vault(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Shell:
    """A shell whose data directory holds a vault that nothing was done with yet, for copies of it."""
    shell = a_shell(tmp_path_factory.mktemp("vault"), authority)
    shell.init()
    return shell


@pytest.fixture
def vault(shell: Shell, new_vault: Shell) -> Shell:
    """A shell whose data directory holds a vault."""
    shell.take_over(new_vault)
    return shell
