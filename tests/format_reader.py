"""A reader of vaults, written from docs/FORMAT.md alone: it imports nothing of syncvault.

Where it could not have been written from that text, the text is what is wrong. It reads SQLite vaults whose root key
is kept by the provider `file`, checks receipts, and computes everything else that the vectors hold.
"""

from __future__ import annotations

import base64
import calendar
import hashlib
import hmac
import json
import sqlite3
import struct
import tomllib
import unicodedata
import uuid
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.serialization import load_pem_public_key

HEADER = struct.Struct(">BBI24s32sQ12s")
VAULT = bytes(16)

TENANT_PROFILE = 0x0101
CREDENTIAL = 0x0201
SOURCE = 0x0301
MAILBOX = 0x0401
FOLDER = 0x0501
CHECKPOINT = 0x0601
CONTACT = 0x0701
CARD = 0x0702
PHOTO_DETAILS = 0x0801
PHOTO_CONTENT = 0x0802
WRAPPED_KEY = 0x0901
MANIFEST = 0x0A01

SEALED = dict.fromkeys(("credentials", "sources", "mailboxes", "folders", "checkpoints", "contacts"), ("blob",))
SEALED |= {"tenants": ("profile",), "photos": ("details", "content")}


class Refused(Exception):
    """Something is not as the document says."""


# Section 4: records


def hkdf_expand(digest: str, key: bytes, info: bytes, size: int) -> bytes:
    """RFC 5869, section 2.3."""
    output = block = b""
    count = 0
    while len(output) < size:
        count += 1
        block = hmac.new(key, block + info + bytes((count,)), digest).digest()
        output += block
    return output[:size]


def associated_data(
    vault_id: bytes, tenant_id: bytes, place: int, row_id: bytes, row_version: int, *bound: bytes | None
) -> bytes:
    """What a record is bound to."""
    data = b"syncvault/record" + vault_id + tenant_id + struct.pack(">I", place) + row_id
    columns = [bytes(16) if column is None else column for column in bound]
    if any(len(column) != 16 for column in (row_id, *columns)):
        raise Refused("a column is not 16 bytes long")
    return data + struct.pack(">Q", row_version) + b"".join(columns)


def open_record(
    keys: Mapping[int, bytes],
    record: bytes,
    place: int,
    row_id: bytes,
    *bound: bytes | None,
    vault_id: bytes,
    tenant_id: bytes,
) -> bytes:
    """The plaintext of a record."""
    if len(record) < 98:
        raise Refused("too short")
    version, suite, generation, _, commitment, row_version, nonce = HEADER.unpack_from(record)
    if (version, suite) != (1, 1) or generation not in keys:
        raise Refused("unknown version, suite or generation")
    okm = hkdf_expand("sha512", keys[generation], b"syncvault/record-key/1" + record[:30], 64)
    if not hmac.compare_digest(okm[32:], commitment):
        raise Refused("another key")
    data = associated_data(vault_id, tenant_id, place, row_id, row_version, *bound)
    return AESGCM(okm[:32]).decrypt(nonce, record[82:], data)


# Sections 5 to 8


def wrapped_key_columns(purpose: str, generation: int) -> tuple[bytes, bytes]:
    """The columns that a wrapped key is bound to."""
    return purpose.encode("ascii").ljust(16, b"\0"), generation.to_bytes(16, "big")


def unpad(padded: bytes) -> bytes:
    """A secret without its padding."""
    stripped = padded.rstrip(b"\0")
    if stripped[-1:] != b"\x80":
        raise Refused("not padded")
    return stripped[:-1]


def credential_secret(credential: Mapping[str, Any]) -> bytes:
    """The secret itself of a credential."""
    if credential["kind"] == "keytab":
        return base64.b64decode(credential["secret"], validate=True)
    return credential["secret"].encode("utf-8")


def index(key: bytes, label: str, value: str) -> bytes:
    """A blind index."""
    message = bytes((len(label),)) + label.encode("ascii") + value.encode("utf-8", "surrogatepass")
    return hmac.new(key, message, hashlib.sha256).digest()[:16]


def normalised(address: str) -> str:
    """An address or object ID for its index."""
    folded = unicodedata.normalize("NFKC", address).strip().casefold()
    local, at, domain = folded.rpartition("@")
    try:
        return local + at + domain.encode("idna").decode("ascii")
    except UnicodeError:
        return folded


