"""Sealed records: AES-256-GCM under a key of their own batch, committed to that key, bound to where they stand.

Layout (integers big-endian)::

    0  version u8 | 1  suite u8 | 2  key generation u32 | 6  salt 24 | 30  key commitment 32
    62  row version u64 | 70  nonce 12 | 82  ciphertext, then tag 16

Bytes 0-61 are the *prefix*. They are the same for all records of one batch, so a reader derives a key only when the
prefix changes. Key and commitment are HKDF-Expand-SHA-512 (RFC 5869) of the tenant key; AES-GCM is NIST SP 800-38D.
"""

from __future__ import annotations

import hmac
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from struct import Struct
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from syncvault.crypto.place import ID_SIZE, LABEL, Place

VERSION: Final = 1
SUITE: Final = 1  # AES-256-GCM, HKDF-Expand-SHA-512, 32-byte commitment
KEY_SIZE: Final = 32
OVERHEAD: Final = 98

_HEAD = Struct(">BBI")
_ROW_VERSION = Struct(">Q")
_SALT_SIZE = 24
_COMMITMENT_AT = _HEAD.size + _SALT_SIZE
_PREFIX_SIZE = _COMMITMENT_AT + 32
_NONCE_AT = _PREFIX_SIZE + _ROW_VERSION.size
_NONCE_SIZE = 12
_BODY_AT = _NONCE_AT + _NONCE_SIZE
_KEY_INFO = b"syncvault/record-key/1"
_FIRST_BATCH = 32  # records under a cipher's first salt: most ciphers seal few
_BATCH_SIZE = 2048  # records under each further salt; far below 2^32, and readers derive a key for each
_CACHED_KEYS = 256

Random = Callable[[int], bytes]
Decrypt = Callable[[bytes, bytes, bytes], bytes]  # nonce, ciphertext, associated data

_forks = 0  # how often this process has forked off from another: it must not go on with its parent's nonces


def _count_fork() -> None:
    global _forks  # noqa: PLW0603  (one process, one count)
    _forks += 1


os.register_at_fork(after_in_child=_count_fork)


class RecordRefusedError(Exception):
    """A record that does not open. The message names the reason, never the content."""


class UnknownFormatError(RecordRefusedError):
    """A version, suite or key generation that this reader does not have."""


class WrongKeyError(RecordRefusedError):
    """The key commitment does not match: another key, or an altered prefix."""


class AlteredError(RecordRefusedError):
    """The tag does not match: altered, or moved from where it was sealed."""


class _Batch(NamedTuple):
    prefix: bytes
    aead: AESGCM
    nonces: list[bytes]
    forks: int


