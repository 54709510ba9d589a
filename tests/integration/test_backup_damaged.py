"""Damaged backups: every changed byte is refused or found, in a sentence, and no half of a vault is made of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest

from syncvault.errors import SchemaError, SyncvaultError
from syncvault.vault import layout as layouts
from syncvault.vault import tenants, verify
from syncvault.vault.backups import archive, backup_check
from syncvault.vault.backups.archive import NotABackupError, Statement, parse
from syncvault.vault.erasing import ledger
from syncvault.vault.opening import create_vault
from syncvault.vault.vault import Vault
from tests.integration.fake_exchange import FakeExchange
from tests.integration.restoring import Backups, alter, back_up, bring_back, erase, fill, sign_anew
from tests.integration.vault_parts import Place, execute, register, rows, sync

FILES = ["data/backup.json", "data/vault.db", "keys/backup.json", "keys/keys.db", "keys/erasure.ledger"]
SAMPLES = 40

pytestmark = pytest.mark.parametrize("database_urls", ["sqlite"], indirect=True)  # the files are the same on both


@pytest.fixture
def places(tmp_path: Path) -> Backups:
    return Backups(tmp_path, tmp_path / "data", tmp_path / "keys")


@pytest.fixture
def backed_up(vault: Vault, exchange: FakeExchange, places: Backups) -> Vault:
    fill(vault, exchange)
    with vault.key_data.write() as tx:
        ledger.add(vault, tx, "rows_erased", b"t" * 16, {"contacts": [], "mailboxes": []})
    back_up(vault, places)
    return vault


def refused(place: Place, places: Backups, **changes: object) -> str:
    """Why a restore refuses; makes sure that it has left nothing."""
    with pytest.raises(SyncvaultError) as error:
        bring_back(place, places, **changes)
    assert not places.home.exists()
    return error.value.message


def findings(vault: Vault, directory: Path) -> list[str]:
    """The kinds of what is wrong."""
    return [finding.kind for finding in backup_check.check(vault, directory).findings]


def samples(content: bytes) -> Iterator[int]:
    """Positions all over a file, its beginning and end among them."""
    yield from {*range(0, len(content), max(1, len(content) // SAMPLES)), 18, 19, 60, 96, 100, len(content) - 1}


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_anywhere_is_found_and_refused(
    backed_up: Vault, place: Place, places: Backups, name: str
) -> None:
    path = places.root / name
    content = path.read_bytes()
    for position in samples(content):
        changed = bytearray(content)
        changed[position] ^= 0x20
        path.write_bytes(changed)
        assert findings(backed_up, path.parent), position
        assert refused(place, places), position
    path.write_bytes(content)
    assert findings(backed_up, path.parent) == []


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: content[:-2], id="cut"),
        pytest.param(lambda content: content[: len(content) // 2], id="half"),
        pytest.param(lambda content: content + content, id="twice"),
        pytest.param(lambda content: content + b"\0", id="longer"),
    ],
)
def test_a_file_that_was_cut_or_extended_is_found_and_refused(
    backed_up: Vault, place: Place, places: Backups, name: str, change: Callable[[bytes], bytes]
) -> None:
    path = places.root / name
    path.write_bytes(change(path.read_bytes()))
    assert findings(backed_up, path.parent)
    assert refused(place, places)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(backed_up: Vault, place: Place, places: Backups, name: str) -> None:
    path = places.root / name
    path.unlink()
    assert path.name in refused(place, places)
    if path.name == "backup.json":
        with pytest.raises(NotABackupError):
            backup_check.check(backed_up, path.parent)
    else:
        assert findings(backed_up, path.parent) == ["missing"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["data/backup.json", "keys/backup.json"])
def test_no_changed_byte_of_a_statement_goes_unnoticed(backed_up: Vault, places: Backups, name: str) -> None:
    content = (places.root / name).read_bytes()
    said, signature = parse(content)
    for position in range(len(content)):
        for bit in (0x01, 0x20, 0x80):
            changed = bytearray(content)
            changed[position] ^= bit
            assert _is_noticed(bytes(changed), said, signature), (position, bit)


def _is_noticed(content: bytes, said: Statement, signature: bytes) -> bool:
    try:
        changed, with_signature = parse(content)
    except NotABackupError:
        return True
    return (changed, with_signature) != (said, signature)  # and then the signature does not fit


def test_a_statement_that_was_changed_together_with_its_file_is_not_signed(
    backed_up: Vault, place: Place, places: Backups
) -> None:
    database = (places.data / "vault.db").read_bytes()
    (places.data / "vault.db").write_bytes(database + b"\0" * 4096)
    content = archive.measure(places.data / "vault.db")
    text = (places.data / "backup.json").read_text()
    before = archive.read(places.data).statement.files["vault.db"]
    text = text.replace(before.sha256, content.sha256).replace(str(before.size), str(content.size))
    (places.data / "backup.json").write_text(text)
    assert "signature" in findings(backed_up, places.data)
    assert "not signed by this vault" in refused(place, places)


def test_files_of_another_backup_of_the_same_vault_are_refused(backed_up: Vault, place: Place, places: Backups) -> None:
    register(backed_up, "gamma")
    back_up(backed_up, places, out=places.root / "later", keys_out=places.root / "later-keys")
    shutil.copy(places.root / "later" / "vault.db", places.data / "vault.db")
    assert set(findings(backed_up, places.data)) & {"digest", "size"}
    assert "is not what backup.json says" in refused(place, places)


def test_a_damaged_row_of_the_vault_is_named_when_its_backup_is_checked(backed_up: Vault, places: Backups) -> None:
    execute(backed_up.data, "UPDATE contacts SET blob = zeroblob(length(blob)) WHERE kind = 'card'")
    back_up(backed_up, places, out=places.root / "second")
    verdict = backup_check.check(backed_up, places.root / "second")
    assert {(finding.kind, finding.table) for finding in verdict.findings} == {("unreadable", "contacts")}
    assert all(finding.row and "does not open" in finding.message for finding in verdict.findings)


# What the check of a backup says


def told(vault: Vault, directory: Path) -> list[tuple[str, str, str]]:
    """In which file which kind of thing is wrong, and the sentence about it."""
    return [(one.file, one.kind, one.message) for one in backup_check.check(vault, directory).findings]


def test_a_sound_backup_says_how_much_was_opened(backed_up: Vault, places: Backups) -> None:
    steps: list[tuple[int, int]] = []
    rows = backup_check.check(backed_up, places.data, progress=lambda done, of: steps.append((done, of)))
    assert (rows.findings, rows.erased, rows.statement) == ([], 0, archive.read(places.data).statement)
    assert rows.checked == verify.verify(backed_up).checked
    assert steps[-1][0] == steps[-1][1]
    keys = backup_check.check(backed_up, places.keys)
    assert (keys.findings, keys.checked, keys.statement) == ([], 3, archive.read(places.keys).statement)


def test_a_statement_that_cannot_be_read_is_the_one_finding(backed_up: Vault, places: Backups) -> None:
    (places.data / "backup.json").write_text("{}")
    verdict = backup_check.check(backed_up, places.data)
    assert [(one.file, one.kind) for one in verdict.findings] == [("backup.json", "statement")]
    assert "backup.json" in verdict.findings[0].message
    assert verdict.findings[0].advice.startswith("Make a new backup")
    assert verdict.statement is None


def test_a_backup_of_another_vault_is_said_to_be_that(backed_up: Vault, place: Place, places: Backups) -> None:
    home = place.home.with_name("another")
    urls = layouts.default_database(home), layouts.default_key_database(home)
    with create_vault(layouts.Layout(home, *urls, "file", home.parent / "another.key")) as stranger:
        whose = f"This is a backup of vault {UUID(bytes=backed_up.id)}, not of this one."
        for directory in (places.data, places.keys):
            assert told(stranger, directory)[0] == ("backup.json", "vault", whose)


def test_a_file_of_another_size_or_content_is_named_with_what_it_has(backed_up: Vault, places: Backups) -> None:
    path = places.keys / "erasure.ledger"
    content = path.read_bytes()
    path.write_bytes(content + b"x")
    size = f"erasure.ledger has {len(content) + 1} bytes, not {len(content)}."
    assert told(backed_up, places.keys) == [("erasure.ledger", "size", size)]
    path.write_bytes(content[:-2] + b"x\n")
    digest = "erasure.ledger was changed: its SHA-256 is another."
    assert told(backed_up, places.keys) == [("erasure.ledger", "digest", digest)]
    sign_anew(places.keys, backed_up.keys.receipt_seed)
    other = "erasure.ledger is not what keys.db says."
    assert told(backed_up, places.keys) == [("erasure.ledger", "ledger", other)]
    sign_anew(places.keys, b"k" * 32)
    signature = "backup.json was not signed by this vault, or was changed since."
    assert told(backed_up, places.keys)[0] == ("backup.json", "signature", signature)


def test_every_missing_file_is_named(backed_up: Vault, places: Backups) -> None:
    for name in ("keys.db", "erasure.ledger"):
        (places.keys / name).unlink()
    assert told(backed_up, places.keys) == [
        ("keys.db", "missing", "keys.db is missing."),
        ("erasure.ledger", "missing", "erasure.ledger is missing."),
    ]


def test_rows_that_the_statement_counts_and_that_are_not_there_show(backed_up: Vault, places: Backups) -> None:
    seed = backed_up.keys.receipt_seed
    stated = archive.read(places.data).statement.rows
    sign_anew(places.data, seed, rows={**stated, "ghosts": 1})
    assert told(backed_up, places.data) == [("vault.db", "rows", "Table ghosts has 0 rows, not 1.")]
    sign_anew(places.data, seed, rows=stated)
    alter(places.data / "vault.db", seed, "DELETE FROM photos WHERE contact_id = (SELECT min(contact_id) FROM photos)")
    counted, *others = backup_check.check(backed_up, places.data).findings
    assert (counted.message, counted.table, counted.kind) == ("Table photos has 3 rows, not 4.", "photos", "rows")
    assert {(one.file, one.kind, one.table) for one in others} == {("vault.db", "missing", "photos")}


def test_rows_that_hang_on_nothing_show(backed_up: Vault, places: Backups) -> None:
    alter(places.data / "vault.db", backed_up.keys.receipt_seed, "DELETE FROM credentials")
    alter(places.data / "vault.db", backed_up.keys.receipt_seed, "DELETE FROM sources")
    found = [each for each in told(backed_up, places.data) if each[1] == "integrity"]
    assert found == [("vault.db", "integrity", "vault.db: table memberships has a row whose sources is missing.")]


def test_a_backup_of_an_older_version_is_no_finding_but_cannot_be_checked(backed_up: Vault, places: Backups) -> None:
    statement = "UPDATE data_schema SET version_num = 'data_0001'"
    alter(places.data / "vault.db", backed_up.keys.receipt_seed, statement)
    with pytest.raises(SchemaError, match=r"^vault\.db was made by an older version.*restore"):
        backup_check.check(backed_up, places.data)


def test_tenants_that_came_or_went_since_are_no_finding(backed_up: Vault, places: Backups) -> None:
    register(backed_up, "gamma")
    erase(backed_up, "alpha")
    verdict = backup_check.check(backed_up, places.data)
    assert (verdict.findings, verdict.erased) == ([], 1)


def test_rows_that_changed_since_and_purge_dates_are_no_finding(
    backed_up: Vault, places: Backups, exchange: FakeExchange
) -> None:
    execute(backed_up.data, "UPDATE contacts SET purge_at = purge_at + 5")
    back_up(backed_up, places, out=places.root / "second")
    exchange.rename("ann", "a1", "Changed")
    sync(backed_up, tenants.find(backed_up, "alpha"))
    backed_up.anchor()
    assert told(backed_up, places.root / "second") == []


def test_keys_from_before_an_erasure_can_restore_nothing(backed_up: Vault, places: Backups) -> None:
    with backed_up.key_data.write() as tx:
        ledger.add(backed_up, tx, "rows_erased", b"t" * 16, {"contacts": [], "mailboxes": []})
    erased = ("erasure.ledger", "outdated", "Something was erased since this backup.")
    assert told(backed_up, places.keys) == [erased]
    erase(backed_up, "alpha")
    verdict = backup_check.check(backed_up, places.keys)
    replaced = ("keys.db", "outdated", "The root key was replaced since this backup.")
    assert told(backed_up, places.keys) == [erased, replaced]
    assert all("`syncvault backup create --keys-out`" in one.advice for one in verdict.findings)


def test_keys_without_a_root_key_in_force_can_restore_nothing(backed_up: Vault, places: Backups) -> None:
    alter(places.keys / "keys.db", backed_up.keys.receipt_seed, "UPDATE root_generations SET state = 'retired'")
    assert told(backed_up, places.keys) == [("keys.db", "outdated", "The root key was replaced since this backup.")]


def test_a_ledger_that_says_something_else_than_the_vaults_shows(backed_up: Vault, places: Backups) -> None:
    execute(backed_up.key_data, "UPDATE erasure_ledger SET at = 1")
    assert told(backed_up, places.keys) == [
        ("erasure.ledger", "ledger", "The ledger is not a beginning of the vault's own.")
    ]


def test_a_key_that_does_not_open_is_named(backed_up: Vault, places: Backups) -> None:
    alpha = tenants.find(backed_up, "alpha")
    statement = "UPDATE wrapped_keys SET blob = zeroblob(length(blob)) WHERE tenant_id = x'{}' AND purpose = 'index'"
    alter(places.keys / "keys.db", backed_up.keys.receipt_seed, statement.format(alpha.id.hex()))
    verdict = backup_check.check(backed_up, places.keys)
    (found,) = verdict.findings
    row = next(row for row in rows(backed_up.key_data, "wrapped_keys") if alpha.id in row and "index" in row)
    assert (found.file, found.kind, found.table, found.row) == ("keys.db", "key", "wrapped_keys", row[0])
    assert "does not open" in found.message
    assert verdict.checked == 3


def test_a_key_store_that_lacks_the_vaults_own_keys_is_unreadable(backed_up: Vault, places: Backups) -> None:
    statement = "DELETE FROM wrapped_keys WHERE purpose = 'receipt'"
    alter(places.keys / "keys.db", backed_up.keys.receipt_seed, statement)
    counted, unreadable = told(backed_up, places.keys)
    assert counted[:2] == ("keys.db", "rows")
    assert unreadable == ("keys.db", "unreadable", "The key store lacks keys of the vault itself.")
