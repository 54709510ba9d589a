"""The two forms of Outlook's IDs: regular ones, which change when an item moves, and immutable ones, which stay.

"Obtain immutable identifiers for Outlook resources" (Microsoft Learn): asked for by `Prefer: IdType="ImmutableId"`;
folders have one form only. Requests may name an item either way.
"""

from __future__ import annotations

from tests.simulators.company.records import Box, ContactFolder, Item, stable_id
from tests.simulators.online.errors import no_item

_IMMUTABLE = "AAkALgAAAAAAHYQDEapmEc2byACqAC-EWg0A"
_REGULAR = "AAMkAGI2THVSAAA"
_FOLDER = "AQMkAGI2THVSAAA"
_PLACE = 12
ROOT_FOLDER = "AQMkAGI2THVSAAAroot00000000000000000000000000000"
WELL_KNOWN = "contacts"


def item_id(item_id_: str, folder: ContactFolder, *, immutable: bool) -> str:
    """What a client sees as the ID of an item in a folder."""
    return _IMMUTABLE + item_id_ if immutable else _REGULAR + stable_id(folder.id)[:_PLACE] + item_id_


def folder_id(folder: ContactFolder) -> str:
    """What a client sees as the ID of a folder."""
    return folder_key(folder.id)


def folder_key(plain: str) -> str:
    """The same for a folder's own ID."""
    return _FOLDER + plain


def find_folder(box: Box, key: str) -> ContactFolder:
    """The folder that a client names by ID or well-known name; 404 otherwise."""
    if key.lower() == WELL_KNOWN:
        return box.default
    folder = box.folders.get(key.removeprefix(_FOLDER)) if key.startswith(_FOLDER) else None
    if folder is None:
        raise no_item()
    return folder


def find_item(box: Box, key: str) -> tuple[ContactFolder, Item]:
    """The item that a client names, in either form, wherever it is; 404 otherwise."""
    if key.startswith(_IMMUTABLE):
        found = box.find(key.removeprefix(_IMMUTABLE))
    elif key.startswith(_REGULAR):
        place, plain = key[len(_REGULAR) :][:_PLACE], key[len(_REGULAR) + _PLACE :]
        found = box.find(plain)
        found = found if found and stable_id(found[0].id)[:_PLACE] == place else None
    else:
        found = None
    if found is None:
        raise no_item()
    return found


def translate(box: Box, key: str, *, immutable: bool) -> str:
    """An item's ID in the other form."""
    folder, item = find_item(box, key)
    return item_id(item.id, folder, immutable=immutable)