# Section 10: manifests


def multiset(key: bytes, tags: list[bytes]) -> str:
    """What records' tags add up to: AES-256 of each, summed in two little-endian halves modulo 2^64."""
    aes = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()
    lanes = [struct.unpack("<QQ", aes.update(tag)) for tag in tags]
    return "".join(f"{sum(lane[half] for lane in lanes) % 2**64:016x}" for half in (0, 1))


# Section 3: root keys


def root_keys(text: bytes, vault_id: bytes) -> dict[int, bytes]:
    """The generations in a key file."""
    content = json.loads(text)
    if content["format"] != "syncvault-root-keys v1" or content["vault"] != str(uuid.UUID(bytes=vault_id)):
        raise Refused("another form, or another vault's")
    keys = {int(n): base64.b64decode(key, validate=True) for n, key in content["keys"].items()}
    if any(len(key) != 32 for key in keys.values()):
        raise Refused("a key is not 32 bytes long")
    return keys


def keyring_item(vault_id: bytes, handle: Mapping[str, Any]) -> tuple[str, str]:
    """Service and user name of the item whose password is Base64 of the key."""
    return "syncvault", f"{uuid.UUID(bytes=vault_id)}/{handle['generation']}"


def passphrase_key(handle: Mapping[str, Any], passphrase: bytes) -> bytes:
    """A root key from a passphrase."""
    key = Argon2id(
        salt=base64.b64decode(handle["salt"]),
        length=32,
        iterations=handle["iterations"],
        lanes=handle["lanes"],
        memory_cost=handle["memory_kib"],
    ).derive(passphrase)
    if hkdf_expand("sha256", key, b"syncvault v1 passphrase check", 8) != base64.b64decode(handle["check"]):
        raise Refused("another passphrase")
    return key


def wrapping_check(key: bytes, vault_id: bytes, generation: int) -> bytes:
    """What ties a wrapped root key to its vault and generation."""
    binding = f"{uuid.UUID(bytes=vault_id)}/{generation}".encode()
    return hkdf_expand("sha256", key, b"syncvault v1 root key check " + binding, 16)


# Section 9: purge dates


def cover_ends(subscription: Mapping[str, Any], now: datetime) -> date:
    """The day on which the cover ends."""
    first = date.fromisoformat(subscription["ends_on"])
    term = subscription["term"]
    if subscription["kind"] != "paid" or subscription["cancelled"] or not term:
        return first
    today = now.astimezone(ZoneInfo(subscription["zone"])).date()
    months = int(term[1:-1]) * (12 if term.endswith("Y") else 1)
    end, count = first, 0
    while end <= today:
        count += 1
        year, month = divmod(first.year * 12 + first.month - 1 + count * months, 12)
        lacking = first.day > calendar.monthrange(year, month + 1)[1]
        end = date(year, month + 1, 1) if lacking else date(year, month + 1, first.day)
        if lacking:
            end = (end + timedelta(days=31)).replace(day=1)
    return end


def purge_at(subscription: Mapping[str, Any], now: datetime) -> int:
    """The instant at which everything has to be gone."""
    day = cover_ends(subscription, now) + timedelta(days=90)
    return int(datetime.combine(day, time(), ZoneInfo(subscription["zone"])).astimezone(UTC).timestamp())


# Section 11: receipts


