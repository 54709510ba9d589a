"""What the vectors are made of: IDs, bytes that look random and are the same every time, and what columns may hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Final
from uuid import UUID

from syncvault.crypto.padding import pad
from syncvault.crypto.place import Place

VAULT_ID: Final = UUID("8b1c1f0e-26a5-4a2e-9f0c-6f7b5d0f4a11").bytes
TENANT_ID: Final = UUID("3d0f7a52-9c1e-4b6f-8a34-51e2c0d9b7f6").bytes


def stream(label: str) -> Callable[[int], bytes]:
    """A source of bytes that gives the same ones every time."""
    count = 0

    def draw(size: int) -> bytes:
        nonlocal count
        count += 1
        return hashlib.shake_256(f"{label}/{count}".encode()).digest(size)

    return draw


def some(label: str, size: int = 16) -> bytes:
    """Bytes that look random."""
    return stream(label)(size)


_PROFILE: Final = {
    "admin_mail": "admin@example.com",
    "billing_mail": "",
    "connection": {
        "authority": "",
        "ca_pem": "",
        "client_id": "6a4c7d1e-0f35-4c92-b1a7-2e8d5f9c3b60",
        "cloud": "global",
        "directory_id": "f2b8e6d4-7a19-4d03-9c5e-1b0a8f6e4d27",
        "graph_url": "",
    },
    "customer_number": "K-1001",
    "kind": "online",
    "locale": "de",
    "name": "acme",
    "rule_version": 1,
    "subscription": {
        "cancelled": False,
        "ends_on": "2027-01-01",
        "kind": "trial",
        "term": "",
        "zone": "Europe/Berlin",
    },
}
_CREDENTIAL: Final = {
    "certificate_pem": "",
    "expires_at": 1798761600,
    "kind": "secret",
    "secret": "correct horse battery staple",
    "thumbprint": "",
}
CONTACT: Final = {
    "fields": {
        "business_address": {"city": "Köln", "country": "Deutschland"},
        "display_name": "Zoë Müßig 🌻",
        "email_addresses": ["zoe@example.com", "z.muessig@example.org"],
    },
    "id": "AAMkAGI2THVSAAA=",
}


def plaintexts() -> dict[Place, bytes]:
    """What each sealed column may hold."""
    photo = bytes.fromhex("ffd8ffe000104a464946") + some("photo", 40)
    return {
        Place.TENANT_PROFILE: as_json(_PROFILE),
        Place.CREDENTIAL: pad(as_json(_CREDENTIAL)),
        Place.SOURCE: as_json({"kind": "group", "ref": "0d4f6c1b-5e2a-4b7d-9a38-c7f1e6d20b95"}),
        Place.MAILBOX: as_json({"address": "Zoe@Example.com", "key": "5b7e9c02-1d4f-4a68-8e3b-f60a2c9d7184"}),
        Place.FOLDER: as_json({"id": "AAMkAGI2TGUSAAA=", "path": "Kontakte/Büro"}),
        Place.CHECKPOINT: as_json({"full": False, "sweeps": False, "token": "https://graph.example/delta?token=x"}),
        Place.CONTACT: as_json(CONTACT),
        Place.CARD: as_json({"fields": {"display_name": "ليلى"}, "id": "5b7e9c02-1d4f-4a68-8e3b-f60a2c9d7184"}),
        Place.PHOTO_DETAILS: as_json({"etag": '"1"', "sha256": hashlib.sha256(photo).hexdigest(), "size": len(photo)}),
        Place.PHOTO_CONTENT: photo,
    }


def as_json(plain: object) -> bytes:
    """The bytes that are sealed, as docs/FORMAT.md gives them."""
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
