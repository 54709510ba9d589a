"""Through a proxy that the environment names: TLS holds from end to end, and nothing else of an environment counts."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import trustme

from connectors.graph import GraphSettings
from connectors.port import Unreachable
from connectors.trust import proxy_from_environment
from tests.contract.harness_graph import GraphHarness
from tests.contract.proxies import ConnectProxy
from tests.simulators.company.model import Company
from tests.simulators.listening import server_context

if TYPE_CHECKING:
    from tests.conftest import Authority

HOST = "exchange.example.test"  # resolves nowhere: only a proxy leads there


@pytest.fixture
def harness(company: Company, authority: Authority) -> Iterator[GraphHarness]:
    made = GraphHarness(company, authority.ca, authority.ca_pem)
    authority.ca.issue_cert(HOST).configure_cert(made.simulator._server._listener._context)
    yield made
    made.close()


@pytest.fixture
def proxy(harness: GraphHarness) -> Iterator[ConnectProxy]:
    with ConnectProxy(urlsplit(harness.simulator.origin).port or 0) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_proxy_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def settings(harness: GraphHarness) -> GraphSettings:
    return replace(harness.settings(), authority=f"https://{HOST}", graph_url=f"https://{HOST}")


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy"])
def test_what_goes_through_the_proxy_is_sealed_from_it(
    harness: GraphHarness, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, proxy.url)
    issued: list[str] = []
    issue = harness.simulator.issuer.issue
    monkeypatch.setattr(harness.simulator.issuer, "issue", lambda *given: issued.append(issue(*given)) or issued[-1])
    assert harness.probe(settings(harness)).server == HOST
    assert all(head.startswith(f"CONNECT {HOST}:443 ".encode()) for head in proxy.seen.heads)
    seen = b"".join(proxy.seen.heads) + proxy.seen.passed
    assert len(seen) > 1000
    for secret in (b"Bearer", b"bearer", issued[0].encode(), harness.simulator.client_secret.encode()):
        assert secret not in seen


def test_a_proxy_that_signs_with_an_authority_of_its_own_is_not_trusted(
    harness: GraphHarness, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch, authority: Authority
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    # None of these may add trust, or take it away.
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(variable, str(authority.ca_file))
    with pytest.raises(Unreachable) as caught:
        harness.probe(replace(settings(harness), ca_pem=""))
    assert caught.value.code == "tls"


def test_the_proxys_password_goes_to_the_proxy_and_into_no_log(
    harness: GraphHarness, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("://", "://operator:hush-hush@"))
    with caplog.at_level(logging.DEBUG):
        harness.probe(settings(harness))
    assert base64.b64encode(b"operator:hush-hush") in proxy.seen.heads[0]
    assert "hush-hush" not in caplog.text
    assert base64.b64encode(b"operator:hush-hush").decode() not in caplog.text


def test_a_proxy_that_speaks_tls_is_trusted_as_servers_are(
    harness: GraphHarness, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = urlsplit(harness.simulator.origin).port or 0
    with ConnectProxy(port, tls=server_context(authority.ca.issue_cert("127.0.0.1"))) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        assert harness.probe(settings(harness)).server == HOST
    with ConnectProxy(port, tls=server_context(trustme.CA().issue_cert("127.0.0.1"))) as stranger:
        monkeypatch.setenv("HTTPS_PROXY", stranger.url)
        with pytest.raises(Unreachable) as caught:
            harness.probe(settings(harness))
    assert caught.value.code == "tls"
    assert stranger.seen.heads == []


@pytest.mark.parametrize(
    ("refusal", "may_pass"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\n\r\n<html>Ask the help desk</html>", False),
        (b"HTTP/1.1 302 Found\r\nLocation: https://portal.example/\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>Hotel Wi-Fi</html>", True),
        (b"<html>Hotel Wi-Fi</html>", True),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", True),
    ],
    ids=["password", "forbidden", "portal", "web page", "no HTTP", "not now"],
)
def test_a_proxy_that_does_not_get_through_is_named_with_what_to_do(
    harness: GraphHarness, monkeypatch: pytest.MonkeyPatch, refusal: bytes, may_pass: bool
) -> None:
    with ConnectProxy(0, refusal=refusal) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("://", "://operator:hush-hush@"))
        with pytest.raises(Unreachable) as caught:
            harness.probe(settings(harness))
    assert caught.value.code == "proxy"
    assert "--no-proxy" in caught.value.advice
    assert "hush-hush" not in f"{caught.value.message} {caught.value.advice} {caught.value.__context__!r}"
    assert bool(harness.waits) == may_pass
    assert len(harness.waits) < 7  # how often depends on where in the handshake it breaks


def test_a_proxy_that_is_not_there_is_told_from_a_server_that_is_not(
    harness: GraphHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(Unreachable) as caught:
        harness.probe(settings(harness))
    assert caught.value.code == "proxy"


def test_a_tenant_may_go_past_the_proxy(
    harness: GraphHarness, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    with pytest.raises(Unreachable) as caught:
        harness.probe(replace(settings(harness), uses_proxy=False))
    assert (caught.value.code, proxy.seen.heads) == ("unreachable", [])


@pytest.mark.parametrize("exempt", [HOST, "example.test", ".example.test", "*"])
def test_a_host_may_be_exempt(monkeypatch: pytest.MonkeyPatch, exempt: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    assert proxy_from_environment(f"https://{HOST}") == "http://proxy.example:3128"
    monkeypatch.setenv("NO_PROXY", exempt)
    assert proxy_from_environment(f"https://{HOST}") == ""


def test_loopback_is_no_exception_unless_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    assert proxy_from_environment("https://127.0.0.1:8443") == "http://proxy.example:3128"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    assert proxy_from_environment("https://127.0.0.1:8443") == proxy_from_environment("https://localhost") == ""


@pytest.mark.parametrize("named", ["socks5://proxy.example:1080", "http://", "http://proxy.example:port", "file:///x"])
def test_what_is_no_proxy_is_refused_without_being_repeated(
    harness: GraphHarness, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", named)
    with pytest.raises(Unreachable) as caught:
        harness.probe(settings(harness))
    assert caught.value.code == "proxy"
    assert named not in caught.value.message


def test_a_proxy_may_be_named_without_a_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example:3128")
    assert proxy_from_environment(f"https://{HOST}") == "http://proxy.example:3128"
