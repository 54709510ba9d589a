"""What receipts call outstanding comes to its end, with each kind of root key, and only then are they final."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from syncvault.errors import RootKeyError, StorageError
from syncvault.retention import purge as retention
from syncvault.roots.file import FileProvider
from syncvault.roots.port import NotPossible, Pending, PrivilegedStepNeededError
from syncvault.secret import Secret
from syncvault.service import health
from syncvault.store import keys as key_rows
from syncvault.vault import layout, tenants
from syncvault.vault.erasing import erasure, outstanding
from syncvault.vault.erasing.erasure import Erased
from syncvault.vault.erasing.outstanding import ForeignReceiptError
from syncvault.vault.erasing.receipt import verify
from syncvault.vault.keyring import root_rotation
from syncvault.vault.layout import Layout
from syncvault.vault.model import Tenant
from syncvault.vault.opening import create_vault, open_vault
from syncvault.vault.vault import Vault
from tests.integration.killed import kill_after
from tests.integration.vault_parts import NOW, Place, execute, register, rows
from tests.parts import require_programs


def erase(vault: Vault, tenant: Tenant) -> Erased:
    return erasure.erase(vault, tenant, reason=erasure.ON_DEMAND, role="service")


def is_genuine(vault: Vault, receipt: bytes, status: str) -> bool:
    verdict = verify(receipt, vault.receipt_public_key.encode())
    return verdict.valid and verdict.content["status"] == status


def warned(place: Place) -> list[str]:
    found = health.examine(place.home, clock=lambda: place.now)
    return [one.message for one in found if one.check == "erasures" and one.result is not health.Result.OK]


def later(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A key service that deletes root keys after a while."""
    monkeypatch.setattr(FileProvider, "destroy", lambda self, handle: Pending("the service deletes it on 2026-07-01"))
    return monkeypatch


# A deletion window


@pytest.fixture
def waiting(vault: Vault) -> Iterator[Erased]:
    """An interim receipt, and a key service whose window has passed."""
    register(vault, "other")
    with pytest.MonkeyPatch.context() as patch:
        later(patch)
        yield erase(vault, register(vault, "acme"))


def test_while_the_window_is_open_it_stays_interim_and_nothing_is_written(
    vault: Vault, place: Place, waiting: Erased
) -> None:
    assert waiting.outstanding == ("root key generation 1: pending until the service deletes it on 2026-07-01",)
    before = waiting.receipt_path.read_bytes()
    unsettled = outstanding.finalize(vault, waiting.receipt)
    assert unsettled.statement.outstanding == waiting.outstanding
    assert (unsettled.content, unsettled.path) == (b"", waiting.receipt_path)
    assert retention.purge(vault, role="root").finished == ()
    assert waiting.receipt_path.read_bytes() == before
    assert "2026-07-01" in warned(place)[0]


def test_when_the_window_has_passed_it_becomes_final(vault: Vault, place: Place) -> None:
    with pytest.MonkeyPatch.context() as patch:
        later(patch)
        erased = erase(vault, register(vault, "acme"))
    vault = place.open(NOW + timedelta(days=30))
    final = outstanding.finalize(vault, erased.receipt)
    assert is_genuine(vault, final.content, "final")
    said, before = verify(final.content, vault.receipt_public_key.encode()).content, json.loads(erased.receipt)
    changed = {key for key, value in said.items() if value != before["statement"][key]}
    assert changed == {"status", "issued_at", "outstanding"}
    assert said["issued_at"] == "2026-07-01T12:00:00Z"
    assert erased.receipt_path.read_bytes() == final.content
    assert warned(place) == []


def test_the_purge_finalizes_all_that_wait(vault: Vault, place: Place) -> None:
    with pytest.MonkeyPatch.context() as patch:
        later(patch)
        paths = {erase(vault, register(vault, name)).receipt_path for name in ("acme", "other")}
    outcome = retention.purge(place.open(), role="root")
    assert {kept.path for kept in outcome.finished} == paths
    assert all(is_genuine(vault, path.read_bytes(), "final") for path in paths)
    assert retention.purge(vault, role="root").finished == ()


