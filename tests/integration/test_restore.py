"""Restoring: the living come back whole, the erased do not, and a living vault is left alone."""

from __future__ import annotations

import shutil
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from syncvault.crypto.index import Label
from syncvault.errors import DamagedError, InputError, NotFoundError, RootKeyError, UsageError
from syncvault.roots.port import Held, ValueHolder
from syncvault.store.ledger import LedgerRow
from syncvault.vault import layout as layouts
from syncvault.vault import tenants
from syncvault.vault.backups import archive
from syncvault.vault.backups.archive import RECEIPTS_FILE, NotABackupError
from syncvault.vault.content import contacts as vault_contacts
from syncvault.vault.content import sources
from syncvault.vault.erasing import erasing_rows, erasure, ledger, outstanding
from syncvault.vault.keyring import rotation
from syncvault.vault.keyring.wrapped import Purpose
from syncvault.vault.opening import open_vault
from syncvault.vault.trail import audit
from syncvault.vault.vault import Vault
from tests.integration.fake_exchange import FakeExchange
from tests.integration.restoring import Backups, assert_sound, back_up, bring_back, erase, everything, fill, reopened
from tests.integration.vault_parts import NOW, Place, as_before_signatures, register, rows, sync


@pytest.fixture
def places(tmp_path: Path) -> Backups:
    return Backups(tmp_path, tmp_path / "backup", tmp_path / "key-backup")


@pytest.fixture
def full(vault: Vault, exchange: FakeExchange) -> Vault:
    fill(vault, exchange)
    return vault


def later(places: Backups, name: str = "later") -> Path:
    return places.root / name


def test_what_was_backed_up_comes_back_field_by_field(place: Place, full: Vault, places: Backups) -> None:
    before = {name: everything(full, name) for name in ("alpha", "beta")}
    made = back_up(full, places)
    place.close()
    restored = bring_back(place, places)
    assert (restored.tenants, restored.replayed.tenants, restored.unreadable) == (2, frozenset(), ())
    with reopened(places) as vault:
        assert {name: everything(vault, name) for name in ("alpha", "beta")} == before
        assert len(rows(vault.data, "contacts")) == made.data.rows["contacts"]
        assert_sound(vault)
        assert next(entry.verb for entry in audit.listing(vault)) == "restore"
        assert sync(vault, tenants.find(vault, "alpha")).added == 0
        assert_sound(vault)


def test_the_restored_home_is_as_a_new_one_would_be(place: Place, full: Vault, places: Backups) -> None:
    back_up(full, places)
    place.close()
    bring_back(place, places)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in places.home.iterdir()}
    assert modes == {
        **dict.fromkeys(("vault.toml", "vault.db", "keys.db", "erasure.ledger"), 0o600),
        "receipts": 0o700,
    }
    assert stat.S_IMODE(places.home.stat().st_mode) == 0o700
    assert layouts.load(places.home).root_place == place.layout.root_place


def test_a_tenant_that_was_erased_after_the_backup_is_nowhere(
    place: Place, full: Vault, places: Backups, exchange: FakeExchange
) -> None:
    beta, alpha = everything(full, "beta"), tenants.find(full, "alpha")
    traces = _traces(full, "alpha")
    back_up(full, places)
    assert _found(places.data, traces) == traces  # the search finds what is there
    shutil.copytree(places.keys, later(places, "old-keys"))
    erase(full, "alpha")
    back_up(full, places, out=later(places))  # the keys are the latest, the rows are not
    place.close()
    shutil.copy(later(places, "old-keys") / "keys.db", places.root / "keys.db")  # an old one lies beside
    restored = bring_back(place, places)
    assert restored.replayed.tenants == {alpha.id}
    assert _found(places.home, traces) == set()
    with reopened(places) as vault:
        assert everything(vault, "beta") == beta
        with pytest.raises(NotFoundError):
            tenants.find(vault, "alpha")
        assert [one.facts.name for one in tenants.call_roll(vault).tenants] == ["beta"]
        assert sync(vault, tenants.find(vault, "beta")).added == 0
        assert_sound(vault)
    assert _found(places.home, traces) == set()


