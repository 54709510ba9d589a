"""The erasure ledger: one entry per tenant and event, and a copy beside the database that is the owner's alone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from syncvault.errors import StorageError
from syncvault.store import ledger as rows
from syncvault.vault import layout as layouts
from syncvault.vault import ledger
from syncvault.vault.layout import Layout
from syncvault.vault.opening import create_vault
from syncvault.vault.vault import Vault

NOW = datetime(2027, 1, 1, tzinfo=UTC)
ONE, OTHER = b"1" * 16, b"2" * 16


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    home = tmp_path / "home"
    places = Layout(
        home, layouts.default_database(home), layouts.default_key_database(home), "file", tmp_path / "key" / "root.key"
    )
    with create_vault(places, clock=lambda: NOW) as made:
        yield made


def write(vault: Vault, event: rows.Event, tenant_id: bytes, reason: str = "on-demand") -> None:
    with vault.key_data.write() as tx:
        ledger.append(vault, tx, event, tenant_id, {"reason": reason})


def entries(vault: Vault) -> list[tuple[bytes, str]]:
    with vault.key_data.read() as tx:
        return [(row.tenant_id, row.event) for row in rows.list_all(tx)]


def test_a_tenant_s_event_is_there_once_however_often_it_is_written(vault: Vault) -> None:
    for event in ("intent", "intent", "keys_destroyed", "intent", "keys_destroyed"):
        write(vault, event, ONE)  # type: ignore[arg-type]
    assert entries(vault) == [(ONE, "intent"), (ONE, "keys_destroyed")]


def test_another_tenant_s_event_is_another_entry(vault: Vault) -> None:
    for tenant_id in (ONE, OTHER, ONE):
        write(vault, "intent", tenant_id)
    assert entries(vault) == [(ONE, "intent"), (OTHER, "intent")]


def test_an_entry_says_when_what_and_the_detail(vault: Vault) -> None:
    write(vault, "intent", ONE, reason="retention")
    with vault.key_data.read() as tx:
        (row,) = rows.of_tenant(tx, ONE)
    assert (row.at, row.event, json.loads(row.detail)) == (int(NOW.timestamp()), "intent", {"reason": "retention"})


def test_the_copy_has_every_entry_and_is_its_owner_s_alone(vault: Vault) -> None:
    old = os.umask(0)
    try:
        write(vault, "intent", ONE)
        ledger.mirror(vault)
        write(vault, "keys_destroyed", ONE)
        ledger.mirror(vault)
        ledger.mirror(vault)
    finally:
        os.umask(old)
    path = vault.layout.ledger_mirror
    assert path.stat().st_mode & 0o777 == 0o600
    with vault.key_data.read() as tx:
        assert ledger.parse(path.read_bytes()) == rows.list_all(tx)


def test_a_copy_with_a_high_number_last_is_a_copy(vault: Vault) -> None:
    vault.layout.ledger_mirror.write_bytes(b'{"seq":4294967296}\n')
    ledger.mirror(vault)
    assert vault.layout.ledger_mirror.read_bytes() == b'{"seq":4294967296}\n'


def test_a_damaged_copy_is_named_with_what_helps(vault: Vault) -> None:
    path = vault.layout.ledger_mirror
    path.write_bytes(b"{}\n")
    with pytest.raises(StorageError) as refusal:
        ledger.mirror(vault)
    assert refusal.value.message == f"{path} is damaged."
    assert refusal.value.advice == "Move it away and keep it; the key database writes a new one."


def test_a_copy_that_cannot_be_written_is_named_with_the_reason(vault: Vault) -> None:
    path = vault.layout.ledger_mirror
    path.unlink(missing_ok=True)
    path.mkdir()
    with pytest.raises(StorageError) as refusal:
        ledger.mirror(vault)
    assert refusal.value.message == f"{path} cannot be written: Is a directory."
