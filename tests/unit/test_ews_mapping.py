"""Exchange's contact element becomes the canonical contact."""

from __future__ import annotations

import pytest
from lxml import etree

from connectors.contact import Contact, PostalAddress
from connectors.ews.mapping import contact_from, is_private, item_from, plain_address
from connectors.ews.wire.operations import TYPES

FULL = """
<t:Sensitivity>Normal</t:Sensitivity>
<t:Body BodyType="Text">Mag Grüße.
Zweite Zeile</t:Body>
<t:FileAs>Müller, Anna</t:FileAs>
<t:DisplayName>Dr. Anna Müller</t:DisplayName>
<t:GivenName>Anna</t:GivenName>
<t:Initials>A.M.</t:Initials>
<t:MiddleName>Maria</t:MiddleName>
<t:Nickname>Anni</t:Nickname>
<t:CompleteName><t:Title>Dr.</t:Title><t:FirstName>Anna</t:FirstName><t:Suffix>Jr.</t:Suffix></t:CompleteName>
<t:CompanyName>Beispiel GmbH</t:CompanyName>
<t:EmailAddresses>
  <t:Entry Key="EmailAddress2" Name="Anna" RoutingType="SMTP">anna@privat.example</t:Entry>
  <t:Entry Key="EmailAddress1" Name="Anna" RoutingType="SMTP" MailboxType="Contact">Anna@Example.com</t:Entry>
</t:EmailAddresses>
<t:PhysicalAddresses>
  <t:Entry Key="Business"><t:Street>Hauptstraße 1</t:Street><t:City>Köln</t:City><t:State>NRW</t:State>
    <t:CountryOrRegion>Deutschland</t:CountryOrRegion><t:PostalCode>50667</t:PostalCode></t:Entry>
  <t:Entry Key="Home"><t:City>Bonn</t:City></t:Entry>
</t:PhysicalAddresses>
<t:PhoneNumbers>
  <t:Entry Key="BusinessFax">+49 221 9</t:Entry>
  <t:Entry Key="BusinessPhone2">+49 221 2</t:Entry>
  <t:Entry Key="BusinessPhone">+49 221 1</t:Entry>
  <t:Entry Key="HomePhone">+49 228 1</t:Entry>
  <t:Entry Key="MobilePhone">+49 170 1</t:Entry>
</t:PhoneNumbers>
<t:AssistantName>Bo</t:AssistantName>
<t:Birthday>1985-03-14T11:59:00Z</t:Birthday>
<t:BusinessHomePage>https://example.com</t:BusinessHomePage>
<t:Children><t:String>Max</t:String><t:String>Mia</t:String></t:Children>
<t:Department>Vertrieb</t:Department>
<t:Generation>Jr.</t:Generation>
<t:ImAddresses><t:Entry Key="ImAddress1">sip:anna@example.com</t:Entry></t:ImAddresses>
<t:JobTitle>Leiterin</t:JobTitle>
<t:Manager>Carla</t:Manager>
<t:OfficeLocation>3.14</t:OfficeLocation>
<t:Profession>Ingenieurin</t:Profession>
<t:SpouseName>Ole</t:SpouseName>
<t:Surname>Müller</t:Surname>
<t:WeddingAnniversary>2010-01-01T11:59:00Z</t:WeddingAnniversary>
<t:HasPicture>true</t:HasPicture>
"""


def element(content: str) -> etree._Element:
    return etree.fromstring(f'<t:Contact xmlns:t="{TYPES}">{content}</t:Contact>')


def test_every_field_finds_its_place() -> None:
    assert contact_from(element(FULL)) == Contact(
        display_name="Dr. Anna Müller",
        given_name="Anna",
        middle_name="Maria",
        surname="Müller",
        title="Dr.",
        generation="Jr.",
        initials="A.M.",
        nickname="Anni",
        company="Beispiel GmbH",
        department="Vertrieb",
        job_title="Leiterin",
        office_location="3.14",
        profession="Ingenieurin",
        manager="Carla",
        assistant="Bo",
        email_addresses=("Anna@Example.com", "anna@privat.example"),
        business_phones=("+49 221 1", "+49 221 2"),
        home_phones=("+49 228 1",),
        mobile_phone="+49 170 1",
        im_addresses=("sip:anna@example.com",),
        web_page="https://example.com",
        business_address=PostalAddress("Hauptstraße 1", "Köln", "NRW", "50667", "Deutschland"),
        home_address=PostalAddress(city="Bonn"),
        birthday="1985-03-14",
        spouse="Ole",
        children=("Max", "Mia"),
        notes="Mag Grüße.\nZweite Zeile",
    )


def test_an_empty_contact_is_empty() -> None:
    assert contact_from(element("")) == Contact()


def test_what_is_empty_is_not_kept() -> None:
    names = ("DisplayName", "Body", "Children", "EmailAddresses", "ImAddresses", "Manager", "Birthday", "CompleteName")
    entries = "".join(f"<t:{name}/>" for name in names)
    entries += '<t:PhoneNumbers><t:Entry Key="MobilePhone"/><t:Entry Key="HomePhone"/></t:PhoneNumbers>'
    entries += '<t:PhysicalAddresses><t:Entry Key="Home"><t:City/></t:Entry></t:PhysicalAddresses>'
    entries += '<t:EmailAddresses><t:Entry Key="EmailAddress1">sip:a@b.example</t:Entry></t:EmailAddresses>'

    assert contact_from(element(entries)).to_dict() == {}


