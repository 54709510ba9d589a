"""Reads SOAP answers: bytes to response messages. Pure; entities, external files and document types are refused."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from lxml import etree

from connectors.ews.operations import MESSAGES
from connectors.port import ProtocolViolation

SOAP: Final = "http://schemas.xmlsoap.org/soap/envelope/"

_BODY: Final = f"{{{SOAP}}}Body"
_FAULT: Final = f"{{{SOAP}}}Fault"
_CODE: Final = f"{{{MESSAGES}}}ResponseCode"
_EXTRA: Final = f"{{{MESSAGES}}}MessageXml"
_LIST: Final = f"{{{MESSAGES}}}ResponseMessages"

_PROLOGUE = re.compile(rb"\s*(?:\xef\xbb\xbf)?(?:\s|<\?.*?\?>|<!--.*?-->)*", re.DOTALL)
_REFERENCE = re.compile(rb"&#(?:x([0-9a-fA-F]+)|([0-9]+));")
_BAD_CHARACTER = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


class TruncatedError(Exception):
    """The answer begins as SOAP and ends too early."""


@dataclass(frozen=True, slots=True)
class Message:
    """One response message, or a SOAP fault.

    Attributes:
        element: The message, for its content.
        code: Exchange's response code; `NoError` when it went well.
        failed: Whether there is no content; warnings have some.
        values: Details to the code, such as `BackOffMilliseconds`.
    """

    element: etree._Element = field(repr=False)
    code: str
    failed: bool
    values: dict[str, str] = field(repr=False)

    @property
    def is_fault(self) -> bool:
        """Whether it is a SOAP fault: the request failed as a whole."""
        return bool(self.element.tag == _FAULT)

    def find(self, name: str) -> etree._Element | None:
        """The child of this local name in the messages' namespace."""
        return self.element.find(f"{{{MESSAGES}}}{name}")

    def text(self, name: str) -> str:
        """The text of a child, empty if it is not there."""
        return (self.element.findtext(f"{{{MESSAGES}}}{name}") or "").strip()

    def truth(self, name: str) -> bool | None:
        """A child's boolean, None if it is not there."""
        text = self.text(name).lower()
        return None if not text else text in {"true", "1"}


def read(answer: bytes) -> list[Message]:
    """The response messages of an answer; a fault is a single failed message.

    Raises:
        TruncatedError: The answer stops in the middle.
        ProtocolViolation: It is not SOAP at all.
    """
    body = _parse(answer).find(_BODY)
    content = None if body is None else next((child for child in body if isinstance(child.tag, str)), None)
    if content is None:
        raise ProtocolViolation("Exchange's answer holds no SOAP body.")
    if content.tag == _FAULT:
        return [_fault(content)]
    listed = content.find(_LIST)
    messages = [content] if listed is None else [child for child in listed if isinstance(child.tag, str)]
    return [_message(element) for element in messages]


def is_soap(answer: bytes) -> bool:
    """Whether the bytes look like a SOAP envelope, whole or cut off."""
    start = _after_prologue(answer)
    return start < len(answer) and b"Envelope" in answer[start : start + 64]


def _after_prologue(answer: bytes) -> int:
    match = _PROLOGUE.match(answer)
    return match.end() if match else 0


def _parse(answer: bytes) -> etree._Element:
    start = _after_prologue(answer)
    if answer[start : start + 2] == b"<!":
        raise ProtocolViolation("Exchange's answer declares a document type, which SOAP forbids.")
    if b">" not in answer[start:] and answer[start : start + 1] in {b"", b"<"}:
        raise TruncatedError
    if not is_soap(answer):
        raise ProtocolViolation("The answer is not SOAP.")
    if answer[:1].isspace() or answer[3:4].isspace():
        answer = answer[start:]  # XML allows nothing before its declaration, not even white space
    try:
        root = etree.fromstring(answer, _parser())
    except etree.XMLSyntaxError:
        root = _parse_mended(answer)
    if root.getroottree().docinfo.internalDTD is not None:
        raise ProtocolViolation("Exchange's answer declares a document type, which SOAP forbids.")
    return root


def _parse_mended(answer: bytes) -> etree._Element:
    # Exchange passes on characters that people pasted into their contacts and that XML does not allow.
    text = _REFERENCE.sub(_allowed_reference, answer).decode("utf-8", "replace")
    try:
        return etree.fromstring(_BAD_CHARACTER.sub("", text).encode(), _parser())
    except etree.XMLSyntaxError:
        raise TruncatedError from None


def _allowed_reference(match: re.Match[bytes]) -> bytes:
    number = int(match[1], 16) if match[1] else int(match[2])
    allowed = (
        number in {9, 10, 13} or 0x20 <= number < 0xD800 or 0xE000 <= number < 0xFFFE or 0x10000 <= number < 0x110000
    )
    return match[0] if allowed else b""


def _parser() -> etree.XMLParser:
    # huge_tree: a photo is one text node of several megabytes. The encoding is fixed so that no other one can hide
    # a document type from the check above; entities are never expanded.
    return etree.XMLParser(
        encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False, huge_tree=True, remove_comments=True
    )


def _message(element: etree._Element) -> Message:
    outcome = element.get("ResponseClass", "")
    code = (element.findtext(_CODE) or "").strip() or ("NoError" if outcome in {"Success", ""} else "ErrorUnnamed")
    return Message(element, code, outcome == "Error" or (outcome == "" and code != "NoError"), _values(element))


def _values(element: etree._Element) -> dict[str, str]:
    extra = element.find(_EXTRA)
    return {} if extra is None else _named(extra)


def _named(element: etree._Element) -> dict[str, str]:
    return {child.get("Name", ""): (child.text or "").strip() for child in element.iter() if child.get("Name")}


def _fault(element: etree._Element) -> Message:
    """A SOAP fault: the code stands in its detail, or as a qualified name in `faultcode`."""
    found = {etree.QName(child).localname: child for child in element.iter() if isinstance(child.tag, str)}
    code = (found["ResponseCode"].text or "").strip() if "ResponseCode" in found else ""
    if not code and "faultcode" in found:
        code = (found["faultcode"].text or "").strip().rpartition(":")[2]
    return Message(element, code or "ErrorUnnamed", failed=True, values=_named(element))
