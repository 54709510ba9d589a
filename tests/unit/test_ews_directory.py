"""The card is the entry that carries exactly this address."""

from __future__ import annotations

import pytest

from connectors.ews.connector import EwsConnector
from connectors.port import CredentialRejected, Mailbox, MailboxGone, NotPermitted, Source, SourceGone, SourceKind
from tests.reading import mailboxes
from tests.unit.ews_wire import Wire, answer, error, fault, messages

ANNA = Mailbox("anna@example.com", "anna@example.com")
BO = Mailbox("bo@example.com", "bo@example.com")
TOP = answer("GetFolder", '<m:Folders><t:ContactsFolder><t:FolderId Id="top"/></t:ContactsFolder></m:Folders>')
NOBODY = messages("ResolveNames", error("ResolveNames", "ErrorNameResolutionNoResults"))


def found(*resolutions: str) -> str:
    listed = "".join(f"<t:Resolution>{one}</t:Resolution>" for one in resolutions)
    return answer("ResolveNames", f'<m:ResolutionSet TotalItemsInView="1">{listed}</m:ResolutionSet>')


def entry(address: str, name: str, addresses: str = "", contact: bool = True) -> str:
    mailbox = (
        f"<t:Mailbox><t:Name>{name}</t:Name><t:EmailAddress>{address}</t:EmailAddress>"
        "<t:RoutingType>SMTP</t:RoutingType><t:MailboxType>Mailbox</t:MailboxType></t:Mailbox>"
    )
    if not contact:
        return mailbox
    listed = "".join(
        f'<t:Entry Key="EmailAddress{number}">{one}</t:Entry>' for number, one in enumerate(addresses.split(), 1)
    )
    return (
        f"{mailbox}<t:Contact><t:DisplayName>{name}</t:DisplayName><t:EmailAddresses>{listed}</t:EmailAddresses>"
        "<t:PhoneNumbers><t:Entry Key='BusinessPhone'>+49 221 1</t:Entry></t:PhoneNumbers></t:Contact>"
    )


def test_a_card_holds_the_directorys_data_and_all_addresses(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(found(entry("anna@example.com", "Anna", "smtp:a.m@example.com SMTP:anna@example.com")))

    (card,) = connector.card([ANNA])

    assert card.contact is not None
    assert card.contact.display_name == "Anna"
    assert card.contact.email_addresses == ("anna@example.com", "a.m@example.com")
    assert card.contact.business_phones == ("+49 221 1",)


def test_cards_are_asked_for_without_impersonation(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(found(entry("anna@example.com", "Anna")))

    list(connector.card([ANNA]))

    assert not wire.seen[0].find("//t:ExchangeImpersonation")
    assert wire.seen[0].find("string(//m:ResolveNames/@SearchScope)") == "ActiveDirectory"


def test_somebody_whose_address_only_begins_alike_is_not_taken(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(found(entry("anna@example.com.au", "Annabel"), entry("anna@example.com", "Anna")))

    (card,) = connector.card([ANNA])

    assert card.contact is not None
    assert card.contact.display_name == "Anna"


def test_an_alias_is_found_with_its_scheme(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(NOBODY, found(entry("a.m@example.com", "Anna", "SMTP:a.m@example.com smtp:anna@example.com")))

    (card,) = connector.card([ANNA])

    assert card.contact is not None
    assert card.contact.email_addresses == ("a.m@example.com", "anna@example.com")
    assert wire.seen[1].find("string(//m:UnresolvedEntry)") == "smtp:anna@example.com"


@pytest.mark.parametrize("mailbox", [TOP, fault("ErrorImpersonateUserDenied")], ids=["readable", "refusing"])
def test_a_mailbox_that_is_hidden_from_the_directory_has_a_card_with_its_address(
    wire: Wire, connector: EwsConnector, mailbox: str
) -> None:
    wire.reply(NOBODY, NOBODY, mailbox)

    (card,) = connector.card([ANNA])

    assert card.contact is not None
    assert card.contact.to_dict() == {"email_addresses": ("anna@example.com",)}


def test_an_address_that_nobody_has_any_more_is_no_card(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(NOBODY, NOBODY, fault("ErrorNonExistentMailbox"))

    (card,) = connector.card([ANNA])

    assert card.contact is None
    assert isinstance(card.error, MailboxGone)


def test_a_source_resolves_to_the_primary_address(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(NOBODY, found(entry("A.M@example.com", "Anna", "SMTP:A.M@example.com smtp:anna@example.com")))

    (mailbox,) = mailboxes(connector, Source(SourceKind.MAILBOX, "Anna@example.com"))

    assert mailbox == Mailbox("a.m@example.com", "A.M@example.com")


@pytest.mark.parametrize("directory", [(NOBODY, NOBODY), (fault("ErrorAccessDenied"),)], ids=["hidden", "closed"])
def test_a_source_that_the_directory_does_not_show_is_known_by_its_mailbox(
    wire: Wire, connector: EwsConnector, directory: tuple[str, ...]
) -> None:
    wire.reply(*directory, TOP)

    (mailbox,) = mailboxes(connector, Source(SourceKind.MAILBOX, "Anna@example.com"))

    assert mailbox == Mailbox("anna@example.com", "Anna@example.com")


def test_a_source_that_names_nobody_is_gone(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(NOBODY, NOBODY, fault("ErrorNonExistentMailbox"))

    with pytest.raises(SourceGone):
        list(mailboxes(connector, Source(SourceKind.MAILBOX, "nobody@example.com")))


def test_an_entry_without_contact_data_still_has_a_name(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(found(entry("anna@example.com", "Anna", contact=False)))

    (card,) = connector.card([ANNA])

    assert card.contact is not None
    assert card.contact.to_dict() == {"display_name": "Anna", "email_addresses": ("anna@example.com",)}


def test_one_card_that_fails_does_not_stop_the_next(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(fault("ErrorAccessDenied"), found(entry("bo@example.com", "Bo")))

    anna, bo = connector.card([ANNA, BO])

    assert isinstance(anna.error, NotPermitted)
    assert bo.contact is not None


def test_a_refused_credential_stops_all_cards(wire: Wire, connector: EwsConnector) -> None:
    wire.reply((401, {}, ""))

    with pytest.raises(CredentialRejected):
        list(connector.card([ANNA, BO]))

    assert len(wire.seen) == 1


def test_several_people_may_be_an_error_that_names_them_all_the_same(wire: Wire, connector: EwsConnector) -> None:
    several = found(entry("annabel@example.com", "Annabel"), entry("anna@example.com", "Anna"))
    wire.reply(several.replace('"Success"', '"Error"').replace("NoError", "ErrorNameResolutionMultipleResults"))

    (card,) = connector.card([ANNA])

    assert card.contact is not None
    assert card.contact.display_name == "Anna"
