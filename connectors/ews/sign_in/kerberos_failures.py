"""What Kerberos's reasons mean to an administrator. Numbers: RFC 4120 section 7.5.9; beyond them MIT's own."""

from __future__ import annotations

from typing import Final

from connectors.port import ConnectorError, CredentialRejected, ProtocolViolation, Unreachable

_TABLE: Final = 0x96C73A00  # where MIT's table of reasons begins; below 128 they are those of the RFC
_MISMATCH: Final = 0x25EA100  # the cache's principal is not the one asked for

_KEYTAB_ADVICE: Final = (
    "Export a keytab with the account's present key (its kvno) and with AES keys,"
    " then: syncvault credential rotate TENANT"
)
_CLOCK_ADVICE: Final = "Set this machine's clock by the domain's time servers; five minutes of difference are too many."
_CONTROLLER_ADVICE: Final = (
    "Check the realm in /etc/krb5.conf, DNS, and that port 88 of a domain controller can be reached from here."
)
_SERVICE_ADVICE: Final = (
    "Give the EWS address by the name that is registered (setspn -S HTTP/HOST ACCOUNT), or sign in by --auth ntlm."
)
_EXPIRED_ADVICE: Final = "Have the tickets renewed while they last (k5start, or kinit by a timer)."

_CLOCK: Final = (Unreachable, "The clocks differ too much for Kerberos.", "clock-skew", _CLOCK_ADVICE)
_EXPIRED: Final = (Unreachable, "The Kerberos tickets have expired.", "tickets-expired", _EXPIRED_ADVICE)
_WRONG_KEY: Final = (CredentialRejected, "The keytab's key is not the account's.", "wrong-key", _KEYTAB_ADVICE)
_NO_CONTROLLER: Final = (
    Unreachable, "No domain controller of the realm answers.", "kdc-unreachable", _CONTROLLER_ADVICE
)  # fmt: skip
_NO_KEY: Final = (CredentialRejected, "The keytab holds no key that the domain takes.", "no-key", _KEYTAB_ADVICE)

_Meaning = tuple[type[ConnectorError], str, str, str]

_MEANINGS: Final[dict[int, _Meaning]] = {
    1: (CredentialRejected, "The account has expired.", "account-expired", ""),
    6: (CredentialRejected, "The realm knows no such account.", "principal", "Check name and realm of the account."),
    7: (ProtocolViolation, "The realm knows no Exchange at this address.", "service-principal", _SERVICE_ADVICE),
    14: _NO_KEY,
    18: (CredentialRejected, "The account is locked or disabled.", "account-revoked", "Unlock or enable the account."),
    23: (CredentialRejected, "The account's password has expired.", "password-expired", _KEYTAB_ADVICE),
    24: _WRONG_KEY,
    31: _WRONG_KEY,
    32: _EXPIRED,
    33: _CLOCK,
    37: _CLOCK,
    44: _WRONG_KEY,
    150: _CLOCK,
    154: _NO_CONTROLLER,
    156: _NO_CONTROLLER,
    181: _NO_KEY,
    195: _NO_KEY,
    220: _NO_CONTROLLER,
}


def failure(reason: int | None) -> ConnectorError:
    """The port's error for why there is no ticket.

    Args:
        reason: GSSAPI's minor status, under the mechanism Kerberos; None where what there was has expired.
    """
    if reason is None:
        return _error(_EXPIRED)
    if reason == _MISMATCH:
        return CredentialRejected("The ticket cache holds tickets of another account.", code="principal")
    number = (reason & 0xFFFFFFFF) - _TABLE
    if number in _MEANINGS:
        return _error(_MEANINGS[number])
    return Unreachable(
        "Kerberos gives no ticket.",
        code=f"kerberos-{number}" if 0 <= number < 256 else "kerberos",
        advice=f"Look what kinit and kvno say on this machine. {_CONTROLLER_ADVICE}",
    )


def server_failure(said: str) -> ConnectorError:
    """The port's error for why a server does not take a ticket; `said` is the library's text, which is not shown."""
    if "lock skew" in said or "not yet valid" in said:
        error = _error(_CLOCK)
    elif "expired" in said:
        error = _error(_EXPIRED)
    else:
        error = ProtocolViolation(
            "The server cannot read the Kerberos ticket made for it.", code="service-key", advice=_SERVICE_ADVICE
        )
    error.concerns_all = True  # each connection shows the same one
    return error


def _error(meaning: _Meaning) -> ConnectorError:
    kind, message, code, advice = meaning
    return kind(message, code=code, advice=advice)
