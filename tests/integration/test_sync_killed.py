"""`kill -9` after any step of a run, then run again: the vault holds exactly what the source has."""

from __future__ import annotations

import pytest

from syncvault.sync import engine
from syncvault.sync.scope import selection_of
from syncvault.sync.summary import Status
from syncvault.vault import tenants
from syncvault.vault.content import contacts, photos
from syncvault.vault.vault import Vault
from tests.integration.fake_exchange import FakeExchange
from tests.integration.killed import first_scene, kill_after, second_scene
from tests.integration.vault_parts import NOW, Place, held, register, rows, sync

MOST_STEPS = 40


def expected(exchange: FakeExchange, *keys: str) -> dict[str, dict[str, tuple[str, str]]]:
    return {
        key: {"card": ("", f"Card of {key}")}
        | {item: (path, entry.display_name) for item, (path, entry) in exchange.content()[key].items()}
        for key in keys
    }


def photos_of(vault: Vault) -> dict[str, bytes]:
    tenant = tenants.find(vault, "acme")
    return {
        entry.fields.get("surname", entry.mailbox.key): content
        for entry in contacts.stream(vault, tenant)
        if (content := photos.read(vault, tenant, entry.id)) is not None
    }


@pytest.mark.slow
def test_a_first_run_killed_after_any_step_is_completed_by_the_next(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = first_scene()
    register(place.create(), "acme", "g:all")
    _kill_until_done(place, "first")
    monkeypatch.setattr(engine, "connect", lambda facts, credential, **_: exchange.connect(selection_of(facts.scope)))
    vault = place.open(NOW)
    tenant = tenants.find(vault, "acme")
    assert held(vault, tenant) == expected(exchange, "ann", "bob")
    assert photos_of(vault) == exchange.photos
    assert sync(vault, tenant).added == 0


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 9, 11])
def test_a_run_over_changes_killed_after_a_step_is_completed_by_the_next(
    place: Place, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    exchange = first_scene()
    monkeypatch.setattr(engine, "connect", lambda facts, credential, **_: exchange.connect(selection_of(facts.scope)))
    vault = place.create()
    tenant = register(vault, "acme", "g:all")
    sync(vault, tenant)
    vault.close()
    kill_after(step, "second", place.home)
    exchange = second_scene()
    again = place.open(NOW)
    assert sync(again, tenant).status == Status.OK
    assert held(again, tenant) == expected(exchange, "ann")
    assert photos_of(again) == {"ann": b"photo of ann", "a1": b"another photo of a1"}
    assert rows(again.data, "pending_removals") == rows(again.data, "seen") == []


def _kill_until_done(place: Place, verb: str) -> None:
    """Kills one run after its first step, the next after two …: each goes on from where the last was killed."""
    for step in range(1, MOST_STEPS):
        if not kill_after(step, verb, place.home):
            return
    pytest.fail("it never came to its end")
