"""A receipt is genuine as it was issued and under no change at all."""

from __future__ import annotations

import base64
import copy
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from syncvault.crypto.signature import Subject, canonical, public_key_pem, sign
from syncvault.errors import InputError
from syncvault.vault.erasing.receipt import Rows, Statement, Verdict, issue, verify

SEED = b"s" * 32
PUBLIC = public_key_pem(SEED).encode()


def statement(**changes: Any) -> Statement:
    facts: dict[str, Any] = {
        "vault_id": b"v" * 16,
        "tenant_id": b"t" * 16,
        "reason": "on-demand",
        "requested_by": "root",
        "requested_at": datetime(2027, 1, 1, 12, tzinfo=UTC),
        "issued_at": datetime(2027, 1, 1, 12, 0, 5, tzinfo=UTC),
        "rule_version": 1,
        "counts": {"contacts": 12, "photos": 0},
        "keys_destroyed": ("data/1", "index/1"),
        "root_key": {"provider": "file", "generation": 2, "replaced": None},
        "storage": ("write-ahead log emptied",),
        "outstanding": (),
    }
    return Statement(**{**facts, **changes})


RECEIPT = issue(statement(), SEED)


def altered(change: Callable[[dict[str, Any]], object]) -> bytes:
    document = json.loads(RECEIPT)
    change(document)
    return json.dumps(document).encode()


def paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place in a document, objects and lists included."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inside:
        yield (*path, key)
        yield from paths(child, (*path, key))


EVERYWHERE = [path for path in paths(json.loads(RECEIPT)["statement"]) if path != ("schema",)]


def parent_of(document: dict[str, Any], path: tuple[str | int, ...]) -> Any:
    found: Any = document["statement"]
    for key in path[:-1]:
        found = found[key]
    return found


def test_a_receipt_as_issued_is_genuine_and_says_what_was_stated() -> None:
    verdict = verify(RECEIPT, PUBLIC)
    assert verdict.valid
    assert verdict.content == {
        "schema": "syncvault/receipt/1",
        "status": "final",
        "vault_id": "76767676-7676-7676-7676-767676767676",
        "tenant_id": "74747474-7474-7474-7474-747474747474",
        "reason": "on-demand",
        "requested_by": "root",
        "requested_at": "2027-01-01T12:00:00Z",
        "issued_at": "2027-01-01T12:00:05Z",
        "rule_version": 1,
        "counts": {"contacts": 12, "photos": 0},
        "keys_destroyed": ["data/1", "index/1"],
        "root_key": {"provider": "file", "generation": 2, "replaced": None},
        "storage": ["write-ahead log emptied"],
        "outstanding": [],
    }


ROWS = Rows(
    entry=7,
    contacts=(b"c" * 16, b"d" * 16),
    mailboxes=(b"m" * 16,),
    backups_until=datetime(2027, 2, 5, tzinfo=UTC),
)


@pytest.mark.parametrize(
    "changes",
    [{}, {"rows": ROWS}, {"outstanding": ("backups",)}, {"counts": {}}],
    ids=["tenant", "rows", "interim", "0"],
)
def test_what_a_receipt_states_reads_back_as_it_was_stated(changes: dict[str, Any]) -> None:
    stated = statement(**changes)
    content = verify(issue(stated, SEED), PUBLIC).content
    assert Statement.from_dict(content) == stated
    assert issue(Statement.from_dict(content), SEED) == issue(stated, SEED)
    assert ("rows" in content) is (stated.rows is not None)


def test_rows_that_were_erased_are_named_by_their_ids() -> None:
    assert verify(issue(statement(rows=ROWS), SEED), PUBLIC).content["rows"] == {
        "entry": 7,
        "contacts": ["63636363-6363-6363-6363-636363636363", "64646464-6464-6464-6464-646464646464"],
        "mailboxes": ["6d6d6d6d-6d6d-6d6d-6d6d-6d6d6d6d6d6d"],
        "backups_until": "2027-02-05T00:00:00Z",
    }


