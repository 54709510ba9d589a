"""Odd answers of a directory that is to be listed: nobody is invented, and nobody who is there is missed."""

from __future__ import annotations

import pytest
from lxml import etree

from connectors.contact import PostalAddress
from connectors.ews.connector import EwsConnector
from connectors.ews.directory.personas import addresses_of, card_from, is_person
from connectors.ews.wire.operations import TYPES
from connectors.ews.wire.session import ANSWER_LIMIT
from connectors.port import ConnectorError, CredentialRejected, ServerFault, Source, SourceKind, Throttled
from tests.unit.ews_names import keys, warned
from tests.unit.ews_wire import HEAD, TAIL, Seen, Wire, answer, fault
from tests.unit.test_ews_directory import NOBODY, entry, found

GAL = Source(SourceKind.GAL)
NO_PEOPLE = fault("ErrorInvalidOperation")
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.-_'+&@"


def persona(address: str, kind: str = "Person", more: str = "") -> str:
    whole = f"<t:Name>N</t:Name><t:EmailAddress>{address}</t:EmailAddress><t:RoutingType>SMTP</t:RoutingType>"
    return (
        f'<t:Persona><t:PersonaId Id="{address}"/><t:PersonaType>{kind}</t:PersonaType><t:DisplayName>N</t:DisplayName>'
        f"<t:EmailAddress>{whole}</t:EmailAddress>{more}</t:Persona>"
    )


def people(*personas: str, total: int | None = None) -> str:
    counted = "" if total is None else f"<m:TotalNumberOfPeopleInView>{total}</m:TotalNumberOfPeopleInView>"
    return (
        f'{HEAD}<m:FindPeopleResponse ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode>'
        f"<m:People>{''.join(personas)}</m:People>{counted}</m:FindPeopleResponse>{TAIL}"
    )


def resolving(*resolutions: tuple[str, str], whole: str = "true") -> str:
    text = found(*(entry(address, name) for address, name in resolutions))
    return text.replace('TotalItemsInView="1"', f'IncludesLastItemInRange="{whole}"')


def by_beginning(*known: str, most: int = 2) -> object:
    """A directory that answers to the beginning of an address, `most` at once."""

    def reply(seen: Seen) -> str:
        beginning = seen.find("string(//m:UnresolvedEntry)")
        hits = [address for address in known if address.startswith(beginning)]
        shown = [(address, f"{address} by name") for address in hits[:most]]
        return resolving(*shown, whole="false" if len(hits) > most else "true") if hits else NOBODY

    return reply


class TestBrowsing:
    def test_pages_follow_each_other_to_the_number_that_is_told(self, wire: Wire, connector: EwsConnector) -> None:
        wire.reply(
            people(persona("a@x.example"), persona("b@x.example"), total=3), people(persona("c@x.example"), total=3)
        )
        assert keys(connector, GAL) == ["a@x.example", "b@x.example", "c@x.example"]
        assert wire.seen[1].find("string(//m:IndexedPageItemView/@Offset)") == "2"
        assert not wire.seen[0].find("//t:ExchangeImpersonation")

    def test_where_no_number_is_told_a_short_page_is_not_the_last(self, wire: Wire, connector: EwsConnector) -> None:
        wire.reply(people(persona("a@x.example")), people(persona("b@x.example")), people())
        assert keys(connector, GAL) == ["a@x.example", "b@x.example"]

    def test_of_people_no_more_is_asked_for_than_is_wanted(self, wire: Wire, connector: EwsConnector) -> None:
        wire.reply(people(persona("a@x.example"), total=1))
        keys(connector, GAL)
        asked = {str(name) for name in wire.seen[0].find("//t:AdditionalProperties/t:FieldURI/@FieldURI")}
        assert asked >= {"persona:PersonaType", "persona:EmailAddresses", "persona:MobilePhones", "persona:HomePhones2"}
        assert not asked & {"persona:HomeAddresses", "persona:Nicknames", "persona:OfficeLocations"}

    @pytest.mark.parametrize("kind", ["DistributionList", "Room", "ModernGroup"])
    def test_what_is_nobody_is_left_out(self, wire: Wire, connector: EwsConnector, kind: str) -> None:
        wire.reply(people(persona("a@x.example"), persona("b@x.example", kind), total=2))
        assert keys(connector, GAL) == ["a@x.example"]

    @pytest.mark.parametrize(
        "second", [people(total=3), people(persona("a@x.example"), total=3)], ids=["ends early", "does not advance"]
    )
    def test_a_list_that_cannot_be_whole_is_searched_instead(
        self, wire: Wire, connector: EwsConnector, second: str
    ) -> None:
        wire.reply(people(persona("a@x.example"), total=3), second)
        wire.replies += [by_beginning("a@x.example", "z@x.example")] * 42
        assert keys(connector, GAL) == ["a@x.example", "z@x.example"]

    @pytest.mark.parametrize(("code", "raised"), [("ErrorServerBusy", Throttled), ("ErrorADUnavailable", ServerFault)])
    def test_a_busy_directory_is_not_taken_for_one_that_cannot_be_browsed(
        self, wire: Wire, connector: EwsConnector, code: str, raised: type[ConnectorError]
    ) -> None:
        wire.replies += [fault(code)] * 50
        with pytest.raises(raised):
            keys(connector, GAL)
        *asked, looked = wire.operations
        assert set(asked) == {"FindPeople"}
        assert looked == "ResolveNames"  # whether anything is answered at all

    @pytest.mark.parametrize("code", ["ErrorInternalServerError", "ErrorInvalidOperation", "ErrorAccessDenied"])
    def test_a_directory_that_cannot_be_browsed_is_searched_whatever_it_calls_that(
        self, wire: Wire, connector: EwsConnector, code: str
    ) -> None:
        def refuse_to_browse(seen: Seen) -> object:
            return fault(code) if seen.operation == "FindPeople" else by_beginning("a@x.example")(seen)  # type: ignore[operator]

        wire.replies += [refuse_to_browse] * 60
        assert keys(connector, GAL) == ["a@x.example"]

    def test_a_refused_credential_ends_it(self, wire: Wire, connector: EwsConnector) -> None:
        wire.reply((401, {}, ""))
        with pytest.raises(CredentialRejected):
            keys(connector, GAL)
        assert len(wire.seen) == 1


