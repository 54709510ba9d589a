"""Root keys wrapped by a PKCS#11 token: a hardware security module, a smart card, SoftHSM.

Each generation has an AES-256 key of its own on the token, which cannot leave it; destroying that key destroys the
generation. `aes-gcm` binds vault and generation as associated data (PKCS #11 v3.1, CKM_AES_GCM), `aes-kw` (RFC 3394,
CKM_AES_KEY_WRAP) binds nothing, so that a check value in the handle does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from syncvault.errors import RootKeyError
from syncvault.roots import keyfiles
from syncvault.roots.pkcs11_token import SECONDS, TokenAccess, serial_of, untrusted
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

CREDENTIAL: Final = "syncvault-pkcs11-pin"
_GCM: Final = "aes-gcm"
_KW: Final = "aes-kw"
_NONCE_BYTES: Final = 12
_TAG_BITS: Final = 128
_WRAPPED_BYTES: Final = {_GCM: _NONCE_BYTES + ROOT_KEY_BYTES + _TAG_BITS // 8, _KW: ROOT_KEY_BYTES + 8}
_ACTION_PROHIBITED: Final = "0x1b"  # CKR_ACTION_PROHIBITED, for which the library has no class
_ADVICE: Final = (
    "Give --root-key-option module=/usr/lib/….so, --root-key-option token=LABEL and --root-key-file PIN-FILE."
)

T = TypeVar("T")


class Pkcs11Provider(RootKeyProvider):
    """Keeps an AES key per generation on a token, under the label `syncvault-VAULT-ID-GENERATION`."""

    name = "pkcs11"
    takes = frozenset({"module", "token", "mechanism"})

    def __init__(self, settings: ProviderSettings, *, patience: float = SECONDS) -> None:
        self._vault = settings.vault_id
        self._module = settings.options.get("module") or settings.environment.get("PKCS11_MODULE", "")
        self._token = settings.options.get("token", "")
        self._mechanism = settings.options.get("mechanism") or _GCM
        self._pin_file = settings.root_key_file
        self._credentials = settings.environment.get("CREDENTIALS_DIRECTORY", "")
        self._access = TokenAccess(self._module, self._token, self._pin, patience=patience)

    @property
    def remembers(self) -> Mapping[str, str]:
        """The module, the token's label and the mechanism."""
        return {"module": self._module, "token": self._token, "mechanism": self._mechanism}

    def create(self, generation: int) -> Handle:
        """Makes the generation's key on the token, wraps a fresh root key with it, and unwraps that again.

        A key that is on the token already goes on being used: what it wrapped before still opens.
        """
        require_generation(generation)
        label, key = self._label(generation), os.urandom(ROOT_KEY_BYTES)
        bound_to = binding(self._vault, generation)

        def make(token: Any, session: Any) -> tuple[str, bytes]:
            self._require_mechanism(token)
            found = _keys(session, label)
            if len(found) > 1:
                raise _several(label)
            wrapping = found[0] if found else _generate(session, label, self._mechanism)
            return serial_of(token), _wrap(session, wrapping, self._mechanism, key, bound_to)

        serial, wrapped = self._in_session(make, rw=True)
        handle: dict[str, str | int] = {
            "provider": self.name,
            "generation": generation,
            "key": label,
            "serial": serial,
            "mechanism": self._mechanism,
            "wrapped": wrapped_text(wrapped),
        }
        if self._mechanism == _KW:
            handle["check"] = check_of(key, bound_to)
        require_same(self.unwrap(handle), key, f"The token {self._token}")
        return handle

    def unwrap(self, handle: Handle) -> bytes:
        """Has the token unwrap the root key."""
        label, generation = self._located(handle)
        mechanism, wrapped = _mechanism_of(handle), wrapped_bytes(handle)
        bound_to = binding(self._vault, generation)

        if len(wrapped) != _WRAPPED_BYTES[mechanism]:
            raise does_not_fit()

        def open_it(token: Any, session: Any) -> bytes:
            found = _keys(session, label)
            if not found:
                raise self._without(label, serial_of(token), handle)
            if len(found) > 1:
                raise _several(label)
            return _unwrap(found[0], mechanism, wrapped, bound_to)

        key = require_root_key(self._in_session(open_it), f"the token {self._token}")
        if mechanism == _KW:
            require_check(handle, key, bound_to)
        return key

    def destroy(self, handle: Handle) -> Destruction:
        """Removes the generation's key from the token, and looks for it again."""
        label, _ = self._located(handle)
        made_on = shown_text(handle, "serial")

        def remove(token: Any, session: Any) -> Destruction | None:
            from pkcs11 import exceptions  # noqa: PLC0415  (an extra)

            serial = serial_of(token)
            if serial != made_on:
                return NotPossible(f"the key {label} was made on the token with serial {made_on}; this is {serial}")
            try:
                for key in _keys(session, label):
                    key.destroy()
            except exceptions.PKCS11Error as error:
                if isinstance(
                    error, exceptions.FunctionRejected | exceptions.TokenWriteProtected
                ) or _ACTION_PROHIBITED in str(error):
                    return NotPossible(f"the token {self._token} does not let its key {label} be removed")
                raise
            return None

        def look(_token: Any, session: Any) -> bool:
            return bool(_keys(session, label))

        outcome = self._in_session(remove, rw=True)
        if outcome is not None:
            return outcome
        if self._in_session(look):
            raise RootKeyError(
                f"The token {self._token} does not let go of its key {label}.",
                advice="Remove it with the tool that the token's maker ships.",
            )
        return Destroyed()

    def why_unusable(self) -> str | None:
        """It needs the library, a module that only root or this user can change, a token and its PIN."""
        why = missing("pkcs11", "pkcs11")
        if why is None and not self._module:
            why = "No PKCS#11 module is named (option module, or PKCS11_MODULE)."
        why = why or untrusted(Path(self._module))
        if why is None and not self._token:
            why = "No token is named (option token, its label)."
        if why is None and self._mechanism not in _WRAPPED_BYTES:
            why = f"The option mechanism is {_GCM} or {_KW}, not {self._mechanism}."
        if why is None and self._pin_file is None and not self._credentials:
            why = f"No file holds the token's PIN (--root-key-file, or the systemd credential {CREDENTIAL})."
        return why

    def describe(self) -> str:
        """What a token is worth."""
        return (
            "Protects copies of the whole machine: the wrapping keys do not leave the token, and removing one "
            "destroys its root key, as far as the token has no copy or backup elsewhere (software tokens such as "
            "SoftHSM are files and protect as files do). Does not protect against root while syncvault runs, nor "
            "against whoever has the token and its PIN."
        )

    def _label(self, generation: int) -> str:
        return f"syncvault-{self._vault}-{generation}"

    def _located(self, handle: Handle) -> tuple[str, int]:
        require_provider(handle, self.name)
        generation = handle_number(handle, "generation")
        label = self._label(generation)
        if handle_text(handle, "key") != label:  # the handle comes from a database: it does not choose the key
            raise does_not_fit()
        return label, generation

    def _in_session(self, work: Callable[[Any, Any], T], *, rw: bool = False) -> T:
        if (why := self.why_unusable()) is not None:
            raise RootKeyError(why, advice=_ADVICE)
        return self._access.session(work, rw=rw)

    def _without(self, label: str, serial: str, handle: Handle) -> RootKeyError:
        made_on = shown_text(handle, "serial")
        if serial != made_on:
            return RootKeyError(
                f"The token {self._token} (serial {serial}) does not hold the key {label}, which was made on the "
                f"token with serial {made_on}.",
                advice="Plug in or reach the token that the vault was made with.",
            )
        return RootKeyError(
            f"The token {self._token} does not hold the key {label}.",
            advice="It was removed: only a copy of the token that the operator keeps brings it back.",
        )

    def _require_mechanism(self, token: Any) -> None:
        from pkcs11 import Mechanism  # noqa: PLC0415  (an extra)

        wanted = Mechanism.AES_GCM if self._mechanism == _GCM else Mechanism.AES_KEY_WRAP
        if wanted not in token.slot.get_mechanisms():
            other = _KW if self._mechanism == _GCM else _GCM
            raise RootKeyError(
                f"The token {self._token} cannot do {self._mechanism}.",
                advice=f"Try --root-key-option mechanism={other}, or take another token.",
            )

    def _pin(self) -> str:
        if self._pin_file is not None:
            where, content = self._pin_file, keyfiles.read(self._pin_file.expanduser().absolute())
        else:
            where = Path(self._credentials) / CREDENTIAL
            try:
                content = where.read_bytes()  # no check of the mode: systemd grants access by an access list
            except OSError:
                content = None
        if content is None:
            raise RootKeyError(
                f"The file {where}, which should hold the token's PIN, cannot be read.",
                advice=f"Name it with --root-key-file, or give the unit the credential {CREDENTIAL}.",
            )
        try:
            pin = content.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            pin = ""
        if not pin or "\n" in pin or "\0" in pin:
            raise RootKeyError(f"The file {where} holds no PIN.", advice="Write the PIN as its only line.")
        return pin


