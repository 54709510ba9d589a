"""The text of root keys, and the handles that point to them, under every change: a refusal, and nothing but one."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncvault.errors import RootKeyError
from syncvault.roots import registry
from syncvault.roots.generations import from_text, to_text
from syncvault.roots.keyring import BACKENDS
from syncvault.roots.port import (
    Handle,
    ProviderSettings,
    handle_number,
    handle_text,
    require_generation,
    require_provider,
    require_root_key,
)
from syncvault.secret import Secret

pytestmark = pytest.mark.slow  # many examples

VAULT = UUID("8b1c1f0e-26a5-4a2e-9f0c-6f7b5d0f4a11")
KEYS = {1: b"\x11" * 32, 2: b"\x22" * 32}
TEXT = to_text(str(VAULT), KEYS)

generations = st.dictionaries(st.integers(1, 2**31), st.binary(min_size=32, max_size=32), max_size=4)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
odd_texts = st.sampled_from(
    ["", "\0", "/\0", "/", ".", "..", "-", "--help", "~", "*", "\ud800", "a" * 5000, "/dev/null"]
)


def keys_in(text: bytes) -> dict[int, bytes] | None:
    """The keys of a text; None if it is refused in the one way that is allowed, which shows nothing of it."""
    try:
        return from_text(text, str(VAULT), "HERE")
    except RootKeyError as error:
        refusal = error
    assert "HERE" in refusal.message
    assert refusal.__context__ is None  # a parser's exception carries the text that it could not read
    return None


@given(keys=generations)
def test_what_is_written_is_read(keys: dict[int, bytes]) -> None:
    assert keys_in(to_text(str(VAULT), keys)) == keys


def test_the_text_is_one_line_of_ascii() -> None:
    assert TEXT.isascii()
    assert TEXT.count(b"\n") == 1
    assert TEXT.endswith(b"}\n")


@pytest.mark.parametrize("at", range(len(TEXT)))
def test_a_changed_byte_is_refused_or_read_as_other_whole_keys(at: int) -> None:
    for value in range(256):
        found = keys_in(TEXT[:at] + bytes((value,)) + TEXT[at + 1 :])
        assert found is None or all(n >= 1 and len(key) == 32 for n, key in found.items())


def test_a_text_cut_off_anywhere_is_refused() -> None:
    whole = len(TEXT.rstrip())
    assert not any(keys_in(TEXT[:size]) for size in range(whole))
    assert not any(keys_in(TEXT[start:]) for start in range(1, whole))


@pytest.mark.parametrize("joined", [TEXT * 2, TEXT + bytes(10), TEXT + b"x", b"[" + TEXT + b"]", b"\0" * len(TEXT)])
def test_a_text_with_something_beside_it_is_refused(joined: bytes) -> None:
    assert keys_in(joined) is None


@given(content=st.binary(max_size=300))
def test_bytes_are_refused(content: bytes) -> None:
    assert keys_in(content) is None


@given(document=json_values)
def test_other_json_is_refused(document: Any) -> None:
    assert keys_in(json.dumps(document).encode()) is None


@given(name=st.sampled_from(["format", "vault", "keys"]), value=json_values)
def test_no_part_of_it_can_be_another_value(name: str, value: Any) -> None:
    document = json.loads(TEXT)
    found = keys_in(json.dumps(document | {name: value}).encode())
    assert found is None or value in (document[name], {})


@given(number=st.text(max_size=5), key=json_values)
def test_no_generation_and_no_key_can_be_anything_else(number: str, key: Any) -> None:
    document = json.loads(TEXT)
    found = keys_in(json.dumps(document | {"keys": {number: key}}).encode())
    assert found is None or (found == {int(number): base64.b64decode(key)} and str(int(number)) == number)


GOOD_KEY = base64.b64encode(KEYS[1]).decode()


@pytest.mark.parametrize("number", ["0", "-1", "01", "+1", " 1", "1 ", "1_0", "١", "1.0", "1e0", "9" * 5000])
def test_a_generation_in_another_spelling_is_refused(number: str) -> None:
    document = {"format": "syncvault-root-keys v1", "vault": str(VAULT), "keys": {number: GOOD_KEY}}
    assert keys_in(json.dumps(document).encode()) is None


@pytest.mark.parametrize("name", ["format", "vault", "keys", "1"])
def test_a_name_that_appears_twice_is_refused(name: str) -> None:
    value = {"format": "x", "vault": "x", "keys": {}, "1": GOOD_KEY}[name]
    assert keys_in(TEXT.replace(f'"{name}":'.encode(), f'"{name}": {json.dumps(value)}, "{name}":'.encode())) is None


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32-be"])
def test_a_text_in_another_encoding_is_refused(encoding: str) -> None:
    assert keys_in(TEXT.decode().encode(encoding)) is None


@pytest.mark.parametrize("deep", [b"[" * 100_000, b'{"keys":' * 100_000, b'{"a":' * 900 + b"0" + b"}" * 900])
def test_no_depth_of_nesting_does_harm(deep: bytes) -> None:
    assert keys_in(deep) is None


# Handles


FIELDS = {
    "path": odd_texts,
    "file": odd_texts,
    "backend": st.sampled_from([*BACKENDS, "os.system", "keyring.backends.null.Keyring", ""]),
    "salt": st.sampled_from([base64.b64encode(bytes(16)).decode(), "AAAA", "*", "ü"]),
    "iterations": st.sampled_from([0, 1, 100, 101, -1, 2**31]),
    "memory_kib": st.sampled_from([0, 1, 8, 64, 2**22 + 1, 2**63]),
    "lanes": st.sampled_from([0, 1, 2, 64, 65, 2**40]),
    "check": st.text(max_size=12),
    "wrapped": st.sampled_from(["", "*", "AAAA", "A" * 20_000]),
}
handle_values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.lists(st.integers())


@st.composite
def handles(draw: st.DrawFn, provider: str) -> dict[str, Any]:
    """Anything between a handle of this provider's and none at all."""
    own = {name: draw(values) for name, values in FIELDS.items() if draw(st.integers(0, 4))}
    handle = {"provider": provider, "generation": draw(st.integers(1, 3)), **own}
    strange = draw(
        st.dictionaries(st.sampled_from([*handle, "key_id", "version"]), handle_values | odd_texts, max_size=2)
    )
    return handle | strange


