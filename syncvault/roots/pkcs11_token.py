"""The way to a PKCS#11 token: its module, a session, and a PIN that is never tried once too often.

The module is loaded into this process. It is initialised for each operation and finalised after it: nothing stays
logged in, a fork inherits nothing, and a token that was plugged in later is seen.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from syncvault.errors import RootKeyError
from syncvault.roots.patience import bounded, unanswered

SECONDS: Final = 15.0  # a network HSM takes tenths; one that is gone, for ever
_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH

T = TypeVar("T")


class _Modules:
    """The modules that this process has loaded, of which one at a time is in use."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._loaded: dict[str, Any] = {}

    @contextmanager
    def initialised(self, path: str) -> Iterator[Any]:
        """The module, initialised afresh; finalised when left, which closes its sessions and logs out."""
        import pkcs11  # noqa: PLC0415  (an extra, and a native library)

        library = self._loaded.get(path)
        if library is None:
            library = self._loaded[path] = pkcs11.lib(path)
        elif library.initialized:  # in the child of a process that was forked while another thread used it
            library.reinitialize()
        else:
            library.initialize()
        try:
            yield library
        finally:
            library.finalize()

    def forked(self) -> None:
        """In a child: a lock that another thread of the parent held would never come free."""
        self.lock = threading.Lock()


_modules: Final = _Modules()
os.register_at_fork(after_in_child=_modules.forked)

# PINs that a token has refused in this process, as keyed hashes: a second try could lock the token.
_refused: Final[set[bytes]] = set()
_refused_key: Final = os.urandom(32)


class TokenAccess:
    """Opens sessions on one token."""

    def __init__(self, module: str, label: str, read_pin: Callable[[], str], *, patience: float = SECONDS) -> None:
        self._module = module
        self._token = label
        self._read_pin = read_pin
        self._patience = patience

    def session(self, work: Callable[[Any, Any], T], *, rw: bool = False) -> T:
        """Does something on the token, logged in, and within the time it may take.

        Args:
            work: Takes the token and the session, both as the library *python-pkcs11* has them.
            rw: Whether it makes or removes objects.

        Raises:
            RootKeyError: The token is out of reach or refuses. What `work` raises is passed on.
        """
        who, lock = f"The PKCS#11 token {self._token}", _modules.lock

        def run() -> T:
            if not lock.acquire(timeout=self._patience):  # an earlier operation still hangs
                raise unanswered(who, self._patience)
            try:
                return self._explained(work, rw=rw)
            finally:
                lock.release()

        return bounded(self._patience, who, run)

    def _explained(self, work: Callable[[Any, Any], T], *, rw: bool) -> T:
        from pkcs11 import exceptions  # noqa: PLC0415  (an extra)

        try:
            with (
                _modules.initialised(str(Path(self._module).resolve())) as library,
                self._open(library, rw=rw) as (token, session),
            ):
                return work(token, session)
        except exceptions.PKCS11Error as error:
            # The library's exceptions are told by class: their texts are often empty, and never chained further.
            said = type(error).__name__ if type(error) is not exceptions.PKCS11Error else str(error)
            raise RootKeyError(
                f"The PKCS#11 module {self._module} failed: {said}.",
                advice="Check the token with the tool that its maker ships, or with pkcs11-tool.",
            ) from None

    @contextmanager
    def _open(self, library: Any, *, rw: bool) -> Iterator[tuple[Any, Any]]:
        from pkcs11 import exceptions  # noqa: PLC0415  (an extra)

        token = self._find_token(library)
        pin, tried = self._allowed_pin(token)
        try:
            session = token.open(rw=rw, user_pin=pin)
        except (exceptions.PinIncorrect, exceptions.PinInvalid, exceptions.PinLenRange):
            _refused.add(tried)
            raise _wrong_pin(self._token) from None
        except exceptions.PinLocked:
            raise _locked(self._token) from None
        except (exceptions.TokenWriteProtected, exceptions.SessionReadOnly):
            raise RootKeyError(
                f"The token {self._token} is write-protected.",
                advice="Lift the protection with the tool that its maker ships.",
            ) from None
        with session:
            yield token, session

    def _find_token(self, library: Any) -> Any:
        from pkcs11 import exceptions  # noqa: PLC0415  (an extra)

        try:
            return library.get_token(token_label=self._token)
        except exceptions.NoSuchToken:
            raise RootKeyError(
                f"The PKCS#11 module {self._module} shows no token with the label {self._token}.",
                advice="Plug in or reach the token, and check the module's own configuration.",
            ) from None
        except exceptions.MultipleTokensReturned:
            raise RootKeyError(
                f"Several tokens have the label {self._token}.", advice="Give each token a label of its own."
            ) from None

    def _allowed_pin(self, token: Any) -> tuple[str, bytes]:
        """The PIN and its mark among the refused ones, unless a try could lock the token."""
        from pkcs11 import TokenFlag  # noqa: PLC0415  (an extra)

        if token.flags & TokenFlag.USER_PIN_LOCKED:
            raise _locked(self._token)
        if token.flags & TokenFlag.USER_PIN_FINAL_TRY:
            raise RootKeyError(
                f"One more wrong PIN would lock the token {self._token}: syncvault does not try.",
                advice="Log in once with the right PIN by the token's own tool, then run the command again.",
            )
        pin = self._read_pin()
        mark = hmac.digest(_refused_key, b"\0".join((serial_of(token).encode(), pin.encode())), hashlib.sha256)
        if mark in _refused:
            raise _wrong_pin(self._token)
        return pin, mark


def untrusted(module: Path) -> str | None:
    """Why a module shall not be loaded: its code runs as whoever runs syncvault, root too."""
    if not module.is_absolute():
        return f"The PKCS#11 module {module} is not an absolute path."
    module = module.resolve()
    try:
        for path in (module, *module.parents):
            status = path.stat()
            sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
            if status.st_uid not in {0, os.geteuid()} or (status.st_mode & _WRITABLE_BY_OTHERS and not sticky):
                return f"Other users can change {path}, from where the PKCS#11 module would be loaded."
    except OSError:
        return f"The PKCS#11 module {module} is missing."
    return None if module.is_file() else f"The PKCS#11 module {module} is not a file."


def serial_of(token: Any) -> str:
    """The token's serial number, which tells it from another one with the same label."""
    serial: bytes = token.serial
    try:
        text = serial.decode().strip()
    except UnicodeDecodeError:
        text = ""
    return text if text and text.isprintable() else serial.hex()


def _wrong_pin(token: str) -> RootKeyError:
    return RootKeyError(
        f"The token {token} refuses the PIN; it is not tried again, for a few wrong ones lock the token.",
        advice="Put the right PIN in the file, then run the command again, or restart the service.",
    )


def _locked(token: str) -> RootKeyError:
    return RootKeyError(
        f"The PIN of the token {token} is locked.", advice="Have the token's security officer unlock it."
    )
