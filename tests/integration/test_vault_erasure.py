"""Full deletion: nothing of the tenant is left, no backup brings it back, and it can be killed anywhere."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from syncvault.crypto.index import Label, normalise_address
from syncvault.errors import BusyError, InputError, NotFoundError, RootKeyError, StorageError
from syncvault.policy.catalogue import RULE_VERSION
from syncvault.roots.file import FileProvider
from syncvault.roots.port import Handle, Pending, PrivilegedStepNeededError
from syncvault.store import keys as key_rows
from syncvault.store import ledger as ledger_rows
from syncvault.store.engine import Transaction
from syncvault.store.tenants import PERSONAL_TABLES
from syncvault.vault import credentials, layout, tenants
from syncvault.vault.erasing import erasure, ledger, outstanding
from syncvault.vault.erasing.erasure import Erased
from syncvault.vault.erasing.receipt import verify
from syncvault.vault.model import Tenant
from syncvault.vault.opening import open_vault
from syncvault.vault.vault import Vault
from tests.integration.fake_exchange import FakeExchange
from tests.integration.killed import kill_after
from tests.integration.vault_parts import NOW, Place, execute, held, profile, register, rows, secret, sync

PERSONAL = ("Aurelia", "Contact a1", "a1@partner.example", "ann@example.com", "ann-inbox", "s3cr3t-of-acme", "No-acme")


def erase(vault: Vault, tenant: Tenant) -> Erased:
    return erasure.erase(vault, tenant, reason=erasure.ON_DEMAND, role="root")


@pytest.fixture
def filled(vault: Vault, exchange: FakeExchange) -> Tenant:
    """A tenant with everything, beside one that has to survive."""
    exchange.hire("ann", "a1", "a2", "a3")
    exchange.rename("ann", "a2", "Aurelia")
    exchange.hire("bob", "b1")
    exchange.photos = {"a1": b"photo of a1", "b1": b"photo of b1"}
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    sync(vault, register(vault, "other", "bob"))
    return tenant


def remains(vault: Vault, tenant: Tenant) -> list[str]:
    """The tables that still have rows of the tenant, keys included."""
    found = [name for name in PERSONAL_TABLES if any(tenant.id in row for row in rows(vault.data, name))]
    return found + [name for name in ("wrapped_keys",) if any(tenant.id in row for row in rows(vault.key_data, name))]


def events(vault: Vault, tenant: Tenant) -> list[str]:
    with vault.key_data.read() as tx:
        return [row.event for row in ledger_rows.of_tenant(tx, tenant.id)]


def test_erasing_leaves_no_row_and_a_final_receipt(vault: Vault, filled: Tenant) -> None:
    planned = erasure.plan(vault, filled, erasure.ON_DEMAND)
    assert (planned.name, planned.contacts, planned.photos, planned.credentials, planned.sources) == (
        "acme",
        4,
        1,
        1,
        1,
    )
    erased = erase(vault, filled)
    assert erased.plan == planned
    assert remains(vault, filled) == []
    assert (erased.status, erased.outstanding) == ("final", ())
    assert erased.receipt_path.read_bytes() == erased.receipt
    verdict = verify(erased.receipt, vault.receipt_public_key.encode())
    assert verdict.valid
    said = verdict.content
    assert (said["status"], said["reason"], said["requested_by"]) == ("final", "on-demand", "root")
    assert said["tenant_id"] == str(UUID(bytes=filled.id))
    assert (said["requested_at"], said["rule_version"]) == ("2026-06-01T12:00:00Z", RULE_VERSION)
    assert said["keys_destroyed"] == ["data/1", "index/1"]
    assert said["root_key"] == {"provider": "file", "generation": 2, "replaced": 1}
    assert said["counts"]["contacts"] == 4
    assert events(vault, filled) == ["intent", "keys_destroyed", "completed"]
    with pytest.raises(NotFoundError):
        tenants.find(vault, "acme")
    with pytest.raises(NotFoundError, match=r"^The tenant is gone already"):
        erase(vault, filled)


@pytest.mark.parametrize(("reason", "due_on"), [(erasure.ON_DEMAND, "2026-06-02"), (erasure.RETENTION, "2027-03-01")])
def test_a_plan_says_on_which_day_of_the_tenant_it_is_due(place: Place, reason: str, due_on: str) -> None:
    tenant = register(place.create(), "acme")
    in_the_night = place.open(NOW.replace(hour=23))  # the next day has begun in Berlin
    assert erasure.plan(in_the_night, tenant, reason).due_on.isoformat() == due_on


def test_a_plan_of_a_running_subscription_is_due_at_the_end_of_its_term(vault: Vault) -> None:
    tenant = register(vault, "acme", ends=NOW.date().replace(month=5), term="P1M")
    assert tenant.profile is not None
    assert erasure.plan(vault, tenant, erasure.RETENTION).due_on == tenant.profile.subscription.purge_on(NOW)


def test_half_way_nothing_is_left_of_a_tenant_but_its_emptied_row(
    vault: Vault, filled: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault.anchor()
    assert any(filled.id in row for row in rows(vault.key_data, "anchors"))
    filled = tenants.update(vault, filled, lambda facts: facts)  # which is still to be anchored
    tenants.quarantine(vault, filled, refused=credentials.load(vault, filled), code="sign-in", advice="Sign in again.")
    with monkeypatch.context() as patch:
        patch.setattr(erasure, "_make_unrecoverable", lambda *_, **__: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            erase(vault, filled)
    vault.anchor()
    assert not any(filled.id in row for row in rows(vault.key_data, "anchors"))
    assert remains(vault, filled) == ["tenants"]
    with vault.read() as tx:
        row = tenants.rows.get(tx, filled.id)
    assert row is not None
    assert (row.profile, row.quarantine, row.quarantine_advice) == (b"", None, None)
    erased = erase(vault, tenants.find(vault, "acme"))
    assert (erased.plan.contacts, events(vault, filled)) == (4, ["intent", "keys_destroyed", "completed"])


def test_a_receipt_is_never_older_than_what_it_answers(vault: Vault, place: Place, filled: Tenant) -> None:
    erasure._fence(vault, filled, erasure.ON_DEMAND, "root")
    place.now = NOW.replace(hour=3)  # somebody set the clock back
    erased = erase(vault, tenants.find(vault, "acme"))
    assert json.loads(erased.receipt)["statement"]["issued_at"] == "2026-06-01T12:00:00Z"


@pytest.mark.parametrize("database_urls", ["sqlite"], indirect=True)
def test_what_the_old_root_key_opens_is_overwritten_before_that_is_destroyed(
    vault: Vault, place: Place, filled: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = [bytes(row[6]) for row in rows(vault.key_data, "wrapped_keys")]
    assert len(_found(place, blobs)) == len(blobs)
    left, destroy = [], FileProvider.destroy

    def look_first(self: FileProvider, handle: Handle) -> Any:
        left.append(_found(place, blobs))
        return destroy(self, handle)

    monkeypatch.setattr(FileProvider, "destroy", look_first)
    erase(vault, filled)
    assert left == [set()]


def test_the_other_tenants_live_on(vault: Vault, place: Place, filled: Tenant) -> None:
    erase(vault, filled)
    again = place.open()
    other = tenants.find(again, "other")
    assert held(again, other)["bob"].keys() == {"card", "b1"}
    assert sync(again, other).unchanged == 2
    register(again, "acme")  # the name is free again


def test_a_changed_receipt_or_another_key_does_not_verify(vault: Vault, filled: Tenant, place: Place) -> None:
    erased = erase(vault, filled)
    public = vault.receipt_public_key.encode()
    document = json.loads(erased.receipt)
    document["statement"]["counts"]["contacts"] = 0
    assert not verify(json.dumps(document).encode(), public).valid
    home = place.home.with_name("another")
    elsewhere = replace(
        place.layout,
        home=home,
        database=layout.default_database(home),
        key_database=layout.default_key_database(home),
        root_key_file=layout.default_root_key_file(home),
    )
    stranger = Place(elsewhere)
    assert not verify(erased.receipt, stranger.create().receipt_public_key.encode()).valid
    stranger.close()


def test_the_mirrored_ledger_has_every_entry_and_nothing_personal(vault: Vault, filled: Tenant) -> None:
    path = vault.layout.ledger_mirror
    erase(vault, filled)
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert [line["event"] for line in lines] == ["intent", "keys_destroyed", "completed"]
    assert [json.loads(line["detail"]) for line in lines] == [
        {"reason": "on-demand", "rule_version": RULE_VERSION},
        {"keys": ["data/1", "index/1"]},
        {"outstanding": []},
    ]
    assert {line["tenant_id"] for line in lines} == {filled.id.hex()}
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(path.read_bytes()[:-7])  # cut off by a crash
    ledger.mirror(vault)
    assert [json.loads(line) for line in path.read_bytes().splitlines()] == lines


def test_a_mirror_that_is_missing_is_written_whole(vault: Vault, filled: Tenant) -> None:
    erase(vault, filled)
    before = vault.layout.ledger_mirror.read_bytes()
    vault.layout.ledger_mirror.unlink()
    ledger.mirror(vault)
    assert vault.layout.ledger_mirror.read_bytes() == before


def test_a_mirror_is_written_by_one_process_at_a_time(
    vault: Vault, filled: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    list_all = ledger_rows.list_all

    def look_who_else_could(tx: Transaction, *, after: int = 0) -> list[ledger_rows.LedgerRow]:
        with vault.layout.ledger_mirror.open("rb") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return list_all(tx, after=after)

    monkeypatch.setattr(ledger_rows, "list_all", look_who_else_could)
    ledger.mirror(vault)


def test_a_damaged_mirror_stops_an_erasure_before_anything_is_gone(vault: Vault, filled: Tenant) -> None:
    vault.layout.ledger_mirror.write_bytes(b"{}\n")
    with pytest.raises(StorageError, match="damaged"):
        erase(vault, filled)
    assert "contacts" in remains(vault, filled)
    vault.layout.ledger_mirror.unlink()
    assert erase(vault, filled).status == "final"


def test_no_file_of_the_vault_holds_anything_of_it(place: Place, vault: Vault, filled: Tenant) -> None:
    if vault.data.dialect != "sqlite":
        pytest.skip("the files are the server's")
    index = vault.keys.tenant(filled.id).index
    traces = [text.encode() for text in PERSONAL]
    traces += [index.of(Label.ITEM, "a1"), index.of(Label.MAILBOX_KEY, "ann"), index.of(Label.FOLDER, "ann-inbox")]
    traces += [
        index.of(Label.SOURCE, f"user:{normalise_address('ann')}"),
        vault.keys.names.of(Label.TENANT_NAME, "acme"),
    ]
    for table in PERSONAL_TABLES:
        for row in rows(vault.data, table):
            if filled.id in row:
                traces += [value for value in row if isinstance(value, bytes) and value != filled.id]
    with vault.key_data.read() as tx:
        traces += [row.blob for row in key_rows.of_tenant(tx, filled.id)]
    found_before = _found(place, traces)
    assert len(found_before) > 20  # the search finds what is there
    erase(vault, filled)
    assert _found(place, traces) == set()
    place.close()
    assert _found(place, traces) == set()


def _found(place: Place, traces: list[bytes]) -> set[bytes]:
    content = b"\0".join(
        path.read_bytes()
        for folder in (place.home, place.home.parent / "root-key")
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    )
    # A long record is spread over pages; its head, with salt and commitment, stands in one piece.
    return {trace for trace in traces if trace[:60] in content}


def test_backups_of_keys_and_data_do_not_open_with_the_new_root_key(
    place: Place, vault: Vault, filled: Tenant, tmp_path: Path
) -> None:
    if vault.data.dialect != "sqlite":
        pytest.skip("copies files")
    vault.close()
    backup = tmp_path / "backup"
    shutil.copytree(place.home, backup)
    erase(place.open(), filled)
    place.close()
    for name in ("vault.db", "keys.db"):
        shutil.copy(backup / name, place.home / name)
        for suffix in ("-wal", "-shm"):
            (place.home / (name + suffix)).unlink(missing_ok=True)
    with pytest.raises(RootKeyError):
        open_vault(place.home)


def test_a_backup_of_the_data_with_todays_keys_brings_back_the_living_only(
    place: Place, vault: Vault, filled: Tenant, tmp_path: Path
) -> None:
    if vault.data.dialect != "sqlite":
        pytest.skip("copies files")
    vault.close()
    shutil.copy(place.home / "vault.db", tmp_path / "vault.db")
    erase(place.open(), filled)
    place.close()
    shutil.copy(tmp_path / "vault.db", place.home / "vault.db")
    restored = place.open()
    assert held(restored, tenants.find(restored, "other"))["bob"].keys() == {"card", "b1"}
    roll = tenants.call_roll(restored)
    assert ([one.facts.name for one in roll.tenants], [one.id for one in roll.damaged]) == (["other"], [filled.id])
    with pytest.raises(NotFoundError):
        tenants.find(restored, "acme")
    erased = erase(restored, tenants.find_to_erase(restored, "acme"))
    assert erased.status == "final"
    assert remains(restored, filled) == []


@pytest.mark.slow
def test_an_erasure_killed_after_any_step_is_finished_by_running_it_again(
    place: Place, vault: Vault, filled: Tenant
) -> None:
    if vault.data.dialect != "sqlite":
        pytest.skip("every step is tried on SQLite")
    vault.close()
    for step in range(1, 60):
        was_killed = kill_after(step, "erase", place.home) if _is_there(place) else False
        if not was_killed:
            break
    vault = place.open()
    assert remains(vault, filled) == []
    _assert_finished(place, vault, filled)


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17])
def test_an_erasure_killed_once_leaves_nothing_when_it_has_run_again(
    place: Place, vault: Vault, filled: Tenant, step: int
) -> None:
    if vault.data.dialect != "sqlite" and step % 4 != 1:
        pytest.skip("every step is tried on SQLite, every fourth here")
    old_root = _root_keys(place)
    assert len(old_root) == 1
    vault.close()
    kill_after(step, "erase", place.home)
    vault = place.open()
    if _is_there(place):
        erase(vault, tenants.find(vault, "acme"))
    assert remains(vault, filled) == []
    _assert_finished(place, vault, filled)
    assert len(_root_keys(place)) == 1
    assert not old_root & _root_keys(place)
    if vault.data.dialect == "sqlite":
        place.close()
        assert _found(place, [text.encode() for text in PERSONAL]) == set()


def _is_there(place: Place) -> bool:
    vault = place.open(NOW)
    try:
        tenants.find(vault, "acme")
    except NotFoundError:
        return False
    return True


def _root_keys(place: Place) -> set[bytes]:
    assert place.layout.root_key_file is not None
    return set(re.findall(rb"[A-Za-z0-9+/]{43}=", place.layout.root_key_file.read_bytes()))


def _assert_finished(place: Place, vault: Vault, tenant: Tenant) -> None:
    receipt = (place.layout.receipts / f"{UUID(bytes=tenant.id)}.json").read_bytes()
    verdict = verify(receipt, vault.receipt_public_key.encode())
    assert (verdict.valid, verdict.content["status"]) == (True, "final")
    assert verdict.content["counts"]["contacts"] == 4
    assert verdict.content["keys_destroyed"] == ["data/1", "index/1"]
    assert events(vault, tenant) == ["intent", "keys_destroyed", "completed"]
    mirrored = [json.loads(line)["event"] for line in vault.layout.ledger_mirror.read_bytes().splitlines()]
    assert mirrored == ["intent", "keys_destroyed", "completed"]
    with vault.key_data.read() as tx:
        states = [root.state for root in key_rows.roots(tx)]
    assert states == ["destroyed"] * (len(states) - 1) + ["current"]
    assert held(vault, tenants.find(vault, "other"))["bob"].keys() == {"card", "b1"}


def test_a_root_key_that_is_destroyed_later_makes_the_receipt_interim(
    vault: Vault, filled: Tenant, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(FileProvider, "destroy", lambda self, handle: Pending("an administrator did it"))
        erased = erase(vault, filled)
    assert erased.status == "interim"
    assert erased.outstanding == ("root key generation 1: pending until an administrator did it",)
    place.open()  # can destroy it by now
    with vault.key_data.read() as tx:
        assert [root.state for root in key_rows.roots(tx)] == ["destroyed", "current"]


def test_a_root_key_that_another_user_has_to_replace_makes_the_receipt_interim(
    vault: Vault, filled: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: FileProvider, generation: int) -> Any:
        raise PrivilegedStepNeededError("Only root can do that.", advice="Run it as root.")

    monkeypatch.setattr(FileProvider, "create", refuse)
    erased = erase(vault, filled)
    assert erased.status == "interim"
    assert "Only root can do that. Run it as root." in erased.outstanding[0]
    said = verify(erased.receipt, vault.receipt_public_key.encode()).content
    assert said["root_key"] == {"provider": "file", "generation": 1, "replaced": None}
    assert remains(vault, filled) == []


def test_an_open_vault_elsewhere_follows_the_new_root_key(vault: Vault, place: Place, filled: Tenant) -> None:
    elsewhere = place.open()
    erase(vault, filled)
    other = tenants.find(elsewhere, "other")
    assert held(elsewhere, other)["bob"].keys() == {"card", "b1"}
    tenant = register(elsewhere, "new")
    assert tenants.find(place.open(), "new").id == tenant.id


def test_a_vault_that_is_opened_while_its_root_key_is_replaced_opens_with_the_new_one(
    vault: Vault, place: Place, filled: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    unwrap = FileProvider.unwrap

    def replace_first(self: FileProvider, handle: Handle) -> bytes:
        monkeypatch.setattr(FileProvider, "unwrap", unwrap)
        erase(vault, filled)  # the generation that the handle names is destroyed by now
        return unwrap(self, handle)

    monkeypatch.setattr(FileProvider, "unwrap", replace_first)
    assert place.open().keys.root == ("file", 2)


def test_a_process_that_still_has_the_keys_in_memory_cannot_write(vault: Vault, place: Place, filled: Tenant) -> None:
    elsewhere = place.open()
    known = tenants.find(elsewhere, "acme")
    erase(vault, filled)
    with pytest.raises(BusyError):
        tenants.update(elsewhere, known, lambda facts: facts)
    assert remains(vault, filled) == []


def test_a_tenant_in_use_stays_fenced_until_its_holder_lets_go(
    vault: Vault, filled: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "MAINTENANCE_SECONDS", 0.0)
    with vault.locks.tenant(filled.id), pytest.raises(BusyError, match=str(os.getpid())):
        erase(vault, filled)
    assert tenants.find(vault, "acme").profile is None
    assert erase(vault, tenants.find(vault, "acme")).status == "final"


def test_an_erasure_that_another_process_finishes_first_says_so(
    vault: Vault, place: Place, filled: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    fence = erasure._fence

    def be_overtaken(*args: Any) -> Any:
        monkeypatch.undo()
        intent = fence(*args)
        erase(place.open(), filled)
        return intent

    monkeypatch.setattr(erasure, "_fence", be_overtaken)
    with pytest.raises(BusyError, match=r"^Another process has just finished this erasure") as refused:
        erase(vault, filled)
    assert refused.value.advice.startswith("Its receipt is in the vault")
    assert events(vault, filled) == ["intent", "keys_destroyed", "completed"]


@pytest.mark.parametrize("database_urls", ["sqlite"], indirect=True)
@pytest.mark.parametrize("vacuum", [False, True])
def test_the_database_file_is_written_anew_if_that_is_asked_for(vault: Vault, filled: Tenant, *, vacuum: bool) -> None:
    options = {"vacuum": True} if vacuum else {}
    erased = erasure.erase(vault, filled, reason=erasure.ON_DEMAND, role="root", **options)
    assert ("VACUUM" in erased.receipt.decode()) == vacuum


@pytest.mark.parametrize(
    ("table", "column"), [("tenants", "profile"), ("credentials", "blob"), ("contacts", "blob"), ("sources", "blob")]
)
def test_a_tenant_with_damaged_rows_can_be_erased(vault: Vault, filled: Tenant, table: str, column: str) -> None:
    where = "id" if table == "tenants" else "tenant_id"
    assert execute(vault.data, f"UPDATE {table} SET {column} = ? WHERE {where} = ?", b"x" * 300, filled.id)
    vault.keys.forget(filled.id)
    assert erase(vault, tenants.find_to_erase(vault, "acme")).status == "final"
    assert remains(vault, filled) == []


@pytest.mark.parametrize("damage", ["first bytes", "last bytes", "missing"])
def test_a_tenant_with_damaged_keys_can_be_erased(vault: Vault, filled: Tenant, damage: str) -> None:
    with vault.key_data.read() as tx:
        row = key_rows.of_tenant(tx, filled.id)[0]
    if damage == "missing":
        execute(vault.key_data, "DELETE FROM wrapped_keys WHERE id = ?", row.id)
    else:
        blob = row.blob[:20] + b"x" * 20 + row.blob[40:] if damage == "first bytes" else row.blob[:-4] + b"xxxx"
        execute(vault.key_data, "UPDATE wrapped_keys SET blob = ? WHERE id = ?", blob, row.id)
    vault.keys.forget(filled.id)
    assert erase(vault, tenants.find_to_erase(vault, "acme")).status == "final"
    assert remains(vault, filled) == []


def test_a_damaged_key_of_another_tenant_is_not_lost_with_the_old_root_key(
    vault: Vault, place: Place, filled: Tenant
) -> None:
    other = tenants.find(vault, "other")
    with vault.key_data.read() as tx:
        row = key_rows.of_tenant(tx, other.id)[0]
    execute(vault.key_data, "UPDATE wrapped_keys SET blob = ? WHERE id = ?", row.blob[:-4] + b"xxxx", row.id)
    root = vault.keys.root
    erased = erase(vault, filled)
    assert "A key of something else does not open" in erased.outstanding[0]  # `verify` says whose
    assert vault.keys.root == root
    execute(vault.key_data, "UPDATE wrapped_keys SET blob = ? WHERE id = ?", row.blob, row.id)  # from a backup
    again = place.open()
    assert outstanding.finalize(again, erased.receipt).statement.status == "final"
    assert held(again, tenants.find(again, "other"))["bob"].keys() == {"card", "b1"}


def test_a_reason_of_ones_own_is_refused(vault: Vault, filled: Tenant) -> None:
    with pytest.raises(InputError, match=r"^because is no reason"):
        erasure.erase(vault, filled, reason="because", role="root")
    assert tenants.find(vault, "acme").profile is not None


def test_find_to_erase_knows_no_stranger(vault: Vault) -> None:
    with pytest.raises(NotFoundError):
        tenants.find_to_erase(vault, "nobody")
    tenant = tenants.register(vault, profile("acme"), secret())
    assert tenants.find_to_erase(vault, "acme") == tenant
