"""Rows on their way to SQLite's driver: faster, and otherwise as they were."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy
from hypothesis import given
from hypothesis import strategies as st

from syncvault.store.engine import Transaction
from syncvault.store.statements import changed, first, run_many, value

values = st.none() | st.integers(-(2**63), 2**63 - 1) | st.text("abc") | st.binary(max_size=20)


@pytest.fixture(scope="module")
def tx() -> Iterator[Transaction]:
    with sqlalchemy.create_engine("sqlite://").begin() as connection:
        connection.exec_driver_sql("CREATE TABLE kept (a, b, c)")
        yield connection


@given(rows=st.lists(st.tuples(values, values, values), max_size=8))
def test_whatever_is_stored_comes_back_as_it_was(tx: Transaction, rows: list[tuple[Any, ...]]) -> None:
    changed(tx, "DELETE FROM kept")
    assert run_many(tx, "INSERT INTO kept VALUES (?, ?, ?)", rows) == len(rows)
    found = tx.exec_driver_sql("SELECT a, b, c FROM kept ORDER BY rowid").all()
    assert [[(type(each), each) for each in row] for row in found] == [
        [(type(each), each) for each in row] for row in rows
    ]


def test_rows_of_unequal_length_are_refused(tx: Transaction) -> None:
    with pytest.raises((ValueError, sqlite3.ProgrammingError)):
        run_many(tx, "INSERT INTO kept VALUES (?, ?, ?)", [(1, 2, 3), (1, 2)])


def test_the_first_row_is_a_bare_tuple_and_none_is_none(tx: Transaction) -> None:
    assert first(tx, "SELECT ?, ?", 1, b"x") == (1, b"x")
    assert first(tx, "SELECT 1 WHERE 0") is None
    assert value(tx, "SELECT ?", "x") == "x"
    assert value(tx, "SELECT 1 WHERE 0") is None
