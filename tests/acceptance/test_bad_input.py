"""What an administrator gets wrong is said in a sentence, with the right exit code, and nothing is stored."""

from __future__ import annotations

from tests.acceptance.conftest import Answer, Shell
from tests.simulators.company.cast import ANNA, SAM
from tests.simulators.company.model import Company
from tests.simulators.online.server import OnlineSimulator
from tests.simulators.onprem.server import OnpremSimulator


def refused(answer: Answer, code: int, *said: str) -> None:
    assert answer.code == code, answer
    text = f"{answer.error['code']} {answer.error['message']} {answer.error['advice']}"
    for word in said:
        assert word in text


def test_entra_refuses_a_secret_with_its_own_code_and_nothing_is_stored(vault: Shell, online: OnlineSimulator) -> None:
    options = vault.online_options(online)
    answer = vault("tenant", "add-online", "cloud", *options, "--secret-stdin", "--json", given="wrong")
    refused(answer, 1, "AADSTS7000215")
    assert vault.did("tenant", "list", "--json").items == []
    unprobed = vault("tenant", "add-online", "cloud", *options, "--secret-stdin", "--no-probe", given="wrong")
    assert unprobed.code == 0
    assert "wrong" not in unprobed.out + unprobed.err


def test_a_certificate_registers_too_and_its_failures_are_named(vault: Shell, online: OnlineSimulator) -> None:
    options, files = vault.online_options(online), online.files
    add = ("tenant", "add-online", "cloud", *options, "--json", "--certificate")
    wrong = vault.file("wrong.password", "wrong\n")
    refused(vault(*add, str(files.certificate_pfx), "--certificate-password-file", wrong), 1, "password")
    refused(vault(*add, vault.file("no.pem", "no key")), 1, "neither a PFX nor a PEM")
    refused(vault(*add, str(vault.files / "absent.pfx")), 2, "--certificate", "does not exist")
    assert vault.did("tenant", "list", "--json").items == []
    vault.did(*add, str(files.certificate_pfx), "--certificate-password-file", str(files.certificate_pfx_password_file))
    shown = vault.did("credential", "show", "cloud", "--json").data
    assert shown["kind"] == "certificate"
    assert shown["expires_at"].endswith("Z")
    again = vault(*add, str(files.certificate_pem))
    refused(again, 1, "registered already")


def test_exchange_refuses_a_password_once_and_nothing_is_stored(vault: Shell, onprem: OnpremSimulator) -> None:
    options = vault.onprem_options(onprem)
    answer = vault("tenant", "add-onprem", "house", *options, "--password-stdin", "--json", given="wrong")
    assert answer.code == 1
    assert onprem.refused_logins == 1
    assert vault.did("tenant", "list", "--json").items == []


def test_a_secret_that_is_empty_is_refused(vault: Shell, online: OnlineSimulator) -> None:
    options = vault.online_options(online)
    add = ("tenant", "add-online", "cloud", *options, "--json")
    refused(vault(*add, "--secret-stdin", given="\n"), 1, "empty")
    refused(vault(*add, "--secret-file", vault.file("empty", "")), 1, "empty")
    refused(vault(*add, "--secret-file", str(vault.files / "absent")), 2, "--secret-file")
    refused(vault(*add), 2, "--secret-stdin or --secret-file or --certificate")
    refused(vault(*add, "--secret-stdin", "--secret-file", vault.file("s", "s"), given="s"), 2, "twice")


def test_without_a_vault_every_command_says_so(shell: Shell) -> None:
    for argv in (["tenant", "list"], ["status"], ["sync", "--all"], ["receipt", "public-key"], ["purge"]):
        refused(shell(*argv, "--json"), 10, "no-vault", "syncvault init")


def test_a_missing_root_key_is_told_from_a_missing_vault(vault: Shell) -> None:
    (vault.files / "keys" / "root.key").unlink()
    refused(vault("tenant", "list", "--json"), 12, "root-key")


def test_init_picks_no_provider_by_itself(shell: Shell) -> None:
    answer = shell("init", "--json")
    refused(answer, 2, "--root-key", "keyring, systemd, passphrase, file")
    assert "keyring" in answer.err
    assert "not usable" in answer.err or "usable" in answer.err
    assert not shell.home.exists()


def test_a_database_url_with_a_password_is_refused(shell: Shell) -> None:
    argv = ("init", "--root-key", "file", "--database", "postgresql://me:hunter2@localhost/x", "--json")
    answer = shell(*argv)
    refused(answer, 2, "password", "passfile")
    assert "hunter2" not in answer.out + answer.err
    assert not shell.home.exists()


def test_a_second_init_leaves_the_vault_alone(vault: Shell) -> None:
    refused(vault("init", "--root-key", "file", "--json"), 1, "already")


def test_a_passphrase_opens_the_vault_and_another_does_not(shell: Shell) -> None:
    right, wrong = shell.file("right", "open sesame\n"), shell.file("wrong", "close sesame\n")
    shell.did("--passphrase-file", right, "init", "--root-key", "passphrase")
    assert shell.did("--passphrase-file", right, "tenant", "list", "--json").items == []
    assert shell("--passphrase-file", "-", "tenant", "list", given="open sesame\n").code == 0
    refused(shell("--passphrase-file", wrong, "tenant", "list", "--json"), 12, "passphrase")
    refused(shell("tenant", "list", "--json"), 12, "--passphrase-file")


