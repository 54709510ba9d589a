"""Where a vault lies: its home directory, its two databases, and where its root key comes from.

`vault.toml` in the home directory holds this and no secret. It is written last when a vault is made, so a
directory without it holds no vault.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from syncvault.errors import NoVaultError, StorageError

FILE_NAME: Final = "vault.toml"
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")  # what TOML takes without quotes


@dataclass(frozen=True, slots=True)
class RootPlace:
    """Where root keys are kept: a provider and what it has to be told.

    Attributes:
        provider: Its name.
        file: Where the key or credential lies, for providers that keep a file.
        options: What else the provider needs to find the key again: an address, a key's name.
        generation: Of a place that is about to be moved to, the first generation it keeps; of one that was left, the
            last one it kept; else 0.
    """

    provider: str
    file: Path | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    generation: int = 0


@dataclass(frozen=True, slots=True)
class Layout:
    """A vault's places.

    Attributes:
        home: The data directory.
        database: URL of the database with sealed rows.
        key_database: URL of the database with wrapped keys.
        root_key: Name of the root-key provider.
        root_key_file: Where the key or credential lies, for providers that keep a file.
        root_key_options: What else the provider needs to find the key again: an address, a key's name.
        coming: Where the root key is being moved to; it counts once the key database names its generation as current.
        replaced: Places that were left and still hold generations, in the order in which they were left.
    """

    home: Path
    database: str
    key_database: str
    root_key: str
    root_key_file: Path | None = None
    root_key_options: Mapping[str, str] = field(default_factory=dict)
    coming: RootPlace | None = None
    replaced: tuple[RootPlace, ...] = ()

    @property
    def root_place(self) -> RootPlace:
        """Where the root key is kept, unless it has moved to `coming`."""
        return RootPlace(self.root_key, self.root_key_file, self.root_key_options)

    def place_of(self, generation: int) -> RootPlace:
        """Where a generation of the root key is kept."""
        if self.coming is not None and generation >= self.coming.generation:
            return self.coming
        return next((place for place in self.replaced if generation <= place.generation), self.root_place)

    def moved_to(self, coming: RootPlace, *, last_generation: int) -> Layout:
        """The layout once the root key is kept in another place, with the one that it left remembered."""
        left = replace(self.root_place, generation=last_generation)
        return replace(
            self,
            root_key=coming.provider,
            root_key_file=coming.file,
            root_key_options=coming.options,
            coming=None,
            replaced=(*self.replaced, left),
        )

    @property
    def receipts(self) -> Path:
        """The directory in which receipts are kept."""
        return self.home / "receipts"

    @property
    def ledger_mirror(self) -> Path:
        """The fsynced copy of the erasure ledger."""
        return self.home / "erasure.ledger"


def default_database(home: Path) -> str:
    """The database for sealed rows, unless another is named."""
    return f"sqlite:///{home / 'vault.db'}"


def default_key_database(home: Path) -> str:
    """The database for wrapped keys, unless another is named."""
    return f"sqlite:///{home / 'keys.db'}"


def default_root_key_file(home: Path) -> Path:
    """The key file's place for the provider `file`: beside the data directory, never in it."""
    return home.with_name(home.name + "-root-key") / "root.key"


def exists(home: Path) -> bool:
    """Whether a vault lives in this directory."""
    return (home / FILE_NAME).is_file()


def load(home: Path) -> Layout:
    """Reads `vault.toml`.

    Raises:
        NoVaultError: There is none here.
        StorageError: It cannot be read.
    """
    try:
        content = tomllib.loads((home / FILE_NAME).read_text("utf-8"))
        place, coming = _place(content), content.get("coming")
        return Layout(
            home=home,
            database=_text(content["database"]),
            key_database=_text(content["key_database"]),
            root_key=place.provider,
            root_key_file=place.file,
            root_key_options=place.options,
            coming=_place(coming) if coming else None,
            replaced=tuple(_place(left) for left in content.get("replaced", ())),
        )
    except (FileNotFoundError, NotADirectoryError):
        raise NoVaultError(f"There is no vault at {home}.") from None
    except OSError as error:
        raise StorageError(f"{home / FILE_NAME} cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise StorageError(f"{home / FILE_NAME} is damaged.", advice="Restore it from a backup.") from None


def save(layout: Layout) -> None:
    """Writes `vault.toml`, whole or not at all."""
    text = _toml({"database": layout.database, "key_database": layout.key_database})
    text += _place_toml(layout.root_place)
    if layout.coming is not None:
        text += "\n[coming]\n" + _place_toml(layout.coming, "coming.")
    for left in layout.replaced:
        text += "\n[[replaced]]\n" + _place_toml(left, "replaced.")
    write_durably(layout.home / FILE_NAME, text.encode("utf-8"))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _place(content: Mapping[str, Any]) -> RootPlace:
    file = content.get("root_key_file")
    return RootPlace(
        provider=_text(content["root_key"]),
        file=Path(file) if file else None,
        options={str(name): str(value) for name, value in content.get("root_key_options", {}).items()},
        generation=int(content.get("generation", 0)),
    )


def _place_toml(place: RootPlace, prefix: str = "") -> str:
    text = _toml({"root_key": place.provider, "root_key_file": str(place.file.absolute()) if place.file else None})
    text += f"generation = {place.generation}\n" if place.generation else ""
    if place.options:
        text += f"\n[{prefix}root_key_options]\n" + _toml(place.options)
    return text


def _toml(values: Mapping[str, str | None]) -> str:
    # JSON strings are TOML basic strings, once characters beyond the first plane are not written as surrogates, and the
    # one control character that JSON leaves as it is has been escaped.
    return "".join(
        f"{name if _BARE_KEY.fullmatch(name) else json.dumps(name, ensure_ascii=False)} = "
        f"{json.dumps(value, ensure_ascii=False)}\n".replace("\x7f", "\\u007f")
        for name, value in values.items()
        if value is not None
    )


def write_durably(path: Path, content: bytes) -> None:
    """Replaces a file atomically and waits until the disk has it; readable by the owner alone."""
    draft = path.with_name(path.name + ".new")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}.") from None


def match_owner(home: Path) -> None:
    """Gives what root has made in a home directory to its owner, whose service has to write it too.

    Goes by open directories and passes by files with a second name, lest the owner have root give away what lies
    elsewhere.
    """
    if os.geteuid() != 0:
        return
    owner = home.stat()
    for _, directories, files, folder in os.fwalk(home):
        for name in (*directories, *files):
            with suppress(FileNotFoundError):  # journals come and go
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if found.st_uid != owner.st_uid and (stat.S_ISDIR(found.st_mode) or found.st_nlink == 1):
                    os.chown(name, owner.st_uid, owner.st_gid, dir_fd=folder, follow_symlinks=False)


def sync_directory(directory: Path) -> None:
    """Waits until the disk has a directory's entries."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
