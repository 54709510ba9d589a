"""People and groups of the directory: what a source resolves to, and everybody's card."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from connectors.graph import paths
from connectors.graph.batch import Outcome, Read, Reply, chunks, read_batch
from connectors.graph.client import GraphClient
from connectors.graph.mapping import CARD_SELECT, card_from
from connectors.graph.refusals import GROUPS, USERS, Refusal, explain
from connectors.port import Card, ConnectorError, Mailbox, MailboxGone, ProtocolViolation, SourceGone

_MAILBOX_SELECT: Final = "id,mail,userPrincipalName,accountEnabled"
_MEMBERS_PAGE: Final = 999
_NO_CAST: Final = frozenset({400, 404, 405, 501})


def user(client: GraphClient, ref: str) -> Mailbox:
    """The mailbox of one user; raises SourceGone if there is no such user."""
    try:
        found = _mailbox(client.get_json(f"{paths.user(ref)}?$select={_MAILBOX_SELECT}"))
    except Refusal as refusal:
        raise _missing("user", refusal, USERS) from None
    if found is None:
        raise ProtocolViolation("The directory gave a user without an ID.")
    return found


def members(client: GraphClient, ref: str) -> Iterator[Mailbox]:
    """Everybody in a group and in the groups below it, each once; raises SourceGone if there is no such group."""
    group = paths.group(ref)
    seen: set[str] = set()
    try:
        # Asked for by itself: an unknown group must not look like an empty one.
        client.get_json(f"{group}?$select=id")
        for entry in _members(client, f"{group}/transitiveMembers"):
            mailbox = _mailbox(entry)
            if mailbox and mailbox.key not in seen:
                seen.add(mailbox.key)
                yield mailbox
    except Refusal as refusal:
        raise _missing("group", refusal, GROUPS) from None


def _members(client: GraphClient, path: str) -> Iterator[Any]:
    """The users among the members; where the server cannot pick them out, whoever looks like one."""
    query = f"?$select={_MAILBOX_SELECT}&$top={_MEMBERS_PAGE}"
    begun = False
    try:
        for page in client.pages(f"{path}/microsoft.graph.user{query}"):
            begun = True
            yield from page
    except Refusal as refusal:
        if begun or refusal.status not in _NO_CAST:
            raise
    else:
        return
    for page in client.pages(path + query):
        yield from (entry for entry in page if isinstance(entry, dict) and _is_user(entry))


def _is_user(entry: dict[str, Any]) -> bool:
    return "@odata.type" in entry or "userPrincipalName" in entry  # with a type, that decides


def cards(client: GraphClient, mailboxes: Sequence[Mailbox]) -> Iterator[Card]:
    """The card of each mailbox, 20 to a request."""
    for chunk in chunks(mailboxes):
        reads = [Read(f"{paths.user(mailbox.key)}?$select={CARD_SELECT}") for mailbox in chunk]
        for mailbox, outcome in zip(chunk, read_batch(client, reads), strict=True):
            yield _card(mailbox, outcome)


def _card(mailbox: Mailbox, outcome: Outcome) -> Card:
    if isinstance(outcome, Refusal):
        if outcome.status == 404:
            return Card(mailbox, error=MailboxGone("The user does not exist in this directory.", code=outcome.code))
        return Card(mailbox, error=explain(outcome, advice=USERS))
    if isinstance(outcome, Reply):
        try:
            return Card(mailbox, card_from(outcome.json()))
        except ConnectorError as error:
            return Card(mailbox, error=error)
    return Card(mailbox, error=outcome)


def _mailbox(entry: Any) -> Mailbox | None:
    if not isinstance(entry, dict):
        return None
    kind, key = entry.get("@odata.type"), entry.get("id")
    if not isinstance(key, str) or not key or (isinstance(kind, str) and not kind.endswith(".user")):
        return None
    address = entry.get("mail") or entry.get("userPrincipalName")
    return Mailbox(
        key=key.lower(),
        address=address if isinstance(address, str) else "",
        enabled=entry.get("accountEnabled") is not False,
    )


def _missing(what: str, refusal: Refusal, advice: str) -> ConnectorError:
    # 400 is what Graph answers for an ID that cannot be one.
    if refusal.status in {400, 404}:
        return SourceGone(f"The directory has no such {what}.", code=refusal.code)
    return explain(refusal, advice=advice)