class NoKeyring:
    """A keyring that has nothing: what is asked of a real one is tested elsewhere."""

    @staticmethod
    def get_password(service: str, username: str) -> str | None:
        return None


@pytest.mark.parametrize("name", registry.names())
def test_no_handle_brings_a_provider_to_more_than_a_refusal(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syncvault.roots.keyring._load", lambda backend: NoKeyring)
    monkeypatch.chdir(tmp_path)
    provider = registry.open_provider(
        name, ProviderSettings(VAULT, home=tmp_path / "home", passphrase=lambda: Secret("wrong"), environment={})
    )

    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(handle=handles(name))
    def holds(handle: Handle) -> None:
        with pytest.raises(RootKeyError) as refusal:
            provider.unwrap(handle)
        assert refusal.value.message
        assert refusal.value.advice

    holds()


@given(handle=st.dictionaries(st.text(max_size=5), handle_values, max_size=4), key=st.text(max_size=5))
def test_a_field_of_a_handle_is_of_its_kind_or_refused(handle: dict[str, Any], key: str) -> None:
    value = handle.get(key)
    for read, is_good in (
        (handle_text, isinstance(value, str) and value != ""),
        (handle_number, type(value) is int and value >= 1),
    ):
        if is_good:
            assert read(handle, key) == value
        else:
            with pytest.raises(RootKeyError, match="malformed"):
                read(handle, key)


@given(made_by=st.text(max_size=8), name=st.text(max_size=8))
def test_a_handle_of_another_provider_is_refused(made_by: str, name: str) -> None:
    if made_by == name != "":
        require_provider({"provider": made_by}, name)
    else:
        with pytest.raises(RootKeyError):
            require_provider({"provider": made_by}, name)


@given(key=st.binary(max_size=70))
def test_a_root_key_is_32_bytes(key: bytes) -> None:
    if len(key) == 32:
        assert require_root_key(key, "HERE") == key
    else:
        with pytest.raises(RootKeyError, match=f"HERE is malformed: {len(key)} bytes instead of 32"):
            require_root_key(key, "HERE")


@given(generation=st.integers(max_value=0))
def test_no_generation_is_below_one(generation: int) -> None:
    require_generation(1)
    with pytest.raises(ValueError, match="count from 1"):
        require_generation(generation)
