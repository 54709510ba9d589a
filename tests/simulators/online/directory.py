"""Directory resources: users, groups and their members, the organization. Pages go by opaque tokens.

Sources: "List users", "List group members", "List group transitive members", "Get group" (Microsoft Learn).
"""

from __future__ import annotations

from typing import Any

from tests.simulators.company.model import Member
from tests.simulators.company.records import Group, OrgContact, Person
from tests.simulators.online import odata
from tests.simulators.online.calls import Answer, Area, Call, Route, find_user, get, json_answer
from tests.simulators.online.directory_filter import directory_filter
from tests.simulators.online.errors import GraphError, bad_request, no_resource, role_missing
from tests.simulators.online.mapping import GROUP, ORG_CONTACT, USER
from tests.simulators.online.resources import ResourceType

_PAGE, _LARGEST_PAGE = 100, 999
_TYPES: dict[type, tuple[ResourceType[Any], str]] = {
    Person: (USER, "user"),
    Group: (GROUP, "group"),
    OrgContact: (ORG_CONTACT, "orgContact"),
}
_READ_HIDDEN = "Member.Read.Hidden"


def page_of(call: Call, rows: list[Any], context: str, *, typed: bool = False) -> dict[str, Any]:
    """One page of a collection; the token in its link holds where the next one begins, and the options.

    `rows` are re-read for each page, as in the real directory, so a page may miss what moved meanwhile.
    """
    state = _page_state(call)
    query = state["query"]
    rows = _filtered(call, query, rows)
    size = odata.number(query, "$top", _PAGE, low=1, high=_LARGEST_PAGE)
    begin = state["at"]
    shown: dict[str, Any] = {"@odata.context": call.context(context)}
    # Without the header, the option is ignored in silence.
    if query.get("$count", "").lower() == "true" and _is_eventual(call):
        shown["@odata.count"] = len(rows)
    if begin + size < len(rows):
        token = call.world.tokens.pack({"path": call.own_path().lower(), "at": begin + size, "query": query})
        options = {name.lstrip("$"): value for name, value in query.items() if name in {"$top", "$select"}}
        shown["@odata.nextLink"] = call.link(call.own_path(), **options, skiptoken=token)
    names = odata.selected(query)
    shown["value"] = [_shown(row, names, typed=typed) for row in rows[begin : begin + size]]
    return shown


def _page_state(call: Call) -> dict[str, Any]:
    query = dict(call.query)
    if "$skiptoken" not in query:
        return {"at": 0, "query": query}
    state = call.world.tokens.unpack(query["$skiptoken"]) or {}
    if state.get("path") != call.own_path().lower():
        raise bad_request("The specified page token value has expired or is invalid.", "Directory_ExpiredPageToken")
    return state


def _shown(row: Member, names: tuple[str, ...] | None, *, typed: bool) -> dict[str, Any]:
    resource, kind = _TYPES[type(row)]
    if not typed:
        return resource.show(row, names)
    # Among objects of several types, each has the selected properties that its type has.
    own = names and tuple(name for name in names if name in resource.properties)
    return {"@odata.type": f"#microsoft.graph.{kind}"} | resource.show(row, own or ("id",) if names else None)


def _filtered(call: Call, query: dict[str, str], rows: list[Any]) -> list[Any]:
    if unsupported := {"$search", "$expand"} & query.keys():
        raise bad_request(f"The simulator does not know {', '.join(unsupported)} here.", "Request_UnsupportedQuery")
    text, order = query.get("$filter"), query.get("$orderby")
    counted = query.get("$count", "").lower() == "true" or call.request.path.endswith("$count")
    advanced = counted and _is_eventual(call)
    if text and order and not advanced:
        raise bad_request("Sorting not supported for current query.", "Request_UnsupportedQuery")
    if text and rows:
        keep = directory_filter(text, _TYPES[type(rows[0])][0], advanced=advanced)
        rows = [row for row in rows if keep(row)]
    if order and rows:
        name, _, direction = order.strip().partition(" ")
        resource = _TYPES[type(rows[0])][0]
        rows = sorted(rows, key=lambda row: str(resource.value(row, name)).casefold(), reverse=direction == "desc")
    return rows


def _people(call: Call) -> list[Person]:
    with call.company.lock:
        return list(call.company.people.values())


def _users(call: Call) -> dict[str, Any]:
    return page_of(call, _people(call), "users")


def _user(call: Call) -> dict[str, Any]:
    person = find_user(call.company, call.args["user"])
    if person is None:
        raise no_resource(call.args["user"])
    if "$expand" in call.query:
        raise bad_request("The simulator does not expand users.", "Request_UnsupportedQuery")
    return {"@odata.context": call.context("users/$entity")} | USER.show(person, odata.selected(call.query))


def _user_count(call: Call) -> Answer:
    _needs_eventual(call)
    return _count(len(_filtered(call, call.query, _people(call))))


def _groups(call: Call) -> dict[str, Any]:
    with call.company.lock:
        groups = list(call.company.groups.values())
    return page_of(call, groups, "groups")


def _group(call: Call) -> dict[str, Any]:
    group = _find_group(call)
    return {"@odata.context": call.context("groups/$entity")} | GROUP.show(group, odata.selected(call.query))


def _find_group(call: Call) -> Group:
    group = call.company.groups.get(call.args["group"].lower())
    if group is None:
        raise no_resource(call.args["group"])
    return group


def sees_hidden(call: Call) -> bool:
    """Whether the token lets the application read the members of groups that hide them."""
    return _READ_HIDDEN in call.roles


