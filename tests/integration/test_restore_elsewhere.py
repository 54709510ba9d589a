"""Restoring elsewhere: onto a server, from another version's backups, beside another restore, and from what was ill."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from syncvault.errors import (
    BusyError,
    DamagedError,
    InputError,
    SchemaError,
    StorageError,
    SyncvaultError,
    UsageError,
)
from syncvault.store import transfer, upgrade
from syncvault.store.engine import Role, open_database
from syncvault.vault import layout as layouts
from syncvault.vault import tenants, verify
from syncvault.vault.backups import archive, placing, restore
from syncvault.vault.backups.archive import NotABackupError
from syncvault.vault.trail import audit
from syncvault.vault.vault import Vault
from tests.integration.fake_exchange import FakeExchange
from tests.integration.restoring import (
    Backups,
    Quiet,
    alter,
    assert_sound,
    back_up,
    bring_back,
    erase,
    everything,
    fill,
    reopened,
    sign_anew,
)
from tests.integration.vault_parts import NOW, Place, execute, register, rows


@pytest.fixture
def places(tmp_path: Path) -> Backups:
    return Backups(tmp_path, tmp_path / "backup", tmp_path / "key-backup")


@pytest.fixture
def full(vault: Vault, exchange: FakeExchange) -> Vault:
    fill(vault, exchange)
    return vault


@pytest.fixture
def server_urls(request: pytest.FixtureRequest, places: Backups) -> Iterator[tuple[str, str]]:
    """Two empty schemas of a PostgreSQL server."""
    import psycopg

    server = request.getfixturevalue("postgres_server")
    names = [f"restored_{role}_{uuid.uuid4().hex[:12]}" for role in ("data", "keys")]
    with psycopg.connect(server, autocommit=True) as connection:
        for name in names:
            connection.execute(f'CREATE SCHEMA "{name}"')
    joint = "&" if "?" in server else "?"
    data, keys = (f"{server}{joint}options={quote(f'-csearch_path={name}')}" for name in names)
    yield data, keys
    with psycopg.connect(server, autocommit=True) as connection:
        for name in names:
            connection.execute(f'DROP SCHEMA "{name}" CASCADE')


@pytest.mark.slow
def test_a_vault_moves_to_databases_on_a_server(
    place: Place, full: Vault, places: Backups, server_urls: tuple[str, str]
) -> None:
    data, keys = server_urls
    before = {name: everything(full, name) for name in ("alpha", "beta")}
    register(full, "delta")
    erase(full, "delta")  # so that the ledger has numbers to count on from
    back_up(full, places)
    place.close()
    bring_back(place, places, database=data, key_database=keys)
    with reopened(places) as vault:
        assert vault.data.dialect == vault.key_data.dialect == "postgresql"
        assert {name: everything(vault, name) for name in before} == before
        assert_sound(vault)
        erase(vault, "alpha")  # numbers count on from the restored ones
        register(vault, "gamma")
        assert_sound(vault)
        back_up(vault, places, out=places.root / "later")
    assert {path.name for path in places.home.iterdir()} <= {"vault.toml", "erasure.ledger", "receipts", "locks"}
    shutil.rmtree(places.home)
    with pytest.raises(InputError, match="already"):  # a living vault's, as far as anybody can tell
        bring_back(place, places, database=data, key_database=keys)
    assert not places.home.exists()


@pytest.mark.slow
@pytest.mark.parametrize("at", ["keys", "data", "vault.toml"])
def test_a_restore_to_a_server_that_failed_half_way_can_be_run_again(
    place: Place,
    full: Vault,
    places: Backups,
    server_urls: tuple[str, str],
    *,
    monkeypatch: pytest.MonkeyPatch,
    at: str,
) -> None:
    data, keys = server_urls
    before = everything(full, "alpha")
    back_up(full, places)
    place.close()
    with monkeypatch.context() as patch:
        put = placing.put

        def fail(staged: Path, url: str, role: Role) -> None:
            put(staged, url, role)
            if role == at:
                raise ZeroDivisionError

        patch.setattr(placing, "put", fail)
        if at == "vault.toml":
            patch.setattr(layouts, "save", lambda _: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            bring_back(place, places, database=data, key_database=keys)
    assert not layouts.exists(places.home)
    bring_back(place, places, database=data, key_database=keys)
    with reopened(places) as vault:
        assert everything(vault, "alpha") == before
        assert_sound(vault)
    assert not (places.home / ".restoring").exists()


def test_two_restores_into_one_home_do_not_meet(place: Place, full: Vault, places: Backups) -> None:
    class Second(Quiet):
        refused: BaseException | None = None

        def advance(self, rows: int) -> None:
            if self.refused is None:
                try:
                    bring_back(place, places)
                except BusyError as error:
                    self.refused = error

    back_up(full, places)
    place.close()
    second = Second()
    restore.restore(places.wanted(), progress=second, clock=lambda: NOW)
    assert isinstance(second.refused, BusyError)
    assert str(second.refused).startswith(f"Another process is restoring a vault at {places.home}")


def test_a_backup_of_a_newer_version_is_refused_and_an_older_one_brought_up(
    place: Place, full: Vault, places: Backups
) -> None:
    before = everything(full, "alpha")
    back_up(full, places)
    seed = full.keys.receipt_seed
    place.close()
    alter(places.data / "vault.db", seed, "UPDATE data_schema SET version_num = 'data_9999'")
    with pytest.raises(SchemaError, match="data_9999"):
        bring_back(place, places)
    assert not places.home.exists()
    alter(places.data / "vault.db", seed, "UPDATE data_schema SET version_num = 'data_0002'")
    _downgrade(places.data, seed)
    bring_back(place, places)
    with reopened(places) as vault:
        assert everything(vault, "alpha") == before
        assert verify.verify(vault).findings == []


def _downgrade(directory: Path, seed: bytes) -> None:
    database = open_database(f"sqlite:///{directory / 'vault.db'}")
    upgrade.downgrade(database, "data_0001")
    transfer.settle(database)
    sign_anew(directory, seed)


def test_rows_that_did_not_add_up_when_they_were_backed_up_are_told_and_still_found(
    place: Place, full: Vault, places: Backups
) -> None:
    alpha = tenants.find(full, "alpha")
    assert execute(full.data, "DELETE FROM photos") == 4
    back_up(full, places)
    place.close()
    restored = bring_back(place, places)
    assert alpha.id in restored.unreadable
    with reopened(places) as vault:
        assert {(one.table, str(one.kind)) for one in verify.verify(vault).findings} == {("photos", "missing")}


# What is refused, in which words


@pytest.fixture
def backed_up(place: Place, full: Vault, places: Backups) -> Vault:
    """A vault with both its backups, closed."""
    back_up(full, places)
    place.close()
    return full


def refused(place: Place, places: Backups, kind: type[SyncvaultError], said: str, **changes: Any) -> str:
    """What a restore that is refused advises."""
    with pytest.raises(kind, match=said) as error:
        bring_back(place, places, **changes)
    return error.value.advice


def test_what_is_in_the_way_or_of_another_kind_is_named_with_what_to_do(
    place: Place, backed_up: Vault, places: Backups
) -> None:
    home = place.home
    advice = refused(place, places, InputError, f"^There is a vault at {home} already", home=home)
    assert advice.startswith("Name another directory with --home")
    advice = refused(place, places, UsageError, "^The directory given for --from holds", data=places.keys)
    assert advice.startswith("--from takes what")
    advice = refused(
        place,
        places,
        UsageError,
        "^Keys and data cannot share one",
        database="sqlite:////x",
        key_database="sqlite:////x",
    )
    assert advice.startswith("Name another with --key-database")
    statement = archive.read(places.keys).statement
    sign_anew(places.keys, b"k" * 32, vault_id=b"v" * 16)
    advice = refused(place, places, InputError, "^The two backups are of different vaults")
    assert advice.startswith("Name two that are of the same")
    sign_anew(places.keys, b"k" * 32, vault_id=statement.vault_id)
    advice = refused(place, places, UsageError, "^The directory given for --keys-from holds", keys=places.data)
    assert advice.startswith("--from takes what")
    (places.keys / "erasure.ledger").unlink()
    advice = refused(place, places, NotABackupError, f"^{places.keys} has no erasure.ledger: nobody can tell")
    assert advice.startswith("Take a key backup with its ledger")
    assert not places.home.exists()


def test_a_home_that_is_no_directory_is_said_to_be_none(place: Place, backed_up: Vault, places: Backups) -> None:
    places.home.touch()
    refused(place, places, StorageError, r"^The directory .*restored/\.restoring cannot be made: ")


def test_a_file_that_no_restore_made_is_left_in_its_directory(place: Place, backed_up: Vault, places: Backups) -> None:
    diary = places.home / ".restoring" / "diary"
    diary.parent.mkdir(parents=True)
    diary.write_text("mine")
    advice = refused(place, places, InputError, f"^{diary} is nothing of a restore's")
    assert advice.startswith("Move it away; it was not touched")
    assert diary.read_text() == "mine"


def test_what_an_interrupted_restore_left_is_cleared_away(place: Place, backed_up: Vault, places: Backups) -> None:
    left = places.home / ".restoring"
    (left / "locks").mkdir(parents=True)
    (left / "locks" / "maintenance").touch()
    (left / "vault.db-wal").write_bytes(b"half")
    (left / "receipts").symlink_to(places.data)
    (left / "token").write_text("no token")
    bring_back(place, places)
    assert not left.exists()
    assert (places.data / "vault.db").exists()


@pytest.mark.parametrize("content", [b"{}\n", None])
def test_a_ledger_in_the_way_that_cannot_be_read_is_named(
    place: Place, backed_up: Vault, places: Backups, content: bytes | None
) -> None:
    ledger = places.home / "erasure.ledger"
    ledger.parent.mkdir()
    if content is None:
        ledger.mkdir()
        refused(place, places, StorageError, f"^{ledger} cannot be read: ")
    else:
        ledger.write_bytes(content)
        advice = refused(place, places, DamagedError, f"^{ledger} is damaged")
        assert advice.startswith("Find out what it said of erasures")
    assert [path.name for path in places.home.iterdir()] == ["erasure.ledger"]


def test_files_that_are_not_what_the_statement_says_are_named(place: Place, backed_up: Vault, places: Backups) -> None:
    for path in (places.data / "vault.db", places.keys / "keys.db", places.keys / "erasure.ledger"):
        content = path.read_bytes()
        path.write_bytes(content + b"x")
        advice = refused(place, places, DamagedError, f"^{path} is not what backup.json says of it")
        assert advice == archive.ANOTHER
        path.write_bytes(content)


def test_a_database_of_another_vault_is_refused(place: Place, full: Vault, places: Backups) -> None:
    back_up(full, places)
    seed = full.keys.receipt_seed
    place.close()
    for path, table in ((places.keys / "keys.db", "key_meta"), (places.data / "vault.db", "meta")):
        content = path.read_bytes()
        alter(path, seed, f"UPDATE {table} SET value = 'another' WHERE name = 'vault_id'")
        advice = refused(place, places, DamagedError, f"^{path} is of another vault")
        assert advice == archive.ANOTHER
        path.write_bytes(content)
        sign_anew(path.parent, seed)
    bring_back(place, places)


def test_a_statement_that_this_vault_did_not_sign_is_named(place: Place, backed_up: Vault, places: Backups) -> None:
    for directory in (places.data, places.keys):
        text = (directory / "backup.json").read_bytes()
        sign_anew(directory, b"k" * 32)
        advice = refused(place, places, DamagedError, f"^{directory / 'backup.json'} was not signed by this vault")
        assert advice == archive.ANOTHER
        (directory / "backup.json").write_bytes(text)


# What a restore tells, and writes down


def test_progress_is_told_of_every_byte(place: Place, backed_up: Vault, places: Backups) -> None:
    told = {"expect": 0, "advance": 0}

    class Counting(Quiet):
        def expect(self, rows: int) -> None:
            told["expect"] += rows

        def advance(self, rows: int) -> None:
            told["advance"] += rows

    restore.restore(places.wanted(), progress=Counting(), clock=lambda: NOW)
    files = [one for each in (places.data, places.keys) for one in archive.read(each).statement.files.values()]
    assert told["expect"] == told["advance"] == sum(one.size for one in files)


def test_a_restore_says_what_came_back_and_notes_when(place: Place, backed_up: Vault, places: Backups) -> None:
    stated = archive.read(places.data).statement.rows
    restored = bring_back(place, places, keep_days=10)
    assert (restored.vault_id, restored.layout) == (backed_up.id, layouts.load(places.home))
    assert (restored.tenants, restored.rows) == (2, sum(stated.values()) + 1)  # and its own mark
    with reopened(places) as vault:
        entry = next(audit.listing(vault))
        assert (entry.verb, entry.tenant_id, entry.outcome) == ("restore", None, "ok")
        noted = {row[0]: row[1] for row in rows(vault.key_data, "key_meta")}
        assert noted["restored_at"] == str(int(NOW.timestamp()))
        assert noted["orphans_kept_until"] == str(int((NOW + timedelta(days=10)).timestamp()))
