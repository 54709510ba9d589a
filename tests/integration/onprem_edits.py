"""What may happen at an Exchange on premises alone: to addresses, lists and public folders."""

from __future__ import annotations

from typing import Final

from tests.integration.source_edits import CAT, EVERYBODY, GROUPS, TEAM, Edits, pick, sample_company, strategy_of
from tests.simulators.company.model import PUBLIC, Company

_PUBLIC_NAMES: Final = ("Vertrieb", "Kunden", "Nord", "Nord/Süd", "Privat")  # a name may hold what joins names
_TITLES: Final = {EVERYBODY: ("Everybody", "Alle Leute"), TEAM: ("Team", "Team Nord")}


def onprem_company() -> Company:
    """The sample company, with two addresses for somebody and with public folders: contacts in three, mail in one."""
    company = sample_company()
    company.change_person(CAT, other_addresses=("katze@example.com",))
    sales = company.add_folder(PUBLIC, "Vertrieb", folder_class="IPF.Note")
    customers = company.add_folder(PUBLIC, "Kunden", sales.id)
    north = company.add_folder(PUBLIC, "Nord", customers.id)
    minutes = company.add_folder(PUBLIC, "Protokolle", customers.id, folder_class="IPF.Note")
    guests = company.add_folder(PUBLIC, "Gäste", minutes.id)
    for number, folder in enumerate([customers, customers, customers, customers, north, guests]):
        company.add_contact(PUBLIC, folder.id, surname=f"Kunde {number}")
    return company


class OnpremEdits(Edits):
    """Those edits too."""

    # -- addresses -----------------------------------------------------------------------------------------------------

    def change_primary(self, person: int, form: int) -> None:
        """Somebody goes by another of three addresses; the others are aliases from then on."""
        for one in self._person(person):
            name = one.user_principal_name.partition("@")[0]
            forms = (one.user_principal_name, f"{name.title()}.Neu@example.com", f"{name}@muster.example")
            primary, known = pick(forms, form), [one.mail or "", *one.other_addresses]
            others = tuple(dict.fromkeys(address for address in known if address in forms and address != primary))
            self._company.change_person(one.object_id, mail=primary, other_addresses=others)

    # -- lists ---------------------------------------------------------------------------------------------------------

    def nest_back(self) -> None:
        """Now each is in the other."""
        for group in self._group(GROUPS.index(TEAM)):
            if EVERYBODY in self._company.groups:
                self._company.add_member(group, EVERYBODY)

    def invite_from_outside(self, group: int, contact: int) -> None:
        for list_id in self._group(group):
            for one in self._org_contact(contact):
                self._company.add_member(list_id, one.object_id)

    def rename_list(self, group: int, title: int) -> None:
        """It has another address then."""
        for list_id in self._group(group):
            self._company.rename_group(list_id, pick(_TITLES[list_id], title))

    def remove_list(self, group: int) -> None:
        for list_id in self._group(group):
            self._company.remove_group(list_id)

    def restore_list(self, group: int, member: int) -> None:
        list_id = pick(GROUPS, group)
        if list_id not in self._company.groups:
            members = [one.object_id for one in self._person(member)]
            self._company.add_group(_TITLES[list_id][0], members, object_id=list_id)

    # -- public folders ------------------------------------------------------------------------------------------------

    def add_public_folder(self, parent: int, name: int, kind: int) -> None:
        above = pick(list(self._company.public.folders.values()), parent)
        if self._is_free(PUBLIC, above.id, pick(_PUBLIC_NAMES, name)):
            folder_class = pick(("IPF.Contact", "IPF.Contact", "IPF.Note"), kind)
            self._company.add_folder(PUBLIC, pick(_PUBLIC_NAMES, name), above.id, folder_class=folder_class)

    def rename_public_folder(self, folder: int, name: int) -> None:
        self._rename_public(folder, pick(_PUBLIC_NAMES, name))

    def respell_public_folder(self, folder: int) -> None:
        """The same name in other letters."""
        for place in self._public(folder):
            self._company.rename_folder(PUBLIC, place, self._company.public.folders[place].name.swapcase())

    def delete_public_folder(self, folder: int) -> None:
        for place in self._public(folder):
            self._company.delete_folder(PUBLIC, place)

    def _rename_public(self, folder: int, name: str) -> None:
        for place in self._public(folder):
            if self._is_free(PUBLIC, self._company.public.folders[place].parent_id, name):
                self._company.rename_folder(PUBLIC, place, name)

    def _public(self, number: int) -> list[str]:
        places = [folder.id for folder in self._company.public.folders.values() if folder.parent_id is not None]
        return [pick(places, number)] if places else []


onprem_edits: Final = strategy_of(OnpremEdits)
