"""The Azure Key Vault provider against a stub written from Microsoft's REST reference: there is no emulator.

The credential is real: azure-identity's chain, which gets a token of a managed identity from the stub.
"""

from __future__ import annotations

import base64
import json
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import trustme
from azure.core.credentials import AccessToken

from syncvault.errors import Exit, RootKeyError
from syncvault.roots import azure_keyvault_api, wrapping
from syncvault.roots.azure_keyvault import AzureKeyVaultProvider
from syncvault.roots.port import Destroyed, Handle, NotPossible, Pending, ProviderSettings
from tests.conftest import Authority
from tests.integration.wrapped_handles import assert_only_the_whole_wrapped_key_opens
from tests.simulators.key_vault import TOKEN, Fault, KeyVaultStub
from tests.simulators.serving import Answer, Cut

pytestmark = pytest.mark.slow  # against a server or a token of its own


@pytest.fixture(autouse=True)
def machine(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that trusts the stub's authority, and has no identity in Azure yet."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.ca_file))
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "IDENTITY_ENDPOINT", "MSI_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")


@pytest.fixture
def vault(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[KeyVaultStub]:
    stub = KeyVaultStub(authority.ca)
    for name, value in stub.environment.items():
        monkeypatch.setenv(name, value)
    stub.start()
    yield stub
    stub.stop()


@pytest.fixture
def settings(vault: KeyVaultStub) -> ProviderSettings:
    return ProviderSettings(vault_id=uuid4(), options={"vault_url": vault.url})


@pytest.fixture(params=["RSA-OAEP-256", "A256KW"])
def either(request: pytest.FixtureRequest, settings: ProviderSettings) -> ProviderSettings:
    return with_options(settings, algorithm=request.param)


@pytest.fixture
def shared(settings: ProviderSettings, vault: KeyVaultStub) -> ProviderSettings:
    vault._create("ours", "", {"kty": "RSA", "key_ops": ["wrapKey", "unwrapKey"]})
    return with_options(settings, key="ours")


@pytest.fixture
def pauses() -> list[float]:
    return []


def with_options(settings: ProviderSettings, **options: str) -> ProviderSettings:
    return replace(settings, options={**settings.options, **options})


def refusal(settings: ProviderSettings, handle: Handle | None = None, **more: Any) -> RootKeyError:
    provider = AzureKeyVaultProvider(settings, **more)
    with pytest.raises(RootKeyError) as caught:
        provider.create(1) if handle is None else provider.unwrap(handle)
    assert TOKEN not in caught.value.message + caught.value.advice
    assert caught.value.__cause__ is None
    assert caught.value.exit_code == Exit.ROOT_KEY
    return caught.value


class Holding:
    """A credential that holds one token."""

    def __init__(self, token: str) -> None:
        self._token = token

    def get_token(self, *_: str, **__: object) -> AccessToken:
        return AccessToken(self._token, int(time.time()) + 3600)


# What it makes


def test_each_generation_has_a_key_of_its_own_that_can_only_wrap(either: ProviderSettings, vault: KeyVaultStub) -> None:
    provider = AzureKeyVaultProvider(either)
    handles = [provider.create(n) for n in (1, 2)]
    assert [handle["key"] for handle in handles] == [f"syncvault-{either.vault_id}-{n}" for n in (1, 2)]
    for handle in handles:
        (key,) = vault.keys[str(handle["key"])].values()
        assert key.version == handle["version"]
        assert sorted(key.operations) == ["unwrapKey", "wrapKey"]
        assert key.kind == ("oct-HSM" if either.options["algorithm"] == "A256KW" else "RSA")


def test_a_handle_opens_after_json_in_a_fresh_provider(either: ProviderSettings, vault: KeyVaultStub) -> None:
    handle = json.loads(json.dumps(AzureKeyVaultProvider(either).create(1)))
    assert len(AzureKeyVaultProvider(either).unwrap(handle)) == 32
    assert set(handle) - {"check", "wrapped"} == {"provider", "generation", "vault", "key", "version", "algorithm"}


def test_the_vault_alone_opens_what_it_wrapped(either: ProviderSettings, vault: KeyVaultStub) -> None:
    provider = AzureKeyVaultProvider(either)
    handle = provider.create(1)
    blob = base64.urlsafe_b64encode(base64.b64decode(str(handle["wrapped"]))).decode()
    opened = vault._unwrapkey(
        str(handle["key"]), str(handle["version"]), {"alg": either.options["algorithm"], "value": blob}
    )
    assert base64.urlsafe_b64decode(opened["value"] + "=") == provider.unwrap(handle)


def test_what_wraps_is_the_key_in_the_vault_and_not_one_that_the_library_made_up(
    either: ProviderSettings, vault: KeyVaultStub
) -> None:
    """azure-keyvault-keys 4.11 does that for AES keys of a Managed HSM, whose bytes it does not get."""
    AzureKeyVaultProvider(either).create(1)
    assert (vault.seen.count("wrapkey"), vault.seen.count("unwrapkey")) == (1, 1)


def test_creating_again_takes_over_the_key_and_both_handles_open(either: ProviderSettings, vault: KeyVaultStub) -> None:
    provider = AzureKeyVaultProvider(either)
    first = provider.create(1)
    key = provider.unwrap(first)
    second = provider.create(1)
    assert second["version"] == first["version"]
    assert provider.unwrap(first) == key
    assert len(provider.unwrap(second)) == 32


def test_a_named_key_serves_every_generation_across_its_own_rotation(
    shared: ProviderSettings, vault: KeyVaultStub
) -> None:
    provider = AzureKeyVaultProvider(shared)
    first = provider.create(1)
    vault._create("ours", "", {"kty": "RSA", "key_ops": ["wrapKey", "unwrapKey"]})
    second = provider.create(2)
    assert (first["key"], second["key"]) == ("ours", "ours")
    assert first["version"] != second["version"]
    assert provider.unwrap(first) != provider.unwrap(second)
    assert provider.remembers == {**shared.options, "algorithm": "RSA-OAEP-256"}


def test_a_credential_can_be_handed_in(settings: ProviderSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IDENTITY_ENDPOINT")
    assert AzureKeyVaultProvider(settings, credential=Holding(TOKEN)).create(1)


# What it refuses


@pytest.mark.slow
def test_every_flipped_byte_and_every_cut_of_the_wrapped_key_is_refused(either: ProviderSettings) -> None:
    assert_only_the_whole_wrapped_key_opens(AzureKeyVaultProvider(either, credential=Holding(TOKEN)), cut_every=16)


@pytest.mark.parametrize(
    "damage",
    [
        {"wrapped": "not base64!"},
        {"wrapped": 7},
        {"key": "another"},
        {"key": ""},
        {"version": "../../secrets/x"},
        {"version": "a?b"},
        {"algorithm": "RSA1_5"},
        {"check": "AAAA"},
        {"check": "é"},
        {"check": "\ud800"},
        {"vault": "\x1b[2J"},
        {"generation": 2},
        {"generation": 10**40},
    ],
)
def test_a_handle_that_was_changed_is_refused(settings: ProviderSettings, damage: dict[str, str | int]) -> None:
    handle = AzureKeyVaultProvider(settings).create(1)
    error = refusal(settings, {**handle, **damage})
    assert "damaged" in error.message or "malformed" in error.message


def test_a_handle_never_leads_to_another_vault(settings: ProviderSettings) -> None:
    handle = AzureKeyVaultProvider(settings).create(1)
    nobody = with_options(settings, vault_url="https://nobody.vault.azure.net")
    error = refusal(nobody, handle)
    assert "not in nobody.vault.azure.net" in error.message
    with pytest.raises(RootKeyError, match=r"not in nobody"):
        AzureKeyVaultProvider(nobody).destroy(handle)
    error = refusal(settings, {**handle, "vault": "evil.example.com"})
    assert "evil.example.com, not in 127.0.0.1" in error.message


def test_another_vault_s_or_generation_s_handle_does_not_open(shared: ProviderSettings) -> None:
    """All under one shared key: the check value alone tells them apart."""
    handle = AzureKeyVaultProvider(shared).create(1)
    assert "another vault" in refusal(replace(shared, vault_id=uuid4()), handle).message
    assert "another vault" in refusal(shared, {**handle, "generation": 2}).message


def test_a_disabled_key_is_said_so(settings: ProviderSettings, vault: KeyVaultStub) -> None:
    handle = AzureKeyVaultProvider(settings).create(1)
    vault.keys[str(handle["key"])][str(handle["version"])].enabled = False
    assert "is disabled" in refusal(settings, handle).message
    assert "is disabled" in refusal(settings).message


def test_a_key_that_is_missing_and_one_that_is_deleted_are_told_apart(
    settings: ProviderSettings, vault: KeyVaultStub
) -> None:
    handle = AzureKeyVaultProvider(settings).create(1)
    name = str(handle["key"])
    assert "does not have the key" in refusal(settings, {**handle, "version": "0" * 32}).message
    vault._delete(name, "", {})
    error = refusal(settings, handle)
    assert "is deleted" in error.message
    assert "recover it" in error.advice
    assert "deleted but recoverable" in refusal(settings).message
    vault._purge(name, "", {})
    assert "does not have the key" in refusal(settings, handle).message
    assert "has no key nobody" in refusal(with_options(settings, key="nobody")).message


def test_a_key_of_the_wrong_kind_is_refused_before_anything_is_wrapped(shared: ProviderSettings) -> None:
    error = refusal(with_options(shared, algorithm="A256KW"))
    assert "of type RSA, which cannot do A256KW" in error.message


# Destroying


def test_destroying_purges_the_key_and_leaves_the_other(
    settings: ProviderSettings, vault: KeyVaultStub, pauses: list[float]
) -> None:
    provider = AzureKeyVaultProvider(settings, pause=pauses.append)
    first, second = provider.create(1), provider.create(2)
    assert provider.destroy(first) == Destroyed()
    assert vault.deleted == {}
    assert list(vault.keys) == [second["key"]]
    assert "does not have the key" in refusal(settings, first).message
    assert provider.destroy(first) == Destroyed()
    assert provider.unwrap(second)


def test_with_purge_protection_it_is_pending_until_the_date_that_azure_names(
    settings: ProviderSettings, vault: KeyVaultStub
) -> None:
    vault.purge_protection = True
    provider = AzureKeyVaultProvider(settings)
    handle = provider.create(1)
    due = f"{datetime.now(UTC) + timedelta(days=90):%Y-%m-%d}"
    outcome = provider.destroy(handle)
    assert outcome == Pending(f"Azure Key Vault purges the key {handle['key']} on {due}")
    assert provider.destroy(handle) == outcome
    assert "is deleted" in refusal(settings, handle).message
    assert "purge" not in vault.seen


def test_without_the_permission_to_purge_it_is_pending(settings: ProviderSettings, vault: KeyVaultStub) -> None:
    provider = AzureKeyVaultProvider(settings)
    handle = provider.create(1)
    vault.faults["purge"] = [Fault(403, "Forbidden", "ForbiddenByRbac")]
    assert isinstance(provider.destroy(handle), Pending)
    assert provider.destroy(handle) == Destroyed()


@pytest.mark.parametrize("action", ["delete", "get_deleted", "get"])
def test_without_permission_nothing_is_called_destroyed(
    settings: ProviderSettings, vault: KeyVaultStub, action: str
) -> None:
    provider = AzureKeyVaultProvider(settings)
    handle = provider.create(1)
    vault.faults[action] = [Fault(403, "Forbidden", "ForbiddenByRbac")] * 9
    outcome = provider.destroy(handle)
    assert isinstance(outcome, NotPossible)
    assert str(handle["key"]) in outcome.why


def test_a_key_on_its_way_to_the_deleted_ones_does_not_count_as_gone(
    settings: ProviderSettings, vault: KeyVaultStub, pauses: list[float]
) -> None:
    provider = AzureKeyVaultProvider(settings, pause=pauses.append)
    handle = provider.create(1)
    vault.purge_protection, vault.limbo = True, 3
    vault._delete(str(handle["key"]), "", {})  # by an earlier attempt, which a crash ended
    assert isinstance(provider.destroy(handle), Pending)
    assert pauses
    vault.deleted.clear()  # Azure, when the retention period has passed
    assert provider.destroy(handle) == Destroyed()
    assert sum(pauses) < 60


def test_a_deletion_that_takes_its_time_is_waited_for(
    settings: ProviderSettings, vault: KeyVaultStub, pauses: list[float]
) -> None:
    provider = AzureKeyVaultProvider(settings, pause=pauses.append)
    handle = provider.create(1)
    vault.limbo = 2
    assert provider.destroy(handle) == Destroyed()
    vault.limbo = 99
    second = provider.create(2)
    assert isinstance(provider.destroy(second), Pending)


def test_a_shared_key_is_left_alone_and_the_answer_says_what_to_do(
    shared: ProviderSettings, vault: KeyVaultStub, pauses: list[float]
) -> None:
    provider = AzureKeyVaultProvider(shared, pause=pauses.append)
    handle = provider.create(1)
    outcome = provider.destroy(handle)
    assert isinstance(outcome, NotPossible)
    assert "delete and purge it in Azure" in outcome.why
    assert provider.unwrap(handle)
    vault._delete("ours", "", {})
    assert isinstance(provider.destroy(handle), Pending)
    assert "ours" in vault.deleted
    vault._purge("ours", "", {})
    assert provider.destroy(handle) == Destroyed()


def test_a_changed_handle_does_not_have_another_key_deleted(
    settings: ProviderSettings, shared: ProviderSettings, vault: KeyVaultStub
) -> None:
    handle = AzureKeyVaultProvider(settings).create(1)
    with pytest.raises(RootKeyError, match="damaged"):
        AzureKeyVaultProvider(settings).destroy({**handle, "key": "ours"})
    assert isinstance(AzureKeyVaultProvider(shared).destroy({**handle, "key": "ours"}), NotPossible)
    assert set(vault.keys) == {"ours", handle["key"]}


# What may be wrong on the way


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (Fault(403, "Forbidden", "ForbiddenByRbac"), "does not allow keys/unwrapKey"),
        (Fault(403, "Forbidden", "ForbiddenByFirewall"), "does not allow keys/unwrapKey"),
        (Fault(403, "Forbidden", message="Operation unwrapKey is not allowed on a disabled key."), "is disabled"),
        (Fault(409, "Conflict"), "is changing it"),
        (Fault(429, "Throttled"), "is throttled"),
        (Fault(500, "InternalError"), "is ill"),
        (Fault(418, "Teapot"), "refuses keys/unwrapKey"),
        (Answer(200, {"Content-Type": "application/json"}, b"<html>"), "as no vault does"),
        (Answer(200, {"Content-Type": "application/json"}, b"{}"), "as no vault does"),
        (Answer(200, {"Content-Type": "application/json"}, b'{"kid": "x", "value": "AAAA"}'), "as no vault does"),
        (Answer(200, {"Content-Type": "application/json"}, b"[]"), "as no vault does"),
        (Answer(204), "as no vault does"),
        (Answer(200, {}, b"x" * 99, Cut.DROP), "cannot be reached"),
    ],
)
def test_each_refusal_has_a_sentence_of_its_own(
    settings: ProviderSettings,
    vault: KeyVaultStub,
    monkeypatch: pytest.MonkeyPatch,
    fault: Fault | Answer,
    sentence: str,
) -> None:
    handle = AzureKeyVaultProvider(settings).create(1)
    vault.faults["unwrapkey"] = [fault] * 9
    vault.seen.clear()
    assert sentence in refusal(settings, handle).message
    assert vault.seen.count("unwrapkey") <= 2


