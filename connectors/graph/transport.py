"""One HTTP exchange over verified TLS, bounded in time and size: no redirects, no cookies, no environment."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import requests
from urllib3.exceptions import HTTPError, NewConnectionError

from connectors.graph import wire
from connectors.port import Unreachable
from connectors.trust import TrustAdapter, tls_context

CONNECT_SECONDS: Final = 10.0
SILENCE_SECONDS: Final = 30.0  # between two pieces of an answer
ANSWER_SECONDS: Final = 300.0  # for a whole answer: a server that drips must not hold a thread
_POOL: Final = 16
_ALWAYS: Final = {"User-Agent": "syncvault", "Accept-Encoding": "gzip"}
_BLOCK: Final = 256 * 1024


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
    """No whole answer came. `connected` tells whether a connection was made at all."""

    def __init__(self, *, connected: bool) -> None:
        super().__init__("no whole answer came")
        self.connected = connected


class TooLargeError(Exception):
    """The answer is larger than the caller takes; the rest was not read."""


class Transport:
    """A pool of connections for one tenant; safe to use from several threads."""

    def __init__(self, ca_pem: str = "") -> None:
        # The adapter without a session around it: no cookies, no proxies or passwords from the environment, and
        # redirects come back as they are, where a session would read their whole body.
        self._adapter = TrustAdapter(tls_context(ca_pem), pool_connections=4, pool_maxsize=_POOL, max_retries=0)

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
            Unreachable: The server's certificate is not trusted.
        """
        prepared = requests.PreparedRequest()
        prepared.prepare(method, origin + path, headers={**_ALWAYS, **headers}, data=body)
        if path.isascii():
            prepared.url = origin + path  # links are opaque: requests would write their escapes anew
        started = time.monotonic()
        outcome: int | str = "broken"
        content = b""
        try:
            with self._adapter.send(
                prepared, stream=True, timeout=(CONNECT_SECONDS, SILENCE_SECONDS), verify=True, proxies={}
            ) as response:
                content = _read(response, limit, started + ANSWER_SECONDS)
                outcome = response.status_code
                return Answer(response.status_code, response.headers, content)
        except (requests.RequestException, HTTPError, OSError) as error:
            # "from None": the messages below hold whole addresses.
            if _distrusted(error):
                raise Unreachable("The server's TLS certificate is not trusted.", code="tls") from None
            raise BrokenError(connected=not _never_connected(error)) from None
        finally:
            wire.record(method, path, outcome, len(content), time.monotonic() - started)

    def close(self) -> None:
        """Ends the connections."""
        self._adapter.close()


def _read(response: requests.Response, limit: int, deadline: float) -> bytes:
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) > limit:
        raise TooLargeError
    pieces: list[bytes] = []
    size = 0
    for piece in response.iter_content(_BLOCK):
        size += len(piece)
        if size > limit:
            raise TooLargeError
        if time.monotonic() > deadline:
            raise requests.ReadTimeout
        pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _distrusted(error: BaseException) -> bool:
    return any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error))


def _never_connected(error: BaseException) -> bool:
    if isinstance(error, requests.ConnectTimeout):
        return True
    return any(isinstance(cause, NewConnectionError) for cause in _causes(error))


def _causes(error: BaseException | None, depth: int = 0) -> Iterator[BaseException]:
    # requests wraps urllib3, which wraps ssl and socket: as argument, as reason, or as cause.
    if error is None or depth > 8:
        return
    yield error
    nested = [*error.args, getattr(error, "reason", None), error.__cause__]
    for inner in nested:
        if isinstance(inner, BaseException):
            yield from _causes(inner, depth + 1)
