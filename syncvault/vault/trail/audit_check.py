"""Whether the audit trail is as it was written: its numbers, links, signatures and pins, and what the journal says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import Final
from uuid import UUID

from syncvault import journal
from syncvault.errors import DamagedError, StorageError
from syncvault.journal import JournalUnreadable
from syncvault.store import audit as rows
from syncvault.store.audit import AuditRow, SegmentRow
from syncvault.store.engine import Transaction
from syncvault.vault.trail import audit_chain
from syncvault.vault.trail.audit_chain import NOTHING_BEFORE, Chain, Link, follows
from syncvault.vault.vault import Vault

SEQ_FIELD: Final = "SYNCVAULT_AUDIT_SEQ"
SIGNATURE_FIELD: Final = "SYNCVAULT_AUDIT_SIGNATURE"
VAULT_FIELD: Final = "SYNCVAULT_VAULT"

_PAGE: Final = 500
_MOST_FINDINGS: Final = 1000
_LOOK: Final = "Find out who could write to the database; the last export and the journal show what stood there."
_RESTORE: Final = "Bring the key store back with `syncvault restore`."


@dataclass(frozen=True, slots=True)
class Finding:
    """What is not as it was written.

    Attributes:
        seq: The entry; None where it is about the trail as a whole.
        finding: `missing`, `changed`, `unsigned`, `inserted`, `head`, `key` or `journal`.
        message: One sentence.
        advice: One line.
    """

    seq: int | None
    finding: str
    message: str
    advice: str = _LOOK


@dataclass(frozen=True, slots=True)
class Journal:
    """What the journal was good for: how many entries it remembers, or why it could not be read."""

    compared: int
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """A trail that was walked.

    Attributes:
        checked: Signed entries looked at.
        unsigned: Entries from before entries were signed, which nothing vouches for.
        gaps: First and last number of entries that a restore left missing, for each gap.
        findings: At most a thousand.
        journal: What it was good for.
    """

    checked: int
    unsigned: int
    gaps: tuple[tuple[int, int], ...]
    findings: tuple[Finding, ...]
    journal: Journal


@dataclass
class Stretch:
    """One stretch, walked entry by entry.

    Attributes:
        pins: What the key store says of it.
        is_open: Whether it is the one that grows.
        expected: The number that comes next, unless numbers were skipped.
        links: What the next entry may fit: the last that was in order, and the one just before if it was not.
        beyond: How many entries in order came after the last that is pinned.
    """

    pins: SegmentRow
    is_open: bool
    expected: int
    links: list[Link]
    beyond: int = 0
    _end: bytes | None = None
    _undecided: tuple[Finding, Finding] | None = None

    @classmethod
    def of(cls, pins: SegmentRow, *, is_open: bool) -> Stretch:
        """A stretch before its first entry."""
        stretch = cls(pins, is_open, pins.first_seq, [Link(pins.first_key, pins.before)])
        if pins.last_seq < pins.first_seq:
            stretch._end = pins.before
        return stretch

    def take(self, row: AuditRow) -> list[Finding]:
        """The next row of the table: nothing if it is in order, or what is wrong with it and before it."""
        skipped_from, self.expected = self.expected, row.seq + 1
        is_beyond = row.seq > self.pins.last_seq
        if is_beyond and not self.is_open:
            return [_inserted(row.seq)]
        fits = next((link for link in self.links if follows(row, link)), None)
        found = self._decide(is_inserted=fits is self.links[0])
        own = [Link(row.next_key, row.signature)] if row.next_key is not None and row.signature is not None else []
        self.links = own if fits else [*self.links[:1], *own]
        if row.seq == self.pins.last_seq:
            self._end = row.signature
        if fits:
            self.beyond += is_beyond
            return found
        skipped_to = min(row.seq - 1, self.pins.last_seq)
        if is_beyond:
            missing = [_missing(skipped_from, skipped_to)] if skipped_from <= skipped_to else []
            return [*found, *missing, _inserted(row.seq)]
        if skipped_from <= skipped_to:
            self._undecided = _missing(skipped_from, skipped_to), _inserted(row.seq)
            return found
        if row.signature is None:
            return [*found, Finding(row.seq, "unsigned", f"Entry {row.seq} is not signed.")]
        message = f"Entry {row.seq} was changed, or does not follow the one before it."
        return [*found, Finding(row.seq, "changed", message)]

    def _decide(self, *, is_inserted: bool) -> list[Finding]:
        """What the row before was, if only the one after it could tell: left by a deletion, or put in."""
        undecided, self._undecided = self._undecided, None
        return [undecided[is_inserted]] if undecided else []

    def end(self) -> Iterator[Finding]:
        """What is wrong with how it ends."""
        last = self.pins.last_seq
        yield from self._decide(is_inserted=False)
        if self.expected <= last:
            yield _missing(self.expected, last)
        elif self._end != self.pins.last_signature:
            yield Finding(last, "head", f"Entry {last} is not the one that the key store remembers as the last.")
        if self.beyond > 1:  # one is what a crash leaves
            message = f"{self.beyond} entries are newer than the head that the key store remembers."
            yield Finding(last + 1, "head", message, "The key store is of an earlier time: bring back the latest.")


@dataclass
class _Walk:
    """All rows of the table in their order, by the stretches they belong to."""

    segments: Sequence[SegmentRow]
    checked: int = 0
    unsigned: int = 0
    _index: int = 0
    _stretch: Stretch = field(init=False)

    def __post_init__(self) -> None:
        self._stretch = self._enter()

    def findings(self, table: Iterable[AuditRow]) -> Iterator[Finding]:
        for row in table:
            if row.seq < self.segments[0].first_seq:
                if found := self._before_all(row):
                    yield found
                continue
            while self._index + 1 < len(self.segments) and row.seq >= self.segments[self._index + 1].first_seq:
                yield from self._leave()
            self.checked += 1
            yield from self._stretch.take(row)
        while self._index + 1 < len(self.segments):
            yield from self._leave()
        yield from self._stretch.end()

    def _before_all(self, row: AuditRow) -> Finding | None:
        """A row that was there before entries were signed; or one that pruning is about to remove, which is nothing."""
        if self.segments[0].before != NOTHING_BEFORE:
            return None
        if row.seq < 1 or row.signature is not None:
            return _inserted(row.seq)
        self.unsigned += 1
        return None

    def _enter(self) -> Stretch:
        return Stretch.of(self.segments[self._index], is_open=self._index + 1 == len(self.segments))

    def _leave(self) -> Iterator[Finding]:
        yield from self._stretch.end()
        self._index += 1
        self._stretch = self._enter()


def verify(vault: Vault, *, program: str = "journalctl") -> Report:
    """Walks the whole trail, a page at a time, while others may go on writing.

    Args:
        vault: The vault.
        program: What reads the journal.
    """
    segments, findings, until = _snapshot(vault)
    if not segments:
        with vault.read() as tx:
            unsigned = len(rows.numbers(tx, after=-rows.LATEST, until=until, limit=_MOST_FINDINGS))
        return Report(0, unsigned, (), tuple(findings), Journal(0, "there is nothing to compare"))
    walk = _Walk(segments)
    findings += islice(walk.findings(_table(vault, until)), _MOST_FINDINGS)
    pruned = _first_seq(vault)  # meanwhile; what is gone by that is not missing
    findings = [one for one in findings if one.seq is None or one.seq >= pruned or one.finding != "missing"]
    compared = _compare(vault, segments, findings, program)
    gaps = tuple(
        (one.last_seq + 1, other.first_seq - 1)
        for one, other in pairwise(segments)
        if other.first_seq > one.last_seq + 1
    )
    return Report(walk.checked, walk.unsigned, gaps, tuple(findings), compared)


def look(vault: Vault) -> list[Finding]:
    """What a glance at key, pins and the newest entry shows; for the doctor."""
    with vault.beside_others():
        vault.keys.follow_root()
        with vault.key_data.read() as keys:
            segments, chain, findings = _pins(vault, keys)
    if chain is not None and chain.head.last_seq >= chain.head.first_seq:
        last = segments[-1].last_seq
        with vault.read() as tx:
            kept = rows.signatures(tx, [last]).get(last)
        if kept != segments[-1].last_signature:
            findings.append(Finding(last, "head", f"Entry {last}, the newest, is missing or another."))
    return findings


def _snapshot(vault: Vault) -> tuple[list[SegmentRow], list[Finding], int]:
    """Pins, what is wrong with them, and the newest number, all of one moment: no entry is written meanwhile."""
    with vault.beside_others():
        vault.keys.follow_root()
        with vault.key_data.write() as keys:
            rows.lock(keys)
            segments, _, findings = _pins(vault, keys)
            with vault.read() as tx:
                newest, signed = rows.newest(tx), rows.newest(tx, signed=True)
    if not segments and not findings and signed:
        findings.append(Finding(None, "key", "The key store knows nothing of the signed entries.", _RESTORE))
    return segments, findings, newest


def _pins(vault: Vault, keys: Transaction) -> tuple[list[SegmentRow], Chain | None, list[Finding]]:
    segments = rows.segments(keys)
    try:
        return segments, audit_chain.load(vault, keys), []
    except DamagedError as error:
        return segments, None, [Finding(None, "key", error.message, _RESTORE)]


def _first_seq(vault: Vault) -> int:
    with vault.key_data.read() as keys:
        return min((one.first_seq for one in rows.segments(keys)), default=0)


def _table(vault: Vault, until: int) -> Iterator[AuditRow]:
    after = -rows.LATEST
    while True:
        try:
            with vault.read() as tx:
                page = rows.page(tx, after=after, until=until, limit=_PAGE)
        except StorageError:  # text that is none; the rows beside it are read all the same
            page = _one_by_one(vault, after, until)
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1].seq


def _one_by_one(vault: Vault, after: int, until: int) -> list[AuditRow]:
    with vault.read() as tx:
        numbers = rows.numbers(tx, after=after, until=until, limit=_PAGE)
    return [row for number in numbers if (row := _single(vault, number)) is not None]


def _single(vault: Vault, number: int) -> AuditRow | None:
    try:
        with vault.read() as tx:
            return rows.entry(tx, number)
    except StorageError:
        with vault.read() as tx:
            link = rows.link(tx, number)
        # Of no data class, so that it counts as changed; the entry after it can still be looked at.
        return None if link is None else AuditRow(number, 0, 0, "", "", None, "", "", 0, *link)


def _inserted(seq: int) -> Finding:
    return Finding(seq, "inserted", f"Entry {seq} stands where none was written.")


def _missing(first: int, last: int) -> Finding:
    if first == last:
        return Finding(first, "missing", f"Entry {first} is missing.")
    return Finding(first, "missing", f"Entries {first} to {last} are missing.")


def _compare(vault: Vault, segments: Sequence[SegmentRow], findings: list[Finding], program: str) -> Journal:
    """Adds what the journal remembers otherwise."""
    matches = [f"SYSLOG_IDENTIFIER={journal.IDENTIFIER}", f"{VAULT_FIELD}={UUID(bytes=vault.id)}"]
    # Anybody may write to the journal, but not under another's user ID, which the journal itself notes.
    matches += [f"_UID={uid}" for uid in sorted({0, vault.layout.home.stat().st_uid})]
    compared, since = 0, _begun(vault, segments[-1])
    remembered = journal.read(matches, [SEQ_FIELD, SIGNATURE_FIELD], program=program)
    try:
        while page := list(islice(remembered, _PAGE)):
            anchors = [one for one in map(_anchor, page) if one is not None and _is_of(one, segments, since)]
            compared += len(anchors)
            with vault.read() as tx:
                kept = rows.signatures(tx, sorted({one.seq for one in anchors}))
            pruned = _first_seq(vault)
            for one in anchors:
                if one.seq >= pruned and kept.get(one.seq) != one.signature and len(findings) < _MOST_FINDINGS:
                    what = "holds another entry" if one.seq in kept else "remembers, and the table lacks, entry"
                    findings.append(Finding(one.seq, "journal", f"The journal {what} {one.seq}."))
    except JournalUnreadable as error:
        return Journal(compared, str(error))
    return Journal(compared)


@dataclass(frozen=True, slots=True)
class _Anchor:
    at: int
    seq: int
    signature: bytes


def _anchor(entry: dict[str, str]) -> _Anchor | None:
    try:
        at = int(entry["__REALTIME_TIMESTAMP"]) // 1_000_000
        return _Anchor(at, int(entry[SEQ_FIELD]), bytes.fromhex(entry[SIGNATURE_FIELD]))
    except (KeyError, ValueError):
        return None


def _is_of(anchor: _Anchor, segments: Sequence[SegmentRow], since: int) -> bool:
    """Whether it is of a stretch that is kept; not of one that a restore cut off, whose numbers may be in use again."""
    *closed, growing = segments
    if anchor.seq >= growing.first_seq:
        return anchor.at >= since
    return any(one.first_seq <= anchor.seq <= one.last_seq for one in closed)


def _begun(vault: Vault, growing: SegmentRow) -> int:
    """When the growing stretch began."""
    with vault.read() as tx:
        first = rows.entry(tx, growing.first_seq)
    return first.at if first is not None and isinstance(first.at, int) else 0
