"""Mailboxes of the Exchange Online simulator read by the lot: what they bring, and what that costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

import pytest
import trustme

from connectors.graph import ClientSecret, GraphSettings, connect
from connectors.port import Checkpoints, Connector, Ended, Mailbox, Page, Step, Wanted
from connectors.selection import Selection
from tests.conftest import Authority
from tests.simulators.company.cast import ANNA, JURGEN, LAYLA
from tests.simulators.company.growth import grown_company
from tests.simulators.company.model import Company
from tests.simulators.online.server import OnlineSimulator

FLAT = "contactFolders/delta"
Standing = Mapping[str, Checkpoints]
Pull = Callable[..., list[Step]]


def connected(online: OnlineSimulator, ca_pem: str, selection: Selection) -> Connector:
    settings = GraphSettings(
        directory_id=online.directory_id,
        client_id=online.client_id,
        credential=ClientSecret(online.client_secret.encode()),
        authority=online.origin,
        graph_url=online.origin,
        ca_pem=ca_pem,
    )
    return connect(settings, selection=selection, sleep=lambda _: None)


@pytest.fixture
def pull(online: OnlineSimulator, authority: Authority) -> Pull:
    """Reads mailboxes from where they stand; every one has to end well."""

    def read(*keys: str, standing: Standing | None = None, selection: Selection | None = None) -> list[Step]:
        connector = connected(online, authority.ca_pem, selection or Selection())
        return read_all(connector, keys, standing or {})

    return read


def read_all(connector: Connector, keys: tuple[str, ...], standing: Standing) -> list[Step]:
    wanted = [Wanted(Mailbox(key), standing.get(key, {})) for key in keys]
    steps = [step for sequence in connector.changes(wanted) for step in sequence]
    ended = {step.mailbox.key: step.outcome for step in steps if isinstance(step.outcome, Ended)}
    assert ended == dict.fromkeys(keys, Ended())
    return steps


def pages(steps: list[Step]) -> Iterator[tuple[str, Page]]:
    return ((step.mailbox.key, step.outcome) for step in steps if isinstance(step.outcome, Page))


def standing_after(steps: list[Step]) -> dict[str, dict[str, str]]:
    standing: dict[str, dict[str, str]] = {}
    for key, page in pages(steps):
        standing.setdefault(key, {})[page.folder.id] = page.checkpoint
    return standing


def brought(steps: list[Step]) -> Counter[tuple[str, str, bool | None]]:
    """Display names with their mailbox, and whether they have a photo."""
    return Counter(
        (key, upsert.contact.display_name, upsert.has_photo) for key, page in pages(steps) for upsert in page.upserts
    )


def held(company: Company, *keys: str) -> Counter[tuple[str, str, bool | None]]:
    """What the mailboxes hold that is not private."""
    return Counter(
        (key, item.display_name, item.photo is not None)
        for key in keys
        for folder in company.box_of(key).folders.values()
        for item in folder.items.values()
        if not item.private
    )


def test_everything_comes_but_private_items_and_who_has_a_picture_is_known(pull: Pull, company: Company) -> None:
    steps = pull(ANNA, JURGEN)
    assert brought(steps) == held(company, ANNA, JURGEN)
    private = sum(page.skipped.get("private", 0) for _, page in pages(steps))
    assert private == sum(
        item.private
        for key in (ANNA, JURGEN)
        for folder in company.box_of(key).folders.values()
        for item in folder.items.values()
    )


def test_an_item_that_becomes_private_goes(pull: Pull, company: Company) -> None:
    standing = standing_after(pull(ANNA))
    default = company.box_of(ANNA).default
    company.set_private(ANNA, next(iter(default.items)), True)
    changed = [page for _, page in pages(pull(ANNA, standing=standing)) if page.upserts or page.removals]
    assert [(len(page.upserts), len(page.removals)) for page in changed] == [(0, 1)]


def test_both_ways_of_listing_folders_find_the_same(pull: Pull, online: OnlineSimulator) -> None:
    flat = {(page.folder.id, page.folder.path) for _, page in pages(pull(ANNA, JURGEN, LAYLA))}
    online.faults.fail_next(FLAT, status=405, times=100)
    levels = {(page.folder.id, page.folder.path) for _, page in pages(pull(ANNA, JURGEN, LAYLA))}
    assert flat == levels
    assert len(flat) > 3


def test_folders_that_are_not_wanted_are_not_read(pull: Pull) -> None:
    paths = {page.folder.path for _, page in pages(pull(ANNA, selection=Selection(folders=("!*/Privat",))))}
    assert paths
    assert not [path for path in paths if path.endswith("/Privat")]


class TestCosts:
    """Of 60 mailboxes with 20 contacts in one folder each."""

    PEOPLE = 60

    @pytest.fixture
    def grown(self, authority: Authority) -> Iterator[OnlineSimulator]:
        simulator = self._simulator(authority.ca)
        yield simulator
        simulator.stop()

    def _simulator(self, ca: trustme.CA) -> OnlineSimulator:
        simulator = OnlineSimulator(grown_company(self.PEOPLE), ca)
        simulator.start()
        return simulator

    def _read(self, grown: OnlineSimulator, authority: Authority, standing: Standing) -> tuple[list[Step], int, int]:
        """The steps, how many requests they took, and in how many exchanges they travelled."""
        keys = tuple(grown.world.company.people)
        steps = read_all(connected(grown, authority.ca_pem, Selection()), keys, standing)
        mailboxes = [entry for entry in grown.recorder.exchanges if "/users" in entry.path]
        batches = [entry for entry in grown.recorder.exchanges if entry.path.endswith("/$batch")]
        grown.recorder.clear()
        return steps, len(mailboxes), len(batches)

    def test_a_first_run_asks_for_each_thing_once(self, grown: OnlineSimulator, authority: Authority) -> None:
        steps, requests, exchanges = self._read(grown, authority, {})
        assert sum(len(page.upserts) for _, page in pages(steps)) == 20 * self.PEOPLE
        assert requests == (1 + 1 + 1 + 2) * self.PEOPLE  # folders, the default one's name, its round, two filters
        assert exchanges <= requests / 20 + 2

    def test_an_idle_run_asks_for_folders_and_rounds_only(self, grown: OnlineSimulator, authority: Authority) -> None:
        first, *_ = self._read(grown, authority, {})
        steps, requests, exchanges = self._read(grown, authority, standing_after(first))
        assert not any(page.upserts for _, page in pages(steps))
        assert requests == 2 * self.PEOPLE
        assert exchanges <= requests / 20 + 1
