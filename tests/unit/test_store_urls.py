"""Database URLs: what is accepted, and that no password gets in."""

from __future__ import annotations

from pathlib import Path

import pytest

from syncvault.errors import UsageError
from syncvault.store.urls import parse_url, sqlite_url


def test_a_sqlite_url_names_a_file() -> None:
    parsed = parse_url("sqlite:////var/lib/vault.db")
    assert (parsed.dialect, parsed.path) == ("sqlite", Path("/var/lib/vault.db"))


def test_a_path_becomes_a_url_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "ein Tresor ü%20.db"
    assert parse_url(sqlite_url(path)).path == path


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg"])
def test_both_names_of_postgresql_mean_psycopg(scheme: str) -> None:
    parsed = parse_url(f"{scheme}://vault@db.example/vault?passfile=/etc/pass&sslmode=verify-full")
    assert parsed.dialect == "postgresql"
    assert parsed.text == "postgresql+psycopg://vault@db.example/vault?passfile=/etc/pass&sslmode=verify-full"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://vault:hunter2@db.example/vault",
        "postgresql://vault:@db.example/vault",
        "postgresql+psycopg://:hunter2@/vault",
        "postgresql:///vault?host=/run&password=hunter2",
        "postgresql:///vault?PASSWORD=hunter2",
        "postgresql:///vault?pass%77ord=hunter2",
        "postgresql:///vault?host=/run%26password=hunter2",
        "postgresql:///vault?sslpassword=hunter2",
        "postgresql:///vault?options=x;password=hunter2&password=",
    ],
)
def test_a_password_in_a_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(UsageError, match="password") as caught:
        parse_url(url)
    assert "hunter2" not in f"{caught.value!r} {caught.value.advice}"
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/var/lib/vault.db",
        "mysql://db/vault",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite://host/x",
        "sqlite:////x.db?mode=ro",
        "postgresql+asyncpg://db/vault",
        "postgresql://[::1/vault",
    ],
)
def test_any_other_form_is_wrong_usage_and_shows_an_example(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_url(url)
    assert "sqlite:////" in caught.value.advice
