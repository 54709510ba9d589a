"""The port of a root-key provider: three verbs, and what it says of itself.

Providers of other packages register a factory under the entry-point group `syncvault.roots`; it takes
`ProviderSettings` and returns a `RootKeyProvider`.

A provider holds root keys by generation. What it needs to find one again is a *handle*: a small mapping
without secrets that the key store keeps. Every failure is a `RootKeyError`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable
from uuid import UUID

from syncvault.errors import RootKeyError
from syncvault.secret import Secret

ROOT_KEY_BYTES: int = 32

Handle = Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Destroyed:
    """The generation is gone from where the provider kept it."""


@dataclass(frozen=True, slots=True)
class Pending:
    """The generation still exists; `until` says what has to happen first."""

    until: str


@dataclass(frozen=True, slots=True)
class NotPossible:
    """The provider cannot destroy a generation; `why` says so in a sentence."""

    why: str


Destruction = Destroyed | Pending | NotPossible


class PrivilegedStepNeededError(RootKeyError):
    """A generation can be made, but not by this process: the advice says who has to do what."""


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """What a provider may need to know; each takes what concerns it.

    Attributes:
        vault_id: Whose root keys these are; keys of another vault are never touched.
        root_key_file: Where the key lies (`file`), the credential (`systemd`), or the secret that opens what keeps it
            (`openbao`: a token, `pkcs11`: a PIN).
        options: What else the provider was told when it was chosen (an address, a key's name), from the settings
            files or from `vault.toml`; no secrets.
        home: The data directory, which a key file must not lie in.
        passphrase: Asks for the passphrase; called once at most.
        environment: The process's environment.
    """

    vault_id: UUID
    root_key_file: Path | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    home: Path | None = None
    passphrase: Callable[[], Secret] | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


class RootKeyProvider(Protocol):
    """Makes, opens and destroys root keys.

    Attributes:
        takes: The options that it knows.
    """

    takes: ClassVar[frozenset[str]] = frozenset()

    @property
    def name(self) -> str:
        """The name that `init --root-key` takes."""

    @property
    def remembers(self) -> Mapping[str, str]:
        """The options that `vault.toml` has to keep, so that another process finds the key; no secrets."""
        return {}

    def create(self, generation: int) -> Handle:
        """Makes a root key and returns what finds it again.

        A generation that is there already (a crash came before its handle was stored) is taken over as it is.

        Raises:
            PrivilegedStepNeededError: Another user has to do this.
            RootKeyError: It could not be made, or not be read back.
        """

    def unwrap(self, handle: Handle) -> bytes:
        """The 32 bytes of the generation that the handle names.

        Raises:
            RootKeyError: They are missing, unreachable or malformed.
        """

    def destroy(self, handle: Handle) -> Destruction:
        """Destroys the generation, as far as this provider can; one that is gone already counts as destroyed.

        Raises:
            RootKeyError: The place cannot be reached, or holds something else.
        """

    def why_unusable(self) -> str | None:
        """Why it cannot be used here and now, in one sentence; None if it can. Asks nobody for anything."""

    def describe(self) -> str:
        """What it protects against, and what not, in plain sentences."""


class Held(StrEnum):
    """The numbers that a provider may hold; each is also the name under which it does."""

    COUNT = "count"  # how often anchors were written down
    LEDGER = "ledger"  # the number of the erasure ledger's last entry


@runtime_checkable
class ValueHolder(Protocol):
    """A provider that can also keep numbers beside the root keys: the state behind which the key store never falls.

    They are kept where the root key is that it made or read last.
    """

    def hold(self, what: Held, value: int) -> None:
        """Keeps a number, in place of the one before.

        Raises:
            RootKeyError: The place cannot be reached, or refuses.
        """

    def held(self, what: Held) -> int | None:
        """The number last kept; None if none was.

        Raises:
            RootKeyError: The place cannot be reached, or holds something else.
        """


def handle_text(handle: Handle, key: str) -> str:
    """A handle's text field.

    Raises:
        RootKeyError: The handle lacks it.
    """
    value = handle.get(key)
    if not isinstance(value, str) or not value:
        raise _malformed(key)
    return value


def handle_number(handle: Handle, key: str) -> int:
    """A handle's field that is a positive whole number.

    Raises:
        RootKeyError: The handle lacks it.
    """
    value = handle.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _malformed(key)
    return value


def require_provider(handle: Handle, name: str) -> None:
    """Refuses a handle that another provider made.

    Raises:
        RootKeyError: It is not this provider's.
    """
    made_by = handle_text(handle, "provider")
    if made_by != name:
        raise RootKeyError(
            f"The root key is kept by the provider {made_by}, not by {name}.",
            advice="Bring back vault.toml and the key store of one time.",
        )


def require_generation(generation: int) -> None:
    """Refuses a generation below 1, which only a mistake in the code can ask for."""
    if generation < 1:
        raise ValueError("generations count from 1")


def require_root_key(key: bytes, where: str) -> bytes:
    """Passes on a key of the right length.

    Raises:
        RootKeyError: It has another one.
    """
    if len(key) != ROOT_KEY_BYTES:
        raise RootKeyError(
            f"The root key in {where} is malformed: {len(key)} bytes instead of {ROOT_KEY_BYTES}.",
            advice="Bring back the root key as it was made; a damaged one cannot be repaired.",
        )
    return key


def _malformed(key: str) -> RootKeyError:
    return RootKeyError(
        f"The key store's note on where the root key lies is malformed: {key} is missing or not usable.",
        advice="Restore the key store from its backup.",
    )
