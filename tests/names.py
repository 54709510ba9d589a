"""Host names on loopback: they are dialled to a port here, and TLS is verified by the names all the same."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def dialled(names: Mapping[str, int]) -> Iterator[None]:
    """Leads each name to a port on loopback, whatever port is asked for; other names do not exist."""
    honest = socket.getaddrinfo

    def look_up(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host in {"127.0.0.1", "localhost"}:
            return honest(host, port, *args, **kwargs)
        if host not in names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return honest("127.0.0.1", names[host], *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", look_up)
        yield
