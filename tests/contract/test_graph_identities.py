"""Signing in without a secret of our own: as an Azure machine, and with the token that a platform writes to a file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from connectors.graph import FederatedToken, ManagedIdentity, connect
from connectors.port import ConnectorError, CredentialRejected, Identity, ProtocolViolation, ServerFault, Unreachable
from tests.contract.harness_graph import GraphHarness
from tests.simulators.company.model import Company
from tests.simulators.online.identity import IdentityHost
from tests.simulators.online.registration import Trust, key_pair

if TYPE_CHECKING:
    from tests.conftest import Authority

OWN = "5d6e7f80-1a2b-4c3d-8e4f-9a0b1c2d3e4f"
ISSUER, SUBJECT = "https://oidc.example.test/cluster", "system:serviceaccount:contacts:syncvault"
AZURE = ("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "IMDS_ENDPOINT", "MSI_ENDPOINT", "MSI_SECRET")


@pytest.fixture
def harness(company: Company, authority: Authority) -> Iterator[GraphHarness]:
    made = GraphHarness(company, authority.ca, authority.ca_pem)
    yield made
    made.close()


@pytest.fixture
def host(harness: GraphHarness, monkeypatch: pytest.MonkeyPatch) -> Iterator[IdentityHost]:
    """Azure around this machine, which has an identity of its own and one assigned to it."""
    for name in AZURE:
        monkeypatch.delenv(name, raising=False)
    simulator = harness.simulator

    def issue(audience: str) -> str:
        return simulator.issuer.issue(simulator.application, audience, f"{simulator.origin}/")

    with IdentityHost(issue, {"", OWN}) as running:
        yield running


@pytest.fixture
def signs_in(harness: GraphHarness, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Identity]:
    """Signs in as a machine in an environment of Azure's."""

    def sign_in(environment: dict[str, str], client_id: str = "", **changed: Any) -> Identity:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return harness.probe(replace(harness.settings(ManagedIdentity(client_id)), **changed))

    return sign_in


# -- a machine ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("client_id", ["", OWN])
@pytest.mark.parametrize("place", ["as_vm", "as_app_service"])
def test_a_machine_signs_in_with_an_identity_of_its_own(
    harness: GraphHarness, host: IdentityHost, signs_in: Callable[..., Identity], place: str, client_id: str
) -> None:
    assert "Contacts.Read" in signs_in(getattr(host, place), client_id).permissions
    (asked,) = host.asked
    assert (asked["resource"], asked.get("client_id", "")) == (harness.simulator.origin, client_id)
    assert harness.refusals() == 0


@pytest.mark.parametrize("place", ["as_vm", "as_app_service"])
def test_an_identity_that_the_machine_does_not_have_is_refused_once(
    host: IdentityHost, signs_in: Callable[..., Identity], place: str
) -> None:
    with pytest.raises(CredentialRejected) as caught:
        signs_in(getattr(host, place), "11111111-1111-4111-8111-111111111111")
    assert "--identity-client-id" in caught.value.advice
    assert len(host.asked) == 1


def test_the_endpoints_updates_are_ridden_out(
    harness: GraphHarness, host: IdentityHost, signs_in: Callable[..., Identity]
) -> None:
    host.status = [404, 410, 429, 500]
    assert signs_in(host.as_vm).account
    assert len(harness.waits) == 4
    host.status = [500] * 99
    with pytest.raises(ServerFault):
        signs_in(host.as_vm)


def test_a_machine_outside_azure_is_told_so(harness: GraphHarness, signs_in: Callable[..., Identity]) -> None:
    with pytest.raises(Unreachable) as caught:
        signs_in({"AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://127.0.0.1:9"})
    assert caught.value.code == "managed-identity"
    assert "in Azure" in caught.value.advice
    assert len(harness.waits) == 2


@pytest.mark.parametrize(
    "origin", ["http://identity.example", "http://192.0.2.7", "http://me@127.0.0.1", "ftp://localhost"]
)
def test_no_other_machine_is_asked_over_plain_http(
    harness: GraphHarness, signs_in: Callable[..., Identity], origin: str
) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        signs_in({"AZURE_POD_IDENTITY_AUTHORITY_HOST": origin})
    assert caught.value.code == "managed-identity"
    assert harness.waits == []


