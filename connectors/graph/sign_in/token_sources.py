"""Where tokens come from: Entra, and the identity endpoint of an Azure machine. msal sends through these."""

from __future__ import annotations

import codecs
import ipaddress
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Final
from urllib.parse import urlencode, urlsplit

from connectors.graph.sign_in import entra
from connectors.graph.wire.transport import Answer, BrokenError, TooLargeError, Transport
from connectors.port import ConnectorError, CredentialRejected, ProtocolViolation, ServerFault, Throttled, Unreachable
from connectors.throttle import Backoff, Now, RetryPolicy, Sleep, pause, retry_after

_ANSWER_LIMIT: Final = 1024 * 1024
_UNCONNECTED_ATTEMPTS: Final = 3
# App Service runs its endpoint beside the worker, at one of these (RFC 1918) or at a link-local address.
_PRIVATE: Final = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
_IDENTITY_ADVICE: Final = (
    "Run syncvault on a machine in Azure that has been given the managed identity (a user-assigned one is named by"
    " --identity-client-id), or take another credential: syncvault credential rotate TENANT"
)


class _Response:
    """An answer in the shape that msal reads."""

    def __init__(self, answer: Answer) -> None:
        self.status_code = answer.status
        self.headers = dict(answer.headers)
        self.text = answer.body.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace")

    def raise_for_status(self) -> None:
        """Nothing to raise: only answers that msal can use come this far."""


class _TokenSource(ABC):
    """msal's HTTP client: rides out passing faults, and turns refusals into port errors.

    Raising here, instead of handing refusals to msal, also keeps msal from replaying them out of its memory.
    """

    who: ClassVar[str]
    policy: ClassVar[RetryPolicy] = RetryPolicy()

    def __init__(self, transport: Transport, sleep: Sleep, now: Now) -> None:
        self._transport = transport
        self._sleep = sleep
        self._now = now
        self.requests = 0

    def close(self) -> None:  # noqa: B027  (msal closes what it was given; the owner does that here)
        """Leaves the connections to their owner."""

    def _send(
        self,
        method: str,
        url: str,
        params: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        body: bytes | None = None,
    ) -> _Response:
        origin, path = self._split(url)
        if params:
            path = f"{path}{'&' if '?' in path else '?'}{urlencode(params)}"
        sent = {"Accept": "application/json", **(headers or {})}
        backoff, unconnected = Backoff(self._sleep, self._now, self.policy), 0
        while True:
            self.requests += 1
            try:
                answer = self._transport.send(method, origin, path, headers=sent, body=body, limit=_ANSWER_LIMIT)
            except BrokenError as fault:
                unconnected += not fault.connected
                failure = self._unreachable(fault)
                if unconnected >= _UNCONNECTED_ATTEMPTS:
                    raise failure from None
                pause(backoff, None, failure)
                continue
            except TooLargeError:
                raise ProtocolViolation(f"{self.who} answers with more than a token.") from None
            asked = retry_after(answer.headers.get("Retry-After"), self._now())
            if answer.status == 429:
                pause(backoff, asked, Throttled(f"{self.who} asks to come back later."))
            elif answer.status >= 500 or self._is_passing(answer):
                pause(backoff, asked, ServerFault(f"{self.who} failed with HTTP {answer.status}."))
            elif answer.status == 200 or self._is_for_msal(answer):
                return _Response(answer)
            else:
                self._refuse(answer)

    @abstractmethod
    def _split(self, url: str) -> tuple[str, str]:
        """Origin and path of an address that msal wants to be asked."""

    @abstractmethod
    def _is_passing(self, answer: Answer) -> bool:
        """Whether the same request may do better later."""

    @abstractmethod
    def _is_for_msal(self, answer: Answer) -> bool:
        """Whether msal knows what to do with an answer other than 200."""

    @abstractmethod
    def _refuse(self, answer: Answer) -> None:
        """Raises what the answer means."""

    def _unreachable(self, fault: BrokenError) -> ConnectorError:
        return fault.lasting(f"{self.who} cannot be reached.")


