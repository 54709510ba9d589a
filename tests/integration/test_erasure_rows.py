"""Erasing a mailbox or single contacts: by the ledger first, resumable, and interim until the last backup expires."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from uuid import UUID

import orjson
import pytest

from syncvault.errors import BusyError, DamagedError, NotFoundError
from syncvault.policy.catalogue import RULE_VERSION
from syncvault.retention import purge as retention
from syncvault.service import health
from syncvault.store import ledger as ledger_rows
from syncvault.store.ledger import LedgerRow
from syncvault.vault import tenants
from syncvault.vault.content import contacts, sources
from syncvault.vault.erasing import erasing_rows, erasure, ledger, outstanding
from syncvault.vault.erasing.erasing_rows import erase_contacts, erase_mailbox
from syncvault.vault.erasing.receipt import verify
from syncvault.vault.model import Tenant
from syncvault.vault.vault import Vault
from tests.integration.fake_exchange import FakeExchange
from tests.integration.killed import kill_after
from tests.integration.vault_parts import Place, held, manifest_agrees, register, rows, sync

UNTIL = "backups until 2026-07-06"  # 35 days after it was asked for


@pytest.fixture
def filled(vault: Vault, exchange: FakeExchange) -> Tenant:
    """Two people's mailboxes, with cards, contacts and photos."""
    exchange.hire("ann", "a1", "a2", "a3")
    exchange.rename("ann", "a2", "Aurelia")
    exchange.hire("bob", "b1")
    exchange.photos = {"a1": b"photo of a1", "b1": b"photo of b1"}
    tenant = register(vault, "acme", "ann", "bob")
    sync(vault, tenant)
    return tenant


def ids(vault: Vault, tenant: Tenant, *items: str) -> list[bytes]:
    return [entry.id for entry in contacts.stream(vault, tenant) if entry.fields.get("surname") in items]


def orders(vault: Vault) -> list[dict[str, object]]:
    with vault.key_data.read() as tx:
        return [orjson.loads(row.detail) for row in ledger_rows.list_all(tx) if row.event == "rows_erased"]


def test_contacts_go_with_their_photos_and_the_others_stay(vault: Vault, filled: Tenant) -> None:
    wanted = ids(vault, filled, "a1", "b1")
    kept = erase_contacts(vault, filled, wanted, role="root")
    found = held(vault, filled)
    assert (found["ann"].keys(), found["bob"].keys()) == ({"card", "a2", "a3"}, {"card"})
    assert rows(vault.data, "photos") == []
    assert manifest_agrees(vault, filled)
    said = verify(kept.content, vault.receipt_public_key.encode())
    assert said.valid
    assert (said.content["status"], said.content["outstanding"]) == ("interim", [UNTIL])
    assert said.content["counts"] == {"contacts": 2, "photos": 2}
    assert (said.content["keys_destroyed"], said.content["reason"]) == ([], erasure.ON_DEMAND)
    assert said.content["root_key"] == {"provider": "file", "generation": 1, "replaced": None}
    assert (said.content["requested_by"], said.content["rule_version"]) == ("root", RULE_VERSION)
    assert (kept.statement.requested_at, kept.statement.issued_at) == (vault.now, vault.now)
    assert set(said.content["rows"]["contacts"]) == {str(UUID(bytes=each)) for each in wanted}
    assert said.content["rows"]["backups_until"] == "2026-07-06T12:00:00Z"
    assert kept.path.read_bytes() == kept.content
    assert list(ledger.faults(vault)) == []


def test_a_mailbox_goes_with_everything_in_it(vault: Vault, filled: Tenant) -> None:
    box = sources.mailbox(vault, filled, "ann").id
    kept = erase_mailbox(vault, filled, box, role="service", keep_days=10)
    assert held(vault, filled).keys() == {"bob"}
    for table in ("mailboxes", "memberships", "folders", "checkpoints", "contacts", "photos"):
        assert all(box not in row for row in rows(vault.data, table))
    assert manifest_agrees(vault, filled)
    assert kept.statement.requested_by == "service"
    assert kept.statement.outstanding == ("backups until 2026-06-11",)
    assert kept.statement.counts == {"mailboxes": 1, "folders": 1, "contacts": 4, "checkpoints": 1, "photos": 1}


