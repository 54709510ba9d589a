"""What a tenant wants, as connectors take it, and the words by which the vault knows what a run has read."""

from __future__ import annotations

import difflib
import hashlib
from typing import Final

from connectors.selection import BUSINESS, FIELDS, FULL, PHOTO_PIXELS, Selection
from syncvault.vault.model import Scope

PHOTO_SIZES: Final = PHOTO_PIXELS
_PROFILES: Final = {"business": BUSINESS, "full": FULL}
_DIGITS: Final = 16


def selection_of(scope: Scope) -> Selection:
    """What connectors are to read of a tenant."""
    fields = _PROFILES.get(scope.profile) or frozenset(scope.profile.split(",")) & FULL
    return Selection(fields, scope.folders, scope.photo_pixels, scope.private)


def scope_of(selection: Selection) -> str:
    """Names what is read of an item; a folder whose checkpoint says otherwise is read in full again."""
    named = ",".join(name for name in FIELDS if name in selection.fields)
    digest = hashlib.sha256(named.encode("ascii")).hexdigest()[:_DIGITS]
    return f"{digest}+private" if selection.private else digest


def applied_by(selection: Selection) -> str:
    """Names what a finished run has brought the stored contacts to."""
    return f"{scope_of(selection)} {selection.photo_pixels}"


def unfinished(selection: Selection, applied: str) -> str:
    """Names what a run that does not end leaves behind: contacts as before beside contacts as wanted now.

    Empty if none has ended so far: whatever the next one wants, it finds nothing that was brought to it.
    """
    size = applied.rpartition(" ")[2]
    return f"unfinished {size if size == str(selection.photo_pixels) else 'sizes'}" if applied else ""


def canonical_profile(text: str) -> str:
    """A profile as it is kept: its name, or its fields in their usual order.

    Raises:
        UnknownFieldError: One of the fields is none.
    """
    if text in _PROFILES:
        return text
    given = [name.strip() for name in text.split(",") if name.strip()]
    for name in given:
        if name in _PROFILES:
            raise UnknownFieldError("")  # it stands for a list of its own
        if name not in FULL:
            near = difflib.get_close_matches(name, [*FIELDS, *_PROFILES], n=1)
            raise UnknownFieldError(near[0] if near else "")
    if not given:
        raise UnknownFieldError("")
    return ",".join(name for name in FIELDS if name in given)


class UnknownFieldError(ValueError):
    """Something that is no field; `near` is the field it looks like, empty if like none."""

    def __init__(self, near: str) -> None:
        super().__init__("no field")
        self.near = near
