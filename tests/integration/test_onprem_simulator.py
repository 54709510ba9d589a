"""Signing in to the EWS simulator, rights, HTTP and failures on demand, with clients that know nothing of it."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
import spnego
from exchangelib import DELEGATE
from exchangelib.errors import (
    ErrorAccessDenied,
    ErrorImpersonateUserDenied,
    ErrorNonExistentMailbox,
    ErrorNonPrimarySmtpAddress,
    ErrorServerBusy,
    UnauthorizedError,
)
from requests_ntlm import HttpNtlmAuth

from tests.conftest import Authority
from tests.ews_clients import (
    ANNAS,
    BASIC,
    CONTACTS,
    GET_CONTACTS_FOLDER,
    NTLM,
    PINNED,
    Soap,
    get_items,
    opened_account,
    sync_body,
)
from tests.simulators.company.cast import ANNA, NILS, item_id
from tests.simulators.company.model import Company
from tests.simulators.onprem.server import OnpremSimulator

pytestmark = pytest.mark.slow  # clients that are not ours take their time

JURGENS = "juergen.muessig@example.com"
NILSS = "nils.berg@example.com"
Open = Callable[..., Any]


class TestSigningIn:
    @pytest.mark.parametrize("auth_type", [NTLM, BASIC, None], ids=["ntlm", "basic", "asked of the server"])
    @pytest.mark.parametrize("version", [PINNED, None], ids=["pinned", "asked of the server"])
    def test_the_service_account_opens_a_mailbox(self, opened: Open, auth_type: str | None, version: Any) -> None:
        with opened(auth_type=auth_type, version=version) as account:
            assert account.contacts.total_count == 9
            assert account.version.api_version == "Exchange2016"

    @pytest.mark.parametrize("auth_type", [NTLM, BASIC])
    def test_a_wrong_password_is_refused_and_counted(
        self, opened: Open, onprem: OnpremSimulator, auth_type: str
    ) -> None:
        with opened(auth_type=auth_type, password="wrong") as account, pytest.raises(UnauthorizedError):
            account.contacts.refresh()
        assert onprem.refused_logins == 1
        assert onprem.recorder.counts["GetFolder"] == 0

    def test_nothing_is_answered_to_somebody_without_credentials(self, onprem: OnpremSimulator, soap: Soap) -> None:
        del soap.session.headers["Authorization"]
        answer = soap.ask(GET_CONTACTS_FOLDER, as_=ANNAS)
        assert answer.status == 401
        assert "NTLM" in answer.response.headers["WWW-Authenticate"]
        assert 'Basic realm="' in answer.response.headers["WWW-Authenticate"]
        assert answer.response.content == b""
        assert onprem.refused_logins == 0

    def test_ntlm_signs_in_once_for_a_connection(self, opened: Open, onprem: OnpremSimulator) -> None:
        with opened() as account:
            list(account.contacts.all().only("display_name"))
            refused = onprem.recorder.statuses[401]
            list(account.contacts.all().only("display_name"))
        assert refused == 2  # the question and the challenge
        assert onprem.recorder.statuses[401] == refused

    def test_a_new_password_signs_everybody_out(self, opened: Open, onprem: OnpremSimulator) -> None:
        with opened() as account:
            account.contacts.refresh()
            onprem.set_password("Another-One-8")
            with pytest.raises(UnauthorizedError):
                account.contacts.refresh()
        assert onprem.refused_logins == 1

    def test_the_recorder_keeps_no_credentials(self, opened: Open, onprem: OnpremSimulator) -> None:
        with opened(auth_type=BASIC) as account:
            account.contacts.refresh()
        assert onprem.recorder.entries
        assert not any(onprem.password in repr(entry) for entry in onprem.recorder.entries)

    def test_ntlm_may_come_inside_negotiate(self, onprem: OnpremSimulator, soap: Soap) -> None:
        options = spnego.NegotiateOptions.use_negotiate
        exchange = spnego.client(onprem.username, onprem.password, protocol="negotiate", options=options)
        payload, token, answer = soap.envelope(GET_CONTACTS_FOLDER, as_=ANNAS), exchange.step(), None
        while token is not None and not (answer and answer.status == 200):
            answer = soap.post(payload, Authorization=f"Negotiate {b64encode(token).decode()}")
            challenge = answer.response.headers.get("WWW-Authenticate", "").partition(" ")[2]
            token = exchange.step(b64decode(challenge)) if challenge else None
        assert answer is not None
        assert answer.codes == ["NoError"]

    def test_channel_binding_can_be_required(self, company: Company, authority: Authority) -> None:
        simulator = OnpremSimulator(company, authority.ca, require_channel_binding=True)
        simulator.start()
        try:
            with opened_account(simulator, authority.ca_pem) as account:
                assert account.contacts.total_count == 9
            with Soap(simulator, authority.ca_pem).session as session:
                del session.headers["Authorization"]
                session.auth = HttpNtlmAuth(simulator.username, simulator.password, send_cbt=False)
                assert session.post(simulator.url, Soap.envelope(GET_CONTACTS_FOLDER), timeout=20).status_code == 401
            assert simulator.refused_logins == 1
        finally:
            simulator.stop()


class TestRights:
    def test_a_mailbox_out_of_scope_is_denied(self, opened: Open, onprem: OnpremSimulator) -> None:
        onprem.deny_impersonation(ANNAS)
        with opened() as account, pytest.raises(ErrorImpersonateUserDenied):
            account.contacts.refresh()

    def test_an_unknown_address_has_no_mailbox(self, opened: Open) -> None:
        with opened("nobody@example.com") as account, pytest.raises(ErrorNonExistentMailbox):
            account.contacts.refresh()

    def test_a_person_without_a_mailbox_has_none(self, opened: Open) -> None:
        with opened("sam.frontline@example.com") as account, pytest.raises(ErrorNonExistentMailbox):
            account.contacts.refresh()

    def test_an_alias_is_not_the_primary_address(self, opened: Open) -> None:
        with opened("a.becker@example.com") as account, pytest.raises(ErrorNonPrimarySmtpAddress):
            account.contacts.refresh()

    def test_an_alias_does_where_any_address_is_asked_for(self, soap: Soap) -> None:
        assert soap.ask(GET_CONTACTS_FOLDER, as_="a.becker@example.com", kind="SmtpAddress").codes == ["NoError"]

    def test_without_impersonation_the_account_sees_its_own_empty_mailbox(self, soap: Soap) -> None:
        answer = soap.ask(sync_body(CONTACTS))
        assert answer.codes == ["NoError"]
        assert answer.texts("//t:Create") == []

    def test_a_delegate_needs_to_be_granted(self, opened: Open, onprem: OnpremSimulator) -> None:
        with opened(access_type=DELEGATE) as account:
            with pytest.raises(ErrorAccessDenied):
                account.contacts.refresh()
            onprem.grant_delegate(ANNAS)
            assert len(list(account.contacts.all())) == 9

    def test_an_id_of_another_mailbox_finds_nothing(self, soap: Soap) -> None:
        assert soap.ask(get_items(item_id(ANNA, "Nur Telefon")), as_=NILSS).codes == ["ErrorItemNotFound"]


class TestTransport:
    def test_a_body_may_come_in_chunks(self, soap: Soap) -> None:
        whole = soap.envelope(GET_CONTACTS_FOLDER, as_=ANNAS)
        assert soap.post(iter([whole[:100], whole[100:]])).codes == ["NoError"]

    def test_a_client_may_wait_to_be_told_to_go_on(self, soap: Soap) -> None:
        assert soap.post(soap.envelope(GET_CONTACTS_FOLDER, as_=ANNAS), Expect="100-continue").codes == ["NoError"]

    def test_the_url_may_be_written_in_any_case(self, soap: Soap) -> None:
        soap.simulator.url = soap.simulator.url.replace("/EWS/Exchange.asmx", "/ews/exchange.ASMX")
        assert soap.ask(GET_CONTACTS_FOLDER, as_=ANNAS).codes == ["NoError"]

    def test_an_answer_is_compressed_only_for_those_who_can_read_it(self, soap: Soap) -> None:
        payload = soap.envelope(sync_body(CONTACTS, shape="<t:BaseShape>AllProperties</t:BaseShape>"), as_=ANNAS)
        packed = soap.post(payload, **{"Accept-Encoding": "gzip"})
        plain = soap.post(payload, **{"Accept-Encoding": "identity"})
        assert packed.response.headers["Content-Encoding"] == "gzip"
        assert "Content-Encoding" not in plain.response.headers
        assert packed.response.content == plain.response.content

    def test_an_unknown_version_is_refused(self, soap: Soap) -> None:
        answer = soap.ask(GET_CONTACTS_FOLDER, as_=ANNAS, version="Exchange2099")
        assert (answer.status, answer.codes) == (500, ["ErrorInvalidServerVersion"])

    def test_an_unknown_operation_is_refused(self, soap: Soap) -> None:
        answer = soap.ask("<m:MakeCoffee/>", as_=ANNAS)
        assert (answer.status, answer.codes) == (500, ["ErrorInvalidRequest"])

    @pytest.mark.parametrize(
        ("payload", "code"),
        [
            (b"", "ErrorSchemaValidation"),
            (b"<not-xml", "ErrorSchemaValidation"),
            (b"<a/>", "ErrorInvalidRequest"),
        ],
    )
    def test_what_is_no_envelope_is_a_fault(self, soap: Soap, payload: bytes, code: str) -> None:
        answer = soap.post(payload)
        assert (answer.status, answer.codes) == (500, [code])

    def test_a_document_type_is_refused(self, soap: Soap) -> None:
        declaration, _, rest = soap.envelope(GET_CONTACTS_FOLDER, as_=ANNAS).partition(b"?>")
        answer = soap.post(declaration + b'?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]>' + rest)
        assert (answer.status, answer.codes) == (500, ["ErrorInvalidRequest"])


class TestFaults:
    @pytest.mark.parametrize("status", [429, 502, 503])
    def test_a_status_is_given_as_often_as_planned(self, soap: Soap, onprem: OnpremSimulator, status: int) -> None:
        onprem.faults.http(status, retry_after=7, times=2)
        answers = [soap.ask(GET_CONTACTS_FOLDER, as_=ANNAS) for _ in range(3)]
        assert [answer.status for answer in answers] == [status, status, 200]
        assert answers[0].response.headers["Retry-After"] == "7"

    def test_a_busy_server_says_how_long(self, opened: Open, onprem: OnpremSimulator) -> None:
        onprem.faults.soap("ErrorServerBusy", back_off_ms=30_000)
        with opened() as account, pytest.raises(ErrorServerBusy) as caught:
            account.contacts.refresh()
        assert caught.value.back_off == 30

    def test_a_fault_waits_for_its_operation_and_place(self, soap: Soap, onprem: OnpremSimulator) -> None:
        onprem.faults.response("ErrorMailboxStoreUnavailable", operation="SyncFolderItems", after=1)
        codes = [soap.ask(body, as_=ANNAS).codes for body in (GET_CONTACTS_FOLDER, *[sync_body(CONTACTS)] * 3)]
        assert codes == [["NoError"], ["NoError"], ["ErrorMailboxStoreUnavailable"], ["NoError"]]

    def test_one_item_fails_for_once(self, soap: Soap, onprem: OnpremSimulator) -> None:
        names = ("Nur Telefon", "Lange Notiz")
        onprem.faults.item("ErrorInternalServerTransientError", 1)
        ask = get_items(*(item_id(ANNA, name) for name in names))
        assert soap.ask(ask, as_=ANNAS).codes == ["NoError", "ErrorInternalServerTransientError"]
        assert soap.ask(ask, as_=ANNAS).codes == ["NoError", "NoError"]

    def test_a_connection_is_reset(self, soap: Soap, onprem: OnpremSimulator) -> None:
        onprem.faults.reset()
        with pytest.raises(requests.exceptions.ConnectionError):
            soap.ask(GET_CONTACTS_FOLDER, as_=ANNAS)
        assert soap.ask(GET_CONTACTS_FOLDER, as_=ANNAS).codes == ["NoError"]

    def test_an_answer_breaks_off(self, soap: Soap, onprem: OnpremSimulator) -> None:
        onprem.faults.truncate()
        with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError)):
            soap.ask(GET_CONTACTS_FOLDER, as_=ANNAS)
        assert soap.ask(GET_CONTACTS_FOLDER, as_=ANNAS).codes == ["NoError"]

    def test_a_patient_client_rides_out_a_bad_moment(self, opened: Open, onprem: OnpremSimulator) -> None:
        onprem.faults.soap("ErrorServerBusy", back_off_ms=1)
        with opened(NILSS, patient=True) as account:
            assert len(list(account.contacts.all())) == 3


def test_the_simulator_serves_several_clients_at_once(opened: Open, company: Company) -> None:
    with opened() as first, opened(JURGENS) as second, ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(lambda account: len(list(account.contacts.all())), [first, second] * 4))
    assert counts == [9, 3] * 4
    assert len(company.box_of(NILS).default.items) == 3