def test_erasures_that_a_purge_itself_finalizes_are_told_as_final(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault, answers = place.create(), [Pending("tonight")]
    destroy = FileProvider.destroy
    monkeypatch.setattr(
        FileProvider, "destroy", lambda self, handle: answers.pop() if answers else destroy(self, handle)
    )
    register(vault, "acme", ends=NOW.date().replace(year=2020))
    (erased,) = retention.purge(vault, role="root").erased
    assert (erased.status, erased.outstanding) == ("final", ())
    assert erased.receipt == erased.receipt_path.read_bytes()
    assert is_genuine(vault, erased.receipt, "final")


def test_a_root_key_that_can_never_be_destroyed_is_not_tried_by_every_purge(vault: Vault) -> None:
    tried = []

    def refuse(self: FileProvider, handle: Any) -> NotPossible:
        tried.append(handle)
        return NotPossible("it is carved in stone")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FileProvider, "destroy", refuse)
        erased = erase(vault, register(vault, "acme"))
        assert erased.outstanding == ("root key generation 1: it is carved in stone",)
        retention.purge(vault, role="root")
        assert len(tried) == 1
        outstanding.finalize(vault, erased.receipt)  # whoever asks outright is answered anew
        assert len(tried) == 2
    with vault.key_data.read() as tx:
        assert [root.generation for root in key_rows.roots(tx)] == [1, 2]  # and no purge makes generations for nothing


def test_a_tenant_that_was_brought_back_keeps_its_receipt_interim(vault: Vault) -> None:
    with pytest.MonkeyPatch.context() as patch:
        later(patch)
        erased = erase(vault, register(vault, "acme"))
    register(vault, "acme")
    execute(vault.key_data, "UPDATE wrapped_keys SET tenant_id = ? WHERE purpose = 'data'", erased.plan.tenant_id)
    back = outstanding.finalize(vault, erased.receipt).statement.outstanding[0]
    assert back.startswith("the tenant is in the vault again. Erase it with `syncvault tenant delete NAME")


def test_a_row_that_was_brought_back_without_its_keys_keeps_the_receipt_interim(vault: Vault) -> None:
    with pytest.MonkeyPatch.context() as patch:
        later(patch)
        erased = erase(vault, register(vault, "acme"))
    register(vault, "other")
    with vault.data.write() as tx:
        found = dict(tx.exec_driver_sql("SELECT * FROM tenants").mappings().one())
    back = {**found, "id": erased.plan.tenant_id, "name_ix": bytes(len(found["name_ix"]))}
    marks = ", ".join("?" * len(back))
    execute(vault.data, f"INSERT INTO tenants ({', '.join(back)}) VALUES ({marks})", *back.values())
    assert "in the vault again" in outstanding.finalize(vault, erased.receipt).statement.outstanding[0]


def test_a_root_key_that_nobody_tried_to_destroy_yet_is_said_to_be_there(vault: Vault) -> None:
    with pytest.MonkeyPatch.context() as patch:
        later(patch)
        erase(vault, register(vault, "acme"))
    execute(vault.key_data, "UPDATE root_generations SET outstanding = NULL")
    assert outstanding.of_root(vault, 1) == ("root key generation 1: not destroyed yet",)


@pytest.mark.parametrize("database_urls", ["sqlite"], indirect=True)
def test_what_the_old_root_key_opens_is_overwritten_before_that_is_destroyed(
    vault: Vault, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(vault, "other")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FileProvider, "create", _refuse)
        erased = erase(vault, register(vault, "acme"))
    blobs = [bytes(row[6]) for row in rows(vault.key_data, "wrapped_keys")]
    left, destroy = [], FileProvider.destroy

    def look_first(self: FileProvider, handle: Any) -> Any:
        content = b"".join(path.read_bytes() for path in place.home.glob("keys.db*"))
        left.append(sum(blob in content for blob in blobs))
        return destroy(self, handle)

    monkeypatch.setattr(FileProvider, "destroy", look_first)
    assert outstanding.finalize(vault, erased.receipt).statement.status == "final"
    assert left == [0]


@pytest.mark.parametrize("change", [b'"contacts": 7', b'"credentials": 0'])
def test_what_this_vault_did_not_issue_is_not_finalized(vault: Vault, waiting: Erased, change: bytes) -> None:
    name = change.split(b":")[0]
    start = waiting.receipt.index(name)
    forged = waiting.receipt[:start] + change + waiting.receipt[start + len(change) :]
    assert forged != waiting.receipt
    for content in (forged, b"", b"{}", waiting.receipt[:-9]):
        with pytest.raises(ForeignReceiptError, match=r"^This is no receipt of this vault") as refused:
            outstanding.finalize(vault, content)
        assert refused.value.advice.startswith("Give it as `tenant delete` wrote it")


