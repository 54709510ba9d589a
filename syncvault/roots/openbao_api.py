"""The HTTP API of OpenBao and HashiCorp Vault: one request at a time, bounded, and every refusal as a sentence.

No failure is chained to what `requests` raised: its exceptions hold the request, and with it the token and the key.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin

import certifi
import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

from syncvault.errors import RootKeyError
from syncvault.roots.openbao_options import Place, Token, parsed
from syncvault.roots.patience import bounded

_ANSWER_LIMIT: Final = 1024 * 1024  # bytes; a transit key with ten thousand versions needs a quarter of it
_MOST_REDIRECTS: Final = 3
_LOOK_AT_THE_SERVER: Final = "Look at the server with `bao status`."

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one request may take, in seconds: to connect, between two pieces of the answer, and altogether."""

    connect: float = 5.0
    read: float = 10.0
    total: float = 20.0


class RefusedError(RootKeyError):
    """The server understood and said no; `said` is its own word for why, without secrets."""

    def __init__(self, message: str, *, status: int, said: str, advice: str = "") -> None:
        super().__init__(message, advice=advice)
        self.status = status
        self.said = said


class ForbiddenError(RefusedError):
    """The token is good, but its policy does not allow this."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    location: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Failure:
    message: str
    advice: str


class Api:
    """Speaks to one server with one token."""

    def __init__(self, place: Place, token: Token, patience: Patience) -> None:
        self._place = place
        self._token = token
        self._patience = patience
        self._who = f"OpenBao at {place.address}"
        self._trust = _authorities(place.ca_file)

    def ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Json:
        """The `data` of the answer; empty if there is none.

        Args:
            method: `GET` or `POST`.
            path: What follows `/v1/`.
            body: The parameters.

        Raises:
            ForbiddenError: The token's policy does not allow it.
            RefusedError: The server says no for another reason.
            RootKeyError: It cannot be reached or not be trusted, is sealed, refuses the token, or answers nonsense.
        """
        answer = self._exchange(method, path, body, self._token)
        if answer.status in {200, 204}:
            data = _object(answer.body).get("data") if answer.body else {}
            if data is not None and not isinstance(data, dict):
                raise self.nonsense()
            return data or {}
        raise self._refusal(answer, method, path, body)

    def nonsense(self) -> RootKeyError:
        """What is said of an answer that is not the API's."""
        return RootKeyError(
            f"{self._who} gave an answer that is not OpenBao's.",
            advice="Check the option address: something else may answer there.",
        )

    # -- refusals -----------------------------------------------------------------------------------------------

    def _refusal(self, answer: _Answer, method: str, path: str, body: Mapping[str, object] | None) -> RootKeyError:
        said = self._said(answer.body, body)
        match answer.status:
            case 403:
                return self._forbidden(method, path, said)
            case 404 if "no handler for route" in said:
                return RootKeyError(
                    f"{self._who} has no transit engine at {self._place.mount}/.",
                    advice=f"Enable it (bao secrets enable -path={self._place.mount} transit), or check option mount.",
                )
            case 404 if "namespace" in said:
                return RootKeyError(
                    f"{self._who} does not know the namespace {self._place.namespace}.",
                    advice="Check the option namespace.",
                )
            case 429:
                return RootKeyError(
                    f"{self._who} takes no more requests at the moment.", advice="Run the command again later."
                )
            case 503:
                return self._out_of_service()
        words = f": {said}" if said else ""
        message = f"{self._who} refuses {path} ({answer.status}{words})."
        return RefusedError(message, status=answer.status, said=said, advice=_LOOK_AT_THE_SERVER)

    def _forbidden(self, method: str, path: str, said: str) -> RootKeyError:
        """A bad token, or a good one with too narrow a policy? The server says the same of both."""
        if self._exchange("GET", "auth/token/lookup-self", None, self._token).status != 200:
            return RootKeyError(
                f"{self._who} refuses the token: it is wrong, revoked or expired.",
                advice=f"Put a valid token into {self._token.where}.",
            )
        verb = "read" if method == "GET" else "update"
        return ForbiddenError(
            f"The OpenBao token's policy does not allow {verb} on {path}.",
            advice=f'Add to the policy: path "{path}" {{ capabilities = ["{verb}"] }}',
            status=403,
            said=said,
        )

    def _out_of_service(self) -> RootKeyError:
        state = self._exchange("GET", "sys/seal-status", None, None)
        found = _object(state.body) if state.status == 200 else {}
        if found.get("initialized") is False:
            return RootKeyError(f"{self._who} is not initialised.", advice="Initialise it with `bao operator init`.")
        if found.get("sealed") is True:
            return RootKeyError(
                f"{self._who} is sealed.", advice="Have it unsealed (bao operator unseal), then run the command again."
            )
        return RootKeyError(f"{self._who} is out of service (503).", advice=_LOOK_AT_THE_SERVER)

    def _said(self, content: bytes, body: Mapping[str, object] | None) -> str:
        """The server's first reason in one line; nothing if it repeats what we sent."""
        errors = _object(content).get("errors")
        first = errors[0] if isinstance(errors, list) and errors else ""
        words = str(first).removeprefix("1 error occurred:").replace("*", " ").split()
        said = "".join(char for char in " ".join(words) if char.isprintable())[:200]
        sent = [self._token.value.reveal().decode("ascii"), *(v for v in (body or {}).values() if isinstance(v, str))]
        return "" if any(value in said for value in sent) else said

    # -- one exchange -------------------------------------------------------------------------------------------

    def _exchange(self, method: str, path: str, body: Mapping[str, object] | None, token: Token | None) -> _Answer:
        headers = {"Accept-Encoding": "identity", "User-Agent": "syncvault", "X-Vault-Request": "true"}
        if token is not None:
            headers["X-Vault-Token"] = token.value.reveal().decode("ascii")
        if self._place.namespace:
            headers["X-Vault-Namespace"] = self._place.namespace
        url = f"{self._place.address}/v1/{path}"
        for _ in range(_MOST_REDIRECTS + 1):
            outcome = bounded(self._patience.total, self._who, self._sender(method, url, headers, body))
            if isinstance(outcome, _Failure):
                raise RootKeyError(outcome.message, advice=outcome.advice)
            if not 300 <= outcome.status < 400:
                return outcome
            url = self._redirected(url, outcome)
        raise RootKeyError(f"{self._who} redirects in circles.", advice="Check the option address.")

    def _redirected(self, url: str, answer: _Answer) -> str:
        """Where a standby sends us, if that is where we are; a token is never taken elsewhere."""
        here, there = parsed(url), parsed(urljoin(url, answer.location))
        if here and there and answer.status in {307, 308} and there[:2] == here[:2]:
            return there.geturl()
        elsewhere = f"{there.scheme}://{there.netloc}" if there else "another address"
        raise RootKeyError(
            f"{self._who} is a standby, or not the server itself: it redirects to {elsewhere}, where the token is not "
            "sent.",
            advice="Name the active server, or the address that always leads to it, with the option address.",
        )

    def _sender(
        self, method: str, url: str, headers: Mapping[str, str], body: Mapping[str, object] | None
    ) -> Callable[[], _Answer | _Failure]:
        def send() -> _Answer | _Failure:
            try:
                with requests.Session() as session:
                    session.trust_env = False  # no ~/.netrc, no REQUESTS_CA_BUNDLE
                    session.verify = self._trust
                    if not self._place.is_loopback:
                        session.proxies.update(requests.utils.get_environ_proxies(url))
                    with session.request(
                        method,
                        url,
                        headers=headers,
                        json=body,
                        timeout=(self._patience.connect, self._patience.read),
                        allow_redirects=False,
                        stream=True,
                    ) as answer:
                        return self._read(answer)
            except (requests.RequestException, HTTPError, OSError, ValueError) as error:
                return self._failure(error)

        return send

    def _read(self, answer: requests.Response) -> _Answer | _Failure:
        content = b""
        for piece in answer.iter_content(4096):
            content += piece
            if len(content) > _ANSWER_LIMIT:
                return _Failure(f"{self._who} gave an answer of more than {_ANSWER_LIMIT} bytes.", _LOOK_AT_THE_SERVER)
        return _Answer(answer.status_code, answer.headers.get("Location", ""), content)

    def _failure(self, error: Exception) -> _Failure:
        reason = _innermost(error)
        if isinstance(error, requests.Timeout) or isinstance(reason, TimeoutError | ReadTimeoutError):
            return _Failure(
                f"{self._who} did not answer in time.",
                "Check the way to it and its load, then run the command again.",
            )
        if isinstance(reason, ssl.SSLCertVerificationError):
            return _Failure(
                f"The certificate of {self._who} is not trusted: {reason.verify_message}.",
                "Name the authority that signed it with the option ca_file; the address must be one it was made for.",
            )
        if isinstance(error, requests.exceptions.SSLError):
            return _Failure(f"{self._who} does not speak TLS as it should.", "Check the address: scheme, host, port.")
        if isinstance(error, requests.exceptions.ProxyError):
            return _Failure(f"The proxy on the way to {self._who} fails.", "Check HTTPS_PROXY and NO_PROXY.")
        why = f": {reason.strerror}" if isinstance(reason, OSError) and reason.strerror else ""
        return _Failure(f"{self._who} cannot be reached{why}.", "Check the option address, and that the server runs.")


def _object(content: bytes) -> Json:
    """A JSON object; an empty one for anything else."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}


def _innermost(error: BaseException) -> BaseException:
    """What an exception of requests goes back to."""
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
    return error


def _authorities(ca_file: Path | None) -> str:
    """The file or directory of authorities: the one named and no other, or the system's."""
    if ca_file is not None:
        if not ca_file.is_file():
            raise RootKeyError(
                f"The file of authorities {ca_file} is missing or not readable.", advice="Check the option ca_file."
            )
        return str(ca_file)
    # The openssl_* members are OpenSSL's built-in places; the others follow the environment.
    paths = ssl.get_default_verify_paths()
    if Path(paths.openssl_cafile).is_file():
        return str(paths.openssl_cafile)
    directory = Path(paths.openssl_capath)
    return str(directory) if directory.is_dir() and any(directory.iterdir()) else certifi.where()
