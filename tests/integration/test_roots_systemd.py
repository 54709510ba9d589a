"""The systemd provider against the real systemd-creds, with a host secret of the test's own."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from syncvault.errors import RootKeyError
from syncvault.roots.port import Destroyed, Pending, PrivilegedStepNeededError, ProviderSettings
from syncvault.roots.systemd import DEFAULT_FILE, SystemdProvider
from tests.parts import require_programs

VAULT = UUID("8b1c1f0e-26a5-4a2e-9f0c-6f7b5d0f4a11")


@pytest.fixture
def environment(host_secrets: Path) -> dict[str, str]:
    require_programs("systemd-creds")
    return {"PATH": os.environ["PATH"], "SYSTEMD_CREDENTIAL_SECRET": str(host_secrets / "ours")}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "credstore" / "syncvault-root"


def provider(file: Path | None, environment: dict[str, str], vault: UUID = VAULT) -> SystemdProvider:
    return SystemdProvider(ProviderSettings(vault_id=vault, root_key_file=file, environment=environment))


def decrypted(file: Path, environment: dict[str, str]) -> dict[str, object]:
    command = ["systemd-creds", "decrypt", "--name=syncvault-root", str(file), "-"]
    return json.loads(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)


def unprivileged(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    return {"PATH": os.environ["PATH"]}


def unit(tmp_path: Path, content: str) -> dict[str, str]:
    """The environment that a unit sees, with its credential decrypted by systemd."""
    directory = tmp_path / "credentials"
    directory.mkdir()
    (directory / "syncvault-root").write_text(content)
    (directory / "syncvault-root").chmod(0o440)
    return {"PATH": os.environ["PATH"], "CREDENTIALS_DIRECTORY": str(directory)}


def test_one_credential_holds_all_living_generations_under_one_name(file: Path, environment: dict[str, str]) -> None:
    opened = provider(file, environment)
    first, second = opened.create(1), opened.create(2)
    content = decrypted(file, environment)
    assert content["vault"] == str(VAULT)
    assert content["keys"] == {
        "1": base64.b64encode(opened.unwrap(first)).decode(),
        "2": base64.b64encode(opened.unwrap(second)).decode(),
    }
    assert opened.destroy(first) == Destroyed()
    assert list(decrypted(file, environment)["keys"]) == ["2"]  # type: ignore[call-overload]


def test_the_file_is_sealed_and_for_root_alone(file: Path, environment: dict[str, str]) -> None:
    opened = provider(file, environment)
    key = opened.unwrap(opened.create(1))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert base64.b64encode(key) not in base64.b64decode(file.read_bytes())
    assert [each.name for each in file.parent.iterdir()] == ["syncvault-root"]


def test_the_file_that_held_a_destroyed_key_is_overwritten(file: Path, environment: dict[str, str]) -> None:
    opened = provider(file, environment)
    first = opened.create(1)
    opened.create(2)
    with file.open("rb") as held:
        size = len(held.read())
        opened.destroy(first)
        held.seek(0)
        assert held.read() == bytes(size)


def test_destroying_the_last_generation_removes_the_file(file: Path, environment: dict[str, str]) -> None:
    opened = provider(file, environment)
    handle = opened.create(1)
    assert opened.destroy(handle) == Destroyed()
    assert list(file.parent.iterdir()) == []


def test_a_credential_of_another_machine_does_not_open(
    file: Path, environment: dict[str, str], host_secrets: Path
) -> None:
    handle = provider(file, environment).create(1)
    elsewhere = {**environment, "SYSTEMD_CREDENTIAL_SECRET": str(host_secrets / "others")}
    subprocess.run(["systemd-creds", "setup"], env=elsewhere, check=True, capture_output=True)
    with pytest.raises(RootKeyError, match="systemd-creds cannot decrypt") as refusal:
        provider(file, elsewhere).unwrap(handle)
    assert "machine" in refusal.value.advice


def test_a_credential_under_another_name_is_refused(file: Path, environment: dict[str, str]) -> None:
    handle = provider(file, environment).create(1)
    command = ["systemd-creds", "encrypt", "--name=another", "-", str(file)]
    subprocess.run(command, input=b"{}", env=environment, check=True, capture_output=True)
    with pytest.raises(RootKeyError, match="another"):
        provider(file, environment).unwrap(handle)


def test_the_credential_of_another_vault_is_neither_read_nor_changed(file: Path, environment: dict[str, str]) -> None:
    handle = provider(file, environment).create(1)
    before = file.read_bytes()
    stranger = provider(file, environment, vault=uuid4())
    for attempt in (lambda: stranger.unwrap(handle), lambda: stranger.destroy(handle), lambda: stranger.create(2)):
        with pytest.raises(RootKeyError, match="another vault"):
            attempt()
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [
        "",
        "secret-but-no-json",
        "[]",
        '{"format": "other", "vault": "v", "keys": {}}',
        '{"format": 1, "keys": {"1": 5}}',
    ],
)
def test_a_malformed_credential_is_refused_without_showing_it(tmp_path: Path, content: str) -> None:
    handle = {"provider": "systemd", "generation": 1, "file": "/nonexistent"}
    with pytest.raises(RootKeyError, match="something other") as refusal:
        provider(None, unit(tmp_path, content)).unwrap(handle)
    assert refusal.value.__context__ is None
    assert "secret-but" not in str(refusal.value)


def test_a_key_of_the_wrong_length_is_refused(tmp_path: Path) -> None:
    content = {"format": "syncvault-root-keys v1", "vault": str(VAULT), "keys": {"1": "AAAA"}}
    with pytest.raises(RootKeyError, match="3 bytes"):
        provider(None, unit(tmp_path, json.dumps(content))).unwrap(
            {"provider": "systemd", "generation": 1, "file": "/nonexistent"}
        )


def test_a_unit_reads_its_credential_without_any_privilege(
    file: Path, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = provider(file, environment)
    handle = opened.create(1)
    key = opened.unwrap(handle)
    inside = unit(tmp_path, json.dumps(decrypted(file, environment)))
    unprivileged(monkeypatch)
    service = provider(None, inside)
    assert service.why_unusable() is None
    assert service.unwrap(handle) == key


def test_a_unit_older_than_the_key_is_told_to_restart(
    file: Path, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = provider(file, environment)
    opened.create(1)
    inside = unit(tmp_path, json.dumps(decrypted(file, environment)))
    newer = opened.create(2)
    unprivileged(monkeypatch)
    with pytest.raises(RootKeyError) as refusal:
        provider(None, inside).unwrap(newer)
    assert "Restart the unit" in refusal.value.advice


def test_anybody_else_is_told_how(file: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    handle = provider(file, environment).create(1)
    outsider = provider(file, unprivileged(monkeypatch))
    assert "root" in (outsider.why_unusable() or "")
    with pytest.raises(RootKeyError) as refusal:
        outsider.unwrap(handle)
    assert f"LoadCredentialEncrypted=syncvault-root:{file}" in refusal.value.advice
    with pytest.raises(PrivilegedStepNeededError) as refusal:
        outsider.create(2)
    assert "as root" in refusal.value.advice
    outcome = outsider.destroy(handle)
    assert isinstance(outcome, Pending)
    assert str(file) in outcome.until


def test_a_place_that_is_read_only_asks_for_the_privileged_step(
    file: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from syncvault.roots import keyfiles

    def read_only(*_: object, **__: object) -> None:
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr(keyfiles.os, "rename", read_only)
    with pytest.raises(PrivilegedStepNeededError, match="Read-only"):
        provider(file, environment).create(1)


def test_an_unwritable_place_for_other_reasons_stays_a_failure(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RootKeyError) as refusal:
        provider(tmp_path / "file" / "root", environment).create(1)
    assert not isinstance(refusal.value, PrivilegedStepNeededError)


def test_a_missing_file_and_a_missing_generation_are_told_apart(file: Path, environment: dict[str, str]) -> None:
    opened = provider(file, environment)
    first = opened.create(1)
    second = opened.create(2)
    opened.destroy(first)
    with pytest.raises(RootKeyError, match="does not hold root key generation 1"):
        opened.unwrap(first)
    file.unlink()
    with pytest.raises(RootKeyError, match="is missing"):
        opened.unwrap(second)
    assert opened.destroy(second) == Destroyed()


def test_without_systemd_creds_it_says_so(file: Path, environment: dict[str, str], tmp_path: Path) -> None:
    handle = provider(file, environment).create(1)
    bare = provider(file, {**environment, "PATH": str(tmp_path)})
    assert "not installed" in (bare.why_unusable() or "")
    with pytest.raises(RootKeyError, match="not installed"):
        bare.unwrap(handle)


def test_a_systemd_creds_that_hangs_or_cannot_run_is_given_up(
    file: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = provider(file, environment)
    handle = opened.create(1)

    def hang(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("systemd-creds", 60, output=b"half of the key")

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(RootKeyError, match="within") as refusal:
        opened.unwrap(handle)
    assert refusal.value.__cause__ is None


def test_the_default_place_is_the_one_that_the_units_load() -> None:
    assert str(DEFAULT_FILE) == "/etc/credstore.encrypted/syncvault-root"