class RecordCipher:
    """Seals and opens the records of one tenant (or of the vault itself). Safe to share between threads.

    Args:
        keys: Tenant keys by generation, 32 bytes each.
        current: The generation that seals; the others only open.
        vault_id: 16 bytes.
        tenant_id: 16 bytes; zeros for what belongs to the vault itself.
        random: Source of salts and nonces; anything but the default is for known-answer tests only.
    """

    def __init__(
        self, keys: Mapping[int, bytes], current: int, *, vault_id: bytes, tenant_id: bytes, random: Random = os.urandom
    ) -> None:
        if current not in keys or any(len(key) != KEY_SIZE for key in keys.values()):
            raise ValueError("a record cipher needs 32-byte keys and a current generation among them")
        if len(vault_id) != ID_SIZE or len(tenant_id) != ID_SIZE:
            raise ValueError("vault and tenant IDs are 16 bytes")
        self._keys = dict(keys)
        self._current = current
        self._scope = vault_id + tenant_id
        self._random = random
        self._batch: _Batch | None = None
        self._next_size = _FIRST_BATCH
        self._opened: tuple[bytes, Decrypt | None] = b"", None
        self._derived: OrderedDict[bytes, AESGCM] = OrderedDict()

    def __repr__(self) -> str:
        return f"RecordCipher(generations={sorted(self._keys)}, current={self._current})"

    @property
    def current(self) -> int:
        """The generation that seals."""
        return self._current

    def seal(self, place: Place, row_id: bytes, plaintext: bytes, *bound: bytes, row_version: int = 1) -> bytes:
        """Seals `plaintext` for one row.

        Args:
            place: Table and column.
            row_id: 16 bytes.
            plaintext: What to seal.
            bound: The plaintext columns that are trusted on reading, 16 bytes each, as `place` lists them.
            row_version: How often this row has been sealed, for places that count it (docs/FORMAT.md); else 1.
        """
        batch = self._batch
        if batch is None or batch.forks != _forks:
            batch = self._open_batch()
        try:
            nonce = batch.nonces.pop()
        except IndexError:
            batch = self._open_batch()
            nonce = batch.nonces.pop()
        version = _ROW_VERSION.pack(row_version)
        sealed = batch.aead.encrypt(nonce, plaintext, place.associated_data(self._scope, row_id, version, bound))
        return b"".join((batch.prefix, version, nonce, sealed))

    def open(self, place: Place, row_id: bytes, blob: bytes, *bound: bytes) -> bytes:
        """The plaintext of a record, if it is authentic and stands where it was sealed.

        Raises:
            UnknownFormatError: Version, suite or generation is not one of ours.
            WrongKeyError: It was sealed under another key.
            AlteredError: It was changed, or moved to another row, column, tenant or vault.
        """
        return self.open_all([(place, row_id, blob, bound)])[0]

    def open_all(self, records: Iterable[tuple[Place, bytes, bytes, Sequence[bytes]]]) -> list[bytes]:
        """What `open` gives for each of many records, in one loop: calls would cost as much again as the cipher.

        Args:
            records: Place, row ID, record and bound columns of each.

        Raises:
            RecordRefusedError: One does not open, as with `open`; which one is not said.
        """
        prefix, decrypt = self._opened
        scope, opened = LABEL + self._scope, []
        try:
            for place, row_id, blob, bound in records:
                if decrypt is None or not blob.startswith(prefix):
                    prefix, decrypt = self._opened = self._unlock(blob)
                data = b"".join((scope, place.code, row_id, blob[_PREFIX_SIZE:_NONCE_AT], *bound))
                if len(data) != place.size or len(row_id) != ID_SIZE:
                    raise ValueError(place.complaint)
                for column in bound:
                    if len(column) != ID_SIZE:
                        raise ValueError(place.complaint)
                opened.append(decrypt(blob[_NONCE_AT:_BODY_AT], blob[_BODY_AT:], data))
        except (InvalidTag, ValueError) as error:  # ValueError: also a record cut inside its nonce
            raise AlteredError("the record was altered, or moved from another place") from error
        return opened

    def _open_batch(self) -> _Batch:
        head = _HEAD.pack(VERSION, SUITE, self._current) + self._random(_SALT_SIZE)
        key, commitment = _derive(self._keys[self._current], head)
        pool = self._random(_NONCE_SIZE * self._next_size)
        nonces = [pool[at : at + _NONCE_SIZE] for at in range(0, len(pool), _NONCE_SIZE)]
        nonces.reverse()
        self._batch = batch = _Batch(head + commitment, AESGCM(key), nonces, _forks)
        self._next_size = _BATCH_SIZE
        return batch

    def _unlock(self, blob: bytes) -> tuple[bytes, Decrypt]:
        """The verified key for a record's prefix, derived once per batch."""
        prefix = bytes(blob[:_PREFIX_SIZE])
        aead = self._derived.get(prefix)
        if aead is None:
            if len(blob) < OVERHEAD:
                raise UnknownFormatError(f"the record is {len(blob)} bytes long, too short for any")
            version, suite, generation = _HEAD.unpack_from(blob)
            if (version, suite) != (VERSION, SUITE):
                raise UnknownFormatError(f"the record is of version {version}, suite {suite}, which is unknown here")
            if generation not in self._keys:
                raise UnknownFormatError(f"the record names key generation {generation}, which is not here")
            key, commitment = _derive(self._keys[generation], prefix[:_COMMITMENT_AT])
            if not hmac.compare_digest(commitment, prefix[_COMMITMENT_AT:]):
                raise WrongKeyError(f"the record was not sealed under key generation {generation} of this tenant")
            aead = self._derived[prefix] = AESGCM(key)
            while len(self._derived) > _CACHED_KEYS:
                self._derived.popitem(last=False)
        return prefix, aead.decrypt


def row_version(blob: bytes) -> int:
    """The row version that a record carries (authentic only once the record has been opened)."""
    version: int = _ROW_VERSION.unpack_from(blob, _PREFIX_SIZE)[0]
    return version


def generation(blob: bytes) -> int:
    """The key generation that a record names."""
    named: int = _HEAD.unpack_from(blob)[2]
    return named


def _derive(key: bytes, head: bytes) -> tuple[bytes, bytes]:
    material = HKDFExpand(algorithm=SHA512(), length=64, info=_KEY_INFO + head).derive(key)
    return material[:32], material[32:]
