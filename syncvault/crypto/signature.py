"""Signed statements: Ed25519 (RFC 8032) over canonical JSON, verifiable with the public key alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

_CONTEXT: Final = b"syncvault/receipt/1\x00"


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


def sign(seed: bytes, document: Mapping[str, Any]) -> bytes:
    """The 64-byte signature of a document."""
    return Ed25519PrivateKey.from_private_bytes(seed).sign(_CONTEXT + canonical(document))


def is_signed_by(public_pem: bytes, document: Mapping[str, Any], signature: bytes) -> bool:
    """Whether the signature is the document's, under this public key.

    Raises:
        ValueError: The PEM holds no Ed25519 public key.
    """
    public = load_pem_public_key(public_pem)
    if not isinstance(public, Ed25519PublicKey):
        raise ValueError("not an Ed25519 public key")  # noqa: TRY004  (callers handle one kind of bad input)
    try:
        public.verify(signature, _CONTEXT + canonical(document))
    except InvalidSignature:
        return False
    return True


def _holds_float(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_float, value.values()))
    return isinstance(value, float) or (isinstance(value, list | tuple) and any(map(_holds_float, value)))
