"""Stories of Exchange on premises: the same as of any, and its sources come and go, one by one and altogether."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.integration.conservation_machine import ConservationMachine
from tests.integration.onprem_edits import onprem_edits
from tests.integration.onprem_site import CHOICES, OnpremSite
from tests.integration.source_edits import Edit

choices = st.integers(0, len(CHOICES) - 1)


class OnpremMachine(ConservationMachine):
    """Mailboxes by any of their addresses, the address list, lists and public folders, in any order."""

    def __init__(self, make_site: Callable[[], OnpremSite]) -> None:
        sites: list[OnpremSite] = []

        def make() -> OnpremSite:
            sites.append(make_site())
            return sites[-1]

        super().__init__(make)
        (self._site,) = sites

    @rule(edit=onprem_edits)
    def edit_on_premises(self, edit: Edit) -> None:
        self.story.edit(edit)

    @rule(edit=onprem_edits, page=st.integers(1, 4), accept_removals=st.booleans())
    def run_while_on_premises(self, edit: Edit, page: int, accept_removals: bool) -> None:
        self.story.run_while(edit, page, accept_removals=accept_removals)

    @rule(number=choices)
    def choose(self, number: int) -> None:
        self._site.choose(number)
        self.story.adjust_sources()

    @rule()
    def adjust_sources(self) -> None:
        self.story.adjust_sources()

    @rule(syncs_public_folders=st.booleans(), shows_whole_directory=st.booleans())
    def change_server(self, syncs_public_folders: bool, shows_whole_directory: bool) -> None:
        self._site.change_server(syncs_public_folders=syncs_public_folders, shows_whole_directory=shows_whole_directory)
