"""The database under stress: concurrent writers, killed writers, readers beside writers, and faults."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from syncvault.errors import BusyError, DamagedError, NoVaultError, StorageError, SyncvaultError, UsageError
from syncvault.store import contacts, mailboxes, meta, tenants, upgrade
from syncvault.store.engine import Database, open_database
from syncvault.store.statements import run, value
from tests.integration import store_rows as rows


def child(program: str, *arguments: str) -> subprocess.Popen[str]:
    """Runs a program in a process of its own that says `ready` once it stands where the test wants it."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "ready"
    return process


def end(process: subprocess.Popen[str], *, kill: bool = False) -> None:
    if kill:
        process.send_signal(signal.SIGKILL)
    process.communicate()


def test_four_concurrent_writers_lose_nothing(data_db: Database) -> None:
    with data_db.write() as tx:
        meta.put(tx, "count", "0")

    def count_up() -> None:
        # PostgreSQL needs the row locked to be read before it is written; SQLite has one writer at a time.
        lock = "" if data_db.dialect == "sqlite" else "FOR UPDATE"
        for _ in range(25):
            with data_db.write() as tx:
                count = int(value(tx, f"SELECT value FROM meta WHERE name = 'count' {lock}"))
                meta.put(tx, "count", str(count + 1))

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(count_up) for _ in range(4)]:
            future.result()
    with data_db.read() as tx:
        assert meta.get(tx, "count") == "100"


@pytest.mark.slow
def test_writers_in_other_processes_lose_nothing(data_db: Database) -> None:
    program = (
        "import os, sys; from syncvault.store import runs; from syncvault.store.engine import open_database\n"
        "db = open_database(sys.argv[1]); print('ready', flush=True); sys.stdin.readline()\n"
        "for n in range(25):\n"
        "    row = runs.RunRow(os.urandom(16), bytes(16), n, None, None, '{}', 'run-history', 9)\n"
        "    with db.write() as tx: runs.insert(tx, row)\n"
    )
    writers = [child(program, data_db.url) for _ in range(3)]
    for writer in writers:
        writer.communicate("go\n")
        assert writer.returncode == 0
    with data_db.read() as tx:
        assert value(tx, "SELECT count(*) FROM runs") == 75


def test_a_writer_killed_in_the_middle_leaves_nothing_half(data_db: Database) -> None:
    owner = rows.tenant()
    box = rows.mailbox(owner)
    with data_db.write() as tx:
        tenants.insert(tx, owner)
        mailboxes.insert_many(tx, [box])
    program = (
        "import os, sys; from syncvault.store import contacts; from syncvault.store.engine import open_database\n"
        "tenant, box = bytes.fromhex(sys.argv[2]), bytes.fromhex(sys.argv[3])\n"
        "rows = [contacts.ContactRow(os.urandom(16), tenant, box, None, 'card', os.urandom(16), bytes(9000), None,"
        " 'contact', 1) for _ in range(3000)]\n"  # more than the page cache holds, so that some of it is on disk
        "with open_database(sys.argv[1]).write() as tx:\n"
        "    contacts.insert_many(tx, rows); print('ready', flush=True); sys.stdin.readline()\n"
    )
    end(child(program, data_db.url, owner.id.hex(), box.id.hex()), kill=True)
    with data_db.write() as tx:
        assert contacts.counts(tx, owner.id) == {}
        contacts.insert_many(tx, [rows.contact(box)])
    assert data_db.integrity() == []


def test_an_exception_rolls_everything_back(data_db: Database) -> None:
    def fail() -> None:
        with data_db.write() as tx:
            meta.put(tx, "half", "written")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with data_db.read() as tx:
        assert meta.get(tx, "half") is None


def test_a_reader_sees_one_state_while_others_write(data_db: Database) -> None:
    with data_db.write() as tx:
        meta.put(tx, "state", "before")
    with data_db.read() as reader:
        assert meta.get(reader, "state") == "before"
        with data_db.write() as tx:
            meta.put(tx, "state", "after")
        assert meta.get(reader, "state") == "before"
    with data_db.read() as reader:
        assert meta.get(reader, "state") == "after"


def test_a_read_transaction_cannot_write(data_db: Database) -> None:
    with pytest.raises(StorageError, match="read-only"), data_db.read() as tx:
        meta.put(tx, "name", "value")
    with data_db.write() as tx:
        meta.put(tx, "name", "value")


def test_threads_have_connections_of_their_own(data_db: Database) -> None:
    together = threading.Barrier(4)

    def look(_: int) -> int:
        with data_db.read() as tx:
            run(tx, "SELECT 1")
            together.wait(10)
            return id(tx.connection.dbapi_connection)

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(look, range(4)))) == 4


