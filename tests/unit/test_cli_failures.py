"""Every failure is a sentence and an advice, or an error object, with its own exit code; never a traceback."""

from __future__ import annotations

import json
from typing import Any

import pytest
import typer

from syncvault import errors
from syncvault.__main__ import main
from syncvault.cli import status
from syncvault.cli.call import AsJson
from syncvault.errors import SyncvaultError, UsageError

OURS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SyncvaultError)]
SECRET = "hunter2-in-a-foreign-exception"


def run_with(monkeypatch: pytest.MonkeyPatch, failure: BaseException, *options: str, end: tuple[str, ...] = ()) -> int:
    """Runs `status` with a body that fails."""
    app = typer.Typer(rich_markup_mode=None)

    @app.command()
    def fail(as_json: AsJson = False) -> None:
        raise failure

    monkeypatch.setattr(status, "app", app)
    return main([*options, "status", *end])


@pytest.mark.parametrize("kind", OURS)
def test_an_error_of_ours_is_two_lines_and_its_exit_code(
    kind: type[SyncvaultError], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_with(monkeypatch, kind("It does not work.", advice="Do this.")) == kind.exit_code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "Error: It does not work.\n  Do this.\n"


def test_in_json_the_error_is_on_stdout(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_with(monkeypatch, UsageError("No.", advice="Yes."), end=("--json",)) == 2
    assert json.loads(capsys.readouterr().out) == {
        "schema": "syncvault/1",
        "command": "status",
        "error": {"code": "usage", "message": "No.", "advice": "Yes."},
    }


@pytest.mark.parametrize(
    ("failure", "code", "said"),
    [
        (PermissionError(13, "Permission denied", "/srv/x"), 1, "/srv/x: Permission denied."),
        (OSError(28, "No space left on device"), 1, "No space left on device."),
        (KeyboardInterrupt(), 130, "Interrupted."),
        (EOFError(), 130, "Interrupted."),
        (ValueError(SECRET), 1, "ValueError"),
    ],
)
def test_a_foreign_failure_is_a_sentence_too(
    failure: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_with(monkeypatch, failure) == code
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert SECRET not in error


def test_debug_shows_where_it_failed_and_not_what_foreign_exceptions_say(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failure = SyncvaultError("It does not work.")
    failure.__cause__ = ValueError(SECRET)
    run_with(monkeypatch, failure, "--debug")
    error = capsys.readouterr().err
    assert "raise failure" in error
    assert "builtins.ValueError" in error
    assert SECRET not in error


def test_an_error_cannot_steer_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_with(monkeypatch, SyncvaultError("a\x1b[2Jb"))
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "message", "advice"),
    [
        (["tenat", "list"], "There is no such command.", "Did you mean `syncvault tenant`?"),
        (["xyzzy"], "There is no such command.", "Run: syncvault --help"),
        (["tenant", "shwo", "acme"], "No such command 'shwo'. Did you mean 'show'?", "Run: syncvault tenant --help"),
        (["tenant", "show"], "Missing argument 'NAME'.", "Give it like acme-berlin"),
        (["tenant", "cancel", "acme"], "Missing option '--ends'.", "Give it like --ends 2027-12-31"),
        (["tenant", "show", "acme", "--revael"], "No such option: --revael", "Run: syncvault tenant show --help"),
        (["sync", "acme", "--mailboxes", "0"], "Invalid value for '--mailboxes'", "Run: syncvault sync --help"),
        (["sync", "acme", "--mailboxes", "many"], "Invalid value for '--mailboxes'", "Run: syncvault sync --help"),
        (["sync"], "No tenant was named.", "syncvault sync --all"),
        (["sync", "acme", "--all"], "Tenants and --all exclude each other.", "syncvault sync --all"),
        (["purge", "--yes", "--as-of", "2027-01-01"], "--as-of only previews", "Leave one of them out."),
        (["tenant", "list", "--state", "dead"], "--state is not one of those known", "active, cancelled"),
    ],
)
def test_wrong_usage_exits_2_and_shows_the_way_on(
    argv: list[str], message: str, advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*argv, "--json"]) == 2
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert document["error"]["code"] == "usage"
    assert message in document["error"]["message"]
    assert advice in document["error"]["advice"]
    assert main(argv) == 2
    assert capsys.readouterr().err.startswith("Error: ")


def test_a_noun_alone_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tenant"]) == 2
    assert capsys.readouterr().err == "Error: Missing command.\n  Run: syncvault tenant --help\n"


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (["--home", "x", "tenant", "add-online"], "tenant add-online"),
        (["--passphrase-file", "-", "init"], "init"),
        (["sync", "acme"], "sync"),
    ],
)
def test_a_refusal_names_the_command_though_it_could_not_be_parsed(
    argv: list[str], command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main([*argv, "--no-such-option", "--json"])
    assert json.loads(capsys.readouterr().out)["command"] == command


def test_nobody_reading_is_no_failure_to_complain_about(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("syncvault.cli.failures.silence_stdout", lambda: None)
    assert run_with(monkeypatch, BrokenPipeError(32, "Broken pipe")) == 1
    assert capsys.readouterr().err == ""
