"""What a fault can do to a request, and what it is about: the parts that named modes are made of."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from tests.simulators.named_faults import Dice
from tests.simulators.onprem.soap import EwsError, M, Request, SoapFault, children, local, value

if TYPE_CHECKING:
    from tests.simulators.onprem.state import Call


class Kind(Enum):
    """What a mode is about, and whether it can keep a client from getting through."""

    PASSING = "passing"  # single requests; who tries again gets through
    HARMLESS = "harmless"  # single requests, legal if odd: does not count as a failure
    BY_MAILBOX = "mailbox"  # everything in the mailboxes chosen
    BY_ITEM = "item"  # the items chosen, wherever they are asked for
    CONSTANT = "constant"  # every request of its sort
    ACCOUNT = "account"  # the service account


@dataclass(frozen=True, slots=True)
class Settings:
    """What can be set when a mode is armed; a mode looks at what is its own.

    Attributes:
        retry_after: Seconds of `Retry-After`.
        back_off_ms: Milliseconds that a busy server asks for.
        seconds: That pass before an answer.
        size: Bytes of a huge answer.
        place: Which of the items asked for fails, counted from 1; where there are fewer, the last.
        page: Which page of a round fails, counted from 1.
        limit: How many requests to sync may be at work at once.
        after: Requests that still find the old password.
    """

    retry_after: int = 1
    back_off_ms: int = 1_000
    seconds: float = 0.05
    size: int = 1 << 30
    place: int = 60
    page: int = 3
    limit: int = 5
    after: int = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request is for.

    Attributes:
        operation: Its name.
        mailbox: Whom it acts as, in lower case; empty for the service account itself.
        payload: The request by which it is known again, whatever its version or how often a page came before.
        ids: Of the items or attachments, or the folder to sync.
        state: The sync state given.
        page: Which page of a folder's round it asks for.
        version: That the client speaks.
        crowd: How many requests to sync are at work, this one included.
        chosen: Of a mode that is about items: whether it has chosen one.
    """

    operation: str
    mailbox: str
    payload: bytes = field(repr=False)
    ids: tuple[str, ...] = ()
    state: str = ""
    page: int = 0
    version: str = ""
    crowd: int = 0
    chosen: Callable[[str], bool] = lambda identifier: False

    @property
    def subject(self) -> str:
        """What a pattern is held against."""
        return f"{self.operation} {self.mailbox}"


def asked_of(request: Request, payload: bytes) -> Asked:
    """What a request is for, as far as it can be told from itself."""
    folder = request.body.find(f"{M}SyncFolderId")
    named = folder if folder is not None else next((e for e in request.body if local(e) in _LISTS), None)
    version = next((entry.get("Version", "") for entry in request.header if local(entry) == "RequestServerVersion"), "")
    return Asked(
        request.operation,
        (request.impersonate or ("", ""))[1].lower(),
        _AGAIN.sub(b"", payload),
        tuple(reference.get("Id", "") for reference in children(named)),
        value(request.body, "m:SyncState"),
        version=version,
    )


_AGAIN = re.compile(rb'~\d+(?=</)|Version="Exchange\w+"')
_LISTS = {"ItemIds", "AttachmentIds"}


@dataclass(frozen=True, slots=True)
class Blow:
    """What happens to a request: an answer instead of its own, or a change to that; how it arrives, and how late.

    Attributes:
        status: Of a bare HTTP answer, with `headers`, and `body` or `stream`.
        fault: The request fails as a whole.
        error: Every response message fails.
        item: By place and ID, what becomes of single items.
        first: Happens before the request is served.
        change: Made to the answer.
        end: How it fails to arrive, see `transport.Outgoing`; after a "reset" the request was never served.
        wait: Seconds.
        asked_seconds: That the client is told to wait.
        absent: The HTTP status where there is no photo, 404 for a bare one.
        is_flawed: Whether what goes out is not what the schemas allow.
    """

    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = field(default=b"", repr=False)
    stream: Callable[[], Iterator[bytes]] | None = None
    fault: SoapFault | None = None
    error: EwsError | None = None
    item: Callable[[int, str], EwsError | None] = lambda place, identifier: None
    first: Callable[[Call], None] | None = None
    change: Callable[[bytes], bytes] | None = None
    end: str = ""
    wait: float = 0.0
    asked_seconds: float = 0.0
    absent: int = 0
    is_flawed: bool = False

    @property
    def is_instead(self) -> bool:
        """Whether the request has no effect and no answer of its own."""
        return bool(self.status) or self.end == "reset"


Strike = Callable[[Dice, Settings, Asked], Blow | None]


@dataclass(frozen=True, slots=True)
class Mode:
    """A fault that has a name; `where` is held against operation and mailbox."""

    kind: Kind
    strike: Strike
    where: re.Pattern[str] = re.compile("")
    waits: bool = False

    def is_about(self, asked: Asked, pattern: re.Pattern[str] | None) -> bool:
        """Whether it could strike a request; a pattern of one's own is held against it too."""
        if self.kind is Kind.ACCOUNT or (self.kind is Kind.BY_MAILBOX and not asked.mailbox):
            return False
        return bool(self.where.search(asked.subject)) and (pattern is None or bool(pattern.search(asked.subject)))


def on(operations: str) -> re.Pattern[str]:
    """The pattern of these operations, separated by spaces."""
    return re.compile(rf"^({'|'.join(operations.split())}) ")