def test_a_forked_child_does_not_share_the_parents_connections(data_db: Database) -> None:
    with data_db.write() as tx:
        meta.put(tx, "parent", "here")
    program = (
        "import os, sys; from syncvault.store import meta; from syncvault.store.engine import open_database\n"
        "db = open_database(sys.argv[1])\n"
        "with db.read() as tx: meta.get(tx, 'parent')\n"
        "if os.fork() == 0:\n"
        "    assert db._reader.pool.checkedin() == 0\n"
        "    with db.write() as tx: meta.put(tx, 'child', 'here')\n"
        "    os._exit(0)\n"
        "assert os.waitstatus_to_exitcode(os.wait()[1]) == 0\n"
        "with db.read() as tx: print('ready' if meta.get(tx, 'child') else 'lost')\n"
    )
    end(child(program, data_db.url))


def test_errors_of_the_database_carry_no_values(data_db: Database) -> None:
    owner = rows.tenant(profile=rows.MARKER, name_ix=rows.MARKER[:16])
    with data_db.write() as tx:
        tenants.insert(tx, owner)
    with pytest.raises(StorageError) as caught, data_db.write() as tx:
        tenants.insert(tx, owner)
    shown = f"{caught.value!r} {caught.value.advice} {caught.value.__cause__!r}"
    assert "MARKER" not in shown
    assert rows.MARKER.hex() not in shown
    assert caught.value.__suppress_context__


def test_a_file_that_is_no_database_is_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "vault.db").write_bytes(b"hello" * 1000)
    database = open_database(f"sqlite:///{tmp_path / 'vault.db'}")
    with pytest.raises(DamagedError, match="NOTADB"):
        upgrade.schema_revision(database)
    database.close()


def test_a_missing_file_is_no_vault(tmp_path: Path) -> None:
    with pytest.raises(NoVaultError):
        open_database(f"sqlite:///{tmp_path / 'vault.db'}")
    with pytest.raises(StorageError, match="cannot be created"):
        open_database(f"sqlite:///{tmp_path / 'nowhere' / 'vault.db'}", create=True)


def test_database_files_are_the_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        database = rows.sqlite_file(tmp_path)
        with database.write() as tx:
            meta.put(tx, "name", "value")
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"vault.db": 0o600, "vault.db-wal": 0o600, "vault.db-shm": 0o600}
    database.close()


def test_a_full_disk_leaves_the_last_state_and_says_so(tmp_path: Path) -> None:
    database = rows.sqlite_file(tmp_path)
    owner, _ = rows.fill_with_markers(database)

    def fill_up() -> None:
        with database.write() as tx:
            run(tx, "PRAGMA max_page_count = 10")
            tenants.insert(tx, rows.tenant(profile=bytes(10_000_000)))

    with pytest.raises(StorageError, match="disk is full"):
        fill_up()
    database.close()
    with database.read() as tx:
        assert [row.id for row in tenants.list_all(tx)] == [owner]
    database.close()


def test_a_database_that_may_not_be_written_says_so() -> None:
    with tempfile.TemporaryDirectory() as folder:  # not under tmp_path, which another user may not enter
        path, user = Path(folder), os.geteuid()
        database = rows.sqlite_file(path)
        database.scrub()
        database.close()
        path.chmod(0o755)
        (path / "vault.db").chmod(0o444)
        if user == 0:  # root may write whatever the mode says
            os.seteuid(65534)
        try:
            with pytest.raises(StorageError), database.write() as tx:
                meta.put(tx, "name", "value")
        finally:
            os.seteuid(user)
            database.close()


def test_a_server_that_is_not_there_is_reported_without_a_traceback() -> None:
    database = open_database("postgresql://nobody@127.0.0.1:1/vault?connect_timeout=2")
    with pytest.raises(StorageError, match="cannot be reached"):
        upgrade.schema_revision(database)


def test_a_password_in_a_url_never_reaches_the_driver() -> None:
    with pytest.raises(UsageError, match="password"):
        open_database("postgresql://vault:hunter2@db.example/vault")


def test_without_the_driver_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UsageError) as caught:
        open_database("postgresql:///vault")
    assert "syncvault[postgres]" in caught.value.advice


def test_a_writer_that_waits_too_long_is_told_that_another_writes(tmp_path: Path) -> None:
    database = rows.sqlite_file(tmp_path)
    with database.write() as tx:
        meta.put(tx, "name", "value")
        other = sqlite3.connect(tmp_path / "vault.db", timeout=0)
        with pytest.raises(sqlite3.OperationalError) as caught:
            other.execute("BEGIN IMMEDIATE")
        other.close()
    from syncvault.store.faults import normalise

    error: SyncvaultError = normalise(caught.value)
    assert isinstance(error, BusyError)
    database.close()


def test_every_connection_is_durable_and_erases(tmp_path: Path) -> None:
    database = rows.sqlite_file(tmp_path)
    names = ("journal_mode", "synchronous", "secure_delete", "foreign_keys", "temp_store")
    with database.write() as tx:
        assert [value(tx, f"PRAGMA {name}") for name in names] == ["wal", 2, 1, 1, 2]
    database.close()
