"""What every root-key provider keeps to, each on its real part: Secret Service, systemd-creds, Argon2id, SoftHSM, …"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from syncvault.errors import RootKeyError, UsageError
from syncvault.roots.port import Destroyed, NotPossible, Pending, ProviderSettings, RootKeyProvider
from syncvault.roots.registry import names, open_provider, require_options, survey
from syncvault.secret import Secret
from tests.conftest import Authority
from tests.parts import (
    OpenBao,
    kms_server,
    openbao_server,
    require_programs,
    secret_service,
    softhsm_module,
    softhsm_token,
)
from tests.simulators.key_vault import KeyVaultStub

# Each creation wraps another key, and every handle opens its own.
WRAPPING = {"pkcs11", "openbao", "aws-kms", "azure-keyvault"}
PIN = "1234-5678"


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with secret_service(tmp_path_factory.mktemp("keyring")) as environment:
        yield dict(environment)


@pytest.fixture(scope="module")
def openbao(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[OpenBao]:
    with openbao_server(tmp_path_factory.mktemp("openbao"), authority.ca) as server:
        yield server


@pytest.fixture(scope="module")
def kms() -> Iterator[str]:
    with kms_server() as url:
        yield url


@pytest.fixture
def key_vault(authority: Authority) -> Iterator[KeyVaultStub]:
    stub = KeyVaultStub(authority.ca)
    stub.start()
    yield stub
    stub.stop()


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.slow) if name == "passphrase" else name for name in names()]
)
def settings(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProviderSettings:
    environment = dict(os.environ)
    if request.param == "keyring":
        for key, value in request.getfixturevalue("session").items():
            monkeypatch.setenv(key, value)
    if request.param == "systemd":
        require_programs("systemd-creds")
        environment["SYSTEMD_CREDENTIAL_SECRET"] = str(request.getfixturevalue("host_secrets") / "ours")
        environment.pop("CREDENTIALS_DIRECTORY", None)
    options: dict[str, str] = {}
    if request.param == "openbao":
        server = request.getfixturevalue("openbao")
        environment["BAO_TOKEN"] = server.root_token
        options = {"address": server.address, "ca_file": str(server.ca_file)}
    if request.param == "aws-kms":
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        options = {"region": "eu-central-1", "endpoint": request.getfixturevalue("kms")}
    if request.param == "azure-keyvault":
        vault = request.getfixturevalue("key_vault")
        ca_file = request.getfixturevalue("authority").ca_file
        for key, value in {**vault.environment, "REQUESTS_CA_BUNDLE": str(ca_file)}.items():
            monkeypatch.setenv(key, value)
        monkeypatch.setattr("syncvault.roots.azure_keyvault._SETTLING", ())  # the stub is never between two states
        options = {"vault_url": vault.url}
    if request.param == "pkcs11":
        monkeypatch.setenv("SOFTHSM2_CONF", str(softhsm_token(tmp_path, "syncvault", PIN)))
        options = {"module": str(softhsm_module()), "token": "syncvault"}
        (tmp_path / "keys").mkdir(mode=0o700)
        (tmp_path / "keys" / "root").touch(mode=0o600)
        (tmp_path / "keys" / "root").write_text(PIN)
    return ProviderSettings(
        vault_id=uuid4(),
        root_key_file=tmp_path / "keys" / "root",
        options=options,
        passphrase=lambda: Secret("correct horse"),
        environment=environment,
    )


@pytest.fixture
def provider(request: pytest.FixtureRequest, settings: ProviderSettings) -> RootKeyProvider:
    return open_provider(request.node.callspec.params["settings"], settings)


def test_a_created_key_opens_again_and_again_in_another_process_life(
    provider: RootKeyProvider, settings: ProviderSettings
) -> None:
    handle = json.loads(json.dumps(provider.create(1)))
    key = provider.unwrap(handle)
    assert len(key) == 32
    assert provider.unwrap(handle) == key
    assert open_provider(provider.name, settings).unwrap(handle) == key


def test_two_generations_live_side_by_side_and_differ(provider: RootKeyProvider) -> None:
    first, second = provider.create(1), provider.create(2)
    assert provider.unwrap(first) != provider.unwrap(second)


def test_the_handle_names_its_generation_and_holds_no_key(provider: RootKeyProvider) -> None:
    handle = provider.create(3)
    key = provider.unwrap(handle)
    assert handle["provider"] == provider.name
    assert handle["generation"] == 3
    assert base64.b64encode(key).decode()[:20] not in json.dumps(dict(handle))
    assert key.hex()[:20] not in json.dumps(dict(handle))


def test_destroying_takes_one_generation_and_leaves_the_other(provider: RootKeyProvider) -> None:
    first, second = provider.create(1), provider.create(2)
    kept = provider.unwrap(second)
    outcome = provider.destroy(first)
    assert provider.unwrap(second) == kept
    if isinstance(outcome, NotPossible):
        assert provider.name == "passphrase"
        assert "new passphrase" in outcome.why
        return
    if isinstance(outcome, Pending):
        assert provider.name == "aws-kms"
    else:
        assert outcome == Destroyed()
    with pytest.raises(RootKeyError):
        provider.unwrap(first)


def test_destroying_twice_is_as_good_as_once(provider: RootKeyProvider) -> None:
    handle = provider.create(1)
    assert provider.destroy(handle) == provider.destroy(handle)


def test_creating_a_generation_again_never_changes_a_key_that_may_be_in_use(provider: RootKeyProvider) -> None:
    handle = provider.create(1)
    key = provider.unwrap(handle)
    again = provider.create(1)
    assert provider.unwrap(handle) == key
    if provider.name not in {"passphrase", *WRAPPING}:  # a new salt gives a new key
        assert provider.unwrap(again) == key


@pytest.mark.parametrize(
    "damage",
    [
        {"provider": "another"},
        {"provider": 7},
        {"generation": 0},
        {"generation": "one"},
        {"generation": True},
        {"salt": "short", "backend": "os.system", "path": 5, "file": "", "generation": -1},
    ],
)
def test_a_damaged_handle_is_refused_and_touches_nothing(
    provider: RootKeyProvider, damage: dict[str, str | int]
) -> None:
    handle = provider.create(1)
    with pytest.raises(RootKeyError):
        provider.unwrap({**handle, **damage})
    assert provider.unwrap(handle)


def test_a_generation_below_one_is_a_mistake_in_the_code(provider: RootKeyProvider) -> None:
    with pytest.raises(ValueError, match="from 1"):
        provider.create(0)


def test_it_says_that_it_is_usable_here_and_what_it_is_worth(provider: RootKeyProvider) -> None:
    assert provider.why_unusable() is None
    assert provider.describe().startswith("Protects ")
    assert " not protect against " in provider.describe()


def test_the_survey_lists_every_provider_and_why_it_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent")
    monkeypatch.delenv("PYTHON_KEYRING_BACKEND", raising=False)
    found = survey(ProviderSettings(vault_id=uuid4(), environment={"PATH": "/nonexistent"}))
    assert [candidate.name for candidate in found][:4] == ["keyring", "systemd", "passphrase", "file"]
    assert {candidate.name for candidate in found} >= WRAPPING
    assert not any(candidate.usable for candidate in found)
    assert all(candidate.why.endswith(".") and "\n" not in candidate.why for candidate in found)


def test_the_survey_shows_a_secret_file_to_nobody_but_its_provider(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir(mode=0o700)
    pin = tmp_path / "keys" / "pin"
    pin.touch(mode=0o600)
    pin.write_text(PIN)
    settings = ProviderSettings(vault_id=uuid4(), options={"address": "https://127.0.0.1:9"}, environment={})
    found = {candidate.name: candidate.why for candidate in survey(settings, {"pkcs11": pin})}
    assert found["openbao"] == "No OpenBao token is given."


def test_a_provider_takes_what_it_remembers_and_nothing_else(provider: RootKeyProvider) -> None:
    require_options(provider.name, getattr(provider, "remembers", {}))
    with pytest.raises(UsageError, match="knows no option 'secret'"):
        require_options(provider.name, ["secret"])


def test_what_providers_of_others_take_is_theirs_to_say() -> None:
    require_options("drawer", ["folder"])


def test_an_unknown_provider_is_wrong_usage_and_names_those_there_are() -> None:
    with pytest.raises(UsageError) as refusal:
        open_provider("vault", ProviderSettings(vault_id=uuid4()))
    assert "keyring, systemd, passphrase, file" in refusal.value.advice