def test_no_file_holds_a_byte_of_what_was_erased(vault: Vault, filled: Tenant, place: Place) -> None:
    if vault.data.dialect != "sqlite":
        pytest.skip("the files are the server's")
    box = sources.mailbox(vault, filled, "ann").id
    traces = [
        value[70:110]  # behind what records of one batch have in common, before what may lie on another page
        for table in ("contacts", "photos", "folders", "mailboxes")
        for row in rows(vault.data, table)
        if box in row or row[0] in ids(vault, filled, "a1", "a2", "a3")
        for value in row
        if isinstance(value, bytes) and len(value) > 60
    ]
    assert len(traces) > 6
    assert all(any(trace in path.read_bytes() for path in files(place)) for trace in traces)
    erase_mailbox(vault, filled, box, role="root")
    assert not any(trace in path.read_bytes() for path in files(place) for trace in traces)


def files(place: Place) -> list[Path]:
    return [path for path in place.home.rglob("*") if path.is_file()]


def test_postgresql_keeps_none_of_the_rows_in_its_tables(vault: Vault, filled: Tenant) -> None:
    if vault.data.dialect == "sqlite":
        pytest.skip("a table is a file there")
    kept = erase_contacts(vault, filled, ids(vault, filled, "a1"), role="root")
    assert "table contacts rewritten without deleted rows" in kept.statement.storage
    assert any("archived write-ahead log, replicas" in sentence for sentence in kept.statement.storage)


def test_a_second_run_changes_nothing_and_gives_the_receipt_again(vault: Vault, filled: Tenant) -> None:
    wanted = ids(vault, filled, "a1", "a2")
    first = erase_contacts(vault, filled, wanted, role="root")
    said, stored = orders(vault), rows(vault.data, "contacts")
    again = erase_contacts(vault, filled, wanted, role="root")
    assert (orders(vault), rows(vault.data, "contacts")) == (said, stored)
    assert (again.path, again.statement.counts) == (first.path, first.statement.counts)
    assert again.statement.rows == first.statement.rows


def test_what_is_not_there_is_refused_and_not_written_down(vault: Vault, filled: Tenant) -> None:
    stranger = ids(vault, register(vault, "other"), "a1")
    assert stranger == []
    for wanted in ([], [b"x" * 16]):
        with pytest.raises(NotFoundError, match=r"^The tenant has nothing of what") as refused:
            erase_contacts(vault, filled, wanted, role="root")
        assert refused.value.advice.startswith("Run `syncvault contact list`")
    with pytest.raises(NotFoundError):
        erase_mailbox(vault, tenants.find(vault, "other"), sources.mailbox(vault, filled, "ann").id, role="root")
    assert orders(vault) == []
    assert len(held(vault, filled)["ann"]) == 4


def test_what_was_erased_before_has_nothing_to_do_with_what_is_not_there(vault: Vault, filled: Tenant) -> None:
    erase_contacts(vault, filled, ids(vault, filled, "a1"), role="root")
    erase_mailbox(vault, filled, sources.mailbox(vault, filled, "bob").id, role="root")
    with pytest.raises(NotFoundError):
        erase_contacts(vault, filled, [b"x" * 16], role="root")


