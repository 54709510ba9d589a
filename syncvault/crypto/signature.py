"""Signed statements: Ed25519 (RFC 8032) over canonical JSON, verifiable with the public key alone."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

import orjson
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

_KEY_SIZE: Final = 32


class Subject(Enum):
    """What a signature is about; a signature under one says nothing under another. Part of the format."""

    RECEIPT = b"syncvault/receipt/1"
    LEDGER = b"syncvault/ledger/1"  # an entry of the erasure ledger
    INTENT = b"syncvault/intent/1"  # what an erasure under way will say
    BACKUP = b"syncvault/backup/1"  # what a backup consists of
    AUDIT = b"syncvault/audit/1"  # an entry of the audit trail


def canonical(document: Mapping[str, Any]) -> bytes:
    """The bytes that are signed: JSON in UTF-8, keys sorted, no spaces; no numbers but integers.

    Raises:
        TypeError: A value has no such form.
    """
    text = orjson.dumps(document, option=orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER)
    if _holds_float(document):  # refused here, because orjson writes those that are no number as null
        raise TypeError("a signed document holds no numbers but integers")
    return text


def public_key_pem(seed: bytes) -> str:
    """The public half of a 32-byte signing seed, as SubjectPublicKeyInfo in PEM."""
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def public_key(seed: bytes) -> bytes:
    """The public half of a 32-byte signing seed, 32 bytes (RFC 8032)."""
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def public_key_from_pem(pem: bytes) -> bytes:
    """The 32 bytes of a public key in SubjectPublicKeyInfo, PEM.

    Raises:
        ValueError: It is no Ed25519 public key.
    """
    try:
        key = load_pem_public_key(pem)
    except UnsupportedAlgorithm as error:  # callers handle one kind of bad input
        raise ValueError("a public key of an unknown kind") from error
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("not an Ed25519 public key")  # noqa: TRY004
    return key.public_bytes_raw()


def sign(seed: bytes, subject: Subject, document: Mapping[str, Any]) -> bytes:
    """The 64-byte signature of a document."""
    return Ed25519PrivateKey.from_private_bytes(seed).sign(_signed(subject, document))


def is_signed_by(public: bytes, subject: Subject, document: Mapping[str, Any], signature: bytes) -> bool:
    """Whether the signature is the document's, under this public key.

    Args:
        public: The key as SubjectPublicKeyInfo in PEM, or as its 32 bytes.
        subject: What is signed.
        document: What it says.
        signature: 64 bytes.

    Raises:
        ValueError: The key is no Ed25519 public key.
    """
    raw = public if len(public) == _KEY_SIZE else public_key_from_pem(public)
    try:
        Ed25519PublicKey.from_public_bytes(raw).verify(signature, _signed(subject, document))
    except InvalidSignature:
        return False
    return True


def _signed(subject: Subject, document: Mapping[str, Any]) -> bytes:
    return subject.value + b"\x00" + canonical(document)


def _holds_float(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_float, value.values()))
    return isinstance(value, float) or (isinstance(value, list | tuple) and any(map(_holds_float, value)))
