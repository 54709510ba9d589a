"""Receipts under every change of their bytes: not genuine, or the same statement; never an exception."""

from __future__ import annotations

import base64
import json
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from hypothesis import given, settings
from hypothesis import strategies as st

from syncvault.crypto.signature import Subject, public_key, public_key_pem, sign
from syncvault.errors import InputError
from syncvault.vault.erasing.receipt import Statement, issue, verify

pytestmark = pytest.mark.slow  # many examples

SEED = b"s" * 32
PUBLIC = public_key_pem(SEED).encode()
INSTANT = datetime(2027, 4, 1, 12, tzinfo=UTC)
STATEMENT = Statement(
    vault_id=b"v" * 16,
    tenant_id=b"t" * 16,
    reason="retention",
    requested_by="root",
    requested_at=INSTANT,
    issued_at=INSTANT,
    rule_version=1,
    counts={"contacts": 12, "photos": 0},
    keys_destroyed=("data/1", "index/1"),
    root_key={"provider": "file", "generation": 2, "replaced": None},
    storage=("write-ahead log emptied",),
    outstanding=('root key: „pending“ \\ "',),
)
RECEIPT = issue(STATEMENT, SEED)
OTHER = issue(STATEMENT, b"o" * 32)
DOCUMENT = json.loads(RECEIPT)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def says_the_same(receipt: bytes) -> bool:
    """Whether a receipt is either not genuine, or states to the letter what was signed."""
    verdict = verify(receipt, PUBLIC)
    return not verdict.valid or (verdict.content == DOCUMENT["statement"] and _types(verdict.content) == TYPES)


def _types(value: object) -> object:
    if isinstance(value, dict):
        return {key: _types(inner) for key, inner in value.items()}
    return [_types(inner) for inner in value] if isinstance(value, list) else type(value)


TYPES = _types(DOCUMENT["statement"])


def test_the_receipt_itself_is_genuine() -> None:
    assert verify(RECEIPT, PUBLIC).valid


@pytest.mark.slow  # seconds in sum
@pytest.mark.parametrize("part", range(16))
def test_no_byte_can_be_another_and_say_something_else(part: int) -> None:
    for at in range(part, len(RECEIPT), 16):
        for value in range(256):
            changed = RECEIPT[:at] + bytes((value,)) + RECEIPT[at + 1 :]
            assert says_the_same(changed)
            assert changed == RECEIPT or not verify(changed, PUBLIC).valid or chr(RECEIPT[at]).isspace()


def test_a_receipt_cut_off_anywhere_is_not_genuine() -> None:
    whole = len(RECEIPT.rstrip())
    assert not any(verify(RECEIPT[:size], PUBLIC).valid for size in range(whole))
    assert not any(verify(RECEIPT[start:], PUBLIC).valid for start in range(1, whole))


@pytest.mark.parametrize(
    "joined", [RECEIPT * 2, RECEIPT + OTHER, OTHER + RECEIPT, b"[" + RECEIPT + b"," + OTHER + b"]"]
)
def test_receipts_joined_together_are_not_genuine(joined: bytes) -> None:
    assert not verify(joined, PUBLIC).valid


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be", "utf-7"])
def test_a_receipt_in_another_encoding_is_not_genuine(encoding: str) -> None:
    assert not verify(RECEIPT.decode().encode(encoding), PUBLIC).valid


@settings(max_examples=300)
@given(data=st.data())
def test_parts_taken_out_doubled_moved_and_overwritten_say_nothing_else(data: st.DataObject) -> None:
    receipt = RECEIPT
    for _ in range(data.draw(st.integers(1, 3))):
        begin = data.draw(st.integers(0, len(receipt)))
        end = data.draw(st.integers(begin, min(len(receipt), begin + 60)))
        put = data.draw(st.sampled_from([receipt[begin:end] * 2, OTHER[begin:end], b"", b" "]) | st.binary(max_size=20))
        receipt = receipt[:begin] + put + receipt[end:]
    assert says_the_same(receipt)


@given(content=st.binary(max_size=400))
def test_bytes_are_not_genuine(content: bytes) -> None:
    assert not verify(content, PUBLIC).valid


@given(document=json_values)
def test_json_is_not_genuine(document: Any) -> None:
    assert not verify(json.dumps(document).encode(), PUBLIC).valid


@given(statement=json_values, signature=json_values)
def test_a_receipt_of_other_values_is_not_genuine(statement: Any, signature: Any) -> None:
    assert not verify(json.dumps({"statement": statement, "signature": signature}).encode(), PUBLIC).valid


@given(name=st.sampled_from(sorted(DOCUMENT["statement"])), value=json_values)
def test_no_value_of_the_statement_can_be_another(name: str, value: Any) -> None:
    changed = DOCUMENT | {"statement": DOCUMENT["statement"] | {name: value}}
    assert says_the_same(json.dumps(changed).encode())


