"""Root keys wrapped by the transit engine of OpenBao or HashiCorp Vault.

Each generation is 32 random bytes of our own, encrypted by a *version of its own* of one transit key; the handle
holds the ciphertext, bound to vault and generation by its associated data. Transit destroys versions only from the
oldest on: raising `min_decryption_version` and trimming takes everything up to there. That fits, because the vault
destroys what it has replaced. A newest version is destroyed only if no older one is left that may still be in use.

A key that was named by an option may serve others too: its versions are neither made nor destroyed, unless the
option `exclusive` says that it is the vault's alone.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from syncvault.errors import RootKeyError
from syncvault.roots.openbao_api import Api, ForbiddenError, Patience, RefusedError
from syncvault.roots.openbao_options import OPTIONS, Place, find_token, locate
from syncvault.roots.port import (
    ROOT_KEY_BYTES,
    Destroyed,
    Destruction,
    Handle,
    NotPossible,
    Pending,
    PrivilegedStepNeededError,
    ProviderSettings,
    RootKeyProvider,
    handle_number,
    handle_text,
    require_generation,
    require_provider,
    require_root_key,
)
from syncvault.roots.wrapping import binding, does_not_fit, require_same

_KIND: Final = "aes256-gcm96"
_KINDS: Final = frozenset({_KIND, "chacha20-poly1305", "xchacha20-poly1305"})  # 256 bits, and bind associated data
_CIPHERTEXT: Final = re.compile(r"vault:v([1-9][0-9]{0,8}):[A-Za-z0-9+/=]{1,1024}")
_OWN, _SHARED = "own", "shared"


@dataclass(frozen=True, slots=True)
class _KeyState:
    """What the server says of a transit key: its newest version, and which ones may be decrypted, or exist at all."""

    latest: int
    min_decryption: int
    min_encryption: int
    min_available: int
    kind: str
    derived: bool


@dataclass(frozen=True, slots=True)
class _Wrapped:
    """A handle, checked."""

    generation: int
    version: int
    scope: str
    ciphertext: str


class OpenBaoProvider(RootKeyProvider):
    """Wraps each generation by a version of a transit key, which never leaves the server."""

    name = "openbao"
    takes = OPTIONS

    def __init__(self, settings: ProviderSettings, *, patience: Patience | None = None) -> None:
        self._settings = settings
        self._patience = patience or Patience()

    @property
    def remembers(self) -> Mapping[str, str]:
        """Where the server and the key are, as far as it is known by now."""
        return locate(self._settings).options()

    def create(self, generation: int) -> Handle:
        """Draws a key and has it wrapped. Called again, it wraps another one; the handle before keeps opening its own.

        Raises:
            PrivilegedStepNeededError: The token's policy does not allow it.
            RootKeyError: The server cannot be used, or does not give back what it wrapped.
        """
        require_generation(generation)
        transit = self._transit()
        try:
            return self._wrap(transit, generation, os.urandom(ROOT_KEY_BYTES))
        except ForbiddenError as error:
            refused = PrivilegedStepNeededError(error.message, advice=error.advice)
        raise refused

    def unwrap(self, handle: Handle) -> bytes:
        """Has the server decrypt what the handle holds."""
        require_provider(handle, self.name)
        handle_number(handle, "generation")
        return self._unwrap(self._transit(), handle)

    def destroy(self, handle: Handle) -> Destruction:
        """Destroys the version of the transit key, and all older ones with it, and looks that they are gone."""
        require_provider(handle, self.name)
        handle_number(handle, "generation")
        transit = self._transit()
        wrapped = _checked(handle, transit.place)
        try:
            return self._destroy(transit, handle, wrapped)
        except ForbiddenError as error:
            return Pending(
                f"an administrator of OpenBao has destroyed version {wrapped.version} of the transit key "
                f"{transit.place.key} (min_decryption_version and trim past it), or has let syncvault do it: "
                f"{error.message}"
            )

    def why_unusable(self) -> str | None:
        """No address, no token, a server that does not serve, or a policy that does not allow enough."""
        try:
            transit = self._transit()
            state = transit.read_key()
            if state is None and not transit.place.own:
                raise _no_key(transit.place)
            if state is not None:
                _require_kind(state, transit.place)
            denied = transit.denied(fresh=state is None)
        except RootKeyError as error:
            return error.message
        return f"The OpenBao token's policy does not allow update on {denied[0]}." if denied else None

    def describe(self) -> str:
        """What a transit key is worth."""
        return (
            "Protects copies of this machine and of all its backups: without the OpenBao or Vault server and a valid "
            "token nothing opens, a revoked token ends it at once, and the server logs each use. Does not protect "
            "against who administers the server, nor against root here while the token is valid; a destroyed "
            "generation lives on in snapshots of the server's own storage."
        )

    # -- inside -------------------------------------------------------------------------------------------------

    def _transit(self) -> _Transit:
        place = locate(self._settings)
        return _Transit(place, Api(place, find_token(self._settings), self._patience))

    def _wrap(self, transit: _Transit, generation: int, key: bytes) -> Handle:
        place = transit.place
        scope = _OWN if place.own else _SHARED
        version = self._version_for(transit, generation)
        handle: Handle = {
            "provider": self.name,
            "generation": generation,
            "key": place.key,
            "version": version,
            "scope": scope,
            "ciphertext": transit.encrypt(key, self._bound_to(generation, scope), version),
        }
        require_same(self._unwrap(transit, handle), key, f"OpenBao at {place.address}")
        return handle

    def _version_for(self, transit: _Transit, generation: int) -> int:
        """A version that no other generation is wrapped by; of a shared key the newest, as it will not be destroyed."""
        state = transit.read_key()
        if state is None:
            if not transit.place.own:
                raise _no_key(transit.place)
            transit.make_key()
            state = transit.read_key()
        elif transit.place.own and generation > 1:
            transit.rotate()
            state = transit.read_key()
        if state is None:
            raise _no_key(transit.place)
        _require_kind(state, transit.place)
        return state.latest

    def _unwrap(self, transit: _Transit, handle: Handle) -> bytes:
        wrapped = _checked(handle, transit.place)
        try:
            key = transit.decrypt(wrapped.ciphertext, self._bound_to(wrapped.generation, wrapped.scope))
        except RefusedError as error:
            refused = _why_not(error, wrapped, transit.place)
        else:
            return require_root_key(key, f"the transit key {transit.place.key}")
        raise refused

    def _destroy(self, transit: _Transit, handle: Handle, wrapped: _Wrapped) -> Destruction:
        place, version = transit.place, wrapped.version
        state = transit.read_key()
        if state is None or state.min_available > version:
            return Destroyed()
        if not place.own or wrapped.scope != _OWN:
            return NotPossible(
                f"the transit key {place.key} may serve others too; whoever runs it destroys version {version} by "
                "raising min_decryption_version and trimming past it"
            )
        if state.min_decryption <= version:
            self._unwrap(transit, handle)  # a handle that somebody changed must not choose what is destroyed
            if state.latest == version:
                if state.min_decryption < version and wrapped.generation > 1:
                    return Pending(
                        f"the older versions of the transit key {place.key} are destroyed: version {version} is the "
                        "newest, and OpenBao destroys it only together with them"
                    )
                transit.rotate()
            transit.forbid(version, state)
        transit.trim(version)
        state = transit.read_key()
        if state is not None and state.min_available <= version:
            raise RootKeyError(
                f"OpenBao does not let go of version {version} of the transit key {place.key}.",
                advice="Trim the key with the `bao` program, then run the command again.",
            )
        return Destroyed()

    def _bound_to(self, generation: int, scope: str) -> bytes:
        return binding(self._settings.vault_id, generation) + b"/" + scope.encode("ascii")


class _Transit:
    """The verbs of the transit engine, on one key."""

    def __init__(self, place: Place, api: Api) -> None:
        self.place = place
        self._api = api
        self._key_path = f"{place.mount}/keys/{place.key}"

    def read_key(self) -> _KeyState | None:
        """The key's state, None if there is none."""
        try:
            found = self._api.ask("GET", self._key_path)
        except RefusedError as error:
            if error.status != 404:
                raise
            return None
        return self._state(found)

    def make_key(self) -> None:
        """Makes the key, unless it is there."""
        self._api.ask("POST", self._key_path, {"type": _KIND, "exportable": False, "allow_plaintext_backup": False})

    def rotate(self) -> None:
        """Adds a version."""
        self._api.ask("POST", f"{self._key_path}/rotate", {})

    def forbid(self, version: int, state: _KeyState) -> None:
        """Takes a version and all before it out of use; an administrator could still bring them back."""
        limits = {
            "min_decryption_version": version + 1,
            "min_encryption_version": max(version + 1, state.min_encryption),
        }
        self._api.ask("POST", f"{self._key_path}/config", limits)

    def trim(self, version: int) -> None:
        """Destroys a version and all before it, for good."""
        self._api.ask("POST", f"{self._key_path}/trim", {"min_available_version": version + 1})

    def encrypt(self, key: bytes, bound_to: bytes, version: int) -> str:
        """The ciphertext of a root key under a version."""
        body = {"plaintext": _base64(key), "associated_data": _base64(bound_to), "key_version": version}
        found = self._api.ask("POST", f"{self.place.mount}/encrypt/{self.place.key}", body).get("ciphertext")
        shape = _CIPHERTEXT.fullmatch(found) if isinstance(found, str) else None
        if shape is None or int(shape[1]) != version:
            raise self._api.nonsense()
        return shape[0]

    def decrypt(self, ciphertext: str, bound_to: bytes) -> bytes:
        """What a ciphertext holds."""
        body = {"ciphertext": ciphertext, "associated_data": _base64(bound_to)}
        found = self._api.ask("POST", f"{self.place.mount}/decrypt/{self.place.key}", body).get("plaintext")
        try:
            plain = base64.b64decode(found, validate=True) if isinstance(found, str) else None
        except ValueError:
            plain = None
        if plain is None:  # raised outside the handler: the parser's exception holds what it could not read
            raise self._api.nonsense()
        return plain

    def denied(self, *, fresh: bool) -> list[str]:
        """The paths that the token may not update though the provider has to; none if the server does not tell."""
        place = self.place
        needed = [f"{place.mount}/encrypt/{place.key}", f"{place.mount}/decrypt/{place.key}"]
        if place.own:
            needed.append(self._key_path if fresh else f"{self._key_path}/rotate")
        try:
            found = self._api.ask("POST", "sys/capabilities-self", {"paths": needed})
        except ForbiddenError:
            return []
        return [path for path in needed if not _may_update(found.get(path))]

    def _state(self, found: Mapping[str, Any]) -> _KeyState:
        names = ("latest_version", "min_decryption_version", "min_encryption_version", "min_available_version")
        numbers = [found.get(name, 0) for name in names]
        if not all(type(number) is int and number >= 0 for number in numbers) or numbers[0] < 1:
            raise self._api.nonsense()
        latest, decryption, encryption, available = numbers
        kind, derived = str(found.get("type", "")), bool(found.get("derived", False))
        return _KeyState(latest, decryption, encryption, available, kind, derived)


