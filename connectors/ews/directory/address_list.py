"""Everybody whom the global address list shows: by FindPeople where it may be browsed, else by ResolveNames.

Exchange's documentation lets FindPeople search the directory and not browse it, and not every server keeps to that: it
is asked first, because it brings 500 people with a request. ResolveNames answers to the beginning of a name or address
with at most 100 people, and says if that is not all; then the beginning is made longer. With a scheme it looks at
addresses alone, and not at first names, last names and offices beside them, so that fewer share a beginning: that takes
50 requests for a thousand people and up to one for two people of five thousand, instead of eight for ten. Rooms look
like people there. Both leave out whoever is hidden from address lists. Asked as the service account itself. Sources:
Microsoft, "FindPeople operation", "ResolveNames operation", "UnresolvedEntry".
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from string import ascii_lowercase, digits
from typing import Final

from lxml import etree

from connectors.ews.directory import personas
from connectors.ews.directory.entries import MAILBOXES, Entry, resolutions
from connectors.ews.wire.codes import PASSING
from connectors.ews.wire.operations import TYPES, find_people
from connectors.ews.wire.session import AnswerTooLargeError, EwsSession, only
from connectors.ews.wire.soap import Message
from connectors.port import MailboxGone, NotPermitted, ProtocolViolation, ServerFault

log = logging.getLogger(__name__)

# What an address may go on with: everybody has one in these letters, however their name is written.
_LETTERS: Final = f"{ascii_lowercase}{digits}.-_'+&@"
_SCHEME: Final = "smtp:"
_LONGEST_BEGINNING: Final = 64  # what comes before the @ of an address is not longer
_PERSONS: Final = MAILBOXES | {"Contact"}  # and no groups or public folders

# Which code says that the directory cannot be browsed is written nowhere. This one passes, or is ridden out in vain.
_MAY_BE_A_REFUSAL: Final = frozenset({"ErrorInternalServerError"})

_PERSONA: Final = f"{{{TYPES}}}Persona"


def everybody(session: EwsSession, fields: Collection[str]) -> Iterator[Entry]:
    """The people of the global address list, each once. Whoever has no SMTP address is left out.

    Args:
        session: Who asks.
        fields: What is wanted of their cards, as far as one can choose; the rest may come all the same.

    Raises:
        ConnectorError: The list could not be read to its end.
    """
    seen: set[str] = set()
    try:
        yield from _browsed(session, seen, fields)
        if seen:
            return
    except (MailboxGone, NotPermitted, ProtocolViolation, ServerFault) as error:
        if error.code in PASSING - _MAY_BE_A_REFUSAL:
            raise
        log.debug("FindPeople cannot list the directory (%s)", error.code)
    yield from _searched(session, seen)


def _browsed(session: EwsSession, seen: set[str], fields: Collection[str]) -> Iterator[Entry]:
    offset = 0
    while True:
        message = only(session.call(find_people(offset, fields)))
        container = message.find("People")
        people = [] if container is None else list(container.iterchildren(_PERSONA))
        known = len(seen)
        for persona in people:
            yield from _unseen(_entry_of(persona), seen)
        offset += len(people)
        if _is_end(message, people, offset):
            return
        if len(seen) == known and not _leaves_out_all(people):
            raise ProtocolViolation("Exchange's list of people does not advance.")


def _is_end(message: Message, people: list[etree._Element], offset: int) -> bool:
    total = message.text("TotalNumberOfPeopleInView")
    if not people and total.isdecimal() and offset < int(total):
        raise ProtocolViolation("Exchange's list of people ends too early.")
    return not people or (total.isdecimal() and offset >= int(total))  # a server may give fewer at once than asked for


def _leaves_out_all(people: list[etree._Element]) -> bool:
    return not any(_entry_of(persona) for persona in people)


def _entry_of(persona: etree._Element) -> Entry | None:
    card = personas.card_from(persona)
    if not card.email_addresses or not personas.is_person(persona):
        return None
    return Entry(card.email_addresses[0], card)


def _searched(session: EwsSession, seen: set[str]) -> Iterator[Entry]:
    """Depth first, so that no more beginnings wait than one is long."""
    waiting = list(reversed(_LETTERS.replace("@", "")))
    scheme: str | None = None  # not known yet whether one helps
    while waiting:
        beginning = waiting.pop()
        found, is_whole = _resolved(session, beginning)
        for entry in found:
            if entry.kind in _PERSONS:
                yield from _unseen(entry, seen)
        if is_whole:
            continue
        if scheme is None:
            scheme = _SCHEME if _looks_at_addresses(session, found) else ""
        if len(beginning) >= len(scheme) + _LONGEST_BEGINNING:
            raise ServerFault("Exchange does not tell its whole address list.", code="address-list-cut-off")
        if not beginning.startswith(scheme):
            waiting.append(scheme + beginning)
        else:
            waiting += [beginning + letter for letter in reversed(_LETTERS)]


def _resolved(session: EwsSession, beginning: str) -> tuple[list[Entry], bool]:
    try:
        return resolutions(session, beginning)
    except AnswerTooLargeError:  # servers put pictures into it
        return [], False


def _looks_at_addresses(session: EwsSession, found: list[Entry]) -> bool:
    """Whether a server finds people by a scheme and the beginning of an address, as Exchange does: one it just told."""
    known = next((entry.primary.lower() for entry in found if "@" in entry.primary and entry.kind in _PERSONS), "")
    local = known.partition("@")[0]
    told, _ = _resolved(session, _SCHEME + (local[:-1] or f"{local}@")) if local else ([], True)
    return any(entry.primary.lower() == known for entry in told)


def _unseen(entry: Entry | None, seen: set[str]) -> Iterator[Entry]:
    if entry is not None and entry.primary and entry.primary.lower() not in seen:
        seen.add(entry.primary.lower())
        yield entry
