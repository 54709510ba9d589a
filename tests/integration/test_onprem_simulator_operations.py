"""What clients that do more than read contacts ask the EWS simulator: folders, moves, notifications, settings."""

from __future__ import annotations

import pytest
from exchangelib import Account, Contact
from exchangelib.errors import ErrorDeleteDistinguishedFolder, ErrorFolderExists
from exchangelib.folders import Contacts

from tests.ews_clients import ANNAS, CONTACTS, Soap, get_items, sync_body
from tests.simulators.company.cast import ANNA, folder_id, item_id
from tests.simulators.company.model import Company
from tests.simulators.onprem import contract

NILSS = "nils.berg@example.com"
PHONE = item_id(ANNA, "Nur Telefon")


def names(account: Account) -> set[str]:
    return {folder.name for folder in account.contacts.children}


@pytest.mark.slow
class TestFolders:
    def test_one_is_made_renamed_and_deleted(self, anna: Account, company: Company) -> None:
        folder = Contacts(parent=anna.contacts, name="Neu")
        folder.save()
        assert company.box_of(ANNA).folders[folder.id].name == "Neu"
        folder.name = "Neuer"
        folder.save()
        assert company.box_of(ANNA).folders[folder.id].name == "Neuer"
        folder.delete()
        assert "Neuer" not in {kept.name for kept in company.box_of(ANNA).folders.values()}

    def test_a_name_is_taken_only_once_below_one_parent(self, anna: Account) -> None:
        with pytest.raises(ErrorFolderExists):
            Contacts(parent=anna.contacts, name="Kunden").save()

    def test_the_default_folder_stays(self, anna: Account) -> None:
        with pytest.raises(ErrorDeleteDistinguishedFolder):
            anna.contacts.delete()


@pytest.mark.slow
class TestMoves:
    def test_a_contact_moves_with_its_photo_under_another_id(self, anna: Account, company: Company) -> None:
        contact = anna.contacts.get(display_name="محمد العربي")
        before = contact.id
        photo = company.box_of(ANNA).default.items[before].photo
        contact.move(anna.contacts / "Leer")
        assert contact.id != before
        moved = company.box_of(ANNA).folders[folder_id(ANNA, "Contacts/Leer")].items[contact.id]
        assert (moved.display_name, moved.photo) == ("محمد العربي", photo)
        assert before not in company.box_of(ANNA).default.items

    def test_a_copy_is_another_contact(self, anna: Account, company: Company) -> None:
        contact = anna.contacts.get(display_name="Nur Telefon")
        copied, _ = contact.copy(anna.contacts / "Leer")
        items = company.box_of(ANNA).folders[folder_id(ANNA, "Contacts/Leer")].items
        assert items[copied].mobile_phone == company.box_of(ANNA).default.items[contact.id].mobile_phone

    def test_what_goes_to_the_trash_is_gone(self, anna: Account, company: Company) -> None:
        anna.contacts.get(display_name="Nur Telefon").move_to_trash()
        assert PHONE not in company.box_of(ANNA).default.items


def test_the_service_account_keeps_contacts_of_its_own(soap: Soap) -> None:
    contact = "<t:Contact><t:DisplayName>Eins</t:DisplayName></t:Contact>"
    made = soap.ask(f"<m:CreateItem><m:Items>{contact}</m:Items></m:CreateItem>")
    assert made.codes == ["NoError"]
    assert soap.ask(sync_body(CONTACTS)).attributes("//t:Create//t:ItemId", "Id") == made.attributes("//t:ItemId", "Id")
    assert soap.ask(get_items(*made.attributes("//t:ItemId", "Id")), as_=ANNAS).codes == ["ErrorItemNotFound"]


