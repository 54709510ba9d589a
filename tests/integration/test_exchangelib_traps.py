"""What exchangelib, as it is, makes of Exchange's faults: why the connector does these things itself.

Each of them was seen at real servers too. Should one of these tests fail after an update of exchangelib, something has
become better there, or the simulator is no longer what it is meant to be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from exchangelib import Account, util
from exchangelib.errors import (
    EWSError,
    MalformedResponseError,
    RateLimitError,
    TransportError,
)
from exchangelib.items import Item
from exchangelib.protocol import BaseProtocol

from tests.simulators.company.cast import ANNA, folder_id
from tests.simulators.onprem.server import OnpremSimulator

pytestmark = pytest.mark.slow

Open = Callable[..., AbstractContextManager[Account]]
PLACE = 60


@pytest.fixture
def patient(opened: Open, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """Anna's mailbox, opened with FaultTolerance; what it would wait for passes at once."""
    with opened(patient=True) as account:
        monkeypatch.setattr(util, "_back_off_if_needed", lambda back_off_until: 0)
        monkeypatch.setattr(BaseProtocol, "RETRY_WAIT", 1)
        list(account.contacts.all().only("display_name"))  # signed in, and its version known
        yield account


@pytest.fixture
def hundred(onprem: OnpremSimulator) -> list[tuple[str, str]]:
    """A hundred contacts of Anna's."""
    place = folder_id(ANNA, "Contacts")
    added = [onprem.company.add_contact(ANNA, place, surname=f"Contact {number:03}") for number in range(100)]
    return [(item.id, item.change_key) for item in added]


def drained(found: Iterator[Any]) -> tuple[list[str], EWSError | None]:
    """The IDs of what comes, and what it ends with."""
    seen: list[str] = []
    try:
        for one in found:
            if isinstance(one, Item):
                seen.append(one.id)
            elif isinstance(one, EWSError):
                return seen, one
    except EWSError as error:
        return seen, error
    return seen, None


def test_a_wrong_password_is_offered_again_and_again(
    opened: Open, onprem: OnpremSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(patient=True, password="wrong") as account:
        monkeypatch.setattr(util, "_back_off_if_needed", lambda back_off_until: 0)
        monkeypatch.setattr(BaseProtocol, "RETRY_WAIT", 1)
        with pytest.raises((RateLimitError, EWSError)):
            account.contacts.refresh()
    assert onprem.refused_logins >= 3


def test_an_item_that_fails_in_passing_brings_those_before_it_twice(
    patient: Account, onprem: OnpremSimulator, hundred: list[tuple[str, str]]
) -> None:
    onprem.faults.item("ErrorInternalServerTransientError", PLACE)
    seen, error = drained(patient.fetch(hundred, chunk_size=100))
    assert (len(seen), len(set(seen)), error) == (100 + PLACE, 100, None)


def test_an_item_that_is_denied_hides_those_after_it(
    patient: Account, onprem: OnpremSimulator, hundred: list[tuple[str, str]]
) -> None:
    onprem.faults.refuse_item(hundred[PLACE][0])
    seen, error = drained(patient.fetch(hundred, chunk_size=100))
    assert len(seen) == PLACE
    assert type(error).__name__ == "ErrorAccessDenied"


def test_a_round_that_fails_on_its_third_page_leaves_no_state_to_go_on_from(
    patient: Account, onprem: OnpremSimulator, hundred: list[tuple[str, str]]
) -> None:
    onprem.faults.response("ErrorInternalServerError", operation="SyncFolderItems", after=2)
    folder = patient.contacts
    with pytest.raises(EWSError):
        for _ in folder.sync_items(max_changes_returned=20):
            pass
    assert onprem.recorder.counts["SyncFolderItems"] == 3
    assert folder.item_sync_state is None


@pytest.mark.parametrize("fault", ["reset", "truncated"])
def test_a_connection_that_breaks_is_not_tried_again_from_a_pool_of_one(
    patient: Account, onprem: OnpremSimulator, fault: str
) -> None:
    assert patient.protocol.session_pool_size == 1
    onprem.faults.arm(fault, times=1)
    with pytest.raises((EWSError, TransportError)):
        patient.contacts.refresh()


def test_a_connection_that_breaks_shrinks_the_pool_for_good(patient: Account, onprem: OnpremSimulator) -> None:
    patient.protocol._session_pool_maxsize = 2
    patient.protocol.increase_poolsize()
    assert patient.protocol.session_pool_size == 2
    onprem.faults.arm("reset", times=1)
    patient.contacts.refresh()
    assert patient.protocol.session_pool_size == 1
    patient.contacts.refresh()
    assert patient.protocol.session_pool_size == 1


@pytest.mark.parametrize("fault", ["http-429", "http-502"])
def test_statuses_that_pass_are_taken_for_nonsense(patient: Account, onprem: OnpremSimulator, fault: str) -> None:
    onprem.faults.arm(fault, times=1)
    with pytest.raises(MalformedResponseError):
        patient.contacts.refresh()


def test_a_server_that_is_unavailable_is_asked_again(patient: Account, onprem: OnpremSimulator) -> None:
    mode = onprem.faults.arm("http-503", times=1)
    patient.contacts.refresh()
    assert mode.struck == 1


def test_a_server_that_asks_for_longer_than_patience_lasts_is_given_up_at_once(
    patient: Account, onprem: OnpremSimulator
) -> None:
    mode = onprem.faults.arm("busy-long", always=True)
    with pytest.raises(RateLimitError):
        patient.contacts.refresh()
    assert mode.struck == 1
