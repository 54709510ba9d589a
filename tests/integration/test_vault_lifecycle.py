"""Making and opening a vault: killed anywhere, with the wrong key, a strange database, or a newer version's."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from syncvault.errors import (
    BusyError,
    DamagedError,
    InputError,
    NoVaultError,
    RootKeyError,
    SchemaError,
    StorageError,
    UsageError,
)
from syncvault.roots.file import FileProvider
from syncvault.store import keys as key_rows
from syncvault.store import tenants as tenant_rows
from syncvault.store import upgrade
from syncvault.store.engine import Database
from syncvault.vault import credentials, layout, tenants
from syncvault.vault import vault as vaults
from syncvault.vault.keyring import root_rotation
from syncvault.vault.layout import Layout, RootPlace
from syncvault.vault.opening import create_vault, open_vault
from syncvault.vault.trail import audit
from syncvault.vault.vault import Vault
from syncvault.vault.verify import verify
from tests.integration.killed import kill_after
from tests.integration.vault_parts import NOW, Place, execute, profile, register, rows, secret


def test_a_vault_is_made_and_opened(place: Place) -> None:
    made = place.create()
    opened = place.open()
    assert opened.id == made.id == bytes.fromhex(dict(rows(made.data, "meta"))["vault_id"])
    assert opened.roots is not None
    assert opened.receipt_public_key == made.receipt_public_key
    assert opened.keys.root == ("file", 1)
    assert opened.layout == place.layout
    assert tenants.call_roll(opened).tenants == []
    assert place.home.stat().st_mode & 0o777 == 0o700
    assert (place.home / "vault.toml").stat().st_mode & 0o777 == 0o600
    assert "root" in repr(opened.keys)


def test_a_second_vault_is_not_made_over_the_first(place: Place) -> None:
    place.create()
    with pytest.raises(InputError, match=rf"^There is a vault at {place.home} already") as caught:
        place.create()
    assert caught.value.advice.startswith("Name another directory with --home")


def test_there_is_no_vault_where_none_was_made(tmp_path: Path) -> None:
    for home in (tmp_path, tmp_path / "nothing", tmp_path / "nothing" / "at all"):
        with pytest.raises(NoVaultError):
            open_vault(home)


def test_keys_and_data_do_not_share_a_database(place: Place) -> None:
    with pytest.raises(UsageError, match=r"^Keys and data cannot share one database") as caught:
        create_vault(replace(place.layout, key_database=place.layout.database))
    assert caught.value.advice.startswith("Name another with --key-database")


def nowhere(tmp_path: Path, home: Path) -> Layout:
    """A layout of which nothing exists yet, not even the directories above it."""
    databases = layout.default_database(home), layout.default_key_database(home)
    return Layout(home, *databases, "file", tmp_path / "new-root-key" / "root.key")


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_vault_that_is_made_where_nothing_was_is_its_owners_alone(tmp_path: Path) -> None:
    home = tmp_path / "new" / "home"
    before = os.umask(0)
    try:
        create_vault(nowhere(tmp_path, home)).close()
    finally:
        os.umask(before)
    assert (mode(home), mode(home / "receipts")) == (0o700, 0o700)
    with open_vault(home) as vault:
        register(vault)
        assert verify(vault).findings == []


def test_a_directory_that_was_there_is_closed_to_others_only_if_nothing_is_in_it(tmp_path: Path) -> None:
    for name, has_files in (("empty", False), ("shared", True)):
        home = tmp_path / name
        home.mkdir(mode=0o755)
        if has_files:
            (home / "theirs").touch()
            (home / "receipts").mkdir()
        create_vault(replace(nowhere(tmp_path, home), root_key_file=tmp_path / f"{name}.key")).close()
        assert mode(home) == (0o755 if has_files else 0o700)


def test_a_directory_whose_mode_others_decide_holds_a_vault_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "chmod", refuse)
    create_vault(nowhere(tmp_path, tmp_path / "home")).close()
    assert mode(tmp_path / "home") == 0o700


def test_a_vault_that_cannot_be_made_or_opened_leaves_no_database_open(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    close = Database.close

    def count(self: Database) -> None:
        closed.append(self.role)
        close(self)

    def fail(*_: Any) -> None:
        raise StorageError("disk full")

    monkeypatch.setattr(Database, "close", count)
    with monkeypatch.context() as patch:
        patch.setattr(layout, "save", fail)
        with pytest.raises(StorageError, match="disk full"):
            place.create()
    assert sorted(closed) == ["data", "keys"]
    closed.clear()
    place.create().close()
    assert sorted(closed) == ["data", "keys"]
    closed.clear()
    monkeypatch.setattr(root_rotation, "finish", fail)
    with pytest.raises(StorageError, match="disk full"):
        place.open()
    assert sorted(closed) == ["data", "keys"]


def test_a_database_of_another_vault_is_refused(place: Place, tmp_path: Path) -> None:
    place.create()
    home = tmp_path / "second"
    fresh = Layout(
        home,
        layout.default_database(home),
        layout.default_key_database(home),
        "file",
        tmp_path / "second-root-key" / "root.key",
    )
    with pytest.raises(InputError, match=r"^The database holds the rows of another vault") as caught:
        create_vault(replace(fresh, database=place.layout.database))
    assert caught.value.advice.startswith("Name another with --database")
    with pytest.raises(InputError, match=r"^The key database holds the keys of another vault") as caught:
        create_vault(
            replace(
                fresh,
                home=tmp_path / "third",
                database=layout.default_database(home),
                key_database=place.layout.key_database,
            )
        )
    assert caught.value.advice.startswith("Name another with --key-database")


@pytest.mark.slow
def test_an_init_killed_after_any_step_can_be_run_again(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for step in range(1, 30):
        if not kill_after(step, "init", home):
            break
        with pytest.raises(NoVaultError):
            open_vault(home)
    else:
        pytest.fail("it never came to its end")
    with open_vault(home) as vault:
        register_one = tenants.register(vault, profile("acme"), secret())
        assert tenants.call_roll(vault).tenants == [register_one]
        assert len(rows(vault.key_data, "root_generations")) == 1


def test_an_init_begun_with_another_provider_is_not_taken_over(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(place: Layout) -> None:
        raise StorageError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(layout, "save", fail)
        with pytest.raises(StorageError):
            place.create()
    with pytest.raises(InputError, match=r"interrupted init .* provider file") as caught:
        create_vault(replace(place.layout, root_key="passphrase"), passphrase=lambda: secret().secret)
    assert "--root-key file" in caught.value.advice
    made = place.create()
    assert place.open().id == made.id


def test_a_home_that_cannot_be_made_is_a_storage_error(place: Place, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=rf"{tmp_path}/file/home cannot be made: Not a directory"):
        create_vault(replace(place.layout, home=tmp_path / "file" / "home"))


def test_a_registration_killed_between_keys_and_rows_is_swept(place: Place) -> None:
    place.create().close()
    assert kill_after(2, "register", place.home)  # the first step sweeps, the second stores the keys
    vault = place.open(NOW)
    assert len(rows(vault.key_data, "wrapped_keys")) == 4  # the vault's two, and two without a tenant
    assert tenants.is_name_free(vault, "acme")
    tenants.register(vault, profile("soon"), secret())
    assert len(rows(vault.key_data, "wrapped_keys")) == 6  # they may belong to a registration under way
    later = place.open(NOW + timedelta(hours=2))
    tenants.register(later, profile("later"), secret())
    assert len(rows(later.key_data, "wrapped_keys")) == 6
    assert [tenant.facts.name for tenant in tenants.call_roll(later).tenants] == ["later", "soon"]


def test_the_keys_of_a_registration_late_in_a_long_command_are_not_swept(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    importing = place.create()
    other = place.open(NOW + timedelta(hours=2))
    insert = tenant_rows.insert

    def insert_later(*args: Any) -> None:
        monkeypatch.setattr(tenant_rows, "insert", insert)
        with other.beside_others():
            tenants._sweep(other)
        insert(*args)

    monkeypatch.setattr(tenant_rows, "insert", insert_later)
    tenant = tenants.register(importing, profile("late"), secret())
    assert credentials.load(place.open(), tenant).kind is secret().kind


def test_a_vault_taken_back_a_version_holds_no_key_unknown_there_and_comes_up_again(place: Place) -> None:
    vault = place.create()
    tenant = register(vault)
    audit.record(vault, verb="tenant add", tenant_id=tenant.id, outcome="ok")
    for database in (vault.data, vault.key_data):
        upgrade.downgrade(database, upgrade.REVISIONS[database.role][0])
    with vault.key_data.read() as tx:
        purposes = set(tx.exec_driver_sql("SELECT purpose FROM wrapped_keys").scalars())
    assert purposes == {"names", "receipt", "data", "index"}
    vault = place.open()
    credentials.replace(vault, tenant, secret("another"))
    audit.record(vault, verb="credential rotate", tenant_id=tenant.id, outcome="ok")
    assert verify(vault).findings == []
    assert audit.verify(vault).findings == ()


def test_a_missing_root_key_is_reported_as_such(place: Place) -> None:
    place.create()
    assert place.layout.root_key_file is not None
    place.layout.root_key_file.unlink()
    with pytest.raises(RootKeyError, match="missing"):
        place.open()


def test_the_wrong_root_key_is_reported_as_such(place: Place) -> None:
    place.create()
    path = place.layout.root_key_file
    assert path is not None
    content = json.loads(path.read_bytes())
    content["keys"] = {"1": base64.b64encode(os.urandom(32)).decode()}
    path.write_text(json.dumps(content))
    with pytest.raises(RootKeyError, match="not the one this vault was made with"):
        place.open()


def test_databases_of_different_vaults_are_told_apart(place: Place) -> None:
    vault = place.create()
    execute(vault.data, "UPDATE meta SET value = ? WHERE name = 'vault_id'", "00" * 16)
    with pytest.raises(RootKeyError, match=r"^The two databases belong to different vaults") as refused:
        place.open()
    assert refused.value.advice.startswith("Restore the key database that goes with the data")
    execute(vault.data, "DELETE FROM meta WHERE name = 'vault_id'")
    with pytest.raises(SchemaError, match=r"^A database of this vault is empty") as caught:
        place.open()
    assert caught.value.advice.startswith("Restore both from one backup")


def test_a_key_database_without_the_vaults_id_is_told_as_empty(place: Place) -> None:
    vault = place.create()
    execute(vault.key_data, "DELETE FROM key_meta WHERE name = 'vault_id'")
    with pytest.raises(SchemaError, match="empty"):
        place.open()


def test_a_key_store_without_keys_of_the_vault_is_damaged(place: Place) -> None:
    vault = place.create()
    execute(vault.key_data, "DELETE FROM wrapped_keys WHERE purpose = 'receipt'")
    with pytest.raises(DamagedError, match=r"^The key store lacks keys of the vault itself") as damaged:
        place.open()
    assert damaged.value.advice.startswith("Restore it from its backup")
    execute(vault.key_data, "DELETE FROM wrapped_keys")
    with pytest.raises(DamagedError, match="lacks keys"):
        place.open()
    execute(vault.key_data, "UPDATE root_generations SET state = 'retired'")
    with pytest.raises(RootKeyError, match="names no root key"):
        place.open()


@pytest.mark.parametrize("role", ["data", "keys"])
def test_a_newer_schema_is_refused_naming_both_versions(place: Place, role: str) -> None:
    vault = place.create()
    database = vault.data if role == "data" else vault.key_data
    execute(database, f"UPDATE {upgrade.version_table(role)} SET version_num = '{role}_9999'")  # type: ignore[arg-type]
    with pytest.raises(SchemaError, match=f"{role}_9999.*{role}_0002"):
        place.open()


def test_a_database_that_was_never_migrated_is_brought_up_to_date_and_found_empty(place: Place) -> None:
    vault = place.create()
    upgrade.downgrade(vault.data, "base")
    with pytest.raises(SchemaError, match="empty"):
        place.open()
    assert upgrade.check_schema(vault.data)


def test_an_old_root_key_left_behind_is_destroyed_at_the_next_opening(place: Place) -> None:
    vault = place.create()
    register(vault)
    with vault.alone(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(vault.keys, "destroy_retired_roots", dict)
        vault.keys.rekey(vault.now, lambda: None)
    with vault.key_data.read() as tx:
        assert [root.state for root in key_rows.roots(tx)] == ["retired", "current"]
    with vault.beside_others():
        place.open()  # somebody is at work: later
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FileProvider, "destroy", _unreachable)
        place.open()  # and an unreachable provider keeps nobody out
    with vault.key_data.read() as tx:
        assert [root.state for root in key_rows.roots(tx)] == ["retired", "current"]
    again = place.open()
    with again.key_data.read() as tx:
        assert [root.state for root in key_rows.roots(tx)] == ["destroyed", "current"]
    assert tenants.find(again, "acme").facts.name == "acme"


def test_the_place_of_a_root_key_that_is_gone_is_forgotten(place: Place, tmp_path: Path) -> None:
    vault = place.create()
    root_rotation.migrate(vault, RootPlace("file", tmp_path / "new" / "root.key"))
    layout.save(replace(vault.layout, replaced=(RootPlace("file", tmp_path / "gone.key", {}, 1),)))
    assert place.open().layout.replaced == ()
    assert layout.load(place.home).replaced == ()


def _unreachable(self: FileProvider, handle: Any) -> Any:
    raise RootKeyError("It cannot be reached.")


def test_one_thread_may_nest_what_it_holds_of_the_vault(place: Place) -> None:
    vault = place.create()
    with vault.beside_others(), vault.beside_others(), vault.read():
        pass
    with vault.alone(), vault.read():
        pass


def test_who_is_alone_holds_off_readers_and_readers_hold_off_who_would_be_alone(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vaults, "MAINTENANCE_SECONDS", 0.0)
    vault, other = place.create(), place.open()
    with vault.beside_others(), other.beside_others():
        pass
    with vault.alone():  # so neither holds anything any more
        refused = [other.alone, other.beside_others]
        if vault.data.dialect == "sqlite":
            refused += [other.read, other.write]  # type: ignore[list-item]
        for take in refused:
            with pytest.raises(BusyError, match="in use"), take():
                pass
    with vault.beside_others(), pytest.raises(BusyError, match="in use"), other.alone():
        pass
    with other.alone():
        pass


def test_closing_a_vault_writes_down_how_far_its_rows_have_come(place: Place) -> None:
    with place.create() as vault:
        tenant = register(vault, "acme")
        assert rows(vault.key_data, "anchors") == []
    assert rows(place.open().key_data, "anchors") == [(tenant.id, 1)]


def test_a_vault_is_closed_though_nothing_can_be_written_down_any_more(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise StorageError("disk full")

    vault = place.create()
    monkeypatch.setattr(vault.anchors, "write_down", refuse)
    closed: list[bool] = []
    monkeypatch.setattr(Database, "close", lambda _: closed.append(True))
    vault.close()
    assert closed == [True, True]


def test_one_reference_time_in_whole_seconds_serves_a_command(place: Place) -> None:
    place.now = datetime(2026, 6, 1, 14, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=2)))
    vault = place.create()
    assert (vault.now, vault.now.utcoffset(), vault.instant) == (NOW, timedelta(0), int(NOW.timestamp()))


def test_the_latest_time_moves_on_and_leaps_or_goes_back_only_when_somebody_confirms_it(place: Place) -> None:
    hour = timedelta(hours=1)
    assert place.create().latest_time_seen() is None
    for now, confirmed, seen in (
        (NOW, False, NOW),
        (NOW + hour, False, NOW + hour),
        (NOW + hour - timedelta(minutes=2), False, NOW + hour),  # within what a time service corrects
        (NOW - hour, False, NOW + hour),
        (NOW + timedelta(days=200), False, NOW + hour),
        (NOW + timedelta(days=200), True, NOW + timedelta(days=200)),
        (NOW, True, NOW),
    ):
        vault = place.open(now)
        vault.note_time(**({"confirmed": True} if confirmed else {}))
        assert vault.latest_time_seen() == seen


@pytest.mark.parametrize("handle", ["{", "", "[]", "null"])
def test_a_root_key_that_the_key_store_no_longer_finds_is_a_root_key_error(place: Place, handle: str) -> None:
    with place.create() as vault:
        execute(vault.key_data, "UPDATE root_generations SET handle = ?", handle)
    with pytest.raises(RootKeyError, match="damaged"):
        place.open()


@pytest.mark.parametrize("value", ["", "soon", "9" * 5000])
def test_a_latest_time_that_is_none_counts_as_missing(vault: Vault, value: str) -> None:
    vault.note_time()
    execute(vault.data, "UPDATE meta SET value = ? WHERE name = 'latest_time_seen'", value)
    assert vault.latest_time_seen() is None


class TestLayout:
    def test_paths_of_any_spelling_come_back(self, tmp_path: Path) -> None:
        home = tmp_path / 'hö"me\\ 😀'
        home.mkdir()
        saved = Layout(home, layout.default_database(home), layout.default_key_database(home), "file", home / "r.key")
        layout.save(saved)
        assert layout.load(home) == saved
        assert not list(home.glob("*.new"))

    @pytest.mark.parametrize("text", ["", "database = 3", 'database = "x"', "no toml", "\x00"])
    def test_a_damaged_file_is_a_storage_error(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "vault.toml").write_text(text)
        with pytest.raises(StorageError, match="damaged"):
            layout.load(tmp_path)

    def test_a_directory_in_its_place_is_a_storage_error(self, tmp_path: Path) -> None:
        (tmp_path / "vault.toml").mkdir()
        with pytest.raises(StorageError, match="cannot be read"):
            layout.load(tmp_path)
        with pytest.raises(StorageError, match="cannot be written"):
            layout.write_durably(tmp_path / "nothing" / "file", b"")

    def test_the_key_file_lies_beside_the_data_directory(self) -> None:
        assert layout.default_root_key_file(Path("/srv/vault")) == Path("/srv/vault-root-key/root.key")
