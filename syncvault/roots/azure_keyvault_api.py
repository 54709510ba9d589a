"""The way to Azure Key Vault: one client per piece of work, bounded in time, every failure in a sentence of ours."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from syncvault.errors import RootKeyError
from syncvault.roots.patience import bounded, unanswered
from syncvault.roots.wrapping import does_not_fit

CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 10.0
TOTAL_SECONDS: Final = 60.0  # of one request with its second attempt, and of finding the credentials before it

_PARSING: Final = (ValueError, LookupError, TypeError, AttributeError)  # what its parsers raise on a foreign answer
_PERMISSIONS: Final = (
    "Give the identity the role Key Vault Crypto Officer on this vault, and let its network reach it; purging needs "
    "the permission of its own."
)

T = TypeVar("T")


class VaultRefusal(RootKeyError):
    """What Azure Key Vault answered instead, with the HTTP status."""

    def __init__(self, message: str, status: int, *, advice: str = "") -> None:
        super().__init__(message, advice=advice)
        self.status = status


class KeyVault:
    """The verbs of one vault that root keys need."""

    def __init__(self, client: Any, who: str, seconds: float) -> None:
        self._client = client
        self._who = who
        self._seconds = seconds

    def ask(self, action: str, call: Callable[[Any], T]) -> T:
        """Calls the client.

        Args:
            action: What is asked for, as Azure names the permission.
            call: Takes the `KeyClient`.

        Raises:
            VaultRefusal: Azure Key Vault refuses.
            RootKeyError: It cannot be reached, or no credentials are found.
        """
        return explained(self._who, self._seconds, action, lambda: call(self._client))

    def key(self, name: str, version: str | None = None) -> Any:
        """A key; None if there is none, or it is deleted."""
        return self._unless_missing("keys/get", lambda client: client.get_key(name, version))

    def deleted_key(self, name: str) -> Any:
        """A deleted key that can still be recovered; None if there is none."""
        return self._unless_missing("keys/get", lambda client: client.get_deleted_key(name))

    def wrap(self, name: str, version: str, algorithm: str, key: bytes) -> bytes:
        """A key, wrapped by one in the vault.

        Raises:
            VaultRefusal: Azure Key Vault refuses.
            RootKeyError: It cannot be reached, or answers something else.
        """
        return self._transformed("wrapKey", name, version, algorithm, key)

    def unwrap(self, name: str, version: str, algorithm: str, wrapped: bytes) -> bytes:
        """What was wrapped by a key in the vault.

        Raises:
            VaultRefusal: Azure Key Vault refuses.
            RootKeyError: It cannot be reached, or answers something else.
        """
        return self._transformed("unwrapKey", name, version, algorithm, wrapped)

    def _transformed(self, verb: str, name: str, version: str, algorithm: str, value: bytes) -> bytes:
        # Not by the library's CryptographyClient: 4.11 wraps for an AES key of a Managed HSM, whose bytes it does not
        # get, under random ones of its own, and what it has wrapped so nobody ever opens again.
        def call(client: Any) -> bytes:
            from azure.core.rest import HttpRequest  # noqa: PLC0415  (an extra)

            body = {"alg": algorithm, "value": base64.urlsafe_b64encode(value).rstrip(b"=").decode()}
            response = client.send_request(HttpRequest("POST", f"keys/{name}/{version}/{verb.lower()}", json=body))
            response.raise_for_status()
            if response.status_code != 200:
                raise ValueError("not an answer to this")
            answer = response.json()
            if not str(answer["kid"]).endswith(f"/{name}/{version}"):
                raise ValueError("an answer about another key")
            text = str(answer["value"])
            return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)

        return self.ask(f"keys/{verb}", call)

    def _unless_missing(self, action: str, call: Callable[[Any], Any]) -> Any:
        try:
            return self.ask(action, call)
        except VaultRefusal as refusal:
            if refusal.status == 404:
                return None
            raise


@contextmanager
def opened(vault_url: str, credential: Any | None, *, seconds: float = TOTAL_SECONDS) -> Iterator[KeyVault]:
    """A client for one piece of work: a fork later on shares no connection with it.

    Args:
        vault_url: The vault.
        credential: A credential of *azure-identity*, which stays open; None takes what this machine has.
        seconds: The longest that one request may take.

    Raises:
        RootKeyError: There are no credentials.
    """
    who = f"Azure Key Vault {urlsplit(vault_url).hostname}"
    # Its warnings repeat what becomes a sentence of ours, with a traceback, and at DEBUG it may log bodies.
    logging.getLogger("azure").setLevel(logging.ERROR)
    with ExitStack() as closing:
        if credential is None:
            credential = closing.enter_context(explained(who, seconds, "be reached", _default_credential))
        client = explained(who, seconds, "be reached", lambda: _client(vault_url, credential))
        yield KeyVault(closing.enter_context(client), who, seconds)


def not_a_vault(url: str) -> str | None:
    """Why this is no address of a vault."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "The option vault_url is malformed."
    if parts.scheme != "https" or not host or "@" in url or parts.path.strip("/") or parts.query or parts.fragment:
        return "The option vault_url is not of the form https://NAME.vault.azure.net."
    return None