def canonical_json(value: object) -> str:
    """The form that is signed."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{_quoted(key)}:{canonical_json(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical_json, value)) + "]"
    if isinstance(value, str):
        return _quoted(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and abs(value) < 2**53:
        return str(value)
    raise Refused("a value that no receipt holds")


def _quoted(text: str) -> str:
    short = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}
    return '"' + "".join(short.get(c) or (f"\\u{ord(c):04x}" if ord(c) < 32 else c) for c in text) + '"'


def check_receipt(receipt: bytes, public_pem: bytes) -> dict[str, Any]:
    """What a receipt states; raises if the signature is not good."""
    content = json.loads(receipt, object_pairs_hook=_once)
    if set(content) != {"statement", "signature"} or content["statement"]["schema"] != "syncvault/receipt/1":
        raise Refused("another form")
    signature = base64.b64decode(content["signature"], validate=True)
    if base64.b64encode(signature).decode() != content["signature"]:
        raise Refused("the signature is spelled otherwise")
    check_signature("syncvault/receipt/1", content["statement"], signature, public_pem)
    return content["statement"]


def check_intent(text: str, tenant_id: bytes, epoch: int, public_pem: bytes) -> dict[str, Any]:
    """What `tenants.erasure` says; raises unless it is genuine for this tenant and epoch."""
    content = json.loads(text)
    intent = content["intent"]
    check_signature("syncvault/intent/1", intent, base64.b64decode(content["signature"], validate=True), public_pem)
    if (intent["tenant_id"], intent["epoch"]) != (str(uuid.UUID(bytes=tenant_id)), epoch):
        raise Refused("the intent of another tenant or epoch")
    return intent


def check_ledger(content: bytes, public_pem: bytes, unsigned_until: int) -> list[dict[str, Any]]:
    """The entries in `erasure.ledger`; raises unless this vault wrote them, in this order."""
    number, before, entries = (
        0,
        "",
        [json.loads(line) for line in content.splitlines(keepends=True) if line[-1:] == b"\n"],
    )
    for entry in entries:
        is_late = bool(before) or entry["seq"] > unsigned_until
        if entry["seq"] <= number or (is_late and "signature" not in entry):
            raise Refused(f"entry {entry['seq']}")
        number = entry["seq"]
        if "signature" in entry:
            document = {key: value for key, value in entry.items() if key != "signature"} | {"before": before}
            check_signature("syncvault/ledger/1", document, bytes.fromhex(entry["signature"]), public_pem)
            before = entry["signature"]
    return entries


def check_signature(subject: str, document: Mapping[str, Any], signature: bytes, public_pem: bytes) -> None:
    """Raises unless the signature is the document's, under this subject."""
    message = subject.encode() + b"\0" + canonical_json(document).encode()
    load_pem_public_key(public_pem).verify(signature, message)  # type: ignore[union-attr, call-arg, arg-type]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise Refused("a key appears twice")
    return dict(pairs)


# Section 1: a vault


def read_vault(home: Path) -> dict[str, Any]:
    """Everything in a SQLite vault whose root key is in a file, by the tenants' names."""
    places = tomllib.loads((home / "vault.toml").read_text("utf-8"))
    with closing(_connect(places["key_database"])) as keys, closing(_connect(places["database"])) as data:
        vault_id = bytes.fromhex(keys.execute("SELECT value FROM key_meta WHERE name = 'vault_id'").fetchone()[0])
        if data.execute("SELECT value FROM meta WHERE name = 'vault_id'").fetchone()[0] != vault_id.hex():
            raise Refused("two vaults")
        root = keys.execute("SELECT * FROM root_generations WHERE state = 'current'").fetchone()
        handle = json.loads(root["handle"])
        text = Path(places.get("root_key_file") or handle["path"]).read_bytes()
        opened = _unwrap_all(keys, {root["generation"]: root_keys(text, vault_id)[root["generation"]]}, vault_id)
        tenants = [
            _Tenant(data, vault_id, row, opened).read() for row in data.execute("SELECT * FROM tenants").fetchall()
        ]
    names, signing_key = opened[VAULT]["names"], next(iter(opened[VAULT]["receipt"][0].values()))
    return {
        "vault_id": vault_id,
        "receipt_seed": signing_key[:32],
        "unsigned_until": int.from_bytes(signing_key[32:], "big"),
        "name_key": names[0][names[1]],
        "tenants": {tenant["profile"]["name"]: tenant for tenant in tenants},
    }


_Keys = dict[bytes, dict[str, tuple[dict[int, bytes], int]]]  # tenant, purpose: keys by generation, the current one


