"""The two primitives that all sealing rests on, in one place: what published vectors test is what the product calls.

Both are `cryptography`'s; nothing is added to them but the sizes that this product uses.
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512, HashAlgorithm
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

_KEY_SIZE: Final = 32


def aead(key: bytes) -> AESGCM:
    """AES-256-GCM (NIST SP 800-38D) under a key; its `encrypt` and `decrypt` take nonce, text and associated data.

    Raises:
        ValueError: The key is not one of 32 bytes.
    """
    if len(key) != _KEY_SIZE:
        raise ValueError("AES-256-GCM takes keys of 32 bytes")
    return AESGCM(key)


def expand(key: bytes, info: bytes, size: int, algorithm: HashAlgorithm | None = None) -> bytes:
    """HKDF-Expand (RFC 5869, section 2.3) of a key that is uniform already; with SHA-512 unless told otherwise.

    Raises:
        ValueError: More than 255 blocks are asked for.
    """
    return HKDFExpand(algorithm=algorithm or SHA512(), length=size, info=info).derive(key)