def test_another_vaults_receipt_is_not_finalized(place: Place, waiting: Erased) -> None:
    home = place.home.with_name("another")
    elsewhere = Layout(
        home, layout.default_database(home), layout.default_key_database(home), "file", home.parent / "another.key"
    )
    with create_vault(elsewhere) as stranger, pytest.raises(ForeignReceiptError):
        outstanding.finalize(stranger, waiting.receipt)


def test_a_final_receipt_stays_as_it_was_issued(vault: Vault) -> None:
    erased = erase(vault, register(vault, "acme"))
    root = vault.keys.root
    kept = outstanding.finalize(vault, erased.receipt)
    assert (kept.content, kept.path, kept.statement.status) == (erased.receipt, erased.receipt_path, "final")
    assert vault.keys.root == root


def test_other_files_among_the_receipts_do_not_count(vault: Vault, waiting: Erased) -> None:
    for name, content in (("notes.json", b"interim"), ("x.json", waiting.receipt[:-5]), ("y.txt", waiting.receipt)):
        (vault.layout.receipts / name).write_bytes(content)
    assert [statement.tenant_id for statement in outstanding.interim(vault)] == [waiting.plan.tenant_id]
    (vault.layout.receipts / "z.json").mkdir()
    with pytest.raises(StorageError, match="cannot be read"):
        outstanding.interim(vault)


@pytest.mark.slow
def test_finalizing_killed_after_any_step_is_done_by_doing_it_again(place: Place, vault: Vault) -> None:
    if vault.data.dialect != "sqlite":
        pytest.skip("every step is tried on SQLite")
    register(vault, "other")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FileProvider, "create", _refuse)
        erased = erase(vault, register(vault, "acme"))
    place.close()
    saved = place.home.with_name("saved")
    saved.mkdir()
    for folder in (place.home, place.home.parent / "root-key"):
        shutil.copytree(folder, saved / folder.name)
    for step in range(1, 40):
        for folder in (place.home, place.home.parent / "root-key"):
            shutil.rmtree(folder)
            shutil.copytree(saved / folder.name, folder)
        if not kill_after(step, "finalize", place.home):
            break
        again = place.open()
        final = outstanding.finalize(again, erased.receipt)
        assert is_genuine(again, final.content, "final")
        assert erased.receipt_path.read_bytes() == final.content
        assert tenants.find(again, "other").profile is not None
        with again.key_data.read() as tx:
            assert key_rows.roots(tx)[0].state == "destroyed"
        place.close()
    assert step > 4


def test_another_tenants_damaged_key_makes_the_receipt_interim(vault: Vault) -> None:
    damaged = register(vault, "damaged")
    execute(vault.key_data, "UPDATE wrapped_keys SET blob = substr(blob, 1, 90) WHERE tenant_id = ?", damaged.id)
    erased = erase(vault, register(vault, "acme"))
    assert len(erased.outstanding) == 1
    assert erased.outstanding[0].startswith("root key: not replaced yet. A key of something else does not open: ")
    assert outstanding.finalize(vault, erased.receipt).statement.outstanding == erased.outstanding
    erase(vault, damaged)
    final = outstanding.finalize(vault, erased.receipt)
    assert is_genuine(vault, final.content, "final")
    assert final.statement.root_key == {"provider": "file", "generation": 2, "replaced": 1}


def _refuse(self: FileProvider, generation: int) -> Any:
    raise PrivilegedStepNeededError("Only root can do that.", advice="Run it as root.")


# systemd: only root may replace the root key