def test_the_last_root_is_the_one_that_was_replaced_or_else_the_one_in_force() -> None:
    assert statement(root_key={"provider": "file", "generation": 3, "replaced": 2}).last_root == 2
    assert statement(root_key={"provider": "file", "generation": 3, "replaced": None}).last_root == 3


@pytest.mark.parametrize("own_zone", ["Pacific/Kiritimati", "America/Nuuk"])
def test_instants_are_in_utc_whatever_the_machine_s_own_zone(own_zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told_elsewhere = datetime(2027, 1, 1, 14, tzinfo=timezone(timedelta(hours=2)))
    with monkeypatch.context() as machine:
        machine.setenv("TZ", own_zone)
        time.tzset()
        receipt = issue(statement(requested_at=told_elsewhere), SEED)
    time.tzset()
    assert receipt == RECEIPT


def test_it_is_final_only_when_nothing_is_outstanding() -> None:
    assert statement().status == "final"
    assert statement(outstanding=("root key: pending",)).status == "interim"


def test_layout_and_order_of_the_file_do_not_matter() -> None:
    document = json.loads(RECEIPT)
    backwards = {key: document[key] for key in reversed(document)}
    backwards["statement"] = {key: document["statement"][key] for key in reversed(document["statement"])}
    assert verify(json.dumps(backwards, indent=7).encode(), PUBLIC).valid


@pytest.mark.parametrize("path", EVERYWHERE, ids=lambda path: "/".join(map(str, path)))
@pytest.mark.parametrize(
    "value", ["x", "", 7, 0, 1.0, True, None, float("nan"), float("inf"), 10**400, {}, [], "\ud800"], ids=ascii
)
def test_no_value_can_be_put_in_another_s_place(path: tuple[str | int, ...], value: Any) -> None:
    document = json.loads(RECEIPT)
    place = parent_of(document, path)
    if type(place[path[-1]]) is type(value) and place[path[-1]] == value:
        return
    place[path[-1]] = value
    assert not verify(json.dumps(document).encode(), PUBLIC).valid


@pytest.mark.parametrize("path", EVERYWHERE, ids=lambda path: "/".join(map(str, path)))
def test_nothing_can_be_taken_out(path: tuple[str | int, ...]) -> None:
    document = json.loads(RECEIPT)
    del parent_of(document, path)[path[-1]]
    assert not verify(json.dumps(document).encode(), PUBLIC).valid


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.update(note="x"),
        lambda document: document["statement"].update(note="x"),
        lambda document: document["statement"]["counts"].update(contacts2=1),
        lambda document: document["statement"]["outstanding"].append("x"),
        lambda document: document["statement"]["keys_destroyed"].append("data/2"),
        lambda document: document["statement"]["keys_destroyed"].reverse(),
        lambda document: document["statement"]["storage"].clear(),
    ],
)
def test_nothing_can_be_added_or_reordered(change: Callable[[dict[str, Any]], object]) -> None:
    assert not verify(altered(change), PUBLIC).valid


@given(at=st.integers(0, 63), bit=st.integers(0, 7))
def test_no_bit_of_the_signature_can_be_flipped(at: int, bit: int) -> None:
    signature = bytearray(base64.b64decode(json.loads(RECEIPT)["signature"]))
    signature[at] ^= 1 << bit
    forged = altered(lambda document: document.update(signature=base64.b64encode(signature).decode()))
    assert not verify(forged, PUBLIC).valid


@pytest.mark.parametrize("signature", ["", "AAAA", base64.b64encode(bytes(64)).decode()])
def test_a_signature_that_is_none_is_not_good(signature: str) -> None:
    assert not verify(altered(lambda document: document.update(signature=signature)), PUBLIC).valid


def test_a_second_spelling_of_the_same_signature_is_not_good() -> None:
    text = json.loads(RECEIPT)["signature"]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = text[:85] + alphabet[alphabet.index(text[85]) + 1] + "=="
    assert base64.b64decode(other) == base64.b64decode(text)
    assert not verify(altered(lambda document: document.update(signature=other)), PUBLIC).valid


