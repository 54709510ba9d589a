"""What requests, urllib3 and the sign-in libraries raise when no answer comes, in the port's words."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from requests import exceptions
from spnego.exceptions import SpnegoError
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.exceptions import SSLError as BareSSLError

from connectors.lines import StalledError
from connectors.port import ConnectorError, ProtocolViolation, Unreachable

SIGN_IN_ADVICE: Final = "Choose another way to sign in (like --auth ntlm or --auth basic), or allow it on the server."
_UNTRUSTED: Final = Unreachable("The server's certificate is not trusted.", code="untrusted-certificate")
# OpenSSL's codes (X509_V_ERR_…), from `man verify`.
_CERTIFICATES: Final = {
    9: Unreachable(
        "The server's certificate is not valid yet.",
        code="certificate-not-yet-valid",
        advice="Check this machine's clock, and when the certificate begins.",
    ),
    10: Unreachable(
        "The server's certificate has expired.",
        code="certificate-expired",
        advice="Renew the certificate of Exchange (or of what stands before it), and check this machine's clock.",
    ),
    **dict.fromkeys(
        (62, 64),
        Unreachable(
            "The server's certificate is for another name.",
            code="certificate-name",
            advice="Give the address by a name that the certificate holds: syncvault tenant edit TENANT --ews-url URL",
        ),
    ),
}


class PassingFaultError(Exception):
    """Something that may be gone in a moment.

    Attributes:
        error: What it is if it stays.
        asked: Seconds that the server asks for, None where it does not say.
        attempts: How often a request may meet it, at most.
    """

    def __init__(self, error: ConnectorError, *, asked: float | None = None, attempts: int = 7) -> None:
        super().__init__(error.code)
        self.error = error
        self.asked = asked
        self.attempts = attempts


@contextmanager
def translated(*, known: bool) -> Iterator[None]:
    """Turns what is raised into a `PassingFaultError`, or what lasts into a `ConnectorError`.

    Args:
        known: Whether the server has been reached before: one that was never there is no passing fault.
    """
    try:
        yield
    except (exceptions.SSLError, BareSSLError) as error:
        raise _of_tls(error) from None
    except exceptions.ConnectTimeout:
        raise _unreached("timed-out", known=known) from None
    except exceptions.Timeout:
        raise _lost("The server did not answer in time.", "timed-out", attempts=2) from None  # minutes each
    except exceptions.ConnectionError as error:
        if any(isinstance(cause, NewConnectionError) for cause in causes(error)):
            raise _unreached("unreachable", known=known) from None
        raise _lost("The connection to the server broke.", "connection-lost") from None
    except StalledError:
        raise too_slow() from None
    except (exceptions.InvalidHeader, exceptions.InvalidURL, exceptions.InvalidSchema):
        raise ProtocolViolation("The EWS address or a mailbox's address cannot be sent.") from None
    except (exceptions.RequestException, HTTPError):
        raise _lost("The server's answer broke off.", "truncated") from None
    except (KeyError, AttributeError):
        # requests_ntlm: the server answered something else in the middle of signing in.
        raise _lost("The server broke off the sign-in.", "sign-in-broken") from None
    except (PermissionError, ValueError, SpnegoError):
        raise ProtocolViolation(
            "The server does not answer the sign-in as it should.", code="sign-in-method", advice=SIGN_IN_ADVICE
        ) from None


def too_slow() -> PassingFaultError:
    """An answer that began and hardly goes on."""
    error = Unreachable(
        "The server's answer stalled.",
        code="answer-stalled",
        advice="Nothing to do if it passes: the next run continues. Otherwise look at the network and the server.",
    )
    return PassingFaultError(error, attempts=3)


def was_never_sent(error: Exception) -> bool:
    """Whether a request failed before anybody can have seen it."""
    if isinstance(error, exceptions.ConnectTimeout | ConnectorError):
        return True
    if isinstance(error, exceptions.SSLError):
        return "CERTIFICATE_VERIFY_FAILED" in str(error)
    return any(isinstance(cause, NewConnectionError) for cause in causes(error))


def causes(error: BaseException | None, depth: int = 0) -> Iterator[BaseException]:
    """An exception and those inside it: requests wraps urllib3, which wraps ssl and socket."""
    if error is None or depth > 8:
        return
    yield error
    for inner in (*error.args, getattr(error, "reason", None), error.__cause__):
        if isinstance(inner, BaseException):
            yield from causes(inner, depth + 1)


def _of_tls(error: Exception) -> Exception:
    for cause in causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            found = _CERTIFICATES.get(cause.verify_code, _UNTRUSTED)
            return _for_all(Unreachable(found.message, code=found.code, advice=found.advice))
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return _for_all(Unreachable(_UNTRUSTED.message, code=_UNTRUSTED.code))
    return _lost("TLS with the server failed.", "tls-failed")


def _unreached(code: str, *, known: bool) -> Exception:
    error = _for_all(Unreachable("The server cannot be reached.", code=code))
    return PassingFaultError(error) if known else error


def _for_all(error: Unreachable) -> Unreachable:
    """The error, of a connection that no other mailbox fares better with."""
    error.concerns_all = True
    return error


def _lost(message: str, code: str, *, attempts: int = 7) -> PassingFaultError:
    return PassingFaultError(Unreachable(message, code=code), attempts=attempts)
