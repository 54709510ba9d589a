"""`syncvault receipt`: verified by anybody, finalized by the vault, and what each of the two says by its exit code."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from syncvault.cli.app import run
from syncvault.errors import Exit
from syncvault.roots.file import FileProvider
from syncvault.roots.port import Pending
from syncvault.store import audit as audit_rows
from tests.integration.vault_parts import Place, register


class Answer(NamedTuple):
    code: int
    document: Any
    talk: str

    @property
    def data(self) -> Any:
        return self.document["data"]


class Shell:
    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.home, self._capsys = home, capsys

    def __call__(self, *words: object) -> Answer:
        self._capsys.readouterr()
        code = run(["--home", str(self.home), *map(str, words), "--json"])
        said = self._capsys.readouterr()
        return Answer(code, json.loads(said.out), said.err)


@pytest.fixture
def now(place: Place) -> Place:
    """A vault in the present: the command line reads the real clock."""
    place.now = datetime.now(UTC)
    return place


@pytest.fixture
def cli(now: Place, capsys: pytest.CaptureFixture[str]) -> Shell:
    register(now.create(), "acme")
    return Shell(now.home, capsys)


@pytest.fixture
def interim(cli: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An interim receipt, whose reason has ended since."""
    receipt = tmp_path / "interim.json"
    with monkeypatch.context() as patch:
        patch.setattr(FileProvider, "destroy", lambda self, handle: Pending("the 1st of July"))
        erased = cli("tenant", "delete", "acme", "--yes", "--receipt", receipt)
    assert (erased.code, erased.data["receipt_status"]) == (Exit.PARTLY, "interim")
    return receipt


def test_a_receipt_is_verified_with_this_vaults_key_or_with_any_other(
    cli: Shell, interim: Path, tmp_path: Path
) -> None:
    public = tmp_path / "key.pem"
    public.write_text(cli("receipt", "public-key").data["receipt_public_key"])
    for words in ((), ("--public-key", public)):
        answer = cli("receipt", "verify", interim, *words)
        assert (answer.code, answer.data["valid"], answer.data["status"]) == (Exit.OK, True, "interim")
        assert answer.data["outstanding"] == ["root key generation 1: pending until the 1st of July"]


def test_with_the_key_at_hand_no_vault_is_needed_and_none_is_made(
    cli: Shell, interim: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    public = tmp_path / "key.pem"
    public.write_text(cli("receipt", "public-key").data["receipt_public_key"])
    nowhere = Shell(tmp_path / "nowhere", capsys)
    assert nowhere("receipt", "verify", interim, "--public-key", public).code == Exit.OK
    assert not nowhere.home.exists()
    assert nowhere("receipt", "verify", interim).code == Exit.NO_VAULT
    assert not nowhere.home.exists()


def test_a_changed_receipt_and_another_vaults_are_findings(
    cli: Shell, interim: Path, now: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forged = tmp_path / "forged.json"
    forged.write_text(interim.read_text().replace('"interim"', '"final"'))
    for verb, more in (("verify", ()), ("finalize", ("--out", tmp_path / "out.json"))):
        answer = cli("receipt", verb, forged, *more)
        assert (answer.code, answer.data["valid"], answer.data["tenant_id"]) == (Exit.FINDINGS, False, None)
    other = Shell(tmp_path / "other", capsys)
    made = other("init", "--root-key", "file", "--root-key-file", tmp_path / "other.key")
    assert made.code == Exit.OK
    assert other("receipt", "verify", interim).code == Exit.FINDINGS
    assert other("receipt", "finalize", interim, "--out", tmp_path / "out.json").code == Exit.FINDINGS
    assert not (tmp_path / "out.json").exists()


def test_while_something_is_outstanding_nothing_is_written(
    cli: Shell, interim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FileProvider, "destroy", lambda self, handle: Pending("the 1st of August"))
    out = tmp_path / "final.json"
    kept = {path: path.read_bytes() for path in (cli.home / "receipts").iterdir()}
    answer = cli("receipt", "finalize", interim, "--out", out)
    assert (answer.code, answer.data["status"], answer.data["receipt"]) == (Exit.PARTLY, "interim", None)
    assert answer.data["outstanding"] == ["root key generation 1: pending until the 1st of August"]
    assert "1st of August" in answer.talk
    assert not out.exists()
    assert {path: path.read_bytes() for path in (cli.home / "receipts").iterdir()} == kept


def test_afterwards_the_final_receipt_is_written_for_the_owner_alone(
    cli: Shell, interim: Path, now: Place, tmp_path: Path
) -> None:
    out = tmp_path / "final.json"
    answer = cli("receipt", "finalize", interim, "--out", out)
    assert (answer.code, answer.data["status"], answer.data["receipt"]) == (Exit.OK, "final", str(out))
    assert out.stat().st_mode & 0o777 == 0o600
    verified = cli("receipt", "verify", out)
    assert (verified.code, verified.data["status"], verified.data["outstanding"]) == (Exit.OK, "final", [])
    again = cli("receipt", "finalize", out, "--out", tmp_path / "again.json")
    assert (again.code, again.data["status"]) == (Exit.OK, "final")
    assert (tmp_path / "again.json").read_bytes() == out.read_bytes()
    assert cli("receipt", "finalize", interim, "--out", out).code == Exit.FAILED  # nothing is overwritten
    with now.opened[0].read() as tx:
        latest = audit_rows.list_latest(tx, limit=3)
    assert ("receipt finalize", "ok") in [(row.verb, row.outcome) for row in latest]


def test_the_purge_makes_it_final_too(cli: Shell, interim: Path) -> None:
    answer = cli("purge", "--yes")
    assert (answer.code, answer.data["items"]) == (Exit.OK, [])
    assert [row["receipt_status"] for row in answer.data["finished"]] == ["final"]
    assert "is final now" in answer.talk


def test_the_file_is_written_anew_when_asked_and_the_receipt_says_so(cli: Shell, now: Place, tmp_path: Path) -> None:
    receipt = tmp_path / "receipt.json"
    assert cli("tenant", "delete", "acme", "--yes", "--vacuum", "--receipt", receipt).code == Exit.OK
    storage = json.loads(receipt.read_text())["statement"]["storage"]
    expected = "VACUUM" if now.opened[0].data.dialect == "sqlite" else "rewritten without deleted rows"
    assert any(expected in sentence for sentence in storage)


def test_a_receipt_counts_every_class_and_names_nobody(cli: Shell, tmp_path: Path) -> None:
    receipt = tmp_path / "receipt.json"
    cli("tenant", "delete", "acme", "--yes", "--receipt", receipt)
    statement = json.loads(receipt.read_text())["statement"]
    assert statement["counts"] == {
        "profiles": 1,
        "credentials": 1,
        "sources": 0,
        "mailboxes": 0,
        "folders": 0,
        "contacts": 0,
        "photos": 0,
        "checkpoints": 0,
    }
    assert statement["requested_by"] in {"root", "service", "user"}
    assert "acme" not in receipt.read_text()
