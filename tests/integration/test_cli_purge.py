"""`syncvault purge` tells by its exit code what became of the tenants that were due."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from syncvault.cli.app import run
from syncvault.errors import Exit
from syncvault.roots.file import FileProvider
from syncvault.roots.port import Pending, PrivilegedStepNeededError
from syncvault.vault import tenants
from syncvault.vault.erasing import erasure
from tests.integration.vault_parts import Place, execute, register, rows

LONG_OVER = date(2020, 1, 1)


class Answer(NamedTuple):
    code: int
    document: Any
    talk: str


@pytest.fixture
def now(place: Place) -> Place:
    """A vault in the present: the command line reads the real clock."""
    place.now = datetime.now(UTC)
    return place


@pytest.fixture
def cli(now: Place, capsys: pytest.CaptureFixture[str]) -> Any:
    def ask(*words: str) -> Answer:
        capsys.readouterr()
        code = run(["--home", str(now.home), *words, "--json"])
        said = capsys.readouterr()
        return Answer(code, json.loads(said.out), said.err)

    return ask


def test_it_shows_what_is_due_and_erases_it_when_told_to(now: Place, cli: Any) -> None:
    vault = now.create()
    register(vault, "over", ends=LONG_OVER)
    register(vault, "living", ends=date(2099, 1, 1))
    shown = cli("purge")
    assert (shown.code, [row["done"] for row in shown.document["data"]["items"]]) == (Exit.OK, [False])
    erased = cli("purge", "--yes")
    (row,) = erased.document["data"]["items"]
    assert (erased.code, row["tenant"], row["done"], row["receipt_status"]) == (Exit.OK, "over", True, "final")
    assert [row["name"] for row in cli("tenant", "list").document["data"]["items"]] == ["living"]


def test_one_that_cannot_be_purged_makes_it_partly_done_and_alone_failed(now: Place, cli: Any) -> None:
    vault = now.create()
    register(vault, "over", ends=LONG_OVER)
    damaged = register(vault, "damaged", ends=LONG_OVER)
    execute(vault.data, "UPDATE tenants SET profile = ? WHERE id = ?", b"x" * 200, damaged.id)
    for expected in (Exit.PARTLY, Exit.FAILED):
        answer = cli("purge", "--yes")
        assert answer.code == expected
        assert str(UUID(bytes=damaged.id)) in answer.document["data"]["failures"][0]
        assert "Not purged" in answer.talk
    logged = [row["outcome"] for row in cli("audit", "list").document["data"]["items"] if row["verb"] == "purge"]
    assert sorted(logged) == ["failed:failed", "failed:partial", "ok"]  # ok is what became of the first tenant


def test_an_interim_receipt_is_partly_done(now: Place, cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: FileProvider, generation: int) -> Any:
        raise PrivilegedStepNeededError("Only root can do that.", advice="Run it as root.")

    register(now.create(), "over", ends=LONG_OVER)
    monkeypatch.setattr(FileProvider, "create", refuse)
    answer = cli("purge", "--yes")
    assert (answer.code, answer.document["data"]["items"][0]["receipt_status"]) == (Exit.PARTLY, "interim")
    assert "Only root can do that." in answer.talk


def test_tags_that_were_put_right_are_told_of(now: Place, cli: Any) -> None:
    vault = now.create()
    register(vault, "living", ends=date(2099, 1, 1))
    execute(vault.data, "UPDATE tenants SET purge_at = 1")
    answer = cli("purge", "--yes")
    assert (answer.code, answer.document["data"]["items"]) == (Exit.FINDINGS, [])
    assert cli("purge", "--yes").code == Exit.OK
    assert "purge dates of 1 tenants" in answer.talk


def test_another_day_can_only_be_looked_at(now: Place, cli: Any) -> None:
    register(now.create(), "living", ends=date(2098, 1, 1))
    assert [row["tenant"] for row in cli("purge", "--as-of", "2099-01-01").document["data"]["items"]] == ["living"]
    assert cli("purge", "--as-of", "2099-01-01", "--yes").code == Exit.USAGE


def test_a_term_that_has_ended_is_no_finding_and_a_changed_tag_is(now: Place, cli: Any) -> None:
    now.now = datetime(2026, 1, 1, tzinfo=UTC)
    rolling = register(now.create(), "rolling", ends=date(2026, 2, 15), term="P1M")
    answer = cli("purge", "--yes", "--accept-clock")
    assert (answer.code, answer.document["data"]["repaired"]) == (Exit.OK, 0)
    vault = now.open(datetime.now(UTC))
    assert tenants.find(vault, "rolling").purge_at > rolling.purge_at  # it was moved all the same
    for meddled in (1, 2**40, int(rolling.purge_at.timestamp()) + 3600):
        execute(vault.data, "UPDATE credentials SET purge_at = ?", meddled)
        assert cli("purge", "--yes").code == Exit.FINDINGS
    assert cli("purge", "--yes").code == Exit.OK


def test_an_interim_receipt_outweighs_a_repaired_tag(now: Place, cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    vault = now.create()
    register(vault, "over", ends=LONG_OVER)
    register(vault, "living", ends=date(2099, 1, 1))
    execute(vault.data, "UPDATE credentials SET purge_at = 1")
    monkeypatch.setattr(FileProvider, "destroy", lambda self, handle: Pending("tomorrow"))
    answer = cli("purge", "--yes")
    assert (answer.code, answer.document["data"]["repaired"]) == (Exit.PARTLY, 1)


def test_an_erasure_that_nobody_ordered_is_named_and_holds_up_nobody(now: Place, cli: Any) -> None:
    vault = now.create()
    register(vault, "over", ends=LONG_OVER)
    forged = register(vault, "forged", ends=date(2099, 1, 1))
    execute(vault.data, "UPDATE tenants SET state = 'erasing', erasure = '{}' WHERE id = ?", forged.id)
    shown = cli("purge")
    assert (shown.code, len(shown.document["data"]["failures"])) == (Exit.OK, 1)
    answer = cli("purge", "--yes")
    assert (answer.code, [row["tenant"] for row in answer.document["data"]["items"]]) == (Exit.PARTLY, ["over"])
    assert str(UUID(bytes=forged.id)) in answer.document["data"]["failures"][0]
    assert vault.keys.names_of(forged.id) == ["data/1", "index/1"]
    assert cli("tenant", "delete", "forged", "--yes").code == Exit.OK


@pytest.mark.parametrize(
    "words",
    [
        ("contact", "list", "acme"),
        ("contact", "show", "acme", "7e57d1ec-0000-4000-8000-000000000001"),
        ("contact", "export", "acme", "--format", "vcard", "--out", "OUT"),
        ("credential", "show", "acme"),
        ("credential", "check", "acme"),
        ("credential", "rotate", "acme", "--secret-file", "SECRET"),
        ("source", "list", "acme"),
        ("source", "add", "acme", "--user", "7e57d1ec-0000-4000-8000-000000000001"),
        ("source", "remove", "acme", "7e57d1ec-0000-4000-8000-000000000001"),
        ("sync", "acme"),
        ("tenant", "edit", "acme", "--locale", "de"),
        ("tenant", "cancel", "acme", "--ends", "2030-01-01"),
        ("tenant", "renew", "acme", "--until", "2030-01-01"),
        ("key", "rotate-tenant", "acme"),
    ],
    ids=" ".join,
)
def test_a_tenant_that_is_being_erased_takes_no_other_command(
    now: Place, cli: Any, words: tuple[str, ...], tmp_path: Path
) -> None:
    vault = now.create()
    erasure._fence(vault, register(vault, "acme"), erasure.ON_DEMAND, "root")
    before = rows(vault.data, "tenants")
    (tmp_path / "secret").write_text("s3cr3t")
    places = {"OUT": str(tmp_path / "out"), "SECRET": str(tmp_path / "secret")}
    refused = cli(*(places.get(word, word) for word in words))
    error = refused.document["error"]
    assert (refused.code, error["message"]) == (Exit.FAILED, "The tenant is being erased.")
    assert "purge --yes" in error["advice"]
    assert rows(vault.data, "tenants") == before
    assert not (tmp_path / "out").exists()


def test_a_tenant_that_is_being_erased_shows_nothing_and_is_finished_by_the_purge(now: Place, cli: Any) -> None:
    vault = now.create()
    erasure._fence(vault, register(vault, "acme"), erasure.ON_DEMAND, "root")
    shown = cli("tenant", "show", "acme", "--reveal")
    assert "example" not in json.dumps(shown.document)
    (listed,) = cli("tenant", "list").document["data"]["items"]
    assert (listed["name"], listed["state"]) == (None, "erasing")
    assert cli("sync", "--all").document["data"]["items"] == []
    assert cli("purge", "--yes").document["data"]["items"][0]["reason"] == "on-demand"
