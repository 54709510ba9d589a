"""The head of the trail in the systemd journal: sent in its protocol, compared with what `journalctl` remembers.

The socket is a real one, with the test at its other end. No journal runs where tests do, so `journalctl` is a program
that prints what the datagrams would have become.
"""

from __future__ import annotations

import json
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from uuid import UUID

import pytest

from syncvault import journal
from syncvault.vault.trail import audit
from syncvault.vault.vault import Vault
from tests.integration.vault_parts import NOW, execute

Sent = dict[str, str]


class Journal:
    """The other end of the socket, and what `journalctl` makes of what came through it."""

    def __init__(self, folder: Path, receiver: socket.socket) -> None:
        self._folder, self._receiver = folder, receiver
        self.entries: list[Sent] = []

    def receive(self) -> list[Sent]:
        """What was sent since the last time."""
        fresh = []
        while True:
            try:
                datagram = self._receiver.recv(65536).decode()
            except BlockingIOError:
                break
            fresh.append(dict(line.split("=", 1) for line in datagram.splitlines()))
        self.entries += fresh
        return fresh

    def fill(self) -> None:
        """Leaves no room for another datagram."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    sender.sendto(b"MESSAGE=Full.\n", self._receiver.getsockname())

    def program(self, *, at: float = NOW.timestamp(), code: int = 0) -> str:
        """A `journalctl` that remembers everything received; its arguments are kept beside it."""
        self.receive()
        stamped = [{"__REALTIME_TIMESTAMP": str(int(at * 1_000_000)), **entry} for entry in self.entries]
        output, program = self._folder / "output", self._folder / "journalctl"
        output.write_text("".join(json.dumps(entry) + "\n" for entry in stamped))
        program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >"{self._folder}/arguments"\ncat "{output}"\nexit {code}\n')
        program.chmod(stat.S_IRWXU)
        return str(program)

    def arguments(self) -> list[str]:
        return (self._folder / "arguments").read_text().splitlines()


@pytest.fixture
def listening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Journal]:
    path = tmp_path / "socket"
    monkeypatch.setattr(journal, "SOCKET", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(path))
        receiver.setblocking(False)
        yield Journal(tmp_path, receiver)


def record(vault: Vault, *verbs: str) -> None:
    for verb in verbs:
        audit.record(vault, verb=verb, tenant_id=None, outcome="ok")


def findings(vault: Vault, program: str) -> list[tuple[int | None, str]]:
    return [(one.seq, one.finding) for one in audit.verify(vault, program=program).findings]


def sentences(vault: Vault, program: str) -> list[str]:
    return [one.message for one in audit.verify(vault, program=program).findings]


def test_every_entry_is_sent_with_its_number_and_signature(vault: Vault, listening: Journal) -> None:
    record(vault, "init")
    with vault.data.read() as tx:
        signature: bytes = tx.exec_driver_sql("SELECT signature FROM audit").scalar_one()
    assert listening.receive() == [
        {
            "MESSAGE": "Audit entry 1 was written: init, ok.",
            "PRIORITY": "6",
            "SYSLOG_IDENTIFIER": "syncvault",
            "SYNCVAULT_VAULT": str(UUID(bytes=vault.id)),
            "SYNCVAULT_AUDIT_SEQ": "1",
            "SYNCVAULT_AUDIT_SIGNATURE": bytes(signature).hex(),
        }
    ]


def test_a_rehearsal_sends_nothing(vault: Vault, listening: Journal) -> None:
    audit.require_writable(vault, verb="sync")
    assert listening.receive() == []


def test_a_journal_that_is_full_holds_up_nobody(listening: Journal) -> None:
    listening.fill()
    posting = Thread(target=journal.post, args=("One more.", {}), daemon=True)
    posting.start()
    posting.join(10)
    assert not posting.is_alive()


def test_a_journal_that_is_not_there_or_is_full_fails_no_command(
    vault: Vault, listening: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    listening.fill()
    record(vault, "init")
    monkeypatch.setattr(journal, "SOCKET", Path("/nowhere/socket"))
    record(vault, "sync")
    assert [entry.seq for entry in audit.listing(vault)] == [2, 1]


def test_the_journal_agrees_with_an_untouched_trail(vault: Vault, listening: Journal) -> None:
    record(vault, "init", "sync", "sync")
    report = audit.verify(vault, program=listening.program())
    assert (report.findings, report.journal.compared, report.journal.why_not) == ((), 3, "")


def test_a_journal_of_several_pages_is_compared_to_its_end(
    vault: Vault, listening: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syncvault.vault.trail.audit_check._PAGE", 2)
    record(vault, "init", "sync", "sync")
    assert audit.verify(vault, program=listening.program()).journal.compared == 3


def test_the_first_entry_is_missed_too_and_findings_end_where_they_may(
    vault: Vault, listening: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(vault, "init", "sync", "sync")
    execute(vault.data, "DELETE FROM audit WHERE seq = 1")
    assert findings(vault, listening.program()) == [(1, "missing"), (1, "journal")]
    monkeypatch.setattr("syncvault.vault.trail.audit_check._MOST_FINDINGS", 1)
    assert findings(vault, listening.program()) == [(1, "missing")]


def test_only_this_vaults_entries_written_by_its_owner_or_root_are_asked_for(vault: Vault, listening: Journal) -> None:
    record(vault, "init")
    audit.verify(vault, program=listening.program())
    assert {
        "--output=json",
        "SYSLOG_IDENTIFIER=syncvault",
        f"SYNCVAULT_VAULT={UUID(bytes=vault.id)}",
        "_UID=0",
        f"_UID={vault.layout.home.stat().st_uid}",
    } <= set(listening.arguments())
    users = {argument for argument in listening.arguments() if argument.startswith("_UID=")}
    assert users == {f"_UID={uid}" for uid in (0, vault.layout.home.stat().st_uid)}


def test_a_trail_set_back_together_with_its_key_store_shows_in_the_journal(vault: Vault, listening: Journal) -> None:
    record(vault, "init")
    older = _key_state(vault)
    record(vault, "contact export")
    execute(vault.data, "DELETE FROM audit WHERE seq = 2")
    _put_back(vault, older)
    assert findings(vault, "/nowhere/journalctl") == []  # nothing else can know
    assert findings(vault, listening.program()) == [(2, "journal")]
    assert sentences(vault, listening.program()) == ["The journal remembers, and the table lacks, entry 2."]
    record(vault, "tenant show")
    assert findings(vault, listening.program()) == [(2, "journal")]
    assert sentences(vault, listening.program()) == ["The journal holds another entry 2."]


def test_what_was_pruned_is_not_missed(vault: Vault, listening: Journal) -> None:
    record(vault, "init", "sync")
    vault.now = NOW.replace(year=NOW.year + 2)
    audit.prune(vault)
    assert findings(vault, listening.program()) == []


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_what_a_restore_cut_off_is_not_missed(vault: Vault, listening: Journal, kept: int) -> None:
    record(vault, "init", "sync", "sync")
    execute(vault.data, "DELETE FROM audit WHERE seq > ?", kept)
    audit.begin_segment(vault)
    record(vault, "restore")
    report = audit.verify(vault, program=listening.program())
    assert (report.findings, report.journal.compared) == ((), kept + 1)


def test_numbers_that_an_older_key_store_uses_again_are_told_apart_by_time(vault: Vault, listening: Journal) -> None:
    record(vault, "init")
    older = _key_state(vault)
    record(vault, "sync")
    execute(vault.data, "DELETE FROM audit WHERE seq = 2")
    _put_back(vault, older)
    audit.begin_segment(vault)
    (_, lost) = listening.receive()
    record(vault, "restore")
    assert [entry.seq for entry in audit.listing(vault)] == [2, 1]
    assert findings(vault, listening.program()) == [(2, "journal")]
    lost["__REALTIME_TIMESTAMP"] = str(int(NOW.timestamp() - 1) * 1_000_000)
    assert findings(vault, listening.program()) == []


def _key_state(vault: Vault) -> list[tuple[object, ...]]:
    with vault.key_data.read() as keys:
        pins = keys.exec_driver_sql("SELECT last_seq, last_signature FROM audit_segments").one()
        blob = keys.exec_driver_sql("SELECT blob FROM wrapped_keys WHERE purpose = 'audit'").one()
    return [tuple(pins), tuple(blob)]


def _put_back(vault: Vault, state: list[tuple[object, ...]]) -> None:
    pins, blob = state
    execute(vault.key_data, "UPDATE audit_segments SET last_seq = ?, last_signature = ?", *pins)
    execute(vault.key_data, "UPDATE wrapped_keys SET blob = ? WHERE purpose = 'audit'", *blob)


@pytest.mark.parametrize(
    ("entry", "compared"),
    [
        ({"SYNCVAULT_AUDIT_SEQ": "one", "SYNCVAULT_AUDIT_SIGNATURE": "00"}, 1),
        ({"SYNCVAULT_AUDIT_SEQ": "1"}, 1),
        ({"SYNCVAULT_AUDIT_SEQ": "1", "SYNCVAULT_AUDIT_SIGNATURE": "no hex"}, 1),
        ({"SYNCVAULT_AUDIT_SEQ": "-1", "SYNCVAULT_AUDIT_SIGNATURE": "00"}, 1),
    ],
)
def test_journal_entries_of_another_form_are_passed_over(
    vault: Vault, listening: Journal, entry: Sent, compared: int
) -> None:
    record(vault, "init")
    listening.entries.append(entry)
    report = audit.verify(vault, program=listening.program())
    assert (report.findings, report.journal.compared) == ((), compared)


def test_a_journal_that_cannot_be_read_is_said_and_is_no_finding(vault: Vault, listening: Journal) -> None:
    record(vault, "init")
    unreadable = audit.verify(vault, program="/nowhere/journalctl").journal
    assert (unreadable.compared, unreadable.why_not[:27]) == (0, "/nowhere/journalctl cannot ")
    assert "ended with 1" in audit.verify(vault, program=listening.program(code=1)).journal.why_not
    Path(listening.program()).with_name("output").write_text("Hint: no.\n")
    report = audit.verify(vault, program=str(Path(listening.program()).parent / "journalctl"))
    assert report.findings == ()
