"""Signing in as an application (OAuth 2.0 client credentials) through msal, and what Entra's refusals mean."""

from __future__ import annotations

import base64
import binascii
import codecs
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NoReturn
from urllib.parse import urlencode, urlsplit

import msal

from connectors.graph.settings import ClientCertificate, ClientSecret, GraphSettings
from connectors.graph.transport import Answer, BrokenError, TooLargeError, Transport
from connectors.port import ConnectorError, CredentialRejected, ProtocolViolation, ServerFault, Throttled, Unreachable
from connectors.throttle import Backoff, Now, OutOfPatienceError, RetryPolicy, Sleep, retry_after

_ANSWER_LIMIT: Final = 1024 * 1024
_EARLY: Final = timedelta(minutes=5)  # before a token ends, a new one is asked for
_POLICY: Final = RetryPolicy()
_UNCONNECTED_ATTEMPTS: Final = 3
_AADSTS: Final = re.compile(r"AADSTS(\d{4,8})")
_ROTATE: Final = " A registered tenant then needs: syncvault credential rotate TENANT"
_PASSING: Final = frozenset({"temporarily_unavailable", "server_error"})
_PASSING_CODES: Final = frozenset({"AADSTS90033", "AADSTS90025"})
_ADVICE: Final = {
    "AADSTS7000215": "The client secret is wrong: copy the secret's value, not its ID." + _ROTATE,
    "AADSTS7000222": "The client secret has expired: make a new one in Entra." + _ROTATE,
    "AADSTS700016": "Entra knows no such application in this directory: check the client ID and the directory ID,"
    " and that an administrator has consented.",
    "AADSTS700027": "Entra does not know this certificate: upload its public part to the application." + _ROTATE,
    "AADSTS7000214": "Entra does not know this certificate: upload its public part to the application." + _ROTATE,
    "AADSTS700024": "The clock of this machine is wrong: Entra says the signature is outside its time.",
    "AADSTS7000112": "The application is disabled in Entra: enable it there.",
    "AADSTS90002": "Entra knows no such directory: check the directory ID and the cloud.",
    "AADSTS900023": "Entra knows no such directory: check the directory ID and the cloud.",
    "AADSTS53003": "A Conditional Access policy blocks this application: allow it from this machine's address.",
    "AADSTS50034": "Entra knows no such account in this directory: check the client ID and the directory ID.",
    "AADSTS500011": "The directory does not know Graph at this address: check the cloud and --graph-url.",
    "AADSTS50105": "The application is not assigned: assign it in Entra under enterprise applications.",
}


@dataclass(frozen=True, slots=True)
class _Token:
    value: str
    ends: datetime


class _HttpResponse:
    """An answer in the shape that msal reads."""

    def __init__(self, answer: Answer) -> None:
        self.status_code = answer.status
        self.headers = dict(answer.headers)
        self.text = answer.body.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace")

    def raise_for_status(self) -> None:
        """Nothing to raise: only good answers come this far."""


class SignIn:
    """msal's HTTP client: sends to the authority alone, rides out passing faults, and turns refusals into port errors.

    Raising here, instead of handing refusals to msal, also keeps msal from replaying them out of its memory.
    """

    def __init__(self, transport: Transport, origin: str, sleep: Sleep, now: Now) -> None:
        self._transport = transport
        self._origin = origin
        self._sleep = sleep
        self._now = now
        self.requests = 0

    def get(self, url: str, params: Mapping[str, str] | None = None, **_: Any) -> _HttpResponse:
        """Reads the directory's OpenID configuration."""
        return self._send("GET", url, params, None, {})

    def post(
        self,
        url: str,
        params: Mapping[str, str] | None = None,
        data: Mapping[str, Any] | str | None = None,
        headers: Mapping[str, str] | None = None,
        **_: Any,
    ) -> _HttpResponse:
        """Asks for a token."""
        body = data if isinstance(data, str) else urlencode(data or {})
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._send("POST", url, params, body.encode(), {**form, **(headers or {})})

    def close(self) -> None:
        """Leaves the connections to their owner."""

    def _send(
        self, method: str, url: str, params: Mapping[str, str] | None, body: bytes | None, headers: Mapping[str, str]
    ) -> _HttpResponse:
        path = self._local(url)
        if params:
            path = f"{path}{'&' if '?' in path else '?'}{urlencode(params)}"
        backoff, unconnected = Backoff(self._sleep, self._now, _POLICY), 0
        while True:
            self.requests += 1
            try:
                answer = self._transport.send(
                    method,
                    self._origin,
                    path,
                    headers={"Accept": "application/json", **headers},
                    body=body,
                    limit=_ANSWER_LIMIT,
                )
            except BrokenError as fault:
                unconnected += not fault.connected
                failure = Unreachable("The sign-in service cannot be reached.")
                if unconnected >= _UNCONNECTED_ATTEMPTS:
                    raise failure from None
                _pause(backoff, None, failure)
                continue
            except TooLargeError:
                raise ProtocolViolation("The sign-in service answers with more than a token.") from None
            asked = retry_after(answer.headers.get("Retry-After"), self._now())
            if answer.status == 429:
                _pause(backoff, asked, Throttled("The sign-in service asks to come back later."))
            elif answer.status >= 500 or _is_passing(answer):
                _pause(backoff, asked, ServerFault(f"The sign-in service failed with HTTP {answer.status}."))
            elif answer.status == 200:
                return _HttpResponse(answer)
            else:
                _refuse(answer)

    def _local(self, url: str) -> str:
        """The path of an address at the sign-in service; the configuration must not carry our secret elsewhere."""
        parts, home = urlsplit(url), urlsplit(self._origin)
        same = (parts.scheme, parts.hostname, parts.port or 443) == ("https", home.hostname, home.port or 443)
        if not same or "@" in parts.netloc or not parts.path.startswith("/"):
            raise ProtocolViolation("The sign-in service names an address at another host.", code="foreign-link")
        return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _pause(backoff: Backoff, asked: float | None, failure: ConnectorError) -> None:
    try:
        backoff.pause(asked)
    except OutOfPatienceError as end:
        if isinstance(failure, Throttled):
            failure.retry_at = end.retry_at
        raise failure from None


