"""OData query options and preferences, as far as the simulated resources take them; anything else is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tests.simulators.company.records import Item
from tests.simulators.online.errors import GraphError, bad_request

SENSITIVITY = "Integer 0x36"  # PidTagSensitivity; 2 is private
HAS_PICTURE = "Boolean {00062004-0000-0000-c000-000000000046} Id 0x8015"  # PidLidHasPicture

_PREFERENCE = re.compile(r'([\w.\-]+)\s*=\s*("[^"]*"|[^,;\s]+)')
_COMPARISON = re.compile(r"^([\w/]+) (eq|ne) ('(?:[^']|'')*'|true|false|null)$")
_PREFIX = re.compile(r"^startswith\(([\w/]+), ?('(?:[^']|'')*')\)$", re.IGNORECASE)
_ANY_ADDRESS = re.compile(r"^emailAddresses/any\((\w+): ?\1/address eq ('(?:[^']|'')*')\)$", re.IGNORECASE)
_EXTENDED = re.compile(
    r"^singleValueExtendedProperties/any\((\w+): ?\1/id eq '([^']+)' and "
    r"(?:cast\(\1/value, ?Edm\.(\w+)\)|(\1/value)) eq (.+)\)$",
    re.IGNORECASE,
)
_EXPANDED = re.compile(r"^singleValueExtendedProperties\(\$filter=(.+)\)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a Prefer header asks for."""

    page_size: int | None = None
    immutable_ids: bool = False

    @property
    def applied(self) -> str:
        """What Preference-Applied says back."""
        parts = [f"odata.maxpagesize={self.page_size}"] if self.page_size else []
        return ", ".join([*parts, 'IdType="ImmutableId"'] if self.immutable_ids else parts)


@lru_cache(maxsize=100)
def preferences(header: str | None) -> Preferences:
    """Reads a Prefer header."""
    found = {name.lower(): value.strip('"') for name, value in _PREFERENCE.findall(header or "")}
    size = found.get("odata.maxpagesize", "")
    return Preferences(
        page_size=max(1, min(1_000, int(size))) if size.isdigit() else None,
        immutable_ids=found.get("idtype", "").lower() == "immutableid",
    )


def number(query: dict[str, str], name: str, default: int, *, low: int, high: int) -> int:
    """A whole-number option within bounds; 400 otherwise."""
    text = query.get(name)
    if text is None:
        return default
    if not text.isdigit() or not low <= int(text) <= high:
        raise GraphError(
            400,
            "Request_UnsupportedQuery",
            f"Invalid page size specified: '{text}'. Must be between {low} and {high} inclusive.",
        )
    return int(text)


def refuse(query: dict[str, str], *names: str, resource: str) -> None:
    """400 for options that a resource does not take."""
    given = [name for name in names if name in query]
    if given:
        raise bad_request(
            f"The following parameters are not supported with change tracking over the '{resource}' resource: "
            + ", ".join(f"'{name}'" for name in given),
            "ErrorInvalidUrlQuery",
        )


def selected(query: dict[str, str]) -> tuple[str, ...] | None:
    """The names in $select."""
    return _names(query.get("$select", ""))


@lru_cache(maxsize=1_000)
def _names(text: str) -> tuple[str, ...] | None:
    return tuple(name.strip() for name in text.split(",") if name.strip()) or None


def order(items: list[Item], text: str | None, row: Callable[[Item], dict[str, Any]]) -> list[Item]:
    """Items sorted by $orderby."""
    for clause in reversed((text or "").split(",")):
        name, _, direction = clause.strip().partition(" ")
        if name:
            items = sorted(items, key=_sort_key(row, name), reverse=direction == "desc")
    return items


def _sort_key(row: Callable[[Item], dict[str, Any]], name: str) -> Callable[[Item], str]:
    return lambda item: str(row(item).get(name) or "").casefold()


def row_filter(text: str | None) -> Callable[[dict[str, Any]], bool]:
    """A predicate over JSON rows for comparisons of plain properties joined by `and`."""
    tests = [_row_test(clause.strip()) for clause in _clauses(text)]
    return lambda row: all(test(row) for test in tests)


@dataclass(frozen=True, slots=True)
class ExtendedTest:
    """A comparison of an extended property."""

    name: str
    value: str


def extended_filter(text: str | None) -> ExtendedTest | None:
    """The comparison of an extended property that $filter makes; None when it is about something else."""
    match = _EXTENDED.match((text or "").strip())
    if match is None:
        return None
    _, name, kind, plain, value = match.groups()
    expected = {"integer": "int32", "boolean": "boolean"}.get(name.split(" ")[0].lower())
    if expected is not None and (plain or kind.lower() != expected):
        raise bad_request("The value of a property that is no string has to be cast.", "ErrorInvalidUrlQueryFilter")
    return ExtendedTest(name.lower(), value.strip().strip("'").lower())


def expanded_properties(text: str | None) -> list[str]:
    """The IDs of extended properties that $expand asks for."""
    if not text:
        return []
    match = _EXPANDED.match(text.strip())
    if match is None:
        raise bad_request(f"Parsing OData Select and Expand failed: '{text}'.")
    return re.findall(r"id eq '([^']+)'", match.group(1), re.IGNORECASE)


def _clauses(text: str | None) -> list[str]:
    if not text:
        return []
    inner = re.sub(r"'(?:[^']|'')*'", lambda m: m.group().replace(" and ", "\0"), text.strip())
    return [clause.replace("\0", " and ") for clause in inner.split(" and ")]


def _row_test(clause: str) -> Callable[[dict[str, Any]], bool]:
    if match := _COMPARISON.match(clause):
        name, operator, literal = match.groups()
        wanted = _literal(literal)
        return lambda row: (_folded(row.get(name)) == wanted) is (operator == "eq")
    if match := _PREFIX.match(clause):
        name, prefix = match.group(1), str(_literal(match.group(2)))
        return lambda row: str(_folded(row.get(name)) or "").startswith(prefix)
    if match := _ANY_ADDRESS.match(clause):
        address = _literal(match.group(2))
        return lambda row: any(_folded(entry["address"]) == address for entry in row["emailAddresses"])
    raise bad_request(f"Invalid filter clause: {clause}", "Request_UnsupportedQuery")


def _literal(text: str) -> str | bool | None:
    if text.startswith("'"):
        return text[1:-1].replace("''", "'").casefold()
    return {"true": True, "false": False, "null": None}[text]


def _folded(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) else value
