"""Rotations that kill themselves after their Nth lasting step: a commit, a scrub, or whatever changes a directory.

Each runs in a forked child, which opens the vault itself: hundreds of programs of their own would take too long.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from syncvault.secret import Secret
from syncvault.store.engine import Database
from syncvault.vault import tenants
from syncvault.vault.keyring import resealing, root_rotation, rotation
from syncvault.vault.keyring.wrapped import Purpose
from syncvault.vault.layout import RootPlace
from syncvault.vault.opening import open_vault
from syncvault.vault.vault import Vault
from tests.integration import killed
from tests.integration.vault_parts import NOW

PASSPHRASE = Secret(b"battery staple")
_FAILED = 70


def elsewhere(home: Path) -> RootPlace:
    return RootPlace("file", home.parent / "elsewhere" / "root.key")


def _rotate(vault: Vault, purposes: set[Purpose]) -> None:
    rotation.rotate(vault, tenants.find(vault, "acme"), purposes)


VERBS: dict[str, Callable[[Vault], object]] = {
    "open": lambda vault: None,
    "rotate-root": root_rotation.rotate,
    "migrate-file": lambda vault: root_rotation.migrate(vault, elsewhere(vault.layout.home)),
    "migrate-passphrase": lambda vault: root_rotation.migrate(
        vault, RootPlace("passphrase"), new_passphrase=lambda: PASSPHRASE
    ),
    "rotate-data": lambda vault: _rotate(vault, {Purpose.DATA}),
    "rotate-index": lambda vault: _rotate(vault, {Purpose.INDEX}),
    "rotate-both": lambda vault: _rotate(vault, {Purpose.DATA, Purpose.INDEX}),
}


def kill_after(step: int, verb: str, home: Path) -> bool:
    """Does the verb in a child; returns whether it was killed before its end."""
    child = os.fork()
    if child == 0:
        code = _FAILED
        try:
            resealing.PAGE = 2  # type: ignore[misc]
            with open_vault(home, passphrase=lambda: PASSPHRASE, clock=lambda: NOW) as vault:
                killed._arm_files(step)
                _count_scrubs()
                VERBS[verb](vault)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, "it failed, though nothing was in its way"
    return False


def _count_scrubs() -> None:
    # An empty transaction counts as a step: that is how a scrub becomes one.
    scrub = Database.scrub

    def scrub_and_count(self: Database, *tables: object, **options: float) -> object:
        report = scrub(self, *tables, **options)  # type: ignore[arg-type]
        with self.write():
            pass
        return report

    Database.scrub = scrub_and_count  # type: ignore[method-assign, assignment]


@contextmanager
def kept(directory: Path) -> Iterator[Callable[[], None]]:
    """Gives back what brings a directory to the state it has now, again and again."""
    copy = directory.with_name(directory.name + "-kept")
    shutil.copytree(directory, copy)

    def put_back() -> None:
        shutil.rmtree(directory)
        shutil.copytree(copy, directory)

    yield put_back
    shutil.rmtree(copy)
