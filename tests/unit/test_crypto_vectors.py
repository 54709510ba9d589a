"""The known-answer vectors hold for syncvault, for a reader that knows only docs/FORMAT.md, and for the generator."""

from __future__ import annotations

import json
from datetime import date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from syncvault.crypto.index import BlindIndex, Label, normalise_address
from syncvault.crypto.padding import pad, unpad
from syncvault.crypto.place import Place
from syncvault.crypto.record import RecordCipher, generation, row_version
from syncvault.crypto.signature import canonical, public_key_pem
from syncvault.policy.calendar import day_begins, log_purge_instant
from syncvault.policy.catalogue import DataClass
from syncvault.policy.subscription import Subscription, SubscriptionKind
from syncvault.roots.generations import from_text
from syncvault.roots.passphrase import PassphraseProvider
from syncvault.roots.port import ProviderSettings
from syncvault.secret import Secret
from syncvault.vault.receipt import verify
from syncvault.vault.sealing import to_datetime
from tests import format_reader
from tests.vectors import generate

FOLDER = Path(generate.__file__).parent
DOCUMENT = FOLDER.parent.parent / "docs" / "FORMAT.md"


def vectors(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_bytes())


def unhex(*texts: str) -> list[bytes]:
    return [bytes.fromhex(text) for text in texts]


RECORDS = vectors("records")
EACH_RECORD = pytest.mark.parametrize(
    "vector", RECORDS["records"], ids=lambda vector: f"{vector['place']}-{vector['row_version']}"
)
EACH_KEY = pytest.mark.parametrize(
    "vector", vectors("wrapped_keys")["wrapped_keys"], ids=lambda vector: f"{vector['purpose']}-{vector['generation']}"
)


@pytest.mark.parametrize("name", list(generate.VECTORS))
def test_what_is_written_now_is_what_was_written_then(name: str) -> None:
    assert (FOLDER / f"{name}.json").read_text("ascii") == generate.text(name)


def test_every_place_has_a_vector() -> None:
    assert {vector["place"] for vector in RECORDS["records"]} == {place.name for place in Place} - {"WRAPPED_KEY"}


def test_every_place_is_documented_with_its_bound_columns_in_order() -> None:
    text = DOCUMENT.read_text("utf-8")
    for place in Place:
        row = next(line for line in text.splitlines() if line.startswith(f"| 0x{place.number:04x} |"))
        assert row.rstrip(" |").rpartition("|")[2].strip() == ", ".join(f"`{name}`" for name in place.bound) or (
            not place.bound and row.endswith("| |")
        )


@EACH_RECORD
def test_a_record_opens_here(vector: dict[str, Any]) -> None:
    key, vault_id, tenant_id = unhex(RECORDS["key"], RECORDS["vault_id"], RECORDS["tenant_id"])
    cipher = RecordCipher({RECORDS["generation"]: key}, RECORDS["generation"], vault_id=vault_id, tenant_id=tenant_id)
    row_id, record, plaintext = unhex(vector["row_id"], vector["record"], vector["plaintext"])
    bound = unhex(*(column["value"] for column in vector["bound"]))
    assert cipher.open(Place[vector["place"]], row_id, record, *bound) == plaintext
    assert row_version(record) == vector["row_version"]
    assert generation(record) == RECORDS["generation"]


@EACH_RECORD
def test_a_record_opens_for_a_stranger(vector: dict[str, Any]) -> None:
    key, vault_id, tenant_id = unhex(RECORDS["key"], RECORDS["vault_id"], RECORDS["tenant_id"])
    row_id, record, plaintext = unhex(vector["row_id"], vector["record"], vector["plaintext"])
    bound = unhex(*(column["value"] for column in vector["bound"]))
    number, version = vector["number"], vector["row_version"]
    data = format_reader.associated_data(vault_id, tenant_id, number, row_id, version, *bound)
    assert data.hex() == vector["associated_data"]
    opened = format_reader.open_record(
        {RECORDS["generation"]: key}, record, number, row_id, *bound, vault_id=vault_id, tenant_id=tenant_id
    )
    assert opened == plaintext


@EACH_KEY
def test_a_wrapped_key_opens_for_a_stranger(vector: dict[str, Any]) -> None:
    file = vectors("wrapped_keys")
    root, vault_id = unhex(file["root_key"], file["vault_id"])
    row_id, tenant_id, blob, key = unhex(vector["id"], vector["tenant_id"], vector["blob"], vector["key"])
    columns = format_reader.wrapped_key_columns(vector["purpose"], vector["generation"])
    opened = format_reader.open_record(
        {vector["root_generation"]: root},
        blob,
        format_reader.WRAPPED_KEY,
        row_id,
        *columns,
        vault_id=vault_id,
        tenant_id=tenant_id,
    )
    assert opened == key


