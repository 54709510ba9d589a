"""Microsoft's schemas as a judge of bodies, for the server and for tests."""

from __future__ import annotations

import copy
import os
from functools import cache
from pathlib import Path

from lxml import etree

from tests.simulators.onprem.soap import MESSAGES, TYPES, M, S, T, children

FOLDER_VARIABLE = "SYNCVAULT_CONTRACTS"
# The schema fixes RequestServerVersion to its own version; every older client differs there.
_HEADERS = {f"{T}ExchangeImpersonation", f"{T}ServerVersionInfo", f"{T}MailboxCulture"}

_WRAPPED = f"{M}GetUserConfigurationResponse"


def schema_folder() -> Path | None:
    """Where the schemas are, if the environment names a folder that has them."""
    named = os.environ.get(FOLDER_VARIABLE, "")
    folder = Path(named).resolve() / "ews" if named else None
    return folder if folder is not None and (folder / "messages.xsd").is_file() else None


@cache
def load(folder: Path) -> etree.XMLSchema:
    """The schemas, compiled; they import each other by relative paths."""
    wrapper = etree.Element("{http://www.w3.org/2001/XMLSchema}schema")
    for namespace, name in ((MESSAGES, "messages.xsd"), (TYPES, "types.xsd")):
        location = (folder / name).as_uri()
        etree.SubElement(
            wrapper, "{http://www.w3.org/2001/XMLSchema}import", namespace=namespace, schemaLocation=location
        )
    return etree.XMLSchema(etree.fromstring(etree.tostring(wrapper)))


@cache
def operations(folder: Path) -> dict[str, tuple[str, str]]:
    """What can be asked of a server: by the operation's name, the elements of question and answer."""
    tag = "{http://www.w3.org/2001/XMLSchema}element"
    names = {element.get("name", "") for element in etree.parse(folder / "messages.xsd").getroot().iter(tag)}
    names.discard("SendNotification")  # what a server sends
    return {name.removesuffix("Request"): (name, said) for name in sorted(names) if (said := _answer(name, names))}


def _answer(name: str, names: set[str]) -> str:
    """The element that answers another one; nothing if that is no question."""
    candidates = (f"{name}Response", f"{name}ResponseMessage", f"{name.removesuffix('Request')}Response")
    return next((found for found in candidates if found in names and found != name), "")


def violations(schema: etree.XMLSchema, root: etree._Element) -> list[tuple[int, str]]:
    """What in an envelope the schemas do not allow: line and sentence. A fault's body is SOAP's own."""
    found: list[tuple[int, str]] = []
    for part in (*children(root.find(f"{S}Header")), *children(root.find(f"{S}Body"))):
        if part.tag in _HEADERS or part.tag.startswith(M):
            found += _judge(schema, part)
    return found


def _judge(schema: etree.XMLSchema, element: etree._Element) -> list[tuple[int, str]]:
    if element.tag == f"{M}FindPeople" and "Traversal" in element.attrib:
        # A widespread client sends this attribute; Exchange lets it pass.
        element = copy.deepcopy(element)
        del element.attrib["Traversal"]
    message = element.find(f"{M}ResponseMessages/*")
    if element.tag == _WRAPPED and message is not None:
        # "GetUserConfiguration operation" shows this one wrapped like all others; the schema knows only its inside.
        element = copy.deepcopy(message)
        element.tag = _WRAPPED
    # A subtree is judged where it stands, so that namespaces declared further up count.
    if schema.validate(etree.ElementTree(element)):
        return []
    return [(entry.line, entry.message) for entry in schema.error_log]
