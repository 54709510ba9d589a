"""Reads SOAP answers as they come: bytes to response messages, and no further than an answer of Exchange's can go.

Pure. Document types are refused, entities never expanded. What a tree takes in memory is bounded by what is counted
before it is built: an element takes thirty times the four bytes that name it.
"""

from __future__ import annotations

import codecs
import re
from contextlib import suppress
from typing import Final, NamedTuple

from lxml import etree

from connectors.ews.wire.operations import MESSAGES
from connectors.port import ProtocolViolation

SOAP: Final = "http://schemas.xmlsoap.org/soap/envelope/"
UNNAMED: Final = "ErrorUnnamed"  # the code of what fails without a code that could be one

_BODY: Final = f"{{{SOAP}}}Body"
_FAULT: Final = f"{{{SOAP}}}Fault"
_CODE: Final = f"{{{MESSAGES}}}ResponseCode"
_EXTRA: Final = f"{{{MESSAGES}}}MessageXml"
_LIST: Final = f"{{{MESSAGES}}}ResponseMessages"

_MARKUP_LIMIT: Final = 400_000  # tags and attributes; a page of 512 changes has 6,000, of 1,000 people 80,000
_MUCH_MARKUP: Final = 150_000
_FEW: Final = 4 * _MUCH_MARKUP  # bytes that cannot hold so many: the shortest tag takes four, an attribute five
_MUCH: Final = 4 * 1024 * 1024  # bytes
_TAG_LIMIT: Final = 1024 * 1024  # bytes
_PROLOGUE_LIMIT: Final = 64 * 1024
_KEPT: Final = 16 * 1024 * 1024  # bytes that can be read a second time, with what XML forbids left out

_PROLOGUE = re.compile(rb"\s*(?:\xef\xbb\xbf)?(?:\s|<\?.*?\?>|<!--.*?-->)*", re.DOTALL)
_REFERENCE = re.compile(r"&#(?:x([0-9a-fA-F]+)|([0-9]+));")
_LONGEST_REFERENCE: Final = 16
_END: Final = 64  # bytes that show whether a document was cut off
_NAMED_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")
_BAD_CHARACTER = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


class AnswerTooLargeError(Exception):
    """The answer is longer, or takes more memory, than the caller is willing to hold; ask for less at once."""


class TruncatedError(Exception):
    """The answer begins as SOAP and ends too early."""


class Message(NamedTuple):
    """One response message, or a SOAP fault.

    Attributes:
        element: The message, for its content.
        code: Exchange's response code; `NoError` when it went well.
        failed: Whether there is no content; warnings have some.
    """

    element: etree._Element
    code: str
    failed: bool

    @property
    def is_fault(self) -> bool:
        """Whether it is a SOAP fault: the request failed as a whole."""
        return bool(self.element.tag == _FAULT)

    @property
    def values(self) -> dict[str, str]:
        """Details to the code, such as `BackOffMilliseconds`."""
        told = self.element if self.is_fault else next(self.element.iterchildren(_EXTRA), None)
        return (
            {}
            if told is None
            else {one.get("Name", ""): (one.text or "").strip() for one in told.iter() if one.get("Name")}
        )

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


