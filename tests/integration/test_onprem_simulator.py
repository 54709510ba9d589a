"""The EWS simulator against clients that know nothing of it: exchangelib unmodified, and bare SOAP."""

from __future__ import annotations

import datetime as dt
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
import spnego
from exchangelib import DELEGATE, Account, Contact, FileAttachment
from exchangelib.errors import (
    ErrorAccessDenied,
    ErrorImpersonateUserDenied,
    ErrorInvalidSyncStateData,
    ErrorIrresolvableConflict,
    ErrorItemNotFound,
    ErrorNameResolutionNoResults,
    ErrorNonExistentMailbox,
    ErrorNonPrimarySmtpAddress,
    ErrorServerBusy,
    UnauthorizedError,
)
from exchangelib.indexed_properties import EmailAddress, PhoneNumber, PhysicalAddress
from exchangelib.items import DistributionList
from exchangelib.properties import PersonaId
from exchangelib.services import GetPersona, SyncFolderItems
from requests_ntlm import HttpNtlmAuth

from tests.conftest import Authority
from tests.ews_clients import BASIC, NTLM, PINNED, Soap, opened_account
from tests.simulators.company.cast import ANNA, MEI, NILS, folder_id, item_id
from tests.simulators.company.model import Company
from tests.simulators.onprem.server import OnpremSimulator

ANNAS = "anna.becker@example.com"
JURGENS = "juergen.muessig@example.com"
NILSS = "nils.berg@example.com"
IDS = "<t:BaseShape>IdOnly</t:BaseShape>"

Open = Callable[..., Any]


@pytest.fixture
def client(onprem: OnpremSimulator, authority: Authority) -> Open:
    def opener(address: str = ANNAS, **options: Any) -> Any:
        return opened_account(onprem, address, authority.ca_pem, **options)

    return opener


@pytest.fixture
def soap(onprem: OnpremSimulator, authority: Authority) -> Iterator[Soap]:
    bare = Soap(onprem, authority.ca_pem)
    yield bare
    bare.close()


@pytest.fixture
def anna(client: Open) -> Iterator[Account]:
    with client() as account:
        yield account


def synced(account: Account, folder: Any, state: str | None, **options: Any) -> tuple[list[tuple[str, Any]], str]:
    """All changes of a folder and the state after them."""
    folder.item_sync_state = state
    changes = list(folder.sync_items(only_fields=["display_name"], **options))
    return changes, folder.item_sync_state


def sync_body(folder: str, state: str = "", most: int = 100, shape: str = IDS) -> str:
    known = f"<m:SyncState>{state}</m:SyncState>" if state else ""
    return (
        f"<m:SyncFolderItems><m:ItemShape>{shape}</m:ItemShape><m:SyncFolderId>{folder}</m:SyncFolderId>{known}"
        f"<m:MaxChangesReturned>{most}</m:MaxChangesReturned></m:SyncFolderItems>"
    )


CONTACTS = '<t:DistinguishedFolderId Id="contacts"/>'
GET_CONTACTS_FOLDER = (
    f"<m:GetFolder><m:FolderShape>{IDS}</m:FolderShape><m:FolderIds>{CONTACTS}</m:FolderIds></m:GetFolder>"
)


def get_items(*ids: str, shape: str = IDS) -> str:
    references = "".join(f'<t:ItemId Id="{identifier}"/>' for identifier in ids)
    return f"<m:GetItem><m:ItemShape>{shape}</m:ItemShape><m:ItemIds>{references}</m:ItemIds></m:GetItem>"


