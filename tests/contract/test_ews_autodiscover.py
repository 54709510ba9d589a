"""Finding the address of EWS by a domain, against a server under its real names that has to be signed in to."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import trustme

from connectors import ews
from connectors.ews import EwsSettings, OAuthClient, Password, connect
from connectors.port import ConnectorError, CredentialRejected, ProtocolViolation, ServerFault, Unreachable
from tests.conftest import Authority
from tests.names import dialled
from tests.simulators.company.model import Company
from tests.simulators.onprem.autodiscover import error, page, redirect_address, redirect_url, settings
from tests.simulators.onprem.server import OnpremSimulator
from tests.simulators.onprem.sign_in import ALL_SCHEMES
from tests.simulators.onprem.transport import Incoming, Outgoing

FOUND = "https://mail.example.com/EWS/Exchange.asmx"
INSIDE = "https://ex01.example.com/EWS/Exchange.asmx"
FIRST, LAST = "autodiscover.example.com", "example.com"
NAMES = (FIRST, LAST, "mail.example.com", "www.example.com")
Discover = Callable[..., str]
Beside = Callable[..., OnpremSimulator]


@pytest.fixture
def exchange(company: Company, authority: Authority) -> Iterator[OnpremSimulator]:
    """A server that is to be found by any of its names."""
    simulator = OnpremSimulator(company, authority.ca, schemes=ALL_SCHEMES, names=NAMES)
    simulator.start()
    with dialled(dict.fromkeys(NAMES, simulator.port)):
        yield simulator
    simulator.stop()


@pytest.fixture
def discover(exchange: OnpremSimulator, authority: Authority) -> Discover:
    def find(domain: str = "example.com", **changes: object) -> str:
        given = {"username": exchange.username, "credential": Password(exchange.password.encode())} | changes
        return ews.discover(domain=domain, ca_pem=authority.ca_pem, **given)  # type: ignore[arg-type]

    return find


@pytest.fixture
def beside(exchange: OnpremSimulator, company: Company, authority: Authority) -> Iterator[Beside]:
    """Puts another server under one of the names."""
    with ExitStack() as ending:

        def place(name: str, ca: trustme.CA = authority.ca, **options: object) -> OnpremSimulator:
            options = {"schemes": ALL_SCHEMES, "names": (name,), "password": exchange.password, **options}
            other = OnpremSimulator(company, ca, **options)  # type: ignore[arg-type]
            other.start()
            ending.callback(other.stop)
            ending.enter_context(dialled(dict.fromkeys(NAMES, exchange.port) | {name: other.port}))
            return other

        yield place


def failure_of(discover: Discover, **changes: object) -> ConnectorError:
    with pytest.raises(ConnectorError) as caught:
        discover(**changes)
    assert not isinstance(caught.value, ProtocolViolation) or "--ews-url" in caught.value.advice
    return caught.value


@pytest.mark.parametrize("auth", ["ntlm", "basic"])
def test_the_domain_leads_to_the_address_of_ews(
    exchange: OnpremSimulator, discover: Discover, authority: Authority, auth: str
) -> None:
    credential = Password(exchange.password.encode(), auth)  # type: ignore[arg-type]

    url = discover(credential=credential)

    assert url == FOUND
    assert exchange.autodiscover.asked == [("autodiscover.example.com", "svc-contacts@example.com")]
    connector = connect(EwsSettings(url, exchange.username, credential, authority.ca_pem))
    assert connector.probe().server == "mail.example.com"
    connector.close()
    assert exchange.refused_logins == 0


def test_an_application_finds_it_too(exchange: OnpremSimulator, discover: Discover) -> None:
    secret = exchange.tokens.client_secret.encode()

    url = discover(username=exchange.upn, credential=OAuthClient(exchange.token_url, exchange.tokens.client_id, secret))

    assert url == FOUND
    assert [form["resource"] for form in exchange.tokens.asked] == ["https://autodiscover.example.com"]


@pytest.mark.parametrize("domain", ["EXAMPLE.com", " example.com. "])
def test_a_domain_may_be_written_in_many_ways(discover: Discover, domain: str) -> None:
    assert discover(domain) == FOUND


@pytest.mark.parametrize("domain", ["", "a b", "example.com/evil", "evil@example.com", "x" * 64, "..", "a..b"])
def test_what_is_no_domain_is_asked_nothing(exchange: OnpremSimulator, discover: Discover, domain: str) -> None:
    assert failure_of(discover, domain=domain).code == "domain"
    assert not exchange.autodiscover.hosts


@pytest.mark.parametrize(
    "website", [page(404), page(200), Outgoing(200, b""), Outgoing(200, b"<rss/>"), Outgoing(403)], ids=repr
)
def test_a_place_without_autodiscover_is_passed_over_for_the_bare_domain(
    exchange: OnpremSimulator, discover: Discover, website: Outgoing
) -> None:
    exchange.autodiscover.unsigned["autodiscover.example.com"] = website

    assert discover() == FOUND
    assert exchange.autodiscover.hosts[0] == "autodiscover.example.com"
    assert exchange.autodiscover.hosts[-1] == "example.com"


@pytest.mark.parametrize("port", [None, 0], ids=["no such name", "nobody listens"])
def test_a_place_that_is_down_is_passed_over(exchange: OnpremSimulator, discover: Discover, port: int | None) -> None:
    there = {name: exchange.port for name in NAMES if name != FIRST}

    with dialled(there if port is None else {**there, FIRST: port}):
        assert discover() == FOUND


def test_a_place_that_shows_a_certificate_for_another_name_is_passed_over(
    exchange: OnpremSimulator, discover: Discover, beside: Beside
) -> None:
    misnamed = beside(FIRST, names=("shop.example.net",))

    assert discover() == FOUND
    assert not misnamed.autodiscover.hosts


def test_a_place_that_does_not_offer_our_way_to_sign_in_is_passed_over(discover: Discover, beside: Beside) -> None:
    website = beside(FIRST, schemes=("Basic",))

    assert discover() == FOUND
    assert website.autodiscover.hosts
    assert website.refused_logins == 0


@pytest.mark.parametrize("auth", ["ntlm", "basic"])
def test_a_place_that_refuses_us_is_the_last_although_another_would_let_us_in(
    exchange: OnpremSimulator, discover: Discover, beside: Beside, auth: str
) -> None:
    stubborn = beside(FIRST, password="Another-Password-2")

    error = failure_of(discover, credential=Password(exchange.password.encode(), auth))  # type: ignore[arg-type]

    assert isinstance(error, CredentialRejected)
    assert stubborn.refused_logins == 1
    assert not exchange.autodiscover.hosts


def test_a_place_that_another_leads_to_may_refuse_us_once_and_is_the_last_too(
    exchange: OnpremSimulator, discover: Discover, beside: Beside
) -> None:
    stubborn = beside("www.example.com", password="Another-Password-2")
    exchange.autodiscover.answers = [redirect_url("https://www.example.com/autodiscover/autodiscover.xml")]

    assert isinstance(failure_of(discover), CredentialRejected)

    assert (exchange.refused_logins, stubborn.refused_logins) == (0, 1)
    assert set(exchange.autodiscover.hosts) == {FIRST}


@pytest.mark.parametrize(
    "location", ["https://www.example.org/", "http://www.example.com/", "https://[::1/", "//[", "autodiscover.xml"]
)
def test_a_web_site_that_leads_out_of_the_domain_or_to_itself_or_nowhere_is_passed_over(
    exchange: OnpremSimulator, discover: Discover, location: str
) -> None:
    exchange.autodiscover.unsigned[FIRST] = page(301, location)

    assert discover() == FOUND


def test_a_web_site_at_the_bare_domain_never_sees_the_sign_in_where_there_is_another_place(
    exchange: OnpremSimulator, discover: Discover
) -> None:
    discover()

    assert "example.com" not in exchange.autodiscover.hosts


def test_a_domain_without_autodiscover(exchange: OnpremSimulator, discover: Discover) -> None:
    exchange.autodiscover.unsigned[""] = page(404)

    found_nothing = failure_of(discover)
    nobody = failure_of(discover, domain="nowhere.example")

    assert found_nothing.code == nobody.code == "autodiscover"
    assert "--ews-url" in found_nothing.advice


def test_a_wrong_password_is_shown_once(exchange: OnpremSimulator, discover: Discover) -> None:
    assert isinstance(failure_of(discover, credential=Password(b"wrong")), CredentialRejected)

    assert exchange.refused_logins == exchange.accounts.failed == 1
    assert "example.com" not in exchange.autodiscover.hosts


@pytest.mark.parametrize(
    ("urls", "code"),
    [
        (("http://mail.example.com/EWS/Exchange.asmx",), "autodiscover-http"),
        (("https://mail.example.org/EWS/Exchange.asmx",), "autodiscover-foreign"),
        (("https://example.com.evil.example/EWS/Exchange.asmx",), "autodiscover-foreign"),
        (("https://evilexample.com/EWS/Exchange.asmx",), "autodiscover-foreign"),
        (("https://mail.example.com@evil.example/EWS/Exchange.asmx",), "autodiscover-foreign"),
        (("https://mail.example.com:pw@mail.example.com/EWS/Exchange.asmx",), "autodiscover-foreign"),
        (("https://[::1/EWS",), "autodiscover-foreign"),
        (("file:///etc/passwd",), "autodiscover-foreign"),
    ],
)
def test_an_answer_that_leads_out_of_the_domain_or_of_tls_is_refused(
    exchange: OnpremSimulator, discover: Discover, urls: tuple[str, ...], code: str
) -> None:
    exchange.autodiscover.answers = [settings(*urls)]

    assert failure_of(discover).code == code


def test_of_two_addresses_the_first_is_taken_that_is_of_the_domain(
    exchange: OnpremSimulator, discover: Discover
) -> None:
    exchange.autodiscover.answers = [settings("https://ex01.corp.local/EWS/Exchange.asmx", FOUND)]

    assert discover() == FOUND


@pytest.mark.parametrize("inside", [INSIDE, "https://www.example.com/no/exchange.asmx"], ids=["down", "a web site"])
def test_of_two_addresses_of_the_domain_the_first_is_taken_where_exchange_answers_us(
    exchange: OnpremSimulator, discover: Discover, beside: Beside, inside: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    website = beside("www.example.com")
    monkeypatch.setattr(website, "respond", lambda _: page(404))
    exchange.autodiscover.answers = [settings(inside, FOUND)]

    assert discover() == FOUND
    assert exchange.refused_logins == 0


def test_of_two_addresses_that_nobody_answers_at_the_first_is_taken(
    exchange: OnpremSimulator, discover: Discover
) -> None:
    exchange.autodiscover.answers = [settings(INSIDE, INSIDE.replace("ex01", "ex02"))]

    assert discover() == INSIDE


@pytest.mark.parametrize(
    "leads_on",
    [
        redirect_url("https://mail.example.com/autodiscover/autodiscover.xml"),
        redirect_address("svc.contacts@example.com"),
    ],
    ids=["to another server", "to another address"],
)
def test_a_redirection_within_the_domain_is_followed(
    exchange: OnpremSimulator, discover: Discover, leads_on: bytes
) -> None:
    exchange.autodiscover.answers = [leads_on, settings(FOUND)]

    assert discover() == FOUND
    assert exchange.autodiscover.asked[-1] in {
        ("mail.example.com", "svc-contacts@example.com"),
        ("autodiscover.example.com", "svc.contacts@example.com"),
    }


def test_a_redirection_of_http_within_the_domain_is_followed_before_anybody_signs_in(
    exchange: OnpremSimulator, discover: Discover
) -> None:
    moved = page(302, "https://mail.example.com/autodiscover/autodiscover.xml")
    exchange.autodiscover.unsigned["autodiscover.example.com"] = moved

    assert discover() == FOUND


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (redirect_url("http://mail.example.com/autodiscover/autodiscover.xml"), "autodiscover-http"),
        (redirect_url("https://autodiscover.example.org/autodiscover/autodiscover.xml"), "autodiscover-foreign"),
        (redirect_address("svc@example.org"), "autodiscover-foreign"),
        (redirect_address("svc-contacts@example.com"), "autodiscover-loop"),
        (redirect_url("https://mail.example.com/autodiscover/autodiscover.xml"), "autodiscover-loop"),
        (error(500), "autodiscover-500"),
        (error(600), "autodiscover-600"),
        (error(601), "autodiscover-601"),
        (settings(), "autodiscover"),
    ],
    ids=[
        "http",
        "another domain",
        "an address elsewhere",
        "itself",
        "each other",
        "no mailbox",
        "600",
        "601",
        "no EWS",
    ],
)
def test_an_answer_that_leads_nowhere_good(
    exchange: OnpremSimulator, discover: Discover, answer: bytes, code: str
) -> None:
    exchange.autodiscover.answers = [answer]

    assert failure_of(discover).code == code
    assert len(exchange.autodiscover.asked) <= 3


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("http://mail.example.com/autodiscover/autodiscover.xml", "autodiscover-http"),
        ("https://autodiscover-s.outlook.com/autodiscover/autodiscover.xml", "autodiscover-foreign"),
    ],
)
def test_a_redirection_of_http_out_of_the_domain_is_refused_and_nobody_signs_in(
    exchange: OnpremSimulator, discover: Discover, location: str, code: str
) -> None:
    exchange.autodiscover.unsigned[""] = page(302, location)

    assert failure_of(discover).code == code
    assert not exchange.autodiscover.asked


def test_entities_and_pages_that_never_end_are_not_read(exchange: OnpremSimulator, discover: Discover) -> None:
    bomb = b'<!DOCTYPE a [<!ENTITY x "' + b"x" * 1000 + b'">]><Autodiscover>' + b"&x;" * 1000 + b"</Autodiscover>"
    for body in (bomb, b"<Autodiscover>" + b" " * (2 * 1024 * 1024)):
        exchange.autodiscover.answers = [body]

        assert failure_of(discover).code == "autodiscover"


def test_a_server_that_fails_is_said_to(exchange: OnpremSimulator, discover: Discover) -> None:
    exchange.autodiscover.unsigned[""] = Outgoing(503)

    assert isinstance(failure_of(discover), ServerFault)


def test_a_place_that_does_not_offer_our_way_to_sign_in_is_said_to(company: Company, authority: Authority) -> None:
    simulator = OnpremSimulator(company, authority.ca, schemes=("Basic",), names=NAMES)
    simulator.start()
    with dialled(dict.fromkeys(NAMES, simulator.port)), pytest.raises(ProtocolViolation) as caught:
        ews.discover(simulator.username, Password(b"secret"), "example.com", ca_pem=authority.ca_pem)
    simulator.stop()

    assert caught.value.code == "sign-in-method"
    assert simulator.refused_logins == 0


def test_a_place_that_nobody_vouches_for_never_sees_the_password(company: Company, authority: Authority) -> None:
    stranger = OnpremSimulator(company, trustme.CA(), schemes=("Basic",), names=NAMES)
    misnamed = OnpremSimulator(company, authority.ca, schemes=("Basic",))
    for simulator, code in ((stranger, "untrusted-certificate"), (misnamed, "certificate-name")):
        simulator.start()
        with dialled(dict.fromkeys(NAMES, simulator.port)), pytest.raises(Unreachable) as caught:
            ews.discover(simulator.username, Password(b"secret", "basic"), "example.com", ca_pem=authority.ca_pem)
        simulator.stop()

        assert caught.value.code == code
        assert "--ews-url" in caught.value.advice
        assert not simulator.autodiscover.hosts


def test_logs_hold_neither_the_account_nor_the_domain(discover: Discover, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="connectors")

    discover()

    assert "autodiscover: HTTP 200" in caplog.text
    for word in ("svc-contacts", "example.com", "TlRMTVNTUAAD"):
        assert word not in caplog.text


def test_a_sign_in_whose_verdict_was_lost_is_not_tried_at_the_next_place(
    exchange: OnpremSimulator, discover: Discover, monkeypatch: pytest.MonkeyPatch
) -> None:
    respond = exchange.respond

    def break_off(incoming: Incoming) -> Outgoing:
        return Outgoing(200, end="reset") if incoming.headers.get("Authorization") else respond(incoming)

    monkeypatch.setattr(exchange, "respond", break_off)

    error = failure_of(discover, credential=Password(b"secret", "basic"))

    assert error.code == "sign-in-unanswered"