def _default_credential() -> Any:
    from azure.identity import DefaultAzureCredential  # noqa: PLC0415  (an extra, and slow to import)

    return DefaultAzureCredential(
        process_timeout=int(READ_SECONDS), connection_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS
    )


def _client(vault_url: str, credential: Any) -> Any:
    from azure.keyvault.keys import KeyClient  # noqa: PLC0415  (an extra, and slow to import)

    return KeyClient(
        vault_url,
        credential,
        connection_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retry_total=1,
        permit_redirects=False,  # the vault is where the settings say, and nowhere else
        logging_enable=False,  # of bodies, and with them root keys
    )


def explained(who: str, seconds: float, action: str, call: Callable[[], T]) -> T:
    """Calls, within the time it may take, and turns what the library raises into a sentence.

    Raises:
        VaultRefusal: Azure Key Vault refuses.
        RootKeyError: It cannot be reached, or no credentials are found.
    """
    from azure.core import exceptions  # noqa: PLC0415  (an extra)

    # None of the library's exceptions is chained: they hold the request, and with it perhaps the root key.
    try:
        return bounded(seconds, who, call)
    except (exceptions.ServiceRequestTimeoutError, exceptions.ServiceResponseTimeoutError):
        raise unanswered(who, READ_SECONDS) from None
    except (exceptions.ServiceRequestError, exceptions.ServiceResponseError) as error:
        raise _unreachable(who, str(error)) from None
    except exceptions.HttpResponseError as error:
        if error.response is None or isinstance(error, exceptions.DecodeError):
            raise _without_answer(who, error) from None
        raise _refusal(who, action, error.response) from None
    except (exceptions.AzureError, NotImplementedError, *_PARSING) as error:
        raise _foreign(who, error) from None


def _unreachable(who: str, said: str) -> RootKeyError:
    if "CERTIFICATE_VERIFY_FAILED" in said:
        return RootKeyError(
            f"{who} shows no certificate that is trusted here.",
            advice="For a proxy that opens TLS, name its authority's file in REQUESTS_CA_BUNDLE.",
        )
    return RootKeyError(f"{who} cannot be reached.", advice="Check the network, the proxy and the option vault_url.")


def _without_answer(who: str, error: Exception) -> RootKeyError:
    from azure.core.exceptions import ClientAuthenticationError  # noqa: PLC0415  (an extra)

    if isinstance(error, ClientAuthenticationError):
        return RootKeyError(
            "No Azure credentials work here.",
            advice="Give the machine a managed identity, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and "
            "AZURE_CLIENT_CERTIFICATE_PATH.",
        )
    return _foreign(who, error)


def _foreign(who: str, error: Exception) -> RootKeyError:
    return RootKeyError(
        f"{who} answers as no vault does ({type(error).__name__}).", advice="Check the option vault_url and the proxy."
    )


def _refusal(who: str, action: str, response: Any) -> RootKeyError:
    status, codes = int(response.status_code), _codes(response)
    if status == 401:
        said, advice = f"{who} refuses the credentials.", "Check the identity's directory, and this machine's clock."
    elif "KeyDisabled" in codes or (status == 403 and "disabled" in codes):
        said, advice = f"The key in {who} is disabled.", "Enable it in Azure."
    elif status == 403:
        said, advice = f"{who} does not allow {action}.", _PERMISSIONS
    elif status == 404:
        said, advice = f"{who} has no such key.", "Check the options vault_url and key, and the deleted keys in Azure."
    elif status == 409:
        said = f"{who} holds the key deleted but recoverable, or is changing it."
        advice = "Recover or purge it in Azure, then run the command again."
    elif status == 429:
        said, advice = f"{who} is throttled.", "Try again later."
    elif status >= 500:
        said, advice = f"{who} is ill (HTTP {status}).", "Try again later."
    elif status == 400 and action.endswith("unwrapKey"):
        return does_not_fit()
    else:
        said, advice = f"{who} refuses {action} (HTTP {status}).", "Check the options and the vault's kind."
    return VaultRefusal(said, status, advice=advice)


def _codes(response: Any) -> frozenset[str]:
    """The error codes of an answer, and `disabled` if its text says that the key is."""
    found: set[str] = set()
    try:
        error = json.loads(response.text())["error"]
        if "disabled" in str(error.get("message", "")):
            found.add("disabled")
        while isinstance(error, dict):
            found.add(str(error.get("code", "")))
            error = error.get("innererror")
    except _PARSING:
        pass
    return frozenset(found)
