"""Whatever happens at the source and wherever runs are cut off: in the end the vault holds what the source has."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncvault.sync import engine
from syncvault.sync.scope import selection_of
from syncvault.sync.summary import Status
from syncvault.vault.model import Tenant
from syncvault.vault.vault import Vault
from tests.integration.conservation import fresh_place, same_counts
from tests.integration.conservation_watch import PowerCut
from tests.integration.fake_exchange import FakeExchange, FakeFolder, contact
from tests.integration.vault_parts import held, register, rows, sync, tables

PEOPLE = ("ann", "bob")
FOLDERS = ("inbox", "other", "third")
ITEMS = tuple(f"i{number}" for number in range(6))

people, folders, items = st.sampled_from(PEOPLE), st.sampled_from(FOLDERS), st.sampled_from(ITEMS)
events = st.one_of(
    st.tuples(st.just("put"), people, folders, items, st.integers(0, 2)),
    st.tuples(st.just("remove"), people, items),
    st.tuples(st.just("move"), people, items, folders),
    st.tuples(st.just("drop"), people, folders),
    st.tuples(st.just("expire"), people, folders),
    st.tuples(st.just("leave"), people),
    st.tuples(st.just("join"), people),
    st.tuples(st.just("full")),
    st.tuples(st.just("sync")),
    st.tuples(st.just("cut"), st.integers(1, 4)),
)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(story=st.lists(events, min_size=4, max_size=25))
def test_the_vault_ends_up_with_what_the_source_has(story: list[tuple[Any, ...]]) -> None:
    exchange = FakeExchange()
    for person in PEOPLE:
        exchange.hire(person, "i0", "i1", "i2")
    exchange.groups["g:all"] = list(PEOPLE)
    with fresh_place() as place, pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "connect", lambda facts, credential, **_: exchange.connect(selection_of(facts.scope)))
        vault = place.create()
        tenant = register(vault, "acme", "g:all")
        for event in story:
            happen(exchange, vault, tenant, *event)
        finish(exchange, vault, tenant)


def happen(exchange: FakeExchange, vault: Vault, tenant: Tenant, what: str, *details: Any) -> None:
    """One event, if it can happen as things stand."""
    if what in {"sync", "full"}:
        sync(vault, tenant, accept_removals=True, full=what == "full", mailboxes=1)
    elif what == "cut":
        cut_off(exchange, vault, tenant, *details)
    elif what in {"leave", "join"}:
        members = set(exchange.groups["g:all"])
        exchange.groups["g:all"] = sorted(members - set(details) if what == "leave" else members | set(details))
    elif what == "put":
        person, folder, item, version = details
        put(exchange, person, folder, item, version)
    elif what == "expire":
        exchange.expired.add("-".join(details))
    elif what == "drop":
        exchange.people[details[0]].folders.pop("-".join(details), None)
        exchange.expired.add("-".join(details))  # one that is made anew is another folder
    elif any(details[1] in folder.items for folder in exchange.people[details[0]].folders.values()):
        if what == "remove":
            exchange.folder_of(*details).remove(details[1])
        else:
            person, item, folder = details
            folder_named(exchange, person, folder)
            exchange.move(person, item, f"{person}-{folder}")


def put(exchange: FakeExchange, person: str, folder: str, item: str, version: int) -> None:
    """A new contact, or another version of one that is there."""
    for known in exchange.people[person].folders.values():
        if item in known.items:
            exchange.rename(person, item, f"Version {version}")
            return
    folder_named(exchange, person, folder).put(item, contact(item))


def folder_named(exchange: FakeExchange, person: str, folder: str) -> FakeFolder:
    return exchange.people[person].folders.setdefault(f"{person}-{folder}", FakeFolder(folder))


def cut_off(exchange: FakeExchange, vault: Vault, tenant: Tenant, pages: int) -> None:
    def cut(count: int) -> None:
        if count == pages:
            raise PowerCut

    exchange.pages, exchange.after_page = 0, cut
    try:
        sync(vault, tenant, accept_removals=True, mailboxes=1)
    except PowerCut:
        pass
    finally:
        exchange.after_page = lambda count: None


def finish(exchange: FakeExchange, vault: Vault, tenant: Tenant) -> None:
    """Rehearses, runs, and compares; what changed behind a full round that was under way comes one run later."""
    for _ in range(2):
        expired, before = set(exchange.expired), tables(vault)
        rehearsed = sync(vault, tenant, accept_removals=True, mailboxes=1, dry_run=True)
        assert tables(vault) == before
        exchange.expired = expired
        run = sync(vault, tenant, accept_removals=True, mailboxes=1)
        assert run.status is Status.OK
        same_counts(rehearsed, run)
    present = set(exchange.groups["g:all"])
    assert held(vault, tenant) == {
        key: {"card": ("", f"Card of {key}")}
        | {item: (path, entry.display_name) for item, (path, entry) in found.items()}
        for key, found in exchange.content().items()
        if key in present
    }
    assert rows(vault.data, "pending_removals") == rows(vault.data, "seen") == []
    again = sync(vault, tenant, mailboxes=1)
    assert (again.added, again.changed, again.removed) == (0, 0, 0)
