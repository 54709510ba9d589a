"""Searches: restrictions, search strings and sort orders, over whatever properties items and folders show."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from lxml import etree

from tests.simulators.onprem.extended import number
from tests.simulators.onprem.fields import FIELDS, Wanted
from tests.simulators.onprem.shapes import path_shape
from tests.simulators.onprem.soap import TYPES, EwsError, T, children, local

Show = Callable[[Wanted], str]  # the element of an item or folder, in the properties wanted
Read = Callable[[etree._Element], list[str]]  # the values of the property at a path

_LISTS = {
    "contacts:EmailAddress": "EmailAddresses",
    "contacts:ImAddress": "ImAddresses",
    "contacts:PhoneNumber": "PhoneNumbers",
}
# What a server works out anew for each answer, and so cannot search for.
_NOT_STORED = frozenset(
    {"item:Attachments", "item:EffectiveRights", "item:MimeContent", "item:UniqueBody", "contacts:CompleteName"}
)
_SEARCHED = tuple(
    etree.Element(f"{T}FieldURI", FieldURI=uri)
    for uri in (
        *("contacts:DisplayName", "contacts:GivenName", "contacts:Surname", "contacts:CompanyName"),
        *("contacts:JobTitle", "contacts:EmailAddresses", "contacts:PhoneNumbers", "item:Body"),
    )
)


def reader(show: Show) -> Read:
    """Reads the properties of something by what it shows of them."""

    def read(path: etree._Element) -> list[str]:
        uri = path.get("FieldURI", "")
        if uri in _NOT_STORED:
            raise EwsError("ErrorUnsupportedPathForQuery", "The property cannot be used in a query.")
        shown = etree.fromstring(f'<r xmlns:t="{TYPES}">{show(path_shape(path))}</r>')[0]
        return [leaf.text or "" for found in _found(shown, path, uri) for leaf in _leaves(found)]

    return read


def _found(shown: etree._Element, path: etree._Element, uri: str) -> Iterable[etree._Element]:
    if local(path) == "ExtendedFieldURI":
        return shown.iterfind(f"{T}ExtendedProperty/{T}Value")
    if local(path) != "IndexedFieldURI":
        return shown.iterfind(T + uri.partition(":")[2])
    entries = shown.iterfind(f"{T}{_LISTS.get(uri, 'PhysicalAddresses')}/{T}Entry")
    meant = [entry for entry in entries if entry.get("Key") == path.get("FieldIndex")]
    return meant if uri in _LISTS else [part for entry in meant for part in entry.iterfind(T + uri.rpartition(":")[2])]


def _leaves(element: etree._Element) -> Iterable[etree._Element]:
    return (leaf for leaf in element.iter() if not len(leaf))


# -- restrictions ------------------------------------------------------------------------------------------------------


def admits(restriction: etree._Element | None, read: Read) -> bool:
    """Whether something passes a `m:Restriction`."""
    return all(_holds(expression, read) for expression in children(restriction))


def _holds(expression: etree._Element, read: Read) -> bool:
    kind, parts = local(expression), children(expression)
    if kind == "And":
        return all(_holds(part, read) for part in parts)
    if kind == "Or":
        return any(_holds(part, read) for part in parts)
    if kind == "Not":
        return not _holds(parts[0], read)
    values = read(parts[0])
    if kind == "Exists":
        return any(values)
    return any(_agrees(expression, text, read) for text in values)


def _agrees(expression: etree._Element, text: str, read: Read) -> bool:
    """Whether one value of a property is as an expression wants it."""
    kind, other = local(expression), children(expression)[1]
    if kind == "Contains":
        return _contains(expression, text, other.get("Value", ""))
    if kind == "Excludes":
        return text.isdecimal() and not int(text) & number(other.get("Value", "0"))
    return any(_compares(kind, text, wanted) for wanted in _other_side(other, read))


def _other_side(element: etree._Element, read: Read) -> list[str]:
    """What a property is compared with: a constant, or another property."""
    given = children(element)[0]
    return [given.get("Value", "")] if local(given) == "Constant" else read(given)


def _contains(expression: etree._Element, text: str, wanted: str) -> bool:
    if "IgnoreCase" in expression.get("ContainmentComparison", ""):
        text, wanted = text.casefold(), wanted.casefold()
    mode = expression.get("ContainmentMode", "Substring")
    if mode == "FullString":
        return text == wanted
    if mode in {"PrefixOnWords", "ExactPhrase"}:
        return f" {wanted}" in f" {text}"
    return text.startswith(wanted) if mode == "Prefixed" else wanted in text


def _compares(kind: str, text: str, wanted: str) -> bool:
    left, right = _rank(text), _rank(wanted)
    outcomes = {
        "IsEqualTo": left == right,
        "IsNotEqualTo": left != right,
        "IsGreaterThan": left > right,
        "IsGreaterThanOrEqualTo": left >= right,
        "IsLessThan": left < right,
        "IsLessThanOrEqualTo": left <= right,
    }
    if kind not in outcomes:
        raise EwsError("ErrorUnsupportedQueryFilter", "The filter is not supported.")
    return outcomes[kind]


def _rank(text: str) -> tuple[int, float, str]:
    """What a value is worth beside others: numbers by size and times by the clock, not by their letters."""
    if text.isascii() and text.lstrip("-").isdecimal():
        return 0, float(text), ""
    try:
        moment = datetime.fromisoformat(text) if text[:4].isdecimal() and text[4:5] == "-" else None
    except ValueError:
        moment = None
    if moment is None:
        return 2, 0.0, text
    return 1, (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp(), ""


# -- search strings and sort orders ------------------------------------------------------------------------------------


def mentions(query: str, read: Read) -> bool:
    """Whether all words of a search string begin a word of something: of a name, an address or a number."""
    texts = " ".join(text for path in _SEARCHED for text in read(path)).casefold().split()
    return all(any(text.startswith(word) for text in texts) for word in query.casefold().split())


def sort_key(path: etree._Element, read: Read) -> tuple[int, float, str]:
    """Where something stands by the property at a path; what has none comes first."""
    if path.get("FieldURI", "") not in FIELDS and local(path) == "FieldURI":
        raise EwsError("ErrorUnsupportedPathForSortGroup", "The property cannot be used to sort.")
    kind, size, text = _rank("".join(read(path)[:1]))
    return kind, size, text.casefold()
