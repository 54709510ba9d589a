"""The file provider refuses every place where somebody else could have had a hand in."""

from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from syncvault.errors import Exit, RootKeyError
from syncvault.roots import keyfiles
from syncvault.roots.file import FileProvider
from syncvault.roots.port import Destroyed, ProviderSettings

VAULT = UUID("8b1c1f0e-26a5-4a2e-9f0c-6f7b5d0f4a11")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "root.key"


def provider(path: Path, vault: UUID = VAULT, home: Path | None = None) -> FileProvider:
    return FileProvider(ProviderSettings(vault_id=vault, root_key_file=path, home=home))


def written(path: Path, *keys: tuple[int, str], vault: object = VAULT, form: str = "syncvault-root-keys v1") -> None:
    """Puts a key file there as another program would."""
    path.write_text(json.dumps({"format": form, "vault": str(vault), "keys": {str(n): key for n, key in keys}}))


def test_one_file_at_the_configured_path_holds_all_living_generations(path: Path) -> None:
    opened = provider(path)
    first, second = opened.create(1), opened.create(2)
    content = json.loads(path.read_bytes())
    assert content["format"] == "syncvault-root-keys v1"
    assert content["vault"] == str(VAULT)
    assert {int(n): base64.b64decode(key) for n, key in content["keys"].items()} == {
        1: opened.unwrap(first),
        2: opened.unwrap(second),
    }
    assert opened.destroy(first) == Destroyed()
    assert list(json.loads(path.read_bytes())["keys"]) == ["2"]
    assert [each.name for each in path.parent.iterdir()] == ["root.key"]


def test_the_path_stays_when_the_key_was_replaced_many_times(path: Path) -> None:
    opened = provider(path)
    handle = opened.create(1)
    for generation in range(2, 6):
        successor = opened.create(generation)
        assert opened.destroy(handle) == Destroyed()
        handle = successor
    assert [each.name for each in path.parent.iterdir()] == ["root.key"]
    assert len(provider(path).unwrap(handle)) == 32


def test_the_file_is_for_one_user_in_a_directory_for_one_user(path: Path) -> None:
    for generation in (1, 2):
        provider(path).create(generation)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_file_that_another_program_wrote_opens(path: Path) -> None:
    handle = provider(path).create(1)
    written(path, (1, base64.b64encode(bytes(range(32))).decode()))
    assert provider(path).unwrap(handle) == bytes(range(32))


def test_an_older_copy_of_the_file_names_the_generation_that_it_lacks(path: Path) -> None:
    opened = provider(path)
    opened.create(1)
    old = path.read_bytes()
    second = opened.create(2)
    path.write_bytes(old)
    with pytest.raises(RootKeyError, match="does not hold root key generation 2"):
        opened.unwrap(second)


def test_the_umask_cannot_open_the_file_to_others(path: Path) -> None:
    before = os.umask(0)
    try:
        provider(path).create(1)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_others_can_read_is_refused_with_the_mode_to_set(path: Path) -> None:
    handle = provider(path).create(1)
    path.chmod(0o640)
    with pytest.raises(RootKeyError, match="0640") as refusal:
        provider(path).unwrap(handle)
    assert refusal.value.exit_code is Exit.ROOT_KEY
    assert f"chmod 600 {path}" in refusal.value.advice


def test_a_directory_that_others_can_write_is_refused(path: Path) -> None:
    handle = provider(path).create(1)
    path.parent.chmod(0o770)
    for attempt in (lambda: provider(path).unwrap(handle), lambda: provider(path).create(2)):
        with pytest.raises(RootKeyError, match="Other users can reach"):
            attempt()


def test_a_symbolic_link_is_refused_and_its_target_untouched(path: Path, tmp_path: Path) -> None:
    handle = provider(path).create(1)
    elsewhere = path.rename(tmp_path / "elsewhere")
    path.symlink_to(elsewhere)
    for attempt in (provider(path).unwrap, provider(path).destroy):
        with pytest.raises(RootKeyError, match="symbolic link"):
            attempt(handle)
    assert json.loads(elsewhere.read_bytes())["keys"]


def test_a_pipe_in_the_place_of_the_file_is_refused_without_waiting(path: Path) -> None:
    handle = provider(path).create(1)
    path.unlink()
    os.mkfifo(path, 0o600)
    with pytest.raises(RootKeyError, match="not a root key's file"):
        provider(path).unwrap(handle)


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 40, b"garbage", b"[]", b"{}", b"[" * 100_000, b"\xff", b"x" * 2_000_000]
)
def test_a_file_with_anything_else_in_it_is_refused(path: Path, content: bytes) -> None:
    handle = provider(path).create(1)
    path.write_bytes(content)
    with pytest.raises(RootKeyError):
        provider(path).unwrap(handle)


@pytest.mark.parametrize("secret", ["", "AAAA", "not base64!", "####", "A" * 64])
def test_a_key_of_another_length_is_refused_and_not_shown(path: Path, secret: str) -> None:
    handle = provider(path).create(1)
    written(path, (1, secret))
    with pytest.raises(RootKeyError) as refusal:
        provider(path).unwrap(handle)
    assert not secret or secret not in refusal.value.message + refusal.value.advice


def test_the_key_of_another_vault_is_named_as_such_and_never_destroyed(path: Path) -> None:
    handle = provider(path).create(1)
    stranger = provider(path, vault=uuid4())
    for attempt in (stranger.unwrap, stranger.destroy):
        with pytest.raises(RootKeyError, match="another vault"):
            attempt(handle)
    with pytest.raises(RootKeyError, match="another vault"):
        stranger.create(1)
    assert provider(path).unwrap(handle)


