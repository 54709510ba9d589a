"""The port between syncvault and Exchange: what a connector does, what it hands over, how it fails.

Two adapters implement it (`connectors.graph`, `connectors.ews`) and pass the same contract suite. A
connector serves one tenant, may be called from several threads at once, keeps nothing on disk, and lets
no foreign exception out of a public method: everything becomes a `ConnectorError`. What passes unchanged is the
`WaitEnded` that the `sleep` it was given raises, also after `hang_up`: not the server's failure, but the caller's wish
to stop.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, NamedTuple, Protocol

from connectors.contact import Contact
from connectors.selection import UserFilter


class SourceKind(StrEnum):
    """What an administrator can register for pulling."""

    USER = "user"  # online: an object ID
    GROUP = "group"  # online: an object ID
    ALL_USERS = "all-users"  # online: everybody whom a filter lets through
    ORG_CONTACTS = "org-contacts"  # online: the contacts of the organisation, who have no mailbox there
    MAILBOX = "mailbox"  # on-premises: an SMTP address
    GAL = "gal"  # on-premises: everybody whom the global address list shows
    LIST = "list"  # on-premises: a distribution list's SMTP address
    PUBLIC_FOLDER = "public-folder"  # on-premises: the path of a public folder, names joined by `/`


@dataclass(frozen=True, slots=True)
class Source:
    """One registered source; `ref` is an object ID, an SMTP address or a path, as its kind has it, else empty.

    `filter` counts for `ALL_USERS` alone.
    """

    kind: SourceKind
    ref: str = field(default="", repr=False)
    filter: UserFilter = field(default_factory=UserFilter, repr=False)


class MailboxKind(StrEnum):
    """What there is of a mailbox."""

    PERSON = "person"  # a mailbox with contact folders, and its owner's card
    LISTED = "listed"  # a person of the address list: a card, and a mailbox, if any, that is not ours to open
    OUTSIDE = "outside"  # a contact of the organisation: a card, and no mailbox here
    PUBLIC_FOLDER = "public-folder"  # contact folders that are nobody's

    @property
    def opens(self) -> bool:
        """Whether there are folders to read."""
        return self in {MailboxKind.PERSON, MailboxKind.PUBLIC_FOLDER}

    @property
    def has_card(self) -> bool:
        """Whether the directory may be asked for it."""
        return self is not MailboxKind.PUBLIC_FOLDER


def public_folder_key(path: str) -> str:
    """The `key` of a public folder's mailbox: no address begins like it. Names are joined by `/`, or as in Exchange."""
    return "\\" + path.lower().replace("\\", "/").strip("/")


@dataclass(frozen=True, slots=True)
class Mailbox:
    r"""A mailbox that a source resolves to.

    Attributes:
        key: What identifies it at the server for good: the object ID (online, lower case), the primary SMTP address
            in lower case, or of a public folder its path in lower case behind a `\\` (on-premises).
        address: Its primary address as the server writes it (online: mail, else user principal name); of a public
            folder its path; empty if none.
        enabled: Whether the account may sign in; disabled members of a group are not pulled.
        kind: What there is of it.
    """

    key: str = field(repr=False)
    address: str = field(default="", repr=False)
    enabled: bool = True
    kind: MailboxKind = MailboxKind.PERSON

    @property
    def opens(self) -> bool:
        """Whether there are folders to read."""
        return self.kind.opens


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom the server took us for, to show to an administrator; holds no personal data of mailboxes."""

    account: str  # application (client) ID or service account
    server: str  # host that answered
    permissions: tuple[str, ...] = ()  # roles the token carries; empty where the server does not say
    expires_at: datetime | None = None  # when the credential itself ends, where it says


@dataclass(frozen=True, slots=True)
class Card:
    """The outcome of asking for one mailbox's directory entry: a contact, or why there is none."""

    mailbox: Mailbox
    contact: Contact | None = field(default=None, repr=False)
    error: ConnectorError | None = None


@dataclass(frozen=True, slots=True)
class Folder:
    """A contact folder; `path` is its name under those of its parents, joined by `/`."""

    id: str = field(repr=False)
    path: str = field(repr=False)


