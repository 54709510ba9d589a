"""Change tracking of the directory: users and groups, by opaque tokens over the company's journals.

Source: "Get incremental changes for users" and "… for groups" (Microsoft Learn). Photo changes never show.
"""

from __future__ import annotations

from typing import Any

from tests.simulators.company.records import last_changes
from tests.simulators.online import odata
from tests.simulators.online.calls import Area, Call, Route, get
from tests.simulators.online.errors import resync
from tests.simulators.online.mapping import DEFAULT_USER_FIELDS, group_json, user_json

_PAGE = 100
_UNSUPPORTED = ("$top", "$expand", "$orderby", "$search", "$skip")


def _state(call: Call, resource: str) -> dict[str, Any]:
    """Where this page begins: `after` the last ID of a full round, or `at` a place among changes since `start`."""
    query = call.query
    odata.refuse(query, *_UNSUPPORTED, resource=resource)
    token = query.get("$skiptoken") or query.get("$deltatoken")
    if not token:
        return {"full": True, "until": call.company.sequence, "at": 0, "select": query.get("$select", "")}
    if token == "latest":
        return {"full": False, "start": call.company.sequence, "select": query.get("$select", "")}
    state = call.world.tokens.unpack(token)
    if state is None or state.get("resource") != resource:
        raise resync(call.link(f"{resource}/delta", deltatoken=""))
    return state


def _page(
    call: Call, resource: str, journal: list[tuple[int, str, str]], records: dict[str, Any], show: Any
) -> dict[str, Any]:
    company = call.company
    with company.lock:
        state = _state(call, resource)
        if state["full"]:
            # IDs in order, so that the place of the next page is found again though people come and go.
            changes = [(key, "upsert") for key in sorted(records) if key > str(state.get("after", ""))]
        else:
            state.setdefault("until", company.sequence)
            seen = [entry for entry in journal if entry[0] <= state["until"]]
            changes = last_changes(seen, state["start"])[state.get("at", 0) :]
        size = call.preferences.page_size or _PAGE
        page, more = changes[:size], len(changes) > size
        value = [show(records[key]) if key in records else _tombstone(key) for key, _ in page]
    shown = {"@odata.context": call.context(resource), "value": value}
    kept = {"resource": resource, "select": state["select"]}
    if more:
        place = {"after": page[-1][0]} if state["full"] else {"at": state.get("at", 0) + size, "start": state["start"]}
        token = call.world.tokens.pack({**kept, "full": state["full"], "until": state["until"], **place})
        return shown | {"@odata.nextLink": call.link(f"{resource}/delta", skiptoken=token)}
    token = call.world.tokens.pack({**kept, "full": False, "start": state["until"]})
    return shown | {"@odata.deltaLink": call.link(f"{resource}/delta", deltatoken=token)}


def _tombstone(key: str) -> dict[str, Any]:
    # "changed": deleted, but it could still be restored.
    return {"id": key, "@removed": {"reason": "changed"}}


def _select(call: Call) -> list[str]:
    token = call.query.get("$skiptoken") or call.query.get("$deltatoken") or ""
    state = call.world.tokens.unpack(token) or {}
    names = state.get("select") or call.query.get("$select", "")
    return odata.selected({"$select": names}) or []


def _users(call: Call) -> dict[str, Any]:
    names = _select(call) or DEFAULT_USER_FIELDS
    company = call.company

    def show(person: Any) -> dict[str, Any]:
        return odata.project(user_json(person), names, always=("id",))

    return _page(call, "users", company.people_journal, company.people, show)


def _groups(call: Call) -> dict[str, Any]:
    names = _select(call)
    company = call.company

    def show(group: Any) -> dict[str, Any]:
        row = odata.project(group_json(group), [n for n in names if n != "members"] or None, always=("id",))
        if not names or "members" in names:
            row["members@delta"] = _member_changes(call, group)
        return row

    return _page(call, "groups", company.group_journal, company.groups, show)


def _member_changes(call: Call, group: Any) -> list[dict[str, Any]]:
    """Who is in, and since the token's state who is out."""
    company = call.company
    members = [{"@odata.type": _kind(call, member), "id": member} for member in group.members]
    gone = {m for _, g, m, what in company.member_journal if g == group.object_id and what == "remove"} - set(
        group.members
    )
    left = [{"@odata.type": _kind(call, m), "id": m, "@removed": {"reason": "deleted"}} for m in sorted(gone)]
    return members + left


def _kind(call: Call, key: str) -> str:
    return "#microsoft.graph.group" if key in call.company.groups else "#microsoft.graph.user"


ROUTES: list[Route] = [
    get("users/delta", Area.USERS, _users),
    get("groups/delta", Area.GROUPS, _groups),
]