@given(name=st.text(max_size=12), value=json_values)
def test_no_value_can_be_added(name: str, value: Any) -> None:
    for changed in (DOCUMENT | {name: value}, DOCUMENT | {"statement": DOCUMENT["statement"] | {name: value}}):
        assert says_the_same(json.dumps(changed).encode())


@pytest.mark.parametrize("name", [*DOCUMENT, *DOCUMENT["statement"], "contacts", "photos", "provider", "replaced"])
@pytest.mark.parametrize("after", [False, True], ids=["the signed value last", "the signed value first"])
def test_no_name_can_appear_twice(name: str, after: bool) -> None:
    text = json.dumps(DOCUMENT)
    at = text.index(f'"{name}": ')
    if after:
        end = text.index(name) + len(name) + 3
        _, length = json.JSONDecoder().raw_decode(text[end:])
        doubled = f'{text[: end + length]}, "{name}": 0{text[end + length :]}'
    else:
        doubled = f'{text[:at]}"{name}": 0, {text[at:]}'
    assert json.loads(doubled)  # well formed, but for the name
    assert not verify(doubled.encode(), PUBLIC).valid


@pytest.mark.parametrize(
    "number",
    [
        *("1" + "0" * zeros for zeros in (16, 17, 19, 20, 400, sys.get_int_max_str_digits() + 1, 200_000)),
        *("9007199254740992", "18446744073709551616", "-9223372036854775809", "1e400", "-1e400", "1.0", "1e0", "1E1"),
        *("NaN", "Infinity", "-Infinity", "01", "+1", "0x1", "1_0", "١"),
    ],
    ids=lambda number: number[:24],
)
def test_no_number_in_another_form_or_beyond_all_bounds_is_genuine(number: str) -> None:
    text = json.dumps(DOCUMENT).replace('"contacts": 12', f'"contacts": {number}')
    assert not verify(text.encode(), PUBLIC).valid


@pytest.mark.parametrize("opening", ["[", '{"a":', '{"statement":', '[{"":'])
@pytest.mark.parametrize("depth", [100, 254, 255, 1000, 100_000])
def test_no_depth_of_nesting_does_harm(opening: str, depth: int) -> None:
    closing = "".join({"[": "]", "{": "}"}[mark] for mark in reversed(opening) if mark in "[{")
    for deep in (opening * depth, opening * depth + "0" + closing * depth):
        whole = json.dumps(DOCUMENT).replace('["write-ahead log emptied"]', deep)
        assert not verify(deep.encode(), PUBLIC).valid
        assert not verify(whole.encode(), PUBLIC).valid


@given(at=st.integers(0, 87), character=st.characters())
def test_no_character_of_the_signature_can_be_another(at: int, character: str) -> None:
    text = DOCUMENT["signature"]
    changed = DOCUMENT | {"signature": text[:at] + character + text[at + 1 :]}
    assert verify(json.dumps(changed).encode(), PUBLIC).valid is (character == text[at])


@given(pem=st.binary(max_size=300))
def test_bytes_that_are_no_public_key_are_called_so(pem: bytes) -> None:
    with pytest.raises(InputError):
        verify(RECEIPT, pem)


DER = load_pem_public_key(PUBLIC).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("at", range(len(DER)))
def test_a_public_key_with_a_changed_byte_is_none_or_another(at: int) -> None:
    for value in set(range(256)) - {DER[at]}:
        changed = DER[:at] + bytes((value,)) + DER[at + 1 :]
        body = base64.b64encode(changed)
        try:
            assert not verify(RECEIPT, b"-----BEGIN PUBLIC KEY-----\n" + body + b"\n-----END PUBLIC KEY-----\n").valid
        except InputError:
            continue


@given(der=st.binary(max_size=120))
def test_a_pem_of_other_bytes_is_no_public_key(der: bytes) -> None:
    body = base64.b64encode(der)
    with pytest.raises(InputError):
        verify(RECEIPT, b"-----BEGIN PUBLIC KEY-----\n" + body + b"\n-----END PUBLIC KEY-----\n")


def test_the_bare_32_bytes_of_the_key_are_no_public_key_file() -> None:
    assert Ed25519PublicKey.from_public_bytes(public_key(SEED)) == load_pem_public_key(PUBLIC)
    with pytest.raises(InputError):
        verify(RECEIPT, public_key(SEED))


@given(
    document=st.dictionaries(st.text(max_size=5), json_values, max_size=4).filter(
        lambda document: document.get("schema") != "syncvault/receipt/1"
    )
)
def test_nothing_of_another_schema_is_genuine_even_when_signed(document: dict[str, Any]) -> None:
    try:
        signature = base64.b64encode(sign(SEED, Subject.RECEIPT, document)).decode()
    except TypeError:  # has no form in which it could be signed
        return
    assert not verify(json.dumps({"statement": document, "signature": signature}).encode(), PUBLIC).valid
