"""The keyed hash of a multiset is what its elements add up to, in whatever order and however they came."""

from __future__ import annotations

import pickle
import random

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import ECB
from hypothesis import given
from hypothesis import strategies as st

from syncvault.crypto.multiset import MultisetHash, Total

KEY = bytes(range(32))
ELEMENTS = st.lists(st.binary(min_size=16, max_size=16), max_size=40)


@given(ELEMENTS, st.randoms(use_true_random=False))
def test_the_order_does_not_count(elements: list[bytes], chance: random.Random) -> None:
    shuffled = elements[:]
    chance.shuffle(shuffled)
    assert MultisetHash(KEY).of(shuffled) == MultisetHash(KEY).of(elements)


@given(ELEMENTS, ELEMENTS)
def test_totals_add_and_subtract_like_the_multisets(left: list[bytes], right: list[bytes]) -> None:
    multiset = MultisetHash(KEY)
    both = multiset.of(left + right)
    assert multiset.of(left).plus(multiset.of(right)) == both
    assert both.minus(multiset.of(right)) == multiset.of(left)
    assert both.minus(both) == Total()


@given(st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=40, unique=True))
def test_another_element_gives_another_total_of_the_same_size(elements: list[bytes]) -> None:
    other = [bytes(16) if elements[0] != bytes(16) else bytes(15) + b"\1", *elements[1:]]
    before, after = MultisetHash(KEY).of(elements), MultisetHash(KEY).of(other)
    assert before.size == after.size
    assert before[1:] != after[1:]


def test_an_element_counts_as_often_as_it_is_there() -> None:
    once, twice = MultisetHash(KEY).of([bytes(16)]), MultisetHash(KEY).of([bytes(16)] * 2)
    assert twice == once.plus(once)
    assert twice.size == 2


def test_another_key_gives_another_total() -> None:
    assert MultisetHash(KEY).of([bytes(16)]) != MultisetHash(bytes(32)).of([bytes(16)])


def test_the_lanes_are_the_two_halves_of_the_permuted_element() -> None:
    permuted = Cipher(AES256(KEY), ECB()).encryptor().update(b"sixteen bytes...")
    low, high = (int.from_bytes(half, "little") for half in (permuted[:8], permuted[8:]))
    assert MultisetHash(KEY).of([b"sixteen bytes..."]) == Total(1, low, high)


@pytest.mark.parametrize("element", [b"", bytes(15), bytes(17)])
def test_an_element_of_another_size_is_refused(element: bytes) -> None:
    with pytest.raises(ValueError, match=r"^an element is 16 bytes$"):
        MultisetHash(KEY).of([bytes(16), element])


def test_a_multiset_hash_cannot_be_pickled() -> None:
    with pytest.raises(TypeError, match=r"^keys are not pickled$"):
        pickle.dumps(MultisetHash(bytes(32)))
