"""Blind indexes: a keyed hash of a normalised value, for equality look-ups without opening anything.

Sixteen bytes of HMAC-SHA-256 under the tenant's index key. The same value in two tenants, or under two labels,
gives unrelated indexes.
"""

from __future__ import annotations

import unicodedata
from enum import Enum
from functools import lru_cache
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

INDEX_SIZE: Final = 16


class Label(Enum):
    """What a value is; part of what is hashed. The texts are part of the format."""

    TENANT_NAME = "tenant-name"
    SOURCE = "source"
    MAILBOX_KEY = "mailbox-key"
    MAILBOX_ADDRESS = "mailbox-address"
    FOLDER = "folder"
    ITEM = "item"
    CARD = "card"

    def __init__(self, text: str) -> None:
        self.prefix = bytes((len(text),)) + text.encode("ascii")


class BlindIndex:
    """Computes indexes under one key."""

    __slots__ = ("_prepared",)

    def __init__(self, key: bytes) -> None:
        self._prepared = HMAC(key, SHA256())

    def of(self, label: Label, value: str) -> bytes:
        """The index of a value that is already normalised, or compared to the letter (server IDs)."""
        state = self._prepared.copy()
        state.update(label.prefix + value.encode("utf-8", "surrogatepass"))
        return state.finalize()[:INDEX_SIZE]


def normalise_address(address: str) -> str:
    """An SMTP address with its spellings made equal: NFKC, case-folded, the domain in IDNA (RFC 3490)."""
    local, at, domain = normalise_text(address).rpartition("@")
    return local + at + _in_ascii(domain)


@lru_cache(maxsize=1024)  # a tenant's addresses share a few domains, and IDNA takes its time
def _in_ascii(domain: str) -> str:
    try:
        return domain.encode("idna").decode("ascii")
    except UnicodeError:
        return domain  # not a domain name: its folded text still compares


def normalise_text(value: str) -> str:
    """Text for comparing without regard to case or width: NFKC, stripped, case-folded."""
    return unicodedata.normalize("NFKC", value).strip().casefold()
