"""Options that say where a vault lies: shared by the commands that make one, restore one, or move its root key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RootKeyFile = Annotated[
    Path | None,
    typer.Option(
        "--root-key-file", metavar="F", help="The key (file), the .cred (systemd), the token or PIN (others)."
    ),
]
RootKeyOptions = Annotated[
    list[str] | None,
    typer.Option("--root-key-option", metavar="NAME=VALUE", help="What else the provider needs; no secrets."),
]
DatabaseUrl = Annotated[str, typer.Option("--database", metavar="URL", help="The database of sealed rows.")]
KeyDatabaseUrl = Annotated[str, typer.Option("--key-database", metavar="URL", help="The database of wrapped keys.")]


def lasting(url: str) -> str:
    """A checked database URL that names the same database from every directory; an empty one stays empty."""
    from syncvault.store.urls import parse_url, sqlite_url

    path = parse_url(url).path if url else None
    return url if path is None else sqlite_url(path)
