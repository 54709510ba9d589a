"""The connector itself: the port's verbs over one session, and no foreign exception out of any of them."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from connectors.contact import Contact, clean_list
from connectors.ews.directory import address_list, entries, lists
from connectors.ews.mailbox import contacts, folders, photos
from connectors.ews.settings import EwsSettings
from connectors.ews.wire.codes import PASSING, UNSUPPORTED, WRONG_VERSION
from connectors.ews.wire.operations import resolve_names
from connectors.ews.wire.session import AnswerTooLargeError, EwsSession, NothingMoreError, only
from connectors.port import (
    Card,
    ConnectorError,
    CredentialRejected,
    FolderGone,
    Identity,
    Mailbox,
    MailboxGone,
    MailboxKind,
    NoMailbox,
    NotPermitted,
    Page,
    Photo,
    PhotoRef,
    ProtocolViolation,
    ServerFault,
    Source,
    SourceGone,
    SourceKind,
    Step,
    Throttled,
    Unreachable,
    WaitEnded,
    Wanted,
    public_folder_key,
)
from connectors.selection import Selection
from connectors.steps import one_by_one
from connectors.throttle import Now, Sleep

log = logging.getLogger(__name__)


class EwsConnector:
    """Reads one tenant's Exchange over EWS; implements `connectors.port.Connector`."""

    lot = 1  # nothing is gained by asking for several mailboxes at once

    def __init__(
        self, settings: EwsSettings, selection: Selection, *, sleep: Sleep, now: Now, page_size: int = 0
    ) -> None:
        self._session = EwsSession(settings, sleep=sleep, now=now)
        self._account = settings.username
        self._selection = selection
        self._page_size = page_size

    @property
    def requests(self) -> int:
        """How many requests went out so far."""
        return self._session.requests

    def probe(self) -> Identity:
        """Signs in with one look into the directory. Whatever it finds there, the credential was accepted."""
        with _normalised():
            name = self._account.rpartition("\\")[2]
            try:
                only(self._session.call(resolve_names(name)))
            except (MailboxGone, ServerFault) as error:
                answered = error.code.startswith("Error") or error.code in UNSUPPORTED
                if not answered or error.code in PASSING | WRONG_VERSION:
                    raise
            return Identity(account=self._account, server=self._session.host)

    def resolve(self, source: Source) -> Iterator[Card]:
        """The mailboxes of a source by their primary addresses, with their cards as far as the directory has them."""
        resolvers = {
            SourceKind.MAILBOX: self._mailbox,
            SourceKind.LIST: self._list,
            SourceKind.GAL: self._address_list,
            SourceKind.PUBLIC_FOLDER: self._public_folder,
        }
        if source.kind not in resolvers:
            raise SourceGone(
                f"Exchange on premises has no source of kind {source.kind}.",
                code="wrong-source-kind",
                advice="Register mailboxes by their addresses: syncvault source add TENANT --mailbox ADDR",
            )
        with _normalised():
            yield from resolvers[source.kind](source.ref.strip())

    def _mailbox(self, address: str) -> Iterator[Card]:
        entry = self._entry(address)
        if entry is None:
            try:
                # What refuses us, or is out of order, does not say whether this is an alias: as a mailbox of its own it
                # would take the place of the one that is stored, and that one's contacts would go.
                entries.open_mailbox(self._session, address)
            except MailboxGone:
                message = "Exchange knows no mailbox with this address."
                raise SourceGone(message, code="ErrorNonExistentMailbox") from None
        yield self._person(address, entry)

    def _list(self, address: str) -> Iterator[Card]:
        """Those members that have a mailbox here; others are nobody's business, and no failure.

        Of a hidden one without a mailbox nobody can tell whether it is gone, or cannot be found for now.
        """
        seen: set[str] = set()
        for member in lists.members(self._session, address):
            entry = self._entry(member)
            if entry is not None and entry.kind not in entries.MAILBOXES:
                continue
            if entry is None and not entries.has_mailbox(self._session, member):
                yield Card(Mailbox(member.lower(), member), error=MailboxGone("Exchange finds no mailbox of a member."))
                continue
            card = self._person(member, entry)
            if card.mailbox.key not in seen:
                seen.add(card.mailbox.key)
                yield card

    def _address_list(self, _: str) -> Iterator[Card]:
        for entry in address_list.everybody(self._session, self._selection.fields):
            mailbox = Mailbox(entry.primary.lower(), entry.primary, kind=MailboxKind.LISTED)
            yield Card(mailbox, self._selection.only(entry.card))

    def _public_folder(self, path: str) -> Iterator[Card]:
        asked = Mailbox(public_folder_key(path), path, kind=MailboxKind.PUBLIC_FOLDER)
        with folders.reading(asked):
            found = folders.public_path(self._session, path)
        if found is None:
            message = "Exchange shows the service account no public folder at this path."
            raise SourceGone(message, code="ErrorFolderNotFound", advice=folders.GONE_ADVICE)
        yield Card(Mailbox(public_folder_key(found), found, kind=MailboxKind.PUBLIC_FOLDER))

    def _person(self, address: str, entry: entries.Entry | None) -> Card:
        # Of a mailbox that the directory does not show, only an attempt to open it tells that its address is an alias.
        primary = self._session.primary_of(address) if entry is None else entry.primary
        contact = None if entry is None else self._selection.only(entry.card)
        return Card(Mailbox(key=primary.lower(), address=primary), contact)

    def card(self, mailboxes: Sequence[Mailbox]) -> Iterator[Card]:
        """The directory entry of each mailbox."""
        for mailbox in mailboxes:
            with _normalised():
                card = self._card(mailbox)
            yield card

    def changes(self, wanted: Sequence[Wanted]) -> Iterator[Sequence[Step]]:
        """What changed in the mailboxes' contact folders since the checkpoints, one mailbox after the other."""
        return one_by_one(self._changes, wanted)

    def _changes(self, wanted: Wanted) -> Iterator[Page | FolderGone]:
        with _normalised():
            try:
                with folders.reading(wanted.mailbox):
                    yield from contacts.changes(self._session, wanted, self._selection, self._page_size)
            except MailboxGone as error:
                if not wanted.mailbox.kind.has_card or self._entry(wanted.mailbox.address) is None:
                    raise
                raise NoMailbox("The person is in the directory and has no mailbox.", code=error.code) from None

    def photos(self, wanted: Sequence[PhotoRef]) -> Iterator[Photo]:
        """Looks at photos and brings those that changed."""
        with _normalised():
            yield from photos.photos(self._session, wanted, self._selection.photo_pixels)

    def hang_up(self) -> None:
        """Ends what is under way, from any thread."""
        self._session.hang_up()

    def close(self) -> None:
        """Ends connections."""
        self._session.close()

    def _card(self, mailbox: Mailbox) -> Card:
        try:
            entry = entries.look_up(self._session, mailbox.address)
            if entry is not None:
                return Card(mailbox, contact=self._selection.only(entry.card))
            if not entries.has_mailbox(self._session, mailbox.address):
                return Card(mailbox, error=MailboxGone("Exchange knows nobody with this address any more."))
            return Card(mailbox, contact=self._selection.only(Contact(email_addresses=clean_list((mailbox.address,)))))
        except (CredentialRejected, Throttled, Unreachable):
            raise
        except ConnectorError as error:
            return Card(mailbox, error=error)

    def _entry(self, address: str) -> entries.Entry | None:
        """The directory entry where the directory can be asked; what it refuses must not hide a mailbox."""
        try:
            return entries.look_up(self._session, address)
        except (NotPermitted, ServerFault, ProtocolViolation):
            return None


@contextmanager
def _normalised() -> Iterator[None]:
    try:
        yield
    except (ConnectorError, WaitEnded):
        raise
    except NothingMoreError as stop:
        raise stop.error from None
    except AnswerTooLargeError:
        raise ProtocolViolation(
            "Exchange's answer is larger than any that is expected.", code="answer-too-large"
        ) from None
    except Exception as error:  # noqa: BLE001  # the port promises that nothing foreign comes out
        # Where it happened, without the texts of exceptions, which may quote what a mailbox holds.
        log.debug("unexpected %s\n%s", type(error).__name__, "".join(traceback.format_tb(error.__traceback__)))
        raise ProtocolViolation(f"Exchange's answer could not be understood ({type(error).__name__}).") from None
