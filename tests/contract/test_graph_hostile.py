"""Servers that are not what they should be: what is read of them is bounded, and no token goes where it should not."""

from __future__ import annotations

import contextlib
import logging
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from connectors.graph import connect
from connectors.graph.wire.transport import TooLargeError, Transport
from connectors.port import ProtocolViolation
from tests.contract.harness_graph import GraphHarness
from tests.simulators.company.model import Company
from tests.simulators.listening import Connection, Listener, server_context

if TYPE_CHECKING:
    from tests.conftest import Authority

LIMIT = 4 * 1024 * 1024
GIGABYTE = 1024**3
BLOCK = b" " * 65_536


@pytest.fixture
def harness(company: Company, authority: Authority) -> Iterator[GraphHarness]:
    made = GraphHarness(company, authority.ca, authority.ca_pem)
    yield made
    made.close()


class Flood(Listener):
    """Answers everything with a body that does not end before a gigabyte; counts what it got rid of."""

    packed = False
    sent = 0


class _Flooded(Connection):
    server: Flood

    def do_GET(self) -> None:
        head = ["HTTP/1.1 200 OK", "Content-Type: application/json", "Connection: close"]
        head += ["Content-Encoding: gzip"] if self.server.packed else []
        self.wfile.write("\r\n".join([*head, "", ""]).encode())
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        with contextlib.suppress(OSError):
            for _ in range(GIGABYTE // len(BLOCK)):
                self.wfile.write(packer.compress(BLOCK) if self.server.packed else BLOCK)
                self.server.sent += len(BLOCK)


@pytest.mark.slow
@pytest.mark.parametrize("packed", [False, True])
def test_of_a_gigabyte_no_more_is_read_or_held_than_was_asked_for(authority: Authority, packed: bool) -> None:
    flood = Flood(("127.0.0.1", 0), _Flooded, server_context(authority.ca.issue_cert("127.0.0.1")))
    flood.packed = packed
    flood.start()
    transport, origin = Transport(authority.ca_pem), f"https://127.0.0.1:{flood.server_address[1]}"
    tracemalloc.start()
    try:
        with pytest.raises(TooLargeError):
            transport.send("GET", origin, "/", headers={}, body=None, limit=LIMIT)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        transport.close()
        flood.stop()
    assert peak < 3 * LIMIT
    assert packed or flood.sent < 4 * LIMIT


def test_a_redirect_takes_no_token_along(harness: GraphHarness, authority: Authority) -> None:
    other = GraphHarness(harness.company, authority.ca, authority.ca_pem)
    try:
        headers = {"Location": f"{other.simulator.origin}/v1.0/users"}
        harness.simulator.faults.fail_next("^/v1.0/users", status=302, headers=headers, times=99)
        with pytest.raises(ProtocolViolation):
            list(connect(harness.settings(), sleep=harness.waits.append).resolve(harness.source("anybody")))
        assert other.simulator.recorder.paths() == []
    finally:
        other.close()


def test_a_web_page_in_the_place_of_data_is_named_so(harness: GraphHarness) -> None:
    harness.simulator.faults.fail_next("^/v1.0/users", status=200, body="<html>Sign in</html>", times=99)
    with pytest.raises(ProtocolViolation) as caught:
        list(harness.connect().resolve(harness.source("anybody")))
    assert caught.value.code == "not-json"


def test_no_log_line_holds_a_token_or_a_secret(
    harness: GraphHarness, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued: list[str] = []
    issue: Callable[..., str] = harness.simulator.issuer.issue

    def noting(*given: object) -> str:
        issued.append(issue(*given))
        return issued[-1]

    monkeypatch.setattr(harness.simulator.issuer, "issue", noting)
    with caplog.at_level(logging.DEBUG):  # also what msal, requests and urllib3 say
        harness.connect().probe()
    assert issued
    assert caplog.records
    assert issued[0] not in caplog.text
    assert harness.simulator.client_secret not in caplog.text
