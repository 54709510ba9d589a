"""Subscribe, GetEvents and Unsubscribe: notifications that clients come for."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from tests.simulators.company.model import ContactFolder
from tests.simulators.onprem.fields import stamp
from tests.simulators.onprem.mailboxes import Mailbox, hierarchy
from tests.simulators.onprem.soap import EwsError, T, children, failure, flag, local, response, success, text, value
from tests.simulators.onprem.state import Call

_KINDS = {"upsert": ("CreatedEvent", "ModifiedEvent"), "remove": ("DeletedEvent", "DeletedEvent")}


@dataclass(frozen=True, slots=True)
class Subscription:
    """What one client wants to hear of."""

    folders: frozenset[str]  # IDs; empty for all
    kinds: frozenset[str]
    owner: str
    present: frozenset[str]  # the items that were there already


def _alone(operation: str, answer: Callable[[Call], str]) -> Callable[[Call], str]:
    def perform(call: Call) -> str:
        try:
            return response(operation, [success(operation, answer(call))])
        except EwsError as problem:
            return response(operation, [failure(operation, problem)])

    return perform


def _subscribe(call: Call) -> str:
    asked = children(call.body)[0]
    if local(asked) != "PullSubscriptionRequest":
        raise EwsError("ErrorInvalidSubscriptionRequest", "Only notifications that are pulled can be had here.")
    views = [call.access.folder(reference, call.mailbox)[1] for reference in children(asked.find(f"{T}FolderIds"))]
    if not views and not flag(asked.get("SubscribeToAllFolders", "false")):
        raise EwsError("ErrorInvalidSubscriptionRequest", "No folder was named.")
    kinds = frozenset(element.text or "" for element in children(asked.find(f"{T}EventTypes")))
    identifier, folders = secrets.token_urlsafe(24), frozenset(view.id for view in views)
    present = frozenset(item for folder in call.mailbox.box.folders.values() for item in folder.items)
    call.state.subscriptions[identifier] = Subscription(folders, kinds, call.mailbox.owner, present)
    watermark = _watermark(call.state.company.sequence)
    return f"<m:SubscriptionId>{identifier}</m:SubscriptionId><m:Watermark>{watermark}</m:Watermark>"


def _get_events(call: Call) -> str:
    identifier, given = value(call.body, "m:SubscriptionId"), value(call.body, "m:Watermark")
    subscription = _known(call, identifier)
    since, now = _read_watermark(given), call.state.company.sequence
    events = [
        event
        for folder in _folders(call.mailbox, subscription)
        for event in _events(folder, since, subscription.present)
    ]
    told = "".join(element for _, kind, element in sorted(events) if kind in subscription.kinds)
    none = f"<t:StatusEvent><t:Watermark>{_watermark(now)}</t:Watermark></t:StatusEvent>"
    return (
        f"<m:Notification><t:SubscriptionId>{text(identifier)}</t:SubscriptionId><t:PreviousWatermark>{text(given)}"
        f"</t:PreviousWatermark><t:MoreEvents>false</t:MoreEvents>{told or none}</m:Notification>"
    )


def _folders(mailbox: Mailbox, subscription: Subscription) -> list[ContactFolder]:
    views = hierarchy(mailbox).values()
    return [v.contacts for v in views if v.contacts and (not subscription.folders or v.id in subscription.folders)]


def _events(folder: ContactFolder, since: int, present: frozenset[str]) -> list[tuple[int, str, str]]:
    """What happened in a folder: sequence, kind and element."""
    seen = {*present, *(identifier for number, identifier, _ in folder.journal if number <= since)}
    found = []
    for number, identifier, what in folder.journal:
        if number <= since:
            continue
        kind = _KINDS[what][identifier in seen]
        seen.add(identifier)
        item = folder.items.get(identifier)
        moment = stamp(item.modified) if item else "2026-01-05T08:00:00Z"
        element = (
            f"<t:{kind}><t:Watermark>{_watermark(number)}</t:Watermark><t:TimeStamp>{moment}</t:TimeStamp>"
            f'<t:ItemId Id="{text(identifier)}"/><t:ParentFolderId Id="{text(folder.id)}"/></t:{kind}>'
        )
        found.append((number, kind, element))
    return found


def _unsubscribe(call: Call) -> str:
    identifier = value(call.body, "m:SubscriptionId")
    _known(call, identifier)
    del call.state.subscriptions[identifier]
    return ""


def _known(call: Call, identifier: str) -> Subscription:
    found = call.state.subscriptions.get(identifier)
    if found is None:
        raise EwsError("ErrorSubscriptionNotFound", "The subscription could not be found.")
    if found.owner != call.mailbox.owner:
        raise EwsError("ErrorSubscriptionAccessDenied", "The subscription is somebody else's.")
    return found


def _watermark(sequence: int) -> str:
    return base64.b64encode(b"%020d" % sequence).decode()


def _read_watermark(given: str) -> int:
    try:
        return int(base64.b64decode(given, validate=True))
    except ValueError:
        raise EwsError("ErrorInvalidWatermark", "The watermark is invalid.") from None


subscribe = _alone("Subscribe", _subscribe)
get_events = _alone("GetEvents", _get_events)
unsubscribe = _alone("Unsubscribe", _unsubscribe)
