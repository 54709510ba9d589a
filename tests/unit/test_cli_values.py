"""Values are taken in their canonical form or refused with an example, and never repeated."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest

from syncvault.cli import values
from syncvault.errors import Exit, UsageError

ACCEPTED = [
    (values.tenant_name, "acme-berlin", "acme-berlin"),
    (values.tenant_name, "9" * 63, "9" * 63),
    (values.guid, "72F988BF-86F1-41AF-91AB-2D7CD011DB47", "72f988bf-86f1-41af-91ab-2d7cd011db47"),
    (values.day, "2028-02-29", date(2028, 2, 29)),
    (values.address, "jörg.o'neil+x@büro.example.com", "jörg.o'neil+x@büro.example.com"),
    (values.origin, "https://Login.Example.com/", "https://login.example.com"),
    (values.origin, "https://localhost:8443", "https://localhost:8443"),
    (values.origin, "https://[::1]:8443", "https://[::1]:8443"),
    (values.origin, "https://graph.example.com:443", "https://graph.example.com"),
    (values.url, "https://mail.example.com/EWS/Exchange.asmx", "https://mail.example.com/EWS/Exchange.asmx"),
    (values.zone, "Europe/Berlin", "Europe/Berlin"),
    (values.zone, "UTC", "UTC"),
    (values.account, "EXAMPLE\\svc", "EXAMPLE\\svc"),
    (values.plain_text, "K-0815 Ü", "K-0815 Ü"),
    (values.filled_text, " Human Resources ", "Human Resources"),
    (values.domain, "Büro.Example.COM", "büro.example.com"),
]

GUID = "72f988bf-86f1-41af-91ab-2d7cd011db47"
MALFORMED: list[tuple[Callable[[str, str], object], list[str]]] = [
    (values.tenant_name, ["", "-acme", "Acme", "a_b", "a" * 64, "acme\n", "ä"]),
    (values.guid, ["", "72f988bf", GUID.replace("-", ""), f"{{{GUID}}}", f"{GUID[:-1]}g", f"{GUID}\n"]),
    (values.day, ["", "31.12.2027", "20271231", "2027-02-29", "2027-W01-1", "0001-01-01", "9999-12-31"]),
    (values.address, ["", "jane", "jane@", "@example.com", "a@@b.example", "a b@example.com", "jane@example"]),
    (values.address, ["jane@-x.example", "jane@example.com\n", "Jane <jane@example.com>", "a,b@example.com"]),
    (values.address, ["jane@exa_mple..com", f"{'a' * 65}@example.com", "\u202ejane@example.com"]),
    (values.origin, ["", "login.example.com", "http://login.example.com", "https://", "https:///x", "https://x#"]),
    (values.origin, ["https://login.example.com/common", "https://u:p@login.example.com", "https://x?y=1"]),
    (values.origin, ["https://x:99999", "https://x:y", "https://a b", "https://x\n", "https://x\\@y"]),
    (values.url, ["https://mail.example.com", "http://mail.example.com/EWS", "https://mail.example.com/EWS?x"]),
    (values.zone, ["", "Berlin", "Europe", "europe/berlin", "../etc/passwd", "/etc/localtime", "Europe/Berlin\0"]),
    (values.account, ["", "a\nb", "a" * 257]),
    (values.plain_text, ["a\x1b[2J", "a" * 257]),
    (values.filled_text, ["", "  ", "a\nb", "a" * 257]),
    (values.domain, ["", "example", "@example.com", "jane@example.com", "a b.example", "example.com\n", "exa..com"]),
]
REFUSED = [(parse, text) for parse, texts in MALFORMED for text in texts]


@pytest.mark.parametrize(("parse", "text", "canonical"), ACCEPTED)
def test_a_good_value_is_taken_in_its_canonical_form(
    parse: Callable[[str, str], object], text: str, canonical: object
) -> None:
    assert parse(text, "--field") == canonical


@pytest.mark.parametrize(("parse", "text"), REFUSED)
def test_a_malformed_value_is_refused_by_name_with_an_example(parse: Callable[[str, str], object], text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text, "--field")
    assert "--field" in caught.value.message
    assert caught.value.advice.startswith("Give it like ")
    assert caught.value.exit_code is Exit.USAGE


@pytest.mark.parametrize("parse", sorted({parse for parse, _ in MALFORMED}, key=lambda parse: parse.__name__))
def test_a_refusal_does_not_repeat_the_value(parse: Callable[[str, str], object]) -> None:
    with pytest.raises(UsageError) as caught:
        parse("Jane Confidential\x07", "--field")
    assert "Jane" not in f"{caught.value.message} {caught.value.advice}"


def test_a_choice_lists_what_is_known() -> None:
    assert values.choice("china", "--cloud", values.CLOUDS) == "china"
    with pytest.raises(UsageError) as caught:
        values.choice("mars", "--cloud", values.CLOUDS)
    assert caught.value.advice == "Give one of: global, us-gov, us-dod, china."


def test_our_own_ids_are_read_as_the_lists_show_them() -> None:
    assert values.own_id("3f0e6b9e-8d55-4f6e-9f0a-5a1d0c3b2a11", "ID").hex() == "3f0e6b9e8d554f6e9f0a5a1d0c3b2a11"
    with pytest.raises(UsageError, match="ID is not an ID"):
        values.own_id("3f0e", "ID")


def test_an_empty_text_is_called_empty_and_its_own_example_is_shown() -> None:
    with pytest.raises(UsageError, match=r"^The value of --company is empty\.$") as caught:
        values.filled_text("", "--company")
    assert caught.value.advice == "Give it like Contoso, or leave --company out."
