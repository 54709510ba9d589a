"""People and groups of the directory: what a source resolves to, with everybody's card.

Sources: Microsoft Graph, "List users", "List group transitive members", "Overview of Microsoft Graph permissions"
(limited information returned for inaccessible member objects).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, Final

from connectors.graph import paths
from connectors.graph.mapping import Fields, card_from, card_select
from connectors.graph.sign_in.auth import roles_in
from connectors.graph.wire.batch import Outcome, Read, Reply, chunks, read_batch
from connectors.graph.wire.client import GraphClient, Json, identifier_in
from connectors.graph.wire.refusals import GROUPS, USERS, Refusal, explain
from connectors.port import Card, ConnectorError, Mailbox, MailboxGone, NotPermitted, ProtocolViolation, SourceGone
from connectors.selection import UserFilter

_PAGE: Final = 999  # the most that the directory gives at once
_USER: Final = "#microsoft.graph.user"
_OTHER_MEMBERS: Final = frozenset(
    f"#microsoft.graph.{kind}" for kind in ("group", "device", "orgContact", "servicePrincipal", "application")
)
_NO_CAST: Final = frozenset({400, 404, 405, 501})
_HIDDEN: Final = "Member.Read.Hidden"


def user(client: GraphClient, ref: str, fields: Fields) -> Card:
    """One user; raises SourceGone if there is no such user."""
    try:
        entry = client.get_json(f"{paths.user(ref)}?$select={card_select(fields)}")
    except Refusal as refusal:
        raise _missing("user", refusal, USERS) from None
    mailbox = _mailbox(entry)
    return Card(mailbox, card_from(entry, fields))


def members(client: GraphClient, ref: str, fields: Fields) -> Iterator[Card]:
    """Everybody in a group and in the groups below it, each once.

    Raises:
        SourceGone: There is no such group.
        NotPermitted: It, or who is in it, may not be read.
    """
    for mailbox, entry in _people_in(client, ref, card_select(fields)):
        yield Card(mailbox, card_from(entry, fields))


def everybody(client: GraphClient, wanted: UserFilter, fields: Fields) -> Iterator[Card]:
    """Everybody in the directory whom the filter lets through, each once.

    The filter is applied here: what the directory can filter by, and whether it minds case, differs by property.

    Raises:
        SourceGone: There is no group with the ID of the one to leave out.
        NotPermitted: Users, or the members of that group, may not be read.
    """
    left_out = _members_left_out(client, wanted.exclude_group)
    seen: set[str] = set()
    try:
        for page in client.pages(f"/users?$select={_filter_select(wanted, fields)}&$top={_PAGE}"):
            for entry in page:
                mailbox = _mailbox(entry)
                if mailbox.key in left_out or mailbox.key in seen:
                    continue
                seen.add(mailbox.key)
                if _lets_through(wanted, mailbox, entry):
                    yield Card(mailbox, card_from(entry, fields))
    except Refusal as refusal:
        raise explain(refusal, advice=USERS) from None


def cards(client: GraphClient, mailboxes: Sequence[Mailbox], fields: Fields) -> Iterator[Card]:
    """The card of each mailbox, 20 to a request."""
    for chunk in chunks(mailboxes):
        reads = [Read(f"{paths.user(mailbox.key)}?$select={card_select(fields)}") for mailbox in chunk]
        for mailbox, outcome in zip(chunk, read_batch(client, reads), strict=True):
            yield _card(mailbox, outcome, fields)


def _card(mailbox: Mailbox, outcome: Outcome, fields: Fields) -> Card:
    if isinstance(outcome, Refusal):
        if outcome.status == 404:
            return Card(mailbox, error=MailboxGone("The user does not exist in this directory.", code=outcome.code))
        return Card(mailbox, error=explain(outcome, advice=USERS))
    if isinstance(outcome, Reply):
        try:
            return Card(mailbox, card_from(outcome.json(), fields))
        except ConnectorError as error:
            return Card(mailbox, error=error)
    return Card(mailbox, error=outcome)


def _people_in(client: GraphClient, ref: str, select: str) -> Iterator[tuple[Mailbox, Json]]:
    group = paths.group(ref)
    seen: set[str] = set()
    try:
        # Asked for by itself: an unknown group must not look like an empty one.
        about = client.get_json(f"{group}?$select=id,visibility")
        for entry in _members(client, f"{group}/transitiveMembers", select):
            mailbox = _mailbox(entry)
            if mailbox.key not in seen:
                seen.add(mailbox.key)
                yield mailbox, entry
    except Refusal as refusal:
        raise _missing("group", refusal, GROUPS) from None
    # Nor must one whose members are kept from us, whether Graph refuses (it documents nothing) or gives none. Only a
    # Microsoft 365 group hides them, and "Add members" lets none be a member of a group, so that none hides deeper.
    if not seen and about.get("visibility") == "HiddenMembership" and _HIDDEN not in roles_in(client.tokens.bearer()):
        raise NotPermitted(
            "The group hides its members, and the application may not see them.",
            code="hidden-membership",
            advice=GROUPS,
        )


def _members(client: GraphClient, path: str, select: str) -> Iterator[Any]:
    """The users among the members; where the server cannot pick them out, whoever looks like one."""
    query = f"?$select={select}&$top={_PAGE}"
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
        yield from (entry for entry in page if _is_user(entry))


def _is_user(entry: Any) -> bool:
    identifier_in(entry)
    kind = entry.get("@odata.type")
    if kind in _OTHER_MEMBERS:
        return False
    return kind is not None or "userPrincipalName" in entry


def _mailbox(entry: Any) -> Mailbox:
    key, kind = identifier_in(entry), entry.get("@odata.type")
    if kind is not None and kind != _USER:
        raise ProtocolViolation("The directory lists somebody who is no user.", code="unknown-type")
    if entry.get("userPrincipalName", "") is None:
        # Everybody has one. A list of members leaves out whatever may not be read, instead of refusing.
        raise NotPermitted("Graph names the users, but lets the application see nothing of them.", advice=USERS)
    address = entry.get("mail") or entry.get("userPrincipalName")
    return Mailbox(
        key=key.lower(),
        address=address if isinstance(address, str) else "",
        enabled=entry.get("accountEnabled") is not False,
    )


def _members_left_out(client: GraphClient, ref: str) -> frozenset[str]:
    if not ref:
        return frozenset()
    try:
        return frozenset(mailbox.key for mailbox, _ in _people_in(client, ref, "id"))
    except SourceGone as error:
        raise SourceGone(
            f"The directory has no group {ref[:8]}…, whose members are to be left out.",
            code=error.code,
            advice="Remove the source, and add it again with another --exclude-group or none.",
        ) from None


def _filter_select(wanted: UserFilter, fields: Fields) -> str:
    asked = card_select(fields).split(",")
    asked += [name for name, text in (("department", wanted.department), ("companyName", wanted.company)) if text]
    return ",".join(dict.fromkeys(asked))


def _lets_through(wanted: UserFilter, mailbox: Mailbox, entry: Json) -> bool:
    return (
        (wanted.disabled or mailbox.enabled)
        and (wanted.hidden or entry.get("showInAddressList") is not False)  # null: nobody has hidden them
        and _is(wanted.department, entry.get("department"))
        and _is(wanted.company, entry.get("companyName"))
        and (not wanted.domain or _domain(wanted.domain) == _domain(_after_at(entry.get("mail"))))
    )


def _is(wanted: str, found: object) -> bool:
    return not wanted or (isinstance(found, str) and _folded(found) == _folded(wanted))


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).strip().casefold()


def _after_at(address: object) -> str:
    return address.rpartition("@")[2] if isinstance(address, str) else ""


def _domain(text: str) -> str:
    try:
        return text.casefold().encode("idna").decode()
    except UnicodeError:
        return text.casefold()


def _missing(what: str, refusal: Refusal, advice: str) -> ConnectorError:
    # 400 is what Graph answers for an ID that cannot be one.
    if refusal.status in {400, 404}:
        return SourceGone(f"The directory has no such {what}.", code=refusal.code)
    return explain(refusal, advice=advice)
