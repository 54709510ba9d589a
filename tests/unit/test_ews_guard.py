"""What the guard lets out: one proof at a time, none after a refusal, and a token side by side once it was taken."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from requests import PreparedRequest, Response, exceptions
from urllib3.exceptions import MaxRetryError, NewConnectionError

from connectors.ews.sign_in.guard import REFUSED, DoubtError, Guard
from connectors.port import CredentialRejected, ProtocolViolation, Unreachable
from tests.unit.ews_wire import URL

NTLM = "NTLM TlRMTVNTUAADAAAA"
BASIC = "Basic c3ZjOnNlY3JldA=="
TICKET = "Negotiate YIIFAwYGKwYBBQUCoIIE"
TOKEN, SUCCESSOR = "Bearer abc.def", "Bearer ghi.jkl"


def asking(proof: str, method: str = "GET", header: str = "Authorization") -> PreparedRequest:
    """A request that shows something."""
    request = PreparedRequest()
    request.prepare(method, URL, headers={header: proof})
    return request


def answering(status: int, offered: str = "Negotiate, NTLM, Basic, Bearer") -> Callable[[], Response]:
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


@pytest.mark.parametrize("proof", [NTLM, BASIC, TICKET, TOKEN])
def test_nothing_leaves_after_a_refusal(guard: Guard, proof: str) -> None:
    assert guard.let_out(asking(proof), answering(401)).status_code == 401
    with pytest.raises(CredentialRejected):
        guard.let_out(asking(proof), never)


@pytest.mark.parametrize("proof", [NTLM, BASIC, TICKET, TOKEN])
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


@pytest.mark.parametrize("proof", [BASIC, TICKET])
def test_a_proof_goes_with_a_request_only_where_the_last_verdict_is_known(guard: Guard, proof: str) -> None:
    guard.accept()
    guard.can_look = True
    with pytest.raises(exceptions.ConnectionError):
        guard.let_out(asking(proof, "POST"), breaking(exceptions.ConnectionError("reset")))
    with pytest.raises(DoubtError):
        guard.let_out(asking(proof, "POST"), never)
    guard.let_out(asking(proof), answering(200))
    assert guard.let_out(asking(proof, "POST"), answering(200)).status_code == 200


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


def test_the_first_hello_of_ntlm_proves_nothing_whatever_it_is_called(guard: Guard) -> None:
    for hello in ("NTLM TlRMTVNTUAABAAAA", "Negotiate TlRMTVNTUAABAAAA"):
        guard.let_out(asking(hello), answering(401))
    guard.check()


def test_what_the_server_says_of_a_ticket_is_why_nothing_leaves_any_more(guard: Guard) -> None:
    request = asking(TICKET)
    request.hooks[REFUSED] = lambda response: Unreachable("The clocks differ.", code="clock-skew")

    guard.let_out(request, answering(401))

    with pytest.raises(Unreachable, match="clocks"):
        guard.check()


class Server:
    """Answers requests when it is told to, and knows how many wait for that."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.asked = threading.Semaphore(0)
        self.may_answer = threading.Semaphore(0)

    def answer(self) -> Response:
        self.asked.release()
        assert self.may_answer.acquire(timeout=20)
        return answering(self.status)()

    def has_been_asked(self, times: int) -> bool:
        """Whether so many requests came; if fewer did, only after a moment."""
        return all(self.asked.acquire(timeout=10) for _ in range(times))


@pytest.mark.parametrize(
    ("proof", "together"), [(TOKEN, 4), (TICKET, 1), (BASIC, 1)], ids=["token", "ticket", "password"]
)
def test_a_token_goes_side_by_side_once_it_was_taken_and_nothing_else_does(
    guard: Guard, proof: str, together: int
) -> None:
    server = Server()
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(guard.let_out, asking(proof, "POST"), server.answer)
        assert server.has_been_asked(1)
        others = [pool.submit(guard.let_out, asking(proof, "POST"), server.answer) for _ in range(4)]
        assert not server.asked.acquire(timeout=0.05)  # they wait for the verdict
        server.may_answer.release()
        first.result(20)

        assert server.has_been_asked(together)
        assert not server.asked.acquire(timeout=0.05)
        server.may_answer.release(4)
        assert {other.result(20).status_code for other in others} == {200}


def test_whoever_waits_with_a_new_token_does_not_show_one_that_is_refused(guard: Guard) -> None:
    server = Server(401)
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(guard.let_out, asking(TOKEN, "POST"), server.answer)
        assert server.has_been_asked(1)
        others = [pool.submit(guard.let_out, asking(TOKEN, "POST"), never) for _ in range(4)]
        server.may_answer.release()

        assert first.result(20).status_code == 401
        assert {type(other.exception(20)) for other in others} == {CredentialRejected}


def test_a_token_that_was_taken_and_is_refused_is_shown_by_nobody_any_more(guard: Guard) -> None:
    guard.let_out(asking(TOKEN), answering(200))
    assert guard.let_out(asking(TOKEN, "POST"), answering(401)).status_code == 401

    with pytest.raises(exceptions.ConnectionError):
        guard.let_out(asking(TOKEN, "POST"), never)
    assert guard.let_out(asking(SUCCESSOR, "POST"), answering(200)).status_code == 200
    guard.check()  # one that ended is no refusal of the application


def test_a_late_refusal_of_a_token_says_nothing_of_its_successor(guard: Guard) -> None:
    guard.let_out(asking(TOKEN), answering(200))

    def replaced_meanwhile() -> Response:
        guard.let_out(asking(TOKEN), answering(401))
        guard.let_out(asking(SUCCESSOR), answering(200))
        return answering(401)()

    guard.let_out(asking(TOKEN, "POST"), replaced_meanwhile)

    guard.can_look = True  # a new one would have to be tried out
    assert guard.let_out(asking(SUCCESSOR, "POST"), answering(200)).status_code == 200


def test_a_401_that_does_not_ask_for_a_token_refuses_none(guard: Guard) -> None:
    guard.let_out(asking(TOKEN), answering(200))
    guard.let_out(asking(TOKEN, "POST"), answering(401, "Basic"))

    assert guard.let_out(asking(TOKEN, "POST"), answering(200)).status_code == 200


def test_a_new_token_is_tried_out_by_asking_for_nothing_where_that_is_judged(guard: Guard) -> None:
    guard.accept()
    guard.can_look = True

    with pytest.raises(DoubtError):
        guard.let_out(asking(TOKEN, "POST"), never)
    guard.let_out(asking(TOKEN), answering(200))

    assert guard.let_out(asking(TOKEN, "POST"), answering(200)).status_code == 200


def test_a_gateway_that_answers_has_taken_no_token(guard: Guard) -> None:
    guard.accept()
    guard.let_out(asking(TOKEN, "POST"), answering(502))

    guard.let_out(asking(TOKEN, "POST"), answering(401))

    with pytest.raises(CredentialRejected):
        guard.check()
