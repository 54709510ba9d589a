"""What a command did or showed is logged once, whatever became of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from syncvault.cli.audited import Entry, UnloggedError, audited, write_after, write_if_possible
from syncvault.errors import BusyError, Exit, NotFoundError, RootKeyError, StorageError, SyncvaultError
from syncvault.vault.trail import audit
from syncvault.vault.vault import Vault

VAULT = cast("Vault", object())
TENANT = bytes(16)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    written: list[dict[str, Any]] = []
    monkeypatch.setattr(audit, "record", lambda vault, **entry: written.append(entry))
    monkeypatch.setattr(audit, "require_writable", lambda vault, **entry: None)
    return written


def _fail(vault: Vault, **entry: object) -> None:
    raise StorageError("The disk is full.")


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up while the command is at work."""
    monkeypatch.setattr(audit, "record", _fail)
    monkeypatch.setattr(audit, "require_writable", lambda vault, **entry: None)


@pytest.fixture
def broken(full: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trail that takes no entry."""
    monkeypatch.setattr(audit, "require_writable", _fail)


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
def test_a_command_that_cannot_be_logged_does_not_run() -> None:
    has_run = False
    with pytest.raises(UnloggedError, match=r"Nothing was done.*The disk is full") as refusal, audited(VAULT, "sync"):
        has_run = True
    assert (has_run, refusal.value.exit_code) == (False, Exit.FAILED)


@pytest.mark.parametrize("reason", [BusyError("Busy."), RootKeyError("Gone.")])
def test_what_is_not_wrong_with_the_log_is_not_blamed_on_it(
    reason: SyncvaultError, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(vault: Vault, **entry: object) -> None:
        raise reason

    monkeypatch.setattr(audit, "require_writable", refuse)
    with pytest.raises(type(reason)), audited(VAULT, "sync"):
        pass


@pytest.mark.usefixtures("broken")
def test_erasing_goes_on_without_a_log_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    has_run = False
    with audited(VAULT, "tenant delete", may_go_unlogged=True):
        has_run = True
    assert has_run
    assert "could not be written: The disk is full. It was done all the same." in capsys.readouterr().err


@pytest.mark.usefixtures("full")
def test_what_cannot_be_logged_is_not_shown() -> None:
    entry = Entry(VAULT, "contact show")
    with pytest.raises(StorageError):
        entry.write()
    assert not entry.is_written


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("finish", [write_after, lambda entry: None])
def test_a_command_that_could_not_be_logged_afterwards_says_that_it_was_done(
    capsys: pytest.CaptureFixture[str], finish: Callable[[Entry], None]
) -> None:
    with pytest.raises(UnloggedError, match="It was done, but"), audited(VAULT, "tenant edit") as entry:
        finish(entry)
    assert capsys.readouterr().err == ""  # once is enough


@pytest.mark.usefixtures("full")
def test_a_failure_matters_more_than_its_log_entry(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NotFoundError), audited(VAULT, "tenant edit"):
        raise NotFoundError("No.")
    assert "The audit entry could not be written: The disk is full." in capsys.readouterr().err


@pytest.mark.usefixtures("full")
def test_what_cannot_be_taken_back_goes_on_without_a_log_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    write_if_possible(Entry(VAULT, "init"))
    assert "could not be written" in capsys.readouterr().err