def _connect(url: str) -> sqlite3.Connection:
    connection = sqlite3.connect(f"file:{url.removeprefix('sqlite:///')}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    return connection


def _unwrap_all(keys: sqlite3.Connection, root: Mapping[int, bytes], vault_id: bytes) -> _Keys:
    opened: _Keys = {}
    for row in keys.execute("SELECT * FROM wrapped_keys"):
        columns = wrapped_key_columns(row["purpose"], row["generation"])
        key = open_record(
            root, row["blob"], WRAPPED_KEY, row["id"], *columns, vault_id=vault_id, tenant_id=row["tenant_id"]
        )
        by_purpose = opened.setdefault(row["tenant_id"], {})
        known, current = by_purpose.get(row["purpose"], ({}, 0))
        known[row["generation"]] = key
        by_purpose[row["purpose"]] = known, row["generation"] if row["state"] == "current" else current
    return opened


class _Tenant:
    def __init__(self, data: sqlite3.Connection, vault_id: bytes, row: sqlite3.Row, keys: _Keys) -> None:
        self._data = data
        self._vault_id = vault_id
        self._row = row
        self._keys = keys[row["id"]]["data"][0]
        generations, current = keys[row["id"]]["index"]
        self._index_key = generations[current]

    def read(self) -> dict[str, Any]:
        row = self._row
        return {
            "id": row["id"],
            "index_key": self._index_key,
            "name_ix": row["name_ix"],
            "purge_at": row["purge_at"],
            "profile": self._json(row["profile"], TENANT_PROFILE, row["id"], row["name_ix"]),
            "credential": self._credential(),
            "sources": [
                self._json(row["blob"], SOURCE, row["id"], row["ref_ix"]) | {"ix": row["ref_ix"]}
                for row in self._rows("sources")
            ],
            "mailboxes": {
                row["id"]: self._json(row["blob"], MAILBOX, row["id"], row["key_ix"], row["address_ix"])
                | {"key_ix": row["key_ix"], "address_ix": row["address_ix"]}
                for row in self._rows("mailboxes")
            },
            "folders": {
                row["id"]: self._json(row["blob"], FOLDER, row["id"], row["mailbox_id"], row["folder_ix"])
                | {"ix": row["folder_ix"]}
                for row in self._rows("folders")
            },
            "checkpoints": {
                row["folder_id"]: self._json(row["blob"], CHECKPOINT, row["folder_id"])
                for row in self._rows("checkpoints")
            },
            "contacts": {row["id"]: self._contact(row) for row in self._rows("contacts")},
            "photos": {
                row["contact_id"]: (
                    self._json(row["details"], PHOTO_DETAILS, row["contact_id"]),
                    self._open(row["content"], PHOTO_CONTENT, row["contact_id"]),
                )
                for row in self._rows("photos")
            },
            "manifest": self._manifest(),
        }

    def _manifest(self) -> dict[str, Any]:
        """How many commits there were, and of each table what it holds beside what the manifest says of it."""
        (row,) = self._rows("manifests")
        generations = (row["data_generation"].to_bytes(16, "big"), row["index_generation"].to_bytes(16, "big"))
        plain = self._json(row["blob"], MANIFEST, row["tenant_id"], *generations)
        (counter,) = struct.unpack_from(">Q", row["blob"], 62)
        compared = {}
        for table, columns in SEALED.items():
            rows = [self._row] if table == "tenants" else self._rows(table)
            tags = [row[column][-16:] for row in rows for column in columns]
            found = {"count": len(tags), "sum": multiset(base64.b64decode(plain["key"]), tags)}
            compared[table] = (found, plain["tables"][table])
        return {"counter": counter, "tables": compared}

    def _rows(self, table: str) -> list[sqlite3.Row]:
        return self._data.execute(f"SELECT * FROM {table} WHERE tenant_id = ?", (self._row["id"],)).fetchall()

    def _contact(self, row: sqlite3.Row) -> dict[str, Any]:
        place = {"contact": CONTACT, "card": CARD}[row["kind"]]
        content = self._json(row["blob"], place, row["id"], row["mailbox_id"], row["folder_id"], row["remote_ix"])
        return content | {key: row[key] for key in ("kind", "mailbox_id", "folder_id", "remote_ix")}

    def _credential(self) -> dict[str, Any]:
        (row,) = self._rows("credentials")
        return json.loads(unpad(self._open(row["blob"], CREDENTIAL, row["id"])))

    def _json(self, record: bytes, place: int, row_id: bytes, *bound: bytes | None) -> dict[str, Any]:
        return json.loads(self._open(record, place, row_id, *bound))

    def _open(self, record: bytes, place: int, row_id: bytes, *bound: bytes | None) -> bytes:
        return open_record(
            self._keys, record, place, row_id, *bound, vault_id=self._vault_id, tenant_id=self._row["id"]
        )
