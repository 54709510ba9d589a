"""Contact folders. The lists show what lies directly below the default folder or below a given one, never the
default folder itself, which is found by its well-known name `contacts`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from tests.simulators.company.records import ContactFolder
from tests.simulators.online import identifiers, odata
from tests.simulators.online.calls import Answer, Area, Call, Route, get, json_answer
from tests.simulators.online.errors import GraphError, bad_request, sync_state_gone
from tests.simulators.online.mapping import folder_json

_PAGE, _LARGEST_PAGE = 10, 1_000

Row = TypeVar("Row")


def outlook_page(call: Call, rows: Sequence[Row], context: str, show: Callable[[Row], Any]) -> dict[str, Any]:
    """A page of a mailbox collection: `$top`, `$skip`, and a link that says how many to skip."""
    query = call.query
    size = odata.number(query, "$top", call.preferences.page_size or _PAGE, low=1, high=_LARGEST_PAGE)
    skip = odata.number(query, "$skip", 0, low=0, high=10_000_000)
    shown: dict[str, Any] = {"@odata.context": call.context(context)}
    if query.get("$count", "").lower() == "true":
        shown["@odata.count"] = len(rows)
    shown["value"] = [show(row) for row in rows[skip : skip + size]]
    if skip + size < len(rows):
        kept = {name.lstrip("$"): value for name, value in query.items() if name != "$skip"}
        shown["@odata.nextLink"] = call.link(call.own_path(), **kept, skip=skip + size)
    return shown


def named_folder(call: Call) -> ContactFolder:
    """The folder that the path names; the innermost one."""
    box = call.box
    folder = identifiers.find_folder(box, call.args["folder"])
    return identifiers.find_folder(box, call.args["child"]) if "child" in call.args else folder


def _context(call: Call) -> str:
    return f"users('{call.args['user']}')/contactFolders"


def _listed(call: Call, parent: ContactFolder) -> dict[str, Any]:
    with call.company.lock:
        folders = call.box.children(parent.id)
    if call.query.get("$filter"):
        keep = odata.row_filter(call.query["$filter"])
        folders = [folder for folder in folders if keep(folder_json(folder))]
    names = odata.selected(call.query)
    return outlook_page(call, folders, _context(call), lambda folder: folder_json(folder, names))


def _top(call: Call) -> dict[str, Any]:
    return _listed(call, call.box.default)


def _children(call: Call) -> dict[str, Any]:
    return _listed(call, named_folder(call))


def _one(call: Call) -> dict[str, Any]:
    row = folder_json(named_folder(call), odata.selected(call.query))
    return {"@odata.context": call.context(_context(call) + "/$entity")} | row


def _add(call: Call) -> Answer:
    parent = named_folder(call) if "folder" in call.args else call.box.default
    name = call.json_body().get("displayName")
    if not isinstance(name, str) or not name:
        raise bad_request("A folder needs a displayName.", "ErrorInvalidArgument")
    if any(folder.name == name for folder in call.box.children(parent.id)):
        raise GraphError(409, "ErrorFolderExists", "A folder with the specified name already exists.")
    folder = call.company.add_folder(call.person.object_id, name, parent.id)
    return json_answer({"@odata.context": call.context(_context(call) + "/$entity")} | folder_json(folder), 201)


def _rename(call: Call) -> dict[str, Any]:
    folder = named_folder(call)
    call.company.rename_folder(call.person.object_id, folder.id, call.json_body()["displayName"])
    return _one(call)


def _delete(call: Call) -> Answer:
    folder = named_folder(call)
    if folder.parent_id is None:
        raise GraphError(403, "ErrorDeleteDistinguishedFolder", "Distinguished folders cannot be deleted.")
    call.company.delete_folder(call.person.object_id, folder.id)
    return Answer(204)


def _delta(call: Call) -> dict[str, Any]:
    """All folders below the default one, flat; one page."""
    odata.refuse(call.query, "$filter", "$orderby", "$search", "$expand", resource="ContactFolders")
    box, path = call.box, f"users('{call.args['user']}')/contactFolders/delta"
    token = call.query.get("$deltatoken") or call.query.get("$skiptoken")
    with call.company.lock:
        state: dict[str, Any] | None = {"start": None}
        if token:
            state = call.world.tokens.unpack(token)
            if state is None or state.get("folders_of") != call.person.object_id:
                raise sync_state_gone(call.link(path, deltatoken=""))
        if state["start"] is None:
            rows = [folder_json(folder) for folder in box.folders.values() if folder.parent_id is not None]
        else:
            keys = list(dict.fromkeys(key for number, key, _ in box.journal if number > state["start"]))
            rows = [folder_json(box.folders[key]) if key in box.folders else _tombstone(key) for key in keys]
        fresh = call.world.tokens.pack({"folders_of": call.person.object_id, "start": call.company.sequence})
    return {
        "@odata.context": call.context(_context(call)),
        "value": rows,
        "@odata.deltaLink": call.link(path, deltatoken=fresh),
    }


def _tombstone(key: str) -> dict[str, Any]:
    return {"id": identifiers.folder_key(key), "@removed": {"reason": "deleted"}}


_FOLDERS = "users/{user}/contactFolders"
ROUTES: list[Route] = [
    get(_FOLDERS, Area.MAILBOX, _top),
    Route("POST", _FOLDERS, Area.MAILBOX_WRITE, _add),
    get(f"{_FOLDERS}/delta", Area.MAILBOX, _delta),
    get(f"{_FOLDERS}/{{folder}}", Area.MAILBOX, _one),
    Route("PATCH", f"{_FOLDERS}/{{folder}}", Area.MAILBOX_WRITE, _rename),
    Route("DELETE", f"{_FOLDERS}/{{folder}}", Area.MAILBOX_WRITE, _delete),
    get(f"{_FOLDERS}/{{folder}}/childFolders", Area.MAILBOX, _children),
    Route("POST", f"{_FOLDERS}/{{folder}}/childFolders", Area.MAILBOX_WRITE, _add),
    get(f"{_FOLDERS}/{{folder}}/childFolders/{{child}}", Area.MAILBOX, _one),
]
