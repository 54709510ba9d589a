"""Signing in with real msal over real TLS, and what the wire shows of it."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from connectors.graph import ClientSecret, GraphSettings, connect, load_certificate
from connectors.graph.sign_in.auth import roles_in
from connectors.port import (
    ConnectorError,
    CredentialRejected,
    NotPermitted,
    ProtocolViolation,
    ServerFault,
    Throttled,
    Unreachable,
)
from tests.contract.harness_graph import GraphHarness
from tests.reading import outcomes
from tests.simulators.company import cast
from tests.simulators.company.model import Company
from tests.simulators.online.registration import key_pair
from tests.simulators.serving import Answer

if TYPE_CHECKING:
    from tests.conftest import Authority

TOKEN = "/oauth2/v2.0/token"
DISCOVERY = "openid-configuration"


@pytest.fixture
def harness(company: Company, authority: Authority) -> Iterator[GraphHarness]:
    made = GraphHarness(company, authority.ca, authority.ca_pem)
    yield made
    made.close()


def probe(harness: GraphHarness, settings: GraphSettings, **options: Any) -> Any:
    connector = connect(settings, sleep=harness.waits.append, **options)
    try:
        return connector.probe()
    finally:
        connector.close()


@pytest.mark.parametrize("form", ["pem", "pfx"])
def test_a_certificate_signs_in(harness: GraphHarness, form: str) -> None:
    files = harness.simulator.files
    if form == "pem":
        certificate = load_certificate(files.certificate_pem.read_bytes())
    else:
        password = files.certificate_pfx_password_file.read_bytes()
        certificate = load_certificate(files.certificate_pfx.read_bytes(), password)
    identity = probe(harness, harness.settings(certificate))
    assert identity.account == harness.simulator.client_id
    assert identity.expires_at == certificate.not_after
    assert "Contacts.Read" in identity.permissions


def stranger() -> Any:
    pair = key_pair("nobody knows this one")
    return load_certificate(pair.key_pem() + pair.certificate_pem())


@pytest.mark.parametrize(
    ("change", "code", "word"),
    [
        (lambda h: {"credential": ClientSecret(b"wrong")}, "AADSTS7000215", "secret"),
        (lambda h: {"credential": ClientSecret(h.simulator.expired_secret.encode())}, "AADSTS7000222", "expired"),
        (lambda h: {"credential": stranger()}, "AADSTS700027", "certificate"),
        (lambda h: {"client_id": "11111111-1111-4111-8111-111111111111"}, "AADSTS700016", "client ID"),
        (lambda h: {"directory_id": "11111111-1111-4111-8111-111111111111"}, "AADSTS90002", "directory ID"),
    ],
)
def test_refusals_keep_entras_code_and_say_what_to_do(harness: GraphHarness, change: Any, code: str, word: str) -> None:
    with pytest.raises(CredentialRejected) as caught:
        probe(harness, replace(harness.settings(), **change(harness)))
    assert caught.value.code == code
    assert word in caught.value.advice
    assert harness.refusals() == 1


def test_a_refusal_is_not_replayed_once_the_credential_is_right(harness: GraphHarness) -> None:
    connector = connect(harness.settings(ClientSecret(b"soon right")), sleep=harness.waits.append)
    with pytest.raises(CredentialRejected):
        connector.probe()
    harness.simulator.application.secrets["soon right"] = datetime.now(UTC) + timedelta(days=1)
    assert connector.probe().account
    connector.close()


def test_one_token_serves_all_requests(harness: GraphHarness) -> None:
    asked: list[str] = []
    answer = harness.simulator._sign_in.answer
    harness.simulator._sign_in.answer = lambda request: (asked.append(request.path), answer(request))[1]  # type: ignore[method-assign]
    connector = harness.connect()
    for person in (cast.ANNA, cast.NILS):
        list(outcomes(connector, harness.mailbox(person), {}))
    assert [path.rpartition("/")[2] for path in asked] == ["openid-configuration", "token"]


def test_a_token_that_graph_stops_accepting_is_replaced_in_the_middle_of_a_pull(harness: GraphHarness) -> None:
    connector = harness.connect()
    steps = outcomes(connector, harness.mailbox(cast.ANNA), {})
    first = next(steps)
    harness.simulator.expire_access_tokens()
    assert len([first, *steps]) == len(harness.company.box_of(cast.ANNA).folders)


def test_a_permission_that_is_missing_altogether_is_named_by_the_probe(harness: GraphHarness) -> None:
    harness.simulator.application.roles = ("Contacts.Read",)
    with pytest.raises(NotPermitted) as caught:
        probe(harness, harness.settings())
    assert "User.Read.All" in caught.value.advice


@pytest.mark.parametrize("place", [TOKEN, DISCOVERY])
def test_signing_in_rides_out_passing_faults(harness: GraphHarness, place: str) -> None:
    harness.simulator.faults.fail_next(place, status=429, headers={"Retry-After": "3"})
    harness.simulator.faults.fail_next(place, status=503)
    assert probe(harness, harness.settings()).account
    assert harness.waits[0] == 3.0


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"status": 503, "times": 99}, ServerFault),
        ({"status": 429, "headers": {"Retry-After": "86400"}}, Throttled),
        ({"status": 200, "body": "<html>Hotel Wi-Fi</html>"}, ProtocolViolation),
        ({"status": 200, "body": {"token_type": "Bearer"}}, ProtocolViolation),
        ({"status": 302, "headers": {"Location": "https://evil.example"}, "body": {}}, ProtocolViolation),
        ({"status": 400, "body": {"error": "invalid_client"}}, CredentialRejected),
        ({"status": 404, "body": "<html>Not here</html>"}, ProtocolViolation),
    ],
)
def test_other_answers_to_a_sign_in_are_told_apart(
    harness: GraphHarness, fault: dict[str, Any], error: type[ConnectorError]
) -> None:
    harness.simulator.faults.fail_next(TOKEN, **fault)
    with pytest.raises(error):
        probe(harness, harness.settings())


def test_the_secret_does_not_follow_a_foreign_token_endpoint(harness: GraphHarness) -> None:
    origin = harness.simulator.origin
    configuration = {
        "issuer": f"{origin}/x/v2.0",
        "authorization_endpoint": f"{origin}/x/oauth2/v2.0/authorize",
        "token_endpoint": "https://evil.example/x/oauth2/v2.0/token",
    }
    harness.simulator.faults.fail_next(DISCOVERY, status=200, body=configuration)
    with pytest.raises(ProtocolViolation) as caught:
        probe(harness, harness.settings())
    assert caught.value.code == "foreign-link"


def test_a_server_that_nobody_vouches_for_is_not_talked_to(harness: GraphHarness) -> None:
    with pytest.raises(Unreachable) as caught:
        probe(harness, replace(harness.settings(), ca_pem=""))
    assert caught.value.code == "tls"
    assert harness.waits == []


def test_a_port_where_nobody_listens_is_given_up_soon(harness: GraphHarness) -> None:
    with pytest.raises(Unreachable):
        probe(harness, replace(harness.settings(), authority="https://127.0.0.1:9"))
    assert len(harness.waits) == 2


def test_a_link_to_a_foreign_host_is_never_contacted(harness: GraphHarness, authority: Authority) -> None:
    other = GraphHarness(harness.company, authority.ca, authority.ca_pem)
    try:
        harness.simulator.faults.foreign_link_next("contacts/delta", other.simulator.origin)
        with pytest.raises(ProtocolViolation):
            list(outcomes(harness.connect(), harness.mailbox(cast.NILS), {}))
        assert other.simulator.recorder.paths() == []
    finally:
        other.close()


def test_placeholder_pictures_are_no_photos(harness: GraphHarness) -> None:
    from connectors.port import PhotoRef, PhotoState

    harness.simulator.behaviour.placeholder_photos = True
    (photo,) = harness.connect().photos([PhotoRef(harness.mailbox(cast.NILS))])
    assert photo.state is PhotoState.ABSENT


def test_the_wire_log_names_nobody(harness: GraphHarness, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="connectors"):
        connector = harness.connect()
        list(outcomes(connector, harness.mailbox(cast.ANNA), {}))
        list(connector.card([harness.mailbox(cast.ANNA)]))
    lines = [entry.getMessage() for entry in caplog.records if entry.name.startswith("connectors")]
    assert any("POST /v1.0/$batch 200" in line for line in lines)
    assert any("GET /…/v2.0/.well-known/openid-configuration 200" in line for line in lines)
    assert not [line for line in lines if cast.ANNA in line or harness.simulator.directory_id in line]


@pytest.mark.parametrize(
    ("token", "roles"),
    [("a.eyJyb2xlcyI6WyJCIiwiQSJdfQ.c", ("A", "B")), ("opaque", ()), ("a.!!.c", ()), ("a.W10.c", ()), ("a.e30.c", ())],
)
def test_permissions_are_read_from_a_token_where_they_can_be(token: str, roles: tuple[str, ...]) -> None:
    assert roles_in(token) == roles


def test_importing_the_adapter_is_cheap() -> None:
    code = "import sys, connectors.graph, json; print(json.dumps([m for m in ('msal','requests') if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_answers_that_claim_too_much_are_not_read(harness: GraphHarness) -> None:
    huge = Answer(200, {"Content-Type": "application/json"}, b"[" + b" " * (2 * 1024 * 1024) + b"]")
    answer = harness.simulator._sign_in.answer
    harness.simulator._sign_in.answer = lambda request: huge if TOKEN in request.path else answer(request)  # type: ignore[method-assign]
    with pytest.raises(ProtocolViolation):
        probe(harness, harness.settings())
