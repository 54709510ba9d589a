"""What a sign-in is tied to: the server's certificate, the tenant's own trust and account, and a lock that counts."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
import requests
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from requests.auth import HTTPBasicAuth
from requests_ntlm import HttpNtlmAuth

from connectors.ews import EwsSettings, Password, connect
from connectors.ews.sign_in.methods import server_end_point
from connectors.port import CredentialRejected, ProtocolViolation
from tests.conftest import Authority
from tests.simulators.company.model import Company
from tests.simulators.onprem.server import OnpremSimulator
from tests.simulators.onprem.transport import Outgoing

Server = Callable[..., OnpremSimulator]


@pytest.fixture
def server(company: Company, authority: Authority) -> Iterator[Server]:
    with ExitStack() as ending:

        def start(ca: trustme.CA = authority.ca, **options: object) -> OnpremSimulator:
            simulator = OnpremSimulator(company, ca, **options)  # type: ignore[arg-type]
            simulator.start()
            ending.callback(simulator.stop)
            return simulator

        yield start


def probe(server: OnpremSimulator, ca_pem: str, password: str = "", **changes: str) -> str:
    settings = EwsSettings(
        server.url, changes.get("username", server.username), Password((password or server.password).encode()), ca_pem
    )
    connector = connect(settings, sleep=lambda seconds: None)
    try:
        return connector.probe().account
    finally:
        connector.close()


def test_it_is_the_certificate_that_lets_us_in_where_the_server_insists(
    server: Server, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = server(require_channel_binding=True)
    assert probe(exchange, authority.ca_pem) == exchange.username

    monkeypatch.setattr("connectors.ews.wire.transport._end_point", lambda response: None)
    with pytest.raises(CredentialRejected):
        probe(exchange, authority.ca_pem)
    monkeypatch.setattr("connectors.ews.wire.transport._end_point", lambda response: b"\1" * 32)
    with pytest.raises(CredentialRejected):
        probe(exchange, authority.ca_pem)

    assert exchange.refused_logins == 2
    assert exchange.accounts.failed == 0  # the password was right


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [(hashes.SHA256(), "sha256"), (hashes.SHA384(), "sha384"), (hashes.SHA512(), "sha512"), (None, "sha256")],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_a_certificate_is_named_by_the_hash_that_it_is_signed_with(
    algorithm: hashes.HashAlgorithm | None, expected: str
) -> None:
    key = ec.generate_private_key(ec.SECP256R1()) if algorithm else ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mail.example.com")])
    now = datetime(2027, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    content = builder.sign(key, algorithm).public_bytes(serialization.Encoding.DER)  # type: ignore[arg-type]

    assert server_end_point(content) == hashlib.new(expected, content).digest()


def test_two_tenants_with_accounts_and_authorities_of_their_own_on_one_host_never_mix(
    server: Server, authority: Authority
) -> None:
    elsewhere = trustme.CA()
    first = server(username="EXAMPLE\\svc-one", password="One-Horse-1")
    second = server(elsewhere, username="EXAMPLE\\svc-two", password="Two-Horses-2")
    tenants = [(first, authority.ca_pem), (second, elsewhere.cert_pem.bytes().decode())]
    start = threading.Barrier(8)

    def begin(tenant: tuple[OnpremSimulator, str]) -> str:
        start.wait()
        return probe(*tenant)

    with ThreadPoolExecutor(8) as pool:
        accounts = list(pool.map(begin, tenants * 4))

    assert accounts == ["EXAMPLE\\svc-one", "EXAMPLE\\svc-two"] * 4
    assert first.refused_logins == second.refused_logins == 0


def test_ntlm_is_shown_also_where_it_is_but_one_of_the_ways_to_negotiate(server: Server, authority: Authority) -> None:
    exchange = server(schemes=("Negotiate",))

    assert probe(exchange, authority.ca_pem) == exchange.username
    with pytest.raises(CredentialRejected):
        probe(exchange, authority.ca_pem, "wrong")
    assert exchange.refused_logins == exchange.accounts.failed == 1


@pytest.mark.parametrize("auth", [HttpNtlmAuth, HTTPBasicAuth])
def test_the_simulated_account_is_locked_by_three_wrong_passwords_in_a_row(
    server: Server, authority: Authority, auth: Callable[[str, str], requests.auth.AuthBase]
) -> None:
    exchange = server()

    def status(password: str) -> int:
        signed = auth(exchange.username, password)
        return requests.get(exchange.url, auth=signed, verify=str(authority.ca_file), timeout=20).status_code

    assert [status("wrong"), status("wrong"), status(exchange.password), exchange.accounts.failed] == [401, 401, 200, 0]
    assert [status("wrong") for _ in range(3)] == [401] * 3
    assert exchange.accounts.locked
    assert status(exchange.password) == 401
    exchange.accounts.unlock()
    assert status(exchange.password) == 200


def test_a_refusal_as_long_as_a_book_is_not_read(
    server: Server, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = server()
    book = Outgoing(401, b"x" * (8 * 1024 * 1024), (("WWW-Authenticate", "NTLM"),))
    monkeypatch.setattr(exchange, "respond", lambda incoming: book)

    with pytest.raises(ProtocolViolation, match="larger"):
        probe(exchange, authority.ca_pem)
