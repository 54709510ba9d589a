"""Rows become sealed bytes and back, and what does not open is named by table and row."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncvault.crypto.place import NOTHING, Place
from syncvault.crypto.record import RecordCipher, WrongKeyError
from syncvault.errors import DamagedError
from syncvault.store.schema import data_metadata, key_metadata
from syncvault.vault.sealing import (
    damaged,
    open_bytes,
    open_json,
    or_nothing,
    to_datetime,
    to_instant,
    to_json,
)

ROW = UUID("5b7e9c02-1d4f-4a68-8e3b-f60a2c9d7184")
CIPHER = RecordCipher({1: b"k" * 32}, 1, vault_id=b"v" * 16, tenant_id=b"t" * 16)
OTHER = RecordCipher({1: b"o" * 32}, 1, vault_id=b"v" * 16, tenant_id=b"t" * 16)
IX = b"i" * 16


def sealed(plaintext: bytes) -> bytes:
    return CIPHER.seal(Place.SOURCE, ROW.bytes, plaintext, IX)


def test_json_is_utf_8_with_sorted_keys_and_no_spaces() -> None:
    assert to_json({"b": [1, None], "a": "ü🌻"}) == '{"a":"ü🌻","b":[1,null]}'.encode()


@given(
    plain=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    )
)
def test_what_is_sealed_opens_as_it_was(plain: dict[str, Any]) -> None:
    blob = sealed(to_json(plain))
    assert open_json(CIPHER, Place.SOURCE, ROW.bytes, blob, IX) == plain
    assert open_bytes(CIPHER, Place.SOURCE, ROW.bytes, blob, IX) == to_json(plain)


def test_a_record_that_does_not_open_is_named_by_table_and_row_and_says_why() -> None:
    blob = sealed(b"{}")
    expected = f"Row {ROW} of sources does not open: the record was not sealed under key generation 1 of this tenant."
    for opening in (open_bytes, open_json):
        with pytest.raises(DamagedError) as refusal:
            opening(OTHER, Place.SOURCE, ROW.bytes, blob, IX)
        assert refusal.value.message == expected
        assert refusal.value.__suppress_context__
    with pytest.raises(DamagedError, match="altered"):
        open_json(CIPHER, Place.SOURCE, ROW.bytes, blob, NOTHING)


@pytest.mark.parametrize("place", list(Place))
def test_every_place_has_a_table_that_the_schema_knows(place: Place) -> None:
    message = damaged(place, ROW.bytes, WrongKeyError("why")).message
    table = message.removeprefix(f"Row {ROW} of ").removesuffix(" does not open: why.")
    assert table in {*data_metadata.tables, *key_metadata.tables}
    assert table[:5] == place.name.lower()[:5] or (place, table) == (Place.CARD, "contacts")


def test_null_is_bound_as_sixteen_zeros_and_everything_else_as_it_is() -> None:
    assert or_nothing(None) == bytes(16)
    assert or_nothing(IX) == IX
    assert or_nothing(b"") == b""


@given(moment=st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001  (bounds)
def test_an_instant_comes_back_to_the_second(moment: datetime) -> None:
    assert to_datetime(to_instant(moment)) == moment.replace(microsecond=0)


def test_an_instant_does_not_depend_on_the_zone_it_was_told_in() -> None:
    assert to_instant(datetime(2027, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))) == 1_798_761_600
    assert to_datetime(1_798_761_600) == datetime(2027, 1, 1, tzinfo=UTC)
    assert to_datetime(0).tzinfo is UTC


@pytest.mark.parametrize(
    ("instant", "shown"),
    [
        (-1, "1970-01-01T00:00:00+00:00"),
        (-(2**63), "1970-01-01T00:00:00+00:00"),
        (1, "1970-01-01T00:00:01+00:00"),
        (253_402_300_799, "9999-12-31T23:59:59+00:00"),
        (253_402_300_800, "9999-12-31T23:59:59+00:00"),
        (2**63 - 1, "9999-12-31T23:59:59+00:00"),
    ],
)
def test_an_instant_that_no_calendar_has_is_bounded(instant: int, shown: str) -> None:
    assert to_datetime(instant).isoformat() == shown