class TestSigningIn:
    @pytest.mark.parametrize("auth_type", [NTLM, BASIC, None], ids=["ntlm", "basic", "asked of the server"])
    @pytest.mark.parametrize("version", [PINNED, None], ids=["pinned", "asked of the server"])
    def test_the_service_account_opens_a_mailbox(self, client: Open, auth_type: str | None, version: Any) -> None:
        with client(auth_type=auth_type, version=version) as account:
            assert account.contacts.total_count == 9
            assert account.version.api_version == "Exchange2016"

    @pytest.mark.parametrize("auth_type", [NTLM, BASIC])
    def test_a_wrong_password_is_refused_and_counted(
        self, client: Open, onprem: OnpremSimulator, auth_type: str
    ) -> None:
        with client(auth_type=auth_type, password="wrong") as account, pytest.raises(UnauthorizedError):
            account.contacts.refresh()
        assert onprem.refused_logins == 1
        assert onprem.recorder.counts["GetFolder"] == 0

    def test_nothing_is_answered_to_somebody_without_credentials(self, onprem: OnpremSimulator, soap: Soap) -> None:
        del soap.session.headers["Authorization"]
        answer = soap.ask(GET_CONTACTS_FOLDER, as_=ANNAS)
        assert answer.status == 401
        assert "NTLM" in answer.response.headers["WWW-Authenticate"]
        assert 'Basic realm="' in answer.response.headers["WWW-Authenticate"]
        assert answer.response.content == b""
        assert onprem.refused_logins == 0

    def test_ntlm_signs_in_once_for_a_connection(self, client: Open, onprem: OnpremSimulator) -> None:
        with client() as account:
            list(account.contacts.all().only("display_name"))
            refused = onprem.recorder.statuses[401]
            list(account.contacts.all().only("display_name"))
        assert refused == 2  # the question and the challenge
        assert onprem.recorder.statuses[401] == refused

    def test_a_new_password_signs_everybody_out(self, client: Open, onprem: OnpremSimulator) -> None:
        with client() as account:
            account.contacts.refresh()
            onprem.set_password("Another-One-8")
            with pytest.raises(UnauthorizedError):
                account.contacts.refresh()
        assert onprem.refused_logins == 1

    def test_the_recorder_keeps_no_credentials(self, client: Open, onprem: OnpremSimulator) -> None:
        with client(auth_type=BASIC) as account:
            account.contacts.refresh()
        assert onprem.recorder.entries
        assert not any(onprem.password in repr(entry) for entry in onprem.recorder.entries)

    def test_ntlm_may_come_inside_negotiate(self, onprem: OnpremSimulator, soap: Soap) -> None:
        options = spnego.NegotiateOptions.use_negotiate
        exchange = spnego.client(onprem.username, onprem.password, protocol="negotiate", options=options)
        payload, token, answer = soap.envelope(GET_CONTACTS_FOLDER, as_=ANNAS), exchange.step(), None
        while token is not None and not (answer and answer.status == 200):
            answer = soap.post(payload, Authorization=f"Negotiate {b64encode(token).decode()}")
            challenge = answer.response.headers.get("WWW-Authenticate", "").partition(" ")[2]
            token = exchange.step(b64decode(challenge)) if challenge else None
        assert answer is not None
        assert answer.codes == ["NoError"]

    def test_channel_binding_can_be_required(self, company: Company, authority: Authority) -> None:
        simulator = OnpremSimulator(company, authority.ca, require_channel_binding=True)
        simulator.start()
        try:
            with opened_account(simulator, ANNAS, authority.ca_pem) as account:
                assert account.contacts.total_count == 9
            with Soap(simulator, authority.ca_pem).session as session:
                del session.headers["Authorization"]
                session.auth = HttpNtlmAuth(simulator.username, simulator.password, send_cbt=False)
                assert session.post(simulator.url, Soap.envelope(GET_CONTACTS_FOLDER), timeout=20).status_code == 401
            assert simulator.refused_logins == 1
        finally:
            simulator.stop()


