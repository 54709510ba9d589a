"""The one account that may sign in, and the lock that too many wrong attempts put on it."""

from __future__ import annotations

import os
import secrets
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK_AFTER = 3
_ENVIRONMENT = threading.Lock()  # pyspnego finds its users through a variable of the whole process


class Accounts:
    """A service account, as `DOMAIN\\user` or `user@domain`.

    Attributes:
        failed: Wrong attempts since the last right one, as a directory counts them (`badPwdCount`).
        lock_after: How many of them lock the account; 0 for never. A locked one is refused its right password too.
    """

    def __init__(self, username: str, password: str, upn: str, lock_after: int = LOCK_AFTER) -> None:
        self.username = username
        self.upn = upn
        self.generation = 0  # a connection that signed in with an older password has to sign in again
        self.failed = 0
        self.lock_after = lock_after
        self._is_disabled = False
        self._counting = threading.Lock()
        self._folder = tempfile.TemporaryDirectory(prefix="ews-accounts-")
        self._file = Path(self._folder.name) / "users"
        self.password = ""
        self.set_password(password)

    @property
    def locked(self) -> bool:
        """Whether nobody signs in any more."""
        return self._is_disabled or 0 < self.lock_after <= self.failed

    def unlock(self) -> None:
        """Forgets the wrong attempts."""
        with self._counting:
            self.failed = 0

    def disable(self) -> None:
        """Lets the account in no more; open connections are signed out."""
        self._is_disabled = True
        self.generation += 1

    def enable(self) -> None:
        """Lets the account in again."""
        self._is_disabled = False

    def admits(self, *, proven: bool) -> bool:
        """Counts an attempt; whether it leads in."""
        with self._counting:
            if not proven:
                self.failed += 1
            elif not self.locked:
                self.failed = 0
                return True
            return False

    def set_password(self, password: str) -> None:
        """Replaces the password; open connections are signed out."""
        if ":" in password or "\n" in password:
            raise ValueError("the account file separates its columns by colons")
        domain, _, user = self.username.rpartition("\\")
        self.password = password
        self._file.touch(mode=0o600)
        self._file.write_text(f"{domain}:{user}:{password}\n:{self.upn}:{password}\n", encoding="utf-8")
        self.generation += 1

    def knows(self, username: str, password: str) -> bool:
        """Whether name and password belong together."""
        known = username.casefold() in {self.username.casefold(), self.upn.casefold()}
        return secrets.compare_digest(password.encode(), self.password.encode()) and known

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Lets pyspnego see the accounts for a moment."""
        with _ENVIRONMENT:
            before = os.environ.get("NTLM_USER_FILE")
            os.environ["NTLM_USER_FILE"] = str(self._file)
            try:
                yield
            finally:
                if before is None:
                    del os.environ["NTLM_USER_FILE"]
                else:
                    os.environ["NTLM_USER_FILE"] = before

    def close(self) -> None:
        """Removes the account file."""
        self._folder.cleanup()
