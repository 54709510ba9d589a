"""Servers that hang, redirect, lie or answer nonsense to the openbao provider; stubs, as a real one does none of it."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import UUID, uuid4

import pytest
import requests

from syncvault.errors import RootKeyError
from syncvault.roots.openbao import OpenBaoProvider
from syncvault.roots.openbao_api import Patience
from syncvault.roots.port import Handle
from tests.conftest import Authority
from tests.integration.openbao_parts import Respond, Stub, answers, key_of, provider
from tests.parts import OpenBao

pytestmark = pytest.mark.slow  # against a server or a token of its own

HURRY = Patience(connect=0.3, read=0.3, total=0.6)


@pytest.fixture
def vault() -> UUID:
    return uuid4()


def test_nobody_listening_is_told(authority: Authority, vault: UUID) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"https://127.0.0.1:{free.getsockname()[1]}"
    assert provider(OpenBao(address, authority.ca_file), vault, "s.the-token").why_unusable() == (
        f"OpenBao at {address} cannot be reached: Connection refused."
    )


@pytest.fixture
def stub(authority: Authority) -> Iterator[Callable[[Respond], Stub]]:
    running: list[Stub] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.ca.issue_cert("127.0.0.1").configure_cert(context)

    def start(respond: Respond) -> Stub:
        running.append(Stub(respond, context))
        threading.Thread(target=running[-1].serve_forever, args=(0.01,), daemon=True).start()
        return running[-1]

    yield start
    for each in running:
        each.released.set()
        each.shutdown()
        each.server_close()


@pytest.fixture
def handle(vault: UUID) -> Handle:
    """A handle of the right shape, for servers that would not have made one."""
    return {
        "provider": "openbao",
        "generation": 1,
        "key": key_of(vault),
        "version": 1,
        "scope": "own",
        "ciphertext": "vault:v1:" + base64.b64encode(bytes(60)).decode(),
    }


@pytest.fixture
def towards(vault: UUID, authority: Authority) -> Callable[[Stub], OpenBaoProvider]:
    """The provider, asking a stub in a hurry."""

    def opened(stub: Stub) -> OpenBaoProvider:
        return provider(OpenBao(stub.address, authority.ca_file), vault, "s.the-token", patience=HURRY)

    return opened


def test_a_server_that_hangs_is_given_up_in_time(
    stub: Callable[[Respond], Stub], towards: Callable[[Stub], OpenBaoProvider], handle: Handle
) -> None:
    hanging = stub(lambda request, _: request.server.released.wait(30))  # type: ignore[attr-defined]
    with pytest.raises(RootKeyError, match="did not answer in time"):
        towards(hanging).unwrap(handle)
    assert "did not answer in time" in str(towards(hanging).why_unusable())


def test_a_server_that_drips_is_given_up_in_time(
    stub: Callable[[Respond], Stub], towards: Callable[[Stub], OpenBaoProvider], handle: Handle
) -> None:
    def drip(request: BaseHTTPRequestHandler, _: Mapping[str, object]) -> None:
        request.send_response(200)
        request.end_headers()
        while not request.server.released.wait(0.1):  # type: ignore[attr-defined]
            try:
                request.wfile.write(b" ")
            except OSError:
                return

    with pytest.raises(RootKeyError, match=r"did not answer within 1 s|did not answer in time"):
        towards(stub(drip)).unwrap(handle)


def test_a_server_that_does_not_speak_tls_is_told(vault: UUID, authority: Authority) -> None:
    plain = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    threading.Thread(target=plain.serve_forever, args=(0.01,), daemon=True).start()
    address = f"https://127.0.0.1:{plain.server_address[1]}"
    assert (
        provider(OpenBao(address, authority.ca_file), vault, "s.the-token").why_unusable()
        == f"OpenBao at {address} does not speak TLS as it should."
    )
    plain.shutdown()
    plain.server_close()


def test_a_redirect_elsewhere_is_not_followed_and_takes_no_token_along(
    stub: Callable[[Respond], Stub], towards: Callable[[Stub], OpenBaoProvider], handle: Handle
) -> None:
    other = stub(answers(200, {}))
    standby = stub(answers(307, b"", Location=f"{other.address}/v1/transit/decrypt/k"))
    with pytest.raises(RootKeyError, match="is a standby") as refusal:
        towards(standby).unwrap(handle)
    assert other.address in refusal.value.message
    assert "active server" in refusal.value.advice
    assert other.seen == []


def test_a_redirect_to_the_same_server_is_followed_but_not_for_ever(
    stub: Callable[[Respond], Stub], towards: Callable[[Stub], OpenBaoProvider], handle: Handle
) -> None:
    key = bytes(range(32))

    def respond(request: BaseHTTPRequestHandler, body: Mapping[str, object]) -> None:
        if not request.path.endswith("again"):
            answers(307, b"", Location=f"{request.path}/again")(request, body)
        else:
            answers(200, {"data": {"plaintext": base64.b64encode(key).decode()}})(request, body)

    assert towards(stub(respond)).unwrap(handle) == key
    circle = stub(answers(308, b"", Location="/v1/around"))
    with pytest.raises(RootKeyError, match="in circles"):
        towards(circle).unwrap(handle)
    assert len(circle.seen) < 10


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>Welcome</html>",
        b"[1]",
        b"[" * 100_000,
        {"data": [1]},
        {"data": {}},
        {"data": {"plaintext": 7}},
        {"data": {"plaintext": "no base64!"}},
        {"data": {"plaintext": base64.b64encode(b"another length").decode()}},
        {"data": {"plaintext": base64.b64encode(bytes(64)).decode()}},
    ],
)
def test_an_answer_that_is_not_a_root_key_is_refused(
    stub: Callable[[Respond], Stub], towards: Callable[[Stub], OpenBaoProvider], handle: Handle, content: object
) -> None:
    with pytest.raises(RootKeyError):
        towards(stub(answers(200, content))).unwrap(handle)


def test_a_server_that_wraps_another_key_than_it_was_given_is_found_out(
    stub: Callable[[Respond], Stub], towards: Callable[[Stub], OpenBaoProvider], handle: Handle
) -> None:
    data = {
        "latest_version": 1,
        "min_decryption_version": 1,
        "type": "aes256-gcm96",
        "ciphertext": handle["ciphertext"],
        "plaintext": base64.b64encode(bytes(32)).decode(),
    }
    with pytest.raises(RootKeyError, match="did not give back"):
        towards(stub(answers(200, {"data": data}))).create(1)
    with pytest.raises(RootKeyError, match="not OpenBao's"):
        towards(stub(answers(200, {"data": {**data, "latest_version": 2}}))).create(1)
    with pytest.raises(RootKeyError, match="not OpenBao's"):
        towards(stub(answers(200, {"data": {**data, "latest_version": "1"}}))).create(1)


def test_a_server_that_says_it_destroyed_but_did_not_is_found_out(
    stub: Callable[[Respond], Stub], towards: Callable[[Stub], OpenBaoProvider], handle: Handle
) -> None:
    data = {"latest_version": 2, "min_decryption_version": 1, "type": "aes256-gcm96"}
    data |= {"plaintext": base64.b64encode(bytes(32)).decode()}
    with pytest.raises(RootKeyError, match="does not let go of version 1"):
        towards(stub(answers(200, {"data": data}))).destroy(handle)


@pytest.mark.parametrize(
    ("respond", "sentence"),
    [
        (answers(503, {"sealed": True}), "out of service"),
        (answers(429, {"errors": ["too many"]}), "no more requests"),
        (answers(500, {"errors": ["internal error"]}), "internal error"),
        (answers(502, b"<html>"), "502"),
        (answers(200, b" " * (2 * 1024 * 1024)), "more than 1048576 bytes"),
        (answers(301, b"", Location="https://user@host/"), "another address"),
    ],
)
def test_each_way_of_not_serving_has_its_sentence(
    stub: Callable[[Respond], Stub],
    towards: Callable[[Stub], OpenBaoProvider],
    handle: Handle,
    respond: Respond,
    sentence: str,
) -> None:
    with pytest.raises(RootKeyError, match=sentence):
        towards(stub(respond)).unwrap(handle)


def test_a_server_that_was_never_initialised_is_called_so(
    stub: Callable[[Respond], Stub], towards: Callable[[Stub], OpenBaoProvider], handle: Handle
) -> None:
    def respond(request: BaseHTTPRequestHandler, body: Mapping[str, object]) -> None:
        fresh = request.path == "/v1/sys/seal-status"
        answers(200 if fresh else 503, {"initialized": False, "sealed": True})(request, body)

    fresh = stub(respond)
    with pytest.raises(RootKeyError, match="is not initialised"):
        towards(fresh).unwrap(handle)
    assert ("/v1/sys/seal-status", "") in fresh.seen  # without the token


def test_neither_token_nor_key_shows_in_a_failure_or_in_what_it_goes_back_to(
    stub: Callable[[Respond], Stub], towards: Callable[[Stub], OpenBaoProvider], authority: Authority, vault: UUID
) -> None:
    sent: list[str] = ["s.the-token"]

    def echo(request: BaseHTTPRequestHandler, body: Mapping[str, object]) -> None:
        if "encrypt" not in request.path:
            answers(200, {"data": {"latest_version": 1, "type": "aes256-gcm96"}})(request, body)
            return
        sent.append(str(body["plaintext"]))
        answers(400, {"errors": [f"cannot take {body} of {request.headers['X-Vault-Token']}"]})(request, body)

    echoing = stub(echo)
    hanging = stub(lambda request, _: request.server.released.wait(30))  # type: ignore[attr-defined]
    gone = provider(OpenBao("https://127.0.0.1:9", authority.ca_file), vault, "s.the-token", patience=HURRY)
    for opened in (towards(echoing), towards(hanging), gone):
        with pytest.raises(RootKeyError) as refusal:
            opened.create(1)
        error: BaseException | None = refusal.value
        while error is not None:
            assert not isinstance(error, requests.RequestException)
            said = "".join(traceback.format_exception_only(error)) + repr(vars(error))
            assert not any(secret in said for secret in sent)
            error = error.__cause__ or error.__context__
    assert len(sent) == 2
