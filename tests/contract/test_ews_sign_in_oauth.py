"""The EWS connector with an application's tokens, against a token endpoint like that of AD FS."""

from __future__ import annotations

import gzip
import logging
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import requests
import trustme

from connectors.ews import EwsSettings, OAuthClient, connect
from connectors.ews.connector import EwsConnector
from connectors.ews.sign_in.oauth import OAuthSignIn
from connectors.port import (
    ConnectorError,
    CredentialRejected,
    Mailbox,
    ProtocolViolation,
    ServerFault,
    Throttled,
    Unreachable,
)
from connectors.trust import tls_context
from tests.conftest import Authority
from tests.reading import outcomes
from tests.simulators.company import cast
from tests.simulators.company.model import Company
from tests.simulators.onprem import autodiscover
from tests.simulators.onprem.mailboxes import primary_address
from tests.simulators.onprem.server import OnpremSimulator
from tests.simulators.onprem.tokens import refusal
from tests.simulators.onprem.transport import Outgoing

Opener = Callable[..., EwsConnector]


@pytest.fixture
def exchange(company: Company, authority: Authority) -> Iterator[OnpremSimulator]:
    simulator = OnpremSimulator(company, authority.ca, schemes=("Bearer",))
    simulator.start()
    yield simulator
    simulator.stop()
    assert not simulator.recorder.crashes


@pytest.fixture
def client(exchange: OnpremSimulator) -> OAuthClient:
    return OAuthClient(exchange.token_url, exchange.tokens.client_id, exchange.tokens.client_secret.encode())


@pytest.fixture
def opened(exchange: OnpremSimulator, authority: Authority, client: OAuthClient) -> Iterator[Opener]:
    """Connectors with the client, or one that differs from it."""
    with ExitStack() as ending:

        def open_it(
            now: Callable[[], datetime] = lambda: datetime.now(UTC),
            sleep: Callable[[float], object] = lambda seconds: None,
            **changes: object,
        ) -> EwsConnector:
            changed = replace(client, **changes)  # type: ignore[arg-type]
            settings = EwsSettings(exchange.url, exchange.upn, changed, authority.ca_pem)
            connector = connect(settings, sleep=sleep, now=now)
            ending.callback(connector.close)
            return connector

        yield open_it


def failure_of(connector: EwsConnector) -> ConnectorError:
    with pytest.raises(ConnectorError) as caught:
        connector.probe()
    return caught.value


def annas(company: Company) -> Mailbox:
    address = primary_address(company.people[cast.ANNA])
    return Mailbox(address.lower(), address)


def test_one_token_opens_mailboxes_for_the_whole_run(
    exchange: OnpremSimulator, opened: Opener, company: Company
) -> None:
    connector = opened()

    assert connector.probe().account == exchange.upn
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: list(outcomes(connector, annas(company), {})), range(4)))

    assert len(exchange.tokens.asked) == len(set(exchange.tokens.shown)) == 1
    assert not exchange.tokens.refused


def test_what_is_asked_of_nobody_is_asked_in_the_name_of_the_accounts_mailbox(
    exchange: OnpremSimulator, opened: Opener
) -> None:
    opened().probe()

    (asked,) = exchange.recorder.of("ResolveNames")
    assert f"PrimarySmtpAddress>{exchange.upn}<".encode() in asked.request


@pytest.mark.parametrize(
    ("scope", "asked"),
    [("", {"resource": "{origin}"}), ("urn:exchange/.default", {"scope": "urn:exchange/.default"})],
)
def test_a_token_is_asked_for_exchange_or_for_what_it_is_registered_as(
    exchange: OnpremSimulator, opened: Opener, scope: str, asked: dict[str, str]
) -> None:
    opened(scope=scope).probe()

    origin = exchange.url.partition("/EWS")[0]
    (form,) = exchange.tokens.asked
    wanted = {name: text.format(origin=origin) for name, text in asked.items()}
    assert form == {"grant_type": "client_credentials", "client_id": exchange.tokens.client_id, **wanted}


