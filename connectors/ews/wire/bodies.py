"""Taking in the body of an answer, of a refusal too: no more bytes than are wanted, and not for ever."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

from requests import Response
from urllib3.exceptions import ReadTimeoutError

from connectors.ews.wire import breaks
from connectors.ews.wire.soap import AnswerTooLargeError

_BLOCK: Final = 64 * 1024
_SILENCE: Final = 4.0  # seconds in the middle of an answer
_WINDOW: Final = 2.0  # seconds in which at least so many bytes have to come
_IN_A_WINDOW: Final = 2 * 1024
_LONGEST_ANSWER: Final = 600.0


def blocks(response: Response, limit: int) -> Iterator[bytes]:
    """The body, unpacked, as it comes.

    Raises:
        AnswerTooLargeError: It is longer than `limit` bytes.
        PassingFaultError: It hardly comes any more.
    """
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) > limit:
        raise AnswerTooLargeError
    if (socket := socket_of(response)) is not None:
        socket.settimeout(_SILENCE)  # until the next request
    pace, size = _Pace(), 0
    while block := _next(response):
        size += len(block)
        if size > limit:
            raise AnswerTooLargeError
        pace.check(len(block))
        yield block


def socket_of(response: Response) -> Any:
    """What the answer is read from; a connection that ends with it does not know its socket any more."""
    stream = getattr(getattr(response.raw, "_original_response", None), "fp", None)
    return getattr(getattr(stream, "raw", None), "_sock", None)


def _next(response: Response) -> bytes:
    try:
        return bytes(response.raw.read1(_BLOCK, decode_content=True) or b"")
    except ReadTimeoutError:
        raise breaks.too_slow() from None


class _Pace:
    """Sees that an answer keeps coming: one that drips would hold a connection, and a run, for ever."""

    def __init__(self) -> None:
        self._ends = time.monotonic() + _LONGEST_ANSWER
        self._window = time.monotonic()
        self._came = 0

    def check(self, size: int) -> None:
        """So many bytes more.

        Raises:
            PassingFaultError: It is not enough.
        """
        now = time.monotonic()
        self._came += size
        if now > self._ends:
            raise breaks.too_slow()
        if now - self._window > _WINDOW:
            if self._came < _IN_A_WINDOW:
                raise breaks.too_slow()
            self._window, self._came = now, 0
