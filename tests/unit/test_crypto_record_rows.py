"""Sealing and opening by the page: the same records, and the same refusals, as one at a time."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import product
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncvault.crypto.identifiers import fresh_ids
from syncvault.crypto.place import Place
from syncvault.crypto.record import AlteredError, RecordCipher, RecordRefusedError, UnknownFormatError, row_version

SALT, NONCE = slice(6, 30), slice(70, 82)
COUNT = 5

places = st.sampled_from(list(Place))
ids = st.binary(min_size=16, max_size=16)


def cipher(keys: dict[int, bytes] | None = None, current: int = 1) -> RecordCipher:
    return RecordCipher(keys or {1: b"k" * 32}, current, vault_id=b"v" * 16, tenant_id=b"t" * 16)


def bound(place: Place, count: int = COUNT) -> list[list[bytes]]:
    """The bound columns of some rows; no two values are equal."""
    return [[b"%08d%08d" % (at, row) for row in range(count)] for at, _ in enumerate(place.bound)]


def page_of(sealer: RecordCipher, count: int = COUNT) -> tuple[list[bytes], list[bytes]]:
    """Mailboxes' IDs and records."""
    row_ids = fresh_ids(count)
    return row_ids, sealer.seal_rows(Place.MAILBOX, row_ids, texts(count), *bound(Place.MAILBOX, count))


def texts(count: int = COUNT) -> list[bytes]:
    return [b"text %d" % number for number in range(count)]


@given(place=places, data=st.data(), count=st.integers(0, 70))
def test_rows_sealed_together_open_one_by_one_and_the_other_way_round(
    place: Place, data: st.DataObject, count: int
) -> None:
    row_ids, columns = data.draw(st.lists(ids, min_size=count, max_size=count)), bound(place, count)
    versions = data.draw(st.none() | st.lists(st.integers(1, 2**64 - 1), min_size=count, max_size=count))
    sealer, reader = cipher(), cipher()
    together = sealer.seal_rows(place, row_ids, texts(count), *columns, row_versions=versions)
    for row, (row_id, text) in enumerate(zip(row_ids, texts(count), strict=True)):
        assert reader.open(place, row_id, together[row], *(column[row] for column in columns)) == text
    assert [row_version(blob) for blob in together] == (versions or [1] * count)
    apart = [
        sealer.seal(place, row_id, text, *(column[row] for column in columns))
        for row, (row_id, text) in enumerate(zip(row_ids, texts(count), strict=True))
    ]
    assert cipher().open_rows(place, row_ids, apart, *columns) == texts(count)
    assert cipher().open_rows(place, row_ids, together, *columns) == texts(count)


def test_rows_of_several_batches_and_generations_open_together() -> None:
    keys = {1: b"k" * 32, 2: b"o" * 32}
    writers = [cipher(keys, 1), cipher(keys, 1), cipher(keys, 2)]
    row_ids = fresh_ids(30)
    blobs = [
        writers[n % 3].seal(Place.CREDENTIAL, row_id, text)
        for n, (row_id, text) in enumerate(zip(row_ids, texts(30), strict=True))
    ]
    assert cipher(keys, 2).open_rows(Place.CREDENTIAL, row_ids, blobs) == texts(30)


def test_more_rows_than_a_batch_holds_take_several_and_repeat_no_nonce() -> None:
    sealer = cipher()
    row_ids, blobs = page_of(sealer, 4200)
    assert len({blob[SALT] + blob[NONCE] for blob in blobs}) == 4200
    sizes = [sum(1 for blob in blobs if blob[SALT] == salt) for salt in {blob[SALT] for blob in blobs}]
    assert sorted(sizes) == [32, 4200 - 32 - 2 * 2048, 2048, 2048]
    assert cipher().open_rows(Place.MAILBOX, row_ids, blobs, *bound(Place.MAILBOX, 4200)) == texts(4200)


def test_threads_that_seal_pages_and_rows_never_share_a_nonce() -> None:
    shared, blobs, start = cipher(), [], threading.Barrier(4)

    def work() -> None:
        start.wait()
        for _ in range(60):
            blobs.extend(page_of(shared, 23)[1])
            blobs.append(shared.seal(Place.CREDENTIAL, b"r" * 16, b""))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(blobs) == 4 * 60 * 24
    assert len({blob[SALT] + blob[NONCE] for blob in blobs}) == len(blobs)


@pytest.mark.parametrize("is_known", [False, True], ids=["fresh reader", "reader that knows the batch"])
def test_a_flipped_bit_in_any_record_spoils_the_page(is_known: bool) -> None:
    row_ids, blobs = page_of(cipher())
    columns = bound(Place.MAILBOX)
    for row, at in product((0, COUNT - 1), range(len(blobs[0]))):
        altered = bytearray(blobs[row])
        altered[at] ^= 1
        reader = cipher()
        if is_known:
            reader.open_rows(Place.MAILBOX, row_ids, blobs, *columns)
        with pytest.raises(RecordRefusedError):
            reader.open_rows(Place.MAILBOX, row_ids, [*blobs[:row], bytes(altered), *blobs[row + 1 :]], *columns)


