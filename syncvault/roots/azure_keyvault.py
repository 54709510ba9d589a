"""Root keys wrapped by a key in Azure Key Vault or Managed HSM.

By default each generation has a key of its own, `syncvault-VAULT-ID-GENERATION`, so that it can be destroyed: it is
deleted and purged, and where the vault's purge protection forbids the latter the answer is Pending until Azure does it
(Microsoft Learn, "Azure Key Vault soft-delete overview"). A key named by the option `key` serves every generation and
is never deleted by syncvault.

`RSA-OAEP-256` wraps with an RSA key, `A256KW` with an AES key of a Managed HSM; neither binds anything, so that a
check value in the handle ties the root key to vault and generation. The check tells mistakes, not forgery: whoever can
write the key store and knows the RSA key's public half can put a root key of their own there. It opens no row that was
there before.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from syncvault.errors import RootKeyError
from syncvault.roots.azure_keyvault_api import TOTAL_SECONDS, KeyVault, VaultRefusal, not_a_vault, opened
from syncvault.roots.port import (
    ROOT_KEY_BYTES,
    Destroyed,
    Destruction,
    Handle,
    NotPossible,
    Pending,
    ProviderSettings,
    RootKeyProvider,
    handle_number,
    handle_text,
    require_generation,
    require_provider,
    require_root_key,
)
from syncvault.roots.wrapping import (
    binding,
    check_of,
    does_not_fit,
    missing,
    require_check,
    require_same,
    shown_text,
    wrapped_bytes,
    wrapped_text,
)

_RSA: Final = "RSA-OAEP-256"
_AES: Final = "A256KW"
_KEY_TYPES: Final = {_RSA: ("RSA", "RSA-HSM"), _AES: ("oct-HSM",)}
_RSA_BITS: Final = 3072
_SETTLING: Final = (1.0, 2.0, 3.0, 4.0)  # seconds; a key that is being deleted is for a while neither here nor there
_NAME: Final = re.compile(r"[0-9A-Za-z-]{1,127}")
_VERSION: Final = re.compile(r"[0-9A-Za-z]{1,64}")


class _Key(NamedTuple):
    """A key as a handle names it."""

    name: str
    version: str
    generation: int


class AzureKeyVaultProvider(RootKeyProvider):
    """Keeps a key per generation in a vault, or uses one that is named."""

    name = "azure-keyvault"
    takes = frozenset({"vault_url", "algorithm", "key"})

    def __init__(
        self,
        settings: ProviderSettings,
        *,
        credential: Any | None = None,
        pause: Callable[[float], None] = time.sleep,
        patience: float = TOTAL_SECONDS,
    ) -> None:
        self._vault = settings.vault_id
        self._url = settings.options.get("vault_url", "")
        self._shared = settings.options.get("key", "")
        self._algorithm = settings.options.get("algorithm") or _RSA
        self._credential = credential
        self._pause = pause
        self._patience = patience

    @property
    def remembers(self) -> Mapping[str, str]:
        """The vault's address, the algorithm and, if one was named, the key."""
        known = {"vault_url": self._url, "algorithm": self._algorithm, "key": self._shared}
        return {name: value for name, value in known.items() if value}

    def create(self, generation: int) -> Handle:
        """Makes the generation's key in the vault unless there is one, wraps a fresh root key, and unwraps that again.

        A key that is there already goes on being used: what it wrapped before still opens.
        """
        require_generation(generation)
        self._require_usable()
        key, bound_to = os.urandom(ROOT_KEY_BYTES), binding(self._vault, generation)
        name = self._shared or self._own_name(generation)
        with opened(self._url, self._credential, seconds=self._patience) as vault:
            found = vault.key(name)
            if found is None:
                found = self._make(vault, name)
            self._require_fitting(found)
            version = str(found.properties.version)
            wrapped = vault.wrap(name, version, self._algorithm, key)
            handle: Handle = {
                "provider": self.name,
                "generation": generation,
                "vault": self._host,
                "key": name,
                "version": version,
                "algorithm": self._algorithm,
                "wrapped": wrapped_text(wrapped),
                "check": check_of(key, bound_to),
            }
            require_same(self._unwrap(vault, handle), key, f"Azure Key Vault {self._host}")
        return handle

    def unwrap(self, handle: Handle) -> bytes:
        """Has the vault unwrap the root key."""
        self._require_usable()
        self._located(handle)
        wrapped_bytes(handle)
        with opened(self._url, self._credential, seconds=self._patience) as vault:
            return self._unwrap(vault, handle)

    def destroy(self, handle: Handle) -> Destruction:
        """Deletes and purges the generation's own key; Destroyed once the vault has it neither here nor deleted."""
        self._require_usable()
        key = self._located(handle)
        with opened(self._url, self._credential, seconds=self._patience) as vault:
            try:
                if key.name != self._own_name(key.generation):
                    return self._left_alone(vault, key.name)
                return self._delete(vault, key.name)
            except VaultRefusal as refusal:
                if refusal.status != 403:
                    raise
                return NotPossible(
                    f"these Azure credentials may not delete the key {key.name}; have that done in Azure"
                )

    def why_unusable(self) -> str | None:
        """It needs the libraries and a vault's address; whether there are credentials shows when they are used."""
        why = missing("azure-keyvault", "azure.keyvault.keys", "azure.identity")
        if why is None and not self._url:
            why = "No Azure Key Vault is named (option vault_url)."
        why = why or not_a_vault(self._url)
        if why is None and self._shared and not _NAME.fullmatch(self._shared):
            why = f"The option key is the name of a key, not {self._shared!r}."
        if why is None and self._algorithm not in _KEY_TYPES:
            why = f"The option algorithm is {_RSA} or {_AES}, not {self._algorithm!r}."
        return why

    def describe(self) -> str:
        """What a vault in Azure is worth."""
        return (
            "Protects copies of the whole machine and its backups, as long as Azure credentials are not among them: "
            "Azure logs every use and can be told to refuse. Does not protect against root while syncvault runs, nor "
            "against whoever holds the subscription. A generation is destroyed at once only where the vault allows "
            "purging; with purge protection after its retention period, and with a shared key (key) not by syncvault."
        )

    @property
    def _host(self) -> str:
        return str(urlsplit(self._url).hostname)

    def _require_usable(self) -> None:
        if (why := self.why_unusable()) is not None:
            raise RootKeyError(why, advice="For example: --root-key-option vault_url=https://NAME.vault.azure.net")

    def _own_name(self, generation: int) -> str:
        return f"syncvault-{self._vault}-{generation}"

    def _located(self, handle: Handle) -> _Key:
        """The key that a handle names: this generation's own or the shared one, and always in the settings' vault."""
        require_provider(handle, self.name)
        generation = handle_number(handle, "generation")
        name, version = handle_text(handle, "key"), handle_text(handle, "version")
        if name not in {self._own_name(generation), self._shared} or not _VERSION.fullmatch(version):
            raise does_not_fit()
        made_in = shown_text(handle, "vault")
        if made_in != self._host:
            raise RootKeyError(
                f"The root key was wrapped in the Azure Key Vault {made_in}, not in {self._host}.",
                advice="Set vault_url under [root_key_options] in vault.toml to the vault that holds the key.",
            )
        return _Key(name, version, generation)

    def _unwrap(self, vault: KeyVault, handle: Handle) -> bytes:
        key, wrapped = self._located(handle), wrapped_bytes(handle)
        algorithm = handle_text(handle, "algorithm")
        if algorithm not in _KEY_TYPES:
            raise does_not_fit()
        try:
            root = vault.unwrap(key.name, key.version, algorithm, wrapped)
        except VaultRefusal as refusal:
            if refusal.status == 404:
                raise self._gone(vault, key) from None
            raise
        require_root_key(root, f"the Azure Key Vault {self._host}")
        require_check(handle, root, binding(self._vault, key.generation))
        return root

    def _gone(self, vault: KeyVault, key: _Key) -> RootKeyError:
        try:
            deleted = vault.deleted_key(key.name)
        except VaultRefusal:
            deleted = None
        if deleted is None:
            return RootKeyError(
                f"The Azure Key Vault {self._host} does not have the key {key.name}, version {key.version}.",
                advice="Check the option vault_url; a key that was purged does not come back.",
            )
        return RootKeyError(
            f"The key {key.name} in the Azure Key Vault {self._host} is deleted; it is not used any more.",
            advice="If that was a mistake, recover it in Azure before it is purged.",
        )

    def _make(self, vault: KeyVault, name: str) -> Any:
        if self._shared:
            raise RootKeyError(
                f"The Azure Key Vault {self._host} has no key {name}.", advice="Make it, or leave out the option key."
            )
        uses = ["wrapKey", "unwrapKey"]
        if self._algorithm == _AES:
            return vault.ask(
                "keys/create",
                lambda client: client.create_oct_key(name, size=256, hardware_protected=True, key_operations=uses),
            )
        hardware = ".managedhsm." in self._host  # which knows no other keys
        return vault.ask(
            "keys/create",
            lambda client: client.create_rsa_key(
                name, size=_RSA_BITS, hardware_protected=hardware, key_operations=uses
            ),
        )

    def _require_fitting(self, found: Any) -> None:
        kind = str(getattr(found.key_type, "value", found.key_type))
        if kind not in _KEY_TYPES[self._algorithm]:
            raise RootKeyError(
                f"The key {found.name} is of type {kind}, which cannot do {self._algorithm}.",
                advice="Name another algorithm with --root-key-option algorithm=…, or another key.",
            )
        if found.properties.enabled is False:
            raise RootKeyError(f"The key {found.name} in {self._host} is disabled.", advice="Enable it in Azure.")

    def _left_alone(self, vault: KeyVault, name: str) -> Destruction:
        deleted = vault.deleted_key(name)
        if deleted is not None:
            return self._pending(deleted)
        if self._settled_away(vault, name):
            return Destroyed()
        return NotPossible(
            f"the key {name} in {self._host} was chosen with the option key and may wrap other generations; once "
            "nothing needs it, delete and purge it in Azure, or leave out the option key and re-key the root"
        )

    def _delete(self, vault: KeyVault, name: str) -> Destruction:
        deleted = vault.deleted_key(name)
        if deleted is None:
            if self._settled_away(vault, name):
                return Destroyed()
            if vault.key(name) is not None:
                vault.ask("keys/delete", lambda client: client.begin_delete_key(name).result())
            deleted = self._appeared(vault, name)
        if deleted is None:
            return Pending(f"Azure Key Vault has deleted the key {name}, which it has been asked to")
        return self._purge(vault, name, deleted)

    def _purge(self, vault: KeyVault, name: str, deleted: Any) -> Destruction:
        level = deleted.properties.recovery_level
        if "Purgeable" not in str(getattr(level, "value", level)):
            return self._pending(deleted)
        try:
            vault.ask("keys/purge", lambda client: client.purge_deleted_key(name))
        except VaultRefusal as refusal:
            if refusal.status not in {403, 409}:  # not allowed to, or not yet
                raise
            return self._pending(deleted)
        for seconds in (*_SETTLING, 0.0):
            if vault.deleted_key(name) is None and vault.key(name) is None:
                return Destroyed()
            self._pause(seconds)
        return self._pending(deleted)

    def _appeared(self, vault: KeyVault, name: str) -> Any:
        """The deleted key, once the vault shows it as one."""
        for seconds in (*_SETTLING, 0.0):
            if (deleted := vault.deleted_key(name)) is not None:
                return deleted
            self._pause(seconds)
        return None

    def _settled_away(self, vault: KeyVault, name: str) -> bool:
        """Whether the vault has the key neither here nor deleted, and stays at that for a while."""
        for seconds in (*_SETTLING, 0.0):
            if vault.key(name) is not None or vault.deleted_key(name) is not None:
                return False
            self._pause(seconds)
        return True

    def _pending(self, deleted: Any) -> Pending:
        due = deleted.scheduled_purge_date
        when = f" on {due:%Y-%m-%d}" if due is not None else ""
        return Pending(f"Azure Key Vault purges the key {deleted.name}{when}")
