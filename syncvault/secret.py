"""A box for secrets, so that none shows up where it was not asked for; and a base for what holds bare keys."""

from __future__ import annotations

from typing import NoReturn


class NotPicklable:
    """Something that holds secrets, and goes neither into a pickle nor into a copy."""

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        raise TypeError("secrets are not pickled")


class Secret(NotPicklable):
    """Holds secret bytes. Shows nothing in `repr`, cannot be pickled or compared, is opened in one place."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes | str) -> None:
        self._value = value.encode() if isinstance(value, str) else value

    def reveal(self) -> bytes:
        """The secret itself. Keep it in a local variable and no longer than needed."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "Secret(…)"

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError("secrets are not compared; use hmac.compare_digest on what reveal() gives")

    __hash__ = None  # type: ignore[assignment]  # a hash would let a secret be compared by looking it up
