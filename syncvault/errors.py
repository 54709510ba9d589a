"""The one error base: every failure knows its code, its exit code, and what an administrator can do about it."""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class Exit(IntEnum):
    """Exit codes of the command line."""

    OK = 0
    FAILED = 1
    USAGE = 2
    PARTLY = 3
    FINDINGS = 4
    NO_VAULT = 10
    BUSY = 11
    ROOT_KEY = 12
    BRAKE = 13
    INTERRUPTED = 130


class SyncvaultError(Exception):
    """A failure in one sentence, with one line of advice. Neither holds secrets or personal data."""

    code: ClassVar[str] = "failed"
    exit_code: ClassVar[Exit] = Exit.FAILED
    default_advice: ClassVar[str] = "Run `syncvault doctor`; add --debug to the command for a traceback."

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice or self.default_advice


class UsageError(SyncvaultError):
    """Given something that cannot be right: names the field and shows an example."""

    code = "usage"
    exit_code = Exit.USAGE
    default_advice = "Run the command with --help."


class InputError(SyncvaultError):
    """What was given is well formed but cannot be used (wrong password, expired certificate, duplicate name)."""

    code = "input"


class NotFoundError(SyncvaultError):
    """The named tenant, source, mailbox or contact does not exist."""

    code = "not-found"
    default_advice = "Run `syncvault tenant list`."


class NoVaultError(SyncvaultError):
    """There is no vault here."""

    code = "no-vault"
    exit_code = Exit.NO_VAULT
    default_advice = "Create one with `syncvault init`, or name another directory with --home."


class BusyError(SyncvaultError):
    """Somebody else holds the vault or the tenant."""

    code = "busy"
    exit_code = Exit.BUSY
    default_advice = "Wait until the other process has ended and run the command again."


class RootKeyError(SyncvaultError):
    """The root key is missing, unreachable or not the one this vault was made with."""

    code = "root-key"
    exit_code = Exit.ROOT_KEY
    default_advice = "Bring back the root key this vault was made with; `syncvault doctor` says which one it wants."


class BrakeError(SyncvaultError):
    """A safety limit stopped the command before it destroyed something."""

    code = "brake"
    exit_code = Exit.BRAKE


class DamagedError(SyncvaultError):
    """A stored record does not open under its own key: changed, moved, or broken."""

    code = "damaged"
    default_advice = "Restore the row from a backup, or delete the tenant; nothing was guessed."


class SchemaError(SyncvaultError):
    """The database was made by another version of syncvault."""

    code = "schema"
    default_advice = "Install a syncvault at least as new as the database."


class StorageError(SyncvaultError):
    """The database refused: disk full, read-only, unreachable."""

    code = "storage"
    default_advice = "Free space or restore write access, then run the command again: it continues where it stopped."
