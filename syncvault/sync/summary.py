"""What a run reports: the summary of a tenant, its failures, and the progress while it goes on."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from connectors.port import ConnectorError
from syncvault.errors import SyncvaultError
from syncvault.masking import mask_ref
from syncvault.vault.content.rehearsed import Change


class Status(StrEnum):
    """How a tenant's run ended."""

    OK = "ok"
    PARTIAL = "partial"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    BRAKED = "braked"
    BUSY = "busy"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Options:
    """How to run: degrees of parallelism and what to look at again."""

    tenants: int = 4
    mailboxes: int = 4
    full: bool = False
    dry_run: bool = False
    accept_removals: bool = False
    deadline: float | None = None  # seconds


@dataclass(frozen=True, slots=True)
class Failure:
    """One mailbox, source or tenant that failed; `mailbox` is its masked reference, None for the whole tenant.

    Several references can look the same when they are masked, so `ref` tells one failure from another; it is not shown.
    """

    mailbox: str | None
    code: str
    message: str
    advice: str
    ref: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, error: ConnectorError | SyncvaultError, ref: str | None = None) -> Failure:
        """What an error did to the mailbox or source with this reference, or to the whole tenant."""
        return cls(None if ref is None else mask_ref(ref), error.code, error.message, error.advice, ref)

    def to_dict(self) -> dict[str, Any]:
        """The plain form for `--json`."""
        return {"mailbox": self.mailbox, "code": self.code, "message": self.message, "advice": self.advice}


@dataclass(slots=True)
class Summary:
    """The outcome of one tenant's run. Counts are of contacts, cards included; `photos` are new, changed and gone ones.

    Of a braked run or a rehearsal, `removed` tells what would be removed.
    """

    tenant: str
    status: Status = Status.OK
    mailboxes: int = 0
    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    skipped: int = 0
    photos: int = 0
    requests: int = 0
    seconds: float = 0.0
    failures: list[Failure] = field(default_factory=list)
    changes: list[Change] | None = None  # of a rehearsal

    def counts(self) -> dict[str, int]:
        """What run history keeps."""
        return {name: value for name in self.__slots__ if isinstance(value := getattr(self, name), int)}

    def to_dict(self) -> dict[str, Any]:
        """The plain form for `--json`."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        plain["status"] = str(self.status)
        plain["seconds"] = round(self.seconds, 3)
        plain["failures"] = [failure.to_dict() for failure in self.failures]
        if self.changes is None:
            del plain["changes"]
        else:
            plain["changes"] = [_change_to_dict(change) for change in self.changes]
        return plain


def _change_to_dict(change: Change) -> dict[str, Any]:
    return {
        "action": change.action,
        "kind": change.kind,
        "id": None if change.id is None else str(UUID(bytes=change.id)),
        "mailbox": {"id": str(UUID(bytes=change.mailbox.id)), "ref": mask_ref(change.mailbox.ref)}
        if change.mailbox.is_shown
        else None,
        "fields": list(change.fields),
    }


class Progress(Protocol):
    """Follows runs from outside; called from several threads at once."""

    def begin(self, tenant: str) -> None:
        """A tenant's run begins."""

    def expect(self, tenant: str, mailboxes: int) -> None:
        """How many mailboxes the tenant's sources resolved to."""

    def advance(self, tenant: str, *, mailboxes: int = 0, contacts: int = 0, photos: int = 0) -> None:
        """So much more is done."""

    def end(self, tenant: str, summary: Summary) -> None:
        """The tenant's run has ended."""


class Silence:
    """Progress that nobody watches."""

    def begin(self, tenant: str) -> None:
        """Says nothing."""

    def expect(self, tenant: str, mailboxes: int) -> None:
        """Says nothing."""

    def advance(self, tenant: str, *, mailboxes: int = 0, contacts: int = 0, photos: int = 0) -> None:
        """Says nothing."""

    def end(self, tenant: str, summary: Summary) -> None:
        """Says nothing."""
