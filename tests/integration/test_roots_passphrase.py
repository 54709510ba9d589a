"""The passphrase provider derives with real Argon2id and knows a wrong passphrase."""

from __future__ import annotations

import base64
import hashlib
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from syncvault.errors import Exit, RootKeyError
from syncvault.roots.passphrase import LeftPassphraseProvider, PassphraseProvider
from syncvault.roots.port import Destroyed, NotPossible, ProviderSettings
from syncvault.secret import Secret

pytestmark = pytest.mark.slow  # as Argon2id is meant to be


def provider(passphrase: str) -> PassphraseProvider:
    return PassphraseProvider(ProviderSettings(vault_id=uuid4(), passphrase=lambda: Secret(passphrase)))


def test_the_key_is_what_argon2id_gives_for_the_documented_parameters() -> None:
    opened = provider("correct horse")
    handle = opened.create(1)
    assert (handle["iterations"], handle["memory_kib"], handle["lanes"]) == (3, 65536, 4)
    salt = base64.b64decode(str(handle["salt"]))
    expected = Argon2id(salt=salt, length=32, iterations=3, lanes=4, memory_cost=65536).derive(b"correct horse")
    assert hashlib.sha256(opened.unwrap(handle)).digest() == hashlib.sha256(expected).digest()


def test_a_wrong_passphrase_is_told_as_such() -> None:
    handle = provider("correct horse").create(1)
    with pytest.raises(RootKeyError, match="not the one this vault was made with") as refusal:
        provider("battery staple").unwrap(handle)
    assert refusal.value.exit_code is Exit.ROOT_KEY
    assert "battery" not in refusal.value.message + refusal.value.advice


def test_it_asks_once_and_only_when_the_passphrase_is_needed() -> None:
    asked = []

    def ask() -> Secret:
        asked.append(1)
        return Secret("correct horse")

    opened = PassphraseProvider(ProviderSettings(vault_id=uuid4(), passphrase=ask))
    assert opened.why_unusable() is None
    assert asked == []
    opened.unwrap(opened.create(1))
    opened.create(2)
    assert asked == [1]


def test_an_empty_passphrase_is_refused() -> None:
    with pytest.raises(RootKeyError, match="empty"):
        provider("").create(1)


def test_without_anybody_to_ask_it_says_how_to_give_one() -> None:
    silent = PassphraseProvider(ProviderSettings(vault_id=uuid4()))
    assert "--passphrase-file" in (silent.why_unusable() or "")
    with pytest.raises(RootKeyError) as refusal:
        silent.create(1)
    assert "--passphrase-file" in refusal.value.advice


@pytest.mark.parametrize(
    "damage",
    [
        {"salt": "AAAA"},
        {"salt": "not base64"},
        {"iterations": 10**9},
        {"memory_kib": 10**9},
        {"lanes": 10**6},
        {"memory_kib": 1},  # below what Argon2 allows for four lanes
        {"check": "AAAAAAAAAAA="},
        {"check": "ü"},
    ],
)
def test_damaged_parameters_are_refused_before_they_cost_anything(damage: dict[str, str | int]) -> None:
    handle = provider("correct horse").create(1)
    with pytest.raises(RootKeyError):
        provider("correct horse").unwrap({**handle, **damage})


def test_a_generation_is_gone_once_another_passphrase_is_in_use() -> None:
    handle = provider("correct horse").create(1)
    same, other = provider("correct horse"), provider("battery staple")
    same.unwrap(handle)
    other.create(2)
    assert isinstance(same.destroy(handle), NotPossible)
    assert other.destroy(handle) == Destroyed()


def test_destroying_asks_nobody_and_claims_nothing_that_it_cannot_know() -> None:
    def ask() -> Secret:
        pytest.fail("nobody is to be asked")

    handle = provider("correct horse").create(1)
    unasked = PassphraseProvider(ProviderSettings(vault_id=uuid4(), passphrase=ask))
    assert isinstance(unasked.destroy(handle), NotPossible)
    assert LeftPassphraseProvider(ProviderSettings(vault_id=uuid4())).destroy(handle) == Destroyed()
