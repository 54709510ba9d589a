"""Reading what stands before the body of an answer: headers that drip, or `100 Continue` again and again, end too."""

from __future__ import annotations

import io
import time
from http.client import HTTPResponse
from typing import Any, Final, cast

from urllib3 import HTTPSConnectionPool
from urllib3.connection import HTTPSConnection

from connectors.ews.wire.breaks import too_slow

LONGEST_HEAD: Final = 4.0  # seconds, from its first byte on
MOST_INTERIM: Final = 3


class HeadResponse(HTTPResponse):
    """An answer whose head comes within moments once it has begun."""

    def begin(self) -> None:
        """Reads the head.

        Raises:
            PassingFaultError: It hardly comes.
        """
        head = _Head(self.fp.detach())
        self.fp = io.BufferedReader(head)
        super().begin()
        head.is_over = True


class HeadConnection(HTTPSConnection):
    """A connection over which such answers come."""

    response_class = HeadResponse


class HeadPool(HTTPSConnectionPool):
    """Makes such connections."""

    ConnectionCls = HeadConnection


class _Head(io.RawIOBase):
    """What is read from a connection, within bounds until the head is over."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw = raw
        self._began: float | None = None
        self._interim = 0
        self.is_over = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        count = cast("Any", self._raw).readinto(buffer)
        if not self.is_over:
            now = time.monotonic()
            self._began = self._began or now
            if now - self._began > LONGEST_HEAD or self._interim > MOST_INTERIM:
                raise too_slow()
            if bytes(buffer[: count or 0]).endswith(b"\r\n\r\n"):  # `100 Continue`: the answer itself may take its time
                self._began = None
                self._interim += 1
        return cast("int | None", count)

    def close(self) -> None:
        self._raw.close()
        super().close()