def _checked(handle: Handle, place: Place) -> _Wrapped:
    """A handle's parts; the key is the one configured, never one that the handle alone names."""
    key, scope, ciphertext = (handle_text(handle, field) for field in ("key", "scope", "ciphertext"))
    if key != place.key:
        raise RootKeyError(
            "The root key was wrapped by another transit key than the one configured here.",
            advice=f"It takes {key[:255]!r}: give it as the option key in vault.toml.",
        )
    version = handle_number(handle, "version")
    shape = _CIPHERTEXT.fullmatch(ciphertext)
    if shape is None or int(shape[1]) != version or scope not in {_OWN, _SHARED}:
        raise does_not_fit()
    return _Wrapped(handle_number(handle, "generation"), version, scope, ciphertext)


def _why_not(error: RefusedError, wrapped: _Wrapped, place: Place) -> RootKeyError:
    """Why a ciphertext was not decrypted, as far as the server's words tell."""
    if "too old" in error.said:
        return RootKeyError(
            f"Version {wrapped.version} of the transit key {place.key}, which wraps root key generation "
            f"{wrapped.generation}, was destroyed or taken out of use (min_decryption_version is above it).",
            advice=f"If that was a mistake, set min_decryption_version of {place.mount}/keys/{place.key} back; a "
            "trimmed version is only in backups of the server.",
        )
    if "authentication failed" in error.said:
        return does_not_fit()
    if "too new" in error.said:
        return RootKeyError(
            f"The transit key {place.key} has no version {wrapped.version} (yet): the server was set back to an older "
            "state, or the key was made anew.",
            advice="Restore the server from its latest backup.",
        )
    if "key not found" in error.said:
        return _no_key(place)
    return error


def _no_key(place: Place) -> RootKeyError:
    return RootKeyError(
        f"There is no transit key {place.key} at {place.mount}/.",
        advice=f"Check the options key, mount and namespace, or make it: bao write -f {place.mount}/keys/{place.key}",
    )


def _require_kind(state: _KeyState, place: Place) -> None:
    if state.kind not in _KINDS or state.derived:
        raise RootKeyError(
            f"The transit key {place.key} is of a type that cannot wrap root keys.",
            advice=f"Use a key of type {_KIND} without derivation, or leave out the option key.",
        )


def _may_update(capabilities: object) -> bool:
    return isinstance(capabilities, list) and not {"update", "root"}.isdisjoint(map(str, capabilities))


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
