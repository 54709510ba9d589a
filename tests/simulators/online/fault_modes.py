"""The faults that have a name, for `--faults NAME[:RATE|:always]` and the control endpoint (`{"do": "arm", …}`).

What is about whole requests strikes single ones and a `$batch` as a whole; what is about parts, the parts of a `$batch`
by themselves; the rest strikes single requests and parts. `retry_after`, `seconds`, `origin`, `size` and `status` can
be set when arming. A fault never lets a request have its effect, but for those that say so.

| name | strikes | what happens |
| --- | --- | --- |
| throttled-seconds | whole | 429, Retry-After in seconds; who comes early is told to wait twice as long |
| throttled-date | whole | the same with an HTTP date |
| throttled-bare | whole | 429 without Retry-After |
| server-error | whole | 500, 502 (HTML), 503 (half of them with Retry-After) or 504; `status` fixes which |
| part-throttled | part | 429 with the part's own Retry-After |
| part-failed | part | 500, 502, 503 or 504 |
| storage-full | single, part | 507 to whatever writes |
| sync-state-gone | single, part | 410 with Location to a request that carries a delta or page token |
| sync-state-not-found | single, part | the same as 400 or 404 `SyncStateNotFound`, with no way back named |
| token-expired | whole | 401 until the same request comes with another bearer |
| token-expired-in-batch | batch | the bearer runs out at some part: 401 for it and all after it |
| mailbox-denied | mailbox | 403 ErrorAccessDenied to everything in the mailboxes chosen |
| mailbox-missing | mailbox | 404 MailboxNotEnabledForRESTAPI, likewise |
| empty-page | single, part | a page without rows whose link leads to the page asked for |
| replayed-rows | single, part | a page that comes again as the next one |
| duplicate-rows | single, part | every row of a page twice |
| tombstone-first | single, part | `@removed` of what never was there, on a first round |
| foreign-link | single, part | nextLink or deltaLink to another host, scheme or port; `origin` says where |
| single-pixel-photo | single, part | 1x1 gif with an empty mediaEtag where there is no photo |
| wrong-types | single, part | numbers for texts, texts for lists, an object for the rows |
| unknown-type | single, part | a row of an `@odata.type` that nobody knows |
| redirect | single, part | 302 or 307 to `origin` |
| html | whole | 200 with an HTML page |
| cut-json | whole | half a JSON document, complete as a message |
| truncated | whole | the connection ends in the middle of the body; the request has its effect |
| stalled | whole | the body stops coming; the request has its effect |
| dripping | whole | from its middle on, the body comes by the byte; the request has its effect |
| huge | whole | a body of `size` bytes (1 GiB), with or without its length |
| huge-gzip | whole | the same out of a small compressed body |
| reset | whole | the connection ends instead of an answer |
| reset-after-effect | whole | the same after the request had its effect |
| latency | whole | `seconds` pass before the answer |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import orjson

from tests.simulators.bulk import filled, packed
from tests.simulators.company.pictures import PIXEL_GIF
from tests.simulators.named_faults import Dice
from tests.simulators.online.blows import Blow, Kind, Mode, Settings, Strike
from tests.simulators.online.calls import AGAIN, JSON_TYPE
from tests.simulators.online.errors import GraphError, access_denied, invalid_token, no_mailbox
from tests.simulators.serving import Answer, Cut, Request

_MAILBOX = re.compile(r"/users(/[^/]+|\('[^/]+'\))/(contacts|contactFolders)\b", re.IGNORECASE)
_TOKEN = re.compile(r"(\$|%24)(skip|delta)token=[^&]", re.IGNORECASE)
_PAGED = re.compile(
    r"/(delta|contacts|contactFolders|childFolders|users|groups|(transitiveM|m)embers(/[\w.]+)?)(\(\))?(\?|$)",
    re.IGNORECASE,
)
_JSON = re.compile(r"^/(v1\.0|beta)/(?!.*(\$|%24)(value|count)$)")
_DELTA = re.compile(r"/delta\b", re.IGNORECASE)
_PHOTO = re.compile(r"/photos?\b", re.IGNORECASE)
_HTML = b"<!DOCTYPE html><html><head><title>Proxy</title></head><body><h1>Please sign in</h1></body></html>"


# -- answers that are none ----------------------------------------------------------------------------------------


def _throttled(style: str, code: str = "TooManyRequests") -> Strike:
    def strike(dice: Dice, settings: Settings) -> Blow:
        seconds = settings.retry_after
        headers = {
            "seconds": {"Retry-After": str(seconds)},
            "date": {"Retry-After": format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)},
            "bare": {},
        }[style]
        error = GraphError(429, code, "Too many requests.", headers)
        return Blow(error=error, asked_seconds=seconds if headers else 0)

    return strike


def _server_error(dice: Dice, settings: Settings) -> Blow:
    status = settings.status or dice.choice((500, 502, 503, 504))
    if status == 502:
        return Blow(answer=Answer(502, {"Content-Type": "text/html"}, b"<html><body>Bad Gateway</body></html>"))
    codes = {500: "InternalServerError", 503: "ServiceUnavailable", 504: "GatewayTimeout"}
    told = status == 503 and dice.number(2) % 2 == 0
    headers = {"Retry-After": str(settings.retry_after)} if told else {}
    error = GraphError(status, codes.get(status, "UnknownError"), "The service is not available.", headers)
    return Blow(error=error, asked_seconds=settings.retry_after if told else 0)


def _failing(*errors: Callable[[], GraphError]) -> Strike:
    return lambda dice, settings: Blow(error=dice.choice(errors)())


def _sync_state_gone(dice: Dice, settings: Settings) -> Blow:
    def change(request: Request, answer: Answer) -> Answer:
        location = f"{request.url.partition('?')[0]}?$deltatoken="
        told = {"code": "syncStateNotFound", "message": "The sync state generation is not found."}
        return Answer(410, {"Content-Type": JSON_TYPE, "Location": location}, orjson.dumps({"error": told}))

    return Blow(answer=Answer(410), change=change)


def _redirect(dice: Dice, settings: Settings) -> Blow:
    def change(request: Request, answer: Answer) -> Answer:
        place = (settings.origin or "https://graph.elsewhere.example") + request.target
        return Answer(dice.choice((302, 307)), {"Location": place})

    return Blow(answer=Answer(302), change=change)


def expired_token() -> GraphError:
    """The bearer has run out."""
    return invalid_token("Lifetime validation failed, the token is expired.")


def _token_expired(dice: Dice, settings: Settings) -> Blow:
    return Blow(error=expired_token(), stale_from=0.0)


def _token_expired_in_batch(dice: Dice, settings: Settings) -> Blow:
    return Blow(stale_from=(dice.number() % 1_000) / 1_000)


def _html(dice: Dice, settings: Settings) -> Blow:
    return Blow(answer=Answer(200, {"Content-Type": "text/html; charset=utf-8"}, _HTML))


def _cut(how: Cut) -> Strike:
    return lambda dice, settings: Blow(change=lambda request, answer: replace(answer, cut=how))


def _reset(dice: Dice, settings: Settings) -> Blow:
    return Blow(answer=Answer(503, cut=Cut.DROP))


def _latency(dice: Dice, settings: Settings) -> Blow:
    return Blow(wait=settings.seconds)


def _huge(dice: Dice, settings: Settings) -> Blow:
    headers = {"Content-Type": JSON_TYPE} | ({"Content-Length": str(settings.size)} if dice.number() % 2 else {})
    return Blow(answer=Answer(200, headers, stream=lambda: _much_json(settings.size)))


def _huge_gzip(dice: Dice, settings: Settings) -> Blow:
    headers = {"Content-Type": JSON_TYPE, "Content-Encoding": "gzip"}
    return Blow(answer=Answer(200, headers, stream=lambda: packed(_much_json(settings.size))))


def _much_json(size: int) -> Iterator[bytes]:
    return filled(b'{"value":[', b'{"displayName":"Nobody"},', b"{}]}", size)


# -- answers that are wrong or odd --------------------------------------------------------------------------------


def _rewriting(rewrite: Callable[[Request, dict[str, Any], Dice, Settings], Any]) -> Strike:
    """Changes the JSON object of a successful answer."""

    def strike(dice: Dice, settings: Settings) -> Blow:
        def change(request: Request, answer: Answer) -> Answer:
            if answer.status != 200 or not answer.body.startswith(b"{"):
                return answer
            return replace(answer, body=orjson.dumps(rewrite(request, orjson.loads(answer.body), dice, settings)))

        return Blow(change=change)

    return strike


def mark_again(request: Request, page: dict[str, Any]) -> dict[str, Any]:
    """The page with a link that leads to itself once more."""
    kept = {name: value for name, value in page.items() if not name.endswith("Link")}
    # Graph's pages each have a link of their own, also when they stand for the same rows.
    url, number = request.url, 1
    if match := re.search(r"(?:\$|%24)skiptoken=[^&.]*(?:\.(\d+))?$", url):
        url = url[: match.start(1) - 1] if match.group(1) else url
        number = int(match.group(1) or 0) + 1
    else:
        url += f"{'&' if '?' in url else '?'}$skiptoken="
    return {**kept, "@odata.nextLink": f"{url}{AGAIN}{number}"}


def repeat_rows(request: Request, page: dict[str, Any]) -> dict[str, Any]:
    """The page with all its rows twice."""
    return {**page, "value": [*page.get("value", []), *page.get("value", [])]}


def empty_page(request: Request, page: dict[str, Any]) -> dict[str, Any]:
    """A page without rows before the page that was asked for."""
    return mark_again(request, {**page, "value": []})


def _if_rows(rewrite: Callable[[Request, dict[str, Any]], dict[str, Any]]) -> Strike:
    return _rewriting(
        lambda request, page, dice, settings: rewrite(request, page) if isinstance(page.get("value"), list) else page
    )


def _tombstone(request: Request, page: dict[str, Any], dice: Dice, settings: Settings) -> dict[str, Any]:
    if _TOKEN.search(request.target) or not isinstance(page.get("value"), list):
        return page
    never = {"id": f"AAkALgAAAAAAHYQDEapmEc2byACqAC-EWg0A{dice.number():032x}", "@removed": {"reason": "deleted"}}
    return {**page, "value": [never, *page["value"]]}


def _foreign_link(request: Request, page: dict[str, Any], dice: Dice, settings: Settings) -> dict[str, Any]:
    host, _, port = request.origin.removeprefix("https://").partition(":")
    origin = settings.origin or dice.choice(
        (
            "https://graph.elsewhere.example",
            f"http://{host}:{port}",
            f"https://{host}:{int(port or 443) % 65_535 + 1}",
            f"https://{host}.elsewhere.example:{port}",
            f"https://{host}:{port}@elsewhere.example",
        )
    )
    return {k: v.replace(request.origin, origin) if k.endswith("Link") else v for k, v in page.items()}


def _wrong_types(request: Request, page: dict[str, Any], dice: Dice, settings: Settings) -> Any:
    rows = page.get("value")
    if not isinstance(rows, list):
        return _misshapen(page)
    first = _misshapen(rows[0]) if rows and isinstance(rows[0], dict) else 7
    return dice.choice(
        (
            {**page, "value": {"0": rows}},
            {**page, "value": "rows"},
            {**page, "value": [first, *rows[1:]]},
            {**page, "value": ["a row", *rows[1:]]},
            {k: 7 if k.endswith("Link") else v for k, v in page.items()} if len(page) > 2 else [page],
        )
    )


def _misshapen(row: dict[str, Any]) -> dict[str, Any]:
    wrong = {str: 7, list: "a list", dict: ["an object"], bool: "yes", type(None): {"nothing": 1}}
    return {name: value if name[0] == "@" else wrong.get(type(value), "7") for name, value in row.items()}


def _unknown_type(request: Request, page: dict[str, Any], dice: Dice, settings: Settings) -> dict[str, Any]:
    kind = {"@odata.type": "#microsoft.graph.hologram"}
    rows = page.get("value")
    if not isinstance(rows, list):
        return {**page, **kind}
    stranger = {**(rows[0] if rows else {"id": "hologram"}), **kind}
    return {**page, "value": [stranger, *rows[1:]]}


def _single_pixel(dice: Dice, settings: Settings) -> Blow:
    def change(request: Request, answer: Answer) -> Answer:
        if answer.status != 404:
            return answer
        if request.path.endswith("$value"):
            return Answer(200, {"Content-Type": "image/gif"}, PIXEL_GIF)
        return Answer(200, {"Content-Type": JSON_TYPE}, orjson.dumps(NO_PHOTO))

    return Blow(change=change)


NO_PHOTO = {"@odata.mediaContentType": "image/gif", "@odata.mediaEtag": '""', "id": "1X1", "height": 1, "width": 1}


def _cut_json(dice: Dice, settings: Settings) -> Blow:
    def change(request: Request, answer: Answer) -> Answer:
        return replace(answer, body=answer.body[: len(answer.body) // 2]) if answer.body[:1] == b"{" else answer

    return Blow(change=change)


_NOT_FOUND = "The sync state generation is not found; generation=605;[highest=841][841][839][840]."
_LATE = tuple(lambda status=status: GraphError(status, "SyncStateNotFound", _NOT_FOUND) for status in (400, 404))
_WRITING = frozenset({"POST", "PUT", "PATCH", "DELETE"})

MODES: dict[str, Mode] = {
    "throttled-seconds": Mode(Kind.WHOLE, _throttled("seconds"), waits=True),
    "throttled-date": Mode(Kind.WHOLE, _throttled("date"), waits=True),
    "throttled-bare": Mode(Kind.WHOLE, _throttled("bare")),
    "server-error": Mode(Kind.WHOLE, _server_error),
    "part-throttled": Mode(Kind.PART, _throttled("seconds", "ApplicationThrottled"), waits=True),
    "part-failed": Mode(Kind.PART, _server_error),
    "storage-full": Mode(
        Kind.ANY,
        _failing(lambda: GraphError(507, "ErrorQuotaExceeded", "The mailbox is full.")),
        methods=_WRITING,
    ),
    "sync-state-gone": Mode(Kind.ANY, _sync_state_gone, _TOKEN),
    "sync-state-not-found": Mode(Kind.ANY, _failing(*_LATE), _TOKEN),
    "token-expired": Mode(Kind.WHOLE, _token_expired),
    "token-expired-in-batch": Mode(Kind.BATCH, _token_expired_in_batch),
    "mailbox-denied": Mode(Kind.BY_MAILBOX, _failing(access_denied), _MAILBOX),
    "mailbox-missing": Mode(Kind.BY_MAILBOX, _failing(no_mailbox), _MAILBOX),
    "empty-page": Mode(Kind.HARMLESS, _if_rows(empty_page), _PAGED),
    "replayed-rows": Mode(Kind.HARMLESS, _if_rows(mark_again), _PAGED),
    "duplicate-rows": Mode(Kind.HARMLESS, _if_rows(repeat_rows), _PAGED),
    "tombstone-first": Mode(Kind.HARMLESS, _rewriting(_tombstone), _DELTA),
    "foreign-link": Mode(Kind.ANY, _rewriting(_foreign_link), _PAGED),
    "single-pixel-photo": Mode(Kind.HARMLESS, _single_pixel, _PHOTO),
    "wrong-types": Mode(Kind.ANY, _rewriting(_wrong_types), _JSON),
    "unknown-type": Mode(Kind.ANY, _rewriting(_unknown_type), _JSON),
    "redirect": Mode(Kind.ANY, _redirect),
    "html": Mode(Kind.WHOLE, _html),
    "cut-json": Mode(Kind.WHOLE, _cut_json),
    "truncated": Mode(Kind.WHOLE, _cut(Cut.TRUNCATE)),
    "stalled": Mode(Kind.WHOLE, _cut(Cut.STALL)),
    "dripping": Mode(Kind.WHOLE, _cut(Cut.DRIP)),
    "huge": Mode(Kind.WHOLE, _huge),
    "huge-gzip": Mode(Kind.WHOLE, _huge_gzip),
    "reset": Mode(Kind.WHOLE, _reset),
    "reset-after-effect": Mode(Kind.WHOLE, _cut(Cut.DROP)),
    "latency": Mode(Kind.HARMLESS, _latency, parts=False),
}