def _traces(vault: Vault, name: str) -> set[bytes]:
    """What nobody but this tenant has in the database of rows: the ends of its records, its indexes and IDs."""
    tenant, found = tenants.find(vault, name), set[bytes]()
    for table in ("tenants", "credentials", "sources", "mailboxes", "folders", "checkpoints", "contacts", "photos"):
        for row in rows(vault.data, table):
            if tenant.id in row:
                found |= {value[-60:] for value in row if isinstance(value, bytes) and value != tenant.id}
    found.add(vault.keys.names.of(Label.TENANT_NAME, name))
    return found


def _found(directory: Path, traces: set[bytes]) -> set[bytes]:
    content = b"\0".join(path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file())
    return {trace for trace in traces if trace in content}


def test_keys_older_than_an_erasure_open_nothing_once_the_root_was_replaced(
    place: Place, full: Vault, places: Backups
) -> None:
    back_up(full, places)
    erase(full, "alpha")
    place.close()
    with pytest.raises(RootKeyError):
        bring_back(place, places)
    assert not places.home.exists()


def test_the_ledger_that_a_lost_vault_left_behind_counts_too(place: Place, full: Vault, places: Backups) -> None:
    root = place.layout.root_key_file
    assert root is not None
    back_up(full, places)
    old_root = root.read_bytes()
    erase(full, "alpha")
    place.close()
    root.write_bytes(old_root)  # somebody kept a copy of what was to be destroyed
    places.home.mkdir()
    shutil.copy(place.home / "erasure.ledger", places.home / "erasure.ledger")
    bring_back(place, places)
    with reopened(places) as vault:
        assert [one.facts.name for one in tenants.call_roll(vault).tenants] == ["beta"]
        assert len(rows(vault.key_data, "erasure_ledger")) == 3
        beta = tenants.find(vault, "beta")
        assert {row[1] for row in rows(vault.key_data, "wrapped_keys")} == {bytes(16), beta.id}
        assert (places.home / "erasure.ledger").read_bytes() == (place.home / "erasure.ledger").read_bytes()
        assert_sound(vault)


def test_the_ledger_of_another_vault_in_the_way_is_refused(
    place: Place, full: Vault, places: Backups, tmp_path: Path
) -> None:
    back_up(full, places)
    place.close()
    other = Place(layouts.Layout(tmp_path / "other", *_urls(tmp_path / "other"), "file", tmp_path / "other-key" / "k"))
    register(other.create(), "gamma")
    erase(other.open(), "gamma")
    other.close()
    places.home.mkdir()
    shutil.copy(other.home / "erasure.ledger", places.home / "erasure.ledger")
    with pytest.raises(DamagedError, match="not written by this vault"):
        bring_back(place, places)
    with place.open() as vault:
        erase(vault, "alpha")
        back_up(vault, places, out=later(places))
    with pytest.raises(InputError, match="contradict"):
        bring_back(place, places)
    assert {path.name for path in places.home.iterdir()} == {"erasure.ledger"}


def test_an_erasure_that_nobody_signed_erases_nothing_in_a_restored_vault(
    place: Place, full: Vault, places: Backups
) -> None:
    back_up(full, places)
    alpha = tenants.find(full, "alpha").id
    place.close()
    places.home.mkdir()
    (places.home / "erasure.ledger").write_bytes(ledger.to_text([LedgerRow(1, 1, "completed", alpha, "{}")]))
    with pytest.raises(DamagedError, match=r"^Entry 1 of the erasure ledger was not written by this vault"):
        bring_back(place, places)


def test_a_vault_from_before_entries_were_signed_comes_back_with_what_it_erased(
    place: Place, full: Vault, places: Backups
) -> None:
    gone = as_before_signatures(full, "intent", "keys_destroyed", "completed")
    back_up(full, places)
    place.close()
    assert gone in bring_back(place, places).replayed.tenants
    with reopened(places) as vault:
        assert vault.keys.unsigned_until == 3
        assert_sound(vault)


