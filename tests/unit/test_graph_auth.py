"""Signing in where the sign-in service writes its addresses and numbers in its own way."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from requests.structures import CaseInsensitiveDict

from connectors.graph.settings import ClientSecret, GraphSettings
from connectors.graph.sign_in.auth import FRESH_TOKENS, Token, Tokens, open_tokens
from connectors.graph.wire.batch import Read, Reply, read_batch
from connectors.graph.wire.transport import Answer
from connectors.port import ConnectorError, CredentialRejected, ProtocolViolation, Throttled
from tests.unit.graph_stub import StubGraph, answer, refusal

ORIGIN = "https://login.example.com"
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


class PaperEntra:
    """Names a token endpoint, and gives a token with a life of its own choosing."""

    def __init__(self, endpoint: str, expires_in: object = 3599, mark: bytes = b"") -> None:
        self.endpoint, self.expires_in, self.mark = endpoint, expires_in, mark
        self.sent: list[tuple[str, str, str]] = []
        self.now = NOON
        settings = GraphSettings("d", "c", ClientSecret(b"s"), authority=ORIGIN)
        self.tokens = open_tokens(settings, self, sleep=lambda _: None, now=lambda: self.now)  # type: ignore[arg-type]

    def send(
        self, method: str, origin: str, path: str, *, headers: Mapping[str, str], body: bytes | None, limit: int
    ) -> Answer:
        assert headers
        assert (body or b"") == (body or b"")[:limit]
        self.sent.append((method, origin, path))
        told: dict[str, Any] = {
            "token_endpoint": self.endpoint,
            "authorization_endpoint": f"{ORIGIN}/d/authorize",
            "issuer": f"{ORIGIN}/d/v2.0",
        }
        if method == "POST":
            told = {"access_token": f"token-{len(self.sent)}", "token_type": "Bearer", "expires_in": self.expires_in}
        return Answer(
            200, CaseInsensitiveDict({"Content-Type": "application/json"}), self.mark + json.dumps(told).encode()
        )


@pytest.mark.parametrize("home", [ORIGIN, "https://LOGIN.example.com", "https://login.example.com:443"])
def test_the_token_endpoint_may_be_anywhere_at_home_however_that_is_written(home: str) -> None:
    entra = PaperEntra(f"{home}/other/token?p=1")
    entra.tokens.bearer()
    assert entra.sent[-1] == ("POST", ORIGIN, "/other/token?p=1")


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://login.example.com.evil.example/token",
        "https://login.example.com@evil.example/token",
        "https://login.example.com:8443/token",
        "http://login.example.com/token",
        "https://login.example.com:port/token",
    ],
)
def test_the_secret_goes_nowhere_else(endpoint: str) -> None:
    entra = PaperEntra(endpoint)
    with pytest.raises(ProtocolViolation):
        entra.tokens.bearer()
    assert [method for method, _, _ in entra.sent] == ["GET"]


@pytest.mark.parametrize("expires_in", [600, "600"])
def test_a_token_is_renewed_before_it_ends_be_its_life_a_number_or_a_text(expires_in: object) -> None:
    entra = PaperEntra(f"{ORIGIN}/token", expires_in)
    first = entra.tokens.bearer()
    entra.now = NOON + timedelta(minutes=4)
    assert entra.tokens.bearer() == first
    entra.now = NOON + timedelta(minutes=6)
    assert entra.tokens.bearer() != first


def test_a_byte_order_mark_does_no_harm() -> None:
    assert PaperEntra(f"{ORIGIN}/token", mark=b"\xef\xbb\xbf").tokens.bearer()


# -- one token, many threads --------------------------------------------------------------------------------------

THREADS = 4
LONG = 30  # seconds that nothing here needs


class Numbered:
    """Gives tokens by number, or refuses from one on."""

    def __init__(self, refuses_from: int = 99) -> None:
        self.requests, self.refuses_from = 0, refuses_from

    def acquire(self) -> Token:
        self.requests += 1
        if self.requests >= self.refuses_from:
            raise CredentialRejected("no", code="AADSTS7000215")
        return Token(f"token-{self.requests}", NOON + timedelta(hours=1))


class Crowd:
    """Threads that send with what `Tokens` gives them, to a Graph that takes the tokens `good`."""

    def __init__(self, tokens: Tokens, good: set[str]) -> None:
        self.tokens, self.good = tokens, good
        self.sent: list[str] = []
        self.ended: list[str] = []
        self._together = threading.Barrier(THREADS)

    def run(self) -> Crowd:
        threads = [threading.Thread(target=self._send, daemon=True) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
        assert not any(thread.is_alive() for thread in threads)
        return self

    def _send(self) -> None:
        try:
            token = self.tokens.bearer()
            self._together.wait(LONG)  # all of them hold the first one
            while True:
                self.sent.append(token)
                if token in self.good:
                    self.tokens.worked(token)
                    self.ended.append("answered")
                    return
                token = self.tokens.instead_of(token, code="InvalidAuthenticationToken")
        except ConnectorError as error:
            self.ended.append(error.code)


def test_a_credential_that_graph_refuses_costs_each_thread_one_request_and_a_few_in_all() -> None:
    issuer = Numbered()
    crowd = Crowd(Tokens(issuer, lambda: NOON), set()).run()
    assert crowd.ended == ["InvalidAuthenticationToken"] * THREADS
    assert (len(crowd.sent), issuer.requests) == (THREADS + FRESH_TOKENS, 1 + FRESH_TOKENS)


def test_a_revoked_token_is_replaced_once_for_all_threads() -> None:
    issuer = Numbered()
    crowd = Crowd(Tokens(issuer, lambda: NOON), {"token-2"}).run()
    assert crowd.ended == ["answered"] * THREADS
    assert sorted(crowd.sent) == ["token-1"] * THREADS + ["token-2"] * THREADS
    assert issuer.requests == 2


def test_a_token_that_worked_ends_the_doubts() -> None:
    tokens = Tokens(Numbered(), lambda: NOON)
    token = tokens.bearer()
    for _ in range(5 * FRESH_TOKENS):
        token = tokens.instead_of(token)
        tokens.worked(token)
    assert tokens.bearer() == token


def test_a_refusal_of_the_sign_in_service_reaches_every_thread() -> None:
    issuer = Numbered(refuses_from=2)
    crowd = Crowd(Tokens(issuer, lambda: NOON), set()).run()
    assert crowd.ended == ["AADSTS7000215"] * THREADS
    assert issuer.requests <= 1 + THREADS


def test_nobody_waits_for_a_thread_that_sends_for_itself() -> None:
    tokens = Tokens(Numbered(), lambda: NOON)
    fresh = tokens.instead_of(tokens.bearer())
    assert tokens.bearer() == fresh  # the same thread goes on with it
    got: list[str] = []
    other = threading.Thread(target=lambda: got.append(tokens.bearer()), daemon=True)
    other.start()
    other.join(0.1)
    assert got == []  # it waits for what becomes of the fresh one
    tokens.worked(fresh)
    other.join(LONG)
    assert got == [fresh]


def test_nobody_waits_for_what_becomes_of_a_token_once_the_run_is_over() -> None:
    tokens, got = Tokens(Numbered(), lambda: NOON), []
    fresh = tokens.instead_of(tokens.bearer())
    others = [threading.Thread(target=lambda: got.append(tokens.bearer()), daemon=True) for _ in range(2)]
    for other in others:
        other.start()
    tokens.let_go()
    for other in others:
        other.join(LONG)
    assert got == [fresh] * 2


def test_parts_of_a_batch_that_were_answered_end_the_doubts_too() -> None:
    revoked, served = refusal(401, "InvalidAuthenticationToken"), answer({"id": "1"})
    graph = StubGraph({"/v1.0/a": [step for _ in range(5) for step in (revoked, served)]})
    for _ in range(5):
        assert isinstance(read_batch(graph.client, [Read("/a")])[0], Reply)


class Ailing:
    """A sign-in service that fails for as long as it has to, and only passingly."""

    def __init__(self, times: int) -> None:
        self.requests, self.left = 0, times

    def acquire(self) -> Token:
        self.requests += 1
        if self.left:
            self.left -= 1
            raise Throttled("no", retry_at=NOON, code="AADSTS50196", advice="wait")
        return Token(f"token-{self.requests}", NOON + timedelta(hours=1))


def test_a_sign_in_that_fails_is_told_to_all_and_not_tried_again_for_a_minute() -> None:
    issuer, times = Ailing(1), [NOON]
    tokens = Tokens(issuer, lambda: times[0])
    for _ in range(3):
        with pytest.raises(Throttled) as caught:
            tokens.bearer()
        assert (caught.value.code, caught.value.advice, caught.value.retry_at) == ("AADSTS50196", "wait", NOON)
        assert caught.value.concerns_all
    assert issuer.requests == 1
    times[0] += timedelta(minutes=1)
    assert tokens.bearer() == "token-2"