def test_no_proxy_is_asked_for_the_machines_own_endpoint(host: IdentityHost, signs_in: Callable[..., Identity]) -> None:
    # The proxy is not there: had it been asked, nobody would have signed in.
    nowhere = {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    assert signs_in({**host.as_vm, **nowhere}).account


def test_the_identity_of_another_directory_does_not_pass_for_the_tenants(
    host: IdentityHost, signs_in: Callable[..., Identity]
) -> None:
    with pytest.raises(CredentialRejected) as caught:
        signs_in(host.as_vm, directory_id="11111111-1111-4111-8111-111111111111")
    assert caught.value.code == "wrong-directory"


def test_a_token_that_graph_refuses_is_not_taken_from_memory_again(
    harness: GraphHarness, host: IdentityHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(*next(iter(host.as_vm.items())))
    connector = connect(harness.settings(ManagedIdentity()), sleep=harness.waits.append)
    connector.probe()
    harness.simulator.expire_access_tokens()
    assert connector.probe().account
    assert len(host.asked) == 2
    connector.close()


# -- a workload ---------------------------------------------------------------------------------------------------


def workload_token(**changed: Any) -> str:
    claims = {"iss": ISSUER, "sub": SUBJECT, "aud": "api://AzureADTokenExchange", "iat": time.time()}
    claims |= {"exp": time.time() + 600, **changed}
    return jwt.encode(claims, key_pair("cluster").key, "RS256")


@pytest.fixture
def trusted(harness: GraphHarness) -> GraphHarness:
    key: Any = key_pair("cluster").key.public_key()
    harness.simulator.application.trusts.append(Trust(ISSUER, SUBJECT, key))
    return harness


def test_a_workloads_token_is_read_afresh_at_every_sign_in(trusted: GraphHarness, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(workload_token() + "\n")
    connector = connect(trusted.settings(FederatedToken(str(file))), sleep=trusted.waits.append)
    assert connector.probe().account
    file.write_text(workload_token(sub="somebody else"))
    assert connector.probe().account  # nobody signs in while the access token is good
    trusted.simulator.expire_access_tokens()
    with pytest.raises(CredentialRejected) as caught:
        connector.probe()
    assert caught.value.code == "AADSTS700213"
    connector.close()


@pytest.mark.parametrize(
    ("changed", "code", "word"),
    [
        ({"iss": "https://other.example"}, "AADSTS700211", "issuer"),
        ({"aud": "api://other"}, "AADSTS700212", "audience"),
        ({"sub": "other"}, "AADSTS700213", "subject"),
        ({"exp": 1_700_000_000}, "AADSTS700024", "clock"),
    ],
)
def test_a_token_that_the_application_does_not_trust_is_refused_with_what_to_compare(
    trusted: GraphHarness, tmp_path: Path, changed: dict[str, Any], code: str, word: str
) -> None:
    (tmp_path / "token").write_text(workload_token(**changed))
    with pytest.raises(CredentialRejected) as caught:
        trusted.probe(trusted.settings(FederatedToken(str(tmp_path / "token"))))
    assert caught.value.code == code
    assert word in caught.value.advice


def test_an_application_that_trusts_no_workload_says_so(harness: GraphHarness, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(workload_token())
    with pytest.raises(CredentialRejected) as caught:
        harness.probe(harness.settings(FederatedToken(str(tmp_path / "token"))))
    assert caught.value.code == "AADSTS70025"


@pytest.mark.parametrize("content", [None, b"", b"no token", b"a.b.c " * 20_000, b"\xff.\xff.\xff"])
def test_a_file_without_a_token_holds_the_tenant_up_and_does_not_condemn_it(
    trusted: GraphHarness, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConnectorError) as caught:
        trusted.probe(trusted.settings(FederatedToken(str(file))))
    assert (type(caught.value), caught.value.code) == (Unreachable, "federated-token")
    assert trusted.refusals() == 0