@pytest.mark.parametrize("is_known", [False, True], ids=["fresh reader", "reader that knows the batch"])
def test_a_truncated_record_spoils_the_page(is_known: bool) -> None:
    row_ids, blobs = page_of(cipher())
    columns = bound(Place.MAILBOX)
    for size in range(len(blobs[2])):
        reader = cipher()
        if is_known:
            reader.open_rows(Place.MAILBOX, row_ids, blobs, *columns)
        with pytest.raises(RecordRefusedError):
            reader.open_rows(Place.MAILBOX, row_ids, [*blobs[:2], blobs[2][:size], *blobs[3:]], *columns)


@pytest.mark.parametrize("at", range(4), ids=["IDs", "first columns", "second columns", "records"])
def test_two_rows_of_a_page_cannot_change_places(at: int) -> None:
    row_ids, blobs = page_of(cipher())
    columns = [row_ids, *bound(Place.MAILBOX), blobs]
    first, second, *rest = columns[at]
    columns[at] = [second, first, *rest]
    row_ids, key_ixs, address_ixs, blobs = columns
    with pytest.raises(AlteredError):
        cipher().open_rows(Place.MAILBOX, row_ids, blobs, key_ixs, address_ixs)


def test_a_byte_moved_from_one_column_to_the_next_is_noticed_in_a_page() -> None:
    row_ids, blobs = page_of(cipher())
    first, second = bound(Place.MAILBOX)
    moved = [[first[0] + second[0][:1], *first[1:]], [second[0][1:], *second[1:]]]
    shifted = [row_ids[0][:15], *row_ids[1:]], [row_ids[0][15:] + first[0], *first[1:]], second
    for changed in ((row_ids, *moved), shifted):
        with pytest.raises(AlteredError):
            cipher().open_rows(Place.MAILBOX, changed[0], blobs, *changed[1:])


def test_an_unknown_generation_in_a_page_is_named() -> None:
    row_ids, blobs = page_of(cipher())
    blobs[3] = blobs[3][:5] + b"\x07" + blobs[3][6:]
    with pytest.raises(UnknownFormatError, match="generation 7"):
        cipher().open_rows(Place.MAILBOX, row_ids, blobs, *bound(Place.MAILBOX))


def _columns_of_other_sizes() -> list[Sequence[Sequence[bytes]]]:
    first, second = bound(Place.MAILBOX)
    return [
        [],
        [first],
        [first, second, second],
        [first, second[:-1]],
        [first, [*second, b"x" * 16]],
        [[*first[:-1], b"short"], second],
        [[b"x" * 17, *first[1:]], [b"x" * 15, *second[1:]]],
    ]


@pytest.mark.parametrize("columns", _columns_of_other_sizes())
def test_a_page_beside_other_columns_than_the_place_binds_is_neither_sealed_nor_opened(
    columns: Sequence[Sequence[bytes]],
) -> None:
    row_ids, blobs = page_of(cipher())
    with pytest.raises(ValueError, match="MAILBOX binds a row ID and 2 columns"):
        cipher().seal_rows(Place.MAILBOX, row_ids, texts(), *columns)
    with pytest.raises(AlteredError):
        cipher().open_rows(Place.MAILBOX, row_ids, blobs, *columns)


def test_a_page_has_as_many_ids_as_contents() -> None:
    row_ids, blobs = page_of(cipher())
    columns = bound(Place.MAILBOX)
    for fewer in (texts()[:-1], [*texts(), b"one more"]):
        with pytest.raises(ValueError, match="plaintexts for 5 rows"):
            cipher().seal_rows(Place.MAILBOX, row_ids, fewer, *columns)
    for records in (blobs[:-1], [*blobs, blobs[0]]):
        with pytest.raises(AlteredError):
            cipher().open_rows(Place.MAILBOX, row_ids, records, *columns)
    with pytest.raises(ValueError, match="versions"):
        cipher().seal_rows(Place.MAILBOX, row_ids, texts(), *columns, row_versions=[1])


@given(count=st.integers(0, 300))
def test_fresh_ids_are_random_uuids_of_version_4(count: int) -> None:
    found = [UUID(bytes=each) for each in fresh_ids(count)]
    assert len(set(found)) == count
    assert all(each.version == 4 and each.variant == RFC_4122 for each in found)


def test_every_free_bit_of_a_fresh_id_is_random() -> None:
    ones, zeros = 0, 2**128 - 1
    for each in fresh_ids(2000):
        ones |= int.from_bytes(each)
        zeros &= int.from_bytes(each)
    assert (ones ^ zeros).bit_count() == 122
