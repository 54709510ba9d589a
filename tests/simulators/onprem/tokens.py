"""The token endpoint of AD FS for one application: client credentials in, bearer tokens out."""

from __future__ import annotations

import json
import secrets
import threading
from urllib.parse import parse_qs

from tests.simulators.onprem.transport import Incoming, Outgoing

PATH = "/adfs/oauth2/token"
_JSON = ("Content-Type", "application/json;charset=UTF-8")


class Tokens:
    """An application, and the tokens that were given to it.

    Attributes:
        client_id: The application's name.
        client_secret: What proves it.
        lifetime: Seconds that a token is said to hold.
        instead: An answer in place of the right one, while it is set.
        asked: The form of each request, without its secret.
        shown: Every token that somebody came with; `refused` those of them that were not good.
    """

    def __init__(self) -> None:
        self.client_id = "5a3c8b1e-7f7d-4a37-9d31-2b9a4f2f7c10"
        self.client_secret = "Woven-Basket-3-Lantern"
        self.lifetime = 3600
        self.instead: Outgoing | None = None
        self.asked: list[dict[str, str]] = []
        self.shown: list[str] = []
        self.refused: list[str] = []
        self._good: set[str] = set()
        self._lock = threading.Lock()

    @property
    def given(self) -> frozenset[str]:
        """The tokens that are good."""
        return frozenset(self._good)

    def revoke(self) -> None:
        """No token given so far is good any more."""
        with self._lock:
            self._good.clear()

    def are_good(self, token: str) -> bool:
        """Whether somebody who comes with this is let in."""
        with self._lock:
            self.shown.append(token)
            if token not in self._good:
                self.refused.append(token)
            return token in self._good

    def answer(self, incoming: Incoming) -> tuple[bool, Outgoing]:
        """Whether the application proved itself, and the answer."""
        form = {name: values[0] for name, values in parse_qs(incoming.body.decode()).items()}
        secret = form.pop("client_secret", "")
        self.asked.append(form)
        if self.instead is not None:
            return True, self.instead
        if form.get("grant_type") != "client_credentials":
            return True, refusal(400, "unsupported_grant_type", "MSIS9611: The grant type is not supported.")
        is_ours = form.get("client_id") == self.client_id
        if not is_ours or not secrets.compare_digest(secret.encode(), self.client_secret.encode()):
            return False, refusal(401, "invalid_client", "MSIS9622: Client authentication failed.")
        if not form.get("resource") and not form.get("scope"):
            return True, refusal(400, "invalid_resource", "MSIS9602: The resource parameter is missing.")
        token = f"{secrets.token_urlsafe(24)}.{secrets.token_urlsafe(48)}"
        with self._lock:
            self._good.add(token)
        given = {"access_token": token, "token_type": "bearer", "expires_in": self.lifetime}
        return True, Outgoing(200, json.dumps(given).encode(), (_JSON,))


def refusal(status: int, error: str, description: str) -> Outgoing:
    """How AD FS says no."""
    return Outgoing(status, json.dumps({"error": error, "error_description": description}).encode(), (_JSON,))
