"""One call to Graph on its way through the rooms, and how rooms say which paths are theirs."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any
from urllib.parse import quote

import orjson

from tests.simulators.company.model import Company
from tests.simulators.company.records import Box, Person
from tests.simulators.online import odata
from tests.simulators.online.errors import access_denied, bad_request, no_mailbox, no_user
from tests.simulators.online.links import TokenBox
from tests.simulators.serving import Answer, Request

JSON_TYPE = "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"


class Area(Enum):
    """Which service a path belongs to, with the roles of which one opens it."""

    USERS = ("User.Read.All", "User.ReadWrite.All", "Directory.Read.All")
    GROUPS = ("GroupMember.Read.All", "Group.Read.All", "Directory.Read.All")
    ORG_CONTACTS = ("OrgContact.Read.All", "Directory.Read.All", "Directory.ReadWrite.All")
    ORGANIZATION = ("Organization.Read.All", "Directory.Read.All")
    PORTRAIT = ("User.Read.All", "ProfilePhoto.Read.All", "User.ReadWrite.All")
    PORTRAIT_WRITE = ("User.ReadWrite.All", "ProfilePhoto.ReadWrite.All")
    MAILBOX = ("Contacts.Read", "Contacts.ReadWrite")
    MAILBOX_WRITE = ("Contacts.ReadWrite", "")

    @property
    def is_mailbox(self) -> bool:
        """Whether Exchange answers, not the directory."""
        return self in {Area.MAILBOX, Area.MAILBOX_WRITE}

    @property
    def is_limited_by_mailbox(self) -> bool:
        """Whether the limits of Outlook hold, which are those of a mailbox; profile photos are among them."""
        return self.is_mailbox or self in {Area.PORTRAIT, Area.PORTRAIT_WRITE}


@dataclass(slots=True)
class Behaviour:
    """What a test may set on a simulator.

    Attributes:
        denied: Object IDs of people whose mailbox refuses this application.
        limit_concurrency: Whether a mailbox takes four requests at once only.
        mailbox_requests: How many requests a mailbox takes in ten minutes.
        resource_units: How many units the directory gives in ten seconds; 0 is what a directory of this size has.
        refused_filters: Filters by extended property that are answered 400: `sensitivity`, `picture`.
        latency: Seconds that every request takes.
        placeholder_photos: Whether "no photo" is a 1x1 gif instead of a 404.
        clock: Seconds, for everything that a client is told to wait.
    """

    denied: set[str] = field(default_factory=set)
    limit_concurrency: bool = True
    mailbox_requests: int = 10_000
    resource_units: int = 0
    refused_filters: set[str] = field(default_factory=set)
    latency: float = 0.0
    placeholder_photos: bool = False
    clock: Callable[[], float] = time.monotonic


@dataclass(slots=True)
class World:
    """What calls are about."""

    company: Company
    tokens: TokenBox = field(default_factory=TokenBox)
    behaviour: Behaviour = field(default_factory=Behaviour)


@dataclass
class Call:
    """A request that is signed in and has found its room."""

    world: World
    request: Request
    args: dict[str, str]
    roles: frozenset[str] = frozenset()

    @property
    def company(self) -> Company:
        """The company."""
        return self.world.company

    @cached_property
    def query(self) -> dict[str, str]:
        """The query options; names such as `top` count as `$top`, and marks of a page that came twice are gone."""
        query = {
            name if name.startswith("$") or name not in _BARE else f"${name}": v
            for name, v in self.request.query.items()
        }
        if "$skiptoken" in query:
            query["$skiptoken"] = token = query["$skiptoken"].partition(AGAIN)[0]
            if not token:
                del query["$skiptoken"]
        return query

    @cached_property
    def preferences(self) -> odata.Preferences:
        """The Prefer header."""
        return odata.preferences(self.request.headers.get("Prefer"))

    @property
    def immutable(self) -> bool:
        """Whether item IDs are asked for in their immutable form."""
        return self.preferences.immutable_ids

    @cached_property
    def person(self) -> Person:
        """The user whom the path names, for mailbox resources."""
        person = find_user(self.company, self.args["user"])
        if person is None:
            raise no_user(self.args["user"])
        return person

    @cached_property
    def box(self) -> Box:
        """The mailbox that the path names."""
        if self.person.box is None:
            raise no_mailbox()
        if self.person.object_id in self.world.behaviour.denied:
            raise access_denied()
        return self.person.box

    def json_body(self) -> dict[str, Any]:
        """The body as a JSON object; 400 otherwise."""
        try:
            body = orjson.loads(self.request.body)
        except ValueError as error:
            raise bad_request("Unable to read JSON request payload.") from error
        if not isinstance(body, dict):
            raise bad_request("Unable to read JSON request payload.")
        return body

    def context(self, fragment: str) -> str:
        """The `@odata.context` of an answer."""
        return f"{self.request.origin}/v1.0/$metadata#{fragment}"

    def link(self, path: str, **options: str | int) -> str:
        """A link to follow; names of options come without their `$`."""
        query = "&".join(f"${name}={quote(str(value), safe='')}" for name, value in options.items())
        return f"{self.request.origin}/v1.0/{path}?{query}"

    def own_path(self) -> str:
        """The path of this call below the version."""
        return self.request.path.split("/", 2)[2]


AGAIN = "."  # not in a token's alphabet; a number behind it makes another link to the same page
_BARE = frozenset({"top", "skip", "select", "filter", "orderby", "expand", "count", "skiptoken", "deltatoken"})

Handler = Callable[[Call], dict[str, Any] | Answer]


@dataclass(frozen=True, slots=True)
class Route:
    """A path template with the function that answers it."""

    method: str
    template: str
    area: Area
    handler: Handler
    cost: int = 1  # in resource units of the directory
    pattern: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        source = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(self.template))
        object.__setattr__(self, "pattern", re.compile(source, re.IGNORECASE))


def get(template: str, area: Area, handler: Handler, *, cost: int = 1) -> Route:
    """A route for GET."""
    return Route("GET", template, area, handler, cost)


def find_user(company: Company, key: str) -> Person | None:
    """The user by object ID or user principal name, as Graph finds one."""
    person = company.find_person(key)
    if person and key.lower() in {person.object_id.lower(), person.user_principal_name.lower()}:
        return person
    return None


def json_answer(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    """A JSON answer."""
    return Answer(status, {"Content-Type": JSON_TYPE, **(headers or {})}, orjson.dumps(content))
