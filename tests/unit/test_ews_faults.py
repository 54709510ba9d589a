"""Passing faults are ridden out as the server asks, lasting ones said at once; no lost verdict is asked for twice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from requests import PreparedRequest, Response, exceptions
from urllib3.exceptions import MaxRetryError, NewConnectionError

from connectors.ews.connector import EwsConnector
from connectors.ews.sign_in.guard import DoubtError, Guard
from connectors.port import (
    ConnectorError,
    CredentialRejected,
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


# -- the door for proofs ---------------------------------------------------------------------------------------------

NTLM = "NTLM TlRMTVNTUAADAAAA"
BASIC = "Basic c3ZjOnNlY3JldA=="


def asking(proof: str, method: str = "GET", header: str = "Authorization") -> PreparedRequest:
    """A request that shows something."""
    request = PreparedRequest()
    request.prepare(method, URL, headers={header: proof})
    return request


def answering(status: int, offered: str = "NTLM, Basic") -> Callable[[], Response]:
    """A server's way to answer."""

    def send() -> Response:
        response = Response()
        response.status_code = status
        response.headers["WWW-Authenticate"] = offered
        return response

    return send


def breaking(failure: Exception) -> Callable[[], Response]:
    """A connection that fails."""

    def send() -> Response:
        raise failure

    return send


@pytest.fixture
def guard() -> Guard:
    return Guard(lambda: CredentialRejected("No."))


def never() -> Any:
    pytest.fail("a request went out")


@pytest.mark.parametrize("proof", [NTLM, BASIC])
def test_nothing_leaves_after_a_refusal(guard: Guard, proof: str) -> None:
    assert guard.let_out(asking(proof), answering(401)).status_code == 401
    with pytest.raises(CredentialRejected):
        guard.let_out(asking(proof), never)


@pytest.mark.parametrize("proof", [NTLM, BASIC])
def test_a_verdict_that_gets_lost_before_we_were_let_in_is_the_last_one(guard: Guard, proof: str) -> None:
    with pytest.raises(exceptions.ConnectionError):
        guard.let_out(asking(proof), breaking(exceptions.ConnectionError("reset")))
    with pytest.raises(Unreachable, match="judging"):
        guard.let_out(asking(proof), never)


def test_one_verdict_may_get_lost_once_we_were_let_in_and_not_two_running(guard: Guard) -> None:
    guard.accept()
    for _ in range(2):
        with pytest.raises(exceptions.ConnectionError):
            guard.let_out(asking(NTLM), breaking(exceptions.ConnectionError("reset")))
        guard.let_out(asking(NTLM), answering(200))
    for _ in range(2):
        with pytest.raises(exceptions.ReadTimeout):
            guard.let_out(asking(NTLM), breaking(exceptions.ReadTimeout("slow")))
    with pytest.raises(Unreachable):
        guard.let_out(asking(NTLM), never)


def test_an_answer_to_somebody_else_makes_up_for_no_lost_verdict(guard: Guard) -> None:
    guard.accept()
    for _ in range(2):
        with pytest.raises(exceptions.ConnectionError):
            guard.let_out(asking(NTLM), breaking(exceptions.ConnectionError("reset")))
        guard.accept()  # on a connection that was let in before
    with pytest.raises(Unreachable):
        guard.let_out(asking(NTLM), never)


def test_a_password_is_shown_with_a_request_only_where_the_last_verdict_is_known(guard: Guard) -> None:
    guard.accept()
    guard.can_look = True
    with pytest.raises(exceptions.ConnectionError):
        guard.let_out(asking(BASIC, "POST"), breaking(exceptions.ConnectionError("reset")))
    with pytest.raises(DoubtError):
        guard.let_out(asking(BASIC, "POST"), never)
    guard.let_out(asking(BASIC), answering(200))
    assert guard.let_out(asking(BASIC, "POST"), answering(200)).status_code == 200


@pytest.mark.parametrize(
    "failure",
    [
        exceptions.ConnectTimeout("slow"),
        exceptions.SSLError("[SSL: CERTIFICATE_VERIFY_FAILED] no"),
        exceptions.ConnectionError(MaxRetryError(None, URL, NewConnectionError(None, "refused"))),  # type: ignore[arg-type]
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_what_was_never_sent_was_not_refused_either(guard: Guard, failure: Exception) -> None:
    for _ in range(3):
        with pytest.raises(type(failure)):
            guard.let_out(asking(BASIC), breaking(failure))
    assert guard.let_out(asking(BASIC), answering(200)).status_code == 200


def test_the_answer_to_a_challenge_goes_to_who_posed_it_or_to_nobody(guard: Guard) -> None:
    with pytest.raises(exceptions.ConnectionError):
        guard.let_out(asking(NTLM), never, is_connected=lambda: False)
    guard.check()


def test_a_proxy_that_asks_for_a_password_gets_none(guard: Guard) -> None:
    with pytest.raises(ProtocolViolation):
        guard.let_out(asking(NTLM, header="Proxy-Authorization"), never)


def test_a_password_that_a_server_did_not_ask_for_was_not_refused(guard: Guard) -> None:
    guard.let_out(asking(BASIC), answering(401, "Negotiate"))
    guard.check()
