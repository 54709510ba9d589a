"""`$filter` over directory objects: which properties take which operators, and which of these need advanced queries.

Source: "Advanced query capabilities on Microsoft Entra ID objects" (Microsoft Learn): an advanced query has the header
`ConsistencyLevel: eventual` and `$count=true`. Text compares without case.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tests.simulators.online.errors import GraphError, bad_request
from tests.simulators.online.mapping import GROUP, ORG_CONTACT, USER
from tests.simulators.online.resources import ResourceType

Test = Callable[[Any], bool]

_TOKEN = re.compile(r"\s*('(?:[^']|'')*'|\$?[\w.\-@]+(?:/\$?\w+)*|[(),:])")
_PREFIXES, _SUFFIXES = "startswith", "endswith"
_ENDS_WITH = frozenset({"mail", "othermails", "userprincipalname", "proxyaddresses"})


@dataclass(frozen=True, slots=True)
class _Support:
    """How a property takes `eq` and `in`, `startsWith`, and null: as a default or an advanced query, or not at all."""

    equals: str = "default"
    starts: str = ""
    null: str = ""


_TEXT = _Support("default", "default", "advanced")
_TEXT_ADVANCED = _Support("advanced", "advanced", "advanced")
_FLAG = _Support("default")
_USER = {
    **dict.fromkeys(("city", "country", "department", "displayName", "givenName", "mailNickname", "surname"), _TEXT),
    **dict.fromkeys(("companyName", "mobilePhone", "officeLocation", "postalCode", "streetAddress"), _TEXT_ADVANCED),
    **dict.fromkeys(("accountEnabled", "businessPhones", "onPremisesSyncEnabled", "id"), _FLAG),
    **dict.fromkeys(("mail", "otherMails", "userPrincipalName"), _Support("default", "default")),
    "jobTitle": _Support("default", "", "advanced"),
    "preferredLanguage": _TEXT_ADVANCED,
    "proxyAddresses": _TEXT,
    "showInAddressList": _Support("advanced"),
    "state": _TEXT,
    "userType": _Support("default", "", "advanced"),
}
_GROUP = {
    **dict.fromkeys(("displayName", "mail", "mailNickname"), _TEXT),
    **dict.fromkeys(("id", "mailEnabled", "securityEnabled", "groupTypes", "onPremisesSyncEnabled"), _FLAG),
}
_ORG_CONTACT = {
    **dict.fromkeys(("companyName", "department", "displayName", "givenName", "jobTitle", "mail"), _TEXT),
    **dict.fromkeys(("mailNickname", "proxyAddresses", "surname"), _TEXT),
    **dict.fromkeys(("id", "onPremisesSyncEnabled"), _FLAG),
}
_RULES: dict[int, dict[str, _Support]] = {
    id(resource): {name.lower(): support for name, support in rules.items()}
    for resource, rules in ((USER, _USER), (GROUP, _GROUP), (ORG_CONTACT, _ORG_CONTACT))
}


@lru_cache(maxsize=100)
def directory_filter(text: str, resource: ResourceType[Any], *, advanced: bool) -> Test:
    """The predicate over records that a `$filter` stands for.

    Raises:
        GraphError: 400 for what the property does not take, or takes in an advanced query only, and this is none.
    """
    parser = _Parser(text, resource, advanced=advanced)
    test = parser.disjunction()
    parser.expect_end()
    return test


class _Parser:
    def __init__(self, text: str, resource: ResourceType[Any], *, advanced: bool) -> None:
        self._resource = resource
        self._rules = _RULES[id(resource)]
        self._advanced = advanced
        self._tokens = list(_tokens(text))
        self._place = 0

    def disjunction(self) -> Test:
        tests = [self._conjunction()]
        while self._taken("or"):
            tests.append(self._conjunction())
        return tests[0] if len(tests) == 1 else lambda record: any(test(record) for test in tests)

    def expect_end(self) -> None:
        if self._place < len(self._tokens):
            raise _invalid()

    def _conjunction(self) -> Test:
        tests = [self._negation()]
        while self._taken("and"):
            tests.append(self._negation())
        return tests[0] if len(tests) == 1 else lambda record: all(test(record) for test in tests)

    def _negation(self) -> Test:
        if self._taken("not"):
            self._need_advanced("not")
            inner = self._negation()
            return lambda record: not inner(record)
        if self._taken("("):
            inner = self.disjunction()
            self._expect(")")
            return inner
        return self._comparison()

    def _comparison(self) -> Test:
        word = self._next()
        if word.lower() in {_PREFIXES, _SUFFIXES}:
            return self._affix(word)
        name, _, lambda_word = word.rpartition("/")
        if lambda_word.lower() == "any" and name:
            return self._any(name)
        support, value = self._supported(word), self._getter(word)
        operator = self._next().lower()
        if operator == "in":
            wanted = set(self._literals())
            self._check(support.equals, word)
            return lambda record: _folded(value(record)) in wanted
        literal = _literal(self._next())
        self._check(support.null if literal is None else support.equals, word)
        if operator == "ne":
            self._need_advanced("ne")
            return lambda record: _folded(value(record)) != literal
        if operator != "eq":
            raise _invalid()
        return lambda record: _folded(value(record)) == literal

    def _affix(self, function: str, variable: str = "", collection: str = "") -> Test:
        self._expect("(")
        word = self._next()
        if variable and word != variable:
            raise _invalid()
        name = collection or word
        self._expect(",")
        literal = _literal(self._next())
        self._expect(")")
        if not isinstance(literal, str):
            raise _invalid()
        support, value = self._supported(name), self._getter(name)
        if function.lower() == _PREFIXES:
            self._check(support.starts, name)
            return lambda record: any(text.startswith(literal) for text in _texts(value(record)))
        if name.lower() not in _ENDS_WITH:
            raise _unsupported(name)
        self._need_advanced("endsWith")
        return lambda record: any(text.endswith(literal) for text in _texts(value(record)))

    def _any(self, name: str) -> Test:
        support, value = self._supported(name), self._getter(name)
        self._expect("(")
        variable = self._next()
        self._expect(":")
        word = self._next()
        if word.lower() in {_PREFIXES, _SUFFIXES}:
            test = self._affix(word, variable, name)
        else:
            if word != variable or self._next().lower() != "eq":
                raise _invalid()
            literal = _literal(self._next())
            self._check(support.equals, name)

            def test(record: Any) -> bool:
                return literal in _texts(value(record))

        self._expect(")")
        return test

    def _literals(self) -> Iterator[Any]:
        self._expect("(")
        while True:
            yield _literal(self._next())
            if not self._taken(","):
                break
        self._expect(")")

    def _supported(self, name: str) -> _Support:
        support = self._rules.get(name.lower())
        if support is None:
            raise _unsupported(name)
        return support

    def _getter(self, name: str) -> Callable[[Any], Any]:
        return lambda record: self._resource.value(record, name)

    def _check(self, kind: str, name: str) -> None:
        if not kind or (kind == "advanced" and not self._advanced):
            raise _unsupported(name)

    def _need_advanced(self, operator: str) -> None:
        if not self._advanced:
            raise GraphError(
                400,
                "Request_UnsupportedQuery",
                f"Operator '{operator}' is not supported because the required parameters might be missing. "
                "Try adding $count=true query parameter and ConsistencyLevel:eventual header.",
            )

    def _next(self) -> str:
        if self._place >= len(self._tokens):
            raise _invalid()
        self._place += 1
        return self._tokens[self._place - 1]

    def _taken(self, word: str) -> bool:
        if self._place < len(self._tokens) and self._tokens[self._place].lower() == word:
            self._place += 1
            return True
        return False

    def _expect(self, word: str) -> None:
        if not self._taken(word):
            raise _invalid()


def _tokens(text: str) -> Iterator[str]:
    place, end = 0, len(text.rstrip())
    while place < end:
        match = _TOKEN.match(text, place)
        if match is None:
            raise _invalid()
        yield match.group(1)
        place = match.end()


def _literal(word: str) -> str | bool | None:
    if word.startswith("'"):
        return word[1:-1].replace("''", "'").casefold()
    literals = {"true": True, "false": False, "null": None}
    if word.lower() not in literals:
        raise _invalid()
    return literals[word.lower()]


def _folded(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) else value


def _texts(value: Any) -> list[str]:
    if value is None:
        return []
    return [value.casefold()] if isinstance(value, str) else [text.casefold() for text in value]


def _invalid() -> GraphError:
    return bad_request("Invalid filter clause")


def _unsupported(name: str) -> GraphError:
    return GraphError(
        400, "Request_UnsupportedQuery", f"Unsupported or invalid query filter clause specified for property '{name}'."
    )
