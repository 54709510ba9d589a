"""Graph's JSON becomes the canonical contact, whatever types it comes in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.contact import LIST_LIMIT, NOTES_LIMIT, Contact, PostalAddress
from connectors.graph.mapping import card_from, card_select, contact_from, contact_select
from connectors.selection import BUSINESS, FULL


def test_every_field_of_a_contact_arrives() -> None:
    entry = {
        "id": "AAMk",
        "displayName": "Dr. Ada King",
        "givenName": "Ada",
        "middleName": "Augusta",
        "surname": "King",
        "title": "Dr.",
        "generation": "II",
        "initials": "A.K.",
        "nickName": "Addie",
        "companyName": "Analytical",
        "department": "Engines",
        "jobTitle": "Countess",
        "officeLocation": "Ockham",
        "profession": "Mathematician",
        "manager": "Babbage",
        "assistantName": "Somerville",
        "emailAddresses": [{"name": "Ada", "address": "ada@example.com"}, {"name": "no address"}],
        "businessPhones": ["1"],
        "homePhones": ["2"],
        "mobilePhone": "3",
        "imAddresses": ["sip:ada"],
        "businessHomePage": "https://example.com",
        "businessAddress": {"street": "S", "city": "C", "state": "R", "postalCode": "P", "countryOrRegion": "L"},
        "homeAddress": {"city": "Home"},
        "otherAddress": {},
        "birthday": "1815-12-10T11:59:00Z",
        "spouseName": "William",
        "children": ["Byron", "Anne"],
        "personalNotes": "First\r\nprogrammer",
        "unknownField": "dropped",
    }
    assert contact_from(entry) == Contact(
        display_name="Dr. Ada King",
        given_name="Ada",
        middle_name="Augusta",
        surname="King",
        title="Dr.",
        generation="II",
        initials="A.K.",
        nickname="Addie",
        company="Analytical",
        department="Engines",
        job_title="Countess",
        office_location="Ockham",
        profession="Mathematician",
        manager="Babbage",
        assistant="Somerville",
        email_addresses=("ada@example.com",),
        business_phones=("1",),
        home_phones=("2",),
        mobile_phone="3",
        im_addresses=("sip:ada",),
        web_page="https://example.com",
        business_address=PostalAddress("S", "C", "R", "P", "L"),
        home_address=PostalAddress(city="Home"),
        birthday="1815-12-10",
        spouse="William",
        children=("Byron", "Anne"),
        notes="First\r\nprogrammer",
    )


def test_a_card_has_the_primary_address_first_and_no_other_schemes() -> None:
    card = card_from(
        {
            "mail": "ada@example.com",
            "proxyAddresses": [
                "smtp:a.king@example.com",
                "SMTP:Ada@example.com",
                "SIP:ada@example.com",
                "x500:/o=E",
                7,
            ],
            "otherMails": ["ada@home.example", None],
            "businessPhones": ["1"],
            "streetAddress": "S",
            "city": "C",
            "state": "R",
            "postalCode": "P",
            "country": "L",
        }
    )
    assert card.email_addresses == ("ada@example.com", "a.king@example.com", "ada@home.example")
    assert card.business_address == PostalAddress("S", "C", "R", "P", "L")


def test_everything_that_is_wanted_is_asked_for() -> None:
    assert "personalNotes" in contact_select(FULL).split(",")
    assert "proxyAddresses" in card_select(FULL).split(",")
    assert "photo" not in contact_select(FULL)


def test_nothing_else_is_asked_for() -> None:
    assert contact_select(frozenset({"surname", "birthday", "photo"})) == "id,surname,birthday"
    unwanted = {"personalNotes", "birthday", "spouseName", "children", "homeAddress", "nickName", "imAddresses"}
    assert not unwanted & set(contact_select(BUSINESS).split(","))


def test_a_card_always_says_whose_it_is() -> None:
    asked = "id,mail,userPrincipalName,accountEnabled,showInAddressList"
    assert card_select(frozenset()) == asked
    assert card_select(frozenset({"surname"})) == f"{asked},surname"
    assert card_select(FULL).split(",").count("mail") == 1


def test_nothing_else_is_handed_over_even_if_it_comes() -> None:
    entry = {"mail": "ada@example.com", "surname": "King", "city": "C", "businessPhones": ["1"], "personalNotes": "n"}
    wanted = frozenset({"surname"})
    assert contact_from(entry, wanted) == Contact(surname="King")
    assert card_from(entry, wanted) == Contact(surname="King")


def test_limits_hold() -> None:
    contact = contact_from(
        {"personalNotes": "n" * 10**6, "businessPhones": [str(n) for n in range(500)], "displayName": "d\x00\ud800"}
    )
    assert len(contact.notes) == NOTES_LIMIT
    assert len(contact.business_phones) == LIST_LIMIT
    assert contact.display_name == "d\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("birthday", ["soon", "1815-12", "", 7, None, {"y": 1}])
def test_a_birthday_that_is_no_date_is_none(birthday: Any) -> None:
    assert contact_from({"birthday": birthday}).birthday == ""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(f"{contact_select(FULL)},{card_select(FULL)}".split(",")), JSON))
def test_no_json_is_too_odd_to_be_mapped_and_stored(entry: dict[str, Any]) -> None:
    for contact in (contact_from(entry), card_from(entry)):
        stored = json.loads(json.dumps(contact.to_dict(), ensure_ascii=False).encode())
        assert Contact(**stored) == contact


def test_a_contact_keeps_what_is_filled_and_nothing_that_is_not_on_the_list() -> None:
    contact = Contact(surname="King", company="", email_addresses=["k@example.com"], home_address=PostalAddress())
    assert contact.to_dict() == {"surname": "King", "email_addresses": ("k@example.com",)}
    assert (contact.company, contact.children, contact.home_address) == ("", (), PostalAddress())
    assert contact.replace(surname="", company="Hanse AG") == Contact(
        company="Hanse AG", email_addresses=("k@example.com",)
    )
    with pytest.raises(TypeError, match="contact has no field shoe_size"):
        Contact(shoe_size="44")
    with pytest.raises(AttributeError):
        contact.shoe_size  # noqa: B018
    with pytest.raises(AttributeError):
        contact.surname = "Queen"
