"""The erasure ledger: append-only, without personal data, in the key database and mirrored to a file beside it.

Every entry is signed together with the signature of the one before it, so that none can be made up, changed, or taken
out from between two others. That the last ones were not taken off shows by the mirror.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Final

import orjson

from syncvault.crypto.place import ID_SIZE
from syncvault.crypto.signature import Subject, is_signed_by, public_key, sign
from syncvault.errors import DamagedError, InputError, RootKeyError, StorageError
from syncvault.roots.port import Held
from syncvault.store import ledger as rows
from syncvault.store.engine import Transaction
from syncvault.store.ledger import Event, LedgerRow
from syncvault.vault import anchors
from syncvault.vault.vault import Vault

_SIGNATURE_SIZE: Final = 64
_ADVICE: Final = "Find out who changed it, and keep both; a restore goes by what they say."


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with the ledger; one that is not grave is mended by the next entry."""

    message: str
    advice: str
    is_grave: bool = True


def append(vault: Vault, tx: Transaction, event: Event, tenant_id: bytes, detail: Mapping[str, Any]) -> None:
    """Writes an entry, once per tenant and event; call `mirror` when the transaction has committed."""
    if all(row.event != event for row in rows.of_tenant(tx, tenant_id)):
        add(vault, tx, event, tenant_id, detail)


def add(vault: Vault, tx: Transaction, event: Event, tenant_id: bytes, detail: Mapping[str, Any]) -> LedgerRow:
    """Writes and signs an entry; call `mirror` when the transaction has committed."""
    before = rows.last(tx)
    text = orjson.dumps(dict(detail)).decode()
    seq = rows.append(tx, vault.instant, event, tenant_id, text)
    entry = signed(vault.keys.receipt_seed, LedgerRow(seq, vault.instant, event, tenant_id, text), before)
    rows.set_signature(tx, seq, entry.signature or b"")
    return entry


def signed(seed: bytes, entry: LedgerRow, before: LedgerRow | None) -> LedgerRow:
    """An entry with its signature, which takes in that of the entry before."""
    document = _signed(entry, before.signature if before else None)
    return entry._replace(signature=sign(seed, Subject.LEDGER, document))


def settle_beginning(vault: Vault) -> None:
    """Seals up to which number entries have no signature, once: a vault from before entries were signed has some.

    A later one without is not this vault's. One that was made since has settled it from the start: none.
    """
    if vault.keys.unsigned_until is not None:
        return
    with vault.beside_others():
        vault.keys.follow_root()
        with vault.key_data.write() as tx:
            unsigned = takewhile(lambda entry: entry.signature is None, rows.list_all(tx))
            vault.keys.settle_unsigned(tx, max((entry.seq for entry in unsigned), default=0), vault.now)


def require_genuine(vault: Vault, tenant_id: bytes, event: Event) -> None:
    """Refuses to go by what the ledger says of a tenant and event, if this vault did not write it.

    Raises:
        DamagedError: An entry was made up, or changed.
    """
    with vault.key_data.read() as tx:
        entries = rows.list_all(tx)
    forged = set(_forged(vault, entries))
    for entry in entries:
        if entry.seq in forged and (entry.tenant_id, entry.event) == (tenant_id, event):
            raise DamagedError(_not_ours(entry.seq), advice=_ADVICE)


def require_all_genuine(vault: Vault, entries: Iterable[LedgerRow]) -> None:
    """Refuses a ledger that this vault did not write from the first entry on.

    Raises:
        DamagedError: An entry was made up, changed, taken out or moved.
    """
    if (number := next(_forged(vault, entries), None)) is not None:
        advice = "Find out who changed it; restore into a directory without a ledger if it is another vault's."
        raise DamagedError(_not_ours(number), advice=advice)


def require_latest(vault: Vault, entries: Sequence[LedgerRow]) -> None:
    """Refuses a ledger that is older than what the root-key provider has seen of it, if that could hold it.

    Raises:
        InputError: It is.
    """
    seen = anchors.held(vault.keys.provider, Held.LEDGER)
    if seen is not None and end_of(entries) < seen:
        raise InputError(
            f"The erasure ledger ends at entry {end_of(entries)}, and the root-key provider has seen entry {seen}.",
            advice="Take a newer key backup, or put the lost vault's erasure.ledger into the new home.",
        )


def end_of(entries: Sequence[LedgerRow]) -> int:
    """The number of the last entry; 0 if there is none."""
    return entries[-1].seq if entries else 0


def check(entries: Iterable[LedgerRow], public: bytes, *, unsigned_until: int = 0) -> int | None:
    """The number of the first entry that the vault did not write where it stands, or None; see `forged`."""
    return next(forged(entries, public, unsigned_until=unsigned_until), None)


