"""Canaries: values that must not be found where they have no business, in whatever spelling."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from urllib.parse import quote, quote_plus

from tests.acceptance.conftest import Answer, Shell


class Kind(Enum):
    """Who may see it."""

    NAME = "what a tenant is known by: administrators, in every command"
    PERSONAL = "who is in the phone book: administrators who ask for contacts"
    MASKED = "addresses, and what leads to a mailbox: administrators who say --reveal"
    SECRET = "credentials and keys: nobody"


@dataclass(frozen=True)
class Canary:
    """A value that was planted."""

    what: str
    kind: Kind
    value: bytes

    @classmethod
    def of(cls, what: str, kind: Kind, value: str | bytes) -> Canary:
        """One that is given as text, or as bytes."""
        return cls(what, kind, value if isinstance(value, bytes) else value.encode())

    def spellings(self) -> Iterator[bytes]:
        """What it may look like: as it is, in other encodings, and escaped."""
        yield self.value
        for before in range(3):  # Base64 cuts into groups of three bytes, so it depends on what stands before
            coded = base64.b64encode(bytes(before) + self.value)
            inner = coded[(0, 2, 3)[before] : (before + len(self.value)) * 4 // 3]
            yield inner
            yield inner.translate(bytes.maketrans(b"+/", b"-_"))
        yield self.value.hex().encode()
        yield self.value.hex().upper().encode()
        yield repr(self.value)[2:-1].encode()
        try:
            text = self.value.decode()
        except UnicodeDecodeError:
            return
        yield text.encode("utf-16-le")
        yield json.dumps(text)[1:-1].encode()
        yield "".join(f"\\u{ord(character):04x}" for character in text).encode()
        yield quote(text).encode()
        yield quote(text, safe="").encode()
        yield quote_plus(text).encode()
        yield "".join(f"%{byte:02X}" for byte in self.value).encode()


class Aviary:
    """All canaries of a story, and where to look for them."""

    def __init__(self, shell: Shell, temporary: Path) -> None:
        self.shell = shell
        self.canaries: list[Canary] = []
        temporary.mkdir()
        self._temporary = temporary

    def plant(self, what: str, kind: Kind, value: str | bytes) -> str:
        """Notes a value and gives it back, as text."""
        canary = Canary.of(what, kind, value)
        self.canaries.append(canary)
        return canary.value.decode(errors="replace")

    def escaped_to(self, content: bytes, where: object, *, allowed: Collection[Kind] = ()) -> list[str]:
        """Which canaries are in it."""
        return [
            f"{canary.what} in {where}"
            for canary in self.canaries
            if canary.kind not in allowed and any(form in content for form in canary.spellings())
        ]

    def escaped_below(self, *places: Path, but: Iterable[Path] = ()) -> list[str]:
        """Which canaries are in files, or in names of files, below some directories."""
        kept = tuple(but)
        files = [path for place in places for path in place.rglob("*") if not any(map(path.is_relative_to, kept))]
        return [
            found
            for path in files
            for found in self.escaped_to(str(path).encode() + (path.read_bytes() if path.is_file() else b""), path)
        ]

    def environment(self) -> dict[str, str]:
        """What every command is run with: temporary files go where they are looked for."""
        return self.shell.environment(TMPDIR=str(self._temporary))

    def __call__(self, *argv: str, given: str = "", shows: Collection[Kind] = (), code: int | None = 0) -> Answer:
        """Runs a command, and looks that it says nothing it has no business saying."""
        answer = self.shell(*argv, given=given, TMPDIR=str(self._temporary))
        assert code is None or answer.code == code, answer
        said = self.escaped_to(answer.out.encode(), "stdout", allowed={Kind.NAME, *shows})
        said += self.escaped_to(answer.err.encode(), "stderr", allowed={Kind.NAME})
        assert not said, f"{argv} shows {said}"
        return answer