def test_an_order_that_was_not_carried_out_is_not_written_down_again(
    vault: Vault, filled: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = ids(vault, filled, "a1")
    with monkeypatch.context() as patch:
        patch.setattr(erasing_rows, "_finish", lambda *_: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            erase_contacts(vault, filled, wanted, role="root")
    assert erase_contacts(vault, filled, wanted, role="service").statement.requested_by == "root"
    assert ["contacts" in each for each in orders(vault)] == [True, False]


def test_a_receipt_is_never_older_than_what_it_answers(vault: Vault, filled: Tenant, place: Place) -> None:
    wanted = ids(vault, filled, "a1")
    kept = erase_contacts(vault, filled, wanted, role="root")
    place.now -= timedelta(hours=1)  # somebody set the clock back
    assert erase_contacts(vault, filled, wanted, role="root").statement.issued_at == vault.now
    assert outstanding.finalize(vault, kept.content).statement.issued_at == vault.now


@pytest.mark.parametrize(
    "detail",
    [
        "{}",
        '{"contacts":["zz"],"mailboxes":[]}',
        '{"contacts":[1],"mailboxes":[]}',
        "[1]",
        "7",
        '"finished"',
        "{",
        '{"finished":[1]}',
    ],
)
def test_a_ledger_that_cannot_be_understood_stops_it(vault: Vault, filled: Tenant, detail: str) -> None:
    with vault.key_data.write() as tx:
        before = ledger_rows.last(tx)
        seq = ledger_rows.append(tx, vault.instant, "rows_erased", filled.id, detail)
        entry = LedgerRow(seq, vault.instant, "rows_erased", filled.id, detail)
        signature = ledger.signed(vault.keys.receipt_seed, entry, before).signature
        ledger_rows.set_signature(tx, seq, signature or b"")
    with pytest.raises(DamagedError, match=f"^The erasure ledger cannot be understood.*{UUID(bytes=filled.id)}"):
        erase_contacts(vault, filled, ids(vault, filled, "a2"), role="root")
    assert len(held(vault, filled)["ann"]) == 4


def test_only_what_is_left_is_ordered_a_second_time(vault: Vault, filled: Tenant) -> None:
    first, second = ids(vault, filled, "a1"), ids(vault, filled, "a2")
    one = erase_contacts(vault, filled, first, role="root")
    other = erase_contacts(vault, filled, [*first, *second], role="root")
    assert other.statement.counts == {"contacts": 1}
    assert one.path != other.path
    assert [each["contacts"] for each in orders(vault) if "contacts" in each] == [[first[0].hex()], [second[0].hex()]]


def test_a_tenant_in_erasure_takes_no_order(vault: Vault, filled: Tenant) -> None:
    wanted = ids(vault, filled, "a1")
    erasure._fence(vault, filled, erasure.ON_DEMAND, "root")
    with pytest.raises(BusyError):
        erase_contacts(vault, filled, wanted, role="root")
    assert orders(vault) == []


def test_a_process_that_syncs_is_waited_for_and_then_named(
    vault: Vault, filled: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "MAINTENANCE_SECONDS", 0.0)
    wanted = ids(vault, filled, "a1")
    with vault.locks.tenant(filled.id), pytest.raises(BusyError, match="in use by process"):
        erase_contacts(vault, filled, wanted, role="root")


def test_rows_that_come_back_are_removed_by_the_purge(vault: Vault, filled: Tenant) -> None:
    before = {table: rows(vault.data, table) for table in ("contacts", "manifests")}
    wanted = ids(vault, filled, "a1")
    erase_contacts(vault, filled, wanted, role="root")
    back = next(row for row in before["contacts"] if wanted[0] in row)
    with vault.data.write() as tx:  # as somebody would who copies them out of a backup
        marks = ", ".join("?" * len(back)) if vault.data.dialect == "sqlite" else ", ".join(["%s"] * len(back))
        tx.exec_driver_sql(f"INSERT INTO contacts VALUES ({marks})", back)
    outcome = retention.purge(vault, role="root")
    assert [kept.statement.rows is not None for kept in outcome.finished] == [True]
    assert "a1" not in held(vault, filled)["ann"]
    assert retention.purge(vault, role="root").finished == ()


@pytest.mark.slow
@pytest.mark.parametrize("finisher", ["purge", "again"])
def test_killed_after_any_step_it_is_finished_by_the_next_call_or_the_purge(
    place: Place, vault: Vault, filled: Tenant, finisher: str
) -> None:
    box = sources.mailbox(vault, filled, "ann").id
    untouched = place.home.with_name("untouched")
    if vault.data.dialect != "sqlite":
        pytest.skip("every step is tried on SQLite")
    vault.close()
    copy(place.home, untouched)
    finished = False
    for step in range(1, 40):
        copy(untouched, place.home)
        if not kill_after(step, "erase-mailbox", place.home):
            break
        again = place.open()
        tenant = tenants.find(again, "acme")
        was_ordered = bool(orders(again))
        if finisher == "again":
            kept = erase_mailbox(again, tenant, box, role="root")
            assert kept.statement.counts["contacts"] == 4
        else:
            retention.purge(again, role="root")
        assert held(again, tenant).keys() == ({"bob"} if was_ordered or finisher == "again" else {"ann", "bob"})
        assert manifest_agrees(again, tenant)
        assert list(ledger.faults(again)) == []
        if was_ordered:
            (statement,) = outstanding.interim(again)
            assert (statement.outstanding, statement.counts["contacts"]) == ((UNTIL,), 4)
            assert {"finished": 1} in orders(again)
            finished = True
        place.close()
    assert finished
    assert step > 5


def copy(source: Path, target: Path) -> None:
    import shutil

    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


# What ends it


def test_it_becomes_final_when_the_last_backup_has_expired(vault: Vault, filled: Tenant, place: Place) -> None:
    first = ids(vault, filled, "a1")
    kept = erase_contacts(vault, filled, first, role="root")
    early = place.open(vault.now + timedelta(days=35) - timedelta(seconds=1))
    assert outstanding.finalize(early, kept.content).statement.outstanding == (UNTIL,)
    assert retention.purge(early, role="root").finished == ()
    late = place.open(vault.now + timedelta(days=35))
    assert erase_contacts(late, filled, first, role="root").statement.status == "final"
    final = outstanding.finalize(late, kept.content)
    assert (final.statement.status, final.statement.issued_at) == ("final", late.now)
    assert verify(final.content, vault.receipt_public_key.encode()).valid
    assert kept.path.read_bytes() == final.content
    assert outstanding.finalize(late, final.content).content == final.content


def test_the_purge_makes_it_final(vault: Vault, filled: Tenant, place: Place) -> None:
    kept = erase_contacts(vault, filled, ids(vault, filled, "a1"), role="root")
    late = place.open(vault.now + timedelta(days=36))
    (finished,) = retention.purge(late, role="root").finished
    assert (finished.path, finished.statement.status) == (kept.path, "final")
    assert finished.statement.root_key == kept.statement.root_key
    assert late.keys.root == ("file", 1)  # other keys open the rows: nothing is gained by replacing this one


def test_the_doctor_does_not_complain_of_backups_that_expire(vault: Vault, filled: Tenant, place: Place) -> None:
    erase_contacts(vault, filled, ids(vault, filled, "a1"), role="root")
    found = health.examine(place.home, clock=lambda: place.now)
    assert [one.message for one in found if one.check == "erasures" and one.result != "ok"] == []


def test_erasing_the_tenant_afterwards_leaves_both_receipts(vault: Vault, filled: Tenant) -> None:
    erase_contacts(vault, filled, ids(vault, filled, "a1"), role="root")
    erasure.erase(vault, filled, reason=erasure.ON_DEMAND, role="root")
    whose = UUID(bytes=filled.id)
    assert {path.name for path in vault.layout.receipts.iterdir()} == {f"{whose}.json", f"{whose}.rows-1.json"}
    assert erasing_rows.BACKUP_KEEP_DAYS == 35
    assert date.fromisoformat(UNTIL[-10:]) == (vault.now + timedelta(days=35)).date()
