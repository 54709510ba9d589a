"""The main job, end to end, as an administrator does it: register, sync, look, export, let go."""

from __future__ import annotations

import hashlib
import stat
from typing import Any

from tests.acceptance.conftest import Shell
from tests.simulators.company.cast import ANNA, EVERYBODY, JURGEN, NILS, item_id
from tests.simulators.company.model import Company
from tests.simulators.online.server import OnlineSimulator
from tests.simulators.onprem.server import OnpremSimulator

BLUMENTHAL = "Dr. Katharina M. von Blumenthal"


def listed(shell: Shell, tenant: str, *options: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = shell.did("contact", "list", tenant, *options, "--json").items
    return items


def test_an_online_tenant_from_registration_to_receipt(vault: Shell, online: OnlineSimulator, company: Company) -> None:
    public_key = vault.file("receipts.pem", vault.did("receipt", "public-key").out)
    added = vault.add_online(online).data
    assert (added["name"], added["kind"], added["state"]) == ("cloud", "online", "active")
    assert (added["ends_on"], added["purge_on"]) == ("2099-06-01", "2099-08-30")

    source = vault.did("source", "add", "cloud", "--group", EVERYBODY, "--json").items[0]
    assert (source["kind"], source["ref"]) == ("group", f"{EVERYBODY[:8]}…")

    first = vault.did("sync", "cloud", "--json").items[0]
    assert first["status"] == "ok"
    assert (first["changed"], first["removed"], first["failures"]) == (0, 0, [])
    contacts = listed(vault, "cloud")
    assert len(contacts) == first["added"]
    assert len({contact["id"] for contact in contacts}) == len(contacts)
    blumenthal = next(contact for contact in contacts if contact["display_name"] == BLUMENTHAL)
    assert blumenthal["email_addresses"][0] == "katharina@blumenthal.example"
    assert blumenthal["mailbox"]["ref"] == "a…r@example.com"
    assert blumenthal["purge_on"] == "2099-08-30"

    unchanged = vault.did("sync", "cloud", "--json").items[0]
    assert (unchanged["added"], unchanged["changed"], unchanged["removed"]) == (0, 0, 0)

    company.change_contact(ANNA, item_id(ANNA, BLUMENTHAL), job_title="Aufsichtsrätin")
    company.remove_contact(ANNA, item_id(ANNA, "Nur Telefon"))
    company.add_contact(NILS, display_name="Neu Hier")
    third = vault.did("sync", "--all", "--json").items[0]
    assert (third["added"], third["changed"], third["removed"]) == (1, 1, 1)
    names = [contact["display_name"] for contact in listed(vault, "cloud")]
    assert "Neu Hier" in names
    assert "Nur Telefon" not in names

    preview = vault.did("tenant", "delete", "cloud", "--json").items[0]
    assert (preview["done"], preview["contacts"]) == (False, len(names))
    receipt = vault.files / "receipt.json"
    erased = vault.did("tenant", "delete", "cloud", "--yes", "--receipt", str(receipt), "--json").items[0]
    assert (erased["done"], erased["receipt"], erased["receipt_status"]) == (True, str(receipt), "final")
    assert stat.S_IMODE(receipt.stat().st_mode) == 0o600
    verdict = vault.did("receipt", "verify", str(receipt), "--public-key", public_key, "--json").data
    assert (verdict["valid"], verdict["status"], verdict["outstanding"]) == (True, "final", [])
    assert verdict["counts"]["contacts"] == len(names)
    assert vault.did("tenant", "list", "--json").items == []


def test_an_onprem_tenant_brings_what_the_service_account_may_see(
    vault: Shell, onprem: OnpremSimulator, company: Company
) -> None:
    vault.add_onprem(onprem)
    anna, jurgen = company.people[ANNA].mail, company.people[JURGEN].mail
    vault.did("source", "add", "house", "--mailbox", str(anna), "--mailbox", str(jurgen))
    summary = vault.did("sync", "house", "--json").items[0]
    assert (summary["status"], summary["mailboxes"]) == ("ok", 2)
    assert summary["skipped"] == 4  # two marked private, two distribution lists
    names = {contact["display_name"] for contact in listed(vault, "house")}
    assert {BLUMENTHAL, "Hugo Groß", "Wiebke Halligen"} <= names
    assert not names & {"Tante Erna", "Arzttermin Dr. Heim"}


def test_what_was_pulled_is_found_nowhere_on_disk(vault: Shell, online: OnlineSimulator) -> None:
    vault.add_online(online)
    vault.did("source", "add", "cloud", "--user", ANNA)
    vault.did("sync", "cloud")
    contacts = listed(vault, "cloud", "--reveal")
    words = {text for contact in contacts for text in contact["email_addresses"]}
    words |= {contact["display_name"] for contact in contacts if len(contact["display_name"]) > 5}
    words |= {"anna.becker", "admin@example.com", online.client_secret, ANNA, online.directory_id, "cloud"}
    stored = b"".join(path.read_bytes() for path in vault.home.rglob("*") if path.is_file())
    for word in words:
        assert word.encode() not in stored
        assert word.encode("utf-16-le") not in stored


def test_exports_and_photos_are_private_files_and_never_overwrite(vault: Shell, online: OnlineSimulator) -> None:
    vault.add_online(online)
    vault.did("source", "add", "cloud", "--user", ANNA)
    vault.did("sync", "cloud")
    contacts = listed(vault, "cloud")
    for kind, extra in (("vcard", []), ("vcard", ["--vcard-version", "4.0"]), ("json", []), ("csv", [])):
        out = vault.files / f"export-{kind}{len(extra)}"
        vault.did("contact", "export", "cloud", "--format", kind, "--out", str(out), *extra)
        assert stat.S_IMODE(out.stat().st_mode) == 0o600
        content = out.read_bytes()
        assert "Łukasz Żółć".encode() in content
        if kind == "vcard":
            assert content.count(b"BEGIN:VCARD\r\n") == len(contacts)
            assert content.count(b"\r\nPHOTO") == sum(contact["has_photo"] for contact in contacts)
        refused = vault("contact", "export", "cloud", "--format", kind, "--out", str(out), "--json")
        assert (refused.code, refused.error["code"]) == (1, "input")
        assert out.read_bytes() == content
    pictured = next(contact for contact in contacts if contact["display_name"] == BLUMENTHAL)
    photo = vault.files / "photo.jpg"
    vault.did("contact", "photo", "cloud", pictured["id"], "--out", str(photo))
    assert hashlib.sha256(photo.read_bytes()).hexdigest() == pictured["photo_sha256"]
    assert stat.S_IMODE(photo.stat().st_mode) == 0o600
    assert sorted(path.name for path in vault.files.iterdir() if path.name.startswith(".")) == []


def test_a_contact_is_shown_with_every_stored_field(vault: Shell, online: OnlineSimulator) -> None:
    vault.add_online(online, "cloud", "--profile", "full")
    vault.did("source", "add", "cloud", "--user", ANNA)
    vault.did("sync", "cloud")
    found = next(contact for contact in listed(vault, "cloud") if contact["display_name"] == BLUMENTHAL)
    masked = vault.did("contact", "show", "cloud", found["id"], "--json").data
    assert masked["spouse"] == "Friedrich von Blumenthal"
    assert masked["home_address"]["city"] == "Starnberg"
    assert masked["mailbox"]["ref"] == "a…r@example.com"
    revealed = vault.did("contact", "show", "cloud", found["id"], "--reveal", "--json").data
    assert revealed["mailbox"]["ref"] == "anna.becker@example.com"
    for ref in (revealed["mailbox"]["ref"], revealed["mailbox"]["id"], ANNA):
        assert len(listed(vault, "cloud", "--mailbox", ref)) == len(listed(vault, "cloud"))
    text = vault.did("contact", "show", "cloud", found["id"]).out
    assert "Aufsichtsrat" in text


def test_every_change_and_disclosure_is_in_the_audit_log(vault: Shell, online: OnlineSimulator) -> None:
    tenant_id = vault.add_online(online).data["id"]
    source = vault.did("source", "add", "cloud", "--user", NILS, "--json").items[0]
    vault.did("sync", "cloud")
    vault.did("tenant", "show", "cloud")  # reveals nothing
    vault.did("tenant", "show", "cloud", "--reveal")
    vault.did("source", "list", "cloud", "--reveal")
    vault.did("contact", "list", "cloud")
    assert vault("contact", "show", "cloud", source["id"]).code == 1
    vault.did("credential", "show", "cloud")
    vault.did("tenant", "cancel", "cloud", "--ends", "2099-01-01")
    vault.did("tenant", "renew", "cloud", "--until", "2099-02-01")
    vault.did("source", "remove", "cloud", source["id"])
    entries = vault.did("audit", "list", "--json").items
    assert [(entry["verb"], entry["outcome"]) for entry in reversed(entries)] == [
        ("init", "ok"),
        ("tenant add-online", "ok"),
        ("source add", "ok"),
        ("sync", "ok"),
        ("tenant show", "ok"),
        ("source list", "ok"),
        ("contact list", "ok"),
        ("contact show", "failed:not-found"),
        ("credential show", "ok"),
        ("tenant cancel", "ok"),
        ("tenant renew", "ok"),
        ("source remove", "ok"),
    ]
    assert {entry["tenant_id"] for entry in entries if entry["verb"] != "init"} == {tenant_id}


def test_a_source_that_is_removed_takes_its_contacts_along(vault: Shell, online: OnlineSimulator) -> None:
    vault.add_online(online)
    source = vault.did("source", "add", "cloud", "--user", NILS, "--json").items[0]
    held = vault.did("sync", "cloud", "--json").items[0]["added"]
    vault.did("source", "remove", "cloud", source["id"])
    assert vault.did("sync", "cloud", "--json").items[0]["removed"] == held
    assert listed(vault, "cloud") == []


def test_status_and_doctor_tell_how_things_stand(vault: Shell, online: OnlineSimulator) -> None:
    vault.add_online(online)
    status = vault.did("status", "--json").data
    assert (status["tenants"], status["contacts"], status["oldest_sync"]) == (1, 0, None)
    assert status["next_purge_on"] == "2099-08-30"
    vault.did("source", "add", "cloud", "--user", NILS)
    vault.did("sync", "cloud")
    status = vault.did("status", "--json").data
    assert status["contacts"] == 4
    assert status["oldest_sync"].endswith("Z")
    healthy = vault("doctor", "--json")
    assert healthy.code == 0
    assert {finding["result"] for finding in healthy.items} <= {"ok", "warn"}
