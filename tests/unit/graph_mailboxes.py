"""Mailboxes of the stub: their folders in either way of listing them, their rounds, and how to pull them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from connectors.graph.mailbox.contacts import ContactReader
from connectors.graph.wire.transport import Answer
from connectors.port import Checkpoints, Ended, Mailbox, Page, Wanted
from connectors.selection import FULL, Selection
from tests.unit.graph_stub import ORIGIN, Script, StubGraph, answer, refusal

NOTHING = answer({"value": []})
EVERYTHING = Selection(fields=FULL - {"photo"}, private=True)  # no filters are needed for it

FOLDERS = "/v1.0/users/u/contactFolders"
FLAT = f"{FOLDERS}/delta"
DEFAULT = f"{FOLDERS}/contacts"
DELTA = f"{FOLDERS}/D/contacts/delta"
NO_FLAT = {FLAT: refusal(404, "ErrorInvalidIdMalformed")}


def link(path: str) -> str:
    return f"{ORIGIN}{path}"


def folder(identifier: str, name: str, parent: str = "D") -> dict[str, str]:
    return {"id": identifier, "displayName": name, "parentFolderId": parent}


def folder_rows(*rows: Any) -> Answer:
    return answer({"value": list(rows), "@odata.deltaLink": link(f"{FLAT}?$deltatoken=1")})


def page(*entries: Any, following: str = "", final: str = f"{DELTA}?$deltatoken=1") -> Answer:
    ends = {"@odata.nextLink": link(following)} if following else {"@odata.deltaLink": link(final)}
    return answer({"value": list(entries), **ends})


def empty_mailbox(key: str = "u") -> dict[str, Script]:
    """A mailbox with nothing but its default folder `D`, which is empty."""
    folders = f"/v1.0/users/{key}/contactFolders"
    delta = f"{folders}/D/contacts/delta"
    return {
        f"{folders}/delta": folder_rows(),
        folders: NOTHING,
        f"{folders}/contacts": answer(folder("D", "Contacts", "root")),
        f"{folders}/contacts/childFolders": NOTHING,
        delta: page(final=f"{delta}?$deltatoken=1"),
    }


def graph_with(scripts: dict[str, Script]) -> StubGraph:
    return StubGraph(empty_mailbox() | scripts)


def pull(graph: StubGraph, checkpoints: Checkpoints | None = None, selection: Selection = EVERYTHING) -> list[Any]:
    """What one mailbox brought; raises what it ended with."""
    return read_to_its_end(ContactReader(graph.client, selection), Wanted(Mailbox("u"), checkpoints or {}))


def read_to_its_end(reader: ContactReader, wanted: Wanted) -> list[Any]:
    found: list[Any] = [step.outcome for steps in reader.changes([wanted]) for step in steps]
    last = found.pop()
    assert isinstance(last, Ended)
    if last.error is not None:
        raise last.error
    return found


def paths_of(steps: Iterable[Any]) -> list[str]:
    return [step.folder.path for step in steps if isinstance(step, Page)]
