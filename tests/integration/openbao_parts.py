"""The openbao provider for tests, and servers that answer as they are told where a real one would not misbehave."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import UUID

from syncvault.roots.openbao import OpenBaoProvider
from syncvault.roots.openbao_api import Patience
from syncvault.roots.port import ProviderSettings
from tests.parts import OpenBao


def provider(
    server: OpenBao, vault: UUID, token: str = "", *, patience: Patience | None = None, **options: str
) -> OpenBaoProvider:
    """The provider of a vault, with the administrator's own token unless another is given."""
    settings = ProviderSettings(
        vault_id=vault,
        options={"address": server.address, "ca_file": str(server.ca_file), **options},
        environment={"BAO_TOKEN": token or server.root_token},
    )
    return OpenBaoProvider(settings, patience=patience)


def key_of(vault: UUID) -> str:
    return f"syncvault-{vault}"


Respond = Callable[[BaseHTTPRequestHandler, Mapping[str, object]], None]


class Stub(ThreadingHTTPServer):
    """Answers every request as it is told, and keeps what it was sent."""

    daemon_threads = True

    def __init__(self, respond: Respond, context: ssl.SSLContext) -> None:
        self.seen: list[tuple[str, str]] = []
        self.released = threading.Event()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
                stub.seen.append((self.path, self.headers.get("X-Vault-Token", "")))
                respond(self, body)

            do_GET = do_POST  # noqa: N815  (http.server's own name)

            def log_message(self, *_: object) -> None:
                """Keeps quiet."""

        super().__init__(("127.0.0.1", 0), Handler)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.address = f"https://127.0.0.1:{self.server_address[1]}"


def answers(status: int, content: object, **headers: str) -> Respond:
    """A server that says the same to everything."""

    def respond(request: BaseHTTPRequestHandler, _: Mapping[str, object]) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return respond
