"""Directory resources: users, groups and their members, the organization. Pages go by opaque tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.simulators.company.records import Group, Person
from tests.simulators.online import odata
from tests.simulators.online.calls import Answer, Area, Call, Route, find_user, get, json_answer
from tests.simulators.online.errors import bad_request, no_resource
from tests.simulators.online.mapping import DEFAULT_USER_FIELDS, group_json, user_json

_PAGE, _LARGEST_PAGE = 100, 999
_GROUP_FIELDS = [
    "id",
    "createdDateTime",
    "description",
    "displayName",
    "groupTypes",
    "mail",
    "mailEnabled",
    "mailNickname",
    "securityEnabled",
    "visibility",
]

Rows = list[Person | Group]


def page_of(call: Call, rows: list[Any], show: Callable[[Any], dict[str, Any]], context: str) -> dict[str, Any]:
    """One page of a collection; the token in its link holds where the next one begins, and the options.

    `rows` are re-read for each page, as in the real directory, so a page may miss what moved meanwhile.
    """
    query = dict(call.query)
    state: dict[str, Any] = {"at": 0}
    if "$skiptoken" in query:
        state = call.world.tokens.unpack(query["$skiptoken"]) or {}
        if state.get("path") != call.own_path().lower():
            raise bad_request("The specified page token value has expired or is invalid.", "Directory_ExpiredPageToken")
        query = state["query"]
    size = odata.number(query, "$top", _PAGE, low=1, high=_LARGEST_PAGE)
    begin = state["at"]
    shown = {"@odata.context": call.context(context)}
    if query.get("$count", "").lower() == "true":
        shown["@odata.count"] = len(rows)
    if begin + size < len(rows):
        token = call.world.tokens.pack({"path": call.own_path().lower(), "at": begin + size, "query": query})
        options = {name.lstrip("$"): value for name, value in query.items() if name in {"$top", "$select"}}
        shown["@odata.nextLink"] = call.link(call.own_path(), **options, skiptoken=token)
    names = odata.selected(query)
    shown["value"] = [show_selected(row, show, names) for row in rows[begin : begin + size]]
    return shown


def show_selected(row: Any, show: Callable[[Any], dict[str, Any]], names: list[str] | None) -> dict[str, Any]:
    """A row with the selected, or else the default, properties."""
    return odata.project(show(row), names or (DEFAULT_USER_FIELDS if isinstance(row, Person) else _GROUP_FIELDS))


def _filtered(call: Call, people: list[Person]) -> list[Person]:
    query = call.query
    if "$skiptoken" in query:
        query = (call.world.tokens.unpack(query["$skiptoken"]) or {}).get("query", {})
    if unsupported := {"$search", "$expand"} & query.keys():
        raise bad_request(f"The simulator does not know {', '.join(unsupported)} here.", "Request_UnsupportedQuery")
    if not query.get("$filter"):
        return people
    keep = odata.row_filter(query["$filter"])
    return [person for person in people if keep(user_json(person))]


def _users(call: Call) -> dict[str, Any]:
    with call.company.lock:
        people = list(call.company.people.values())
    return page_of(call, _filtered(call, people), user_json, "users")


def _user(call: Call) -> dict[str, Any]:
    person = find_user(call.company, call.args["user"])
    if person is None:
        raise no_resource(call.args["user"])
    if "$expand" in call.query:
        raise bad_request("The simulator does not expand users.", "Request_UnsupportedQuery")
    context = {"@odata.context": call.context("users/$entity")}
    return context | show_selected(person, user_json, odata.selected(call.query))


def _user_count(call: Call) -> Answer:
    _needs_eventual(call)
    with call.company.lock:
        people = list(call.company.people.values())
    return _count(len(_filtered(call, people)))


def _groups(call: Call) -> dict[str, Any]:
    with call.company.lock:
        groups = list(call.company.groups.values())
    if call.query.get("$filter"):
        keep = odata.row_filter(call.query["$filter"])
        groups = [group for group in groups if keep(group_json(group))]
    return page_of(call, groups, group_json, "groups")


def _group(call: Call) -> dict[str, Any]:
    group = _find_group(call)
    return {"@odata.context": call.context("groups/$entity")} | show_selected(
        group, group_json, odata.selected(call.query)
    )


def _find_group(call: Call) -> Group:
    group = call.company.groups.get(call.args["group"].lower())
    if group is None:
        raise no_resource(call.args["group"])
    return group


def _members(call: Call) -> Rows:
    group = _find_group(call)
    company = call.company
    with company.lock:
        if call.own_path().lower().split("/")[2].startswith("transitive"):
            return company.transitive_members(group.object_id)
        found = (company.people.get(member) or company.groups.get(member) for member in group.members)
        return [member for member in found if member]


def _member_list(call: Call) -> dict[str, Any]:
    return page_of(call, _members(call), _typed, "directoryObjects")


def _member_users(call: Call) -> dict[str, Any]:
    people = [member for member in _members(call) if isinstance(member, Person)]
    return page_of(call, _filtered(call, people), user_json, "users")


def _member_groups(call: Call) -> dict[str, Any]:
    return page_of(call, [member for member in _members(call) if isinstance(member, Group)], group_json, "groups")


def _no_contacts(call: Call) -> dict[str, Any]:
    _find_group(call)
    return page_of(call, [], group_json, "contacts")


def _member_count(call: Call) -> Answer:
    _needs_eventual(call)
    return _count(len(_members(call)))


def _typed(member: Person | Group) -> dict[str, Any]:
    if isinstance(member, Person):
        return {"@odata.type": "#microsoft.graph.user"} | user_json(member)
    return {"@odata.type": "#microsoft.graph.group"} | group_json(member)


def _by_ids(call: Call) -> dict[str, Any]:
    body = call.json_body()
    ids, types = body.get("ids", []), set(body.get("types") or ("user", "group"))
    if len(ids) > 1_000:
        raise bad_request("The number of IDs exceeds 1000.", "Request_BadRequest")
    found = [call.company.people.get(i.lower()) or call.company.groups.get(i.lower()) for i in ids]
    kept = [m for m in found if m and ("user" if isinstance(m, Person) else "group") in types]
    names = odata.selected(call.query)
    value = [show_selected(member, _typed, names) for member in kept]
    return {"@odata.context": call.context("directoryObjects"), "value": value}


def _directory_object(call: Call) -> dict[str, Any]:
    key = call.args["object"].lower()
    member = call.company.people.get(key) or call.company.groups.get(key)
    if member is None:
        raise no_resource(call.args["object"])
    context = {"@odata.context": call.context("directoryObjects/$entity")}
    return context | show_selected(member, _typed, odata.selected(call.query))


def _memberships(call: Call) -> dict[str, Any]:
    person = find_user(call.company, call.args["user"])
    if person is None:
        raise no_resource(call.args["user"])
    with call.company.lock:
        groups = [g for g in call.company.groups.values() if person in call.company.transitive_members(g.object_id)]
    return page_of(call, groups, _typed, "directoryObjects")


def _no_manager(call: Call) -> dict[str, Any]:
    raise no_resource("manager")


def _organization(call: Call) -> Answer:
    row = {
        "id": call.company.directory_id,
        "displayName": "Muster & Söhne GmbH",
        "tenantType": "AAD",
        "verifiedDomains": [{"name": "example.com", "isDefault": True, "isInitial": False, "capabilities": "Email"}],
    }
    value = [odata.project(row, odata.selected(call.query))]
    return json_answer({"@odata.context": call.context("organization"), "value": value})


def _needs_eventual(call: Call) -> None:
    if call.request.headers.get("ConsistencyLevel", "").lower() != "eventual":
        raise bad_request(
            "$count is not currently supported without the ConsistencyLevel header.", "Request_BadRequest"
        )


def _count(number: int) -> Answer:
    return Answer(200, {"Content-Type": "text/plain"}, str(number).encode())


ROUTES: list[Route] = [
    get("organization", Area.ORGANIZATION, _organization),
    get("users", Area.USERS, _users),
    get("users/$count", Area.USERS, _user_count),
    get("users/{user}", Area.USERS, _user),
    get("users/{user}/manager", Area.USERS, _no_manager),
    get("users/{user}/transitiveMemberOf", Area.GROUPS, _memberships),
    get("groups", Area.GROUPS, _groups),
    get("groups/{group}", Area.GROUPS, _group),
    Route("POST", "directoryObjects/getByIds", Area.USERS, _by_ids),
    get("directoryObjects/{object}", Area.USERS, _directory_object),
    *(
        route
        for members in ("members", "transitiveMembers")
        for route in (
            get(f"groups/{{group}}/{members}", Area.GROUPS, _member_list),
            get(f"groups/{{group}}/{members}/$count", Area.GROUPS, _member_count),
            get(f"groups/{{group}}/{members}/microsoft.graph.user", Area.GROUPS, _member_users),
            get(f"groups/{{group}}/{members}/microsoft.graph.group", Area.GROUPS, _member_groups),
            get(f"groups/{{group}}/{members}/microsoft.graph.orgContact", Area.GROUPS, _no_contacts),
        )
    ),
]
