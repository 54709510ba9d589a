"""Stories told by Hypothesis: edits, faults, dry runs, runs and power cuts in any order, and then the reckoning.

Each adapter brings its `Site`; whatever the story, `Conservation` holds the vault to it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.integration.conservation import Conservation, fresh_place
from tests.integration.conservation_site import Site
from tests.integration.source_edits import Edit, edits

PROFILES = ("business", "full", "display_name,email_addresses", "display_name,notes,photo")
FOLDERS = ((), ("!*/Privat",), ("Contacts", "*/Kunden*"))

QUICK = settings(
    max_examples=8,
    stateful_step_count=12,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
LONG = settings(QUICK, max_examples=400, stateful_step_count=40, derandomize=False, print_blob=True)


class ConservationMachine(RuleBasedStateMachine):
    """Edits, faults, changes of profile, dry runs, runs and power cuts in any order; and then the reckoning."""

    def __init__(self, make_site: Callable[[], Site]) -> None:
        super().__init__()
        self._places = fresh_place()
        self.story = Conservation(make_site(), self._places.__enter__())

    @initialize(sources=st.integers(0, 2), pulled=st.booleans())
    def begin(self, sources: int, pulled: bool) -> None:
        self.story.switch(sources)
        if pulled:
            self.story.rehearse_and_run()

    @rule(edits=st.lists(edits, min_size=1, max_size=4))
    def edit(self, edits: list[Edit]) -> None:
        for edit in edits:
            self.story.edit(edit)

    @rule(accept_removals=st.booleans(), full=st.booleans(), later=st.booleans())
    def run_once(self, accept_removals: bool, full: bool, later: bool) -> None:
        if later:
            self.story.pass_time()
        self.story.run(accept_removals=accept_removals, full=full)

    @precondition(lambda self: not self.story.armed)
    @rule(accept_removals=st.booleans(), full=st.booleans())
    def rehearse_and_run(self, accept_removals: bool, full: bool) -> None:
        self.story.rehearse_and_run(accept_removals=accept_removals, full=full)

    @rule()
    def rehearse(self) -> None:
        self.story.rehearse()

    @rule(edit=edits, page=st.integers(1, 4), accept_removals=st.booleans())
    def run_while(self, edit: Edit, page: int, accept_removals: bool) -> None:
        self.story.run_while(edit, page, accept_removals=accept_removals)

    @rule(step=st.integers(1, 20), before=st.booleans(), accept_removals=st.booleans())
    def cut_at_commit(self, step: int, before: bool, accept_removals: bool) -> None:
        self.story.cut_at_commit(step, before=before, accept_removals=accept_removals)

    @rule(page=st.integers(1, 5), accept_removals=st.booleans())
    def cut_at_page(self, page: int, accept_removals: bool) -> None:
        self.story.cut_at_page(page, accept_removals=accept_removals)

    @rule(data=st.data(), rate=st.sampled_from([0.05, 0.3, 1.0]))
    def arm(self, data: st.DataObject, rate: float) -> None:
        site = self.story.site
        self.story.arm(data.draw(st.sampled_from([*site.ridden_out, *site.isolated])), rate)

    @rule()
    def calm(self) -> None:
        self.story.calm()

    @rule()
    def forget_checkpoints(self) -> None:
        self.story.site.forget_checkpoints()

    @rule(profile=st.sampled_from(PROFILES), private=st.booleans(), folders=st.sampled_from(FOLDERS))
    def change_scope(self, profile: str, private: bool, folders: tuple[str, ...]) -> None:
        self.story.change_scope(profile=profile, private=private, folders=folders)

    @rule(sources=st.integers(0, 2))
    def switch(self, sources: int) -> None:
        self.story.switch(sources)

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:  # else the story ended badly before
                self.story.settle()
        finally:
            self.story.site.close()
            self._places.__exit__(None, None, None)
