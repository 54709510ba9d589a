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

from connectors.graph.sign_in.auth import FRESH_TOKENS
from connectors.graph.wire.client import (
    GARBLED_ATTEMPTS,
    JSON_LIMIT,
    GraphClient,
    Json,
    fault_of,
    is_passing,
    parse,
)
from connectors.graph.wire.refusals import Refusal, error_code
from connectors.port import ConnectorError, CredentialRejected, ProtocolViolation, Unreachable
from connectors.throttle import Backoff, pause, retry_after

T = TypeVar("T")

SIZE: Final = 20
_MISSING: Final = 503  # an answer without one of the parts counts as that part's passing fault
_NO_BATCHES: Final = frozenset({404, 405, 501})  # there is no such thing here, now or later
_ITS_OWN: Final = frozenset({401, 403})  # refusals that parts read one by one would meet too


@dataclass(frozen=True, slots=True)
class Read:
    """One part: a GET, relative to the API version.

    Attributes:
        path: What to read.
        mailbox: Key of the mailbox that it reads, if any.
        prefer: The `Prefer` header.
        binary: Whether bytes are expected, not a JSON object.
        alone: Whether it is too large for a batch.
    """

    path: str = field(repr=False)
    mailbox: str = field(default="", repr=False)
    prefer: str = ""
    binary: bool = False
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """A part that was answered."""

    headers: Mapping[str, str] = field(repr=False)  # names in lower case
    body: Any = field(repr=False)  # a JSON value; of a binary part text in base64, or bytes where it was read alone

    def json(self) -> Json:
        """The body as a JSON object; raises ProtocolViolation if it is none."""
        if not isinstance(self.body, dict):
            raise ProtocolViolation("A part of a batch is no JSON object.", code="not-json")
        return self.body

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


class Pace:
    """Seconds since a reading began. What was slept counts even where the clock stands still or goes back."""

    def __init__(self, client: GraphClient) -> None:
        self._client = client
        self._began = client.now()
        self._slept = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds since it began."""
        return max(self._slept, (self._client.now() - self._began).total_seconds())

    def wait_until(self, instant: float) -> None:
        """Sleeps until so many seconds have passed since it began."""
        seconds = instant - self.elapsed
        if seconds > 0:
            self._slept = max(self._slept + seconds, instant)
            self._client.sleep(seconds)


class _LaterError(Exception):
    """A part is to be sent again, after so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds


def _put_off(seconds: float) -> None:
    # A part does not sleep in its own back-off: others that travel with it need not wait.
    raise _LaterError(seconds)


@dataclass(slots=True)
class Part:
    """A read on its way, sent again until it has an outcome."""

    read: Read
    backoff: Backoff
    due: float = 0.0  # of the pace: it must not be sent before
    refused: int = 0  # access tokens
    garbled: int = 0  # answers
    alone: bool = False  # it does not fit into a batch
    outcome: Outcome | None = None

    @classmethod
    def of(cls, client: GraphClient, read: Read) -> Part:
        """A read that has not been sent yet."""
        return cls(read, Backoff(_put_off, client.now, client.policy), alone=read.alone)


def read_batch(client: GraphClient, reads: Sequence[Read], *, limit: int = JSON_LIMIT) -> list[Outcome]:
    """Reads up to 20 resources; the outcomes are in the order of the reads.

    Args:
        client: Sends.
        reads: What to read.
        limit: Bytes of the whole answer at most.

    Raises:
        TooLargeError: The answer is larger than `limit`.
        Refusal: The batch itself is refused.
        ConnectorError: No answer to the batch can be had, or a part's token is refused again and again.
    """
    pace = Pace(client)
    parts = [Part.of(client, read) for read in reads]
    left = limit  # together those that are read alone must not hold more than a batch would
    while waiting := [part for part in parts if part.outcome is None]:
        pace.wait_until(min(part.due for part in waiting))
        ready = [part for part in waiting if part.due <= pace.elapsed]
        if not send_together(client, ready, pace, limit=limit):
            for part in ready:
                left -= send_alone(client, part, pace, limit=left)
    return [part.outcome for part in parts if part.outcome is not None]


def send_together(client: GraphClient, parts: Sequence[Part], pace: Pace, *, limit: int) -> bool:
    """Sends parts once as a batch; False if the server does not take it as such. Raises as `read_batch` does."""
    if not client.batches:
        return False
    try:
        answer, token = client.post_batch(
            [_request(number, part.read) for number, part in enumerate(parts)],
            mailboxes=[part.read.mailbox for part in parts if part.read.mailbox],
            limit=limit,
        )
    except Refusal as refusal:
        if refusal.status in _ITS_OWN:
            raise
        client.batches = refusal.status not in _NO_BATCHES
        return False
    responses = _by_number(answer)
    elapsed = pace.elapsed
    for number, part in enumerate(parts):
        _settle(client, part, responses.get(str(number)), elapsed, token)
    return True


