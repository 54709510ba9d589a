"""What the EWS simulator keeps and tells: folders, contacts, and what changed."""

from __future__ import annotations

import datetime as dt
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

import pytest
from exchangelib import Account, Contact, FileAttachment
from exchangelib.errors import (
    ErrorInvalidSyncStateData,
    ErrorIrresolvableConflict,
    ErrorItemNotFound,
)
from exchangelib.indexed_properties import EmailAddress, PhoneNumber, PhysicalAddress
from exchangelib.items import DistributionList
from exchangelib.services import SyncFolderItems

from tests.conftest import Authority
from tests.ews_clients import (
    ANNAS,
    CONTACTS,
    IDS,
    Soap,
    get_items,
    sync_body,
)
from tests.simulators.company.cast import ANNA, folder_id, item_id
from tests.simulators.company.model import Company
from tests.simulators.onprem.server import OnpremSimulator

pytestmark = pytest.mark.slow  # clients that are not ours take their time

JURGENS = "juergen.muessig@example.com"
Open = Callable[..., Any]


def synced(account: Account, folder: Any, state: str | None, **options: Any) -> tuple[list[tuple[str, Any]], str]:
    """All changes of a folder and the state after them."""
    folder.item_sync_state = state
    changes = list(folder.sync_items(only_fields=["display_name"], **options))
    return changes, folder.item_sync_state


class TestFolders:
    def test_the_tree_has_contact_folders_among_others(self, anna: Account) -> None:
        tree = {folder.absolute.partition("Store/")[2]: folder.folder_class for folder in anna.root.walk()}
        assert tree["Inbox"] == "IPF.Note"
        assert tree["Contacts/Kunden/Nord/Inseln ⛵"] == "IPF.Contact"
        assert tree["Contacts/Recipient Cache"] == "IPF.Contact.RecipientCache"
        assert sum(1 for kind in tree.values() if kind == "IPF.Contact") == 6

    def test_children_are_one_level(self, anna: Account) -> None:
        assert {f.name for f in anna.contacts.children} == {"Kunden", "Privat", "Leer", "Recipient Cache"}

    def test_folders_come_in_pages(self, soap: Soap) -> None:
        def page(offset: int) -> Any:
            return soap.ask(
                f'<m:FindFolder Traversal="Deep"><m:FolderShape>{IDS}</m:FolderShape>'
                f'<m:IndexedPageFolderView MaxEntriesReturned="4" Offset="{offset}" BasePoint="Beginning"/>'
                f"<m:ParentFolderIds>{CONTACTS}</m:ParentFolderIds></m:FindFolder>",
                as_=ANNAS,
            )

        first, second = page(0), page(4)
        assert first.attributes("//m:RootFolder", "IncludesLastItemInRange") == ["false"]
        assert second.attributes("//m:RootFolder", "IncludesLastItemInRange") == ["true"]
        ids = first.attributes("//t:FolderId", "Id") + second.attributes("//t:FolderId", "Id")
        assert len(ids) == len(set(ids)) == 6

    def test_a_restriction_picks_folders_by_class(self, soap: Soap) -> None:
        answer = soap.ask(
            f'<m:FindFolder Traversal="Deep"><m:FolderShape>{IDS}</m:FolderShape><m:Restriction><t:IsEqualTo>'
            '<t:FieldURI FieldURI="folder:FolderClass"/><t:FieldURIOrConstant><t:Constant Value="IPF.Contact"/>'
            "</t:FieldURIOrConstant></t:IsEqualTo></m:Restriction><m:ParentFolderIds>"
            '<t:DistinguishedFolderId Id="msgfolderroot"/></m:ParentFolderIds></m:FindFolder>',
            as_=ANNAS,
        )
        assert len(answer.attributes("//t:FolderId", "Id")) == 6

    def test_the_hierarchy_tells_what_happened_to_folders(self, anna: Account, company: Company) -> None:
        root = anna.msg_folder_root
        assert {kind for kind, _ in root.sync_hierarchy()} == {"create"}
        new = company.add_folder(ANNA, "Neu")
        company.rename_folder(ANNA, folder_id(ANNA, "Contacts/Privat"), "Persönlich")
        company.delete_folder(ANNA, folder_id(ANNA, "Contacts/Leer"))
        changes = {(kind, folder.id) for kind, folder in root.sync_hierarchy()}
        assert changes == {
            ("create", new.id),
            ("update", folder_id(ANNA, "Contacts/Privat")),
            ("delete", folder_id(ANNA, "Contacts/Leer")),
        }


