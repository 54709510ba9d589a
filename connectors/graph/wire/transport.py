"""One HTTP exchange over verified TLS, bounded in time and size: no redirects, no cookies.

Of the environment it takes the proxy (`HTTPS_PROXY`, `NO_PROXY`) and nothing else: a proxy is asked to connect through
(`CONNECT`), and TLS is verified from here to the server all the same, so a token never reaches the proxy in the clear.
"""

from __future__ import annotations

import re
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ProxyError, SSLError

from connectors.graph.wire import tracing
from connectors.lines import Lines, StalledError
from connectors.port import Unreachable
from connectors.trust import proxy_from_environment, tls_context

CONNECT_SECONDS: Final = 10.0
SILENCE_SECONDS: Final = 30.0  # between two pieces of an answer
ANSWER_SECONDS: Final = 300.0  # for a whole answer: a server that drips must not hold a thread
_CONNECTIONS: Final = 16  # kept open to one host
_ALWAYS: Final = {"User-Agent": "syncvault", "Accept-Encoding": "gzip"}
_BLOCK: Final = 256 * 1024
_TIMEOUT: Final = urllib3.Timeout(connect=CONNECT_SECONDS, read=SILENCE_SECONDS)
_NO_TUNNEL: Final = re.compile(r"Tunnel connection failed: (\d{3})")  # what http.client says of a proxy's refusal
_NO_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG"})
_PROXY_ADVICE: Final = (
    "Check HTTPS_PROXY, and that the proxy lets CONNECT through to Microsoft's hosts;"
    " NO_PROXY or `syncvault tenant edit TENANT --no-proxy` go without it."
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    status: int
    headers: Mapping[str, str] = field(repr=False)  # looked up in any case
    body: bytes = field(repr=False)

    @property
    def is_html(self) -> bool:
        """A page for people: some proxy or portal talks, not the service."""
        return "html" in self.headers.get("Content-Type", "").lower()


class BrokenError(Exception):
    """No whole answer came.

    Attributes:
        connected: Whether a connection was made at all.
        by_proxy: Whether a proxy is in between, which may be what breaks it.
    """

    def __init__(self, *, connected: bool, by_proxy: bool = False) -> None:
        super().__init__("no whole answer came")
        self.connected = connected
        self.by_proxy = by_proxy

    def lasting(self, message: str) -> Unreachable:
        """The port's error for when this does not pass; `message` says who cannot be reached."""
        error = Unreachable(message)
        if self.by_proxy:
            error = Unreachable(f"{message} There is a proxy in between.", code="proxy", advice=_PROXY_ADVICE)
        error.concerns_all = not self.connected
        return error


class TooLargeError(Exception):
    """The answer is larger than the caller takes; the rest was not read."""


class Transport:
    """A pool of connections for one tenant; safe to use from several threads.

    Args:
        ca_pem: Certificates in PEM form, trusted in addition to the system's.
        uses_proxy: Whether to go through the proxy that the environment names.
        lines: What the connections belong to.
    """

    def __init__(self, ca_pem: str = "", *, uses_proxy: bool = True, lines: Lines | None = None) -> None:
        self.lines = lines or Lines()
        self._context = tls_context(ca_pem)
        self._uses_proxy = uses_proxy
        self._hosts: dict[str, _Host] = {}  # by origin
        self._opening = threading.Lock()

    def send(
        self, method: str, origin: str, path: str, *, headers: Mapping[str, str], body: bytes | None, limit: int
    ) -> Answer:
        """Sends a request and reads the whole answer.

        Args:
            method: `GET` or `POST`.
            origin: `https://host[:port]`.
            path: What follows it, query included, sent as it is.
            headers: All headers but those of the connection.
            body: The request's body.
            limit: Bytes of the answer's body at most, after decompression.

        Raises:
            BrokenError: The connection failed, broke, or went silent.
            TooLargeError: The answer is larger than `limit`.
            Unreachable: The server's certificate is not trusted, or the proxy refuses or is none.
            WaitEnded: Or what else `Lines.check` raises.
        """
        host = self._host(origin)
        started = time.monotonic()
        outcome: int | str = "broken"
        content = b""
        try:
            # The pool without a session around it: no cookies, no bundles or passwords from the environment, and
            # redirects come back as they are. It takes a third less time than requests too.
            with host.connections.urlopen(
                method,
                path,
                body=body,
                headers={**_ALWAYS, **headers},
                retries=False,
                redirect=False,
                assert_same_host=False,
                timeout=_TIMEOUT,
                preload_content=False,
            ) as response:
                content = _read(response, limit, started + ANSWER_SECONDS)
                outcome = response.status
                return Answer(response.status, response.headers, content)
        except (HTTPError, StalledError, OSError, ValueError) as error:
            # A ValueError is a header, the token maybe, that cannot be sent.
            # "from None": the messages below hold whole addresses.
            if _distrusted(error):
                raise Unreachable("The server's TLS certificate is not trusted.", code="tls") from None
            if host.by_proxy:
                raise _of_proxy(error) from None
            raise BrokenError(connected=not _never_connected(error)) from None
        finally:
            tracing.record(method, path, outcome, len(content), time.monotonic() - started)

    def _host(self, origin: str) -> _Host:
        """The connections to an origin; the environment does not change under a run, so it is looked at once."""
        with self._opening:
            if origin not in self._hosts:
                self._hosts[origin] = self._open(origin)
            return self._hosts[origin]

    def _open(self, origin: str) -> _Host:
        try:
            proxy = proxy_from_environment(origin) if self._uses_proxy else ""
        except ValueError:
            raise Unreachable("HTTPS_PROXY names no proxy.", code="proxy", advice=_PROXY_ADVICE) from None
        options: dict[str, Any] = {"ssl_context": self._context, "cert_reqs": "CERT_REQUIRED"}
        options["maxsize"] = _CONNECTIONS
        manager = _through(proxy, self._context, options) if proxy else urllib3.PoolManager(**options)
        manager.pool_classes_by_scheme = self.lines.pools()
        return _Host(manager.connection_from_url(origin), by_proxy=bool(proxy))

    def close(self) -> None:
        """Ends the connections."""
        for host in self._hosts.values():
            host.connections.close()


@dataclass(frozen=True, slots=True)
class _Host:
    connections: urllib3.HTTPConnectionPool
    by_proxy: bool


def _through(proxy: str, context: ssl.SSLContext, options: Mapping[str, Any]) -> urllib3.ProxyManager:
    """Connections through a proxy, which is told the user and password that its address names, and nobody else is."""
    parts = urlsplit(proxy)
    headers = {}
    if parts.username:
        user, password = unquote(parts.username), unquote(parts.password or "")
        headers = urllib3.make_headers(proxy_basic_auth=f"{user}:{password}")
    return urllib3.ProxyManager(proxy, proxy_headers=headers, proxy_ssl_context=context, **options)


def _read(response: urllib3.BaseHTTPResponse, limit: int, deadline: float) -> bytes:
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) > limit:
        raise TooLargeError
    pieces: list[bytes] = []
    size = 0
    for piece in response.stream(_BLOCK, decode_content=True):
        size += len(piece)
        if size > limit:
            raise TooLargeError
        if time.monotonic() > deadline:
            raise TimeoutError
        pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _distrusted(error: BaseException) -> bool:
    return any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error))


