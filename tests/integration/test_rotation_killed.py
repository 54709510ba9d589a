"""`kill -9` after any step of a rotation: everything still opens, by one root key, and running it again ends it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from syncvault.errors import RootKeyError
from syncvault.store import keys as key_rows
from syncvault.sync import engine
from syncvault.sync.summary import Status
from syncvault.vault import layout, tenants
from syncvault.vault.keyring import rotation
from syncvault.vault.layout import Layout
from syncvault.vault.opening import create_vault, open_vault
from syncvault.vault.vault import Vault
from tests.integration.fake_exchange import FakeExchange
from tests.integration.killed import first_scene
from tests.integration.killed_rotating import PASSPHRASE, elsewhere, kept, kill_after
from tests.integration.rotating import everything, generations, indexes, is_sound
from tests.integration.vault_parts import NOW, Place, register, sync

MOST_STEPS = 400
pytestmark = pytest.mark.slow


def opened(home: Path) -> Vault:
    return open_vault(home, passphrase=lambda: PASSPHRASE, clock=lambda: NOW)


@pytest.fixture
def filled(tmp_path: Path, exchange: FakeExchange) -> Path:
    """The home of a vault with everything that can be stored of a tenant, in a directory that can be put back whole."""
    exchange.__dict__.update(first_scene().__dict__)
    home = tmp_path / "all" / "home"
    urls = layout.default_database(home), layout.default_key_database(home)
    place = Layout(home, *urls, "file", tmp_path / "all" / "root-key" / "root.key")
    with create_vault(place, clock=lambda: NOW) as vault:
        assert sync(vault, register(vault, "acme", "g:all", "ann")).status == Status.OK
    return home


def root_state(vault: Vault) -> tuple[dict[int, str], set[int]]:
    """The state of every root generation, and under which of them keys are wrapped."""
    with vault.key_data.read() as tx:
        states = {root.generation: root.state for root in key_rows.roots(tx)}
        return states, {row.root_generation for row in key_rows.list_all(tx)}


@pytest.mark.parametrize("verb", ["rotate-root", "migrate-file"])
def test_one_root_key_opens_the_vault_wherever_its_replacement_was_killed(filled: Path, verb: str) -> None:
    with opened(filled) as vault:
        before = everything(vault)
    old, new = filled.parent / "root-key" / "root.key", elsewhere(filled).file
    assert new is not None
    with kept(filled.parent) as put_back:
        for step in range(1, MOST_STEPS):
            put_back()
            if not kill_after(step, verb, filled):
                break
            with opened(filled) as vault:
                assert everything(vault) == before
                states, wrapping = root_state(vault)
                (current,) = wrapping
                assert states[current] == "current"
                assert set(states.values()) <= {"current", "destroyed"}, "opening the vault finishes it"
                at_new = verb == "migrate-file" and current > 1
                assert layout.load(filled) == replace(vault.layout, root_key_file=new if at_new else old)
                assert vault.layout.coming is None
                assert old.exists() is not at_new
            assert kill_after(MOST_STEPS, verb, filled) is False if current == 1 else True
            with opened(filled) as vault:
                assert everything(vault) == before
                assert [state for state in root_state(vault)[0].values() if state != "destroyed"] == ["current"]
        else:
            pytest.fail("it never came to its end")
    assert step > 10


def test_one_root_key_opens_the_vault_wherever_its_move_to_a_passphrase_was_killed(filled: Path) -> None:
    with opened(filled) as vault:
        before = everything(vault)
    old = filled.parent / "root-key" / "root.key"
    with kept(filled.parent) as put_back:
        for step in range(1, MOST_STEPS):
            put_back()
            if not kill_after(step, "migrate-passphrase", filled):
                break
            with opened(filled) as vault:
                assert everything(vault) == before
                (current,) = root_state(vault)[1]
                assert vault.layout.root_key == ("file" if current == 1 else "passphrase")
                assert old.exists() is (current == 1)
            if current > 1:
                with pytest.raises(RootKeyError):
                    open_vault(filled, clock=lambda: NOW)
        else:
            pytest.fail("it never came to its end")
    assert step > 5


@pytest.mark.parametrize("verb", ["rotate-data", "rotate-index", "rotate-both"])
def test_nothing_is_lost_wherever_a_rotation_was_killed_and_another_ends_it(
    filled: Path, verb: str, exchange: FakeExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(filled) as vault:
        before, indexed = everything(vault), indexes(vault)
    with kept(filled.parent) as put_back:
        for step in range(1, MOST_STEPS):
            put_back()
            was_killed = kill_after(step, verb, filled)
            with opened(filled) as vault:
                assert everything(vault) == before
                tenant = tenants.find(vault, "acme")
                assert is_sound(vault, tenant)
                left = rotation.unfinished(vault, tenant.id)
                has_begun = len(vault.keys.names_of(tenant.id)) > 2
                latest = 3 if was_killed and has_begun and not left else 2  # killed with nothing left to do
            assert kill_after(MOST_STEPS, verb, filled) is False if was_killed else True
            with opened(filled) as vault:
                assert everything(vault) == before
                assert is_sound(vault, tenant)
                assert rotation.unfinished(vault, tenant.id) == set()
                if "index" not in verb:
                    assert generations(vault) == {latest}
                if "data" not in verb:
                    assert indexes(vault).isdisjoint(indexed)
                purposes = 2 if verb == "rotate-both" else 1
                assert len(vault.keys.names_of(tenant.id)) == 2 + purposes * (latest - 1), "resumed, not begun anew"
                if has_begun and step % 5 == 0:
                    again = sync(vault, tenant, full=True)
                    assert (again.status, again.added, again.changed) == (Status.OK, 0, 0)
            if not was_killed:
                break
        else:
            pytest.fail("it never came to its end")
    assert step > 10


def test_a_run_after_a_killed_rotation_of_the_index_finds_everything(filled: Path) -> None:
    with kept(filled.parent) as put_back:
        for step in range(1, MOST_STEPS, 3):
            put_back()
            if not kill_after(step, "rotate-index", filled):
                break
            with opened(filled) as vault:
                tenant = tenants.find(vault, "acme")
                found = sync(vault, tenant, full=True, dry_run=step % 2 == 0)
                assert (found.status, found.added, found.changed, found.removed) == (Status.OK, 0, 0, 0)
                assert rotation.unfinished(vault, tenant.id) == set()


@pytest.mark.parametrize("verb", ["rotate-root", "rotate-both"])
def test_killed_again_and_again_it_comes_to_its_end(
    place: Place, verb: str, exchange: FakeExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = first_scene()
    monkeypatch.setattr(engine, "connect", lambda facts, credential, **_: scene.connect())
    vault = place.create()
    sync(vault, register(vault, "acme", "g:all", "ann"))
    before = everything(vault)
    vault.close()
    step = next(step for step in range(1, MOST_STEPS) if not kill_after(step, verb, place.home))
    again = place.open()
    assert everything(again) == before
    assert set(root_state(again)[0].values()) == {"current", "destroyed"} or verb != "rotate-root"
    assert rotation.unfinished(again, tenants.find(again, "acme").id) == set()
    assert step > 5
