"""The adapter itself: the port's methods over the rest of this package; only the port's errors come out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

from connectors.graph.directory import people
from connectors.graph.directory.org_contacts import organisation_contacts
from connectors.graph.mailbox.contacts import PAGE_SIZE, ContactReader
from connectors.graph.mailbox.photos import PhotoReader
from connectors.graph.mailbox.reading import AT_ONCE
from connectors.graph.settings import ClientCertificate, ClientSecret, GraphSettings
from connectors.graph.sign_in.auth import open_tokens, roles_in
from connectors.graph.wire.client import PROBE, GraphClient, TooLargeError
from connectors.graph.wire.refusals import CONTACTS, USERS, Refusal, explain
from connectors.graph.wire.transport import Transport
from connectors.lines import Lines
from connectors.port import (
    Card,
    ConnectorError,
    Identity,
    Mailbox,
    Photo,
    PhotoRef,
    ProtocolViolation,
    Source,
    SourceGone,
    SourceKind,
    Step,
    WaitEnded,
    Wanted,
)
from connectors.selection import Selection
from connectors.throttle import Now, RetryPolicy, Sleep

_PROBE: Final = RetryPolicy(attempts=3, patience=10.0)


class GraphConnector:
    """Reads one tenant's Exchange Online; see `connectors.port.Connector`. Safe to use from several threads."""

    lot = AT_ONCE

    def __init__(self, client: GraphClient, settings: GraphSettings, selection: Selection, page_size: int) -> None:
        self._client = client
        self._settings = settings
        self._selection = selection
        self._contacts = ContactReader(client, selection, page_size)
        self._photos = PhotoReader(client, selection.photo_pixels)

    @property
    def requests(self) -> int:
        """How many requests went out so far; parts of a batch count one each."""
        return self._client.requests

    def probe(self) -> Identity:
        """Signs in and reads one user's ID."""
        with _normalised(USERS):
            token = self._client.tokens.bearer()
            try:
                self._client.get_json(PROBE, policy=_PROBE)
            except Refusal as refusal:
                # The token was good for an answer; what may be read shows when something is.
                if refusal.status in {401, 403}:
                    raise
        credential = self._settings.credential
        return Identity(
            account=self._settings.client_id,
            server=urlsplit(self._client.origin).netloc,
            permissions=roles_in(token),
            expires_at=credential.not_after if isinstance(credential, ClientCertificate | ClientSecret) else None,
        )

    def resolve(self, source: Source) -> Iterator[Card]:
        """The mailboxes of a source, each once, with the cards that come along."""
        fields = self._selection.fields
        with _normalised(USERS):
            if source.kind is SourceKind.USER:
                yield people.user(self._client, source.ref, fields)
            elif source.kind is SourceKind.GROUP:
                yield from people.members(self._client, source.ref, fields)
            elif source.kind is SourceKind.ALL_USERS:
                yield from people.everybody(self._client, source.filter, fields)
            elif source.kind is SourceKind.ORG_CONTACTS:
                yield from organisation_contacts(self._client, fields)
            else:
                raise SourceGone("An online tenant has users and groups as sources, not mailbox addresses.")

    def card(self, mailboxes: Sequence[Mailbox]) -> Iterator[Card]:
        """The directory entry of each mailbox, one outcome per mailbox."""
        with _normalised(USERS):
            yield from people.cards(self._client, mailboxes, self._selection.fields)

    def changes(self, wanted: Sequence[Wanted]) -> Iterator[Sequence[Step]]:
        """What changed in the mailboxes' contact folders since the checkpoints; folders without one in full."""
        with _normalised(CONTACTS):
            yield from self._contacts.changes(wanted)

    def photos(self, wanted: Sequence[PhotoRef]) -> Iterator[Photo]:
        """Looks at photos and brings those that changed, one outcome per reference, in any order."""
        with _normalised(CONTACTS):
            yield from self._photos.photos(wanted)

    def hang_up(self) -> None:
        """Ends what is under way, from any thread."""
        self._client.hang_up()

    def close(self) -> None:
        """Ends connections; the connector is not used afterwards."""
        self._client.close()


def open_connector(
    settings: GraphSettings, selection: Selection, *, sleep: Sleep, now: Now, page_size: int
) -> GraphConnector:
    """Builds a connector; see `connectors.graph.connect`."""
    transport = Transport(settings.ca_pem, uses_proxy=settings.uses_proxy, lines=Lines(sleep))
    tokens = open_tokens(settings, transport, sleep=sleep, now=now)
    client = GraphClient(transport, settings.graph_origin(), tokens, sleep, now)
    return GraphConnector(client, settings, selection, page_size or PAGE_SIZE)


@contextmanager
def _normalised(advice: str) -> Iterator[None]:
    try:
        yield
    except (ConnectorError, WaitEnded):
        raise
    except Refusal as refusal:
        raise explain(refusal, advice=advice) from None
    except TooLargeError:
        raise ProtocolViolation("The server's answer is larger than what is read.", code="answer-too-large") from None
    except Exception as error:  # the port's promise: no foreign exception comes out
        raise ProtocolViolation(f"The answer could not be handled ({type(error).__name__}).") from error
