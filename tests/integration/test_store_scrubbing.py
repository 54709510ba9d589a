"""A database as a file: what scrubbing leaves of deleted rows, and damage that is found."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from syncvault.errors import BusyError, DamagedError
from syncvault.store import checks, contacts, mailboxes, tenants
from syncvault.store.engine import Database, open_database
from syncvault.store.statements import run, value
from tests.integration import store_rows as rows


def _markers(folder: Path) -> int:
    return sum(path.read_bytes().count(rows.MARKER) for path in folder.iterdir() if path.is_file())


def test_scrubbing_leaves_no_trace_of_deleted_rows_in_the_files(tmp_path: Path) -> None:
    database = rows.sqlite_file(tmp_path)
    owner, box = rows.fill_with_markers(database)
    with database.write() as tx:
        mailboxes.delete(tx, owner, [box])
        tenants.delete_rows(tx, owner)
    assert _markers(tmp_path) > 0  # what makes the scrub necessary
    report = database.scrub()
    assert _markers(tmp_path) == 0
    assert (tmp_path / "vault.db-wal").stat().st_size == 0
    assert report.remains
    database.close()


def test_a_scrub_insists_that_no_reader_is_open(data_db: Database) -> None:
    owner, _ = rows.fill_with_markers(data_db)
    with data_db.read() as reader:
        run(reader, "SELECT count(*) FROM contacts")
        with data_db.write() as tx:
            tenants.delete_rows(tx, owner)
        with pytest.raises(BusyError):
            data_db.scrub(["contacts"], timeout=0.2)
    data_db.scrub(["contacts"], timeout=5)


def test_a_scrub_waits_for_others_who_leave_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = rows.sqlite_file(tmp_path)
    rows.fill_with_markers(database)
    other = sqlite3.connect(tmp_path / "vault.db", isolation_level=None)
    waits: list[float] = []

    def leave(seconds: float) -> None:
        waits.append(seconds)
        other.close()

    monkeypatch.setattr(checks.time, "sleep", leave)
    other.execute("BEGIN IMMEDIATE")
    assert database.scrub(timeout=5).done
    assert waits
    database.close()


def test_whoever_keeps_a_scrub_waiting_is_named_without_its_arguments(tmp_path: Path) -> None:
    database = rows.sqlite_file(tmp_path)
    owner, _ = rows.fill_with_markers(database)
    script = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('BEGIN');"
        "c.execute('SELECT count(*) FROM contacts').fetchone(); print('reading', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "vault.db"), "s3cr3t-argument"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"reading\n"
        with database.write() as tx:
            tenants.delete_rows(tx, owner)
        with pytest.raises(BusyError) as caught:
            database.scrub(timeout=0.2)
        program = Path(f"/proc/{reader.pid}/comm").read_text().strip()
        assert f"process {reader.pid} ({program})" in caught.value.message
        assert "s3cr3t" not in caught.value.message + caught.value.advice
        reader.kill()
    assert database.scrub(timeout=5).done
    database.close()


def test_a_reader_of_its_own_process_is_called_that(tmp_path: Path) -> None:
    database = rows.sqlite_file(tmp_path)
    owner, _ = rows.fill_with_markers(database)
    with database.read() as reader:
        run(reader, "SELECT count(*) FROM contacts")
        with database.write() as tx:
            tenants.delete_rows(tx, owner)
        with pytest.raises(BusyError, match="this process itself"):
            database.scrub(timeout=0.1)
    database.close()


def test_a_file_is_written_anew_without_its_free_pages_only_when_asked(tmp_path: Path) -> None:
    database = rows.sqlite_file(tmp_path)
    owner, _ = rows.fill_with_markers(database)
    with database.write() as tx:
        tenants.delete_rows(tx, owner)
    before, report = (tmp_path / "vault.db").stat().st_size, database.scrub()
    assert not any("VACUUM" in sentence for sentence in report.done)
    assert (tmp_path / "vault.db").stat().st_size >= before
    vacuumed = database.scrub(vacuum=True)
    assert vacuumed.done[-1] == "database file written anew without its free pages (VACUUM)"
    assert (tmp_path / "vault.db").stat().st_size < before
    assert (tmp_path / "vault.db-wal").stat().st_size == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["vault.db", "vault.db-shm", "vault.db-wal"]
    with database.read() as tx:
        assert value(tx, "PRAGMA freelist_count") == 0
    database.close()


@pytest.mark.slow
@pytest.mark.parametrize("database_urls", ["postgresql"], indirect=True)
def test_scrubbing_postgresql_rewrites_the_tables_and_says_what_remains(data_db: Database) -> None:
    owner, _ = rows.fill_with_markers(data_db)
    with data_db.read() as tx:
        before = value(tx, "SELECT pg_relation_size('contacts')")
    with data_db.write() as tx:
        tenants.delete_rows(tx, owner)
    report = data_db.scrub(tenants.PERSONAL_TABLES)
    with data_db.read() as tx:
        assert before > 0
        assert value(tx, "SELECT pg_relation_size('contacts')") == 0
    assert any("write-ahead log" in sentence for sentence in report.remains)


@pytest.mark.slow
@pytest.mark.parametrize("database_urls", ["postgresql"], indirect=True)
def test_scrubbing_says_what_the_database_role_may_not_do(data_db: Database) -> None:
    with data_db.write() as tx:
        schema = value(tx, "SELECT current_schema()")
        role = f"plain_{schema}"
        run(tx, f"CREATE ROLE {role} LOGIN")
        run(tx, f"GRANT ALL ON SCHEMA {schema} TO {role}")
        run(tx, f"ALTER TABLE contacts OWNER TO {role}")
    plain = open_database(data_db.url.replace("//postgres@", f"//{role}@"))
    report = plain.scrub(["contacts"])
    plain.close()
    assert report.done == ("table contacts rewritten without deleted rows",)
    assert [sentence for sentence in report.remains if sentence.endswith("for want of permission")] == [
        "write-ahead log of the server: no segment switched for want of permission",
        "write-ahead log of the server: no checkpoint made for want of permission",
    ]


def test_sound_databases_have_no_findings(data_db: Database, key_db: Database) -> None:
    assert data_db.integrity() == []
    assert key_db.integrity(quick=True) == []


def test_a_row_whose_parent_is_missing_is_found(tmp_path: Path) -> None:
    database = rows.sqlite_file(tmp_path)
    rows.fill_with_markers(database)
    meddler = sqlite3.connect(tmp_path / "vault.db")
    meddler.execute("DELETE FROM mailboxes")
    meddler.commit()
    meddler.close()
    assert database.integrity() == ["table contacts has a row whose mailboxes is missing"]
    database.close()


def test_a_damaged_file_is_called_damaged(tmp_path: Path) -> None:
    database = rows.sqlite_file(tmp_path)
    rows.fill_with_markers(database)
    database.scrub()
    database.close()
    path = tmp_path / "vault.db"
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 8192))
    with pytest.raises(DamagedError, match="SQLITE_CORRUPT"), database.read() as tx:
        contacts.counts(tx, rows.new_id())
    database.close()
