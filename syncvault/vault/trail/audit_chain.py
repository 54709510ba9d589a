"""How audit entries hang together: each is signed with a key of its own, and names the key of the next.

A code that the vault could check is one that it could forge, so entries are signed (Ed25519), and the seed that signed
one is replaced as soon as it is written: with all that the vault holds today nobody can sign what was written
yesterday. (The old seed is overwritten where it lay; a copy stays in the key database's write-ahead log until that is
next moved over, at the latest when the last process closes it, and on PostgreSQL until the next vacuum.)

The key database keeps, sealed, the seeds of the next two entries, and openly the pins: where each unbroken stretch
begins and ends, the last end being the head. An entry is committed first, then seeds and head; the transaction on the
key database is held around both, so that one process at a time writes. Killed in between, the entry is there and the
head is one behind. Whoever writes next finds it signed with the first seed and naming the key of the second, and takes
it over before it writes its own.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from struct import Struct
from struct import error as StructError  # noqa: N812  (a class by its name)
from typing import Any, Final, NamedTuple

from syncvault.crypto.signature import Subject, is_signed_by, public_key, sign
from syncvault.errors import DamagedError, StorageError
from syncvault.policy.catalogue import DataClass
from syncvault.secret import NotPicklable
from syncvault.store import audit as rows
from syncvault.store.audit import AuditRow, SegmentRow
from syncvault.store.engine import Transaction
from syncvault.vault.vault import Vault

NOTHING_BEFORE: Final = bytes(64)  # what stands for the signature before the very first entry
SEED_SIZE: Final = 32
_STATE: Final = Struct(">32s32s32s")  # digest of the pins, seeds of the next two entries
_PINS: Final = Struct(">Q32s64sQ64s")
_HIGHEST: Final = 2**53 - 1  # above it JSON readers disagree about numbers

_RESTORE: Final = "Run `syncvault audit verify`; bring the key store back with `syncvault restore`."


class Link(NamedTuple):
    """What the next entry has to fit: the key it is signed with, and the signature it names as the one before."""

    key: bytes
    before: bytes


@dataclass(frozen=True, slots=True)
class Chain(NotPicklable):
    """Where the trail stands.

    Attributes:
        segments: The pinned stretches; the last one grows, and its end is the head.
        seed: Signs the next entry.
        next_seed: Signs the one after it.
    """

    segments: tuple[SegmentRow, ...]
    seed: bytes
    next_seed: bytes

    def __repr__(self) -> str:
        return f"Chain(head={self.head.last_seq})"

    @property
    def head(self) -> SegmentRow:
        """The stretch that grows."""
        return self.segments[-1]

    def link(self) -> Link:
        """What the next entry fits."""
        return Link(public_key(self.seed), self.head.last_signature)

    def signed(self, draft: AuditRow, seq: int) -> AuditRow:
        """The next entry, from one without number and signature."""
        row = draft._replace(seq=seq, next_key=public_key(self.next_seed))
        return row._replace(signature=sign(self.seed, Subject.AUDIT, document(row, self.head.last_signature)))

    def after(self, row: AuditRow) -> Chain:
        """Where it stands once that entry is written."""
        assert row.signature is not None  # noqa: S101  (only signed ones get here)
        head = self.head._replace(last_seq=row.seq, last_signature=row.signature)
        return Chain((*self.segments[:-1], head), self.next_seed, os.urandom(SEED_SIZE))


class _Rehearsed(Exception):
    """Undoes both transactions."""


def document(row: AuditRow, before: bytes) -> dict[str, Any]:
    """What an entry's signature says; part of the format."""
    return {
        "seq": row.seq,
        "at": row.at,
        "uid": row.uid,
        "role": row.role,
        "verb": row.verb,
        "tenant_id": None if row.tenant_id is None else row.tenant_id.hex(),
        "outcome": row.outcome,
        "purge_at": row.purge_at,
        "next_key": None if row.next_key is None else row.next_key.hex(),
        "before": before.hex(),
    }


def is_well_formed(row: AuditRow) -> bool:
    """Whether the columns hold what they are for; SQLite does not see to that."""
    numbers = (row.at, row.uid, row.purge_at)
    texts = (row.role, row.verb, row.outcome)
    return (
        all(type(number) is int and abs(number) <= _HIGHEST for number in (row.seq, *numbers))
        and all(type(text) is str for text in texts)
        and row.data_class == DataClass.AUDIT
        and (row.tenant_id is None or _is_bytes(row.tenant_id, 16))
        and (row.next_key is None or _is_bytes(row.next_key, 32))
        and (row.signature is None or _is_bytes(row.signature, 64))
    )


def follows(row: AuditRow, link: Link) -> bool:
    """Whether an entry is the one that was written at this place."""
    if not is_well_formed(row) or row.next_key is None or row.signature is None:
        return False
    try:
        return is_signed_by(link.key, Subject.AUDIT, document(row, link.before), row.signature)
    except (TypeError, ValueError):  # text that no JSON holds; a key that is none
        return False


def append(vault: Vault, draft: AuditRow) -> SegmentRow:
    """Writes an entry; returns the stretch that it now ends.

    Raises:
        DamagedError: The key store has lost what signs entries, or holds the wrong one.
        StorageError: A database refused.
    """
    return _append(vault, draft, is_rehearsal=False)


def rehearse(vault: Vault, draft: AuditRow) -> None:
    """Does all that `append` does, raises what it raises, and undoes it."""
    with suppress(_Rehearsed):
        _append(vault, draft, is_rehearsal=True)


