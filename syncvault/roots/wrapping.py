"""What the providers share that keep a root key wrapped under a key elsewhere (PKCS#11, AWS KMS, Azure Key Vault)."""

from __future__ import annotations

import base64
import hmac
from importlib.util import find_spec
from typing import Final
from uuid import UUID

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from syncvault.errors import RootKeyError
from syncvault.roots.port import Handle, handle_text

_CHECK_BYTES: Final = 16
_CHECK_LABEL: Final = b"syncvault v1 root key check "
_MOST_WRAPPED: Final = 8192  # bytes; the largest ciphertext of a root key, AWS KMS's, stays far below
_MOST_SHOWN: Final = 253  # the longest name of a host


def missing(extra: str, *modules: str) -> str | None:
    """Which library a provider lacks, in one sentence; None if all are installed. Imports none of them."""
    for module in modules:
        try:
            found = find_spec(module) is not None
        except ModuleNotFoundError:  # a package above it is missing
            found = False
        if not found:
            return f"The Python library {module} is not installed: pip install 'syncvault[{extra}]'."
    return None


def binding(vault_id: UUID, generation: int) -> bytes:
    """What ties a wrapped key to its vault and generation: `VAULT-ID/GENERATION`."""
    return f"{vault_id}/{generation}".encode()


def check_of(key: bytes, bound_to: bytes) -> str:
    """A check value over the key and what it is bound to, for wrappings that bind nothing themselves."""
    derived = HKDFExpand(algorithm=SHA256(), length=_CHECK_BYTES, info=_CHECK_LABEL + bound_to).derive(key)
    return base64.b64encode(derived).decode()


def require_check(handle: Handle, key: bytes, bound_to: bytes) -> None:
    """Refuses a key that was wrapped for another vault or generation.

    Raises:
        RootKeyError: The handle's check does not fit.
    """
    if not hmac.compare_digest(check_of(key, bound_to).encode(), shown_text(handle, "check").encode()):
        raise does_not_fit()


def shown_text(handle: Handle, key: str) -> str:
    """A handle's text field that an error may show on a terminal.

    Raises:
        RootKeyError: The handle lacks it, or it is nothing to be shown.
    """
    text = handle_text(handle, key)
    if len(text) > _MOST_SHOWN or not text.isprintable():
        raise does_not_fit()
    return text


def does_not_fit() -> RootKeyError:
    """What is said of a wrapped key that was changed, or made for another vault or generation."""
    return RootKeyError(
        "The wrapped root key in the key store is damaged, or belongs to another vault or generation.",
        advice="Restore the key store from its backup.",
    )


def require_same(found: bytes, made: bytes, where: str) -> None:
    """Refuses a fresh root key that came back as another one.

    Raises:
        RootKeyError: It did.
    """
    if not hmac.compare_digest(found, made):
        raise RootKeyError(
            f"{where} did not give back the root key that it had wrapped.",
            advice="Nothing was stored under it. Look at what answers there.",
        )


def wrapped_text(wrapped: bytes) -> str:
    """A wrapped key as a handle holds it."""
    return base64.b64encode(wrapped).decode()


def wrapped_bytes(handle: Handle) -> bytes:
    """The wrapped key of a handle.

    Raises:
        RootKeyError: There is none, or it is not Base64.
    """
    try:
        wrapped = base64.b64decode(handle_text(handle, "wrapped"), validate=True)
    except ValueError:
        wrapped = b""
    if not 0 < len(wrapped) <= _MOST_WRAPPED:
        raise does_not_fit()
    return wrapped
