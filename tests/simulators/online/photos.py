"""Photos of people, in the sizes that "Get profilePhoto" (Microsoft Learn) lists, and of contacts.

Every size is served as the bytes that were stored, so that a test can compare them.
"""

from __future__ import annotations

import hashlib
from typing import Any

from tests.simulators.company.pictures import PIXEL_GIF
from tests.simulators.company.records import Person
from tests.simulators.online.calls import Answer, Area, Call, Route, find_user, get, json_answer
from tests.simulators.online.contacts import PLACES, named_item
from tests.simulators.online.errors import GraphError, bad_request, no_image, no_resource

SIZES = (48, 64, 96, 120, 240, 360, 432, 504, 648)
_UPLOAD_LIMIT = 4 * 1024 * 1024


def edge_of(photo: bytes) -> int:
    """The width of a JPEG in pixels; 240 for bytes that are none."""
    place = 2
    while photo[:2] == b"\xff\xd8" and place + 9 < len(photo):
        marker, length = photo[place + 1], int.from_bytes(photo[place + 2 : place + 4], "big")
        if marker in {0xC0, 0xC1, 0xC2}:
            return int.from_bytes(photo[place + 7 : place + 9], "big")
        place += 2 + length
    return 240


def _sizes(photo: bytes) -> list[int]:
    edge = edge_of(photo)
    return [size for size in SIZES if size <= edge] or [edge]


def _etag(photo: bytes, edge: int) -> str:
    return f'"{hashlib.sha256(photo + bytes([edge % 251])).hexdigest()[:32].upper()}"'


def _metadata(photo: bytes, edge: int) -> dict[str, Any]:
    return {
        "@odata.mediaContentType": _kind(photo),
        "@odata.mediaEtag": _etag(photo, edge),
        "id": f"{edge}x{edge}",
        "height": edge,
        "width": edge,
    }


def _kind(photo: bytes) -> str:
    return {b"\x89P": "image/png", b"GI": "image/gif"}.get(photo[:2], "image/jpeg")


def _context(call: Call) -> str:
    return f"users('{call.args['user']}')/photo/$entity"


def _absent(call: Call) -> Answer:
    if not call.world.behaviour.placeholder_photos:
        raise no_image()
    if call.request.path.endswith("$value"):
        return Answer(200, {"Content-Type": "image/gif"}, PIXEL_GIF)
    nothing = {"@odata.mediaContentType": "image/gif", "@odata.mediaEtag": '""', "id": "1X1", "height": 1, "width": 1}
    return json_answer({"@odata.context": call.context(_context(call))} | nothing)


def _served(call: Call, photo: bytes | None, edge: int | None = None) -> Answer:
    """Metadata or bytes, whichever the path asks for; 304 if the client has it."""
    if photo is None:
        return _absent(call)
    edge = edge or _sizes(photo)[-1]
    tag = _etag(photo, edge)
    if call.request.headers.get("If-None-Match") == tag:
        return Answer(304, {"ETag": tag})
    if call.request.path.endswith("$value"):
        return Answer(200, {"Content-Type": _kind(photo), "ETag": tag}, photo)
    return json_answer({"@odata.context": call.context(_context(call))} | _metadata(photo, edge))


def _owner(call: Call) -> Person:
    person = find_user(call.company, call.args["user"])
    if person is None:
        raise no_resource(call.args["user"])
    return person


def _portrait(call: Call) -> Answer:
    return _served(call, _owner(call).photo)


def _portrait_sized(call: Call) -> Answer:
    photo = _owner(call).photo
    width, _, height = call.args["size"].lower().partition("x")
    if photo is None:
        return _absent(call)
    if not width.isdigit() or width != height or int(width) not in _sizes(photo):
        raise no_image()
    return _served(call, photo, int(width))


def _portraits(call: Call) -> dict[str, Any]:
    photo = _owner(call).photo
    value = [_metadata(photo, edge) for edge in _sizes(photo)] if photo else []
    return {"@odata.context": call.context(f"users('{call.args['user']}')/photos"), "value": value}


def _set_portrait(call: Call) -> Answer:
    call.company.set_person_photo(_owner(call).object_id, _uploaded(call))
    return Answer(200)


def _contact_photo(call: Call) -> Answer:
    _, item = named_item(call)
    return _served(call, item.photo)


def _set_contact_photo(call: Call) -> Answer:
    _, item = named_item(call)
    call.company.set_contact_photo(call.person.object_id, item.id, _uploaded(call))
    return Answer(200)


def _delete_contact_photo(call: Call) -> Answer:
    _, item = named_item(call)
    if item.photo is None:
        raise no_image()
    call.company.set_contact_photo(call.person.object_id, item.id, None)
    return Answer(204)


def _uploaded(call: Call) -> bytes:
    photo = call.request.body
    if not photo or not call.request.headers.get("Content-Type", "").startswith(("image/", "application/octet-stream")):
        raise bad_request("The photo content is not an image.", "ErrorInvalidArgument")
    if len(photo) > _UPLOAD_LIMIT:
        raise GraphError(413, "RequestEntityTooLarge", "The photo is larger than 4 MB.")
    return photo


# "You can use either PATCH or PUT" (Update profilePhoto); the O365 library uses PATCH.
ROUTES: list[Route] = [
    get("users/{user}/photo", Area.PORTRAIT, _portrait),
    get("users/{user}/photo/$value", Area.PORTRAIT, _portrait),
    Route("PUT", "users/{user}/photo/$value", Area.PORTRAIT_WRITE, _set_portrait),
    Route("PATCH", "users/{user}/photo/$value", Area.PORTRAIT_WRITE, _set_portrait),
    get("users/{user}/photos", Area.PORTRAIT, _portraits),
    get("users/{user}/photos/{size}", Area.PORTRAIT, _portrait_sized),
    get("users/{user}/photos/{size}/$value", Area.PORTRAIT, _portrait_sized),
    *(
        route
        for place in PLACES
        for route in (
            get(f"{place}/{{contact}}/photo", Area.MAILBOX, _contact_photo),
            get(f"{place}/{{contact}}/photo/$value", Area.MAILBOX, _contact_photo),
            Route("PUT", f"{place}/{{contact}}/photo/$value", Area.MAILBOX_WRITE, _set_contact_photo),
            Route("PATCH", f"{place}/{{contact}}/photo/$value", Area.MAILBOX_WRITE, _set_contact_photo),
            Route("DELETE", f"{place}/{{contact}}/photo/$value", Area.MAILBOX_WRITE, _delete_contact_photo),
        )
    ),
]
