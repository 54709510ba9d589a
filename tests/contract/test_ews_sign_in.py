"""The EWS connector against a server that really signs in: NTLM and Basic, trust, lock-outs, rights, odd mailboxes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme

from connectors.ews import EwsSettings, Password, connect
from connectors.ews.connector import EwsConnector
from connectors.port import (
    CredentialRejected,
    Mailbox,
    NotPermitted,
    Page,
    PhotoRef,
    PhotoState,
    ProtocolViolation,
    Source,
    SourceKind,
    Unreachable,
)
from tests.conftest import Authority
from tests.reading import mailboxes, outcomes
from tests.simulators.company import cast
from tests.simulators.company.model import Company
from tests.simulators.onprem.mailboxes import primary_address
from tests.simulators.onprem.server import OnpremSimulator


def settings(server: OnpremSimulator, authority: Authority, **changes: object) -> EwsSettings:
    """Settings that lead to the server; `password` and `auth` are the password's, the rest is as in `EwsSettings`."""
    secret, auth = changes.pop("password", server.password.encode()), changes.pop("auth", "ntlm")
    values = {
        "ews_url": server.url,
        "username": server.username,
        "credential": Password(secret, auth),  # type: ignore[arg-type]
        "ca_pem": authority.ca_pem,
    }
    return EwsSettings(**(values | changes))  # type: ignore[arg-type]


def mailbox(company: Company, person: str) -> Mailbox:
    address = primary_address(company.people[person])
    return Mailbox(address.lower(), address)


@pytest.fixture
def connector(onprem: OnpremSimulator, authority: Authority) -> Iterator[EwsConnector]:
    waits: list[float] = []
    connector = connect(settings(onprem, authority), sleep=waits.append)
    yield connector
    connector.close()
    assert not onprem.recorder.crashes
    assert not onprem.recorder.violations


@pytest.mark.parametrize("auth", ["ntlm", "basic"])
@pytest.mark.parametrize("name", ["username", "upn"])
def test_the_account_signs_in_by_either_name(
    onprem: OnpremSimulator, authority: Authority, auth: str, name: str
) -> None:
    connector = connect(settings(onprem, authority, auth=auth, username=getattr(onprem, name)))

    assert connector.probe().account == getattr(onprem, name)
    assert onprem.refused_logins == 0
    connector.close()


def test_a_password_beyond_ascii_signs_in(company: Company, authority: Authority) -> None:
    server = OnpremSimulator(company, authority.ca, password="Grüße-naïve-密码-7")
    server.start()
    for auth in ("ntlm", "basic"):
        connector = connect(settings(server, authority, auth=auth))
        connector.probe()
        connector.close()
    server.stop()


def test_a_server_that_insists_on_channel_binding_is_satisfied(company: Company, authority: Authority) -> None:
    server = OnpremSimulator(company, authority.ca, require_channel_binding=True)
    server.start()
    connector = connect(settings(server, authority))

    assert connector.probe().account == server.username

    connector.close()
    server.stop()


@pytest.mark.parametrize("auth", ["ntlm", "basic"])
def test_four_threads_with_a_wrong_password_cost_one_failed_login(
    onprem: OnpremSimulator, authority: Authority, auth: str
) -> None:
    connector = connect(settings(onprem, authority, auth=auth, password=b"wrong"), sleep=lambda seconds: None)
    start = threading.Barrier(4)

    def begin(_: int) -> bool:
        start.wait()
        try:
            connector.probe()
        except CredentialRejected:
            return True
        return False

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(begin, range(4)))
    assert onprem.refused_logins == 1
    connector.close()


def test_a_password_changed_between_two_requests_costs_one_failed_login(
    onprem: OnpremSimulator, connector: EwsConnector, company: Company
) -> None:
    connector.probe()
    onprem.set_password("Another-Horse-8-Battery")

    for _ in range(3):
        with pytest.raises(CredentialRejected):
            list(outcomes(connector, mailbox(company, cast.NILS), {}))

    assert onprem.refused_logins == 1


def test_a_server_without_ntlm_is_named_as_such(company: Company, authority: Authority) -> None:
    server = OnpremSimulator(company, authority.ca, schemes=("Basic",))
    server.start()
    connector = connect(settings(server, authority))

    with pytest.raises(ProtocolViolation, match="sign in"):
        connector.probe()

    assert server.refused_logins == 0
    connector.close()
    server.stop()


def test_a_server_that_nobody_vouches_for_never_sees_the_password(
    onprem: OnpremSimulator, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.ca_file))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
    stranger = trustme.CA().cert_pem.bytes().decode()

    for ca_pem in ("", stranger):
        connector = connect(settings(onprem, authority, ca_pem=ca_pem, auth="basic"), sleep=lambda seconds: None)
        with pytest.raises(Unreachable, match="not trusted"):
            connector.probe()
        connector.close()

    assert not onprem.recorder.entries


