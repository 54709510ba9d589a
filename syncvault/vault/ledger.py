"""The erasure ledger: append-only, without personal data, in the key database and mirrored to a file beside it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from syncvault.crypto.place import ID_SIZE
from syncvault.errors import StorageError
from syncvault.store import ledger as rows
from syncvault.store.engine import Transaction
from syncvault.store.ledger import Event, LedgerRow
from syncvault.vault.vault import Vault


def append(vault: Vault, tx: Transaction, event: Event, tenant_id: bytes, detail: Mapping[str, Any]) -> None:
    """Writes an entry, once per tenant and event; call `mirror` when the transaction has committed."""
    if all(row.event != event for row in rows.of_tenant(tx, tenant_id)):
        rows.append(tx, vault.instant, event, tenant_id, orjson.dumps(dict(detail)).decode("ascii"))


def mirror(vault: Vault) -> None:
    """Brings the file up to the database: one JSON object per line, synced to the disk."""
    path = vault.layout.ledger_mirror
    try:
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # two erasures may get here at once
            whole = [line for line in file if line.endswith(b"\n")]
            file.truncate(sum(map(len, whole)))  # a line that a crash cut off is written again
            last = _seq(whole[-1]) if whole else 0
            with vault.key_data.read() as tx:
                missing = rows.list_all(tx, after=last)
            file.write(to_text(missing))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError):
        raise StorageError(
            f"{path} is damaged.", advice="Move it away and keep it; the key database writes a new one."
        ) from None


def to_text(entries: Iterable[LedgerRow]) -> bytes:
    """The entries as the file holds them."""
    return b"".join(orjson.dumps(row._asdict(), default=bytes.hex) + b"\n" for row in entries)


def parse(content: bytes) -> list[LedgerRow]:
    """The entries in a file; a last line without its end does not count.

    Raises:
        ValueError: It is something else.
    """
    *whole, _ = content.split(b"\n")  # nothing else ends a line, or a changed byte would hide the entry before it
    return [_from_line(line + b"\n") for line in whole]


def _seq(line: bytes) -> int:
    number = orjson.loads(line)["seq"]
    if type(number) is not int or not 0 < number < 2**63:  # a comparison with anything else would find no entry missing
        raise ValueError("not an entry's number")
    return number


def _from_line(line: bytes) -> LedgerRow:
    try:
        values = orjson.loads(line)
        entry = LedgerRow(**{**values, "tenant_id": bytes.fromhex(values["tenant_id"])})
        is_one_form = to_text([entry]) == line
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError("not an entry of the ledger") from error
    kinds = type(entry.seq) is type(entry.at) is int and type(entry.event) is type(entry.detail) is str
    if not is_one_form or not kinds or len(entry.tenant_id) != ID_SIZE:
        raise ValueError("not in the one form that an entry has")
    return entry