class Reader:
    """Takes an answer in, block by block, and says at the first sign that it is none."""

    def __init__(self) -> None:
        self._start: bytes | None = b""  # what came before it was clear that this is SOAP; None from then on
        self._kept: list[bytes] | None = []
        self._size = 0
        self._markup = 0
        self._open_tag = 0  # bytes of a tag that has not ended yet
        self._has_asides = False  # comments or raw text, which are held twice
        self._end = b""
        self._parser = _parser()
        self._mender: _Mender | None = None

    def feed(self, block: bytes) -> None:
        """Takes in the next block.

        Raises:
            AnswerTooLargeError: The answer takes more memory than any that is expected.
            ProtocolViolation: It is no SOAP, declares a document type, or is malformed.
        """
        if self._start is not None:
            self._start += block
            if not has_begun(self._start):
                return
            block, self._start = _without_prologue(self._start, is_whole=False), None
        self._count(block)
        if self._kept is not None:
            self._kept.append(block)
        self._parse(block)

    @property
    def holds_much(self) -> bool:
        """Whether so much came that memory runs short if several such answers are taken in at once."""
        return self._size > _MUCH or self._markup > _MUCH_MARKUP

    def messages(self) -> list[Message]:
        """The response messages, now that the answer has ended; a fault is a single failed message.

        Raises:
            TruncatedError: The answer stops in the middle.
            ProtocolViolation: It is not SOAP at all.
        """
        if self._start is not None:
            block, self._start = _without_prologue(self._start, is_whole=True), None
            self.feed(block)
        root = self._root()
        if root.getroottree().docinfo.internalDTD is not None:
            raise _doctype()
        body = root.find(_BODY)
        content = None if body is None else next((child for child in body if isinstance(child.tag, str)), None)
        if content is None:
            raise ProtocolViolation("Exchange's answer holds no SOAP body.")
        if content.tag == _FAULT:
            return [_fault(content)]
        listed = content.find(_LIST)
        found = [content] if listed is None else [child for child in listed if isinstance(child.tag, str)]
        return [_message(element) for element in found]

    def close(self) -> None:
        """Lets go of what was taken in: lxml frees a document that has not ended only when its parser is closed."""
        self._kept = None
        with suppress(etree.XMLSyntaxError):
            self._parser.close()

    def _count(self, block: bytes) -> None:
        if self._size <= _FEW < self._size + len(block) and self._kept is not None:  # most answers are never counted
            self._markup = sum(map(_markup_in, self._kept))
        self._size += len(block)
        if self._size > _FEW or self._kept is None:
            self._markup += _markup_in(block)
        # One character is found many times as fast as two.
        self._has_asides |= b"!" in block and (b"<!" in block or (self._end.endswith(b"<") and block[:1] == b"!"))
        self._end = (self._end + block[-_END:])[-_END:]
        opened, closed = block.rfind(b"<"), block.rfind(b">")
        if opened > closed:
            self._open_tag = len(block) - opened
        elif closed >= 0:
            self._open_tag = 0
        elif self._open_tag:
            self._open_tag += len(block)
        if self._size > _KEPT:
            self._kept = None
            if self._has_asides:
                raise AnswerTooLargeError
        if self._markup > _MARKUP_LIMIT or self._open_tag > _TAG_LIMIT:
            raise AnswerTooLargeError

    def _parse(self, block: bytes) -> None:
        try:
            if self._mender is None:
                self._parser.feed(block)
            else:
                self._parser.feed(self._mender.mend(block))
        except etree.XMLSyntaxError:
            self._mend()

    def _mend(self) -> None:
        """Begins anew with what XML forbids left out: Exchange passes on what people pasted into their contacts."""
        if self._mender is not None or self._kept is None:
            raise _malformed() from None
        self._mender, self._parser = _Mender(), _parser()
        blocks, self._kept = self._kept, None
        self._markup = sum(map(_markup_in, blocks))  # which nobody could count later
        try:
            for block in blocks:
                self._parser.feed(self._mender.mend(block))
        except etree.XMLSyntaxError:
            raise _malformed() from None

    def _root(self) -> etree._Element:
        try:
            if self._mender is not None:
                self._parser.feed(self._mender.mend(b"", last=True))
            return self._parser.close()
        except etree.XMLSyntaxError:
            if self._end.rstrip().endswith(b"Envelope>"):
                raise _malformed() from None
            raise TruncatedError from None


