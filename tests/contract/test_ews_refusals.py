"""What an administrator reads when an address, a certificate, a right or a mailbox is not as it should be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
import trustme

from connectors.ews import EwsSettings, Password, connect
from connectors.ews.connector import EwsConnector
from connectors.port import ConnectorError, Mailbox, NoMailbox, NotPermitted, ServerFault, Unreachable
from tests.conftest import Authority
from tests.reading import outcomes
from tests.simulators.company.cast import ANNA, JURGEN
from tests.simulators.company.model import Company
from tests.simulators.onprem.mailboxes import primary_address
from tests.simulators.onprem.server import OnpremSimulator
from tests.simulators.onprem.transport import Incoming, Outgoing

HTML = ("Content-Type", "text/html")
FORM = b"<!DOCTYPE html><html><body><form><input type='password' name='Password'></form></body></html>"


@contextmanager
def connected(server: OnpremSimulator, authority: Authority) -> Iterator[EwsConnector]:
    settings = EwsSettings(server.url, server.username, Password(server.password.encode()), authority.ca_pem)
    connector = connect(settings, sleep=lambda seconds: None)
    yield connector
    connector.close()


def refusal(connector: EwsConnector, do: Callable[[EwsConnector], Any] = EwsConnector.probe) -> ConnectorError:
    """What a connector says when it is refused."""
    with pytest.raises(ConnectorError) as caught:
        do(connector)
    return caught.value


class Issuer:
    """An authority that issues one certificate, whatever is asked for."""

    def __init__(self, authority: Authority, name: str, **dates: datetime) -> None:
        self._certificate = authority.ca.issue_cert(name, **dates)

    def issue_cert(self, *names: str) -> trustme.LeafCert:
        return self._certificate


CERTIFICATES = {
    "another name": ("mail.elsewhere.example", {}, "certificate-name", "--ews-url"),
    "expired": ("127.0.0.1", {"not_after": datetime(2021, 1, 1, tzinfo=UTC)}, "certificate-expired", "Renew"),
    "not yet": ("127.0.0.1", {"not_before": datetime(2090, 1, 1, tzinfo=UTC)}, "certificate-not-yet-valid", "clock"),
}


@pytest.mark.parametrize("kind", CERTIFICATES)
def test_a_certificate_that_does_not_hold_is_told_by_why(company: Company, authority: Authority, kind: str) -> None:
    name, dates, code, advice = CERTIFICATES[kind]
    server = OnpremSimulator(company, Issuer(authority, name, **dates))  # type: ignore[arg-type]
    server.start()

    with connected(server, authority) as connector:
        error = refusal(connector)

    server.stop()
    assert (type(error), error.code) == (Unreachable, code)
    assert advice in error.advice
    assert not server.recorder.entries


STRANGERS = {
    "nothing there": (Outgoing(404), "http-404", "Exchange.asmx"),
    "page": (Outgoing(200, b"<html><body>Welcome</body></html>", (HTML,)), "web-page", "Exchange.asmx"),
    "form": (Outgoing(200, FORM, (HTML,)), "login-page", "pre-authentication"),
    "way to a form": (
        Outgoing(302, headers=(("Location", "/owa/auth/logon.aspx"),)),
        "http-302",
        "without the form",
    ),
    "way elsewhere": (Outgoing(302, headers=(("Location", "https://a.example/"),)), "http-302", "Exchange.asmx"),
    "proxy": (Outgoing(407), "http-407", "proxy"),
    "forbidden": (Outgoing(403), "http-403", "Set-CASMailbox"),
}


@pytest.mark.parametrize("kind", STRANGERS)
def test_an_address_that_is_not_that_of_ews_is_told_by_what_answers(
    onprem: OnpremSimulator, authority: Authority, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    answer, code, advice = STRANGERS[kind]
    heard: list[Incoming] = []
    monkeypatch.setattr(onprem, "respond", lambda incoming: heard.append(incoming) or answer)

    with connected(onprem, authority) as connector:
        error = refusal(connector)

    assert error.code == code
    assert advice in error.advice
    assert not any("Authorization" in incoming.headers for incoming in heard)
    assert len(heard) <= 2


MAILBOXES = {
    "ErrorImpersonateUserDenied": (NotPermitted, "New-ManagementRoleAssignment -Name:"),
    "ErrorImpersonationDenied": (NotPermitted, "-Role:ApplicationImpersonation -User:"),
    "ErrorAccountDisabled": (NotPermitted, "Enable the account"),
    "ErrorNonPrimarySmtpAddress": (NotPermitted, "primary SMTP address"),
    "ErrorNonExistentMailbox": (NoMailbox, "licence"),
    "ErrorMailboxMoveInProgress": (ServerFault, "next run"),
    "ErrorMailboxStoreUnavailable": (ServerFault, "next run"),
    "ErrorConnectionFailed": (ServerFault, "next run"),
}


@pytest.mark.parametrize("code", MAILBOXES)
def test_what_is_wrong_with_one_mailbox_is_told_and_is_its_own(
    onprem: OnpremSimulator, authority: Authority, code: str
) -> None:
    kind, advice = MAILBOXES[code]
    anna, jurgen = (mailbox(onprem, person) for person in (ANNA, JURGEN))
    onprem.faults.response(code, mailbox=anna.address, times=100)

    with connected(onprem, authority) as connector:
        error = refusal(connector, lambda connector: list(outcomes(connector, anna)))
        assert list(outcomes(connector, jurgen))

    assert (type(error), error.code) == (kind, code)
    assert advice in error.advice
    assert onprem.refused_logins == 0


def mailbox(server: OnpremSimulator, person: str) -> Mailbox:
    address = primary_address(server.company.people[person])
    return Mailbox(address.lower(), address)
