"""A service account's sign-in as its administrator meets it: refused once, replaced, checked, and never shown."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from connectors import ews
from syncvault.__main__ import main
from tests.acceptance.conftest import Answer, Shell, exchange
from tests.conftest import Authority
from tests.kerberos_realm import ACCOUNT, REALM, Realm, kerberos_realm
from tests.kerberos_samples import CACHE, KEYTAB
from tests.parts import require_modules
from tests.simulators.onprem.server import OnpremSimulator
from tests.simulators.onprem.sign_in import ALL_SCHEMES
from tests.simulators.onprem.transport import Incoming, Outgoing

pytestmark = pytest.mark.slow

ANNA, JURGEN = "anna.becker@example.com", "juergen.muessig@example.com"


@pytest.fixture
def house(vault: Shell, onprem: OnpremSimulator) -> Shell:
    """A registered tenant with Anna's mailbox."""
    vault.add_onprem(onprem)
    vault.did("source", "add", "house", "--mailbox", ANNA)
    return vault


@pytest.fixture
def realm(tmp_path: Path) -> Iterator[Realm]:
    require_modules("gssapi")
    (tmp_path / "realm").mkdir()
    with kerberos_realm(tmp_path / "realm") as running:
        yield running


@pytest.fixture
def kerberised(authority: Authority, realm: Realm) -> Iterator[OnpremSimulator]:
    """An Exchange of that realm, which takes every way to sign in."""
    service = realm.keytab(f"HTTP/localhost@{REALM}")
    with exchange(authority, host="localhost", schemes=ALL_SCHEMES, keytab=service) as running:
        yield running


@pytest.fixture
def other_authority(tmp_path: Path) -> Authority:
    """An authority that the simulators' certificates are not of."""
    ca = trustme.CA()
    ca_file = tmp_path / "other-ca.pem"
    ca.cert_pem.write_to_path(str(ca_file))
    return Authority(ca, ca_file, ca_file.read_text())


@pytest.fixture
def elsewhere(other_authority: Authority) -> Iterator[OnpremSimulator]:
    """Another company's Exchange, with an authority and a service account of its own."""
    with exchange(other_authority, username="OTHER\\svc-phonebook", password="Battery-7-Staple") as simulator:
        yield simulator


def status(answer: Answer) -> str:
    """How the only run of a sync ended."""
    (run,) = answer.items
    return str(run["status"])


def quarantine(shell: Shell) -> Any:
    return shell.did("tenant", "show", "house", "--json").data["quarantined"]


def warnings(shell: Shell) -> list[str]:
    """What `doctor` finds fault with."""
    return [one["message"] for one in shell("doctor", "--json").data["items"] if one["result"] != "ok"]


def test_a_refused_password_is_never_sent_twice_and_waits_for_one_that_is_taken(
    house: Shell, onprem: OnpremSimulator
) -> None:
    house.did("sync", "house")
    old = onprem.password
    onprem.set_password("Another-Horse-8-Battery")
    broken = house("sync", "house", "--mailboxes", "4", "--json")
    assert (broken.code, status(broken), onprem.refused_logins) == (1, "quarantined", 1)
    again = house("sync", "--all", "--json")
    assert (again.code, status(again), onprem.refused_logins) == (1, "quarantined", 1)
    assert quarantine(house)["code"] == "http-401"
    assert house.did("status", "--json").data["quarantined"] == 1
    assert "house is not pulled: the server refused its credential" in " ".join(warnings(house))

    wrong = house("credential", "rotate", "house", "--password-stdin", "--json", given=f"{old}\n")
    assert (wrong.code, wrong.error["code"], onprem.refused_logins) == (1, "http-401", 2)
    assert quarantine(house)["code"] == "http-401"
    assert status(house("sync", "house", "--json")) == "quarantined"
    assert onprem.refused_logins == 2

    house.did("credential", "rotate", "house", "--password-stdin", given="Another-Horse-8-Battery\n")
    assert quarantine(house) is None
    assert status(house.did("sync", "house", "--json")) == "ok"
    assert "refused" not in " ".join(warnings(house))
    assert onprem.refused_logins == 2


def test_whoever_watches_with_checks_locks_no_account(house: Shell, onprem: OnpremSimulator) -> None:
    onprem.set_password("Another-Horse-8-Battery")
    first = house("credential", "check", "house", "--json")
    assert (first.code, first.error["code"]) == (1, "http-401")
    assert house("credential", "check", "house").code == 1
    assert status(house("sync", "house", "--json")) == "quarantined"
    assert onprem.refused_logins == 1