class Upsert(NamedTuple):
    """A contact that is new or changed at the server (or replayed by it).

    `has_photo` is None where the server does not say (Graph): then its photo has to be asked for.
    """

    id: str
    contact: Contact
    has_photo: bool | None = None

    def __repr__(self) -> str:
        return f"Upsert(has_photo={self.has_photo})"  # what is personal stays out of logs


@dataclass(frozen=True, slots=True)
class Removal:
    """A contact that left its folder: deleted, or moved to another folder."""

    id: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Page:
    """A step of one folder's round. Committing it with `checkpoint` makes the round resumable after it.

    A round that was begun without a checkpoint is a *full* round: once its `last` page is in, whatever the
    folder held before and the round did not bring is gone at the server. `skipped` counts entries left out
    on purpose, by reason (`private`, `malformed`, `not_a_contact`). `unread` names contacts that are there and could
    not be read this time: what is stored of them stays, also at the end of a full round.
    """

    folder: Folder
    upserts: tuple[Upsert, ...]
    removals: tuple[Removal, ...]
    checkpoint: str = field(repr=False)
    last: bool
    skipped: Mapping[str, int] = field(default_factory=dict)
    unread: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class FolderGone:
    """A folder that a checkpoint was given for and the mailbox no longer has."""

    folder_id: str = field(repr=False)


Checkpoints = Mapping[str, str]  # folder ID -> the checkpoint of the last committed page


@dataclass(frozen=True, slots=True)
class Wanted:
    """A mailbox to read, and where its folders' rounds stand: nothing changes it while it is read."""

    mailbox: Mailbox
    checkpoints: Checkpoints = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Ended:
    """A mailbox has been read to its end, or as far as its `error` let it."""

    error: ConnectorError | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """What became of one of the mailboxes being read."""

    mailbox: Mailbox
    outcome: Page | FolderGone | Ended


@dataclass(frozen=True, slots=True)
class PhotoRef:
    """A photo to look at: a contact's (`folder_id` and `item_id` given) or a card's (both empty).

    `etag` is what the server called the photo when it was last fetched; empty if it never was.
    """

    mailbox: Mailbox
    folder_id: str = field(default="", repr=False)
    item_id: str = field(default="", repr=False)
    etag: str = field(default="", repr=False)


class PhotoState(StrEnum):
    """What became of a look at a photo."""

    PRESENT = "present"  # `content` holds the bytes as served
    ABSENT = "absent"  # the server says there is none
    UNCHANGED = "unchanged"  # still the one named by the etag given
    FAILED = "failed"  # `error` says why


PHOTO_LIMIT: int = 4 * 1024 * 1024  # bytes; a larger photo is FAILED with code "photo-too-large", never buffered


@dataclass(frozen=True, slots=True)
class Photo:
    """The outcome of looking at one photo."""

    ref: PhotoRef
    state: PhotoState
    content: bytes = field(default=b"", repr=False)
    etag: str = field(default="", repr=False)
    error: ConnectorError | None = None


class Connector(Protocol):
    """Reads one tenant's Exchange. Every method may raise any `ConnectorError`."""

    @property
    def requests(self) -> int:
        """How many requests went out so far; parts of a batch count one each."""

    def probe(self) -> Identity:
        """Makes one cheap authenticated call; fails fast and never retries a refusal."""

    @property
    def lot(self) -> int:
        """How many mailboxes `changes` is best asked for at once."""

    def resolve(self, source: Source) -> Iterator[Card]:
        """The mailboxes of a source, each once; a group gives its transitive members, disabled ones included.

        `contact` is None where the server did not bring the directory entry along: then `card` has to be asked.
        With an `error` the source names somebody who could not be found: whom it named before, it still names.
        """

    def card(self, mailboxes: Sequence[Mailbox]) -> Iterator[Card]:
        """The directory entry of each mailbox, one outcome per mailbox."""

    def changes(self, wanted: Sequence[Wanted]) -> Iterator[Sequence[Step]]:
        """What changed in the mailboxes' contact folders since the checkpoints; folders without one in full.

        Each sequence is what one exchange with the server brought, and is to be committed together; it holds at most
        one page of a mailbox. What was read ahead of a caller that stops early ends by itself, or by `hang_up`. The
        last step of every mailbox is `Ended`; its error is, among others:

        CheckpointExpired: The server no longer knows one folder's checkpoint; ask again without it.
        NoMailbox: The person has no mailbox (yet); nothing to pull and nothing wrong.
        MailboxGone: The mailbox does not exist (any more).

        Raises:
            CredentialRejected: Nothing more may be tried.
            ConnectorError: None of the mailboxes that have not ended can be read; `concerns_all` if that goes for every
                other one too.
        """

    def photos(self, wanted: Sequence[PhotoRef]) -> Iterator[Photo]:
        """Looks at photos and brings those that changed, one outcome per reference, in any order."""

    def hang_up(self) -> None:
        """Ends what other threads wait for, within moments: their calls raise as after a wait that was ended early.

        May be called at any time, and nothing but `close` is of use afterwards.
        """

    def close(self) -> None:
        """Ends connections; the connector is not used afterwards."""


