"""Root keys derived from a passphrase with Argon2id; nothing is kept but a salt and the cost parameters."""

from __future__ import annotations

import base64
import hmac
import os

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from syncvault.crypto.primitives import expand
from syncvault.errors import RootKeyError
from syncvault.roots.port import (
    ROOT_KEY_BYTES,
    Destroyed,
    Destruction,
    Handle,
    NotPossible,
    ProviderSettings,
    RootKeyProvider,
    handle_number,
    handle_text,
    require_generation,
    require_provider,
)
from syncvault.secret import Secret

# RFC 9106, section 4, second recommended option: 64 MiB, 3 passes, 4 lanes, 16 bytes of salt.
_SALT_BYTES = 16
_ITERATIONS = 3
_MEMORY_KIB = 64 * 1024
_LANES = 4

# What a handle may ask for: a damaged one must not make us work for hours or fill the memory.
_MOST_ITERATIONS = 100
_MOST_MEMORY_KIB = 4 * 1024 * 1024
_MOST_LANES = 64

_CHECK_BYTES = 8
_CHECK_LABEL = b"syncvault v1 passphrase check"


class WrongPassphraseError(RootKeyError):
    """The passphrase is another one; what it should open is in order."""


class PassphraseProvider(RootKeyProvider):
    """Derives each generation from one passphrase and a salt of its own."""

    name = "passphrase"

    def __init__(self, settings: ProviderSettings) -> None:
        self._ask = settings.passphrase
        self._passphrase: Secret | None = None

    def create(self, generation: int) -> Handle:
        """Draws a salt; the key follows from it and the passphrase."""
        require_generation(generation)
        salt = os.urandom(_SALT_BYTES)
        key = self._derive(salt, iterations=_ITERATIONS, memory=_MEMORY_KIB, lanes=_LANES)
        return {
            "provider": self.name,
            "generation": generation,
            "salt": base64.b64encode(salt).decode(),
            "iterations": _ITERATIONS,
            "memory_kib": _MEMORY_KIB,
            "lanes": _LANES,
            "check": _check(key),
        }

    def unwrap(self, handle: Handle) -> bytes:
        """Derives the key again, and says so when the passphrase is another one."""
        require_provider(handle, self.name)
        handle_number(handle, "generation")
        iterations = _bounded(handle, "iterations", _MOST_ITERATIONS)
        memory = _bounded(handle, "memory_kib", _MOST_MEMORY_KIB)
        lanes = _bounded(handle, "lanes", _MOST_LANES)
        key = self._derive(_salt(handle), iterations=iterations, memory=memory, lanes=lanes)
        if not hmac.compare_digest(_check(key).encode(), handle_text(handle, "check").encode()):
            raise WrongPassphraseError(
                "The passphrase is not the one this vault was made with.", advice="Give the right passphrase."
            )
        return key

    def destroy(self, handle: Handle) -> Destruction:
        """Nothing is kept that could be destroyed: a generation is gone once its passphrase is no longer in use.

        Asks nobody: without a passphrase at hand it takes the one in use for the generation's.
        """
        require_provider(handle, self.name)
        if self._passphrase is not None and not self._opens(handle):
            return Destroyed()
        return NotPossible("an old key store and the same passphrase still open it; choose a new passphrase")

    def why_unusable(self) -> str | None:
        """It needs somebody or something to ask."""
        return None if self._ask else "Nobody can be asked for a passphrase here (--passphrase-file, or a terminal)."

    def describe(self) -> str:
        """What a passphrase is worth."""
        return (
            "Protects copies of the whole machine too, as long as the passphrase is long and not stored on it. Does "
            "not protect against root while syncvault runs, and a generation is destroyed by a new passphrase only: "
            "an old copy of the key store opens with the same passphrase."
        )

    def _opens(self, handle: Handle) -> bool:
        try:
            self.unwrap(handle)
        except WrongPassphraseError:
            return False
        return True

    def _derive(self, salt: bytes, *, iterations: int, memory: int, lanes: int) -> bytes:
        passphrase = self._asked().reveal()
        try:
            return Argon2id(
                salt=salt, length=ROOT_KEY_BYTES, iterations=iterations, lanes=lanes, memory_cost=memory
            ).derive(passphrase)
        except (ValueError, MemoryError, UnsupportedAlgorithm) as error:
            raise RootKeyError(
                "The root key cannot be derived from the passphrase here.",
                advice=f"Argon2id needs {memory // 1024} MiB of memory and an OpenSSL that has it.",
            ) from error

    def _asked(self) -> Secret:
        if self._passphrase is None:
            if self._ask is None:
                raise RootKeyError(
                    "The root key needs a passphrase, and nobody can be asked for it.",
                    advice="Run at a terminal, or give --passphrase-file.",
                )
            given = self._ask()
            if not given:
                raise RootKeyError("The passphrase is empty.", advice="Give a passphrase.")
            self._passphrase = given
        return self._passphrase


class LeftPassphraseProvider(PassphraseProvider):
    """The provider of a vault whose root key no longer comes from a passphrase: none is in use."""

    def destroy(self, handle: Handle) -> Destruction:
        """As gone as by a new passphrase: what opened it is not in use any more."""
        require_provider(handle, self.name)
        return Destroyed()


def _check(key: bytes) -> str:
    return base64.b64encode(expand(key, _CHECK_LABEL, _CHECK_BYTES, SHA256())).decode()


def _salt(handle: Handle) -> bytes:
    try:
        salt = base64.b64decode(handle_text(handle, "salt"), validate=True)
    except ValueError:
        salt = b""
    if len(salt) != _SALT_BYTES:
        raise RootKeyError(
            "The passphrase's salt in the key store is malformed.", advice="Restore the key store from its backup."
        )
    return salt


def _bounded(handle: Handle, key: str, most: int) -> int:
    value = handle_number(handle, key)
    if value > most:
        raise RootKeyError(
            f"The passphrase's parameter {key} in the key store is malformed: {value}.",
            advice="Restore the key store from its backup.",
        )
    return value
