"""What goes to stdout: one JSON document, or text that is a table on a terminal and plain lines elsewhere.

Stored text comes from strangers. None of its control characters reaches a terminal raw, in either form.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Final, NamedTuple

from syncvault.cli.call import Call
from syncvault.cli.failures import error_object
from syncvault.cli.terminal import shown

SCHEMA: Final = "syncvault/1"
_HARMFUL_IN_JSON: Final = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class Column(NamedTuple):
    """A column of a table: the key of its values and what stands above them."""

    key: str
    title: str
    width: int = 0  # at most, where rows are streamed and nobody knows the longest


def instant(moment: datetime) -> str:
    """An instant in JSON: ISO 8601 in UTC, to the second."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def document(command: str, content: Mapping[str, Any]) -> None:
    """Writes the one JSON document of a call; `content` holds `data` or `error`."""
    _write_json(to_json({"schema": SCHEMA, "command": command, **content}) + "\n")


def to_json(value: object) -> str:
    """A value as JSON that a terminal shows and does not obey."""
    return _HARMFUL_IN_JSON.sub(_json_escape, json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def print_object(
    call: Call, data: Mapping[str, Any], lines: Sequence[tuple[str, object]], *, failure: Exception | None = None
) -> None:
    """One thing: its keys in JSON, or lines of label and value; `failure` as for `print_items`."""
    if call.as_json:
        _answer(call, data, failure)
        return
    width = max((len(label) for label, _ in lines), default=0)
    for label, value in lines:
        first, *more = value.replace("\r\n", "\n").split("\n") if isinstance(value, str) else [shown(value)]
        _print(f"{label:<{width}}  {shown(first)}")
        for line in more:
            _print(f"{'':<{width}}  {shown(line)}")


def print_items(
    call: Call,
    items: Sequence[Mapping[str, Any]],
    columns: Sequence[Column],
    *,
    none: str,
    more: Mapping[str, Any] | None = None,
    failure: Exception | None = None,
) -> None:
    """A list: `data.items` in JSON, or a table.

    Args:
        call: The call that is answered.
        items: The rows.
        columns: Those of their keys that a table shows.
        none: What is said of an empty list.
        more: What stands beside the items.
        failure: What kept others out of the list; in JSON `error` beside `data`. Raise it afterwards.
    """
    if call.as_json:
        _answer(call, {**(more or {}), "items": items}, failure)
    elif not items:
        _print(none)
    elif sys.stdout.isatty():
        _print_rich(items, columns)
    else:
        _print_plain(items, columns)


def stream_items(call: Call, items: Iterable[Mapping[str, Any]], columns: Sequence[Column], *, none: str) -> None:
    """A list of any length, an item at a time.

    In JSON a failure on the way still leaves one valid document: it ends with `error` beside `data`.
    """
    rows = iter(items)
    first = next(rows, None)  # a failure before the first item is reported like any other
    rest = chain([first], rows) if first is not None else iter(())
    if call.as_json:
        _stream_json(call, rest)
    elif first is None:
        _print(none)
    else:
        _print("  ".join(_fitted(column.title, column.width) for column in columns).rstrip())
        for row in rest:
            _print("  ".join(_fitted(shown(row[column.key]), column.width) for column in columns).rstrip())


def say(call: Call, text: str) -> None:
    """Something a person wants to read: beside the JSON document it goes to stderr."""
    (sys.stderr if call.as_json else sys.stdout).write(f"{text}\n")


def _answer(call: Call, data: Mapping[str, Any], failure: Exception | None) -> None:
    document(call.command, {"data": data, **({"error": error_object(failure)} if failure else {})})
    call.has_answered = True


def _stream_json(call: Call, items: Iterator[Mapping[str, Any]]) -> None:
    _write_json(f'{{"schema":{to_json(SCHEMA)},"command":{to_json(call.command)},"data":{{"items":[')
    separator = "\n"
    try:
        for item in items:
            _write_json(separator + to_json(item))
            separator = ",\n"
    except BrokenPipeError:
        raise
    except Exception as error:  # whatever it is, the document is closed and the failure goes on to be reported
        _write_json(f'\n]}},"error":{to_json(error_object(error))}}}\n')
        call.has_answered = True
        raise
    _write_json("\n]}}\n")


def _print_rich(items: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.title, overflow="fold", justify="right" if _is_number(items, column.key) else "left")
    for item in items:
        table.add_row(*(Text(shown(item[column.key])) for column in columns))
    Console(highlight=False).print(table)


def _print_plain(items: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> None:
    rows = [[column.title for column in columns], *([shown(item[column.key]) for column in columns] for item in items)]
    widths = [max(len(row[position]) for row in rows) for position in range(len(columns))]
    for row in rows:
        _print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _is_number(items: Sequence[Mapping[str, Any]], key: str) -> bool:
    return all(isinstance(item[key], int | float) and not isinstance(item[key], bool) for item in items)


def _fitted(text: str, width: int) -> str:
    if not width:
        return text
    return f"{text:<{width}}" if len(text) <= width else f"{text[: width - 1]}…"


def _json_escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match.group()):04x}"


def _write_json(text: str) -> None:
    sys.stdout.buffer.write(text.encode("utf-8"))


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
