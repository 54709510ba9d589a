"""The EWS simulator's address list and the photos of its users."""

from __future__ import annotations

from base64 import b64decode

import pytest
from exchangelib import Account
from exchangelib.errors import (
    ErrorNameResolutionNoResults,
)
from exchangelib.properties import PersonaId
from exchangelib.services import GetPersona

from tests.ews_clients import (
    ANNAS,
    Soap,
)
from tests.simulators.company.cast import ANNA, MEI, item_id
from tests.simulators.company.model import Company

JURGENS = "juergen.muessig@example.com"
NILSS = "nils.berg@example.com"


class TestDirectory:
    def test_an_address_resolves_to_a_person_with_all_data(self, anna: Account) -> None:
        ((mailbox, contact),) = anna.protocol.resolve_names(
            [ANNAS], return_full_contact_data=True, search_scope="ActiveDirectory", shape="AllProperties"
        )
        assert (mailbox.email_address, mailbox.mailbox_type) == (ANNAS, "Mailbox")
        assert (contact.display_name, contact.job_title, contact.office) == (
            "Anna Becker",
            "Leiterin Vertrieb",
            "K 2.17",
        )
        assert [entry.email for entry in contact.email_addresses] == [
            f"SMTP:{ANNAS}",
            "smtp:a.becker@example.com",
            "smtp:anna@muster.example",
        ]
        assert (contact.contact_source, contact.has_picture) == ("ActiveDirectory", True)

    def test_a_name_may_mean_several(self, soap: Soap) -> None:
        answer = soap.ask(
            '<m:ResolveNames ReturnFullContactData="false" SearchScope="ActiveDirectory">'
            "<m:UnresolvedEntry>n</m:UnresolvedEntry></m:ResolveNames>",
            as_=ANNAS,
        )
        assert answer.codes == ["ErrorNameResolutionMultipleResults"]
        assert answer.attributes("//m:ResolveNamesResponseMessage", "ResponseClass") == ["Warning"]
        assert "Nils Berg" in answer.texts("//t:Resolution/t:Mailbox/t:Name")
        assert answer.texts("//t:Contact") == []

    @pytest.mark.parametrize("entry", ["nobody@example.com", "scanner@example.com"], ids=["unknown", "hidden"])
    def test_who_is_not_in_the_address_list_is_not_resolved(self, anna: Account, entry: str) -> None:
        (result,) = anna.protocol.resolve_names([entry], search_scope="ActiveDirectory")
        assert isinstance(result, ErrorNameResolutionNoResults)

    def test_contacts_can_be_searched_too(self, soap: Soap) -> None:
        answer = soap.ask(
            '<m:ResolveNames ReturnFullContactData="true" SearchScope="ContactsActiveDirectory">'
            "<m:UnresolvedEntry>Łukasz</m:UnresolvedEntry></m:ResolveNames>",
            as_=ANNAS,
        )
        assert answer.texts("//t:Resolution/t:Mailbox/t:EmailAddress") == ["lukasz@zolc.example"]
        assert answer.attributes("//t:Resolution/t:Contact/t:ItemId", "Id") == [item_id(ANNA, "Łukasz Żółć")]

    def test_a_group_expands_to_its_members(self, anna: Account) -> None:
        members = {mailbox.email_address for mailbox in anna.protocol.expand_dl("vertrieb-nord@example.com")}
        assert members == {JURGENS, NILSS}

    def test_a_persona_is_shown(self, anna: Account) -> None:
        (found,) = GetPersona(account=anna).call(personas=[PersonaId(id=ANNA)])
        assert (found.display_name, found.email_address.email_address) == ("Anna Becker", ANNAS)

    def test_people_of_a_folder_are_found(self, anna: Account) -> None:
        names = {persona.display_name for persona in (anna.contacts / "Kunden").people()}
        assert len(names) == 23

    def test_people_of_the_address_list_are_found_by_name(self, soap: Soap) -> None:
        answer = soap.ask(
            '<m:FindPeople><m:IndexedPageItemView MaxEntriesReturned="10" Offset="0" BasePoint="Beginning"/>'
            '<m:ParentFolderId><t:DistinguishedFolderId Id="directory"/></m:ParentFolderId>'
            "<m:QueryString>nils</m:QueryString></m:FindPeople>",
            as_=ANNAS,
        )
        assert answer.texts("//t:Persona/t:DisplayName") == ["Nils Berg"]


class TestUserPhotos:
    BODY = "<m:GetUserPhoto><m:Email>{}</m:Email><m:SizeRequested>{}</m:SizeRequested></m:GetUserPhoto>"

    def test_the_operation_gives_the_picture(self, soap: Soap, company: Company) -> None:
        answer = soap.ask(self.BODY.format(ANNAS, "HR240x240"), as_=ANNAS)
        assert (answer.codes, answer.texts("//m:HasChanged")) == (["NoError"], ["true"])
        assert b64decode(answer.texts("//m:PictureData")[0]) == company.people[ANNA].photo

    def test_nobody_and_no_photo_are_both_not_found(self, soap: Soap) -> None:
        for address in (NILSS, "nobody@example.com"):
            answer = soap.ask(self.BODY.format(address, "HR48x48"), as_=ANNAS)
            assert (answer.status, answer.codes) == (404, ["ErrorItemNotFound"])

    def test_a_size_that_does_not_exist_is_against_the_schema(self, soap: Soap, contracts: object) -> None:
        assert soap.ask(self.BODY.format(ANNAS, "HR1x1"), as_=ANNAS).codes == ["ErrorSchemaValidation"]

    def test_the_download_honours_its_etag(self, soap: Soap, company: Company) -> None:
        url = f"{soap.simulator.url}/s/GetUserPhoto"
        query = {"email": "mei.tanaka@example.com", "size": "HR648x648"}
        first = soap.session.get(url, params=query, timeout=20)
        assert (first.status_code, first.content) == (200, company.people[MEI].photo)
        again = soap.session.get(url, params=query, headers={"If-None-Match": first.headers["ETag"]}, timeout=20)
        assert (again.status_code, again.content) == (304, b"")
        company.set_person_photo(MEI, None)
        assert soap.session.get(url, params=query, timeout=20).status_code == 404
