"""Items by name: what lies in a folder, by FindItem; and their fields, by GetItem in chunks.

Every item that is asked for is answered once, whatever goes wrong with another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from lxml import etree

from connectors.ews.wire.codes import PASSING, failure
from connectors.ews.wire.operations import MAX_CHANGES, MESSAGES, TYPES, find_items, get_contacts
from connectors.ews.wire.session import ANSWER_LIMIT, AnswerTooLargeError, EwsSession, only
from connectors.ews.wire.soap import Message, is_whole
from connectors.port import ProtocolViolation, ServerFault

Found = tuple[str, etree._Element | None]  # an item's ID, and its element or None if it cannot be read

FETCHED_AT_ONCE: Final = MAX_CHANGES  # all that a page of changes names: usually less than two MiB
CHUNK_LIMIT: Final = 16 * 1024 * 1024  # bytes; beyond it, less is asked for at once

_PAGES: Final = 400  # of a list: Exchange recommends no more than 100,000 items in a folder
_ITEMS: Final = f"{{{MESSAGES}}}Items"
_OF_THE_ITEM: Final = frozenset({
    "ErrorAccessDenied",
    "ErrorContentConversionFailed",
    "ErrorCorruptData",
    "ErrorInvalidId",
    "ErrorInvalidIdMalformed",
    "ErrorItemCorrupt",
    "ErrorItemPropertyRequestFailed",
    "ErrorMessageSizeExceeded",
    "ErrorMimeContentConversionFailed",
    "ErrorPropertyValidationFailure",
    "ErrorUnsupportedTypeForConversion",
    "ErrorVirusDetected",
    "ErrorVirusMessageDeleted",
})  # fmt: skip
_MAY_BE_OF_THE_ITEM: Final = "ErrorInternalServerError"  # where it stays, and others are read


def listed(session: EwsSession, address: str, folder_id: str) -> Iterator[tuple[str, list[etree._Element]]]:
    """What lies in a folder, by the page: how many items there are by now, and elements that say which is private.

    Raises:
        ConnectorError: It cannot be listed.
    """
    offset = 0
    for _ in range(_PAGES):
        message = only(session.call(find_items(folder_id, offset), act_as=address), act_as=address)
        root = message.find("RootFolder")
        if root is None:
            raise ProtocolViolation("Exchange's answer does not tell what is in a folder.")
        page = list(root.iterfind(f"{{{TYPES}}}Items/*"))
        offset += len(page)
        yield root.get("TotalItemsInView", ""), page
        if is_whole(root, offset):
            return
        if not page:  # what is not told would count as gone
            raise ProtocolViolation("Exchange's list of a folder does not advance.")
    raise ProtocolViolation("Exchange's list of a folder has no end.")


def fetch(session: EwsSession, address: str, item_ids: Sequence[str], fields: frozenset[str]) -> Iterator[Found]:
    """The items with what fills these fields. Those that are gone meanwhile are left out.

    Args:
        session: Asks.
        address: Of the mailbox to act in; empty for the service account itself.
        item_ids: What to ask for.
        fields: Names of `connectors.selection.FIELDS`.

    Raises:
        ConnectorError: Something failed that is not one item's own.
    """
    starts = range(0, len(item_ids), FETCHED_AT_ONCE)
    waiting = [item_ids[start : start + FETCHED_AT_ONCE] for start in reversed(starts)]  # the next one is the last
    again: list[str] = []  # of the chunk before: it comes next then
    while waiting:
        chunk, others_came, again = waiting.pop(), bool(again), []
        try:
            messages = _asked(session, address, chunk, fields)
        except ServerFault as error:
            if error.code != _MAY_BE_OF_THE_ITEM or not (others_came or len(chunk) == 1):
                raise
            yield from ((item_id, None) for item_id in chunk)
            continue
        if len(messages) != len(chunk):
            # Too much at once, or an answer that does not say which item it leaves out: ask for less.
            if len(chunk) == 1:
                raise ProtocolViolation("Exchange's answer does not match the items asked for.")
            half = len(chunk) // 2
            waiting += [chunk[half:], chunk[:half]]
            continue
        for item_id, message in zip(chunk, messages, strict=True):
            if not message.failed:
                yield item_id, _item_of(message)
            elif message.code in PASSING:
                again.append(item_id)
            elif message.code != "ErrorItemNotFound":  # its removal comes with a later page
                # An error that is not one item's own must not let the items after it be forgotten.
                if message.code not in _OF_THE_ITEM:
                    raise failure(message.code, impersonating=bool(address))
                yield item_id, None
        if again:  # a request in which nothing but passing faults come back waits, and gives up, in the session
            waiting.append(again)


def _asked(session: EwsSession, address: str, item_ids: Sequence[str], fields: frozenset[str]) -> Sequence[Message]:
    """A message for each item; none where these are too many for one answer."""
    is_single = len(item_ids) == 1
    try:
        limit = ANSWER_LIMIT if is_single else CHUNK_LIMIT
        return session.call(get_contacts(item_ids, fields), act_as=address, limit=limit).messages
    except AnswerTooLargeError:
        if is_single:
            raise  # no contact is that large: this is no answer of Exchange's
        return ()


def _item_of(message: Message) -> etree._Element | None:
    container = next(message.element.iterchildren(_ITEMS), None)
    return None if container is None else next(container.iterchildren("*"), None)