@pytest.fixture
def as_root(place: Place, tmp_path: Path, host_secrets: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A vault's place whose root key is in a systemd credential, for somebody who may write it."""
    require_programs("systemd-creds")
    place.layout = replace(place.layout, root_key="systemd", root_key_file=tmp_path / "credstore" / "syncvault-root")
    monkeypatch.setenv("SYSTEMD_CREDENTIAL_SECRET", str(host_secrets / "ours"))
    return monkeypatch


@pytest.fixture
def as_service(place: Place, tmp_path: Path) -> Iterator[Any]:
    """Becomes the service: systemd has opened the credential for it, and it may write nothing of it."""
    with pytest.MonkeyPatch.context() as patch:

        def become() -> None:
            command = ["systemd-creds", "decrypt", "--name=syncvault-root", str(place.layout.root_key_file), "-"]
            opened = subprocess.run(command, capture_output=True, check=True).stdout
            directory = tmp_path / "credentials"
            directory.mkdir(exist_ok=True)
            (directory / "syncvault-root").write_bytes(opened)
            patch.setattr(os, "geteuid", lambda: 54321)
            patch.delenv("SYSTEMD_CREDENTIAL_SECRET")
            patch.setenv("CREDENTIALS_DIRECTORY", str(directory))

        yield become, patch.undo


@pytest.mark.parametrize("database_urls", ["sqlite"], indirect=True)
def test_under_systemd_the_service_leaves_the_root_key_to_root(
    place: Place, tmp_path: Path, as_root: pytest.MonkeyPatch, as_service: Any
) -> None:
    become_service, become_root = as_service
    vault = place.create()
    register(vault, "other")
    tenant = register(vault, "acme")
    vault.close()
    shutil.copytree(place.home, tmp_path / "backup")
    become_service()
    service = place.open()
    erased = erase(service, tenants.find(service, "acme"))
    assert "Only root can write the credential" in erased.outstanding[0]
    assert outstanding.finalize(service, erased.receipt).statement.outstanding == erased.outstanding
    assert retention.purge(service, role="service").finished == ()
    assert "not replaced yet" in warned(place)[0]
    become_root()
    root = place.open()
    (finished,) = retention.purge(root, role="root").finished
    said = verify(finished.content, root.receipt_public_key.encode()).content
    assert (said["status"], said["root_key"]) == ("final", {"provider": "systemd", "generation": 2, "replaced": 1})
    assert (said["tenant_id"], said["requested_by"]) == (str(UUID(bytes=tenant.id)), "service")
    assert tenants.find(root, "other").profile is not None
    assert warned(place) == []
    refuse_old_copy(place, tmp_path / "backup")


@pytest.mark.parametrize("database_urls", ["sqlite"], indirect=True)
def test_root_replaces_the_root_key_once_for_all_who_wait(
    place: Place, as_root: pytest.MonkeyPatch, as_service: Any
) -> None:
    become_service, become_root = as_service
    vault = place.create()
    for name in ("acme", "other", "third"):
        register(vault, name)
    become_service()
    service = place.open()
    for name in ("acme", "other"):
        erase(service, tenants.find(service, name))
    become_root()
    root = place.open()
    assert len(retention.purge(root, role="root").finished) == 2
    with root.key_data.read() as tx:
        assert [(one.generation, one.state) for one in key_rows.roots(tx)] == [(1, "destroyed"), (2, "current")]


# A passphrase: only a new one ends it


@pytest.mark.slow
@pytest.mark.parametrize("database_urls", ["sqlite"], indirect=True)
def test_an_erasure_under_a_passphrase_is_final_when_the_passphrase_is_another(place: Place, tmp_path: Path) -> None:
    place.layout = replace(place.layout, root_key="passphrase", root_key_file=None)
    old, new = Secret("correct horse battery"), Secret("staple of another kind")
    vault = create_vault(place.layout, passphrase=lambda: old, clock=lambda: NOW)
    register(vault, "other")
    tenant = register(vault, "acme")
    vault.close()
    shutil.copytree(place.home, tmp_path / "backup")
    vault = open_vault(place.home, passphrase=lambda: old, clock=lambda: NOW)
    erased = erase(vault, tenants.find(vault, "acme"))
    assert "passphrase" in erased.outstanding[0]
    assert outstanding.finalize(vault, erased.receipt).statement.outstanding == erased.outstanding
    assert retention.purge(vault, role="root").finished == ()
    root_rotation.rotate(vault, new_passphrase=lambda: new)
    final = outstanding.finalize(vault, erased.receipt)
    assert is_genuine(vault, final.content, "final")
    assert str(UUID(bytes=tenant.id)) == json.loads(final.content)["statement"]["tenant_id"]
    vault.close()
    refuse_old_copy(place, tmp_path / "backup", new)


def refuse_old_copy(place: Place, backup: Path, passphrase: Secret | None = None) -> None:
    """An old copy of both stores does not open with the root key of today."""
    place.close()
    for name in ("vault.db", "keys.db"):
        shutil.copy(backup / name, place.home / name)
        for suffix in ("-wal", "-shm"):
            (place.home / (name + suffix)).unlink(missing_ok=True)
    with pytest.raises(RootKeyError):
        open_vault(place.home, passphrase=None if passphrase is None else lambda: passphrase)
