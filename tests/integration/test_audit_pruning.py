"""Entries go after a year, and what is left of the trail still verifies."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from syncvault.errors import DamagedError
from syncvault.store import audit as audit_rows
from syncvault.store.audit import AuditRow
from syncvault.vault.trail import audit
from syncvault.vault.vault import Vault
from tests.integration.killed import kill_after
from tests.integration.vault_parts import NOW, Place, execute, rows

YEAR = timedelta(days=365)


def trail(place: Place, days: Sequence[int]) -> Vault:
    """A vault with an entry written so many days before `NOW` each."""
    vault = place.create()
    for number, age in enumerate(days, start=1):
        place.now = NOW - timedelta(days=age)
        audit.record(vault, verb=f"verb {number}", tenant_id=None, outcome="ok")
    place.now = NOW
    return place.open()


def numbers(vault: Vault) -> list[int]:
    return [entry.seq for entry in audit.listing(vault)][::-1]


def findings(vault: Vault) -> list[tuple[int | None, str]]:
    return [(one.seq, one.finding) for one in audit.verify(vault, program="/nowhere/journalctl").findings]


def test_what_is_left_verifies_and_goes_on(place: Place) -> None:
    vault = trail(place, [500, 400, 365, 364, 3, 2])
    assert audit.prune(vault) == 3
    assert (numbers(vault), findings(vault)) == ([4, 5, 6], [])
    audit.record(vault, verb="purge", tenant_id=None, outcome="ok")
    assert audit.prune(vault) == 0
    assert (numbers(vault), findings(vault)) == ([4, 5, 6, 7], [])


def test_many_entries_go_in_batches(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_PRUNED_AT_ONCE", 2)
    vault = trail(place, [500] * 7 + [1])
    assert audit.prune(vault) == 7
    assert (numbers(vault), findings(vault)) == ([8], [])


def test_a_trail_may_go_altogether(place: Place) -> None:
    vault = trail(place, [500, 500])
    assert audit.prune(vault) == 2
    assert (rows(vault.data, "audit"), findings(vault)) == ([], [])
    audit.record(vault, verb="purge", tenant_id=None, outcome="ok")
    assert (numbers(vault), findings(vault)) == ([3], [])


def test_of_a_vault_without_entries_nothing_is_removed(place: Place) -> None:
    assert audit.prune(place.create()) == 0


def test_an_entry_goes_at_the_instant_when_it_is_due(place: Place) -> None:
    vault = trail(place, [3])
    (due,) = [row[8] for row in rows(vault.data, "audit")]
    vault.now = datetime.fromtimestamp(due - 1, UTC)
    assert audit.prune(vault) == 0
    vault.now = datetime.fromtimestamp(due, UTC)
    assert audit.prune(vault) == 1


def test_an_unsigned_entry_behind_signed_ones_is_no_old_one(place: Place) -> None:
    vault = trail(place, [3, 2])
    statement = "INSERT INTO audit (seq, at, uid, role, verb, outcome, data_class, purge_at)"
    execute(vault.data, f"{statement} VALUES (7, 1, 0, 'root', 'init', 'ok', 'audit-entry', 1)")
    assert audit.prune(vault) == 0
    assert findings(vault) == [(7, "inserted")]


def test_what_is_pruned_while_it_is_verified_is_not_missing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    vault = trail(place, [500, 500, 500, 500, 3])
    monkeypatch.setattr("syncvault.vault.trail.audit_check._PAGE", 2)
    page, pages = audit_rows.page, list[int]()

    def prune_before_the_second(*args: Any, **options: Any) -> list[AuditRow]:
        pages.append(1)
        if len(pages) == 2:
            assert audit.prune(vault) == 4
        return page(*args, **options)

    monkeypatch.setattr(audit_rows, "page", prune_before_the_second)
    assert findings(vault) == []


def test_removing_more_than_was_due_still_shows(place: Place) -> None:
    vault = trail(place, [500, 500, 3, 2])
    audit.prune(vault)
    execute(vault.data, "DELETE FROM audit WHERE seq = 3")
    assert findings(vault) == [(3, "missing")]


def test_an_edited_purge_date_takes_nothing_away(place: Place) -> None:
    vault = trail(place, [3, 2, 1])
    execute(vault.data, "UPDATE audit SET purge_at = 1")
    assert audit.prune(vault) == 0
    assert numbers(vault) == [1, 2, 3]
    assert (1, "changed") in findings(vault)


def test_an_edited_entry_goes_with_those_around_it(place: Place) -> None:
    vault = trail(place, [500, 500, 500, 1])
    execute(vault.data, "UPDATE audit SET purge_at = 99999999999, uid = 7 WHERE seq = 2")
    assert audit.prune(vault) == 3
    assert (numbers(vault), findings(vault)) == ([4], [])


def test_an_entry_dated_in_the_future_keeps_no_other_from_going(place: Place) -> None:
    vault = trail(place, [500, -900, 400, 3])
    assert audit.prune(vault) == 3
    assert (numbers(vault), findings(vault)) == ([4], [])


def test_an_entry_dated_in_the_past_takes_no_younger_one_along(place: Place) -> None:
    vault = trail(place, [500, 3, 900, 2])
    assert audit.prune(vault) == 1
    assert (numbers(vault), findings(vault)) == ([2, 3, 4], [])


def test_pins_that_were_moved_by_somebody_else_remove_nothing(place: Place) -> None:
    vault = trail(place, [3, 2, 1])
    execute(vault.key_data, "UPDATE audit_segments SET first_seq = 3, before = ?", b"b" * 64)
    with pytest.raises(DamagedError):
        audit.prune(vault)
    assert len(rows(vault.data, "audit")) == 3


def test_a_stretch_that_a_restore_ended_goes_too(place: Place) -> None:
    vault = trail(place, [500, 500, 500])
    execute(vault.data, "DELETE FROM audit WHERE seq = 3")
    audit.begin_segment(vault)
    audit.record(vault, verb="restore", tenant_id=None, outcome="ok")
    assert audit.prune(vault) == 2
    assert (numbers(vault), findings(vault), audit.verify(vault).gaps) == ([4], [], ())


def test_entries_from_before_they_were_signed_go_by_their_date(place: Place) -> None:
    vault = place.create()
    for seq, purge_at in ((1, 1), (2, 2**40)):
        statement = "INSERT INTO audit (seq, at, uid, role, verb, outcome, data_class, purge_at)"
        execute(vault.data, f"{statement} VALUES ({seq}, 1, 0, 'root', 'init', 'ok', 'audit-entry', ?)", purge_at)
    audit.record(vault, verb="sync", tenant_id=None, outcome="ok")
    assert audit.prune(vault) == 1
    assert (numbers(vault), findings(vault)) == ([2, 3], [])


def test_what_pruning_is_about_to_remove_is_listed_no_more(place: Place) -> None:
    vault = trail(place, [500, 3])
    leftover = next(row for row in rows(vault.data, "audit") if row[0] == 1)
    audit.prune(vault)
    execute(vault.data, f"INSERT INTO audit VALUES ({', '.join('?' * len(leftover))})", *leftover)
    assert (numbers(vault), findings(vault)) == ([2], [])
    assert audit.prune(vault) == 1


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 2, 3])
def test_pruning_killed_after_any_step_leaves_a_trail_that_verifies(place: Place, step: int) -> None:
    vault = trail(place, [500, 400, 3])
    vault.close()
    assert kill_after(step, "prune", place.home)
    vault = place.open()
    assert (numbers(vault), findings(vault)) == ([3], [])
    audit.prune(vault)
    assert [row[0] for row in rows(vault.data, "audit")] == [3]
