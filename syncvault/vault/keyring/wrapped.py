"""Keys as they lie in the key database: what each is for, how it is made, wrapped and unwrapped."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID, uuid4

import orjson

from syncvault.crypto.place import ID_SIZE, Place
from syncvault.crypto.record import KEY_SIZE, RecordCipher, RecordRefusedError, WrongKeyError
from syncvault.errors import DamagedError, RootKeyError
from syncvault.roots.port import Handle, RootKeyProvider
from syncvault.store import keys as rows
from syncvault.store.schema import VAULT_TENANT


class Purpose(StrEnum):
    """What a wrapped key is for; at most 16 ASCII characters, because it is bound into the record that wraps it."""

    NAMES = "names"  # vault: blind index of tenant names
    RECEIPT = "receipt"  # vault: seed of the signing key
    AUDIT = "audit"  # vault: seeds of the next audit entries; changes with each, so not opened with the others
    DATA = "data"  # tenant: records
    INDEX = "index"  # tenant: blind indexes


VAULT_PURPOSES: Final = (Purpose.NAMES, Purpose.RECEIPT)
TENANT_PURPOSES: Final = (Purpose.DATA, Purpose.INDEX)
_NUMBER_SIZE: Final = 8


def root_row(provider: RootKeyProvider, generation: int, handle: Handle, now: datetime) -> rows.RootRow:
    """The row of a root generation that is about to come into force."""
    text = orjson.dumps(dict(handle)).decode("utf-8")
    return rows.RootRow(generation, provider.name, text, "creating", int(now.timestamp()))


def handle_of(root: rows.RootRow) -> Handle:
    """How its provider finds the key of a root generation.

    Raises:
        RootKeyError: The key store does not say it any more.
    """
    try:
        handle = orjson.loads(root.handle)
    except orjson.JSONDecodeError:
        handle = None
    if not isinstance(handle, dict):
        raise RootKeyError(
            f"What the key store says of root key generation {root.generation} is damaged.",
            advice="Restore the key store from its backup.",
        )
    return handle


def fresh_keys(
    root: RecordCipher, tenant_id: bytes, purposes: Iterable[Purpose], now: datetime, *, generation: int = 1
) -> list[rows.WrappedKeyRow]:
    """New random keys of one generation, wrapped under a root key."""
    wrapped = []
    for purpose in purposes:
        row = rows.WrappedKeyRow(
            id=uuid4().bytes,
            tenant_id=tenant_id,
            purpose=str(purpose),
            generation=generation,
            state="current",
            root_generation=root.current,
            blob=b"",
            created_at=int(now.timestamp()),
        )
        key = os.urandom(KEY_SIZE)
        wrapped.append(row._replace(blob=wrap(root, row, signing_key(key, 0) if purpose is Purpose.RECEIPT else key)))
    return wrapped


def signing_key(seed: bytes, unsigned_until: int) -> bytes:
    """What the row `receipt` holds: the seed, and up to which number ledger entries may lack its signature."""
    return seed + unsigned_until.to_bytes(_NUMBER_SIZE, "big")


def parts_of_signing_key(key: bytes) -> tuple[bytes, int | None]:
    """The seed and the number in what that row holds; no number in one from before entries were signed.

    Raises:
        DamagedError: It holds something else.
    """
    if len(key) not in {KEY_SIZE, KEY_SIZE + _NUMBER_SIZE}:
        raise DamagedError("The signing key in the key store has another length.")
    return key[:KEY_SIZE], int.from_bytes(key[KEY_SIZE:], "big") if key[KEY_SIZE:] else None


def wrap(root: RecordCipher, row: rows.WrappedKeyRow, key: bytes) -> bytes:
    """The record that holds a key in a row."""
    return root.seal(Place.WRAPPED_KEY, row.id, key, *bound_columns(row))


def bound_columns(row: rows.WrappedKeyRow) -> tuple[bytes, bytes]:
    """What is bound into the record that wraps a key."""
    return row.purpose.encode("ascii").ljust(ID_SIZE, b"\x00"), row.generation.to_bytes(ID_SIZE, "big")


def unwrap(root: RecordCipher, row: rows.WrappedKeyRow) -> bytes:
    """The key in a row.

    Raises:
        RootKeyError: A key of the vault itself was wrapped under another root key.
        DamagedError: It does not open.
    """
    try:
        return root.open(Place.WRAPPED_KEY, row.id, row.blob, *bound_columns(row))
    except RecordRefusedError as error:
        # The vault's own keys are opened first: until they have been, nothing shows that the root key is right.
        if isinstance(error, WrongKeyError) and row.tenant_id == VAULT_TENANT:
            raise RootKeyError("The root key is not the one this vault was made with.") from None
        whose = "the vault itself" if row.tenant_id == VAULT_TENANT else f"tenant {UUID(bytes=row.tenant_id)}"
        message = f"Row {UUID(bytes=row.id)} of wrapped_keys, a key of {whose}, does not open: {error}."
        raise DamagedError(message) from None
