"""The keyring provider against a real GNOME Keyring, and its refusals of anything that does not encrypt."""

from __future__ import annotations

import base64
import gc
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from syncvault.errors import Exit, RootKeyError
from syncvault.roots.keyring import KeyringProvider
from syncvault.roots.port import Destroyed, ProviderSettings
from tests.parts import secret_service

SECRET_SERVICE = "keyring.backends.SecretService.Keyring"


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with secret_service(tmp_path_factory.mktemp("keyring")) as environment:
        yield dict(environment)


@pytest.fixture
def desktop(session: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHON_KEYRING_BACKEND", raising=False)
    for key, value in session.items():
        monkeypatch.setenv(key, value)


@pytest.fixture
def no_desktop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHON_KEYRING_BACKEND", raising=False)
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def provider() -> KeyringProvider:
    return KeyringProvider(ProviderSettings(vault_id=uuid4()))


@pytest.mark.usefixtures("desktop")
def test_one_item_per_generation_under_the_vault_s_id() -> None:
    from keyring.backends.SecretService import Keyring

    vault = uuid4()
    opened = KeyringProvider(ProviderSettings(vault_id=vault))
    handle = opened.create(1)
    assert handle == {"provider": "keyring", "generation": 1, "backend": SECRET_SERVICE}
    stored = Keyring().get_password("syncvault", f"{vault}/1")
    assert base64.b64decode(stored or "") == opened.unwrap(handle)
    assert Keyring().get_password("syncvault", f"{vault}/2") is None


@pytest.mark.usefixtures("desktop")
def test_destroying_takes_every_item_of_that_name() -> None:
    import secretstorage
    from keyring.backends.SecretService import Keyring

    vault = uuid4()
    opened = KeyringProvider(ProviderSettings(vault_id=vault))
    handle = opened.create(1)
    with closing(secretstorage.dbus_init()) as connection:
        attributes = {"service": "syncvault", "username": f"{vault}/1", "application": "another program"}
        secretstorage.get_default_collection(connection).create_item("copy", attributes, b"copy")
    assert opened.destroy(handle) == Destroyed()
    assert Keyring().get_password("syncvault", f"{vault}/1") is None


@pytest.mark.usefixtures("desktop")
@pytest.mark.parametrize("value", ["", "AAAA", "not base64!"])
def test_an_item_that_somebody_changed_is_refused(value: str) -> None:
    from keyring.backends.SecretService import Keyring

    vault = uuid4()
    opened = KeyringProvider(ProviderSettings(vault_id=vault))
    handle = opened.create(1)
    Keyring().set_password("syncvault", f"{vault}/1", value)
    with pytest.raises(RootKeyError, match="malformed") as refusal:
        opened.unwrap(handle)
    assert refusal.value.exit_code is Exit.ROOT_KEY


# keyring leaves its connection to the garbage collector when a collection stays locked.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("desktop")
def test_a_locked_keyring_says_to_unlock_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import secretstorage

    with secret_service(tmp_path) as own_session:
        for key, value in own_session.items():
            monkeypatch.setenv(key, value)
        opened = provider()
        handle = opened.create(1)
        with closing(secretstorage.dbus_init()) as connection:
            secretstorage.get_default_collection(connection).lock()
        with pytest.raises(RootKeyError, match="refused") as refusal:
            opened.unwrap(handle)
        assert "Unlock the keyring" in refusal.value.advice
        del refusal
        gc.collect()


@pytest.mark.usefixtures("no_desktop")
def test_without_a_keyring_service_nothing_is_stored_anywhere() -> None:
    opened = provider()
    assert "No Secret Service" in (opened.why_unusable() or "")
    with pytest.raises(RootKeyError, match="No Secret Service"):
        opened.create(1)


@pytest.mark.usefixtures("desktop")
@pytest.mark.parametrize("backend", ["null.Keyring", "fail.Keyring", "chainer.ChainerBackend"])
def test_a_configured_backend_that_does_not_encrypt_is_refused_though_a_good_one_runs(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", f"keyring.backends.{backend}")
    opened = provider()
    assert backend in (opened.why_unusable() or "")
    with pytest.raises(RootKeyError, match="not one that syncvault trusts") as refusal:
        opened.create(1)
    assert "PYTHON_KEYRING_BACKEND" in refusal.value.advice


@pytest.mark.usefixtures("desktop")
def test_a_configured_backend_that_encrypts_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", SECRET_SERVICE)
    assert provider().create(1)["backend"] == SECRET_SERVICE


@pytest.mark.usefixtures("desktop")
def test_a_configured_backend_that_does_not_exist_is_a_reason_not_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "nowhere.Keyring")
    assert "nowhere" in (provider().why_unusable() or "")


def test_a_keyring_that_waits_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from keyring.backends.SecretService import Keyring

    answer = threading.Event()
    monkeypatch.setattr(Keyring, "get_password", lambda *_: answer.wait(30))
    impatient = KeyringProvider(ProviderSettings(vault_id=uuid4()), patience=0.01)
    with pytest.raises(RootKeyError, match="did not answer"):
        impatient.unwrap({"provider": "keyring", "generation": 1, "backend": SECRET_SERVICE})
    answer.set()


def test_an_item_that_cannot_be_deleted_is_not_called_destroyed(monkeypatch: pytest.MonkeyPatch) -> None:
    from keyring.backends.SecretService import Keyring

    monkeypatch.setattr(Keyring, "get_password", lambda *_: "still here")
    monkeypatch.setattr(Keyring, "delete_password", lambda *_: None)
    with pytest.raises(RootKeyError, match="does not let go"):
        provider().destroy({"provider": "keyring", "generation": 1, "backend": SECRET_SERVICE})