class TestSearching:
    def test_a_beginning_that_too_many_share_is_made_longer(self, wire: Wire, connector: EwsConnector) -> None:
        everybody = [f"{name}@x.example" for name in ("ann", "anna", "anna.b", "ann-k", "bob", "a'b", "7of9")]
        wire.reply(people())  # nothing, although there is somebody
        wire.replies += [by_beginning(*everybody)] * 400
        assert sorted(keys(connector, GAL)) == sorted(everybody)

    def test_where_the_server_looks_at_addresses_alone_names_cost_no_requests(
        self, wire: Wire, connector: EwsConnector
    ) -> None:
        everybody = {f"{letter}{number}@x.example": "smith" for letter in "abs" for number in range(3)}

        def reply(seen: Seen) -> str:
            beginning = seen.find("string(//m:UnresolvedEntry)")
            by_name = [one for one, name in everybody.items() if name.startswith(beginning)]
            begins = beginning.removeprefix("smtp:")
            hits = list(dict.fromkeys(by_name + [one for one in everybody if one.startswith(begins)]))
            shown = [(one, everybody[one]) for one in hits[:3]]
            return resolving(*shown, whole="false" if len(hits) > 3 else "true") if hits else NOBODY

        wire.reply(people())
        wire.replies += [reply] * 100
        assert sorted(keys(connector, GAL)) == sorted(everybody)
        # The people of `s` are more than are told at once by their names, and not by their addresses.
        assert len(wire.seen) == 1 + len(LETTERS) - 1 + len(["whether schemes help", "smtp:s"])

    def test_a_server_that_finds_whole_addresses_alone_is_asked_without_a_scheme(
        self, wire: Wire, connector: EwsConnector
    ) -> None:
        everybody = [f"a{letter}@x.example" for letter in "abc"]

        def reply(seen: Seen) -> object:
            beginning = seen.find("string(//m:UnresolvedEntry)")
            whole = beginning.removeprefix("smtp:") if beginning.startswith("smtp:") else ""
            return resolving((whole, "A")) if whole in everybody else by_beginning(*everybody)(seen)  # type: ignore[operator]

        wire.reply(people())
        wire.replies += [reply] * 100
        assert sorted(keys(connector, GAL)) == everybody

    def test_a_hundred_are_never_taken_for_all(self, wire: Wire, connector: EwsConnector) -> None:
        hundred = resolving(*((f"a{number}@x.example", "A") for number in range(100)))
        wire.reply(NO_PEOPLE, hundred)
        wire.replies += [NOBODY] * 100
        assert len(keys(connector, GAL)) == 100
        asked = [
            request.find("string(//m:UnresolvedEntry)") for request in wire.seen if request.operation == "ResolveNames"
        ]
        assert asked[:4] == ["a", "smtp:a", "aa", "ab"]
        assert wire.seen[-1].find("string(//t:RequestServerVersion/@Version)") == "Exchange2016"

    def test_more_than_a_hundred_are_all_where_the_server_says_so(self, wire: Wire, connector: EwsConnector) -> None:
        names = [f"a{number}@x.example" for number in range(101)]
        wire.reply(NO_PEOPLE, resolving(*((name, "A") for name in names)))
        wire.replies += [NOBODY] * (len(LETTERS) - 1)
        assert keys(connector, GAL) == names

    @pytest.mark.parametrize("said", ['IncludesLastItemInRange="false"', 'TotalItemsInView="2"'])
    def test_people_who_are_counted_and_not_told_are_searched_for(
        self, wire: Wire, connector: EwsConnector, said: str
    ) -> None:
        whole = 'IncludesLastItemInRange="true"'
        wire.reply(NO_PEOPLE, resolving(("ab@x.example", "A")).replace(whole, said), NOBODY)
        wire.replies += [NOBODY] * len(LETTERS)
        wire.reply(resolving(("ab@x.example", "A")), *[NOBODY] * len(LETTERS))
        assert keys(connector, GAL) == ["ab@x.example"]
        words = [request.find("string(//m:UnresolvedEntry)") for request in wire.seen[1:5]]
        assert words == ["a", "smtp:a", "aa", "ab"]

    def test_nobody_may_be_a_warning(self, wire: Wire, connector: EwsConnector) -> None:
        wire.reply(NO_PEOPLE, *[warned("ResolveNames")] * len(LETTERS))
        assert keys(connector, GAL) == []

    def test_an_answer_that_tells_neither_people_nor_that_there_are_none_is_not_taken_for_nobody(
        self, wire: Wire, connector: EwsConnector
    ) -> None:
        wire.reply(NO_PEOPLE)
        wire.replies += [answer("ResolveNames", "")] * 100
        with pytest.raises(ServerFault) as caught:
            keys(connector, GAL)
        assert caught.value.code == "address-list-cut-off"

    def test_a_server_that_never_tells_all_is_a_failure_not_a_loop(self, wire: Wire, connector: EwsConnector) -> None:
        wire.reply(people())
        wire.replies += [resolving(("a@x.example", "A"), whole="false")] * 5_000
        with pytest.raises(ServerFault) as caught:
            keys(connector, GAL)
        assert caught.value.code == "address-list-cut-off"

    def test_an_answer_too_large_to_hold_is_asked_for_in_parts(self, wire: Wire, connector: EwsConnector) -> None:
        wire.reply(people(), f"{HEAD}{' ' * (ANSWER_LIMIT + 1)}{TAIL}")
        wire.replies += [by_beginning("anna@x.example", "bo@x.example")] * 100
        assert sorted(keys(connector, GAL)) == ["anna@x.example", "bo@x.example"]

    def test_groups_are_no_people_and_people_outside_are(self, wire: Wire, connector: EwsConnector) -> None:
        def typed(kind: str) -> str:
            return entry(f"{kind}@x.example".lower(), kind).replace(">Mailbox<", f">{kind}<")

        wire.reply(people(), found(typed("Mailbox"), typed("Contact"), typed("PublicDL"), typed("PublicFolder")))
        wire.replies += [NOBODY] * 100
        assert keys(connector, GAL) == ["mailbox@x.example", "contact@x.example"]

    def test_an_entry_with_an_internal_address_is_known_by_its_primary_one(
        self, wire: Wire, connector: EwsConnector
    ) -> None:
        internal = entry("/o=EXAMPLE/cn=anna", "Anna", "smtp:a@x.example SMTP:anna@x.example").replace(">SMTP<", ">EX<")
        wire.reply(people(), found(internal))
        wire.replies += [NOBODY] * 100
        assert keys(connector, GAL) == ["anna@x.example"]


