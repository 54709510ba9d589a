"""Passing faults are ridden out as the server asks, lasting ones said at once; no lost verdict is asked for twice."""

from __future__ import annotations

from datetime import timedelta

import pytest
from requests import exceptions
from urllib3.exceptions import MaxRetryError, NewConnectionError

from connectors.ews.connector import EwsConnector
from connectors.port import (
    ConnectorError,
    NotPermitted,
    ProtocolViolation,
    ServerFault,
    Throttled,
    Unreachable,
)
from tests.unit.ews_wire import NOBODY, NOW, URL, Reply, Wire, error, fault, messages


@pytest.mark.parametrize(
    "passing",
    [
        (503, {}, ""),
        (429, {"Retry-After": "1"}, ""),
        (502, {}, "<html/>"),
        (302, {"Location": "/ews/genericerrorpage.htm?aspxerrorpath=/ews/exchange.asmx"}, ""),
        (500, {}, fault("ErrorServerBusy", '<t:Value Name="BackOffMilliseconds">1500</t:Value>')),
        (500, {}, fault("ErrorInternalServerTransientError")),
        fault("ErrorTooManyObjectsOpened"),
        messages("ResolveNames", error("ResolveNames", "ErrorExceededConnectionCount")),
        NOBODY[:300],
        exceptions.ConnectionError("reset"),
        exceptions.ReadTimeout("slow"),
        exceptions.ChunkedEncodingError("cut off"),
        KeyError("www-authenticate"),
    ],
    ids=str,
)
def test_a_passing_fault_is_ridden_out(wire: Wire, connector: EwsConnector, waits: list[float], passing: Reply) -> None:
    wire.reply(NOBODY, passing, NOBODY)
    connector.probe()

    connector.probe()

    assert len(wire.seen) == 3
    assert len(waits) == 1


def test_the_wait_is_what_the_server_asks_for(wire: Wire, connector: EwsConnector, waits: list[float]) -> None:
    wire.reply(
        fault("ErrorServerBusy", '<t:Value Name="BackOffMilliseconds">1500</t:Value>'),
        (503, {"Retry-After": "7"}, ""),
        NOBODY,
    )

    connector.probe()

    assert waits == [1.5, 7.0]


def test_a_server_that_asks_for_more_than_a_run_waits_is_left_until_then(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(fault("ErrorServerBusy", '<t:Value Name="BackOffMilliseconds">3600000</t:Value>'))

    with pytest.raises(Throttled) as caught:
        connector.probe()

    assert caught.value.retry_at == NOW + timedelta(hours=1)
    assert caught.value.code == "ErrorServerBusy"


def test_a_fault_that_stays_is_given_up(wire: Wire, connector: EwsConnector, waits: list[float]) -> None:
    wire.reply(NOBODY, *[(503, {}, "") for _ in range(20)])
    connector.probe()

    with pytest.raises(ServerFault, match="HTTP 503"):
        connector.probe()

    assert 3 <= len(waits) <= 10


def test_a_server_that_is_not_there_is_no_passing_fault_at_first(wire: Wire, connector: EwsConnector) -> None:
    reason = NewConnectionError(None, "refused")  # type: ignore[arg-type]
    wire.reply(exceptions.ConnectionError(MaxRetryError(None, URL, reason)), NOBODY)  # type: ignore[arg-type]

    with pytest.raises(Unreachable) as caught:
        connector.probe()

    assert caught.value.concerns_all
    assert wire.replies == [NOBODY]


def test_an_untrusted_certificate_is_not_tried_again(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(exceptions.SSLError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed"), NOBODY)

    with pytest.raises(Unreachable, match="not trusted") as caught:
        connector.probe()

    assert caught.value.concerns_all

    assert wire.replies == [NOBODY]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ((302, {"Location": "https://evil.example/"}, ""), ProtocolViolation),
        ((404, {}, ""), ProtocolViolation),
        ((403, {}, ""), NotPermitted),
        ((200, {}, "<html>Sign in here</html>"), ProtocolViolation),
        (fault("ErrorAccessDenied"), NotPermitted),
        (TypeError("Anna Müller"), ProtocolViolation),
    ],
    ids=str,
)
def test_a_lasting_fault_is_not_repeated(
    wire: Wire, connector: EwsConnector, reply: Reply, expected: type[ConnectorError]
) -> None:
    wire.reply(reply)

    with pytest.raises(expected) as caught:
        connector.probe()

    assert connector.requests == 1
    assert "Müller" not in f"{caught.value!r} {caught.value.message}"