def _members(call: Call) -> list[Member]:
    """The members; those that a nested group hides are left out in silence, a group asked for by itself refuses."""
    group, company = _find_group(call), call.company
    if group.hidden and not sees_hidden(call):
        raise role_missing()
    with company.lock:
        if call.own_path().lower().split("/")[2].startswith("transitive"):
            return company.transitive_members(group.object_id, hidden=sees_hidden(call))
        found = (company.find_member(member) for member in group.members)
        return [member for member in found if member]


def _member_list(call: Call) -> dict[str, Any]:
    query = _page_state(call)["query"]
    if query.get("$filter"):
        raise bad_request("The simulator filters members after an OData cast only.", "Request_UnsupportedQuery")
    return page_of(call, _members(call), "directoryObjects", typed=True)


def _member_users(call: Call) -> dict[str, Any]:
    return page_of(call, [member for member in _members(call) if isinstance(member, Person)], "users")


def _member_groups(call: Call) -> dict[str, Any]:
    return page_of(call, [member for member in _members(call) if isinstance(member, Group)], "groups")


def _member_contacts(call: Call) -> dict[str, Any]:
    return page_of(call, [member for member in _members(call) if isinstance(member, OrgContact)], "contacts")


def _member_count(call: Call) -> Answer:
    _needs_eventual(call)
    return _count(len(_members(call)))


def _by_ids(call: Call) -> dict[str, Any]:
    body = call.json_body()
    ids, types = body.get("ids", []), set(body.get("types") or ("user", "group", "orgContact"))
    if len(ids) > 1_000:
        raise bad_request("The number of IDs exceeds 1000.", "Request_BadRequest")
    found = [call.company.find_member(identifier.lower()) for identifier in ids]
    names = odata.selected(call.query)
    value = [_shown(member, names, typed=True) for member in found if member and _TYPES[type(member)][1] in types]
    return {"@odata.context": call.context("directoryObjects"), "value": value}


def _directory_object(call: Call) -> dict[str, Any]:
    member = call.company.find_member(call.args["object"].lower())
    if member is None:
        raise no_resource(call.args["object"])
    context = {"@odata.context": call.context("directoryObjects/$entity")}
    return context | _shown(member, odata.selected(call.query), typed=True)


def _memberships(call: Call) -> dict[str, Any]:
    person = find_user(call.company, call.args["user"])
    if person is None:
        raise no_resource(call.args["user"])
    with call.company.lock:
        groups = [g for g in call.company.groups.values() if person in call.company.transitive_members(g.object_id)]
    return page_of(call, groups, "directoryObjects", typed=True)


def _no_manager(call: Call) -> dict[str, Any]:
    raise no_resource("manager")


def _organization(call: Call) -> Answer:
    row = {
        "id": call.company.directory_id,
        "displayName": "Muster & Söhne GmbH",
        "tenantType": "AAD",
        "verifiedDomains": [{"name": "example.com", "isDefault": True, "isInitial": False, "capabilities": "Email"}],
    }
    names = odata.selected(call.query)
    value = [{name: value for name, value in row.items() if names is None or name in names}]
    return json_answer({"@odata.context": call.context("organization"), "value": value})


def _is_eventual(call: Call) -> bool:
    return call.request.headers.get("ConsistencyLevel", "").lower() == "eventual"


def _needs_eventual(call: Call) -> None:
    if not _is_eventual(call):
        raise GraphError(400, "Request_BadRequest", "$count is not currently supported.")


def _count(number: int) -> Answer:
    return Answer(200, {"Content-Type": "text/plain"}, str(number).encode())


def _org_contacts(call: Call) -> dict[str, Any]:
    with call.company.lock:
        contacts = list(call.company.org_contacts.values())
    return page_of(call, contacts, "contacts")


def _org_contact(call: Call) -> dict[str, Any]:
    contact = call.company.org_contacts.get(call.args["contact"].lower())
    if contact is None:
        raise no_resource(call.args["contact"])
    return {"@odata.context": call.context("contacts/$entity")} | ORG_CONTACT.show(contact, odata.selected(call.query))


ROUTES: list[Route] = [
    get("organization", Area.ORGANIZATION, _organization),
    get("contacts", Area.ORG_CONTACTS, _org_contacts),
    get("contacts/{contact}", Area.ORG_CONTACTS, _org_contact),
    get("users", Area.USERS, _users, cost=2),
    get("users/$count", Area.USERS, _user_count),
    get("users/{user}", Area.USERS, _user),
    get("users/{user}/manager", Area.USERS, _no_manager),
    get("users/{user}/transitiveMemberOf", Area.GROUPS, _memberships, cost=2),
    get("groups", Area.GROUPS, _groups),
    get("groups/{group}", Area.GROUPS, _group),
    Route("POST", "directoryObjects/getByIds", Area.USERS, _by_ids, cost=3),
    get("directoryObjects/{object}", Area.USERS, _directory_object),
    *(
        route
        for members, cost in (("members", 3), ("transitiveMembers", 5))
        for route in (
            get(f"groups/{{group}}/{members}", Area.GROUPS, _member_list, cost=cost),
            get(f"groups/{{group}}/{members}/$count", Area.GROUPS, _member_count, cost=cost),
            get(f"groups/{{group}}/{members}/microsoft.graph.user", Area.GROUPS, _member_users, cost=cost),
            get(f"groups/{{group}}/{members}/microsoft.graph.group", Area.GROUPS, _member_groups, cost=cost),
            get(f"groups/{{group}}/{members}/microsoft.graph.orgContact", Area.GROUPS, _member_contacts, cost=cost),
        )
    ),
]
