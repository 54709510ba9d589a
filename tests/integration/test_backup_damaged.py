"""Damaged backups: every changed byte is refused or found, in a sentence, and no half of a vault is made of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from syncvault.errors import SyncvaultError
from syncvault.vault.backups import archive, backup_check
from syncvault.vault.backups.archive import NotABackupError, Statement, parse
from syncvault.vault.erasing import ledger
from syncvault.vault.vault import Vault
from tests.integration.fake_exchange import FakeExchange
from tests.integration.restoring import Backups, back_up, bring_back, fill
from tests.integration.vault_parts import Place, execute, register

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
    assert all(finding.row for finding in verdict.findings)