def _error_of(answer: Answer) -> tuple[str, str]:
    """The OAuth error and Entra's code, empty where they are missing. The description names people and is dropped."""
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        return "", ""
    if not isinstance(body, dict):
        return "", ""
    error, description, numbers = body.get("error"), body.get("error_description"), body.get("error_codes")
    if isinstance(numbers, list) and numbers and isinstance(numbers[0], int):
        code = f"AADSTS{numbers[0]}"
    else:
        match = _AADSTS.search(description) if isinstance(description, str) else None
        code = match.group(0) if match else ""
    return (error if isinstance(error, str) and re.fullmatch(r"\w{1,60}", error) else ""), code


def _is_passing(answer: Answer) -> bool:
    error, code = _error_of(answer) if answer.status >= 400 else ("", "")
    return error in _PASSING or code in _PASSING_CODES


def _refuse(answer: Answer) -> NoReturn:
    if answer.is_html or answer.status < 400:
        raise ProtocolViolation("The sign-in service answers with something else than a token.")
    error, code = _error_of(answer)
    if not error and not code:
        raise ProtocolViolation(f"The sign-in service answers HTTP {answer.status} without saying why.")
    raise CredentialRejected(
        f"Entra refused the application's credential ({code or error}).",
        code=code or error,
        advice=_ADVICE.get(code, ""),
    )


class Tokens:
    """The access token of one tenant, asked for when first needed and shared by all threads."""

    def __init__(self, settings: GraphSettings, http: SignIn, now: Now) -> None:
        self._settings = settings
        self._http = http
        self._now = now
        self._scope = f"{settings.graph_origin()}/.default"
        self._lock = threading.Lock()
        self._app: Any = None
        self._token: _Token | None = None

    @property
    def requests(self) -> int:
        """How many requests went to the sign-in service."""
        return self._http.requests

    def bearer(self, *, instead_of: str = "") -> str:
        """A token that is good for some minutes.

        Args:
            instead_of: A token that Graph has refused: ask for another one, unless somebody else just did.

        Raises:
            ConnectorError: No token was given.
        """
        with self._lock:
            token = self._token
            if token is None or token.value == instead_of or self._now() >= token.ends:
                token = self._token = self._acquire()
            return token.value

    def _acquire(self) -> _Token:
        self._token = None
        try:
            if self._app is None:
                self._app = self._make_app()
            self._app.remove_tokens_for_client()
            given = self._app.acquire_token_for_client([self._scope])
        except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, msal.exceptions.MsalError):
            # msal's messages hold the authority's whole answer.
            raise ProtocolViolation("The sign-in service's answer is not what OAuth 2.0 allows.") from None
        value, seconds = given.get("access_token"), given.get("expires_in")
        if isinstance(seconds, str) and seconds.isdecimal():
            seconds = int(seconds)
        if not isinstance(value, str) or not value:
            raise ProtocolViolation("The sign-in service gave no token and no reason.")
        life = timedelta(seconds=seconds if isinstance(seconds, int) and 0 < seconds < 10**7 else 3600)
        return _Token(value, self._now() + max(life - _EARLY, life / 2))

    def _make_app(self) -> Any:
        return msal.ConfidentialClientApplication(
            self._settings.client_id,
            authority=f"{self._settings.authority_origin()}/{self._settings.directory_id}",
            client_credential=_for_msal(self._settings.credential),
            instance_discovery=False,
            http_client=self._http,
            enable_pii_log=False,
        )


def _for_msal(credential: ClientSecret | ClientCertificate) -> str | dict[str, str]:
    if isinstance(credential, ClientSecret):
        return credential.secret.decode()
    return {
        "private_key": credential.private_key_pem.decode(),
        "public_certificate": credential.certificate_pem.decode(),
    }


def roles_in(token: str) -> tuple[str, ...]:
    """The permissions that a token carries, as far as it can be read; only to be shown, never to be relied on."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        roles = claims["roles"]
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return ()
    return tuple(sorted(role for role in roles if isinstance(role, str))) if isinstance(roles, list) else ()
