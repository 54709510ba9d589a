"""The options that say what is pulled of a tenant's mailboxes: fields, folders, photos, private items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Final

import typer

from syncvault.cli import values
from syncvault.errors import UsageError
from syncvault.vault.model import Scope

Profile = Annotated[
    str | None, typer.Option(metavar="business|full|FIELD,…", help="Which fields are pulled. [default: business]")
]
Folder = Annotated[
    list[str] | None, typer.Option(metavar="PATTERN", help='Only such contact folders; "!PATTERN": none of those.')
]
PhotoSize = Annotated[int | None, typer.Option(metavar="PIXELS", help="The size of people's photos. [default: 240]")]
Private = Annotated[
    bool | None,
    typer.Option("--include-private/--skip-private", help="Whether items marked private are pulled. [default: skip]"),
]

KEYS: Final = ("profile", "folder", "photo-size", "include-private")


def scope_given(texts: Mapping[str, Any], before: Scope | None = None) -> Scope:
    """The scope that options make of the one before; what was not given stays.

    Raises:
        UsageError: A value is malformed.
    """
    scope = before or Scope()
    if texts.get("profile") is not None:
        scope = replace(scope, profile=_profile(texts["profile"]))
    if texts.get("folder") is not None:
        scope = replace(scope, folders=tuple(_pattern(text) for text in texts["folder"] if text))
    if texts.get("photo-size") is not None:
        scope = replace(scope, photo_pixels=_pixels(texts["photo-size"]))
    if texts.get("include-private") is not None:
        scope = replace(scope, private=bool(texts["include-private"]))
    return scope


def _profile(text: str) -> str:
    from syncvault.sync.scope import UnknownFieldError, canonical_profile

    try:
        return canonical_profile(text)
    except UnknownFieldError as error:
        raise UsageError(
            "The value of --profile names a field that there is not.",
            advice=f"Did you mean {error.near}?"
            if error.near
            else "Give business, full, or fields alone, like display_name,email_addresses",
        ) from None


def _pattern(text: str) -> str:
    pattern = values.plain_text(text, "--folder")
    if pattern == "!":
        raise UsageError("The value of --folder excludes nothing.", advice="Give it like '!Private*'")
    return pattern


def _pixels(pixels: int | str) -> int:
    from syncvault.sync.scope import PHOTO_SIZES

    return int(values.choice(str(pixels), "--photo-size", map(str, PHOTO_SIZES)))
