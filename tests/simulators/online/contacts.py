"""Contacts of a mailbox: lists, single ones, and writing. Without a folder in the path it is the default one."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from tests.simulators.company.records import ContactFolder, Item
from tests.simulators.online import identifiers, odata
from tests.simulators.online.calls import Answer, Area, Call, Route, get, json_answer
from tests.simulators.online.errors import GraphError, bad_request, no_item
from tests.simulators.online.folders import named_folder, outlook_page
from tests.simulators.online.mapping import contact_fields, contact_json, contact_row, etag

PLACES = (
    "users/{user}/contacts",
    "users/{user}/contactFolders/{folder}/contacts",
    "users/{user}/contactFolders/{folder}/childFolders/{child}/contacts",
)


def folder_of(call: Call) -> ContactFolder:
    """The folder that a path is about."""
    return named_folder(call) if "folder" in call.args else call.box.default


def named_item(call: Call) -> tuple[ContactFolder, Item]:
    """The contact that the path names; it has to be in the folder named, if one is."""
    folder, item = identifiers.find_item(call.box, call.args["contact"])
    if "folder" in call.args and named_folder(call).id != folder.id:
        raise no_item()
    return folder, item


def _context(call: Call) -> str:
    folder = f"/contactFolders('{call.args['folder']}')" if "folder" in call.args else ""
    return f"users('{call.args['user']}'){folder}/contacts"


def _items(call: Call, folder: ContactFolder) -> list[Item]:
    if call.query.get("$search"):
        raise bad_request("The simulator does not search contacts.", "ErrorInvalidUrlQuery")
    with call.company.lock:
        items = list(folder.items.values())
    text, order = call.query.get("$filter"), call.query.get("$orderby")
    if extended := odata.extended_filter(text):
        if _FILTERS.get(extended.name) in call.world.behaviour.refused_filters:
            raise bad_request("The filter by extended property is not supported.", "ErrorInvalidUrlQueryFilter")
        items = [item for item in items if extended_value(item, extended.name) == extended.value]
        text = None
    if not text and not order:
        return items
    rows = {item.id: contact_json(item, folder, immutable=call.immutable) for item in items}
    if text:
        keep = odata.row_filter(text)
        items = [item for item in items if keep(rows[item.id])]
    return odata.order(items, order, lambda item: rows[item.id])


_FILTERS = {odata.SENSITIVITY.lower(): "sensitivity", odata.HAS_PICTURE.lower(): "picture"}


def extended_value(item: Item, name: str) -> str | None:
    """The value of an extended property as text; None if the item does not have it."""
    if name == odata.SENSITIVITY.lower():
        return "2" if item.private else "0"
    if name == odata.HAS_PICTURE.lower():
        return "true" if item.photo is not None else None
    return None


def _expanded(item: Item, names: list[str]) -> dict[str, Any]:
    found = [{"id": name, "value": value} for name in names if (value := extended_value(item, name.lower()))]
    return {"singleValueExtendedProperties": found} if found else {}


def _list(call: Call) -> Answer:
    folder, names = folder_of(call), odata.selected(call.query)
    expanded = odata.expanded_properties(call.query.get("$expand"))

    def show(item: Item) -> Any:
        if not expanded:
            return contact_row(item, folder, immutable=call.immutable, names=names)
        return contact_json(item, folder, immutable=call.immutable, names=names) | _expanded(item, expanded)

    page = outlook_page(call, _items(call, folder), _context(call), show)
    applied = call.preferences.applied
    return json_answer(page, headers={"Preference-Applied": applied} if applied else None)


def _count(call: Call) -> Answer:
    return Answer(200, {"Content-Type": "text/plain"}, str(len(_items(call, folder_of(call)))).encode())


def _one(call: Call) -> Answer:
    folder, item = named_item(call)
    return _shown(call, folder, item)


def _shown(call: Call, folder: ContactFolder, item: Item, status: int = 200) -> Answer:
    row = contact_json(item, folder, immutable=call.immutable, names=odata.selected(call.query))
    row |= _expanded(item, odata.expanded_properties(call.query.get("$expand")))
    headers = {"ETag": etag(item)}
    if status == 201:
        headers["Location"] = f"{call.request.origin}/v1.0/users('{call.args['user']}')/contacts('{quote(row['id'])}')"
    return json_answer({"@odata.context": call.context(_context(call) + "/$entity")} | row, status, headers)


def _create(call: Call) -> Answer:
    folder = folder_of(call)
    fields = contact_fields(call.json_body())
    if not fields.get("display_name"):
        fields["display_name"] = " ".join(filter(None, (fields.get("given_name"), fields.get("surname"))))
    item = call.company.add_contact(call.person.object_id, folder.id, **fields)
    return _shown(call, folder, item, 201)


def _update(call: Call) -> Answer:
    folder, item = named_item(call)
    expected = call.request.headers.get("If-Match", "*")
    if expected not in {"*", etag(item)}:
        raise GraphError(412, "ErrorIrresolvableConflict", "The change key passed in the request does not match.")
    changed = call.company.change_contact(call.person.object_id, item.id, **contact_fields(call.json_body()))
    return _shown(call, folder, changed)


def _delete(call: Call) -> Answer:
    _, item = named_item(call)
    call.company.remove_contact(call.person.object_id, item.id)
    return Answer(204)


def _translate(call: Call) -> dict[str, Any]:
    body = {name.lower(): value for name, value in call.json_body().items()}
    immutable = "immutable" in str(body.get("targetidtype", "")).lower()
    value = [
        {"sourceId": key, "targetId": identifiers.translate(call.box, key, immutable=immutable)}
        for key in body.get("inputids", [])
    ]
    return {"@odata.context": call.context("Collection(microsoft.graph.convertIdResult)"), "value": value}


ROUTES: list[Route] = [
    Route("POST", "users/{user}/translateExchangeIds", Area.MAILBOX, _translate),
    *(
        route
        for place in PLACES
        for route in (
            get(place, Area.MAILBOX, _list),
            Route("POST", place, Area.MAILBOX_WRITE, _create),
            get(f"{place}/$count", Area.MAILBOX, _count),
            get(f"{place}/{{contact}}", Area.MAILBOX, _one),
            Route("PATCH", f"{place}/{{contact}}", Area.MAILBOX_WRITE, _update),
            Route("DELETE", f"{place}/{{contact}}", Area.MAILBOX_WRITE, _delete),
        )
    ),
]
