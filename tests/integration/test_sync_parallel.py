"""Mailboxes side by side: nothing lost, nothing double, and one part's failure kept to that part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from connectors.port import Card, CredentialRejected, Mailbox, Photo, PhotoRef, Throttled
from syncvault.sync import engine
from syncvault.sync.summary import Options, Silence, Status, Summary
from syncvault.vault.content import sources
from syncvault.vault.vault import Vault
from tests.integration.fake_exchange import FakeConnector, FakeExchange
from tests.integration.vault_parts import execute, held, register, rows, sync


def test_many_mailboxes_of_several_tenants_at_once(vault: Vault, exchange: FakeExchange) -> None:
    for number in range(30):
        exchange.hire(f"p{number}", *(f"p{number}-{item}" for item in range(5)))
        exchange.photos[f"p{number}"] = b"photo %d" % number
    exchange.groups["g:all"] = list(exchange.people)
    chosen = [register(vault, name, "g:all") for name in ("one", "two", "three")]
    for run in engine.sync(vault, chosen, Options(tenants=3, mailboxes=4), Silence()):
        assert (run.status, run.mailboxes, run.added, run.photos) == (Status.OK, 30, 180, 30)
        assert run.requests > 30
    for tenant in chosen:
        found = held(vault, tenant)
        assert {key: len(box) for key, box in found.items()} == {f"p{number}": 6 for number in range(30)}
    before = rows(vault.data, "contacts")
    for run in engine.sync(vault, chosen, Options(tenants=3, mailboxes=4), Silence()):
        assert (run.added, run.changed, run.removed) == (0, 0, 0)
    assert rows(vault.data, "contacts") == before


def test_progress_tells_of_every_mailbox(vault: Vault, exchange: FakeExchange) -> None:
    told: list[tuple[str, Any]] = []

    class Listening(Silence):
        def begin(self, tenant: str) -> None:
            told.append(("begin", tenant))

        def expect(self, tenant: str, mailboxes: int) -> None:
            told.append(("expect", mailboxes))

        def advance(self, tenant: str, *, mailboxes: int = 0, contacts: int = 0, photos: int = 0) -> None:
            told.extend([("done", None)] * mailboxes)

        def end(self, tenant: str, summary: Summary) -> None:
            told.append(("end", summary.status))

    exchange.hire("ann", "a1")
    exchange.hire("bob", "b1").fault = Throttled("Later.")
    tenant = register(vault, "acme", "ann", "bob")
    engine.sync(vault, [tenant], Options(), Listening())
    assert told[:2] == [("begin", "acme"), ("expect", 2)]
    assert told.count(("done", None)) == 2
    assert told[-1] == ("end", Status.PARTIAL)


def test_cards_that_fail_together_leave_the_contacts_to_be_pulled(
    vault: Vault, exchange: FakeExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: FakeConnector, mailboxes: Sequence[Mailbox]) -> Iterator[Card]:
        raise Throttled("Come back later.")

    monkeypatch.setattr(FakeConnector, "card", refuse)
    exchange.hire("anna", "a1")
    exchange.hire("berta", "b1")
    tenant = register(vault, "acme", "anna", "berta")
    run = sync(vault, tenant)
    assert (run.status, run.added) == (Status.PARTIAL, 2)
    assert sorted(failure.mailbox or "" for failure in run.failures) == ["a…a@example.com", "b…a@example.com"]


@pytest.mark.parametrize("part", ["card", "photos"])
def test_a_credential_refused_at_any_point_stops_the_run(
    vault: Vault, exchange: FakeExchange, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    def refuse(self: FakeConnector, wanted: Sequence[Any]) -> Iterator[Any]:
        raise CredentialRejected("Refused.")

    monkeypatch.setattr(FakeConnector, part, refuse)
    exchange.hire("ann", "a1")
    assert sync(vault, register(vault, "acme", "ann")).status == Status.QUARANTINED


def test_photos_that_fail_together_are_failures_of_their_mailboxes(
    vault: Vault, exchange: FakeExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_midway(self: FakeConnector, wanted: Sequence[PhotoRef]) -> Iterator[Photo]:
        yield next(look(self, wanted))
        raise Throttled("Come back later.")

    look = FakeConnector.photos
    exchange.hire("anna", "a1", "a2")
    exchange.photos = {"anna": b"one", "a1": b"two", "a2": b"three"}
    tenant = register(vault, "acme", "anna")
    with monkeypatch.context() as patch:
        patch.setattr(FakeConnector, "photos", fail_midway)
        run = sync(vault, tenant)
    assert (run.status, run.photos) == (Status.PARTIAL, 1)
    assert [failure.mailbox for failure in run.failures] == ["a…a@example.com"]
    assert sync(vault, tenant).photos == 2


def test_large_photos_are_committed_as_they_come(vault: Vault, exchange: FakeExchange) -> None:
    exchange.hire("ann", "a1", "a2", "a3")
    exchange.photos = {item: item.encode() * 1024 * 1024 for item in ("a1", "a2", "a3")}
    run = sync(vault, register(vault, "acme", "ann"))
    assert (run.status, run.photos, len(rows(vault.data, "photos"))) == (Status.OK, 3, 3)


@pytest.mark.parametrize("table", ["checkpoints", "folders"])
def test_a_mailbox_with_a_damaged_checkpoint_or_folder_fails_alone(
    vault: Vault, exchange: FakeExchange, table: str
) -> None:
    exchange.hire("ann", "a1")
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    execute(vault.data, f"UPDATE {table} SET blob = ?", b"x" * 200)
    exchange.hire("bob", "b1")
    sources.add(vault, tenant, "user", "bob")
    run = sync(vault, tenant)
    assert (run.status, run.added) == (Status.PARTIAL, 2)
    assert [(failure.mailbox, failure.code) for failure in run.failures] == [("…@example.com", "damaged")]
    assert table in run.failures[0].message


@pytest.mark.parametrize("kind", ["card", "contact"])
def test_a_damaged_row_is_named_and_the_rest_of_the_run_goes_on(
    vault: Vault, exchange: FakeExchange, kind: str
) -> None:
    exchange.hire("ann", "a1")
    tenant = register(vault, "acme", "ann")
    sync(vault, tenant)
    execute(vault.data, "UPDATE contacts SET blob = ? WHERE kind = ?", b"x" * 200, kind)
    exchange.hire("bob", "b1")
    sources.add(vault, tenant, "user", "bob")
    run = sync(vault, tenant, full=True)  # looks at everything, the damaged row's photo too
    assert run.status == Status.PARTIAL
    assert {failure.code for failure in run.failures} == {"damaged"}
    assert all("contacts" in failure.message for failure in run.failures)
    assert len(rows(vault.data, "contacts")) == (3 if kind == "card" else 4)
