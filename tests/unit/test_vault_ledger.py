"""The erasure ledger: one entry per tenant and event, and a copy beside the database that is the owner's alone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from syncvault.crypto.signature import public_key
from syncvault.errors import StorageError
from syncvault.store import keys
from syncvault.store import ledger as rows
from syncvault.store.ledger import LedgerRow
from syncvault.store.schema import VAULT_TENANT
from syncvault.vault import layout as layouts
from syncvault.vault.erasing import ledger
from syncvault.vault.keyring.wrapped import Purpose
from syncvault.vault.layout import Layout
from syncvault.vault.opening import create_vault, open_vault
from syncvault.vault.vault import Vault
from tests.integration.vault_parts import as_before_signatures

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


@pytest.fixture
def kept(vault: Vault) -> list[LedgerRow]:
    """A ledger of four entries, and its copy."""
    for event, tenant_id in (("intent", ONE), ("keys_destroyed", ONE), ("intent", OTHER), ("completed", ONE)):
        write(vault, event, tenant_id)  # type: ignore[arg-type]
    ledger.mirror(vault)
    with vault.key_data.read() as tx:
        return rows.list_all(tx)


def public(vault: Vault) -> bytes:
    return public_key(vault.keys.receipt_seed)


def test_a_ledger_as_it_was_written_is_the_vault_s_own_from_the_first_entry_on(
    vault: Vault, kept: list[LedgerRow]
) -> None:
    for count in range(len(kept) + 1):
        assert ledger.check(kept[:count], public(vault)) is None
    assert all(entry.signature is not None and len(entry.signature) == 64 for entry in kept)


@pytest.mark.parametrize(
    "change",
    [
        {"seq": 2},
        {"at": 1},
        {"event": "completed"},
        {"tenant_id": b"3" * 16},
        {"detail": '{"reason":"retention"}'},
        {"detail": "\ud800"},
        {"signature": bytes(64)},
        {"signature": b""},
        {"signature": None},
        {"at": 1.0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_entry_that_was_changed_is_named_by_its_number(
    vault: Vault, kept: list[LedgerRow], change: dict[str, object]
) -> None:
    changed = kept[2]._replace(**change)  # type: ignore[arg-type]
    assert ledger.check([*kept[:2], changed, kept[3]], public(vault)) == changed.seq


def test_an_entry_that_was_taken_out_put_elsewhere_or_doubled_is_noticed(vault: Vault, kept: list[LedgerRow]) -> None:
    one, two, three, four = kept
    for entries in ([two, three], [one, three, four], [one, three, two], [one, two, two], [one, one], [two, one]):
        assert ledger.check(entries, public(vault)) is not None


def test_another_vault_s_entries_are_noticed(kept: list[LedgerRow]) -> None:
    assert ledger.check(kept, public_key(b"o" * 32)) == 1


def test_entries_without_a_signature_stand_at_the_beginning_or_are_noticed(vault: Vault, kept: list[LedgerRow]) -> None:
    unsigned = [entry._replace(signature=None) for entry in kept]
    assert ledger.check(unsigned[:2], public(vault), unsigned_until=2) is None
    assert ledger.check([kept[0], unsigned[1]], public(vault), unsigned_until=2) == 2
    with vault.key_data.write() as tx:
        tx.exec_driver_sql("UPDATE erasure_ledger SET signature = NULL")
        added = ledger.add(vault, tx, "intent", b"3" * 16, {})
    assert ledger.check([*unsigned, added], public(vault), unsigned_until=4) is None
    assert ledger.check([*unsigned, added], public(vault), unsigned_until=3) == 4
    assert ledger.check(unsigned, public(vault)) == 1


def test_an_entry_without_a_signature_that_somebody_adds_passes_in_no_vault_that_was_made_since(vault: Vault) -> None:
    with vault.key_data.write() as tx:
        rows.append(tx, 1, "intent", OTHER, "{}")
    write(vault, "intent", ONE)
    ledger.mirror(vault)
    assert faults(vault) == [
        ("Entry 1 of the erasure ledger was not written by this vault, or was changed.", ADVICE, True)
    ]


def test_a_vault_from_before_entries_were_signed_settles_once_which_those_are(vault: Vault) -> None:
    as_before_signatures(vault, "intent", "completed")
    home = vault.layout.home
    vault.close()
    with open_vault(home, clock=lambda: NOW) as later:
        write(later, "intent", OTHER)
        ledger.mirror(later)
        assert (later.keys.unsigned_until, faults(later)) == (2, [])
        with later.key_data.write() as tx:
            tx.exec_driver_sql("UPDATE erasure_ledger SET signature = NULL WHERE seq = 3")
    with open_vault(home, clock=lambda: NOW) as later:
        assert (later.keys.unsigned_until, faults(later)[0][0]) == (
            2,
            "Entry 3 of the erasure ledger was not written by this vault, or was changed.",
        )


def test_which_entries_have_no_signature_is_sealed(vault: Vault) -> None:
    assert vault.keys.unsigned_until == 0
    as_before_signatures(vault, "intent")
    with vault.key_data.read() as tx:
        early = keys.of_purpose(tx, VAULT_TENANT, Purpose.RECEIPT)
    with open_vault(vault.layout.home, clock=lambda: NOW), vault.key_data.read() as tx:
        settled = keys.of_purpose(tx, VAULT_TENANT, Purpose.RECEIPT)
    assert early is not None
    assert settled is not None
    assert len(settled.blob) == len(early.blob) + 8


def test_an_entry_is_returned_as_it_was_written(vault: Vault) -> None:
    with vault.key_data.write() as tx:
        added = ledger.add(vault, tx, "intent", ONE, {"name": "ü"})
    with vault.key_data.read() as tx:
        assert rows.list_all(tx) == [added]
    assert added.detail == '{"name":"ü"}'


ADVICE = "Find out who changed it, and keep both; a restore goes by what they say."


def faults(vault: Vault) -> list[tuple[str, str, bool]]:
    """What is wrong with the ledger, with `HERE` for where its copy is."""
    return [
        (fault.message.replace(str(vault.layout.ledger_mirror), "HERE"), fault.advice, fault.is_grave)
        for fault in ledger.faults(vault)
    ]


@pytest.mark.usefixtures("kept")
def test_nothing_is_wrong_with_a_ledger_and_its_copy(vault: Vault) -> None:
    assert faults(vault) == []


def test_nothing_is_wrong_before_there_is_any_entry(vault: Vault) -> None:
    vault.layout.ledger_mirror.unlink(missing_ok=True)
    assert faults(vault) == []


@pytest.mark.usefixtures("kept")
def test_a_copy_that_lacks_entries_is_no_grave_fault(vault: Vault) -> None:
    path = vault.layout.ledger_mirror
    path.write_bytes(path.read_bytes().split(b"\n")[0] + b"\n")
    assert faults(vault) == [
        ("HERE lacks the last entries of the key database: 3.", "`syncvault purge --yes` adds them.", False)
    ]
    path.unlink()
    assert faults(vault) == [
        ("HERE lacks the last entries of the key database: 4.", "`syncvault purge --yes` adds them.", False)
    ]


@pytest.mark.usefixtures("kept")
def test_a_key_database_that_lacks_entries_is_grave(vault: Vault) -> None:
    with vault.key_data.write() as tx:
        tx.exec_driver_sql("DELETE FROM erasure_ledger WHERE seq >= 3")
    assert faults(vault) == [("HERE has entries that the key database lacks: 2.", ADVICE, True)]


def test_a_copy_that_says_something_else_is_grave(vault: Vault, kept: list[LedgerRow]) -> None:
    kept[1] = kept[1]._replace(tenant_id=OTHER)
    vault.layout.ledger_mirror.write_bytes(ledger.to_text(kept))
    assert faults(vault) == [("HERE and the key database say different things from entry 2 on.", ADVICE, True)]
    vault.layout.ledger_mirror.write_bytes(ledger.to_text(kept[:3]))
    assert faults(vault) == [("HERE and the key database say different things from entry 2 on.", ADVICE, True)]


@pytest.mark.usefixtures("kept")
def test_an_entry_of_the_key_database_that_was_changed_is_grave(vault: Vault) -> None:
    with vault.key_data.write() as tx:
        tx.exec_driver_sql("UPDATE erasure_ledger SET at = at + 1 WHERE seq = 3")
    assert faults(vault) == [
        ("Entry 3 of the erasure ledger was not written by this vault, or was changed.", ADVICE, True),
        ("HERE and the key database say different things from entry 3 on.", ADVICE, True),
    ]


@pytest.mark.usefixtures("kept")
def test_a_copy_that_is_none_is_grave(vault: Vault) -> None:
    path = vault.layout.ledger_mirror
    path.write_bytes(b"{}\n")
    advice = "Move it away and keep it; the key database writes a new one."
    assert faults(vault) == [("HERE is damaged.", advice, True)]
    path.unlink()
    path.mkdir()
    assert faults(vault) == [("HERE cannot be read: Is a directory.", "Give it back to the vault's owner.", True)]


def test_an_entry_reads_back_with_and_without_a_signature(kept: list[LedgerRow]) -> None:
    unsigned = [entry._replace(signature=None) for entry in kept]
    for entries in (kept, unsigned, [*unsigned[:2], *kept[2:]]):
        assert ledger.parse(ledger.to_text(entries)) == entries
    assert b"signature" not in ledger.to_text(unsigned)


@pytest.mark.parametrize(
    "change",
    [
        {"signature": "00" * 63},
        {"signature": "00" * 65},
        {"signature": ""},
        {"signature": None},
        {"signature": "AB" * 64},
        {"signature": 5},
        {"tenant_id": "00" * 15},
        {"tenant_id": None},
        {"seq": "1"},
        {"seq": True},
        {"at": None},
        {"event": 1},
        {"detail": {}},
        {"more": 1},
    ],
    ids=str,
)
def test_a_line_in_another_form_is_no_entry(kept: list[LedgerRow], change: dict[str, object]) -> None:
    values = json.loads(ledger.to_text(kept[:1]))
    with pytest.raises(ValueError, match=r"^not (an entry of the ledger|in the one form that an entry has)$"):
        ledger.parse(json.dumps(values | change, separators=(",", ":")).encode() + b"\n")
    for name in values:
        if name != "signature":
            with pytest.raises(ValueError, match="not an entry of the ledger"):
                ledger.parse(json.dumps({k: v for k, v in values.items() if k != name}).encode() + b"\n")


def test_a_copy_is_whole_again_wherever_its_last_line_was_cut_off(vault: Vault, kept: list[LedgerRow]) -> None:
    path, whole = vault.layout.ledger_mirror, ledger.to_text(kept)
    for size in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        ledger.mirror(vault)
        assert path.read_bytes() == whole


@pytest.mark.parametrize("number", ["0", "-1", "true", "null", "1.5", '"1"', str(2**63), str(2**64)])
def test_a_copy_whose_last_entry_has_no_number_is_damaged(vault: Vault, number: str) -> None:
    vault.layout.ledger_mirror.write_text(f'{{"seq":{number}}}\n')
    with pytest.raises(StorageError, match="damaged"):
        ledger.mirror(vault)


def test_entries_without_a_signature_are_in_order_too(vault: Vault, kept: list[LedgerRow]) -> None:
    one, two, *_ = (entry._replace(signature=None) for entry in kept)
    assert ledger.check([one, one], public(vault), unsigned_until=2) == 1
    assert ledger.check([two, one], public(vault), unsigned_until=2) == 1
    assert ledger.check([two], public(vault), unsigned_until=2) is None
