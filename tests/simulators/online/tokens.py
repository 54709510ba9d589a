"""Access tokens: signed by the simulated Entra with its own key, checked by the simulated Graph."""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.simulators.online.errors import invalid_token
from tests.simulators.online.registration import Application, key_pair

_GRAPH_HOSTS = ("https://graph.microsoft.com", "https://graph.microsoft.us", "00000003-0000-0000-c000-000000000000")


class TokenIssuer:
    """Issues and checks bearer tokens; `lifetime` is in seconds."""

    def __init__(self, directory_id: str, clock: Callable[[], float] = time.time) -> None:
        self.directory_id = directory_id
        self.lifetime = 3_599
        self._clock = clock
        self._pair = key_pair("entra signing key")
        self._generation = 0
        self._checked: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def issue(self, application: Application, audience: str, issuer: str) -> str:
        """A bearer token for an application, with its roles."""
        now = int(self._clock())
        claims = {
            "aud": audience,
            "iss": issuer,
            "iat": now,
            "nbf": now,
            "exp": now + self.lifetime,
            "appid": application.client_id,
            "idtyp": "app",
            "oid": application.client_id,
            "roles": list(application.roles),
            "tid": self.directory_id,
            "uti": secrets.token_urlsafe(16),
            "ver": "1.0",
            "xms_generation": self._generation,
        }
        return jwt.encode(claims, self._pair.key, algorithm="RS256", headers={"kid": self._pair.thumbprint})

    def check(self, authorization: str | None, origin: str) -> dict[str, Any]:
        """The claims of the bearer in an Authorization header.

        Raises:
            GraphError: 401, with the reason that Graph gives.
        """
        if not authorization:
            raise invalid_token("Access token is empty.")
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise invalid_token("CompactToken parsing failed with error code: 80049217")
        claims = self._checked.get(token) or self._verify(token)
        if claims["exp"] <= self._clock() or claims["xms_generation"] != self._generation:
            raise invalid_token("Lifetime validation failed, the token is expired.")
        if claims["aud"] not in {origin, *_GRAPH_HOSTS}:
            raise invalid_token("Access token validation failure. Invalid audience.")
        return claims

    def expire_tokens(self) -> None:
        """Lets every token issued so far run out."""
        self._generation += 1

    def key_set(self) -> dict[str, Any]:
        """The public key, as JWKS."""
        public = self._pair.key.public_key()
        assert isinstance(public, rsa.RSAPublicKey)
        jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(public))
        return {"keys": [{**jwk, "kid": self._pair.thumbprint, "use": "sig"}]}

    def _verify(self, token: str) -> dict[str, Any]:
        try:
            claims = jwt.decode(
                token,
                self._pair.key.public_key(),
                algorithms=["RS256"],
                options={"verify_aud": False, "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
        except jwt.InvalidTokenError as error:
            raise invalid_token("IDX14100: JWT is not well formed, or its signature is invalid.") from error
        with self._lock:
            if len(self._checked) > 1_000:
                self._checked.clear()
            self._checked[token] = claims
        return claims


def unpadded(text: str) -> bytes:
    """Bytes from base64url, with or without padding."""
    return base64.urlsafe_b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4))
