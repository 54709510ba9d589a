"""What no reader may accept: records, receipts and root keys' texts that were changed, moved, cut off or joined."""

from __future__ import annotations

import base64
import json
from typing import Any

from syncvault.crypto.place import Place
from syncvault.crypto.signature import Subject, sign


def records(sealed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What no reader may open: each part of a record changed, and whole records elsewhere than they were sealed."""
    vector, other = (next(each for each in sealed if each["place"] == place) for place in ("MAILBOX", "CREDENTIAL"))
    record, neighbour = bytes.fromhex(vector["record"]), bytes.fromhex(other["record"])
    first, second = (column["value"] for column in vector["bound"])

    def case(why: str, **changes: Any) -> dict[str, Any]:
        same = {"place": vector["place"], "number": vector["number"], "row_id": vector["row_id"]}
        return {"why": why, **same, "bound": [first, second], "record": vector["record"], **changes}

    parts = {
        "version": 0,
        "suite": 1,
        "key generation": 5,
        "salt": 6,
        "key commitment": 61,
        "row version": 69,
        "nonce": 70,
        "ciphertext": 82,
        "tag": len(record) - 1,
    }
    changed = [
        case(f"{part} changed", record=(record[:at] + bytes((record[at] ^ 2,)) + record[at + 1 :]).hex())
        for part, at in parts.items()
    ]
    return [
        *changed,
        case("empty", record=""),
        case("cut off before its tag ends", record=record[:-1].hex()),
        case("too short for any", record=record[:97].hex()),
        case("a byte added", record=record.hex() + "00"),
        case("nonce, ciphertext and tag of another record of the batch", record=(record[:70] + neighbour[70:]).hex()),
        case("another row", row_id=other["row_id"]),
        case("another column", place="SOURCE", number=Place.SOURCE.number, bound=[first]),
        case("a bound column changed", bound=[first, first]),
        case("bound columns swapped", bound=[second, first]),
        case("a bound column missing", bound=[first]),
        case("a byte moved between bound columns", bound=[first + second[:2], second[2:]]),
    ]


def receipts(receipt: str, seed: bytes) -> list[dict[str, str]]:
    """What no verifier may call genuine under the same key."""
    signature = json.loads(receipt)["signature"]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    respelled = signature[:85] + alphabet[alphabet.index(signature[85]) + 1] + "=="  # other padding bits, same bytes
    later = json.loads(receipt)["statement"] | {"schema": "syncvault/receipt/2"}
    signed_later = base64.b64encode(sign(seed, Subject.RECEIPT, later)).decode()
    edits = {
        "a value changed": ('"contacts": 1234', '"contacts": 1233'),
        "a value of another type": ('"replaced": 1', '"replaced": "1"'),
        "a number that is not an integer": ('"contacts": 1234', '"contacts": 1234.0'),
        "a number beyond 53 bits": ('"contacts": 1234', '"contacts": 9007199254740992'),
        "a value added": ('"reason"', '"note": "", "reason"'),
        "a value taken out": ('"rule_version": 1,', ""),
        "a name twice, the signed value last": ('"reason"', '"reason": "on-demand", "reason"'),
        "a name twice, the signed value first": ('"retention",', '"retention", "reason": "on-demand",'),
        "another key beside statement and signature": ('"signature"', '"note": "", "signature"'),
        "a signature spelled otherwise": (signature, respelled),
        "a signature with a line end inside": (signature, signature[:40] + "\\n" + signature[40:]),
        "a signature without its padding": (signature, signature.rstrip("=")),
        "no signature": (signature, ""),
    }
    cases = [{"why": why, "receipt": receipt.replace(old, new, 1)} for why, (old, new) in edits.items()]
    assert all(case["receipt"] != receipt for case in cases)
    for subject in Subject:
        if subject is not Subject.RECEIPT:
            statement = json.loads(receipt)["statement"]
            other = base64.b64encode(sign(seed, subject, statement)).decode()
            cases.append(
                {
                    "why": f"a signature under the subject {subject.value.decode()}",
                    "receipt": json.dumps({"statement": statement, "signature": other}),
                }
            )
    cases.append(
        {"why": "another schema, though signed", "receipt": json.dumps({"statement": later, "signature": signed_later})}
    )
    return [*cases, {"why": "cut off", "receipt": receipt[:-3]}, {"why": "two in one", "receipt": receipt * 2}]


def root_key_texts(vault: str, other: str, key: bytes) -> list[dict[str, str]]:
    """Texts that hold no root keys of this vault."""
    good = {"format": "syncvault-root-keys v1", "vault": vault, "keys": {"1": base64.b64encode(key).decode()}}
    changes: dict[str, dict[str, Any]] = {
        "another form": {"format": "syncvault-root-keys v2"},
        "another vault": {"vault": other},
        "a key of 31 bytes": {"keys": {"1": base64.b64encode(key[:31]).decode()}},
        "a key of 33 bytes": {"keys": {"1": base64.b64encode(key + b"x").decode()}},
        "a key that is not Base64": {"keys": {"1": "*" * 44}},
        "a generation that is no number": {"keys": {"one": good["keys"]["1"]}},  # type: ignore[index]
        "keys in a list": {"keys": [good["keys"]["1"]]},  # type: ignore[index]
    }
    cases = [{"why": why, "text": json.dumps(good | change)} for why, change in changes.items()]
    return [*cases, {"why": "cut off", "text": json.dumps(good)[:-1]}, {"why": "empty", "text": ""}]
