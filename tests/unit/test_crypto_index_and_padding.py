"""Blind indexes tell nothing across tenants and labels; padding tells nothing of lengths."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncvault.crypto.index import INDEX_SIZE, BlindIndex, Label, normalise_address, normalise_text
from syncvault.crypto.padding import SMALLEST_BUCKET, pad, unpad

ONE, OTHER = BlindIndex(b"1" * 32), BlindIndex(b"2" * 32)
labels = st.sampled_from(list(Label))
anything = st.text(st.characters())  # half surrogates included


@given(label=labels, value=anything)
def test_the_same_value_has_one_index_in_a_tenant_and_another_in_the_next(label: Label, value: str) -> None:
    assert ONE.of(label, value) == ONE.of(label, value)
    assert len(ONE.of(label, value)) == INDEX_SIZE
    assert ONE.of(label, value) != OTHER.of(label, value)


@given(value=anything)
def test_the_same_value_has_another_index_under_every_label(value: str) -> None:
    assert len({ONE.of(label, value) for label in Label}) == len(Label)


@given(first=anything, second=anything)
def test_different_values_have_different_indexes(first: str, second: str) -> None:
    assert (ONE.of(Label.ITEM, first) == ONE.of(Label.ITEM, second)) is (first == second)


def test_no_label_can_be_continued_into_another() -> None:
    # "item" + "x" against a label "itemx": the length in front keeps them apart.
    assert all(label.prefix[0] == len(label.prefix) - 1 == len(label.value) for label in Label)


def test_an_index_does_not_show_its_key() -> None:
    assert "1111" not in repr(ONE)


@given(value=st.text())
def test_normalising_again_changes_nothing(value: str) -> None:
    assert normalise_text(normalise_text(value)) == normalise_text(value)


@given(value=st.text(), form=st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_the_forms_of_unicode_are_one_spelling(value: str, form: str) -> None:
    assert normalise_text(unicodedata.normalize(form, value)) == normalise_text(value)


@given(local=st.from_regex(r"[a-z0-9.]{1,20}", fullmatch=True), domain=st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True))
def test_an_address_is_the_same_in_upper_case_and_with_spaces_around(local: str, domain: str) -> None:
    address = f"{local}@{domain}.example"
    assert normalise_address(f" {address.upper()}\t") == normalise_address(address) == address


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("x@münchen.example", "X@XN--MNCHEN-3YA.example"),
        ("straße@example.com", "STRASSE@example.com"),
        ("ｘ@example.com", "x@example.com"),
        ("e\u0301@example.com", "É@example.com"),
        ("x@例え.テスト", "x@xn--r8jz45g.xn--zckzah"),
    ],
)
def test_spellings_of_one_address_are_one(first: str, second: str) -> None:
    assert normalise_address(first) == normalise_address(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [("a@b.example", "a@c.example"), ("a@b.example", "ab@.example"), ("a+x@b.example", "a@b.example"), ("", "@")],
)
def test_different_addresses_stay_different(first: str, second: str) -> None:
    assert normalise_address(first) != normalise_address(second)


@given(value=anything)
def test_any_text_can_be_normalised_as_an_address_and_indexed(value: str) -> None:
    ONE.of(Label.SOURCE, normalise_address(value))


@given(secret=st.binary(max_size=5000))
def test_a_padded_secret_comes_back_whole_from_a_power_of_two(secret: bytes) -> None:
    padded = pad(secret)
    assert unpad(padded) == secret
    assert len(padded) >= SMALLEST_BUCKET
    assert len(padded).bit_count() == 1
    assert len(padded) // 2 <= max(len(secret), SMALLEST_BUCKET // 2)


@given(first=st.binary(max_size=255), second=st.binary(max_size=255))
def test_short_secrets_all_have_one_length(first: bytes, second: bytes) -> None:
    assert len(pad(first)) == len(pad(second)) == SMALLEST_BUCKET


@pytest.mark.parametrize("broken", [b"", b"secret", bytes(256), b"secret" + bytes(250), b"\x80secret", b"secret\x80X"])
def test_what_was_not_padded_is_refused(broken: bytes) -> None:
    with pytest.raises(ValueError, match=r"^not a padded secret$"):
        unpad(broken)