def test_a_certificate_that_nobody_vouches_for_fails_the_run_and_blames_no_password(
    house: Shell, onprem: OnpremSimulator, other_authority: Authority
) -> None:
    house.did("tenant", "edit", "house", "--ca-bundle", str(other_authority.ca_file))
    before = len(onprem.recorder.entries)
    broken = house("sync", "house", "--json")
    assert (broken.code, status(broken)) == (1, "failed")
    (failure,) = broken.items[0]["failures"]
    assert failure["code"] == "untrusted-certificate"
    assert quarantine(house) is None
    for command in ("check", "rotate"):
        more = ("--password-stdin",) if command == "rotate" else ()
        answer = house("credential", command, "house", *more, "--json", given=onprem.password)
        assert (answer.code, answer.error["code"]) == (1, "untrusted-certificate")
    assert len(onprem.recorder.entries) == before
    house.did("tenant", "edit", "house", "--ca-bundle", str(house.authority.ca_file))
    assert status(house.did("sync", "house", "--json")) == "ok"


def test_two_tenants_keep_their_authorities_and_accounts_apart_in_one_process(
    house: Shell, onprem: OnpremSimulator, elsewhere: OnpremSimulator, other_authority: Authority
) -> None:
    there = replace(house, authority=other_authority)
    there.add_onprem(elsewhere, "barn")
    house.did("source", "add", "barn", "--mailbox", ANNA)
    both = house.did("sync", "--all", "--json")
    assert {run["tenant"]: run["status"] for run in both.items} == {"house": "ok", "barn": "ok"}
    elsewhere.set_password("changed")
    both = house("sync", "--all", "--json")
    assert both.code == 3
    assert {run["tenant"]: run["status"] for run in both.items} == {"house": "ok", "barn": "quarantined"}
    assert (onprem.refused_logins, elsewhere.refused_logins) == (0, 1)


def test_basic_is_used_only_where_it_was_asked_for(vault: Shell, authority: Authority) -> None:
    with exchange(authority, schemes=("Basic",)) as simulator:
        options = [*vault.onprem_options(simulator), "--password-stdin", "--json"]
        refused = vault("tenant", "add-onprem", "plain", *options, given=simulator.password)
        assert (refused.code, refused.error["code"], simulator.refused_logins) == (1, "sign-in-method", 0)
        vault.did("tenant", "add-onprem", "plain", *options, "--auth", "basic", given=simulator.password)
        assert vault.did("tenant", "show", "plain", "--json").data["auth"] == "basic"
        rotated = vault.did("credential", "rotate", "plain", "--password-stdin", "--json", given=simulator.password)
        assert (rotated.data["kind"], rotated.data["auth"]) == ("password", "basic")
    assert "sends the password itself" in " ".join(vault("tenant", "add-onprem", "--help").out.split())


def test_an_account_signs_in_by_keytab_tickets_tokens_and_password_in_turn(
    vault: Shell, realm: Realm, kerberised: OnpremSimulator
) -> None:
    options = ["--ews-url", kerberised.url, "--username", kerberised.upn, "--admin-mail", "admin@example.com"]
    keytab = ("--auth", "kerberos", "--keytab", str(realm.keytab(ACCOUNT)))
    vault.did("tenant", "add-onprem", "house", *options, *vault.common_options(), *keytab)
    vault.did("source", "add", "house", "--mailbox", ANNA)

    def pulls(*rotated: str, given: str = "") -> tuple[str, str]:
        """How the tenant signs in once this was rotated in, and syncs."""
        now = vault.did("credential", "rotate", "house", *rotated, "--json", given=given).data
        assert status(vault.did("sync", "house", "--json")) == "ok"
        return now["kind"], now["auth"]

    assert status(vault.did("sync", "house", "--json")) == "ok"
    assert pulls("--ccache", str(realm.ticket_cache())) == ("ccache", "kerberos")
    client = ("--token-url", kerberised.token_url, "--client-id", kerberised.tokens.client_id, "--secret-stdin")
    assert pulls(*client, given=kerberised.tokens.client_secret) == ("secret", "oauth")
    assert pulls("--password-stdin", given=kerberised.password) == ("password", "ntlm")
    assert pulls(*keytab) == ("keytab", "kerberos")
    assert kerberised.refused_logins == 0

    realm.keytab(ACCOUNT, new_keys=True)  # the account has got another password
    assert status(vault("sync", "house", "--json")) == "quarantined"
    assert status(vault("sync", "house", "--json")) == "quarantined"
    assert realm.failed_attempts() == 1
    again = vault("credential", "rotate", "house", *keytab, "--json")
    assert (again.code, again.error["code"], realm.failed_attempts()) == (1, "wrong-key", 2)
    assert pulls("--keytab", str(realm.keytab(ACCOUNT))) == ("keytab", "kerberos")


