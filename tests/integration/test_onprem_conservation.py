"""Exchange on premises, edited, failing and cut off at will: in the end the vault equals it exactly.

Everything is real but Exchange itself: connector, TLS, NTLM, engine and vault. Nothing sleeps: the simulator's clock
and the connector's waits are one.
"""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.conftest import Authority
from tests.integration.conservation_machine import LONG, QUICK
from tests.integration.killed import kill_after
from tests.integration.onprem_machine import OnpremMachine
from tests.integration.onprem_site import OnpremSite, impatience, pulled_once
from tests.integration.source_edits import MEANWHILE


@pytest.mark.slow
def test_the_vault_ends_up_with_what_exchange_has(authority: Authority) -> None:
    with impatience():
        run_state_machine_as_test(partial(OnpremMachine, partial(OnpremSite, authority)), settings=QUICK)


@pytest.mark.soak
@pytest.mark.timeout(7_200)
def test_the_vault_ends_up_with_what_exchange_has_in_long_stories(authority: Authority) -> None:
    with impatience():
        run_state_machine_as_test(partial(OnpremMachine, partial(OnpremSite, authority)), settings=LONG)


@pytest.mark.slow
@pytest.mark.parametrize("step", [3, 6, 9])
def test_a_run_that_is_killed_is_made_good_by_the_next(authority: Authority, step: int) -> None:
    with pulled_once(authority) as story:
        for edit in MEANWHILE:
            story.edit(edit)
        story.vault.close()
        assert kill_after(step, "pull", story.place.home)
        story.reopen()
        story.settle()


@pytest.mark.slow
def test_a_hidden_member_whose_mailbox_is_not_found_for_once_stays(authority: Authority) -> None:
    with pulled_once(authority) as story:
        story.switch(2)
        story.edit(("change_card", 0, 6))
        story.run(accept_removals=True)
        story.arm("mailbox-moved", 1.0)
        story.run(accept_removals=True)
        story.settle()


def test_a_dry_run_tells_of_a_renamed_folder_that_is_read_anew_in_several_pages(authority: Authority) -> None:
    with pulled_once(authority, page_size=2) as story:
        for look in range(5):
            story.edit(("add_contact", 0, 1, look))
        story.run()
        story.edit(("rename_folder", 0, 1, 1))
        assert story.rehearse_and_run(full=True).changed >= 5
