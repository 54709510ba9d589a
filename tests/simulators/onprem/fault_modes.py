"""The faults that have a name, for `--faults NAME[:RATE|:always]` and the control endpoint (`{"do": "arm", …}`).

What is about requests strikes single ones, and never one more than twice running unless it is armed with `always`;
what is about mailboxes or items chooses these, and goes on until it is disarmed. `blows.Settings` says what can be set
when arming. A fault never lets a request have its effect, but for those that say so.

| name | strikes | what happens |
| --- | --- | --- |
| wrong-password | account | from some request on (`after`) the password is another one, and everybody is signed out |
| busy | request | ErrorServerBusy with BackOffMilliseconds; who comes early is told to wait twice as long |
| busy-long | request | the same, and an hour to wait |
| busy-message | request | the same in every response message, with HTTP 200 |
| too-many-objects | request | ErrorTooManyObjectsOpened in every response message |
| connection-count | sync | ErrorExceededConnectionCount to who syncs beside `limit` others; each takes `seconds` |
| http-429 | request | 429, half of them with Retry-After |
| http-500 | request | 500 with an empty body |
| http-502 | request | 502 with a page of HTML |
| http-503 | request | 503, half of them with Retry-After |
| server-fault | request | ErrorInternalServerError, or a transient one in every response message |
| mailbox-failover | request | ErrorMailboxFailover: the database is being moved to another server |
| reset | request | the connection is reset instead of an answer |
| reset-mid-body | request | the connection is reset in the middle of the answer; the request has its effect |
| truncated | request | the connection ends in the middle of the answer; the request has its effect |
| stalled | request | the answer stops coming; the request has its effect |
| dripping | request | from its middle on, the answer comes by the byte; the request has its effect |
| latency | request | `seconds` pass before the answer |
| item-passing | items | a transient error of one item, the 60th (`place`) or the last |
| item-denied | item | ErrorAccessDenied, wherever it is asked for |
| item-damaged | item | ErrorItemCorrupt, ErrorCorruptData or ErrorContentConversionFailed, likewise |
| item-vanishes | items | one of them is really deleted before it can be fetched |
| folder-vanishes | sync | the folder is really deleted before it can be synced; never the default one |
| sync-page-fails | sync | a transient error on the third `page` of a folder's round |
| sync-state-lost | sync | ErrorInvalidSyncStateData to whoever brings a state |
| replayed-page | sync | a page that comes again as the next one |
| duplicate-changes | sync | every change of a page twice |
| empty-page | sync | a page without changes before the page that was asked for |
| last-unsaid | sync | no IncludesLastItemInRange |
| privacy-unsaid | sync | no Sensitivity, though it was asked for: only GetItem says it |
| private-items | item | the contact is private |
| list-items | sync | a personal distribution list among the contacts |
| impersonation-denied | mailbox | ErrorImpersonateUserDenied |
| mailbox-moving | mailbox | ErrorMailboxMoveInProgress |
| mailbox-moved | mailbox | ErrorNonExistentMailbox: it is in another organisation now |
| alias | mailbox | ErrorNonPrimarySmtpAddress, which names the primary address: the same with `primary.` before it |
| alias-unnamed | mailbox | ErrorNonPrimarySmtpAddress without a better address |
| old-server | version | ErrorInvalidServerVersion to what is newer than Exchange2013_SP1, half of them as a bare page |
| old-mailbox | mailbox | ErrorInvalidSchemaVersionForMailboxVersion to versions newer than Exchange2010_SP2 |
| html | request | 200 with a page of HTML |
| login-page | request | 302 to a page where people sign in |
| malformed | request | elements that end in the wrong order |
| cut-xml | request | half a document, complete as a message |
| doctype | request | a document type declaration, half of them with an external one |
| entities | request | entities that unfold to gigabytes |
| huge | request | an envelope of `size` bytes (1 GiB), with or without its length |
| huge-gzip | request | the same out of a small compressed body |
| bad-characters | request | names with characters that XML does not allow |
| photo-small | photos | an attachment says that it has 1 byte, and brings all of it |
| photo-large | photos | an attachment says that it has 1 GiB |
| photo-empty | photos | the content of an attachment is missing |
| photo-garbled | photos | the content of a photo is no Base64 |
| photo-absent-bare | photos | a bare 404 for people without a photo |
| photo-absent-plain | photos | ErrorItemNotFound with HTTP 200 for them |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.simulators.named_faults import Dice
from tests.simulators.onprem.blows import Asked, Blow, Kind, Mode, Settings, Strike, on
from tests.simulators.onprem.odd_answers import (
    bad_characters,
    come_again,
    cut,
    doctype,
    duplicate_changes,
    editing,
    empty_page,
    garbled,
    huge,
    huge_gzip,
    last_unsaid,
    make_private,
    malformed,
    no_content,
    privacy_unsaid,
    rewriting,
    size_of,
    with_lists,
)
from tests.simulators.onprem.soap import SERVER_VERSIONS, EwsError, SoapFault
from tests.simulators.onprem.state import Call

HOUR_MS = 3_600_000
PRIMARY = "primary."  # what the primary address of an alias begins with
OTHER_VERSION = b"The specified server version is invalid"
_HTML = ("Content-Type", "text/html; charset=utf-8")
_PAGE = b"<!DOCTYPE html><html><head><title>Proxy</title></head><body><h1>Please sign in</h1></body></html>"
_BEFORE_2013 = frozenset(version for version in SERVER_VERSIONS if version < "Exchange2013")
_BEFORE_2016 = SERVER_VERSIONS - {"Exchange2015", "Exchange2016"}
_SYNC = on("SyncFolderItems")
_ITEMS = on("GetItem GetAttachment")
_PHOTOS = on("GetItem GetAttachment GetUserPhoto")


# -- requests that fail ----------------------------------------------------------------------------------------------


def _busy(dice: Dice, settings: Settings, asked: Asked) -> Blow:
    values = {"BackOffMilliseconds": str(settings.back_off_ms)}
    return Blow(fault=SoapFault("ErrorServerBusy", values=values), asked_seconds=settings.back_off_ms / 1_000)


def _busy_long(dice: Dice, settings: Settings, asked: Asked) -> Blow:
    return _busy(dice, replace(settings, back_off_ms=max(settings.back_off_ms, HOUR_MS)), asked)


def _busy_message(dice: Dice, settings: Settings, asked: Asked) -> Blow:
    values = {"BackOffMilliseconds": str(settings.back_off_ms)}
    return Blow(error=EwsError("ErrorServerBusy", values=values), asked_seconds=settings.back_off_ms / 1_000)


def _crowded(dice: Dice, settings: Settings, asked: Asked) -> Blow:
    if asked.crowd > settings.limit:
        return Blow(fault=SoapFault("ErrorExceededConnectionCount"))
    return Blow(wait=settings.seconds)


def _http(status: int, body: bytes = b"", *, tells: bool = False) -> Strike:
    def strike(dice: Dice, settings: Settings, asked: Asked) -> Blow:
        told = tells and dice.number() % 2 == 0
        headers = (("Retry-After", str(settings.retry_after)),) if told else ()
        kind = (_HTML,) if body else ()
        return Blow(
            status=status, headers=(*headers, *kind), body=body, asked_seconds=settings.retry_after if told else 0
        )

    return strike


def _failing(*codes: str) -> Strike:
    return lambda dice, settings, asked: Blow(error=EwsError(dice.choice(codes)))


def _faulty(*codes: str) -> Strike:
    return lambda dice, settings, asked: Blow(fault=SoapFault(dice.choice(codes)))


def _server_fault(dice: Dice, settings: Settings, asked: Asked) -> Blow:
    faulty, failing = _faulty("ErrorInternalServerError"), _failing("ErrorInternalServerTransientError")
    return (dice.choice((faulty, failing))(dice, settings, asked)) or Blow()


def _ending(how: str) -> Strike:
    return lambda dice, settings, asked: Blow(end=how)


def _latency(dice: Dice, settings: Settings, asked: Asked) -> Blow:
    return Blow(wait=settings.seconds)


def _login_page(dice: Dice, settings: Settings, asked: Asked) -> Blow:
    place = "https://mail.elsewhere.example/owa/auth/logon.aspx?url=https://mail.elsewhere.example/ews&reason=0"
    return Blow(status=302, headers=(("Location", place), _HTML))


# -- items -----------------------------------------------------------------------------------------------------------


def _item_passing(dice: Dice, settings: Settings, asked: Asked) -> Blow | None:
    place = min(settings.place, len(asked.ids)) - 1
    code = dice.choice(("ErrorInternalServerTransientError", "ErrorMailboxStoreUnavailable", "ErrorServerBusy"))
    return Blow(item=lambda number, identifier: EwsError(code) if number == place else None) if asked.ids else None


def _item_failing(*codes: str) -> Strike:
    def strike(dice: Dice, settings: Settings, asked: Asked) -> Blow | None:
        if not any(asked.chosen(identifier) for identifier in asked.ids):
            return None
        error = {identifier: EwsError(codes[sum(identifier.encode()) % len(codes)]) for identifier in asked.ids}
        return Blow(item=lambda place, identifier: error.get(identifier) if asked.chosen(identifier) else None)

    return strike


def _item_vanishes(dice: Dice, settings: Settings, asked: Asked) -> Blow | None:
    def vanish(call: Call) -> None:
        found = [identifier for identifier in asked.ids if call.mailbox.box.find(identifier)]
        if found and call.mailbox.owner:
            call.state.company.remove_contact(call.mailbox.owner, dice.choice(found))

    return Blow(first=vanish)


# -- syncing ---------------------------------------------------------------------------------------------------------


def _sync_page_fails(dice: Dice, settings: Settings, asked: Asked) -> Blow | None:
    return Blow(error=EwsError("ErrorInternalServerTransientError")) if asked.page == settings.page else None


def _sync_state_lost(dice: Dice, settings: Settings, asked: Asked) -> Blow | None:
    return Blow(error=EwsError("ErrorInvalidSyncStateData")) if asked.state else None


def _folder_vanishes(dice: Dice, settings: Settings, asked: Asked) -> Blow:
    def vanish(call: Call) -> None:
        folder = call.mailbox.box.folders.get(asked.ids[0] if asked.ids else "")
        if folder is not None and folder.parent_id is not None and call.mailbox.owner:
            call.state.company.delete_folder(call.mailbox.owner, folder.id)

    return Blow(first=vanish)


# -- addresses and versions ------------------------------------------------------------------------------------------


def _alias(*, named: bool) -> Strike:
    def strike(dice: Dice, settings: Settings, asked: Asked) -> Blow | None:
        if asked.mailbox.startswith(PRIMARY):
            return None
        values = {"Primary": PRIMARY + asked.mailbox} if named else {}
        return Blow(fault=SoapFault("ErrorNonPrimarySmtpAddress", values=values))

    return strike


def _old_server(dice: Dice, settings: Settings, asked: Asked) -> Blow | None:
    if asked.version in _BEFORE_2016:
        return None
    bare = Blow(status=500, headers=(_HTML,), body=b"<html><body>" + OTHER_VERSION + b"</body></html>")
    return dice.choice((Blow(fault=SoapFault("ErrorInvalidServerVersion")), bare))


def _old_mailbox(dice: Dice, settings: Settings, asked: Asked) -> Blow | None:
    if asked.version in _BEFORE_2013:
        return None
    return Blow(fault=SoapFault("ErrorInvalidSchemaVersionForMailboxVersion"))


def _doctype(dice: Dice, settings: Settings, asked: Asked) -> Blow | None:
    return rewriting(doctype(dice.choice(("plain", "external"))), is_flawed=True)(dice, settings, asked)


def _never(dice: Dice, settings: Settings, asked: Asked) -> Blow | None:
    return None  # `Faults.has_other_password` says when


def _passing(strike: Strike, *, waits: bool = False) -> Mode:
    return Mode(Kind.PASSING, strike, waits=waits)


def _page(edit: Callable[..., None]) -> Mode:
    return Mode(Kind.HARMLESS, editing(edit, only_pages=True), _SYNC)


MODES: dict[str, Mode] = {
    "wrong-password": Mode(Kind.ACCOUNT, _never),
    "busy": _passing(_busy, waits=True),
    "busy-long": _passing(_busy_long),
    "busy-message": _passing(_busy_message, waits=True),
    "too-many-objects": _passing(_failing("ErrorTooManyObjectsOpened")),
    "connection-count": Mode(Kind.CONSTANT, _crowded, _SYNC),
    "http-429": _passing(_http(429, tells=True)),
    "http-500": _passing(_http(500)),
    "http-502": _passing(_http(502, b"<html><body>Bad Gateway</body></html>")),
    "http-503": _passing(_http(503, tells=True)),
    "server-fault": _passing(_server_fault),
    "mailbox-failover": _passing(_failing("ErrorMailboxFailover")),
    "reset": _passing(_ending("reset")),
    "reset-mid-body": _passing(_ending("reset-mid-body")),
    "truncated": _passing(_ending("truncate")),
    "stalled": _passing(_ending("stall")),
    "dripping": _passing(_ending("drip")),
    "latency": Mode(Kind.HARMLESS, _latency),
    "item-passing": Mode(Kind.PASSING, _item_passing, _ITEMS),
    "item-denied": Mode(Kind.BY_ITEM, _item_failing("ErrorAccessDenied"), _ITEMS),
    "item-damaged": Mode(
        Kind.BY_ITEM, _item_failing("ErrorItemCorrupt", "ErrorCorruptData", "ErrorContentConversionFailed"), _ITEMS
    ),
    "item-vanishes": Mode(Kind.HARMLESS, _item_vanishes, on("GetItem")),
    "folder-vanishes": Mode(Kind.HARMLESS, _folder_vanishes, _SYNC),
    "sync-page-fails": Mode(Kind.PASSING, _sync_page_fails, _SYNC),
    "sync-state-lost": Mode(Kind.PASSING, _sync_state_lost, on("SyncFolderItems SyncFolderHierarchy")),
    "replayed-page": _page(come_again),
    "duplicate-changes": _page(duplicate_changes),
    "empty-page": _page(empty_page),
    "last-unsaid": _page(last_unsaid),
    "privacy-unsaid": _page(privacy_unsaid),
    "private-items": Mode(Kind.BY_ITEM, editing(make_private), on("SyncFolderItems GetItem")),
    "list-items": _page(with_lists),
    "impersonation-denied": Mode(Kind.BY_MAILBOX, _faulty("ErrorImpersonateUserDenied")),
    "mailbox-moving": Mode(Kind.BY_MAILBOX, _failing("ErrorMailboxMoveInProgress")),
    "mailbox-moved": Mode(Kind.BY_MAILBOX, _faulty("ErrorNonExistentMailbox")),
    "alias": Mode(Kind.BY_MAILBOX, _alias(named=True)),
    "alias-unnamed": Mode(Kind.BY_MAILBOX, _alias(named=False)),
    "old-server": Mode(Kind.CONSTANT, _old_server),
    "old-mailbox": Mode(Kind.BY_MAILBOX, _old_mailbox),
    "html": _passing(_http(200, _PAGE)),
    "login-page": _passing(_login_page),
    "malformed": _passing(rewriting(malformed, is_flawed=True)),
    "cut-xml": _passing(rewriting(cut, is_flawed=True)),
    "doctype": _passing(_doctype),
    "entities": _passing(rewriting(doctype("entities"), is_flawed=True)),
    "huge": _passing(huge),
    "huge-gzip": _passing(huge_gzip),
    "bad-characters": Mode(Kind.HARMLESS, rewriting(bad_characters, is_flawed=True)),
    "photo-small": Mode(Kind.HARMLESS, editing(size_of(1)), on("GetItem")),
    "photo-large": Mode(Kind.HARMLESS, editing(size_of(1 << 30)), on("GetItem")),
    "photo-empty": Mode(Kind.HARMLESS, editing(no_content), on("GetAttachment")),
    "photo-garbled": Mode(Kind.HARMLESS, editing(garbled, is_flawed=True), _PHOTOS),
    "photo-absent-bare": Mode(Kind.HARMLESS, lambda dice, settings, asked: Blow(absent=404), on("GetUserPhoto")),
    "photo-absent-plain": Mode(Kind.HARMLESS, lambda dice, settings, asked: Blow(absent=200), on("GetUserPhoto")),
}
