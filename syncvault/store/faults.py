"""Turns what databases and drivers raise into the product's own errors, without a parameter or a row in them."""

from __future__ import annotations

import sqlite3
from types import TracebackType
from typing import Any, ClassVar, Final

from syncvault.errors import BusyError, DamagedError, StorageError, SyncvaultError


class ConflictError(StorageError):
    """A row with this identity is already there, or the row it belongs to is not."""

    code = "conflict"
    default_advice = "Run the command again; somebody else changed the same thing at the same time."


class Fenced(BusyError):
    """The tenant was erased, or taken over by another process, after this one had read it."""

    code: ClassVar[str] = "fenced"
    default_advice = "Nothing to do: this process has lost the tenant and changed nothing."


_RESTORE: Final = "Restore the database from a backup; nothing was guessed."

_SQLITE: Final[dict[str, tuple[type[SyncvaultError], str]]] = {
    "SQLITE_BUSY": (BusyError, "Another process is writing to the database"),
    "SQLITE_LOCKED": (BusyError, "Another process is writing to the database"),
    "SQLITE_FULL": (StorageError, "The disk is full"),
    "SQLITE_READONLY": (StorageError, "The database is read-only"),
    "SQLITE_PERM": (StorageError, "The database may not be opened"),
    "SQLITE_CANTOPEN": (StorageError, "The database file cannot be opened"),
    "SQLITE_IOERR": (StorageError, "The disk failed while the database was read or written"),
    "SQLITE_CONSTRAINT": (ConflictError, "The database refused a row that contradicts another"),
    "SQLITE_CORRUPT": (DamagedError, "The database file is damaged"),
    "SQLITE_NOTADB": (DamagedError, "The database file is damaged, or is no database"),
}

# Classes and codes of "PostgreSQL Error Codes" (PostgreSQL manual, appendix A); the longest prefix counts.
_POSTGRESQL: Final[dict[str, tuple[type[SyncvaultError], str]]] = {
    "08": (StorageError, "The connection to the database was lost"),
    "23": (ConflictError, "The database refused a row that contradicts another"),
    "25006": (StorageError, "The database is read-only"),
    "28": (StorageError, "The database refused to let us in"),
    "3D": (StorageError, "The database does not exist"),
    "40": (BusyError, "Another process changed the same rows"),
    "42501": (StorageError, "The database role may not do this"),
    "53": (StorageError, "The database server is out of space, memory or connections"),
    "55P03": (BusyError, "Another process holds the rows or tables"),
    "57": (StorageError, "The database server is shutting down or starting"),
    "58": (StorageError, "The database server's disk failed"),
    "XX001": (DamagedError, "The database is damaged"),
    "XX002": (DamagedError, "The database is damaged"),
}


def foreign_errors(dialect: str) -> tuple[type[BaseException], ...]:
    """The exception types that SQLAlchemy and the dialect's driver raise."""
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415  (callers may need Fenced without SQLAlchemy)

    if dialect == "sqlite":
        return (SQLAlchemyError, sqlite3.Error)
    import psycopg  # noqa: PLC0415  (an extra)

    return (SQLAlchemyError, psycopg.Error)


class OwnErrors:
    """A block out of which the database's failures come as the product's own errors; threads may share it.

    A class and not a generator: it is entered for every transaction.
    """

    __slots__ = ("_foreign",)

    def __init__(self, foreign: tuple[type[BaseException], ...]) -> None:
        self._foreign = foreign

    def __enter__(self) -> None:
        """Nothing needs to be kept."""

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(fault, self._foreign):
            raise normalise(fault) from None


def normalise(fault: BaseException) -> SyncvaultError:
    """The error to raise instead of a driver's or SQLAlchemy's; carries the engine's own code and nothing else.

    Drivers quote offending rows in their messages, so none of their text is taken over.
    """
    original: Any = getattr(fault, "orig", None) or fault
    if isinstance(original, sqlite3.Error):
        return _from_sqlite(original)
    state = getattr(original, "sqlstate", None)
    if state:
        return _from_postgresql(state)
    kind = type(original).__name__
    if kind in {"OperationalError", "InterfaceError", "ConnectionTimeout"}:
        return StorageError(
            "The database server cannot be reached.",
            advice="Check that it runs and that the URL names it; then run the command again.",
        )
    if kind == "TimeoutError":
        return BusyError("All connections to the database are in use.")
    return StorageError(f"The database refused ({kind}).")


def _from_sqlite(fault: sqlite3.Error) -> SyncvaultError:
    name = getattr(fault, "sqlite_errorname", None) or type(fault).__name__
    prefix = "_".join(name.split("_")[:2])
    kind, sentence = _SQLITE.get(prefix, (StorageError, "The database refused"))
    error = kind(f"{sentence} ({name}).")
    if kind is DamagedError:
        error.advice = _RESTORE
    return error


def _from_postgresql(state: str) -> SyncvaultError:
    prefix = max((known for known in _POSTGRESQL if state.startswith(known)), key=len, default="")
    kind, sentence = _POSTGRESQL.get(prefix, (StorageError, "The database refused"))
    error = kind(f"{sentence} (SQLSTATE {state}).")
    if kind is DamagedError:
        error.advice = _RESTORE
    return error
