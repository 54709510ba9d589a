"""A restore step by step: which ledger counts, what its replay leaves, and where the databases may be put."""

from __future__ import annotations

import errno
import json
import shutil
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from syncvault.crypto.signature import public_key
from syncvault.errors import DamagedError, InputError, StorageError, SyncvaultError
from syncvault.policy.catalogue import RULE_VERSION
from syncvault.store import meta
from syncvault.store.engine import Role, open_database
from syncvault.store.ledger import LedgerRow
from syncvault.vault import credentials, tenants
from syncvault.vault.backups import placing
from syncvault.vault.backups.replay import Replayed, longest, replay
from syncvault.vault.erasing import intent
from syncvault.vault.model import Tenant
from syncvault.vault.trail import audit
from syncvault.vault.vault import Vault
from tests.integration.fake_exchange import FakeExchange
from tests.integration.restoring import everything, fill
from tests.integration.vault_parts import held, rows

INTENT = {"reason": "retention", "rule_version": RULE_VERSION}
ROLES: list[Role] = ["data", "keys"]


def entry(seq: int, event: Any, tenant_id: bytes, detail: object, at: int = 1_700_000_000) -> LedgerRow:
    text = detail if isinstance(detail, str) else json.dumps(detail)
    return LedgerRow(seq, at, event, tenant_id, text)


@pytest.fixture
def full(vault: Vault, exchange: FakeExchange) -> Vault:
    fill(vault, exchange)
    return vault


@pytest.fixture
def alpha(full: Vault) -> Tenant:
    return tenants.find(full, "alpha")


def replayed(vault: Vault, entries: Sequence[LedgerRow]) -> Replayed:
    with vault.data.write() as data, vault.key_data.write() as keys:
        return replay(data, keys, entries, vault.keys.receipt_seed)


# Which ledger counts


def test_the_ledger_that_the_others_are_beginnings_of_counts() -> None:
    first, second, third = (entry(number, "intent", b"t" * 16, {}) for number in (1, 2, 3))
    assert longest([]) == []
    assert longest([[first], [first, second, third], [], [first, second]]) == [first, second, third]


def test_ledgers_that_contradict_each_other_are_refused() -> None:
    first, second, third = (entry(number, "intent", b"t" * 16, {}) for number in (1, 2, 3))
    with pytest.raises(InputError, match=r"^The erasure ledgers .* contradict each other") as refused:
        longest([[first, second], [first, third]])
    assert refused.value.advice.startswith("Restore into an empty directory")


# What its replay leaves


def test_an_erasure_that_was_only_begun_leaves_what_its_receipt_is_written_from(full: Vault, alpha: Tenant) -> None:
    tenants.quarantine(full, alpha, refused=credentials.load(full, alpha), code="sign-in", advice="Sign in again.")
    full.anchor()
    beta, counted = everything(full, "beta"), tenants.counts(full)[alpha.id]
    assert replayed(full, [entry(1, "intent", alpha.id, INTENT)]) == Replayed(frozenset([alpha.id]), 0)
    for name in ("contacts", "photos", "sources", "credentials"):
        assert not any(alpha.id in row for row in rows(full.data, name))
    for name in ("wrapped_keys", "anchors"):
        assert not any(alpha.id in row for row in rows(full.key_data, name))
    with full.read() as tx:
        row = tenants.rows.get(tx, alpha.id)
    assert row is not None
    assert (row.state, row.epoch, row.profile, row.quarantine) == ("erasing", alpha.epoch + 1, b"", None)
    said = intent.read(row, public_key(full.keys.receipt_seed))
    assert (said.reason, said.role, said.rules) == ("retention", audit.role(), RULE_VERSION)
    assert (said.requested_at, said.due_on) == (1_700_000_000, "2023-11-14")
    assert said.keys == ("data/1", "index/1")
    assert said.counts["contacts"] == counted.contacts
    full.keys.forget(tenants.find(full, "beta").id)
    assert everything(full, "beta") == beta


def test_keys_that_were_destroyed_are_named_from_the_ledger(full: Vault, alpha: Tenant) -> None:
    destroyed = entry(2, "keys_destroyed", alpha.id, {"keys": ["data/7"]}, at=1_800_000_000)
    replayed(full, [entry(1, "intent", alpha.id, INTENT), destroyed])
    with full.read() as tx:
        row = tenants.rows.get(tx, alpha.id)
    assert row is not None
    said = intent.read(row, public_key(full.keys.receipt_seed))
    assert (said.keys, said.requested_at) == (("data/7",), 1_700_000_000)
    assert len(rows(full.key_data, "erasure_ledger")) == 2


