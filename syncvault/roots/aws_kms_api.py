"""The way to AWS KMS: one client per piece of work, bounded in time, and every failure in a sentence of ours."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from syncvault.errors import RootKeyError
from syncvault.roots.patience import bounded, unanswered
from syncvault.roots.wrapping import does_not_fit

CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 10.0
TOTAL_SECONDS: Final = 45.0  # of one request with its second attempt, or of finding the credentials
NOT_FOUND: Final = "NotFoundException"
ACCESS_DENIED: Final = "AccessDeniedException"
ALREADY_EXISTS: Final = "AlreadyExistsException"

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_BAD_CREDENTIALS: Final = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_DAMAGED: Final = frozenset({"IncorrectKeyException", "InvalidCiphertextException"})
_THROTTLED: Final = frozenset({"LimitExceededException", "RequestLimitExceeded", "Throttling", "ThrottlingException"})
_WRONG_STATE: Final = frozenset({"DisabledException", "KMSInvalidStateException"})
_ILL: Final = frozenset(
    {"DependencyTimeoutException", "KMSInternalException", "KeyUnavailableException", "ServiceUnavailable"}
)
_PARSING: Final = (ValueError, LookupError, TypeError, AttributeError)  # what its parsers raise on a foreign answer
_PERMISSIONS: Final = (
    "Allow the role DescribeKey, Encrypt and Decrypt, and for keys of syncvault's own CreateKey, CreateAlias and "
    "ScheduleKeyDeletion, in its own policy and in the key's."
)

T = TypeVar("T")


class KmsRefusal(RootKeyError):
    """What AWS KMS answered instead, with its code."""

    def __init__(self, message: str, code: str, *, advice: str = "") -> None:
        super().__init__(message, advice=advice)
        self.reason = code


@dataclass(frozen=True, slots=True)
class Way:
    """How to reach AWS KMS: none of it from the key store.

    Attributes:
        region: The region.
        endpoint: A URL in place of the region's own; empty for that.
        profile: The profile of the AWS configuration files; empty for the default.
        seconds: The longest that one request may take.
    """

    region: str
    endpoint: str = ""
    profile: str = ""
    seconds: float = TOTAL_SECONDS

    @property
    def who(self) -> str:
        """What to call it in an error."""
        return f"AWS KMS ({self.endpoint or self.region})"


class Kms:
    """The verbs of AWS KMS."""

    def __init__(self, client: Any, way: Way) -> None:
        self._client = client
        self._way = way

    def ask(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """Calls a verb, named as *boto3* names it.

        Raises:
            KmsRefusal: AWS KMS refuses.
            RootKeyError: It cannot be reached, or no credentials are found.
        """
        action = "".join(part.capitalize() for part in verb.split("_"))
        call = getattr(self._client, verb)
        answer: dict[str, Any] = _explained(self._way, action, lambda: dict(call(**arguments)))
        return answer

    def describe(self, key: str) -> dict[str, Any] | None:
        """What AWS KMS says of a key, by its ID, its ARN or an alias; None if there is none.

        Raises:
            KmsRefusal: AWS KMS refuses.
            RootKeyError: It cannot be reached, or no credentials are found.
        """
        try:
            return key_of(self.ask("describe_key", KeyId=key))
        except KmsRefusal as refusal:
            if refusal.reason == NOT_FOUND:
                return None
            raise


def answered(answer: Mapping[str, Any], name: str, kind: type[T]) -> T:
    """A field of an answer.

    Raises:
        RootKeyError: It is missing, or something else.
    """
    value = answer.get(name)
    if not isinstance(value, kind):
        raise RootKeyError(f"AWS KMS answered without a usable {name}.", advice="Check that the endpoint is AWS KMS.")
    return value


def key_of(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The key that an answer describes, with its ARN, ID and state.

    Raises:
        RootKeyError: It describes none.
    """
    found: dict[str, Any] = answered(answer, "KeyMetadata", dict)
    for name in ("Arn", "KeyId", "KeyState"):
        answered(found, name, str)
    return found


@contextmanager
def opened(way: Way) -> Iterator[Kms]:
    """A client for one piece of work: a fork later on shares no connection with it.

    Raises:
        RootKeyError: There are no credentials, or the endpoint is none for secrets.
    """
    client = _explained(way, "be reached", lambda: _client(way))
    try:
        if (why := unsafe_endpoint(str(client.meta.endpoint_url))) is not None:
            raise RootKeyError(why, advice="Check the option endpoint, AWS_ENDPOINT_URL and the AWS configuration.")
        yield Kms(client, way)
    finally:
        client.close()


