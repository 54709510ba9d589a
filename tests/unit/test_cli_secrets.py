"""Secrets come from files, standard input and prompts, whole but for one line break, and in no message."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from syncvault.cli import secrets_in
from syncvault.config import STDIN
from syncvault.errors import InputError, RootKeyError, SyncvaultError, UsageError


def feed(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"pass", b"pass"),
        (b"pass\n", b"pass"),
        (b"pass\r\n", b"pass"),
        (b"pass\n\n", b"pass\n"),
        (b"pass\r", b"pass\r"),
        (b" pass ", b" pass "),
        ("pässwörd🔑\n".encode(), "pässwörd🔑".encode()),
    ],
)
def test_exactly_one_line_break_is_dropped(
    content: bytes, secret: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "s").write_bytes(content)
    assert secrets_in.secret_from_file(tmp_path / "s", "--secret-file").reveal() == secret
    feed(monkeypatch, content)
    assert secrets_in.secret_from_file(STDIN, "--secret-file").reveal() == secret


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n", b" ", b"\t\n\n"])
def test_nothing_is_no_secret(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(content)
    with pytest.raises(InputError, match="is empty"):
        secrets_in.secret_from_file(tmp_path / "s", "--secret-file")


@pytest.mark.parametrize("content", [b"caf\xe9-secret", b"x" * (secrets_in.SECRET_LIMIT + 1)])
def test_what_cannot_be_a_secret_is_refused_without_being_repeated(
    content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed(monkeypatch, content)
    with pytest.raises(InputError) as caught:
        secrets_in.secret_from_stdin("--secret-stdin")
    assert "caf" not in caught.value.message
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_files_that_are_missing_unreadable_or_too_large_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(11))
    cases: list[tuple[Path, type[SyncvaultError], str]] = [
        (tmp_path / "none", UsageError, "does not exist"),
        (tmp_path, InputError, "cannot be read: Is a directory"),
        (tmp_path / "large", InputError, "too large"),
    ]
    for path, kind, said in cases:
        with pytest.raises(kind, match=said):
            secrets_in.read_file(path, "--certificate", limit=10)


def test_a_passphrase_is_asked_for_twice_when_it_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = iter(["one", "one", "one", "two", "three"])
    monkeypatch.setattr(secrets_in, "can_ask", lambda: True)
    monkeypatch.setattr("getpass.getpass", lambda question: next(typed))
    assert secrets_in.passphrase(None, confirm=True).reveal() == b"one"
    with pytest.raises(InputError, match="differ"):
        secrets_in.passphrase(None, confirm=True)
    assert secrets_in.passphrase(None, confirm=False).reveal() == b"three"


def test_without_a_terminal_a_passphrase_needs_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    feed(monkeypatch, b"")
    with pytest.raises(RootKeyError) as caught:
        secrets_in.passphrase(None, confirm=False)
    assert "--passphrase-file" in caught.value.advice


def test_an_empty_standard_input_is_no_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    feed(monkeypatch, b"\n")
    with pytest.raises(RootKeyError):
        secrets_in.passphrase(STDIN, confirm=False)
    feed(monkeypatch, b"\n")
    with pytest.raises(InputError, match="empty"):
        secrets_in.passphrase(STDIN, confirm=True)
