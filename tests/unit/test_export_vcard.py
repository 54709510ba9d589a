"""vCards hold what was stored, in the form that RFC 2426 and RFC 6350 ask for."""

from __future__ import annotations

import base64
import re
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.contact import FIELD_NAMES
from syncvault.export.vcard import VcardVersion, escape, fold, write

UID = UUID("3f0e6b9e-8d55-4f6e-9f0a-5a1d0c3b2a11")
EVERYTHING: dict[str, Any] = {
    "display_name": "Jörg Müller",
    "given_name": "Jörg",
    "middle_name": "Karl",
    "surname": "Müller; Söhne",
    "title": "Dr.",
    "generation": "Jr.",
    "initials": "JM",
    "nickname": "Jogi",
    "company": "Müller, Meier & Co",
    "department": "Einkauf",
    "job_title": "Leiter",
    "office_location": "B 2.14",
    "profession": "Kaufmann",
    "manager": "Anna Chef",
    "assistant": "Otto Hilf",
    "email_addresses": ["joerg@example.com", "jm@example.com"],
    "business_phones": ["+49 30 1234"],
    "home_phones": ["+49 30 5678"],
    "mobile_phone": "+49 170 1",
    "im_addresses": ["sip:joerg@example.com", "joerg on chat"],
    "web_page": "https://example.com/joerg",
    "business_address": {"street": "Hauptstr. 1", "city": "Berlin", "postal_code": "10115", "country": "Germany"},
    "home_address": {"city": "Potsdam"},
    "other_address": {"street": "Feld, Wald; Wiese"},
    "birthday": "1985-03-14",
    "spouse": "Eva Müller",
    "children": ["Ida", "Max"],
    "notes": "first line\nsecond, line; with \\ and 🎉",
}


def unfolded(card: bytes) -> list[str]:
    assert card.endswith(b"\r\n")
    assert b"\n" not in card.replace(b"\r\n", b"")
    return card.replace(b"\r\n ", b"").decode("utf-8").removesuffix("\r\n").split("\r\n")


def unescape(value: str) -> str:
    return re.sub(r"\\(.)", lambda match: "\n" if match[1] in "nN" else match[1], value)


def test_the_fixture_fills_every_field_there_is() -> None:
    assert set(EVERYTHING) == set(FIELD_NAMES)


def test_a_version_3_card_reads_as_rfc_2426_wants() -> None:
    assert unfolded(write(UID, EVERYTHING)) == [
        "BEGIN:VCARD",
        "VERSION:3.0",
        "PRODID:-//syncvault//EN",
        f"UID:{UID}",
        "FN:Jörg Müller",
        "N:Müller\\; Söhne;Jörg;Karl;Dr.;Jr.",
        "NICKNAME:Jogi",
        "ORG:Müller\\, Meier & Co;Einkauf",
        "TITLE:Leiter",
        "ROLE:Kaufmann",
        "EMAIL;TYPE=INTERNET,PREF:joerg@example.com",
        "EMAIL;TYPE=INTERNET:jm@example.com",
        "TEL;TYPE=work:+49 30 1234",
        "TEL;TYPE=home:+49 30 5678",
        "TEL;TYPE=cell:+49 170 1",
        "ADR;TYPE=work:;;Hauptstr. 1;Berlin;;10115;Germany",
        "ADR;TYPE=home:;;;Potsdam;;;",
        "ADR:;;Feld\\, Wald\\; Wiese;;;;",
        "IMPP:sip:joerg@example.com",
        "X-IM:joerg on chat",
        "URL:https://example.com/joerg",
        "X-SPOUSE:Eva Müller",
        "X-CHILD:Ida",
        "X-CHILD:Max",
        "BDAY:1985-03-14",
        "X-INITIALS:JM",
        "X-OFFICE:B 2.14",
        "X-MANAGER:Anna Chef",
        "X-ASSISTANT:Otto Hilf",
        "NOTE:first line\\nsecond\\, line\\; with \\\\ and 🎉",
        "END:VCARD",
    ]