def unsafe_endpoint(url: str) -> str | None:
    """Why no key shall pass through this endpoint: it does not encrypt, and is not on this machine."""
    try:
        parts = urlsplit(url)
        scheme, host, _ = parts.scheme, parts.hostname, parts.port
    except ValueError:
        scheme, host = "", None
    if host and "@" not in url and (scheme == "https" or (scheme == "http" and host in _LOOPBACK)):
        return None
    return f"The AWS KMS endpoint at {host or 'an address without a host'} is not an https address."


def _client(way: Way) -> Any:
    import boto3  # noqa: PLC0415  (an extra, and slow to import)
    import botocore.session  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    # At DEBUG it logs the bodies of requests and answers, and with them the root key.
    logging.getLogger("botocore").setLevel(logging.INFO)
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": 2},
    )
    session = botocore.session.Session(profile=way.profile or None)
    session.set_default_client_config(config)  # for the services that credentials come from, too
    return boto3.Session(botocore_session=session, region_name=way.region).client(
        "kms", endpoint_url=way.endpoint or None
    )


def _explained(way: Way, action: str, call: Callable[[], Any]) -> Any:
    from botocore import exceptions  # noqa: PLC0415  (an extra)

    # None of the library's exceptions is chained: some hold the request, and with it the root key.
    try:
        return bounded(way.seconds, way.who, call)
    except exceptions.ClientError as error:
        raise _refusal(way, action, error) from None
    except (exceptions.ConnectTimeoutError, exceptions.ReadTimeoutError):
        raise unanswered(way.who, READ_SECONDS) from None
    except exceptions.ProfileNotFound:
        raise RootKeyError(
            f"The AWS configuration has no profile {way.profile or 'of the name in AWS_PROFILE'}.",
            advice="Check the option profile, ~/.aws/config and AWS_CONFIG_FILE.",
        ) from None
    except (
        exceptions.NoCredentialsError,
        exceptions.PartialCredentialsError,
        exceptions.CredentialRetrievalError,
        exceptions.TokenRetrievalError,
        exceptions.NoAuthTokenError,
        exceptions.SSOError,
    ) as error:
        raise RootKeyError(
            f"No AWS credentials are found here, or they are not complete ({type(error).__name__}).",
            advice="Give the machine a role, or name a profile with --root-key-option profile=NAME.",
        ) from None
    except exceptions.SSLError:
        raise RootKeyError(
            f"{way.who} shows no certificate that is trusted here.",
            advice="For a proxy that opens TLS, name its authority's file in AWS_CA_BUNDLE.",
        ) from None
    except (exceptions.HTTPClientError, exceptions.ConnectionError):
        raise RootKeyError(
            f"{way.who} cannot be reached.", advice="Check the network, the proxy and the region's name."
        ) from None
    except (exceptions.BotoCoreError, *_PARSING) as error:
        raise RootKeyError(
            f"{way.who} cannot be used: {type(error).__name__}.",
            advice="Check the AWS configuration, and that the endpoint is AWS KMS.",
        ) from None


def _refusal(way: Way, action: str, error: Any) -> RootKeyError:
    answer = error.response if isinstance(error.response, dict) else {}
    code = str(answer.get("Error", {}).get("Code", "unknown"))
    if code in _DAMAGED:
        return does_not_fit()
    if code in _BAD_CREDENTIALS:
        said, advice = f"AWS refuses the credentials ({code}).", "Renew them, and check this machine's clock."
    elif code == ACCESS_DENIED:
        said, advice = f"The AWS credentials do not allow {action}.", _PERMISSIONS
    elif code == NOT_FOUND:
        said = f"{way.who} does not know the key."
        advice = "Check the region, the account and, if set, the option key_id."
    elif code in _THROTTLED:
        said, advice = f"{way.who} is throttled, or a limit is reached ({code}).", "Try again later."
    elif code in _WRONG_STATE:
        said = f"The AWS KMS key is disabled, or its state does not allow {action}."
        advice = "Look at the key's state in AWS."
    elif code in _ILL or answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
        said, advice = f"{way.who} is ill ({code}).", "Try again later."
    else:
        said, advice = f"{way.who} refuses {action}: {code}.", "Check the options and the AWS policies."
    return KmsRefusal(said, code, advice=advice)
