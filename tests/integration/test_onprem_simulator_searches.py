"""Searching the EWS simulator as other clients do: by any property, by MAPI tags, with search strings and in order."""

from __future__ import annotations

import pytest

from tests.ews_clients import ANNAS, CONTACTS, IDS, Answer, Soap, get_items
from tests.simulators.company.cast import ANNA, item_id
from tests.simulators.company.model import Company

KATHARINA = "Dr. Katharina M. von Blumenthal"
NAMES = f'{IDS}<t:AdditionalProperties><t:FieldURI FieldURI="contacts:DisplayName"/></t:AdditionalProperties>'
WORK_MAIL = '<t:IndexedFieldURI FieldURI="contacts:EmailAddress" FieldIndex="EmailAddress1"/>'
CLASS_TAG = '<t:ExtendedFieldURI PropertyTag="0x1A" PropertyType="String"/>'
HOME_CITY = '<t:ExtendedFieldURI PropertyTag="0x3a59" PropertyType="String"/>'
WORK_CITY = '<t:ExtendedFieldURI DistinguishedPropertySetId="Address" PropertyId="32838" PropertyType="String"/>'
WORK_CITY_BY_GUID = WORK_CITY.replace(
    'DistinguishedPropertySetId="Address"', 'PropertySetId="00062004-0000-0000-C000-000000000046"'
)


def field(uri: str) -> str:
    return f'<t:FieldURI FieldURI="{uri}"/>'


def compared(kind: str, path: str, constant: str) -> str:
    other = f'<t:FieldURIOrConstant><t:Constant Value="{constant}"/></t:FieldURIOrConstant>'
    return f"<t:{kind}>{path}{other}</t:{kind}>"


def find(soap: Soap, restriction: str = "", order: str = "", query: str = "") -> Answer:
    inside = f"<m:Restriction>{restriction}</m:Restriction>" if restriction else ""
    return soap.ask(
        f'<m:FindItem Traversal="Shallow"><m:ItemShape>{NAMES}</m:ItemShape>{inside}'
        f"{f'<m:SortOrder>{order}</m:SortOrder>' if order else ''}<m:ParentFolderIds>{CONTACTS}</m:ParentFolderIds>"
        f"{f'<m:QueryString>{query}</m:QueryString>' if query else ''}</m:FindItem>",
        as_=ANNAS,
    )


def names(answer: Answer) -> list[str]:
    assert answer.codes == ["NoError"]
    return answer.texts("//t:Contact/t:DisplayName")


class TestRestrictions:
    @pytest.mark.parametrize(
        "restriction",
        [
            compared("IsEqualTo", CLASS_TAG, "IPM.Contact"),
            compared("IsGreaterThan", field("item:LastModifiedTime"), "2001-01-01T00:00:00Z"),
            compared("IsLessThan", field("item:DateTimeCreated"), "2100-01-01T00:00:00+01:00"),
            compared("IsGreaterThan", field("item:Size"), "999"),
        ],
        ids=["tag", "after", "before, in another zone", "size"],
    )
    def test_all_contacts_pass_what_all_of_them_are(self, soap: Soap, restriction: str) -> None:
        assert len(find(soap, restriction).attributes("//t:ItemId", "Id")) == 9

    @pytest.mark.parametrize(
        "restriction",
        [
            compared("IsEqualTo", HOME_CITY, "Starnberg"),
            compared("IsEqualTo", WORK_CITY, "München"),
            compared("IsEqualTo", WORK_CITY_BY_GUID, "München"),
            compared("IsEqualTo", field("contacts:SpouseName"), "Friedrich von Blumenthal"),
            compared("IsEqualTo", WORK_MAIL, "katharina@blumenthal.example"),
        ],
        ids=["tag", "number in a set", "number in a set by its ID", "field", "entry"],
    )
    def test_one_passes_by_what_only_she_has(self, soap: Soap, restriction: str) -> None:
        assert names(find(soap, restriction)) == [KATHARINA]

    def test_a_property_may_be_compared_with_another(self, soap: Soap) -> None:
        other = f"<t:FieldURIOrConstant>{field('contacts:DisplayName')}</t:FieldURIOrConstant>"
        assert len(names(find(soap, f"<t:IsNotEqualTo>{field('item:Subject')}{other}</t:IsNotEqualTo>"))) == 0

    def test_flags_may_be_left_out(self, soap: Soap) -> None:
        tag = '<t:ExtendedFieldURI PropertyTag="0x36" PropertyType="Integer"/>'
        kept = find(soap, f'<t:Excludes>{tag}<t:Bitmask Value="0x2"/></t:Excludes>')
        private = find(soap, compared("IsEqualTo", tag, "2"))
        assert len(kept.attributes("//t:ItemId", "Id")) + len(private.attributes("//t:ItemId", "Id")) == 9

    def test_what_a_server_works_out_cannot_be_searched_for(self, soap: Soap) -> None:
        answer = find(soap, f"<t:Exists>{field('contacts:CompleteName')}</t:Exists>")
        assert answer.codes == ["ErrorUnsupportedPathForQuery"]

    def test_folders_pass_by_how_many_are_in_them(self, soap: Soap) -> None:
        answer = soap.ask(
            f'<m:FindFolder Traversal="Deep"><m:FolderShape>{IDS}</m:FolderShape>'
            f"<m:Restriction>{compared('IsGreaterThan', field('folder:ChildFolderCount'), '3')}</m:Restriction>"
            '<m:ParentFolderIds><t:DistinguishedFolderId Id="msgfolderroot"/></m:ParentFolderIds></m:FindFolder>',
            as_=ANNAS,
        )
        assert len(answer.attributes("//t:ContactsFolder/t:FolderId", "Id")) == 1