class WaitEnded(Exception):
    """Raised by the `sleep` that a caller gave a connector, to end a wait early: nobody waits for the work any more."""


class ConnectorError(Exception):
    """Base of all failures of a connector.

    Attributes:
        code: The server's own code where it gave one (`AADSTS7000215`, `ErrorAccessDenied`), else ours.
        message: One sentence without addresses, names, tokens or secrets.
        advice: One line telling an administrator what to do.
        concerns_all: Whether nothing else of the tenant can be had either: whoever meets it ends the run.
    """

    default_code: ClassVar[str] = "connector-error"
    default_advice: ClassVar[str] = "Run the command again with --debug and look at the server's log."
    concerns_all: bool = False

    def __init__(self, message: str, *, code: str = "", advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.advice = advice or self.default_advice


class CredentialRejected(ConnectorError):
    """The server refused the credential itself. Never retried: an account must not be locked out by us."""

    default_code = "credential-rejected"
    concerns_all = True
    default_advice = "Check the credential; a registered tenant then needs: syncvault credential rotate TENANT"


class NotPermitted(ConnectorError):
    """Signed in, but not allowed to do this."""

    default_code = "not-permitted"
    default_advice = "Grant the permission named, or remove the source."


class Throttled(ConnectorError):
    """The server asks to come back later, beyond what a run waits for."""

    default_code = "throttled"
    default_advice = "Nothing to do: the next run continues where this one stopped."

    def __init__(self, message: str, *, retry_at: datetime | None = None, code: str = "", advice: str = "") -> None:
        super().__init__(message, code=code, advice=advice)
        self.retry_at = retry_at


class MailboxGone(ConnectorError):
    """The user or mailbox does not exist at the server (any more)."""

    default_code = "mailbox-gone"
    default_advice = "Remove its source if the person has left: syncvault source remove TENANT SOURCE_ID"


class NoMailbox(MailboxGone):
    """The user exists and has no mailbox."""

    default_code = "no-mailbox"
    default_advice = "Assign an Exchange licence if the person should have a mailbox."


class SourceGone(ConnectorError):
    """The user or group that a source names does not exist at the server (any more)."""

    default_code = "source-gone"
    default_advice = "Check the ID, or remove the source: syncvault source remove TENANT SOURCE_ID"


class CheckpointExpired(ConnectorError):
    """The server no longer knows a checkpoint; the folder has to be read in full again, and maybe others with it."""

    default_code = "checkpoint-expired"
    default_advice = "Nothing to do: the folder is read in full again."

    def __init__(
        self, message: str, *, folder_id: str, others: Iterable[str] = (), code: str = "", advice: str = ""
    ) -> None:
        super().__init__(message, code=code, advice=advice)
        self.folder_id = folder_id
        self.folder_ids = (folder_id, *others)


class ServerFault(ConnectorError):
    """The server failed again and again, beyond what a run rides out."""

    default_code = "server-fault"
    default_advice = "Nothing to do if it passes: the next run continues. Otherwise look at the server's health."


class Unreachable(ConnectorError):
    """No connection: name, network, TLS or time-out."""

    default_code = "unreachable"
    default_advice = "Check the host name, the network, and that the server's certificate is trusted (--ca-bundle)."


class ProtocolViolation(ConnectorError):
    """The answer is not what the protocol allows: foreign links, no JSON or XML, wrong types."""

    default_code = "protocol-violation"
    default_advice = "Check that the address is Exchange's own and that no proxy rewrites its answers."
