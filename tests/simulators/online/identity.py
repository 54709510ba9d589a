"""What an Azure machine asks for tokens of its managed identity: IMDS of a VM, or the endpoint of App Service.

Plain HTTP, as in Azure. Sources: "How to use managed identities for Azure resources on an Azure VM to acquire an access
token", "How to use managed identities for App Service" (Microsoft Learn).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.simulators.loopback import Loopback

HEADER_SECRET = "853b9a84-5bfa-4b22-a3f3-0b9a43d9ad8a"  # what App Service puts into IDENTITY_HEADER


class IdentityHost(Loopback):
    """Gives out what `issue` makes for an audience, to whoever names one of `identities` (empty: the machine's own).

    `status` is what it answers instead, one request after another.
    """

    def __init__(self, issue: Callable[[str], str], identities: set[str]) -> None:
        super().__init__(_Caller)
        self.issue, self.identities = issue, identities
        self.asked: list[dict[str, str]] = []
        self.status: list[int] = []
        self.origin = f"http://127.0.0.1:{self.port}"

    @property
    def as_vm(self) -> dict[str, str]:
        """The environment that leads to it as IMDS."""
        return {"AZURE_POD_IDENTITY_AUTHORITY_HOST": self.origin}

    @property
    def as_app_service(self) -> dict[str, str]:
        """The environment of App Service, Functions and Container Apps."""
        return {"IDENTITY_ENDPOINT": f"{self.origin}/msi/token", "IDENTITY_HEADER": HEADER_SECRET}


class _Caller(BaseHTTPRequestHandler):
    server: IdentityHost
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query))
        self.server.asked.append({"path": parts.path, **query})
        if self.server.status:
            self._answer(self.server.status.pop(0), {"error": "later"})
        elif parts.path == "/msi/token":
            self._as_app_service(query)
        else:
            self._as_vm(query)

    def _as_vm(self, query: dict[str, str]) -> None:
        if self.headers.get("Metadata") != "true":
            said = "Required metadata header not specified"
            self._answer(400, {"error": "invalid_request", "error_description": said})
        elif query.get("client_id", "") not in self.server.identities:
            self._answer(400, {"error": "invalid_request", "error_description": "Identity not found"})
        else:
            token = self.server.issue(query["resource"])
            self._answer(200, {"access_token": token, "expires_in": "3599", "token_type": "Bearer"})

    def _as_app_service(self, query: dict[str, str]) -> None:
        if self.headers.get("X-IDENTITY-HEADER") != HEADER_SECRET:
            self._answer(401, {"statusCode": 401, "message": "Unauthorized"})
        elif query.get("client_id", "") not in self.server.identities:
            self._answer(400, {"statusCode": 400, "message": "No managed identity found for the client ID"})
        else:
            token = self.server.issue(query["resource"])
            ends = str(int(time.time()) + 3599)
            self._answer(200, {"access_token": token, "expires_on": ends, "token_type": "Bearer"})

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""
