"""From a request's bytes to an answer's: checks, impersonation, planned failures, and the table of operations."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from tests.simulators.onprem import (
    attachments,
    contract,
    directory,
    folders,
    items,
    moves,
    notices,
    people,
    photos,
    server_settings,
    sync,
    writes,
)
from tests.simulators.onprem.blows import Asked, Blow, asked_of
from tests.simulators.onprem.recorder import Recorder
from tests.simulators.onprem.soap import (
    Request,
    SoapFault,
    children,
    envelope,
    failure,
    fault,
    local,
    parse,
    read_request,
    response,
    schema_fault,
)
from tests.simulators.onprem.state import Call, State


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer, what becomes of it on its way, and what the recorder wants to know of its request."""

    status: int
    body: bytes
    operation: str = ""
    mailbox: str = ""
    blow: Blow = Blow()  # noqa: RUF009  (frozen)
    etag: str = ""


OPERATIONS: dict[str, Callable[[Call], str]] = {
    "GetFolder": folders.get_folder,
    "FindFolder": folders.find_folder,
    "SyncFolderHierarchy": sync.sync_folder_hierarchy,
    "SyncFolderItems": sync.sync_folder_items,
    "GetItem": items.get_item,
    "FindItem": items.find_item,
    "CreateItem": writes.create_item,
    "UpdateItem": writes.update_item,
    "DeleteItem": writes.delete_item,
    "GetAttachment": attachments.get_attachment,
    "CreateAttachment": attachments.create_attachment,
    "DeleteAttachment": attachments.delete_attachment,
    "ResolveNames": directory.resolve_names,
    "ExpandDL": directory.expand_dl,
    "FindPeople": people.find_people,
    "GetPersona": people.get_persona,
    "GetUserPhoto": photos.get_user_photo,
    "CreateFolder": moves.create_folder,
    "UpdateFolder": moves.update_folder,
    "DeleteFolder": moves.delete_folder,
    "MoveItem": moves.move_item,
    "CopyItem": moves.copy_item,
    "Subscribe": notices.subscribe,
    "GetEvents": notices.get_events,
    "Unsubscribe": notices.unsubscribe,
    "ConvertId": server_settings.convert_id,
    "GetServerTimeZones": server_settings.get_server_time_zones,
    "GetUserConfiguration": server_settings.get_user_configuration,
}


_SINCE_2013 = {"FindPeople", "GetPersona", "GetUserPhoto"}


class Service:
    """Answers authenticated requests."""

    def __init__(self, state: State, recorder: Recorder) -> None:
        self._state = state
        self._recorder = recorder
        folder = contract.schema_folder()
        self._schema = contract.load(folder) if folder else None
        self._known = {asked for asked, _ in contract.operations(folder).values()} if folder else set()

    def answer(self, payload: bytes, known: str = "") -> Outcome:
        """The answer to one request; the simulator's own mistakes are kept and shown as an internal error.

        Args:
            payload: The request's body.
            known: The etag that came beside it.
        """
        try:
            request = read_request(payload, known)
        except SoapFault as problem:
            return Outcome(problem.status, fault(problem))
        try:
            return self._perform(payload, request)
        except SoapFault as problem:
            return Outcome(problem.status, fault(problem), request.operation)
        except Exception:  # noqa: BLE001 (a server answers 500 whatever went wrong in it)
            self._recorder.crashes.append(traceback.format_exc())
            return Outcome(500, fault(SoapFault("ErrorInternalServerError")), request.operation)

    def _perform(self, payload: bytes, request: Request) -> Outcome:
        name = request.operation
        if name not in OPERATIONS and name not in self._known:
            raise SoapFault("ErrorInvalidRequest", f"The operation {name} is not known.")
        self._validate(payload)
        if name not in OPERATIONS:  # to another code clients answer by trying all versions of the schema
            raise SoapFault("ErrorInvalidOperation", f"The operation {name} is not served here.")
        asked = asked_of(request, payload)
        with self._state.faults.taken(asked) as blow:
            time.sleep(blow.wait)
            return self._served(request, asked, blow)

    def _served(self, request: Request, asked: Asked, blow: Blow) -> Outcome:
        name, state = request.operation, self._state
        with state.company.lock:
            if blow.fault is not None:
                raise blow.fault
            mailbox = state.access.impersonated(state.faults.known_as(request.impersonate))
            if blow.is_instead:
                return Outcome(blow.status, blow.body, name, mailbox.address, blow)
            call = Call(state, request, mailbox, blow)
            if blow.first is not None:
                blow.first(call)
            status, body = self._run(call, asked.version)
        answer = envelope(body)
        if blow.change is not None:
            answer = blow.change(answer)
        state.faults.answered(asked, answer)
        if not blow.is_flawed:
            self._recorder.violations += [f"{name}: {sentence}" for _, sentence in self._judge(answer)]
        return Outcome(status, answer, name, mailbox.address, blow, photos.etag_of(call))

    def _run(self, call: Call, version: str) -> tuple[int, str]:
        name, blow = call.request.operation, call.blow
        if blow.error is not None:
            references = children(next((e for e in children(call.body) if local(e).endswith("Ids")), None))
            return 200, response(name, [failure(name, blow.error)] * max(1, len(references)))
        if name in _SINCE_2013 and version < "Exchange2013":
            raise SoapFault("ErrorInvalidRequest", f"The operation {name} is not known to {version}.")
        try:
            return 200, OPERATIONS[name](call)
        except photos.PhotoAbsent:
            return blow.absent or call.state.photo_absent_status, photos.absent()

    def _validate(self, payload: bytes) -> None:
        for line, sentence in self._judge(payload):
            raise schema_fault(sentence, line)

    def _judge(self, document: bytes) -> list[tuple[int, str]]:
        return [] if self._schema is None else contract.violations(self._schema, parse(document))
