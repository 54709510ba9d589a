"""Text as a terminal may show it: what could steer the terminal, or mislead its reader, is made visible instead."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Final

_NOTHING: Final = "–"

# Control characters, line separators, surrogates, and the marks that turn the direction of what follows them.
_HARMFUL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(value: object) -> str:
    """A value on one line, as a person reads it."""
    if value is None or value == "":
        return _NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(shown(part) for part in value.values())
    if isinstance(value, list | tuple):
        return ", ".join(shown(part) for part in value) or _NOTHING
    return _HARMFUL.sub(_visible, str(value))


def note(text: str) -> None:
    """Something to know that is not the answer; always on stderr."""
    sys.stderr.write(f"{text}\n")


def _visible(match: re.Match[str]) -> str:
    character = match.group()
    if character in "\n\t":
        return " "
    return f"\\u{ord(character):04x}" if ord(character) > 0xFF else f"\\x{ord(character):02x}"
