"""Audit entries as they are written: by several processes at once, over a kill, and with a key that cannot go back."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from syncvault.crypto.signature import Subject, public_key, sign
from syncvault.errors import DamagedError, StorageError
from syncvault.store import audit as audit_rows
from syncvault.store.audit import AuditRow
from syncvault.vault.trail import audit, audit_chain
from syncvault.vault.trail.audit_chain import Chain
from syncvault.vault.trail.audit_check import Journal, Report
from syncvault.vault.vault import Vault
from tests.integration.killed import kill_after
from tests.integration.vault_parts import NOW, Place, execute, rows


def record(vault: Vault, *verbs: str) -> None:
    for verb in verbs:
        audit.record(vault, verb=verb, tenant_id=b"t" * 16, outcome="ok")


def findings(vault: Vault) -> list[tuple[int | None, str]]:
    return [(one.seq, one.finding) for one in audit.verify(vault, program="/nowhere/journalctl").findings]


def chain_of(vault: Vault) -> Chain:
    with vault.key_data.read() as keys:
        chain = audit_chain.load(vault, keys)
    assert chain is not None
    return chain


def verbs(vault: Vault) -> list[str]:
    return [entry.verb for entry in audit.listing(vault)][::-1]


def test_entries_are_numbered_from_one_and_the_trail_verifies(vault: Vault) -> None:
    record(vault, "init", "tenant edit", "sync")
    assert [entry.seq for entry in audit.listing(vault)] == [3, 2, 1]
    report = audit.verify(vault)
    assert (report.checked, report.unsigned, report.gaps, report.findings) == (3, 0, (), ())


def test_a_trail_of_several_pages_verifies(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncvault.vault.trail.audit_check._PAGE", 3)
    record(vault, *(f"verb {number}" for number in range(7)))
    assert (audit.verify(vault).checked, findings(vault)) == (7, [])


def test_a_vault_without_any_entry_verifies(vault: Vault) -> None:
    nothing = Report(0, 0, (), (), Journal(0, "there is nothing to compare"))
    assert audit.verify(vault) == nothing


def test_the_seeds_change_with_every_entry(vault: Vault) -> None:
    record(vault, "init")
    first = chain_of(vault)
    record(vault, "sync")
    second = chain_of(vault)
    assert second.seed == first.next_seed
    assert first.seed not in {second.seed, second.next_seed}
    with vault.key_data.read() as keys:
        assert first.seed not in (vault.keys.audit_state(keys) or b"")


def test_what_signed_an_entry_lies_nowhere_once_the_last_process_has_closed_the_key_store(place: Place) -> None:
    vault = place.create()
    if vault.key_data.path is None:
        pytest.skip("the server keeps its own log")
    record(vault, "init")
    with vault.key_data.read() as keys:
        old: bytes = keys.exec_driver_sql("SELECT blob FROM wrapped_keys WHERE purpose = 'audit'").scalar_one()
    record(vault, "sync")
    place.close()
    files = [path for path in place.home.rglob("*") if path.is_file()]
    assert not any(old[70:] in path.read_bytes() for path in files)


def test_no_key_of_today_makes_an_entry_of_yesterday_verify(vault: Vault) -> None:
    record(vault, "init", "contact export", "sync")
    chain = chain_of(vault)
    with vault.data.read() as tx:
        first, second, _ = audit_rows.page(tx, after=0, until=3, limit=9)
    assert first.signature is not None
    for seed in (chain.seed, chain.next_seed):
        forged = second._replace(verb="tenant show")
        forged = forged._replace(signature=sign(seed, Subject.AUDIT, audit_chain.document(forged, first.signature)))
        execute(vault.data, "UPDATE audit SET verb = ?, signature = ? WHERE seq = 2", forged.verb, forged.signature)
        assert (2, "changed") in findings(vault)


def test_what_an_entry_signs_is_what_the_format_says() -> None:
    row = AuditRow(7, 8, 9, "root", "sync", b"t" * 16, "ok", "audit-entry", 10, b"k" * 32, b"s" * 64)
    signed = {
        "seq": 7,
        "at": 8,
        "uid": 9,
        "role": "root",
        "verb": "sync",
        "tenant_id": "74" * 16,
        "outcome": "ok",
        "purge_at": 10,
        "next_key": "6b" * 32,
        "before": "62" * 64,
    }
    assert audit_chain.document(row, b"b" * 64) == signed
    without = row._replace(tenant_id=None, next_key=None)
    assert audit_chain.document(without, b"b" * 64) == signed | {"tenant_id": None, "next_key": None}


ENTRY = AuditRow(7, 8, 9, "root", "sync", b"t" * 16, "ok", "audit-entry", 10, b"k" * 32, b"s" * 64)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"tenant_id": None}, True),
        ({"next_key": None, "signature": None}, True),
        ({"at": 2**53 - 1}, True),
        ({"at": 2**53}, False),
        ({"uid": True}, False),
        ({"verb": b"sync"}, False),
        ({"data_class": "contact"}, False),
        ({"tenant_id": b"t" * 15}, False),
        ({"next_key": b"k" * 31}, False),
        ({"signature": b"s" * 63}, False),
    ],
    ids=str,
)
def test_every_column_of_an_entry_is_of_its_kind(change: dict[str, Any], expected: bool) -> None:
    assert audit_chain.is_well_formed(ENTRY._replace(**change)) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"data_class": "contact"},  # not in what is signed
        {"next_key": None},
        {"signature": None},
        {"verb": "\ud800"},
        {"verb": "tenant show"},
    ],
    ids=str,
)
def test_only_a_whole_entry_that_is_signed_as_it_stands_follows(change: dict[str, Any]) -> None:
    seed, before = b"s" * 32, b"b" * 64
    link = audit_chain.Link(public_key(seed), before)
    signed = ENTRY._replace(signature=sign(seed, Subject.AUDIT, audit_chain.document(ENTRY, before)))
    assert audit_chain.follows(signed, link)
    assert not audit_chain.follows(signed._replace(**change), link)
    keyless = ENTRY._replace(next_key=None)
    keyless = keyless._replace(signature=sign(seed, Subject.AUDIT, audit_chain.document(keyless, before)))
    assert not audit_chain.follows(keyless, link)
    assert not audit_chain.follows(signed, link._replace(key=b"short"))


def test_an_entry_that_a_crash_left_ahead_of_the_head_is_taken_over_by_the_next(vault: Vault) -> None:
    record(vault, "init")
    before = chain_of(vault)
    record(vault, "sync")
    with vault.key_data.write() as keys:
        audit_chain.keep(vault, keys, before)
    record(vault, "tenant edit")
    assert (verbs(vault), findings(vault)) == (["init", "sync", "tenant edit"], [])
    assert [one.last_seq for one in chain_of(vault).segments] == [3]


def put_in(vault: Vault, seq: int, next_key: bytes = b"k" * 32) -> None:
    marks = ", ".join("?" * len(ENTRY))
    execute(vault.data, f"INSERT INTO audit VALUES ({marks})", *ENTRY._replace(seq=seq, next_key=next_key))


@pytest.mark.parametrize("is_earlier", [True, False])
def test_an_entry_that_a_crash_left_is_taken_over_from_above_or_below_one_that_was_put_in(
    vault: Vault, is_earlier: bool
) -> None:
    record(vault, "init")
    before = chain_of(vault)
    if is_earlier:
        put_in(vault, 50)
    record(vault, "sync")
    if not is_earlier:
        put_in(vault, 50)
    with vault.key_data.write() as keys:
        audit_chain.keep(vault, keys, before)
    record(vault, "tenant edit")
    assert [seq for seq, _ in findings(vault)] == [50]
    execute(vault.data, "DELETE FROM audit WHERE seq = 50")
    assert (verbs(vault), findings(vault)) == (["init", "sync", "tenant edit"], [])


def test_an_entry_that_was_put_in_is_not_taken_over_for_its_key(vault: Vault) -> None:
    record(vault, "init")
    put_in(vault, 2, public_key(chain_of(vault).next_seed))
    record(vault, "sync")
    execute(vault.data, "DELETE FROM audit WHERE seq = 2")
    assert (verbs(vault), findings(vault)) == (["init", "sync"], [])


def test_the_pins_are_tied_to_the_seeds_as_the_format_says(vault: Vault) -> None:
    record(vault, "init", "sync")
    audit.begin_segment(vault)
    chain = chain_of(vault)
    pins = b"".join(
        one.first_seq.to_bytes(8, "big") + one.first_key + one.before + one.last_seq.to_bytes(8, "big")
        + one.last_signature
        for one in chain.segments
    )  # fmt: skip
    with vault.key_data.read() as keys:
        state = vault.keys.audit_state(keys)
    assert len(chain.segments) == 2
    assert state == hashlib.sha256(pins).digest() + chain.seed + chain.next_seed


def test_a_rehearsal_writes_nothing(vault: Vault) -> None:
    record(vault, "init")
    before = rows(vault.data, "audit"), rows(vault.key_data, "audit_segments"), rows(vault.key_data, "wrapped_keys")
    audit.require_writable(vault, verb="sync")
    after = rows(vault.data, "audit"), rows(vault.key_data, "audit_segments"), rows(vault.key_data, "wrapped_keys")
    assert after == before


def test_a_table_that_takes_no_entry_is_found_before_the_command(vault: Vault) -> None:
    record(vault, "init")
    execute(vault.data, "ALTER TABLE audit RENAME TO audit_away")
    with pytest.raises(StorageError):
        audit.require_writable(vault, verb="sync")
    execute(vault.data, "ALTER TABLE audit_away RENAME TO audit")
    audit.require_writable(vault, verb="sync")


def test_entries_survive_a_new_root_key(place: Place) -> None:
    vault = place.create()
    record(vault, "init")
    with vault.alone():
        vault.keys.rekey(NOW, lambda: None)
    record(vault, "key rotate-root")
    again = place.open()
    record(again, "sync")
    record(vault, "tenant edit")
    assert findings(again) == []


def test_a_damaged_audit_key_keeps_no_vault_shut_and_no_root_from_being_replaced(place: Place) -> None:
    vault = place.create()
    record(vault, "init")
    execute(vault.key_data, "UPDATE wrapped_keys SET blob = ? WHERE purpose = 'audit'", b"x" * 200)
    again = place.open()
    with again.alone():
        again.keys.rekey(NOW, lambda: None)
    with pytest.raises(DamagedError):
        record(again, "sync")
    assert findings(place.open()) == [(None, "key")]


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("before", [0, 2])
def test_an_entry_killed_after_any_step_leaves_a_trail_that_verifies_and_goes_on(
    place: Place, step: int, before: int
) -> None:
    vault = place.create()
    record(vault, *["init"] * before)
    vault.close()
    was_killed = kill_after(step, "record", place.home)
    assert was_killed == (step <= (2 if before else 3))
    vault = place.open()
    assert findings(vault) == []
    left = len(verbs(vault))
    record(vault, "sync", "tenant edit")
    assert verbs(vault)[left:] == ["sync", "tenant edit"]
    assert findings(vault) == []


@pytest.mark.slow
def test_several_kills_in_a_row_lose_nothing_and_write_nothing_twice(place: Place) -> None:
    place.create().close()
    vault = place.open()
    record(vault, "init")
    vault.close()
    # The entry is there; the next sees it; takes it over; writes one; takes that over and writes another.
    for step, written in ((1, 2), (1, 2), (2, 2), (1, 3), (3, 4)):
        assert kill_after(step, "record", place.home)
        vault = place.open()
        assert (len(verbs(vault)), findings(vault)) == (written, [])
        vault.close()
    vault = place.open()
    record(vault, "sync")
    assert (len(verbs(vault)), findings(vault)) == (5, [])


@pytest.mark.slow
def test_two_processes_that_write_all_the_time_make_one_trail(place: Place) -> None:
    vault = place.create()
    with _writer(place.home) as one, _writer(place.home) as other:
        for writer in (one, other):
            assert writer.stdin is not None
            writer.stdin.write("go\n")
            writer.stdin.flush()
        while one.poll() is None or other.poll() is None:
            assert findings(vault) == []  # also while they are at it
    assert (one.returncode, other.returncode) == (0, 0)
    report = audit.verify(vault)
    assert (report.checked, report.findings) == (200, ())


def _writer(home: Path) -> subprocess.Popen[str]:
    program = (
        "import sys; from pathlib import Path\n"
        "from syncvault.vault import opening\nfrom syncvault.vault.trail import audit\n"
        "vault = opening.open_vault(Path(sys.argv[1])); print('ready', flush=True); sys.stdin.readline()\n"
        "for n in range(100): audit.record(vault, verb=f'verb {n}', tenant_id=None, outcome='ok')\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", program, str(home)],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    return writer


# What a restore does: the table is an older one, and the trail begins anew behind it.


def _cut(vault: Vault, after: int) -> None:
    execute(vault.data, "DELETE FROM audit WHERE seq > ?", after)
    audit.begin_segment(vault)


def test_a_new_stretch_after_a_restore_verifies_and_tells_of_the_gap(vault: Vault) -> None:
    record(vault, *["sync"] * 5)
    _cut(vault, 3)
    assert findings(vault) == []
    record(vault, "restore", "sync")
    report = audit.verify(vault)
    assert (report.checked, report.gaps, report.findings) == (5, ((4, 5),), ())
    assert [entry.seq for entry in audit.listing(vault)] == [7, 6, 3, 2, 1]


def test_a_restore_that_loses_nothing_leaves_no_gap(vault: Vault) -> None:
    record(vault, "init", "sync")
    _cut(vault, 2)
    record(vault, "restore")
    assert (audit.verify(vault).gaps, findings(vault)) == ((), [])


@pytest.mark.parametrize("kept", [0, 2, 5])
def test_restores_may_follow_each_other(vault: Vault, kept: int) -> None:
    record(vault, *["sync"] * 5)
    _cut(vault, 4)
    record(vault, "restore")
    _cut(vault, kept)
    _cut(vault, kept)
    record(vault, "restore")
    assert findings(vault) == []
    assert [entry.seq for entry in audit.listing(vault)] == [7, *range(min(kept, 4), 0, -1)]


@pytest.mark.parametrize(
    "meddle",
    [
        lambda vault: execute(vault.data, "DELETE FROM audit WHERE seq = 3"),
        lambda vault: execute(vault.data, "UPDATE audit SET seq = 4 WHERE seq = 3"),
        lambda vault: execute(vault.data, "DELETE FROM audit WHERE seq = 6"),
    ],
)
def test_entries_on_either_side_of_a_gap_stay_where_they_are(vault: Vault, meddle: Callable[[Vault], int]) -> None:
    record(vault, *["sync"] * 5)
    _cut(vault, 3)
    record(vault, "restore")
    meddle(vault)
    assert findings(vault) != []


def test_every_gap_between_three_stretches_is_told(vault: Vault) -> None:
    record(vault, *["sync"] * 3)
    _cut(vault, 2)
    record(vault, "restore", "sync")
    _cut(vault, 4)
    record(vault, "restore")
    report = audit.verify(vault)
    assert (report.checked, report.gaps, report.findings) == (4, ((3, 3), (5, 5)), ())


def test_an_entry_that_was_put_into_a_gap_shows(vault: Vault) -> None:
    record(vault, *["sync"] * 5)
    _cut(vault, 3)
    record(vault, "restore")
    copied = "at, uid, role, verb, tenant_id, outcome, data_class, purge_at, next_key, signature"
    execute(vault.data, f"INSERT INTO audit (seq, {copied}) SELECT 5, {copied} FROM audit WHERE seq = 3")
    assert findings(vault) == [(5, "inserted")]


def pins(vault: Vault) -> list[tuple[int, int]]:
    return [(one.first_seq, one.last_seq) for one in chain_of(vault).segments]


def test_a_stretch_ends_with_a_signed_entry_and_the_next_begins_behind_every_other(vault: Vault) -> None:
    record(vault, "init", "sync")
    statement = "INSERT INTO audit (seq, at, uid, role, verb, outcome, data_class, purge_at)"
    execute(vault.data, f"{statement} VALUES (9, 1, 0, 'root', 'init', 'ok', 'audit-entry', 9999999999)")
    audit.begin_segment(vault)
    assert pins(vault) == [(1, 2), (10, 9)]


def test_a_stretch_of_one_entry_is_kept_and_one_of_none_begins_with_the_first(vault: Vault) -> None:
    audit.begin_segment(vault)
    assert pins(vault) == [(1, 0)]
    record(vault, "init")
    _cut(vault, 1)
    assert pins(vault) == [(1, 1), (2, 1)]
    assert findings(vault) == []


def test_a_new_stretch_puts_a_damaged_key_store_right(vault: Vault) -> None:
    record(vault, "init", "sync")
    execute(vault.key_data, "DELETE FROM wrapped_keys WHERE purpose = 'audit'")
    _cut(vault, 2)
    record(vault, "restore")
    assert findings(vault) == []


def test_a_new_stretch_after_entries_that_the_key_store_knows_nothing_of_leaves_them_out(vault: Vault) -> None:
    record(vault, "init", "sync")
    for statement in ("DELETE FROM wrapped_keys WHERE purpose = 'audit'", "DELETE FROM audit_segments"):
        execute(vault.key_data, statement)
    _cut(vault, 2)
    record(vault, "restore")
    assert (verbs(vault), findings(vault)) == (["restore"], [])


def test_the_public_key_of_the_next_entry_is_in_the_one_before(vault: Vault) -> None:
    record(vault, "init", "sync")
    with vault.data.read() as tx:
        last = audit_rows.entry(tx, 2)
    assert last is not None
    assert last.next_key == public_key(chain_of(vault).seed)