class TestReading:
    def test_every_field_of_a_contact_arrives(self, anna: Account, company: Company) -> None:
        contact = anna.contacts.get(display_name="Dr. Katharina M. von Blumenthal")
        assert contact.complete_name.title == "Dr."
        assert [entry.email for entry in contact.email_addresses] == [
            "katharina@blumenthal.example",
            "kvb@blumenthal.example",
            "kathi@privat.example",
        ]
        assert {p.label: p.phone_number for p in contact.phone_numbers if p.phone_number} == {
            "BusinessPhone": "+49 89 555 0120",
            "BusinessPhone2": "+49 89 555 0121",
            "HomePhone": "+49 89 555 0122",
            "MobilePhone": "+49 160 5550123",
        }
        homes = {entry.label: (entry.street, entry.zipcode, entry.country) for entry in contact.physical_addresses}
        assert homes["Business"] == ("Marienplatz 1", "80331", "Deutschland")
        assert contact.birthday == dt.date(1975, 3, 14)
        assert contact.children == ["Emilia", "Jonathan"]
        assert contact.body == "Mag keinen Kaffee.\r\nRuft lieber zurück."
        assert contact.has_picture

    def test_the_photo_is_an_attachment(self, anna: Account, company: Company) -> None:
        contact = anna.contacts.get(display_name="Dr. Katharina M. von Blumenthal")
        (photo,) = contact.attachments
        assert (photo.name, photo.is_contact_photo, photo.content_type) == ("ContactPicture.jpg", True, "image/jpeg")
        found = company.box_of(ANNA).find(contact.id)
        assert found is not None
        assert photo.content == found[1].photo

    def test_a_photo_of_four_megabytes_arrives_whole(self, opened: Open) -> None:
        with opened(JURGENS) as account:
            contact = account.contacts.get(display_name="Hugo Groß")
            assert len(contact.attachments[0].content) >= 4 * 1024 * 1024

    def test_a_distribution_list_lies_among_the_contacts(self, anna: Account) -> None:
        items = list((anna.contacts / "Leer").all())
        assert [type(item) for item in items] == [DistributionList]

    def test_a_private_item_says_so(self, anna: Account) -> None:
        (aunt,) = (anna.contacts / "Privat").all()
        assert aunt.sensitivity == "Private"

    def test_one_missing_item_does_not_spoil_the_others(self, soap: Soap, onprem: OnpremSimulator) -> None:
        refused, fine = item_id(ANNA, "Nur Telefon"), item_id(ANNA, "Lange Notiz")
        onprem.refuse_item(refused)
        answer = soap.ask(get_items(fine, "A" * 32, refused, "short"), as_=ANNAS)
        assert answer.codes == ["NoError", "ErrorItemNotFound", "ErrorAccessDenied", "ErrorInvalidIdMalformed"]
        assert answer.attributes("//t:ItemId", "Id") == [fine]

    def test_an_id_only_shape_gives_ids_only(self, soap: Soap) -> None:
        answer = soap.ask(get_items(item_id(ANNA, "Nur Telefon")), as_=ANNAS)
        assert answer.root is not None
        (contact,) = answer.root.iter("{*}Contact")
        assert [child.tag.rpartition("}")[2] for child in contact] == ["ItemId"]

    def test_single_entries_and_extended_properties_can_be_asked_for(self, soap: Soap) -> None:
        shape = (
            f'{IDS}<t:AdditionalProperties><t:IndexedFieldURI FieldURI="contacts:EmailAddress" '
            'FieldIndex="EmailAddress2"/><t:IndexedFieldURI FieldURI="contacts:PhysicalAddress:City" '
            'FieldIndex="Home"/><t:ExtendedFieldURI PropertyTag="0x3A45" PropertyType="String"/>'
            "</t:AdditionalProperties>"
        )
        name = "Dr. Katharina M. von Blumenthal"
        answer = soap.ask(get_items(item_id(ANNA, name), shape=shape), as_=ANNAS)
        assert answer.texts("//t:EmailAddresses/t:Entry") == ["kvb@blumenthal.example"]
        assert answer.texts("//t:PhysicalAddresses/t:Entry/*") == ["Starnberg"]
        assert answer.texts("//t:ExtendedProperty/t:Value") == ["Dr."]

    def test_what_xml_cannot_carry_is_left_out(self, anna: Account, company: Company) -> None:
        company.add_contact(ANNA, display_name="Bell\x07 & <Tag> \ud800]]>")
        assert anna.contacts.filter(display_name__startswith="Bell").get().display_name == "Bell & <Tag> ]]>"


