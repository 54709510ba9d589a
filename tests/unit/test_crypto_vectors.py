"""The known-answer vectors hold for syncvault, for a reader that knows only docs/FORMAT.md, and for the generator."""

from __future__ import annotations

import base64
import json
from datetime import date, datetime
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap

from syncvault.crypto.index import BlindIndex, Label, normalise_address
from syncvault.crypto.multiset import MultisetHash
from syncvault.crypto.padding import pad, unpad
from syncvault.crypto.place import Place
from syncvault.crypto.record import (
    RecordCipher,
    RecordRefusedError,
    UnknownFormatError,
    WrongKeyError,
    generation,
    row_version,
)
from syncvault.crypto.signature import Subject, canonical, is_signed_by, public_key, public_key_from_pem, public_key_pem
from syncvault.errors import DamagedError, RootKeyError
from syncvault.policy.calendar import day_begins, log_purge_instant
from syncvault.policy.catalogue import DataClass
from syncvault.policy.subscription import Subscription, SubscriptionKind
from syncvault.roots import wrapping
from syncvault.roots.file import FileProvider
from syncvault.roots.generations import from_text, to_text
from syncvault.roots.keyring import KeyringProvider
from syncvault.roots.passphrase import PassphraseProvider
from syncvault.roots.port import ProviderSettings
from syncvault.roots.systemd import SystemdProvider
from syncvault.secret import Secret
from syncvault.store.tenants import TenantRow
from syncvault.vault.erasing import intent, ledger
from syncvault.vault.erasing.receipt import verify
from syncvault.vault.sealing import damaged, to_datetime
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


def test_the_manifest_s_sums_are_those_of_the_records_here_and_for_a_stranger() -> None:
    (vector,) = (vector for vector in RECORDS["records"] if vector["place"] == "MANIFEST")
    assert vector["row_id"] == RECORDS["tenant_id"]
    content = json.loads(bytes.fromhex(vector["plaintext"]))
    key = base64.b64decode(content["key"])
    seen = 0
    for table, stated in content["tables"].items():
        tags = [
            bytes.fromhex(each["record"])[-16:]
            for each in RECORDS["records"]
            if damaged(Place[each["place"]], bytes(16), WrongKeyError("")).message.split()[3] == table
        ]
        total = MultisetHash(key).of(tags)
        assert (total.size, f"{total.low:016x}{total.high:016x}") == (stated["count"], stated["sum"])
        assert (len(tags), format_reader.multiset(key, tags)) == (stated["count"], stated["sum"])
        assert format_reader.multiset(key, tags[::-1]) == stated["sum"]
        seen += len(tags)
    assert seen == len(RECORDS["records"]) - 1


@pytest.mark.parametrize("vector", RECORDS["refused"], ids=lambda vector: vector["why"])
def test_a_record_that_no_reader_may_open_is_refused_here_and_by_a_stranger(vector: dict[str, Any]) -> None:
    key, vault_id, tenant_id = unhex(RECORDS["key"], RECORDS["vault_id"], RECORDS["tenant_id"])
    keys = {RECORDS["generation"]: key}
    row_id, record, *bound = unhex(vector["row_id"], vector["record"], *vector["bound"])
    cipher = RecordCipher(keys, RECORDS["generation"], vault_id=vault_id, tenant_id=tenant_id)
    with pytest.raises(RecordRefusedError):
        cipher.open(Place[vector["place"]], row_id, record, *bound)
    with pytest.raises((format_reader.Refused, InvalidTag)):
        format_reader.open_record(
            keys, record, vector["number"], row_id, *bound, vault_id=vault_id, tenant_id=tenant_id
        )


