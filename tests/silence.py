"""Simulators that take a connection or a request and say nothing more, until the test is over."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.simulators.listening import Connection, Listener


@contextmanager
def fallen_silent(stage: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Silences every simulator before a `handshake`, an `answer` or a `body`; gives what is set once it is so."""
    silent, over = threading.Event(), threading.Event()

    def hold() -> None:
        silent.set()
        over.wait(60)

    def hold_connection(server: Listener, request: Any, client: Any) -> None:
        hold()
        server.shutdown_request(request)

    def read_and_hold(connection: Connection) -> bytes | None:
        read = read_body(connection)
        hold()
        return read

    def hold_body(connection: Any) -> None:
        has_body = b" 200 " in connection._headers_buffer[0]
        end_headers(connection)
        if has_body:
            connection.wfile.flush()
            hold()

    read_body, end_headers = Connection.read_body, Connection.end_headers
    with monkeypatch.context() as patch:
        if stage == "handshake":
            patch.setattr(Listener, "process_request_thread", hold_connection)
        elif stage == "answer":
            patch.setattr(Connection, "read_body", read_and_hold)
        else:
            patch.setattr(Connection, "end_headers", hold_body)
        try:
            yield silent
        finally:
            over.set()
