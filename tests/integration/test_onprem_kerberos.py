"""Kerberos against a real MIT KDC and a server that opens tickets through the real GSSAPI."""

from __future__ import annotations

import base64
import logging
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import requests
import trustme

from connectors import ews
from connectors.ews import EwsCredential, EwsSettings, Keytab, TicketCache, connect
from connectors.ews.connector import EwsConnector
from connectors.ews.sign_in.kerberos import KerberosSignIn
from connectors.port import ConnectorError, CredentialRejected, Mailbox, ProtocolViolation, Unreachable
from tests.conftest import Authority
from tests.kerberos_realm import ACCOUNT, REALM, Realm, kerberos_realm
from tests.names import dialled
from tests.parts import require_modules, require_programs
from tests.reading import outcomes
from tests.simulators.company import cast
from tests.simulators.company.model import Company
from tests.simulators.onprem.mailboxes import primary_address
from tests.simulators.onprem.server import OnpremSimulator

SCHEMES = ("Negotiate", "NTLM")
SERVICE = f"HTTP/localhost@{REALM}"
Opener = Callable[..., EwsConnector]
Server = Callable[..., OnpremSimulator]


@pytest.fixture
def realm(tmp_path: Path) -> Iterator[Realm]:
    require_modules("gssapi")
    with kerberos_realm(tmp_path) as realm:
        yield realm


@pytest.fixture
def server(realm: Realm, company: Company, authority: Authority) -> Iterator[Server]:
    """Starts servers that know the realm's keys of Exchange."""
    with ExitStack() as ending:

        def start(ca: trustme.CA = authority.ca, **options: object) -> OnpremSimulator:
            options = {"keytab": realm.keytab(SERVICE), "schemes": SCHEMES, **options}
            simulator = OnpremSimulator(company, ca, host="localhost", **options)  # type: ignore[arg-type]
            simulator.start()
            ending.callback(simulator.stop)
            return simulator

        yield start


@pytest.fixture
def opened(authority: Authority) -> Iterator[Opener]:
    """Connectors of a server, closed in the end."""
    with ExitStack() as ending:

        def open_it(
            server: OnpremSimulator, credential: EwsCredential, ca_pem: str = authority.ca_pem, **changes: str
        ) -> EwsConnector:
            settings = EwsSettings(server.url, server.upn, credential, ca_pem)
            connector = connect(replace(settings, **changes), sleep=lambda seconds: None)
            ending.callback(connector.close)
            return connector

        yield open_it


def read(path: Path) -> Keytab:
    return Keytab(path.read_bytes())


def failure_of(connector: EwsConnector) -> ConnectorError:
    with pytest.raises(ConnectorError) as caught:
        connector.probe()
    return caught.value


HOUSES = {
    "kept": ({}, 1),
    "bound to the certificate": ({"require_channel_binding": True}, 1),
    "asked for again": ({"keeps_kerberos": False}, 2),
    "bound and asked for again": ({"require_channel_binding": True, "keeps_kerberos": False}, 2),
}


@pytest.mark.parametrize(("options", "questions"), HOUSES.values(), ids=HOUSES)
def test_a_keytab_opens_mailboxes(
    realm: Realm, server: Server, opened: Opener, options: dict[str, bool], questions: int
) -> None:
    exchange = server(**options)
    connector = opened(exchange, read(realm.keytab(ACCOUNT)))
    address = primary_address(exchange.company.people[cast.ANNA])

    assert connector.probe().account == exchange.upn
    assert list(outcomes(connector, Mailbox(address.lower(), address), {}))

    assert exchange.refused_logins == 0
    # The question that brings the certificate, and the one by which a server says that it kept nothing.
    assert exchange.recorder.statuses[401] == questions


