"""Answers are read strictly where safety is at stake and leniently where Exchange is known to be sloppy."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from connectors.ews.wire import soap
from connectors.ews.wire.operations import TYPES
from connectors.port import ProtocolViolation
from tests.unit.ews_wire import answer, error, fault, messages, success


def test_each_response_message_comes_with_its_code() -> None:
    good, bad = soap.read(
        messages("GetItem", success("GetItem", "<m:Items/>"), error("GetItem", "ErrorItemNotFound")).encode()
    )

    assert (good.code, good.failed) == ("NoError", False)
    assert (bad.code, bad.failed) == ("ErrorItemNotFound", True)


@pytest.mark.parametrize("code", ["Error of anna@example.com", "ErrorÄnna", "Error\n\tX", "E" * 1000])
def test_what_is_no_name_is_no_code_and_repeated_nowhere(code: str) -> None:
    for text in (messages("GetItem", error("GetItem", code)), fault(code), fault("").replace("a:<", f"a:{code}<")):
        (message,) = soap.read(text.encode())

        assert (message.code, message.failed) == (soap.UNNAMED, True)


def test_a_warning_has_content() -> None:
    text = answer("ResolveNames", "<m:ResolutionSet/>").replace('"Success"', '"Warning"')
    text = text.replace("NoError", "ErrorNameResolutionMultipleResults")

    (message,) = soap.read(text.encode())

    assert not message.failed
    assert message.find("ResolutionSet") is not None


def test_a_fault_names_its_code_and_how_long_to_stay_away() -> None:
    (message,) = soap.read(fault("ErrorServerBusy", '<t:Value Name="BackOffMilliseconds">297749</t:Value>').encode())

    assert message.is_fault
    assert message.code == "ErrorServerBusy"
    assert message.values == {"BackOffMilliseconds": "297749"}


def test_a_fault_without_detail_gives_the_code_of_its_faultcode() -> None:
    text = fault("ErrorImpersonateUserDenied")
    text = text[: text.index("<detail>")] + text[text.index("</s:Fault>") :]

    assert soap.read(text.encode())[0].code == "ErrorImpersonateUserDenied"


def test_an_answer_without_a_list_of_messages_is_its_own_message() -> None:
    text = answer("X").replace("m:XResponse>", "m:GetUserPhotoResponse>")
    text = text.replace("<m:ResponseMessages></m:ResponseMessages>", "<m:HasChanged>true</m:HasChanged>")

    (message,) = soap.read(text.encode())

    assert message.truth("HasChanged") is True


@pytest.mark.parametrize("sloppy", [b"a&#x1;b&#11;c&#xD800;d", b"a\x01b\x0bcd", b"a\xffb"])
def test_characters_that_xml_forbids_do_not_lose_the_rest(sloppy: bytes) -> None:
    text = answer("GetItem", f'<m:Items><t:Contact xmlns:t="{TYPES}"><t:Surname>@</t:Surname></t:Contact></m:Items>')

    (message,) = soap.read(text.encode().replace(b"@", sloppy))

    surname = message.element.findtext(f".//{{{TYPES}}}Surname")
    assert surname is not None
    assert surname.replace("�", "")[:2] == "ab"


@pytest.mark.parametrize("first", [b"", b"\x01"])
def test_no_more_elements_are_taken_in_for_a_character_that_xml_forbids(first: bytes) -> None:
    def feed(reader: soap.Reader) -> None:
        reader.feed(answer("X").encode().partition(b"</m:X")[0] + first)
        for _ in range(soap._MARKUP_LIMIT // 1000 + 1):
            reader.feed(b"<a/>" * 1000)

    with closing(soap.Reader()) as reader, pytest.raises(soap.AnswerTooLargeError):
        feed(reader)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.97])
def test_an_answer_that_stops_early_is_known_as_cut_off(share: float) -> None:
    text = answer("GetItem", "<m:Items/>", "<m:Items/>").encode()

    with pytest.raises(soap.TruncatedError):
        soap.read(text[: int(len(text) * share)])


@pytest.mark.parametrize("start", [b"", b"<?xml vers", b"<s:Enve"])
def test_an_answer_that_hardly_began_is_known_as_cut_off(start: bytes) -> None:
    with pytest.raises(soap.TruncatedError):
        soap.read(start)


@pytest.mark.parametrize("text", ["<html><body>Sign in</body></html>", '{"error": 1}', "<a/>"])
def test_what_is_no_soap_is_refused(text: str) -> None:
    with pytest.raises(ProtocolViolation):
        soap.read(text.encode())


def test_a_document_type_is_refused_before_it_can_define_entities() -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>'
    text = answer("GetItem", "<m:Items/>")
    head, rest = text.split("?>", 1)

    with pytest.raises(ProtocolViolation, match="document type"):
        soap.read(f"{head}?>{bomb}{rest}".encode())


def test_a_document_type_hidden_in_another_encoding_is_refused() -> None:
    text = '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE x [<!ENTITY a "a">]>' + answer("GetItem").split("?>", 1)[1]

    with pytest.raises(ProtocolViolation):
        soap.read(text.encode("utf-16"))


@pytest.mark.parametrize("before", [b"\r\n  ", b"\xef\xbb\xbf\n"])
def test_white_space_before_the_declaration_is_forgiven(before: bytes) -> None:
    (message,) = soap.read(before + answer("GetItem", "<m:Items/>").encode())

    assert message.code == "NoError"


def held() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="nothing tells how much memory is held")
def test_an_answer_that_never_ended_leaves_nothing_behind() -> None:
    half = b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>' + b"<a>Nobody</a>" * 50_000
    growth = []
    for _ in range(12):
        before = held()
        with closing(soap.Reader()) as reader:
            reader.feed(half)
        growth.append(held() - before)
    assert sum(growth[2:]) < 20_000_000
