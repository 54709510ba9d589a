"""The trail as a list and as a document that anybody can check without a secret, however long it is."""

from __future__ import annotations

import json
import os
from typing import Any
from uuid import UUID

import pytest

from syncvault.crypto.signature import Subject, is_signed_by
from syncvault.errors import DamagedError
from syncvault.vault.trail import audit
from syncvault.vault.trail.audit import Entry
from syncvault.vault.vault import Vault
from tests.integration.vault_parts import NOW, execute

TENANT = b"t" * 16


@pytest.fixture
def trail(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> Vault:
    """A vault with five entries, of which three are read at a time."""
    monkeypatch.setattr(audit, "_PAGE", 3)
    for number in range(1, 6):
        audit.record(vault, verb=f"verb {number}", tenant_id=TENANT if number % 2 else None, outcome="ok")
    return vault


def exported(vault: Vault) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(b"".join(audit.export(vault)))
    return document


def assert_verifies(document: dict[str, Any]) -> None:
    """Every signed entry follows the one before it, from the beginning of its stretch to the end that is pinned."""
    entries = [entry for entry in document["entries"] if entry["signature"] is not None]
    for stretch in document["stretches"]:
        key, before = stretch["first_key"], stretch["before"]
        for entry in entries:
            if stretch["first_seq"] <= entry["seq"] <= stretch["last_seq"]:
                said = {name: value for name, value in entry.items() if name != "signature"} | {"before": before}
                signature = bytes.fromhex(entry["signature"])
                assert is_signed_by(bytes.fromhex(key), Subject.AUDIT, said, signature)
                key, before = entry["next_key"], entry["signature"]
        assert before == stretch["last_signature"]


def test_entries_are_listed_newest_first_with_all_that_they_say(trail: Vault) -> None:
    who = os.getuid(), audit.role()
    assert list(audit.listing(trail)) == [
        Entry(number, NOW, *who, f"verb {number}", TENANT if number % 2 else None, "ok") for number in range(5, 0, -1)
    ]


def test_the_document_holds_every_entry_and_verifies(trail: Vault) -> None:
    document = exported(trail)
    assert (document["format"], document["vault"]) == ("syncvault-audit v1", str(UUID(bytes=trail.id)))
    assert [(one["seq"], one["verb"]) for one in document["entries"]] == [(n, f"verb {n}") for n in range(1, 6)]
    assert document["entries"][0]["tenant_id"] == TENANT.hex()
    assert [(one["first_seq"], one["last_seq"]) for one in document["stretches"]] == [(1, 5)]
    assert_verifies(document)


def test_every_entry_stands_on_a_line_of_its_own(trail: Vault) -> None:
    first, *entries, last = b"".join(audit.export(trail)).splitlines()
    assert first.endswith(b'"entries":[')
    assert [json.loads(line.rstrip(b","))["seq"] for line in entries] == [1, 2, 3, 4, 5]
    assert last.startswith(b'],"stretches":[')


def test_a_vault_without_entries_has_an_empty_document(vault: Vault) -> None:
    document = exported(vault)
    assert (document["entries"], document["stretches"]) == ([], [])


def test_what_is_written_meanwhile_is_left_out(trail: Vault) -> None:
    pieces = audit.export(trail)
    begun = [next(pieces), next(pieces)]
    audit.record(trail, verb="meanwhile", tenant_id=None, outcome="ok")
    document = json.loads(b"".join([*begun, *pieces]))
    assert [one["seq"] for one in document["entries"]] == [1, 2, 3, 4, 5]
    assert [one["last_seq"] for one in document["stretches"]] == [5]
    assert_verifies(document)


def test_a_document_whose_last_entry_is_gone_says_what_the_key_store_remembers(trail: Vault) -> None:
    pieces = audit.export(trail)
    begun = [next(pieces)]
    audit.record(trail, verb="meanwhile", tenant_id=None, outcome="ok")
    execute(trail.data, "DELETE FROM audit WHERE seq = 5")
    document = json.loads(b"".join([*begun, *pieces]))
    assert [one["last_seq"] for one in document["stretches"]] == [6]


def test_a_restore_meanwhile_leaves_both_stretches_as_they_are(trail: Vault) -> None:
    pieces = audit.export(trail)
    begun = [next(pieces)]
    audit.begin_segment(trail)
    audit.record(trail, verb="restore", tenant_id=None, outcome="ok")
    document = json.loads(b"".join([*begun, *pieces]))
    assert [(one["first_seq"], one["last_seq"]) for one in document["stretches"]] == [(1, 5), (6, 6)]


def test_what_is_written_meanwhile_behind_a_single_entry_or_a_restore_is_left_out(vault: Vault) -> None:
    for expected in ([(1, 1)], [(1, 2), (3, 3)]):
        audit.record(vault, verb="sync", tenant_id=None, outcome="ok")
        pieces = audit.export(vault)
        begun = [next(pieces)]
        audit.record(vault, verb="meanwhile", tenant_id=None, outcome="ok")
        document = json.loads(b"".join([*begun, *pieces]))
        assert [(one["first_seq"], one["last_seq"]) for one in document["stretches"]] == expected
        assert_verifies(document)
        audit.begin_segment(vault)


def test_what_pruning_is_about_to_remove_is_left_out(trail: Vault) -> None:
    with trail.data.read() as tx:
        leftover = tx.exec_driver_sql("SELECT * FROM audit WHERE seq = 5").one()
    trail.now = NOW.replace(year=NOW.year + 2)
    assert audit.prune(trail) == 5
    audit.record(trail, verb="purge", tenant_id=None, outcome="ok")
    execute(trail.data, f"INSERT INTO audit VALUES ({', '.join('?' * len(leftover))})", *leftover)
    assert [one["seq"] for one in exported(trail)["entries"]] == [6]
    assert_verifies(exported(trail))


def test_entries_from_before_they_were_signed_say_so(vault: Vault) -> None:
    statement = "INSERT INTO audit (seq, at, uid, role, verb, outcome, data_class, purge_at)"
    execute(vault.data, f"{statement} VALUES (1, 1, 0, 'root', 'init', 'ok', 'audit-entry', 9999999999)")
    audit.record(vault, verb="sync", tenant_id=None, outcome="ok")
    document = exported(vault)
    assert [one["signature"] is None for one in document["entries"]] == [True, False]
    assert_verifies(document)


def test_a_log_without_any_signed_entry_is_exported_too(vault: Vault) -> None:
    statement = "INSERT INTO audit (seq, at, uid, role, verb, outcome, data_class, purge_at)"
    execute(vault.data, f"{statement} VALUES (1, 1, 0, 'root', 'init', 'ok', 'audit-entry', 9999999999)")
    document = exported(vault)
    assert [(one["seq"], one["signature"]) for one in document["entries"]] == [(1, None)]
    assert document["stretches"] == []


def test_a_damaged_entry_is_neither_listed_nor_exported(trail: Vault) -> None:
    execute(trail.data, "UPDATE audit SET tenant_id = ? WHERE seq = 3", b"short")
    for look in (audit.listing, audit.export):
        with pytest.raises(DamagedError, match=r"^Entry 3 of the audit trail is damaged") as refused:
            list(look(trail))  # type: ignore[operator]
        assert refused.value.advice.startswith("Run: syncvault audit verify")