def test_a_ticket_cache_opens_mailboxes_and_is_read_anew_for_each_sign_in(
    realm: Realm, server: Server, opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.ews.sign_in.methods._MOMENTS", 0.0)  # what comes after a failure comes later
    exchange = server(keeps_kerberos=False)
    file = tmp_path / "kept-fresh"
    connector = opened(exchange, TicketCache(str(file)))

    missing = failure_of(connector)
    realm.ticket_cache().replace(file)
    connector.probe()
    file.unlink()
    gone = failure_of(connector)
    realm.ticket_cache().replace(file)

    assert connector.probe().account == exchange.upn
    assert (missing.code, gone.code) == ("ticket-cache", "ticket-cache")
    assert isinstance(missing, Unreachable)


def test_a_ticket_cache_is_not_written_to_and_the_kdc_is_asked_once_for_the_server(
    realm: Realm, server: Server, opened: Opener, company: Company
) -> None:
    file = realm.ticket_cache()
    before = file.read_bytes()
    connector = opened(server(), TicketCache(str(file)))

    connector.probe()
    realm.stop()
    connector.probe()

    assert file.read_bytes() == before


def test_a_ticket_that_is_not_bound_to_the_certificate_is_refused(
    realm: Realm, server: Server, authority: Authority
) -> None:
    exchange = server(require_channel_binding=True)
    tickets = KerberosSignIn(ACCOUNT, read(realm.keytab(ACCOUNT)))

    def status(end_point: bytes | None) -> int:
        _, token = tickets.context("localhost", end_point)
        shown = {"Authorization": f"Negotiate {base64.b64encode(token).decode()}"}
        return requests.post(exchange.url, headers=shown, verify=str(authority.ca_file), timeout=20).status_code

    assert status(None) == 401
    assert status(b"\1" * 32) == 401
    tickets.close()


def test_a_connection_made_anew_to_a_server_with_another_certificate_is_bound_to_that(
    realm: Realm, server: Server, opened: Opener
) -> None:
    name = "mail.example.com"
    realm.administer(f"addprinc -randkey HTTP/{name}@{REALM}")
    keytab = realm.keytab(f"HTTP/{name}@{REALM}")
    farm = [server(require_channel_binding=True, names=(name,), keytab=keytab) for _ in range(2)]
    led_to = {name: farm[0].port}
    url = f"https://{name}/EWS/Exchange.asmx"
    connector = opened(farm[0], read(realm.keytab(ACCOUNT)), ews_url=url)

    with dialled(led_to):
        connector.probe()
        farm[0].stop()
        led_to[name] = farm[1].port

        assert connector.probe().server == name
    assert farm[1].refused_logins == 0  # nothing was shown that is bound to the other certificate


def test_two_tenants_with_accounts_authorities_and_keytabs_of_their_own_never_mix(
    realm: Realm, server: Server, opened: Opener, authority: Authority
) -> None:
    elsewhere = trustme.CA()
    first, second = server(), server(elsewhere, username="EXAMPLE\\other")
    connectors = [
        opened(first, read(realm.keytab(ACCOUNT))),
        opened(second, read(realm.keytab(f"other@{REALM}")), elsewhere.cert_pem.bytes().decode()),
    ]
    start = threading.Barrier(8)

    def probe(connector: EwsConnector) -> str:
        start.wait()
        return connector.probe().account

    with ThreadPoolExecutor(8) as pool:
        accounts = list(pool.map(probe, connectors * 4))

    assert accounts == [first.upn, second.upn] * 4
    assert first.refused_logins == second.refused_logins == 0
    wrong_trust = opened(second, read(realm.keytab(f"other@{REALM}")))
    assert failure_of(wrong_trust).code == "untrusted-certificate"


def test_the_environment_names_neither_our_keytab_nor_our_cache(
    realm: Realm, server: Server, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = realm.ticket_cache(f"other@{REALM}")
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{others}")
    monkeypatch.setenv("KRB5_CLIENT_KTNAME", f"FILE:{realm.keytab(f'other@{REALM}')}")
    before = others.read_bytes()
    exchange = server()

    assert opened(exchange, read(realm.keytab(ACCOUNT))).probe().account == exchange.upn

    assert exchange.refused_logins == 0
    assert others.read_bytes() == before


def test_four_threads_with_a_wrong_keytab_cost_one_failed_attempt(realm: Realm, server: Server, opened: Opener) -> None:
    exchange = server()
    old = realm.keytab(ACCOUNT)
    realm.keytab(ACCOUNT, new_keys=True)
    # The old keys under the number of the new ones: what a mistake with ktpass leaves.
    content = old.read_bytes().replace(b"\x00\x00\x00\x01\x00\x00\x00", b"\x00\x00\x00\x02\x00\x00\x00")
    connector = opened(exchange, Keytab(content))
    start = threading.Barrier(4)

    def begin(_: int) -> str:
        start.wait()
        return failure_of(connector).code

    with ThreadPoolExecutor(4) as pool:
        codes = set(pool.map(begin, range(4)))

    assert codes == {"wrong-key"}
    assert isinstance(failure_of(connector), CredentialRejected)
    assert realm.failed_attempts() == 1
    assert exchange.refused_logins == 0


def test_a_locked_account_is_named_as_such(realm: Realm, server: Server, opened: Opener) -> None:
    keytab = read(realm.keytab(ACCOUNT))
    realm.administer(f"modprinc -allow_tix {ACCOUNT}")

    error = failure_of(opened(server(), keytab))

    assert (type(error), error.code) == (CredentialRejected, "account-revoked")


def test_an_account_that_the_realm_does_not_know(realm: Realm, server: Server, opened: Opener) -> None:
    keytab = read(realm.keytab(ACCOUNT))
    realm.administer(f"delprinc -force {ACCOUNT}")

    error = failure_of(opened(server(), keytab))

    assert (type(error), error.code) == (CredentialRejected, "principal")


def test_a_keytab_of_somebody_else_is_refused_before_anybody_is_asked(
    realm: Realm, server: Server, opened: Opener
) -> None:
    exchange = server()
    others = read(realm.keytab(f"other@{REALM}"))
    realm.stop()

    for credential in (others, Keytab(b"\5\2no keytab"), Keytab(b"")):
        with pytest.raises(CredentialRejected):
            opened(exchange, credential)


def test_a_cache_of_somebody_else_is_refused(realm: Realm, server: Server, opened: Opener, tmp_path: Path) -> None:
    exchange = server()
    junk = tmp_path / "junk"
    junk.write_text("no cache")

    for file in (realm.ticket_cache(f"other@{REALM}"), junk):
        assert isinstance(failure_of(opened(exchange, TicketCache(str(file)))), CredentialRejected)
    assert exchange.refused_logins == 0


def test_no_kdc(realm: Realm, server: Server, opened: Opener) -> None:
    exchange, keytab = server(), read(realm.keytab(ACCOUNT))
    realm.stop()

    error = failure_of(opened(exchange, keytab))

    assert (type(error), error.code) == (Unreachable, "kdc-unreachable")
    assert "88" in error.advice


def test_a_kdc_that_comes_back_is_asked_again(
    realm: Realm, server: Server, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.ews.sign_in.methods._MOMENTS", 0.0)  # what comes after a failure comes later
    exchange = server()
    connector = opened(exchange, read(realm.keytab(ACCOUNT)))
    realm.stop()
    assert failure_of(connector).code == "kdc-unreachable"

    realm.start()

    assert connector.probe().account == exchange.upn


def test_clocks_that_differ_are_blamed_and_not_the_account(realm: Realm, server: Server, opened: Opener) -> None:
    require_programs("faketime")
    exchange, keytab = server(), read(realm.keytab(ACCOUNT))
    realm.stop()
    realm.start("faketime", "-f", "+1h")

    error = failure_of(opened(exchange, keytab))

    assert (type(error), error.code) == (Unreachable, "clock-skew")
    assert "clock" in error.advice


@pytest.mark.parametrize(("shift", "code"), [("-3h", "tickets-expired"), ("+3h", "clock-skew")])
def test_tickets_of_another_time(realm: Realm, server: Server, opened: Opener, shift: str, code: str) -> None:
    require_programs("faketime")
    exchange = server()
    realm.stop()
    realm.start("faketime", "-f", shift)
    cache = realm.ticket_cache(lifetime="1h", wrapper=("faketime", "-f", shift))
    realm.stop()
    realm.start()

    error = failure_of(opened(exchange, TicketCache(str(cache))))

    assert (type(error), error.code) == (Unreachable, code)


def test_an_address_that_no_service_is_registered_for(realm: Realm, server: Server, opened: Opener) -> None:
    exchange = server()
    url = exchange.url.replace("localhost", "127.0.0.1")

    error = failure_of(opened(exchange, read(realm.keytab(ACCOUNT)), ews_url=url))

    assert (type(error), error.code) == (ProtocolViolation, "service-principal")
    assert "setspn" in error.advice


@pytest.mark.parametrize("registered", ["autodiscover", "mail"])
def test_autodiscover_goes_on_to_the_next_place_where_the_realm_knows_no_service_at_one(
    realm: Realm, server: Server, authority: Authority, registered: str
) -> None:
    first, last, service = "autodiscover.mail.example.com", "mail.example.com", f"HTTP/mail.example.com@{REALM}"
    service = service if registered == "mail" else f"HTTP/{first}@{REALM}"
    realm.administer(f"addprinc -randkey {service}")
    exchange = server(keytab=realm.keytab(service), names=(first, last))

    with dialled(dict.fromkeys((first, last), exchange.port)):
        url = ews.discover(exchange.upn, read(realm.keytab(ACCOUNT)), last, ca_pem=authority.ca_pem)

    assert url == "https://mail.example.com/EWS/Exchange.asmx"
    assert [host for host, _ in exchange.autodiscover.asked] == [last if registered == "mail" else first]
    assert exchange.refused_logins == 0


def test_autodiscover_says_that_there_is_no_service_once_no_place_is_left(
    realm: Realm, server: Server, authority: Authority
) -> None:
    names = ("autodiscover.mail.example.com", "mail.example.com")
    exchange = server(names=names)

    with dialled(dict.fromkeys(names, exchange.port)), pytest.raises(ProtocolViolation) as caught:
        ews.discover(exchange.upn, read(realm.keytab(ACCOUNT)), names[1], ca_pem=authority.ca_pem)

    assert caught.value.code == "service-principal"
    assert "setspn" in caught.value.advice
    assert "--ews-url" in caught.value.advice
    assert set(exchange.autodiscover.hosts) == set(names)


def test_autodiscover_shows_the_realm_a_wrong_key_once_for_all_places(
    realm: Realm, server: Server, authority: Authority
) -> None:
    names = ("autodiscover.mail.example.com", "mail.example.com")
    exchange, old = server(names=names), read(realm.keytab(ACCOUNT))
    realm.keytab(ACCOUNT, new_keys=True)

    with dialled(dict.fromkeys(names, exchange.port)), pytest.raises(CredentialRejected):
        ews.discover(exchange.upn, old, names[1], ca_pem=authority.ca_pem)

    assert realm.failed_attempts() == 1
    assert set(exchange.autodiscover.hosts) == {names[0]}


def test_a_server_with_older_keys_than_the_realm_is_blamed_and_not_the_account(
    realm: Realm, server: Server, opened: Opener
) -> None:
    exchange = server()
    realm.keytab(SERVICE, new_keys=True)

    error = failure_of(opened(exchange, read(realm.keytab(ACCOUNT))))

    assert (type(error), error.code) == (ProtocolViolation, "service-key")


def test_a_server_that_offers_no_kerberos_is_named_as_such(
    realm: Realm, opened: Opener, company: Company, authority: Authority
) -> None:
    plain = OnpremSimulator(company, authority.ca, host="localhost")
    plain.start()

    error = failure_of(opened(plain, read(realm.keytab(ACCOUNT))))

    assert error.code == "sign-in-method"
    assert plain.refused_logins == 0
    plain.stop()


def test_an_account_that_exchange_does_not_let_in_is_refused_once(realm: Realm, server: Server, opened: Opener) -> None:
    exchange = server(username="EXAMPLE\\somebody-else")
    connector = opened(exchange, read(realm.keytab(ACCOUNT)), username=ACCOUNT)

    for _ in range(3):
        assert isinstance(failure_of(connector), CredentialRejected)

    assert exchange.refused_logins == 1


def test_a_server_that_cannot_prove_itself_is_not_believed(
    realm: Realm, server: Server, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = server()
    monkeypatch.setattr(
        "tests.simulators.onprem.kerberos.Acceptor.accept", lambda self, message, end_point: (ACCOUNT, b"not a proof")
    )

    assert isinstance(failure_of(opened(exchange, read(realm.keytab(ACCOUNT)))), ProtocolViolation)


def test_a_closed_connector_leaves_no_tickets_in_the_process(realm: Realm) -> None:
    import gssapi

    tickets = KerberosSignIn(ACCOUNT, read(realm.keytab(ACCOUNT)))
    tickets.context("localhost", None)
    cache = tickets._cache
    store = {"ccache": cache}
    assert gssapi.Credentials(usage="initiate", store=store).lifetime

    tickets.close()

    with pytest.raises(gssapi.exceptions.GSSError):
        assert gssapi.Credentials(usage="initiate", store=store).lifetime


@pytest.mark.slow
def test_a_keytab_is_in_no_file_and_opens_for_a_process_that_nobody_may_look_into(realm: Realm) -> None:
    keytab = realm.keytab(ACCOUNT)
    with tempfile.NamedTemporaryFile(suffix=".conf") as configuration:  # where everybody may read
        configuration.write(Path(realm.environment["KRB5_CONFIG"]).read_bytes())
        configuration.flush()
        Path(configuration.name).chmod(0o644)
        done = subprocess.run(
            [sys.executable, "-c", _UNPRIVILEGED, ACCOUNT],
            input=keytab.read_bytes(),
            capture_output=True,
            env={**realm.environment, "KRB5_CONFIG": configuration.name, "TMPDIR": "/nonexistent"},
            cwd=Path(__file__).parents[2],
            timeout=60,
            check=False,
        )

    assert done.stdout.decode().split() == ["True", "0"], done.stderr.decode()


_UNPRIVILEGED = """
import ctypes, os, sys
from connectors.ews.sign_in.kerberos import KerberosSignIn
from connectors.ews.settings import Keytab
import gssapi
content = sys.stdin.buffer.read()
if os.geteuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE
tickets = KerberosSignIn(sys.argv[1], Keytab(content))
_, token = tickets.context("localhost", None)
links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
print(len(token) > 100, sum("memfd" in os.readlink(link) for link in links if os.path.islink(link)))
"""


def test_logs_hold_neither_tickets_nor_principals(
    realm: Realm, server: Server, opened: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    opened(server(), read(realm.keytab(ACCOUNT))).probe()
    realm.stop()
    failure_of(opened(server(), read(realm.keytab(ACCOUNT))))

    assert "EWS ResolveNames: HTTP 200" in caplog.text
    for secret in ("Negotiate YI", "svc-contacts", REALM):
        assert secret not in caplog.text