class TestSynchronising:
    @pytest.mark.parametrize("most", [1, 7, 512])
    def test_pages_bring_every_item_once(self, anna: Account, most: int) -> None:
        folder = anna.contacts / "Kunden"
        changes, _ = synced(anna, folder, None, max_changes_returned=most)
        assert sorted(item.display_name for _, item in changes) == [f"Kundin {n:02d}" for n in range(1, 24)]
        assert {kind for kind, _ in changes} == {"create"}

    def test_later_rounds_bring_only_what_changed(self, anna: Account, company: Company) -> None:
        folder = anna.contacts
        _, state = synced(anna, folder, None)
        added = company.add_contact(ANNA, display_name="Neu")
        company.change_contact(ANNA, item_id(ANNA, "Nur Telefon"), mobile_phone="1")
        company.change_contact(ANNA, item_id(ANNA, "Nur Telefon"), mobile_phone="2")
        company.remove_contact(ANNA, item_id(ANNA, "Lange Notiz"))
        changes, state = synced(anna, folder, state)
        assert {(kind, item.id) for kind, item in changes} == {
            ("create", added.id),
            ("update", item_id(ANNA, "Nur Telefon")),
            ("delete", item_id(ANNA, "Lange Notiz")),
        }
        assert synced(anna, folder, state)[0] == []

    def test_a_change_between_pages_is_not_lost(self, soap: Soap, company: Company) -> None:
        folder = f'<t:FolderId Id="{folder_id(ANNA, "Contacts/Kunden")}"/>'
        items = company.box_of(ANNA).folders[folder_id(ANNA, "Contacts/Kunden")].items
        held: set[str] = set()
        state, last, step = "", "false", 0
        while last == "false":
            answer = soap.ask(sync_body(folder, state, 5), as_=ANNAS)
            held |= set(answer.attributes("//t:Create//t:ItemId", "Id"))
            held -= set(answer.attributes("//t:Delete/t:ItemId", "Id"))
            company.add_contact(ANNA, folder_id(ANNA, "Contacts/Kunden"), display_name=f"Spät {step}")
            company.remove_contact(ANNA, min(items))
            (state,), (last,) = answer.texts("//m:SyncState"), answer.texts("//m:IncludesLastItemInRange")
            step += 1
        answer = soap.ask(sync_body(folder, state, 512), as_=ANNAS)
        held |= set(answer.attributes("//t:Create//t:ItemId | //t:Update//t:ItemId", "Id"))
        held -= set(answer.attributes("//t:Delete/t:ItemId", "Id"))
        assert held == set(items)

    def test_a_move_shows_in_both_folders(self, soap: Soap, company: Company) -> None:
        target = f'<t:FolderId Id="{folder_id(ANNA, "Contacts/Leer")}"/>'
        states = {name: soap.ask(sync_body(name), as_=ANNAS).texts("//m:SyncState")[0] for name in (CONTACTS, target)}
        moved = company.move_contact(
            ANNA, item_id(ANNA, "Nur Telefon"), folder_id(ANNA, "Contacts/Leer"), keep_id=False
        )
        left = soap.ask(sync_body(CONTACTS, states[CONTACTS]), as_=ANNAS)
        came = soap.ask(sync_body(target, states[target]), as_=ANNAS)
        assert left.attributes("//t:Delete/t:ItemId", "Id") == [item_id(ANNA, "Nur Telefon")]
        assert came.attributes("//t:Create//t:ItemId", "Id") == [moved.id]

    def test_bodies_and_attachments_stay_out_of_a_round(self, soap: Soap) -> None:
        answer = soap.ask(sync_body(CONTACTS, shape="<t:BaseShape>AllProperties</t:BaseShape>"), as_=ANNAS)
        assert answer.texts("//t:HasPicture").count("true") == 2
        assert answer.texts("//t:Body | //t:Attachments") == []

    @pytest.mark.parametrize("state", ["bm90IG91cnM=", "%%%", "H4sIAAA="])
    def test_an_unknown_state_is_refused(self, soap: Soap, state: str) -> None:
        assert soap.ask(sync_body(CONTACTS, state), as_=ANNAS).codes == ["ErrorInvalidSyncStateData"]

    def test_a_state_that_was_tampered_with_is_refused(self, soap: Soap) -> None:
        (state,) = soap.ask(sync_body(CONTACTS), as_=ANNAS).texts("//m:SyncState")
        raw = b64decode(state)
        forged = b64encode(raw[:16] + raw[16:].replace(b", null", b', ""')).decode()
        assert forged != state
        assert soap.ask(sync_body(CONTACTS, forged), as_=ANNAS).codes == ["ErrorInvalidSyncStateData"]

    def test_a_page_that_fits_exactly_is_the_last(self, soap: Soap) -> None:
        answer = soap.ask(sync_body(CONTACTS, most=9), as_=ANNAS)
        assert len(answer.texts("//t:Create")) == 9
        assert answer.texts("//m:IncludesLastItemInRange") == ["true"]

    def test_a_state_belongs_to_its_folder(self, soap: Soap) -> None:
        (state,) = soap.ask(sync_body(CONTACTS), as_=ANNAS).texts("//m:SyncState")
        other = f'<t:FolderId Id="{folder_id(ANNA, "Contacts/Kunden")}"/>'
        assert soap.ask(sync_body(other, state), as_=ANNAS).codes == ["ErrorInvalidSyncStateData"]

    def test_lost_states_are_refused_and_new_ones_work(self, anna: Account, onprem: OnpremSimulator) -> None:
        _, state = synced(anna, anna.contacts, None)
        onprem.faults.lose_sync_states(JURGENS)
        assert synced(anna, anna.contacts, state)[0] == []
        onprem.faults.lose_sync_states()
        with pytest.raises(ErrorInvalidSyncStateData):
            synced(anna, anna.contacts, state)
        assert len(synced(anna, anna.contacts, None)[0]) == 9

    def test_states_outlive_the_server(self, soap: Soap, company: Company, authority: Authority) -> None:
        (state,) = soap.ask(sync_body(CONTACTS), as_=ANNAS).texts("//m:SyncState")
        successor = OnpremSimulator(company, authority.ca)
        successor.start()
        other = Soap(successor, authority.ca_pem)
        try:
            assert other.ask(sync_body(CONTACTS, state), as_=ANNAS).codes == ["NoError"]
        finally:
            other.close()
            successor.stop()

    def test_a_deleted_folder_cannot_be_synchronised(self, soap: Soap, company: Company) -> None:
        company.delete_folder(ANNA, folder_id(ANNA, "Contacts/Leer"))
        folder = f'<t:FolderId Id="{folder_id(ANNA, "Contacts/Leer")}"/>'
        assert soap.ask(sync_body(folder), as_=ANNAS).codes == ["ErrorSyncFolderNotFound"]

    def test_more_than_512_changes_are_against_the_schema(self, soap: Soap, contracts: object) -> None:
        answer = soap.ask(sync_body(CONTACTS, most=513), as_=ANNAS)
        assert (answer.status, answer.codes) == (500, ["ErrorSchemaValidation"])


