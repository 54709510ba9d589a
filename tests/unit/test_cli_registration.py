"""A tenant is checked in every value before anything is opened, asked or stored."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme

from syncvault.__main__ import main
from syncvault.cli import credential_in, registration, secrets_in
from syncvault.cli.given import Given
from syncvault.cli.tenant_import import read_import
from syncvault.errors import InputError, SyncvaultError, UsageError
from syncvault.policy.subscription import SubscriptionKind
from syncvault.secret import Secret
from syncvault.vault.model import (
    Credential,
    CredentialKind,
    OnlineConnection,
    OnpremConnection,
    TenantKind,
    TenantProfile,
)

GUID = "8C5F0D2E-3B47-4F0A-9D55-6B1C2E7A9F10"
ONLINE = {
    "name": "acme",
    "directory-id": GUID,
    "client-id": GUID,
    "admin-mail": "admin@example.com",
    "trial-until": "2027-01-01",
}
ONPREM = {
    "name": "acme",
    "ews-url": "https://mail.example.com/EWS/Exchange.asmx",
    "username": "EXAMPLE\\svc",
    "admin-mail": "admin@example.com",
    "paid-until": "2027-01-01",
}


def options(texts: dict[str, str]) -> list[str]:
    return [part for key, text in texts.items() if key != "name" for part in (f"--{key}", text)]


@pytest.mark.parametrize(
    ("changed", "value"),
    [
        ("directory-id", "8c5f0d2e"),
        ("client-id", "app"),
        ("admin-mail", "admin"),
        ("billing-mail", "a b@example.com"),
        ("customer-number", "a\nb"),
        ("authority", "http://login.example.com"),
        ("graph-url", "https://graph.example.com/v1.0"),
        ("time-zone", "Berlin"),
        ("cloud", "mars"),
        ("locale", "fr"),
        ("trial-until", "tomorrow"),
        ("paid-until", "2027-01-01"),
        ("term", "P1M"),
        ("certificate-password-file", "/nowhere"),
    ],
)
def test_a_wrong_option_of_an_online_tenant_is_named(
    changed: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--home", str(tmp_path / "home"), "tenant", "add-online", "acme", "--json", "--secret-stdin"]
    assert main([*argv, *options(ONLINE | {changed: value})]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "usage"
    assert changed in error["message"] + error["advice"]
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("changed", "value"),
    [
        ("ews-url", "http://mail.example.com/EWS/Exchange.asmx"),
        ("ews-url", "https://mail.example.com"),
        ("auth", "kerberos"),
        ("term", "P2W"),
        ("paid-until", "2027-13-01"),
    ],
)
def test_a_wrong_option_of_an_onprem_tenant_is_named(
    changed: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--home", str(tmp_path / "home"), "tenant", "add-onprem", "acme", "--json", "--password-stdin"]
    assert main([*argv, *options(ONPREM | {changed: value})]) == 2
    assert f"--{changed}" in json.loads(capsys.readouterr().out)["error"]["message"]
    assert not (tmp_path / "home").exists()


def test_an_online_tenant_has_sensible_defaults() -> None:
    facts = registration.profile(TenantKind.ONLINE, Given(ONLINE))
    assert facts.connection == OnlineConnection(GUID.lower(), GUID.lower())
    assert (facts.subscription.kind, facts.subscription.ends_on) == (SubscriptionKind.TRIAL, date(2027, 1, 1))
    assert (facts.subscription.zone, facts.locale, facts.customer_number) == ("UTC", "en", "")


def test_an_onprem_tenant_is_paid_by_the_year_unless_told_otherwise() -> None:
    facts = registration.profile(TenantKind.ONPREM, Given(ONPREM))
    assert facts.connection == OnpremConnection(ONPREM["ews-url"], "EXAMPLE\\svc", "ntlm")
    assert (facts.subscription.kind, facts.subscription.term) == (SubscriptionKind.PAID, "P1Y")
    assert registration.profile(TenantKind.ONPREM, Given(ONPREM | {"term": "P1M"})).subscription.term == "P1M"


def test_of_a_bundle_only_its_certificates_are_kept(tmp_path: Path) -> None:
    authority = trustme.CA()
    bundle = tmp_path / "ca.pem"
    certificate = authority.cert_pem.bytes().decode()
    bundle.write_text("# ours\n" + certificate + authority.private_key_pem.bytes().decode())
    kept = registration.ca_bundle(bundle, "--ca-bundle")
    assert kept.strip() == certificate.strip()


@pytest.mark.parametrize("content", ["", "text", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"])
def test_a_bundle_without_a_certificate_is_refused(content: str, tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text(content)
    with pytest.raises(InputError, match="holds no usable certificate"):
        registration.ca_bundle(bundle, "--ca-bundle")


def test_the_credential_of_an_onprem_tenant_is_a_password(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("correct horse\n")
    held = credential_in.credential(TenantKind.ONPREM, Given({"password-file": tmp_path / "p"}))
    assert (held.kind, held.secret.reveal()) == (CredentialKind.PASSWORD, b"correct horse")


def test_at_a_terminal_the_secret_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets_in, "can_ask", lambda: True)
    monkeypatch.setattr("getpass.getpass", lambda question: f"typed at {question}")
    held = credential_in.credential(TenantKind.ONLINE, Given({}))
    assert held.secret.reveal() == b"typed at Client secret: "


def test_standard_input_serves_one_purpose(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--home", str(tmp_path), "--passphrase-file", "-", "tenant", "add-online", "acme", "--secret-stdin"]
    assert main([*argv, *options(ONLINE)]) == 2
    assert "Standard input cannot serve both --secret-stdin and --passphrase-file." in capsys.readouterr().err


# -- import files -------------------------------------------------------------------------------------------------


def table(texts: dict[str, str], **more: str) -> str:
    lines = [f"{key} = {json.dumps(text)}" for key, text in {**texts, **more}.items()]
    return "\n".join(["[[tenant]]", *lines, ""])


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    (tmp_path / "secret").write_text("s3cret\n")

    def write(content: str) -> Path:
        path = tmp_path / "tenants.toml"
        path.write_text(content)
        return path

    return write


def test_an_import_file_names_tenants_of_both_kinds(write: Callable[[str], Path]) -> None:
    online = table(ONLINE) + 'secret-file = "secret"\n'
    onprem = table(ONPREM | {"name": "house"}).replace('"2027-01-01"', "2027-01-01")
    path = write(online + onprem + 'password-file = "secret"\nno-probe = true\ncustomer-number = 4711\n')
    first, second = read_import(path)
    assert (first.profile.name, first.profile.kind, first.wants_probe) == ("acme", TenantKind.ONLINE, True)
    assert (second.profile.name, second.profile.kind, second.wants_probe) == ("house", TenantKind.ONPREM, False)
    assert second.profile.subscription.ends_on == date(2027, 1, 1)
    assert second.profile.customer_number == "4711"
    assert first.credential.secret.reveal() == second.credential.secret.reveal() == b"s3cret"


GOOD = table(ONLINE) + 'secret-file = "secret"\n'
BAD_IMPORTS: list[tuple[str, type[SyncvaultError], str, str]] = [
    ("name = ", UsageError, "is not TOML", "[[tenant]]"),
    ("[tenant]\nname = 'a'", UsageError, "something other than [[tenant]]", "[[tenant]]"),
    ("name = 'a'", UsageError, "something other than [[tenant]]", "[[tenant]]"),
    (GOOD + "admin-mial = 'x'", UsageError, "tenant 1: unknown key 'admin-mial'", "Did you mean admin-mail?"),
    (GOOD + "client-secret = 'x'", UsageError, "tenant 1: unknown key 'client-secret'", "client-id"),
    (GOOD + "ews-url = 'x'\nkind = 'online'", UsageError, "tenant 1: unknown key 'ews-url'", "Known are: admin-mail"),
    (GOOD + "locale = 'fr'", UsageError, "tenant 1: locale", "en, de"),
    (GOOD + "billing-mail = true", UsageError, "tenant 1: billing-mail is not a text", 'billing-mail = "'),
    (GOOD + "no-probe = 'yes'", UsageError, "tenant 1: no-probe", "no-probe = true"),
    (GOOD + "kind = 'cloud'", UsageError, "tenant 1: kind", "online or onprem"),
    (GOOD + GOOD, InputError, "names the tenant acme twice", "Choose another name"),
    (table(ONLINE), UsageError, "tenant 1: secret-file is missing", "certificate or secret-file"),
    (table(ONLINE) + 'secret-file = "absent"', UsageError, "tenant 1: secret-file does not exist", "absent"),
    (GOOD + table({"name": "b"}), UsageError, "tenant 2: directory-id is missing", "72f988bf"),
]


@pytest.mark.parametrize(("content", "kind", "said", "advised"), BAD_IMPORTS)
def test_a_mistake_in_an_import_file_is_found_before_anything_is_stored(
    content: str, kind: type[SyncvaultError], said: str, advised: str, write: Callable[[str], Path]
) -> None:
    with pytest.raises(kind) as caught:
        read_import(write(content))
    assert said in caught.value.message.replace("The file given for ", "")
    assert advised in caught.value.advice


def test_an_import_file_that_is_missing_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tenant", "import", str(tmp_path / "none.toml"), "--json"]) == 2
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert document["command"] == "tenant import"


def test_an_empty_name_is_called_as_the_command_line_calls_it() -> None:
    with pytest.raises(UsageError, match=r"^NAME is missing\.$") as caught:
        registration.profile(TenantKind.ONLINE, Given(ONLINE | {"name": ""}))
    assert caught.value.advice == "Give it like acme-berlin"


# -- credentials of online tenants ----------------------------------------------------------------------------------


def online(texts: dict[str, object]) -> Credential:
    return credential_in.credential(TenantKind.ONLINE, Given(texts))


def test_a_managed_identity_has_no_secret_and_perhaps_a_name() -> None:
    own, named = online({"managed-identity": True}), online({"managed-identity": True, "identity-client-id": GUID})
    assert (own.kind, own.identity_client_id, bool(own.secret)) == (CredentialKind.MANAGED_IDENTITY, "", False)
    assert named.identity_client_id == GUID.lower()


def test_of_a_workload_the_place_of_its_token_is_kept_and_never_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "token").write_text("a.b.c")
    held = online({"workload-identity": True, "federated-token-file": Path("token")})
    assert (held.kind, held.token_file) == (CredentialKind.WORKLOAD_IDENTITY, str(tmp_path / "token"))
    assert "a.b.c" not in json.dumps(held.to_dict())
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", "/var/run/secrets/token")
    assert online({"workload-identity": True}).token_file == "/var/run/secrets/token"
    monkeypatch.delenv("AZURE_FEDERATED_TOKEN_FILE")
    with pytest.raises(UsageError, match="Nothing says where"):
        online({"workload-identity": True})


def test_a_secret_may_be_told_when_it_ends(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("s3cret")
    held = online({"secret-file": tmp_path / "s", "secret-expires": "2027-05-01"})
    assert held.expires_at == datetime(2027, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ({"managed-identity": True, "secret-stdin": True}, "given twice"),
        ({"managed-identity": True, "workload-identity": True}, "given twice"),
        ({"workload-identity": True, "identity-client-id": GUID}, "--identity-client-id goes with --managed-identity"),
        ({"managed-identity": True, "federated-token-file": "f"}, "goes with --workload-identity"),
        ({"managed-identity": True, "secret-expires": "2027-05-01"}, "--secret-expires goes with --secret-file"),
        ({"managed-identity": True, "identity-client-id": "me"}, "--identity-client-id is not a GUID"),
        ({"secret-stdin": True, "secret-expires": "soon"}, "--secret-expires is not a date"),
        ({"workload-identity": True, "federated-token-file": "a\nb"}, "--federated-token-file"),
    ],
)
def test_options_of_a_credential_go_with_their_own_kind(texts: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        online(texts)
    assert said in caught.value.message


@pytest.mark.parametrize("kind", [CredentialKind.MANAGED_IDENTITY, CredentialKind.WORKLOAD_IDENTITY])
def test_a_credential_survives_being_stored_and_old_ones_open(kind: CredentialKind) -> None:
    held = Credential(kind, Secret(b""), identity_client_id=GUID, token_file="/run/token")
    again = Credential.from_dict(held.to_dict())
    assert (again.kind, again.identity_client_id, again.token_file) == (kind, GUID, "/run/token")
    old = {key: value for key, value in held.to_dict().items() if key not in {"identity_client_id", "token_file"}}
    assert Credential.from_dict(old).token_file == ""


def test_facts_that_were_sealed_before_there_were_proxies_still_open() -> None:
    facts = registration.profile(TenantKind.ONLINE, Given(ONLINE | {"no-proxy": True}))
    assert facts.connection == OnlineConnection(GUID.lower(), GUID.lower(), uses_proxy=False)
    plain = facts.to_dict()
    assert TenantProfile.from_dict(plain).connection == facts.connection
    del plain["connection"]["uses_proxy"]
    assert TenantProfile.from_dict(plain).connection == OnlineConnection(GUID.lower(), GUID.lower())


def test_an_import_file_takes_every_kind_of_credential(write: Callable[[str], Path], tmp_path: Path) -> None:
    content = table(ONLINE) + "managed-identity = true\nno-proxy = true\n"
    content += table(ONLINE | {"name": "b"}) + 'workload-identity = true\nfederated-token-file = "token"\n'
    content += table(ONLINE | {"name": "c"}) + 'secret-file = "secret"\nsecret-expires = 2027-05-01\n'
    machine, workload, secret = read_import(write(content))
    assert machine.credential.kind is CredentialKind.MANAGED_IDENTITY
    assert machine.profile.connection == OnlineConnection(GUID.lower(), GUID.lower(), uses_proxy=False)
    assert workload.credential.token_file == str(tmp_path / "token")
    assert secret.credential.expires_at == datetime(2027, 5, 1, tzinfo=UTC)
