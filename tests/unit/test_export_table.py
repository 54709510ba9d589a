"""CSV rows hold what was stored and run nothing in a spreadsheet."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from syncvault.export import table

FACTS = {
    "id": "1",
    "kind": "contact",
    "mailbox": "a@example.com",
    "folder": "Contacts/Suppliers",
    "has_photo": "yes",
    "photo_sha256": "ab",
    "purge_on": "2027-04-01",
}


def read_back(fields: dict[str, Any]) -> dict[str, str]:
    text = (table.header() + table.row(FACTS, fields)).decode("utf-8")
    return next(csv.DictReader(io.StringIO(text, newline="")))


def test_every_value_stands_under_its_name() -> None:
    row = read_back(
        {
            "display_name": 'Jörg "Jogi" Müller, 🎉',
            "email_addresses": ["a@example.com", "b@example.com"],
            "home_address": {"city": "Potsdam"},
            "notes": "first\nsecond",
        }
    )
    assert row["display_name"] == 'Jörg "Jogi" Müller, 🎉'
    assert row["email_addresses"] == "a@example.com\nb@example.com"
    assert row["home_address.city"] == "Potsdam"
    assert row["home_address.street"] == ""
    assert row["notes"] == "first\nsecond"
    assert row["surname"] == ""
    assert {key: row[key] for key in FACTS} == FACTS


@pytest.mark.parametrize("text", ["=1+1", "@SUM(A1)", "+cmd|' /C calc'!A0", "-2+3*cmd", "\tx"])
def test_a_cell_that_a_spreadsheet_would_run_is_disarmed(text: str) -> None:
    assert read_back({"display_name": text})["display_name"] == f"'{text}"


@pytest.mark.parametrize("number", ["+49 30 1234-56", "+1 (206) 555-0100", "-5"])
def test_a_phone_number_stays_as_it_is(number: str) -> None:
    assert read_back({"mobile_phone": number})["mobile_phone"] == number


def test_rows_end_as_rfc_4180_wants() -> None:
    assert table.header().endswith(b"\r\n")
    assert table.row(FACTS, {}).endswith(b"\r\n")
