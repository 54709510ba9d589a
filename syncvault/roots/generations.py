"""The text that holds root keys by generation: what a key file contains, and what a systemd credential decrypts to."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Final

from syncvault.crypto import strict_json
from syncvault.errors import RootKeyError
from syncvault.roots.port import require_root_key

_FORMAT: Final = "syncvault-root-keys v1"
_COUNT_FORMAT: Final = "syncvault-count v1"
_COUNT_ADVICE: Final = (
    "Find out who changed it, run `syncvault verify`, then remove it: the next command writes a new one."
)


def to_text(vault: str, keys: Mapping[int, bytes]) -> bytes:
    """The keys of one vault as one line of JSON (docs/FORMAT.md)."""
    content = {
        "format": _FORMAT,
        "vault": vault,
        "keys": {str(n): base64.b64encode(key).decode() for n, key in sorted(keys.items())},
    }
    return json.dumps(content).encode() + b"\n"


def count_to_text(vault: str, count: int) -> bytes:
    """The number that is kept beside the keys of one vault (docs/FORMAT.md)."""
    return json.dumps({"format": _COUNT_FORMAT, "vault": vault, "count": count}).encode() + b"\n"


def count_from_text(content: bytes, vault: str, where: str) -> int:
    """The number in a text of this vault.

    Raises:
        RootKeyError: It is something else, damaged, or another vault's.
    """
    try:
        found = strict_json.parse(content)
        count, is_ours = found["count"], (found["format"], found["vault"]) == (_COUNT_FORMAT, vault)
    except (ValueError, TypeError, KeyError):
        count, is_ours = None, False
    if not is_ours or type(count) is not int or count < 0:
        raise RootKeyError(f"{where} holds something other than this vault's count.", advice=_COUNT_ADVICE)
    return count


def from_text(content: bytes, vault: str, where: str) -> dict[int, bytes]:
    """The keys in a text of this vault.

    Args:
        content: The text.
        vault: Whose keys are expected.
        where: What to call its place in an error.

    Raises:
        RootKeyError: It is something else, damaged, or another vault's.
    """
    try:
        found = strict_json.parse(content)
        owner, sealed = found["vault"], found["keys"]
        keys = {_number(n): base64.b64decode(key, validate=True) for n, key in sealed.items()}
        known = found["format"] == _FORMAT
    except (ValueError, TypeError, KeyError, AttributeError):
        known = False
    if not known:
        # Raised outside the handler: a parser's exception carries the text that it could not read.
        raise RootKeyError(
            f"{where} holds something other than syncvault's root keys.",
            advice="Bring back the file as syncvault wrote it; a damaged one cannot be repaired.",
        )
    if owner != vault:
        raise RootKeyError(
            f"{where} holds the root keys of another vault.",
            advice="Name another file with --root-key-file, or bring back this vault's own.",
        )
    return {n: require_root_key(key, where) for n, key in keys.items()}


def _number(text: str) -> int:
    """A generation in its one spelling."""
    number = int(text)
    if number < 1 or str(number) != text:
        raise ValueError("not a generation")
    return number
