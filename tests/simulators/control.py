"""The control endpoint: changes the company and arms faults while the simulators run on their own.

GET  /company[?person=ID]                          everything, as JSON
GET  /holdings                                     how much there is to read, in numbers
GET  /requests[?at=onprem]                         how often it was asked, see `recorder.py` of each simulator
POST /company {"do": "add_contact", …}             a method of `Company` with its arguments; photos as base64
POST /faults  {"do": "fail_next", "at": "online", …}   a method of `Faults`
POST /faults  {"do": "arm", "name": …, "rate": …}  a named mode (`fault_modes.py` of each); arm_listed, disarm, clear
GET  /faults[?at=onprem]                           the modes at work with what they did, the seed, and all names
POST /faults  {"do": "expire_delta_tokens"}        or expire_access_tokens
POST /behaviour {"denied": [ID], …}                fields of `Behaviour`, and `roles` of the application

Where both simulators run, `at` says which one is meant; else the only one is.
"""

from __future__ import annotations

import base64
import json
from dataclasses import is_dataclass
from typing import Any

import trustme

from tests.simulators.company.content import company_json, holdings, item_content, person_content
from tests.simulators.company.model import Company
from tests.simulators.company.records import Item, Person
from tests.simulators.online.server import OnlineSimulator
from tests.simulators.serving import Answer, HttpsServer, Request

CHANGES = frozenset(
    {
        "add_person",
        "change_person",
        "disable_person",
        "remove_person",
        "set_person_photo",
        "add_group",
        "rename_group",
        "remove_group",
        "add_member",
        "remove_member",
        "add_org_contact",
        "change_org_contact",
        "remove_org_contact",
        "add_contact",
        "change_contact",
        "remove_contact",
        "move_contact",
        "set_contact_photo",
        "set_private",
        "add_folder",
        "rename_folder",
        "delete_folder",
    }
)


class Control:
    """Serves the control endpoint over one company and its simulators, by name (`online`, `onprem`)."""

    def __init__(self, company: Company, simulators: dict[str, Any], authority: trustme.CA, port: int = 0) -> None:
        self._company = company
        self._simulators = simulators
        self._server = HttpsServer(self._respond, authority, port)

    @property
    def url(self) -> str:
        """Where it listens."""
        return self._server.origin

    def start(self) -> None:
        """Begins to answer."""
        self._server.start()

    def stop(self) -> None:
        """Stops."""
        self._server.stop()

    def _respond(self, request: Request) -> Answer:
        try:
            if (request.method, request.path) == ("GET", "/company"):
                content = company_json(self._company, request.query.get("person", ""))
                return Answer(200, {"Content-Type": "application/json"}, content)
            if (request.method, request.path) == ("GET", "/faults"):
                return _json(200, self._simulator(request.query).faults.listed())
            if (request.method, request.path) == ("GET", "/holdings"):
                return _json(200, holdings(self._company))
            if (request.method, request.path) == ("GET", "/requests"):
                return _json(200, self._simulator(request.query).recorder.counts)
            return _json(200, self._do(request))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            return _json(400, {"error": f"{type(error).__name__}: {error}"})

    def _do(self, request: Request) -> dict[str, Any]:
        if request.method != "POST":
            raise ValueError(f"nothing to {request.method} at {request.path}")
        arguments = json.loads(request.body)
        if request.path == "/company":
            return self._change(arguments)
        if request.path == "/faults":
            return self._fault(arguments)
        if request.path == "/behaviour":
            return self._behave(arguments)
        raise ValueError(f"nothing at {request.path}")

    def _change(self, arguments: dict[str, Any]) -> dict[str, Any]:
        verb = arguments.pop("do")
        if verb not in CHANGES:
            raise ValueError(f"no such change: {verb}")
        if isinstance(arguments.get("photo"), str):
            arguments["photo"] = base64.b64decode(arguments["photo"])
        outcome = getattr(self._company, verb)(**arguments)
        if isinstance(outcome, Item):
            return item_content(outcome)
        if isinstance(outcome, Person):
            return person_content(outcome)
        if is_dataclass(outcome):
            return {name: getattr(outcome, name, None) for name in ("id", "object_id", "name", "display_name")}
        return {}

    def _fault(self, arguments: dict[str, Any]) -> dict[str, Any]:
        verb, simulator = arguments.pop("do"), self._simulator(arguments)
        if isinstance(simulator, OnlineSimulator) and verb.startswith("expire_"):
            getattr(simulator, verb)()
        elif verb.startswith("_"):
            raise ValueError(f"no such fault: {verb}")
        else:
            getattr(simulator.faults, verb)(**arguments)
        return {}

    def _simulator(self, arguments: dict[str, Any]) -> Any:
        place = arguments.pop("at", "online" if "online" in self._simulators else "onprem")
        return self._simulators[place]

    def _behave(self, arguments: dict[str, Any]) -> dict[str, Any]:
        simulator = self._simulator(arguments)
        behaviour = simulator.behaviour
        if "roles" in arguments:
            simulator.application.roles = tuple(arguments.pop("roles"))
        for name, value in arguments.items():
            if not hasattr(behaviour, name):
                raise ValueError(f"no such switch: {name}")
            setattr(behaviour, name, set(value) if isinstance(value, list) else value)
        return {}


def _json(status: int, content: dict[str, Any]) -> Answer:
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    return Answer(status, {"Content-Type": "application/json"}, body)
