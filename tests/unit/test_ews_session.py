"""One refused login and no second; passing faults ridden out; nothing personal said aloud."""

from __future__ import annotations

import base64
import logging
import subprocess
import sys
import threading

import pytest

from connectors.ews import EwsSettings, Password, connect
from connectors.ews.connector import EwsConnector
from connectors.ews.wire.codes import back_off
from connectors.port import (
    ConnectorError,
    CredentialRejected,
    Mailbox,
    MailboxGone,
    NotPermitted,
    ProtocolViolation,
    ServerFault,
    Source,
    SourceGone,
    SourceKind,
    Unreachable,
)
from tests.reading import mailboxes, outcomes
from tests.unit.ews_wire import NOBODY, SETTINGS, URL, Reply, Wire, answer, error, fault, messages

ANNA = Mailbox("anna@example.com", "Anna@example.com")
DENIED: Reply = (401, {"WWW-Authenticate": 'Basic realm="mail"'}, "")


def test_a_probe_is_one_request_with_the_password_as_utf_8(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(NOBODY)

    identity = connector.probe()

    assert (identity.account, identity.server) == ("EXAMPLE\\svc-sync", "mail.example.com")
    assert connector.requests == len(wire.seen) == 1
    sent = base64.b64decode(wire.seen[0].headers["Authorization"].removeprefix("Basic "))
    assert sent == "EXAMPLE\\svc-sync:pässword".encode()


@pytest.mark.parametrize("code", ["ErrorNonExistentMailbox", "ErrorNameResolutionNoMailbox", "Server"])
def test_whatever_a_probe_finds_the_credential_was_accepted(wire: Wire, connector: EwsConnector, code: str) -> None:
    wire.reply((500, {}, fault(code)))

    assert connector.probe().account == SETTINGS.username


@pytest.mark.parametrize("code", ["ErrorSchemaValidation", "ErrorInvalidRequest", "Client"])
def test_a_first_request_that_is_called_invalid_is_sent_in_older_versions(
    wire: Wire, connector: EwsConnector, code: str
) -> None:
    wire.reply((500, {}, fault(code)), (500, {}, fault(code)), NOBODY)

    connector.probe()

    versions = [request.find("//t:RequestServerVersion/@Version")[0] for request in wire.seen]
    assert versions == ["Exchange2016", "Exchange2013_SP1", "Exchange2010_SP2"]


def test_what_is_called_invalid_after_the_server_understood_us_is_sent_once(
    wire: Wire, connector: EwsConnector
) -> None:
    wire.reply(NOBODY, (500, {}, fault("ErrorInvalidRequest")))

    connector.probe()
    connector.probe()

    assert len(wire.seen) == 2


def test_a_server_that_is_too_old_is_said_so_by_the_probe(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(*[(500, {}, fault("ErrorInvalidServerVersion"))] * 3)

    with pytest.raises(ServerFault) as caught:
        connector.probe()

    assert caught.value.code == "ErrorInvalidServerVersion"


def test_a_server_that_offers_no_basic_sign_in_did_not_refuse_the_password(wire: Wire, connector: EwsConnector) -> None:
    wire.reply((401, {"WWW-Authenticate": "Negotiate, NTLM"}, ""), NOBODY)

    with pytest.raises(ProtocolViolation) as caught:
        connector.probe()

    assert caught.value.code == "sign-in-method"
    assert connector.probe().account == SETTINGS.username


@pytest.mark.parametrize(
    "reply",
    [fault("ErrorPasswordExpired"), messages("ResolveNames", error("ResolveNames", "ErrorAccountDisabled"))],
    ids=["fault", "message"],
)
def test_an_account_that_exchange_shuts_out_is_not_used_again(wire: Wire, connector: EwsConnector, reply: str) -> None:
    wire.reply(reply)

    for _ in range(2):
        with pytest.raises(CredentialRejected):
            connector.probe()

    assert len(wire.seen) == 1


def test_a_refused_login_is_not_tried_again(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(DENIED)

    for _ in range(3):
        with pytest.raises(CredentialRejected):
            connector.probe()
    with pytest.raises(CredentialRejected):
        list(outcomes(connector, ANNA, {}))

    assert len(wire.seen) == 1


def test_a_wrong_password_is_offered_once_however_many_threads_begin(wire: Wire, connector: EwsConnector) -> None:
    started = threading.Barrier(4)
    refused: list[ConnectorError] = []
    wire.reply(DENIED, DENIED, DENIED, DENIED)

    def begin() -> None:
        started.wait()
        try:
            connector.probe()
        except CredentialRejected as error:
            refused.append(error)

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(refused) == 4
    assert len(wire.seen) == 1


def test_a_password_that_was_changed_meanwhile_is_refused_once_too(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(NOBODY, DENIED)
    connector.probe()

    for _ in range(2):
        with pytest.raises(CredentialRejected):
            connector.probe()

    assert len(wire.seen) == 2


def test_a_server_that_does_not_offer_the_way_to_sign_in_refuses_no_credential(wire: Wire) -> None:
    settings = EwsSettings(URL, "EXAMPLE\\svc-sync", Password(b"secret"))
    wire.reply((401, {"WWW-Authenticate": "Basic"}, ""))

    with pytest.raises(ProtocolViolation, match="sign in") as caught:
        connect(settings).probe()

    assert "--auth basic" in caught.value.advice


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("ErrorImpersonateUserDenied", NotPermitted),
        ("ErrorImpersonationDenied", NotPermitted),
        ("ErrorAccessDenied", NotPermitted),
        ("ErrorNonPrimarySmtpAddress", NotPermitted),
        ("ErrorAccountDisabled", NotPermitted),
        ("ErrorNonExistentMailbox", MailboxGone),
        ("ErrorMailboxMoveInProgress", ServerFault),
    ],
)
def test_what_exchange_says_of_a_mailbox_becomes_the_ports_error(
    wire: Wire, connector: EwsConnector, code: str, expected: type[ConnectorError]
) -> None:
    wire.reply((500, {}, fault(code)), NOBODY, NOBODY)

    with pytest.raises(expected) as caught:
        list(outcomes(connector, ANNA, {}))

    assert caught.value.code == code
    assert "anna" not in caught.value.message.lower()


def test_a_refusal_to_impersonate_names_the_role(wire: Wire, connector: EwsConnector) -> None:
    wire.reply((500, {}, fault("ErrorImpersonateUserDenied")))

    with pytest.raises(NotPermitted) as caught:
        list(outcomes(connector, ANNA, {}))

    assert "ApplicationImpersonation" in caught.value.advice


def test_impersonation_travels_in_the_envelope_and_the_header(wire: Wire, connector: EwsConnector) -> None:
    wire.reply((500, {}, fault("ErrorImpersonateUserDenied")))

    with pytest.raises(NotPermitted):
        list(outcomes(connector, ANNA, {}))

    (request,) = wire.seen
    assert request.headers["X-AnchorMailbox"] == ANNA.address
    path = "s:Header/t:ExchangeImpersonation/t:ConnectingSID/t:PrimarySmtpAddress/text()"
    assert request.find(path) == [ANNA.address]
    assert request.find("s:Header/t:RequestServerVersion/@Version") == ["Exchange2016"]


def test_an_alias_is_replaced_by_the_primary_address_that_exchange_names(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(
        fault("ErrorNonPrimarySmtpAddress", '<t:Value Name="Primary">a.mueller@example.com</t:Value>'),
        fault("ErrorImpersonateUserDenied"),
    )

    with pytest.raises(NotPermitted):
        list(outcomes(connector, ANNA, {}))

    assert wire.seen[1].headers["X-AnchorMailbox"] == "a.mueller@example.com"


@pytest.mark.parametrize(
    "complaint", [fault("ErrorInvalidServerVersion"), "<html>The specified server version is invalid.</html>"]
)
def test_an_older_exchange_is_spoken_to_in_its_own_version(wire: Wire, connector: EwsConnector, complaint: str) -> None:
    wire.reply((500, {}, complaint), NOBODY, NOBODY)

    connector.probe()
    connector.probe()

    path = "string(s:Header/t:RequestServerVersion/@Version)"
    assert [request.find(path) for request in wire.seen] == ["Exchange2016", "Exchange2013_SP1", "Exchange2013_SP1"]


def test_a_mailbox_on_an_older_server_is_not_asked_in_one_version_for_ever(wire: Wire, connector: EwsConnector) -> None:
    for code in (
        "ErrorInvalidSchemaVersionForMailboxVersion",
        "ErrorInvalidServerVersion",
        "ErrorInvalidServerVersion",
    ):
        wire.reply((500, {}, fault(code)))

    with pytest.raises(ServerFault):
        list(outcomes(connector, ANNA, {}))

    path = "string(s:Header/t:RequestServerVersion/@Version)"
    assert [request.find(path) for request in wire.seen] == ["Exchange2016", "Exchange2013_SP1", "Exchange2010_SP2"]


def test_no_log_line_holds_an_address_a_name_or_the_password(
    wire: Wire, connector: EwsConnector, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    wire.reply(answer("GetFolder", "<m:Folders/>"), fault("ErrorServerBusy"), fault("ErrorImpersonateUserDenied"))

    for _ in range(2):
        with pytest.raises(ConnectorError):
            list(outcomes(connector, ANNA, {}))

    assert "EWS GetFolder: HTTP 200" in caplog.text
    for word in ("anna", "svc-sync", "pässword", "<t:", "<m:"):
        assert word not in caplog.text.lower()


def test_two_tenants_with_the_same_address_and_account_share_nothing(wire: Wire) -> None:
    first, second = connect(SETTINGS), connect(SETTINGS)
    wire.reply(DENIED, NOBODY)

    with pytest.raises(CredentialRejected):
        first.probe()

    assert second.probe().account == SETTINGS.username


def test_naming_the_connector_loads_neither_exchangelib_nor_requests() -> None:
    code = "import sys, connectors.ews; print(sorted({'exchangelib', 'requests', 'lxml'} & sys.modules.keys()))"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert loaded.strip() == "[]"


def test_settings_show_no_password() -> None:
    assert "pässword" not in repr(SETTINGS)
    assert repr("pässword".encode())[2:-1] not in repr(SETTINGS)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (EwsSettings("http://mail.example.com/EWS/Exchange.asmx", "u", Password(b"p")), ProtocolViolation),
        (EwsSettings(URL, "u", Password(b"\xff\xfe")), CredentialRejected),
        (EwsSettings(URL, "u", Password(b"p"), ca_pem="no certificate"), Unreachable),
    ],
)
def test_settings_that_cannot_work_are_refused_before_anything_is_sent(
    settings: EwsSettings, expected: type[ConnectorError]
) -> None:
    with pytest.raises(expected):
        connect(settings)


def test_users_and_groups_are_no_sources_on_premises(connector: EwsConnector) -> None:
    with pytest.raises(SourceGone):
        list(mailboxes(connector, Source(SourceKind.GROUP, "0d1f-x")))


@pytest.mark.parametrize(("said", "seconds"), [("10", 0.01), ("-5", 0.0), ("soon", None), ("9" * 400, 86_400.0)])
def test_a_wait_of_any_length_is_one_that_can_be_waited_for(said: str, seconds: float | None) -> None:
    assert back_off({"BackOffMilliseconds": said}) == seconds


class TestAServerThatKnowsNoPrimaryAddresses:
    FAILED = fault("ErrorImpersonationFailed")
    NAMES = "name(//t:ConnectingSID/*)"

    def test_it_is_told_the_address_as_any_from_then_on(self, wire: Wire, connector: EwsConnector) -> None:
        wire.reply(self.FAILED, *[messages("GetFolder", error("GetFolder", "ErrorFolderNotFound"))] * 2)
        for _ in range(2):
            with pytest.raises(ServerFault):
                list(outcomes(connector, ANNA, {}))
        asked = [request.find(self.NAMES) for request in wire.seen]
        assert asked == ["t:PrimarySmtpAddress", "t:SmtpAddress", "t:SmtpAddress"]
        assert wire.seen[1].find("string(//t:ConnectingSID/*)") == ANNA.address

    def test_one_that_fails_either_way_is_not_told_so_again(self, wire: Wire, connector: EwsConnector) -> None:
        wire.reply(*[self.FAILED] * 4)
        for _ in range(2):
            with pytest.raises(NotPermitted):
                list(outcomes(connector, ANNA, {}))
        asked = [request.find(self.NAMES) for request in wire.seen]
        assert asked == ["t:PrimarySmtpAddress", "t:SmtpAddress"] * 2
