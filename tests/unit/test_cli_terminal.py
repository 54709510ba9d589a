"""What stored text says reaches the reader; what it could do to a terminal does not."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncvault.cli import output
from syncvault.cli.call import Call
from syncvault.cli.output import Column
from syncvault.cli.terminal import shown
from syncvault.errors import DamagedError

COLUMNS = (Column("name", "name", 8), Column("count", "count"))


def is_control(character: str) -> bool:
    return ord(character) < 32 or 127 <= ord(character) < 160


@given(st.text())
def test_nothing_that_steers_a_terminal_is_shown(text: str) -> None:
    assert not any(
        ord(character) < 32 or 127 <= ord(character) < 160 or character in "\u202e\u2066\u2028"
        for character in shown(text)
    )


@given(st.text(st.characters(exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp")), min_size=1))
def test_ordinary_text_of_any_script_is_shown_as_it_is(text: str) -> None:
    assert shown(text) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb\tc", "a b c"),
        ("\u202eevil", "\\u202eevil"),
        (None, "–"),
        ("", "–"),
        ([], "–"),
        (True, "yes"),
        (["a", "b"], "a, b"),
        ({"street": "x", "city": "y"}, "x, y"),
        (0, "0"),
    ],
)
def test_a_value_reads_like_a_person_would_say_it(value: object, text: str) -> None:
    assert shown(value) == text


@given(st.text())
def test_json_says_the_same_and_steers_no_terminal(text: str) -> None:
    written = output.to_json({"name": text})
    assert json.loads(written) == {"name": text}
    assert not any(is_control(character) for character in written)


def answered(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_a_list_is_one_document_however_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    call = Call("contact list", as_json=True, debug=False)
    items = [{"name": "a", "count": 1}, {"name": "b", "count": 2}]
    output.print_items(call, items, COLUMNS, none="")
    at_once = answered(capsys)
    output.stream_items(call, iter(items), COLUMNS, none="")
    assert answered(capsys) == at_once == {"schema": "syncvault/1", "command": "contact list", "data": {"items": items}}


def test_an_empty_stream_is_a_document_with_no_items(capsys: pytest.CaptureFixture[str]) -> None:
    output.stream_items(Call("contact list", as_json=True, debug=False), iter(()), COLUMNS, none="")
    assert answered(capsys)["data"] == {"items": []}


def test_a_stream_that_breaks_off_is_still_valid_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    def breaking() -> Iterator[dict[str, object]]:
        yield {"name": "a", "count": 1}
        raise DamagedError("Row 7 of contacts does not open.")

    call = Call("contact list", as_json=True, debug=False)
    with pytest.raises(DamagedError):
        output.stream_items(call, breaking(), COLUMNS, none="")
    document = answered(capsys)
    assert document["data"]["items"] == [{"name": "a", "count": 1}]
    assert document["error"]["code"] == "damaged"
    assert call.has_answered


def test_a_stream_holds_one_item_at_a_time() -> None:
    alive = peak = 0

    class Row(dict[str, object]):
        def __init__(self) -> None:
            nonlocal alive, peak
            alive += 1
            peak = max(peak, alive)
            super().__init__(name="a", count=1)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    call = Call("contact list", as_json=True, debug=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO()))
        output.stream_items(call, (Row() for _ in range(500)), COLUMNS, none="")
    assert peak <= 3


def test_plain_lines_are_aligned_and_cut_only_where_streamed(capsys: pytest.CaptureFixture[str]) -> None:
    call = Call("x", as_json=False, debug=False)
    items = [{"name": "a long name", "count": 1}, {"name": "b", "count": 22}]
    output.print_items(call, items, COLUMNS, none="")
    output.stream_items(call, iter(items), COLUMNS, none="")
    assert capsys.readouterr().out.splitlines() == [
        "name         count",
        "a long name  1",
        "b            22",
        "name      count",
        "a long …  1",
        "b         22",
    ]


def test_an_empty_list_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    call = Call("x", as_json=False, debug=False)
    output.print_items(call, [], COLUMNS, none="Nothing here.")
    output.stream_items(call, iter(()), COLUMNS, none="Nothing there.")
    assert capsys.readouterr().out == "Nothing here.\nNothing there.\n"


def test_a_table_on_a_terminal_takes_no_markup_from_stored_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    items = [{"name": "[red]\x1b[31mx[/red]", "count": 7}]
    output.print_items(Call("x", as_json=False, debug=False), items, COLUMNS, none="")
    text = capsys.readouterr().out
    assert "[red]\\x1b[31mx[/red]" in text
    assert "\x1b[3" not in text


def test_lines_of_an_object_keep_line_breaks_that_are_meant(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_object(Call("x", as_json=False, debug=False), {}, [("notes", "one\ntwo\x07"), ("n", 3)])
    assert capsys.readouterr().out.splitlines() == ["notes  one", "       two\\x07", "n      3"]