def send_alone(client: GraphClient, part: Part, pace: Pace, *, limit: int) -> int:
    """Sends a part by itself; gives the bytes of its answer, as far as they are known. It may have to be sent again.

    Raises:
        TooLargeError: The answer is larger than `limit`.
        CredentialRejected, Unreachable: The other parts would meet the same.
    """
    read = part.read
    try:
        if not read.binary:
            answer = client.get_json(
                read.path, prefer=read.prefer, mailbox=read.mailbox, limit=limit, putting_off=part.backoff
            )
            part.outcome = Reply({}, answer)
            return 0
        found = client.get_bytes(
            read.path, limit=limit, prefer=read.prefer, mailbox=read.mailbox, putting_off=part.backoff
        )
    except _LaterError as later:
        part.due = pace.elapsed + later.seconds
    except Refusal as refusal:
        part.outcome = refusal
    except (CredentialRejected, Unreachable):
        raise
    except ConnectorError as error:
        part.outcome = error
    else:
        page = ProtocolViolation("The server answers with a web page instead of data.", code="not-json")
        headers = {name.lower(): value for name, value in found.headers.items()}
        part.outcome = page if found.is_html else Reply(headers, found.body)
        return len(found.body)
    return 0


def _unwrapped(body: Any) -> Any:
    """A JSON body that travels as text or, as bodies of other types do, in base64; None if there is no JSON in it."""
    if not isinstance(body, str):
        return body
    found = parse(body.encode("utf-8", "replace"))
    if found is None:
        with suppress(ValueError, binascii.Error):
            found = parse(base64.b64decode(body, validate=True))
    return found


def _request(number: int, read: Read) -> Json:
    request: Json = {"id": str(number), "method": "GET", "url": read.path}
    return {**request, "headers": {"Prefer": read.prefer}} if read.prefer else request


def _by_number(answer: Json) -> dict[str, Json]:
    responses = answer.get("responses")
    if not isinstance(responses, list):
        raise ProtocolViolation("The answer to a batch holds no list.", code="not-json")
    return {str(entry.get("id")): entry for entry in responses if isinstance(entry, dict)}


def _settle(client: GraphClient, part: Part, response: Json | None, elapsed: float, token: str) -> None:
    status = response.get("status") if response else _MISSING
    if isinstance(status, str) and status.isdecimal():
        status = int(status)
    if response is None or not isinstance(status, int):
        response, status = {}, _MISSING
    named = response.get("headers")
    headers = {str(name).lower(): str(value) for name, value in named.items()} if isinstance(named, dict) else {}
    body = response.get("body")
    if not part.read.mailbox:  # what one mailbox refuses is no reason to hold back from others
        client.limiter.after(status, headers)
    if status != 401:
        client.tokens.worked(token)
    if 200 <= status < 300:
        _accept(part, headers, body, elapsed)
        return
    code = error_code(_unwrapped(body))
    if status == 401:
        part.refused += 1
        if part.refused > FRESH_TOKENS + 1:  # others have used these tokens: it is about this part
            part.outcome = Refusal(status, code)
        else:
            client.tokens.instead_of(token, code=code)
    elif is_passing(status):
        asked = retry_after(headers.get("retry-after"), client.now())
        _pause(part, asked, fault_of(status, code), elapsed)
    else:
        part.outcome = Refusal(status, code)


def _accept(part: Part, headers: Mapping[str, str], body: Any, elapsed: float) -> None:
    read = body if part.read.binary else _unwrapped(body)
    if read is None and not part.read.binary:
        # Cut off on its way into the batch, most likely: ask again.
        part.garbled += 1
        failure = ProtocolViolation("A part of a batch is no JSON object.", code="not-json")
        if part.garbled < GARBLED_ATTEMPTS:
            _pause(part, None, failure, elapsed)
        else:
            part.outcome = failure
    else:
        part.outcome = Reply(headers, read)


def _pause(part: Part, asked: float | None, failure: ConnectorError, elapsed: float) -> None:
    try:
        pause(part.backoff, asked, failure)
    except _LaterError as later:
        part.due = elapsed + later.seconds
    except ConnectorError as final:
        part.outcome = final