class TestSearchStrings:
    @pytest.mark.parametrize("query", ["blumenthal", "KATHI blumen", "kvb@"])
    def test_every_word_has_to_begin_one_of_hers(self, soap: Soap, query: str) -> None:
        assert names(find(soap, query=query)) == [KATHARINA]

    def test_nobody_is_found_by_words_of_two_people(self, soap: Soap) -> None:
        assert names(find(soap, query="blumenthal żółć")) == []


class TestOrder:
    @pytest.mark.parametrize("path", [field("contacts:DisplayName"), field("contacts:CompanyName")])
    def test_descending_is_ascending_the_other_way_round(self, soap: Soap, path: str) -> None:
        orders = (f'<t:FieldOrder Order="{order}">{path}</t:FieldOrder>' for order in ("Ascending", "Descending"))
        there, back = (find(soap, order=order).attributes("//t:ItemId", "Id") for order in orders)
        assert len(there) == 9
        assert there[0] != back[0]
        assert set(there) == set(back)

    def test_items_may_be_sorted_by_a_number_that_only_mapi_knows(self, soap: Soap) -> None:
        tag = '<t:ExtendedFieldURI PropertyTag="0xe23" PropertyType="Integer"/>'
        shape = f"{IDS}<t:AdditionalProperties>{tag}</t:AdditionalProperties>"
        ids = find(soap, order=f'<t:FieldOrder Order="Ascending">{tag}</t:FieldOrder>').attributes("//t:ItemId", "Id")
        numbers = soap.ask(get_items(*ids, shape=shape), as_=ANNAS).texts("//t:ExtendedProperty/t:Value")
        assert numbers == sorted(numbers, key=int)
        assert len(set(numbers)) == 9


class TestViews:
    @staticmethod
    def seen(soap: Soap, view: str, group: str = "") -> Answer:
        return soap.ask(
            f'<m:FindItem Traversal="Shallow"><m:ItemShape>{NAMES}</m:ItemShape>{view}{group}'
            f"<m:ParentFolderIds>{CONTACTS}</m:ParentFolderIds></m:FindItem>",
            as_=ANNAS,
        )

    def test_a_fraction_says_where_a_page_begins(self, soap: Soap) -> None:
        whole = find(soap).attributes("//t:ItemId", "Id")
        view = '<m:FractionalPageItemView MaxEntriesReturned="2" Numerator="1" Denominator="3"/>'
        assert self.seen(soap, view).attributes("//t:ItemId", "Id") == whole[3:5]

    @pytest.mark.parametrize(
        ("view", "code"),
        [
            ('IndexedPageItemView Offset="-1" BasePoint="Beginning"', "ErrorInvalidIndexedPagingParameters"),
            ('FractionalPageItemView Numerator="3" Denominator="2"', "ErrorInvalidFractionalPagingParameters"),
            ('FractionalPageItemView Numerator="0" Denominator="0"', "ErrorInvalidFractionalPagingParameters"),
        ],
    )
    def test_a_page_out_of_bounds_is_refused(self, soap: Soap, view: str, code: str) -> None:
        assert self.seen(soap, f"<m:{view}/>").codes == [code]

    def test_nothing_lies_beyond_the_end(self, soap: Soap) -> None:
        for base in ("Beginning", "End"):
            answer = self.seen(soap, f'<m:IndexedPageItemView Offset="99" BasePoint="{base}"/>')
            assert answer.attributes("//t:ItemId", "Id") == []
            assert answer.attributes("//m:RootFolder", "IndexedPagingOffset") == ["9"]

    def test_contacts_are_seen_from_one_name_to_another(self, soap: Soap) -> None:
        answer = self.seen(soap, '<m:ContactsView MaxEntriesReturned="9" InitialName="l" FinalName="nz"/>')
        assert set(names(answer)) == {"Lange Notiz", "Nur Telefon"}

    def test_contacts_come_in_groups(self, soap: Soap) -> None:
        group = (
            f'<m:GroupBy Order="Descending">{field("contacts:DisplayName")}'
            f'<t:AggregateOn Aggregate="Minimum">{field("contacts:DisplayName")}</t:AggregateOn></m:GroupBy>'
        )
        answer = self.seen(soap, "", group)
        groups = answer.texts("//t:GroupIndex")
        assert groups == sorted(set(groups), reverse=True)
        assert len(groups) < len(answer.attributes("//t:GroupedItems//t:ItemId", "Id")) == 9