def test_a_missing_file_says_which(path: Path) -> None:
    handle = provider(path).create(1)
    path.unlink()
    with pytest.raises(RootKeyError, match=str(path)):
        provider(path).unwrap(handle)


def test_a_missing_directory_reads_as_a_missing_key(path: Path) -> None:
    handle = provider(path).create(1)
    path.rename(path.parent.parent / "root.key")
    path.parent.rmdir()
    with pytest.raises(RootKeyError, match="missing"):
        provider(path).unwrap(handle)
    assert provider(path).destroy(handle) == Destroyed()


def test_the_data_directory_is_no_place_for_the_key(tmp_path: Path) -> None:
    inside = provider(tmp_path / "home" / "root.key", home=tmp_path / "home")
    assert "data directory" in (inside.why_unusable() or "")
    with pytest.raises(RootKeyError, match="data directory"):
        inside.create(1)


def test_a_moved_file_is_found_where_the_settings_name_it(path: Path, tmp_path: Path) -> None:
    handle = provider(path).create(1)
    key = provider(path).unwrap(handle)
    moved = path.rename(tmp_path / "moved")
    assert provider(moved).unwrap(handle) == key
    unnamed = FileProvider(ProviderSettings(vault_id=VAULT))
    with pytest.raises(RootKeyError, match="missing"):
        unnamed.unwrap(handle)


def test_a_file_of_a_later_form_is_refused(path: Path) -> None:
    handle = provider(path).create(1)
    written(path, (1, "A" * 43 + "="), form="syncvault-root-keys v2")
    with pytest.raises(RootKeyError, match="something other"):
        provider(path).unwrap(handle)


def test_destroying_the_last_generation_overwrites_the_bytes_before_the_name_goes(path: Path) -> None:
    handle = provider(path).create(1)
    size = path.stat().st_size
    with path.open("rb") as held:
        assert provider(path).destroy(handle) == Destroyed()
        assert held.read() == bytes(size)
    assert list(path.parent.iterdir()) == []


def test_destroying_one_of_two_overwrites_the_bytes_that_held_both(path: Path) -> None:
    first = provider(path).create(1)
    second = provider(path).create(2)
    kept, size = provider(path).unwrap(second), path.stat().st_size
    with path.open("rb") as held:
        assert provider(path).destroy(first) == Destroyed()
        assert held.read() == bytes(size)
    assert provider(path).unwrap(second) == kept


def test_adding_a_generation_overwrites_nothing_that_is_still_needed(path: Path) -> None:
    first = provider(path).create(1)
    key = provider(path).unwrap(first)
    provider(path).create(2)
    assert provider(path).unwrap(first) == key


@pytest.mark.parametrize("step", ["link", "rename", "unlink"])
def test_a_crash_while_a_generation_is_destroyed_is_finished_by_destroying_again(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    first = provider(path).create(1)
    second = provider(path).create(2)
    secret, kept = provider(path).unwrap(first), provider(path).unwrap(second)
    with monkeypatch.context() as crash:
        crash.setattr(keyfiles.os, step, lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            provider(path).destroy(first)
    assert provider(path).unwrap(second) == kept
    assert provider(path).destroy(first) == Destroyed()
    assert [each.name for each in path.parent.iterdir()] == ["root.key"]
    assert base64.b64encode(secret) not in path.read_bytes()
    assert provider(path).unwrap(second) == kept


def test_destroying_resumes_after_a_crash_between_overwriting_and_removing(path: Path) -> None:
    handle = provider(path).create(1)
    path.write_bytes(bytes(path.stat().st_size))
    assert provider(path).destroy(handle) == Destroyed()
    assert not path.exists()


def test_what_a_crash_left_half_written_is_overwritten_by_the_next_attempt(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    left = path.parent / ".root.key.new"
    left.write_bytes(b"half a key")
    left.chmod(0o600)
    with left.open("rb") as held:
        provider(path).create(1)
        assert held.read() == bytes(10)
    assert [each.name for each in path.parent.iterdir()] == ["root.key"]


def test_a_crash_before_the_old_bytes_are_overwritten_is_made_good_by_the_next_write(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyfiles.replace(path, b"old secret")
    with path.open("rb") as held, monkeypatch.context() as crash:
        crash.setattr(keyfiles.os, "rename", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            keyfiles.replace(path, b"new secret")
        assert held.read() == b"old secret"
    assert keyfiles.read(path) == b"old secret"
    with path.open("rb") as held:
        keyfiles.replace(path, b"new secret")
        assert held.read() == bytes(10)
    assert keyfiles.read(path) == b"new secret"
    assert [each.name for each in path.parent.iterdir()] == ["root.key"]


def test_a_place_that_cannot_be_written_gives_the_system_s_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RootKeyError, match=r"[Dd]irectory|exists"):
        provider(tmp_path / "file" / "root.key").create(1)


def test_another_user_s_file_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = provider(path).create(1)
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(path, 12345, -1)
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(RootKeyError, match="another user"):
        provider(path).unwrap(handle)


@pytest.mark.parametrize("leftover", [".root.key.new", ".root.key.old"])
def test_a_second_name_that_a_crash_left_of_the_file_in_use_costs_none_of_its_bytes(path: Path, leftover: str) -> None:
    keyfiles.replace(path, b"in use")
    os.link(path, path.with_name(leftover))  # killed between the link and what was to follow it
    keyfiles.scrub_leftovers(path)
    assert keyfiles.read(path) == b"in use"
    assert not path.with_name(leftover).exists()

    os.link(path, path.with_name(leftover))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "rename", lambda *_, **__: 1 // 0)  # killed once more, before the new file is in its place
        with pytest.raises(ZeroDivisionError):
            keyfiles.replace(path, b"next")
    assert keyfiles.read(path) == b"in use"