@pytest.mark.parametrize(("action", "status"), [("get", 302), ("unwrapkey", 307)])
def test_no_redirection_leads_to_another_server(
    settings: ProviderSettings,
    vault: KeyVaultStub,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    *,
    action: str,
    status: int,
) -> None:
    asked: list[str] = []
    other = KeyVaultStub(authority.ca)
    monkeypatch.setattr(other, "_answered", lambda request: asked.append(request.target) or Answer(200, {}, b"{}"))
    other.start()
    try:
        vault.faults[action] = [Answer(status, {"Location": f"{other.url}/keys/x/y/unwrapkey?api-version=7.4"})] * 9
        message = refusal(settings, credential=Holding(TOKEN)).message
        assert f"refuses keys/{action}" in message or "as no vault does" in message
    finally:
        other.stop()
    assert asked == []


def test_a_refused_token_is_said_so(settings: ProviderSettings) -> None:
    assert "refuses the credentials" in refusal(settings, credential=Holding("another")).message


def test_without_credentials_it_says_so(settings: ProviderSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    assert "No Azure credentials" in refusal(settings).message


def test_a_vault_that_asks_for_tokens_of_another_service_gets_none(
    settings: ProviderSettings, vault: KeyVaultStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Watching(Holding):
        def get_token(self, *scopes: str, **__: object) -> AccessToken:
            asked.extend(scopes)
            return super().get_token()

    elsewhere = Answer(
        401, {"WWW-Authenticate": 'Bearer authorization="https://x/y", resource="https://graph.example"'}
    )
    monkeypatch.setattr(vault, "_answered", lambda _: elsewhere)
    assert "as no vault does" in refusal(settings, credential=Watching(TOKEN)).message
    assert asked == []


def test_a_certificate_of_an_unknown_authority_is_refused(
    settings: ProviderSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "other.pem"))
    error = refusal(settings, credential=Holding(TOKEN))
    assert "no certificate that is trusted" in error.message


def test_an_address_where_nobody_listens_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = ProviderSettings(vault_id=uuid4(), options={"vault_url": f"https://127.0.0.1:{port}"})
    assert "cannot be reached" in refusal(settings, credential=Holding(TOKEN)).message


@contextmanager
def silent() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"https://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(("read", "patience"), [(0.1, 30.0), (30.0, 0.3)])
def test_a_vault_that_does_not_answer_is_given_up_on(
    monkeypatch: pytest.MonkeyPatch, read: float, patience: float
) -> None:
    monkeypatch.setattr(azure_keyvault_api, "CONNECT_SECONDS", read)  # which counts for the TLS handshake, too
    monkeypatch.setattr(azure_keyvault_api, "READ_SECONDS", read)
    with silent() as url:
        settings = ProviderSettings(vault_id=uuid4(), options={"vault_url": url})
        begun = time.monotonic()
        message = refusal(settings, credential=Holding(TOKEN), patience=patience).message
        assert "did not answer" in message or "cannot be reached" in message
        assert time.monotonic() - begun < 10


def test_neither_root_key_nor_token_is_ever_logged(
    settings: ProviderSettings, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        provider = AzureKeyVaultProvider(settings)
        key = provider.unwrap(provider.create(1))
    assert caplog.text
    assert base64.urlsafe_b64encode(key).decode().rstrip("=") not in caplog.text
    assert repr(key)[2:20] not in caplog.text
    assert TOKEN not in caplog.text


def test_the_library_says_nothing_beside_our_own_sentence(
    settings: ProviderSettings, vault: KeyVaultStub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    vault.faults["get"] = [Answer(200, {"Content-Type": "application/json"}, b"<html>"), Answer(302)]
    for _ in range(2):
        assert refusal(settings)
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    assert refusal(settings)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_missing_library_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrapping, "find_spec", lambda _: None)
    settings = ProviderSettings(vault_id=uuid4(), options={"vault_url": "https://x.vault.azure.net"})
    assert "pip install 'syncvault[azure-keyvault]'" in refusal(settings).message


def test_it_says_in_turn_what_it_was_not_told() -> None:
    def why(**options: str) -> str:
        return AzureKeyVaultProvider(ProviderSettings(vault_id=uuid4(), options=options)).why_unusable() or ""

    url = "https://ours.vault.azure.net"
    assert "No Azure Key Vault is named" in why()
    assert why(vault_url=url) == ""
    assert why(vault_url=url + "/") == ""
    for wrong in (
        "http://ours.vault.azure.net",
        "ours",
        url + "/keys/x",
        url + "?x",
        "https://u:p@x",
        "https://x:port",
    ):
        assert "vault_url" in why(vault_url=wrong)
        assert "u:p" not in why(vault_url=wrong)
    assert "name of a key" in why(vault_url=url, key="ours/version")
    assert "RSA-OAEP-256 or A256KW" in why(vault_url=url, algorithm="RSA1_5")
