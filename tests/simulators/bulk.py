"""Bodies that are too large for anybody: made, and packed, as they are sent."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

_CHUNK = 1 << 20


def filled(begin: bytes, piece: bytes, end: bytes, size: int) -> Iterator[bytes]:
    """A document of `size` bytes: a piece again and again between beginning and end, and spaces for the rest."""
    yield begin
    left = size - len(begin) - len(end)
    chunk = piece * (_CHUNK // len(piece))
    while left >= len(chunk):
        yield chunk
        left -= len(chunk)
    yield b" " * left + end


def packed(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same by gzip."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    for chunk in chunks:
        if ready := packer.compress(chunk):
            yield ready
    yield packer.flush()
