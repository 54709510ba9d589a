"""What a command did or showed is logged once, whatever became of it."""

from __future__ import annotations

from typing import Any, cast

import pytest

from syncvault.cli.audited import Entry, audited, write_if_possible
from syncvault.errors import NotFoundError, StorageError
from syncvault.vault import audit
from syncvault.vault.vault import Vault

VAULT = cast("Vault", object())
TENANT = bytes(16)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    written: list[dict[str, Any]] = []
    monkeypatch.setattr(audit, "record", lambda vault, **entry: written.append(entry))
    return written


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(vault: Vault, **entry: object) -> None:
        raise StorageError("The disk is full.")

    monkeypatch.setattr(audit, "record", fail)


def test_a_command_that_went_well_is_logged_as_ok(log: list[dict[str, Any]]) -> None:
    with audited(VAULT, "tenant edit") as entry:
        entry.tenant_id = TENANT
    assert log == [{"verb": "tenant edit", "tenant_id": TENANT, "outcome": "ok"}]


def test_a_disclosure_is_logged_before_it_is_made_and_only_once(log: list[dict[str, Any]]) -> None:
    with audited(VAULT, "contact show", tenant_id=TENANT) as entry:
        entry.write()
        assert len(log) == 1
    assert len(log) == 1


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        (NotFoundError("No."), "failed:not-found"),
        (KeyboardInterrupt(), "failed:interrupted"),
        (BrokenPipeError(), "failed:interrupted"),
        (ValueError("x"), "failed:internal"),
    ],
)
def test_a_failure_is_logged_with_its_code(failure: BaseException, outcome: str, log: list[dict[str, Any]]) -> None:
    with pytest.raises(type(failure)), audited(VAULT, "tenant edit"):
        raise failure
    assert [entry["outcome"] for entry in log] == [outcome]


@pytest.mark.usefixtures("broken")
def test_what_cannot_be_logged_is_not_shown() -> None:
    entry = Entry(VAULT, "contact show")
    with pytest.raises(StorageError):
        entry.write()
    assert not entry.is_written


@pytest.mark.usefixtures("broken")
def test_a_failure_matters_more_than_its_log_entry(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NotFoundError), audited(VAULT, "tenant edit"):
        raise NotFoundError("No.")
    assert "The audit entry could not be written: The disk is full." in capsys.readouterr().err


@pytest.mark.usefixtures("broken")
def test_what_cannot_be_taken_back_goes_on_without_a_log_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    write_if_possible(Entry(VAULT, "tenant delete"))
    assert "could not be written" in capsys.readouterr().err