@pytest.mark.parametrize("auth", ["kerberos", "oauth"])
def test_a_ticket_or_token_that_exchange_refuses_in_mid_run_is_tried_once_by_each_rotation(
    vault: Shell, realm: Realm, kerberised: OnpremSimulator, auth: str
) -> None:
    tokens = kerberised.tokens
    client = ["--token-url", kerberised.token_url, "--client-id", tokens.client_id, "--secret-stdin"]
    shown = ["--keytab", str(realm.keytab(ACCOUNT))] if auth == "kerberos" else client
    options = ["--ews-url", kerberised.url, "--username", kerberised.upn, "--admin-mail", "admin@example.com"]
    options += [*vault.common_options(), "--auth", auth]
    vault.did("tenant", "add-onprem", "house", *options, *shown, given=tokens.client_secret)
    vault.did("source", "add", "house", "--mailbox", ANNA, "--mailbox", JURGEN)
    respond = kerberised.respond

    def shut_out(incoming: Incoming) -> Outgoing:
        if b"SyncFolderItems" in incoming.body and not kerberised.accounts.locked:
            kerberised.disable_account()
            tokens.revoke()
            tokens.instead = Outgoing(200, b'{"access_token": "of.somebody.else", "token_type": "Bearer"}')
        return respond(incoming)

    def refused() -> int:
        return kerberised.refused_logins + tokens.refused.count("of.somebody.else")

    kerberised.respond = shut_out  # type: ignore[method-assign]
    broken = vault("sync", "house", "--mailboxes", "5", "--json")
    assert (broken.code, status(broken), refused()) == (1, "quarantined", 1)
    assert status(vault("sync", "house", "--json")) == "quarantined"
    for attempt in (2, 3):
        again = vault("credential", "rotate", "house", *shown, "--json", given=tokens.client_secret)
        assert (again.code, again.error["code"], refused()) == (1, "http-401", attempt)
    assert quarantine(vault)["code"] == "http-401"

    kerberised.respond = respond  # type: ignore[method-assign]
    kerberised.accounts.enable()
    tokens.instead = None
    vault.did("credential", "rotate", "house", *shown, given=tokens.client_secret)
    assert status(vault.did("sync", "house", "--json")) == "ok"


def test_a_check_says_which_sources_the_account_may_read(house: Shell, onprem: OnpremSimulator) -> None:
    checked = house.did("credential", "check", "house", "--json").data
    assert (checked["ok"], checked["kind"]) == (True, "password")
    assert [(one["feature"], one["ok"]) for one in checked["features"]] == [("mailbox", True)]
    onprem.deny_impersonation(ANNA)
    answer = house("credential", "check", "house", "--json")
    (mailbox,) = answer.data["features"]
    assert answer.code == 3
    assert (mailbox["ok"], mailbox["needed"], mailbox["code"]) == (False, True, "ErrorImpersonateUserDenied")
    assert mailbox["missing"] == ["ApplicationImpersonation"]
    assert mailbox["advice"]
    assert "grant ApplicationImpersonation" in house("credential", "check", "house").out


def test_a_check_that_has_seen_a_page_waits_for_no_other(house: Shell, onprem: OnpremSimulator) -> None:
    onprem.faults.http(503, operation="SyncFolderItems", retry_after=200, times=100, after=1)
    began = time.monotonic()
    assert house.did("credential", "check", "house", "--json").data["features"][0]["ok"]
    assert time.monotonic() - began < 20


