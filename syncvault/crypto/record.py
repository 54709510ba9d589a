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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import repeat
from operator import call, itemgetter
from struct import Struct
from typing import Final, NamedTuple, NoReturn

from cryptography.exceptions import InvalidTag

from syncvault.crypto.place import ID_SIZE, LABEL, Place
from syncvault.crypto.primitives import aead, expand

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
_FIRST = _ROW_VERSION.pack(1)

# The parts of a record, and what joins parts: for loops that run inside the interpreter (`map`, `zip`), where a line of
# Python for each row would cost a third of what the cipher does.
_PREFIX = itemgetter(slice(_PREFIX_SIZE))
_VERSION = itemgetter(slice(_PREFIX_SIZE, _NONCE_AT))
_NONCE = itemgetter(slice(_NONCE_AT, _BODY_AT))
_BODY = itemgetter(slice(_BODY_AT, None))
_join = b"".join
_ALTERED = "the record was altered, or moved from another place"
_FIRST_BATCH = 32  # records under a cipher's first salt: most ciphers seal few
_BATCH_SIZE = 2048  # records under each further salt; far below 2^32, and readers derive a key for each
_CACHED_KEYS = 256

Random = Callable[[int], bytes]
Crypt = Callable[[bytes, bytes, bytes], bytes]  # nonce, plaintext or ciphertext, associated data

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
    encrypt: Crypt
    nonces: list[bytes]  # threads share it: nothing but `pop` may take from it
    forks: int