def test_an_index_is_the_same_here_and_for_a_stranger() -> None:
    file = vectors("indexes")
    (key,) = unhex(file["key"])
    for vector in file["exact"]:
        assert BlindIndex(key).of(Label(vector["label"]), vector["value"]).hex() == vector["index"]
        assert format_reader.index(key, vector["label"], vector["value"]).hex() == vector["index"]


@pytest.mark.parametrize("vector", vectors("indexes")["addresses"], ids=lambda vector: ascii(vector["value"])[:30])
def test_an_address_is_normalised_the_same_here_and_for_a_stranger(vector: dict[str, Any]) -> None:
    (key,) = unhex(vectors("indexes")["key"])
    assert normalise_address(vector["value"]) == vector["normalised"]
    assert format_reader.normalised(vector["value"]) == vector["normalised"]
    assert format_reader.index(key, vector["label"], vector["normalised"]).hex() == vector["index"]


@pytest.mark.parametrize("vector", vectors("padding"), ids=lambda vector: str(len(vector["secret"]) // 2))
def test_padding_is_the_same_here_and_for_a_stranger(vector: dict[str, Any]) -> None:
    secret, padded = unhex(vector["secret"], vector["padded"])
    assert pad(secret) == padded
    assert unpad(padded) == secret
    assert format_reader.unpad(padded) == secret


@pytest.mark.parametrize("number", [0, 1])
def test_a_receipt_is_genuine_here_and_for_a_stranger(number: int) -> None:
    file = vectors("receipts")
    vector, public = file["receipts"][number], file["public_key"].encode()
    assert public_key_pem(bytes.fromhex(file["seed"])).encode() == public
    verdict = verify(vector["receipt"].encode(), public)
    assert verdict.valid
    assert canonical(verdict.content).decode() == vector["canonical"]
    assert format_reader.check_receipt(vector["receipt"].encode(), public) == verdict.content
    assert format_reader.canonical_json(json.loads(vector["canonical"])) == vector["canonical"]


def test_a_key_file_s_text_reads_the_same_here_and_for_a_stranger() -> None:
    file = vectors("roots")
    keys = {int(n): bytes.fromhex(key) for n, key in file["keys"].items()}
    assert from_text(file["text"].encode(), file["vault_id"], "the vector") == keys
    assert format_reader.root_keys(file["text"].encode(), UUID(file["vault_id"]).bytes) == keys


def test_a_passphrase_gives_the_same_root_key_here_and_to_a_stranger() -> None:
    file = vectors("roots")
    settings = ProviderSettings(UUID(file["vault_id"]), passphrase=lambda: Secret(file["passphrase"]))
    assert PassphraseProvider(settings).unwrap(file["passphrase_handle"]).hex() == file["passphrase_key"]
    derived = format_reader.passphrase_key(file["passphrase_handle"], file["passphrase"].encode())
    assert derived.hex() == file["passphrase_key"]


@pytest.mark.parametrize("vector", vectors("purge_dates")["subscriptions"], ids=lambda vector: vector["now"])
def test_a_purge_date_is_the_same_here_and_for_a_stranger(vector: dict[str, Any]) -> None:
    facts, now = vector["subscription"], datetime.fromisoformat(vector["now"])
    subscription = Subscription(
        **{**facts, "kind": SubscriptionKind(facts["kind"]), "ends_on": date.fromisoformat(facts["ends_on"])}
    )
    assert subscription.cover_ends(now).isoformat() == vector["cover_ends"]
    assert subscription.state(now) == vector["state"]
    assert subscription.purge_on(now).isoformat() == vector["purge_on"]
    assert subscription.purge_at(now) == to_datetime(vector["purge_at"])
    assert format_reader.cover_ends(facts, now).isoformat() == vector["cover_ends"]
    assert format_reader.purge_at(facts, now) == vector["purge_at"]


def test_days_begin_and_log_rows_go_when_the_vectors_say() -> None:
    file = vectors("purge_dates")
    for vector in file["day_begins"]:
        begins = day_begins(date.fromisoformat(vector["day"]), ZoneInfo(vector["zone"]))
        assert begins == to_datetime(vector["at"])
    written = to_datetime(file["log"]["written"])
    assert log_purge_instant(DataClass.AUDIT, written) == to_datetime(file["log"]["purge_at"])


def test_the_worked_example_is_the_first_vector() -> None:
    text, first = "".join(DOCUMENT.read_text("utf-8").split()), RECORDS["records"][0]
    assert RECORDS["key"] in text
    assert first["associated_data"] in text
    assert first["record"] in text
