"""Contacts to store: serialised beforehand, about 1 KiB each, made a page at a time so that they fill no memory."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from syncvault.vault.sealing import to_json

PAGE: Final = 200  # contacts a transaction: what Graph gives in a page
_BYTES: Final = 1024
_VARIANTS: Final = 1000
_WORDS: Final = (
    "Vertrieb",
    "Einkauf",
    "Messe",
    "Rückruf",
    "Angebot",
    "Rechnung",
    "Lieferung",
    "Umbau",
    "Büro",
    "Notiz",
)


class Entry(NamedTuple):
    """A contact before it is sealed: its identifiers and its content."""

    id: bytes
    mailbox_id: bytes
    folder_id: bytes
    remote_ix: bytes
    plain: bytes


def pages(count: int, mailbox_ids: Sequence[bytes]) -> Iterator[list[Entry]]:
    """`count` contacts, a page for each mailbox in turn."""
    chance = random.Random(20)  # noqa: S311  (payloads, not keys)
    contents = [_content(chance) for _ in range(_VARIANTS)]
    for start in range(0, count, PAGE):
        mailbox_id, folder_id = mailbox_ids[start // PAGE % len(mailbox_ids)], os.urandom(16)
        yield [
            Entry(os.urandom(16), mailbox_id, folder_id, os.urandom(16), contents[number % _VARIANTS])
            for number in range(start, min(start + PAGE, count))
        ]


def _content(chance: random.Random) -> bytes:
    number = chance.randrange(10**6)
    fields = {
        "display_name": f"Anna Müller {number}",
        "given_name": "Anna",
        "surname": f"Müller {number}",
        "company": "Muster & Söhne GmbH",
        "department": chance.choice(_WORDS),
        "email_addresses": [f"anna.mueller.{number}@example.com"],
        "business_phones": [f"+49 30 {number:07d}"],
        "mobile_phone": f"+49 170 {number:07d}",
        "business_address": {"street": f"Hauptstr. {number % 200}", "city": "Berlin", "postal_code": "10115"},
        "notes": "",
    }
    item = chance.randbytes(60).hex()
    missing = _BYTES - len(to_json({"id": item, "fields": fields}))
    notes = " ".join(chance.choices(_WORDS, k=missing))
    fields["notes"] = notes.encode()[:missing].decode(errors="ignore")
    return to_json({"id": item, "fields": fields})
