"""A vault's root key moves to every provider there is, each on its real part, is rotated there, and moves back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from syncvault.roots.port import Destroyed, ProviderSettings
from syncvault.vault import layout
from syncvault.vault.keyring import root_rotation
from syncvault.vault.layout import Layout, RootPlace, default_database, default_key_database
from syncvault.vault.opening import create_vault, open_vault
from syncvault.vault.vault import Vault
from tests.integration.test_key_rotation_of_roots import opens, states
from tests.integration.test_roots_providers import key_vault, kms, openbao, session, settings  # noqa: F401  (fixtures)
from tests.integration.vault_parts import NOW, register

pytestmark = pytest.mark.slow


def test_a_root_key_moves_there_and_back(
    settings: ProviderSettings,  # noqa: F811  (the fixture)
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = request.node.callspec.params["settings"]
    for key in settings.environment.keys() - os.environ.keys():
        monkeypatch.setenv(key, settings.environment[key])
    home, file = tmp_path / "home", tmp_path / "file" / "root.key"
    place = RootPlace(name, settings.root_key_file, settings.options)
    back = RootPlace("file", tmp_path / "back" / "root.key")

    def again() -> Vault:
        return open_vault(home, passphrase=settings.passphrase, clock=lambda: NOW)

    made = Layout(home, default_database(home), default_key_database(home), "file", file)
    with create_vault(made, clock=lambda: NOW) as vault:
        register(vault)
        moved = root_rotation.migrate(vault, place, new_passphrase=settings.passphrase)
        assert moved.destructions == {1: Destroyed()}
        assert not file.exists()
    with again() as vault:
        assert vault.layout.root_key == name
        assert opens(vault)
        root_rotation.rotate(vault)
    with again() as vault:
        assert opens(vault)
        returned = root_rotation.migrate(vault, back)
        assert (returned.provider, returned.generation) == ("file", 4)
        last = returned.destructions[3]
    with again() as vault:
        assert opens(vault)
        assert states(vault)[4] == "current"
        found = layout.load(home)
        assert (found.root_place, found.coming) == (back, None)
        assert bool(found.replaced) is not isinstance(last, Destroyed)
