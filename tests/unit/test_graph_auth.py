"""Signing in where the sign-in service writes its addresses and numbers in its own way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from requests.structures import CaseInsensitiveDict

from connectors.graph.auth import open_tokens
from connectors.graph.settings import ClientSecret, GraphSettings
from connectors.graph.transport import Answer
from connectors.port import ProtocolViolation

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