def test_an_erasure_that_was_completed_leaves_nothing(full: Vault, alpha: Tenant) -> None:
    entries = [entry(1, "intent", alpha.id, INTENT), entry(2, "completed", alpha.id, {})]
    for _ in range(2):  # the second time the tenant is gone already
        assert replayed(full, entries).tenants == {alpha.id}
        assert not any(alpha.id in row for row in rows(full.data, "tenants"))
    assert not any(alpha.id in row for row in rows(full.key_data, "wrapped_keys"))
    assert len(rows(full.data, "tenants")) == 1


def test_rows_that_were_erased_go_and_are_counted(full: Vault, alpha: Tenant) -> None:
    boxes = [row[0] for row in rows(full.data, "mailboxes") if alpha.id in row]
    in_first = [row[0] for row in rows(full.data, "contacts") if boxes[0] in row]
    single = entry(1, "rows_erased", alpha.id, {"contacts": [in_first[0].hex()]})
    finished = entry(2, "rows_erased", alpha.id, {"finished": 1})
    whole = entry(3, "rows_erased", alpha.id, {"mailboxes": [boxes[1].hex()]})
    again = entry(4, "rows_erased", alpha.id, {"contacts": [in_first[1].hex()]})
    assert replayed(full, [single, finished, whole, again]) == Replayed(frozenset(), 3)
    assert sum(map(len, held(full, alpha).values())) == len(in_first) - 2


@pytest.mark.parametrize(
    ("event", "detail"),
    [
        ("rows_erased", "no JSON"),
        ("rows_erased", [1]),
        ("rows_erased", {"contacts": ["zz"]}),
        ("rows_erased", {"mailboxes": [1]}),
        ("intent", {}),
        ("intent", "no JSON"),
        ("keys_destroyed", {"keys": []}),
    ],
)
def test_an_entry_that_cannot_be_understood_stops_a_restore(
    full: Vault, alpha: Tenant, event: str, detail: Mapping[str, Any]
) -> None:
    before = everything(full, "alpha")
    with pytest.raises(DamagedError, match=r"^Entry 1 of the erasure ledger cannot be understood"):
        replayed(full, [entry(1, event, alpha.id, detail)])
    assert everything(full, "alpha") == before


def test_an_entry_of_an_unknown_kind_stops_a_restore(full: Vault, alpha: Tenant) -> None:
    replayed(full, [entry(1, "rows_erased", alpha.id, {})])
    with pytest.raises(DamagedError, match=r"^Entry 1 of the erasure ledger is of an unknown kind"):
        replayed(full, [entry(1, "renamed", alpha.id, {})])


# Where the databases may be put


def made(path: Path, fresh: Path, role: Role, **settings: str) -> str:
    """A database with all its tables and these settings."""
    shutil.copy(fresh, path)
    database = open_database(f"sqlite:///{path}", role=role)
    with database.write() as tx:
        for name, text in settings.items():
            meta.put(tx, name, text, keys=role == "keys")
    database.close()
    return f"sqlite:///{path}"


@pytest.mark.parametrize("role", ROLES)
def test_a_place_is_free_for_the_restore_that_filled_it(
    tmp_path: Path, fresh_files: dict[Role, Path], role: Role
) -> None:
    placing.require_free(f"sqlite:///{tmp_path / 'nothing.db'}", role, "mine")
    url = made(tmp_path / "own.db", fresh_files[role], role, vault_id="00" * 16, restore="mine")
    placing.require_free(url, role, "mine")
    placing.require_free(made(tmp_path / "empty.db", fresh_files[role], role), role, "mine")


@pytest.mark.parametrize(("role", "option"), [("data", "--database"), ("keys", "--key-database")])
@pytest.mark.parametrize("held", ["other token", "a vault", "no tables", "no database"])
def test_a_place_that_holds_something_else_is_not_free(
    tmp_path: Path, fresh_files: dict[Role, Path], role: Role, option: str, held: str
) -> None:
    path = tmp_path / "vault.db"
    if held == "no database":
        path.write_bytes(b"somebody's letters")
    elif held == "no tables":
        path.touch()
    else:
        settings = {"restore": "theirs"} if held == "other token" else {}
        made(path, fresh_files[role], role, vault_id="00" * 16, **settings)
    before = path.read_bytes()
    with pytest.raises(InputError, match=f"^There is a {role} database at {path} already") as refused:
        placing.require_free(f"sqlite:///{path}", role, "mine")
    assert refused.value.advice.startswith(f"Move it away, or name another with {option};")
    assert path.read_bytes() == before