@EACH_KEY
def test_a_wrapped_key_opens_here(vector: dict[str, Any]) -> None:
    file = vectors("wrapped_keys")
    root, vault_id = unhex(file["root_key"], file["vault_id"])
    row_id, tenant_id, blob, key = unhex(vector["id"], vector["tenant_id"], vector["blob"], vector["key"])
    number = vector["root_generation"]
    cipher = RecordCipher({number: root}, number, vault_id=vault_id, tenant_id=tenant_id)
    columns = format_reader.wrapped_key_columns(vector["purpose"], vector["generation"])
    assert cipher.open(Place.WRAPPED_KEY, row_id, blob, *columns) == key


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


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_receipt_is_genuine_here_and_for_a_stranger(number: int) -> None:
    file = vectors("receipts")
    vector, public = file["receipts"][number], file["public_key"].encode()
    assert public_key_pem(bytes.fromhex(file["seed"])).encode() == public
    verdict = verify(vector["receipt"].encode(), public)
    assert verdict.valid
    assert canonical(verdict.content).decode() == vector["canonical"]
    assert format_reader.check_receipt(vector["receipt"].encode(), public) == verdict.content
    assert format_reader.canonical_json(json.loads(vector["canonical"])) == vector["canonical"]


def test_an_erasure_under_way_reads_here_and_for_a_stranger() -> None:
    file = vectors("erasures")
    public, tenant_id = file["public_key"].encode(), bytes.fromhex(file["tenant_id"])
    row = TenantRow(tenant_id, "online", "erasing", file["epoch"], b"", b"", file["intent"], None, None, None, "", 0)
    said = format_reader.check_intent(file["intent"], tenant_id, file["epoch"], public)
    assert intent.read(row, public_key_from_pem(public)).counts == said["counts"]
    for other in (row._replace(id=bytes(16)), row._replace(epoch=3)):
        with pytest.raises(DamagedError):
            intent.read(other, public_key_from_pem(public))
        with pytest.raises(format_reader.Refused):
            format_reader.check_intent(file["intent"], other.id, other.epoch, public)


def test_the_ledger_reads_here_and_for_a_stranger() -> None:
    file = vectors("erasures")
    public, content = file["public_key"].encode(), file["ledger"].encode()
    entries = ledger.parse(content)
    until = file["unsigned_until"]
    assert ledger.check(entries, public_key_from_pem(public), unsigned_until=until) is None
    assert ledger.to_text(entries) == content
    strange = format_reader.check_ledger(content, public, until)
    assert [entry["event"] for entry in strange] == [row.event for row in entries]


@pytest.mark.parametrize("vector", vectors("erasures")["refused"], ids=lambda vector: vector["why"])
def test_a_ledger_that_was_changed_is_refused_here_and_by_a_stranger(vector: dict[str, Any]) -> None:
    public, content = vectors("erasures")["public_key"].encode(), vector["ledger"].encode()
    until = vectors("erasures")["unsigned_until"]
    assert ledger.check(ledger.parse(content), public_key_from_pem(public), unsigned_until=until) is not None
    with pytest.raises((format_reader.Refused, InvalidSignature)):
        format_reader.check_ledger(content, public, until)


EACH_REFUSED_RECEIPT = pytest.mark.parametrize(
    "vector", vectors("receipts")["refused"], ids=lambda vector: vector["why"]
)


@EACH_REFUSED_RECEIPT
def test_a_receipt_that_is_not_genuine_is_refused_here_and_by_a_stranger(vector: dict[str, Any]) -> None:
    receipt, public = vector["receipt"].encode(), vectors("receipts")["public_key"].encode()
    assert not verify(receipt, public).valid
    with pytest.raises((format_reader.Refused, InvalidSignature, ValueError)):
        format_reader.check_receipt(receipt, public)


@pytest.mark.parametrize("vector", vectors("signatures")["signatures"], ids=lambda vector: vector["subject"])
def test_a_signature_is_good_under_its_subject_alone_here_and_for_a_stranger(vector: dict[str, Any]) -> None:
    file, document = vectors("signatures"), json.loads(vectors("signatures")["canonical"])
    seed, signature = unhex(file["seed"], vector["signature"])
    public = file["public_key"].encode()
    assert canonical(document).decode() == format_reader.canonical_json(document) == file["canonical"]
    assert [subject.value.decode() for subject in Subject if is_signed_by(public, subject, document, signature)] == [
        vector["subject"]
    ]
    assert is_signed_by(public_key(seed), Subject(vector["subject"].encode()), document, signature)
    format_reader.check_signature(vector["subject"], document, signature, public)


