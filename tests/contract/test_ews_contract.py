"""Every request that a client sends and every answer that the EWS simulator gives, against Microsoft's own schemas."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from exchangelib import Account, Contact, FileAttachment
from lxml import etree

from connectors.ews.wire import operations
from connectors.selection import FULL
from tests.ews_clients import ANNAS, Soap
from tests.simulators.company.cast import ANNA, folder_id, item_id
from tests.simulators.onprem import contract
from tests.simulators.onprem.server import OnpremSimulator
from tests.simulators.onprem.service import OPERATIONS
from tests.simulators.onprem.soap import parse

GET = (
    "<m:GetItem><m:ItemShape><t:BaseShape>{shape}</t:BaseShape></m:ItemShape>"
    '<m:ItemIds><t:ItemId Id="{id}"/></m:ItemIds></m:GetItem>'
)
ANSWER = (
    '<m:GetItemResponse><m:ResponseMessages><m:GetItemResponseMessage ResponseClass="{}">'
    "<m:ResponseCode>{}</m:ResponseCode><m:Items>{}</m:Items></m:GetItemResponseMessage></m:ResponseMessages>"
    "</m:GetItemResponse>"
)
GOOD = GET.format(shape="IdOnly", id="AAMk")


@pytest.fixture(scope="session")
def schema(contracts: Path) -> etree.XMLSchema:
    return contract.load(contracts.resolve() / "ews")


@pytest.fixture
def account(opened: Callable[..., AbstractContextManager[Account]]) -> Iterator[Account]:
    with opened(version=None) as account:
        yield account


def judged(schema: etree.XMLSchema, envelope: bytes) -> list[str]:
    return [sentence for _, sentence in contract.violations(schema, parse(envelope))]


class TestTheJudge:
    def test_it_lets_a_good_request_pass(self, schema: etree.XMLSchema) -> None:
        assert judged(schema, Soap.envelope(GOOD, as_=ANNAS)) == []

    def test_it_lets_a_good_answer_pass(self, schema: etree.XMLSchema) -> None:
        assert judged(schema, Soap.envelope(ANSWER.format("Success", "NoError", "<t:Contact/>"))) == []

    @pytest.mark.parametrize(
        "wrong",
        [
            pytest.param(GET.format(shape="Everything", id="AAMk"), id="a shape that does not exist"),
            pytest.param(GOOD.replace("m:ItemShape", "m:ItemShap"), id="a misspelt element"),
            pytest.param(GOOD.replace("t:ItemId", "m:ItemId"), id="a name in the wrong namespace"),
            pytest.param(GOOD.replace(' Id="AAMk"', ""), id="an attribute that is missing"),
            pytest.param(
                "<m:GetItem><m:ItemIds/><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape></m:ItemShape></m:GetItem>",
                id="elements in the wrong order",
            ),
            pytest.param("<m:MakeCoffee/>", id="an operation that does not exist"),
            pytest.param(
                '<m:CreateAttachment><m:ParentItemId Id="A"/><m:Attachments><t:FileAttachment>'
                "<t:Content>AA==</t:Content><t:IsContactPhoto>true</t:IsContactPhoto></t:FileAttachment></m:Attachments></m:CreateAttachment>",
                id="a content before the mark of a photo",
            ),
        ],
    )
    def test_it_refuses_a_wrong_request(self, schema: etree.XMLSchema, wrong: str) -> None:
        assert judged(schema, Soap.envelope(wrong, as_=ANNAS))

    @pytest.mark.parametrize(
        "wrong",
        [
            pytest.param(ANSWER.format("Perhaps", "NoError", ""), id="a class that does not exist"),
            pytest.param(ANSWER.format("Success", "AllGood", ""), id="a code that does not exist"),
            pytest.param(
                ANSWER.format(
                    "Success",
                    "NoError",
                    "<t:Contact><t:Surname>S</t:Surname><t:GivenName>G</t:GivenName></t:Contact>",
                ),
                id="properties in the wrong order",
            ),
        ],
    )
    def test_it_refuses_a_wrong_answer(self, schema: etree.XMLSchema, wrong: str) -> None:
        assert judged(schema, Soap.envelope(wrong))

    def test_it_refuses_a_wrong_impersonation(self, schema: etree.XMLSchema) -> None:
        assert judged(schema, Soap.envelope(GOOD, as_=ANNAS, kind="Nickname"))

    def test_the_server_refuses_what_the_judge_refuses(self, soap: Soap, schema: etree.XMLSchema) -> None:
        answer = soap.ask(GET.format(shape="Everything", id="AAMk"), as_=ANNAS)
        assert (answer.status, answer.codes) == (500, ["ErrorSchemaValidation"])
        assert "Everything" in answer.texts("//t:Violation")[0]


def exchangelib_reads(account: Account, soap: Soap) -> None:
    company = soap.simulator.company
    list(account.root.walk())
    list(account.contacts.all())
    list(account.contacts.filter(display_name__contains="Nur"))
    for folder in account.contacts.walk():
        list(folder.sync_items(max_changes_returned=5))
        list(folder.all())
    list(account.msg_folder_root.sync_hierarchy())
    company.remove_contact(ANNA, item_id(ANNA, "Nur Telefon"))
    company.change_contact(ANNA, item_id(ANNA, "Lange Notiz"), surname="Notiz")
    company.delete_folder(ANNA, folder_id(ANNA, "Contacts/Leer"))
    list(account.contacts.sync_items())
    list(account.msg_folder_root.sync_hierarchy())
    for contact in account.contacts.all():
        assert all(attachment.content for attachment in contact.attachments)
    list(account.protocol.get_timezones())
    list(account.contacts.people())
    customers = account.public_folders_root / "Vertrieb" / "Kunden"
    list(customers.all())
    list(customers.sync_items())
    list(customers.children)


def exchangelib_writes(account: Account, soap: Soap) -> None:
    contact = Contact(account=account, folder=account.contacts, display_name="Neu", body="Notiz").save()
    contact.surname = "Nahm"
    contact.save(update_fields=["surname"])
    contact.attach(FileAttachment(name="ContactPicture.jpg", content=b"\xff\xd8", is_contact_photo=True))
    contact.detach(list(contact.attachments))
    contact.refresh()
    contact.delete()


def exchangelib_looks_up(account: Account, soap: Soap) -> None:
    for shape in ("IdOnly", "Default", "AllProperties"):
        for scope in ("ActiveDirectory", "ContactsActiveDirectory"):
            for entry in (ANNAS, "a", "nobody"):
                account.protocol.resolve_names([entry], return_full_contact_data=True, search_scope=scope, shape=shape)
    for group in ("alle-mitarbeiter", "vertrieb", "noch-leer"):
        list(account.protocol.expand_dl(f"{group}@example.com"))


def bare_requests_of_every_shape(account: Account, soap: Soap) -> None:
    for shape in ("IdOnly", "Default", "AllProperties"):
        for item in list(soap.simulator.company.box_of(ANNA).default.items):
            soap.ask(GET.format(shape=shape, id=item), as_=ANNAS)
        for traversal in ("Shallow", "Deep"):
            soap.ask(
                f'<m:FindFolder Traversal="{traversal}">'
                f"<m:FolderShape><t:BaseShape>{shape}</t:BaseShape></m:FolderShape>"
                '<m:ParentFolderIds><t:DistinguishedFolderId Id="root"/></m:ParentFolderIds></m:FindFolder>',
                as_=ANNAS,
            )
        people_of_every_shape(soap, shape)
    for address in (ANNAS, "nils.berg@example.com", "mei.tanaka@example.com"):
        soap.ask(
            f"<m:GetUserPhoto><m:Email>{address}</m:Email><m:SizeRequested>HR240x240</m:SizeRequested></m:GetUserPhoto>"
        )


def people_of_every_shape(soap: Soap, shape: str) -> None:
    everybody = etree.tostring(operations.find_people(0, FULL)).decode()
    asked = everybody[everybody.index("<t:AdditionalProperties") : everybody.index("</m:PersonaShape>")]
    for folder, query in ((_CONTACTS, ""), ('<t:DistinguishedFolderId Id="directory"/>', "anna")):
        searched = f"<m:QueryString>{query}</m:QueryString>" if query else ""
        soap.ask(
            f"<m:FindPeople><m:PersonaShape><t:BaseShape>{shape}</t:BaseShape>{asked}</m:PersonaShape>"
            '<m:IndexedPageItemView MaxEntriesReturned="20" Offset="0" BasePoint="Beginning"/>'
            f"<m:ParentFolderId>{folder}</m:ParentFolderId>{searched}</m:FindPeople>",
            as_=ANNAS,
        )


def failures(account: Account, soap: Soap) -> None:
    faults = soap.simulator.faults
    for operation, body in REQUESTS.items():
        soap.ask(body, as_=ANNAS)
        faults.response("ErrorInternalServerTransientError", operation=operation)
        soap.ask(body, as_=ANNAS)
        faults.soap("ErrorServerBusy", operation=operation, back_off_ms=1)
        soap.ask(body, as_=ANNAS)
    soap.ask(GOOD, as_="nobody@example.com")


_IDS = "<t:BaseShape>IdOnly</t:BaseShape>"
_UNKNOWN = "B" * 32
_CONTACTS = '<t:DistinguishedFolderId Id="contacts"/>'
REQUESTS = {
    "GetItem": GOOD,
    "GetFolder": f"<m:GetFolder><m:FolderShape>{_IDS}</m:FolderShape><m:FolderIds>"
    f'<t:FolderId Id="{_UNKNOWN}"/></m:FolderIds></m:GetFolder>',
    "FindFolder": f'<m:FindFolder Traversal="Deep"><m:FolderShape>{_IDS}</m:FolderShape><m:ParentFolderIds>'
    f'<t:FolderId Id="{_UNKNOWN}"/></m:ParentFolderIds></m:FindFolder>',
    "FindItem": f'<m:FindItem Traversal="Shallow"><m:ItemShape>{_IDS}</m:ItemShape><m:ParentFolderIds>'
    f'<t:FolderId Id="{_UNKNOWN}"/></m:ParentFolderIds></m:FindItem>',
    "SyncFolderItems": f"<m:SyncFolderItems><m:ItemShape>{_IDS}</m:ItemShape><m:SyncFolderId>{_CONTACTS}"
    "</m:SyncFolderId><m:SyncState>AAAA</m:SyncState><m:MaxChangesReturned>9</m:MaxChangesReturned>"
    "</m:SyncFolderItems>",
    "SyncFolderHierarchy": f"<m:SyncFolderHierarchy><m:FolderShape>{_IDS}</m:FolderShape>"
    "<m:SyncState>AAAA</m:SyncState></m:SyncFolderHierarchy>",
    "UpdateItem": '<m:UpdateItem ConflictResolution="NeverOverwrite"><m:ItemChanges><t:ItemChange>'
    f'<t:ItemId Id="{_UNKNOWN}"/><t:Updates><t:DeleteItemField><t:FieldURI FieldURI="contacts:Surname"/>'
    "</t:DeleteItemField></t:Updates></t:ItemChange></m:ItemChanges></m:UpdateItem>",
    "CreateItem": '<m:CreateItem><m:SavedItemFolderId><t:DistinguishedFolderId Id="inbox"/></m:SavedItemFolderId>'
    "<m:Items><t:Contact/></m:Items></m:CreateItem>",
    "DeleteItem": f'<m:DeleteItem DeleteType="HardDelete"><m:ItemIds><t:ItemId Id="{_UNKNOWN}"/></m:ItemIds>'
    "</m:DeleteItem>",
    "GetAttachment": f'<m:GetAttachment><m:AttachmentIds><t:AttachmentId Id="{_UNKNOWN}"/></m:AttachmentIds>'
    "</m:GetAttachment>",
    "CreateAttachment": f'<m:CreateAttachment><m:ParentItemId Id="{_UNKNOWN}"/><m:Attachments><t:FileAttachment>'
    "<t:Name>a</t:Name><t:Content>AA==</t:Content></t:FileAttachment></m:Attachments></m:CreateAttachment>",
    "DeleteAttachment": f'<m:DeleteAttachment><m:AttachmentIds><t:AttachmentId Id="{_UNKNOWN}"/></m:AttachmentIds>'
    "</m:DeleteAttachment>",
    "ResolveNames": '<m:ResolveNames ReturnFullContactData="true"><m:UnresolvedEntry>?</m:UnresolvedEntry>'
    "</m:ResolveNames>",
    "ExpandDL": "<m:ExpandDL><m:Mailbox><t:EmailAddress>no@example.com</t:EmailAddress></m:Mailbox></m:ExpandDL>",
    "FindPeople": '<m:FindPeople><m:IndexedPageItemView Offset="0" BasePoint="Beginning"/></m:FindPeople>',
    "GetPersona": f'<m:GetPersona><m:PersonaId Id="{_UNKNOWN}"/></m:GetPersona>',
    "GetUserPhoto": "<m:GetUserPhoto><m:Email>no@example.com</m:Email><m:SizeRequested>HR48x48</m:SizeRequested>"
    "</m:GetUserPhoto>",
    "ConvertId": '<m:ConvertId DestinationFormat="EntryId"><m:SourceIds>'
    f'<t:AlternateId Format="EwsId" Id="{_UNKNOWN}" Mailbox="{ANNAS}"/></m:SourceIds></m:ConvertId>',
    "GetServerTimeZones": '<m:GetServerTimeZones ReturnFullTimeZoneData="false"/>',
    "GetUserConfiguration": f'<m:GetUserConfiguration><m:UserConfigurationName Name="a">{_CONTACTS}'
    "</m:UserConfigurationName><m:UserConfigurationProperties>All</m:UserConfigurationProperties>"
    "</m:GetUserConfiguration>",
    "CreateFolder": f'<m:CreateFolder><m:ParentFolderId><t:FolderId Id="{_UNKNOWN}"/></m:ParentFolderId><m:Folders>'
    "<t:ContactsFolder><t:DisplayName>a</t:DisplayName></t:ContactsFolder></m:Folders></m:CreateFolder>",
    "UpdateFolder": f'<m:UpdateFolder><m:FolderChanges><t:FolderChange><t:FolderId Id="{_UNKNOWN}"/><t:Updates>'
    '<t:DeleteFolderField><t:FieldURI FieldURI="folder:PermissionSet"/></t:DeleteFolderField></t:Updates>'
    "</t:FolderChange></m:FolderChanges></m:UpdateFolder>",
    "DeleteFolder": f'<m:DeleteFolder DeleteType="HardDelete"><m:FolderIds><t:FolderId Id="{_UNKNOWN}"/></m:FolderIds>'
    "</m:DeleteFolder>",
    "MoveItem": f'<m:MoveItem><m:ToFolderId>{_CONTACTS}</m:ToFolderId><m:ItemIds><t:ItemId Id="{_UNKNOWN}"/>'
    "</m:ItemIds></m:MoveItem>",
    "CopyItem": f'<m:CopyItem><m:ToFolderId>{_CONTACTS}</m:ToFolderId><m:ItemIds><t:ItemId Id="{_UNKNOWN}"/>'
    "</m:ItemIds></m:CopyItem>",
    "Subscribe": f"<m:Subscribe><m:StreamingSubscriptionRequest><t:FolderIds>{_CONTACTS}</t:FolderIds>"
    "<t:EventTypes><t:EventType>CreatedEvent</t:EventType></t:EventTypes></m:StreamingSubscriptionRequest>"
    "</m:Subscribe>",
    "GetEvents": "<m:GetEvents><m:SubscriptionId>a</m:SubscriptionId><m:Watermark>AAAA</m:Watermark></m:GetEvents>",
    "Unsubscribe": "<m:Unsubscribe><m:SubscriptionId>a</m:SubscriptionId></m:Unsubscribe>",
}


@pytest.mark.parametrize(
    "story",
    [exchangelib_reads, exchangelib_writes, exchangelib_looks_up, bare_requests_of_every_shape, failures],
    ids=lambda story: story.__name__,
)
def test_whatever_goes_over_the_wire_is_valid(
    story: Callable[[Account, Soap], None],
    account: Account,
    soap: Soap,
    onprem: OnpremSimulator,
    schema: etree.XMLSchema,
) -> None:
    story(account, soap)
    understood = [entry for entry in onprem.recorder.entries if entry.operation]
    assert understood
    for entry in understood:
        for document in (entry.request, entry.answer):
            assert not judged(schema, document), (entry.operation, document[:2_000])
    assert onprem.recorder.crashes == []


def test_the_failures_cover_every_operation() -> None:
    assert set(REQUESTS) == set(OPERATIONS)
