"""Backups: consistent while others write, without a key or a remnant, apart from each other, and whole or not there."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import stat
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from syncvault.errors import BusyError, InputError, UsageError
from syncvault.store.schema import data_metadata
from syncvault.store.upgrade import schema_revision
from syncvault.vault import tenants
from syncvault.vault.backups import archive
from syncvault.vault.backups.archive import Kind
from syncvault.vault.backups.staging import new_directory, replaced_directory, require_vacant
from syncvault.vault.content import contacts
from syncvault.vault.vault import Vault
from tests.integration.fake_exchange import FakeExchange, contact
from tests.integration.restoring import Backups, Quiet, back_up, bring_back, fill, hire
from tests.integration.vault_parts import NOW, Place, register, rows, sync


@pytest.fixture
def places(tmp_path: Path) -> Backups:
    return Backups(tmp_path, tmp_path / "backup", tmp_path / "key-backup")


@pytest.fixture
def full(vault: Vault, exchange: FakeExchange) -> Vault:
    fill(vault, exchange)
    return vault


def read(path: Path, table: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    try:
        return sorted(connection.execute(f"SELECT * FROM {table}").fetchall(), key=repr)
    finally:
        connection.close()


def listed(directory: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}


def test_every_row_is_in_it_as_it_lies_in_the_vault(full: Vault, places: Backups) -> None:
    made = back_up(full, places)
    for name in data_metadata.tables:
        assert read(places.data / "vault.db", name) == rows(full.data, name)
        assert made.data.rows[name] == len(rows(full.data, name))
    assert made.data.rows["photos"] == 4


def test_directories_and_files_are_for_the_owner_alone_and_nothing_else_lies_there(
    full: Vault, places: Backups
) -> None:
    os.umask(0o000)
    try:
        back_up(full, places)
    finally:
        os.umask(0o022)
    assert listed(places.data) == {"backup.json": 0o600, "vault.db": 0o600}
    assert listed(places.keys) == dict.fromkeys(("backup.json", "erasure.ledger", "keys.db", "receipts.json"), 0o600)
    assert {stat.S_IMODE(each.stat().st_mode) for each in (places.data, places.keys)} == {0o700}
    assert not [path for path in places.root.iterdir() if path.name.startswith(".")]


def test_the_data_hold_no_key_and_the_files_need_no_journal(full: Vault, places: Backups) -> None:
    back_up(full, places)
    content = (places.data / "vault.db").read_bytes()
    for row in rows(full.key_data, "wrapped_keys"):
        assert not any(isinstance(value, bytes) and len(value) > 16 and value[:40] in content for value in row)
    with sqlite3.connect(places.data / "vault.db") as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    connection.close()
    assert names - {"sqlite_sequence"} == {*data_metadata.tables, "data_schema"}


def test_what_was_removed_from_the_vault_is_not_even_a_remnant_in_it(
    full: Vault, places: Backups, exchange: FakeExchange
) -> None:
    tenant = tenants.find(full, "alpha")
    (gone,) = [row for row in rows(full.data, "contacts") if row[0] == _contact_id(full, "alpha", "a2")]
    exchange.folder_of("ann", "a2").remove("a2")
    assert sync(full, tenant).removed == 1
    back_up(full, places)
    content = (places.data / "vault.db").read_bytes()
    assert not any(value[-60:] in content for value in (gone[0], gone[6]))  # its ID, and the end of its record


def _contact_id(vault: Vault, name: str, surname: str) -> bytes:
    tenant = tenants.find(vault, name)
    return next(entry.id for entry in contacts.stream(vault, tenant) if entry.fields.get("surname") == surname)


def test_the_statement_says_what_it_holds_and_when_it_is_to_be_deleted(full: Vault, places: Backups) -> None:
    back_up(full, places, keep_days=10)
    for directory, kind in ((places.data, Kind.DATA), (places.keys, Kind.KEYS)):
        found = archive.read(directory).statement
        assert (found.kind, found.vault_id, found.created_at) == (kind, full.id, NOW)
        assert found.expires_on.isoformat() == "2026-06-11"
        assert {name: archive.measure(directory / name) for name in found.files} == found.files
    text = (places.data / "backup.json").read_text() + (places.keys / "backup.json").read_text()
    assert not any(word in text for word in ("alpha", "beta", "ann", "example"))


def test_a_tenant_registered_while_the_rows_are_copied_has_keys_and_no_rows(
    full: Vault, places: Backups, place: Place
) -> None:
    class Registering(Quiet):
        done = False

        def advance(self, rows: int) -> None:
            if not self.done:
                self.done = True
                register(place.open(), "gamma")

    made = back_up(full, places, progress=Registering())
    assert made.data.rows["tenants"] == 2
    assert made.keys is not None
    assert made.keys.rows["wrapped_keys"] == len(rows(full.key_data, "wrapped_keys"))


@pytest.mark.slow
def test_a_backup_beside_a_pull_is_one_state_of_every_tenant(
    vault: Vault, places: Backups, exchange: FakeExchange, place: Place
) -> None:
    hire(exchange)
    tenant = register(vault, "alpha", "ann", "bob")
    sync(vault, tenant)
    for number in range(200):
        exchange.folder_of("ann", "a1").put(f"n{number}", contact(f"n{number}"))
    halfway = threading.Event()
    exchange.after_page = lambda count: halfway.set() if count > 20 else None
    pulling = threading.Thread(target=lambda: sync(place.open(), tenant))
    pulling.start()
    halfway.wait(30)
    back_up(vault, places)
    pulling.join()
    place.close()
    restored = bring_back(place, places)
    assert restored.unreadable == ()  # rows and manifest are of one state


def test_neither_may_lie_in_the_vault_or_in_the_other(full: Vault, places: Backups) -> None:
    home = full.layout.home
    for out, keys_out in (
        (home / "backup", places.keys),
        (places.data, home / "keys"),
        (places.data, places.data / "keys"),
        (places.keys / "data", places.keys),
        (places.data, places.data),
        (home.parent, places.keys),
    ):
        with pytest.raises(UsageError, match=r"^The director.* lie in one another") as refused:
            back_up(full, places, out=out, keys_out=keys_out)
        assert refused.value.advice.startswith(("Name one on another disk, like", "Keep them apart"))
    for option, changes in (("--out", {"out": home / "some"}), ("--keys-out", {"keys_out": home / "some"})):
        with pytest.raises(UsageError, match=f"^The directory given for {option} and the vault's own") as inside:
            back_up(full, places, **changes)
        assert inside.value.advice.endswith(f"like {option} /mnt/backup/some")
    link = places.root / "link"
    link.symlink_to(home)
    with pytest.raises(UsageError):
        back_up(full, places, out=link / "backup")
    assert not places.data.exists()


def test_a_place_where_something_lies_is_left_alone(full: Vault, places: Backups) -> None:
    places.data.mkdir()
    (places.data / "notes").write_text("mine")
    with pytest.raises(InputError, match=f"^There is something at {places.data} already") as refused:
        back_up(full, places)
    assert refused.value.advice.startswith("Name a directory that does not exist yet")
    assert listed(places.data).keys() == {"notes"}
    for other in ("file", "link"):
        place = places.root / other
        place.touch() if other == "file" else place.symlink_to(places.root / "nowhere")
        with pytest.raises(InputError, match="already"):
            require_vacant(place)
    assert not places.keys.exists()
    (places.data / "notes").unlink()
    back_up(full, places)  # an empty one will do


def test_an_earlier_key_backup_is_replaced_and_anything_else_is_not(full: Vault, places: Backups) -> None:
    back_up(full, places)
    register(full, "gamma")
    earlier = (places.keys / "keys.db").read_bytes()
    back_up(full, places, out=places.root / "second")
    assert (places.keys / "keys.db").read_bytes() != earlier
    (places.keys / "notes").write_text("mine")
    with pytest.raises(InputError, match=r"^The directory given for --keys-out holds something other") as refused:
        back_up(full, places, out=places.root / "third")
    assert refused.value.advice.startswith("Name a new directory; nothing was touched")
    assert "notes" in listed(places.keys)
    assert not (places.root / "third").exists()
    (places.keys / "notes").unlink()
    statement = json.loads((places.keys / "backup.json").read_text())
    statement["statement"]["vault_id"] = "00000000-0000-4000-8000-000000000000"
    (places.keys / "backup.json").write_text(json.dumps(statement))
    with pytest.raises(InputError, match="something other"):
        back_up(full, places, out=places.root / "third")
    with pytest.raises(InputError, match="something other"):
        back_up(full, places, out=places.root / "third", keys_out=places.data)


def test_replaced_keys_are_overwritten_before_they_go(
    full: Vault, places: Backups, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(full, places)
    kept = places.root / "same-file"
    os.link(places.keys / "keys.db", kept)
    back_up(full, places, out=places.root / "second")
    assert set(kept.read_bytes()) == {0}


def test_what_a_killed_backup_left_is_cleared_away_and_what_is_not_ours_is_not(full: Vault, places: Backups) -> None:
    left = places.data.with_name(".backup.syncvault-unfinished")
    left.mkdir(mode=0o700)
    (left / "vault.db").write_bytes(b"half")
    back_up(full, places)
    assert not left.exists()
    left = places.data.with_name(".second.syncvault-unfinished")
    left.mkdir(mode=0o700)
    (left / "diary").write_text("mine")
    with pytest.raises(InputError, match=f"^{left / 'diary'} is nothing of a backup's") as refused:
        back_up(full, places, out=places.root / "second")
    assert refused.value.advice.startswith("Move it away; it was not touched")
    assert (left / "diary").read_text() == "mine"


def test_two_backups_to_one_place_do_not_meet(full: Vault, places: Backups, place: Place) -> None:
    class Second(Quiet):
        refused: BaseException | None = None

        def advance(self, rows: int) -> None:
            try:
                back_up(place.open(), places)
            except BusyError as error:
                self.refused = error

    second = Second()
    back_up(full, places, progress=second)
    assert isinstance(second.refused, BusyError)
    assert str(second.refused).startswith(f"Another process is making a backup at {places.data}")
    assert listed(places.data).keys() == {"backup.json", "vault.db"}


def test_progress_is_told_of_every_row(full: Vault, places: Backups) -> None:
    told: dict[str, int] = {"expect": 0, "advance": 0}

    class Counting(Quiet):
        def expect(self, rows: int) -> None:
            told["expect"] += rows

        def advance(self, rows: int) -> None:
            told["advance"] += rows

    made = back_up(full, places, progress=Counting())
    assert made.keys is not None
    assert told["expect"] == told["advance"] == sum(made.data.rows.values()) + sum(made.keys.rows.values())


def test_a_backup_names_its_schema_and_where_the_root_key_is_kept(full: Vault, places: Backups, place: Place) -> None:
    made = back_up(full, places)
    assert made.keys is not None
    assert (archive.read(places.data).statement, archive.read(places.keys).statement) == (made.data, made.keys)
    assert (made.data.schema, made.keys.schema) == tuple(map(schema_revision, (full.data, full.key_data)))
    assert (made.data.roots, made.keys.roots) == ((), (place.layout.root_place,))


def test_a_backup_without_a_place_for_the_keys_holds_rows_alone(full: Vault, places: Backups) -> None:
    made = back_up(full, places, keys_out=None)
    assert (made.keys, places.keys.exists()) == (None, False)
    assert made.data == archive.read(places.data).statement


# Directories that appear whole or not at all


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def fill_in(place: Path, content: bytes) -> None:
    """Puts keys into a directory that takes the place of the one there."""
    with replaced_directory(place) as directory:
        (directory / "keys.db").write_bytes(content)


def fail_in(directory: AbstractContextManager[Path], look: Callable[[Path], object]) -> None:
    """Something stops the filling of a directory, after a look at it."""
    with directory as unfinished:
        (unfinished / "vault.db").write_bytes(b"half")
        look(unfinished)
        raise ZeroDivisionError


@pytest.mark.parametrize("make", [new_directory, replaced_directory])
def test_a_directory_whose_filling_failed_never_appears(
    tmp_path: Path, make: Callable[[Path], AbstractContextManager[Path]]
) -> None:
    modes: list[int] = []
    with pytest.raises(ZeroDivisionError):
        fail_in(make(tmp_path / "place"), lambda directory: modes.append(stat.S_IMODE(directory.stat().st_mode)))
    assert modes == [0o700]
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_was_killed_between_two_renames_comes_back(tmp_path: Path) -> None:
    place, old = tmp_path / "keys", tmp_path / ".keys.syncvault-replaced"
    fill_in(place, b"earlier")
    place.rename(old)
    found: list[dict[str, bytes]] = []
    with pytest.raises(ZeroDivisionError):
        fail_in(replaced_directory(place), lambda _: found.append(files(place)))
    assert found == [{"keys.db": b"earlier"}]
    fill_in(place, b"later")
    shutil.copytree(place, old)  # killed before the last step: the new one is in its place
    fill_in(place, b"last")
    assert files(place) == {"keys.db": b"last"}
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EACCES, "Name a directory that does not exist yet, in one that you may write to."),
        (errno.EBUSY, "Name a new directory inside it."),
        (errno.EXDEV, "Name a new directory inside it."),
    ],
)
def test_a_directory_that_cannot_take_its_place_leaves_the_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    place = tmp_path / "keys"
    fill_in(place, b"earlier")
    rename = Path.rename

    def refuse(self: Path, other: Path) -> Path:
        if "unfinished" in self.name:
            raise OSError(number, os.strerror(number))
        return rename(self, other)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(InputError, match=f"^No backup can be made at {place}: {os.strerror(number)}") as refused:
        fill_in(place, b"later")
    assert refused.value.advice == advice
    assert files(place) == {"keys.db": b"earlier"}
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]


def test_a_place_in_what_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match=r"^No backup can be made at .*Not a directory"),
        new_directory(tmp_path / "file" / "place"),
    ):
        pass


@pytest.mark.parametrize(
    "name", ["vault.db", "keys.db-wal", "backup.json.new", "erasure.ledger", "vault.db-journal", "vault.db-shm"]
)
def test_what_an_interrupted_attempt_left_is_cleared_away(tmp_path: Path, name: str) -> None:
    left = tmp_path / ".place.syncvault-unfinished"
    left.mkdir()
    (left / name).write_bytes(b"x" * (1024 * 1024 + 5))
    os.link(left / name, tmp_path / "same-file")
    with new_directory(tmp_path / "place") as directory:
        assert list(directory.iterdir()) == []
    assert (tmp_path / "same-file").read_bytes() == bytes(1024 * 1024 + 5)


@pytest.mark.parametrize("kind", ["link", "directory"])
def test_what_only_looks_like_ours_is_not_cleared_away(tmp_path: Path, kind: str) -> None:
    left = tmp_path / ".place.syncvault-unfinished"
    left.mkdir()
    (tmp_path / "letter").write_bytes(b"mine")
    if kind == "link":
        (left / "vault.db").symlink_to(tmp_path / "letter")
    else:
        (left / "vault.db").mkdir()
    with pytest.raises(InputError, match=r"is nothing of a backup's"), new_directory(tmp_path / "place"):
        pass
    assert (tmp_path / "letter").read_bytes() == b"mine"
