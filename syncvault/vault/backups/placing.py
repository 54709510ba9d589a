"""Puts a restored database in its place: a SQLite file by a rename, a PostgreSQL one in a single transaction.

Every restore has a token, which its databases carry. A place that holds the token holds what this very restore put
there before it was killed; one that holds anything else is left alone.
"""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from syncvault.errors import InputError, StorageError, SyncvaultError
from syncvault.store import meta
from syncvault.store.engine import Database, Role, open_database
from syncvault.store.transfer import clear, copy_rows, open_archive
from syncvault.store.upgrade import migrate, schema_revision
from syncvault.store.urls import parse_url
from syncvault.vault.backups import archive
from syncvault.vault.layout import sync_directory

MARK: Final = "restore"  # in `meta` and `key_meta`: the token
_JOURNALS: Final = ("-journal", "-wal", "-shm")
_OPTIONS: Final[dict[Role, str]] = {"data": "--database", "keys": "--key-database"}


def require_free(url: str, role: Role, token: str) -> None:
    """Refuses a place that holds a database which this restore has not put there.

    Raises:
        InputError: It does.
        StorageError: It cannot be looked at.
    """
    path = parse_url(url).path
    if path is not None and not os.path.lexists(path):
        return
    if _token(url, path, role) not in {None, token}:
        raise InputError(
            f"There is a {role} database at {path or 'the URL given'} already.",
            advice=f"Move it away, or name another with {_OPTIONS[role]}; nothing was touched.",
        )


def put(staged: Path, url: str, role: Role) -> None:
    """Puts a finished file at a place that is free."""
    path = parse_url(url).path
    if path is None:
        _put_rows(staged, url, role)
        return
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for journal in _JOURNALS:  # of a database that is gone; with the new file they would be taken for its own
            path.with_name(path.name + journal).unlink(missing_ok=True)
        try:
            staged.rename(path)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            draft = path.with_name(path.name + ".new")
            draft.unlink(missing_ok=True)
            archive.copy_file(staged, draft)
            draft.rename(path)
        sync_directory(path.parent)
    except OSError as error:
        raise StorageError(f"The {role} database cannot be put at {path}: {error.strerror}.") from None


def _put_rows(staged: Path, url: str, role: Role) -> None:
    with ExitStack() as opened:
        source, target = open_archive(staged, role), open_database(url, role=role)
        opened.callback(source.close)
        opened.callback(target.close)
        migrate(target)
        with source.read() as tx, target.write() as into:
            clear(into, role)
            copy_rows(tx, into, role)


def _token(url: str, path: Path | None, role: Role) -> str | None:
    """The token of the database at a place; None if nothing was ever stored there, empty for one of somebody else's."""
    database: Database = open_database(url, role=role) if path is None else open_archive(path, role)
    try:
        if schema_revision(database) is None:
            return None if path is None else ""
        with database.read() as tx:
            keys = role == "keys"
            token = meta.get(tx, MARK, keys=keys)
            return token or ("" if meta.get(tx, "vault_id", keys=keys) else None)
    except SyncvaultError:
        if path is None:
            raise
        return ""  # damaged, or no database: somebody's file
    finally:
        database.close()