def test_a_wrong_secret_is_shown_once_however_many_threads_begin(exchange: OnpremSimulator, opened: Opener) -> None:
    connector = opened(secret=b"Not-The-Secret")
    start = threading.Barrier(4)

    def begin(_: int) -> ConnectorError:
        start.wait()
        return failure_of(connector)

    with ThreadPoolExecutor(4) as pool:
        errors = list(pool.map(begin, range(4)))

    assert {(type(error), error.code) for error in errors} == {(CredentialRejected, "MSIS9622")}
    assert exchange.refused_logins == len(exchange.tokens.asked) == 1
    assert not exchange.tokens.shown
    assert "Not-The-Secret" not in "".join(repr(error) + error.advice for error in errors)


def test_a_token_is_replaced_before_it_ends(exchange: OnpremSimulator, opened: Opener, company: Company) -> None:
    clock = [datetime(2027, 1, 1, tzinfo=UTC)]
    connector = opened(now=lambda: clock[0])
    connector.probe()

    clock[0] += timedelta(minutes=54)
    connector.probe()
    assert len(exchange.tokens.asked) == 1
    clock[0] += timedelta(minutes=2)
    connector.probe()

    assert len(exchange.tokens.asked) == 2
    assert not exchange.tokens.refused


@pytest.mark.parametrize("lifetime", [0, -1, 30])
def test_a_token_that_is_said_to_end_at_once_is_used_for_a_minute_all_the_same(
    exchange: OnpremSimulator, opened: Opener, company: Company, lifetime: int
) -> None:
    exchange.tokens.lifetime = lifetime
    clock = [datetime(2027, 1, 1, tzinfo=UTC)]
    connector = opened(now=lambda: clock[0])

    connector.probe()
    assert list(outcomes(connector, annas(company), {}))
    assert len(exchange.tokens.asked) == 1
    clock[0] += timedelta(minutes=1)
    connector.probe()

    assert len(exchange.tokens.asked) == 2


def test_a_token_that_ends_early_is_replaced_once_for_all_threads(
    exchange: OnpremSimulator, opened: Opener, company: Company
) -> None:
    connector = opened()
    connector.probe()
    exchange.tokens.revoke()
    start = threading.Barrier(4)

    def pull(_: int) -> int:
        start.wait()
        return len(list(outcomes(connector, annas(company), {})))

    with ThreadPoolExecutor(4) as pool:
        assert min(pool.map(pull, range(4))) > 0

    assert len(exchange.tokens.asked) == 2


def test_a_token_that_exchange_never_takes_is_not_asked_for_again(exchange: OnpremSimulator, opened: Opener) -> None:
    exchange.tokens.instead = Outgoing(200, b'{"access_token": "of.somebody.else", "token_type": "Bearer"}')
    connector = opened()

    for _ in range(3):
        assert isinstance(failure_of(connector), CredentialRejected)

    assert len(exchange.tokens.asked) == len(exchange.tokens.shown) == 1


def test_a_replaced_token_that_is_not_taken_ends_the_run(
    exchange: OnpremSimulator, opened: Opener, company: Company
) -> None:
    connector = opened()
    connector.probe()
    exchange.tokens.revoke()
    exchange.tokens.instead = Outgoing(200, b'{"access_token": "of.somebody.else", "token_type": "Bearer"}')

    for _ in range(3):
        assert isinstance(failure_of(connector), CredentialRejected)

    assert len(exchange.tokens.asked) == 2
    assert len(exchange.tokens.refused) == 2  # the one that was good, and the other one


@pytest.mark.parametrize(
    ("answer", "expected", "code"),
    [
        (refusal(400, "invalid_resource", "MSIS9602: not known"), ProtocolViolation, "MSIS9602"),
        (refusal(400, "invalid_scope", "AADSTS70011: bad scope"), ProtocolViolation, "AADSTS70011"),
        (refusal(400, "unauthorized_client", "AADSTS700016: no such client Anna"), CredentialRejected, "AADSTS700016"),
        (refusal(401, "invalid_client", "no number"), CredentialRejected, "invalid_client"),
        (refusal(503, "temporarily_unavailable", "later"), ServerFault, "temporarily_unavailable"),
        (Outgoing(429, b"", (("Retry-After", "7200"),)), Throttled, "token-endpoint"),
        (autodiscover.page(404), ProtocolViolation, "http-404"),
        (autodiscover.page(200), ProtocolViolation, "protocol-violation"),
        (autodiscover.page(302, "https://localhost/elsewhere"), ProtocolViolation, "http-302"),
        (Outgoing(200, b'{"access_token": "two words"}'), ProtocolViolation, "protocol-violation"),
        (Outgoing(200, b'{"access_token": "x\\r\\nX-More: y"}'), ProtocolViolation, "protocol-violation"),
        (Outgoing(200, b'{"access_token": "x", "token_type": "mac"}'), ProtocolViolation, "protocol-violation"),
        (Outgoing(200, b"[" * 100_000), ProtocolViolation, "protocol-violation"),
        (Outgoing(200, b" " * (2 * 1024 * 1024)), ProtocolViolation, "protocol-violation"),
    ],
    ids=str,
)
def test_what_the_endpoint_says_instead_of_a_token(
    exchange: OnpremSimulator, opened: Opener, answer: Outgoing, expected: type[ConnectorError], code: str
) -> None:
    exchange.tokens.instead = answer

    error = failure_of(opened())

    assert (type(error), error.code) == (expected, code)
    assert "Anna" not in error.message + error.advice
    assert not exchange.tokens.shown
    assert set(exchange.recorder.statuses) <= {401}  # Exchange itself has been asked for nothing