def test_a_ledger_that_is_older_than_what_the_root_key_s_place_has_seen_is_refused(
    place: Place, full: Vault, places: Backups
) -> None:
    back_up(full, places)
    alpha = tenants.find(full, "alpha")
    some = next(iter(vault_contacts.stream(full, alpha))).id
    erasing_rows.erase_contacts(full, alpha, [some], role="root")
    place.close()
    with pytest.raises(InputError, match="ends at entry 0, and the root-key provider has seen entry 2"):
        bring_back(place, places)
    assert not places.home.exists()
    places.home.mkdir()
    shutil.copy(place.home / "erasure.ledger", places.home / "erasure.ledger")
    assert bring_back(place, places).replayed.rows == 1


def test_receipts_outlive_the_home_that_they_lay_in(place: Place, full: Vault, places: Backups) -> None:
    erase(full, "alpha")
    (full.layout.receipts / "note.json").write_text("Nothing of the vault's.")
    back_up(full, places)
    issued = outstanding.listing(full)
    place.close()
    bring_back(place, places)
    with reopened(places) as vault:
        assert [kept.content for kept in outstanding.listing(vault)] == [kept.content for kept in issued]
        assert {path.name for path in vault.layout.receipts.iterdir()} == {issued[0].path.name}


def test_a_receipt_that_lies_in_the_new_home_stays_as_it_is(place: Place, full: Vault, places: Backups) -> None:
    erase(full, "alpha")
    back_up(full, places)
    (issued,) = outstanding.listing(full)
    place.close()
    newer = places.home / "receipts" / issued.path.name
    newer.parent.mkdir(parents=True)
    newer.write_bytes(b"A newer one.")
    bring_back(place, places)
    assert newer.read_bytes() == b"A newer one."


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'["{}"]', b"[]"])
def test_receipts_that_were_changed_are_refused(place: Place, full: Vault, places: Backups, content: bytes) -> None:
    erase(full, "alpha")
    back_up(full, places)
    seed = full.keys.receipt_seed
    place.close()
    (places.keys / RECEIPTS_FILE).write_bytes(content)
    with pytest.raises(DamagedError, match=r"receipts\.json is not what backup\.json says of it"):
        bring_back(place, places)
    said = archive.read(places.keys).statement
    files = {name: archive.measure(places.keys / name) for name in said.files}
    archive.write(places.keys, replace(said, files=files), seed)
    if content != b"[]":  # signed anew, by who has the vault's own key: it still has to be a list
        with pytest.raises(DamagedError, match="holds something other than receipts of this vault"):
            bring_back(place, places)
    assert not places.home.exists()


def _urls(home: Path) -> tuple[str, str]:
    return layouts.default_database(home), layouts.default_key_database(home)


def test_a_mailbox_and_a_person_erased_after_the_backup_stay_erased(place: Place, full: Vault, places: Backups) -> None:
    alpha = tenants.find(full, "alpha")
    person = next(one.id for one in vault_contacts.stream(full, alpha) if one.fields.get("surname") == "a1")
    back_up(full, places)
    erasing_rows.erase_contacts(full, alpha, [person], role="root")
    erasing_rows.erase_mailbox(full, alpha, sources.mailbox(full, alpha, "bob").id, role="root")
    after = everything(full, "alpha")
    back_up(full, places, out=later(places))
    place.close()
    restored = bring_back(place, places)
    assert (restored.replayed.tenants, restored.replayed.rows) == (frozenset(), 2)
    with reopened(places) as vault:
        assert everything(vault, "alpha") == after
        assert_sound(vault)


