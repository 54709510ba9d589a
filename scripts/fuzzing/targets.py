"""What is fuzzed: each target has seeds, and says of one input whether the parser kept its promise.

A broken promise is any exception that leaves a target: one that the parser does not document, or a failed check.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from syncvault.crypto.place import Place
from syncvault.crypto.record import RecordCipher, RecordRefusedError
from syncvault.crypto.signature import public_key_from_pem
from syncvault.errors import InputError, RootKeyError
from syncvault.roots.generations import from_text, to_text
from syncvault.vault.backups import archive
from syncvault.vault.erasing import ledger
from syncvault.vault.erasing.receipt import verify
from syncvault.vault.layout import RootPlace

_VECTORS: Final = Path(__file__).parents[2] / "tests" / "vectors"


class BrokenPromiseError(Exception):
    """A parser accepted what it must refuse, or read something else than was written."""


class Target(NamedTuple):
    """A parser under test: `check` takes any bytes; `seeds` are inputs that get far."""

    summary: str
    check: Callable[[bytes], None]
    seeds: list[bytes]


def _vectors(name: str) -> Any:
    return json.loads((_VECTORS / f"{name}.json").read_bytes())


def record() -> Target:
    """A reader that knows the batch of the vectors, so that input behind its prefix gets as far as the cipher."""
    file = _vectors("records")
    key, vault_id, tenant_id = (bytes.fromhex(file[name]) for name in ("key", "vault_id", "tenant_id"))
    reader = RecordCipher({file["generation"]: key}, file["generation"], vault_id=vault_id, tenant_id=tenant_id)
    own = next(each for each in file["records"] if each["place"] == Place.CREDENTIAL.name)
    row, known = bytes.fromhex(own["row_id"]), {bytes.fromhex(own["record"]): bytes.fromhex(own["plaintext"])}

    def check(data: bytes) -> None:
        try:
            opened = reader.open(Place.CREDENTIAL, row, data)
        except RecordRefusedError:
            opened = None
        try:
            (opened_in_page,) = reader.open_rows(Place.CREDENTIAL, [row], [data])
        except RecordRefusedError:
            opened_in_page = None
        if opened != known.get(data) or opened_in_page != opened:
            raise BrokenPromiseError("a record opened that was never sealed, or one way of opening only")

    return Target("sealed records", check, [bytes.fromhex(each["record"]) for each in file["records"]])


def receipt() -> Target:
    """The receipts of the vectors, genuine and not; and the same bytes as a public key."""
    file = _vectors("receipts")
    public = file["public_key"].encode()
    good = [each["receipt"].encode() for each in file["receipts"]]
    stated = [verify(each, public).content for each in good]

    def check(data: bytes) -> None:
        verdict = verify(data, public)
        if verdict.valid and verdict.content not in stated:
            raise BrokenPromiseError("a receipt is called genuine that was never issued")
        try:
            if verify(good[0], data).valid and public_key_from_pem(data) != public_key_from_pem(public):
                raise BrokenPromiseError("another public key verifies a receipt")
        except InputError:
            pass

    return Target(
        "receipts and public keys", check, [*good, public, *(each["receipt"].encode() for each in file["refused"])]
    )


def root_keys() -> Target:
    """The text of a key file, or of a credential."""
    file = _vectors("roots")
    vault = file["vault_id"]

    def check(data: bytes) -> None:
        try:
            keys = from_text(data, vault, "the input")
        except RootKeyError:
            return
        if from_text(to_text(vault, keys), vault, "the text") != keys or any(n < 1 for n in keys):
            raise BrokenPromiseError("root keys were read that cannot be written")

    return Target(
        "root keys' texts", check, [file["text"].encode(), *(each["text"].encode() for each in file["refused_texts"])]
    )


def erasure_ledger() -> Target:
    """The copy of the erasure ledger."""
    rows = [ledger.LedgerRow(seq, seq, "intent", bytes(16), "{}") for seq in (1, 2)]

    def check(data: bytes) -> None:
        try:
            entries = ledger.parse(data)
        except ValueError:
            return
        if not data.startswith(ledger.to_text(entries)) or b"\n" in data[len(ledger.to_text(entries)) :]:
            raise BrokenPromiseError("an entry is missing, or reads as another")

    return Target("the erasure ledger's copy", check, [ledger.to_text(rows)])


def backup() -> Target:
    """What a backup says of itself."""

    def check(data: bytes) -> None:
        try:
            statement, signature = archive.parse(data)
        except archive.NotABackupError:
            return
        if archive.Statement.from_dict(json.loads(json.dumps(statement.to_dict()))) != statement:
            raise BrokenPromiseError("a statement reads as another once written")
        archive.Archive(Path(), statement, signature).is_signed_by(bytes(32))

    return Target("backups' statements", check, [_statement(kind) for kind in archive.Kind])


def _statement(kind: archive.Kind) -> bytes:
    made = archive.Statement(
        kind=kind,
        vault_id=bytes(16),
        created_at=datetime(2027, 1, 1, tzinfo=UTC),
        expires_on=date(2027, 2, 5),
        schema="data_0001",
        rows={"tenants": 1},
        files={name: archive.Content(1, "0" * 64) for name in archive.FILES[kind]},
        syncvault="0",
        roots=(RootPlace("file", Path("/root.key"), {"a": "b"}),) if kind is archive.Kind.KEYS else (),
    )
    signature = base64.b64encode(bytes(64)).decode()
    return json.dumps({"statement": made.to_dict(), "signature": signature}).encode()


TARGETS: Final[dict[str, Callable[[], Target]]] = {
    "record": record,
    "receipt": receipt,
    "root-keys": root_keys,
    "ledger": erasure_ledger,
    "backup": backup,
}
