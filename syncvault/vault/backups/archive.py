"""What a backup says of itself: a signed statement beside its files, of what they are and what they hold."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self
from uuid import UUID

import orjson

from syncvault import __version__
from syncvault.crypto.signature import Subject, is_signed_by, sign
from syncvault.crypto.strict_json import parse_signed
from syncvault.errors import InputError, StorageError
from syncvault.vault.layout import RootPlace, write_durably

FORMAT: Final = "syncvault-backup v1"
STATEMENT: Final = "backup.json"
DATA_FILE: Final = "vault.db"
KEY_FILE: Final = "keys.db"
LEDGER_FILE: Final = "erasure.ledger"
RECEIPTS_FILE: Final = "receipts.json"

UNFINISHED: Final = "unfinished"
REPLACED: Final = "replaced"

_MAX_SIZE: Final = 1024 * 1024  # bytes of a statement; a real one takes about two kilobytes
_CHUNK: Final = 1024 * 1024
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
ANOTHER: Final = "Name another directory, or make a new backup with `syncvault backup create`."


class Kind(StrEnum):
    """What a backup directory holds."""

    DATA = "data"
    KEYS = "keys"


FILES: Final = {Kind.DATA: (DATA_FILE,), Kind.KEYS: (KEY_FILE, LEDGER_FILE, RECEIPTS_FILE)}


class NotABackupError(InputError):
    """The directory holds no statement, or none that can be read."""

    code = "no-backup"
    default_advice = ANOTHER


@dataclass(frozen=True, slots=True)
class Content:
    """A file of a backup: its size in bytes and its SHA-256 in hexadecimal."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Statement:
    """What a backup says of itself. It holds no personal data.

    Attributes:
        kind: Sealed rows, or keys with the erasure ledger and the receipts.
        vault_id: 16 bytes.
        created_at: When its state was read.
        expires_on: The day, UTC, from which nobody may count on it, and on which it is to be deleted.
        schema: The revision of its tables.
        rows: Rows per table.
        files: What lies beside the statement.
        syncvault: The version that made it.
        roots: Where the root key was, as `vault.toml` had it: the place in use, then those that were left and may
            still hold generations. Empty in a backup of data.
    """

    kind: Kind
    vault_id: bytes
    created_at: datetime
    expires_on: date
    schema: str
    rows: Mapping[str, int]
    files: Mapping[str, Content]
    syncvault: str
    roots: tuple[RootPlace, ...]

    def to_dict(self) -> dict[str, Any]:
        """The plain form that is signed."""
        plain: dict[str, Any] = {
            "format": FORMAT,
            "kind": str(self.kind),
            "vault_id": str(UUID(bytes=self.vault_id)),
            "created_at": self.created_at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "expires_on": self.expires_on.isoformat(),
            "schema": self.schema,
            "rows": dict(self.rows),
            "files": {name: {"size": each.size, "sha256": each.sha256} for name, each in self.files.items()},
            "syncvault": self.syncvault,
        }
        if self.kind is Kind.KEYS:
            plain["roots"] = [_from_place(place) for place in self.roots]
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            ValueError: It is something else. KeyError, TypeError and AttributeError may come as well.
        """
        kind = Kind(plain["kind"])
        statement = cls(
            kind=kind,
            vault_id=UUID(_text(plain["vault_id"])).bytes,
            created_at=datetime.strptime(_text(plain["created_at"]), "%Y-%m-%dT%H:%M:%S%z"),
            expires_on=date.fromisoformat(_text(plain["expires_on"])),
            schema=_text(plain["schema"]),
            rows={_text(table): _count(rows) for table, rows in plain["rows"].items()},
            files={
                name: Content(_count(each["size"]), _digest(each["sha256"])) for name, each in plain["files"].items()
            },
            syncvault=_text(plain["syncvault"]),
            roots=tuple(_to_place(place) for place in plain["roots"]) if kind is Kind.KEYS else (),
        )
        is_rootless = kind is Kind.KEYS and not statement.roots
        if statement.to_dict() != plain or set(statement.files) != set(FILES[kind]) or is_rootless:
            raise ValueError("not in the one form that a statement has")
        return statement


@dataclass(frozen=True, slots=True)
class Archive:
    """A backup as it was found: where, what it says, and what vouches for that."""

    directory: Path
    statement: Statement
    signature: bytes

    def path(self, name: str) -> Path:
        """The file of that name."""
        return self.directory / name

    def is_signed_by(self, public: bytes) -> bool:
        """Whether the vault with this public key has signed the statement as it stands."""
        return is_signed_by(public, Subject.BACKUP, self.statement.to_dict(), self.signature)


def describe(
    directory: Path,
    kind: Kind,
    vault_id: bytes,
    *,
    now: datetime,
    keep_days: int,
    schema: str,
    rows: Mapping[str, int],
    roots: tuple[RootPlace, ...] = (),
) -> Statement:
    """The statement over the files that lie in a directory."""
    return Statement(
        kind=kind,
        vault_id=vault_id,
        created_at=now,
        expires_on=(now.astimezone(UTC) + timedelta(days=keep_days)).date(),
        schema=schema,
        rows=rows,
        files={name: measure(directory / name) for name in FILES[kind]},
        syncvault=__version__,
        roots=roots,
    )


def write(directory: Path, statement: Statement, seed: bytes) -> None:
    """Signs a statement and writes it; the last step of a backup."""
    document = statement.to_dict()
    signature = base64.b64encode(sign(seed, Subject.BACKUP, document)).decode("ascii")
    text = orjson.dumps({"statement": document, "signature": signature}, option=orjson.OPT_INDENT_2) + b"\n"
    write_durably(directory / STATEMENT, text)


def read(directory: Path) -> Archive:
    """Reads what a backup says of itself; believe it once `Archive.is_signed_by` and its digests are checked.

    Raises:
        NotABackupError: There is none, or it is damaged.
    """
    path = directory / STATEMENT
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_SIZE + 1)
    except (FileNotFoundError, NotADirectoryError):
        message, advice = f"There is no backup at {directory}: it has no {STATEMENT}.", ""
        if (aside := beside(directory, REPLACED)).is_dir() and not directory.exists():
            advice = f"A backup was interrupted while it replaced this one: rename {aside} back to {directory.name}."
        raise NotABackupError(message, advice=advice) from None
    except OSError as error:
        raise NotABackupError(f"{path} cannot be read: {error.strerror}.") from None
    try:
        statement, signature = parse(content)
    except NotABackupError:
        raise NotABackupError(f"{path} is damaged, or is no backup's.") from None
    return Archive(directory, statement, signature)


def parse(content: bytes) -> tuple[Statement, bytes]:
    """A statement and its signature from their text.

    Raises:
        NotABackupError: It is something else.
    """
    try:
        if len(content) > _MAX_SIZE:
            raise ValueError("too long")
        statement, signature = parse_signed(content, "statement")
        return Statement.from_dict(statement), signature
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        raise NotABackupError("This is no statement of a backup.") from None


def measure(path: Path) -> Content:
    """Size and digest of a file as it lies there.

    Raises:
        StorageError: It cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}.", advice=ANOTHER) from None
    return Content(size, digest.hexdigest())