def test_a_version_4_card_differs_where_rfc_6350_does() -> None:
    lines = unfolded(write(UID, EVERYTHING, version=VcardVersion.V4))
    assert lines[1] == "VERSION:4.0"
    assert {
        f"UID:urn:uuid:{UID}",
        "EMAIL;PREF=1:joerg@example.com",
        "EMAIL:jm@example.com",
        "RELATED;TYPE=spouse;VALUE=text:Eva Müller",
        "RELATED;TYPE=child;VALUE=text:Ida",
        "BDAY:19850314",
    } <= set(lines)


@pytest.mark.parametrize("version", list(VcardVersion))
def test_no_line_is_longer_than_75_octets_and_none_breaks_a_character(version: VcardVersion) -> None:
    fields = {"display_name": "日本語🎉" * 40, "notes": "ü" * 500}
    for line in write(UID, fields, b"\xff\xd8\xff" + bytes(1000), version=version).split(b"\r\n"):
        assert len(line) <= 75
        line.decode("utf-8")


@given(st.text(max_size=300))
def test_folding_loses_nothing(text: str) -> None:
    line = ("NOTE:" + escape(text)).encode("utf-8", "replace")
    assert fold(line).replace(b"\r\n ", b"") == line + b"\r\n"


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=200))
def test_a_text_survives_the_way_out_and_back(text: str) -> None:
    lines = unfolded(write(UID, {"notes": f"a{text}"}))
    assert unescape(next(line for line in lines if line.startswith("NOTE:")).removeprefix("NOTE:")) == f"a{text}"


@given(st.sampled_from(FIELD_NAMES), st.text(max_size=60))
def test_no_stored_text_can_forge_a_property(name: str, text: str) -> None:
    fields: dict[str, Any] = {name: text + "\r\nEND:VCARD"}
    if isinstance(EVERYTHING[name], list):
        fields = {name: [text + "\r\nEND:VCARD"]}
    elif isinstance(EVERYTHING[name], dict):
        fields = {name: {"street": text + "\nEND:VCARD"}}
    assert unfolded(write(UID, fields)).count("END:VCARD") == 1


@pytest.mark.parametrize(
    ("photo", "kind"), [(b"\xff\xd8\xffjpeg", "JPEG"), (b"\x89PNG\r\n\x1a\npng", "PNG"), (b"GIF89a", "GIF")]
)
def test_a_photo_is_embedded_with_its_type(photo: bytes, kind: str) -> None:
    text = base64.b64encode(photo).decode()
    assert f"PHOTO;ENCODING=b;TYPE={kind}:{text}" in unfolded(write(UID, {}, photo))
    modern = unfolded(write(UID, {}, photo, version=VcardVersion.V4))
    assert f"PHOTO:data:image/{kind.lower()};base64,{text}" in modern


def test_a_photo_of_an_unknown_kind_is_embedded_without_a_claim() -> None:
    assert "PHOTO;ENCODING=b:eHl6" in unfolded(write(UID, {}, b"xyz"))
    assert "PHOTO:data:application/octet-stream;base64,eHl6" in unfolded(
        write(UID, {}, b"xyz", version=VcardVersion.V4)
    )


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"given_name": "Jörg", "surname": "Müller"}, "Jörg Müller"),
        ({"company": "ACME"}, "ACME"),
        ({"email_addresses": ["a@example.com"]}, "a@example.com"),
        ({"mobile_phone": "+49"}, "+49"),
        ({}, "-"),
    ],
)
def test_the_mandatory_name_falls_back_to_what_identifies_the_entry(fields: dict[str, Any], name: str) -> None:
    assert f"FN:{name}" in unfolded(write(UID, fields))


def test_a_birthday_that_is_no_date_stays_text() -> None:
    assert "BDAY;VALUE=text:in spring" in unfolded(write(UID, {"birthday": "in spring"}))


def test_a_web_page_that_is_no_address_is_kept_apart() -> None:
    assert "X-URL:see intranet\\; page 2" in unfolded(write(UID, {"web_page": "see intranet; page 2"}))
