"""JSON batching: up to 20 reads in one request, each with its own outcome, the failed ones asked again.

Where batches are refused, the parts are read one by one.

Source: Microsoft Graph, "Combine multiple HTTP requests using JSON batching".
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from connectors.graph.client import FRESH_TOKENS, JSON_LIMIT, GraphClient, Json, fault_of, is_passing, parse, pause
from connectors.graph.refusals import Refusal, error_code
from connectors.port import ConnectorError, CredentialRejected, ProtocolViolation, Unreachable
from connectors.throttle import Backoff, retry_after

T = TypeVar("T")

SIZE: Final = 20
_MISSING: Final = 503  # an answer without one of the parts counts as that part's passing fault
_NO_BATCHES: Final = frozenset({404, 405, 501})  # there is no such thing here, now or later
_ITS_OWN: Final = frozenset({401, 403})  # refusals that parts read one by one would meet too


@dataclass(frozen=True, slots=True)
class Read:
    """One part: a GET, relative to the API version. `mailbox` is the key of the mailbox it reads, if any."""

    path: str = field(repr=False)
    mailbox: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """A part that was answered."""

    headers: Mapping[str, str] = field(repr=False)  # names in lower case
    body: Any = field(repr=False)  # a JSON value as a batch holds it; bytes where the part was read alone

    def json(self) -> Json:
        """The body as a JSON object; raises ProtocolViolation if it is none."""
        body = _unwrapped(self.body)
        if not isinstance(body, dict):
            raise ProtocolViolation("A part of a batch is no JSON object.", code="not-json")
        return body

    def content(self) -> bytes:
        """The body as bytes, which travel in base64; raises ProtocolViolation if it is nothing of the kind."""
        if isinstance(self.body, bytes):
            return self.body
        try:
            return base64.b64decode(self.body, validate=True)
        except (TypeError, ValueError, binascii.Error):
            raise ProtocolViolation("A part of a batch is no base64.", code="not-base64") from None


Outcome = Reply | Refusal | ConnectorError


def chunks(entries: Sequence[T]) -> Iterator[Sequence[T]]:
    """The entries in lots that fit a batch."""
    for start in range(0, len(entries), SIZE):
        yield entries[start : start + SIZE]


@dataclass(slots=True)
class _Part:
    read: Read
    backoff: Backoff
    due: float = 0.0  # seconds slept since the batch began, before which it must not be sent again
    refused: int = 0  # access tokens
    outcome: Outcome | None = None


def read_batch(
    client: GraphClient, reads: Sequence[Read], *, prefer: str = "", limit: int = JSON_LIMIT
) -> list[Outcome]:
    """Reads up to 20 resources; the outcomes are in the order of the reads.

    Args:
        client: Sends.
        reads: What to read.
        prefer: The `Prefer` header of each part.
        limit: Bytes of the whole answer at most.

    Raises:
        TooLargeError: The answer is larger than `limit`.
        Refusal: The batch itself is refused.
        ConnectorError: No answer to the batch can be had, or a part's token is refused twice.
    """
    slept = 0.0

    def wait(seconds: float) -> None:
        nonlocal slept
        slept += seconds
        client.sleep(seconds)

    # A part does not sleep in its own back-off: it only notes until when it has to wait.
    parts = [_Part(read, Backoff(lambda _: None, client.now, client.policy)) for read in reads]
    while waiting := [part for part in parts if part.outcome is None]:
        earliest = min(part.due for part in waiting)
        if earliest > slept:
            wait(earliest - slept)
        ready = [part for part in waiting if part.due <= slept]
        if not client.batches or not _send(client, ready, prefer, limit, slept):
            _read_alone(client, ready, prefer, limit)
    return [part.outcome for part in parts if part.outcome is not None]


def _send(client: GraphClient, parts: Sequence[_Part], prefer: str, limit: int, slept: float) -> bool:
    """Sends a batch; False if the server does not take it as such."""
    token = client.tokens.bearer()
    try:
        answer = client.post_batch(
            [_request(number, part.read, prefer) for number, part in enumerate(parts)],
            mailboxes=[part.read.mailbox for part in parts if part.read.mailbox],
            limit=limit,
        )
    except Refusal as refusal:
        if refusal.status in _ITS_OWN:
            raise
        client.batches = refusal.status not in _NO_BATCHES
        return False
    responses = _by_number(answer)
    for number, part in enumerate(parts):
        _settle(client, part, responses.get(str(number)), slept, token)
    return True


def _read_alone(client: GraphClient, parts: Sequence[_Part], prefer: str, limit: int) -> None:
    for part in parts:
        try:
            answer = client.get_bytes(part.read.path, limit=limit, prefer=prefer, mailbox=part.read.mailbox)
        except Refusal as refusal:
            part.outcome = refusal
        except (CredentialRejected, Unreachable):
            raise
        except ConnectorError as error:
            part.outcome = error
        else:
            limit -= len(answer.body)  # together they must not hold more than a batch would
            headers = {name.lower(): value for name, value in answer.headers.items()}
            page = ProtocolViolation("The server answers with a web page instead of data.", code="not-json")
            part.outcome = page if answer.is_html else Reply(headers, answer.body)


def _unwrapped(body: Any) -> Any:
    """A JSON body that travels as text or, as bodies of other types do, in base64."""
    if isinstance(body, bytes):
        return parse(body)
    if not isinstance(body, str):
        return body
    found = parse(body.encode("utf-8", "replace"))
    if found is None:
        with suppress(ValueError, binascii.Error):
            found = parse(base64.b64decode(body, validate=True))
    return found


def _request(number: int, read: Read, prefer: str) -> Json:
    request: Json = {"id": str(number), "method": "GET", "url": read.path}
    return {**request, "headers": {"Prefer": prefer}} if prefer else request


def _by_number(answer: Json) -> dict[str, Json]:
    responses = answer.get("responses")
    if not isinstance(responses, list):
        raise ProtocolViolation("The answer to a batch holds no list.", code="not-json")
    return {str(entry.get("id")): entry for entry in responses if isinstance(entry, dict)}


def _settle(client: GraphClient, part: _Part, response: Json | None, slept: float, token: str) -> None:
    status = response.get("status") if response else _MISSING
    if isinstance(status, str) and status.isdecimal():
        status = int(status)
    if response is None or not isinstance(status, int):
        response, status = {}, _MISSING
    named = response.get("headers")
    headers = {str(name).lower(): str(value) for name, value in named.items()} if isinstance(named, dict) else {}
    if 200 <= status < 300:
        client.tokens.worked(token)
        part.outcome = Reply(headers, response.get("body"))
        return
    code = error_code(_unwrapped(response.get("body")))
    if status == 401:
        part.refused += 1
        client.tokens.instead_of(token, code=code)
        if part.refused > FRESH_TOKENS:  # others have used those tokens since: it is about this part
            part.outcome = Refusal(status, code)
        return
    client.tokens.worked(token)
    if is_passing(status):
        part.due = slept + _pause(client, part, status, headers, code)
    else:
        part.outcome = Refusal(status, code)


def _pause(client: GraphClient, part: _Part, status: int, headers: Mapping[str, str], code: str) -> float:
    before = part.backoff.waited
    try:
        pause(part.backoff, retry_after(headers.get("retry-after"), client.now()), fault_of(status, code))
    except ConnectorError as failure:
        part.outcome = failure
    return part.backoff.waited - before
