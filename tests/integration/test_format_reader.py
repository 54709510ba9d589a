"""A whole vault is read by a program that knows nothing but docs/FORMAT.md and the root key's file."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from connectors.contact import FIELD_NAMES, LIST_FIELDS, Contact, PostalAddress
from syncvault.policy.subscription import Subscription, SubscriptionKind
from syncvault.secret import Secret
from syncvault.vault import credentials, tenants
from syncvault.vault.content import pages, photos, sources
from syncvault.vault.content.diff import Incoming
from syncvault.vault.content.filters import UserFilter
from syncvault.vault.erasing import erasure
from syncvault.vault.layout import Layout, default_database, default_key_database, default_root_key_file
from syncvault.vault.model import (
    Credential,
    CredentialKind,
    OnlineConnection,
    OnpremConnection,
    Tenant,
    TenantProfile,
)
from syncvault.vault.opening import create_vault
from syncvault.vault.vault import Vault
from tests import format_reader

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
PHOTO = b"\xff\xd8\xff" + bytes(range(256))
ADDRESS = PostalAddress("Domkloster 4", "Köln", "NRW", "50667", "Deutschland")
FULL = Contact(
    **{
        name: (f"{name} 1", f"{name} 2") if name in LIST_FIELDS else ADDRESS if "address" in name else f"{name} ü🌻"
        for name in FIELD_NAMES
        if name != "web_page"
    }
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "Tresor ü🌻"


@pytest.fixture
def vault(home: Path) -> Iterator[Vault]:
    layout = Layout(home, default_database(home), default_key_database(home), "file", default_root_key_file(home))
    with create_vault(layout, clock=lambda: NOW) as made:
        yield made


def registered(vault: Vault, name: str, *, online: bool = True) -> Tenant:
    subscription = Subscription(SubscriptionKind.TRIAL, date(2027, 1, 1), "Europe/Berlin")
    if online:
        connection: Any = OnlineConnection(
            "f2b8e6d4-7a19-4d03-9c5e-1b0a8f6e4d27", "6a4c7d1e-0f35-4c92-b1a7-2e8d5f9c3b60"
        )
        credential = Credential(CredentialKind.SECRET, Secret("pässword"), expires_at=NOW)
    else:
        connection = OnpremConnection("https://mail.example/EWS/Exchange.asmx", "EXAMPLE\\svc")
        credential = Credential(CredentialKind.PASSWORD, Secret("x" * 300))
    profile = TenantProfile(name, connection, subscription, "admin@example.com", customer_number="K-1")
    return tenants.register(vault, profile, credential)


def filled(vault: Vault, tenant: Tenant) -> None:
    """Two sources, two mailboxes (one without an address), two folders, contacts, a card, a photo."""
    group = sources.add(vault, tenant, "group", "0d4f6c1b-5e2a-4b7d-9a38-c7f1e6d20b95")
    sources.add(vault, tenant, "user", "5B7E9C02-1D4F-4A68-8E3B-F60A2C9D7184")
    sources.add(vault, tenant, "all-users", "", UserFilter(department="Human Resources", hidden=True))
    named = [
        sources.Named("5b7e9c02", "Zoë@Müller.example"),
        sources.Named("1d4f4a68", "", sources.MailboxKind.OUTSIDE),
    ]
    sources.name_mailboxes(vault, tenant, group.id, named)
    first, second = (sources.mailbox(vault, tenant, entry.key) for entry in named)

    def store(mailbox: sources.StoredMailbox, page: pages.IncomingPage) -> None:
        pages.store_pages(vault, tenant, [(mailbox, page)], "a scope")

    entries = [
        Incoming("AAMk=", {"display_name": "old"}),
        Incoming("aamk=", {"display_name": "other"}),
        Incoming("", {}),
    ]
    store(first, pages.IncomingPage("F1", "Kontakte", entries, [], "token 1", last=True))
    entries = [Incoming("AAMk=", FULL.to_dict(), has_photo=True)]
    store(first, pages.IncomingPage("F1", "Kontakte/Büro", entries, [], "token 2", last=True))
    store(second, pages.IncomingPage("F2", "Contacts", [], [], "token 3", last=False))
    pages.store_cards(vault, tenant, [(second, {"display_name": "ليلى", "email_addresses": ["l@example.com"]})])
    due = next(photos.due(vault, tenant))
    looks = [photos.LookedAt(look.contact_id, PHOTO, '"etag"') for look in due if look.item_id == "AAMk="]
    assert photos.store(vault, tenant, looks) == 1


def only(values: Any) -> Any:
    (value,) = values
    return value


def test_the_reader_knows_nothing_of_syncvault() -> None:
    tree = ast.parse(Path(format_reader.__file__).read_text("utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not [name for name in imported if name.startswith(("syncvault", "connectors", "tests"))]


def test_the_vault_its_keys_and_its_tenants_open(vault: Vault, home: Path) -> None:
    acme, other = registered(vault, "acme"), registered(vault, "other", online=False)
    read = format_reader.read_vault(home)
    assert read["vault_id"] == vault.id
    assert (read["receipt_seed"], read["unsigned_until"]) == (vault.keys.receipt_seed, 0)
    assert set(read["tenants"]) == {"acme", "other"}
    for tenant in (acme, other):
        found = read["tenants"][tenant.facts.name]
        assert found["id"] == tenant.id
        assert found["name_ix"] == format_reader.index(read["name_key"], "tenant-name", tenant.facts.name)
        assert found["purge_at"] == format_reader.purge_at(found["profile"]["subscription"], NOW)
        assert TenantProfile.from_dict(found["profile"]) == tenant.facts


def test_profiles_and_credentials_hold_the_documented_keys(vault: Vault, home: Path) -> None:
    registered(vault, "acme")
    registered(vault, "other", online=False)
    read = format_reader.read_vault(home)["tenants"]
    assert read["acme"]["profile"] == {
        "name": "acme",
        "kind": "online",
        "connection": {
            "directory_id": "f2b8e6d4-7a19-4d03-9c5e-1b0a8f6e4d27",
            "client_id": "6a4c7d1e-0f35-4c92-b1a7-2e8d5f9c3b60",
            "cloud": "global",
            "authority": "",
            "graph_url": "",
            "ca_pem": "",
            "uses_proxy": True,
        },
        "subscription": {
            "kind": "trial",
            "ends_on": "2027-01-01",
            "zone": "Europe/Berlin",
            "term": "",
            "cancelled": False,
        },
        "admin_mail": "admin@example.com",
        "billing_mail": "",
        "customer_number": "K-1",
        "locale": "en",
        "scope": {"profile": "business", "folders": [], "photo_pixels": 240, "private": False, "applied": ""},
        "rule_version": 1,
    }
    onprem = {"ews_url", "username", "auth", "ca_pem", "token_url", "client_id", "token_scope"}
    assert set(read["other"]["profile"]["connection"]) == onprem
    assert read["acme"]["credential"] == {
        "kind": "secret",
        "secret": "pässword",
        "certificate_pem": "",
        "thumbprint": "",
        "expires_at": int(NOW.timestamp()),
        "identity_client_id": "",
        "token_file": "",
        "ticket_cache": "",
    }
    assert read["other"]["credential"]["secret"] == "x" * 300


def test_what_there_is_of_a_mailbox_stands_in_its_record(vault: Vault, home: Path) -> None:
    tenant, kinds = registered(vault, "other", online=False), sources.MailboxKind
    listed = sources.add(vault, tenant, "gal", "")
    public = sources.add(vault, tenant, "public-folder", "Sales/Customers")
    sources.name_mailboxes(vault, tenant, listed.id, [sources.Named("a@b.example", "A@b.example", kinds.LISTED)])
    folder = sources.Named("\\sales/customers", "Sales/Customers", kinds.PUBLIC_FOLDER)
    sources.name_mailboxes(vault, tenant, public.id, [folder])
    read = format_reader.read_vault(home)["tenants"]["other"]
    assert {source["kind"]: source["ref"] for source in read["sources"]} == {
        "gal": "",
        "public-folder": "Sales/Customers",
    }
    found = {mailbox["key"]: (mailbox["address"], mailbox["kind"]) for mailbox in read["mailboxes"].values()}
    assert found == {
        "a@b.example": ("A@b.example", "listed"),
        "\\sales/customers": ("Sales/Customers", "public-folder"),
    }


def test_sources_mailboxes_folders_and_checkpoints_open_and_are_found_by_index(vault: Vault, home: Path) -> None:
    filled(vault, registered(vault, "acme"))
    read = format_reader.read_vault(home)["tenants"]["acme"]
    key = read["index_key"]
    for source in read["sources"]:
        value = f"{source['kind']}:{format_reader.normalised(source['ref'])}"
        assert source["ix"] == format_reader.index(key, "source", value)
    assert {source["kind"]: source.get("filter") for source in read["sources"]} == {
        "group": None,
        "user": None,
        "all-users": {"department": "Human Resources", "hidden": True},
    }
    assert {source["ref"] for source in read["sources"] if "filter" in source} == {
        'department="Human Resources" include_hidden'
    }
    found = {mailbox["address"]: mailbox.get("opens") for mailbox in read["mailboxes"].values()}
    assert found == {"Zoë@Müller.example": None, "": False}
    for mailbox in read["mailboxes"].values():
        assert mailbox["key_ix"] == format_reader.index(key, "mailbox-key", format_reader.normalised(mailbox["key"]))
        address = format_reader.normalised(mailbox["address"])
        expected = format_reader.index(key, "mailbox-address", address) if address else None
        assert mailbox["address_ix"] == expected
    folders = {folder["id"]: (folder_id, folder) for folder_id, folder in read["folders"].items()}
    assert {name: folder["path"] for name, (_, folder) in folders.items()} == {"F1": "Kontakte/Büro", "F2": "Contacts"}
    assert all(folder["ix"] == format_reader.index(key, "folder", folder["id"]) for _, folder in folders.values())
    assert read["checkpoints"][folders["F1"][0]] == {
        "token": "token 2",
        "full": False,
        "sweeps": False,
        "scope": "a scope",
    }
    assert read["checkpoints"][folders["F2"][0]] == {
        "token": "token 3",
        "full": True,
        "sweeps": False,
        "scope": "a scope",
    }


def test_contacts_cards_and_photos_open_with_every_field(vault: Vault, home: Path) -> None:
    filled(vault, registered(vault, "acme"))
    read = format_reader.read_vault(home)["tenants"]["acme"]
    contacts = {(contact["kind"], contact["id"]): contact for contact in read["contacts"].values()}
    assert contacts["contact", "AAMk="]["fields"] == json.loads(json.dumps(FULL.to_dict()))
    assert "web_page" not in contacts["contact", "AAMk="]["fields"]
    assert contacts["contact", "aamk="]["fields"] == {"display_name": "other"}
    assert contacts["contact", ""]["fields"] == {}
    card = contacts["card", "1d4f4a68"]
    assert card["folder_id"] is None
    for contact in contacts.values():
        label = "card" if contact["kind"] == "card" else "item"
        assert contact["remote_ix"] == format_reader.index(read["index_key"], label, contact["id"])
    contact_id, (details, content) = only(read["photos"].items())
    assert read["contacts"][contact_id]["id"] == "AAMk="
    assert content == PHOTO
    assert details == {"etag": '"etag"', "sha256": hashlib.sha256(PHOTO).hexdigest(), "size": len(PHOTO)}


def test_the_manifest_says_what_every_table_adds_up_to(vault: Vault, home: Path) -> None:
    tenant = registered(vault, "acme")
    before = format_reader.read_vault(home)["tenants"]["acme"]["manifest"]["counter"]
    filled(vault, tenant)
    manifest = format_reader.read_vault(home)["tenants"]["acme"]["manifest"]
    assert manifest["counter"] > before == 1
    for table, (found, stated) in manifest["tables"].items():
        assert found == stated, table
    assert manifest["tables"]["photos"][0]["count"] == 2


def test_a_replaced_credential_and_an_edited_profile_open(vault: Vault, home: Path) -> None:
    tenant = registered(vault, "acme")
    credentials.replace(vault, tenant, Credential(CredentialKind.CERTIFICATE, Secret("KEY"), "PEM", "ab12"))
    tenants.update(vault, tenant, lambda facts: facts.with_subscription(facts.subscription.cancel(date(2026, 11, 1))))
    read = format_reader.read_vault(home)["tenants"]["acme"]
    assert read["credential"]["kind"] == "certificate"
    assert read["credential"]["expires_at"] is None
    assert read["profile"]["subscription"]["cancelled"] is True
    assert read["purge_at"] == format_reader.purge_at(read["profile"]["subscription"], NOW)


def test_a_keytab_opens_byte_by_byte_and_goes_with_another_way_to_sign_in(vault: Vault, home: Path) -> None:
    tenant, keytab = registered(vault, "house", online=False), b"\x05\x02" + bytes(range(256)) * 2

    def by_kerberos(facts: TenantProfile) -> TenantProfile:
        return replace(facts, connection=OnpremConnection("https://mail.example/EWS/Exchange.asmx", "svc", "kerberos"))

    tenants.update(vault, tenant, by_kerberos, credential=Credential(CredentialKind.KEYTAB, Secret(keytab)))
    read = format_reader.read_vault(home)["tenants"]["house"]
    assert (read["profile"]["connection"]["auth"], read["credential"]["kind"]) == ("kerberos", "keytab")
    assert format_reader.credential_secret(read["credential"]) == keytab
    for table, (found, stated) in read["manifest"]["tables"].items():
        assert found == stated, table


def test_after_an_erasure_the_same_key_file_opens_the_rest_and_the_receipt_is_genuine(
    vault: Vault, home: Path, tmp_path: Path
) -> None:
    doomed, kept = registered(vault, "doomed"), registered(vault, "kept")
    filled(vault, kept)
    key_file = vault.layout.root_key_file
    assert key_file is not None
    before = key_file.read_bytes()
    erased = erasure.erase(vault, doomed, reason=erasure.ON_DEMAND, role="root")
    assert erased.status == "final"
    assert {each.name for each in key_file.parent.iterdir()} <= {
        key_file.name + end for end in ("", ".ledger", ".count")
    }
    assert key_file.read_bytes() != before
    read = format_reader.read_vault(home)
    assert set(read["tenants"]) == {"kept"}
    assert len(read["tenants"]["kept"]["contacts"]) == 4
    receipt = (home / "receipts" / f"{json.loads(erased.receipt)['statement']['tenant_id']}.json").read_bytes()
    assert format_reader.check_receipt(receipt, vault.receipt_public_key.encode())["root_key"] == {
        "provider": "file",
        "generation": 2,
        "replaced": 1,
    }
    content, public = (home / "erasure.ledger").read_bytes(), vault.receipt_public_key.encode()
    events = format_reader.check_ledger(content, public, read["unsigned_until"])
    assert [(event["event"], event["tenant_id"]) for event in events] == [
        (name, doomed.id.hex()) for name in ("intent", "keys_destroyed", "completed")
    ]
    assert set(json.loads(events[0]["detail"])) == {"reason", "rule_version"}


def test_the_documented_tables_and_columns_are_all_there_are(vault: Vault) -> None:
    text = (Path(__file__).parents[2] / "docs" / "FORMAT.md").read_text("utf-8")
    section = text.partition("## 9.")[2].partition("## 10.")[0]
    documented = {
        line.split("|")[1].strip().strip("`"): line.split("|")[2] for line in section.splitlines() if "| `" in line
    }
    found: dict[str, set[str]] = {}
    for database in (vault.data, vault.key_data):
        with database.read() as tx:
            for (name,) in tx.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                if not name.startswith("sqlite_"):
                    found[name] = {row[1] for row in tx.exec_driver_sql(f"PRAGMA table_info({name})").fetchall()}
    assert set(documented) == set(found)
    for name, columns in found.items():
        assert all(f"`{column}`" in documented[name] for column in columns - {"data_class", "purge_at"}), name
