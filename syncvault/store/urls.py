"""Database URLs: which forms are accepted, and the refusal of passwords in them. Imports no driver."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from syncvault.errors import UsageError

Dialect = Literal["sqlite", "postgresql"]

_EXAMPLE: Final = "sqlite:////var/lib/syncvault/vault.db or postgresql:///syncvault?service=syncvault"
_SECRET_OPTIONS: Final = frozenset({"password", "sslpassword"})


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """A checked database URL; `path` is set for SQLite only."""

    text: str
    dialect: Dialect
    path: Path | None = None


def sqlite_url(path: Path) -> str:
    """The URL of the SQLite database at the path."""
    return f"sqlite:///{path.absolute()}"


def parse_url(url: str) -> DatabaseUrl:
    """Checks a database URL.

    Accepted are `sqlite:///PATH`, `postgresql://…` and `postgresql+psycopg://…`.

    Raises:
        UsageError: Another form, or a password in it: those belong in a passfile or a service file.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise UsageError("The database URL has no scheme.", advice=f"Give it like {_EXAMPLE}.")
    if scheme == "sqlite":
        return DatabaseUrl(url, "sqlite", _sqlite_path(rest))
    if scheme not in {"postgresql", "postgresql+psycopg"}:
        raise UsageError("The database URL's scheme is not supported.", advice=f"Give it like {_EXAMPLE}.")
    _refuse_password(url)
    return DatabaseUrl(f"postgresql+psycopg://{rest}", "postgresql")


def _sqlite_path(rest: str) -> Path:
    # An in-memory database would lose everything at exit, and every connection of the pool would have its own.
    if not rest.startswith("/") or rest in {"/", "/:memory:"} or "?" in rest:
        raise UsageError("The SQLite URL names no file.", advice=f"Give it like {_EXAMPLE}.")
    return Path(rest[1:]).absolute()


def _refuse_password(url: str) -> None:
    try:
        parts = urlsplit(url)
        secret = parts.password is not None
    except ValueError:
        raise UsageError("The database URL cannot be read.", advice=f"Give it like {_EXAMPLE}.") from None
    options = {name.lower() for name, _ in parse_qsl(unquote(parts.query), keep_blank_values=True)}
    if secret or options & _SECRET_OPTIONS:
        raise UsageError(
            "The database URL holds a password.",
            advice="Leave it out; use a passfile (?passfile=…, ~/.pgpass) or a service file (?service=…).",
        )