def test_nobody_reads_what_a_redirect_of_the_endpoint_has_to_say(exchange: OnpremSimulator, opened: Opener) -> None:
    body = gzip.compress(bytes(64 * 1024 * 1024), 1)
    headers = (("Content-Encoding", "gzip"), ("Location", "https://elsewhere.example/"))
    exchange.tokens.instead = Outgoing(302, body, headers)

    connector = opened()

    tracemalloc.start()
    try:
        assert isinstance(failure_of(connector), ProtocolViolation)
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_an_endpoint_that_recovers_is_waited_for(exchange: OnpremSimulator, opened: Opener) -> None:
    exchange.tokens.instead = refusal(503, "server_error", "")

    def recover(_: float) -> None:
        exchange.tokens.instead = None

    assert opened(sleep=recover).probe().account == exchange.upn


@pytest.mark.parametrize(
    "url", ["http://sts.example.com/adfs/oauth2/token", "https://user@sts.example.com/", "https:///token", "sts"]
)
def test_an_endpoint_without_tls_is_refused_before_anything_is_sent(opened: Opener, url: str) -> None:
    with pytest.raises(ProtocolViolation, match="https"):
        opened(token_url=url)


def test_an_endpoint_that_nobody_vouches_for_never_sees_the_secret(
    company: Company, exchange: OnpremSimulator, opened: Opener
) -> None:
    stranger = OnpremSimulator(company, trustme.CA(), schemes=("Bearer",))
    stranger.start()

    error = failure_of(opened(token_url=stranger.token_url))

    assert (type(error), error.code) == (Unreachable, "untrusted-certificate")
    assert not stranger.tokens.asked
    stranger.stop()


def test_an_endpoint_that_is_not_there(opened: Opener) -> None:
    assert failure_of(opened(token_url="https://127.0.0.1:9/adfs/oauth2/token")).code == "token-endpoint"


def test_a_server_without_modern_authentication_is_named_as_such(
    company: Company, authority: Authority, client: OAuthClient, exchange: OnpremSimulator
) -> None:
    plain = OnpremSimulator(company, authority.ca)
    plain.start()
    connector = connect(EwsSettings(plain.url, plain.upn, client, authority.ca_pem), sleep=lambda seconds: None)

    assert failure_of(connector).code == "sign-in-method"

    connector.close()
    plain.stop()


def test_a_token_is_never_shown_to_another_host(
    exchange: OnpremSimulator, client: OAuthClient, authority: Authority
) -> None:
    context = tls_context(authority.ca_pem)
    sign_in = OAuthSignIn(
        exchange.url, client, context, sleep=lambda seconds: None, now=lambda: datetime(2027, 1, 1, tzinfo=UTC)
    )
    elsewhere = exchange.url.replace("127.0.0.1", "localhost")

    with requests.Session() as session, pytest.raises(ProtocolViolation):
        session.post(elsewhere, auth=sign_in.auth(), verify=str(authority.ca_file), timeout=10)

    assert not exchange.tokens.asked


def test_logs_hold_neither_the_token_nor_the_secret(
    exchange: OnpremSimulator, opened: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    opened().probe()
    failure_of(opened(secret=b"Not-The-Secret"))

    (token,) = exchange.tokens.given
    assert "EWS ResolveNames: HTTP 200" in caplog.text
    for secret in (token, exchange.tokens.client_secret, "Not-The-Secret", exchange.tokens.client_id):
        assert secret not in caplog.text
