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
from tests.simulators.company.cast import ANNA, BOARD, MEI, SUPPLIER, item_id
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

    def test_the_whole_address_list_is_not_shown_to_whoever_names_nobody(self, soap: Soap) -> None:
        body = (
            '<m:FindPeople><m:IndexedPageItemView MaxEntriesReturned="5" Offset="5" BasePoint="Beginning"/>'
            "<m:ParentFolderId>{}</m:ParentFolderId></m:FindPeople>"
        )
        directory = body.format('<t:DistinguishedFolderId Id="directory"/>')
        assert soap.ask(directory).codes == ["ErrorInvalidOperation"]
        soap.simulator.shows_whole_directory = True
        for folder in ('<t:DistinguishedFolderId Id="directory"/>', '<t:AddressListId Id="any"/>'):
            answer = soap.ask(body.format(folder))
            assert len(answer.texts("//t:Persona")) == 3
            assert answer.texts("//m:TotalNumberOfPeopleInView") == ["8"]

    def test_more_than_a_hundred_are_cut_off_and_said_to_be(self, soap: Soap, company: Company) -> None:
        for number in range(101):
            company.add_person(mail=f"x{number}@example.com", display_name=f"Xaver {number}", mailbox=False)
        resolve = (
            '<m:ResolveNames ReturnFullContactData="true" SearchScope="ActiveDirectory">'
            "<m:UnresolvedEntry>{}</m:UnresolvedEntry></m:ResolveNames>"
        )
        for entry, last, count in (("x", "false", 100), ("x10", "true", 2), ("smtp:x9", "true", 11)):
            answer = soap.ask(resolve.format(entry))
            assert answer.attributes("//m:ResolutionSet", "IncludesLastItemInRange") == [last]
            assert len(answer.texts("//t:Resolution/t:Mailbox/t:Name")) == count

    def test_an_alias_is_found_with_its_scheme_alone(self, soap: Soap) -> None:
        resolve = (
            '<m:ResolveNames ReturnFullContactData="false" SearchScope="ActiveDirectory">'
            "<m:UnresolvedEntry>{}</m:UnresolvedEntry></m:ResolveNames>"
        )
        assert soap.ask(resolve.format("a.becker@example.com")).codes == ["ErrorNameResolutionNoResults"]
        assert soap.ask(resolve.format("smtp:a.becker")).texts("//t:EmailAddress") == [ANNAS]

    def test_somebody_outside_is_in_the_address_list_and_in_lists(self, anna: Account, company: Company) -> None:
        company.add_member(BOARD, SUPPLIER)
        members = {one.email_address: one.mailbox_type for one in anna.protocol.expand_dl("vorstand@example.com")}
        assert members == {ANNAS: "Mailbox", "mei.tanaka@example.com": "Mailbox", "hakon@fjord.example": "Contact"}
        (found,) = anna.protocol.resolve_names(["hakon@fjord.example"], search_scope="ActiveDirectory")
        assert found.mailbox_type == "Contact"

    def test_a_list_shows_the_lists_in_it(self, anna: Account) -> None:
        kinds = {one.email_address: one.mailbox_type for one in anna.protocol.expand_dl("vertrieb@example.com")}
        assert kinds["vertrieb-nord@example.com"] == "PublicDL"


class TestPublicFolders:
    def test_an_unmodified_client_walks_them(self, anna: Account) -> None:
        root = anna.public_folders_root
        assert {folder.name for folder in root.children} == {"Vertrieb", "Lieferanten"}
        customers = root / "Vertrieb" / "Kunden"
        assert {contact.display_name for contact in customers.all()} == {"Greta Großkunde", "Karl Kleinkunde"}
        assert {folder.name for folder in customers.children} == {"Nord", "Protokolle"}
        (greta,) = customers.filter(display_name="Greta Großkunde")
        assert [attachment.is_contact_photo for attachment in greta.attachments] == [True]

    def test_a_deep_search_is_refused(self, soap: Soap) -> None:
        answer = soap.ask(
            '<m:FindFolder Traversal="Deep"><m:FolderShape><t:BaseShape>IdOnly</t:BaseShape></m:FolderShape>'
            '<m:ParentFolderIds><t:DistinguishedFolderId Id="publicfoldersroot"/></m:ParentFolderIds></m:FindFolder>'
        )
        assert answer.codes == ["ErrorInvalidOperation"]
        assert "public folders" in answer.texts("//m:MessageText")[0]


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
