"""A tenant is checked in every value before anything is opened, asked or stored."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import trustme

from syncvault.__main__ import main
from syncvault.cli import credential_in, registration, secrets_in
from syncvault.cli.registration import Given
from syncvault.cli.tenant_import import read_import
from syncvault.errors import InputError, SyncvaultError, UsageError
from syncvault.policy.subscription import SubscriptionKind
from syncvault.vault.model import CredentialKind, OnlineConnection, OnpremConnection, TenantKind

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
