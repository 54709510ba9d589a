"""Root keys in a file readable by one user: for the demo, and for machines without anything better.

The file stays where it is named for as long as the vault lives: re-keying adds generation n+1 beside n, destroying
writes it again without n and overwrites the bytes that held it.
"""

from __future__ import annotations

import os
from pathlib import Path

from syncvault.errors import RootKeyError
from syncvault.roots import keyfiles
from syncvault.roots.generations import count_from_text, count_to_text, from_text, to_text
from syncvault.roots.port import (
    ROOT_KEY_BYTES,
    Destroyed,
    Destruction,
    Handle,
    Held,
    ProviderSettings,
    RootKeyProvider,
    handle_number,
    handle_text,
    require_generation,
    require_provider,
)


class FileProvider(RootKeyProvider):
    """Keeps the living generations in one file of mode 0600, outside the data directory."""

    name = "file"

    def __init__(self, settings: ProviderSettings) -> None:
        self._vault = str(settings.vault_id)
        self._named = _absolute(settings.root_key_file) if settings.root_key_file else None
        self._home = settings.home.resolve() if settings.home else None

    def create(self, generation: int) -> Handle:
        """Adds a generation to the file and reads it back; takes over one that is in it."""
        require_generation(generation)
        if (why := self.why_unusable()) is not None or self._named is None:
            raise RootKeyError(
                why or "No file is named.", advice="Name a file outside the data directory with --root-key-file."
            )
        handle: Handle = {"provider": self.name, "generation": generation, "path": str(self._named)}
        self._add(self._named, generation)
        self.unwrap(handle)
        return handle

    def unwrap(self, handle: Handle) -> bytes:
        """Reads the generation that the handle names."""
        path, generation = self._located(handle)
        keys = self._read(path)
        if keys is None:
            raise RootKeyError(f"The root key's file {path} is missing.", advice="Bring the file back to where it was.")
        if generation not in keys:
            raise RootKeyError(
                f"{path} does not hold root key generation {generation}.",
                advice="Bring back the file as the vault last wrote it; an older copy does not open it.",
            )
        return keys[generation]

    def destroy(self, handle: Handle) -> Destruction:
        """Writes the file again without the generation, and overwrites the bytes that held it."""
        path, generation = self._located(handle)
        content = keyfiles.read(path)
        if content is None or not content.strip(b"\0"):  # all zeros: an earlier attempt got as far as that
            keyfiles.scrub(path)
            return Destroyed()
        keys = from_text(content, self._vault, str(path))
        if generation not in keys:
            keyfiles.scrub_leftovers(path)
        elif len(keys) == 1:
            keyfiles.scrub(path)
        else:
            del keys[generation]
            keyfiles.replace(path, to_text(self._vault, keys))
        return Destroyed()

    def hold(self, what: Held, value: int) -> None:
        """Writes the number into a file beside the key's."""
        if (place := self._beside(what)) is not None:
            keyfiles.replace(place, count_to_text(self._vault, value))

    def held(self, what: Held) -> int | None:
        """Reads the number from that file."""
        place = self._beside(what)
        content = None if place is None else keyfiles.read(place)
        return None if content is None else count_from_text(content, self._vault, str(place))

    def why_unusable(self) -> str | None:
        """The file needs a name, and a place outside the data directory."""
        if self._named is None:
            return "No file is named (--root-key-file)."
        if self._home is not None and self._named.is_relative_to(self._home):
            return f"{self._named} lies in the data directory, which every copy of the data takes along."
        return None

    def describe(self) -> str:
        """What a plain file is worth."""
        return (
            "Protects copies and backups of the databases, as long as the key file is not among them. Does not "
            "protect against root, against whoever runs as the same user, or against a copy of the whole machine."
        )

    def _beside(self, what: Held) -> Path | None:
        return None if self._named is None else self._named.with_name(f"{self._named.name}.{what}")

    def _add(self, path: Path, generation: int) -> None:
        fresh = {generation: os.urandom(ROOT_KEY_BYTES)}
        keys = self._read(path)
        if keys is None:
            if keyfiles.place(path, to_text(self._vault, fresh)):
                return
            keys = self._read(path) or {}  # another process was faster
        if generation not in keys:
            keyfiles.replace(path, to_text(self._vault, keys | fresh))

    def _read(self, path: Path) -> dict[int, bytes] | None:
        content = keyfiles.read(path)
        return None if content is None else from_text(content, self._vault, str(path))

    def _located(self, handle: Handle) -> tuple[Path, int]:
        require_provider(handle, self.name)
        return self._named or Path(handle_text(handle, "path")), handle_number(handle, "generation")


def _absolute(path: Path) -> Path:
    """The path with links in its directories resolved; a link in the place of the file itself is refused later."""
    path = path.expanduser()
    return path.parent.resolve() / path.name
