"""A keyed hash of a multiset, kept by adding and taking away: what a tenant's sealed rows must add up to.

Each element is a record's 16-byte tag, which stands for the record and its place. It is put through AES-256 (FIPS 197),
a pseudorandom permutation under a key that nobody sees, and the results are summed in two lanes modulo 2^64: the
additive multiset hash of Clarke et al., "Incremental Multiset Hash Functions" (2003). One call of the cipher serves a
whole page; a MAC for each row would cost ten times as much.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple, NoReturn

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import ECB

ELEMENT_SIZE: Final = 16
_LANE: Final = (1 << 64) - 1


class Total(NamedTuple):
    """How many elements a multiset has, and what they sum up to in each lane."""

    size: int = 0
    low: int = 0
    high: int = 0

    def plus(self, other: Total) -> Total:
        """With the elements of another multiset."""
        return Total(self.size + other.size, self.low + other.low & _LANE, self.high + other.high & _LANE)

    def minus(self, other: Total) -> Total:
        """Without the elements of another multiset."""
        return Total(self.size - other.size, self.low - other.low & _LANE, self.high - other.high & _LANE)


class MultisetHash:
    """Sums up elements under one 32-byte key."""

    def __init__(self, key: bytes) -> None:
        # ECB over distinct blocks is the bare permutation; nothing is encrypted with it.
        self._cipher = Cipher(AES256(key), ECB())  # noqa: S305

    def __reduce__(self) -> NoReturn:
        raise TypeError("keys are not pickled")

    def of(self, elements: Sequence[bytes]) -> Total:
        """The total of some elements, 16 bytes each.

        Raises:
            ValueError: An element has another size.
        """
        data = b"".join(elements)
        if len(data) != ELEMENT_SIZE * len(elements):
            raise ValueError("an element is 16 bytes")
        lanes = struct.unpack(f"<{2 * len(elements)}Q", self._cipher.encryptor().update(data))
        return Total(len(elements), sum(lanes[::2]) & _LANE, sum(lanes[1::2]) & _LANE)
