"""What was done to the audit table or to its pins behind the vault's back shows, and later entries do not cover it."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from syncvault.crypto.signature import Subject, public_key, sign
from syncvault.errors import DamagedError, StorageError
from syncvault.store import audit as audit_rows
from syncvault.vault.trail import audit, audit_chain
from syncvault.vault.vault import Vault
from tests.integration.vault_parts import Place, execute, rows

Meddling = Callable[[Vault], Any]
LAST = 6


@pytest.fixture
def trail(vault: Vault) -> Vault:
    """A vault with six entries."""
    for number in range(LAST):
        audit.record(vault, verb=f"verb {number}", tenant_id=None if number % 2 else b"t" * 16, outcome="ok")
    return vault


def findings(vault: Vault) -> list[tuple[int | None, str]]:
    return [(one.seq, one.finding) for one in audit.verify(vault, program="/nowhere/journalctl").findings]


def in_data(statement: str, *values: Any) -> Meddling:
    return lambda vault: execute(vault.data, statement, *values)


def in_keys(statement: str, *values: Any) -> Meddling:
    return lambda vault: execute(vault.key_data, statement, *values)


COLUMNS = {
    "seq": 40,
    "at": 1,
    "uid": 4711,
    "role": "service",
    "verb": "verb 9",
    "tenant_id": b"u" * 16,
    "outcome": "failed:input",
    "data_class": "contact",
    "purge_at": 1,
    "next_key": b"k" * 32,
    "signature": b"s" * 64,
}


@pytest.mark.parametrize("seq", [1, 3, LAST])
@pytest.mark.parametrize("column", COLUMNS)
def test_no_column_of_an_entry_can_be_edited(trail: Vault, column: str, seq: int) -> None:
    execute(trail.data, f"UPDATE audit SET {column} = ? WHERE seq = ?", COLUMNS[column], seq)
    found = findings(trail)
    assert seq in {one for one, _ in found}
    # What hangs on the edited column alone is blamed as well, and nothing else is.
    assert {one for one, _ in found} <= {seq, seq + 1, COLUMNS["seq"]}


@pytest.mark.parametrize("seq", [2, 3])
def test_a_tenant_can_be_neither_taken_out_of_an_entry_nor_put_in(trail: Vault, seq: int) -> None:
    execute(trail.data, "UPDATE audit SET tenant_id = ? WHERE seq = ?", b"t" * 16 if seq == 2 else None, seq)
    assert findings(trail) == [(seq, "changed")]


@pytest.mark.parametrize(
    ("meddle", "found"),
    [
        (in_data("DELETE FROM audit WHERE seq = 1"), [(1, "missing")]),
        (in_data("DELETE FROM audit WHERE seq = 3"), [(3, "missing")]),
        (in_data("DELETE FROM audit WHERE seq IN (3, 4)"), [(3, "missing")]),
        (in_data("DELETE FROM audit WHERE seq = 6"), [(6, "missing")]),
        (in_data("DELETE FROM audit WHERE seq > 2"), [(3, "missing")]),
        (in_data("DELETE FROM audit"), [(1, "missing")]),
        (
            in_data("UPDATE audit SET signature = NULL, next_key = NULL WHERE seq = 3"),
            [(3, "unsigned"), (4, "changed")],
        ),
    ],
)
def test_what_was_taken_away_shows(trail: Vault, meddle: Meddling, found: list[tuple[int, str]]) -> None:
    meddle(trail)
    assert findings(trail) == found


MISSING = "Entry 3 is missing."
UNSIGNED = "Entry 3 is not signed."
CHANGED = "Entry {} was changed, or does not follow the one before it."
PUT_IN = "INSERT INTO audit SELECT {}, at, uid, role, verb, tenant_id, outcome, data_class, purge_at, next_key"


@pytest.mark.parametrize(
    ("meddle", "sentences"),
    [
        (in_data("DELETE FROM audit WHERE seq = 3"), [MISSING]),
        (in_data("DELETE FROM audit WHERE seq IN (3, 4)"), ["Entries 3 to 4 are missing."]),
        (in_data("DELETE FROM audit WHERE seq > 4"), ["Entries 5 to 6 are missing."]),
        (in_data("UPDATE audit SET uid = 7 WHERE seq = 3"), [CHANGED.format(3)]),
        (in_data("UPDATE audit SET signature = NULL WHERE seq = 3"), [UNSIGNED, CHANGED.format(4)]),
        (in_data("UPDATE audit SET next_key = NULL WHERE seq = 3"), [CHANGED.format(3), CHANGED.format(4)]),
        (
            in_data("UPDATE audit SET signature = zeroblob(64) WHERE seq = 6"),
            [CHANGED.format(6), "Entry 6 is not the one that the key store remembers as the last."],
        ),
        (
            in_data(f"{PUT_IN.format(9)}, signature FROM audit WHERE seq = 2"),
            ["Entry 9 stands where none was written."],
        ),
        (
            in_data("UPDATE audit SET seq = 9 WHERE seq = 6"),
            [
                "Entry 6 is missing.",
                "Entry 9 stands where none was written.",
                "Entry 6 is not the one that the key store remembers as the last.",
            ],
        ),
        (in_keys("DELETE FROM audit_segments"), ["The key store has lost the head of the audit trail."]),
    ],
)
@pytest.mark.parametrize("database_urls", ["sqlite"], indirect=True)
def test_what_is_wrong_is_said_in_a_sentence(trail: Vault, meddle: Meddling, sentences: list[str]) -> None:
    meddle(trail)
    assert [one.message for one in audit.verify(trail, program="/nowhere/journalctl").findings] == sentences


def test_two_entries_that_changed_places_show(trail: Vault) -> None:
    for old, new in ((2, 99), (4, 2), (99, 4)):
        execute(trail.data, "UPDATE audit SET seq = ? WHERE seq = ?", new, old)
    assert {(2, "changed"), (4, "changed")} <= set(findings(trail))


@pytest.mark.parametrize("seq", [7, 8, 5000])
def test_an_entry_that_was_put_in_shows_and_what_is_written_after_it_is_in_order(trail: Vault, seq: int) -> None:
    forged = (seq, 1, 0, "root", "tenant edit", None, "ok", "audit-entry", 9**9, b"k" * 32, b"s" * 64)
    execute(trail.data, f"INSERT INTO audit VALUES ({', '.join('?' * len(forged))})", *forged)
    assert [one for one, _ in findings(trail)] == [seq]
    audit.record(trail, verb="sync", tenant_id=None, outcome="ok")
    assert [one for one, _ in findings(trail)] == [seq]
    execute(trail.data, "DELETE FROM audit WHERE seq = ?", seq)
    assert findings(trail) == []  # a number may be skipped, a link may not


def test_an_entry_signed_with_a_key_of_ones_own_shows(trail: Vault) -> None:
    seed = os.urandom(32)
    with trail.data.read() as tx:
        before = audit_rows.entry(tx, 2)
        forged = audit_rows.entry(tx, 3)
    assert before is not None
    assert before.signature is not None
    assert forged is not None
    forged = forged._replace(verb="tenant show", next_key=public_key(seed))
    signature = sign(seed, Subject.AUDIT, audit_chain.document(forged, before.signature))
    statement = "UPDATE audit SET verb = ?, next_key = ?, signature = ? WHERE seq = 3"
    execute(trail.data, statement, forged.verb, forged.next_key, signature)
    assert findings(trail) == [(3, "changed"), (4, "changed")]


@pytest.mark.parametrize(
    "meddle",
    [in_data("DELETE FROM audit WHERE seq = 6"), in_data("DELETE FROM audit"), in_data("UPDATE audit SET uid = 7")],
)
def test_later_entries_do_not_cover_what_was_done_before_them(trail: Vault, meddle: Meddling) -> None:
    meddle(trail)
    before = findings(trail)
    audit.record(trail, verb="sync", tenant_id=None, outcome="ok")
    after = findings(trail)
    assert before[0] in after
    assert next(entry.verb for entry in audit.listing(trail)) == "sync"


@pytest.mark.parametrize("text", [b"\xff\xfe", b"verb 2"])
def test_bytes_that_are_no_text_are_a_finding_and_stop_nothing(vault: Vault, text: bytes) -> None:
    if vault.data.dialect != "sqlite":
        pytest.skip("PostgreSQL takes nothing else than text")
    for number in range(4):
        audit.record(vault, verb=f"verb {number}", tenant_id=None, outcome="ok")
    cast = "CAST(? AS TEXT)" if text == b"\xff\xfe" else "?"
    execute(vault.data, f"UPDATE audit SET verb = {cast} WHERE seq = 2", text)
    assert findings(vault) == [(2, "changed")]


@pytest.mark.parametrize("value", ["never", 2**60, None, 1.5])
def test_a_number_that_is_none_is_a_finding(vault: Vault, value: object) -> None:
    if vault.data.dialect != "sqlite":
        pytest.skip("PostgreSQL takes nothing else than numbers")
    audit.record(vault, verb="init", tenant_id=None, outcome="ok")
    audit.record(vault, verb="sync", tenant_id=None, outcome="ok")
    column = "tenant_id" if value is None else "at"
    execute(vault.data, f"UPDATE audit SET {column} = ? WHERE seq = 1", b"" if value is None else value)
    assert findings(vault) == [(1, "changed")]
    with pytest.raises(DamagedError, match="Entry 1"):
        list(audit.listing(vault))


# The pins in the key store.


LOST_HEAD = "The key store has lost the head of the audit trail."
LOST_KEY = "The key store has lost the audit key."
APART = "The audit key and the pins of the audit trail do not belong together."
DAMAGED_PIN = "A pin of the audit trail is damaged."


@pytest.mark.parametrize(
    ("meddle", "said"),
    [
        (in_keys("DELETE FROM audit_segments"), LOST_HEAD),
        (in_keys("DELETE FROM wrapped_keys WHERE purpose = 'audit'"), LOST_KEY),
        (in_keys("UPDATE audit_segments SET last_seq = 4"), APART),
        (in_keys("UPDATE audit_segments SET first_seq = 2"), APART),
        (in_keys("UPDATE audit_segments SET first_seq = -2"), DAMAGED_PIN),
        (in_keys("UPDATE audit_segments SET first_key = ?", b"k" * 32), APART),
        (in_keys("UPDATE audit_segments SET first_key = ?", b"k" * 31), DAMAGED_PIN),
        (in_keys("UPDATE audit_segments SET before = ?", b"b" * 64), APART),
        (in_keys("UPDATE audit_segments SET before = ?", b"b" * 63), DAMAGED_PIN),
        (in_keys("UPDATE audit_segments SET last_signature = ?", b"s" * 64), APART),
        (in_keys("UPDATE audit_segments SET last_signature = ?", b"s" * 65), DAMAGED_PIN),
        (
            in_keys("INSERT INTO audit_segments SELECT 9, first_key, before, 9, last_signature FROM audit_segments"),
            APART,
        ),
    ],
)
def test_meddling_with_the_pins_shows_and_nothing_is_written_on_top(trail: Vault, meddle: Meddling, said: str) -> None:
    meddle(trail)
    (found,) = (one for one in audit.verify(trail, program="/nowhere/journalctl").findings if one.finding == "key")
    assert (found.seq, found.message) == (None, said)
    assert "`syncvault restore`" in found.advice
    for refusing in (audit.require_writable, partial(audit.record, tenant_id=None, outcome="ok")):
        with pytest.raises(DamagedError) as refused:
            refusing(trail, verb="sync")
        assert refused.value.message == said
        assert "`syncvault restore`" in refused.value.advice
    assert next(one.seq for one in audit.look(trail)) is None


def test_an_audit_key_of_another_form_is_refused(trail: Vault) -> None:
    with trail.key_data.write() as keys:
        state = trail.keys.audit_state(keys)
        assert state is not None
        trail.keys.keep_audit_state(keys, state + b"x", trail.now)
    with pytest.raises(DamagedError, match=r"^The audit key has another form\.$") as refused:
        audit.record(trail, verb="sync", tenant_id=None, outcome="ok")
    assert "`syncvault restore`" in refused.value.advice


def test_the_highest_number_that_an_entry_can_have_is_the_last(trail: Vault) -> None:
    _unsigned(trail, 2**53 - 2)
    audit.record(trail, verb="sync", tenant_id=None, outcome="ok")
    with pytest.raises(StorageError, match=r"^The audit table holds a number after which none can follow\.$") as full:
        audit.record(trail, verb="sync", tenant_id=None, outcome="ok")
    assert "`syncvault restore`" in full.value.advice


def test_key_and_pins_both_gone_show(trail: Vault) -> None:
    in_keys("DELETE FROM audit_segments")(trail)
    in_keys("DELETE FROM wrapped_keys WHERE purpose = 'audit'")(trail)
    (lost,) = audit.verify(trail, program="/nowhere/journalctl").findings
    assert (lost.seq, lost.finding) == (None, "key")
    assert lost.message == "The key store knows nothing of the signed entries."
    assert "`syncvault restore`" in lost.advice
    with pytest.raises(DamagedError, match=r"^The key store has lost the audit key and the head of the") as refused:
        audit.record(trail, verb="sync", tenant_id=None, outcome="ok")
    assert "`syncvault restore`" in refused.value.advice


def _key_state(vault: Vault) -> tuple[Any, list[tuple[Any, ...]]]:
    blob = next(row[6] for row in rows(vault.key_data, "wrapped_keys") if row[2] == "audit")
    return blob, rows(vault.key_data, "audit_segments")


def test_an_older_audit_key_does_not_fit_todays_pins(trail: Vault) -> None:
    older, _ = _key_state(trail)
    audit.record(trail, verb="sync", tenant_id=None, outcome="ok")
    in_keys("UPDATE wrapped_keys SET blob = ? WHERE purpose = 'audit'", older)(trail)
    assert findings(trail) == [(None, "key")]


def test_an_older_key_store_shows_once_it_is_more_than_a_crash_behind(trail: Vault) -> None:
    older, segments = _key_state(trail)
    for _ in range(2):
        audit.record(trail, verb="sync", tenant_id=None, outcome="ok")
    in_keys("UPDATE wrapped_keys SET blob = ? WHERE purpose = 'audit'", older)(trail)
    in_keys("UPDATE audit_segments SET last_seq = ?, last_signature = ?", *segments[0][3:])(trail)
    (head,) = audit.verify(trail, program="/nowhere/journalctl").findings
    assert (head.seq, head.finding) == (LAST + 1, "head")
    assert head.message == "2 entries are newer than the head that the key store remembers."
    assert head.advice.startswith("The key store is of an earlier time")
    for _ in range(3):  # what is written now hangs where nothing may hang any more
        audit.record(trail, verb="sync", tenant_id=None, outcome="ok")
        assert findings(trail) != []


def test_an_older_key_store_that_is_one_entry_behind_is_what_a_crash_leaves(trail: Vault) -> None:
    older, segments = _key_state(trail)
    audit.record(trail, verb="sync", tenant_id=None, outcome="ok")
    in_keys("UPDATE wrapped_keys SET blob = ? WHERE purpose = 'audit'", older)(trail)
    in_keys("UPDATE audit_segments SET last_seq = ?, last_signature = ?", *segments[0][3:])(trail)
    assert findings(trail) == []


def test_a_glance_sees_that_the_only_entry_is_gone(vault: Vault) -> None:
    audit.record(vault, verb="init", tenant_id=None, outcome="ok")
    in_data("DELETE FROM audit")(vault)
    assert [(one.seq, one.finding) for one in audit.look(vault)] == [(1, "head")]


def test_a_glance_sees_whether_the_newest_entry_is_there(trail: Vault) -> None:
    assert audit.look(trail) == []
    in_data("DELETE FROM audit WHERE seq = 6")(trail)
    (newest,) = audit.look(trail)
    assert (newest.seq, newest.finding) == (6, "head")
    assert newest.message.startswith("Entry 6, the newest, is missing")
    assert newest.advice.startswith("Find out who could write")


# Vaults from before entries were signed.


def _unsigned(vault: Vault, *numbers: int) -> None:
    for seq in numbers:
        statement = "INSERT INTO audit (seq, at, uid, role, verb, outcome, data_class, purge_at)"
        in_data(f"{statement} VALUES (?, 1, 0, 'root', 'init', 'ok', 'audit-entry', 9999999999)", seq)(vault)


def test_entries_from_before_they_were_signed_are_counted_and_kept(vault: Vault) -> None:
    _unsigned(vault, 1, 2)
    assert (audit.verify(vault).unsigned, findings(vault)) == (2, [])
    audit.record(vault, verb="sync", tenant_id=None, outcome="ok")
    report = audit.verify(vault)
    assert (report.checked, report.unsigned, report.findings) == (1, 2, ())
    assert [entry.seq for entry in audit.listing(vault)] == [3, 2, 1]


def test_a_signed_entry_among_those_from_before_is_none_of_them(vault: Vault) -> None:
    _unsigned(vault, 1, 2)
    audit.record(vault, verb="sync", tenant_id=None, outcome="ok")
    in_data("UPDATE audit SET signature = ? WHERE seq = 1", b"s" * 64)(vault)
    assert findings(vault) == [(1, "inserted")]


@pytest.mark.parametrize(("later", "found"), [(0, (LAST + 1, "head")), (1, (LAST + 2, "changed"))])
def test_an_entry_that_a_crash_left_cannot_come_back_once_another_took_its_place(
    trail: Vault, later: int, found: tuple[int, str]
) -> None:
    blob, segments = _key_state(trail)
    audit.record(trail, verb="contact show", tenant_id=None, outcome="ok")
    with trail.data.read() as tx:
        left = audit_rows.entry(tx, LAST + 1)
    assert left is not None
    in_keys("UPDATE wrapped_keys SET blob = ? WHERE purpose = 'audit'", blob)(trail)  # as a crash leaves it
    in_keys("UPDATE audit_segments SET last_seq = ?, last_signature = ?", *segments[0][3:])(trail)
    in_data("DELETE FROM audit WHERE seq = 7")(trail)  # before anybody took it over
    for verb in ["contact export", "sync"][: 1 + later]:
        audit.record(trail, verb=verb, tenant_id=None, outcome="ok")
    assert findings(trail) == []  # the same key signed both, and only one is there
    in_data("UPDATE audit SET verb = ?, signature = ? WHERE seq = 7", left.verb, left.signature)(trail)
    assert findings(trail) == [found]


@pytest.mark.parametrize(("seq", "finding"), [(0, "inserted"), (-5, "inserted"), (7, "inserted")])
def test_unsigned_entries_stand_nowhere_else(trail: Vault, seq: int, finding: str) -> None:
    _unsigned(trail, seq)
    assert findings(trail) == [(seq, finding)]


def test_findings_are_told_up_to_a_thousand(trail: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncvault.vault.trail.audit_check._MOST_FINDINGS", 3)
    in_data("UPDATE audit SET uid = 7")(trail)
    assert findings(trail) == [(1, "changed"), (2, "changed"), (3, "changed")]


def test_another_process_sees_the_same(place: Place, trail: Vault) -> None:
    in_data("UPDATE audit SET uid = 7 WHERE seq = 2")(trail)
    assert findings(place.open()) == [(2, "changed")]
