"""Writes the known-answer vectors: `python -m tests.vectors.generate` from the root of the tree.

Deterministic: salts and nonces come from SHAKE-256 over a label instead of the system. A change in what this writes
is a change of the format.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from syncvault.crypto.index import BlindIndex, Label, normalise_address
from syncvault.crypto.multiset import MultisetHash
from syncvault.crypto.padding import pad
from syncvault.crypto.place import ID_SIZE, Place
from syncvault.crypto.record import RecordCipher
from syncvault.crypto.signature import Subject, canonical, public_key_pem, sign
from syncvault.policy.calendar import day_begins, log_purge_instant
from syncvault.policy.catalogue import DataClass
from syncvault.policy.subscription import Subscription, SubscriptionKind
from syncvault.roots.generations import to_text
from syncvault.vault.erasing.receipt import Rows, Statement, issue
from tests.vectors import refusals
from tests.vectors.erasures import erasures
from tests.vectors.material import CONTACT, TENANT_ID, VAULT_ID, as_json, plaintexts, some, stream
from tests.vectors.root_keys import roots

FOLDER: Final = Path(__file__).parent


def records() -> dict[str, Any]:
    """One record for each place but wrapped keys, all of one batch; then one with NULL columns and an empty one."""
    key = some("tenant key", 32)
    cipher = RecordCipher({7: key}, 7, vault_id=VAULT_ID, tenant_id=TENANT_ID, random=stream("record"))
    sealed = []

    def add(place: Place, plaintext: bytes, bound: list[bytes], row_version: int, row_id: bytes | None = None) -> None:
        row_id = row_id or some(f"row {len(sealed)}")
        blob = cipher.seal(place, row_id, plaintext, *bound, row_version=row_version)
        version = row_version.to_bytes(8, "big")
        sealed.append(
            {
                "place": place.name,
                "number": place.number,
                "row_id": row_id.hex(),
                "row_version": row_version,
                "bound": [
                    {"column": name, "value": value.hex()} for name, value in zip(place.bound, bound, strict=True)
                ],
                "associated_data": place.associated_data(VAULT_ID + TENANT_ID, row_id, version, bound).hex(),
                "plaintext": plaintext.hex(),
                "record": blob.hex(),
            }
        )

    for row_version, (place, plaintext) in enumerate(plaintexts().items(), start=1):
        bound = [bytes(16) if place is Place.CARD and name == "folder_id" else some(name) for name in place.bound]
        add(place, plaintext, bound, row_version)
    add(Place.MAILBOX, as_json({"address": "", "key": "x"}), [some("key_ix"), bytes(16)], 1)
    add(Place.PHOTO_CONTENT, b"", [], 2**64 - 1)
    # The manifest of a tenant that has all these rows; its row ID is the tenant's.
    generations = [number.to_bytes(ID_SIZE, "big") for number in (7, 300)]
    add(Place.MANIFEST, _manifest(sealed), generations, 12, TENANT_ID)
    return {
        "key": key.hex(),
        "generation": 7,
        "vault_id": VAULT_ID.hex(),
        "tenant_id": TENANT_ID.hex(),
        "records": sealed,
        "refused": refusals.records(sealed),
    }


_TABLES: Final = {
    "tenants": ("TENANT_PROFILE",),
    "credentials": ("CREDENTIAL",),
    "sources": ("SOURCE",),
    "mailboxes": ("MAILBOX",),
    "folders": ("FOLDER",),
    "checkpoints": ("CHECKPOINT",),
    "contacts": ("CONTACT", "CARD"),
    "photos": ("PHOTO_DETAILS", "PHOTO_CONTENT"),
}


def _manifest(sealed: list[dict[str, Any]]) -> bytes:
    key = some("manifest key", 32)
    tables = {}
    for table, places in _TABLES.items():
        tags = [bytes.fromhex(vector["record"])[-16:] for vector in sealed if vector["place"] in places]
        total = MultisetHash(key).of(tags)
        tables[table] = {"count": total.size, "sum": f"{total.low:016x}{total.high:016x}"}
    return as_json({"key": base64.b64encode(key).decode(), "tables": tables})


def wrapped_keys() -> dict[str, Any]:
    """Keys of the vault and of a tenant, under a root key of generation 2."""
    root, rows = some("root key", 32), []
    for tenant_id, purpose, generation in (
        (bytes(16), "names", 1),
        (bytes(16), "receipt", 1),
        (TENANT_ID, "data", 1),
        (TENANT_ID, "data", 300),
        (TENANT_ID, "index", 1),
    ):
        cipher = RecordCipher({2: root}, 2, vault_id=VAULT_ID, tenant_id=tenant_id, random=stream(f"{purpose} batch"))
        key, row_id = _key(f"{purpose} {generation}", purpose), some(f"{purpose} {generation} row")
        bound = purpose.encode().ljust(ID_SIZE, b"\x00"), generation.to_bytes(ID_SIZE, "big")
        rows.append(
            {
                "id": row_id.hex(),
                "tenant_id": tenant_id.hex(),
                "purpose": purpose,
                "generation": generation,
                "root_generation": 2,
                "key": key.hex(),
                "blob": cipher.seal(Place.WRAPPED_KEY, row_id, key, *bound).hex(),
            }
        )
    return {"root_key": root.hex(), "root_generation": 2, "vault_id": VAULT_ID.hex(), "wrapped_keys": rows}


def _key(label: str, purpose: str) -> bytes:
    unsigned_until = (4711).to_bytes(8, "big") if purpose == "receipt" else b""
    return some(label, 32) + unsigned_until


def rotation() -> dict[str, Any]:
    """A tenant after its keys were rotated, while and after the root was re-keyed from generation 2 to 3.

    Every wrapped key is given as it stood under either root generation, and one contact as it was sealed under either
    data key.
    """
    roots = {number: some(f"root {number}", 32) for number in (2, 3)}
    rows, opened = [], {}
    for tenant_id, purpose, generation, state in (
        (bytes(16), "names", 1, "current"),
        (bytes(16), "receipt", 1, "current"),
        (TENANT_ID, "data", 1, "retired"),
        (TENANT_ID, "data", 2, "current"),
        (TENANT_ID, "index", 1, "retired"),
        (TENANT_ID, "index", 2, "current"),
    ):
        label = f"rotated {purpose} {generation}"
        key, row_id = _key(label, purpose), some(f"{label} row")
        bound = purpose.encode().ljust(ID_SIZE, b"\x00"), generation.to_bytes(ID_SIZE, "big")
        opened[purpose, generation] = key
        blobs = {}
        for number in roots:
            cipher = RecordCipher(
                roots, number, vault_id=VAULT_ID, tenant_id=tenant_id, random=stream(f"{label} under {number}")
            )
            blobs[str(number)] = cipher.seal(Place.WRAPPED_KEY, row_id, key, *bound).hex()
        rows.append(
            {
                "id": row_id.hex(),
                "tenant_id": tenant_id.hex(),
                "purpose": purpose,
                "generation": generation,
                "state": state,
                "key": key.hex(),
                "blob_by_root_generation": blobs,
            }
        )
    plaintext, row_id = as_json(CONTACT), some("rotated contact")
    item = CONTACT["id"]
    mailbox_id, folder_id = some("mailbox_id"), some("folder_id")
    contacts = []
    for generation in (1, 2):
        keys = {number: opened["data", number] for number in (1, 2)}
        cipher = RecordCipher(
            keys, generation, vault_id=VAULT_ID, tenant_id=TENANT_ID, random=stream(f"rotated contact {generation}")
        )
        remote_ix = BlindIndex(opened["index", generation]).of(Label.ITEM, str(item))
        bound = mailbox_id, folder_id, remote_ix
        blob = cipher.seal(Place.CONTACT, row_id, plaintext, *bound, row_version=generation)
        contacts.append({"generation": generation, "remote_ix": remote_ix.hex(), "record": blob.hex()})
    texts = {"before": (2,), "while": (2, 3), "after": (3,)}
    vault = str(UUID(bytes=VAULT_ID))
    return {
        "vault_id": VAULT_ID.hex(),
        "tenant_id": TENANT_ID.hex(),
        "root_keys_text": {
            stage: to_text(vault, {n: roots[n] for n in numbers}).decode() for stage, numbers in texts.items()
        },
        "wrapped_keys": rows,
        "contact": {
            "id": row_id.hex(),
            "mailbox_id": mailbox_id.hex(),
            "folder_id": folder_id.hex(),
            "item": item,
            "plaintext": plaintext.hex(),
            "sealed": contacts,
        },
    }


_ADDRESSES: Final = (
    "info@example.com",
    "  Info@EXAMPLE.com ",
    "Jörg.Groß@Straße.example",
    "jo\u0308rg.gross@strasse.example",
    "ｆｕｌｌ@ｗｉｄｔｈ.example",
    "почта@пример.испытание",
    "user@例え.テスト",
    "İstanbul@example.com",
    "Σίσυφος@example.gr",
    "a@b@münchen.example",
    "no-domain",
    "broken@-..example",
    "x@" + "ü" * 70 + ".example",
    "5B7E9C02-1D4F-4A68-8E3B-F60A2C9D7184",
)


def indexes() -> dict[str, Any]:
    """Every label, and addresses in many spellings."""
    key = some("index key", 32)
    index = BlindIndex(key)
    exact = ("acme", "AAMkAGI2THVSAAA=", "aamkagi2thvsaaa=", "", "\ud800", "🌻")
    return {
        "key": key.hex(),
        "exact": [
            {"label": label.value, "value": value, "index": index.of(label, value).hex()}
            for label in Label
            for value in exact
        ],
        "addresses": [
            {
                "label": Label.MAILBOX_ADDRESS.value,
                "value": value,
                "normalised": normalise_address(value),
                "index": index.of(Label.MAILBOX_ADDRESS, normalise_address(value)).hex(),
            }
            for value in _ADDRESSES
        ],
    }


def padding() -> list[dict[str, Any]]:
    """Lengths around the buckets, and secrets that look like padding."""
    secrets = [some("secret", size) if size else b"" for size in (0, 1, 254, 255, 256, 511, 512, 1023, 1024)]
    secrets += [b"\x80", b"\x80\x00", b"ends in zeros\x00\x00"]
    return [{"secret": secret.hex(), "padded": pad(secret).hex()} for secret in secrets]


def receipts() -> dict[str, Any]:
    """A final receipt, an interim one, and one of single rows."""
    seed = some("receipt seed", 32)
    base: dict[str, Any] = {
        "vault_id": VAULT_ID,
        "tenant_id": TENANT_ID,
        "requested_by": "root",
        "requested_at": datetime(2027, 4, 1, 0, 0, 5, tzinfo=UTC),
        "issued_at": datetime(2027, 4, 1, 0, 0, 9, tzinfo=UTC),
        "rule_version": 1,
        "counts": {"sources": 2, "mailboxes": 40, "contacts": 1234, "photos": 56, "credentials": 1},
        "keys_destroyed": ("data/1", "index/1"),
        "storage": ("write-ahead log emptied", "not reached: snapshots and backups"),
    }
    final = Statement(
        reason="retention",
        root_key={"provider": "file", "generation": 2, "replaced": 1},
        outstanding=(),
        **base,
    )
    interim = Statement(
        reason="on-demand",
        root_key={"provider": "systemd", "generation": 1, "replaced": None},
        outstanding=('root key: not "replaced" yet – \\ \t\x1f',),
        **base,
    )
    until = datetime(2027, 5, 6, 0, 0, 5, tzinfo=UTC)
    of_rows = Statement(
        reason="on-demand",
        root_key={"provider": "file", "generation": 2, "replaced": None},
        outstanding=("backups until 2027-05-06",),
        rows=Rows(4, (some("contact 1", 16), some("contact 2", 16)), (some("mailbox", 16),), until),
        **base | {"counts": {"contacts": 2, "photos": 1, "mailboxes": 1}, "keys_destroyed": ()},
    )
    return {
        "seed": seed.hex(),
        "public_key": public_key_pem(seed),
        "receipts": [
            {
                "canonical": canonical(statement.to_dict()).decode(),
                "signature": json.loads(issue(statement, seed))["signature"],
                "receipt": issue(statement, seed).decode(),
            }
            for statement in (final, interim, of_rows)
        ],
        "refused": refusals.receipts(issue(final, seed).decode(), seed),
    }


def signatures() -> dict[str, Any]:
    """One document, signed under every subject."""
    seed = some("receipt seed", 32)
    document = {"b": [1, None, True, "ü🌻"], "a": {"": -(2**53) + 1}, "é": '"\\\n\x1f\x7f'}
    return {
        "seed": seed.hex(),
        "public_key": public_key_pem(seed),
        "canonical": canonical(document).decode(),
        "signatures": [
            {"subject": subject.value.decode(), "signature": sign(seed, subject, document).hex()} for subject in Subject
        ],
    }


_BERLIN: Final = "Europe/Berlin"
_SUBSCRIPTIONS: Final = (
    ("trial", "2027-01-01", _BERLIN, "", False, "2026-12-01T00:00:00Z"),
    ("trial", "2027-01-01", _BERLIN, "", False, "2026-12-31T22:59:59Z"),
    ("trial", "2027-01-01", _BERLIN, "", False, "2026-12-31T23:00:00Z"),
    ("trial", "2020-01-01", "UTC", "", False, "2027-01-01T00:00:00Z"),
    ("trial", "2018-08-06", "America/Sao_Paulo", "", False, "2018-01-01T00:00:00Z"),
    ("trial", "2011-10-01", "Pacific/Apia", "", False, "2011-01-01T00:00:00Z"),
    ("trial", "2027-12-31", "Pacific/Kiritimati", "", False, "2027-12-30T10:00:00Z"),
    ("paid", "2028-02-29", _BERLIN, "P1Y", False, "2028-02-28T22:59:59Z"),
    ("paid", "2028-02-29", _BERLIN, "P1Y", False, "2028-02-28T23:00:00Z"),
    ("paid", "2028-02-29", _BERLIN, "P1Y", False, "2031-03-01T12:00:00Z"),
    ("paid", "2027-01-31", "UTC", "P1M", False, "2027-02-15T00:00:00Z"),
    ("paid", "2027-01-31", "UTC", "P1M", False, "2027-03-01T00:00:00Z"),
    ("paid", "2027-06-30", "UTC", "P3M", True, "2027-06-01T00:00:00Z"),
    ("paid", "2027-06-30", "UTC", "P3M", True, "2027-07-01T00:00:00Z"),
)


def purge_dates() -> dict[str, Any]:
    """Subscriptions at an instant, and log rows."""
    cases = []
    for kind, ends_on, zone, term, cancelled, text in _SUBSCRIPTIONS:
        now = datetime.fromisoformat(text)
        subscription = Subscription(SubscriptionKind(kind), date.fromisoformat(ends_on), zone, term, cancelled)
        cases.append(
            {
                "subscription": {
                    "kind": kind,
                    "ends_on": ends_on,
                    "zone": zone,
                    "term": term,
                    "cancelled": cancelled,
                },
                "now": text,
                "cover_ends": subscription.cover_ends(now).isoformat(),
                "state": str(subscription.state(now)),
                "purge_on": subscription.purge_on(now).isoformat(),
                "purge_at": int(subscription.purge_at(now).timestamp()),
            }
        )
    written = datetime(2027, 3, 1, 23, 59, 59, tzinfo=UTC)
    begins = (("2018-11-04", "America/Sao_Paulo"), ("2027-03-28", _BERLIN), ("2024-10-27", "Asia/Beirut"))
    return {
        "subscriptions": cases,
        "day_begins": [
            {"day": day, "zone": zone, "at": int(day_begins(date.fromisoformat(day), ZoneInfo(zone)).timestamp())}
            for day, zone in begins
        ],
        "log": {
            "written": int(written.timestamp()),
            "purge_at": int(log_purge_instant(DataClass.AUDIT, written).timestamp()),
        },
    }


VECTORS: Final[dict[str, Callable[[], Any]]] = {
    "records": records,
    "wrapped_keys": wrapped_keys,
    "rotation": rotation,
    "indexes": indexes,
    "padding": padding,
    "receipts": receipts,
    "erasures": erasures,
    "signatures": signatures,
    "roots": roots,
    "purge_dates": purge_dates,
}


def text(name: str) -> str:
    """The content of a file of vectors."""
    return json.dumps(VECTORS[name](), indent=1) + "\n"


def main() -> None:
    """Writes all files."""
    for name in VECTORS:
        (FOLDER / f"{name}.json").write_text(text(name), "ascii")


if __name__ == "__main__":
    main()
