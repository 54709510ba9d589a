"""Sign-in: NTLM (also wrapped in Negotiate), bound to one connection, and Basic, judged anew with every request."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
import tempfile
import threading
from enum import Enum
from pathlib import Path
from types import TracebackType

import spnego
import spnego.channel_bindings
import spnego.exceptions

SCHEMES = ("NTLM", "Basic")
_ENVIRONMENT = threading.Lock()  # pyspnego finds its users through a variable of the whole process


class Verdict(Enum):
    """What an Authorization header came to."""

    ANONYMOUS = "anonymous"
    CHALLENGE = "challenge"
    ACCEPTED = "accepted"
    REFUSED = "refused"


class Accounts:
    """The one account that may sign in, as `DOMAIN\\user` or `user@domain`."""

    def __init__(self, username: str, password: str, upn: str) -> None:
        self.username = username
        self.upn = upn
        self.generation = 0  # a connection that signed in with an older password has to sign in again
        self._folder = tempfile.TemporaryDirectory(prefix="ews-accounts-")
        self._file = Path(self._folder.name) / "users"
        self.password = ""
        self.set_password(password)

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

    def opened(self) -> _Opened:
        """Lets pyspnego see the accounts for a moment."""
        return _Opened(self._file)

    def close(self) -> None:
        """Removes the account file."""
        self._folder.cleanup()


class _Opened:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._before: str | None = None

    def __enter__(self) -> None:
        _ENVIRONMENT.acquire()
        self._before = os.environ.get("NTLM_USER_FILE")
        os.environ["NTLM_USER_FILE"] = str(self._path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is None:
            del os.environ["NTLM_USER_FILE"]
        else:
            os.environ["NTLM_USER_FILE"] = self._before
        _ENVIRONMENT.release()


class ConnectionSignIn:
    """How far one connection has come in signing in."""

    def __init__(
        self, accounts: Accounts, schemes: tuple[str, ...] = SCHEMES, *, bound_to_certificate: bytes | None = None
    ) -> None:
        self._accounts = accounts
        self._schemes = schemes
        self._bindings = _server_end_point(bound_to_certificate) if bound_to_certificate else None
        self._context: spnego.ContextProxy | None = None
        self._signed_in_at = -1

    def judge(self, authorization: str | None) -> tuple[Verdict, list[str]]:
        """The verdict and, unless accepted, the values of WWW-Authenticate to answer with."""
        if not authorization:
            if self._signed_in_at == self._accounts.generation:
                return Verdict.ACCEPTED, []
            return Verdict.ANONYMOUS, self._offers()
        scheme, _, token = authorization.strip().partition(" ")
        # Negotiate is understood but not offered: clients that prefer it look for Kerberos and give up without.
        known = (*self._schemes, "Negotiate") if "NTLM" in self._schemes else self._schemes
        offered = {name.casefold(): name for name in known}.get(scheme.casefold())
        if offered is None:
            return Verdict.REFUSED, self._offers()
        if offered == "Basic":
            return self._judge_basic(token)
        return self._step(offered, token)

    def _offers(self) -> list[str]:
        return ['Basic realm="mail"' if scheme == "Basic" else scheme for scheme in self._schemes]

    def _judge_basic(self, token: str) -> tuple[Verdict, list[str]]:
        try:
            username, _, password = base64.b64decode(token, validate=True).decode("utf-8").partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return Verdict.REFUSED, self._offers()
        if self._accounts.knows(username, password):
            return Verdict.ACCEPTED, []
        return Verdict.REFUSED, self._offers()

    def _step(self, scheme: str, token: str) -> tuple[Verdict, list[str]]:
        try:
            message = base64.b64decode(token, validate=True)
            if self._context is None or message[:12] == b"NTLMSSP\0\1\0\0\0":
                self._context = self._begin(raw=message.startswith(b"NTLMSSP\0"))
            with self._accounts.opened():
                answer = self._context.step(message, channel_bindings=self._bindings)
        except (binascii.Error, ValueError, spnego.exceptions.SpnegoError):
            self._context, self._signed_in_at = None, -1
            return Verdict.REFUSED, self._offers()
        if self._context.complete:
            self._context, self._signed_in_at = None, self._accounts.generation
            return Verdict.ACCEPTED, []
        return Verdict.CHALLENGE, [f"{scheme} {base64.b64encode(answer or b'').decode()}"]

    def _begin(self, *, raw: bool) -> spnego.ContextProxy:
        self._signed_in_at = -1
        with self._accounts.opened():
            return spnego.server(
                protocol="ntlm" if raw else "negotiate",
                options=spnego.NegotiateOptions.use_negotiate | spnego.NegotiateOptions.use_ntlm,
            )


def _server_end_point(certificate: bytes) -> spnego.channel_bindings.GssChannelBindings:
    digest = hashlib.sha256(certificate).digest()
    return spnego.channel_bindings.GssChannelBindings(application_data=b"tls-server-end-point:" + digest)
