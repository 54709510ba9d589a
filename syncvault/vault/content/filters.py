"""Which people of a directory a source means, as it is kept and as an administrator reads it.

The connectors have a type of their own for it, with the same names; only the sync engine knows both.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class UserFilter:
    """See `connectors.selection.UserFilter`; everything that is given must hold."""

    department: str = field(default="", repr=False)
    company: str = field(default="", repr=False)
    domain: str = field(default="", repr=False)
    exclude_group: str = field(default="", repr=False)
    disabled: bool = False
    hidden: bool = False

    def given(self) -> dict[str, Any]:
        """What is not as by default, by name; `UserFilter(**given)` gives it back."""
        return {one.name: value for one in fields(self) if (value := getattr(self, one.name)) != one.default}

    def shown(self) -> dict[str, Any]:
        """What is given, by the names that administrators give it under."""
        return {f"include_{name}" if value is True else name: value for name, value in self.given().items()}

    @property
    def text(self) -> str:
        """The filter on one line, such as `department=Sales domain=example.com include_disabled`; empty for none.

        No two filters have the same text: a value that could be taken for more than one stands in quotes.
        """
        return " ".join(name if value is True else f"{name}={_quoted(value)}" for name, value in self.shown().items())


def _quoted(value: str) -> str:
    if value.isprintable() and not any(character in ' ="' for character in value):
        return value
    return orjson.dumps(value).decode()
