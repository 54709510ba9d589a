"""Connections that end when they have to: cut when nobody waits any more, given up where a head drips or has no end.

Who is blocked in a socket hears of nothing else. So whoever gives up shuts the socket down, from another thread: the
wait for a connection, a handshake, an answer or more of one is over then, and costs nothing as long as nobody does.
"""

from __future__ import annotations

import errno
import io
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http.client import HTTPResponse
from typing import Any, Final, cast

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.wait import wait_for_write

from connectors.port import WaitEnded
from connectors.throttle import Sleep

LONGEST_HEAD: Final = 4.0  # seconds, from its first byte on
MOST_INTERIM: Final = 3
_BEGUN: Final = frozenset({0, errno.EINPROGRESS})


class StalledError(Exception):
    """The head of an answer began and hardly goes on."""


class Lines:
    """The connections of one tenant, which can all be cut at once; safe to use from several threads.

    Args:
        sleep: Raises why nobody waits any more, however short the wait that it is asked for.
    """

    def __init__(self, sleep: Sleep = time.sleep) -> None:
        self._sleep = sleep
        # A thread that holds it may be the one that collects garbage, and closes a forgotten answer by that.
        self._lock = threading.RLock()
        self._open: set[socket.socket] = set()
        self._is_cut = False

    def hang_up(self) -> None:
        """Cuts the connections; no other is made any more."""
        with self._lock:
            self._is_cut = True
            for handle in tuple(self._open):
                with suppress(OSError):  # the other side was faster
                    handle.shutdown(socket.SHUT_RDWR)

    def check(self) -> None:
        """Raises WaitEnded, or what `sleep` raises, once they are cut: what failed or ended then did so for that."""
        if self._is_cut:
            self._sleep(0.0)
            raise WaitEnded

    def opened(self, line: socket.socket) -> socket.socket:
        """Takes in a socket that is being connected; gives what `closed` wants to be told.

        Raises:
            WaitEnded: Or what `sleep` raises: they have been cut.
        """
        # A descriptor of our own: the socket's number may be another one's by the time that somebody cuts it.
        handle = line.dup()
        with self._lock:
            self._open.add(handle)
            is_cut = self._is_cut
        if is_cut:
            self.closed(handle)
            self.check()
        return handle

    def closed(self, handle: socket.socket) -> None:
        """Lets go of a socket."""
        with self._lock:
            self._open.discard(handle)
        handle.close()

    def pools(self) -> dict[str, Any]:
        """What `PoolManager.pool_classes_by_scheme` is to be, for connections of these lines."""
        return {"http": partial(_Pool, lines=self), "https": partial(_SecurePool, lines=self)}


class _Connection(HTTPConnection):
    lines: Lines  # set by its pool
    _handle: socket.socket | None = None

    @property
    def response_class(self) -> Callable[..., HTTPResponse]:  # type: ignore[override]
        """What reads answers."""
        return partial(_Response, lines=self.lines, closed=partial(self._let_go, self.sock, self._handle))

    def connect(self) -> None:
        """Connects, proxy and handshake included.

        Raises:
            WaitEnded: Or what else `Lines.check` raises.
        """
        try:
            super().connect()
        except Exception:  # whatever came of it: of a connection that was cut, that is the reason
            self.lines.check()
            raise

    def close(self) -> None:
        """Closes the socket, or leaves that to an answer that is still being read."""
        line = self.sock
        super().close()
        self._let_go(line, self._handle)

    def _let_go(self, line: Any, handle: socket.socket | None) -> None:
        if handle is not None and line is not None and line.fileno() < 0:
            self.lines.closed(handle)

    def _new_conn(self) -> socket.socket:
        # As urllib3 does it, but that the socket is known before anybody waits for it.
        try:
            return self._connected()
        except (socket.gaierror, UnicodeError) as error:
            raise NameResolutionError(self.host, self, error) from error  # type: ignore[arg-type]
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "timed out") from error
        except OSError as error:
            raise NewConnectionError(self, str(error)) from error

    def _connected(self) -> socket.socket:
        failure = OSError("the name stands for no address")
        for *kind, _, address in socket.getaddrinfo(self._dns_host.strip("[]"), self.port, type=socket.SOCK_STREAM):
            try:
                return self._begun(socket.socket(*kind), address)
            except OSError as error:
                failure = error
        raise failure

    def _begun(self, line: socket.socket, address: Any) -> socket.socket:
        try:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            line.setblocking(False)
            begun = line.connect_ex(address)  # cutting works on what has begun
            if begun not in _BEGUN:
                raise OSError(begun, os.strerror(begun))
            self._handle = self.lines.opened(line)
            self._await(line)
        except BaseException:
            line.close()
            self._let_go(line, self._handle)
            raise
        line.settimeout(self.timeout)
        return line

    def _await(self, line: socket.socket) -> None:
        if not wait_for_write(line, self.timeout):
            raise TimeoutError
        self.lines.check()
        if failed := line.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(failed, os.strerror(failed))


class _SecureConnection(_Connection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection

    def __init__(self, *args: Any, lines: Lines, **options: Any) -> None:
        super().__init__(*args, **options)
        self._lines = lines

    def _new_conn(self) -> Any:
        connection: Any = super()._new_conn()
        connection.lines = self._lines
        return connection


class _SecurePool(_Pool, HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class _Response(HTTPResponse):
    """An answer whose head comes within moments once it has begun; `StalledError` where it does not."""

    def __init__(
        self, line: socket.socket, *args: Any, lines: Lines, closed: Callable[[], None], **options: Any
    ) -> None:
        super().__init__(line, *args, **options)
        self._reading = _Reading(self.fp.detach(), lines, closed)
        self.fp = io.BufferedReader(self._reading)

    def begin(self) -> None:
        """Reads the head."""
        super().begin()
        self._reading.is_body = True


class _Reading(io.RawIOBase):
    """What is read from a connection, as long as it is not cut, and within bounds until the head is over."""

    def __init__(self, raw: io.RawIOBase, lines: Lines, closed: Callable[[], None]) -> None:
        self._raw = raw
        self._lines = lines
        self._closed = closed
        self._began: float | None = None
        self._interim = 0
        self.is_body = False

    @property
    def _sock(self) -> socket.socket | None:
        """Where sign-in by NTLM looks for the certificate that it is bound to."""
        return getattr(self._raw, "_sock", None)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        try:
            count = cast("int | None", cast("Any", self._raw).readinto(buffer))
        except OSError:
            self._lines.check()
            raise
        if not count:
            self._lines.check()
        if not self.is_body:
            self._check_head(bytes(buffer[: count or 0]))
        return count

    def _check_head(self, piece: bytes) -> None:
        now = time.monotonic()
        self._began = self._began or now
        if now - self._began > LONGEST_HEAD or self._interim > MOST_INTERIM:
            raise StalledError
        if piece.endswith(b"\r\n\r\n"):  # `100 Continue`: the answer itself may take its time
            self._began = None
            self._interim += 1

    def close(self) -> None:
        self._raw.close()
        super().close()
        self._closed()
