"""An erasure that a foreign reader holds up: who that is, what nobody can do meanwhile, and how it ends."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from syncvault.errors import BusyError, NotFoundError
from syncvault.store.checks import ScrubReport
from syncvault.store.engine import Database
from syncvault.vault import tenants
from syncvault.vault.content import contacts
from syncvault.vault.erasing import erasure
from tests.integration.fake_exchange import FakeExchange
from tests.integration.vault_parts import Place, register, sync

READER = (
    "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('BEGIN');"
    "c.execute('SELECT count(*) FROM contacts').fetchone(); print('reading', flush=True); sys.stdin.read()"
)
pytestmark = pytest.mark.parametrize("database_urls", ["sqlite"], indirect=True)


@contextmanager
def reading(path: Path) -> Iterator[int]:
    """Another process that leaves a snapshot open; gives its number."""
    command = [sys.executable, "-c", READER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"reading\n"
        yield reader.pid
        reader.kill()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    scrub = Database.scrub

    def at_once(self: Database, tables: tuple[str, ...] = (), *, vacuum: bool = False) -> ScrubReport:
        return scrub(self, tables, timeout=0.2, vacuum=vacuum)

    monkeypatch.setattr(Database, "scrub", at_once)


def test_who_reads_is_named_and_the_erasure_is_finished_when_he_is_gone(place: Place, exchange: FakeExchange) -> None:
    exchange.hire("ann", "a1")
    vault = place.create()
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    with reading(place.home / "vault.db") as pid:
        with pytest.raises(BusyError, match=rf"process {pid} \(") as refused:
            erasure.erase(vault, tenant, reason=erasure.ON_DEMAND, role="root")
        assert refused.value.exit_code == 11
        assert not any(vault.layout.receipts.glob("*"))  # nothing is said to be gone that is not
        with pytest.raises(NotFoundError):
            list(contacts.stream(vault, tenant))
        assert tenants.find(vault, "acme").profile is None
    erased = erasure.erase(vault, tenants.find(vault, "acme"), reason=erasure.ON_DEMAND, role="root")
    assert (erased.status, erased.plan.contacts) == ("final", 2)


def test_a_reader_of_the_key_store_holds_it_up_too(place: Place) -> None:
    vault = place.create()
    tenant = register(vault, "acme")
    with sqlite3.connect(place.home / "keys.db", isolation_level=None) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM wrapped_keys").fetchone()
        with pytest.raises(BusyError, match="cannot be scrubbed yet"):
            erasure.erase(vault, tenant, reason=erasure.ON_DEMAND, role="root")
    connection.close()
    assert not any(vault.layout.receipts.glob("*"))
