"""AES-256-GCM and HKDF-Expand as the product calls them, held to published vectors.

NIST CAVP and RFC 5869 come with `cryptography-vectors`; Wycheproof lies in the folder of published contracts. Records
use AES-GCM only with 256-bit keys, 96-bit nonces and 128-bit tags: the rest of each file is counted, not run.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cryptography_vectors
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap,
    aes_key_unwrap_with_padding,
    aes_key_wrap,
    aes_key_wrap_with_padding,
)

from syncvault.crypto import record
from syncvault.crypto.primitives import aead, expand
from syncvault.roots import passphrase


def cavp(path: str) -> Iterator[dict[str, str]]:
    """The vectors of a NIST response file, each with the lengths of its section; `FAIL` marks invalid ones."""
    section: dict[str, str] = {}
    with cryptography_vectors.open_vector_file(path, "r") as file:
        for paragraph in file.read().split("\n\n"):
            lines = [line for line in paragraph.splitlines() if line and not line.startswith("#")]
            fields = dict(map(str.strip, line.strip("[]").partition("=")[::2]) for line in lines)
            if lines and lines[0].startswith("["):
                section |= fields
            elif "Count" in fields:
                yield section | fields


def is_ours(vector: dict[str, str]) -> bool:
    return (vector["Keylen"], vector["IVlen"], vector["Taglen"]) == ("256", "96", "128")


def unhex(vector: dict[str, str], *names: str) -> list[bytes]:
    return [bytes.fromhex(vector[name]) for name in names]


def wycheproof(folder: Path, name: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Group and test of each vector."""
    content = json.loads((folder / "vectors" / f"{name}_test.json").read_bytes())
    for group in content["testGroups"]:
        for test in group["tests"]:
            yield group, test


def is_refused(call: Callable[..., object], *arguments: object) -> bool:
    """Whether a call fails in a way that the callers of a primitive know."""
    try:
        call(*arguments)
    except (InvalidTag, InvalidUnwrap, ValueError):
        return True
    return False


def test_nist_s_375_encryptions_of_our_sizes_come_out_the_same() -> None:
    ran = 0
    for vector in filter(is_ours, cavp("ciphers/AES/GCM/gcmEncryptExtIV256.rsp")):
        key, nonce, text, data, sealed, tag = unhex(vector, "Key", "IV", "PT", "AAD", "CT", "Tag")
        assert aead(key).encrypt(nonce, text, data) == sealed + tag
        ran += 1
    assert ran == 375


def test_nist_s_375_decryptions_of_our_sizes_open_or_are_refused_as_they_should() -> None:
    opened = turned_away = 0
    for vector in filter(is_ours, cavp("ciphers/AES/GCM/gcmDecrypt256.rsp")):
        key, nonce, data, sealed, tag = unhex(vector, "Key", "IV", "AAD", "CT", "Tag")
        if "FAIL" in vector:
            assert is_refused(aead(key).decrypt, nonce, sealed + tag, data)
            turned_away += 1
        else:
            assert aead(key).decrypt(nonce, sealed + tag, data) == bytes.fromhex(vector["PT"])
            opened += 1
    assert (opened, turned_away) == (184, 191)


def test_nist_s_2250_decryptions_with_a_shortened_tag_are_all_refused() -> None:
    ran = 0
    for vector in cavp("ciphers/AES/GCM/gcmDecrypt256.rsp"):
        if vector["IVlen"] == "96" and vector["Taglen"] != "128":
            key, nonce, data, sealed, tag = unhex(vector, "Key", "IV", "AAD", "CT", "Tag")
            assert is_refused(aead(key).decrypt, nonce, sealed + tag, data)
            ran += 1
    assert ran == 2250


def test_wycheproof_s_66_gcm_vectors_of_our_sizes_hold_and_250_of_other_sizes_do_not_apply(contracts: Path) -> None:
    counts = {"valid": 0, "invalid": 0, "not applicable": 0}
    for group, test in wycheproof(contracts, "aes_gcm"):
        if (group["keySize"], group["ivSize"], group["tagSize"]) != (256, 96, 128):
            counts["not applicable"] += 1
            continue
        key, nonce, data, text, sealed, tag = unhex(test, "key", "iv", "aad", "msg", "ct", "tag")
        if test["result"] == "valid":
            assert aead(key).decrypt(nonce, sealed + tag, data) == text
            assert aead(key).encrypt(nonce, text, data) == sealed + tag
        else:
            assert is_refused(aead(key).decrypt, nonce, sealed + tag, data), test["tcId"]
        counts[test["result"]] += 1
    assert counts == {"valid": 39, "invalid": 27, "not applicable": 250}


