"""JSON that says one thing to every reader: UTF-8, no name twice, and a signature in its one spelling."""

from __future__ import annotations

import base64
import json
from typing import Any


def parse(content: bytes) -> Any:
    """The value in a text.

    Raises:
        ValueError: It is no JSON in UTF-8, or a name appears twice in one object.
    """
    try:
        # Given bytes, the parser would guess at other encodings as well.
        return json.loads(content.decode("utf-8"), object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse_signed(content: bytes, name: str) -> tuple[Any, bytes]:
    """The document and the signature in `{NAME: document, "signature": Base64}`.

    Raises:
        ValueError: The text is something else.
    """
    found = parse(content)
    if not isinstance(found, dict) or set(found) != {name, "signature"} or not isinstance(found["signature"], str):
        raise ValueError("not a signed document")
    signature = base64.b64decode(found["signature"], validate=True)
    if base64.b64encode(signature).decode("ascii") != found["signature"]:
        raise ValueError("the signature is spelled in another way")
    return found[name], signature


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names are unique: a repeated one would show readers two different documents."""
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a name appears twice in one object")
    return document