class _Mender:
    """Leaves out what XML forbids, in pieces: bytes that are no UTF-8, control characters, references to them."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def mend(self, block: bytes, *, last: bool = False) -> bytes:
        """The block, less what may be the beginning of a reference that ends in the next one."""
        text = self._rest + self._decoder.decode(block, final=last)
        cut = text.rfind("&", max(0, len(text) - _LONGEST_REFERENCE))
        if last or cut < 0 or ";" in text[cut:]:
            cut = len(text)
        self._rest = text[cut:]
        return _BAD_CHARACTER.sub("", _REFERENCE.sub(_allowed_reference, text[:cut])).encode()


def _markup_in(block: bytes) -> int:
    # To count goes byte by byte, to look does not; in most of a photo there is nothing to be found.
    return sum(block.count(mark) for mark in (b"<", b"=") if mark in block)


def read(answer: bytes) -> list[Message]:
    """The response messages of a whole answer; raises as `Reader` does."""
    reader = Reader()
    reader.feed(answer)
    return reader.messages()


def is_whole(listed: etree._Element, known: int) -> bool:
    """Whether a list that may come in pages has been told to its end; `known` of its entries have been.

    Servers that do not say so may still count them.
    """
    said = listed.get("IncludesLastItemInRange")
    total = listed.get("TotalItemsInView", "")
    return said in {"true", "1"} if said else not (total.isdecimal() and int(total) > known)


def is_soap(answer: bytes) -> bool:
    """Whether the bytes look like the beginning of a SOAP envelope."""
    match = _PROLOGUE.match(answer)
    start = match.end() if match else 0
    return start < len(answer) and b"Envelope" in answer[start : start + 80]


def has_begun(start: bytes) -> bool:
    """Whether so much is there that it is clear what follows the prologue."""
    match = _PROLOGUE.match(start)
    return len(start) - (match.end() if match else 0) >= 80 or len(start) >= _PROLOGUE_LIMIT


def _without_prologue(answer: bytes, *, is_whole: bool) -> bytes:
    """The answer from its first element on, or from its declaration.

    XML allows nothing before that, not even white space.
    """
    match = _PROLOGUE.match(answer)
    start = match.end() if match else 0
    if answer[start : start + 2] == b"<!":
        raise _doctype()
    if is_whole and b">" not in answer[start:] and answer[start : start + 1] in {b"", b"<"}:
        raise TruncatedError
    if not is_soap(answer):
        raise ProtocolViolation("The answer is not SOAP.", code="not-soap")
    return answer[start:]


def _doctype() -> ProtocolViolation:
    return ProtocolViolation("Exchange's answer declares a document type, which SOAP forbids.", code="document-type")


def _malformed() -> ProtocolViolation:
    return ProtocolViolation("Exchange's answer is malformed.", code="malformed-answer")


def _allowed_reference(match: re.Match[str]) -> str:
    number = int(match[1], 16) if match[1] else int(match[2])
    allowed = (
        number in {9, 10, 13} or 0x20 <= number < 0xD800 or 0xE000 <= number < 0xFFFE or 0x10000 <= number < 0x110000
    )
    return match[0] if allowed else ""


def _parser() -> etree.XMLParser:
    # huge_tree: a photo is one text node of several megabytes. The encoding is fixed so that no other one can hide
    # a document type from the check above; entities are never expanded.
    return etree.XMLParser(
        encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False, huge_tree=True, remove_comments=True
    )


def _message(element: etree._Element) -> Message:
    outcome = element.get("ResponseClass", "")
    # Hundreds of messages come in one answer; `findtext` would go through Python code for each.
    code_element = next(element.iterchildren(_CODE), None)
    text = None if code_element is None else code_element.text
    if text == "NoError" and outcome != "Error":
        return Message(element, text, failed=False)
    code = _code(text) or ("NoError" if outcome in {"Success", ""} else UNNAMED)
    return Message(element, code, outcome == "Error" or (outcome == "" and code != "NoError"))


def _fault(element: etree._Element) -> Message:
    """A SOAP fault: the code stands in its detail, or as a qualified name in `faultcode`."""
    found = {etree.QName(child).localname: child for child in element.iter() if isinstance(child.tag, str)}
    code = _code(found["ResponseCode"].text) if "ResponseCode" in found else ""
    if not code and "faultcode" in found:
        code = _code((found["faultcode"].text or "").rpartition(":")[2])
    return Message(element, code or UNNAMED, failed=True)


def _code(text: str | None) -> str:
    """A code as an answer has it. Codes are shown and logged: what is not a name is no code, and not repeated."""
    code = (text or "").strip()
    return code if not code or _NAMED_CODE.fullmatch(code) else UNNAMED
