"""Brings a database to the schema of this version, and refuses one that a newer version made.

Surface:

    schema_revision(db) -> str | None          what the database says; None if it holds no tables yet
    check_schema(db) -> bool                   True if up to date, False if `migrate` is needed; raises SchemaError
    migrate(db) -> None                        to the newest revision, in one transaction
    downgrade(db, revision) -> None            "base" for nothing

Only `migrate` and `downgrade` import Alembic (0.7 s): opening a vault that is up to date reads one row.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import sqlalchemy
from sqlalchemy.exc import NoSuchTableError

from syncvault.errors import SchemaError
from syncvault.store import schema
from syncvault.store.engine import Database, Role, Transaction

if TYPE_CHECKING:
    from alembic.config import Config

# Oldest first. A test keeps this in step with the files in `migrations/`.
REVISIONS: Final[dict[Role, tuple[str, ...]]] = {
    "data": ("data_0001", "data_0002"),
    "keys": ("keys_0001", "keys_0002"),
}

_VERSION_TABLES: Final[dict[Role, str]] = {"data": "data_schema", "keys": "key_schema"}
_METADATA: Final = {"data": schema.data_metadata, "keys": schema.key_metadata}


def version_table(role: Role) -> str:
    """The table in which a database notes its revision."""
    return _VERSION_TABLES[role]


def schema_revision(db: Database) -> str | None:
    """The revision the database is at; None if nothing was ever migrated there."""
    with db.read() as tx:
        return _revision(tx, db.role)


def check_schema(db: Database) -> bool:
    """Whether the database is at this version's revision; False if it has to be migrated first.

    Raises:
        SchemaError: It is at a revision this version does not know: a newer version made it.
    """
    revision, known = schema_revision(db), REVISIONS[db.role]
    if revision is not None and revision not in known:
        raise SchemaError(
            f"The {db.role} database has schema {revision}, this version of syncvault knows up to {known[-1]}."
        )
    return revision == known[-1]


def migrate(db: Database) -> None:
    """Brings the database to this version's revision; all of it or nothing.

    Raises:
        SchemaError: It is at a revision this version does not know.
    """
    if check_schema(db):
        return
    from alembic import command  # noqa: PLC0415  (heavy, and rarely needed)

    with db.write() as tx:
        command.upgrade(_config(db.role, tx), "head")


def downgrade(db: Database, revision: str) -> None:
    """Takes the database back to an older revision; `base` drops every table."""
    from alembic import command  # noqa: PLC0415  (heavy, and rarely needed)

    with db.write() as tx:
        command.downgrade(_config(db.role, tx), revision)


def _revision(tx: Transaction, role: Role) -> str | None:
    table = _VERSION_TABLES[role]
    try:
        sqlalchemy.inspect(tx).get_columns(table)
    except NoSuchTableError:
        return None
    found = tx.exec_driver_sql(f"SELECT version_num FROM {table}").scalar()  # noqa: S608  (one of two)
    return None if found is None else str(found)


def _config(role: Role, tx: Transaction) -> Config:
    from alembic.config import Config  # noqa: PLC0415  (heavy, and rarely needed)

    here = Path(__file__).parent / "migrations"
    config = Config()
    for option, folder in (("script_location", here), ("version_locations", here / role)):
        config.set_main_option(option, str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.attributes.update(connection=tx, metadata=_METADATA[role], version_table=_VERSION_TABLES[role])
    return config