def forged(entries: Iterable[LedgerRow], public: bytes, *, unsigned_until: int = 0) -> Iterator[int]:
    """The numbers of the entries that the vault with a public key did not write where they stand.

    Args:
        entries: From the first one on, in their order.
        public: The vault's public key, 32 bytes.
        unsigned_until: The number of the last entry from before there were signatures; 0 if there are none.
    """
    number, before = 0, None
    for entry in entries:
        is_in_order, number = entry.seq > number, entry.seq
        is_early = before is None and entry.seq <= unsigned_until
        is_good = is_early if entry.signature is None else _is_signed(entry, before, public)
        if not (is_in_order and is_good):
            yield entry.seq
        before = entry.signature or before


def faults(vault: Vault) -> Iterator[Fault]:
    """What is wrong with the ledger and its copy."""
    with vault.key_data.read() as tx:
        entries = rows.list_all(tx)
    path = vault.layout.ledger_mirror
    if (number := next(_forged(vault, entries), None)) is not None:
        yield Fault(_not_ours(number), _ADVICE)
    try:
        copied = parse(path.read_bytes())
    except FileNotFoundError:
        copied = []
    except OSError as error:
        yield Fault(f"{path} cannot be read: {error.strerror}.", "Give it back to the vault's owner.")
        return
    except ValueError:
        yield Fault(f"{path} is damaged.", "Move it away and keep it; the key database writes a new one.")
        return
    shared = min(len(copied), len(entries))
    if copied[:shared] != entries[:shared]:
        differs = next(one.seq for one, other in zip(copied, entries, strict=False) if one != other)
        yield Fault(f"{path} and the key database say different things from entry {differs} on.", _ADVICE)
    elif len(copied) > shared:
        yield Fault(f"{path} has entries that the key database lacks: {len(copied) - shared}.", _ADVICE)
    elif len(entries) > shared:
        message = f"{path} lacks the last entries of the key database: {len(entries) - shared}."
        yield Fault(message, "`syncvault purge --yes` adds them.", is_grave=False)


def mirror(vault: Vault) -> None:
    """Brings the file up to the database: one JSON object per line, synced to the disk.

    The root-key provider is told how far the ledger has come, if it can hold that.
    """
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
        with suppress(RootKeyError):  # what is held may be behind, and no erasure is to fail for it
            anchors.hold(vault.keys.provider, Held.LEDGER, missing[-1].seq if missing else last)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError):
        raise StorageError(
            f"{path} is damaged.", advice="Move it away and keep it; the key database writes a new one."
        ) from None


def to_text(entries: Iterable[LedgerRow]) -> bytes:
    """The entries as the file holds them."""
    return b"".join(orjson.dumps(_plain(row), default=bytes.hex) + b"\n" for row in entries)


def parse(content: bytes) -> list[LedgerRow]:
    """The entries in a file; a last line without its end does not count.

    Raises:
        ValueError: It is something else.
    """
    *whole, _ = content.split(b"\n")  # nothing else ends a line, or a changed byte would hide the entry before it
    return [_from_line(line + b"\n") for line in whole]


def _forged(vault: Vault, entries: Iterable[LedgerRow]) -> Iterator[int]:
    return forged(entries, public_key(vault.keys.receipt_seed), unsigned_until=vault.keys.unsigned_until or 0)


def _not_ours(number: int) -> str:
    return f"Entry {number} of the erasure ledger was not written by this vault, or was changed."


def _seq(line: bytes) -> int:
    number = orjson.loads(line)["seq"]
    if type(number) is not int or not 0 < number < 2**63:  # a comparison with anything else would find no entry missing
        raise ValueError("not an entry's number")
    return number


def _from_line(line: bytes) -> LedgerRow:
    try:
        values = orjson.loads(line)
        for name in ("tenant_id", *({"signature"} & set(values))):
            values[name] = bytes.fromhex(values[name])
        entry = LedgerRow(**values)
        is_one_form = to_text([entry]) == line
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError("not an entry of the ledger") from error
    kinds = type(entry.seq) is type(entry.at) is int and type(entry.event) is type(entry.detail) is str
    sizes = len(entry.tenant_id) == ID_SIZE and (entry.signature is None or len(entry.signature) == _SIGNATURE_SIZE)
    if not is_one_form or not kinds or not sizes:
        raise ValueError("not in the one form that an entry has")
    return entry


def _plain(entry: LedgerRow) -> dict[str, Any]:
    plain = entry._asdict()
    if entry.signature is None:
        del plain["signature"]
    return plain


def _signed(entry: LedgerRow, before: bytes | None) -> dict[str, Any]:
    said = {**entry._asdict(), "tenant_id": entry.tenant_id.hex(), "before": (before or b"").hex()}
    del said["signature"]
    return said


def _is_signed(entry: LedgerRow, before: bytes | None, public: bytes) -> bool:
    try:
        return is_signed_by(public, Subject.LEDGER, _signed(entry, before), entry.signature or b"")
    except (TypeError, AttributeError):  # a value that no entry holds
        return False
