"""Answers that are rewritten on their way out: odd but legal pages, photos that lie, and what is no SOAP at all.

A state with `~` and a number after it means the same as without: so a page that comes again has a state of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from lxml import etree

from tests.simulators.bulk import filled, packed
from tests.simulators.named_faults import Dice
from tests.simulators.onprem.blows import Asked, Blow, Settings, Strike
from tests.simulators.onprem.soap import NAMESPACES, TYPES, T

_ENTITIES = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
_DOCTYPES = {
    "plain": b"<!DOCTYPE s:Envelope>",
    "external": b'<!DOCTYPE s:Envelope SYSTEM "file:///etc/hostname">',
    "entities": f'<!DOCTYPE s:Envelope [<!ENTITY e0 "ha">{_ENTITIES}]>'.encode(),
}


def rewriting(change: Callable[[bytes, Asked, Dice, Settings], bytes], *, is_flawed: bool = False) -> Strike:
    """A change to the answer's bytes."""

    def strike(dice: Dice, settings: Settings, asked: Asked) -> Blow:
        return Blow(change=lambda answer: change(answer, asked, dice, settings), is_flawed=is_flawed)

    return strike


def editing(
    edit: Callable[[etree._Element, Asked, Dice], None], *, only_pages: bool = False, is_flawed: bool = False
) -> Strike:
    """A change to the answer's document; `only_pages` leaves sync answers alone that bring an error."""

    def change(answer: bytes, asked: Asked, dice: Dice, settings: Settings) -> bytes:
        root = etree.fromstring(answer)
        if only_pages and root.find(".//m:Changes", NAMESPACES) is None:
            return answer
        edit(root, asked, dice)
        return bytes(etree.tostring(root, encoding="utf-8", xml_declaration=True))

    return rewriting(change, is_flawed=is_flawed)


# -- pages -----------------------------------------------------------------------------------------------------------


def come_again(root: etree._Element, asked: Asked, dice: Dice) -> None:
    """The page leads to itself once more."""
    state, last = root.find(".//m:SyncState", NAMESPACES), root.find(".//m:IncludesLastItemInRange", NAMESPACES)
    place, _, number = asked.state.partition("~")
    state.text, last.text = f"{place}~{int(number or 0) + 1}", "false"


def empty_page(root: etree._Element, asked: Asked, dice: Dice) -> None:
    """A page without changes before the page that was asked for."""
    come_again(root, asked, dice)
    root.find(".//m:Changes", NAMESPACES).clear()


def duplicate_changes(root: etree._Element, asked: Asked, dice: Dice) -> None:
    """Every change twice, the second time as an update."""
    changes = root.find(".//m:Changes", NAMESPACES)
    for change in list(changes):
        again = etree.fromstring(etree.tostring(change))
        if again.tag == f"{T}Create":
            again.tag = f"{T}Update"
        changes.append(again)


def last_unsaid(root: etree._Element, asked: Asked, dice: Dice) -> None:
    """Nobody says whether this was the last page."""
    last = root.find(".//m:IncludesLastItemInRange", NAMESPACES)
    last.getparent().remove(last)


def privacy_unsaid(root: etree._Element, asked: Asked, dice: Dice) -> None:
    """Only the item itself says whether it is private."""
    for element in root.findall(".//t:Sensitivity", NAMESPACES):
        element.getparent().remove(element)


def with_lists(root: etree._Element, asked: Asked, dice: Dice) -> None:
    """A personal distribution list among the contacts."""
    item = (
        f'<t:Create xmlns:t="{TYPES}"><t:DistributionList><t:ItemId Id="DL{dice.number():032x}" ChangeKey="EgAAAA=="/>'
        "<t:Sensitivity>Normal</t:Sensitivity></t:DistributionList></t:Create>"
    )
    root.find(".//m:Changes", NAMESPACES).insert(0, etree.fromstring(item))


def make_private(root: etree._Element, asked: Asked, dice: Dice) -> None:
    """The contacts chosen are private."""
    for item in root.iterfind(".//t:Contact", NAMESPACES):
        identity, sensitivity = item.find(f"{T}ItemId"), item.find(f"{T}Sensitivity")
        if identity is not None and sensitivity is not None and asked.chosen(identity.get("Id", "")):
            sensitivity.text = "Private"


# -- photos ----------------------------------------------------------------------------------------------------------


def size_of(size: int) -> Callable[[etree._Element, Asked, Dice], None]:
    """Attachments say that they have this size."""

    def edit(root: etree._Element, asked: Asked, dice: Dice) -> None:
        for element in root.iterfind(".//t:Size", NAMESPACES):
            element.text = str(size)

    return edit


def no_content(root: etree._Element, asked: Asked, dice: Dice) -> None:
    """An attachment whose content does not come along."""
    for element in root.findall(".//t:Content", NAMESPACES):
        element.getparent().remove(element)


def garbled(root: etree._Element, asked: Asked, dice: Dice) -> None:
    """A photo that is no Base64."""
    for element in [*root.iterfind(".//t:Content", NAMESPACES), *root.iterfind(".//m:PictureData", NAMESPACES)]:
        element.text = "=not base64="


# -- what is no SOAP -------------------------------------------------------------------------------------------------


def bad_characters(answer: bytes, asked: Asked, dice: Dice, settings: Settings) -> bytes:
    """Names with characters that XML cannot carry, as references or as they are."""
    bad = dice.choice((b"&#x1;", b"&#x0B;", b"&#xD83D;", b"\x0b", b"\x1f", b"&#xFFFF;"))
    return re.sub(rb"(?=</t:(DisplayName|Surname|Name)>)", lambda match: bad, answer)


def malformed(answer: bytes, asked: Asked, dice: Dice, settings: Settings) -> bytes:
    """Elements that end in another order than they began."""
    return answer.replace(b"</s:Body></s:Envelope>", b"</s:Envelope></s:Body>")


def cut(answer: bytes, asked: Asked, dice: Dice, settings: Settings) -> bytes:
    """Half a document, complete as a message."""
    return answer[: len(answer) // 2]


def doctype(kind: str) -> Callable[[bytes, Asked, Dice, Settings], bytes]:
    """A document type declaration before the envelope, and where it declares entities, one in a text."""

    def change(answer: bytes, asked: Asked, dice: Dice, settings: Settings) -> bytes:
        declared = answer.replace(b"<s:Envelope", _DOCTYPES[kind] + b"<s:Envelope", 1)
        text = b"<m:ResponseCode>&e9;" if kind == "entities" else b"<m:ResponseCode>"
        return declared.replace(b"<m:ResponseCode>", text)

    return change


def huge(dice: Dice, settings: Settings, asked: Asked) -> Blow:
    """An envelope of `size` bytes, with its length or without."""
    length = (("Content-Length", str(settings.size)),) if dice.number() % 2 else ()
    return Blow(status=200, headers=(XML, *length), stream=lambda: _much_xml(settings.size), is_flawed=True)


def huge_gzip(dice: Dice, settings: Settings, asked: Asked) -> Blow:
    """The same out of a small compressed body."""
    headers = (XML, ("Content-Encoding", "gzip"))
    return Blow(status=200, headers=headers, stream=lambda: packed(_much_xml(settings.size)), is_flawed=True)


XML = ("Content-Type", "text/xml; charset=utf-8")


def _much_xml(size: int) -> Iterator[bytes]:
    begin = b'<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><a>'
    return filled(begin, b"<b>Nobody</b>", b"</a></s:Body></s:Envelope>", size)
