"""Vectors of root keys: what each provider keeps, the handles to it, and what wrapped ones are bound to."""

from __future__ import annotations

import base64
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

from syncvault.roots.generations import to_text
from syncvault.roots.passphrase import PassphraseProvider
from syncvault.roots.port import ProviderSettings
from syncvault.secret import Secret
from tests.vectors import refusals
from tests.vectors.material import TENANT_ID, VAULT_ID, some


def roots() -> dict[str, Any]:
    """What each provider keeps of two generations, or one while none is being re-keyed, and the handles to them."""
    vault, keys = str(UUID(bytes=VAULT_ID)), {1: some("file key 1", 32), 2: some("file key 2", 32)}
    passphrase = "Grüße, correct horse"
    salt = some("salt")
    key = Argon2id(salt=salt, length=32, iterations=3, lanes=4, memory_cost=65536).derive(passphrase.encode())
    settings = ProviderSettings(vault_id=UUID(bytes=VAULT_ID), passphrase=lambda: Secret(passphrase))
    handle = _passphrase_handle(1, salt, key)
    again = some("salt of generation 2")
    second = Argon2id(salt=again, length=32, iterations=3, lanes=4, memory_cost=65536).derive(passphrase.encode())
    backend = "keyring.backends.SecretService.Keyring"
    return {
        "vault_id": vault,
        "text": to_text(vault, keys).decode(),
        "keys": {str(n): key.hex() for n, key in keys.items()},
        "one_generation": {"text": to_text(vault, {2: keys[2]}).decode(), "keys": {"2": keys[2].hex()}},
        "file_handles": [{"provider": "file", "generation": n, "path": "/root/root.key"} for n in keys],
        "systemd_handles": [
            {"provider": "systemd", "generation": n, "file": "/etc/credstore.encrypted/syncvault-root"} for n in keys
        ],
        "keyring_handles": [{"provider": "keyring", "generation": n, "backend": backend} for n in keys],
        "keyring_items": [
            {"service": "syncvault", "username": f"{vault}/{n}", "password": base64.b64encode(key).decode()}
            for n, key in keys.items()
        ],
        "passphrase": passphrase,
        "passphrase_handle": handle,
        "passphrase_key": PassphraseProvider(settings).unwrap(handle).hex(),
        "passphrase_handle_2": _passphrase_handle(2, again, second),
        "passphrase_key_2": second.hex(),
        "wrapped": _wrapped(vault, keys),
        "refused_texts": refusals.root_key_texts(vault, str(UUID(bytes=TENANT_ID)), keys[1]),
    }


def _expand(key: bytes, info: bytes, size: int) -> bytes:
    return HKDFExpand(algorithm=SHA256(), length=size, info=info).derive(key)


def _wrapped(vault: str, keys: dict[int, bytes]) -> dict[str, Any]:
    """What key services and tokens are given, and the check of wrappings that bind nothing themselves."""
    wrapping_key = some("wrapping key", 32)
    bindings = {n: f"{vault}/{n}" for n in keys}
    label = b"syncvault v1 root key check "
    return {
        "wrapping_key": wrapping_key.hex(),
        "generations": [
            {
                "generation": n,
                "binding": bindings[n],
                "check": base64.b64encode(_expand(key, label + bindings[n].encode(), 16)).decode(),
                "aes_key_wrap": base64.b64encode(aes_key_wrap(wrapping_key, key)).decode(),
            }
            for n, key in keys.items()
        ],
    }


def _passphrase_handle(generation: int, salt: bytes, key: bytes) -> dict[str, Any]:
    check = _expand(key, b"syncvault v1 passphrase check", 8)
    return {
        "provider": "passphrase",
        "generation": generation,
        "salt": base64.b64encode(salt).decode(),
        "iterations": 3,
        "memory_kib": 65536,
        "lanes": 4,
        "check": base64.b64encode(check).decode(),
    }