def test_wycheproof_s_83_hkdf_sha512_vectors_hold_behind_an_extract_step(contracts: Path) -> None:
    counts = {"valid": 0, "invalid": 0}
    for _, test in wycheproof(contracts, "hkdf_sha512"):
        salt, material, info, output = unhex(test, "salt", "ikm", "info", "okm")
        extracted = hmac.new(salt, material, hashlib.sha512).digest()  # RFC 5869, section 2.2
        if test["result"] == "valid":
            assert expand(extracted, info, test["size"]) == output
        else:
            assert is_refused(expand, extracted, info, test["size"]), test["tcId"]
        counts[test["result"]] += 1
    assert counts == {"valid": 80, "invalid": 3}


def test_rfc_5869_s_three_sha256_expansions_hold() -> None:
    ran = 0
    with cryptography_vectors.open_vector_file("KDF/rfc-5869-HKDF-SHA256.txt", "r") as file:
        for case in file.read().split("COUNT")[1:]:
            vector = dict(map(str.strip, line.partition("=")[::2]) for line in case.splitlines())
            key, info, output = unhex(vector, "PRK", "info", "OKM")
            assert expand(key, info, int(vector["L"]), SHA256()) == output
            ran += 1
    assert ran == 3


# The product wraps no key by AES-KW itself: key services and tokens do. What stands in for one in tests is this:
@pytest.mark.parametrize(
    ("name", "wrap", "unwrap", "expected"),
    [
        ("aes_wrap", aes_key_wrap, aes_key_unwrap, {"valid": 13, "invalid": 54, "acceptable": 1}),
        ("aes_kwp", aes_key_wrap_with_padding, aes_key_unwrap_with_padding, {"valid": 25, "invalid": 69}),
    ],
    ids=["68 of 165 AES-KW", "94 of 254 AES-KWP"],
)
def test_wycheproof_s_key_wrapping_vectors_of_256_bits_hold(
    contracts: Path,
    name: str,
    wrap: Callable[[bytes, bytes], bytes],
    unwrap: Callable[[bytes, bytes], bytes],
    expected: dict[str, int],
) -> None:
    counts: dict[str, int] = {}
    for group, test in wycheproof(contracts, name):
        if group["keySize"] != 256:
            continue
        key, plain, wrapped = unhex(test, "key", "msg", "ct")
        counts[test["result"]] = counts.get(test["result"], 0) + 1
        if test["result"] == "valid":
            assert unwrap(key, wrapped) == plain
            assert wrap(key, plain) == wrapped
        elif test["result"] == "invalid":
            assert is_refused(unwrap, key, wrapped), test["tcId"]
    assert counts == expected


@pytest.mark.parametrize("size", [0, 16, 24, 31, 33, 64])
def test_a_key_of_any_other_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=r"^AES-256-GCM takes keys of 32 bytes$"):
        aead(bytes(size))


def test_a_changed_byte_in_any_argument_is_refused() -> None:
    box = aead(bytes(32))
    nonce, data = bytes(12), b"data"
    sealed = box.encrypt(nonce, b"text", data)
    assert box.decrypt(nonce, sealed, data) == b"text"
    for changed in (
        (b"\1" + nonce[1:], sealed, data),
        (nonce, b"\1" + sealed[1:], data),
        (nonce, sealed[:-1], data),
        (nonce, sealed, b"Data"),
        (nonce, sealed, b""),
    ):
        with pytest.raises(InvalidTag):
            box.decrypt(*changed)


def test_records_and_passphrases_are_made_with_these_very_primitives() -> None:
    assert vars(record)["aead"] is aead
    assert vars(record)["expand"] is vars(passphrase)["expand"] is expand
    for module in (record, passphrase):
        assert not {"AESGCM", "HKDFExpand"} & set(vars(module))
