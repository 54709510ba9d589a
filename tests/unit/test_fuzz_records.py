"""Records and wrapped keys under every change a disk or an attacker can make: always refused, never a crash."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncvault.crypto.place import Place
from syncvault.crypto.record import OVERHEAD, RecordCipher, RecordRefusedError

pytestmark = pytest.mark.slow  # many examples

VAULT, TENANT, ROW = b"v" * 16, b"t" * 16, b"r" * 16
PURPOSE, GENERATION = b"data".ljust(16, b"\0"), (1).to_bytes(16, "big")


def root(generations: tuple[int, ...] = (1, 2)) -> RecordCipher:
    keys = {number: bytes((number,)) * 32 for number in generations}
    return RecordCipher(keys, generations[-1], vault_id=VAULT, tenant_id=TENANT)


WRAPPED = root().seal(Place.WRAPPED_KEY, ROW, b"k" * 32, PURPOSE, GENERATION)
SECOND = root().seal(Place.WRAPPED_KEY, ROW, b"l" * 32, PURPOSE, GENERATION)
KNOWING = root()  # has opened both, and so keeps what it derived for them


def opened(reader: RecordCipher, blob: bytes) -> bytes:
    return reader.open(Place.WRAPPED_KEY, ROW, blob, PURPOSE, GENERATION)


def is_refused(blob: bytes) -> bool:
    """Whether a reader that sees it first and one that knows the batch both refuse it."""
    for reader in (root(), KNOWING):
        try:
            opened(reader, blob)
        except RecordRefusedError:
            continue
        return False
    return True


def test_the_two_records_open() -> None:
    assert [opened(KNOWING, blob) for blob in (WRAPPED, SECOND)] == [b"k" * 32, b"l" * 32]


@pytest.mark.parametrize("at", range(len(WRAPPED)))
def test_no_byte_of_a_wrapped_key_can_be_any_other(at: int) -> None:
    for value in set(range(256)) - {WRAPPED[at]}:
        assert is_refused(WRAPPED[:at] + bytes((value,)) + WRAPPED[at + 1 :])


@pytest.mark.parametrize("size", range(len(WRAPPED)))
def test_a_wrapped_key_cut_off_at_either_end_is_refused(size: int) -> None:
    assert is_refused(WRAPPED[:size])
    assert is_refused(WRAPPED[len(WRAPPED) - size :])


@pytest.mark.parametrize("joined", [WRAPPED + SECOND, SECOND + WRAPPED, WRAPPED * 2, WRAPPED + bytes(4096)])
def test_records_joined_together_are_refused(joined: bytes) -> None:
    assert is_refused(joined)


@given(cut=st.integers(1, len(WRAPPED) - 1))
def test_the_beginning_of_one_record_and_the_end_of_another_are_refused(cut: int) -> None:
    spliced = WRAPPED[:cut] + SECOND[cut:]
    assert spliced in {WRAPPED, SECOND} or is_refused(spliced)


@given(blob=st.binary(max_size=300))
def test_bytes_that_are_no_record_are_refused(blob: bytes) -> None:
    assert is_refused(blob)


@given(generation=st.integers(0, 2**32 - 1), rest=st.binary(min_size=OVERHEAD - 6, max_size=300))
def test_bytes_behind_a_good_header_are_refused(generation: int, rest: bytes) -> None:
    assert is_refused(b"\1\1" + generation.to_bytes(4, "big") + rest)


@given(tail=st.binary(max_size=100))
def test_anything_behind_a_good_prefix_is_refused(tail: bytes) -> None:
    if tail != WRAPPED[62:]:
        assert is_refused(WRAPPED[:62] + tail)


@settings(max_examples=300)
@given(data=st.data())
def test_parts_taken_out_doubled_moved_and_overwritten_are_refused(data: st.DataObject) -> None:
    blob = WRAPPED
    for _ in range(data.draw(st.integers(1, 3))):
        begin = data.draw(st.integers(0, len(blob)))
        end = data.draw(st.integers(begin, len(blob)))
        put = data.draw(
            st.sampled_from([blob[:begin], blob[begin:end] * 2, SECOND[begin:end], b""]) | st.binary(max_size=40)
        )
        blob = blob[:begin] + put + blob[end:]
    if blob not in {WRAPPED, SECOND}:
        assert is_refused(blob)


@given(row_id=st.binary(max_size=40), columns=st.lists(st.binary(max_size=40), max_size=4))
def test_no_row_and_columns_but_its_own_open_a_wrapped_key(row_id: bytes, columns: list[bytes]) -> None:
    if (row_id, columns) != (ROW, [PURPOSE, GENERATION]):
        for reader in (root(), KNOWING):
            with pytest.raises(RecordRefusedError):
                reader.open(Place.WRAPPED_KEY, row_id, WRAPPED, *columns)


@given(place=st.sampled_from([place for place in Place if place is not Place.WRAPPED_KEY]), data=st.data())
def test_a_wrapped_key_opens_in_no_other_column(place: Place, data: st.DataObject) -> None:
    columns = [*data.draw(st.permutations([PURPOSE, GENERATION, ROW])), bytes(16)]
    with pytest.raises(RecordRefusedError):
        KNOWING.open(place, ROW, WRAPPED, *columns[: len(place.bound)])


def test_a_generation_that_is_gone_opens_nothing_though_the_next_has_its_key() -> None:
    renumbered = RecordCipher({3: b"\2" * 32}, 3, vault_id=VAULT, tenant_id=TENANT)
    with pytest.raises(RecordRefusedError, match="generation 2"):
        opened(renumbered, WRAPPED)
