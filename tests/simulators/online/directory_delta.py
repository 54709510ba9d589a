"""Change tracking of the directory: users, groups and organisation contacts, by opaque tokens over the journals.

Sources: "user: delta", "Get incremental changes for groups", "orgContact: delta" (Microsoft Learn). What a client
asked for first travels in the token. A first round leaves out properties without a value. Of a group, the first round
brings all members and a later one those who came and those who left, over several pages if they are many, so that the
same group shows again. Photo changes never show.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.simulators.company.records import Change, Group, last_changes
from tests.simulators.online import odata
from tests.simulators.online.calls import Area, Call, Handler, Route, get
from tests.simulators.online.directory import sees_hidden
from tests.simulators.online.errors import bad_request, resync
from tests.simulators.online.mapping import GROUP, ORG_CONTACT, USER
from tests.simulators.online.resources import ResourceType

_PAGE = 100
_MEMBERS = 1_000  # on one page; the real number is not documented
_UNSUPPORTED = ("$top", "$orderby", "$search", "$skip")
_ONE_ID = re.compile(r"\s*\(?\s*id eq '([^']*)'\s*\)?\s*", re.IGNORECASE)
_MOST_IDS = 50
_TYPES: dict[str, ResourceType[Any]] = {"users": USER, "groups": GROUP, "contacts": ORG_CONTACT}
_KINDS = {"Person": "user", "Group": "group", "OrgContact": "orgContact"}


def _state(call: Call, resource: str) -> dict[str, Any]:
    """Where this page begins: `after` the last ID of a full round, or `at` a place among changes since `start`."""
    query = call.query
    odata.refuse(query, *_UNSUPPORTED, resource=resource)
    token = query.get("$skiptoken") or query.get("$deltatoken")
    if token and token != "latest":
        state = call.world.tokens.unpack(token)
        if state is None or state.get("resource") != resource:
            raise resync(call.link(f"{resource}/delta", deltatoken=""))
        return state
    names = odata.selected(query)
    state = {
        "resource": resource,
        "select": list(names) if names else None,
        "ids": _ids(query.get("$filter")),
        "members": resource == "groups" and _wants_members(query, names),
    }
    return state | ({"start": call.company.sequence} if token else {"after": "", "until": call.company.sequence})


def _ids(text: str | None) -> list[str] | None:
    """The only filter there is: for up to 50 objects by their IDs."""
    if not text:
        return None
    matches = [_ONE_ID.fullmatch(clause) for clause in text.split(" or ")]
    if not all(matches) or len(matches) > _MOST_IDS:
        raise bad_request("Unsupported filter for change tracking.", "Request_UnsupportedQuery")
    return sorted(match.group(1).lower() for match in matches if match)


def _wants_members(query: dict[str, str], names: tuple[str, ...] | None) -> bool:
    expand = query.get("$expand")
    if expand not in {None, "members"}:
        raise bad_request("Only members can be expanded here.", "Request_UnsupportedQuery")
    return expand == "members" or names is None or "members" in names


def _answer(call: Call, resource: str, journal: list[Change], records: dict[str, Any]) -> dict[str, Any]:
    with call.company.lock:
        state = _state(call, resource)
        if "$expand" in call.query and resource != "groups":
            odata.refuse(call.query, "$expand", resource=resource)
        state.setdefault("until", call.company.sequence)
        value, place = _page(call, state, _keys(state, journal, records), records)
    shown = {"@odata.context": call.context(resource), "value": value}
    kept = {name: state[name] for name in ("resource", "select", "ids", "members")}
    if place is None:
        token = call.world.tokens.pack({**kept, "start": state["until"]})
        return shown | {"@odata.deltaLink": call.link(f"{resource}/delta", deltatoken=token)}
    token = call.world.tokens.pack({**kept, "until": state["until"], **place})
    return shown | {"@odata.nextLink": call.link(f"{resource}/delta", skiptoken=token)}


def _keys(state: dict[str, Any], journal: list[Change], records: dict[str, Any]) -> list[str]:
    """What is left of the round. IDs in order, so that the place is found again though objects come and go."""
    if "start" in state:
        seen = [entry for entry in journal if entry[0] <= state["until"]]
        keys = [key for key, _ in last_changes(seen, state["start"])]
    else:
        keys = sorted(key for key in records if key >= state["after"])
    ids = state["ids"]
    return [key for key in keys if key in ids] if ids is not None else keys


def _page(
    call: Call, state: dict[str, Any], keys: list[str], records: dict[str, Any]
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """The rows, and where the next page begins; None at the end."""
    changed = "start" in state
    keys = keys[state.get("at", 0) :]
    room, offset = _MEMBERS, state.get("member", 0)
    rows: list[dict[str, Any]] = []
    for number, key in enumerate(keys):
        if len(rows) == (call.preferences.page_size or _PAGE) or room <= 0:
            return rows, _place(state, number, key, 0)
        record = records.get(key)
        if record is None:
            rows.append({"id": key, "@removed": {"reason": "changed"}})  # deleted, but it could still be restored
            continue
        row = _row(state, record, whole=not changed)
        if state["members"] and (sees_hidden(call) or not record.hidden):
            members = list(_members(call, state, record))
            if part := members[offset : offset + room]:
                row["members@delta"] = part
            room -= len(part)
            if offset + len(part) < len(members):
                return [*rows, row], _place(state, number, key, offset + len(part))
        offset = 0
        rows.append(row)
    return rows, None


def _place(state: dict[str, Any], number: int, key: str, member: int) -> dict[str, Any]:
    if "start" in state:
        return {"start": state["start"], "at": state.get("at", 0) + number, "member": member}
    return {"after": key, "member": member}


def _row(state: dict[str, Any], record: Any, *, whole: bool) -> dict[str, Any]:
    names = state["select"]
    row = _TYPES[state["resource"]].show(record, (*names, "id") if names else None)
    return {name: value for name, value in row.items() if value is not None} if whole else row


def _members(call: Call, state: dict[str, Any], group: Group) -> Iterator[dict[str, Any]]:
    company = call.company
    if "start" not in state:
        for member_id in group.members:
            yield {"@odata.type": _kind(call, member_id), "id": member_id}
        return
    changes = [
        (number, member_id, what)
        for number, group_id, member_id, what in company.member_journal
        if group_id == group.object_id and number <= state["until"]
    ]
    for member_id, what in last_changes(changes, state["start"]):
        row: dict[str, Any] = {"@odata.type": _kind(call, member_id), "id": member_id}
        yield row | {"@removed": {"reason": "deleted"}} if what == "remove" else row


def _kind(call: Call, key: str) -> str:
    # Who has left the directory altogether was a user.
    member = call.company.find_member(key)
    return f"#microsoft.graph.{_KINDS[type(member).__name__] if member else 'user'}"


def _handler(resource: str, journal: str, records: str) -> Handler:
    return lambda call: _answer(call, resource, getattr(call.company, journal), getattr(call.company, records))


ROUTES: list[Route] = [
    get("users/delta", Area.USERS, _handler("users", "people_journal", "people")),
    get("groups/delta", Area.GROUPS, _handler("groups", "group_journal", "groups")),
    get("contacts/delta", Area.ORG_CONTACTS, _handler("contacts", "org_contact_journal", "org_contacts")),
]
