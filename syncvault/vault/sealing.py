"""How rows become sealed bytes and back: JSON in a record, opened with an error that names table and row."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson

from syncvault.crypto.place import NOTHING, Place
from syncvault.crypto.record import RecordCipher, RecordRefusedError
from syncvault.errors import DamagedError

_LATEST = 253_402_300_799  # the last second of the year 9999

_TABLES = {
    Place.TENANT_PROFILE: "tenants",
    Place.CREDENTIAL: "credentials",
    Place.SOURCE: "sources",
    Place.MAILBOX: "mailboxes",
    Place.FOLDER: "folders",
    Place.CHECKPOINT: "checkpoints",
    Place.CONTACT: "contacts",
    Place.CARD: "contacts",
    Place.PHOTO_DETAILS: "photos",
    Place.PHOTO_CONTENT: "photos",
    Place.WRAPPED_KEY: "wrapped_keys",
    Place.MANIFEST: "manifests",
}


def to_json(plain: Mapping[str, Any]) -> bytes:
    """The bytes that are sealed: JSON in UTF-8, keys sorted, so that equal values give equal bytes."""
    return orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)


def open_bytes(cipher: RecordCipher, place: Place, row_id: bytes, blob: bytes, *bound: bytes) -> bytes:
    """Opens a record.

    Raises:
        DamagedError: It does not open; names the table and the row.
    """
    try:
        return cipher.open(place, row_id, blob, *bound)
    except RecordRefusedError as error:
        raise damaged(place, row_id, error) from None


def damaged(place: Place, row_id: bytes, error: RecordRefusedError) -> DamagedError:
    """What to raise for a record that does not open: names the table and the row."""
    return DamagedError(f"Row {UUID(bytes=row_id)} of {_TABLES[place]} does not open: {error}.")


def open_json(cipher: RecordCipher, place: Place, row_id: bytes, blob: bytes, *bound: bytes) -> dict[str, Any]:
    """Opens a record that holds a JSON object; raises DamagedError as `open_bytes` does."""
    plain: dict[str, Any] = orjson.loads(open_bytes(cipher, place, row_id, blob, *bound))
    return plain


def or_nothing(column: bytes | None) -> bytes:
    """A nullable column in the form in which it is bound."""
    return NOTHING if column is None else column


def to_datetime(instant: int) -> datetime:
    """A stored instant as an aware UTC datetime; one that no calendar has (nobody vouches for tags) is bounded."""
    number = instant if isinstance(instant, int) else 0  # SQLite lets text stand in any column
    return datetime.fromtimestamp(min(max(number, 0), _LATEST), UTC)


def to_instant(moment: datetime) -> int:
    """An aware datetime as it is stored."""
    return int(moment.timestamp())
