"""The audit trail at a shell: who did what, whether it is still what was written, and what happens without it."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.acceptance.conftest import Answer, Shell
from tests.simulators.company.cast import NILS
from tests.simulators.online.server import OnlineSimulator

KEYS = {"seq", "at", "uid", "role", "verb", "tenant_id", "outcome"}

REFUSE = "CREATE TRIGGER refuse BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no'); END"


def meddle(shell: Shell, statement: str, *values: Any, database: str = "vault.db") -> None:
    with closing(sqlite3.connect(shell.home / database)) as connection:
        connection.execute(statement, values)
        connection.commit()


def verify(shell: Shell) -> tuple[int, list[tuple[int | None, str]]]:
    answer = shell("audit", "verify", "--json")
    found = [(one["seq"], one["finding"]) for one in answer.items if one["finding"] != "journal"]
    return answer.code, found


def trail(shell: Shell) -> list[Any]:
    found: list[Any] = shell.did("audit", "list", "--json").items
    return found


@pytest.fixture
def busy(vault: Shell, online: OnlineSimulator) -> Shell:
    """A vault with a tenant and some history."""
    vault.add_online(online)
    vault.did("tenant", "show", "cloud", "--reveal")
    return vault


def test_entries_tell_who_did_what_to_which_tenant_and_nothing_personal(busy: Shell) -> None:
    entries = trail(busy)
    assert all(set(entry) == KEYS for entry in entries)
    assert {(entry["uid"], entry["role"]) for entry in entries} == {
        (os.getuid(), "root" if os.geteuid() == 0 else "user")
    }
    assert "example.com" not in json.dumps(entries)


def test_an_untouched_trail_verifies(busy: Shell) -> None:
    answer = busy("audit", "verify", "--json")
    assert (answer.code, answer.data["checked"], answer.items) == (0, 3, [])
    assert busy.did("audit", "verify").out == "All 3 entries are as they were written.\n"


def test_a_failed_sync_has_another_outcome_than_one_that_did_not(busy: Shell, online: OnlineSimulator) -> None:
    busy.did("sync", "cloud")
    busy.did("source", "add", "cloud", "--user", NILS)
    online.stop()
    assert busy("sync", "cloud").code == 1
    outcomes = [entry["outcome"] for entry in trail(busy) if entry["verb"] == "sync"]
    assert outcomes == ["failed:failed", "ok"]


@pytest.mark.parametrize(
    ("statement", "seq"),
    [
        ("UPDATE audit SET outcome = 'failed:input' WHERE seq = 2", 2),
        ("DELETE FROM audit WHERE seq = 1", 1),
        ("DELETE FROM audit WHERE seq = 3", 3),
        ("DELETE FROM audit", 1),
    ],
)
def test_what_was_done_to_the_trail_is_told_with_exit_4(busy: Shell, statement: str, seq: int) -> None:
    meddle(busy, statement)
    code, found = verify(busy)
    assert (code, found[0][0]) == (4, seq)
    text = busy("audit", "verify")
    assert text.code == 4
    assert f"{seq}" in text.out
    busy.did("tenant", "show", "cloud", "--reveal")  # what is written later does not cover it
    assert verify(busy)[0] == 4


def test_removed_keys_are_told_with_exit_4_and_doctor_knows(busy: Shell) -> None:
    meddle(busy, "DELETE FROM wrapped_keys WHERE purpose = 'audit'", database="keys.db")
    assert verify(busy) == (4, [(None, "key")])
    checks = {one["check"]: one["result"] for one in busy("doctor", "--json").items}
    assert checks["audit trail"] == "fail"


def test_nothing_runs_unlogged(busy: Shell, tmp_path: Path) -> None:
    contact = tmp_path / "contacts.json"
    meddle(busy, REFUSE)
    before = len(trail(busy))
    for argv in (
        ["tenant", "show", "cloud", "--reveal"],
        ["tenant", "edit", "cloud", "--customer-number", "K-9"],
        ["source", "add", "cloud", "--user", "00000000-0000-4000-8000-000000000001"],
        ["contact", "export", "cloud", "--format", "json", "--out", str(contact)],
        ["sync", "--all"],
        ["audit", "export", "--out", str(contact)],
    ):
        answer = busy(*argv, "--json")
        assert (answer.code, answer.error["code"]) == (1, "unlogged"), argv
    assert not contact.exists()
    assert len(trail(busy)) == before
    shown = busy.did("tenant", "show", "cloud", "--json").data
    assert (shown["customer_number"], shown["sources"]) == ("", 0)


def test_erasing_alone_goes_on_without_the_trail_and_says_so(busy: Shell) -> None:
    meddle(busy, REFUSE)
    answer = busy("tenant", "delete", "cloud", "--yes", "--json")
    assert (answer.code, answer.data["done"]) == (0, True)
    assert "audit entry could not be written" in answer.err
    assert busy.did("tenant", "list", "--json").items == []


def test_a_purge_goes_on_without_the_trail_and_says_so(busy: Shell) -> None:
    busy.did("tenant", "cancel", "cloud", "--ends", "2020-01-01")
    meddle(busy, REFUSE)
    answer = busy("purge", "--yes", "--json")
    assert (answer.code, len(answer.items)) == (0, 1)
    assert "audit entry could not be written" in answer.err


def test_an_export_is_for_the_owner_alone_is_logged_and_overwrites_nothing(busy: Shell, tmp_path: Path) -> None:
    out = tmp_path / "trail.json"
    busy.did("audit", "export", "--out", str(out))
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert trail(busy)[0]["verb"] == "audit export"
    assert busy("audit", "export", "--out", str(out)).code == 1


def test_a_stranger_can_verify_an_export_with_no_secret(busy: Shell, tmp_path: Path) -> None:
    out = tmp_path / "trail.json"
    busy.did("audit", "export", "--out", str(out))
    exported = json.loads(out.read_text())
    assert _strangers_check(exported) == [1, 2, 3]
    exported["entries"][1]["outcome"] = "failed:input"
    with pytest.raises(InvalidSignature):
        _strangers_check(exported)


def _strangers_check(exported: Any) -> list[int]:
    """What docs/FORMAT.md says about an export, written from that text."""
    assert exported["format"] == "syncvault-audit v1"
    checked = []
    for stretch in exported["stretches"]:
        key, before = stretch["first_key"], stretch["before"]
        for entry in exported["entries"]:
            if not stretch["first_seq"] <= entry["seq"] <= stretch["last_seq"]:
                continue
            signature = bytes.fromhex(entry["signature"])
            document = {name: value for name, value in entry.items() if name != "signature"} | {"before": before}
            text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(signature, b"syncvault/audit/1\0" + text)
            key, before = entry["next_key"], entry["signature"]
            checked.append(entry["seq"])
        assert before == stretch["last_signature"]
    return checked


def test_a_journal_that_cannot_be_read_is_said(busy: Shell, tmp_path: Path) -> None:
    answer: Answer = busy("audit", "verify", PATH=str(tmp_path))
    assert answer.code == 0
    assert "The journal was not compared: journalctl cannot be run" in answer.err