def test_of_a_keytab_and_a_ticket_cache_it_is_shown_whose_they_are_and_where(
    vault: Shell, onprem: OnpremSimulator
) -> None:
    common = [*vault.onprem_options(onprem), "--no-probe", "--json"]
    keytab, cache = vault.file("svc.keytab", KEYTAB), vault.file("svc.ccache", CACHE)
    vault.did("tenant", "add-onprem", "keys", *common, "--auth", "kerberos", "--keytab", keytab)
    vault.did("tenant", "add-onprem", "tickets", *common, "--ccache", cache)
    shown = vault.did("credential", "show", "keys", "--json").data
    assert (shown["kind"], shown["auth"], shown["principal"]) == ("keytab", "kerberos", "s…s@EXAMPLE.TEST")
    shown = vault.did("credential", "show", "tickets", "--json").data
    assert (shown["kind"], shown["auth"], shown["ccache"]) == ("ccache", "kerberos", cache)
    assert vault("verify").code == 0

    edited = vault("tenant", "edit", "keys", "--username", "EXAMPLE\\somebody", "--json")
    assert (edited.code, "no key of the service account" in edited.error["message"]) == (1, True)
    edited = vault("tenant", "edit", "keys", "--auth", "ntlm", "--json")
    assert (edited.code, "credential rotate" in edited.error["advice"]) == (2, True)
    edited = vault("tenant", "edit", "keys", "--token-url", "https://sts.example.com/t", "--json")
    assert edited.code == 2
    assert vault.did("tenant", "edit", "keys", "--username", onprem.username, "--json")

    rotated = vault.did("credential", "rotate", "keys", "--password-stdin", "--json", given=onprem.password)
    assert (rotated.data["kind"], rotated.data["auth"], rotated.data["principal"]) == ("password", "ntlm", None)


def test_an_oauth_client_is_registered_with_what_may_be_shown_of_it(vault: Shell, onprem: OnpremSimulator) -> None:
    where = ["--auth", "oauth", "--token-url", "https://adfs.example.com/adfs/oauth2/token", "--client-id", "contacts"]
    options = ["--ews-url", onprem.url, "--username", onprem.upn, "--admin-mail", "admin@example.com", *where]
    options += [*vault.common_options(), "--secret-stdin", "--secret-expires", "2099-05-01", "--no-probe"]
    added = vault.did("tenant", "add-onprem", "house", *options, "--json", given="s3cret-of-the-client")
    shown = vault.did("credential", "show", "house", "--json")
    assert (shown.data["kind"], shown.data["auth"]) == ("secret", "oauth")
    assert (shown.data["token_url"], shown.data["client_id"]) == (where[3], where[5])
    assert shown.data["expires_at"].startswith("2099-05-01")
    edited = vault.did("tenant", "edit", "house", "--client-id", "Other", "--token-scope", "scope", "--json")
    assert (edited.data["client_id"], edited.data["token_scope"]) == ("Other", "scope")
    assert "s3cret" not in added.out + added.err + shown.out + shown.err + edited.out


def test_a_tenants_kind_decides_which_credentials_it_takes(house: Shell) -> None:
    answer = house("credential", "rotate", "house", "--managed-identity", "--json")
    assert (answer.code, "--managed-identity does not go with" in answer.error["message"]) == (2, True)
    answer = house("credential", "rotate", "house", "--keytab", house.file("no", "text"), "--json")
    assert (answer.code, "is no keytab" in answer.error["message"]) == (2, True)


# -- autodiscover, which no test can have the real names of ----------------------------------------------------------


@pytest.fixture
def discovered(onprem: OnpremSimulator, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Autodiscover that names the simulator, and whom it was asked for: its service answers under names of the DNS."""
    asked: list[tuple[str, str]] = []

    def discover(username: str, credential: ews.EwsCredential, domain: str, *, ca_pem: str = "") -> str:
        assert ca_pem
        assert credential == ews.Password(onprem.password.encode())
        asked.append((username, domain))
        return onprem.url

    monkeypatch.setattr(ews, "discover", discover)
    return asked


def test_autodiscover_is_asked_once_and_what_it_names_is_kept(
    vault: Shell, onprem: OnpremSimulator, discovered: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    password = vault.file("password", onprem.password)
    options = ["--username", onprem.upn, "--admin-mail", "admin@example.com", *vault.common_options()]
    begin = ["--home", str(vault.home), "tenant"]
    assert main([*begin, "add-onprem", "house", "--autodiscover", *options, "--password-file", password]) == 0
    assert f"Autodiscover names {onprem.url}" in capsys.readouterr().err
    assert discovered == [(onprem.upn, "example.com")]
    assert vault.did("tenant", "show", "house", "--json").data["ews_url"] == onprem.url

    vault.did("tenant", "edit", "house", "--ews-url", "https://old.example.com/EWS/Exchange.asmx")
    assert main([*begin, "edit", "house", "--autodiscover", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["ews_url"] == onprem.url
    assert len(discovered) == 2


def test_autodiscover_does_not_send_again_what_was_refused(
    house: Shell, onprem: OnpremSimulator, discovered: list[tuple[str, str]]
) -> None:
    house.did("tenant", "edit", "house", "--username", onprem.upn)
    onprem.set_password("changed")
    assert status(house("sync", "house", "--json")) == "quarantined"
    assert main(["--home", str(house.home), "tenant", "edit", "house", "--autodiscover"]) == 1
    assert discovered == []