def _never_connected(error: BaseException) -> bool:
    return any(isinstance(cause, NewConnectionError | ConnectTimeoutError) for cause in _causes(error))


def _of_proxy(error: BaseException) -> Unreachable | BrokenError:
    """A failure of a connection that goes through a proxy."""
    causes = list(_causes(error))
    refused = next(filter(None, (_NO_TUNNEL.search(str(cause)) for cause in causes)), None)
    if refused and refused.group(1) < "500":  # beyond that the server may be down, and may come back
        message = f"The proxy refuses to connect (HTTP {refused.group(1)})."
        return _for_all(Unreachable(message, code="proxy", advice=_PROXY_ADVICE))
    if any(isinstance(cause, ssl.SSLError) and cause.reason in _NO_TLS for cause in causes):
        message = "The proxy answers in the server's place, without TLS."
        return _for_all(Unreachable(message, code="proxy", advice=_PROXY_ADVICE))
    never = isinstance(error, ProxyError | SSLError) or _never_connected(error)
    return BrokenError(connected=not never, by_proxy=True)


def _for_all(error: Unreachable) -> Unreachable:
    """The error, of a connection that nothing else of the tenant fares better with."""
    error.concerns_all = True
    return error


def _causes(error: BaseException | None, depth: int = 0) -> Iterator[BaseException]:
    # urllib3 wraps ssl and socket: as argument, as reason, or as cause.
    if error is None or depth > 8:
        return
    yield error
    nested = [*error.args, getattr(error, "reason", None), error.__cause__]
    for inner in nested:
        if isinstance(inner, BaseException):
            yield from _causes(inner, depth + 1)