def test_another_vault_s_key_does_not_verify_it() -> None:
    assert not verify(RECEIPT, public_key_pem(b"o" * 32).encode()).valid


def test_a_signature_of_something_else_under_the_same_key_does_not_do() -> None:
    document = json.loads(RECEIPT)
    other = copy.deepcopy(document["statement"]) | {"reason": "retention"}
    document["signature"] = base64.b64encode(sign(SEED, Subject.RECEIPT, other)).decode()
    assert not verify(json.dumps(document).encode(), PUBLIC).valid


@pytest.mark.parametrize("name", ["statement", "status", "contacts", "signature"])
def test_a_name_that_appears_twice_makes_it_no_receipt(name: str) -> None:
    text = RECEIPT.decode().replace(f'"{name}":', f'"{name}": 1, "{name}":', 1)
    assert verify(text.encode(), PUBLIC) == Verdict(valid=False, content={})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not JSON",
        b"\xff\xfe\xfd",
        b"{}",
        b"[]",
        b"null",
        b"7",
        b'"text"',
        b'{"statement": {}, "signature": ""}',
        b'{"statement": [], "signature": "AAAA"}',
        b'{"statement": {"schema": "syncvault/receipt/1"}}',
        b'{"statement": {"schema": "syncvault/receipt/1"}, "signature": 7}',
        b'{"statement": {"schema": "syncvault/receipt/1"}, "signature": "*"}',
        b'{"statement": {"schema": "syncvault/receipt/1"}, "signature": "\xc3\xbc"}',
        b"[" * 200_000,
        b'{"a":' * 200_000,
    ],
    ids=lambda content: ascii(content[:40]),
)
def test_what_cannot_be_read_as_a_receipt_is_not_genuine(content: bytes) -> None:
    assert not verify(content, PUBLIC).valid


@pytest.mark.parametrize(
    "damage", [lambda text: text[:-20], lambda text: text.replace(b'"signature": "', b'"signature": "-')]
)
def test_a_receipt_damaged_beyond_reading_is_not_genuine_and_says_nothing(damage: Callable[[bytes], bytes]) -> None:
    assert verify(damage(RECEIPT), PUBLIC) == Verdict(valid=False, content={})


def test_a_deeply_nested_statement_is_just_not_good() -> None:
    deep: Any = []
    for _ in range(400):
        deep = [deep]
    assert not verify(altered(lambda document: document["statement"].update(storage=deep)), PUBLIC).valid


@pytest.mark.parametrize("other_schema", ["syncvault/receipt/2", "", 7])
def test_a_later_schema_is_not_called_good_even_when_signed(other_schema: object) -> None:
    document = statement().to_dict() | {"schema": other_schema}
    receipt = {"statement": document, "signature": base64.b64encode(sign(SEED, Subject.RECEIPT, document)).decode()}
    assert not verify(json.dumps(receipt).encode(), PUBLIC).valid


@pytest.mark.parametrize("pem", [b"", b"not a key", PUBLIC[:60], PUBLIC.replace(b"PUBLIC", b"PRIVATE")])
def test_a_file_that_holds_no_key_is_called_so(pem: bytes) -> None:
    with pytest.raises(InputError, match="Ed25519 public key"):
        verify(RECEIPT, pem)


def test_a_key_of_another_kind_is_called_so() -> None:
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    with pytest.raises(InputError, match="Ed25519 public key"):
        verify(RECEIPT, other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


@pytest.mark.parametrize("value", [1.5, float("nan"), float("inf"), [0.0], {"a": {"b": (-1.0,)}}, 2**60, "\ud800"])
def test_what_has_no_single_form_is_not_signed(value: object) -> None:
    with pytest.raises(TypeError):
        canonical({"a": value})


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@pytest.mark.slow
@given(document=st.dictionaries(st.text(max_size=5), json_values, max_size=4))
def test_the_signed_form_reads_back_and_does_not_depend_on_order(document: dict[str, Any]) -> None:
    assert json.loads(canonical(document)) == document
    assert canonical({key: document[key] for key in reversed(document)}) == canonical(document)
