"""Photos made on the spot: valid grey JPEGs of any edge and of any weight, so that none lies in the repository."""

from __future__ import annotations

import hashlib
from functools import lru_cache

_QUANTISATION = b"\xff\xdb\x00\x43\x00" + b"\x01" * 64
# One code of one bit each: difference zero for DC, end of block for AC. Every block is then the two bits "00".
_HUFFMAN = b"".join(b"\xff\xc4\x00\x14" + bytes([table, 1]) + b"\x00" * 15 + b"\x00" for table in (0x00, 0x10))
_SEGMENT_LIMIT = 65_533
PIXEL_GIF = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")


@lru_cache(maxsize=256)
def jpeg(label: str, *, edge: int = 240, weight: int = 2_000) -> bytes:
    """A square grey JPEG that no other label shares.

    Args:
        label: What makes it unique; written into a comment segment.
        edge: Width and height in pixels.
        weight: The size in bytes that it is padded to; a smaller one is ignored.
    """
    frame = b"\xff\xc0\x00\x0b\x08" + edge.to_bytes(2, "big") * 2 + b"\x01\x01\x11\x00"
    bits = 2 * ((edge + 7) // 8) ** 2
    scan = b"\x00" * (bits // 8) + (
        b"\x0f" if bits % 8 == 4 else b"\x3f" if bits % 8 == 2 else b"" if not bits % 8 else b"\x03"
    )
    tail = _QUANTISATION + frame + _HUFFMAN + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + scan + b"\xff\xd9"
    return b"\xff\xd8" + _comments(label, weight - 2 - len(tail)) + tail


def _comments(label: str, room: int) -> bytes:
    seed = hashlib.sha256(label.encode()).digest()
    segments = []
    while room > 4 + len(seed) or not segments:
        size = max(len(seed), min(_SEGMENT_LIMIT, room - 4))
        noise = hashlib.shake_256(seed + len(segments).to_bytes(4, "big")).digest(size)
        segments.append(b"\xff\xfe" + (size + 2).to_bytes(2, "big") + noise)
        room -= size + 4
    return b"".join(segments)