class SignIn(_TokenSource):
    """Entra, at the tenant's authority and nowhere else."""

    who = "The sign-in service"

    def __init__(self, transport: Transport, origin: str, sleep: Sleep, now: Now) -> None:
        super().__init__(transport, sleep, now)
        self._origin = origin

    def get(self, url: str, params: Mapping[str, str] | None = None, **_: Any) -> _Response:
        """Reads the directory's OpenID configuration."""
        return self._send("GET", url, params, None)

    def post(
        self,
        url: str,
        params: Mapping[str, str] | None = None,
        data: Mapping[str, Any] | str | None = None,
        headers: Mapping[str, str] | None = None,
        **_: Any,
    ) -> _Response:
        """Asks for a token."""
        body = data if isinstance(data, str) else urlencode(data or {})
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._send("POST", url, params, {**form, **(headers or {})}, body.encode())

    def _split(self, url: str) -> tuple[str, str]:
        # The configuration must not carry our secret elsewhere.
        parts, home = urlsplit(url), urlsplit(self._origin)
        same = (parts.scheme, parts.hostname, parts.port or 443) == ("https", home.hostname, home.port or 443)
        if not same or "@" in parts.netloc or not parts.path.startswith("/"):
            raise ProtocolViolation("The sign-in service names an address at another host.", code="foreign-link")
        return self._origin, f"{parts.path}?{parts.query}" if parts.query else parts.path

    def _is_passing(self, answer: Answer) -> bool:
        return entra.is_passing(answer)

    def _is_for_msal(self, answer: Answer) -> bool:  # noqa: ARG002  (Entra has nothing to say but yes and no)
        return False

    def _refuse(self, answer: Answer) -> None:
        entra.refuse(answer)


class IdentityEndpoint(_TokenSource):
    """The endpoint that gives an Azure machine the tokens of its managed identity; msal finds it by the environment.

    Azure serves it over plain HTTP: at the link-local address of the host (IMDS), or at one of the machine itself. It
    has no name that a certificate could vouch for, and what is sent does not leave the physical host. That TLS is
    always verified is about Exchange and Entra; so a plain address is taken only where no other machine can be meant,
    and no proxy is asked. Source: "How to use managed identities for Azure resources on an Azure VM to acquire an
    access token" (Microsoft Learn).
    """

    who = "Azure's identity endpoint"
    policy = RetryPolicy(attempts=9)  # an update of the endpoint takes up to 70 seconds (404 or 410 meanwhile)

    def get(
        self,
        url: str,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        **_: Any,
    ) -> _Response:
        """Asks for a token."""
        return self._send("GET", url, params, headers)

    def _split(self, url: str) -> tuple[str, str]:
        try:
            parts = urlsplit(url)
            is_fit = parts.scheme == "https" or (parts.scheme == "http" and _is_at_home(parts.hostname or ""))
            is_fit = is_fit and bool(parts.hostname) and "@" not in parts.netloc and parts.port != 0
        except ValueError:
            is_fit = False
        if not is_fit:
            raise ProtocolViolation(
                "The environment names an identity endpoint that is not on this machine.",
                code="managed-identity",
                advice="Unset IDENTITY_ENDPOINT and the like, or set them as Azure does.",
            )
        return f"{parts.scheme}://{parts.netloc}", (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    def _is_passing(self, answer: Answer) -> bool:
        return answer.status in {404, 410}

    def _is_for_msal(self, answer: Answer) -> bool:
        # Azure Arc proves by a file on the machine that the caller is on it: msal answers this challenge.
        return answer.status == 401 and bool(answer.headers.get("WWW-Authenticate"))

    def _refuse(self, answer: Answer) -> None:
        error, _ = entra.error_of(answer)
        raise CredentialRejected(
            f"Azure gives this machine no token of that identity (HTTP {answer.status}).",
            code=error or "managed-identity",
            advice=_IDENTITY_ADVICE,
        )

    def _unreachable(self, fault: BrokenError) -> ConnectorError:  # noqa: ARG002  (whoever broke it)
        return Unreachable(f"{self.who} cannot be reached.", code="managed-identity", advice=_IDENTITY_ADVICE)


def _is_at_home(host: str) -> bool:
    """Whether an address is this machine's own, or one of the network between it and its host."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower() == "localhost"
    return address.is_loopback or address.is_link_local or any(address in network for network in _PRIVATE)