@pytest.mark.parametrize(("text", "keys"), [("text", "keys"), ("one_generation/text", "one_generation/keys")])
def test_a_key_file_s_text_reads_the_same_here_and_for_a_stranger(text: str, keys: str) -> None:
    file = vectors("roots")
    content, expected = (reduce(getitem, path.split("/"), file) for path in (text, keys))
    opened = {int(n): bytes.fromhex(key) for n, key in expected.items()}
    assert from_text(content.encode(), file["vault_id"], "the vector") == opened
    assert format_reader.root_keys(content.encode(), UUID(file["vault_id"]).bytes) == opened
    assert to_text(file["vault_id"], opened) == content.encode()


@pytest.mark.parametrize("vector", vectors("roots")["refused_texts"], ids=lambda vector: vector["why"])
def test_a_text_that_holds_no_keys_of_this_vault_is_refused_here_and_by_a_stranger(vector: dict[str, Any]) -> None:
    vault = vectors("roots")["vault_id"]
    with pytest.raises(RootKeyError):
        from_text(vector["text"].encode(), vault, "the vector")
    with pytest.raises((format_reader.Refused, ValueError, AttributeError)):
        format_reader.root_keys(vector["text"].encode(), UUID(vault).bytes)


@pytest.mark.parametrize("number", [0, 1])
def test_the_providers_that_keep_a_text_give_its_generations(number: int, tmp_path: Path) -> None:
    file = vectors("roots")
    expected = bytes.fromhex(file["keys"][str(number + 1)])
    for name in ("root.key", "syncvault-root"):  # the file; and the credential as a unit finds it
        (tmp_path / name).write_text(file["text"], "ascii")
        (tmp_path / name).chmod(0o600)
    vault, named = UUID(file["vault_id"]), tmp_path / "root.key"
    assert FileProvider(ProviderSettings(vault, root_key_file=named)).unwrap(file["file_handles"][number]) == expected
    moved = file["file_handles"][number] | {"path": str(named)}
    assert FileProvider(ProviderSettings(vault)).unwrap(moved) == expected
    unit = ProviderSettings(vault, environment={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert SystemdProvider(unit).unwrap(file["systemd_handles"][number]) == expected


@pytest.mark.parametrize("number", [0, 1])
def test_the_keyring_s_item_gives_its_generation_here_and_to_a_stranger(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = vectors("roots")
    handle, item = file["keyring_handles"][number], file["keyring_items"][number]
    vault = UUID(file["vault_id"])
    assert format_reader.keyring_item(vault.bytes, handle) == (item["service"], item["username"])

    class Items:  # a fake: the real Secret Service is asked in tests/integration/test_roots_keyring.py
        @staticmethod
        def get_password(service: str, username: str) -> str | None:
            return item["password"] if (service, username) == (item["service"], item["username"]) else None

    monkeypatch.setattr("syncvault.roots.keyring._load", {handle["backend"]: Items}.__getitem__)
    assert KeyringProvider(ProviderSettings(vault)).unwrap(handle).hex() == file["keys"][str(number + 1)]


@pytest.mark.parametrize("again", ["", "_2"], ids=["generation 1", "generation 2"])
def test_a_passphrase_gives_the_same_root_key_here_and_to_a_stranger(again: str) -> None:
    file = vectors("roots")
    handle, key = file[f"passphrase_handle{again}"], file[f"passphrase_key{again}"]
    settings = ProviderSettings(UUID(file["vault_id"]), passphrase=lambda: Secret(file["passphrase"]))
    assert PassphraseProvider(settings).unwrap(handle).hex() == key
    assert format_reader.passphrase_key(handle, file["passphrase"].encode()).hex() == key


@pytest.mark.parametrize("number", [0, 1])
def test_a_wrapped_root_key_is_bound_to_vault_and_generation_here_and_for_a_stranger(number: int) -> None:
    file = vectors("roots")
    vector, vault = file["wrapped"]["generations"][number], UUID(file["vault_id"])
    generation_, key = vector["generation"], bytes.fromhex(file["keys"][str(vector["generation"])])
    bound_to = wrapping.binding(vault, generation_)
    assert bound_to.decode() == vector["binding"]
    assert wrapping.check_of(key, bound_to) == vector["check"]
    assert format_reader.wrapping_check(key, vault.bytes, generation_) == base64.b64decode(vector["check"])
    assert (
        aes_key_unwrap(
            bytes.fromhex(file["wrapped"]["wrapping_key"]), wrapping.wrapped_bytes({"wrapped": vector["aes_key_wrap"]})
        )
        == key
    )
    wrapping.require_check({"check": vector["check"]}, key, bound_to)
    for other in (wrapping.binding(vault, 3 - generation_), wrapping.binding(UUID(int=0), generation_)):
        with pytest.raises(RootKeyError):
            wrapping.require_check({"check": vector["check"]}, key, other)


ROTATION = vectors("rotation")
OPENS = {"before": {"2": True, "3": False}, "while": {"2": True, "3": True}, "after": {"2": False, "3": True}}


@pytest.mark.parametrize("stage", list(OPENS))
@pytest.mark.parametrize("number", ["2", "3"])
def test_a_key_wrapped_under_a_root_generation_opens_while_that_generation_lives(stage: str, number: str) -> None:
    vault_id = bytes.fromhex(ROTATION["vault_id"])
    text = ROTATION["root_keys_text"][stage].encode()
    roots = from_text(text, str(UUID(bytes=vault_id)), stage)
    assert format_reader.root_keys(text, vault_id) == roots
    for vector in ROTATION["wrapped_keys"]:
        row_id, tenant_id, blob, key = unhex(
            vector["id"], vector["tenant_id"], vector["blob_by_root_generation"][number], vector["key"]
        )
        columns = format_reader.wrapped_key_columns(vector["purpose"], vector["generation"])
        cipher = RecordCipher(roots, max(roots), vault_id=vault_id, tenant_id=tenant_id)
        scope = {"vault_id": vault_id, "tenant_id": tenant_id}
        if OPENS[stage][number]:
            assert cipher.open(Place.WRAPPED_KEY, row_id, blob, *columns) == key
            assert format_reader.open_record(roots, blob, 0x0901, row_id, *columns, **scope) == key
        else:
            with pytest.raises(UnknownFormatError, match=f"generation {number}"):
                cipher.open(Place.WRAPPED_KEY, row_id, blob, *columns)
            with pytest.raises(format_reader.Refused):
                format_reader.open_record(roots, blob, 0x0901, row_id, *columns, **scope)


@pytest.mark.parametrize("number", [0, 1], ids=["retired", "current"])
def test_a_contact_opens_under_the_generation_that_sealed_it_whatever_seals_now(number: int) -> None:
    contact, scope = ROTATION["contact"], {name: bytes.fromhex(ROTATION[name]) for name in ("vault_id", "tenant_id")}
    by_purpose = {
        purpose: {v["generation"]: bytes.fromhex(v["key"]) for v in ROTATION["wrapped_keys"] if v["purpose"] == purpose}
        for purpose in ("data", "index")
    }
    states = {(v["purpose"], v["generation"]): v["state"] for v in ROTATION["wrapped_keys"]}
    vector = contact["sealed"][number]
    generation_, other = vector["generation"], 3 - vector["generation"]
    assert states["data", generation_] == ("retired", "current")[number]
    row_id, mailbox_id, folder_id, plaintext = unhex(
        *(contact[name] for name in ("id", "mailbox_id", "folder_id", "plaintext"))
    )
    remote_ix, record = unhex(vector["remote_ix"], vector["record"])
    assert BlindIndex(by_purpose["index"][generation_]).of(Label.ITEM, contact["item"]) == remote_ix
    assert format_reader.index(by_purpose["index"][generation_], "item", contact["item"]) == remote_ix
    bound = mailbox_id, folder_id, remote_ix
    keys = by_purpose["data"]
    assert RecordCipher(keys, 2, **scope).open(Place.CONTACT, row_id, record, *bound) == plaintext
    assert format_reader.open_record(keys, record, 0x0701, row_id, *bound, **scope) == plaintext
    with pytest.raises(UnknownFormatError):
        RecordCipher({other: keys[other]}, other, **scope).open(Place.CONTACT, row_id, record, *bound)
    with pytest.raises(WrongKeyError):  # the same number, but the other key
        RecordCipher({generation_: keys[other]}, generation_, **scope).open(Place.CONTACT, row_id, record, *bound)


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
