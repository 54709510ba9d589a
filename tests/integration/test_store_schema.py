"""The schema: migrations and models agree on both engines, up, down and up again."""

from __future__ import annotations

import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from syncvault.errors import SchemaError
from syncvault.store import schema, upgrade
from syncvault.store.engine import Database, open_database
from syncvault.store.statements import run
from tests.integration.conftest import DatabaseUrls

METADATA = {"data": schema.data_metadata, "keys": schema.key_metadata}


@pytest.fixture(params=["data", "keys"])
def empty(request: pytest.FixtureRequest, database_urls: DatabaseUrls):
    database = open_database(getattr(database_urls, request.param), role=request.param, create=True)
    yield database
    database.close()


def differences(database: Database) -> list[object]:
    with database.write() as tx:
        options = {"version_table": upgrade.version_table(database.role)}
        return compare_metadata(MigrationContext.configure(tx, opts=options), METADATA[database.role])


def test_a_migrated_database_has_exactly_the_tables_of_the_models(empty: Database) -> None:
    upgrade.migrate(empty)
    assert differences(empty) == []


def test_the_comparison_would_notice_a_missing_index(empty: Database) -> None:
    upgrade.migrate(empty)
    with empty.write() as tx:
        run(tx, "DROP INDEX ix_contacts_folder_id" if empty.role == "data" else "DROP TABLE key_meta")
    assert differences(empty) != []


def test_migrations_go_down_to_nothing_and_up_again(empty: Database) -> None:
    upgrade.migrate(empty)
    upgrade.downgrade(empty, "base")
    assert len(differences(empty)) >= len(METADATA[empty.role].tables)
    upgrade.migrate(empty)
    assert differences(empty) == []


def test_an_empty_database_has_no_revision_and_a_migrated_one_the_newest(empty: Database) -> None:
    assert upgrade.schema_revision(empty) is None
    assert upgrade.check_schema(empty) is False
    upgrade.migrate(empty)
    assert upgrade.schema_revision(empty) == upgrade.REVISIONS[empty.role][-1]
    assert upgrade.check_schema(empty) is True


def test_migrating_twice_changes_nothing(empty: Database) -> None:
    upgrade.migrate(empty)
    upgrade.migrate(empty)
    assert differences(empty) == []


def test_a_schema_from_the_future_is_refused_naming_both_revisions(empty: Database) -> None:
    upgrade.migrate(empty)
    with empty.write() as tx:
        run(tx, f"UPDATE {upgrade.version_table(empty.role)} SET version_num = 'data_0099'")
    for attempt in (upgrade.check_schema, upgrade.migrate):
        with pytest.raises(SchemaError, match=rf"data_0099.*{upgrade.REVISIONS[empty.role][-1]}"):
            attempt(empty)


def test_a_migration_that_fails_leaves_nothing_behind(empty: Database) -> None:
    with empty.write() as tx:
        run(tx, "CREATE TABLE wrapped_keys (id INTEGER)" if empty.role == "keys" else "CREATE TABLE seen (id INTEGER)")
    with pytest.raises(Exception, match="database refused"):
        upgrade.migrate(empty)
    assert upgrade.schema_revision(empty) is None


@pytest.mark.parametrize("role", ["data", "keys"])
def test_the_known_revisions_are_those_of_the_migration_files(role: str) -> None:
    config = upgrade._config(role, None)  # type: ignore[arg-type]
    revisions = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert tuple(reversed(revisions)) == upgrade.REVISIONS[role]  # type: ignore[index]


def test_opening_a_vault_that_is_up_to_date_does_not_import_alembic(tmp_path) -> None:
    url = f"sqlite:///{tmp_path / 'vault.db'}"
    database = open_database(url, create=True)
    upgrade.migrate(database)
    database.close()
    program = (
        "import sys; from syncvault.store.engine import open_database;"
        "from syncvault.store.upgrade import check_schema;"
        f"assert check_schema(open_database({url!r})); print(sorted({{'alembic', 'psycopg'}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_personal_tables_carry_tenant_class_and_purge_date() -> None:
    settings = {"meta", "tenants", "data_schema"}
    for name, table in schema.data_metadata.tables.items():
        if name not in settings:
            assert "tenant_id" in table.c, name
        if name != "meta":
            assert not table.c.data_class.nullable, name
            assert not table.c.purge_at.nullable, name