class TestMapi:
    def test_a_contact_is_read_by_its_tags(self, soap: Soap) -> None:
        shape = f"{IDS}<t:AdditionalProperties>{HOME_CITY}{WORK_CITY}{CLASS_TAG}</t:AdditionalProperties>"
        answer = soap.ask(get_items(item_id(ANNA, KATHARINA), shape=shape), as_=ANNAS)
        assert answer.texts("//t:ExtendedProperty/t:Value") == ["Starnberg", "München", "IPM.Contact"]

    @pytest.mark.parametrize("tag", ["0x001A", "0X1a", "26", "0026"])
    def test_a_tag_may_be_spelt_in_any_way(self, soap: Soap, tag: str) -> None:
        path = f'<t:ExtendedFieldURI PropertyTag="{tag}" PropertyType="String"/>'
        assert len(find(soap, compared("IsEqualTo", path, "IPM.Contact")).attributes("//t:ItemId", "Id")) == 9

    def test_there_is_no_fourth_address(self, soap: Soap) -> None:
        path = '<t:IndexedFieldURI FieldURI="contacts:EmailAddress" FieldIndex="EmailAddress4"/>'
        answer = soap.ask(
            '<m:UpdateItem ConflictResolution="AlwaysOverwrite"><m:ItemChanges><t:ItemChange>'
            f'<t:ItemId Id="{item_id(ANNA, KATHARINA)}"/><t:Updates><t:DeleteItemField>{path}</t:DeleteItemField>'
            "</t:Updates></t:ItemChange></m:ItemChanges></m:UpdateItem>",
            as_=ANNAS,
        )
        assert answer.codes == ["ErrorInvalidPropertySet"]

    def test_numbers_without_a_place_are_kept_under_all_their_names(self, soap: Soap) -> None:
        fax = '<t:ExtendedFieldURI PropertyTag="0x3a24" PropertyType="String"/>'
        made = soap.ask(
            f"<m:CreateItem><m:SavedItemFolderId>{CONTACTS}</m:SavedItemFolderId><m:Items><t:Contact>"
            "<t:FileAs>Zuletzt</t:FileAs><t:PhoneNumbers><t:Entry Key='BusinessFax'>+49 1</t:Entry></t:PhoneNumbers>"
            "</t:Contact></m:Items></m:CreateItem>",
            as_=ANNAS,
        )
        wanted = f"<t:AdditionalProperties>{fax}</t:AdditionalProperties>"
        ask = get_items(made.attributes("//t:ItemId", "Id")[0], shape=f"<t:BaseShape>Default</t:BaseShape>{wanted}")
        answer = soap.ask(ask, as_=ANNAS)
        assert answer.texts("//t:FileAs") == ["Zuletzt"]
        assert answer.texts("//t:Entry[@Key = 'BusinessFax'] | //t:ExtendedProperty/t:Value") == ["+49 1", "+49 1"]

    def test_a_contact_is_written_by_its_tags(self, soap: Soap, company: Company) -> None:
        written = {HOME_CITY: "Füssen", WORK_CITY: "Köln", HOME_CITY.replace("3a59", "3a06"): "Kai"}
        properties = "".join(
            f"<t:ExtendedProperty>{path}<t:Value>{content}</t:Value></t:ExtendedProperty>"
            for path, content in written.items()
        )
        made = soap.ask(
            f"<m:CreateItem><m:SavedItemFolderId>{CONTACTS}</m:SavedItemFolderId><m:Items><t:Contact>{properties}"
            "</t:Contact></m:Items></m:CreateItem>",
            as_=ANNAS,
        )
        item = company.box_of(ANNA).default.items[made.attributes("//t:ItemId", "Id")[0]]
        assert (item.home_address.city, item.business_address.city, item.given_name) == ("Füssen", "Köln", "Kai")