class TestRights:
    def test_a_mailbox_out_of_scope_is_denied(self, client: Open, onprem: OnpremSimulator) -> None:
        onprem.deny_impersonation(ANNAS)
        with client() as account, pytest.raises(ErrorImpersonateUserDenied):
            account.contacts.refresh()

    def test_an_unknown_address_has_no_mailbox(self, client: Open) -> None:
        with client("nobody@example.com") as account, pytest.raises(ErrorNonExistentMailbox):
            account.contacts.refresh()

    def test_a_person_without_a_mailbox_has_none(self, client: Open) -> None:
        with client("sam.frontline@example.com") as account, pytest.raises(ErrorNonExistentMailbox):
            account.contacts.refresh()

    def test_an_alias_is_not_the_primary_address(self, client: Open) -> None:
        with client("a.becker@example.com") as account, pytest.raises(ErrorNonPrimarySmtpAddress):
            account.contacts.refresh()

    def test_an_alias_does_where_any_address_is_asked_for(self, soap: Soap) -> None:
        assert soap.ask(GET_CONTACTS_FOLDER, as_="a.becker@example.com", kind="SmtpAddress").codes == ["NoError"]

    def test_without_impersonation_the_account_sees_its_own_empty_mailbox(self, soap: Soap) -> None:
        answer = soap.ask(sync_body(CONTACTS))
        assert answer.codes == ["NoError"]
        assert answer.texts("//t:Create") == []

    def test_a_delegate_needs_to_be_granted(self, client: Open, onprem: OnpremSimulator) -> None:
        with client(access_type=DELEGATE) as account:
            with pytest.raises(ErrorAccessDenied):
                account.contacts.refresh()
            onprem.grant_delegate(ANNAS)
            assert len(list(account.contacts.all())) == 9

    def test_an_id_of_another_mailbox_finds_nothing(self, soap: Soap) -> None:
        assert soap.ask(get_items(item_id(ANNA, "Nur Telefon")), as_=NILSS).codes == ["ErrorItemNotFound"]


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

    def test_a_photo_of_four_megabytes_arrives_whole(self, client: Open) -> None:
        with client(JURGENS) as account:
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


class TestTransport:
    def test_a_body_may_come_in_chunks(self, soap: Soap) -> None:
        whole = soap.envelope(GET_CONTACTS_FOLDER, as_=ANNAS)
        assert soap.post(iter([whole[:100], whole[100:]])).codes == ["NoError"]

    def test_a_client_may_wait_to_be_told_to_go_on(self, soap: Soap) -> None:
        assert soap.post(soap.envelope(GET_CONTACTS_FOLDER, as_=ANNAS), Expect="100-continue").codes == ["NoError"]

    def test_the_url_may_be_written_in_any_case(self, soap: Soap) -> None:
        soap.simulator.url = soap.simulator.url.replace("/EWS/Exchange.asmx", "/ews/exchange.ASMX")
        assert soap.ask(GET_CONTACTS_FOLDER, as_=ANNAS).codes == ["NoError"]

    def test_an_answer_is_compressed_only_for_those_who_can_read_it(self, soap: Soap) -> None:
        payload = soap.envelope(sync_body(CONTACTS, shape="<t:BaseShape>AllProperties</t:BaseShape>"), as_=ANNAS)
        packed = soap.post(payload, **{"Accept-Encoding": "gzip"})
        plain = soap.post(payload, **{"Accept-Encoding": "identity"})
        assert packed.response.headers["Content-Encoding"] == "gzip"
        assert "Content-Encoding" not in plain.response.headers
        assert packed.response.content == plain.response.content

    def test_an_unknown_version_is_refused(self, soap: Soap) -> None:
        answer = soap.ask(GET_CONTACTS_FOLDER, as_=ANNAS, version="Exchange2099")
        assert (answer.status, answer.codes) == (500, ["ErrorInvalidServerVersion"])

    def test_an_unknown_operation_is_refused(self, soap: Soap) -> None:
        answer = soap.ask("<m:MakeCoffee/>", as_=ANNAS)
        assert (answer.status, answer.codes) == (500, ["ErrorInvalidRequest"])

    @pytest.mark.parametrize(
        ("payload", "code"),
        [
            (b"", "ErrorSchemaValidation"),
            (b"<not-xml", "ErrorSchemaValidation"),
            (b"<a/>", "ErrorInvalidRequest"),
        ],
    )
    def test_what_is_no_envelope_is_a_fault(self, soap: Soap, payload: bytes, code: str) -> None:
        answer = soap.post(payload)
        assert (answer.status, answer.codes) == (500, [code])

    def test_a_document_type_is_refused(self, soap: Soap) -> None:
        declaration, _, rest = soap.envelope(GET_CONTACTS_FOLDER, as_=ANNAS).partition(b"?>")
        answer = soap.post(declaration + b'?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]>' + rest)
        assert (answer.status, answer.codes) == (500, ["ErrorInvalidRequest"])