@pytest.mark.parametrize("fields", [frozenset({"surname"}), frozenset({"mobile_phone", "home_address"}), frozenset()])
def test_only_wanted_fields_are_kept(fields: frozenset[str]) -> None:
    assert item_from(element(FULL), fields).contact.to_dict().keys() == fields


@pytest.mark.parametrize(
    ("text", "routing", "name", "address"),
    [
        ("anna@example.com", "SMTP", "", "anna@example.com"),
        ("SMTP:Anna@Example.com", "", "", "Anna@Example.com"),
        ("smtp:anna@example.com", "SMTP", "", "anna@example.com"),
        ("/o=Org/ou=Group/cn=Recipients/cn=anna", "EX", "Anna Müller", ""),
        ("/O=ORG/OU=GROUP/CN=anna", "EX", "anna@example.com", "anna@example.com"),
        ("anna@example.com", "EX", "Anna Müller", "anna@example.com"),
        ("cn=anna", "EX", "Anna Müller", ""),
        ("sip:anna@example.com", "EX", "", ""),
        ("sip:anna@example.com", "", "", ""),
        ("X500:/o=Org/cn=anna", "", "", ""),
        ("Anna@+49 221 9", "FAX", "", ""),
        ("", "", "", ""),
    ],
)
def test_only_smtp_addresses_are_kept_and_without_their_scheme(
    text: str, routing: str, name: str, address: str
) -> None:
    assert plain_address(text, routing=routing, name=name) == address


@pytest.mark.parametrize(
    ("birthday", "day"),
    [
        ("1985-03-14T11:59:00Z", "1985-03-14"),
        ("1985-03-14T00:00:00Z", "1985-03-14"),
        ("1985-03-13T23:00:00Z", "1985-03-14"),  # midnight in Berlin, as older versions stored it
        ("1985-03-14T05:00:00Z", "1985-03-14"),  # midnight in New York
        ("1985-03-14T12:00:00Z", "1985-03-14"),
        ("1985-03-14T00:00:00+01:00", "1985-03-14"),
        ("1985-03-14", "1985-03-14"),
        ("4501-01-01T00:00:00Z", ""),
        ("9999-12-31T23:59:59Z", ""),
        ("yesterday", ""),
        ("1985-02-31T00:00:00Z", ""),
    ],
)
def test_a_birthday_is_the_day_its_owner_meant(birthday: str, day: str) -> None:
    assert contact_from(element(f"<t:Birthday>{birthday}</t:Birthday>")).birthday == day


def test_a_directory_entry_puts_the_primary_address_first() -> None:
    entry = element(
        """<t:DisplayName>Anna</t:DisplayName><t:EmailAddresses>
        <t:Entry Key="EmailAddress1">smtp:a.mueller@example.com</t:Entry>
        <t:Entry Key="EmailAddress2">SMTP:anna@example.com</t:Entry>
        <t:Entry Key="EmailAddress3">EUM:4711;phone-context=x</t:Entry></t:EmailAddresses>
        <t:Manager>CN=Carla,OU=People,DC=example</t:Manager><t:Notes>from the directory</t:Notes>
        <t:ManagerMailbox><t:Mailbox><t:Name>Carla</t:Name></t:Mailbox></t:ManagerMailbox>"""
    )

    contact = contact_from(entry)

    assert contact.email_addresses == ("anna@example.com", "a.mueller@example.com")
    assert contact.manager == "Carla"
    assert contact.notes == "from the directory"


def test_notes_that_come_as_html_become_text() -> None:
    body = (
        "&lt;html&gt;&lt;head&gt;&lt;title&gt;x&lt;/title&gt;&lt;/head&gt;&lt;body&gt;Tag&lt;br&gt;Grüße&lt;/body&gt;"
    )
    contact = contact_from(element(f'<t:Body BodyType="HTML">{body}</t:Body>'))

    assert contact.notes == "Tag\nGrüße"


@pytest.mark.parametrize("markup", ["", " ", "&lt;!-- converted --&gt;", "&lt;!DOCTYPE html&gt;"])
def test_notes_in_html_may_hold_nothing(markup: str) -> None:
    assert contact_from(element(f'<t:Body BodyType="HTML">{markup}</t:Body>')).notes == ""


@pytest.mark.parametrize(
    ("content", "private"),
    [
        ("<t:Sensitivity>Private</t:Sensitivity>", True),
        ("<t:Sensitivity>Personal</t:Sensitivity>", False),
        ("", False),
    ],
)
def test_private_means_sensitivity_private(content: str, private: bool) -> None:
    item = element(content)

    assert is_private(item) is private
    assert item_from(item, frozenset()).is_private is private


def test_a_picture_that_the_server_is_silent_about_has_to_be_asked_for() -> None:
    said = [
        item_from(element(content), frozenset()).has_picture
        for content in ("<t:HasPicture>true</t:HasPicture>", "<t:HasPicture>false</t:HasPicture>", "")
    ]

    assert said == [True, False, None]


def test_what_an_item_says_of_itself_is_no_part_of_the_contact() -> None:
    item = element("<t:Sensitivity>Private</t:Sensitivity><t:HasPicture>true</t:HasPicture>")

    assert item_from(item, frozenset({"surname"})).contact.to_dict() == {}
    assert contact_from(item).to_dict() == {}
