"""Root keys as items of the desktop's or the system's own keyring, one item per generation.

Only backends known to encrypt are used; what the `keyring` library would fall back to (plain text files, a prompt,
nothing at all) is refused.
"""

from __future__ import annotations

import base64
import importlib
import os
from collections.abc import Callable
from typing import Any, TypeVar

from syncvault.errors import RootKeyError
from syncvault.roots.patience import bounded
from syncvault.roots.port import (
    ROOT_KEY_BYTES,
    Destroyed,
    Destruction,
    Handle,
    Held,
    ProviderSettings,
    RootKeyProvider,
    handle_number,
    handle_text,
    require_generation,
    require_provider,
    require_root_key,
)

BACKENDS: tuple[str, ...] = (
    "keyring.backends.SecretService.Keyring",
    "keyring.backends.libsecret.Keyring",
    "keyring.backends.kwallet.DBusKeyring",
    "keyring.backends.macOS.Keyring",
    "keyring.backends.Windows.WinVaultKeyring",
)
_SERVICE = "syncvault"
_UNLOCK = "Unlock the keyring, then run the command again."
_SECONDS_QUIET = 10.0  # a look whether it is there
_SECONDS_PROMPT = 120.0  # a person may have to type the keyring's password
_MOST_DUPLICATES = 16

T = TypeVar("T")


class KeyringProvider(RootKeyProvider):
    """Keeps each generation as an item of its own, under the vault's ID."""

    name = "keyring"

    def __init__(self, settings: ProviderSettings, *, patience: float = _SECONDS_PROMPT) -> None:
        self._vault = str(settings.vault_id)
        self._patience = patience
        self._in_use = ""  # the backend of the key that was made or read last: numbers are held there too

    def create(self, generation: int) -> Handle:
        """Stores a new item and reads it back; takes over one that is there."""
        require_generation(generation)
        backend = self._chosen()
        user = self._user(generation)
        if self._ask(backend, "get_password", user) is None:
            self._ask(backend, "set_password", user, base64.b64encode(os.urandom(ROOT_KEY_BYTES)).decode())
        handle: Handle = {"provider": self.name, "generation": generation, "backend": backend}
        self.unwrap(handle)
        return handle

    def unwrap(self, handle: Handle) -> bytes:
        """Reads the item that the handle names, from the backend that it names."""
        backend, user = self._located(handle)
        value = self._ask(backend, "get_password", user)
        if value is None:
            raise RootKeyError(
                f"The keyring has no item {_SERVICE} {user}.",
                advice="Run as the user that made the vault, with the same keyring unlocked.",
            )
        try:
            key = base64.b64decode(value, validate=True)
        except ValueError:
            key = b""
        self._in_use = backend
        return require_root_key(key, f"the keyring's item {_SERVICE} {user}")

    def destroy(self, handle: Handle) -> Destruction:
        """Deletes the item, and looks that it is gone."""
        backend, user = self._located(handle)
        for _ in range(_MOST_DUPLICATES):  # a Secret Service may hold several under one name; one goes at a time
            if self._ask(backend, "get_password", user) is None:
                return Destroyed()
            self._ask(backend, "delete_password", user)
        raise RootKeyError(
            f"The keyring does not let go of its item {_SERVICE} {user}.",
            advice="Remove it with the keyring's own program, then run the command again.",
        )

    def hold(self, what: Held, value: int) -> None:
        """Stores the number as an item of its own."""
        self._ask(self._in_use or self._chosen(), "set_password", self._item(what), str(value))

    def held(self, what: Held) -> int | None:
        """Reads that item."""
        found = self._ask(self._in_use or self._chosen(), "get_password", self._item(what))
        if found is not None and not found.isdecimal():
            raise RootKeyError(
                f"The keyring's item {_SERVICE} {self._item(what)} holds no number.",
                advice="Find out who changed it, run `syncvault verify`, then remove it.",
            )
        return None if found is None else int(found)

    def why_unusable(self) -> str | None:
        """No backend that encrypts is at hand, or another one was chosen on purpose."""
        try:
            self._chosen()
        except RootKeyError as error:
            return error.message
        return None

    def describe(self) -> str:
        """What a keyring is worth."""
        return (
            "Protects copies of the disk, and the key while nobody is logged in: the keyring is encrypted under the "
            "login password. Does not protect against other programs of the same user, nor run unattended before "
            "somebody has unlocked it."
        )

    def _item(self, what: Held) -> str:
        return f"{self._vault}/{what}"

    def _user(self, generation: int) -> str:
        return f"{self._vault}/{generation}"

    def _located(self, handle: Handle) -> tuple[str, str]:
        require_provider(handle, self.name)
        backend = handle_text(handle, "backend")
        if backend not in BACKENDS:  # the handle comes from a database: it must not choose what is imported
            raise RootKeyError(
                f"The keyring backend {backend} is not one that syncvault uses.",
                advice="Restore the key store from its backup.",
            )
        return backend, self._user(handle_number(handle, "generation"))

    def _chosen(self) -> str:
        """The backend to use: the one configured for `keyring` if it is allowed, else the first that is running."""
        configured = _within(_SECONDS_QUIET, _configured)
        if configured is not None:
            if configured not in BACKENDS:
                raise RootKeyError(
                    f"The keyring configured here, {configured}, is not one that syncvault trusts with a key.",
                    advice="Unset PYTHON_KEYRING_BACKEND and keyringrc.cfg, or choose another root-key provider.",
                )
            return configured
        for backend in BACKENDS:
            if _within(_SECONDS_QUIET, lambda name=backend: _viable(name)):  # type: ignore[misc]
                return backend
        raise RootKeyError(
            "No Secret Service (GNOME Keyring, KeePassXC), KWallet, macOS or Windows keyring runs in this session.",
            advice="Log in to a desktop session, or choose another root-key provider.",
        )

    def _ask(self, backend: str, verb: str, user: str, *rest: str) -> Any:
        return _within(self._patience, lambda: getattr(_load(backend)(), verb)(_SERVICE, user, *rest))


def _configured() -> str | None:
    from keyring import core  # noqa: PLC0415  (lazy: looks for backends of all installed packages)

    backend = core.load_env() or core.load_config()
    return None if backend is None else f"{type(backend).__module__}.{type(backend).__qualname__}"


def _load(backend: str) -> Any:
    module, _, name = backend.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _viable(backend: str) -> bool:
    try:
        return bool(_load(backend).priority > 0)
    except Exception:  # noqa: BLE001  (each backend fails in its own way on a machine that is not its own)
        return False


def _within(seconds: float, call: Callable[[], T]) -> T:
    """Runs a call that may wait for a person or a bus, and gives up on it in time.

    Raises:
        RootKeyError: It failed, or took longer.
    """
    try:
        return bounded(seconds, "The keyring", call, advice=_UNLOCK)
    except RootKeyError:
        raise
    except Exception as error:  # each backend fails in its own way
        raise RootKeyError(f"The keyring refused: {_sentence(error)}", advice=_UNLOCK) from error


def _sentence(error: Exception) -> str:
    said = str(error).strip() or type(error).__name__
    return said if said.endswith((".", "!")) else f"{said}."
