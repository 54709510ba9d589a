"""What a database's fault becomes: one of our errors, with the engine's own code and none of its words."""

from __future__ import annotations

import sqlite3

import psycopg
import pytest
from psycopg import errors
from sqlalchemy import exc

from syncvault.errors import BusyError, DamagedError, StorageError, SyncvaultError
from syncvault.store.faults import ConflictError, normalise

WORDS = "Key (name)=(Anna Becker)"


def sqlite_fault(code: str) -> sqlite3.Error:
    fault = sqlite3.OperationalError(WORDS)
    fault.sqlite_errorname = code
    return fault


@pytest.mark.parametrize(
    ("fault", "expected", "said"),
    [
        (sqlite_fault("SQLITE_BUSY_SNAPSHOT"), BusyError, "SQLITE_BUSY_SNAPSHOT"),
        (sqlite_fault("SQLITE_FULL"), StorageError, "full"),
        (sqlite_fault("SQLITE_NOTADB"), DamagedError, "damaged"),
        (sqlite_fault("SQLITE_MISUSE"), StorageError, "SQLITE_MISUSE"),
        (errors.UniqueViolation(WORDS), ConflictError, "23505"),
        (errors.ReadOnlySqlTransaction(WORDS), StorageError, "read-only"),
        (errors.SerializationFailure(WORDS), BusyError, "40001"),
        (errors.IndexCorrupted(WORDS), DamagedError, "XX002"),
        (errors.InternalError_(WORDS), StorageError, "XX000"),
        (psycopg.OperationalError(WORDS), StorageError, "cannot be reached"),
        (exc.TimeoutError(WORDS), BusyError, "in use"),
        (exc.InvalidRequestError(WORDS), StorageError, "InvalidRequestError"),
    ],
)
def test_a_fault_becomes_an_error_of_ours(fault: Exception, expected: type[SyncvaultError], said: str) -> None:
    for given in (fault, exc.DBAPIError("SELECT 1", {}, fault)):
        error = normalise(given)
        assert type(error) is expected
        assert said in error.message
        assert "Anna" not in error.message + error.advice


@pytest.mark.parametrize("fault", [sqlite_fault("SQLITE_CORRUPT"), errors.DataCorrupted()])
def test_damage_is_answered_with_a_backup(fault: Exception) -> None:
    assert "backup" in normalise(fault).advice
