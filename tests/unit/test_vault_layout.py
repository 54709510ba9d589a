"""Where a vault lies, as `vault.toml` keeps it; and files that are whole or not there."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from syncvault.errors import StorageError
from syncvault.vault import layout as layouts
from syncvault.vault.layout import Layout, RootPlace

FULL = Layout(
    home=Path("/srv/vault"),
    database="sqlite:////srv/vault/vault.db",
    key_database="postgresql://db.example/keys",
    root_key="openbao",
    root_key_file=Path("/srv/token"),
    root_key_options={"address": "https://bao.example:8200", "key": 'a "quoted" \\ key\x7f\n🌻'},
    coming=RootPlace("aws-kms", None, {"region": "eu-central-1"}, generation=7),
    replaced=(
        RootPlace("file", Path("/srv/one.key"), {}, generation=2),
        RootPlace("pkcs11", Path("/srv/pin"), {"module": "/usr/lib/p11.so"}, generation=4),
    ),
)


def at(home: Path, **changes: object) -> Layout:
    return Layout(**{name: getattr(FULL, name) for name in Layout.__slots__} | {"home": home} | changes)  # type: ignore[arg-type]


def test_everything_that_is_saved_is_loaded(tmp_path: Path) -> None:
    layouts.save(at(tmp_path))
    assert layouts.load(tmp_path) == at(tmp_path)


def test_the_file_says_each_thing_under_its_documented_name(tmp_path: Path) -> None:
    layouts.save(at(tmp_path))
    assert tomllib.loads((tmp_path / "vault.toml").read_text("utf-8")) == {
        "database": FULL.database,
        "key_database": FULL.key_database,
        "root_key": "openbao",
        "root_key_file": "/srv/token",
        "root_key_options": dict(FULL.root_key_options),
        "coming": {"root_key": "aws-kms", "generation": 7, "root_key_options": {"region": "eu-central-1"}},
        "replaced": [
            {"root_key": "file", "root_key_file": "/srv/one.key", "generation": 2},
            {
                "root_key": "pkcs11",
                "root_key_file": "/srv/pin",
                "generation": 4,
                "root_key_options": {"module": "/usr/lib/p11.so"},
            },
        ],
    }


def test_what_there_is_nothing_of_is_not_written(tmp_path: Path) -> None:
    layouts.save(Layout(tmp_path, "sqlite:///a", "sqlite:///b", "keyring"))
    assert (tmp_path / "vault.toml").read_text() == (
        'database = "sqlite:///a"\nkey_database = "sqlite:///b"\nroot_key = "keyring"\n'
    )
    loaded = layouts.load(tmp_path)
    assert loaded == Layout(tmp_path, "sqlite:///a", "sqlite:///b", "keyring")
    assert loaded.root_key_file is None


def test_a_relative_path_is_kept_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    layouts.save(Layout(tmp_path, "a", "b", "file", Path("root.key")))
    assert layouts.load(tmp_path).root_key_file == tmp_path / "root.key"


@pytest.mark.parametrize(
    ("generation", "provider"),
    [
        (1, "file"),
        (2, "file"),
        (3, "pkcs11"),
        (4, "pkcs11"),
        (5, "openbao"),
        (6, "openbao"),
        (7, "aws-kms"),
        (9, "aws-kms"),
    ],
)
def test_each_generation_has_the_place_that_keeps_it(generation: int, provider: str) -> None:
    assert FULL.place_of(generation).provider == provider


def test_without_another_place_every_generation_is_in_the_one_in_use() -> None:
    plain = Layout(FULL.home, "a", "b", "openbao", FULL.root_key_file, FULL.root_key_options)
    assert plain.place_of(1) == plain.place_of(99) == plain.root_place
    assert plain.root_place == RootPlace("openbao", Path("/srv/token"), FULL.root_key_options, generation=0)


def test_moving_makes_the_coming_place_the_one_in_use_and_remembers_the_one_that_was_left() -> None:
    assert FULL.coming is not None
    moved = FULL.moved_to(FULL.coming, last_generation=6)
    assert moved == Layout(
        FULL.home,
        FULL.database,
        FULL.key_database,
        "aws-kms",
        None,
        {"region": "eu-central-1"},
        coming=None,
        replaced=(*FULL.replaced, RootPlace("openbao", Path("/srv/token"), FULL.root_key_options, generation=6)),
    )
    assert [moved.place_of(n).provider for n in (2, 4, 6, 7)] == ["file", "pkcs11", "openbao", "aws-kms"]


def test_everything_has_its_usual_place() -> None:
    home = Path("/var/lib/syncvault")
    assert layouts.default_database(home) == "sqlite:////var/lib/syncvault/vault.db"
    assert layouts.default_key_database(home) == "sqlite:////var/lib/syncvault/keys.db"
    assert layouts.default_root_key_file(home) == Path("/var/lib/syncvault-root-key/root.key")
    assert FULL.receipts == Path("/srv/vault/receipts")
    assert FULL.ledger_mirror == Path("/srv/vault/erasure.ledger")


def test_a_written_file_is_its_owner_s_alone_and_replaces_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "file"
    old = os.umask(0)
    try:
        layouts.write_durably(path, b"a longer content")
        layouts.write_durably(path, b"content")
    finally:
        os.umask(old)
    assert path.read_bytes() == b"content"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_crash_left_of_a_draft_does_not_get_into_the_file(tmp_path: Path) -> None:
    (tmp_path / "file.new").write_bytes(b"left by a crash, and longer")
    layouts.write_durably(tmp_path / "file", b"content")
    assert (tmp_path / "file").read_bytes() == b"content"


def test_the_file_and_its_directory_are_on_the_disk_before_it_is_said_to_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, bool]] = []

    def fsync(handle: int) -> None:
        synced.append((str(Path(f"/proc/self/fd/{handle}").readlink()), (tmp_path / "file").exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    layouts.write_durably(tmp_path / "file", b"content")
    assert synced == [(str(tmp_path / "file.new"), False), (str(tmp_path), True)]


def test_no_handle_stays_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    layouts.write_durably(tmp_path / "file", b"content")
    with pytest.raises(NotADirectoryError):
        layouts.sync_directory(tmp_path / "file")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_file_that_cannot_be_written_or_read_is_named_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "none" / "file"
    with pytest.raises(StorageError) as refusal:
        layouts.write_durably(path, b"")
    assert refusal.value.message == f"{path} cannot be written: No such file or directory."
    (tmp_path / "vault.toml").mkdir()
    with pytest.raises(StorageError) as refusal:
        layouts.load(tmp_path)
    assert refusal.value.message == f"{tmp_path / 'vault.toml'} cannot be read: Is a directory."


def test_a_damaged_file_is_named_with_what_helps(tmp_path: Path) -> None:
    (tmp_path / "vault.toml").write_text("database = 1")
    with pytest.raises(StorageError) as refusal:
        layouts.load(tmp_path)
    assert refusal.value.message == f"{tmp_path / 'vault.toml'} is damaged."
    assert refusal.value.advice == "Restore it from a backup."
    assert refusal.value.__suppress_context__


def test_a_directory_without_a_vault_is_named(tmp_path: Path) -> None:
    with pytest.raises(layouts.NoVaultError) as refusal:
        layouts.load(tmp_path)
    assert refusal.value.message == f"There is no vault at {tmp_path}."


def test_a_coming_place_s_file_goes_with_it() -> None:
    moved = FULL.moved_to(RootPlace("file", Path("/srv/two.key"), {}, generation=7), last_generation=6)
    assert (moved.root_key, moved.root_key_file, moved.root_key_options) == ("file", Path("/srv/two.key"), {})


def test_a_place_that_names_no_generation_keeps_none(tmp_path: Path) -> None:
    text = 'database = "a"\nkey_database = "b"\nroot_key = "file"\n[[replaced]]\nroot_key = "keyring"\n'
    (tmp_path / "vault.toml").write_text(text)
    assert layouts.load(tmp_path).replaced == (RootPlace("keyring", None, {}, generation=0),)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_links_are_given_away_themselves_and_what_vanishes_meanwhile_is_passed_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 1234, 1234)
    (home / "owned").touch()
    os.chown(home / "owned", 1234, 1234)
    (home / "link").symlink_to(home / "owned")
    (home / "dangling").symlink_to(home / "none")
    (home / "journal").touch()
    look = os.stat

    def stat(path: str, **options: object) -> os.stat_result:
        if path == "journal":
            raise FileNotFoundError
        return look(path, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", stat)
        layouts.match_owner(home)
    owners = {path.name: path.lstat().st_uid for path in home.iterdir()}
    assert owners == {"owned": 1234, "link": 1234, "dangling": 1234, "journal": 0}


@pytest.mark.parametrize("name", ["two words", "a.b", 'quo"te', "ümlaut", "", "line\nfeed"])
def test_an_option_of_any_name_can_be_read_back(tmp_path: Path, name: str) -> None:
    layouts.save(at(tmp_path, root_key_options={name: "value"}))
    assert layouts.load(tmp_path).root_key_options == {name: "value"}
