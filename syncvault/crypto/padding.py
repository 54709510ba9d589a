"""Hides the length of secrets: padded to a bucket before sealing (ISO/IEC 7816-4: 0x80, then zeros)."""

from __future__ import annotations

from typing import Final

SMALLEST_BUCKET: Final = 256


def pad(secret: bytes) -> bytes:
    """The secret, padded to the smallest of 256, 512, 1024 … bytes that holds it and at least one byte more."""
    size = SMALLEST_BUCKET
    while size <= len(secret):
        size *= 2
    return secret + b"\x80" + bytes(size - len(secret) - 1)


def unpad(padded: bytes) -> bytes:
    """The inverse of `pad`; raises ValueError for anything that `pad` did not make."""
    secret, mark, zeros = padded.rpartition(b"\x80")
    if not mark or zeros.strip(b"\x00"):
        raise ValueError("not a padded secret")
    return secret