class RecordCipher:
    """Seals and opens the records of one tenant (or of the vault itself). Safe to share between threads.

    Args:
        keys: Tenant keys by generation, 32 bytes each.
        current: The generation that seals; the others only open.
        vault_id: 16 bytes.
        tenant_id: 16 bytes; zeros for what belongs to the vault itself.
        later: Asked for the key of a generation that is not among them, as a rotation elsewhere may have made one.
        random: Source of salts and nonces; anything but the default is for known-answer tests only.
    """

    def __init__(
        self,
        keys: Mapping[int, bytes],
        current: int,
        *,
        vault_id: bytes,
        tenant_id: bytes,
        later: Callable[[int], bytes | None] | None = None,
        random: Random = os.urandom,
    ) -> None:
        if current not in keys or any(len(key) != KEY_SIZE for key in keys.values()):
            raise ValueError("a record cipher needs 32-byte keys and a current generation among them")
        if len(vault_id) != ID_SIZE or len(tenant_id) != ID_SIZE:
            raise ValueError("vault and tenant IDs are 16 bytes")
        self._keys = dict(keys)
        self._current = current
        self._scope = vault_id + tenant_id
        self._later = later
        self._random = random
        self._batch: _Batch | None = None
        self._next_size = _FIRST_BATCH
        self._derived: OrderedDict[bytes, Crypt] = OrderedDict()  # by prefix

    def __repr__(self) -> str:
        return f"RecordCipher(generations={sorted(self._keys)}, current={self._current})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("keys are not pickled")

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
        version = _FIRST if row_version == 1 else _ROW_VERSION.pack(row_version)
        sealed = batch.encrypt(nonce, plaintext, place.associated_data(self._scope, row_id, version, bound))
        return b"".join((batch.prefix, version, nonce, sealed))

    def seal_rows(
        self,
        place: Place,
        row_ids: Sequence[bytes],
        plaintexts: Sequence[bytes],
        *bound: Sequence[bytes],
        row_versions: Sequence[int] | None = None,
    ) -> list[bytes]:
        """What `seal` gives for each of many rows, at two thirds of the cost.

        Args:
            place: Table and column.
            row_ids: 16 bytes each.
            plaintexts: What to seal, in the order of the IDs.
            bound: The plaintext columns that `place` lists, with a value for each row.
            row_versions: Of each row; all 1 if not given.
        """
        count = len(row_ids)
        if len(plaintexts) != count:
            raise ValueError(f"there are {len(plaintexts)} plaintexts for {count} rows")
        versions = [_FIRST] * count if row_versions is None else list(map(_ROW_VERSION.pack, row_versions))
        if len(versions) != count:
            raise ValueError(f"there are {len(versions)} row versions for {count} rows")
        data = self._associated_data(place, row_ids, versions, bound)
        texts, blobs = iter(plaintexts), list[bytes]()
        while len(blobs) < count:
            batch, nonces = self._take(count - len(blobs))
            # The nonces come first: where they end, nothing more is taken from the others.
            sealed = map(batch.encrypt, nonces, texts, data)
            blobs += map(_join, zip(repeat(batch.prefix), versions[len(blobs) :], nonces, sealed, strict=False))
        return blobs

    def open(self, place: Place, row_id: bytes, blob: bytes, *bound: bytes) -> bytes:
        """The plaintext of a record, if it is authentic and stands where it was sealed.

        Raises:
            UnknownFormatError: Version, suite or generation is not one of ours.
            WrongKeyError: It was sealed under another key.
            AlteredError: It was changed, or moved to another row, column, tenant or vault.
        """
        try:
            decrypt = self._unlock(blob)
            data = place.associated_data(self._scope, row_id, _VERSION(blob), bound)
            return decrypt(_NONCE(blob), _BODY(blob), data)
        except (InvalidTag, ValueError, TypeError) as error:  # ValueError: also a record cut inside its nonce
            # TypeError: SQLite lets text and numbers stand in any column.
            raise AlteredError(_ALTERED) from error

    def open_rows(
        self, place: Place, row_ids: Sequence[bytes], blobs: Sequence[bytes], *bound: Sequence[bytes]
    ) -> list[bytes]:
        """What `open` gives for each of many rows, at less cost.

        Args:
            place: Table and column.
            row_ids: 16 bytes each.
            blobs: The records, in the order of the IDs.
            bound: The plaintext columns that `place` lists, with a value for each row.

        Raises:
            RecordRefusedError: One does not open, as with `open`; which one is not said.
        """
        try:
            if len(blobs) != len(row_ids):
                raise ValueError(place.complaint)
            data = self._associated_data(place, row_ids, map(_VERSION, blobs), bound)
            parts = map(_NONCE, blobs), map(_BODY, blobs), data
            if blobs and all(map(bytes.startswith, blobs, repeat(_PREFIX(blobs[0])))):  # as most pages are
                return list(map(self._unlock(blobs[0]), *parts))
            prefixes = list(map(_PREFIX, blobs))
            keys = {prefix: self._unlock(blob) for prefix, blob in dict(zip(prefixes, blobs, strict=True)).items()}
            return list(map(call, map(keys.__getitem__, prefixes), *parts))
        except (InvalidTag, ValueError, TypeError) as error:
            raise AlteredError(_ALTERED) from error

    def _associated_data(
        self, place: Place, row_ids: Sequence[bytes], versions: Iterable[bytes], bound: Sequence[Sequence[bytes]]
    ) -> Iterator[bytes]:
        """`Place.associated_data` of many rows, as it is needed; every size is checked before the first."""
        columns = (row_ids, *bound)
        if len(bound) != len(place.bound) or any(len(column) != len(row_ids) for column in bound):
            raise ValueError(place.complaint)
        if any(set(map(len, column)) - {ID_SIZE} for column in columns):
            raise ValueError(place.complaint)
        return map(_join, zip(repeat(LABEL + self._scope + place.code), row_ids, versions, *bound, strict=False))

    def _take(self, count: int) -> tuple[_Batch, list[bytes]]:
        """A batch, and at most `count` of the nonces that are left in it."""
        batch = self._batch
        if batch is None or batch.forks != _forks or not batch.nonces:
            batch = self._open_batch()
        taken = list[bytes]()
        with suppress(IndexError):
            taken.extend(batch.nonces.pop() for _ in range(count))
        return batch, taken

    def _open_batch(self) -> _Batch:
        head = _HEAD.pack(VERSION, SUITE, self._current) + self._random(_SALT_SIZE)
        key, commitment = _derive(self._keys[self._current], head)
        pool = self._random(_NONCE_SIZE * self._next_size)
        nonces = [pool[at : at + _NONCE_SIZE] for at in range(0, len(pool), _NONCE_SIZE)]
        nonces.reverse()
        self._batch = batch = _Batch(head + commitment, aead(key).encrypt, nonces, _forks)
        self._next_size = _BATCH_SIZE
        return batch

    def _unlock(self, blob: bytes) -> Crypt:
        """What decrypts the records with this one's prefix: derived and verified once per batch."""
        prefix = bytes(blob[:_PREFIX_SIZE])
        decrypt = self._derived.get(prefix)
        if decrypt is None:
            if len(blob) < OVERHEAD:
                raise UnknownFormatError(f"the record is {len(blob)} bytes long, too short for any")
            version, suite, generation = _HEAD.unpack_from(blob)
            if (version, suite) != (VERSION, SUITE):
                raise UnknownFormatError(f"the record is of version {version}, suite {suite}, which is unknown here")
            if (
                generation not in self._keys
                and self._later is not None
                and (late := self._later(generation)) is not None
            ):
                self._keys[generation] = late
            if generation not in self._keys:
                raise UnknownFormatError(f"the record names key generation {generation}, which is not here")
            key, commitment = _derive(self._keys[generation], prefix[:_COMMITMENT_AT])
            if not hmac.compare_digest(commitment, prefix[_COMMITMENT_AT:]):
                raise WrongKeyError(f"the record was not sealed under key generation {generation} of this tenant")
            decrypt = self._derived[prefix] = aead(key).decrypt
            while len(self._derived) > _CACHED_KEYS:
                self._derived.popitem(last=False)
        return decrypt


def row_version(blob: bytes) -> int:
    """The row version that a record carries (authentic only once the record has been opened)."""
    version: int = _ROW_VERSION.unpack_from(blob, _PREFIX_SIZE)[0]
    return version


def generation(blob: bytes) -> int:
    """The key generation that a record names."""
    named: int = _HEAD.unpack_from(blob)[2]
    return named


def _derive(key: bytes, head: bytes) -> tuple[bytes, bytes]:
    material = expand(key, _KEY_INFO + head, 64)
    return material[:32], material[32:]
