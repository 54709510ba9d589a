"""Which provider is opened for which generation of the root key, with what it is told, and how often.

The providers themselves are stood in for by what they were told: no real one repeats it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

import pytest

from syncvault.roots.passphrase import LeftPassphraseProvider
from syncvault.roots.port import ProviderSettings
from syncvault.secret import Secret
from syncvault.store.keys import RootRow
from syncvault.vault.keyring import roots_in_use
from syncvault.vault.keyring.roots_in_use import RootsInUse
from syncvault.vault.layout import Layout, RootPlace

VAULT = b"v" * 16
ELSEWHERE = RootPlace("file", Path("/elsewhere/root.key"), {"a": "b"})


def ask() -> Secret:
    return Secret("correct horse")


def ask_anew() -> Secret:
    return Secret("battery staple")


@dataclass(eq=False)
class Told:
    """A provider that is nothing but what it was told."""

    name: str
    settings: ProviderSettings


@pytest.fixture(autouse=True)
def _opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roots_in_use, "open_provider", Told)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    old = RootPlace("openbao", Path("/token"), {"address": "https://bao.example"}, generation=2)
    return Layout(
        tmp_path, "sqlite:////v.db", "sqlite:////k.db", "file", Path("/root.key"), {"c": "d"}, replaced=(old,)
    )


def root(generation: int, provider: str) -> RootRow:
    return RootRow(generation, provider, "{}", "current", 1)


def told(opened: object) -> Told:
    assert isinstance(opened, Told)
    return opened


def test_a_provider_is_told_whose_key_it_keeps_and_where(layout: Layout) -> None:
    opened = told(RootsInUse(layout, VAULT, ask).of(root(3, "file")))
    assert opened.name == "file"
    assert opened.settings == ProviderSettings(
        vault_id=UUID(bytes=VAULT),
        root_key_file=Path("/root.key"),
        options={"c": "d"},
        home=layout.home,
        passphrase=ask,
        environment=os.environ,
    )
    replaced = told(RootsInUse(layout, VAULT, ask).of(root(2, "openbao")))
    assert (replaced.name, replaced.settings.root_key_file) == ("openbao", Path("/token"))


def test_a_provider_is_opened_once_for_all_generations_in_its_place(layout: Layout) -> None:
    roots = RootsInUse(layout, VAULT, ask)
    current, older = roots.of(root(3, "file")), roots.of(root(2, "openbao"))
    assert roots.of(root(4, "file")) is roots.of(root(3, "file")) is current
    assert roots.of(root(1, "openbao")) is roots.of(root(2, "openbao")) is older
    roots.close()
    assert roots.of(root(3, "file")) is not current


def test_another_passphrase_is_asked_for_if_one_is_given(layout: Layout) -> None:
    roots = RootsInUse(layout, VAULT, ask)
    assert told(roots.open(ELSEWHERE)).settings.passphrase is ask
    opened = told(roots.open(ELSEWHERE, ask_anew))
    assert (opened.settings.passphrase, opened.settings.options) == (ask_anew, {"a": "b"})
    assert roots.open(ELSEWHERE) is not roots.open(ELSEWHERE)  # it is not in use yet


def test_a_provider_that_is_taken_into_use_takes_the_place_of_the_one_there_alone(layout: Layout) -> None:
    roots = RootsInUse(layout, VAULT, ask)
    before, other = roots.of(root(3, "file")), roots.of(root(2, "openbao"))
    fresh = roots.open(layout.root_place, ask_anew)
    roots.adopt(replace(layout.root_place, generation=7), fresh)
    assert roots.of(root(3, "file")) is fresh is not before
    assert roots.of(root(2, "openbao")) is other


def test_who_can_still_destroy_a_replaced_key(layout: Layout) -> None:
    roots = RootsInUse(layout, VAULT, ask)
    assert roots.keeper_of(root(2, "openbao")) is roots.of(root(2, "openbao"))
    assert roots.keeper_of(root(1, "keyring")) is None  # `vault.toml` no longer names it


def test_of_a_passphrase_what_counts_is_the_one_in_use(layout: Layout) -> None:
    by_passphrase = replace(layout, root_key="passphrase", root_key_file=None)
    roots = RootsInUse(by_passphrase, VAULT, ask)
    assert roots.keeper_of(root(1, "passphrase")) is roots.of(root(3, "passphrase"))
    left = RootsInUse(layout, VAULT, ask).keeper_of(root(1, "passphrase"))
    assert isinstance(left, LeftPassphraseProvider)
