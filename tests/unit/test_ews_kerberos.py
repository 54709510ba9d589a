"""Kerberos where its package is missing, and what its reasons mean; the rest is tried against a real KDC."""

from __future__ import annotations

import struct
import subprocess
import sys

import pytest

from connectors.ews import EwsSettings, Keytab, TicketCache, connect
from connectors.ews.sign_in.kerberos_failures import failure, server_failure
from connectors.port import ConnectorError, CredentialRejected, ProtocolViolation, Unreachable

URL = "https://mail.example.com/EWS/Exchange.asmx"
TABLE = 0x96C73A00


def keytab(principal: bytes = b"svc", realm: bytes = b"EXAMPLE.COM") -> Keytab:
    entry = struct.pack(">HH", 1, len(realm)) + realm + struct.pack(">H", len(principal)) + principal
    entry += struct.pack(">IIBHH", 1, 0, 1, 18, 32) + bytes(32)
    return Keytab(b"\5\2" + struct.pack(">i", len(entry)) + entry)


@pytest.mark.parametrize("credential", [keytab(), TicketCache("/run/tickets")], ids=["keytab", "ticket cache"])
def test_where_the_package_is_missing_it_is_said_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, credential: Keytab | TicketCache
) -> None:
    monkeypatch.setitem(sys.modules, "gssapi", None)

    with pytest.raises(ProtocolViolation) as caught:
        connect(EwsSettings(URL, "svc@EXAMPLE.COM", credential))

    assert caught.value.code == "kerberos-missing"
    assert "pip install 'syncvault[kerberos]'" in caught.value.advice


def test_settings_show_neither_keys_nor_where_tickets_are() -> None:
    shown = repr(EwsSettings(URL, "svc", keytab())) + repr(EwsSettings(URL, "svc", TicketCache("/run/secret-place")))

    assert "EXAMPLE.COM" not in shown
    assert "secret-place" not in shown


def test_passwords_load_no_kerberos_and_no_tokens() -> None:
    code = (
        "import sys; from connectors.ews import EwsSettings, Password, connect\n"
        f"connect(EwsSettings({URL!r}, 'svc', Password(b'p'))).close()\n"
        "print(sorted({'connectors.ews.sign_in.kerberos', 'connectors.ews.sign_in.oauth'} & sys.modules.keys()))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("reason", "expected", "code"),
    [
        (TABLE + 1, CredentialRejected, "account-expired"),
        (TABLE + 6, CredentialRejected, "principal"),
        (TABLE + 14, CredentialRejected, "no-key"),
        (TABLE + 18, CredentialRejected, "account-revoked"),
        (TABLE + 23, CredentialRejected, "password-expired"),
        (TABLE + 24, CredentialRejected, "wrong-key"),
        (TABLE + 32, Unreachable, "tickets-expired"),
        (TABLE + 37 - 2**32, Unreachable, "clock-skew"),  # as some versions give it: with a sign
        (TABLE + 156, Unreachable, "kdc-unreachable"),
        (TABLE + 60, Unreachable, "kerberos-60"),
        (100_005, Unreachable, "kerberos"),
        (None, Unreachable, "tickets-expired"),
    ],
)
def test_a_reason_becomes_the_ports_error_with_advice(
    reason: int | None, expected: type[ConnectorError], code: str
) -> None:
    error = failure(reason)

    assert (type(error), error.code) == (expected, code)
    assert error.message.endswith(".")
    assert error.advice


@pytest.mark.parametrize(
    ("said", "expected", "code"),
    [
        ("Clock skew too great", Unreachable, "clock-skew"),
        ("Ticket not yet valid", Unreachable, "clock-skew"),
        ("Ticket expired", Unreachable, "tickets-expired"),
        ("Request is a replay of svc@EXAMPLE.COM", ProtocolViolation, "service-key"),
    ],
)
def test_what_a_server_says_of_a_ticket_is_not_shown(said: str, expected: type[ConnectorError], code: str) -> None:
    error = server_failure(said)

    assert (type(error), error.code) == (expected, code)
    assert "EXAMPLE" not in error.message