class TestPersonas:
    @staticmethod
    def of(inner: str) -> etree._Element:
        return etree.fromstring(f'<t:Persona xmlns:t="{TYPES}">{inner}</t:Persona>')

    def test_lists_of_values_stand_in_for_single_ones(self) -> None:
        def listed(name: str, kind: str, value: str) -> str:
            return f"<t:{name}><t:{kind}><t:Value>{value}</t:Value></t:{kind}></t:{name}>"

        card = card_from(
            self.of(
                listed("DisplayNames", "StringAttributedValue", "Anna")
                + listed("Titles", "StringAttributedValue", "Lead")
                + listed("MobilePhones", "PhoneNumberAttributedValue", "<t:Number>1</t:Number><t:Type>Mobile</t:Type>")
                + listed("BusinessPhoneNumbers2", "PhoneNumberAttributedValue", "<t:Number>2</t:Number>")
                + listed("BusinessAddresses", "PostalAddressAttributedValue", "<t:City>Bonn</t:City>")
                + listed("ImAddresses", "StringAttributedValue", "sip:anna@x.example")
            )
        )
        assert (card.display_name, card.job_title, card.mobile_phone) == ("Anna", "Lead", "1")
        assert (card.business_phones, card.business_address) == (("2",), PostalAddress(city="Bonn"))
        assert card.im_addresses == ("sip:anna@x.example",)

    def test_addresses_come_once_with_the_primary_one_first(self) -> None:
        def address(tag: str, text: str, routing: str = "SMTP") -> str:
            whole = f"<t:EmailAddress>{text}</t:EmailAddress><t:RoutingType>{routing}</t:RoutingType>"
            return f"<t:{tag}>{whole}</t:{tag}>"

        listed = (
            address("Address", "b@x.example") + address("Address", "a@x.example") + address("Address", "/o=x", "EX")
        )
        value = address("Value", "c@x.example")
        more = f"<t:Emails1><t:EmailAddressAttributedValue>{value}</t:EmailAddressAttributedValue></t:Emails1>"
        whole = f"{address('EmailAddress', 'a@x.example')}<t:EmailAddresses>{listed}</t:EmailAddresses>{more}"
        assert addresses_of(self.of(whole)) == ("a@x.example", "b@x.example", "c@x.example")

    def test_a_persona_of_no_known_type_is_a_person(self) -> None:
        assert is_person(self.of(""))
