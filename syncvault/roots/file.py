"""Root keys as files readable by one user: for the demo, and for machines without anything better.

One line of text per file, one file per generation: `PATH` for the first, `PATH.N` for those after it.
"""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path

from syncvault.errors import RootKeyError
from syncvault.roots import keyfiles
from syncvault.roots.port import (
    ROOT_KEY_BYTES,
    Destroyed,
    Destruction,
    Handle,
    ProviderSettings,
    handle_number,
    handle_text,
    require_generation,
    require_provider,
    require_root_key,
)

_LINE = re.compile(rb"syncvault-root-key v1 vault=(?P<vault>\S+) generation=(?P<generation>\d+) key=(?P<key>\S*)\n")


class FileProvider:
    """Keeps each generation in a file of mode 0600, outside the data directory."""

    name = "file"

    def __init__(self, settings: ProviderSettings) -> None:
        self._vault = str(settings.vault_id)
        self._base = _absolute(settings.root_key_file) if settings.root_key_file else None
        self._home = settings.home.resolve() if settings.home else None

    def create(self, generation: int) -> Handle:
        """Writes a new key file and reads it back; takes over one of the same vault and generation."""
        require_generation(generation)
        if (why := self.why_unusable()) is not None or self._base is None:
            raise RootKeyError(
                why or "No file is named.", advice="Name a file outside the data directory with --root-key-file."
            )
        path = self._path(self._base, generation)
        secret = base64.b64encode(os.urandom(ROOT_KEY_BYTES)).decode()
        line = f"syncvault-root-key v1 vault={self._vault} generation={generation} key={secret}\n"
        keyfiles.place(path, line.encode())
        handle: Handle = {"provider": self.name, "generation": generation, "path": str(self._base)}
        self.unwrap(handle)
        return handle

    def unwrap(self, handle: Handle) -> bytes:
        """Reads the key file that the handle names."""
        path, generation = self._located(handle)
        content = keyfiles.read(path)
        if content is None:
            raise RootKeyError(f"The root key's file {path} is missing.", advice="Bring the file back to where it was.")
        return require_root_key(self._key(path, content, generation), str(path))

    def destroy(self, handle: Handle) -> Destruction:
        """Overwrites and removes the key file, unless it is something else."""
        path, generation = self._located(handle)
        content = keyfiles.read(path)
        if content is not None and content.strip(b"\0"):  # all zeros: an earlier attempt got as far as that
            self._key(path, content, generation)
        keyfiles.scrub(path)
        return Destroyed()

    def why_unusable(self) -> str | None:
        """The file needs a name, and a place outside the data directory."""
        if self._base is None:
            return "No file is named (--root-key-file)."
        if self._home is not None and self._base.is_relative_to(self._home):
            return f"{self._base} lies in the data directory, which every copy of the data takes along."
        return None

    def describe(self) -> str:
        """What a plain file is worth."""
        return (
            "Protects copies and backups of the databases, as long as the key file is not among them. Does not "
            "protect against root, against whoever runs as the same user, or against a copy of the whole machine."
        )

    @staticmethod
    def _path(base: Path, generation: int) -> Path:
        return base if generation == 1 else base.with_name(f"{base.name}.{generation}")

    def _located(self, handle: Handle) -> tuple[Path, int]:
        require_provider(handle, self.name)
        generation = handle_number(handle, "generation")
        return self._path(self._base or Path(handle_text(handle, "path")), generation), generation

    def _key(self, path: Path, content: bytes, generation: int) -> bytes:
        found = _LINE.fullmatch(content)
        if found is None:
            raise RootKeyError(f"{path} is not a root key's file, or damaged.")
        if found["vault"].decode(errors="replace") != self._vault or int(found["generation"]) != generation:
            raise RootKeyError(
                f"{path} holds a root key of another vault or generation.",
                advice="Name another file with --root-key-file, or bring back this vault's own.",
            )
        try:
            return base64.b64decode(found["key"], validate=True)
        except ValueError:
            raise RootKeyError(f"The root key in {path} is damaged.") from None


def _absolute(path: Path) -> Path:
    """The path with links in its directories resolved; a link in the place of the file itself is refused later."""
    path = path.expanduser()
    return path.parent.resolve() / path.name