@pytest.mark.slow
class TestNotifications:
    def test_changes_are_told_once_each(self, anna: Account, company: Company) -> None:
        subscription, watermark = anna.contacts.subscribe_to_pull()

        def told(since: str) -> tuple[list[tuple[str, str]], str]:
            [notification] = anna.contacts.get_events(subscription, since)
            events = [e for e in notification.events if e.ELEMENT_NAME != "StatusEvent"]
            return [(e.ELEMENT_NAME, e.item_id.id) for e in events], notification.events[-1].watermark

        assert told(watermark)[0] == []
        new = Contact(folder=anna.contacts, display_name="Zoë").save()
        company.change_contact(ANNA, PHONE, given_name="Nora")
        company.remove_contact(ANNA, new.id)
        events, watermark = told(watermark)
        assert events == [("CreatedEvent", new.id), ("ModifiedEvent", PHONE), ("DeletedEvent", new.id)]
        assert told(watermark)[0] == []

    def test_who_has_unsubscribed_hears_no_more(self, anna: Account, soap: Soap) -> None:
        subscription, watermark = anna.contacts.subscribe_to_pull()
        ask = (
            f"<m:GetEvents><m:SubscriptionId>{subscription}</m:SubscriptionId><m:Watermark>{watermark}</m:Watermark>"
            "</m:GetEvents>"
        )
        assert soap.ask(ask, as_=NILSS).codes == ["ErrorSubscriptionAccessDenied"]
        assert soap.ask(ask.replace(watermark, "AAAA"), as_=ANNAS).codes == ["ErrorInvalidWatermark"]
        anna.contacts.unsubscribe(subscription)
        assert soap.ask(ask, as_=ANNAS).codes == ["ErrorSubscriptionNotFound"]


class TestSettings:
    @pytest.mark.parametrize(("is_full", "periods"), [("", 5), ("true", 5), ("false", 0)])
    def test_time_zones_come_with_their_rules_unless_only_names_are_wanted(
        self, soap: Soap, is_full: str, periods: int
    ) -> None:
        wanted = f' ReturnFullTimeZoneData="{is_full}"' if is_full else ""
        answer = soap.ask(f"<m:GetServerTimeZones{wanted}/>")
        assert len(answer.attributes("//t:TimeZoneDefinition", "Id")) == 3
        assert len(answer.attributes("//t:Period", "Id")) == periods
        assert set(answer.texts("//t:To[@Kind = 'Period']")) == set(answer.attributes("//t:Period", "Id"))

    @pytest.mark.slow
    def test_a_client_can_work_with_them(self, anna: Account) -> None:
        zones = {zone.id: zone for zone in anna.protocol.get_timezones(return_full_timezone_data=True)}
        standard, daylight, _ = zones["W. Europe Standard Time"].get_std_and_dst(2026)
        assert (standard.bias, standard.iso_month, daylight.bias, daylight.iso_month) == (0, 10, -60, 3)

    @pytest.mark.parametrize(
        ("folder", "code"), [("contacts", "ErrorItemNotFound"), ("imcontactlist", "ErrorFolderNotFound")]
    )
    def test_no_client_has_left_settings(self, soap: Soap, folder: str, code: str) -> None:
        answer = soap.ask(
            '<m:GetUserConfiguration><m:UserConfigurationName Name="CategoryList">'
            f'<t:DistinguishedFolderId Id="{folder}"/></m:UserConfigurationName>'
            "<m:UserConfigurationProperties>All</m:UserConfigurationProperties></m:GetUserConfiguration>",
            as_=ANNAS,
        )
        assert answer.codes == [code]


class TestWhatCannotBeRead:
    def test_a_mistake_is_found_at_its_place(self, soap: Soap) -> None:
        answer = soap.post(soap.envelope("<m:GetFolder>\n  <m:oops</m:GetFolder>"))
        assert (answer.status, answer.codes) == (500, ["ErrorSchemaValidation"])
        assert answer.texts("//t:LineNumber") == ["2"]
        assert int(answer.texts("//t:LinePosition")[0]) > 5

    @pytest.mark.skipif(contract.schema_folder() is None, reason="needs the schemas")
    def test_what_exchange_serves_and_this_does_not_is_no_matter_of_versions(self, soap: Soap) -> None:
        answer = soap.ask("<m:GetRoomLists/>")
        assert (answer.status, answer.codes) == (500, ["ErrorInvalidOperation"])