def test_a_database_is_put_into_directories_that_are_made_for_the_owner_alone(tmp_path: Path) -> None:
    staged, target = tmp_path / "staged.db", tmp_path / "a" / "b" / "vault.db"
    target.parent.parent.mkdir(mode=0o755)
    staged.write_bytes(b"content")
    placing.put(staged, f"sqlite:///{target}", "data")
    assert (target.read_bytes(), staged.exists()) == (b"content", False)
    assert stat.S_IMODE(target.parent.stat().st_mode) == 0o700
    again = tmp_path / "c" / "d" / "vault.db"
    target.rename(staged)
    placing.put(staged, f"sqlite:///{again}", "data")
    assert again.read_bytes() == b"content"


def test_what_a_database_that_is_gone_left_beside_its_place_goes(tmp_path: Path) -> None:
    staged, target = tmp_path / "staged.db", tmp_path / "vault.db"
    staged.write_bytes(b"content")
    for journal in ("-journal", "-wal", "-shm"):
        target.with_name(target.name + journal).write_bytes(b"of another")
    placing.put(staged, f"sqlite:///{target}", "data")
    assert [path.name for path in tmp_path.iterdir()] == ["vault.db"]


@pytest.mark.parametrize("leftover", [False, True])
def test_a_place_on_another_file_system_gets_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, leftover: bool
) -> None:
    staged, target = tmp_path / "staged.db", tmp_path / "vault.db"
    staged.write_bytes(b"content")
    if leftover:
        target.with_name("vault.db.new").write_bytes(b"half")
    rename, steps = Path.rename, list[tuple[str, str]]()

    def refuse_to_cross(self: Path, other: Path) -> Path:  # there is no second file system to be had
        if self == staged:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        steps.append((self.name, other.name))
        return rename(self, other)

    monkeypatch.setattr(Path, "rename", refuse_to_cross)
    placing.put(staged, f"sqlite:///{target}", "data")
    assert steps == [("vault.db.new", "vault.db")]
    assert target.read_bytes() == b"content"
    assert not target.with_name("vault.db.new").exists()


def test_a_place_where_nothing_can_be_put_is_said_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged = tmp_path / "staged.db"
    staged.write_bytes(b"content")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"^The keys database cannot be put at .*: "):
        placing.put(staged, f"sqlite:///{tmp_path / 'file' / 'keys.db'}", "keys")

    def refuse(self: Path, other: Path) -> Path:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(StorageError, match=r"^The data database cannot be put at .*: Permission denied\.$"):
        placing.put(staged, f"sqlite:///{tmp_path / 'vault.db'}", "data")
    assert not (tmp_path / "vault.db").exists()


def settings(url: str, role: Role) -> dict[str, str]:
    database = open_database(url, role=role)
    with database.read() as tx:
        table = "key_meta" if role == "keys" else "meta"
        found = {row[0]: row[1] for row in tx.exec_driver_sql(f"SELECT name, value FROM {table}")}
    database.close()
    return found


# What is on a server is read and written in the same way in a file.


@pytest.mark.parametrize("role", ROLES)
def test_rows_take_the_place_of_those_that_an_earlier_attempt_put(
    tmp_path: Path, fresh_files: dict[Role, Path], role: Role
) -> None:
    staged = tmp_path / "staged.db"
    expected = settings(made(staged, fresh_files[role], role, vault_id="00" * 16, restore="mine"), role)
    url = made(tmp_path / "target.db", fresh_files[role], role, vault_id="11" * 16, restore="mine", other="thing")
    before = staged.read_bytes()
    placing._put_rows(staged, url, role)
    assert settings(url, role) == expected
    assert staged.read_bytes() == before
    (tmp_path / "empty.db").touch()  # without a table
    empty = f"sqlite:///{tmp_path / 'empty.db'}"
    assert placing._token(empty, None, role) is None
    placing._put_rows(staged, empty, role)
    assert settings(empty, role) == expected


@pytest.mark.parametrize("role", ROLES)
def test_whose_a_database_on_a_server_is(tmp_path: Path, fresh_files: dict[Role, Path], role: Role) -> None:
    path = tmp_path / "server.db"
    assert placing._token(made(path, fresh_files[role], role, vault_id="00" * 16, restore="mine"), None, role) == "mine"
    assert placing._token(made(path, fresh_files[role], role, vault_id="00" * 16), None, role) == ""
    assert placing._token(made(path, fresh_files[role], role), None, role) is None
    path.write_bytes(b"somebody's letters" * 99)
    with pytest.raises(SyncvaultError):
        placing._token(f"sqlite:///{path}", None, role)
