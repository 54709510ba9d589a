"""Nobody orders an erasure, or makes one undone, by writing to the databases: intents and the ledger are signed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from syncvault.crypto.signature import Subject, public_key, sign
from syncvault.errors import DamagedError
from syncvault.retention import purge as retention
from syncvault.service import health
from syncvault.store import ledger as ledger_rows
from syncvault.store.ledger import LedgerRow
from syncvault.vault import tenants
from syncvault.vault.erasing import erasing_rows, erasure, intent, ledger
from syncvault.vault.model import Tenant
from syncvault.vault.vault import Vault
from tests.integration.vault_parts import Place, as_before_signatures, execute, register, rows

FENCED = "UPDATE tenants SET state = 'erasing', epoch = epoch + 1, erasure = ? WHERE id = ?"


def genuine(vault: Vault, tenant: Tenant) -> dict[str, Any]:
    """The intent that the vault itself would write, were it to erase the tenant."""
    with vault.read() as tx:
        row = tenants.rows.get(tx, tenant.id)
        assert row is not None
        made = erasure._new_intent(
            vault, tx, row._replace(epoch=row.epoch + 1), tenant, reason=erasure.ON_DEMAND, role="root"
        )
    document: dict[str, Any] = json.loads(intent.to_text(made, vault.keys.receipt_seed))
    return document


def of_another_tenant(vault: Vault, tenant: Tenant) -> str:
    return json.dumps(genuine(vault, register(vault, "another")))


def under_another_key(vault: Vault, tenant: Tenant) -> str:
    return intent.to_text(
        intent.Intent(tenant.id, tenant.epoch + 1, "on-demand", "root", 1, "2026-01-01", 1, (), {}), b"k" * 32
    )


def changed(vault: Vault, tenant: Tenant) -> str:
    found = genuine(vault, tenant)
    found["intent"]["reason"] = "retention"
    return json.dumps(found)


def signed_as_a_receipt(vault: Vault, tenant: Tenant) -> str:
    found = genuine(vault, tenant)
    signature = sign(vault.keys.receipt_seed, Subject.RECEIPT, found["intent"])
    return json.dumps(found | {"signature": base64.b64encode(signature).decode()})


FORGERIES: list[Callable[[Vault, Tenant], str]] = [
    of_another_tenant,
    under_another_key,
    changed,
    signed_as_a_receipt,
    lambda vault, tenant: "{}",
    lambda vault, tenant: "null",
    lambda vault, tenant: "[1]",
    lambda vault, tenant: "not JSON",
    lambda vault, tenant: json.dumps(genuine(vault, tenant)["intent"]),
    lambda vault, tenant: json.dumps(genuine(vault, tenant) | {"signature": None}),
    lambda vault, tenant: json.dumps({"intent": [], "signature": ""}),
    lambda vault, tenant: json.dumps({"intent": {"a": 1.5}, "signature": ""}),
]


@pytest.mark.parametrize("forge", FORGERIES)
def test_an_erasure_that_nobody_ordered_destroys_nothing(
    vault: Vault, place: Place, forge: Callable[[Vault, Tenant], str]
) -> None:
    tenant, other = register(vault, "acme"), register(vault, "due", ends=place.now.date().replace(year=2020))
    execute(vault.data, FENCED, forge(vault, tenant), tenant.id)
    outcome = retention.purge(vault, role="root")
    assert [one.plan.tenant_id for one in outcome.erased] == [other.id]  # others are not held up
    assert any(str(UUID(bytes=tenant.id)) in failure for failure in outcome.failures)
    assert vault.keys.names_of(tenant.id) == ["data/1", "index/1"]
    assert ("purge", "fail") in [(one.check, str(one.result)) for one in look(place)]
    assert any("never told to erase" in one.message for one in look(place))
    execute(vault.data, "UPDATE tenants SET state = 'live', erasure = NULL WHERE id = ?", tenant.id)  # from a backup
    assert tenants.find(vault, "acme").facts == tenant.facts


def test_an_erasure_without_any_intent_destroys_nothing(vault: Vault) -> None:
    tenant = register(vault, "acme")
    execute(vault.data, FENCED, None, tenant.id)
    with pytest.raises(DamagedError) as refused:
        erasure.erase(vault, tenants.find(vault, "acme"), reason=erasure.RETENTION, role="root")
    assert "`syncvault tenant delete NAME --yes`" in refused.value.advice
    shown = retention.preview(vault)
    assert (shown.plans, len(shown.failures)) == ([], 1)


def test_a_genuine_intent_counts_for_its_own_epoch_alone(vault: Vault) -> None:
    tenant = register(vault, "acme")
    execute(vault.data, FENCED, json.dumps(genuine(vault, tenant)), tenant.id)
    erasure.require_genuine(vault, tenant)
    execute(vault.data, "UPDATE tenants SET epoch = epoch + 1 WHERE id = ?", tenant.id)
    with pytest.raises(DamagedError):
        erasure.require_genuine(vault, tenant)


def test_an_explicit_order_takes_the_place_of_a_forged_one(vault: Vault) -> None:
    tenant = register(vault, "acme")
    execute(vault.data, FENCED, "{}", tenant.id)
    assert erasure.plan(vault, tenants.find_to_erase(vault, "acme"), erasure.ON_DEMAND).credentials == 1
    erased = erasure.erase(vault, tenants.find_to_erase(vault, "acme"), reason=erasure.ON_DEMAND, role="root")
    assert (erased.status, erased.plan.credentials) == ("final", 1)
    assert rows(vault.data, "tenants") == []


def look(place: Place) -> list[health.Finding]:
    return list(health.examine(place.home, clock=lambda: place.now))


def test_keys_that_went_before_are_still_named(vault: Vault) -> None:
    tenant = register(vault, "acme")
    erasure._fence(vault, tenant, erasure.ON_DEMAND, "root")
    execute(vault.key_data, "DELETE FROM wrapped_keys WHERE tenant_id = ?", tenant.id)  # as a restore does
    erased = erasure.erase(vault, tenants.find(vault, "acme"), reason=erasure.RETENTION, role="root")
    assert json.loads(erased.receipt)["statement"]["keys_destroyed"] == ["data/1", "index/1"]


# The ledger


@pytest.fixture
def entries(vault: Vault) -> list[LedgerRow]:
    """Six entries, of two erasures."""
    for name in ("acme", "other"):
        erasure.erase(vault, register(vault, name), reason=erasure.ON_DEMAND, role="root")
    return everything(vault)


def everything(vault: Vault) -> list[LedgerRow]:
    with vault.key_data.read() as tx:
        return ledger_rows.list_all(tx)


def public(vault: Vault) -> bytes:
    return public_key(vault.keys.receipt_seed)


def test_the_ledger_as_it_was_written_is_good(vault: Vault, entries: list[LedgerRow]) -> None:
    assert len(entries) == 6
    assert ledger.check(entries, public(vault)) is None
    assert ledger.check([], public(vault)) is None
    assert ledger.parse(vault.layout.ledger_mirror.read_bytes()) == entries
    assert ledger.check(entries, public_key(b"k" * 32)) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"at": 5},
        {"event": "completed"},
        {"tenant_id": b"x" * 16},
        {"detail": "{}"},
        {"signature": None},
        {"signature": b""},
        {"signature": b"x" * 64},
        {"at": 2**60},
    ],
    ids=str,
)
def test_no_entry_can_be_changed(vault: Vault, entries: list[LedgerRow], change: dict[str, Any]) -> None:
    for at in (1, 4):
        forged = [*entries[:at], entries[at]._replace(**change), *entries[at + 1 :]]
        assert ledger.check(forged, public(vault)) == entries[at].seq


def test_no_entry_can_be_taken_out_repeated_moved_or_put_in(vault: Vault, entries: list[LedgerRow]) -> None:
    first, second, third, fourth, *rest = entries
    for forged, bad in (
        ([second, third, fourth, *rest], second.seq),
        ([first, third, fourth, *rest], third.seq),
        ([first, first, second, third, fourth, *rest], first.seq),
        ([first, third, second, fourth, *rest], third.seq),
        ([first, second, second._replace(seq=3), *rest], 3),
        ([first, second, first._replace(seq=3, signature=None)], 3),
    ):
        assert ledger.check(forged, public(vault)) == bad


def test_entries_from_before_there_were_signatures_may_stand_in_front(place: Place, vault: Vault) -> None:
    as_before_signatures(vault, "intent")
    vault = place.open()
    erasure.erase(vault, register(vault, "acme"), reason=erasure.ON_DEMAND, role="root")
    found = everything(vault)
    assert [entry.signature is None for entry in found] == [True, False, False, False]
    ledger.require_all_genuine(vault, found)
    assert ledger.parse(vault.layout.ledger_mirror.read_bytes()) == found


def test_entries_without_signatures_stand_in_order_too(vault: Vault) -> None:
    first, second = (LedgerRow(seq, 1, "intent", b"t" * 16, "{}") for seq in (1, 2))
    assert ledger.check([first, second], public(vault), unsigned_until=2) is None
    assert ledger.check([second, first], public(vault), unsigned_until=2) == 1
    assert ledger.check([first, first], public(vault), unsigned_until=2) == 1


def test_an_entry_put_into_the_database_is_found_by_the_doctor(
    vault: Vault, place: Place, entries: list[LedgerRow]
) -> None:
    with vault.key_data.write() as tx:
        ledger_rows.append(tx, 1, "keys_destroyed", b"t" * 16, '{"keys": []}')
    ledger.mirror(vault)
    assert [(fault.is_grave, "Entry 7" in fault.message) for fault in ledger.faults(vault)] == [(True, True)]
    assert ("erasures", "fail") in [(one.check, str(one.result)) for one in look(place)]


def without_the_last(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def with_another_reason(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"on-demand", b"retention", 1))


@pytest.mark.parametrize(
    ("meddle", "said", "is_grave"),
    [
        (without_the_last, "lacks the last entries of the key database: 1.", False),
        (Path.unlink, "lacks the last entries of the key database: 6.", False),
        (with_another_reason, "say different things from entry 1 on", True),
        (lambda path: path.write_bytes(b"{}\n"), "is damaged", True),
    ],
)
def test_a_copy_that_is_not_the_ledgers_is_found(
    vault: Vault, entries: list[LedgerRow], meddle: Callable[[Path], Any], said: str, is_grave: bool
) -> None:
    meddle(vault.layout.ledger_mirror)
    (fault,) = ledger.faults(vault)
    assert said in fault.message
    assert fault.is_grave == is_grave


def test_a_database_that_lacks_the_last_entries_is_found_by_its_copy(vault: Vault, entries: list[LedgerRow]) -> None:
    execute(vault.key_data, "DELETE FROM erasure_ledger WHERE seq > 3")
    (fault,) = ledger.faults(vault)
    assert "that the key database lacks: 3" in fault.message


def test_a_copy_that_lags_behind_is_completed_by_the_purge(vault: Vault, entries: list[LedgerRow]) -> None:
    without_the_last(vault.layout.ledger_mirror)
    retention.purge(vault, role="root")
    assert list(ledger.faults(vault)) == []


def test_an_order_to_erase_rows_that_somebody_else_wrote_erases_nothing(vault: Vault) -> None:
    tenant = register(vault, "acme", "ann")
    detail = json.dumps({"contacts": [], "mailboxes": [], "reason": "on-demand", "backups_until": 0})
    for signature in (None, b"s" * 64):
        with vault.key_data.write() as tx:
            ledger_rows.set_signature(tx, ledger_rows.append(tx, 1, "rows_erased", tenant.id, detail), signature or b"")
            tx.exec_driver_sql("UPDATE erasure_ledger SET signature = NULL WHERE length(signature) = 0")
        with pytest.raises(DamagedError, match=r"^Entry \d of the erasure ledger was not written by this vault"):
            erasing_rows.finish(vault, tenant)
        execute(vault.key_data, "DELETE FROM erasure_ledger")