def copy_file(source: Path, target: Path) -> Content:
    """Copies a file to a new one (0600) and waits until the disk has it; returns what was copied.

    Raises:
        StorageError: It cannot be read, or not be written.
    """
    digest, size = hashlib.sha256(), 0
    try:
        with source.open("rb") as found, os.fdopen(_new(target), "wb") as file:
            while chunk := found.read(_CHUNK):
                digest.update(chunk)
                size += file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(f"{source} cannot be copied to {target}: {error.strerror}.") from None
    return Content(size, digest.hexdigest())


def beside(place: Path, what: str) -> Path:
    """Where a directory stands while it is not, or no longer, at its place."""
    return place.with_name(f".{place.name}.syncvault-{what}")


def _new(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _from_place(place: RootPlace) -> dict[str, Any]:
    return {
        "provider": place.provider,
        "file": str(place.file) if place.file else "",
        "options": dict(place.options),
        "generation": place.generation,
    }


def _to_place(plain: Mapping[str, Any]) -> RootPlace:
    file, options = _text(plain["file"]), plain["options"].items()
    return RootPlace(
        provider=_text(plain["provider"]),
        file=Path(file) if file else None,
        options={_text(name): _text(value) for name, value in options},
        generation=_count(plain["generation"]),
    )


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError("not a text")
    return value


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 53:
        raise ValueError("not a count")
    return value


def _digest(value: object) -> str:
    text = _text(value)
    if not _DIGEST.fullmatch(text):
        raise ValueError("not a digest")
    return text
