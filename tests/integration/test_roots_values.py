"""Providers that can hold a value: it comes back in another process's life, is each vault's own, and is checked."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from syncvault.errors import RootKeyError
from syncvault.roots.file import FileProvider
from syncvault.roots.keyring import KeyringProvider
from syncvault.roots.port import Held, ProviderSettings, ValueHolder
from tests.parts import secret_service


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with secret_service(tmp_path_factory.mktemp("keyring")) as environment:
        yield dict(environment)


@pytest.fixture(params=[FileProvider, KeyringProvider])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type[FileProvider | KeyringProvider]:
    if request.param is KeyringProvider:
        for key, value in request.getfixturevalue("session").items():
            monkeypatch.setenv(key, value)
    return request.param


@pytest.fixture
def settings(tmp_path: Path) -> ProviderSettings:
    return ProviderSettings(vault_id=uuid4(), root_key_file=tmp_path / "keys" / "root.key", environment=os.environ)


def test_what_is_held_comes_back_and_the_last_counts(kind: type[FileProvider], settings: ProviderSettings) -> None:
    provider = kind(settings)
    assert isinstance(provider, ValueHolder)
    assert provider.held(Held.COUNT) is None
    provider.hold(Held.COUNT, 1)
    provider.hold(Held.COUNT, 27)
    assert kind(settings).held(Held.COUNT) == 27


def test_two_values_are_held_apart(kind: type[FileProvider], settings: ProviderSettings) -> None:
    provider = kind(settings)
    provider.hold(Held.LEDGER, 3)
    assert (provider.held(Held.LEDGER), provider.held(Held.COUNT)) == (3, None)
    provider.hold(Held.COUNT, 27)
    assert (provider.held(Held.LEDGER), provider.held(Held.COUNT)) == (3, 27)


def test_a_value_is_held_where_the_key_is_whatever_keyring_the_environment_names_by_then(
    session: dict[str, str], settings: ProviderSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in session.items():
        monkeypatch.setenv(key, value)
    handle = KeyringProvider(settings).create(1)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    provider = KeyringProvider(settings)
    provider.unwrap(handle)
    provider.hold(Held.COUNT, 5)
    assert provider.held(Held.COUNT) == 5
    monkeypatch.delenv("PYTHON_KEYRING_BACKEND")
    assert KeyringProvider(settings).held(Held.COUNT) == 5


def test_each_vault_has_its_own(kind: type[FileProvider], settings: ProviderSettings, tmp_path: Path) -> None:
    kind(settings).hold(Held.COUNT, 27)
    other = dataclasses.replace(settings, vault_id=uuid4(), root_key_file=tmp_path / "other" / "root.key")
    assert kind(other).held(Held.COUNT) is None


def test_holding_a_value_leaves_the_keys_alone(kind: type[FileProvider], settings: ProviderSettings) -> None:
    provider = kind(settings)
    handle = provider.create(1)
    key = provider.unwrap(handle)
    provider.hold(Held.COUNT, 27)
    assert kind(settings).unwrap(handle) == key
    provider.destroy(handle)
    assert kind(settings).held(Held.COUNT) == 27


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"27",
        b"[]",
        b'{"format": "syncvault-count v1"}',
        b'{"format": "syncvault-count v1", "vault": "VAULT", "count": "27"}',
        b'{"format": "syncvault-count v1", "vault": "VAULT", "count": true}',
        b'{"format": "syncvault-count v1", "vault": "VAULT", "count": -1}',
        b'{"format": "syncvault-count v2", "vault": "VAULT", "count": 27}',
        b'{"format": "syncvault-count v1", "vault": "another", "count": 27}',
    ],
)
def test_a_file_that_holds_something_else_is_refused(settings: ProviderSettings, content: bytes) -> None:
    provider = FileProvider(settings)
    provider.hold(Held.COUNT, 1)
    assert settings.root_key_file is not None
    beside = settings.root_key_file.with_name("root.key.count")
    assert json.loads(beside.read_bytes())["count"] == 1
    beside.write_bytes(content.replace(b"VAULT", str(settings.vault_id).encode()))
    with pytest.raises(RootKeyError, match="something other than this vault's count"):
        provider.held(Held.COUNT)
