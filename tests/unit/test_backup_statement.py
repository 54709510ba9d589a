"""What a backup says of itself: read as it was written, and nothing else is."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import os
import time
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncvault import __version__
from syncvault.crypto.signature import Subject, public_key, sign
from syncvault.errors import StorageError
from syncvault.vault.backups import archive
from syncvault.vault.backups.archive import Archive, Content, Kind, NotABackupError, Statement, parse
from syncvault.vault.layout import RootPlace

SEED = b"s" * 32


def statement(kind: Kind = Kind.KEYS) -> Statement:
    names = archive.FILES[kind]
    return Statement(
        kind=kind,
        vault_id=bytes(range(16)),
        created_at=datetime(2027, 1, 1, 12, tzinfo=UTC),
        expires_on=date(2027, 2, 5),
        schema=f"{kind}_0002",
        rows={"wrapped_keys": 6, "key_meta": 1},
        files={name: Content(4096, "ab" * 32) for name in names},
        syncvault="1.0",
        roots=(
            (RootPlace("openbao", Path("/run/token"), {"key": "syncvault"}), RootPlace("file", None, {}, 3))
            if kind is Kind.KEYS
            else ()
        ),
    )


def written(tmp_path: Path, kind: Kind) -> bytes:
    archive.write(tmp_path, statement(kind), SEED)
    return (tmp_path / "backup.json").read_bytes()


def text(said: Any) -> bytes:
    signature = base64.b64encode(b"\0" * 64).decode()
    return json.dumps({"statement": said, "signature": signature}).encode()


@pytest.mark.parametrize("kind", list(Kind))
def test_it_is_read_as_it_was_written_and_signed(tmp_path: Path, kind: Kind) -> None:
    written(tmp_path, kind)
    found = archive.read(tmp_path)
    assert found.statement == statement(kind)
    assert found.is_signed_by(public_key(SEED))
    assert not found.is_signed_by(public_key(b"t" * 32))


def test_the_signature_is_over_the_statement_under_a_subject_of_its_own(tmp_path: Path) -> None:
    document = json.loads(written(tmp_path, Kind.DATA))
    assert base64.b64decode(document["signature"]) == sign(SEED, Subject.BACKUP, document["statement"])


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inside:
        yield (*path, key)
        yield from places(child, (*path, key))


def at(document: Any, path: tuple[str | int, ...]) -> Any:
    for key in path[:-1]:
        document = document[key]
    return document


@pytest.mark.parametrize("path", list(places(statement().to_dict())), ids=str)
@pytest.mark.parametrize("other", [None, "", "other", 1, 1.5, -1, True, [], {}, [[]], {"a": 1}], ids=repr)
def test_a_changed_value_is_refused_or_not_signed(path: tuple[str | int, ...], other: object) -> None:
    document = statement().to_dict()
    if at(document, path)[path[-1]] == other and type(at(document, path)[path[-1]]) is type(other):
        return
    at(document, path)[path[-1]] = other
    assert _is_noticed(text(document))


@pytest.mark.parametrize("path", list(places(statement().to_dict())), ids=str)
def test_a_removed_or_added_value_is_refused_or_not_signed(path: tuple[str | int, ...]) -> None:
    document = statement().to_dict()
    del at(document, path)[path[-1]]
    assert _is_noticed(text(document))
    document = statement().to_dict()
    inner = at(document, path)
    if isinstance(inner, dict):
        inner["another"] = copy.deepcopy(inner[path[-1]])
        assert _is_noticed(text(document))


def _is_noticed(content: bytes) -> bool:
    signature = sign(SEED, Subject.BACKUP, statement().to_dict())
    try:
        said, _ = parse(content)
    except NotABackupError:
        return True
    return not Archive(Path(), said, signature).is_signed_by(public_key(SEED))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda content: content.replace(b'"kind":', b'"kind": "data", "kind":'), id="a name twice"),
        pytest.param(lambda content: content.replace(b'"keys"', b'"neither"'), id="another kind"),
        pytest.param(lambda content: content.replace(b"v1", b"v2"), id="another format"),
        pytest.param(lambda content: content.replace(b"4096", b"4096.0"), id="no whole number"),
        pytest.param(lambda content: content.replace(b"4096", b"1e400"), id="no number that is one"),
        pytest.param(lambda content: content.replace(b"4096", b"9007199254740993"), id="too large a number"),
        pytest.param(lambda content: content.replace(b"abab", b"ABab"), id="another spelling of a digest"),
        pytest.param(lambda content: content.replace(b"12:00:00Z", b"12:00:00+00:00"), id="another spelling of UTC"),
        pytest.param(lambda content: content.replace(b"keys.db", b"../keys.db"), id="a path for a file's name"),
        pytest.param(lambda content: content.replace(b"openbao", b"open\\u0000bao"), id="a control character"),
        pytest.param(lambda content: content.replace(b"openbao", b"\\ud800"), id="half a character"),
        pytest.param(lambda content: content.replace(b'=="', b'=\\n="'), id="another spelling of the signature"),
        pytest.param(lambda content: content[:-3], id="cut"),
        pytest.param(lambda content: content + content, id="twice"),
        pytest.param(lambda content: b"[" * 100_000, id="deep"),
        pytest.param(lambda content: b" " * (1024 * 1024 + 1), id="long"),
        pytest.param(lambda content: b"null", id="null"),
        pytest.param(lambda content: b"\xff\xfe", id="no text"),
    ],
)
def test_another_form_is_refused(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    content = written(tmp_path, Kind.KEYS)
    assert change(content) != content
    with pytest.raises(NotABackupError):
        parse(change(content))


@given(st.binary(max_size=300))
def test_no_bytes_do_anything_but_be_refused(content: bytes) -> None:
    with pytest.raises(NotABackupError):
        parse(content)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.slow
@given(st.fixed_dictionaries({key: _JSON | st.just(value) for key, value in statement().to_dict().items()}))
def test_no_values_do_anything_but_be_refused_or_read_as_they_are(said: dict[str, Any]) -> None:
    try:
        found, _ = parse(text(said))
    except NotABackupError:
        return
    assert found.to_dict() == said


def test_where_there_is_no_backup_that_is_what_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for directory in (tmp_path / "nothing", tmp_path, tmp_path / "file"):
        with pytest.raises(NotABackupError) as refused:
            archive.read(directory)
        assert refused.value.message == f"There is no backup at {directory}: it has no backup.json."
        assert refused.value.advice == archive.ANOTHER


def test_a_backup_that_was_being_replaced_is_pointed_to(tmp_path: Path) -> None:
    directory, aside = tmp_path / "backup", tmp_path / ".backup.syncvault-replaced"
    aside.mkdir()
    with pytest.raises(NotABackupError) as refused:
        archive.read(directory)
    said = f"A backup was interrupted while it replaced this one: rename {aside} back to backup."
    assert refused.value.advice == said
    directory.mkdir()
    with pytest.raises(NotABackupError) as refused:
        archive.read(directory)
    assert refused.value.advice == archive.ANOTHER


def test_a_statement_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    path = tmp_path / "backup.json"
    path.mkdir()
    with pytest.raises(NotABackupError) as refused:
        archive.read(tmp_path)
    assert refused.value.message == f"{path} cannot be read: Is a directory."
    path.rmdir()
    path.write_bytes(b"{}")
    with pytest.raises(NotABackupError) as refused:
        archive.read(tmp_path)
    assert refused.value.message == f"{path} is damaged, or is no backup's."
    with pytest.raises(NotABackupError, match=r"^This is no statement of a backup\.$"):
        parse(b"{}")


def test_a_statement_may_be_as_long_as_it_is_read(tmp_path: Path) -> None:
    content = written(tmp_path, Kind.DATA).ljust(1024 * 1024)
    (tmp_path / "backup.json").write_bytes(content)
    assert archive.read(tmp_path).statement == statement(Kind.DATA)
    (tmp_path / "backup.json").write_bytes(content + b" ")
    with pytest.raises(NotABackupError):
        archive.read(tmp_path)


@pytest.fixture
def in_little_memory() -> Iterator[None]:
    """What the test does takes a few megabytes at a time."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.usefixtures("in_little_memory")