def test_a_proxy_or_password_file_of_the_environment_is_not_used(
    onprem: OnpremSimulator,
    authority: Authority,
    connector: EwsConnector,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")

    connector.probe()

    assert onprem.refused_logins == 0


def test_logs_hold_neither_the_sign_in_nor_what_was_read(
    connector: EwsConnector, company: Company, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    list(outcomes(connector, mailbox(company, cast.NILS), {}))

    assert "EWS SyncFolderItems: HTTP 200" in caplog.text
    for secret in ("TlRMTVNTUAAD", "Authorization", "Nord", "example.com", "svc-contacts"):
        assert secret not in caplog.text


def test_two_tenants_on_one_server_keep_their_trust_and_passwords_apart(
    onprem: OnpremSimulator, authority: Authority
) -> None:
    right = connect(settings(onprem, authority))
    wrong = connect(settings(onprem, authority, password=b"wrong"))
    distrusting = connect(settings(onprem, authority, ca_pem=""), sleep=lambda seconds: None)

    right.probe()
    with pytest.raises(CredentialRejected):
        wrong.probe()
    with pytest.raises(Unreachable):
        distrusting.probe()
    right.probe()

    for connector in (right, wrong, distrusting):
        connector.close()


def test_four_mailboxes_are_read_side_by_side(
    onprem: OnpremSimulator, connector: EwsConnector, company: Company
) -> None:
    people = [cast.ANNA, cast.JURGEN, cast.MEI, cast.NILS]

    def pull(person: str) -> set[str]:
        pages = outcomes(connector, mailbox(company, person), {})
        return {upsert.contact.display_name for page in pages if isinstance(page, Page) for upsert in page.upserts}

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(pull, people))

    assert together == [pull(person) for person in people]
    assert sum(map(len, together)) > 20


def test_an_alias_leads_to_the_mailbox_and_its_primary_address(connector: EwsConnector, company: Company) -> None:
    person = next(one for one in company.people.values() if one.box is not None and one.mail and one.other_addresses)
    alias = person.other_addresses[0]

    (found,) = mailboxes(connector, Source(SourceKind.MAILBOX, alias))

    assert found.address == person.mail
    assert list(outcomes(connector, found, {}))
    assert list(outcomes(connector, Mailbox(alias.lower(), alias), {}))  # the server names the primary one


def test_a_mailbox_that_refuses_has_a_card_all_the_same(
    onprem: OnpremSimulator, connector: EwsConnector, company: Company
) -> None:
    anna = mailbox(company, cast.ANNA)
    onprem.deny_impersonation(anna.address)

    (card,) = connector.card([anna])

    assert card.contact is not None
    assert card.contact.display_name
    with pytest.raises(NotPermitted):
        list(outcomes(connector, anna, {}))


def test_an_item_that_turns_private_is_taken_back(connector: EwsConnector, company: Company) -> None:
    nils = mailbox(company, cast.NILS)
    checkpoints: dict[str, str] = {}
    first = []
    for page in outcomes(connector, nils, checkpoints):
        assert isinstance(page, Page)
        first += page.upserts
        checkpoints[page.folder.id] = page.checkpoint
    item = next(iter(company.box_of(cast.NILS).default.items.values()))
    company.set_private(cast.NILS, item.id, private=True)

    pages = [page for page in outcomes(connector, nils, checkpoints) if isinstance(page, Page)]

    assert len([removal for page in pages for removal in page.removals]) == 1
    assert sum(page.skipped.get("private", 0) for page in pages) == 1


@pytest.mark.parametrize("status", [200, 404])
def test_a_person_without_a_photo_has_none_however_the_server_puts_it(
    onprem: OnpremSimulator, connector: EwsConnector, company: Company, status: int
) -> None:
    onprem.photo_absent_status = status

    (photo,) = connector.photos([PhotoRef(mailbox(company, cast.NILS))])

    assert photo.state is PhotoState.ABSENT


def test_an_item_that_fails_in_passing_comes_in_the_end(
    onprem: OnpremSimulator, connector: EwsConnector, company: Company
) -> None:
    onprem.faults.item("ErrorServerBusy", 1, times=2)
    onprem.faults.item("ErrorInternalServerTransientError", 0)

    pages = list(outcomes(connector, mailbox(company, cast.NILS), {}))

    found = [upsert.contact.display_name for page in pages if isinstance(page, Page) for upsert in page.upserts]
    held = [
        item.display_name for folder in company.box_of(cast.NILS).folders.values() for item in folder.items.values()
    ]
    assert sorted(found) == sorted(held)
