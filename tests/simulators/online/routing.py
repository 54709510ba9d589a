"""From a path to the room that answers it: keys in brackets or as segments, fixed names before placeholders."""

from __future__ import annotations

import re
from collections import defaultdict
from urllib.parse import unquote

from tests.simulators.online import contact_delta, contacts, directory, directory_delta, folders, photos
from tests.simulators.online.calls import Route
from tests.simulators.online.errors import GraphError, bad_request, no_segment

_KEY = re.compile(r"\('?([^()']*)'?\)")
_MAILBOX = re.compile(r"users/([^/]+)/(?:contacts|contactFolders|photos?|translateExchangeIds)\b", re.IGNORECASE)


def _by_length() -> dict[int, list[Route]]:
    rooms = (directory_delta, directory, contact_delta, folders, photos, contacts)
    found: dict[int, list[Route]] = defaultdict(list)
    for route in (route for room in rooms for route in room.ROUTES):
        found[route.template.count("/")].append(route)
    for routes in found.values():
        # users/delta is not the user "delta".
        routes.sort(key=lambda route: [segment.startswith("{") for segment in route.template.split("/")])
    return found


_ROUTES = _by_length()


def plain_path(path: str) -> str:
    """The path below the version with keys as segments: `users('x')` is `users/x`, `delta()` is `delta`."""
    version, _, rest = path.lstrip("/").partition("/")
    if version not in {"v1.0", "beta"}:
        raise bad_request("Invalid version: " + version)
    plain = _readable(rest) if "%" in rest else rest
    if "(" in plain:
        plain = _KEY.sub(lambda match: f"/{match.group(1)}" if match.group(1) else "", plain)
    # `graph` is the alias of the namespace `microsoft.graph`; msgraph-sdk writes it.
    plain = plain.rstrip("/").replace("/graph.", "/microsoft.graph.")
    return plain.replace("microsoft.graph.delta", "delta")


def mailbox_of(path: str) -> str:
    """Who is asked for in a path that goes to a mailbox; empty for others."""
    match = _MAILBOX.match(plain_path(path))
    return unquote(match.group(1)) if match else ""


def find_route(method: str, path: str) -> tuple[Route, dict[str, str]]:
    """The route of a plain path with the keys in it.

    Raises:
        GraphError: 400 for a path that there is not, 405 for a method that it does not take.
    """
    allowed = []
    for route in _ROUTES.get(path.count("/"), ()):
        match = route.pattern.fullmatch(path)
        if match is None:
            continue
        if route.method == method:
            return route, {name: unquote(value) for name, value in match.groupdict().items()}
        allowed.append(route.method)
    if path.lower().split("/")[0] == "me":
        raise bad_request("/me request is only valid with delegated authentication flow.")
    if allowed:
        raise GraphError(405, "UnsupportedMethod", f"Specified HTTP method is not allowed: {method}.")
    raise no_segment(path.split("/", maxsplit=1)[0])


def _readable(path: str) -> str:
    """Brackets and quotes readable, everything else still encoded."""
    return path.replace("%28", "(").replace("%29", ")").replace("%27", "'").replace("%24", "$")