@pytest.mark.parametrize("data_is_older", [True, False])
def test_an_erasure_under_way_is_ended_with_its_receipt_after_the_restore(
    place: Place, full: Vault, places: Backups, monkeypatch: pytest.MonkeyPatch, *, data_is_older: bool
) -> None:
    alpha = tenants.find(full, "alpha")
    held = tenants.counts(full)[alpha.id]
    back_up(full, places)
    with monkeypatch.context() as patch:
        patch.setattr(erasure, "_make_unrecoverable", lambda *_, **__: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            erase(full, "alpha")
    back_up(full, places, out=later(places))
    place.close()
    restored = bring_back(place, places, data=places.data if data_is_older else later(places))
    assert restored.replayed.tenants == {alpha.id}
    with reopened(places) as vault:
        assert_sound(vault)
        erased = erasure.erase(vault, tenants.find(vault, "alpha"), reason=erasure.ON_DEMAND, role="root")
        assert (erased.status, erased.plan.contacts) == ("final", held.contacts)
        assert [row[2] for row in rows(vault.key_data, "erasure_ledger")] == ["intent", "keys_destroyed", "completed"]
        assert_sound(vault)


def test_a_living_vault_is_never_written_over(place: Place, full: Vault, places: Backups) -> None:
    back_up(full, places)
    place.close()
    before = {path: path.read_bytes() for path in place.home.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="already"):
        bring_back(place, places, home=place.home)
    assert {path: path.read_bytes() for path in place.home.rglob("*") if path.is_file()} == before


def test_databases_without_their_vault_toml_are_not_written_over_either(
    place: Place, full: Vault, places: Backups
) -> None:
    if full.data.dialect != "sqlite":
        pytest.skip("see the databases on a server below")
    back_up(full, places)
    place.close()
    (place.home / "vault.toml").rename(place.home / "elsewhere")
    before = (place.home / "vault.db").read_bytes()
    with pytest.raises(InputError, match="already"):
        bring_back(place, places, home=place.home)
    assert (place.home / "vault.db").read_bytes() == before
    assert not (place.home / ".restoring").exists()
    for name in ("vault.db", "keys.db"):
        (place.home / name).write_bytes(b"no database")
        with pytest.raises(InputError, match="already"):
            bring_back(place, places, home=place.home)


def test_nothing_is_restored_without_a_ledger_or_from_the_wrong_kind(
    place: Place, full: Vault, places: Backups
) -> None:
    back_up(full, places)
    place.close()
    with pytest.raises(UsageError, match="--from"):
        bring_back(place, places, data=places.keys)
    with pytest.raises(UsageError, match="--keys-from"):
        bring_back(place, places, keys=places.data)
    (places.keys / "erasure.ledger").unlink()
    with pytest.raises(NotABackupError, match="ledger"):
        bring_back(place, places)
    with pytest.raises(NotABackupError, match="no backup"):
        bring_back(place, places, data=places.root / "nothing")
    assert not places.home.exists()


def test_backups_of_two_vaults_are_refused(place: Place, full: Vault, places: Backups, tmp_path: Path) -> None:
    back_up(full, places)
    other = Place(layouts.Layout(tmp_path / "other", *_urls(tmp_path / "other"), "file", tmp_path / "other-key" / "k"))
    back_up(other.create(), places, out=later(places), keys_out=later(places, "other-keys"))
    other.close()
    with pytest.raises(InputError, match="different vaults"):
        bring_back(place, places, keys=later(places, "other-keys"))


@pytest.mark.parametrize("content", [None, b"not a key"])
def test_without_the_root_key_nothing_is_restored(
    place: Place, full: Vault, places: Backups, content: bytes | None
) -> None:
    root = place.layout.root_key_file
    assert root is not None
    back_up(full, places)
    place.close()
    moved = root.with_name("moved.key")
    root.rename(moved)
    if content is not None:
        root.write_bytes(content)
        root.chmod(0o600)
    with pytest.raises(RootKeyError):
        bring_back(place, places)
    assert not places.home.exists()
    bring_back(place, places, root_key_file=moved)
    assert layouts.load(places.home).root_key_file == moved


def test_keys_older_than_a_registration_are_refused_with_the_option_to_change(
    place: Place, full: Vault, places: Backups
) -> None:
    back_up(full, places)
    register(full, "gamma")
    back_up(full, places, out=later(places), keys_out=None)
    place.close()
    with pytest.raises(InputError, match="older than the data") as refused:
        bring_back(place, places, data=later(places))
    assert "--keys-from" in refused.value.advice
    assert not places.home.exists()


def test_keys_of_tenants_registered_after_the_backup_outlast_the_restore(
    place: Place, full: Vault, places: Backups
) -> None:
    back_up(full, places)
    gamma = register(full, "gamma")
    expected = everything(full, "gamma")
    full.anchor()
    back_up(full, places, out=later(places))
    place.close()
    bring_back(place, places)
    place.now = NOW.replace(day=20)  # long after keys without a tenant are swept otherwise
    with open_vault(places.home, clock=lambda: place.now) as vault:
        assert_sound(vault)
        register(vault, "delta")
        assert gamma.id in {row[1] for row in rows(vault.key_data, "wrapped_keys")}
    again = Backups(places.root, later(places), places.keys)
    shutil.rmtree(places.home)
    bring_back(place, again)
    with reopened(again) as vault:
        assert everything(vault, "gamma") == expected
    place.now = NOW.replace(month=8)
    with open_vault(places.home, clock=lambda: place.now) as vault:
        register(vault, "epsilon")
        whose = {row[1] for row in rows(vault.key_data, "wrapped_keys")}
        assert whose - {bytes(16)} == {row[0] for row in rows(vault.data, "tenants")}  # swept in the end


@pytest.mark.parametrize("keys_are_older", [True, False])
def test_what_was_written_after_the_backup_is_no_finding_and_cannot_be_put_back(
    place: Place, full: Vault, places: Backups, exchange: FakeExchange, *, keys_are_older: bool
) -> None:
    back_up(full, places)
    for number in range(3):
        exchange.rename("ann", "a1", f"Changed {number}")
        assert sync(full, tenants.find(full, "alpha")).changed == 1
        audit.record(full, verb="contact show", tenant_id=None, outcome="ok")
    full.anchor()
    counters, provider = dict(rows(full.key_data, "anchors")), full.keys.provider
    assert isinstance(provider, ValueHolder)
    held = provider.held(Held.COUNT) or 0
    back_up(full, places, out=later(places), keys_out=later(places, "later-keys"))
    place.close()
    bring_back(place, places, keys=places.keys if keys_are_older else later(places, "later-keys"))
    with reopened(places) as vault:
        assert_sound(vault)
        assert (provider.held(Held.COUNT) or 0) > held
        anchored = dict(rows(vault.key_data, "anchors"))
        assert keys_are_older or all(anchored[tenant_id] > counter for tenant_id, counter in counters.items())
        assert sync(vault, tenants.find(vault, "alpha")).changed == 1
        assert_sound(vault)


def test_rows_under_a_key_that_was_retired_since_open_and_keep_it(place: Place, full: Vault, places: Backups) -> None:
    before, alpha = everything(full, "alpha"), tenants.find(full, "alpha")
    back_up(full, places)
    rotation.rotate(full, alpha, {Purpose.DATA, Purpose.INDEX})
    assert {row[8] for row in rows(full.key_data, "wrapped_keys") if row[4] == "retired"} == {full.instant}
    back_up(full, places, out=later(places))
    place.close()
    bring_back(place, places)
    with reopened(places) as vault:
        assert everything(vault, "alpha") == before
        assert_sound(vault)
        assert {row[8] for row in rows(vault.key_data, "wrapped_keys") if row[4] == "retired"} == {None}
        assert sync(vault, tenants.find(vault, "alpha")).added == 0
        rotation.rotate(vault, tenants.find(vault, "alpha"), {Purpose.DATA, Purpose.INDEX})
        assert everything(vault, "alpha") == before
        assert_sound(vault)


def test_rows_under_a_key_newer_than_the_key_backup_are_refused(place: Place, full: Vault, places: Backups) -> None:
    back_up(full, places)
    rotation.rotate(full, tenants.find(full, "alpha"), {Purpose.DATA})
    back_up(full, places, out=later(places), keys_out=None)
    place.close()
    with pytest.raises(InputError, match="lacks the latest keys"):
        bring_back(place, places, data=later(places))


def test_an_option_that_the_provider_does_not_take_is_refused_before_anything_is_made(
    place: Place, full: Vault, places: Backups
) -> None:
    back_up(full, places)
    place.close()
    with pytest.raises(UsageError, match="knows no option 'pin'"):
        bring_back(place, places, root_key_options={"pin": "1234-5678"})
    assert not places.home.exists()
