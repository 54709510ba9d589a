"""Row IDs: random UUIDs of version 4 (RFC 9562), made by the page: one at a time each would cost as much as sealing."""

from __future__ import annotations

import os
from typing import Final

from syncvault.crypto.place import ID_SIZE

_VERSION_AT: Final = 6  # the upper half of this byte is the version
_VARIANT_AT: Final = 8  # the upper two bits of this one are the variant
_AS_VERSION_4: Final = bytes(value & 0x0F | 0x40 for value in range(256))
_AS_VARIANT: Final = bytes(value & 0x3F | 0x80 for value in range(256))


def fresh_ids(count: int) -> list[bytes]:
    """`count` new row IDs of 16 bytes, in the order in which a UUID's text is written."""
    pool = bytearray(os.urandom(ID_SIZE * count))
    pool[_VERSION_AT::ID_SIZE] = pool[_VERSION_AT::ID_SIZE].translate(_AS_VERSION_4)
    pool[_VARIANT_AT::ID_SIZE] = pool[_VARIANT_AT::ID_SIZE].translate(_AS_VARIANT)
    ids = bytes(pool)
    return [ids[at : at + ID_SIZE] for at in range(0, len(ids), ID_SIZE)]
