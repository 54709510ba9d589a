"""The files beside the databases under every change: `vault.toml` and the erasure ledger's copy."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncvault.errors import NoVaultError, StorageError
from syncvault.store.ledger import LedgerRow
from syncvault.vault import layout as layouts
from syncvault.vault.erasing import ledger
from syncvault.vault.layout import Layout
from syncvault.vault.opening import create_vault
from syncvault.vault.vault import Vault

pytestmark = pytest.mark.slow  # many examples

HERE = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
toml_values = st.sampled_from(
    [
        '""',
        '"x"',
        "1",
        "-1.5",
        "true",
        "1979-05-27",
        "[]",
        '["x"]',
        "{}",
        '{a = "x"}',
        '"\\u0000"',
        "nan",
        "inf",
        "2",
        "0x_",
        "'''",
    ]
)


# vault.toml


@HERE
@given(
    named=st.tuples(texts, texts, texts),
    file=st.none() | st.text("abc/ü🌻\"'\\\n\t ", min_size=1, max_size=20),
    options=st.dictionaries(st.from_regex(r"[a-z_]{1,10}", fullmatch=True), texts, max_size=3),
)
def test_what_is_saved_is_loaded(
    named: tuple[str, str, str], file: str | None, options: dict[str, str], tmp_path: Path
) -> None:
    database, key_database, root_key = named
    saved = Layout(tmp_path, database, key_database, root_key, Path("/", file) if file else None, options)
    layouts.save(saved)
    assert layouts.load(tmp_path) == saved


def loaded(home: Path, content: bytes) -> Layout | None:
    """What a `vault.toml` says; None if it is refused in the one way that is allowed."""
    (home / "vault.toml").write_bytes(content)
    try:
        found = layouts.load(home)
    except StorageError:
        return None
    assert {type(found.database), type(found.key_database), type(found.root_key)} == {str}
    assert all(type(each) is str for option in found.root_key_options.items() for each in option)
    return found


NAMES = ("database", "key_database", "root_key")
GOOD = b'database = "sqlite:////srv/vault.db"\nkey_database = "sqlite:////srv/keys.db"\nroot_key = "file"\n'


@HERE
@given(content=st.binary(max_size=200))
def test_bytes_are_refused_as_damaged(content: bytes, tmp_path: Path) -> None:
    assert loaded(tmp_path, content) is None


@HERE
@given(
    values=st.dictionaries(
        st.sampled_from([*NAMES, "root_key_file", "root_key_options", "generation", "coming", "replaced", "x"]),
        toml_values,
    )
)
def test_values_of_other_kinds_are_refused_as_damaged(values: dict[str, str], tmp_path: Path) -> None:
    found = loaded(tmp_path, "".join(f"{name} = {value}\n" for name, value in values.items()).encode())
    assert found is None or all(values[name].startswith('"') for name in NAMES)


@pytest.mark.parametrize("table", ["coming", "[replaced]"])
@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "true", '"two"', "[]", "1e400"])
def test_another_place_with_a_generation_of_another_kind_is_refused_or_whole(
    table: str, value: str, tmp_path: Path
) -> None:
    found = loaded(tmp_path, GOOD + f'[{table}]\nroot_key = "file"\ngeneration = {value}\n'.encode())
    assert found is None or value == "true"


@pytest.mark.parametrize("at", range(len(GOOD)))
def test_a_changed_byte_is_refused_or_says_something_whole(at: int, tmp_path: Path) -> None:
    for value in range(0, 256, 5):
        loaded(tmp_path, GOOD[:at] + bytes((value,)) + GOOD[at + 1 :])


@pytest.mark.parametrize("depth", [500, 5000])
def test_no_depth_of_nesting_does_harm(depth: int, tmp_path: Path) -> None:
    for deep in (
        b"x = " + b"[" * depth + b"]" * depth,
        b"x = " + b"{a=" * depth,
        b"a." * depth + b"b = 1",
        b"[" * depth,
    ):
        loaded(tmp_path, GOOD + deep + b"\n")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "cp037"])
def test_a_file_in_another_encoding_is_refused(encoding: str, tmp_path: Path) -> None:
    assert loaded(tmp_path, GOOD.decode().encode(encoding)) is None


def test_a_directory_without_the_file_and_a_file_in_its_place_are_no_vault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for home in (tmp_path, tmp_path / "none", tmp_path / "file"):
        assert not layouts.exists(home)
        with pytest.raises(NoVaultError):
            layouts.load(home)


# The erasure ledger's copy


ENTRIES = [
    LedgerRow(seq, 1_800_000_000 + seq, event, bytes((seq,)) * 16, '{"reason":"on-demand","rule_version":1}')
    for seq, event in enumerate(("intent", "keys_destroyed", "completed"), start=1)
]
TEXT = ledger.to_text(ENTRIES)


def parsed(content: bytes) -> list[LedgerRow] | None:
    try:
        return ledger.parse(content)
    except ValueError:
        return None


def test_the_ledger_reads_as_it_was_written() -> None:
    assert ledger.parse(TEXT) == ENTRIES
    assert ledger.parse(b"") == []


def test_no_changed_byte_hides_an_entry() -> None:
    for at in range(len(TEXT) - 1):
        for value in range(256):
            found = parsed(TEXT[:at] + bytes((value,)) + TEXT[at + 1 :])
            assert found is None or len(found) == len(ENTRIES), (at, value)


def test_a_ledger_that_was_cut_off_gives_its_whole_entries() -> None:
    ends = [at + 1 for at, byte in enumerate(TEXT) if byte == ord("\n")]
    for size in range(len(TEXT) + 1):
        assert parsed(TEXT[:size]) == ENTRIES[: sum(end <= size for end in ends)]
    for start in range(1, len(TEXT)):
        assert parsed(TEXT[start:]) is None or start in ends


@given(content=st.binary(max_size=120))
def test_bytes_that_end_in_a_line_are_no_ledger(content: bytes) -> None:
    assert parsed(content + b"\n") is None


@given(
    name=st.sampled_from(LedgerRow._fields),
    value=st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | texts | st.lists(st.integers()),
)
def test_an_entry_of_other_values_is_of_their_kinds_or_none(name: str, value: Any) -> None:
    try:
        line = orjson.dumps({**orjson.loads(TEXT.splitlines()[0]), name: value}) + b"\n"
    except TypeError:  # beyond what JSON holds here
        return
    for entry in parsed(line) or []:
        assert [type(each) for each in entry] == [type(each) for each in ENTRIES[0]]


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vault]:
    """A real vault with three entries in its ledger."""
    folder = tmp_path_factory.mktemp("vault")
    home = folder / "home"
    places = Layout(
        home, layouts.default_database(home), layouts.default_key_database(home), "file", folder / "key" / "root.key"
    )
    with create_vault(places, clock=lambda: datetime(2027, 1, 1, tzinfo=UTC)) as made:
        for entry in ENTRIES:
            with made.key_data.write() as tx:
                ledger.append(made, tx, entry.event, entry.tenant_id, {"reason": "on-demand"})  # type: ignore[arg-type]
        yield made


def mirrored(vault: Vault, content: bytes) -> bytes | None:
    """What becomes of a copy; None if it is called damaged: then it is as it was, but for an unfinished line."""
    path = vault.layout.ledger_mirror
    path.write_bytes(content)
    whole = content[: content.rfind(b"\n") + 1]
    try:
        ledger.mirror(vault)
    except StorageError:
        assert path.read_bytes() in {content, whole}
        return None
    after = path.read_bytes()
    assert after.startswith(whole)
    return after


def test_a_copy_is_completed_wherever_a_crash_cut_it_off(vault: Vault) -> None:
    whole = mirrored(vault, b"")
    assert whole is not None
    assert [entry.event for entry in ledger.parse(whole)] == [entry.event for entry in ENTRIES]
    for size in range(len(whole) + 1):
        assert mirrored(vault, whole[:size]) == whole


@HERE
@given(content=st.binary(max_size=80))
def test_a_copy_of_bytes_is_called_damaged(vault: Vault, content: bytes) -> None:
    assert mirrored(vault, content + b"\n") is None


@HERE
@given(
    last=st.fixed_dictionaries(
        {"seq": st.none() | st.booleans() | st.integers(max_value=0) | st.integers(2**63, 2**70) | st.floats() | texts}
    )
)
def test_a_copy_whose_last_entry_has_no_number_is_called_damaged(vault: Vault, last: dict[str, Any]) -> None:
    try:
        line = orjson.dumps(last) + b"\n"
    except TypeError:
        return
    assert mirrored(vault, line) is None
