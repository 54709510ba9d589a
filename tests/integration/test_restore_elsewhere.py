"""Restoring elsewhere: onto a server, from another version's backups, beside another restore, and from what was ill."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from syncvault.errors import BusyError, InputError, SchemaError
from syncvault.store import transfer, upgrade
from syncvault.store.engine import Role, open_database
from syncvault.vault import layout as layouts
from syncvault.vault import tenants, verify
from syncvault.vault.backups import placing, restore
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
from tests.integration.vault_parts import NOW, Place, execute, register


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
