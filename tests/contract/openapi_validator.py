"""Holds requests and answers against an OpenAPI 3.0 description: paths, parameters, statuses, bodies, property names.

`contact` and `user` are open types in Graph's description, so a misspelt property would pass; here every property has
to be described somewhere, except annotations (`@odata.…`, `name@delta`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from tests.simulators.online.recorder import Exchange

_KEY = re.compile(r"\('?([^()']*)'?\)")
_HTTP_OWN = frozenset(
    {"host", "user-agent", "accept", "accept-encoding", "connection", "content-type", "content-length", "authorization"}
)
# Understood by every Graph resource; the description names them at some only (an immutable ID needs Prefer everywhere).
_EVERYWHERE = frozenset({"if-none-match", "prefer", "return-client-request-id"})


_FORMATS = jsonschema.FormatChecker(formats=())


@_FORMATS.checks("date-time", raises=ValueError)
def _is_date_time(value: object) -> bool:
    # jsonschema checks this one only where an extra package is installed.
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


class ContractBroken(AssertionError):
    """An exchange that the description does not allow."""


@dataclass(frozen=True, slots=True)
class _Template:
    path: str
    pattern: re.Pattern[str]
    item: dict[str, Any]


class OpenApi:
    """One description, ready to check exchanges."""

    def __init__(self, file: Path) -> None:
        self._document = yaml.load(file.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        templates = [_template(path, item) for path, item in self._document["paths"].items()]
        # A fixed name beats a placeholder: /users/delta is not the user "delta".
        self._templates = sorted(templates, key=lambda t: [part.startswith("{") for part in t.path.split("/")])
        self._schemas = {
            f"#/components/schemas/{name}": schema for name, schema in self._document["components"]["schemas"].items()
        }
        self._store = {"components": {"schemas": _to_json_schema(self._document["components"]["schemas"])}}

    def check(self, exchange: Exchange) -> None:
        """Raises ContractBroken unless request and answer are as described."""
        operation = self._operation(exchange)
        self._check_parameters(exchange, operation)
        # What was refused was often meant to be wrong; only its answer has to be right.
        if exchange.status < 400:
            self._check_request_body(exchange, operation)
        self._check_answer(exchange, operation)

    def _operation(self, exchange: Exchange) -> dict[str, Any]:
        path = _plain(exchange.path)
        for template in self._templates:
            if template.pattern.fullmatch(path) and exchange.method.lower() in template.item:
                return dict(template.item[exchange.method.lower()])
        raise ContractBroken(f"{exchange.method} {path} is not described")

    def _check_parameters(self, exchange: Exchange, operation: dict[str, Any]) -> None:
        described = [self._resolved(parameter) for parameter in operation.get("parameters", [])]
        queries = {parameter["name"]: parameter for parameter in described if parameter["in"] == "query"}
        for name, text in exchange.query.items():
            if name == "$skiptoken":
                continue  # comes out of a nextLink, which is opaque and legal on every collection
            if name not in queries:
                raise ContractBroken(f"{exchange.path}: query option {name} is not described")
            if exchange.status < 400:
                self._validate(_typed(text, queries[name]["schema"]), queries[name]["schema"], f"{name}={text}")
        headers = {parameter["name"].lower() for parameter in described if parameter["in"] == "header"}
        if strange := {name.lower() for name in exchange.headers} - headers - _HTTP_OWN - _EVERYWHERE:
            raise ContractBroken(f"{exchange.path}: request headers {sorted(strange)} are not described")

    def _check_request_body(self, exchange: Exchange, operation: dict[str, Any]) -> None:
        described = operation.get("requestBody")
        if not exchange.body:
            if described and described.get("required"):
                raise ContractBroken(f"{exchange.method} {exchange.path} has no body")
            return
        if not described:
            raise ContractBroken(f"{exchange.method} {exchange.path} has a body")
        self._check_body(exchange.body, _header(exchange.headers, "content-type"), described["content"], exchange.path)

    def _check_answer(self, exchange: Exchange, operation: dict[str, Any]) -> None:
        answers = operation["responses"]
        if str(exchange.status) not in answers and (exchange.status < 400 or "default" not in answers):
            raise ContractBroken(f"{exchange.method} {exchange.path}: status {exchange.status} is not described")
        answer = self._resolved(answers.get(str(exchange.status)) or answers["default"])
        for name in ("request-id", "client-request-id"):
            if not _header(exchange.answer_headers, name):
                raise ContractBroken(f"{exchange.path}: the answer has no {name}")
        content = answer.get("content")
        if not content:
            if exchange.answer_body:
                raise ContractBroken(f"{exchange.path}: a {exchange.status} has no body")
            return
        kind = _header(exchange.answer_headers, "content-type")
        self._check_body(exchange.answer_body, kind, content, exchange.path)

    def _check_body(self, body: bytes, kind: str, content: dict[str, Any], place: str) -> None:
        media = kind.partition(";")[0].strip()
        if media not in content:
            raise ContractBroken(f"{place}: content type {media!r} is not one of {sorted(content)}")
        schema = content[media]["schema"]
        if media.startswith("image/") or media == "application/octet-stream":
            return
        try:
            value = json.loads(body)
        except ValueError as error:
            raise ContractBroken(f"{place}: no JSON") from error
        self._validate(value, schema, place)
        for name in self._unknown(value, schema):
            raise ContractBroken(f"{place}: property {name} is not described")

    def _validate(self, value: Any, schema: dict[str, Any], place: str) -> None:
        whole = {**self._store, **_to_json_schema(schema)}
        validator = jsonschema.Draft202012Validator(whole, format_checker=_FORMATS)
        for error in validator.iter_errors(value):
            raise ContractBroken(f"{place}: {error.json_path}: {error.message[:300]}")

    def _unknown(self, value: Any, schema: dict[str, Any], path: str = "$") -> Iterator[str]:
        """The properties of a value that no schema of its place describes."""
        parts = list(self._flattened(schema))
        if isinstance(value, list):
            entries = next((part["items"] for part in parts if "items" in part), {})
            for number, entry in enumerate(value):
                yield from self._unknown(entry, entries, f"{path}[{number}]")
        if not isinstance(value, dict):
            return
        described = {name: inner for part in parts for name, inner in part.get("properties", {}).items()}
        if not described or any("additionalProperties" in part for part in parts):
            return
        described |= self._derived(value)
        for name, inner in value.items():
            if name.startswith("@") or "@" in name:
                continue
            if name not in described:
                yield f"{path}.{name}"
            else:
                yield from self._unknown(inner, described[name], f"{path}.{name}")

    def _derived(self, value: dict[str, Any]) -> dict[str, Any]:
        """The properties of the type that an object says it is, such as a user among directory objects."""
        name = str(value.get("@odata.type", "")).removeprefix("#")
        reference = f"#/components/schemas/{name}"
        if reference not in self._schemas:
            return {}
        parts = self._flattened(self._schemas[reference])
        return {name: inner for part in parts for name, inner in part.get("properties", {}).items()}

    def _flattened(self, schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
        schema = self._resolved(schema)
        yield schema
        for word in ("allOf", "anyOf", "oneOf"):
            for part in schema.get(word, []):
                yield from self._flattened(part)

    def _resolved(self, node: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in node:
            found: Any = self._document
            for step in node["$ref"].removeprefix("#/").split("/"):
                found = found[step]
            node = found
        return node


def _template(path: str, item: dict[str, Any]) -> _Template:
    source = re.sub(r"\\\{[^}]+\\\}", "[^/]+", re.escape(_plain(path, keep_version=True)))
    return _Template(path, re.compile(source, re.IGNORECASE), item)


def _plain(path: str, *, keep_version: bool = False) -> str:
    """The path below the version, with keys as segments."""
    readable = path.replace("%28", "(").replace("%29", ")").replace("%27", "'").replace("%24", "$")
    plain = _KEY.sub(lambda match: f"/{match.group(1)}" if match.group(1) else "", readable)
    return plain if keep_version else "/" + plain.lstrip("/").partition("/")[2]


def _to_json_schema(node: Any) -> Any:
    """OpenAPI 3.0's `nullable` as JSON Schema says it."""
    if isinstance(node, list):
        return [_to_json_schema(entry) for entry in node]
    if not isinstance(node, dict):
        return node
    converted = {name: _to_json_schema(value) for name, value in node.items() if name != "nullable"}
    if node.get("nullable") is True and isinstance(node.get("type"), str):
        converted["type"] = [node["type"], "null"]
    return converted


def _typed(text: str, schema: dict[str, Any]) -> Any:
    if schema.get("type") == "integer" and text.isdigit():
        return int(text)
    if schema.get("type") == "boolean" and text.lower() in {"true", "false"}:
        return text.lower() == "true"
    return text


def _header(headers: dict[str, str], name: str) -> str:
    return next((value for key, value in headers.items() if key.lower() == name), "")
