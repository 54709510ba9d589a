"""Sign-in by OAuth 2.0: tokens for an application from a given endpoint, held in memory, shown to one server alone.

Sources: RFC 6749 section 4.4 (client credentials) and 5.2 (refusals), RFC 6750; [MS-OAPX] for AD FS's `resource`.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final, NoReturn
from urllib.parse import SplitResult, urlsplit

from requests import PreparedRequest, Response
from requests.auth import AuthBase

from connectors.ews.settings import OAuthClient
from connectors.ews.sign_in.guard import is_refusal
from connectors.ews.sign_in.methods import SignIn, send_again
from connectors.ews.wire.bodies import blocks
from connectors.ews.wire.breaks import PassingFaultError, translated
from connectors.ews.wire.soap import AnswerTooLargeError
from connectors.lines import Lines
from connectors.port import ConnectorError, CredentialRejected, ProtocolViolation, ServerFault, Throttled, Unreachable
from connectors.throttle import Backoff, Now, RetryPolicy, Sleep, pause, retry_after
from connectors.trust import StayingSession, TrustAdapter

_ANSWER_LIMIT: Final = 1024 * 1024
_TIMEOUTS: Final = (15.0, 60.0)
_ATTEMPTS: Final = RetryPolicy(attempts=4)
_MARGIN: Final = timedelta(minutes=5)  # a token that ends sooner is replaced first
_SHORTEST: Final = timedelta(seconds=60)  # how long a token is used at least, whatever its end is said to be
_LONGEST: Final = timedelta(days=1)
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750's b68token
_CODE: Final = re.compile(r"\b(?:AADSTS|MSIS)\d{3,8}\b")
_ERROR: Final = re.compile(r"[a-z_]{1,64}")
_EVERYTHING: Final = "/.default"
_ADFS_PATH: Final = "/adfs/oauth2/token"
_PASSING: Final = frozenset({"temporarily_unavailable", "server_error"})
_ABOUT_SCOPE: Final = frozenset({"invalid_scope", "invalid_resource", "invalid_target"})
_ENDPOINT_ADVICE: Final = "Check the address of the token endpoint, such as https://sts.example.com/adfs/oauth2/token"

_CERTIFICATE_ADVICE: Final = "Check when the certificate ends and for which names it is, and this machine's clock."


class OAuthSignIn(SignIn):
    """One application's tokens for one server.

    Raises:
        ProtocolViolation: The token endpoint is no https address.
        CredentialRejected: The secret is not UTF-8 text.
    """

    scheme = "bearer"
    refused = "Exchange refused the application's token (HTTP 401)."

    def __init__(
        self,
        ews_url: str,
        client: OAuthClient,
        context: ssl.SSLContext,
        *,
        sleep: Sleep,
        now: Now,
        lines: Lines | None = None,
    ) -> None:
        super().__init__()
        endpoint = urlsplit(client.token_url)
        if endpoint.scheme.lower() != "https" or not endpoint.hostname or "@" in endpoint.netloc:
            raise ProtocolViolation("The token endpoint must begin with https://.", advice=_ENDPOINT_ADVICE)
        self._url = client.token_url
        self._home = _origin(urlsplit(ews_url))
        self._form = _form(client, self._home, endpoint)
        self._context, self._lines, self._sleep, self._now = context, lines, sleep, now
        self._token = ""
        self._replaced_at = now()

    def auth(self) -> AuthBase:
        """Shows the present token with every request."""
        return _BearerAuth(self)

    def token(self) -> str:
        """A token that holds for a while yet.

        Raises:
            ConnectorError: The endpoint gives none.
        """
        with self._asking():
            if not self._token or self._now() >= self._replaced_at:
                self._token = ""
                self._token, lasts = self._fetched()
                self._replaced_at = self._now() + max(lasts - _MARGIN, _SHORTEST)
            return self._token

    def drop(self, proof: str) -> None:
        """A token has ended early, or was revoked: another is asked for."""
        with self._lock:
            if proof == f"Bearer {self._token}":
                self._token = ""

    def is_home(self, url: str) -> bool:
        """Whether an address is of the server that the token is for."""
        return _origin(urlsplit(url)) == self._home

    def close(self) -> None:
        """Forgets the token."""
        with self._lock:
            self._token = ""

    # -- the endpoint ----------------------------------------------------------------------------------------------

    def _fetched(self) -> tuple[str, timedelta]:
        backoff = Backoff(self._sleep, self._now, _ATTEMPTS)
        while True:
            status, headers, body = self._ask()
            if status == HTTPStatus.OK:
                return _granted(body)
            error, code = _said(body)
            asked = retry_after(headers.get("Retry-After"), self._now())
            if status == HTTPStatus.TOO_MANY_REQUESTS:
                pause(backoff, asked, Throttled("The token endpoint asks to come back later.", code=code))
            elif status >= HTTPStatus.INTERNAL_SERVER_ERROR or error in _PASSING:
                pause(backoff, asked, ServerFault(f"The token endpoint failed (HTTP {status}).", code=code))
            else:
                _refuse(status, error, code)

    def _ask(self) -> tuple[int, Mapping[str, str], bytes]:
        """One request over a connection of its own: it takes one an hour."""
        with StayingSession() as session:
            session.trust_env = False
            session.adapters.clear()
            session.mount("https://", TrustAdapter(self._context, self._lines, max_retries=0))
            try:
                with (
                    translated(known=False),
                    session.post(
                        self._url,
                        data=self._form,
                        headers={"Accept": "application/json", "User-Agent": "syncvault"},
                        allow_redirects=False,
                        timeout=_TIMEOUTS,
                        stream=True,
                    ) as response,
                ):
                    return response.status_code, response.headers, _whole(response)
            except (PassingFaultError, Unreachable) as fault:
                # Not tried again: it may have been judged, and refused.
                raise _unreached(fault.error if isinstance(fault, PassingFaultError) else fault) from None


class _BearerAuth(AuthBase):
    """One connection. What asks for nothing goes bare first: a server that answers that judges no token by it."""

    def __init__(self, sign_in: OAuthSignIn) -> None:
        self._sign_in = sign_in

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        if not self._sign_in.is_home(str(request.url)):
            raise ProtocolViolation("A token is shown to the server it is for, and to no other.")
        if request.method == "POST":
            request.headers["Authorization"] = f"Bearer {self._sign_in.token()}"
        request.register_hook("response", self._answered)  # type: ignore[no-untyped-call]  # not in the stubs
        return request

    def _answered(self, response: Response, **options: Any) -> Response:
        is_bare = "Authorization" not in response.request.headers
        is_asked = response.status_code == HTTPStatus.UNAUTHORIZED and is_refusal(response, self._sign_in.scheme)
        return send_again(response, f"Bearer {self._sign_in.token()}", **options) if is_bare and is_asked else response


def _form(client: OAuthClient, home: str, endpoint: SplitResult) -> dict[str, str]:
    try:
        secret = client.secret.decode()
    except UnicodeDecodeError:
        raise CredentialRejected("The client secret is not UTF-8 text.") from None
    form = {"grant_type": "client_credentials", "client_id": client.client_id, "client_secret": secret}
    if not client.scope and endpoint.path.lower().rstrip("/") == _ADFS_PATH:
        return {**form, "resource": home}  # AD FS names what a token is for this way
    return {**form, "scope": client.scope or home + _EVERYTHING}


def _origin(url: SplitResult) -> str:
    port = f":{url.port}" if url.port not in {None, 443} else ""
    return f"{url.scheme.lower()}://{(url.hostname or '').lower()}{port}"


def _whole(response: Response) -> bytes:
    try:
        return b"".join(blocks(response, _ANSWER_LIMIT))
    except AnswerTooLargeError:
        message = "The token endpoint answers with more than a token."
        raise ProtocolViolation(message, advice=_ENDPOINT_ADVICE) from None


def _unreached(error: ConnectorError) -> Unreachable:
    if error.code == "untrusted-certificate":
        return Unreachable("The token endpoint's certificate is not trusted.", code=error.code)
    if "certificate" in error.code:
        return Unreachable(
            "The token endpoint's certificate does not hold.", code=error.code, advice=_CERTIFICATE_ADVICE
        )
    return Unreachable("The token endpoint cannot be reached.", code="token-endpoint", advice=_ENDPOINT_ADVICE)


def _read(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _granted(body: bytes) -> tuple[str, timedelta]:
    answer = _read(body)
    token, lasts, kind = answer.get("access_token"), answer.get("expires_in", 3600), answer.get("token_type", "Bearer")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token) or str(kind).lower() != "bearer":
        raise ProtocolViolation("The token endpoint's answer holds no token.", advice=_ENDPOINT_ADVICE)
    try:
        seconds = float(lasts)  # AD FS writes a number, others a text
    except (TypeError, ValueError):
        seconds = 3600.0
    seconds = min(max(seconds, 0.0), _LONGEST.total_seconds()) if seconds == seconds else 0.0  # noqa: PLR0124  # NaN
    return token, timedelta(seconds=seconds)


def _said(body: bytes) -> tuple[str, str]:
    """The refusal's name, and the server's own number for it; its text may hold names and is not passed on."""
    answer = _read(body)
    error = str(answer.get("error", ""))
    if not _ERROR.fullmatch(error):
        error = ""
    number = _CODE.search(str(answer.get("error_description", "")))
    return error, number.group() if number else error or "token-endpoint"


def _refuse(status: int, error: str, code: str) -> NoReturn:
    if error in _ABOUT_SCOPE:
        raise ProtocolViolation(
            "The token endpoint gives out no tokens for this Exchange.",
            code=code,
            advice="Register Exchange there by the address of its EWS, or name what it is registered as: --scope",
        )
    if error:
        raise CredentialRejected(f"The token endpoint refuses the application (HTTP {status}).", code=code)
    raise _no_endpoint(status)


def _no_endpoint(status: int) -> ConnectorError:
    where = (
        "sends us elsewhere" if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST else "gives no tokens"
    )
    return ProtocolViolation(
        f"The token endpoint {where} (HTTP {status}).", code=f"http-{status}", advice=_ENDPOINT_ADVICE
    )