class TestFaults:
    @pytest.mark.parametrize("status", [429, 502, 503])
    def test_a_status_is_given_as_often_as_planned(self, soap: Soap, onprem: OnpremSimulator, status: int) -> None:
        onprem.faults.http(status, retry_after=7, times=2)
        answers = [soap.ask(GET_CONTACTS_FOLDER, as_=ANNAS) for _ in range(3)]
        assert [answer.status for answer in answers] == [status, status, 200]
        assert answers[0].response.headers["Retry-After"] == "7"

    def test_a_busy_server_says_how_long(self, client: Open, onprem: OnpremSimulator) -> None:
        onprem.faults.soap("ErrorServerBusy", back_off_ms=30_000)
        with client() as account, pytest.raises(ErrorServerBusy) as caught:
            account.contacts.refresh()
        assert caught.value.back_off == 30

    def test_a_fault_waits_for_its_operation_and_place(self, soap: Soap, onprem: OnpremSimulator) -> None:
        onprem.faults.response("ErrorMailboxStoreUnavailable", operation="SyncFolderItems", after=1)
        codes = [soap.ask(body, as_=ANNAS).codes for body in (GET_CONTACTS_FOLDER, *[sync_body(CONTACTS)] * 3)]
        assert codes == [["NoError"], ["NoError"], ["ErrorMailboxStoreUnavailable"], ["NoError"]]

    def test_one_item_fails_for_once(self, soap: Soap, onprem: OnpremSimulator) -> None:
        names = ("Nur Telefon", "Lange Notiz")
        onprem.faults.item("ErrorInternalServerTransientError", 1)
        ask = get_items(*(item_id(ANNA, name) for name in names))
        assert soap.ask(ask, as_=ANNAS).codes == ["NoError", "ErrorInternalServerTransientError"]
        assert soap.ask(ask, as_=ANNAS).codes == ["NoError", "NoError"]

    def test_a_connection_is_reset(self, soap: Soap, onprem: OnpremSimulator) -> None:
        onprem.faults.reset()
        with pytest.raises(requests.exceptions.ConnectionError):
            soap.ask(GET_CONTACTS_FOLDER, as_=ANNAS)
        assert soap.ask(GET_CONTACTS_FOLDER, as_=ANNAS).codes == ["NoError"]

    def test_an_answer_breaks_off(self, soap: Soap, onprem: OnpremSimulator) -> None:
        onprem.faults.truncate()
        with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError)):
            soap.ask(GET_CONTACTS_FOLDER, as_=ANNAS)
        assert soap.ask(GET_CONTACTS_FOLDER, as_=ANNAS).codes == ["NoError"]

    def test_a_patient_client_rides_out_a_bad_moment(self, client: Open, onprem: OnpremSimulator) -> None:
        onprem.faults.soap("ErrorServerBusy", back_off_ms=1)
        with client(NILSS, patient=True) as account:
            assert len(list(account.contacts.all())) == 3


def test_the_simulator_serves_several_clients_at_once(client: Open, company: Company) -> None:
    with client() as first, client(JURGENS) as second, ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(lambda account: len(list(account.contacts.all())), [first, second] * 4))
    assert counts == [9, 3] * 4
    assert len(company.box_of(NILS).default.items) == 3


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