def test_large_files_are_read_piece_by_piece_and_no_more_of_a_statement_than_one_may_take(tmp_path: Path) -> None:
    path = tmp_path / "backup.json"
    with path.open("wb") as file:
        file.truncate(32 * 1024 * 1024)
    assert archive.measure(path).size == archive.copy_file(path, tmp_path / "copy").size == 32 * 1024 * 1024
    with pytest.raises(NotABackupError):
        archive.read(tmp_path)


def test_a_person_can_read_it(tmp_path: Path) -> None:
    lines = written(tmp_path, Kind.DATA).splitlines()
    assert lines[:2] == [b"{", b'  "statement": {']
    assert lines[-1] == b"}"


def test_keys_without_a_place_of_their_root_key_are_refused() -> None:
    with pytest.raises(NotABackupError):
        parse(text(statement().to_dict() | {"roots": []}))


def test_the_smallest_and_the_largest_count_are_counts() -> None:
    document = statement().to_dict()
    for count in (0, 2**53 - 1):
        document["rows"] = {"key_meta": count}
        assert parse(text(document))[0].rows == {"key_meta": count}
    document["rows"] = {"key_meta": 2**53}
    with pytest.raises(NotABackupError):
        parse(text(document))


@pytest.fixture
def far_west(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose clock is ten hours behind UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "WEST10")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("far_west")
def test_it_is_to_be_deleted_on_a_day_in_utc(tmp_path: Path) -> None:
    (tmp_path / "vault.db").write_bytes(b"rows")
    now = datetime(2027, 1, 1, 23, tzinfo=timezone(-timedelta(hours=2)))
    made = archive.describe(tmp_path, Kind.DATA, bytes(16), now=now, keep_days=10, schema="data_0002", rows={"runs": 1})
    assert (made.created_at, made.expires_on) == (now, date(2027, 1, 12))
    assert made.to_dict()["created_at"] == "2027-01-02T01:00:00Z"
    assert (made.roots, made.rows, made.syncvault) == ((), {"runs": 1}, __version__)
    assert made.files == {"vault.db": Content(4, hashlib.sha256(b"rows").hexdigest())}


def test_a_file_is_measured_and_copied_whole_to_one_that_is_new_and_the_owners(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    content = os.urandom(1024 * 1024 + 1)  # more than is read at once
    source.write_bytes(content)
    before = os.umask(0)
    try:
        copied = archive.copy_file(source, target)
    finally:
        os.umask(before)
    assert copied == archive.measure(source) == Content(len(content), hashlib.sha256(content).hexdigest())
    assert target.read_bytes() == content
    assert target.stat().st_mode & 0o777 == 0o600
    with pytest.raises(StorageError) as refused:
        archive.copy_file(source, target)
    assert refused.value.message == f"{source} cannot be copied to {target}: File exists."
    with pytest.raises(StorageError) as refused:
        archive.measure(tmp_path / "gone")
    assert refused.value.message == f"{tmp_path / 'gone'} cannot be read: No such file or directory."
    assert refused.value.advice == archive.ANOTHER
