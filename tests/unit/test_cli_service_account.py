"""How a service account signs in is judged as a whole before any file is read, anybody is asked, or anything sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from syncvault.__main__ import main
from syncvault.cli import credential_in, registration, secrets_in, service_account
from syncvault.cli.given import Given
from syncvault.cli.tenant_import import read_import
from syncvault.errors import InputError, SyncvaultError, UsageError
from syncvault.secret import Secret
from syncvault.sync import onprem
from syncvault.vault.model import Credential, CredentialKind, OnpremConnection, TenantKind, TenantProfile
from tests.kerberos_samples import ACCOUNT, CACHE, KEYTAB

URL, TOKENS = "https://mail.example.com/EWS/Exchange.asmx", "https://adfs.example.com/adfs/oauth2/token"
FACTS = {"name": "house", "admin-mail": "admin@example.com", "paid-until": "2027-01-01", "username": "svc@example.com"}
OAUTH = {"token-url": TOKENS, "client-id": "contacts"}


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """What `tenant add-onprem` says against options."""

    def refused(given: dict[str, str], *flags: str) -> dict[str, Any]:
        texts = {**FACTS, **given}
        argv = ["--home", str(tmp_path / "home"), "tenant", "add-onprem", texts.pop("name"), "--json", *flags]
        assert main([*argv, *(part for key, text in texts.items() for part in (f"--{key}", text))]) == 2
        assert not (tmp_path / "home").exists()
        error: dict[str, Any] = json.loads(capsys.readouterr().out)["error"]
        return error

    return refused


@pytest.mark.parametrize(
    ("options", "given", "said", "advised"),
    [
        ([], {}, "--ews-url is missing", "or --autodiscover in its place"),
        (["--autodiscover"], {"ews-url": URL}, "--autodiscover does not go with --ews-url", "one of them"),
        (["--autodiscover", "--no-probe"], {}, "does not go with --no-probe", "one of them"),
        (["--autodiscover"], {"username": "EXAMPLE\\svc"}, "user@domain", "--username svc-contacts@example.com"),
        (["--autodiscover"], {"username": "svc@localhost"}, "user@domain", "--ews-url"),
        ([], {"ews-url": URL, "auth": "digest"}, "--auth", "ntlm, basic, kerberos, oauth"),
        ([], {"ews-url": URL, "auth": "kerberos"}, "--auth kerberos needs", "--keytab or --ccache"),
        ([], {"ews-url": URL, "auth": "ntlm", "keytab": "/none"}, "--keytab does not go with --auth ntlm", "password"),
        (
            [],
            {"ews-url": URL, "auth": "basic", "ccache": "/none"},
            "--ccache does not go with --auth basic",
            "password",
        ),
        (
            ["--password-stdin"],
            {"ews-url": URL, "auth": "kerberos"},
            "--password-stdin does not go with --auth kerberos",
            "--keytab or --ccache",
        ),
        ([], {"ews-url": URL, "keytab": "/none", "ccache": "/none"}, "given twice", "--keytab or --ccache"),
        ([], {"ews-url": URL, "keytab": "/none", "password-file": "/none"}, "exclude each other", "one of them"),
        ([], {"ews-url": URL, "secret-file": "/none", "ccache": "/none"}, "exclude each other", "one of them"),
        (["--password-stdin"], {"ews-url": URL, "password-file": "/none"}, "given twice", "--password-file"),
        ([], {"ews-url": URL, "auth": "oauth", "keytab": "/none"}, "does not go with --auth oauth", "--secret-file"),
        (
            [],
            {"ews-url": URL, **OAUTH, "username": "EXAMPLE\\svc"},
            "has to be the address",
            "svc-contacts@example.com",
        ),
        ([], {"ews-url": URL, **OAUTH, "token-url": "", "auth": "oauth"}, "--token-url is missing", "https://adfs."),
        ([], {"ews-url": URL, **OAUTH, "client-id": ""}, "--client-id is missing", "04b07795"),
        ([], {"ews-url": URL, **OAUTH, "token-url": "http://adfs.example.com/t"}, "--token-url", "https://adfs"),
        ([], {"ews-url": URL, "auth": "ntlm", **OAUTH}, "--token-url does not go with --auth ntlm", "password"),
        ([], {"ews-url": URL, "auth": "ntlm", "secret-expires": "2027-01-01"}, "--secret-expires does not", "password"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage_before_any_file_is_opened(
    options: list[str], given: dict[str, str], said: str, advised: str, refused: Callable[..., dict[str, Any]]
) -> None:
    error = refused({**given, "ca-bundle": "/none"}, *options)
    assert said in error["message"]
    assert advised in error["advice"]
    assert "\n" not in error["advice"]


@pytest.mark.parametrize(
    ("key", "content", "said"),
    [
        ("keytab", b"", "is no keytab with keys"),
        ("keytab", b"\x05\x02", "is no keytab with keys"),
        ("keytab", b"password\n", "is no keytab with keys"),
        ("keytab", KEYTAB[:-5], "is no keytab with keys"),
        ("keytab", None, "does not exist"),
        ("ccache", b"", "is no Kerberos ticket cache"),
        ("ccache", KEYTAB, "is no Kerberos ticket cache"),
        ("ccache", None, "does not exist"),
    ],
)
def test_a_file_that_is_no_keytab_or_no_ticket_cache_is_wrong_usage(
    key: str, content: bytes | None, said: str, tmp_path: Path, refused: Callable[..., dict[str, Any]]
) -> None:
    if content is not None:
        (tmp_path / "file").write_bytes(content)
    error = refused({"ews-url": URL, key: str(tmp_path / "file")})
    assert error["message"].startswith(f"The file given for --{key}")
    assert said in error["message"]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """What an administrator has."""
    contents = {"keytab": KEYTAB, "ccache": CACHE, "secret-file": b"s3cret\n", "password-file": b"correct horse\n"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return {name: tmp_path / name for name in contents}


@pytest.mark.parametrize(
    ("way", "more", "auth", "kind"),
    [
        ("password-file", {}, "ntlm", CredentialKind.PASSWORD),
        ("password-file", {"auth": "basic"}, "basic", CredentialKind.PASSWORD),
        ("keytab", {}, "kerberos", CredentialKind.KEYTAB),
        ("keytab", {"auth": "kerberos"}, "kerberos", CredentialKind.KEYTAB),
        ("ccache", {}, "kerberos", CredentialKind.TICKET_CACHE),
        ("secret-file", OAUTH, "oauth", CredentialKind.SECRET),
        ("secret-file", {**OAUTH, "auth": "oauth"}, "oauth", CredentialKind.SECRET),
    ],
)
def test_what_was_given_says_how_the_account_signs_in(
    way: str, more: dict[str, str], auth: str, kind: CredentialKind, files: dict[str, Path]
) -> None:
    given = Given({**FACTS, "ews-url": URL, way: files[way], **more})
    facts = registration.profile(TenantKind.ONPREM, given)
    held = credential_in.credential(TenantKind.ONPREM, given)
    assert isinstance(facts.connection, OnpremConnection)
    assert (facts.connection.auth, held.kind) == (auth, kind)
    assert (facts.connection.token_url, facts.connection.client_id) == (
        (TOKENS, "contacts") if auth == "oauth" else ("", "")
    )


def test_of_a_keytab_the_keys_are_kept_and_of_a_ticket_cache_its_place(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    keytab = credential_in.credential(TenantKind.ONPREM, Given({"keytab": files["keytab"]}))
    cache = credential_in.credential(TenantKind.ONPREM, Given({"ccache": Path("ccache")}))
    assert keytab.secret.reveal() == KEYTAB
    assert (bool(cache.secret), cache.ticket_cache) == (False, str(files["ccache"]))


@pytest.mark.parametrize(
    "held",
    [
        Credential(CredentialKind.KEYTAB, Secret(KEYTAB)),
        Credential(CredentialKind.TICKET_CACHE, Secret(b""), ticket_cache="/run/svc.ccache"),
    ],
)
def test_what_kerberos_needs_survives_being_stored(held: Credential) -> None:
    again = Credential.from_dict(json.loads(json.dumps(held.to_dict())))
    assert (again.kind, again.ticket_cache) == (held.kind, held.ticket_cache)
    assert again.secret.reveal() == held.secret.reveal()


def test_what_was_sealed_before_there_was_kerberos_still_opens() -> None:
    facts = registration.profile(TenantKind.ONPREM, Given({**FACTS, "ews-url": URL}))
    plain = facts.to_dict()
    for key in ("token_url", "client_id", "token_scope"):
        del plain["connection"][key]
    assert TenantProfile.from_dict(plain) == facts
    held = Credential(CredentialKind.PASSWORD, Secret("correct horse")).to_dict()
    del held["ticket_cache"]
    assert Credential.from_dict(held).ticket_cache == ""


def test_a_client_secret_is_asked_for_where_oauth_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets_in, "can_ask", lambda: True)
    monkeypatch.setattr("getpass.getpass", lambda question: f"typed at {question}")
    texts = {**OAUTH, "secret-expires": "2027-05-01"}
    secret = credential_in.credential(TenantKind.ONPREM, Given(texts))
    assert secret.secret.reveal() == b"typed at Client secret: "
    assert secret.expires_at == datetime(2027, 5, 1, tzinfo=UTC)
    password = credential_in.credential(TenantKind.ONPREM, Given({"auth": "basic"}))
    assert password.secret.reveal() == b"typed at Password of the service account: "


def test_a_keytab_without_a_key_of_the_account_is_refused_before_anything_is_sent() -> None:
    connection, keytab = OnpremConnection(URL, "EXAMPLE\\svc-contacts"), onprem.read_keytab(KEYTAB, "--keytab")
    assert onprem.principal(connection, keytab) == ACCOUNT
    with pytest.raises(InputError, match="no key of the service account"):
        onprem.principal(replace(connection, username="EXAMPLE\\somebody"), keytab)


# -- another credential for a tenant that is registered -------------------------------------------------------------

BASIC = OnpremConnection(URL, "svc@example.com", "basic")
WITH_OAUTH = OnpremConnection(URL, "svc@example.com", "oauth", token_url=TOKENS, client_id="contacts", token_scope="s")
WITH_KERBEROS = OnpremConnection(URL, "EXAMPLE\\svc", "kerberos")


@pytest.mark.parametrize(
    ("before", "given", "auth"),
    [
        (BASIC, {"password-file": "f"}, "basic"),
        (BASIC, {}, "basic"),
        (BASIC, {"password-file": "f", "auth": "ntlm"}, "ntlm"),
        (BASIC, {"keytab": "f"}, "kerberos"),
        (BASIC, {"secret-file": "f", **OAUTH}, "oauth"),
        (WITH_KERBEROS, {"ccache": "f"}, "kerberos"),
        (WITH_KERBEROS, {"password-file": "f"}, "ntlm"),
        (WITH_OAUTH, {"keytab": "f"}, "kerberos"),
    ],
)
def test_another_credential_keeps_the_way_to_sign_in_where_it_can(
    before: OnpremConnection, given: dict[str, str], auth: str
) -> None:
    after = service_account.sign_in(Given(given), before).on(before)
    assert (after.auth, after.ews_url, after.username) == (auth, before.ews_url, before.username)
    assert bool(after.token_url) == bool(after.client_id) == (auth == "oauth")
    assert after.token_scope == ""


def test_another_client_secret_keeps_where_tokens_come_from_unless_told_otherwise() -> None:
    assert service_account.sign_in(Given({"secret-file": "f"}), WITH_OAUTH).on(WITH_OAUTH) == WITH_OAUTH
    moved = service_account.sign_in(Given({"secret-file": "f", "client-id": "other"}), WITH_OAUTH)
    assert (moved.token_url, moved.client_id, moved.token_scope) == (TOKENS, "other", "s")


@pytest.mark.parametrize(
    ("before", "given", "said"),
    [
        (WITH_KERBEROS, {}, "--auth kerberos needs"),
        (BASIC, {"secret-file": "f"}, "--token-url is missing"),
        (WITH_KERBEROS, {"secret-file": "f"}, "has to be the address"),
        (BASIC, {"keytab": "f", "auth": "basic"}, "--keytab does not go with --auth basic"),
    ],
)
def test_another_credential_needs_what_its_way_to_sign_in_needs(
    before: OnpremConnection, given: dict[str, str], said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        service_account.sign_in(Given(given), before)
    assert said in caught.value.message


# -- import files ---------------------------------------------------------------------------------------------------


@pytest.fixture
def write(tmp_path: Path, files: dict[str, Path]) -> Callable[..., Path]:
    assert files

    def write(*lines: str) -> Path:
        facts = [f"{key} = {json.dumps(text)}" for key, text in FACTS.items()]
        path = tmp_path / "tenants.toml"
        path.write_text("\n".join(["[[tenant]]", *facts, *lines, ""]))
        return path

    return write


@pytest.mark.parametrize(
    ("lines", "auth", "kind"),
    [
        (['keytab = "keytab"'], "kerberos", CredentialKind.KEYTAB),
        (['ccache = "ccache"', 'auth = "kerberos"'], "kerberos", CredentialKind.TICKET_CACHE),
        (
            [
                'secret-file = "secret-file"',
                f'token-url = "{TOKENS}"',
                'client-id = "contacts"',
            ],
            "oauth",
            CredentialKind.SECRET,
        ),
    ],
)
def test_an_import_file_takes_every_way_to_sign_in(
    lines: list[str], auth: str, kind: CredentialKind, write: Callable[..., Path], tmp_path: Path
) -> None:
    (candidate,) = read_import(write(f'ews-url = "{URL}"', *lines))
    connection = candidate.profile.connection
    assert isinstance(connection, OnpremConnection)
    assert (connection.auth, candidate.credential.kind) == (auth, kind)
    is_cache = kind is CredentialKind.TICKET_CACHE
    assert candidate.credential.ticket_cache == (str(tmp_path / "ccache") if is_cache else "")


def test_an_import_file_may_leave_the_address_to_autodiscover(write: Callable[..., Path]) -> None:
    (candidate,) = read_import(write("autodiscover = true", 'password-file = "password-file"'))
    assert candidate.profile.connection == OnpremConnection("", "svc@example.com")


@pytest.mark.parametrize(
    ("lines", "said", "advised"),
    [
        (['auth = "kerberos"'], "tenant 1: auth kerberos needs", "keytab or ccache"),
        (['auth = "ntlm"', 'keytab = "keytab"'], "tenant 1: keytab does not go with auth ntlm", "password-file"),
        ([], "tenant 1: password-file is missing", "Name a file by password-file."),
        ([f'token-url = "{TOKENS}"', 'client-id = "c"'], "tenant 1: secret-file is missing", "by secret-file."),
        (['keytab = "ccache"'], "tenant 1: keytab is no keytab", "klist -k"),
        (["autodiscover = true"], "tenant 1: autodiscover does not go with ews-url", "one of them"),
    ],
)
def test_a_mistake_in_an_import_file_is_told_by_its_keys(
    lines: list[str], said: str, advised: str, write: Callable[..., Path]
) -> None:
    with pytest.raises(SyncvaultError) as caught:
        read_import(write(f'ews-url = "{URL}"', *lines))
    assert said in caught.value.message.replace("The file given for ", "")
    assert advised in caught.value.advice
    assert "--" not in caught.value.advice
