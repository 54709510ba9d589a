"""Sealed records: what opens, and everything that must not."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncvault.crypto import primitives
from syncvault.crypto.place import NOTHING, Place
from syncvault.crypto.record import (
    OVERHEAD,
    AlteredError,
    RecordCipher,
    RecordRefusedError,
    UnknownFormatError,
    WrongKeyError,
    generation,
    row_version,
)

VAULT, TENANT, ROW = b"v" * 16, b"t" * 16, b"r" * 16
KEY, OTHER_KEY = b"k" * 32, b"o" * 32
SALT, PREFIX = slice(6, 30), slice(0, 62)

places = st.sampled_from(list(Place))
ids = st.binary(min_size=16, max_size=16)


def cipher(
    keys: dict[int, bytes] | None = None,
    current: int = 1,
    *,
    vault_id: bytes = VAULT,
    tenant_id: bytes = TENANT,
    random: Callable[[int], bytes] = os.urandom,
) -> RecordCipher:
    return RecordCipher(keys or {1: KEY}, current, vault_id=vault_id, tenant_id=tenant_id, random=random)


def bound(place: Place) -> list[bytes]:
    return [bytes((65 + n,)) * 16 for n, _ in enumerate(place.bound)]


@given(place=places, row_id=ids, plaintext=st.binary(), version=st.integers(1, 2**64 - 1), data=st.data())
def test_what_is_sealed_opens_again_where_it_stands(
    place: Place, row_id: bytes, plaintext: bytes, version: int, data: st.DataObject
) -> None:
    columns = [data.draw(ids) for _ in place.bound]
    blob = cipher().seal(place, row_id, plaintext, *columns, row_version=version)
    assert cipher().open(place, row_id, blob, *columns) == plaintext
    assert len(blob) == len(plaintext) + OVERHEAD
    assert row_version(blob) == version


@pytest.mark.parametrize("is_known", [False, True], ids=["fresh reader", "reader that knows the batch"])
def test_every_flipped_bit_is_refused(is_known: bool) -> None:
    blob = cipher().seal(Place.SOURCE, ROW, b"plaintext", b"i" * 16)
    for at in range(len(blob)):
        for bit in range(8):
            altered = bytearray(blob)
            altered[at] ^= 1 << bit
            reader = cipher()
            if is_known:
                reader.open(Place.SOURCE, ROW, blob, b"i" * 16)
            with pytest.raises(RecordRefusedError):
                reader.open(Place.SOURCE, ROW, bytes(altered), b"i" * 16)


@pytest.mark.parametrize("is_known", [False, True], ids=["fresh reader", "reader that knows the batch"])
def test_every_truncation_and_any_addition_is_refused(is_known: bool) -> None:
    blob = cipher().seal(Place.CREDENTIAL, ROW, b"plaintext")
    for broken in (*(blob[:size] for size in range(len(blob))), blob + b"\0", b"\0" + blob):
        reader = cipher()
        if is_known:
            reader.open(Place.CREDENTIAL, ROW, blob)
        with pytest.raises(RecordRefusedError):
            reader.open(Place.CREDENTIAL, ROW, broken)


def test_a_record_does_not_open_in_another_row() -> None:
    blob = cipher().seal(Place.CREDENTIAL, ROW, b"x")
    with pytest.raises(AlteredError):
        cipher().open(Place.CREDENTIAL, b"s" * 16, blob)


@given(sealed=places, opened=places)
def test_a_record_does_not_open_in_another_column(sealed: Place, opened: Place) -> None:
    blob = cipher().seal(sealed, ROW, b"x", *bound(sealed))
    if sealed is opened:
        assert cipher().open(opened, ROW, blob, *bound(opened)) == b"x"
    else:
        with pytest.raises(AlteredError):
            cipher().open(opened, ROW, blob, *bound(opened))


@given(place=places.filter(lambda place: place.bound), data=st.data())
def test_a_record_does_not_open_beside_an_edited_column(place: Place, data: st.DataObject) -> None:
    columns = bound(place)
    blob = cipher().seal(place, ROW, b"x", *columns)
    at = data.draw(st.integers(0, len(columns) - 1))
    columns[at] = data.draw(ids.filter(lambda value: value != columns[at]) | st.just(NOTHING))
    with pytest.raises(AlteredError):
        cipher().open(place, ROW, blob, *columns)


def test_a_record_does_not_open_beside_columns_in_another_order() -> None:
    blob = cipher().seal(Place.CONTACT, ROW, b"x", *bound(Place.CONTACT))
    with pytest.raises(AlteredError):
        cipher().open(Place.CONTACT, ROW, blob, *reversed(bound(Place.CONTACT)))


def test_a_record_does_not_open_in_another_vault_or_tenant_even_under_its_key() -> None:
    blob = cipher().seal(Place.CREDENTIAL, ROW, b"x")
    for stranger in (cipher(vault_id=b"w" * 16), cipher(tenant_id=b"u" * 16), cipher(vault_id=TENANT, tenant_id=VAULT)):
        with pytest.raises(AlteredError):
            stranger.open(Place.CREDENTIAL, ROW, blob)


def test_another_key_is_told_from_an_altered_record() -> None:
    blob = cipher().seal(Place.CREDENTIAL, ROW, b"x")
    with pytest.raises(WrongKeyError, match="generation 1"):
        cipher({1: OTHER_KEY}).open(Place.CREDENTIAL, ROW, blob)


def test_the_parts_of_two_records_of_one_batch_cannot_be_recombined() -> None:
    sealer = cipher()
    first, second = (sealer.seal(Place.CREDENTIAL, ROW, text) for text in (b"one", b"two"))
    assert first[PREFIX] == second[PREFIX]
    borders = (62, 70, 82, len(first) - 16, len(first))
    for begin, end in combinations(borders, 2):
        mixed = first[:begin] + second[begin:end] + first[end:]
        if mixed in {first, second}:
            continue
        with pytest.raises(AlteredError):
            cipher().open(Place.CREDENTIAL, ROW, mixed)


@pytest.mark.parametrize(
    ("at", "value", "named"),
    [(0, 2, "version 2, suite 1"), (0, 0, "version 0"), (1, 9, "version 1, suite 9"), (5, 7, "generation 7")],
)
def test_an_unknown_version_suite_or_generation_is_named(at: int, value: int, named: str) -> None:
    blob = bytearray(cipher().seal(Place.CREDENTIAL, ROW, b"x"))
    blob[at] = value
    with pytest.raises(UnknownFormatError, match=named):
        cipher().open(Place.CREDENTIAL, ROW, bytes(blob))


def test_a_record_too_short_for_any_says_its_length() -> None:
    with pytest.raises(UnknownFormatError, match="97 bytes"):
        cipher().open(Place.CREDENTIAL, ROW, bytes(97))


def test_old_generations_open_and_only_the_current_one_seals() -> None:
    old = cipher().seal(Place.CREDENTIAL, ROW, b"old")
    both = cipher({1: KEY, 2: OTHER_KEY}, 2)
    new = both.seal(Place.CREDENTIAL, ROW, b"new")
    assert both.current == 2
    assert [generation(blob) for blob in (old, new)] == [1, 2]
    assert [both.open(Place.CREDENTIAL, ROW, blob) for blob in (old, new)] == [b"old", b"new"]


def test_the_named_generation_is_the_only_one_tried() -> None:
    blob = bytearray(cipher().seal(Place.CREDENTIAL, ROW, b"x"))
    blob[5] = 2
    with pytest.raises(WrongKeyError):
        cipher({1: KEY, 2: OTHER_KEY}, 2).open(Place.CREDENTIAL, ROW, bytes(blob))
    with pytest.raises(WrongKeyError):  # the commitment covers the number too
        cipher({1: KEY, 2: KEY}, 2).open(Place.CREDENTIAL, ROW, bytes(blob))


def test_nonces_never_repeat_within_a_batch_and_batches_are_short() -> None:
    sealer = cipher()
    blobs = [sealer.seal(Place.CREDENTIAL, ROW, b"") for _ in range(2200)]
    assert len({blob[6:30] + blob[70:82] for blob in blobs}) == len(blobs)
    sizes = [sum(1 for blob in blobs if blob[SALT] == salt) for salt in {blob[SALT] for blob in blobs}]
    assert sorted(sizes) == [32, 2200 - 32 - 2048, 2048]


def test_no_two_ciphers_share_a_batch() -> None:
    assert cipher().seal(Place.CREDENTIAL, ROW, b"")[SALT] != cipher().seal(Place.CREDENTIAL, ROW, b"")[SALT]


def test_the_same_text_sealed_twice_looks_different() -> None:
    sealer = cipher()
    first, second = (sealer.seal(Place.CREDENTIAL, ROW, bytes(64)) for _ in range(2))
    assert first[82:] != second[82:]


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # Python 3.12 warns of what the child avoids
def test_a_forked_child_shares_no_batch_with_its_parent() -> None:
    sealer = cipher()
    before = sealer.seal(Place.CREDENTIAL, ROW, b"parent")
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(sending, sealer.seal(Place.CREDENTIAL, ROW, b"child"))
        finally:
            os._exit(0)
    os.close(sending)
    with os.fdopen(receiving, "rb") as pipe:
        blob = pipe.read()
    os.waitpid(child, 0)
    after = sealer.seal(Place.CREDENTIAL, ROW, b"parent")
    assert sealer.open(Place.CREDENTIAL, ROW, blob) == b"child"
    assert before[SALT] == after[SALT] != blob[SALT]


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_neither_does_a_child_of_that_child() -> None:
    sealer = cipher()
    own = sealer.seal(Place.CREDENTIAL, ROW, b"own")
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            blobs = [sealer.seal(Place.CREDENTIAL, ROW, b"child")]
            grandchild = os.fork()
            if grandchild == 0:
                os.write(sending, sealer.seal(Place.CREDENTIAL, ROW, b"grandchild"))
            else:
                os.waitpid(grandchild, 0)
                os.write(sending, blobs[0])
        finally:
            os._exit(0)
    os.close(sending)
    with os.fdopen(receiving, "rb") as pipe:
        written = pipe.read()
    os.waitpid(child, 0)
    grandchild_s, child_s = written[:108], written[108:]
    assert sealer.open(Place.CREDENTIAL, ROW, grandchild_s) == b"grandchild"
    assert sealer.open(Place.CREDENTIAL, ROW, child_s) == b"child"
    assert len({own[SALT], child_s[SALT], grandchild_s[SALT]}) == 3


def test_threads_share_a_cipher_without_ever_sharing_a_nonce() -> None:
    shared, blobs, start = cipher(), [], threading.Barrier(4)

    def work(number: int) -> None:
        start.wait()
        for count in range(700):
            text = b"%d/%d" % (number, count)
            blob = shared.seal(Place.CREDENTIAL, ROW, text)
            assert shared.open(Place.CREDENTIAL, ROW, blob) == text
            blobs.append(blob)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(blobs) == 2800
    assert len({blob[6:30] + blob[70:82] for blob in blobs}) == 2800


def test_a_reader_of_very_many_batches_keeps_few_of_their_keys() -> None:
    reader = cipher()
    blobs = [cipher().seal(Place.CREDENTIAL, ROW, b"%d" % number) for number in range(600)]
    assert [reader.open(Place.CREDENTIAL, ROW, blob) for blob in blobs] == [b"%d" % number for number in range(600)]
    assert len(reader._derived) == 256
    assert reader.open(Place.CREDENTIAL, ROW, blobs[0]) == b"0"


def test_a_refused_record_does_not_spoil_the_next_one() -> None:
    reader, blob = cipher(), cipher().seal(Place.CREDENTIAL, ROW, b"x")
    for broken in (blob[:-1], bytes(200), cipher({1: OTHER_KEY}).seal(Place.CREDENTIAL, ROW, b"x")):
        with pytest.raises(RecordRefusedError):
            reader.open(Place.CREDENTIAL, ROW, broken)
        assert reader.open(Place.CREDENTIAL, ROW, blob) == b"x"


def test_neither_representation_nor_refusal_shows_a_key_or_a_text() -> None:
    sealer = cipher({1: KEY, 2: OTHER_KEY}, 2)
    assert repr(sealer) == "RecordCipher(generations=[1, 2], current=2)"
    blob = sealer.seal(Place.CREDENTIAL, ROW, b"plaintext")
    for stranger in (cipher(), cipher({2: KEY}, 2), cipher({2: OTHER_KEY}, 2, tenant_id=b"u" * 16)):
        with pytest.raises(RecordRefusedError) as refusal:
            stranger.open(Place.CREDENTIAL, ROW, blob)
        assert "plaintext" not in str(refusal.value)
        assert "kkkk" not in str(refusal.value)


def test_a_cipher_cannot_be_pickled() -> None:
    sealer = cipher()
    sealer.seal(Place.CREDENTIAL, ROW, b"")
    with pytest.raises(TypeError, match=r"^keys are not pickled$"):
        pickle.dumps(sealer)


@pytest.mark.parametrize(
    "make",
    [
        lambda: cipher({1: b"short"}),
        lambda: cipher({1: KEY, 2: KEY + b"x"}),
        lambda: cipher({1: KEY}, 2),
        lambda: cipher(vault_id=b"short"),
        lambda: cipher(tenant_id=b""),
    ],
)
def test_keys_and_ids_of_a_wrong_size_are_refused_at_once(make: Callable[[], RecordCipher]) -> None:
    with pytest.raises(ValueError, match=r"32-byte keys|^vault and tenant IDs are 16 bytes$"):
        make()


@pytest.mark.parametrize("columns", [[], [b"a" * 16], [b"a" * 16] * 3, [b"a" * 15, b"b" * 17], [b"a" * 32, b""]])
def test_sealing_beside_other_columns_than_the_place_binds_is_refused(columns: list[bytes]) -> None:
    with pytest.raises(ValueError, match="MAILBOX binds a row ID and 2 columns"):
        cipher().seal(Place.MAILBOX, ROW, b"x", *columns)


def test_a_byte_moved_from_one_column_to_the_next_is_noticed() -> None:
    first, second = bound(Place.MAILBOX)
    blob = cipher().seal(Place.MAILBOX, ROW, b"x", first, second)
    for row_id, *columns in (
        (ROW, first[:15], first[15:] + second),
        (ROW, first + second[:1], second[1:]),
        (ROW[:15], ROW[15:] + first, second),
    ):
        with pytest.raises(AlteredError):
            cipher().open(Place.MAILBOX, row_id, blob, *columns)


def test_no_two_places_have_one_number() -> None:
    assert len({place.number for place in Place}) == len(Place.__members__)


def salts(blobs: list[bytes]) -> list[bytes]:
    return [blob[SALT] for blob in blobs]


def test_pages_go_on_with_the_batch_that_single_records_began_and_waste_none_of_its_nonces() -> None:
    sealer = cipher()
    blobs = [sealer.seal(Place.CREDENTIAL, ROW, b"")]
    blobs += sealer.seal_rows(Place.CREDENTIAL, [ROW] * 40, [b""] * 40)  # 31 of the first batch, 9 of the second
    blobs += [sealer.seal(Place.CREDENTIAL, ROW, b"") for _ in range(2048 - 9)]
    assert [salts(blobs).count(salt) for salt in dict.fromkeys(salts(blobs))] == [32, 2048]
    assert len({blob[6:30] + blob[70:82] for blob in blobs}) == len(blobs)


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_s_pages_share_no_batch_with_its_parent() -> None:
    sealer = cipher()
    (before,) = sealer.seal_rows(Place.CREDENTIAL, [ROW], [b"parent"])
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(sending, *sealer.seal_rows(Place.CREDENTIAL, [ROW], [b"child"]))
        finally:
            os._exit(0)
    os.close(sending)
    with os.fdopen(receiving, "rb") as pipe:
        blob = pipe.read()
    os.waitpid(child, 0)
    (after,) = sealer.seal_rows(Place.CREDENTIAL, [ROW], [b"parent"])
    assert sealer.open(Place.CREDENTIAL, ROW, blob) == b"child"
    assert before[SALT] == after[SALT] != blob[SALT]


def test_a_page_of_one_row_opens_or_is_refused_like_any() -> None:
    blob = cipher().seal(Place.CREDENTIAL, ROW, b"x")
    assert cipher().open_rows(Place.CREDENTIAL, [ROW], [blob]) == [b"x"]
    for row_ids, blobs in (([ROW], [blob[:-1]]), ([b"s" * 16], [blob]), ([ROW] * 2, [blob])):
        with pytest.raises(AlteredError, match=r"^the record was altered, or moved from another place$"):
            cipher().open_rows(Place.CREDENTIAL, row_ids, blobs)


def test_a_generation_made_meanwhile_is_asked_for_once_and_only_when_a_record_names_it() -> None:
    asked: list[int] = []

    def later(number: int) -> bytes | None:
        asked.append(number)
        return {2: OTHER_KEY}.get(number)

    reader = RecordCipher({1: KEY}, 1, vault_id=VAULT, tenant_id=TENANT, later=later)
    assert reader.open(Place.CREDENTIAL, ROW, cipher().seal(Place.CREDENTIAL, ROW, b"old")) == b"old"
    assert asked == []
    for text in (b"new", b"newer"):
        blob = cipher({2: OTHER_KEY}, 2).seal(Place.CREDENTIAL, ROW, text)
        assert reader.open(Place.CREDENTIAL, ROW, blob) == text
    assert asked == [2]
    with pytest.raises(UnknownFormatError, match="generation 3"):
        reader.open(Place.CREDENTIAL, ROW, cipher({3: KEY}, 3).seal(Place.CREDENTIAL, ROW, b"x"))
    with pytest.raises(WrongKeyError):
        reader.open(Place.CREDENTIAL, ROW, cipher({2: KEY}, 2).seal(Place.CREDENTIAL, ROW, b"x"))
    assert reader.current == 1
    assert generation(reader.seal(Place.CREDENTIAL, ROW, b"")) == 1


def test_a_reader_derives_a_key_once_for_each_batch_and_forgets_the_oldest_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    derived: list[bytes] = []

    def expand(key: bytes, info: bytes, size: int) -> bytes:
        derived.append(info[-24:])
        return primitives.expand(key, info, size)

    monkeypatch.setattr("syncvault.crypto.record.expand", expand)
    blobs = [cipher().seal(Place.CREDENTIAL, ROW, b"") for _ in range(257)]
    derived.clear()
    reader = cipher()
    for blob in (*blobs, *blobs[1:], blobs[0]):
        reader.open(Place.CREDENTIAL, ROW, blob)
    assert derived == salts([*blobs, blobs[0]])