class TestWriting:
    def test_a_contact_is_created_changed_and_deleted(self, anna: Account, company: Company) -> None:
        contact = Contact(
            account=anna,
            folder=anna.contacts,
            display_name="Frieda Frisch",
            given_name="Frieda",
            surname="Frisch",
            email_addresses=[EmailAddress(label="EmailAddress1", email="frieda@frisch.example")],
            phone_numbers=[PhoneNumber(label="MobilePhone", phone_number="0170 1")],
            physical_addresses=[PhysicalAddress(label="Home", street="Weg 1", city="Jena")],
            birthday=dt.date(1999, 12, 31),
            body="Notiz",
        ).save()
        box = company.box_of(ANNA)
        stored = box.default.items[contact.id]
        assert (stored.display_name, stored.mobile_phone, stored.birthday) == ("Frieda Frisch", "0170 1", "1999-12-31")
        assert (stored.home_address.city, stored.notes) == ("Jena", "Notiz")
        contact.job_title, contact.given_name = "Chefin", None
        contact.phone_numbers = [PhoneNumber(label="BusinessPhone", phone_number="0361 2")]
        before = contact.changekey
        contact.save(update_fields=["job_title", "given_name", "phone_numbers"])
        changed = box.default.items[contact.id]
        assert (changed.job_title, changed.given_name, changed.business_phones) == ("Chefin", "", ("0361 2",))
        assert contact.changekey == changed.change_key != before
        contact.delete()
        assert contact.id not in box.default.items

    def test_a_stale_change_key_is_a_conflict(self, anna: Account, company: Company) -> None:
        contact = anna.contacts.get(display_name="Nur Telefon")
        company.change_contact(ANNA, contact.id, mobile_phone="1")
        contact.job_title = "Zu spät"
        with pytest.raises(ErrorIrresolvableConflict):
            contact.save(update_fields=["job_title"], conflict_resolution="NeverOverwrite")

    def test_an_attached_photo_becomes_the_picture(self, anna: Account, company: Company) -> None:
        contact = anna.contacts.get(display_name="Nur Telefon")
        contact.attach(FileAttachment(name="ContactPicture.jpg", content=b"\xff\xd8jpeg", is_contact_photo=True))
        contact.attach(FileAttachment(name="vertrag.pdf", content=b"%PDF", content_type="application/pdf"))
        contact.refresh()
        assert contact.has_picture
        assert {(a.name, a.is_contact_photo, a.content) for a in contact.attachments} == {
            ("ContactPicture.jpg", True, b"\xff\xd8jpeg"),
            ("vertrag.pdf", False, b"%PDF"),
        }
        contact.detach(list(contact.attachments))
        assert not anna.contacts.get(display_name="Nur Telefon").has_picture

    def test_a_deleted_item_is_gone(self, anna: Account, company: Company) -> None:
        contact = anna.contacts.get(display_name="Nur Telefon")
        company.remove_contact(ANNA, contact.id)
        with pytest.raises(ErrorItemNotFound):
            contact.refresh()


def test_sync_pages_can_be_pulled_one_by_one(anna: Account) -> None:
    service = SyncFolderItems(account=anna)
    page = list(
        service.call(
            folder=anna.contacts,
            shape="IdOnly",
            additional_fields=None,
            sync_state=None,
            ignore=None,
            max_changes_returned=4,
            sync_scope=None,
        )
    )
    assert len(page) == 4
    assert not service.includes_last_item_in_range
    assert service.sync_state