def _keys(session: Any, label: str) -> list[Any]:
    from pkcs11 import Attribute, ObjectClass  # noqa: PLC0415  (an extra)

    wanted = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.TOKEN: True, Attribute.LABEL: label}
    return list(session.get_objects(wanted))


def _generate(session: Any, label: str, mechanism: str) -> Any:
    from pkcs11 import Attribute, KeyType, MechanismFlag  # noqa: PLC0415  (an extra)

    able = (
        MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT
        if mechanism == _GCM
        else MechanismFlag.WRAP | MechanismFlag.UNWRAP
    )
    kept = {Attribute.PRIVATE: True, Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
    return session.generate_key(KeyType.AES, 256, label=label, store=True, capabilities=able, template=kept)


def _wrap(session: Any, wrapping: Any, mechanism: str, key: bytes, bound_to: bytes) -> bytes:
    from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, ObjectClass  # noqa: PLC0415  (an extra)

    if wrapping[Attribute.EXTRACTABLE] or not hasattr(wrapping, "encrypt" if mechanism == _GCM else "wrap_key"):
        raise RootKeyError(
            f"The token holds a key under the generation's label that can leave it, or is not for {mechanism}.",
            advice="Find out who made it, and remove it from the token.",
        )
    if mechanism == _GCM:
        nonce = os.urandom(_NONCE_BYTES)
        parameters = GCMParams(nonce, bound_to, _TAG_BITS)
        return nonce + bytes(wrapping.encrypt(key, mechanism=Mechanism.AES_GCM, mechanism_param=parameters))
    # C_WrapKey takes an object: one of this session, gone with it, and never of the token.
    lent = session.create_object(
        {
            Attribute.CLASS: ObjectClass.SECRET_KEY,
            Attribute.KEY_TYPE: KeyType.AES,
            Attribute.VALUE: key,
            Attribute.TOKEN: False,
            Attribute.PRIVATE: True,
            Attribute.SENSITIVE: False,
            Attribute.EXTRACTABLE: True,
        }
    )
    try:
        return bytes(wrapping.wrap_key(lent, mechanism=Mechanism.AES_KEY_WRAP))
    finally:
        lent.destroy()


def _unwrap(wrapping: Any, mechanism: str, wrapped: bytes, bound_to: bytes) -> bytes:
    from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, ObjectClass, exceptions  # noqa: PLC0415  (an extra)

    if not hasattr(wrapping, "decrypt" if mechanism == _GCM else "unwrap_key"):  # as its attributes allow
        raise does_not_fit()
    try:
        if mechanism == _GCM:
            parameters = GCMParams(wrapped[:_NONCE_BYTES], bound_to, _TAG_BITS)
            sealed = wrapped[_NONCE_BYTES:]
            return bytes(wrapping.decrypt(sealed, mechanism=Mechanism.AES_GCM, mechanism_param=parameters))
        readable = {Attribute.TOKEN: False, Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}
        lent = wrapping.unwrap_key(
            ObjectClass.SECRET_KEY,
            KeyType.AES,
            wrapped,
            mechanism=Mechanism.AES_KEY_WRAP,
            store=False,
            template=readable,
        )
        try:
            return bytes(lent[Attribute.VALUE])
        finally:
            lent.destroy()
    except (
        exceptions.EncryptedDataInvalid,
        exceptions.EncryptedDataLenRange,
        exceptions.WrappedKeyInvalid,
        exceptions.WrappedKeyLenRange,
        exceptions.MechanismParamInvalid,
        exceptions.GeneralError,  # what SoftHSM says of a tag that does not fit
    ):
        raise does_not_fit() from None


def _mechanism_of(handle: Handle) -> str:
    mechanism = handle_text(handle, "mechanism")
    if mechanism not in _WRAPPED_BYTES:
        raise does_not_fit()
    return mechanism


def _several(label: str) -> RootKeyError:
    return RootKeyError(
        f"The token holds several keys with the label {label}.",
        advice="Find out who made the others, and remove them.",
    )
