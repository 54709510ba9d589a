"""Change tracking of contacts, one round per folder, by opaque tokens over the folder's journal.

Source: "contact: delta" (Microsoft Learn). The round's options travel in the token, so links need no repetition of
them. `$expand` is answered as the live service answers it (microsoft-graph-docs #2270): with a 500.
"""

from __future__ import annotations

from typing import Any

from tests.simulators.company.records import ContactFolder, last_changes
from tests.simulators.online import identifiers, odata
from tests.simulators.online.calls import Answer, Area, Call, Route, get, json_answer
from tests.simulators.online.contacts import PLACES, folder_of
from tests.simulators.online.errors import GraphError, sync_state_gone
from tests.simulators.online.mapping import contact_row

_PAGE = 10


def _delta(call: Call) -> Answer:
    if "$expand" in call.query:
        raise GraphError(500, "ErrorInternalServerError", "Value cannot be null. Parameter name: type")
    odata.refuse(call.query, "$filter", "$orderby", "$search", "$skip", resource="Contacts")
    folder = folder_of(call)
    with call.company.lock:
        state = _state(call, folder)
        page, following = _step(call, folder, state)
    shown = {"@odata.context": call.context(f"{_path(call)}(microsoft.graph.contact)"), "value": page}
    kept = {"folder": folder.id, "select": state["select"], "size": state["size"]}
    token = call.world.tokens.pack({**kept, **following})
    kind = "deltatoken" if set(following) == {"start"} else "skiptoken"
    shown["@odata.deltaLink" if kind == "deltatoken" else "@odata.nextLink"] = call.link(_path(call), **{kind: token})
    applied = call.preferences.applied
    return json_answer(shown, headers={"Preference-Applied": applied} if applied else None)


def _state(call: Call, folder: ContactFolder) -> dict[str, Any]:
    token = call.query.get("$skiptoken") or call.query.get("$deltatoken")
    if not token:
        size = call.preferences.page_size or _PAGE
        return {"after": "", "until": call.company.sequence, "select": call.query.get("$select", ""), "size": size}
    state = call.world.tokens.unpack(token)
    if state is None or state.get("folder") != folder.id:
        raise sync_state_gone(call.link(_path(call), deltatoken=""))
    return state


def _step(call: Call, folder: ContactFolder, state: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The rows of this page, and the state from which the next one goes on.

    A full round walks the IDs in order (`after` the last one), so that its place is found again whatever happens in
    between; a later round walks the journal from `start` to `until`. What happens after `until` comes next time.
    """
    size = call.preferences.page_size or state["size"]
    until = state.setdefault("until", call.company.sequence)
    if "after" in state:
        keys = sorted(key for key in folder.items if key > state["after"])
        following: dict[str, Any] = {"after": keys[size - 1], "until": until} if len(keys) > size else {"start": until}
        keys = keys[:size]
    else:
        journal = [entry for entry in folder.journal if entry[0] <= until]
        changed = [key for key, _ in last_changes(journal, state["start"])]
        begin = state.get("at", 0)
        keys = changed[begin : begin + size]
        more = len(changed) > begin + size
        following = {"start": state["start"], "until": until, "at": begin + size} if more else {"start": until}
    names = odata.selected({"$select": state["select"]})
    return [_row(call, folder, key, names) for key in keys], following


def _row(call: Call, folder: ContactFolder, key: str, names: tuple[str, ...] | None) -> Any:
    item = folder.items.get(key)
    if item is None:
        shown_id = identifiers.item_id(key, folder, immutable=call.immutable)
        return {"@removed": {"reason": "deleted"}, "id": shown_id}
    return contact_row(item, folder, immutable=call.immutable, names=names)


def _path(call: Call) -> str:
    user, folder = call.args["user"], call.args.get("folder")
    child = f"/childFolders('{call.args['child']}')" if "child" in call.args else ""
    inside = f"/contactFolders('{folder}'){child}" if folder else ""
    return f"users('{user}'){inside}/contacts/delta"


ROUTES: list[Route] = [get(f"{place}/delta", Area.MAILBOX, _delta) for place in PLACES]