def begin_segment(vault: Vault) -> None:
    """Ends the present stretch with what the table holds, and begins another under a fresh key.

    To be called when the table was replaced by an older one: what is missing between the two stretches is no finding
    any more, but shows as a gap for as long as the entries around it are kept. The old key is not needed.
    """
    with vault.beside_others():
        vault.keys.follow_root()
        with vault.key_data.write() as keys:
            rows.lock(keys)
            with vault.read() as tx:
                newest, signed = rows.newest(tx), rows.newest(tx, signed=True)
                last = rows.link(tx, signed)
            recorded = rows.segments(keys)
            kept = [one for one in recorded if one.first_seq <= signed]
            before = NOTHING_BEFORE if last is None or last.signature is None else last.signature
            if kept:
                kept[-1] = kept[-1]._replace(last_seq=signed, last_signature=before)
            highest = max(newest, *(one.last_seq for one in recorded), 0)
            keep(vault, keys, _fresh(kept, highest + 1, before))


def load(vault: Vault, keys: Transaction) -> Chain | None:
    """Where the trail stands, or None if no entry was ever signed.

    Raises:
        DamagedError: The key store has lost a part of it, or its parts are of different times.
    """
    segments, state = tuple(rows.segments(keys)), vault.keys.audit_state(keys)
    if not segments and state is None:
        return None
    if not segments:
        raise DamagedError("The key store has lost the head of the audit trail.", advice=_RESTORE)
    if state is None:
        raise DamagedError("The key store has lost the audit key.", advice=_RESTORE)
    if len(state) != _STATE.size:
        raise DamagedError("The audit key has another form.", advice=_RESTORE)
    digest, seed, next_seed = _STATE.unpack(state)
    if not hmac.compare_digest(digest, _digest(segments)):
        message = "The audit key and the pins of the audit trail do not belong together."
        raise DamagedError(message, advice=_RESTORE)
    return Chain(segments, seed, next_seed)


def keep(vault: Vault, keys: Transaction, chain: Chain) -> None:
    """Stores where the trail stands; under `lock`."""
    rows.set_segments(keys, chain.segments)
    state = _STATE.pack(_digest(chain.segments), chain.seed, chain.next_seed)
    vault.keys.keep_audit_state(keys, state, vault.now)


def _append(vault: Vault, draft: AuditRow, *, is_rehearsal: bool) -> SegmentRow:
    with vault.beside_others():  # so that no root is re-keyed meanwhile
        vault.keys.follow_root()
        while True:
            with vault.key_data.write() as keys:
                rows.lock(keys)
                chain = load(vault, keys)
                if chain is None:
                    keep(vault, keys, _first(vault))
                    continue  # with the seeds stored: an entry must not be ahead of them
                with vault.write() as tx:
                    newest = rows.newest(tx)
                    left = _left_by_crash(tx, chain, newest)
                    if left is None:
                        row = chain.signed(draft, _number(chain, newest))
                        rows.append(tx, row)
                        chain = chain.after(row)
                        keep(vault, keys, chain)
                        if is_rehearsal:
                            raise _Rehearsed
                if left is not None:
                    keep(vault, keys, chain.after(left))
                    continue
            return chain.head


def _left_by_crash(tx: Transaction, chain: Chain, newest: int) -> AuditRow | None:
    """The entry that a process wrote before it was killed, if that happened."""
    head = chain.head.last_seq
    if newest <= head:
        return None
    link, next_key = chain.link(), public_key(chain.next_seed)
    # Rows that somebody else put there may stand below it, or above it, but do not keep the vault from working.
    above = [*rows.page(tx, after=head, until=newest, limit=1), *rows.page(tx, after=newest - 1, until=newest, limit=1)]
    return next((row for row in above if row.next_key == next_key and follows(row, link)), None)


def _number(chain: Chain, newest: int) -> int:
    number = max(chain.head.last_seq, newest) + 1
    if number > _HIGHEST:
        raise StorageError("The audit table holds a number after which none can follow.", advice=_RESTORE)
    return number


def _first(vault: Vault) -> Chain:
    with vault.read() as tx:
        newest, signed = rows.newest(tx), rows.newest(tx, signed=True)
    if signed:
        raise DamagedError("The key store has lost the audit key and the head of the audit trail.", advice=_RESTORE)
    return _fresh([], max(newest, 0) + 1, NOTHING_BEFORE)


def _fresh(kept: Sequence[SegmentRow], first_seq: int, before: bytes) -> Chain:
    seed, next_seed = os.urandom(SEED_SIZE), os.urandom(SEED_SIZE)
    segment = SegmentRow(first_seq, public_key(seed), before, first_seq - 1, before)
    return Chain((*kept, segment), seed, next_seed)


def _digest(segments: Sequence[SegmentRow]) -> bytes:
    """What ties the pins, which anybody can read, to the seeds, which nobody can make up."""
    return hashlib.sha256(b"".join(map(_packed, segments))).digest()


def _packed(segment: SegmentRow) -> bytes:
    first_seq, first_key, before, last_seq, last_signature = segment
    if not (_is_bytes(first_key, 32) and _is_bytes(before, 64) and _is_bytes(last_signature, 64)):
        raise DamagedError("A pin of the audit trail is damaged.", advice=_RESTORE)  # `Struct` would fill up and cut
    try:
        return _PINS.pack(first_seq, first_key, before, last_seq, last_signature)
    except StructError:
        raise DamagedError("A pin of the audit trail is damaged.", advice=_RESTORE) from None


def _is_bytes(value: object, size: int) -> bool:
    return isinstance(value, bytes) and len(value) == size
