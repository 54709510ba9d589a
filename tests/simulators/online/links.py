"""Opaque page and delta tokens: they look like noise to a client, and a forged or expired one is not known."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Any

import orjson


class TokenBox:
    """Makes and reads the tokens of one server."""

    def __init__(self, seed: int | None = None) -> None:
        # With a seed the same state has the same token in every run, so that faults strike the same requests.
        self._key = secrets.token_bytes(32) if seed is None else hashlib.sha256(f"links {seed}".encode()).digest()
        self._generation = 0

    def expire_all(self) -> None:
        """Every token handed out so far is unknown from now on."""
        self._generation += 1

    def pack(self, state: dict[str, Any]) -> str:
        """A token for a state."""
        content = orjson.dumps({**state, "generation": self._generation})
        return base64.urlsafe_b64encode(self._mac(content) + content).decode().rstrip("=")

    def unpack(self, token: str) -> dict[str, Any] | None:
        """The state of a token; None if it is not one of ours or has expired."""
        try:
            raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except ValueError:
            return None
        if not hmac.compare_digest(raw[:16], self._mac(raw[16:])):
            return None
        state: dict[str, Any] = orjson.loads(raw[16:])
        return state if state.pop("generation") == self._generation else None

    def _mac(self, content: bytes) -> bytes:
        return hmac.digest(self._key, content, hashlib.sha256)[:16]
