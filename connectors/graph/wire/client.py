"""Graph over HTTP: bearer tokens, retries, links that stay at home, and JSON that is what it should be.

Paths are relative to the API version (`/users/…`). What the server sends as a link becomes such a path too, so a
token can never be sent to another host, and a stored checkpoint holds no address.
"""

from __future__ import annotations

import codecs
import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import orjson

from connectors.graph.sign_in.auth import FRESH_TOKENS, Tokens
from connectors.graph.wire.limits import Limiter, units
from connectors.graph.wire.refusals import Refusal, error_code
from connectors.graph.wire.transport import Answer, BrokenError, TooLargeError, Transport
from connectors.port import ConnectorError, ProtocolViolation, ServerFault, Throttled
from connectors.throttle import Backoff, Now, RetryPolicy, Sleep, Slots, pause, retry_after

Json = dict[str, Any]

JSON_LIMIT: Final = 64 * 1024 * 1024
VERSION: Final = "/v1.0"
BATCH: Final = "/$batch"
PROBE: Final = "/users?$select=id&$top=1"  # what costs little, and is there for every application that may do anything
PER_MAILBOX: Final = 4  # "Outlook service limits": requests at once per application and mailbox
_ID_LIMIT: Final = 2_048
_UNCONNECTED_ATTEMPTS: Final = 4
GARBLED_ATTEMPTS: Final = 3
MOST_EMPTY_PAGES: Final = 1_000  # of a list; some are legal, but a server that gives no others has lost its way
_LASTING: Final = frozenset({501, 505, 507, 508, 510, 511})
_UNSAFE: Final = re.compile(r"[\x00-\x20\x7f\\]")
_DOTS: Final = re.compile(r"(?:^|/)(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Ask:
    """A request, without the token.

    `weight` is what it counts for in `requests`, `units` for the directory; `putting_off` takes the waits that the
    server asks for, where they are not just slept.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | None = None
    limit: int = JSON_LIMIT
    weight: int = 1
    units: int = 0
    putting_off: Backoff | None = None


class GraphClient:
    """Sends requests for one tenant. Safe to use from several threads."""

    def __init__(self, transport: Transport, origin: str, tokens: Tokens, sleep: Sleep, now: Now) -> None:
        self.origin = origin
        self.tokens = tokens
        self.sleep = sleep
        self.now = now
        self.policy = RetryPolicy()
        self.batches = True  # whether the server takes batches, as far as it is known
        self._transport = transport
        self._slots = Slots(PER_MAILBOX)
        self.limiter = Limiter(sleep, now)
        self._counting = threading.Lock()
        self._requests = 0
        self._answered = object()  # another one with every answer: to count them, threads would have to take turns

    @property
    def requests(self) -> int:
        """How many requests went out, parts of a batch counted one each."""
        return self._requests + self.tokens.requests

    def hang_up(self) -> None:
        """Ends what is under way, from any thread; nothing goes out any more."""
        self._transport.lines.hang_up()
        self.tokens.let_go()

    def close(self) -> None:
        """Ends the connections."""
        self._transport.close()

    def get_json(
        self,
        path: str,
        *,
        prefer: str = "",
        mailbox: str = "",
        policy: RetryPolicy | None = None,
        limit: int = JSON_LIMIT,
        putting_off: Backoff | None = None,
    ) -> Json:
        """Reads a JSON object.

        Args:
            path: Relative to the API version.
            prefer: The `Prefer` header.
            mailbox: Key of the mailbox that the request reads.
            policy: How to retry, if not as usual.
            limit: Bytes of the answer at most.
            putting_off: Takes the waits that the server asks for, where they are not just slept.

        Raises:
            Refusal: The server says no.
            TooLargeError: The answer is larger than `limit`.
            ConnectorError: No answer that can be used came.
        """
        headers = {"Accept": "application/json", "Prefer": prefer} if prefer else {"Accept": "application/json"}
        with self._slots.taken([mailbox] if mailbox else []):
            ask = Ask("GET", path, headers, limit=limit, units=units(path), putting_off=putting_off)
            return self._json(ask, policy)[0]

    def get_bytes(
        self, path: str, *, limit: int, prefer: str, mailbox: str, putting_off: Backoff | None = None
    ) -> Answer:
        """Reads a body as it is; raises as `get_json` does, `TooLargeError` beyond `limit` bytes."""
        headers = {"Accept": "*/*", "Prefer": prefer} if prefer else {"Accept": "*/*"}
        ask = Ask("GET", path, headers, limit=limit, units=units(path), putting_off=putting_off)
        with self._slots.taken([mailbox] if mailbox else []):
            return self._answer(ask, Backoff(self.sleep, self.now, self.policy))[0]

    def post_batch(
        self, parts: Sequence[Json], *, mailboxes: Iterable[str], limit: int = JSON_LIMIT
    ) -> tuple[Json, str]:
        """Posts to `$batch`; gives the answer and the token that it was asked with. Raises as `get_json` does."""
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        body = orjson.dumps({"requests": parts})
        # A batch runs up to four parts of a mailbox at once, so it takes a slot for each.
        with self._slots.taken(mailboxes):
            cost = sum(units(part["url"]) for part in parts)
            return self._json(Ask("POST", BATCH, headers, body, limit, weight=len(parts), units=cost))

    def pages(self, path: str, *, prefer: str = "", mailbox: str = "") -> Iterator[list[Any]]:
        """The `value` of each page of a list, following its links; raises as `get_json` does."""
        following: str | None = path
        seen: set[int] = set()
        entries = 0
        while following:
            if hash(following) in seen:
                raise ProtocolViolation("A page of a list names an earlier one as the next one.")
            if len(seen) > entries + MOST_EMPTY_PAGES:
                raise ProtocolViolation("A list has no end.")
            seen.add(hash(following))
            page = self.get_json(following, prefer=prefer, mailbox=mailbox)
            entries += len(values(page))
            yield values(page)
            following = self.next_link(page)

    def next_link(self, page: Json) -> str | None:
        """The path of the next page, None after the last."""
        return self.local_path(link) if (link := page.get("@odata.nextLink")) else None

    def local_path(self, link: object) -> str:
        """The path that a link of the server's leads to.

        Raises:
            ProtocolViolation: It leads to another host, port or scheme, or out of the API. Nothing was sent there.
        """
        if not isinstance(link, str) or _UNSAFE.search(link):
            raise ProtocolViolation("The server gave a link that is no address.", code="foreign-link")
        try:
            # A link may leave out where we are anyway (RFC 3986, 4.2).
            parts = urlsplit(urljoin(self.origin, link) if link.startswith("/") else link)
            home = urlsplit(self.origin)
            same = (parts.scheme, parts.hostname, parts.port or 443) == ("https", home.hostname, home.port or 443)
        except ValueError:
            same = False
        if not same or "@" in parts.netloc or not parts.path.startswith(f"{VERSION}/") or _DOTS.search(parts.path):
            raise ProtocolViolation("The server gave a link to another host; it was not followed.", code="foreign-link")
        path = parts.path.removeprefix(VERSION)
        return f"{path}?{parts.query}" if parts.query else path

    # -- inside -------------------------------------------------------------------------------------------------

    def _json(self, ask: Ask, policy: RetryPolicy | None = None) -> tuple[Json, str]:
        backoff = Backoff(self.sleep, self.now, policy or self.policy)
        for _ in range(GARBLED_ATTEMPTS):
            answer, token = self._answer(ask, backoff)
            if answer.is_html:
                raise ProtocolViolation("The server answers with a web page instead of data.", code="not-json")
            parsed = parse(answer.body)
            if isinstance(parsed, dict):
                return parsed, token
            failure = ProtocolViolation("The server's answer is no JSON object.", code="not-json")
            if parsed is not None:
                raise failure
            # Cut off without the transport noticing, most likely: ask again.
            pause(backoff, None, failure)
        raise failure

    def _answer(self, ask: Ask, backoff: Backoff) -> tuple[Answer, str]:
        token, refused, unconnected = self.tokens.bearer(), 0, 0
        answered = self._answered
        while True:
            try:
                answer = self._send(ask, token)
            except BrokenError as fault:
                unconnected += not fault.connected
                failure = fault.lasting("Graph cannot be reached, or the connection breaks again and again.")
                if unconnected >= _UNCONNECTED_ATTEMPTS:
                    raise failure from None
                with self._looking_beyond(ask, token, answered):
                    pause(backoff, None, failure)
                continue
            if 200 <= answer.status < 300:
                self._answered = object()
                return answer, token
            if answer.status == 401:
                refused += 1
                if refused > FRESH_TOKENS + 1:  # others have used these tokens: it is about what was asked for
                    raise Refusal(answer.status, code_of(answer))
                token = self.tokens.instead_of(token, code=code_of(answer))
            elif is_passing(answer.status):
                asked = retry_after(answer.headers.get("Retry-After"), self.now())
                with self._looking_beyond(ask, token, answered):
                    pause(ask.putting_off or backoff, asked, fault_of(answer.status, code_of(answer)))
            else:
                raise Refusal(answer.status, code_of(answer))

    @contextmanager
    def _looking_beyond(self, ask: Ask, token: str, answered: object) -> Iterator[None]:
        """Has a fault that stays concern all, if nothing was answered meanwhile and the directory is not either.

        That others find out the same, one by one, would take for ever.
        """
        try:
            yield
        except ConnectorError as failure:
            if not failure.concerns_all and self._answered is answered:
                asks_all = isinstance(failure, Throttled) and ask.units > 0
                failure.concerns_all = asks_all or self._is_out_of_order(token)
            raise

    def _is_out_of_order(self, token: str) -> bool:
        try:
            return is_passing(self._send(Ask("GET", PROBE, {"Accept": "application/json"}), token).status)
        except BrokenError:
            return True

    def _send(self, ask: Ask, token: str) -> Answer:
        self.limiter.before(ask.units)
        with self._counting:
            self._requests += ask.weight
        told = False
        try:
            answer = self._transport.send(
                ask.method,
                self.origin,
                VERSION + ask.path,
                headers={**ask.headers, "Authorization": f"Bearer {token}"},
                body=ask.body,
                limit=ask.limit,
            )
            self.limiter.after(answer.status, answer.headers)
            # What a batch was answered says nothing of its parts, which are refused one by one.
            told = answer.status == 401 or (answer.status == 200 and ask.path == BATCH)
            return answer
        finally:
            if not told:
                self.tokens.worked(token)


def values(page: Json) -> list[Any]:
    """The entries of a page; raises ProtocolViolation if it has none."""
    entries = page.get("value")
    if not isinstance(entries, list):
        raise ProtocolViolation("A page of a list holds no list.", code="not-json")
    return entries


def identifier_in(entry: Any) -> str:
    """The ID of an entry.

    Raises:
        ProtocolViolation: It has none. Left out, it would look as if it were not there any more.
    """
    identifier = entry.get("id") if isinstance(entry, dict) else None
    if not isinstance(identifier, str) or not 0 < len(identifier) <= _ID_LIMIT:
        raise ProtocolViolation("An entry of a list has no ID.", code="malformed-entry")
    return identifier


def parse(body: bytes) -> Any:
    """The JSON in a body, None if it holds none."""
    body = body.removeprefix(codecs.BOM_UTF8)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        # Exchange lets half surrogates, raw control characters and broken UTF-8 through; fields are cleaned later.
        return json.loads(body.decode("utf-8", "replace"), strict=False)
    except (ValueError, RecursionError):
        return None


def is_passing(status: int) -> bool:
    """Whether a status is worth another try."""
    return status in {408, 429} or (status >= 500 and status not in _LASTING)


def code_of(answer: Answer) -> str:
    """The error code in an answer, empty where there is none."""
    return error_code(parse(answer.body)) if answer.body and not answer.is_html else ""


def fault_of(status: int, code: str) -> ConnectorError:
    """The port's error for a passing fault that does not pass."""
    if status == 429:
        return Throttled("Graph asks to come back later.", code=code)
    return ServerFault(f"Graph failed with HTTP {status}.", code=code or f"http-{status}")


__all__ = [
    "JSON_LIMIT",
    "MOST_EMPTY_PAGES",
    "PER_MAILBOX",
    "GraphClient",
    "Json",
    "TooLargeError",
    "fault_of",
    "identifier_in",
    "is_passing",
    "values",
]
