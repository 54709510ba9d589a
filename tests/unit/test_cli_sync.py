"""A sync's exit code says how its tenants fared; its progress suits who is watching."""

from __future__ import annotations

import io
import re
import sys

import pytest

from syncvault.cli import progress
from syncvault.cli.progress import Bars, Lines
from syncvault.cli.sync import exit_code
from syncvault.sync.summary import Status, Summary


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ([], 0),
        (["ok"], 0),
        (["partial"], 3),
        (["failed"], 1),
        (["quarantined"], 1),
        (["expired"], 1),
        (["busy"], 11),
        (["braked"], 13),
        (["ok", "ok"], 0),
        (["ok", "failed"], 3),
        (["ok", "partial"], 3),
        (["failed", "quarantined"], 1),
        (["busy", "busy"], 1),
        (["partial", "failed"], 3),
        (["ok", "braked"], 13),
        (["failed", "braked", "partial"], 13),
    ],
)
def test_the_exit_code_follows_from_all_tenants(statuses: list[str], code: int) -> None:
    assert exit_code(statuses) == code


def test_every_status_has_an_exit_code() -> None:
    assert all(isinstance(exit_code([str(status)]), int) for status in Status)


def test_where_nobody_watches_a_tenant_takes_three_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.follow() as follower:
        assert isinstance(follower, Lines)
        follower.begin("acme")
        follower.expect("acme", 3)
        follower.advance("acme", mailboxes=1, contacts=20)
        follower.end("acme", Summary("acme", seconds=1.25))
    assert capsys.readouterr().err.splitlines() == ["acme: begins", "acme: 3 mailboxes", "acme: ok after 1.2 s"]


def test_at_a_terminal_a_bar_counts_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    with progress.follow() as follower:
        assert isinstance(follower, Bars)
        follower.begin("acme")
        follower.expect("acme", 3)
        follower.advance("acme", mailboxes=2, contacts=20)
        follower.advance("acme", mailboxes=1, contacts=1, photos=7)
        follower.end("acme", Summary("acme", mailboxes=3))
        follower.begin("quarantined")
        follower.end("quarantined", Summary("quarantined", Status.QUARANTINED))
    drawn = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue())
    assert "3/3 mailboxes · 21 contacts · 7 photos" in drawn
    assert "0/0 mailboxes · 0 contacts · 0 photos" in drawn