def test_sync_wants_to_know_which_tenants_and_knows_them(vault: Shell) -> None:
    refused(vault("sync", "--json"), 2, "--all")
    refused(vault("sync", "nobody", "--json"), 1, "not-found")
    assert vault.did("sync", "--all", "--json").items == []


def test_sources_have_to_fit_the_tenant(vault: Shell, online: OnlineSimulator) -> None:
    vault.add_online(online)
    refused(
        vault("source", "add", "cloud", "--mailbox", "a@example.com", "--json"), 2, "--mailbox", "--user or --group"
    )
    refused(vault("source", "add", "cloud", "--json"), 2, "--user", "--mailbox")
    refused(vault("source", "add", "cloud", "--user", "anna", "--json"), 2, "--user")
    refused(vault("source", "remove", "cloud", ANNA, "--json"), 1, "not-found")
    assert vault.did("source", "list", "cloud", "--json").items == []


def test_a_revoked_secret_quarantines_until_a_good_one_is_rotated_in(vault: Shell, online: OnlineSimulator) -> None:
    vault.add_online(online)
    vault.did("source", "add", "cloud", "--user", ANNA)
    secrets = dict(online.application.secrets)
    online.application.secrets.clear()
    broken = vault("sync", "cloud", "--json")
    assert (broken.code, broken.items[0]["status"]) == (1, "quarantined")
    assert "AADSTS" in broken.items[0]["failures"][0]["code"]
    asked = online.refused_logins
    assert vault("sync", "cloud").code == 1
    assert online.refused_logins == asked  # the second run did not try
    assert "AADSTS" in vault.did("tenant", "show", "cloud", "--json").data["quarantined"]["code"]
    online.application.secrets.update(secrets)
    refused(vault("credential", "rotate", "cloud", "--secret-stdin", "--json", given="bad"), 1, "AADSTS7000215")
    assert vault.did("tenant", "show", "cloud", "--json").data["quarantined"]
    vault.did("credential", "rotate", "cloud", "--secret-stdin", given=online.client_secret)
    assert vault.did("credential", "check", "cloud", "--json").data["ok"] is True
    assert vault.did("sync", "cloud", "--json").items[0]["status"] == "ok"


def test_a_mailbox_that_refuses_is_a_failure_of_that_mailbox(
    vault: Shell, onprem: OnpremSimulator, company: Company
) -> None:
    vault.add_onprem(onprem)
    onprem.deny_impersonation("juergen.muessig@example.com")
    vault.did("source", "add", "house", "--mailbox", "anna.becker@example.com")
    vault.did("source", "add", "house", "--mailbox", "juergen.muessig@example.com")
    answer = vault("sync", "house", "--json")
    assert (answer.code, answer.items[0]["status"]) == (3, "partial")
    [failure] = answer.items[0]["failures"]
    assert failure["mailbox"] == "j…g@example.com"
    assert "ApplicationImpersonation" in failure["advice"]
    assert "juergen" not in answer.out + answer.err


def test_a_person_without_a_mailbox_is_no_failure(vault: Shell, online: OnlineSimulator) -> None:
    vault.add_online(online)
    vault.did("source", "add", "cloud", "--user", SAM)
    summary = vault.did("sync", "cloud", "--json").items[0]
    assert (summary["status"], summary["added"], summary["failures"]) == ("ok", 1, [])


def test_an_expired_trial_is_registered_never_pulled_and_purged(vault: Shell, online: OnlineSimulator) -> None:
    options = [option for option in vault.online_options(online) if option not in {"--paid-until", "2099-06-01"}]
    add = ("tenant", "add-online", "old", *options, "--trial-until", "2020-01-01", "--secret-stdin", "--json")
    added = vault.did(*add, given=online.client_secret).data
    assert (added["state"], added["purge_on"]) == ("expired", "2020-03-31")
    answer = vault("sync", "old", "--json")
    assert (answer.code, answer.items[0]["status"]) == (1, "expired")
    assert vault.did("status", "--json").data["due_for_purge"] == 1
    assert [item["done"] for item in vault.did("purge", "--json").items] == [False]
    assert [item["reason"] for item in vault.did("purge", "--yes", "--json").items] == ["retention"]
    assert vault.did("tenant", "list", "--json").items == []


def test_a_tampered_receipt_is_a_finding(vault: Shell, online: OnlineSimulator) -> None:
    vault.add_online(online)
    receipt = vault.files / "r.json"
    vault.did("tenant", "delete", "cloud", "--yes", "--receipt", str(receipt))
    key = vault.file("key.pem", vault.did("receipt", "public-key").out)
    forged = vault.file("forged.json", receipt.read_text().replace('"contacts": 0', '"contacts": 7'))
    answer = vault("receipt", "verify", forged, "--public-key", key, "--json")
    assert (answer.code, answer.data["valid"]) == (4, False)
    cut_off = vault("receipt", "verify", vault.file("x", receipt.read_bytes()[:-9]), "--public-key", key, "--json")
    assert (cut_off.code, cut_off.data["valid"]) == (4, False)
    refused(vault("receipt", "verify", "/nowhere", "--public-key", key, "--json"), 2, "does not exist")
    existing = vault("tenant", "delete", "cloud", "--yes", "--receipt", str(receipt), "--json")
    refused(existing, 1, "exists already")
